#!/usr/bin/env python3
"""The netlock command line against real netlockd processes.

    tests/test_cli.py BUILD_DIRECTORY [PART_OF_A_TEST_NAME]
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kept_port import HOST, Port  # noqa: E402
from procs import Cluster, Suite, wait_until  # noqa: E402

CONFLICT, USAGE, UNAVAILABLE, DENIED, LOST = 1, 64, 69, 77, 79
ONE = None  # the single node that most tests share
BUILD = None
SCRATCH = None

test = Suite()


class Holder:
    """A `netlock run` whose command has started and goes on until the end of its stdin."""

    def __init__(self, name, *options, cluster=None, command=("sh", "-c", "echo started; exec cat")):
        cluster = cluster or ONE
        # As a job of its own: what it might do to its process group must not hit this test.
        self.process = cluster.spawn("run", *options, name, "--", *command, process_group=0)
        line = self.process.stdout.readline()
        assert line == "started\n", (line, self.process.stderr.read() if not line else "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Ends the command and returns the exit status of netlock."""
        if self.process.stdin and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def errors(self):
        return self.process.stderr.read()


def status_of(name, cluster=None):
    run = (cluster or ONE).netlock("status", "--json", name)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def wait_queued(name, count=1):
    wait_until(lambda: status_of(name)["queue_length"] == count, 60, f"{count} wait for {name}")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def expect(run, status, out=None, err=None):
    """A CompletedProcess ended with @status and has the texts in its output."""
    what = (run.args, run.returncode, run.stdout, run.stderr)
    assert run.returncode == status, what
    assert out is None or out in run.stdout, what
    assert err is None or err in run.stderr, what


def expect_same(found, expected):
    assert found == expected, (found, expected)


# ---- run: exclusion


@test
def two_runs_of_one_lock_do_not_overlap():
    path = os.path.join(SCRATCH, "overlap")
    script = f"echo in >>{path}; sleep 0.1; echo out >>{path}"
    runs = [ONE.spawn("run", "overlap", "--", "sh", "-c", script) for _ in range(4)]
    assert [run.wait(60) for run in runs] == [0] * 4
    with open(path, encoding="ascii") as file:
        assert file.read().split() == ["in", "out"] * 4


@test
def nonblock_gives_1_at_once_and_says_nothing():
    with Holder("nonblock"):
        run = ONE.netlock("run", "-n", "nonblock", "--", "echo", "ran")
        expect(run, CONFLICT)
        assert run.stdout == "" and run.stderr == ""


@test
def nonblock_with_verbose_says_why():
    with Holder("nonblock-v"):
        expect(ONE.netlock("run", "-v", "-n", "nonblock-v", "--", "true"), CONFLICT, err="nonblock-v")


@test
def conflict_exit_code_can_be_chosen():
    with Holder("code"):
        expect(ONE.netlock("run", "-n", "-E", "33", "code", "--", "true"), 33)
        expect(ONE.netlock("run", "-v", "-n", "-E", "35", "code", "--", "true"), 35)
        expect(ONE.netlock("run", "-w", "100ms", "-E", "34", "code", "--", "true"), 34)


@test
def wait_ends_after_its_time():
    with Holder("wait"):
        start = time.monotonic()
        expect(ONE.netlock("run", "-w", "0.4", "wait", "--", "true"), CONFLICT)
        assert time.monotonic() - start >= 0.4
        assert status_of("wait")["queue_length"] == 0


@test
def wait_of_zero_is_a_try():
    with Holder("wait-zero"):
        expect(ONE.netlock("run", "-w", "0", "wait-zero", "--", "true"), CONFLICT)
    expect(ONE.netlock("run", "-w", "0", "wait-zero", "--", "true"), 0)


@test
def waiter_runs_when_the_holder_ends():
    with Holder("turn") as holder:
        waiter = ONE.spawn("run", "turn", "--", "echo", "my turn")
        wait_queued("turn")
        assert holder.end() == 0
        out, _ = waiter.communicate(timeout=60)
        assert out == "my turn\n" and waiter.returncode == 0


