"""Faults of clients, and strangers beside them."""

import os
import signal
import socket
import time

from . import wire
from .nemesis import Nemesis, nemesis


@nemesis
class Clients(Nemesis):
    """Client processes are killed and frozen, their connections reset; others send garbage or never read."""
    name = "clients"
    kinds = ("kill", "freeze", "reset", "garbage", "slow-reader")
    interval = 2.0

    def fault(self, what):
        return getattr(self, "_" + what.replace("-", "_"))()

    def _kill(self):
        workers = self.world.workers
        victim = self.random.choice(workers.running())
        workers.kill(victim, self.world.recorder)
        self._pause(self.random.random())
        started = workers.start(workers.clients_of(victim))
        return f"client process {victim} was killed, {started} took its place"

    def _freeze(self):
        victim = self.random.choice(self.world.workers.running())
        pid = self.world.workers.processes[victim][0].pid
        seconds = 0.5 * 20 ** self.random.random()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state = file.read().rsplit(")", 1)[1].split()[0]
        self._pause(seconds)
        os.kill(pid, signal.SIGCONT)
        return f"client process {victim} stood still for {seconds:.1f} s" if state == "T" else None

    def _reset(self):
        before = sum(self.world.stat().values())
        for _ in range(3):
            group = self.random.choice(self.world.links["groups"])
            self.world.order_network(lambda network, g=group: network.reset(g))
            self._pause(0.5 * self.random.random())
        count = sum(self.world.stat().values()) - before
        return f"{count} connections reset" if count > 0 else None

    def _garbage(self):
        """Bytes that are nothing, frames that lie about their length, messages cut short."""
        sent = refused = 0
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            data = self.random.choice((self.random.randbytes(200), b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff",
                                       b"\0\0\0\x10" + self.random.randbytes(16),
                                       wire.encode("LockRequest", "k", {"client_id": "\x01", "lock_name": "m"})))
            try:
                with socket.create_connection(self._some_node(), 1.0) as sock:
                    sock.settimeout(0.3)
                    sock.sendall(data)
                    sent += 1
                    refused += sock.recv(4096) == b""
            except OSError:
                refused += 1
        return f"{sent} bad messages, {refused} connections closed" if sent and refused else None

    def _slow_reader(self):
        """Asks and asks, and never reads an answer: the server has to stop reading, or close."""
        frame = wire.encode("ClusterStatusRequest", "k", {})
        blocked, sent = False, 0
        try:
            with socket.create_connection(self._some_node(), 1.0) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.sendall(wire.encode("HelloRequest", "h", {"version_min": 1, "version_max": 1}))
                sock.settimeout(1.0)
                end = time.monotonic() + 20
                while time.monotonic() < end and not self._is_over():
                    sock.sendall(frame * 100)
                    sent += 100
        except socket.timeout:
            blocked = True
        except OSError:
            blocked = sent > 0
        return f"{sent} requests sent before the server read no more" if blocked else None

    def _some_node(self):
        return self.world.cluster.nodes[self.random.choice(self.nodes)].listen
