#!/usr/bin/env python3
"""Backup and restore with real processes: under load, into a new cluster, and what is refused.

    tests/test_restore.py BUILD_DIRECTORY [PART_OF_A_TEST_NAME]
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from procs import Cluster, Suite, wait_until  # noqa: E402

REFUSED, FATAL = 2, 3
BUILD = None
SCRATCH = None

test = Suite()


def scratch(name):
    return os.path.join(SCRATCH, name)


def netlockd(*arguments):
    return subprocess.run([os.path.join(BUILD, "src", "netlockd"), *arguments], timeout=60,
                          capture_output=True, text=True, check=False)


def expect(run, status, out=""):
    assert run.returncode == status and out in run.stdout + run.stderr, (status, out, run)
    return run


def acquire(cluster, name, *more):
    """Take it for ten minutes; the token."""
    run = expect(cluster.netlock("acquire", "--client-id", "operator", "--ttl", "10m", *more, name), 0)
    return int(re.search(r"NETLOCK_TOKEN=(\d+)", run.stdout).group(1))


def release(cluster, name):
    expect(cluster.netlock("release", "--client-id", "operator", name), 0)


def holder_of(cluster, name):
    run = expect(cluster.netlock("status", "--json", name), 0)
    holders = json.loads(run.stdout)["holders"]
    return (holders[0]["client_id"], holders[0]["token"]) if holders else None


def backup(cluster, name):
    run = expect(cluster.netlock("backup", "--json", scratch(name)), 0)
    return scratch(name), json.loads(run.stdout)


def restore(cluster, file, numbers):
    """On every node, with the tokens of the first; the first token."""
    first = None
    for number in numbers:
        more = ["--tokens-from", str(first)] if first else []
        run = expect(netlockd("restore", file, *more, "--config", cluster.config(number)), 0)
        first = first or int(re.search(r"tokens from (\d+)", run.stdout).group(1))
    return first


class Load:
    """Clients that take and release locks; remembers the greatest token."""

    def __init__(self, cluster, clients=3):
        self.cluster, self.done, self.tokens = cluster, threading.Event(), []
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        while not self.done.is_set():
            run = self.cluster.netlock("run", f"load-{number}", "--", "sh", "-c", "echo $NETLOCK_TOKEN")
            if run.returncode == 0:
                self.tokens.append(int(run.stdout))

    def more(self, count):
        """Wait for so many grants from now on."""
        end = len(self.tokens) + count
        wait_until(lambda: len(self.tokens) >= end, 60, f"{count} grants under load")

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join()


@test
def a_backup_under_load_becomes_a_cluster_that_repeats_no_token():
    with Cluster(nodes=3, build=BUILD) as old:
        old.start()
        kept = acquire(old, "kept")
        load = Load(old)
        try:
            load.more(10)
            file, said = backup(old, "under-load")
            load.more(10)
            after = acquire(old, "after")
        finally:
            load.end()
        assert kept <= said["last_token"] < after, (kept, said, after)
        before = max(load.tokens + [after])
        for number in (1, 2, 3):
            old.kill9(number)

    with Cluster(nodes=3, build=BUILD, name="second") as new:
        first = restore(new, file, (1, 2, 3))
        assert first > before, (first, before)
        new.start()
        assert holder_of(new, "kept") == ("operator", kept)
        assert holder_of(new, "after") is None
        assert acquire(new, "after") >= first
        release(new, "kept")
        greatest = acquire(new, "kept")
        assert expect(new.netlock("cluster", "status", "--verify"), 0, out="EQUAL")
        # Nodes come back from what they have, and from each other.
        new.kill9(new.leader())
        assert acquire(new, "kept-on") > greatest

    with Cluster(nodes=1, build=BUILD, name="third") as third:
        assert restore(third, file, (1,)) > greatest + 1000
        third.start()
        assert holder_of(third, "kept") == ("operator", kept)


@test
def a_client_that_outlives_the_disaster_keeps_its_lock():
    with Cluster(nodes=1, build=BUILD, name="old") as old, Cluster(nodes=1, build=BUILD, name="new") as new:
        old.start()
        holder = old.spawn("--servers", old.servers + "," + new.servers, "run", "--ttl", "10m", "job", "--",
                           "sh", "-c", "echo $NETLOCK_TOKEN; cat")
        token = int(holder.stdout.readline())
        file, _ = backup(old, "outlived")
        old.kill9(1)
        restore(new, file, (1,))
        new.start()

        def attached():
            run = expect(new.netlock("status", "--json", "job"), 0)
            holders = json.loads(run.stdout)["holders"]
            return holders and holders[0]["connected"] and holders[0]["token"] == token
        wait_until(attached, 60, "the client attaches to the restored cluster")
        holder.stdin.close()
        assert holder.wait(60) == 0, holder.stderr.read()
        assert holder_of(new, "job") is None


@test
def a_node_restored_with_other_tokens_stops():
    with Cluster(nodes=3, build=BUILD, name="a") as old:
        old.start()
        acquire(old, "x")
        file, _ = backup(old, "other-tokens")
    with Cluster(nodes=3, build=BUILD, name="b") as new:
        first = restore(new, file, (1, 2))
        expect(netlockd("restore", file, "--tokens-from", str(first + 1), "--config", new.config(3)), 0)
        for number in (1, 2, 3):
            new.start_node(number)

        def stopped():
            return [n for n in (1, 2, 3) if not new.is_running(n)]
        # Whoever leads: those that differ from the leader stop, and what is left says so.
        wait_until(stopped, 60, "a node that differs stops")
        assert "diverged" in new.log_text(stopped()[0])


@test
def what_is_damaged_or_not_meant_is_refused_in_one_line():
    with Cluster(nodes=1, build=BUILD, name="one") as one:
        one.start()
        last = acquire(one, "x")
        file, _ = backup(one, "refusals")
        data = scratch("refused")
        options = ("--data-dir", data, "--cluster", "two")

        def refused(text, *arguments):
            run = expect(netlockd("restore", *arguments), REFUSED, text)
            assert len(run.stderr.splitlines()) == 1, run.stderr
            assert not os.path.exists(data)

        with open(file, "rb") as whole:
            content = whole.read()
        for name, bad in (("cut", content[:-1]), ("flipped", content[:-9] + b"!" + content[-8:]),
                          ("other", b"#!/bin/sh\n" * 20), ("empty", b"")):
            with open(scratch(name), "wb") as out:
                out.write(bad)
            refused("this backup cannot be used", scratch(name), *options)
            refused("this backup cannot be used", scratch(name), "--check")
        refused("No such file", scratch("nowhere"), *options)
        refused("another name", file, "--data-dir", data, "--cluster", "one")
        refused("last token", file, "--tokens-from", str(last), *options)
        refused("needs a number", file, "--tokens-from", "many", *options)
        refused("which file", "--cluster", "two")
        expect(netlockd("restore", file, "--check"), 0, "1 holds")
        assert not os.path.exists(data)
        one.stop(1)
        expect(netlockd("restore", file, "--data-dir", one.data(1), "--cluster", "two"), REFUSED,
               "not to node 1 of cluster two")

        expect(netlockd("restore", file, *options), 0, "restored: node 1 of cluster two")
        expect(netlockd("restore", file, *options), REFUSED, "new or empty")


@test
def a_node_whose_restore_was_cut_off_does_not_start_empty():
    with Cluster(nodes=1, build=BUILD, name="one") as one:
        one.start()
        file, _ = backup(one, "cut-off")
    data = scratch("cut-off-data")
    options = ("--data-dir", data, "--cluster", "two")
    expect(netlockd("restore", file, *options), 0)
    with open(os.path.join(data, "node"), encoding="ascii") as node:
        text = node.read()
    with open(os.path.join(data, "node"), "w", encoding="ascii") as node:
        node.write(text.replace("log yes", "log restoring"))
    expect(netlockd(*options), REFUSED, "was cut off")
    expect(netlockd("restore", file, *options), REFUSED, "was cut off")


@test
def the_file_is_replaced_as_a_whole_and_private():
    with Cluster(nodes=1, build=BUILD) as one:
        one.start()
        file, _ = backup(one, "whole")
        assert os.stat(file).st_mode & 0o777 == 0o600
        with open(file, "rb") as first:
            before = first.read()
        acquire(one, "more")
        one.pause(1)
        run = one.netlock("--timeout", "1s", "backup", file)
        one.cont(1)
        assert run.returncode != 0, run
        with open(file, "rb") as same:
            assert same.read() == before
        assert not os.path.exists(file + ".partial")
        expect(one.netlock("backup", scratch("no/such/directory")), 71, "No such file")


def main():
    global BUILD, SCRATCH  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    SCRATCH = tempfile.mkdtemp(prefix="netlock-restore-")
    status = test.run(sys.argv[2] if len(sys.argv) > 2 else "")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
