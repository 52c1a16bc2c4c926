"""Commands that stand on the project's pages, and a world of their own to carry them out in.

Namespaces for mounts, processes and the network: commands may use the ports that a reader would use, and name
processes as they like; when the first process ends, all that was started does."""

import os
import re
import shutil
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMESPACE = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
if os.geteuid() != 0:
    NAMESPACE += ["--map-root-user"]
SECONDS = 300


def section(page, heading, level="##"):
    """The text below a heading of a page, up to the next one of this level."""
    with open(os.path.join(ROOT, *page.split("/")), encoding="utf-8") as file:
        parts = re.split(rf"^{level} ", file.read(), flags=re.MULTILINE)
    return next(part for part in parts if part.split("\n")[0] == heading)


def blocks(text):
    """What is to be typed."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def environment(build, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NETLOCK_")}
    return {**clean, **more,
            # The leak check looks for its own process in /proc, which shows another namespace.
            "ASAN_OPTIONS": clean.get("ASAN_OPTIONS", "") + ":detect_leaks=0",
            "PATH": os.path.join(build, "src") + ":" + clean["PATH"]}


def why_no_world(script, variables):
    """None if @script, which prepares the world, can be carried out; else what was said."""
    run = subprocess.run([*NAMESPACE, "sh", "-eu", "-c", script], capture_output=True, text=True, check=False,
                         env=variables)
    return None if run.returncode == 0 else run.stderr.strip()


def carry_out(name, script, variables, shell="sh"):
    """Whether @script comes to its end, which says "all is well", in a new directory; and what it said."""
    directory = tempfile.mkdtemp(prefix="netlock-page-")
    path, log = os.path.join(directory, "script"), os.path.join(directory, "log")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script + "\necho all is well\nexit 0\n")
    with open(log, "w+", encoding="utf-8") as out:
        try:
            status = subprocess.run([*NAMESPACE, shell, path], cwd=directory, stdout=out, stdin=subprocess.DEVNULL,
                                    env={**variables, "HERE": directory}, stderr=subprocess.STDOUT,
                                    timeout=SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            status = f"no end after {SECONDS} s"
        out.seek(0)
        text = out.read()
    if status == 0 and text.endswith("all is well\n"):
        shutil.rmtree(directory)
        print(f"ok   {name}", flush=True)
        return True, text
    print(text)
    print(f"FAIL {name}, with {status}; what was said is in {log}", flush=True)
    return False, text
