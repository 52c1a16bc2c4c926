"""The servers: real netlockd processes, started, killed and frozen at will.

    cluster = Cluster(build, directory, count=3, network=network, ports=ports)
    cluster.start_all(); cluster.kill(1); cluster.start(1); cluster.pause(2); cluster.resume(2)

Nodes are numbered from 1. Only processes started here are ever signalled, by their pid."""

import os
import signal
import socket
import subprocess
import time

from . import wire

def text(address):
    return f"{address[0]}:{address[1]}"


class Node:
    def __init__(self, number, directory, listen, peer_listen):
        self.number, self.listen, self.peer_listen = number, listen, peer_listen
        self.directory = os.path.join(directory, f"n{number}")
        os.makedirs(self.directory, exist_ok=True)
        self.data = os.path.join(self.directory, "data")
        self.config = os.path.join(self.directory, "netlockd.conf")
        self.log = os.path.join(self.directory, "log")
        self.process = None
        self.paused = False
        self.prefix = []       # put before the command line: namespaces, strace
        self.environment = {}  # beside ours: faketime
        self.expected_end = True

    def is_running(self):
        return self.process is not None and self.process.poll() is None


class Cluster:
    """@where: {node: (listen, peer_listen)}; @reach: {node: (client_address, peer_address)} as others
    reach it, which may lead over a network that can be cut."""

    def __init__(self, build, directory, where, reach, options=None):
        self.binary = os.path.join(os.path.abspath(build), "src", "netlockd")
        self.directory = directory
        self.reach, self.options = reach, options or {}
        self.nodes = {n: Node(n, directory, *where[n]) for n in where}
        self.unexpected = []  # (node, status): ended without being told to
        self.pids = []        # of all that were started
        for node in self.nodes.values():
            self.write_config(node)

    def write_config(self, node):
        lines = [f"node-id = {node.number}", "cluster = jepsen", f"data-dir = {node.data}",
                 f"listen = {text(node.listen)}", f"peer-listen = {text(node.peer_listen)}",
                 f"advertise = {text(self.reach[node.number][0])}"]
        if not node.listen[0].startswith("127."):
            lines.append("insecure-listen = yes")
        lines += [f"member = {n} {text(peer)} {text(client)}" for n, (client, peer) in self.reach.items()]
        lines += [f"{key} = {value}" for key, value in self.options.items()]
        with open(node.config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def __iter__(self):
        return iter(self.nodes)

    def running(self):
        return [n for n in self.nodes if self.nodes[n].is_running()]

    # ---- life

    def start(self, number):
        node = self.nodes[number]
        if node.is_running():
            return
        self._wait_lock_free(node)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NETLOCK_")}
        environment.update(node.environment)
        with open(node.log, "ab") as log:
            node.process = subprocess.Popen([*node.prefix, self.binary, "--config", node.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment, start_new_session=True)
        self.pids.append(node.process.pid)
        node.paused, node.expected_end = False, False

    def _wait_lock_free(self, node):
        """A killed process keeps the lock of its directory until its last thread has ended."""
        lock = os.path.join(node.data, "lock")
        if os.path.exists(lock):
            subprocess.run(["flock", "-w", "10", lock, "true"], check=False)

    def start_all(self):
        for number in self.nodes:
            self.start(number)

    def kill(self, number, how=signal.SIGKILL):
        node = self.nodes[number]
        if not node.is_running():
            return
        node.expected_end = True
        self._signal(node, how)
        self._signal(node, signal.SIGCONT)
        try:
            node.process.wait(30)
        except subprocess.TimeoutExpired:
            self.unexpected.append((number, "did not end within 30 s of a signal"))
            self._signal(node, signal.SIGKILL)
            node.process.wait()

    def stop(self, number):
        """As an operator would."""
        self.kill(number, signal.SIGTERM)

    def stop_all(self):
        for number in self.nodes:
            node = self.nodes[number]
            if node.is_running():
                node.expected_end = True
                self._signal(node, signal.SIGTERM)
                self._signal(node, signal.SIGCONT)
        for number in self.nodes:
            self.kill(number)

    def pause(self, number):
        node = self.nodes[number]
        if node.is_running():
            self._signal(node, signal.SIGSTOP)
            node.paused = True

    def resume(self, number):
        node = self.nodes[number]
        if node.is_running():
            self._signal(node, signal.SIGCONT)
        node.paused = False

    def state(self, number):
        """The letter of /proc/PID/stat, or "gone"."""
        node = self.nodes[number]
        if not node.is_running():
            return "gone"
        try:
            with open(f"/proc/{self.pid(number)}/stat", encoding="ascii", errors="replace") as file:
                return file.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            return "gone"

    def look_for_the_dead(self):
        """Note nodes that ended by themselves."""
        for number, node in self.nodes.items():
            if node.process is not None and node.process.poll() is not None and not node.expected_end:
                node.expected_end = True
                self.unexpected.append((number, f"ended by itself with status {node.process.returncode}"))

    def pid(self, number):
        return self.nodes[number].process.pid

    def _signal(self, node, number):
        """To the whole session of the node: what stands before it in `prefix`, too."""
        try:
            os.killpg(node.process.pid, number)
        except ProcessLookupError:
            pass

    # ---- looking

    def status(self, number, timeout=1.0, checkpoint=False, address=None):
        """ClusterStatusResponse of a node, asked directly; None if it does not answer."""
        try:
            with socket.create_connection(address or self.nodes[number].listen, timeout) as sock:
                sock.settimeout(timeout)
                sock.sendall(wire.encode("HelloRequest", "h", {"version_min": 1, "version_max": 1}))
                sock.sendall(wire.encode("ClusterStatusRequest", "s", {"checkpoint": int(checkpoint)}))
                decoder = wire.Decoder()
                while True:
                    data = sock.recv(65536)
                    if not data:
                        return None
                    for name, _key, fields in decoder.feed(data):
                        if name == "ClusterStatusResponse":
                            return fields
                        if name == "ErrorResponse":
                            return None
        except OSError:
            return None

    def leader(self, timeout=0.0):
        """The number of the node that serves; 0 if there is none within @timeout."""
        end = time.monotonic() + timeout
        while True:
            for number in self.running():
                if not self.nodes[number].paused:
                    status = self.status(number, 0.3)
                    if status is not None and status["role"] == wire.SERVING:
                        return number
            if time.monotonic() >= end:
                return 0
            time.sleep(0.05)