@test
def waiting_is_told_with_place_and_holder():
    with Holder("queue", "--info", "the first of all"):
        waiter = ONE.spawn("run", "-v", "queue", "--", "true")
        wait_queued("queue")
        line = wait_until(lambda: next((text for text in iter(waiter.stderr.readline, "")
                                        if "waiting" in text), None), 60, "a line on stderr")
        assert "waiting for queue: 1st in the queue, held by the first of all for " in line, line
    assert waiter.wait(60) == 0


@test
def readers_share_and_a_writer_does_not():
    with Holder("shared", "-s"):
        expect(ONE.netlock("run", "-s", "-n", "shared", "--", "true"), 0)
        expect(ONE.netlock("run", "-n", "shared", "--", "true"), CONFLICT)


@test
def counting_lock_lets_n_in_and_gives_each_a_slot():
    show = ("sh", "-c", "echo started; echo $NETLOCK_SLOT; exec cat")
    with Holder("count", "--limit", "2", command=show) as a, \
            Holder("count", "--limit", "2", command=show) as b:
        slots = {a.process.stdout.readline(), b.process.stdout.readline()}
        assert slots == {"0\n", "1\n"}, slots
        expect(ONE.netlock("run", "-n", "--limit", "2", "count", "--", "true"), CONFLICT)
        expect(ONE.netlock("run", "-n", "--limit", "3", "count", "--", "true"), USAGE)


# ---- run: the command


@test
def status_of_the_command_is_passed_on():
    for status in (0, 1, 42, 255):
        expect(ONE.netlock("run", "status", "--", "sh", "-c", f"exit {status}"), status)


@test
def a_killed_command_gives_128_and_the_signal():
    expect(ONE.netlock("run", "killed", "--", "sh", "-c", "kill -KILL $$"), 128 + 9)
    expect(ONE.netlock("run", "killed", "--", "sh", "-c", "kill -TERM $$"), 128 + 15)


@test
def a_command_that_cannot_start_gives_127_or_126():
    expect(ONE.netlock("run", "exec", "--", "/nonexistent/command"), 127, err="/nonexistent/command")
    expect(ONE.netlock("run", "exec", "--", "/etc/passwd"), 126, err="/etc/passwd")
    assert status_of("exec")["state"] == "free"


@test
def stdin_is_passed_to_the_command():
    expect(ONE.netlock("run", "stdin", "--", "cat", input="through\n"), 0, out="through\n")


@test
def command_line_is_passed_without_a_shell():
    expect(ONE.netlock("run", "words", "printf", "%s|", "a b", "$HOME", "-n", "--"), 0,
           out="a b|$HOME|-n|--|")


@test
def environment_tells_of_the_lock():
    run = ONE.netlock("run", "environment", "--", "env")
    found = dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)
    assert found["NETLOCK_NAME"] == "environment"
    assert found["NETLOCK_SLOT"] == "0"
    assert int(found["NETLOCK_TOKEN"]) > 0
    assert len(found["NETLOCK_CLIENT_ID"]) == 32
    assert found["NETLOCK_SERVERS"] == ONE.servers
    later = ONE.netlock("run", "environment", "--", "sh", "-c", "echo $NETLOCK_TOKEN")
    assert int(later.stdout) > int(found["NETLOCK_TOKEN"])


@test
def signals_are_forwarded_to_the_whole_group():
    for name in ("TERM", "INT", "HUP", "USR1", "USR2"):
        # The inner shell is not netlock's child; only a signal to the group reaches it.
        inner = f"trap 'echo inner; exit 0' {name}; echo started; while :; do sleep 0.05; done"
        outer = f"trap 'echo outer' {name}; sh -c \"$1\"; exit 7"
        with Holder("signals", command=("sh", "-c", outer, "sh", inner)) as holder:
            holder.process.send_signal(getattr(signal, "SIG" + name))
            out, err = holder.process.communicate(timeout=60)
            assert "inner" in out and "outer" in out, (name, out, err)
            assert holder.process.returncode == 7


@test
def signals_that_netlock_was_told_to_ignore_stay_ignored():
    with Holder("nohup") as holder:
        command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh",
                   *ONE.command("run", "nohup", "--", "sh", "-c", "kill -HUP $$; echo ran")]
        with subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, env=ONE.environment()) as waiter:
            wait_queued("nohup")
            waiter.send_signal(signal.SIGHUP)
            waiter.send_signal(signal.SIGUSR1)  # passed on to the command, and there is none yet
            time.sleep(0.2)
            assert holder.end() == 0
            out, _ = waiter.communicate(timeout=60)
            expect_same((waiter.returncode, out), (0, "ran\n"))


