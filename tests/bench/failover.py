#!/usr/bin/env python3
"""How long clients are without a leader: for people, measured on this machine.

    tests/bench/failover.py --build build --runs 50 [--mode kill|stop|restart] [--clients 16] [--option KEY=VALUE]

kill: SIGKILL to the leader.  stop: SIGSTOP.  restart: SIGTERM and a new start of every node in turn, each a run.

For kill and stop: from the signal to the first grant to a client that had lost the leader, and until the
last of them is attached to another. For restart: the longest time without a grant while a node goes and comes
back, and every request that failed. Runs are some seconds apart, or the limits of takeover.h count."""

import argparse
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from failover import Load, first_grant_after  # noqa: E402
from procs import Cluster  # noqa: E402

PATIENCE_S = 60
APART_S = 7  # no more deaths in a minute than are acted upon
OUTCOMES = ("10001", "10002")  # of a request: held by another, waited in vain (netlock.h)


def spread(name, values):
    values = sorted(values)
    if not values:
        return f"{name}: none"
    return (f"{name}: median {values[len(values) // 2]:.0f}  p90 {values[int(len(values) * 0.9)]:.0f}  "
            f"max {values[-1]:.0f} ms of {len(values)}")


def ms(later, earlier):
    return (later - earlier) / 1e6


def all_back(load, start, count, at):
    """When the last of @count clients was attached again, in ms after @at; None: some never."""
    back = {}

    def matches(line):
        if line[2] == "connected":
            back[line[1]] = line[0]
        return len(back) >= count
    line = load.wait(matches, PATIENCE_S, start)
    return ms(line[0], at) if line is not None else None


def lose_leader(cluster, load, mode, clients):
    """(first grant, all back) in ms."""
    victim = cluster.leader()
    start, at = len(load.lines), time.monotonic_ns()
    (cluster.kill9 if mode == "kill" else cluster.pause)(victim)
    grant = first_grant_after(load, start, PATIENCE_S)
    back = all_back(load, start, clients, at)
    if mode == "kill":
        cluster.start_node(victim)
    else:
        cluster.cont(victim)
    return (ms(grant[0], at) if grant is not None else None), back


def restart(cluster, load, number):
    """(longest gap between grants in ms, failed requests)."""
    start = len(load.lines)
    time.sleep(0.5)
    cluster.restart(number)
    time.sleep(2)
    lines = load.lines[start:]
    grants = sorted(line[0] for line in lines if line[2] == "held")
    gaps = [ms(b, a) for a, b in zip(grants, grants[1:])]
    failed = [line for line in lines
              if (line[2] == "freed" and line[3][2] != "0") or line[2] == "lost"
              or (line[2] == "refused" and line[3][1] not in OUTCOMES)]
    return max(gaps, default=PATIENCE_S * 1000), failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--mode", default="kill", choices=["kill", "stop", "restart"])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--apart", type=float, default=APART_S, help="seconds between two runs")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE",
                        help="for every node's configuration")
    args = parser.parse_args()
    options = dict(option.split("=", 1) for option in args.option)
    first, second, failed = [], [], []
    with tempfile.TemporaryDirectory(prefix="netlock-bench-") as directory, \
            Cluster(nodes=3, build=args.build, directory=directory, options=options) as cluster:
        cluster.start()
        load = Load(os.path.join(args.build, "tests", "failover_load"), cluster.servers,
                    args.clients, 1)
        load.wait(lambda line: line[2] == "held", PATIENCE_S)
        for run in range(args.runs):
            time.sleep(args.apart)
            if args.mode == "restart":
                gap, failures = restart(cluster, load, run % 3 + 1)
                first.append(gap)
                failed += failures
                print(f"  {run + 1}: node {run % 3 + 1}, gap {gap:.0f} ms, {len(failures)} failed", flush=True)
                continue
            grant, back = lose_leader(cluster, load, args.mode, args.clients)
            print(f"  {run + 1}: first grant {grant}, all back {back} ms", flush=True)
            if grant is None or back is None:
                failed.append(("run", run, "not all came back", ""))
                continue
            first.append(grant)
            second.append(back)
        load.process.stdin.close()
        load.process.wait(PATIENCE_S)
    if args.mode == "restart":
        print(spread("restart, longest gap", first))
    else:
        print(spread(f"{args.mode}, first grant", first))
        print(spread(f"{args.mode}, all clients back", second))
    for line in failed[:10]:
        print("FAILED", line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
