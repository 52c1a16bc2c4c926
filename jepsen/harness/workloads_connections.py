"""Workloads for connections: many clients on one, many of one client, and clients that come and go."""

import asyncio

from . import wire
from .client import Client
from .session import Session
from .workloads import Workload, workload


@workload
class Connections(Workload):
    """Three clients on one connection, which moves: the new one first, then the old one is closed. And
    IGNORE holds that are left alone, and found again."""
    name = "conn"
    library_can = False
    clients = 12
    locks_used = tuple(f"k{n}" for n in range(5))

    def __init__(self, world, number):
        super().__init__(world, number)
        self.group = [self.client] + [Client(self.session, f"c{world.proc}-{number}-{n}") for n in range(2)]
        self.moving = asyncio.Lock()

    async def turn(self):
        what = self.random.random()
        if what < 0.8:
            await asyncio.gather(*(self._lock_turn(client) for client in self.group))
        elif what < 0.95:
            await asyncio.gather(self._lock_turn(self.group[0]), self._move())
        else:
            await self._leave_and_come_back()

    async def _lock_turn(self, client):
        lock = self.random.choice(self.locks_used)
        answer = await client.lock(lock, typ=int(self.random.random() < 0.3), wait_ms=self.random.choice((None, 2000)),
                                   hold_ms=4000)
        if answer.result == "granted":
            await asyncio.sleep(self.random.random() * 0.01)
            if self.random.random() < 0.3:
                await client.refresh(lock, token=answer.token)
        if answer.result not in ("denied", "wait-timeout"):
            await client.release(lock)

    async def _move(self):
        """Make before break: nothing is lost on the way."""
        old, new = self.session, Session(self.world.recorder, self.world.addresses, self.world.grace_ms)
        new.node = old.node
        new.start()
        try:
            await asyncio.wait_for(new.ready(), 5)
            await asyncio.wait_for(old.ready(), 5)
            for client in self.group:
                await new.attach_beside(client)
        except Exception:  # pylint: disable=broad-except # a fault came in between: it stays where it was
            await new.close()
            self._stay(old, new)
            return
        for client in self.group:
            client.session = new
            old.clients.remove(client)
        self.session = new
        await old.close()

    def _stay(self, old, new):
        for client in self.group:
            if client not in old.clients:
                old.clients.append(client)
        new.clients.clear()
        old.give_up("moving failed")  # its next attach puts every client in order

    async def _leave_and_come_back(self):
        client, lock = self.group[0], f"i{self.world.proc}-{self.number}"
        answer = await client.lock(lock, wait_ms=1000, hold_ms=3000, drop=wire.IGNORE)
        if answer.result == "granted" and self.random.random() < 0.5:
            await self.session.close()
            await asyncio.sleep(self.random.random() * 1.5)
            self.session = Session(self.world.recorder, self.world.addresses, self.world.grace_ms)
            self.session.clients = list(self.group)
            for one in self.group:
                one.session = self.session
            self.session.start()
            await client.refresh(lock, token=answer.token, drop=wire.IGNORE)
        await client.release(lock)


@workload
class Churn(Workload):
    """Clients that connect, read or write one lock or two, and die: in order, by a reset, or with a wait under way."""
    name = "churn"
    library_can = False
    clients = 96
    locks_used = tuple(f"d{n}" for n in range(32))

    def __init__(self, world, number):
        super().__init__(world, number)
        self.lives = 0

    async def run(self):
        while True:
            await self._live()
            if self.is_over():
                return

    async def _live(self):
        self.lives += 1
        session = Session(self.world.recorder, self.world.addresses, 1000)
        client = Client(session, f"c{self.world.proc}-{self.number}-{self.lives}")
        session.node = getattr(self, "node", None)
        session.start()
        try:
            await asyncio.wait_for(session.ready(), 10)
            self.node = session.node
            if self.random.random() < 0.2:
                await self._die_waiting(client)
            for lock in sorted(self.random.sample(self.locks_used, self.random.randint(0, 2))):
                answer = await client.lock(lock, typ=int(self.random.random() < 0.4), hold_ms=3000, patience=5,
                                           wait_ms=self.random.choice((None, 200, 1000)))
                if answer.result == "granted" and self.random.random() < 0.4:
                    await client.release(lock, answer.token, patience=5)
        except asyncio.TimeoutError:
            pass
        if self.random.random() < 0.2:
            session.give_up("dies")
        await session.close()

    async def _die_waiting(self, client):
        """Whoever stands behind it must not notice."""
        waiting = asyncio.ensure_future(client.lock(self.random.choice(self.locks_used), wait_ms=0, hold_ms=3000,
                                                    typ=int(self.random.random() < 0.2)))
        await asyncio.wait([waiting], timeout=self.random.random() * 0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
