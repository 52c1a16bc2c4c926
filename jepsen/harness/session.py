"""One connection to the cluster that follows the leader, and what runs over it.

    session = Session(recorder, addresses, grace_ms=6000)
    client = Client(session, "c1")               # client.py
    session.start()
    ...
    await session.close()

A session looks for the leader among @addresses ({node: (host, port)}), says Hello, attaches its clients
under a higher epoch, and does so again whenever the connection is lost. It gives a connection up, by a
reset, when nothing was heard on it for `SILENCE` seconds; that is recorded, because from then on holds
live on the session grace only. Requests that were under way are told LOST: their outcome is unknown."""

import asyncio
import itertools
import socket
import struct

from . import wire
from .recorder import monotonic_ns

PING = 0.5       # seconds between pings
SILENCE = 2.0    # without a byte: the connection is given up
CONNECT = 1.0    # for TCP and Hello
RESET = struct.pack("ii", 1, 0)
LOST, LATE = object(), object()  # outcomes of a request that are no answers

_numbers = itertools.count(1)


class Pending:
    """A request that waits for its answer."""
    __slots__ = ("key", "future", "sent", "client", "lock", "op", "is_lock", "waited")

    def __init__(self, key, future, client, lock, op, is_lock):
        self.key, self.future, self.client, self.lock = key, future, client, lock
        self.op, self.is_lock = op, is_lock
        self.sent, self.waited = monotonic_ns(), False

    def finish(self, outcome):
        if not self.future.done():
            self.future.set_result(outcome)


