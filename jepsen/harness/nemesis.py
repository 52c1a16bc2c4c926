"""Faults. A nemesis is a class with one fault; the run repeats it until the time is over.

    class Kill(Nemesis):
        def fault(self): ...           # begin, wait, heal; returns what proves that it bit, or None

Everything is drawn from the run's seed. Each fault is a band in the history: begin, end, proof."""

import random
import threading
import time

NEMESES = {}
ELECTION = 0.5  # seconds; the servers' leader lease
ENDED = "the run ended"  # what a fault says that had no time to prove anything


def nemesis(cls):
    NEMESES[cls.name] = cls
    return cls


class World:
    """What all nemeses of a run share."""

    def __init__(self, cluster, network, recorder, workers, until, seed, links):
        self.cluster, self.network, self.recorder = cluster, network, recorder
        self.workers, self.until, self.seed, self.links = workers, until, seed, links
        self.stopping = threading.Event()
        self._cuts = {}  # owner -> links
        self._lock = threading.Lock()
        self._ids = 0

    def number(self):
        with self._lock:
            self._ids += 1
            return self._ids

    def cut(self, owner, links):
        with self._lock:
            self._cuts[owner] = set(links)
            self.network.cut(set().union(*self._cuts.values()))

    def stat(self):
        with self._lock:
            return self.network.stat()

    def order_network(self, do):
        with self._lock:
            do(self.network)


class Nemesis(threading.Thread):
    interval = 3.0
    settings = {}   # keys for the servers' configuration
    kinds = ("",)

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world
        self.random = random.Random(f"{world.seed}/{self.name}")
        self.error = None
        self._deck = []

    @property
    def nodes(self):
        return list(self.world.cluster)

    def run(self):
        self._pause(1.0 + self.random.random())
        while not self._is_over():
            try:
                self.once()
            except Exception as error:  # pylint: disable=broad-except # the run must say so, and end
                self.error = error
                return
            self._pause(self.interval * (0.5 + self.random.random()))

    def once(self):
        """One fault with its band."""
        number = self.world.number()
        what = self.choose()
        self.world.recorder.write("begin", id=number, f=self.name, what=what)
        proof = self.fault(what)
        self.world.recorder.write("end", id=number, f=self.name, proof=proof)

    def choose(self):
        """What the next fault is, as text for people; fault() gets it. Each kind has its turn before any comes
        again."""
        if not self._deck:
            self._deck = self.random.sample(self.kinds, len(self.kinds))
        return self._deck.pop()

    def fault(self, what):
        raise NotImplementedError

    def _is_over(self):
        return self.world.stopping.is_set() or time.monotonic() >= self.world.until

    def _pause(self, seconds):
        left = min(seconds, self.world.until - time.monotonic())
        if left > 0:
            self.world.stopping.wait(left)

    def leader_or_any(self):
        return self.world.cluster.leader(1.0) or self.random.choice(self.nodes)


def both_ways(ones, others):
    return {(a, b) for a in ones for b in others} | {(b, a) for a in ones for b in others}