@test
def a_signal_ends_the_waiting():
    with Holder("interrupt"):
        waiter = ONE.spawn("run", "interrupt", "--", "echo", "ran")
        wait_queued("interrupt")
        waiter.send_signal(signal.SIGINT)
        assert waiter.wait(60) == -signal.SIGINT
        assert waiter.stdout.read() == ""
        wait_queued("interrupt", 0)


@test
def lock_is_kept_until_the_whole_group_is_gone():
    path, gate = os.path.join(SCRATCH, "group"), os.path.join(SCRATCH, "gate")
    script = (f"(while [ ! -e {gate} ]; do sleep 0.05; done; echo last >>{path}) & "
              "echo started; exit 5")
    with Holder("group", command=("sh", "-c", script)) as holder:
        time.sleep(0.2)
        expect(ONE.netlock("run", "-n", "group", "--", "true"), CONFLICT)
        waiter = ONE.spawn("run", "group", "--", "cat", path)
        wait_queued("group")
        with open(gate, "w", encoding="ascii"):
            pass
        out, _ = waiter.communicate(timeout=60)
        expect_same((waiter.returncode, out), (0, "last\n"))
        assert holder.end() == 5


@test
def killing_netlock_kills_the_command_and_frees_the_lock():
    with Holder("kill9", command=("sh", "-c", "echo started; echo $$; exec sleep 1000")) as holder:
        pid = int(holder.process.stdout.readline())
        holder.process.kill()
        expect(ONE.netlock("run", "-w", "30", "kill9", "--", "true"), 0)
        wait_until(lambda: not is_alive(pid), 30, "the command is dead")
        assert holder.end() == -signal.SIGKILL


@test
def a_command_stopped_by_hand_keeps_its_lock():
    with Holder("stopped", "--ttl", "3s", command=("sh", "-c", "echo started; echo $$; exec cat")) as h:
        pid = int(h.process.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        expect(ONE.netlock("run", "-n", "stopped", "--", "true"), CONFLICT)
        h.process.send_signal(signal.SIGCONT)
        assert h.end() == 0


# ---- run: losing the lock


@test
def a_broken_lock_kills_the_command_and_exits_79():
    with Holder("victim", command=("sh", "-c", "echo started; echo $$; sleep 1000 & wait")) as holder:
        pid = int(holder.process.stdout.readline())
        expect(ONE.netlock("break", "--yes", "victim"), 0, out="1 hold broken")
        assert holder.process.wait(60) == LOST
        assert "the lock is lost" in holder.errors()
        assert not is_alive(pid)


@test
def on_lost_warn_lets_the_command_go_on():
    with Holder("warned", "--on-lost", "warn",
                command=("sh", "-c", "echo started; cat; exit 3")) as holder:
        expect(ONE.netlock("break", "--yes", "warned"), 0)
        assert "goes on without it" in wait_until(holder.process.stderr.readline, 60, "a warning")
        assert holder.end() == 3


@test
def a_cluster_that_is_silent_for_the_ttl_costs_the_lock():
    with Cluster(nodes=1, build=BUILD) as cluster:
        cluster.start()
        with Holder("silent", "--ttl", "3s", cluster=cluster) as holder:
            time.sleep(0.5)
            cluster.pause(1)
            assert holder.process.wait(60) == LOST
            assert "two thirds" in holder.errors()
        cluster.cont(1)


# ---- acquire, refresh, release


def shell(script, cluster=None, **env):
    cluster = cluster or ONE
    path = os.path.join(BUILD, "src") + os.pathsep + os.environ["PATH"]
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL,
                          env=cluster.environment(PATH=path, NETLOCK_SERVERS=cluster.servers, **env))


@test
def lock_taken_by_one_process_is_refreshed_and_released_by_others():
    run = shell('eval "$(netlock acquire three --ttl 60s)" && echo "token $NETLOCK_TOKEN" && '
                "netlock refresh three && ! netlock run -n three -- true && "
                "netlock release three && netlock run -n three -- echo free")
    expect(run, 0, out="free\n")
    assert int(run.stdout.split()[1]) > 0


