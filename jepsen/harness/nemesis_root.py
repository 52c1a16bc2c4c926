"""Faults that need root: packets, disks, power, clocks. jepsen/run --net switch."""

import os
import shutil
import subprocess
import time

from .nemesis import ENDED, Nemesis, nemesis


@nemesis
class Packets(Nemesis):
    """Frames are lost, late, out of order, doubled, damaged; links are slow."""
    name = "packets"
    rules = {"loss-1": {"loss": 0.01}, "loss-5": {"loss": 0.05}, "loss-20": {"loss": 0.2},
             "delay": {"delay": 0.1}, "jitter": {"delay": 0.4, "jitter": 0.4}, "reorder": {"reorder": 0.3},
             "duplicate": {"duplicate": 0.3}, "corrupt": {"corrupt": 0.02}, "rate": {"rate": 256000},
             "all": {"loss": 0.01, "delay": 0.02, "jitter": 0.02, "reorder": 0.05, "duplicate": 0.05,
                     "corrupt": 0.01}}
    kinds = tuple(rules)
    interval = 1.5

    def fault(self, what):
        names = [f"n{n}" for n in self.nodes] + self.world.links["groups"]
        if self.random.random() < 0.3:
            chosen = f"n{self.leader_or_any()}"
            links = [(a, b) for a in names for b in names if a != b and chosen in (a, b)]
        else:
            links = [(a, b) for a in names for b in names if a != b]
        before = sum(self.world.stat().values())
        self.world.order_network(lambda network: network.shape({link: self.rules[what] for link in links}))
        self._pause(2.0 + 3.0 * self.random.random())
        self.world.order_network(lambda network: network.shape({}))
        count = sum(self.world.stat().values()) - before
        return f"{count} frames treated on {len(links)} links" if count > 0 else None