class Session(asyncio.Protocol):
    def __init__(self, recorder, addresses, grace_ms=6000, name=None):
        self.recorder, self.addresses, self.grace_ms = recorder, dict(addresses), grace_ms
        self.name = name or f"{recorder.proc}.s{next(_numbers)}"
        self.clients = []
        self.contact = 0       # when the latest answered request was sent
        self.contact_log = 0   # the same, of requests that were answered by the log
        self.node = None
        self._transport = None
        self._decoder = None
        self._pending = {}
        self._given_up = set()
        self._heard = 0
        self._keys = itertools.count(1)
        self._up = asyncio.Event()
        self._gone = asyncio.Event()
        self._task = None
        self._is_closed = False
        self._candidates = []
        self.hurry = asyncio.Event()

    # ---- for clients

    @property
    def is_up(self):
        return self._up.is_set()

    def start(self):
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def ready(self):
        await self._up.wait()

    def send(self, name, fields, client=None, lock=None, op=None, is_lock=False):
        """Send a request; the Pending's future gets (name, fields) or LOST."""
        key = str(next(self._keys))
        pending = Pending(key, asyncio.get_running_loop().create_future(), client, lock, op, is_lock)
        self._pending[key] = pending
        if self._transport is None or self._transport.is_closing():
            del self._pending[key]
            pending.finish(LOST)
        else:
            self._transport.write(wire.encode(name, key, fields))
        return pending

    def forget(self, pending):
        """Nobody waits for this answer any more. It may still come."""
        if self._pending.pop(pending.key, None):
            self._given_up.add(pending.key)
            pending.finish(LATE)

    async def close(self):
        """In order: the server lets go of clients that have no other connection. What was under way is told
        LOST; it can be asked for again elsewhere."""
        self._is_closed = True
        if self._up.is_set():
            self.recorder.write("close", g=self.name)
        self._stop_serving()
        if self._transport is not None:
            self._transport.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail_pending()

    def give_up(self, why):
        """Reset the connection: the server keeps its clients for the session grace."""
        if self._transport is None:
            return
        if self._up.is_set():
            self.recorder.write("down", g=self.name, why=why, contact=self.contact)
        self._stop_serving()
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            except OSError:
                pass
        self._transport.abort()

    # ---- asyncio.Protocol

    def connection_made(self, transport):
        self._transport = transport
        self._decoder = wire.Decoder()
        self._heard = monotonic_ns()
        self._gone.clear()
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, _error):
        if self._up.is_set():
            self.recorder.write("down", g=self.name, why="closed", contact=self.contact)
        self._stop_serving()
        self._transport = None
        self._fail_pending()
        self._gone.set()

    def data_received(self, data):
        self._heard = monotonic_ns()
        try:
            for message in self._decoder.feed(data):
                self._on_message(*message)
        except wire.ProtocolError as error:
            self.recorder.write("ghost", g=self.name, why=f"protocol: {error}")
            self.give_up("protocol error")

    # ---- inside

    def _stop_serving(self):
        self._up.clear()

    def _fail_pending(self):
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.finish(LOST)

    def _on_message(self, name, key, fields):
        pending = self._pending.get(key)
        if pending is None:
            self._on_news(name, key, fields)
            return
        if pending.sent > self.contact:
            self.contact = pending.sent
        if "position" in fields and pending.sent > self.contact_log and not pending.waited:
            self.contact_log = pending.sent
        if name == "LockWaitResponse" and pending.is_lock:
            if not pending.waited:
                pending.waited = True
                self.recorder.write("wait", i=pending.op, c=pending.client.id, l=pending.lock,
                                    x=fields["position"]["index"], n=fields.get("queue_position", 0),
                                    s=pending.sent)
            return
        del self._pending[key]
        pending.finish((name, fields))

    def _on_news(self, name, key, fields):
        """What has no key of ours: news, late answers, and answers to what moved here."""
        client = next((c for c in self.clients if c.id == fields.get("client_id")), None)
        if name == "LockTimeoutResponse" and client is not None:
            client.on_lost(fields)
            return
        if key in self._given_up:
            self._given_up.discard(key) if name != "LockWaitResponse" else None
            self._write_late(name, fields)
            return
        if not key and client is not None:
            # What became of a wait that was asked for on another connection. A request that was sent again
            # here will have an answer of its own.
            self._write_late(name, fields)
            return
        if name in ("ErrorResponse", "HelloResponse") and not key:
            return  # a node that begins to serve greets who has said Hello to it
        self.recorder.write("ghost", g=self.name, r=name, key=key, c=fields.get("client_id"),
                            l=fields.get("lock_name"))

    def _write_late(self, name, fields):
        self.recorder.write("late-answer", c=fields.get("client_id"), l=fields.get("lock_name"), r=name,
                            typ=fields.get("type", 0), tok=fields.get("token", 0))

    async def _live(self):
        while not self._is_closed:
            node = self._next_candidate()
            try:
                leader = await self._try(node)
            except (OSError, asyncio.TimeoutError, _Refused):
                leader = None
                self.give_up("no answer")
            if leader is not None and leader != node and leader in self.addresses:
                self._candidates.insert(0, leader)
            if self._up.is_set():
                await self._watch()
            else:
                if self._transport is not None:
                    self._transport.close()
                await asyncio.sleep(0.05)

    def _next_candidate(self):
        if not self._candidates:
            self._candidates = sorted(self.addresses, key=lambda n: (n != self.node, hash((n, self.name))))
        return self._candidates.pop(0)

    async def _try(self, node):
        """Say Hello to @node and attach, if it leads. Returns the node that leads, if it says so."""
        host, port = self.addresses[node]
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.create_connection(lambda: self, host, port), CONNECT)
        hello = await self._ask("HelloRequest", {"version_min": 1, "version_max": 1, "library": "jepsen",
                                                 "session_grace": self.grace_ms})
        if not hello["leader"]:
            return hello["leader_id"] or None
        self.node = node
        self.contact = monotonic_ns()
        claims = [await self._attach(client) for client in list(self.clients)]
        self.recorder.write("up", g=self.name, n=node, grace=hello.get("session_grace", 0),
                            reattach=hello.get("reattach_grace", 0))
        for client, (sent, answer) in zip(list(self.clients), claims):
            client.on_attached(self, sent, answer)
        self._up.set()
        return node

    async def _ask(self, name, fields):
        pending = self.send(name, fields)
        outcome = await asyncio.wait_for(pending.future, CONNECT)
        if outcome in (LOST, LATE) or outcome[0] == "ErrorResponse":
            raise _Refused()
        return outcome[1]

    async def _attach(self, client):
        sent = monotonic_ns()
        client.epoch += 1
        answer = await self._ask("ClientAttachRequest", {"client_id": client.id, "epoch": client.epoch,
                                                         "supersede": 1})
        return sent, answer

    async def attach_beside(self, client):
        """Attach @client here as well, without taking it from its other connection."""
        sent = monotonic_ns()
        answer = await self._ask("ClientAttachRequest", {"client_id": client.id, "epoch": client.epoch})
        self.clients.append(client)
        client.on_attached(self, sent, answer)

    async def _watch(self):
        """Ping until the connection is gone."""
        while not self._gone.is_set():
            sent = monotonic_ns()
            if sent - self._heard > SILENCE * 1e9:
                self.give_up("silence")
            else:
                pending = self.send("PingRequest", {})
                pending.future.add_done_callback(lambda done, at=sent: self._on_pong(done, at))
            try:
                await asyncio.wait_for(self._gone.wait(), PING)
            except asyncio.TimeoutError:
                pass

    def _on_pong(self, done, sent):
        if not done.cancelled() and done.result() not in (LOST, LATE):
            self.recorder.write("alive", g=self.name, s=sent)


class _Refused(Exception):
    """This node does not serve us now."""