@test
def second_release_and_refresh_after_it_give_1():
    run = shell('eval "$(netlock acquire twice)"; netlock release twice || exit 9; '
                "netlock release twice; echo $?; netlock refresh twice; echo $?")
    expect(run, 0, out="1\n1\n")


@test
def acquired_lock_ends_with_its_ttl():
    expect(shell("netlock acquire short --ttl 2s && netlock run -w 20 short -- echo mine"), 0,
           out="mine\n")
    run = shell('eval "$(netlock acquire late --ttl 2s)"; sleep 3; netlock refresh late')
    expect(run, CONFLICT)


@test
def refresh_can_set_another_ttl():
    expect(shell("export NETLOCK_CLIENT_ID=longer; netlock acquire longer --ttl 10s >/dev/null && "
                 "netlock refresh longer --ttl 1h"), 0)
    assert status_of("longer")["holders"][0]["ttl_ms"] == 3600000


@test
def acquiring_again_as_the_same_client_keeps_the_token():
    run = shell("export NETLOCK_CLIENT_ID=again; netlock acquire --json again; "
                "netlock acquire --json again")
    first, second = run.stdout.split("}\n")[:2]
    assert json.loads(first + "}")["token"] == json.loads(second + "}")["token"], run


@test
def release_with_another_token_frees_nothing():
    expect(shell("export NETLOCK_CLIENT_ID=careful; netlock acquire careful >/dev/null && "
                 "netlock release careful --token 1"), CONFLICT)
    assert status_of("careful")["state"] == "held"


@test
def acquire_of_a_held_lock_gives_1_or_the_chosen_code():
    with Holder("taken"):
        expect(ONE.netlock("acquire", "-n", "taken"), CONFLICT)
        expect(ONE.netlock("acquire", "-w", "100ms", "-E", "5", "taken"), 5)


@test
def release_without_a_client_id_is_a_mistake():
    expect(ONE.netlock("release", "whose"), USAGE, err="NETLOCK_CLIENT_ID")
    expect(ONE.netlock("refresh", "whose"), USAGE, err="NETLOCK_CLIENT_ID")


@test
def client_ids_are_quoted_for_the_shell():
    run = shell("eval \"$(netlock acquire quoted --client-id \"it's \\$(id)\")\"; "
                'echo "$NETLOCK_CLIENT_ID"; netlock release quoted')
    expect(run, 0, out="it's $(id)\n")


# ---- looking


@test
def status_shows_holder_and_queue():
    with Holder("looked-at", "--info", "deploy of Friday", "--ttl", "2m"):
        waiter = ONE.spawn("run", "looked-at", "--", "true")
        wait_queued("looked-at")
        status = status_of("looked-at")
        holder = status["holders"][0]
        assert status["state"] == "held" and status["type"] == "write"
        assert holder["owner_info"] == "deploy of Friday" and holder["connected"]
        assert holder["ttl_ms"] == 120000 and 0 < holder["remaining_ms"] <= 120000
        expect(ONE.netlock("status", "looked-at"), 0, out="held for writing by 1, 1 waiting")
    assert waiter.wait(60) == 0
    expect(ONE.netlock("status", "looked-at"), 0, out="free")


@test
def status_marks_the_own_hold():
    run = shell('eval "$(netlock acquire own)"; netlock status --json own')
    assert json.loads(run.stdout)["holders"][0]["own"] is True
    assert status_of("own")["holders"][0]["own"] is False


@test
def list_is_json_in_the_order_of_names():
    names = [f"list/{i:04}" for i in range(20)]
    for name in names:
        expect(ONE.netlock("acquire", "--client-id", "lister", name), 0)
    run = ONE.netlock("list", "--json", "list/")
    assert [item["name"] for item in json.loads(run.stdout)] == names
    assert len(json.loads(ONE.netlock("list", "--json", "--max", "3", "list/").stdout)) == 3
    assert json.loads(ONE.netlock("list", "--json", "no such/").stdout) == []
    table = ONE.netlock("list", "list/").stdout.splitlines()
    assert table[0].split()[0] == "NAME" and [row.split()[0] for row in table[1:]] == names


