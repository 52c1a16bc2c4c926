"""Rows 57 to 67 of catalogue.py: configuration, certificates, permissions, command line and signals. Beside
the node of the client rows, which serves all along."""

import contextlib
import os
import signal
import socket
import subprocess

from catalogue_rows import GRANTED, WAIT, Talker, covered, expect, row, wait_free, wait_log
from procs import HOST, Cluster, wait_until

REFUSED = 2


def netlockd(node, *arguments):
    return subprocess.run([os.path.join(node.build, "src", "netlockd"), *arguments], timeout=WAIT,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
                          env=node.cluster.environment(HOME=node.cluster.directory))


def expect_refused(run, *says):
    """With one line that says it all."""
    assert run.returncode == REFUSED, run
    for words in says:
        assert words in run.stderr, (words, run)


def file_refused(node, content, *says):
    path = node.cluster.file("bad.conf")
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    run = netlockd(node, "--config", path, "--check")
    expect_refused(run, path, *says)
    assert run.stderr.count("\n") == 1, run


def flags_refused(node, flags, *says):
    expect_refused(netlockd(node, "--check", *flags), *says)


@row(57, "no file, a directory, a sparse 1 GB, binary, NUL, UTF-16", "refused with file and line", "client")
def _(node):
    for path, says in (("/nonexistent/x", "No such file"), (node.cluster.directory, "directory")):
        flags_refused(node, ["--config", path], path, says)
    huge = node.cluster.file("huge.conf")
    with open(huge, "wb") as file:
        file.truncate(1 << 30)
    flags_refused(node, ["--config", huge], huge)
    os.unlink(huge)
    file_refused(node, b"\x7fELF\x02\x01\x01", ":1:")
    file_refused(node, b"node-id = 1\nclus\0ter = a\n", ":2:")
    file_refused(node, "node-id = 1\n".encode("utf-16"), ":1:")


@row(57, "an empty file, CRLF, a byte order mark, no last newline", "taken", "client")
def _(node):
    path = node.cluster.file("odd.conf")
    for content in (b"", b"node-id = 2\r\ncluster = a\r\nmember = 2 localhost:1 localhost:2\r\n", b"\xef\xbb\xbfcluster = a\n", b"cluster = a"):
        with open(path, "wb") as file:
            file.write(content)
        run = netlockd(node, "--config", path, "--check")
        assert run.returncode == 0, (content, run)


@row(58, "unknown and double keys, numbers and durations that are none", "refused with line and range",
     "client")
def _(node):
    for line, says in (("colour = red", "no such key"), ("node-id = 1\nnode-id = 1", "given twice"),
                       ("node-id = 0", "from 1"), ("node-id = -1", "from 1"), ("node-id = 1x", "from 1"),
                       ("node-id = 99999999999999999999", "from 1"), ("leader-lease = 10 minutes", "from 100ms"),
                       ("leader-lease = 10M", "from 100ms"), ("frame-timeout = -1s", "from 10ms"),
                       ("leader-lease = 18446744073709551615h", "from 100ms"),
                       ("insecure-listen = maybe", "neither yes nor no"), ("log-level = loud", "not one of"),
                       ("nonsense", "key = value"), ("[section]", "sections"),
                       ("cluster = " + "x" * 200, "longer than")):
        file_refused(node, "# a comment\n" + line + "\n", f":{2 + line.count(chr(10))}:", says)


@row(59, "ports 65536, none, in use; names that do not resolve; one port for both", "refused, named",
     "client")
def _(node):
    data = node.cluster.file("port-data")
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        used = "%s:%d" % taken.getsockname()
        for listen, says in ((used, "in use"), (HOST + ":65536", "listen"), (HOST, "listen"),
                             ("no-such-host.invalid:1", "no-such-host.invalid"), ("[::1:1", "listen")):
            run = netlockd(node, "--listen", listen, "--peer-listen", "localhost:0", "--data-dir", data)
            expect_refused(run, says)
        run = netlockd(node, "--listen", HOST + ":0", "--peer-listen", used, "--data-dir", data)
        expect_refused(run, "in use")
    free = node.free_address()
    expect_refused(netlockd(node, "--listen", free, "--peer-listen", free, "--data-dir", data), free)


@row(60, "members: without this node, twice the id, twice the address, 65", "refused", "client")
def _(node):
    def members(*numbers):
        return "".join(f"member = {n} a{n}:1 b{n}:1\n" for n in numbers)
    file_refused(node, members(2, 3), "node-id")
    file_refused(node, "node-id = 1\n" + members(2, 3), "node")
    file_refused(node, members(1, 2, 2), ":3:", "there twice")
    file_refused(node, members(1) + "member = 2 a1:1 c:1\n", ":2:", "share an address")
    file_refused(node, members(*range(1, 100)), "more than")
    file_refused(node, "member = 1 a:1\n", ":1:")
    flags_refused(node, ["--member", ""], "member")


@row(60, "2 and 4 members", "taken, and warned", "client")
def _(node):
    for count in (2, 4):
        flags = [word for n in range(1, count + 1) for word in ("--member", f"{n} localhost:{n} localhost:{n + 10}")]
        run = netlockd(node, "--check", "--cluster", "a", "--node-id", "1", *flags)
        assert run.returncode == 0 and "even-members" in run.stderr, run


@row(61, "a lease below 100 ms, a default timeout above the maximum", "refused", "client")
def _(node):
    flags_refused(node, ["--leader-lease", "99ms"], "from 100ms")
    flags_refused(node, ["--lock-timeout-default", "2h", "--lock-timeout-max", "1h"], "lock-timeout")