@nemesis
class Partition(Nemesis):
    """The network between nodes, and between nodes and clients, is cut in the ways that hurt."""
    name = "partition"
    kinds = ("isolate-leader", "isolate-one", "halves", "bridge", "ring", "deaf", "mute", "old-leader",
             "peer-ports", "client-ports", "flapping", "swizzle")

    def fault(self, what):
        before = sum(self.world.stat().values())
        leader = f"n{self.leader_or_any()}"
        nodes = [f"n{n}" for n in self.nodes]
        getattr(self, "_" + what.replace("-", "_"))(leader, nodes, 1.0 + 4.0 * self.random.random())
        self.world.cut(self.name, ())
        after = self.world.stat()
        stopped = sum(after.values()) - before
        return f"{leader}: {stopped} bytes or connections stopped" if stopped > 0 else None

    def _cut_for(self, links, seconds):
        self.world.cut(self.name, links)
        self._pause(seconds)

    def _isolate(self, node, nodes, seconds):
        others = [n for n in nodes if n != node] + self.world.links["groups"]
        self._cut_for(both_ways([node], others), seconds)

    def _isolate_leader(self, leader, nodes, seconds):
        self._isolate(leader, nodes, seconds)

    def _isolate_one(self, _leader, nodes, seconds):
        self._isolate(self.random.choice(nodes), nodes, seconds)

    def _halves(self, _leader, nodes, seconds):
        shuffled = self.random.sample(nodes, len(nodes))
        middle = len(nodes) // 2
        self._cut_for(both_ways(shuffled[:middle], shuffled[middle:]), seconds)

    def _bridge(self, _leader, nodes, seconds):
        shuffled = self.random.sample(nodes, len(nodes))
        middle = len(nodes) // 2
        self._cut_for(both_ways(shuffled[:middle], shuffled[middle + 1:]), seconds)

    def _ring(self, _leader, nodes, seconds):
        """Everybody sees a majority, nobody the same one."""
        shuffled = self.random.sample(nodes, len(nodes))
        count = len(nodes)
        reach = max(1, (count // 2) // 2)
        links = {(shuffled[i], shuffled[j]) for i in range(count) for j in range(count)
                 if min((i - j) % count, (j - i) % count) > reach}
        self._cut_for(links or {(shuffled[0], shuffled[1])}, seconds)

    def _deaf(self, leader, nodes, seconds):
        self._cut_for({(other, leader) for other in nodes if other != leader}, seconds)

    def _mute(self, leader, nodes, seconds):
        self._cut_for({(leader, other) for other in nodes if other != leader}, seconds)

    def _old_leader(self, leader, nodes, seconds):
        """Clients see only the leader, which sees no other node: it must not answer them."""
        others = [n for n in nodes if n != leader]
        self._cut_for(both_ways([leader], others) | both_ways(self.world.links["groups"], others), seconds)

    def _peer_ports(self, leader, nodes, seconds):
        self._cut_for(both_ways([leader], [n for n in nodes if n != leader]), seconds)

    def _client_ports(self, leader, _nodes, seconds):
        self._cut_for(both_ways([leader], self.world.links["groups"]), seconds)

    def _flapping(self, leader, nodes, seconds):
        """On and off around the election timeout."""
        end = time.monotonic() + seconds
        others = [n for n in nodes if n != leader]
        while time.monotonic() < end and not self._is_over():
            self._cut_for(both_ways([leader], others), ELECTION * (0.3 + 1.5 * self.random.random()))
            self._cut_for((), ELECTION * (0.3 + 1.5 * self.random.random()))
        self._cut_for(both_ways([leader], others), ELECTION)

    def _swizzle(self, _leader, nodes, seconds):
        """Cut off one after the other, and heal in another order."""
        gone = self.random.sample(nodes, max(1, len(nodes) // 2 + 1))
        away = []
        for node in gone:
            away.append(node)
            self._cut_for(set().union(*(both_ways([a], [n for n in nodes if n != a]) for a in away)),
                          seconds / 2 / len(gone))
        for node in self.random.sample(gone, len(gone)):
            away.remove(node)
            links = set().union(*(both_ways([a], [n for n in nodes if n != a]) for a in away)) if away else ()
            self._cut_for(links, seconds / 2 / len(gone))


@nemesis
class Kill(Nemesis):
    """kill -9 of servers, and start them again."""
    name = "kill"
    kinds = ("leader", "random", "majority", "all", "loop")

    def fault(self, what):
        cluster = self.world.cluster
        if what == "loop":
            return self._loop()
        victims = self._victims(what)
        pids = {n: cluster.nodes[n].process.pid for n in victims}
        for node in victims:
            cluster.kill(node)
        gone = [n for n in victims if cluster.state(n) == "gone"]
        self._pause(0.1 + 2.0 * self.random.random())
        for node in victims:
            cluster.start(node)
        return "killed " + ", ".join(f"n{n} (pid {pids[n]})" for n in gone) if gone == victims else None

    def _victims(self, what):
        nodes = self.nodes
        if what == "leader":
            return [self.leader_or_any()]
        if what == "random":
            return [self.random.choice(nodes)]
        return self.random.sample(nodes, len(nodes) if what == "all" else len(nodes) // 2 + 1)

    def _loop(self):
        """A node that dies again and again, soon after each start."""
        node = self.random.choice(self.nodes)
        count = 0
        for _ in range(6):
            self.world.cluster.kill(node)
            count += self.world.cluster.state(node) == "gone"
            self.world.cluster.start(node)
            self._pause(self.random.random() * 0.5)
        return f"killed n{node} {count} times"


@nemesis
class Pause(Nemesis):
    """SIGSTOP of servers for 0.5 to 10 election timeouts. Kind left-behind: half of the clients have left the leader
    for the next one when it goes on, and the other half have not."""
    name = "pause"
    kinds = ("leader", "left-behind", "random", "minority", "all")

    def fault(self, what):
        cluster = self.world.cluster
        if what == "left-behind":
            return self._left_behind()
        if what == "leader":
            victims = [self.leader_or_any()]
        elif what == "random":
            victims = [self.random.choice(self.nodes)]
        else:
            victims = self.random.sample(self.nodes, len(self.nodes) if what == "all"
                                         else max(1, (len(self.nodes) - 1) // 2))
        for node in victims:
            cluster.pause(node)
        stopped = self._stopped(victims)
        self._pause(ELECTION * 0.5 * 20 ** self.random.random())
        for node in victims:
            cluster.resume(node)
        return "stopped " + ", ".join(f"n{n}" for n in stopped) if stopped == victims else None

    def _left_behind(self):
        """They leave at once, and it goes on before the others have lost patience."""
        cluster, leader = self.world.cluster, self.leader_or_any()
        group = self.random.choice(self.world.links["groups"])
        cluster.pause(leader)
        stopped = self._stopped([leader])
        self.world.cut(self.name, both_ways([group], [f"n{leader}"]))
        self.world.order_network(lambda network: network.reset(group))
        self._pause(ELECTION * (2.0 + 1.8 * self.random.random()))
        cluster.resume(leader)
        self._pause(0.2)
        self.world.cut(self.name, ())
        return f"stopped n{leader}, which {group} had left" if stopped else None

    def _stopped(self, victims):
        """Those that stand still: a process that waits for its disk stops after that."""
        end = time.monotonic() + 2.0
        while True:
            stopped = [n for n in victims if self.world.cluster.state(n) == "T"]
            if stopped == victims or time.monotonic() > end:
                return stopped
            time.sleep(0.01)


@nemesis
class Restart(Nemesis):
    """A rolling restart, as an operator does it."""
    name = "restart"

    def fault(self, what):
        cluster, replaced = self.world.cluster, []
        for node in self.random.sample(self.nodes, len(self.nodes)):
            before = cluster.pid(node)
            cluster.stop(node)
            status = cluster.nodes[node].process.returncode
            cluster.start(node)
            replaced.append(f"n{node} (status {status}, pid {before}, then {cluster.pid(node)})")
            if self._is_over():
                break
            cluster.leader(5.0)
            self._pause(0.5)
        return "restarted in turn: " + ", ".join(replaced)