@test
def names_cannot_play_tricks_on_the_terminal():
    name = 'trick "\\\u202e\u00e9'
    with Holder(name, "--info", "\u2066hidden"):
        run = ONE.netlock("status", name)
        expect(run, 0, out='trick "\\\\\\u{202e}\u00e9: held')
        assert "\\u{2066}hidden" in run.stdout
        assert status_of(name)["name"] == name
        assert json.loads(ONE.netlock("list", "--json", "trick").stdout)[0]["name"] == name


@test
def check_tells_current_superseded_and_free():
    run = shell('eval "$(netlock acquire checked)"; t=$NETLOCK_TOKEN; netlock check checked $t; '
                "echo $?; netlock release checked; netlock check checked $t; echo $?; "
                'netlock acquire checked >/dev/null; netlock check checked $t; echo $?')
    words = run.stdout.split()
    assert words[:4] == ["current", "0", "free", "1"], run
    assert words[4:6] == ["superseded", "by"] and int(words[6]) > 0 and words[7] == "1", run


@test
def break_asks_first_and_can_name_one_hold():
    with Holder("broken"):
        token = str(status_of("broken")["holders"][0]["token"])
        expect(ONE.netlock("break", "broken"), USAGE, err="--yes")
        expect(ONE.netlock("break", "--yes", "broken", "--token", str(int(token) + 1000)), CONFLICT)
        expect(ONE.netlock("break", "--yes", "--json", "broken", "--token", token), 0)
    expect(ONE.netlock("break", "--yes", "broken"), CONFLICT, out="0 holds")


# ---- mistakes, refusals, no cluster


@test
def mistakes_on_the_command_line_give_64():
    for words in (["nonsense"], [], ["run"], ["run", "x"], ["run", "x", "-n", "--", "true"],
                  ["run", "-w", "soon", "x", "--", "true"], ["run", "--ttl", "0", "x", "--", "true"],
                  ["run", "--on-lost", "cry", "x", "--", "true"], ["run", "-E", "256", "x", "true"],
                  ["run", "", "true"], ["run", "a\nb", "true"], ["run", "x" * 256, "true"],
                  ["status"], ["status", "a", "b"], ["check", "a"], ["check", "a", "-1"],
                  ["list", "a", "b"], ["cluster"], ["cluster", "statu"], ["acquire", "--ttl", "1y", "x"],
                  ["bench", "nonsense"], ["bench", "cycle", "hold"], ["bench", "--clients", "0"],
                  ["bench", "contend", "--depth", "2"], ["bench", "hold", "--rate", "5"],
                  ["status", "--frobnicate", "x"], ["--timeout", "0", "status", "x"]):
        run = ONE.netlock(*words)
        expect(run, USAGE, err="--help")
        assert run.stdout == "", words


@test
def every_command_has_a_manual():
    general = ONE.netlock("--help")
    expect(general, 0, out="Usage: netlock")
    for command in (["run"], ["acquire"], ["refresh"], ["release"], ["status"], ["list"], ["check"],
                    ["break"], ["cluster", "status"], ["bench"]):
        run = ONE.netlock(*command, "--help")
        expect(run, 0, out="Usage: netlock " + " ".join(command))
        assert "Example" in run.stdout and "Exit status" in run.stdout
        assert max(map(len, run.stdout.splitlines())) <= 85
        assert " ".join(command) in general.stdout
    expect(ONE.netlock("--version"), 0, out="netlock ")


@test
def without_a_server_everything_gives_69():
    closed = Port()
    for words in (["run", "x", "--", "true"], ["acquire", "x"], ["status", "x"], ["list"],
                  ["refresh", "--client-id", "x", "x"], ["cluster", "status"], ["bench"]):
        run = ONE.netlock("--servers", closed.address, "--timeout", "500ms", *words)
        expect(run, UNAVAILABLE)
    closed.close()


@test
def errors_are_objects_with_json():
    run = ONE.netlock("--client-id", "nobody", "--json", "release", "never held")
    expect(run, CONFLICT)
    error = json.loads(run.stdout)
    assert error["exit"] == CONFLICT and error["name"] == "never held" and error["error"]


