"""A run with root: every node and every group of clients in a network namespace of its own, on our switch;
data directories on file systems that can lose power, and clocks that can be turned."""

import ctypes
import os

from .disks import Disks, VolatileDisks
from .runner import Run
from .switch import SwitchNetwork

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
PORT, PEER_PORT = 7670, 7671
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18


def keep_mounts_to_ourselves():
    """In the mount namespace of anybody else a copy of a mount would keep a file system alive whose power was cut. And
    ours end with us."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "cannot have mounts of our own")


class RootRun(Run):
    def build_network(self):
        if os.geteuid() != 0:
            raise SystemExit("jepsen/run: --net switch needs root; --net proxy does not")
        keep_mounts_to_ourselves()
        nodes = [f"n{n}" for n in range(1, self.options.nodes + 1)]
        self.network = SwitchNetwork([*nodes, *self.groups], f"jepsen-{os.getpid()}", self.options.seed)
        where = {n: ((self.network.address(f"n{n}"), PORT), (self.network.address(f"n{n}"), PEER_PORT))
                 for n in range(1, self.options.nodes + 1)}
        return where, where

    def addresses(self, group):
        return {n: node.listen for n, node in self.cluster.nodes.items()}

    def client_prefix(self, group):
        return self.network.prefix(group)

    def prepare_nodes(self):
        wanted = set(self.options.nemesis.split(","))
        self.disks = VolatileDisks(self.path("disks"), self.options.seed) if "torn" in wanted \
            else Disks(self.path("disks"))
        for number, node in self.cluster.nodes.items():
            node.prefix = self.network.prefix(f"n{number}")
            if wanted & {"power", "torn", "disk"}:
                node.data = self.disks.make(number, node.data)
                self.cluster.write_config(node)
            if "clock" in wanted:
                self.prepare_clock(node)
            if "rate" in wanted:
                self.facts["rho_ppm"] = 110000  # what a client must allow for
                self.set_rate(node, 1.0)

    def prepare_clock(self, node):
        """libfaketime reads its file at every call, so that a clock can be turned while it runs."""
        node.clock_file = os.path.join(node.directory, "clock")
        with open(node.clock_file, "w", encoding="ascii") as file:
            file.write("+0\n")
        node.environment = {"LD_PRELOAD": FAKETIME,
                            "FAKETIME_TIMESTAMP_FILE": node.clock_file, "FAKETIME_NO_CACHE": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def set_rate(self, node, rate):
        """From its next start the node's clocks, the monotonic ones too, run at @rate."""
        node.rate = rate
        node.environment = {"LD_PRELOAD": FAKETIME, "FAKETIME": f"+0 x{rate}"}

    def tear_down(self):
        if hasattr(self, "disks"):
            self.disks.close()
        for pid in self.cluster.pids:  # libfaketime leaves these when it is killed
            for path in (f"/dev/shm/faketime_shm_{pid}", f"/dev/shm/sem.faketime_sem_{pid}"):
                if os.path.exists(path):
                    os.unlink(path)
        self.network.close()
