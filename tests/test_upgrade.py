#!/usr/bin/env python3
"""Rolling upgrade of a cluster under load, between builds that write different formats.

    tests/test_upgrade.py BUILD_DIRECTORY [--old NETLOCKD] [--new NETLOCKD]

The old build is that of BUILD_DIRECTORY, the new one the same with one feature level more. Of a real
earlier commit: tests/upgrade_from COMMIT.

Node by node: drain, stop, start the new build. No client may notice more than a change of the leader. The
feature level rises with the last node and not before; until then a node may go back; from then on the old
build refuses to start, in one line and with a status of its own."""

import argparse
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from failover import Load, broken_promises, same_state_everywhere  # noqa: E402
from procs import Cluster, wait_until  # noqa: E402

NODES, CLIENTS = 3, 8
DAMAGED, NEWER = 1, 4  # check-data of builds from before feature levels says the former
HELD, TIMEOUT = "10001", "10002"  # of netlock.h: somebody else was there first


def node_of(cluster, number):
    """The node's own status, or {} while it does not answer."""
    for node in (cluster.status() or {}).get("nodes", []):
        if node["node_id"] == number and node["reachable"]:
            return node
    return {}


def levels(cluster):
    """What each node takes for the cluster's level; None of one that does not answer."""
    return [node_of(cluster, number).get("feature_level") for number in range(1, NODES + 1)]


def move(cluster, number, binary):
    """As an operator does it, on one node."""
    run = cluster.netlock("drain", str(number))
    assert run.returncode == 0 or "older" in run.stderr or "protocol" in run.stderr, run
    assert cluster.stop(number) == 0
    cluster.use_binary(number, binary)
    cluster.start_node(number)
    wait_until(lambda: node_of(cluster, number).get("lag_entries") == 0, 60,
               f"node {number} has caught up")
    cluster.wait_serving()


def grants(load):
    return sum(1 for line in load.lines if line[2] == "held")


def goes_on(load):
    """Clients are served: more grants than there are under way."""
    before = grants(load)
    wait_until(lambda: grants(load) > before + 2 * CLIENTS, 60, "clients are granted locks")


def upgrade(cluster, load, old, new):
    move(cluster, 1, new)
    next_level = node_of(cluster, 1)["feature_level_max"]
    goes_on(load)
    move(cluster, 1, old)  # nothing was written that it could not read
    goes_on(load)
    for number in range(1, NODES):
        move(cluster, number, new)
        goes_on(load)
        assert next_level not in levels(cluster), levels(cluster)
    move(cluster, NODES, new)
    wait_until(lambda: levels(cluster) == [next_level] * NODES, 60, "the feature level rises")
    goes_on(load)


def old_build_is_refused(cluster, load, old, new, status):
    """Also where the snapshot, and not only the log, is of the new level."""
    for number in (1, 2):
        assert cluster.stop(number) == 0
        goes_on(load)
        config = cluster.config(number)
        run = subprocess.run([old, "--config", config], capture_output=True, text=True, timeout=60,
                             check=False)
        lines = [line for line in run.stderr.splitlines() if " error " in line]
        assert run.returncode == status and len(lines) == 1, run
        assert "newer version" in lines[0], run
        check = subprocess.run([old, "check-data", cluster.data(number)], capture_output=True, text=True,
                               timeout=60, check=False)
        assert check.returncode == (NEWER if status == NEWER else DAMAGED) and "newer version" in check.stdout, check
        cluster.start_node(number)
        wait_until(lambda n=number: node_of(cluster, n).get("lag_entries") == 0, 60,
                   "it is back with the new build")
    cluster.use_binary(1, new)


def judge(load):
    load.process.stdin.close()
    assert load.wait(lambda line: line[2] == "closed", 120), "a client did not come to an end"
    load.process.wait(60)
    lines = sorted(load.lines, key=lambda line: line[0])
    found = broken_promises(lines)
    found += [f"failed: {line}" for line in lines
              if line[2] == "fatal" or (line[2] == "refused" and line[3][1] not in (HELD, TIMEOUT))]
    print(f"{grants(load)} grants, {sum(1 for line in lines if line[2] == 'connected')} connections")
    assert not found, found[:10]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build")
    parser.add_argument("--old")
    parser.add_argument("--new")
    parser.add_argument("--refused", type=int, default=NEWER, help="with which status the old build refuses")
    args = parser.parse_args()
    old = os.path.abspath(args.old or os.path.join(args.build, "src", "netlockd"))
    new = os.path.abspath(args.new or os.path.join(args.build, "tests", "netlockd_next"))
    start = time.monotonic()

    with Cluster(nodes=NODES, build=args.build,
                 options={"snapshot-threshold": 64, "snapshot-trailing": 64}) as cluster:
        for number in range(1, NODES + 1):
            cluster.use_binary(number, old)
        cluster.start()
        load = Load(os.path.join(args.build, "tests", "failover_load"), cluster.servers, CLIENTS, 1)
        try:
            assert load.wait(lambda line: line[2] == "open", 60), "no client could connect"
            goes_on(load)
            upgrade(cluster, load, old, new)
            old_build_is_refused(cluster, load, old, new, args.refused)
            goes_on(load)
            judge(load)
        finally:
            load.process.kill()
            load.process.wait()
        assert same_state_everywhere(cluster, os.path.join(args.build, "src", "netlock"))
    print(f"upgraded, and the old build refused, in {time.monotonic() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
