"""The network with root: an Ethernet switch of our own, in user space, over TAP devices that live in network
namespaces. netem does not exist in every kernel; this does what it does, for every direction by itself.

    network = SwitchNetwork(["n1", "n2", "n3", "c0", "c1"], prefix="jepsen-123", seed=7)
    network.prefix("n1")                                    # command line that runs something in there
    network.address("n1")                                   # its IPv4 address
    network.cut({("n1", "n2")})                             # frames from n1 to n2 are dropped
    network.shape({("n1", "n2"): {"delay": 0.05, "jitter": 0.02, "loss": 0.01, "duplicate": 0.01,
                                  "reorder": 0.05, "corrupt": 0.01, "rate": 64000}})

The switch is a process of its own; what it did to frames is counted by link. A namespace "x" is for us."""

import collections
import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import socket
import struct
import subprocess
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
FRAME_MAX = 2048
QUEUE_MAX = 2000  # frames that wait on one slow link; more are dropped, as by a real switch
CONTROL = "x"


def enter(namespace):
    """This thread, and those that it starts, live in the network @namespace from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")
    finally:
        os.close(fd)


def _open_tap():
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
    return fd


class _Switch:
    def __init__(self, names, taps, control, seed):
        self._names, self._taps, self._control = names, taps, control
        self._random = random.Random(seed)
        self._cut, self._rules = set(), {}
        self._stat = collections.Counter()
        self._queue, self._order = [], 0
        self._free_at = {}   # link -> when a frame at its rate could follow
        self._waiting = collections.Counter()
        self._bytes = b""

    def run(self):
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ, None)
        for port, tap in enumerate(self._taps):
            selector.register(tap, selectors.EVENT_READ, port)
        while True:
            timeout = max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None
            for key, _mask in selector.select(timeout):
                if key.data is None:
                    if not self._on_control():
                        return
                else:
                    self._on_port(key.data)
            self._send_due()

    def _on_control(self):
        data = self._control.recv(65536)
        if not data:
            return False
        self._bytes += data
        *lines, self._bytes = self._bytes.split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "cut" in order:
                self._cut = {tuple(link) for link in order["cut"]}
            if "shape" in order:
                self._rules = {(a, b): rules for a, b, rules in order["shape"]}
            stat = [[*link, count] for link, count in self._stat.items()]
            self._control.sendall(json.dumps(stat).encode() + b"\n")
        return True

    def _on_port(self, port):
        for _ in range(64):
            try:
                frame = os.read(self._taps[port], FRAME_MAX)
            except (BlockingIOError, OSError):
                return
            if len(frame) < 14:
                continue
            if frame[0] & 1:
                for other in range(len(self._taps)):
                    if other != port:
                        self._forward(port, other, frame)
            elif frame[5] < len(self._taps) and frame[5] != port:
                self._forward(port, frame[5], frame)

    def _forward(self, port, other, frame):
        link = (self._names[port], self._names[other])
        if link in self._cut:
            self._stat[link] += 1
            return
        rules = self._rules.get(link)
        if rules is None:
            self._send(other, frame)
        else:
            self._shape(link, other, frame, rules)

    def _shape(self, link, other, frame, rules):
        roll = self._random.random
        self._stat[link] += 1
        if roll() < rules.get("loss", 0) or self._waiting[link] > QUEUE_MAX:
            return
        if roll() < rules.get("corrupt", 0):
            at = self._random.randrange(14, len(frame))
            frame = frame[:at] + bytes((frame[at] ^ (1 << self._random.randrange(8)),)) + frame[at + 1:]
        now = time.monotonic()
        due = now + max(0.0, rules.get("delay", 0) + rules.get("jitter", 0) * (2 * roll() - 1))
        if roll() < rules.get("reorder", 0):
            due += 0.02 + 0.03 * roll()
        if "rate" in rules:
            due = max(due, self._free_at.get(link, 0)) + len(frame) * 8 / rules["rate"]
            self._free_at[link] = due
        for _ in range(2 if roll() < rules.get("duplicate", 0) else 1):
            self._order += 1
            self._waiting[link] += 1
            heapq.heappush(self._queue, (due, self._order, other, frame, link))

    def _send_due(self):
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            _due, _order, other, frame, link = heapq.heappop(self._queue)
            self._waiting[link] -= 1
            self._send(other, frame)

    def _send(self, other, frame):
        try:
            os.write(self._taps[other], frame)
        except OSError:
            pass  # the interface is down, or full: a frame is lost


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class SwitchNetwork:
    def __init__(self, names, prefix, seed):
        self.names = [CONTROL, *names]
        self._prefix = prefix
        for name in self.names:
            _ip("netns", "add", self.namespace(name))
        self._control, theirs = socket.socketpair()
        ready, done = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._control.close()
            try:
                self._switch_process(theirs, seed, done)
            finally:
                os._exit(0)
        theirs.close()
        os.close(done)
        if os.read(ready, 1) != b"1":
            raise RuntimeError("the switch cannot make its TAP devices")
        os.close(ready)
        for port, name in enumerate(self.names):
            self._configure(port, name)
        self._bytes, self._stat, self._resets = b"", {}, 0
        enter(self.namespace(CONTROL))

    def _switch_process(self, control, seed, done):
        taps = []
        for name in self.names:
            enter(self.namespace(name))
            taps.append(_open_tap())
        os.write(done, b"1")
        os.close(done)
        _Switch(self.names, taps, control, seed).run()

    def _configure(self, port, name):
        """The last byte of a hardware address is its port of the switch."""
        space = self.namespace(name)
        _ip("-n", space, "link", "set", "eth0", "address", f"02:00:00:00:00:{port:02x}")
        _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")

    def namespace(self, name):
        return f"{self._prefix}-{name}"

    def address(self, name):
        return f"10.77.0.{self.names.index(name) + 1}"

    def prefix(self, name):
        return ["nsenter", f"--net=/run/netns/{self.namespace(name)}"]

    def cut(self, links):
        """Exactly these directed links are cut from now on."""
        self._order({"cut": sorted(links)})

    def shape(self, links):
        """Exactly these directed links have these rules from now on."""
        self._order({"shape": [[*link, rules] for link, rules in links.items()]})

    def reset(self, source):
        """Reset every TCP connection of @source."""
        self._resets += self._connections(source)
        subprocess.run([*self.prefix(source), "ss", "-K", "-t", "dst", "10.77.0.0/24"], check=False,
                       capture_output=True)

    def _connections(self, source):
        shown = subprocess.run([*self.prefix(source), "ss", "-Htn", "dst", "10.77.0.0/24"], check=False,
                               capture_output=True, text=True)
        return len(shown.stdout.splitlines())

    def stat(self):
        """{link: frames that were dropped, delayed or changed}."""
        self._order({})
        return {**self._stat, ("reset", "reset"): self._resets}

    def _order(self, order):
        self._control.sendall(json.dumps(order).encode() + b"\n")
        while b"\n" not in self._bytes:
            data = self._control.recv(65536)
            if not data:
                raise RuntimeError("the switch is gone")
            self._bytes += data
        line, self._bytes = self._bytes.split(b"\n", 1)
        self._stat = {(a, b): count for a, b, count in json.loads(line)}

    def close(self):
        self._control.close()
        os.waitpid(self._pid, 0)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.namespace(name)], check=False, capture_output=True)
