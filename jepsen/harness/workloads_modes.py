"""Workloads for what locks can do: shared, many, tried, timed, counted, upgraded."""

import asyncio

from . import wire
from .workloads import UNSURE, Workload, workload


@workload
class ReadWrite(Workload):
    """Four readers to one writer."""
    name = "rw"
    clients = 32
    locks_used = ("w0", "w1", "w2", "w3")

    async def turn(self):
        lock = self.random.choice(self.locks_used)
        typ = wire.READ if self.random.random() < 0.8 else wire.WRITE
        answer = await self.acquire(lock, typ=typ, wait_ms=self.random.choice((None, 0, 3000)), hold_ms=5000)
        if answer.result == "granted":
            await self.hold(lock, self.random.random() * 0.01)
            await self.let_go(lock, answer.token)


@workload
class Many(Workload):
    """A thousand locks, a few of them popular (Zipf)."""
    name = "many"
    clients = 40
    count = 1000
    locks_used = tuple(f"z{n}" for n in range(20))
    _weights = [1 / (n + 1) for n in range(1000)]

    async def turn(self):
        lock = f"z{self.random.choices(range(self.count), self._weights)[0]}"
        answer = await self.acquire(lock, wait_ms=self.random.choice((None, 1000, 0)),
                                    hold_ms=self.random.choice((3000, wire.UNLIMITED)))
        if answer.result == "granted":
            await self.hold(lock, self.random.random() * 0.01)
            await self.let_go(lock, answer.token)


@workload
class Try(Workload):
    """Nobody waits: the first of three numbered locks that is free, as cron jobs do it. Some ask now and then only."""
    name = "try"
    clients = 20
    locks_used = ("t0", "t1", "t2")

    def __init__(self, world, number):
        super().__init__(world, number)
        self.think = 1.0 if number % 3 == 0 else 0.0

    async def turn(self):
        for lock in self.random.sample(self.locks_used, 3):
            answer = await self.acquire(lock, hold_ms=4000)
            if answer.result == "granted":
                await self.hold(lock, self.random.random() * 0.01)
                await self.let_go(lock, answer.token)
                return
        await asyncio.sleep(0.005)


@workload
class Timeouts(Workload):
    """Waits and holds from a millisecond to seconds; many are left to time out."""
    name = "timeouts"
    clients = 24
    locks_used = tuple(f"x{n}" for n in range(6))

    async def turn(self):
        lock = self.random.choice(self.locks_used)
        wait = self.random.choice((None, 1, 50, 50, 1000, 5000))
        hold = self.random.choice((1, 50, 50, 1000, 5000))
        typ = wire.READ if lock in ("x4", "x5") and self.random.random() < 0.6 else wire.WRITE
        answer = await self.acquire(lock, typ=typ, wait_ms=wait, hold_ms=hold)
        if answer.result != "granted":
            return
        if self.random.random() < 0.3:
            await self.client.refresh(lock, self.random.choice((0, 1, 50, 500)), answer.token)
        if self.random.random() < 0.3 and hold <= 50:
            await asyncio.sleep(hold / 1000 * 2 * self.random.random())
        else:
            await self.hold(lock, self.random.random() * 0.02)
        await self.let_go(lock, answer.token if self.random.random() < 0.5 else 0)


@workload
class Semaphore(Workload):
    """Counting locks of two, three and five."""
    name = "semaphore"
    clients = 28
    locks_used = ()
    limits = {"s2": 2, "s3": 3, "s5": 5}

    async def turn(self):
        lock, limit = self.random.choice(sorted(self.limits.items()))
        answer = await self.acquire(lock, wait_ms=self.random.choice((None, 0, 2000)), hold_ms=4000, limit=limit)
        if answer.result == "granted":
            await self.hold(lock, self.random.random() * 0.01)
            await self.let_go(lock, answer.token)


@workload
class Upgrade(Workload):
    """Readers that become writers, and writers that become readers."""
    name = "upgrade"
    clients = 24
    locks_used = tuple(f"u{n}" for n in range(6))

    async def turn(self):
        what = self.random.random()
        if what < 0.05:
            await self._outlive()
        elif what < 0.15 and not self.by_library:
            await self._think_better_of_it()
        else:
            await self._change()

    async def _change(self):
        lock = self.random.choice(self.locks_used)
        first = wire.READ if self.random.random() < 0.7 else wire.WRITE
        answer = await self.acquire(lock, typ=first, wait_ms=3000, hold_ms=5000)
        if answer.result != "granted":
            return
        await self.hold(lock, self.random.random() * 0.005)
        if first == wire.READ:
            changed = await self.client.lock(lock, wait_ms=self.random.choice((None, 1000, 3000)), hold_ms=5000)
        else:
            changed = await self.client.lock(lock, typ=wire.READ, wait_ms=0, hold_ms=5000, downgrade=True)
        if changed.result not in UNSURE:
            await self.hold(lock, self.random.random() * 0.005)
        await self.let_go(lock)

    async def _outlive(self):
        """A writer is still one after the time that it had as a reader."""
        lock = f"u-{self.world.proc}-{self.number}"
        answer = await self.acquire(lock, typ=wire.READ, hold_ms=300)
        if answer.result == "granted":
            await asyncio.sleep(0.2)
            changed = await self.acquire(lock, hold_ms=300)
            if changed.result == "granted":
                await asyncio.sleep(0.2)
                await self.client.refresh(lock, token=changed.token)
        await self.let_go(lock)

    async def _think_better_of_it(self):
        """A reader that waits to write, and lets go of everything meanwhile."""
        lock = self.random.choice(self.locks_used)
        answer = await self.acquire(lock, typ=wire.READ, wait_ms=3000, hold_ms=5000)
        if answer.result != "granted":
            return
        changing = asyncio.ensure_future(self.client.lock(lock, wait_ms=2000, hold_ms=5000))
        await asyncio.sleep(self.random.random() * 0.02)
        await self.let_go(lock)
        await changing
        await self.let_go(lock)
