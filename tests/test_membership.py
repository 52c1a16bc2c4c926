#!/usr/bin/env python3
"""Changing the members of a cluster that runs: netlock cluster add, promote, remove, transfer.

    tests/test_membership.py [BUILD] [part of a name]"""

import json
import subprocess
import sys
import threading

from procs import Cluster, Suite, wait_until

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
test = Suite()


def expect(run, status, text=""):
    assert run.returncode == status and text in run.stdout + run.stderr, (run.args, run.returncode,
                                                                          run.stdout, run.stderr)
    return run.stdout


def change(cluster, *arguments):
    return expect(cluster.netlock("cluster", *arguments, timeout=300), 0)


def add(cluster, number, **options):
    """A new node runs, catches up and votes."""
    addresses = cluster.new_node(number, **options)
    cluster.start_node(number)
    change(cluster, "add", *addresses)


def remove(cluster, number):
    change(cluster, "remove", "--yes", str(number))
    wait_until(lambda: "is no member of the cluster any more" in cluster.log_text(number), 60,
               f"node {number} says that it was removed")
    assert cluster.stop(number) == 0


def members(cluster):
    """Node ids of the members, as the leader knows them, and whether each votes."""
    def known():
        status = cluster.status()
        return status and status["leader_id"] and {
            node["node_id"]: node["voter"] for node in status["nodes"] if node["member"]}
    return wait_until(known, 60, "a leader serves")


def term(cluster):
    return max(node["term"] for node in cluster.status()["nodes"] if node["reachable"])


def holder_of(cluster, lock):
    holders = json.loads(expect(cluster.netlock("status", "--json", lock), 0))["holders"]
    return [holder["token"] for holder in holders]


def is_equal(cluster):
    return cluster.netlock("cluster", "status", "--verify").returncode == 0


class Load:
    """Clients that know the first servers only, and of which no request may fail: some that come and go, and
    one that holds a lock all the time."""

    def __init__(self, cluster, *servers):
        self.cluster, self.servers, self.done = cluster, cluster.servers_of(*servers), threading.Event()
        self.runs, self.failed = 0, []
        self.holder = cluster.spawn("--servers", self.servers, "run", "--ttl", "60s", "held", "--", "cat")
        wait_until(lambda: holder_of(cluster, "held"), 60, "the lock is held")
        self.token = holder_of(cluster, "held")
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(2)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        while not self.done.is_set():
            run = self.cluster.netlock("--servers", self.servers, "--timeout", "60s", "run",
                                       f"load-{number}", "--", "true", timeout=120)
            self.runs += 1
            if run.returncode != 0:
                self.failed.append((run.returncode, run.stderr))

    def more(self, count=5):
        end = self.runs + count
        wait_until(lambda: self.runs >= end, 120, f"{count} locks under load")

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join()
        assert not self.failed, self.failed
        assert holder_of(self.cluster, "held") == self.token
        assert self.holder.poll() is None
        self.holder.stdin.close()
        assert self.holder.wait(60) == 0


@test
def three_become_five_and_three_again_under_load():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        load = Load(cluster, 1, 2, 3)
        try:
            add(cluster, 4)
            add(cluster, 5)
            load.more()
            assert members(cluster) == {n: True for n in (1, 2, 3, 4, 5)}
            assert is_equal(cluster)
            change(cluster, "transfer", "2")
            assert cluster.leader() == 2
            load.more()
            remove(cluster, 2)  # which leads
            remove(cluster, 1)
            load.more()
            assert members(cluster) == {n: True for n in (3, 4, 5)}
            assert is_equal(cluster)
        finally:
            load.end()


@test
def a_client_follows_a_cluster_of_which_nothing_is_left():
    with Cluster(nodes=3, build=BUILD, tls=True) as cluster:
        cluster.start()
        load = Load(cluster, 1, 2, 3)
        load.done.set()  # who comes later cannot know where the cluster has gone
        for old, new in ((1, 4), (2, 5), (3, 6)):
            add(cluster, new, tls=True)
            remove(cluster, old)
        cluster.kill9(cluster.leader())
        assert cluster.leader() in (4, 5, 6)
        load.end()


@test
def a_killed_node_is_replaced_under_load():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        load = Load(cluster, 1, 2, 3)
        try:
            dead, alive = [n for n in (1, 2, 3) if n != cluster.leader()]
            cluster.kill9(dead)
            expect(cluster.netlock("cluster", "remove", "--yes", str(alive)), 1, "would lose its quorum")
            change(cluster, "remove", "--yes", str(dead))
            expect(cluster.netlock("cluster", "add", *cluster.new_node(dead)), 1, "the next may be 4")
            add(cluster, 4)
            load.more()
            assert dead not in members(cluster) and members(cluster)[4]
        finally:
            load.end()


