#!/usr/bin/env python3
"""What operators do with a cluster that runs: top, drain, log-level.

    tests/test_operate.py BUILD_DIRECTORY [PART_OF_A_TEST_NAME]
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kept_port import Port  # noqa: E402
from procs import Cluster, Suite, wait_until  # noqa: E402

BUILD = None
CLUSTER = None  # three nodes, for tests that leave them as they were

test = Suite()


def expect(run, status, out=""):
    assert run.returncode == status and out in run.stdout + run.stderr, (status, out, run)
    return run


def acquire(cluster, name, client="operator"):
    expect(cluster.netlock("acquire", "--client-id", client, "--ttl", "10m", name), 0)


def release(cluster, name, client="operator"):
    expect(cluster.netlock("release", "--client-id", client, name), 0)


def node_of(cluster, number):
    return next(node for node in cluster.status()["nodes"] if node["node_id"] == number)


class Terminal:
    """A process on a terminal of our own, of 12 lines and 60 columns."""

    def __init__(self, command, environment, rows=12, columns=60):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        self.resize(rows, columns)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, condition, what):
        """Read on until @condition() of all that has come."""
        end = time.monotonic() + 60
        while not condition(self.text):
            assert time.monotonic() < end, (what, self.text[-2000:])
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:  # the other side is closed
                    assert condition(self.text), (what, self.text[-2000:])

    def last(self):
        """The lines of the picture that is there now, without escapes."""
        frame = self.text.split("\x1b[H")[-1]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).split("\r\n")

    def press(self, key):
        self.text = ""
        os.write(self.fd, key.encode())

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def top_on_terminal(*arguments):
    return Terminal(CLUSTER.command("top", *arguments), CLUSTER.environment(TERM="xterm"))


# ---- top

@test
def top_shows_nodes_and_locks_once():
    acquire(CLUSTER, "top-a")
    waiter = CLUSTER.spawn("run", "top-a", "--", "true")
    wait_until(lambda: json.loads(CLUSTER.netlock("list", "--json", "top-a").stdout)[0]["queue_length"], 60,
               "somebody waits")
    run = expect(CLUSTER.netlock("top", "--once", "top-"), 0)
    assert "\x1b" not in run.stdout and "rates" not in run.stdout, run
    assert re.search(r"(?m)^\d +\S+ +leader +\S+ +\d+ +\d+", run.stdout), run
    assert re.search(r"(?m)^top-a +write +1 +1 +\d.*\n +write +1\. +\S+ +\S+ +\S+@", run.stdout), run
    waiters = json.loads(CLUSTER.netlock("list", "--json", "top-a").stdout)[0]["waiters"]
    assert [(waiting["position"], waiting["connected"]) for waiting in waiters] == [(1, True)], waiters
    release(CLUSTER, "top-a")
    assert waiter.wait(60) == 0
    expect(CLUSTER.netlock("top", "--once", "no-such-"), 0, "no locks of that name")


@test
def top_shows_the_first_of_a_queue_and_how_many_more():
    acquire(CLUSTER, "queue")
    waiters = []
    for number in range(1, 7):
        waiters.append(CLUSTER.spawn("run", "queue", "--", "true"))
        wait_until(lambda n=number: json.loads(CLUSTER.netlock("list", "--json", "queue").stdout)[0]["queue_length"] == n,
                   60, "somebody else waits")
    run = expect(CLUSTER.netlock("top", "--once", "queue"), 0)
    assert re.findall(r"(?m)^ +write +(\d\.)", run.stdout) == ["1.", "2.", "3.", "4."], run
    assert re.search(r"(?m)^ +\+2\s*$", run.stdout), run
    terminal = top_on_terminal("queue")
    def shows_queue():
        return any(re.match(r" +write +1\.", line) for line in terminal.last())
    terminal.read(lambda text: "q quit" in text and shows_queue(), "a picture with a queue")
    terminal.press("p")
    terminal.read(lambda text: "q quit" in text, "another picture at once")
    assert not shows_queue(), terminal.last()
    terminal.press("q")
    assert terminal.wait() == 0
    release(CLUSTER, "queue")
    for waiter in waiters:
        assert waiter.wait(60) == 0


@test
def top_sorts():
    for name in ("sort-b", "sort-a"):
        acquire(CLUSTER, name)
        time.sleep(0.05)
    expect(CLUSTER.netlock("refresh", "--client-id", "operator", "--ttl", "60m", "sort-a"), 0)

    def names(*options):
        return re.findall(r"(?m)^sort-\w", expect(CLUSTER.netlock("top", "--once", *options, "sort-"), 0).stdout)
    assert names() == names("--sort", "name") == ["sort-a", "sort-b"]
    assert names("--sort", "for") == ["sort-b", "sort-a"]
    assert names("--sort", "left") == ["sort-b", "sort-a"]
    expect(CLUSTER.netlock("top", "--sort", "size"), 64, "none of name, waiting, for, left")
    expect(CLUSTER.netlock("top", "--json"), 64, "cluster status")
    expect(CLUSTER.netlock("top", "--interval", "1ms"), 64, "--interval")
    for name in ("sort-a", "sort-b"):
        release(CLUSTER, name)


@test
def top_on_a_terminal_obeys_keys_and_leaves_it_as_it_was():
    acquire(CLUSTER, "wide-" + 200 * "x")
    acquire(CLUSTER, "wide-\u200fa")
    terminal = top_on_terminal("wide-")
    terminal.read(lambda text: "q quit" in text and "wide-x" in text, "a picture with locks")
    lines = terminal.last()
    assert len(lines) <= 12 and max(map(len, lines)) <= 60, lines
    assert "\u200f" not in terminal.text, "a name turned the writing"
    terminal.read(lambda text: "requests/s" in text, "rates")
    terminal.press("w")
    terminal.read(lambda text: "q quit" in text, "another picture at once")
    terminal.resize(40, 120)
    terminal.read(lambda text: "\x1b[40;1H" in text, "a picture of the new size")
    terminal.press("q")
    terminal.read(lambda text: "\x1b[?1049l" in text and "\x1b[?25h" in text, "the terminal as it was")
    assert terminal.wait() == 0
    release(CLUSTER, "wide-" + 200 * "x")
    release(CLUSTER, "wide-\u200fa")


@test
def top_ends_with_a_signal_and_restores_the_terminal():
    terminal = top_on_terminal()
    terminal.read(lambda text: "q quit" in text, "a picture")
    os.write(terminal.fd, b"\x03")
    terminal.read(lambda text: "\x1b[?1049l" in text, "the terminal as it was")
    assert terminal.wait() == 0


@test
def top_without_a_terminal_prints_one_picture_below_the_other():
    process = subprocess.Popen(CLUSTER.command("top", "--interval", "100ms"), stdout=subprocess.PIPE, text=True,
                               stdin=subprocess.DEVNULL, env=CLUSTER.environment(TERM="dumb"))
    pictures = 0
    while pictures < 3:
        line = process.stdout.readline()
        assert line and "\x1b" not in line, line
        pictures += line.startswith("NODE")
    process.stdout.close()  # nobody reads any more
    assert process.wait(60) in (71, -signal.SIGPIPE)


@test
def top_says_what_is_missing_without_a_quorum():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        for number in (1, 2):
            cluster.kill9(number)
        wait_until(lambda: cluster.status() and cluster.status()["leader_id"] is None, 60, "nobody serves")
        run = expect(cluster.netlock("top", "--once", "--timeout", "1s"), 69, "no leader serves")
        assert run.stdout.count("unreachable") == 2, run


# ---- drain

@test
def a_drained_leader_hands_over_and_leads_no_more():
    acquire(CLUSTER, "kept")
    leader = CLUSTER.leader()
    run = expect(CLUSTER.netlock("drain", str(leader)), 0)
    # The others may have come back a moment ago, and lack something yet.
    assert re.search(rf"node {leader} drains(; node [^{leader}] leads|, but no other node has taken over yet)",
                     run.stdout), run
    wait_until(lambda: CLUSTER.leader() not in (0, None, leader), 60, "another node leads")
    expect(CLUSTER.netlock("cluster", "status"), 0, "follower, draining")
    other = CLUSTER.leader()
    expect(CLUSTER.netlock("drain", str(other)), 0)
    third = wait_until(lambda: {CLUSTER.leader()} - {leader, other}, 60, "the only one that may lead does").pop()
    expect(CLUSTER.netlock("drain", str(third)), 0)  # all three: it goes round, and they serve all the same
    expect(CLUSTER.netlock("run", "x", "--", "true"), 0)
    for number in (leader, other, third):
        expect(CLUSTER.netlock("drain", "--undo", CLUSTER.address(number)), 0, "does not drain any more")
    wait_until(lambda: not any(node["draining"] for node in CLUSTER.status()["nodes"]), 60, "nobody drains")
    CLUSTER.wait_serving()
    release(CLUSTER, "kept")
    for number in (leader, other, third):
        said = re.findall(r"audit (drain\S*) peer=", CLUSTER.log_text(number))
        assert said == ["drain", "drain-undone"], said


@test
def a_node_that_is_alone_goes_on_serving():
    with Cluster(nodes=1, build=BUILD) as cluster:
        cluster.start()
        run = expect(cluster.netlock("drain", "1", "--timeout", "1s"), 69)
        assert "no other node has taken over" in run.stdout, run
        expect(cluster.netlock("run", "x", "--", "true"), 0)
        cluster.restart(1)
        cluster.wait_serving()
        assert not node_of(cluster, 1)["draining"]


@test
def a_drained_node_is_not_ready_for_load_balancers():
    port = Port()
    with Cluster(nodes=1, build=BUILD, options={"http-listen": port.address}) as cluster:
        cluster.start()

        def readyz():
            try:
                with urllib.request.urlopen(f"http://{port.address}/readyz", timeout=30) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()
        assert readyz()[0] == 200
        expect(cluster.netlock("drain", "1", "--timeout", "100ms"), 69)
        assert readyz() == (503, b"draining\n")
        expect(cluster.netlock("drain", "--undo", "1"), 0)
        assert readyz()[0] == 200
    port.close()


@test
def a_drained_node_stops_in_order():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        leader = cluster.leader()
        expect(cluster.netlock("drain", str(leader)), 0)
        assert cluster.stop(leader) == 0
        expect(cluster.netlock("drain", str(leader)), 69)
        expect(cluster.netlock("drain", "77"), 69, "knows of a node '77'")
        expect(cluster.netlock("drain"), 64, "which node")


# ---- log-level

@test
def the_log_level_of_one_node_changes():
    expect(CLUSTER.netlock("log-level", "2"), 0, "info")
    expect(CLUSTER.netlock("log-level", "2", "debug"), 0)
    expect(CLUSTER.netlock("log-level", "2"), 0, "debug")
    expect(CLUSTER.netlock("log-level", "1"), 0, "info")
    wait_until(lambda: re.search(r"audit log-level-asked peer=\S+ level=debug", CLUSTER.log_text(2)) and
               " debug " in CLUSTER.log_text(2), 60, "it says more")
    expect(CLUSTER.netlock("log-level", "--json", CLUSTER.address(2)), 0, '"log_level": "debug"')
    expect(CLUSTER.netlock("log-level", "2", "info"), 0)
    expect(CLUSTER.netlock("log-level", "2", "loud"), 64, "none of error, warning, info, debug")


@test
def the_log_level_of_the_configuration_counts_after_a_reload():
    with Cluster(nodes=1, build=BUILD) as cluster:
        cluster.start()

        def level():
            return cluster.netlock("log-level", "1").stdout.strip()
        with open(cluster.config(1), "a", encoding="utf-8") as file:
            file.write("log-level = warning\n")
        cluster.hangup(1)
        wait_until(lambda: level() == "warning", 60, "the file's level")
        with open(cluster.config(1), "a", encoding="utf-8") as file:
            file.write("no-such-key = 1\n")
        cluster.hangup(1)
        wait_until(lambda: "config-not-reread" in cluster.log_text(1), 60, "the mistake is told")
        assert level() == "warning"


@test
def only_an_administrator_sets_anything():
    with Cluster(nodes=1, build=BUILD, tls=True) as cluster:
        rules = cluster.file("acl")
        with open(rules, "w", encoding="utf-8") as file:
            file.write("allow tester read,write,status *\n")
        with open(cluster.config(1), "a", encoding="utf-8") as file:
            file.write(f"acl-file = {rules}\n")
        cluster.start()
        expect(cluster.netlock("log-level", "1", "debug"), 77)
        expect(cluster.netlock("drain", "1"), 77)
        assert not node_of(cluster, 1)["draining"]
        assert "audit drain" not in cluster.log_text(1)


def main():
    global BUILD, CLUSTER  # pylint: disable=global-statement
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    with Cluster(nodes=3, build=BUILD) as CLUSTER:
        CLUSTER.start()
        return test.run(*sys.argv[2:], on_failure=CLUSTER.keep)


if __name__ == "__main__":
    sys.exit(main())