@test
def the_client_of_a_run_cannot_be_used_by_others():
    run = ONE.netlock("run", "secret", "--", *ONE.command("acquire", "another"))
    expect(run, DENIED, err="--client-id")


# ---- terminals


class Terminal:
    """A command on a pseudo terminal of its own."""

    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**ONE.environment(), "TERM": "dumb", "PS1": "ready> "})
        self.seen = ""
        self.ended = None

    def type(self, text):
        os.write(self.fd, text.encode())

    def insist(self, line, reaction):
        """Type @line to a shell that just takes its terminal back from a stopped job, again and again: one
        of ten that come at once is lost, with any job. Soon, for the cluster waits ten seconds for who is stopped."""
        for _ in range(5):
            self.type(line)
            try:
                return self.expect(reaction, timeout=1)
            except AssertionError:
                pass
        return self.expect(reaction)

    def expect(self, text, timeout=60):
        """Read until @text has come; forget everything up to it, and return what came before."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            try:
                more = os.read(self.fd, 4096) if ready else b""
            except OSError:
                more = b""
            if not more:
                raise AssertionError(f"no {text!r} on the terminal, but {self.seen!r}")
            self.seen += more.decode(errors="replace")
        before, self.seen = self.seen.split(text, 1)
        return before

    def rest(self):
        """What comes until the command ends."""
        try:
            self.expect("\0")
        except AssertionError:
            return self.seen

    def end(self, timeout=60):
        """The wait status of the command."""
        def ended():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (status,) if pid else None
        self.ended = wait_until(ended, timeout, "the command on the terminal ends")[0]
        return self.ended

    def close(self):
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@test
def command_has_the_terminal_and_its_keys():
    script = "set -- $(cat /proc/$$/stat); echo group $5 has it: $8; exec cat"
    terminal = Terminal(*ONE.command("run", "tty", "--", "sh", "-c", script))
    try:
        terminal.expect("group ")
        group, foreground = terminal.expect("\r\n").split(" has it: ")
        expect_same(foreground, group)
        terminal.type("typed\n")
        terminal.expect("typed\r\ntyped\r\n")
        terminal.type("\x03")
        assert os.WEXITSTATUS(terminal.end()) == 128 + signal.SIGINT
    finally:
        terminal.close()


@test
def what_cannot_be_undone_is_asked_about():
    for verb, question, nothing in (("break", "Break every hold of 9?", "0 holds broken"),
                                    ("client kill", "Kill client 9?", "there is no such client"),
                                    ("cluster remove", "Remove node 9?", "is no member")):
        expect(ONE.netlock(*verb.split(), "9"), USAGE, err="say --yes")
        for answer in ("no\n", "\n", "\x04", "yes\n"):
            terminal = Terminal(*ONE.command(*verb.split(), "9"))
            try:
                terminal.expect(question + " [y/N] ")
                terminal.type(answer)
                assert (nothing in terminal.rest()) == (answer == "yes\n"), (verb, answer)
                assert os.WEXITSTATUS(terminal.end()) == CONFLICT, (verb, answer)
            finally:
                terminal.close()


def stop(terminal):
    """Control-Z for cat(1), once it surely runs: a shell that is just forking it may not stop."""
    terminal.type("still here\n")
    terminal.expect("still here\r\nstill here\r\n")
    terminal.type("\x1a")


@test
def a_stopped_job_goes_on_in_the_foreground():
    terminal = Terminal("bash", "--norc", "--noediting", "-i")
    try:
        terminal.expect("ready> ")
        terminal.type(" ".join(ONE.command("run", "job", "--", "sh", "-c")) + " 'echo started; cat'\n")
        terminal.expect("\nstarted")
        stop(terminal)
        terminal.expect("Stopped")
        terminal.expect("ready> ")
        terminal.insist("fg; echo status $?\n", "netlock")
        terminal.type("awake\n")
        terminal.expect("awake\r\n")  # the terminal's echo
        terminal.expect("awake\r\n")  # and cat's
        terminal.type("\x04")
        terminal.expect("status 0\r\n")
    finally:
        terminal.close()


@test
def a_job_stopped_for_longer_than_its_ttl_is_killed_and_never_continued():
    path = os.path.join(SCRATCH, "asleep")
    terminal = Terminal("bash", "--norc", "--noediting", "-i")
    try:
        terminal.expect("ready> ")
        terminal.type(" ".join(ONE.command("run", "--ttl", "3s", "asleep", "--", "sh", "-c")) +
                      f" 'while :; do echo >>{path}; done'\n")
        wait_until(lambda: os.path.exists(path), 60, "the command writes")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.expect("ready> ")
        expect(ONE.netlock("run", "-w", "20", "asleep", "--", "true"), 0)
        written = os.path.getsize(path)
        terminal.insist("fg; echo status $?\n", "lock is lost")
        terminal.expect("status 79\r\n")
        expect_same(os.path.getsize(path), written)
    finally:
        terminal.close()


@test
def a_pipeline_keeps_the_terminal_until_the_command_reads():
    terminal = Terminal("bash", "--norc", "--noediting", "-i")
    try:
        terminal.expect("ready> ")
        terminal.type(" ".join(ONE.command("run", "pipeline", "--", "head", "-n", "1")) + " | cat\n")
        terminal.type("a line\n")
        terminal.expect("a line\r\na line\r\n")
        terminal.expect("ready> ")
        terminal.type("exit 0\n")
        terminal.end()
    finally:
        terminal.close()


# ---- three nodes


@test
def a_leader_change_goes_unnoticed_by_the_command():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        with Holder("failover", cluster=cluster) as holder:
            token = status_of("failover", cluster)["holders"][0]["token"]
            waiter = cluster.spawn("run", "failover", "--", "echo", "next")
            wait_until(lambda: status_of("failover", cluster)["queue_length"] == 1, 60, "a waiter")
            killed = cluster.leader()
            cluster.kill9(killed)
            assert cluster.leader() != killed
            status = status_of("failover", cluster)
            assert status["holders"][0]["token"] == token and status["queue_length"] == 1
            expect_same((holder.end(), holder.errors()), (0, ""))
        out, err = waiter.communicate(timeout=60)
        expect_same((waiter.returncode, out, err), (0, "next\n", ""))


@test
def cluster_status_shows_and_verifies_every_node():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        expect(cluster.netlock("acquire", "something"), 0)
        run = cluster.netlock("cluster", "status", "--verify")
        expect(run, 0, out="EQUAL: 3 of 3 nodes")
        hashes = {row.split()[-3] for row in run.stdout.splitlines()[1:4]}
        assert len(hashes) == 1, run.stdout

        status = json.loads(cluster.netlock("cluster", "status", "--json", "--verify").stdout)
        assert sorted(node["node_id"] for node in status["nodes"]) == [1, 2, 3]
        assert sorted(node["role"] for node in status["nodes"]) == ["follower", "follower", "leader"]
        assert status["verify"] == {"verdict": "EQUAL", "index": status["verify"]["index"],
                                    "compared": 3}

        # One address is enough: the others are learned from it.
        alone = cluster.netlock("--servers", cluster.address(1), "cluster", "status", "--json")
        assert len(json.loads(alone.stdout)["nodes"]) == 3

        cluster.kill9(1)
        cluster.leader()
        run = cluster.netlock("cluster", "status", "--verify")
        expect(run, 0, out="EQUAL: 2 of 3 nodes")
        assert "unreachable" in run.stdout


class LyingNode:
    """Passes connections on to a node, and changes the state hash in what it answers."""

    # checkpoint_index = 13 (varint) and checkpoint_hash = 14 (fixed64) of ClusterStatusResponse
    HASH = re.compile(rb"(\x68[\x80-\xff]*[\x00-\x7f]\x71)(.)", re.DOTALL)

    def __init__(self, address):
        self.listener = socket.create_server((HOST, 0))
        self.address = "%s:%d" % self.listener.getsockname()
        self.node = tuple(address.split(":"))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            node = socket.create_connection(self.node)
            for source, sink in ((client, node), (node, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(self.HASH.sub(lambda m: m[1] + bytes([m[2][0] ^ 1]), data))
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side is gone, and the other notices

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@test
def a_killed_client_loses_its_lock_and_run_its_command():
    with Holder("killed") as holder:
        client = status_of("killed")["holders"][0]["client_id"]
        clients = json.loads(ONE.netlock("client", "list", "--json", client).stdout)
        assert [c["client_id"] for c in clients] == [client], clients
        assert clients[0]["holds_count"] == 1 and clients[0]["connected"], clients
        expect(ONE.netlock("client", "kill", client), USAGE, err="--yes")
        expect(ONE.netlock("client", "kill", "--yes", client), 0)
        assert holder.process.wait(60) == LOST
    expect(ONE.netlock("client", "kill", "--yes", "nobody"), CONFLICT, err="no such client")
    expect(ONE.netlock("client"), USAGE, err="client list")


@test
def lists_go_on_after_a_name_and_show_only_queues():
    with Holder("filter-a"), Holder("filter-b"), Holder("filter-c"):
        waiter = ONE.spawn("run", "filter-b", "--", "true")
        wait_queued("filter-b")

        def names(*options):
            run = ONE.netlock("list", "--json", *options, "filter-")
            return [lock["name"] for lock in json.loads(run.stdout)]
        assert names() == ["filter-a", "filter-b", "filter-c"]
        assert names("--after", "filter-a") == ["filter-b", "filter-c"]
        assert names("--after", "filter-a", "--max", "1") == ["filter-b"]
        assert names("--waiting", "--max", "1") == ["filter-b"]
    waiter.communicate(timeout=60)
    clients = ONE.netlock("client", "list", "--max", "2").stdout.splitlines()
    assert clients[0].split() == ["CLIENT", "HOLDS", "WAITS", "CONNECTED"], clients
    assert 2 <= len(clients) <= 3, clients


@test
def the_log_level_changes_while_a_node_runs():
    with Cluster(nodes=1, build=BUILD) as cluster:
        cluster.start()
        said = []
        for which, level in ((signal.SIGUSR1, "debug"), (signal.SIGUSR1, "debug"), (signal.SIGUSR2, "info"),
                             (signal.SIGUSR2, "warning"), (signal.SIGUSR2, "error"), (signal.SIGUSR2, "error")):
            cluster.signal(1, which)
            said.append(level)
            wait_until(lambda: re.findall(r"audit log-level level=(\w+)", cluster.log_text(1)) == said, 60,
                       f"the level is {level}")
            expect(cluster.netlock("run", "x", "--", "true"), 0)
            if level == "debug":
                wait_until(lambda: "debug server client-hello" in cluster.log_text(1), 60, "debug lines")
        assert cluster.stop(1) == 0


@test
def a_break_is_in_the_audit_log_at_every_level():
    with Cluster(nodes=1, build=BUILD, options={"log-level": "error"}) as cluster:
        cluster.start()
        expect(cluster.netlock("acquire", "--client-id", "victim", "--ttl", "1m", "a lock"), 0)
        expect(cluster.netlock("break", "--yes", "a lock"), 0)
        log = cluster.log_text(1)
        for line in (r'audit break-asked peer=127\.0\.0\.1:\d+ lock="a lock" token=0',
                     r'audit hold-broken lock="a lock" client="victim" token=1 index=\d+',
                     r'audit break-done lock="a lock" holds=1 index=\d+'):
            assert re.search(line, log), (line, log)


@test
def a_node_with_another_state_is_found_out():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        follower = next(number for number in (1, 2, 3) if number != cluster.leader())
        liar = LyingNode(cluster.address(follower))
        run = cluster.netlock("--servers", liar.address, "cluster", "status", "--verify")
        liar.close()
        expect(run, 1, out="DIFFERENT")
        expect(cluster.netlock("cluster", "status", "--verify"), 0, out="EQUAL")


@test
def without_a_quorum_everything_gives_69():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        cluster.kill9(1)
        cluster.kill9(2)
        expect(cluster.netlock("--timeout", "2s", "run", "quorum", "--", "true"), UNAVAILABLE)
        wait_until(lambda: cluster.netlock("cluster", "status").returncode == UNAVAILABLE, 60,
                   "the last node knows that it does not lead")


def main():
    global ONE, BUILD, SCRATCH  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    SCRATCH = tempfile.mkdtemp(prefix="netlock-cli-")
    with Cluster(nodes=1, build=BUILD) as ONE:
        ONE.start()
        status = test.run(sys.argv[2] if len(sys.argv) > 2 else "", on_failure=ONE.keep)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
