"""Faults that need more of the cluster's inside: snapshots for those who were away, silence instead of an end."""

import json
import os
import time

from .nemesis import ELECTION, ENDED, Nemesis, both_ways, nemesis


@nemesis
class Lag(Nemesis):
    """A node is away until the others have thrown away the log that it would need: it gets a snapshot. Sometimes
    it is killed again while it takes it."""
    name = "lag"
    settings = {"snapshot-threshold": 64, "snapshot-trailing": 16}
    kinds = ("once", "killed-again")
    interval = 1.0

    def fault(self, what):
        cluster = self.world.cluster
        victim = self.random.choice([n for n in self.nodes if n != self.leader_or_any()])
        status = cluster.status(victim)
        had = status["applied_index"] if status else 0
        cluster.kill(victim)
        end = time.monotonic() + 10
        while time.monotonic() < end and not self._is_over() and self._newest(except_node=victim) < had + 100:
            self._pause(0.2)
        cluster.start(victim)
        if what == "killed-again":
            self._pause(0.3 * self.random.random())
            cluster.kill(victim)
            cluster.start(victim)
        end = time.monotonic() + 5
        while time.monotonic() < end and self._snapshot(victim) <= had:
            time.sleep(0.05)
        got = self._snapshot(victim)
        return f"n{victim} had {had}, and has a snapshot at {got}" if got > had else None

    def _newest(self, except_node):
        return max(self._snapshot(n) for n in self.nodes if n != except_node)

    def _snapshot(self, number):
        """The index of the newest snapshot on disk: snapshot-TERM-INDEX-TIME."""
        folder = os.path.join(self.world.cluster.nodes[number].data, "raft")
        names = os.listdir(folder) if os.path.isdir(folder) else ()
        return max([int(n.split("-")[2]) for n in names if n.startswith("snapshot-") and not n.endswith(".meta")
                    and n.count("-") == 3] or [0])


class Grants:
    """What clients write down, from now on: for the moment after a grant."""

    def __init__(self, folder):
        self._folder, self._read = folder, {}

    def _new_lines(self):
        for name in os.listdir(self._folder):
            if name.startswith("p"):
                with open(os.path.join(self._folder, name), "rb") as file:
                    file.seek(self._read.get(name, 0))
                    lines = file.read().rpartition(b"\n")[0]
                self._read[name] = self._read.get(name, 0) + (len(lines) + 1 if lines else 0)
                yield from lines.splitlines()

    def next(self, seconds):
        """The line of the next grant that a client is told, or None."""
        list(self._new_lines())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self._new_lines():
                if b'"r":"granted"' in line:
                    return json.loads(line)
            time.sleep(0.001)
        return None


@nemesis
class Stutter(Nemesis):
    """The leader stands still again and again, each time right after a client has been granted a lock: nothing follows
    its grant."""
    name = "stutter"
    interval = 1.5

    def fault(self, what):
        cluster, grants = self.world.cluster, Grants(self.world.run.path("history"))
        told, end = [], time.monotonic() + 12.0
        while len(told) < 3 and time.monotonic() < end and not self._is_over():
            leader = self.leader_or_any()
            grant = grants.next(2.0)
            if grant is None:
                continue
            cluster.pause(leader)
            after_ms = (time.monotonic_ns() - grant["t"]) / 1e6
            time.sleep(0.05)
            if cluster.state(leader) == "T":
                told.append(f"n{leader} {after_ms:.1f} ms after token {grant['tok']}")
            self._pause(ELECTION * (1.0 + 5.0 * self.random.random()))
            cluster.resume(leader)
            self._pause(0.3)
        if not told:
            return ENDED if self._is_over() else None
        return "stopped " + ", ".join(told)


@nemesis
class HalfOpen(Nemesis):
    """A client process dies while its network is cut: no node is told. Its connections stay half open until the
    servers find out."""
    name = "half-open"
    interval = 2.0

    def fault(self, what):
        workers, group = self.world.workers, self.random.choice(self.world.links["groups"])
        victims = [n for n in workers.running() if ("c0" if n % 2 else "c1") == group]
        if not victims:
            return ENDED if self._is_over() else None
        self.world.cut(self.name, both_ways([group], [f"n{n}" for n in self.nodes]))
        for victim in victims:
            workers.kill(victim, self.world.recorder)
        before = sum(self.world.stat().values())
        self._pause(8.0)
        stopped = sum(self.world.stat().values()) - before
        self.world.cut(self.name, ())
        for victim in victims:
            workers.start(workers.clients_of(victim))
        return f"client processes {victims} died unheard, {stopped} frames or bytes stopped"
