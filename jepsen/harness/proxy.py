"""The network of the mode without root: a TCP proxy for every directed link, in a process of its own.

    network = ProxyNetwork(nodes={1: (client_address, peer_address), ...}, groups=["c0", "c1"])
    network.client_address("c0", 1); network.peer_address(1)     # where to connect to instead
    network.cut({("n1", "n2"), ("c0", "n1")})                    # the links that are cut from now on
    network.delay({("n1", "n2"): 0.05})

A peer connection says in its first bytes which node it comes from. Bytes on a cut link wait, as they would
in TCP's retransmission; a connection that is begun over a cut link is not made before it is healed. What
held is counted by link, so that a partition can prove that it bit."""

import collections
import fcntl
import json
import os
import selectors
import socket
import struct
import termios
import time

HELLO_HEAD = struct.Struct(">4sIQQ")
CHUNK = 65536
BUFFER_MAX = 1 << 20


class _End:
    """One socket of a proxied connection: what is read here goes out at @other."""

    def __init__(self, sock):
        self.sock, self.other, self.link = sock, None, None
        self.out = collections.deque()  # (due, bytes) to be written here
        self.out_bytes = 0
        self.read_closed = self.shut = self.connecting = False
        self.mask = 0


class _Proxy:
    def __init__(self, listeners, control):
        self._selector = selectors.DefaultSelector()
        self._cut, self._delay = set(), {}
        self._ends = set()
        self._waiting = []  # ends whose connection is not begun: (end, target)
        self._stat = collections.Counter()
        self._control, self._control_bytes = control, b""
        control.setblocking(False)
        self._selector.register(control, selectors.EVENT_READ, ("control", None))
        for sock, source, node, target in listeners:
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, ("listen", (sock, source, node, target)))

    def run(self):
        while True:
            for key, mask in self._selector.select(self._timeout()):
                kind, what = key.data
                if kind == "end":
                    self._on_end(what, mask)
                elif kind == "listen":
                    self._on_accept(*what)
                elif not self._on_control():
                    return
            self._flush_due()

    def _timeout(self):
        if not self._delay:
            return None
        dues = [end.out[0][0] for end in self._ends if end.out and end.out[0][0]]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    # ---- control

    def _on_control(self):
        data = self._control.recv(CHUNK)
        if not data:
            return False
        self._control_bytes += data
        *lines, self._control_bytes = self._control_bytes.split(b"\n")
        for line in lines:
            order = json.loads(line)
            self._count_held()
            if "cut" in order:
                self._cut = {tuple(link) for link in order["cut"]}
            if "delay" in order:
                self._delay = {tuple(link): seconds for *link, seconds in order["delay"]}
            if "reset" in order:
                for end in [e for e in self._ends if e.link and e.link[0] == order["reset"]]:
                    self._stat[end.link] += 1
                    self._close(end, reset=True)
            for end in list(self._ends):
                self._interest(end)
            self._begin_waiting()
            stat = [[*link, count] for link, count in self._stat.items()]
            self._control.setblocking(True)
            self._control.sendall(json.dumps(stat).encode() + b"\n")
            self._control.setblocking(False)
        return True

    def _count_held(self):
        """Bytes that wait on cut links: what a partition has stopped."""
        for end in self._ends:
            if end.link in self._cut:
                waiting = fcntl.ioctl(end.sock, termios.FIONREAD, b"\0" * 4)
                self._stat[end.link] += int.from_bytes(waiting, "little")

    def _is_cut(self, link):
        return link in self._cut

    # ---- connections

    def _on_accept(self, listener, source, node, target):
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        end = self._add(sock)
        end.target = (node, target)
        if source is not None:
            end.link = (source, node)
            self._begin(end)
        else:
            end.head = b""
            self._interest(end)

    def _add(self, sock):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = _End(sock)
        self._ends.add(end)
        return end

    def _begin(self, end):
        """Dial the target, if both directions of the link are whole: a handshake needs both."""
        if self._is_cut(end.link) or self._is_cut(end.link[::-1]):
            self._stat[end.link] += 1
            self._waiting.append(end)
            return
        other = self._add(socket.socket())
        other.other, end.other, other.link = end, other, end.link[::-1]
        other.connecting = True
        try:
            other.sock.connect(end.target[1])
        except BlockingIOError:
            pass
        except OSError:
            self._close(end, reset=True)
            return
        head = getattr(end, "head", b"")
        if head:
            self._push(other, head)
        self._interest(end)
        self._interest(other)

    def _begin_waiting(self):
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            if end in self._ends:
                self._begin(end)

    def _interest(self, end):
        mask = 0
        if end.other is None:
            mask = selectors.EVENT_READ if end.link is None else 0
        else:
            other = end.other
            if not end.read_closed and not end.connecting and not self._is_cut(end.link) \
                    and other.out_bytes < BUFFER_MAX:
                mask |= selectors.EVENT_READ
            if end.connecting or (end.out and end.out[0][0] <= time.monotonic()
                                  and not self._is_cut(other.link)):
                mask |= selectors.EVENT_WRITE
        if mask == end.mask:
            return
        if not end.mask:
            self._selector.register(end.sock, mask, ("end", end))
        elif not mask:
            self._selector.unregister(end.sock)
        else:
            self._selector.modify(end.sock, mask, ("end", end))
        end.mask = mask

    def _on_end(self, end, mask):
        if end not in self._ends:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                self._on_writable(end)
            if mask & selectors.EVENT_READ and end in self._ends:
                self._on_readable(end)
        except OSError:
            self._close(end, reset=True)

    def _on_writable(self, end):
        if end.connecting:
            if end.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError("refused")
            end.connecting = False
        now = time.monotonic()
        while end.out and end.out[0][0] <= now:
            due, data = end.out.popleft()
            sent = end.sock.send(data)
            end.out_bytes -= sent
            if sent < len(data):
                end.out.appendleft((due, data[sent:]))
                break
        self._finish_writing(end)
        self._interest(end)
        self._interest(end.other)

    def _finish_writing(self, end):
        if end.other.read_closed and not end.out and not end.shut and not end.connecting:
            end.shut = True
            end.sock.shutdown(socket.SHUT_WR)
            if end.other.shut:
                self._close(end)

    def _on_readable(self, end):
        data = end.sock.recv(CHUNK)
        if end.link is None:
            self._on_head(end, data)
            return
        if not data:
            end.read_closed = True
            self._finish_writing(end.other)
        else:
            self._push(end.other, data)
        if end in self._ends:
            self._interest(end)
            self._interest(end.other)

    def _on_head(self, end, data):
        end.head += data
        if not data:
            self._close(end)
        elif len(end.head) >= HELLO_HEAD.size:
            end.link = (f"n{HELLO_HEAD.unpack_from(end.head)[2]}", end.target[0])
            self._interest(end)
            self._begin(end)

    def _push(self, end, data):
        delay = self._delay.get(end.other.link, 0)
        self._stat[end.other.link] += bool(delay)
        if not delay and not end.out and not end.connecting:
            try:
                sent = end.sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        end.out.append((time.monotonic() + delay if delay else 0, data))
        end.out_bytes += len(data)

    def _flush_due(self):
        if self._delay:
            for end in list(self._ends):
                if end.out:
                    self._interest(end)

    def _close(self, end, reset=False):
        for one in (end, end.other):
            if one is None or one not in self._ends:
                continue
            self._ends.discard(one)
            if one.mask:
                self._selector.unregister(one.sock)
                one.mask = 0
            if reset:
                one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.sock.close()


