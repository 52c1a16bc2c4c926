"""What a replicated, durable service costs here when it does nothing else, for `run-peer`; see floor.c.

Modes: `replicated`, which is what `floor` alone means, and `echo`, one process that answers at once: TCP and no more.
Three nodes, from $NETLOCK_BUILD (or build/ of this tree); the first is the one that clients talk to."""

import os
import socket
import subprocess

import peerlib

SELF = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(SELF))
BUILT = os.path.abspath(os.environ.get("NETLOCK_BUILD", os.path.join(ROOT, "build")))


class PEER(peerlib.Peer):
    name = "floor"
    modes = ["replicated"]
    contend_modes = ["replicated"]
    can_failover = False
    base = 26601  # and the next, for the followers

    def build(self):
        self.bin = os.path.join(peerlib.BUILD, "floor_client")
        os.makedirs(peerlib.BUILD, exist_ok=True)
        subprocess.check_call(
            ["gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-I" + peerlib.HERE,
             os.path.join(SELF, "floor_client.c"), "-o", self.bin])

    def command(self, i, d):
        return [os.path.join(BUILT, "tests", "bench_floor"), str(i), str(self.base), d]

    def ready(self):
        socket.create_connection(("127.0.0.1", self.base), 1).close()
        return True

    def endpoints(self):
        return "127.0.0.1:%d" % self.base

    def client(self):
        return [self.bin]