covered(62, "keys that others can read, of another certificate, expired, missing", "refused with the reason",
        "tls_ports:a_node_refuses_to_start_with_bad_certificates",
        "tls_files:the_key_of_another_certificate_is_refused",
        "tls_files:a_key_with_a_passphrase_is_refused",
        "tls_files:a_key_that_others_can_read_is_refused",
        "tls_files:a_certificate_that_others_would_refuse_is_refused")


@row(63, "a public address without TLS", "refused without insecure-listen", "client")
def _(node):
    for key in ("listen", "peer-listen"):
        flags_refused(node, [f"--{key}", "0.0.0.0:7670"], "insecure-listen")
    flags_refused(node, ["--listen", "[::]:7670"], "insecure-listen")


@row(64, "an ACL and tokens with a wrong line, then SIGHUP", "all stays as it was", "client")
def _(node):
    for rules in (node.RULES + "allow nonsense\n", "deny anonymous * *\n\0", "permit a * *\n"):
        after = len(node.cluster.log_text(1))
        node.write_acl(rules)
        node.cluster.hangup(1)
        wait_log(node.cluster, 1, "reload-refused", after)
        with Talker(node.address) as talker:
            expect(talker.lock("a"), GRANTED)
    after = len(node.cluster.log_text(1))
    node.write_acl(node.RULES)
    node.cluster.hangup(1)
    wait_log(node.cluster, 1, "reloaded", after)


@row(65, "--help, --version; unknown, empty and incomplete options", "exit status 0; 2", "client")
def _(node):
    for flag in ("--help", "--version", "-h"):
        run = netlockd(node, flag)
        assert run.returncode == 0 and run.stdout and not run.stderr, run
    for flags in (["--frobnicate"], ["--listen"], ["word"], [""], ["--node-id", ""], ["--config", ""],
                  ["--config"], ["--cluster", ""], ["--listen", ""], ["restore"], ["check-data"]):
        run = netlockd(node, *flags)
        assert run.returncode == REFUSED and run.stderr, (flags, run)


covered(65, "the command line of clients: unknown, empty, incomplete", "exit status 64, and how it goes",
        "cli:mistakes_on_the_command_line_give_64")


def run_ends(node, name, command, status):
    run = node.cluster.netlock("run", name, "--", *command)
    assert run.returncode == status, run
    wait_free(node.address, name)


@row(66, "netlock run: no such command, killed, leaves a child; SIGINT, SIGTERM, SIGPIPE", "its status, freed",
     "client")
def _(node):
    run_ends(node, "missing", ["/nonexistent/command"], 127)
    run_ends(node, "directory", [node.cluster.directory], 126)
    run_ends(node, "killed", ["sh", "-c", "kill -9 $$"], 137)
    run_ends(node, "status", ["sh", "-c", "exit 42"], 42)
    run_ends(node, "forks", ["sh", "-c", "sleep 0.1 & exit 7"], 7)
    for number in (signal.SIGINT, signal.SIGTERM):
        run = node.cluster.spawn("run", "endless", "--", "sh", "-c", "echo on; exec sleep 1000")
        assert run.stdout.readline() == "on\n"
        run.send_signal(number)
        run.communicate(timeout=WAIT)
        assert run.returncode == 128 + number, run.returncode
        wait_free(node.address, "endless")
    run = node.cluster.spawn("run", "pipe", "--", "sh", "-c", "echo on; cat >/dev/null; exec yes")
    assert run.stdout.readline() == "on\n"
    run.stdout.close()
    run.stdin.close()
    assert run.wait(WAIT) == 128 + signal.SIGPIPE
    run.stderr.close()
    wait_free(node.address, "pipe")


# ---- signals


@row(67, "200 SIGHUPs in a row", "it serves on", "client")
def _(node):
    after = len(node.cluster.log_text(1))
    for _ in range(200):
        node.cluster.hangup(1)
    wait_log(node.cluster, 1, "reloaded", after)


@row(67, "SIGHUPs until it has ended, after SIGTERM", "it ends in order", "client")
def _(node):
    with Cluster(build=node.build) as one:
        one.start_node(1)
        one.wait_serving()
        one.signal(1, signal.SIGTERM)
        while one.is_running(1):
            with contextlib.suppress(ProcessLookupError):
                one.signal(1, signal.SIGHUP)
        assert one._nodes[1].process.returncode == 0, one.log_text(1)[-2000:]


@row(67, "started a second time", "refused with the pid of the first", "client")
def _(node):
    run = netlockd(node, "--config", node.cluster.config(1), "--listen", HOST + ":0")
    expect_refused(run, str(node.process))


@row(67, "SIGTERM twice; SIGTERM while snapshots are taken", "it ends in order, nothing is lost", "client")
def _(node):
    with Cluster(build=node.build, options={"snapshot-threshold": 8, "snapshot-trailing": 8}) as one:
        for number in range(3):
            one.start_node(1)
            one.wait_serving()
            run = one.netlock("acquire", "--client-id", "keeper", "--ttl", "unlimited", f"kept-{number}")
            assert run.returncode == 0, run
            with Talker(one.address(1)) as talker, contextlib.suppress(AssertionError):
                for _ in range(20):
                    talker.lock("a")
                    talker.release("a")
            one.signal(1, signal.SIGTERM)
            with contextlib.suppress(ProcessLookupError):
                one.signal(1, signal.SIGTERM)
            wait_until(lambda: not one.is_running(1), WAIT, "the node ends")
            assert one._nodes[1].process.returncode == 0, one.log_text(1)[-2000:]
        one.start_node(1)
        one.wait_serving()
        for number in range(3):
            with Talker(one.address(1)) as talker:
                assert talker.lock(f"kept-{number}").name != GRANTED, f"kept-{number} is lost"
