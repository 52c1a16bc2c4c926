#!/usr/bin/env python3
"""What systemd hears of netlockd: a socket of our own in its place; and keys that it hands over as credentials.

    tests/test_notify.py BUILD_DIRECTORY"""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from procs import HOST, Cluster, Suite, wait_until  # noqa: E402

BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else None
WAIT = 60
test = Suite()


class Service:
    """netlockd with the variables that systemd sets, and what it says."""

    def __init__(self, name, *options, watchdog_us=None, watchdog_pid=None):
        self.directory = tempfile.TemporaryDirectory(prefix="netlock-notify-")
        address = name or os.path.join(self.directory.name, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.settimeout(WAIT)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NOTIFY_", "WATCHDOG_"))}
        environment["NOTIFY_SOCKET"] = address
        if watchdog_us is not None:
            environment["WATCHDOG_USEC"] = str(watchdog_us)
        if watchdog_pid is not None:
            environment["WATCHDOG_PID"] = str(watchdog_pid)
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "src", "netlockd"), "--data-dir", os.path.join(self.directory.name, "data"),
             "--listen", HOST + ":0", "--peer-listen", "localhost:0", *options], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.process.kill()
        self.process.wait()
        self.socket.close()
        self.directory.cleanup()

    def hears(self):
        return self.socket.recv(4096).decode()

    def ends_with(self, status):
        assert self.process.wait(WAIT) == status


@test
def the_service_says_when_it_is_ready_and_when_it_stops():
    for name in (None, f"@netlock-test-{os.getpid()}"):
        with Service(name) as service:
            assert service.hears() == "READY=1"
            service.process.terminate()
            assert service.hears() == "STOPPING=1"
            service.ends_with(0)


@test
def a_reload_is_told():
    with Service(None) as service:
        assert service.hears() == "READY=1"
        service.process.send_signal(signal.SIGHUP)
        lines = service.hears().split("\n")
        assert lines[0] == "RELOADING=1" and lines[1].startswith("MONOTONIC_USEC="), lines
        assert int(lines[1].split("=")[1]) > 0
        assert service.hears() == "READY=1"


@test
def the_watchdog_hears_of_the_loop():
    with Service(None, watchdog_us=200000) as service:
        assert service.hears() == "READY=1"
        assert [service.hears() for _ in range(5)] == 5 * ["WATCHDOG=1"]


@test
def the_watchdog_of_another_process_is_not_answered():
    with Service(None, watchdog_us=20000, watchdog_pid=os.getpid()) as service:
        assert service.hears() == "READY=1"
        service.process.send_signal(signal.SIGHUP)
        assert service.hears().startswith("RELOADING=1")
        assert service.hears() == "READY=1"


@test
def what_is_refused_is_never_ready():
    with Service(None, "--node-id", "2", "--member", f"1 {HOST}:1 {HOST}:2") as service:
        service.ends_with(2)
        service.socket.settimeout(0)
        try:
            assert not service.hears()
        except BlockingIOError:
            pass


@test
def a_key_is_taken_from_the_credentials_of_the_service():
    """As systemd leaves it: of root, read by the service alone, in a directory that nobody writes to."""
    with Cluster(nodes=1, build=BUILD, tls=True) as cluster:
        credentials = cluster.file("credentials")
        os.mkdir(credentials)
        key = os.path.join(credentials, "tls-key")
        os.rename(cluster.file("node1.key"), key)
        os.chmod(key, stat.S_IRUSR)
        os.chmod(credentials, stat.S_IRUSR | stat.S_IXUSR)
        with open(cluster.config(1), encoding="utf-8") as file:
            text = file.read()
        with open(cluster.config(1), "w", encoding="utf-8") as file:
            file.write(text.replace(cluster.file("node1.key"), key))
        cluster.start()
        assert cluster.netlock("run", "x", "--", "true").returncode == 0
        cluster.hangup(1)
        wait_until(lambda: "reloaded" in cluster.log_text(1), WAIT, "it reads them again")
        os.chmod(credentials, 0o700)


if __name__ == "__main__":
    if BUILD is None:
        sys.exit(__doc__)
    sys.exit(test.run(*sys.argv[2:]))
