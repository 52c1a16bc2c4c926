#!/usr/bin/env python3
"""Kill the leader again and again under clients of every kind, and decide what their lines prove.

    tests/failover.py --build build --rounds 200 [--mode kill|stop|all|mixed] [--clients 16] [--seed N]

kill: SIGKILL to the leader, restarted after the round.  stop: SIGSTOP, SIGCONT after a new leader
grants.  all: SIGKILL to every node, then all are started again.  mixed: drawn per round.

Each round a holder and three waiters must keep their token and their places (failover_load.c), the
crowd must never hold a lock twice, nobody may be told LOST, and at the end every replica must have the
same state hash at the same index. Prints the distribution of the time to the first grant after the
kill. Needs no root."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from procs import Cluster  # noqa: E402


class Load:
    """The failover_load process and the lines it has written."""

    def __init__(self, binary, servers, clients, seed):
        self.process = subprocess.Popen([binary, servers, str(clients), str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            at, who, what, *rest = line.split()
            with self.news:
                self.lines.append((int(at), who, what, rest))
                self.news.notify_all()
        with self.news:
            self.lines.append((time.monotonic_ns(), "load", "ended", []))
            self.news.notify_all()

    def tell(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def wait(self, matches, timeout, start=0):
        """The first line from number @start on that matches; None after @timeout seconds."""
        end = time.monotonic() + timeout
        at = start
        with self.news:
            while True:
                while at < len(self.lines):
                    line = self.lines[at]
                    if matches(line) or line[1] == "load":
                        return line
                    at += 1
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self.news.wait(left)


def first_grant_after(load, start, timeout):
    """A grant to a client that has connected since line @start, so by the new leader."""
    fresh = set()

    def matches(line):
        if line[2] == "connected":
            fresh.add(line[1])
        return line[2] == "held" and line[1] in fresh
    return load.wait(matches, timeout, start)


def double_holds(lines):
    """Pairs of conflicting holds whose sure intervals (after the grant, before the release was sent)
    overlap."""
    holds, found = {}, []
    for at, who, what, rest in lines:
        if what == "held":
            name, kind, limit, token = rest[0], int(rest[1]), int(rest[2]), int(rest[3])
            others = holds.setdefault(name, {})
            if limit > 1:
                clash = len(others) >= limit or any(o[2] == rest[4] for o in others.values())
            else:
                clash = any(kind == 0 or o[1] == 0 for o in others.values())
            if clash:
                found.append((at, name, who, token, dict(others)))
            others[who] = (token, kind, rest[4])
        elif what in ("freeing", "lost") and rest and rest[0] in holds:
            holds[rest[0]].pop(who, None)
    return found


def tokens_used_twice(lines):
    seen, twice = set(), []
    for _, who, what, rest in lines:
        if what == "held":
            if rest[3] in seen:
                twice.append((who, rest[3]))
            seen.add(rest[3])
    return twice


def broken_promises(lines):
    """What no change of the leader may do to clients, in the load's lines, which are in order of time."""
    found = [f"held twice: {clash}" for clash in double_holds(lines)]
    found += [f"token given twice: {twice}" for twice in tokens_used_twice(lines)]
    found += [f"told LOST: {line}" for line in lines if line[2] == "lost"]
    refused = [line for line in lines if line[2] == "freed" and line[3][2] != "0"]
    return found + [f"a hold was gone at its release: {line}" for line in refused]


def spread(values):
    if not values:
        return "no figures"
    values = sorted(values)
    pick = lambda share: values[min(len(values) - 1, int(share * len(values)))]  # noqa: E731
    return (f"{len(values)} rounds: min {values[0]:.0f}  p50 {pick(0.5):.0f}  p90 {pick(0.9):.0f}  "
            f"p99 {pick(0.99):.0f}  max {values[-1]:.0f} ms")


def same_state_everywhere(cluster, netlock):
    """`netlock cluster status --verify`: every node's hash at one index. Retried while nodes catch up."""
    for _ in range(40):
        run = subprocess.run([netlock, "--servers", cluster.servers, "cluster", "status", "--verify"],
                             capture_output=True, text=True, timeout=60)
        if run.returncode == 0:
            return True
        if "DIFFERENT" in run.stdout:
            break
        time.sleep(0.5)
    print(run.stdout + run.stderr)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mode", default="mixed", choices=["kill", "stop", "all", "mixed"])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"failover: seed {seed}, {args.rounds} rounds, mode {args.mode}, {args.clients} clients",
          flush=True)
    draw = random.Random(seed)
    netlock = os.path.join(args.build, "src", "netlock")
    failures, times = [], {"kill": [], "stop": [], "all": []}

    with tempfile.TemporaryDirectory(prefix="netlock-failover-") as directory, \
            Cluster(nodes=3, build=args.build, directory=directory) as cluster:
        cluster.start()
        load = Load(os.path.join(args.build, "tests", "failover_load"), cluster.servers,
                    args.clients, seed)
        load.wait(lambda line: line[2] == "open", 30)
        for number in range(1, args.rounds + 1):
            mode = args.mode if args.mode != "mixed" else draw.choice(["kill", "kill", "stop", "all"])
            load.tell(f"prepare {number}")
            if load.wait(lambda l: l[2] == "ready" and l[3][0] == str(number), 60) is None:
                failures.append(f"round {number}: the scene did not get ready")
                break
            time.sleep(draw.uniform(0, 0.3))
            victim = cluster.leader()
            start, at = len(load.lines), time.monotonic_ns()
            if mode == "kill":
                cluster.kill9(victim)
            elif mode == "stop":
                cluster.pause(victim)
            else:
                for node in range(1, 4):
                    cluster.kill9(node)
                for node in range(1, 4):
                    cluster.start_node(node)
            grant = first_grant_after(load, start, 60)
            if grant is None:
                failures.append(f"round {number} ({mode}): no grant in 60 s")
                break
            times[mode].append((grant[0] - at) / 1e6)
            load.tell(f"check {number}")
            done = load.wait(lambda l: l[2] == "done" and l[3][0] == str(number), 60, start)
            if done is None or len(done[3]) < 2 or done[3][1] != "kept":
                failures.append(f"round {number} ({mode}): {done[3][1:] if done else 'no end'}")
            if mode == "kill":
                cluster.start_node(victim)
            elif mode == "stop":
                cluster.cont(victim)
            if number % 10 == 0:
                print(f"  {number} of {args.rounds} rounds, {len(failures)} failures", flush=True)
        load.process.stdin.close()
        if load.wait(lambda line: line[2] == "closed", 120) is None:
            failures.append("clients did not come to an end: a waiter was forgotten")
        load.process.wait(60)
        if not same_state_everywhere(cluster, netlock):
            failures.append("the replicas differ")
        lines = sorted(load.lines, key=lambda line: line[0])

    failures += broken_promises(lines)
    grants = sum(1 for line in lines if line[2] == "held")
    for mode, values in times.items():
        if values:
            print(f"first grant by the new leader, {mode:4}: {spread(values)}")
    print(f"{grants} grants to the crowd, {args.rounds} rounds")
    for failure in failures[:20]:
        print("FAIL", failure)
    print(f"{args.rounds if not failures else args.rounds - 1} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