@nemesis
class Power(Nemesis):
    """The power of one machine, a minority, or all of them at once is cut: what was not on disk is lost."""
    name = "power"
    kinds = ("one", "minority", "all", "all")
    interval = 0.5

    def fault(self, what):
        count = {"one": 1, "minority": max(1, (len(self.nodes) - 1) // 2), "all": len(self.nodes)}[what]
        victims = self.random.sample(self.nodes, count)
        cluster, disks = self.world.cluster, self.world.run.disks
        for node in victims:
            cluster.nodes[node].expected_end = True
        proof = self._cut(victims, disks)
        self._pause(0.3 * self.random.random())
        for node in victims:
            cluster.kill(node)
        for node in victims:
            disks.power_on(node)
        self._pause(self.random.random())
        for node in victims:
            cluster.start(node)
        return proof

    def _cut(self, victims, disks):
        for node in victims:
            disks.cut_power(node)
        return "power cut of " + ", ".join(f"n{n}" for n in victims) if all(map(disks.is_cut, victims)) else None


@nemesis
class Torn(Power):
    """The same in the middle of a flush, on disks with a volatile cache: of what was being written some sectors of 512
    bytes are there afterwards, and others are not."""
    name = "torn"

    def _cut(self, victims, disks):
        for node in victims:
            disks.arm(node, self.random.randint(1, 20))
        self._wait_for_cuts(victims, disks, any, 4.0)
        self._wait_for_cuts(victims, disks, all, 0.3)
        cuts = {node: disks.cut_cache(node) for node in victims}  # those that had nothing to write until now, too
        told = ", ".join(f"n{n}: {cut['lost']} sectors lost, {cut['kept']} kept, {cut['torn']} writes torn"
                         for n, cut in cuts.items())
        return told if any(cut["torn"] for cut in cuts.values()) else None

    @staticmethod
    def _wait_for_cuts(victims, disks, how_many, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not how_many(disks.look(n)["is_cut"] for n in victims):
            time.sleep(0.005)


@nemesis
class Disk(Nemesis):
    """Disks that are full, slow, or fail; files that are damaged while their node is down."""
    name = "disk"
    settings = {"snapshot-threshold": 64, "snapshot-trailing": 10000000}  # there is something to sync and damage
    kinds = ("full", "slow", "eio-write", "eio-fsync", "flip-closed", "flip-open", "flip-metadata", "flip-snapshot")
    interval = 1.0

    def fault(self, what):
        victim = self.leader_or_any() if self.random.random() < 0.5 else self.random.choice(self.nodes)
        node = self.world.cluster.nodes[victim]
        node.expected_end = True  # a node may stop for want of its disk
        try:
            return getattr(self, "_" + what.split("-", 1)[0])(victim, node, what)
        finally:
            self.world.cluster.kill(victim)
            self.world.cluster.start(victim)

    def _full(self, victim, _node, _what):
        disks = self.world.run.disks
        disks.fill(victim)
        left = disks.free_bytes(victim)
        self._pause(2.0 + 2.0 * self.random.random())
        state = self.world.cluster.state(victim)
        disks.empty(victim)
        return f"n{victim} had {left} bytes left, its state then: {state}" if left < 65536 else None

    def _slow(self, victim, _node, _what):
        return self._inject(victim, "io_submit", f"delay_enter={self.random.choice((20000, 100000, 300000))}")

    def _eio(self, victim, _node, what):
        return self._inject(victim, "io_submit" if what == "eio-write" else "fsync,fdatasync,fallocate,rename",
                            f"error=EIO:when={self.random.randint(1, 2)}+")

    def _inject(self, victim, calls, how):
        """By strace, which counts what it did."""
        trace = self.world.run.path("processes", f"strace-{victim}-{self.world.number()}")
        pid = self.world.cluster.pid(victim)
        with subprocess.Popen(["strace", "-f", "-qq", "-o", trace, "-e", f"trace={calls}", "-e",
                               f"inject={calls}:{how}", "-p", str(pid)], stderr=subprocess.DEVNULL) as strace:
            end = time.monotonic() + 10
            while not self._bites(trace) and time.monotonic() < end and not self._is_over():
                self._pause(0.1)
            self._pause(1.0 + 2.0 * self.random.random())
            state = self.world.cluster.state(victim)
            strace.terminate()
        count = self._bites(trace)
        if not count:
            return ENDED if self._is_over() else None
        return f"{count} calls of n{victim} got {how}, its state then: {state}"

    def _bites(self, trace):
        """How many calls were changed."""
        if not os.path.exists(trace):
            return 0
        with open(trace, encoding="utf-8", errors="replace") as file:
            return sum("INJECTED" in line or "DELAYED" in line for line in file)

    def _flip(self, victim, node, what):
        """One bit; a node that then refuses to start gets its file back, as from a backup. Raft forgives one disk that
        lost what it had acknowledged only while a majority of the others has it: so they first go on without it."""
        cluster, folder = self.world.cluster, os.path.join(node.data, "raft")
        if what == "flip-open":
            cluster.kill(victim)  # whoever stops in order closes its segments
        else:
            self._wait_for(lambda: self._file(folder, what), 5.0)
            cluster.stop(victim)
        path, index = self._file(folder, what), self._applied()
        if path is None or not self._wait_for(lambda: self._applied() > index, 10.0):
            return ENDED if self._is_over() else None
        backup = self.world.run.path("processes", f"backup-{victim}")
        shutil.rmtree(backup, ignore_errors=True)
        shutil.copytree(folder, backup)
        with open(path, "r+b") as file:
            used = len(file.read().rstrip(b"\0"))
            position = self.random.randrange(used)
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes((byte ^ (1 << self.random.randrange(8)),)))
        cluster.start(victim)
        node.expected_end = True
        self._pause(1.5)
        refused = cluster.state(victim) == "gone"
        if refused:
            shutil.rmtree(folder)
            shutil.copytree(backup, folder)
        return (f"a bit of n{victim}'s {os.path.basename(path)} in byte {position} of {used}: "
                + ("refused to start" if refused else "started"))

    def _applied(self):
        """How far the cluster is: an index that a majority has."""
        leader = self.world.cluster.leader(2.0)
        status = self.world.cluster.status(leader) if leader else None
        return status["applied_index"] if status else 0

    def _wait_for(self, what, seconds):
        end = time.monotonic() + seconds
        while not what() and time.monotonic() < end and not self._is_over():
            self._pause(0.1)
        return what()

    def _file(self, folder, what):
        begins = {"flip-closed": "0", "flip-open": "open-", "flip-metadata": "metadata",
                  "flip-snapshot": "snapshot"}[what]
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.startswith(begins)]
        used = [path for path in paths if self._is_used(path)]
        return self.random.choice(used) if used else None

    def _is_used(self, path):
        try:
            with open(path, "rb") as file:
                return any(file.read(65536))
        except FileNotFoundError:
            return False


@nemesis
class Clock(Nemesis):
    """Wall clocks jump, back and forth, at one node or at all of them: nothing may follow from it."""
    name = "clock"
    kinds = ("jump", "jump-all", "strobe")
    interval = 2.0

    def fault(self, what):
        victims = self.nodes if what == "jump-all" else [self.leader_or_any()]
        end = time.monotonic() + 3.0
        seen = []
        while True:
            offset = self.random.choice((-1, 1)) * self.random.choice((0.011, 1, 60, 300, 86400))
            for node in victims:
                self._set(node, f"{offset:+}")
            seen.append((offset, self._seen(victims[0])))
            self._pause(0.2 if what == "strobe" else 3.0)
            if time.monotonic() >= end or self._is_over():
                break
        for node in victims:
            self._set(node, "+0")
        bitten = [f"{offset:+} s: {difference:+.0f} s" for offset, difference in seen
                  if difference is not None and abs(difference - offset) < 2]
        mapped = all(self._is_mapped(node) for node in victims)
        return ("clock of " + ", ".join(f"n{n}" for n in victims) + " asked and seen " + "; ".join(bitten[:4])
                if mapped and bitten else None)

    def _set(self, node, text):
        path = self.world.cluster.nodes[node].clock_file
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text + "\n")
        os.replace(path + ".new", path)

    def _seen(self, node):
        """The difference that a process with the node's clock sees."""
        environment = {**os.environ, **self.world.cluster.nodes[node].environment}
        shown = subprocess.run(["date", "+%s"], env=environment, capture_output=True, text=True, check=False)
        return int(shown.stdout) - time.time() if shown.stdout.strip().isdigit() else None

    def _is_mapped(self, node):
        if not self.world.cluster.nodes[node].is_running():
            return True
        with open(f"/proc/{self.world.cluster.pid(node)}/maps", encoding="utf-8") as file:
            return "libfaketime" in file.read()


@nemesis
class Rate(Nemesis):
    """The clocks of nodes run up to 10 % fast or slow, each by its own; every restart draws anew."""
    name = "rate"
    interval = 4.0

    def fault(self, what):
        cluster = self.world.cluster
        victim = self.random.choice(self.nodes)
        cluster.stop(victim)
        self.world.run.set_rate(cluster.nodes[victim], self.random.choice((0.9, 0.95, 1.05, 1.1)))
        cluster.start(victim)
        self._pause(1.0)
        began, first = time.monotonic(), cluster.status(victim)
        self._pause(2.0)
        elapsed, last = time.monotonic() - began, cluster.status(victim)
        if not first or not last or elapsed < 1.5:
            return ENDED if self._is_over() else None
        seen = (last["uptime"] - first["uptime"]) / 1000 / elapsed
        wanted = cluster.nodes[victim].rate
        return f"n{victim}: asked {wanted}, seen {seen:.3f}" if abs(seen - wanted) < 0.03 else None