@test
def what_is_refused_says_why():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        four = cluster.new_node(4)
        _, peer, client = four

        def refused(text, *arguments):
            expect(cluster.netlock("cluster", *arguments), 1, text)
        refused("is no member", "remove", "--yes", "4")
        refused("only a member with a vote", "transfer", "4")
        refused("an address is HOST:PORT", "add", "4", "nowhere", client)
        refused("is a member already", "add", "3", peer, client)
        expect(cluster.netlock("cluster", "add", "0", peer, client), 64)
        expect(cluster.netlock("cluster", "add", "4", peer), 64)

        # Without a vote, and not there: it cannot get one.
        change(cluster, "add", "--non-voter", *four)
        change(cluster, "add", "--non-voter", *four)  # a second time changes nothing
        refused("is a member already", "add", "4", peer, cluster.address(1))
        refused("only a member with a vote", "transfer", "4")
        expect(cluster.netlock("cluster", "promote", "--wait", "1s", "4"), 69, "has not caught up")
        assert members(cluster)[4] is False
        change(cluster, "remove", "--yes", "4")
        refused("the next may be 5", "add", *four)


@test
def who_joins_waits_to_be_added_and_is_checked():
    with Cluster(nodes=1, build=BUILD) as cluster:
        cluster.start()
        two, three = cluster.new_node(2), cluster.new_node(3, name="other")
        cluster.start_node(2)
        wait_until(lambda: "waiting to be added" in cluster.log_text(2), 60, "node 2 waits")
        cluster.kill9(2)  # it may come back before anybody has dialled it
        cluster.start_node(2)
        change(cluster, "add", *two)
        assert members(cluster) == {1: True, 2: True}

        cluster.start_node(3)
        change(cluster, "add", "--non-voter", *three)
        wait_until(lambda: "of cluster other, not of test" in cluster.log_text(1), 60,
                   "node 1 is refused by a node of another cluster")
        wait_until(lambda: "refused a connection from node 1" in cluster.log_text(3), 60, "node 3 refuses")
        change(cluster, "remove", "--yes", "3")


@test
def a_removed_node_disturbs_nobody():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        gone = next(n for n in (1, 2, 3) if n != cluster.leader())
        before = term(cluster)
        change(cluster, "remove", "--yes", str(gone))
        for _ in range(2):
            wait_until(lambda: "is no member of the cluster any more" in cluster.log_text(gone), 60,
                       "it says that it was removed")
            expect(cluster.netlock("run", "x", "--", "true"), 0)
            # A client that asks it first is sent on.
            expect(cluster.netlock("--servers", cluster.servers_of(gone), "run", "y", "--", "true"), 0)
            open(cluster.file(f"node{gone}.log"), "w", encoding="utf-8").close()
            cluster.restart(gone)
            expect(cluster.netlock("cluster", "status", "--verify"), 0, "EQUAL: 2 of 2 nodes")
        assert term(cluster) == before


def netlockd(*arguments):
    return subprocess.run([f"{BUILD}/src/netlockd", *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False)


@test
def a_cluster_without_quorum_is_recovered_and_grows_again():
    with Cluster(nodes=3, build=BUILD) as old:
        old.start()
        take = ["acquire", "--client-id", "operator", "--ttl", "unlimited", "kept"]
        kept = json.loads(expect(old.netlock("--json", *take), 0))["token"]
        left = next(n for n in (1, 2, 3) if n != old.leader())
        wait_until(lambda: is_equal(old), 60, "all have everything")
        for number in (1, 2, 3):
            old.kill9(number)
        file = old.file("recovered")
        said = expect(netlockd("recover", old.data(left), file), 0, "recovered: term")
        assert "No node of the old cluster may run again" in said
        expect(netlockd("recover", old.data(left), file), 2, "File exists")
        expect(netlockd("recover", old.data(left)), 2)

        with Cluster(nodes=1, build=BUILD, name="second") as new:
            run = netlockd("restore", file, "--config", new.config(1))
            first = int(expect(run, 0).split("tokens from ")[1].split()[0])
            assert first > kept
            new.start()
            assert holder_of(new, "kept") == [kept]
            addresses = new.new_node(4)
            new.start_node(4)
            change(new, "add", *addresses)
            assert members(new) == {1: True, 4: True} and is_equal(new)


if __name__ == "__main__":
    sys.exit(test.run(sys.argv[2] if len(sys.argv) > 2 else ""))
