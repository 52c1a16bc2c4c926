#!/usr/bin/env python3
"""The manual pages were made, are well-formed, and name what there is: every command and option of netlock,
every key and verb of netlockd, every function of the library.

    tests/test_man.py BUILD_DIRECTORY"""

import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIP = 77


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def plain(page):
    """The text of a page, without escapes and fonts."""
    with open(page, encoding="utf-8") as file:
        text = file.read()
    return re.sub(r"\\f[BIR]|\\&|\\", "", text)


def missing(text, words):
    return [word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    src = os.path.join(os.path.abspath(sys.argv[1]), "src")
    netlock, netlockd = os.path.join(src, "netlock"), os.path.join(src, "netlockd")
    pages = {name: os.path.join(src, "man", name)
             for name in ("netlock.1", "netlockd.8", "netlock.conf.5", "libnetlock.3")}
    if not os.path.exists(pages["netlock.1"]):
        print("skip: the pages were not made, scdoc is not installed")
        sys.exit(SKIP)

    commands = [line.split("\t")[0] for line in output(netlock, "complete").splitlines()]
    options = {o.rstrip("=") for c in commands for o in output(netlock, "complete", *c.split()).split()}
    assert not missing(plain(pages["netlock.1"]), commands + sorted(options)), "netlock.1"
    help_text = output(netlockd, "--help")
    keys = re.findall(r"^  ([a-z][a-z-]+) .*\(default", help_text, re.M)
    verbs = re.findall(r"^ +netlockd ([a-z][a-z-]+)", help_text, re.M)
    assert len(keys) > 20 and verbs
    assert not missing(plain(pages["netlock.conf.5"]), keys), "netlock.conf.5"
    assert not missing(plain(pages["netlockd.8"]), verbs), "netlockd.8"
    with open(os.path.join(ROOT, "src", "netlock.h"), encoding="utf-8") as header:
        functions = re.findall(r"\b(netlock_\w+)\(", re.sub(r"/\*.*?\*/", "", header.read(), flags=re.S))
    assert len(functions) > 20
    assert not missing(plain(pages["libnetlock.3"]), functions), "libnetlock.3"

    for name, page in pages.items():
        if shutil.which("mandoc"):
            run = subprocess.run(["mandoc", "-T", "lint", "-W", "error", page], capture_output=True, text=True, check=False)
            assert run.returncode == 0, run.stdout
        if shutil.which("man"):
            run = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
                                 capture_output=True, text=True, check=False, env={**os.environ, "MANWIDTH": "100"})
            assert run.returncode == 0 and not run.stderr, run.stderr
        print("ok  ", name)


if __name__ == "__main__":
    main()
