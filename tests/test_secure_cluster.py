#!/usr/bin/python3
"""The ten commands of cluster/SECURITY.md, carried out as they stand on that page.

    tests/test_secure_cluster.py BUILD

They use the ports that a reader would use: so they run in a network of their own, which needs a kernel
that lets us make one (else 77, skipped). The namespace of processes ends all that was started."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMESPACE = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
if os.geteuid() != 0:
    NAMESPACE += ["--map-root-user"]
UP = "ip link set lo up"

# What must be true afterwards. `wait_for` is bounded: a loaded machine may be slow.
CHECKS = """
wait_for() {
    for _ in $(seq 1 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "not within a minute: $*"
    exit 1
}
refused() {
    if "$@" >out 2>&1; then
        echo "was let in: $*"
        exit 1
    fi
}
export NETLOCK_TLS_CA=ca.pem NETLOCK_TLS_CERT=client-ops.pem NETLOCK_TLS_KEY=client-ops.key
export NETLOCK_SERVERS=127.0.0.1,127.0.0.2,127.0.0.3
wait_for netlock cluster status --verify
netlock cluster status
test "$(stat -c %a node1.key ca.key client-ops.key | sort -u)" = 600
test "$(stat -c %a data1 data2 data3 | sort -u)" = 700

# Nobody else gets in: nothing at all, a certificate of another CA.
mkdir other
netlock tls init --dir other prod
netlock tls client --dir other ops
refused env -u NETLOCK_TLS_CA -u NETLOCK_TLS_CERT -u NETLOCK_TLS_KEY netlock --timeout 1s run x -- true
grep -q "wants TLS" out
refused netlock --tls-cert other/client-ops.pem --tls-key other/client-ops.key --timeout 1s run x -- true
echo all is well
"""


def ten_commands():
    """The block of the page, and how many commands it is."""
    with open(os.path.join(ROOT, "cluster", "SECURITY.md"), encoding="utf-8") as page:
        block = re.search(r"^```sh\n(.*?)^```$", page.read(), re.MULTILINE | re.DOTALL).group(1)
    count, inside = 0, False
    for line in block.splitlines():
        if inside:
            inside = line != "END"
        else:
            count += 1
            inside = line.endswith("<<END")
    return block, count


def main():
    probe = subprocess.run([*NAMESPACE, "sh", "-c", UP], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        print(f"skipped: no network of our own: {probe.stderr.strip()}")
        return 77
    block, count = ten_commands()
    assert count == 10, f"the page has {count} commands"
    directory = tempfile.mkdtemp(prefix="netlock-secure-")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NETLOCK_")}
    environment["PATH"] = os.path.join(BUILD, "src") + ":" + environment["PATH"]
    with open(os.path.join(directory, "log"), "w+", encoding="utf-8") as log:
        run = subprocess.run([*NAMESPACE, "sh", "-eu", "-c", f"{UP}\n{block}\n{CHECKS}"],
                             cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                             stderr=subprocess.STDOUT, timeout=300, check=False)
        log.seek(0)
        text = log.read()
    print(text)
    if run.returncode != 0 or "\nserved\n" not in text or not text.endswith("all is well\n"):
        print(f"FAILED with {run.returncode}; files are in {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