def _listen():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(256)
    return sock


class ProxyNetwork:
    """The controlling side."""

    def __init__(self, nodes, groups):
        listeners, self._client, self._peer = [], {}, {}
        for node, (client, peer) in nodes.items():
            for group in groups:
                sock = _listen()
                self._client[group, node] = sock.getsockname()
                listeners.append((sock, group, f"n{node}", client))
            sock = _listen()
            self._peer[node] = sock.getsockname()
            listeners.append((sock, None, f"n{node}", peer))
        self._control, theirs = socket.socketpair()
        self._bytes = b""
        self._pid = os.fork()
        if self._pid == 0:
            self._control.close()
            try:
                _Proxy(listeners, theirs).run()
            finally:
                os._exit(0)
        theirs.close()
        for sock, *_ in listeners:
            sock.close()
        self._cut = []
        self._stat = {}

    def client_address(self, group, node):
        return self._client[group, node]

    def peer_address(self, node):
        return self._peer[node]

    def cut(self, links):
        """Exactly these directed links are cut from now on."""
        self._cut = sorted(links)
        self._order({"cut": self._cut})

    def delay(self, links):
        self._order({"delay": [[*link, seconds] for link, seconds in links.items()]})

    def reset(self, source):
        """Reset every connection that comes from @source."""
        self._order({"reset": source})

    def stat(self):
        """{link: bytes that a cut has stopped, connections that it did not let begin, chunks delayed, resets}."""
        self._order({})
        return self._stat

    def _order(self, order):
        self._control.sendall(json.dumps(order).encode() + b"\n")
        while b"\n" not in self._bytes:
            data = self._control.recv(CHUNK)
            if not data:
                raise RuntimeError("the proxy is gone")
            self._bytes += data
        line, self._bytes = self._bytes.split(b"\n", 1)
        self._stat = {(a, b): count for a, b, count in json.loads(line)}

    def close(self):
        self._control.close()
        os.waitpid(self._pid, 0)
