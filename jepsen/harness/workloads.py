"""What clients do. A workload is a class; the worker makes one object per logical client and runs its
turn() again and again until the time is over.

    class Mutex(Workload):
        async def turn(self): ...

`world` is what the clients of one process share; `self.random` is seeded by run, process and client.
Every turn leaves nothing behind: what it cannot be sure of it releases until it is answered."""

import asyncio
import random

from . import wire
from .recorder import monotonic_ns

UNSURE = ("unknown", "failed")
WORKLOADS = {}


def workload(cls):
    WORKLOADS[cls.name] = cls
    return cls


class Workload:
    name = None
    clients = 12        # in all processes together
    think = 0.0         # seconds between turns, at most
    options = {}        # keys for the servers' configuration
    library_can = True  # do it through libnetlock as well
    must_lose = False   # a set that is not fenced
    locks_used = ()     # what the last look takes; the first ones are enough of many

    def __init__(self, world, number):
        self.world, self.number, self.by_library = world, number, world.library is not None
        self.random = random.Random(f"{world.seed}/{world.proc}/{number}")
        self.session, self.client = world.new_client(f"c{world.proc}-{number}")

    async def run(self):
        self.session.start()
        try:
            while not self.is_over():
                await self.turn()
                await asyncio.sleep(self.random.random() * self.think)
            await self.finish()
        finally:
            await self.session.close()

    def is_over(self):
        return monotonic_ns() >= self.world.until_ns

    async def turn(self):
        raise NotImplementedError

    async def finish(self):
        """After the last turn."""

    # ---- parts of turns

    async def acquire(self, lock, **how):
        """An Answer; whatever is unsure is cleaned up."""
        answer = await self.client.lock(lock, **how)
        if answer.result in UNSURE:
            await self.let_go(lock)
        return answer

    async def let_go(self, lock, token=0):
        for _ in range(20):
            answer = await self.client.release(lock, token)
            if answer.result not in UNSURE:
                return answer
        return answer

    async def hold(self, lock, seconds):
        """Keep @lock for about @seconds, refreshed as good practice is; stop when the lease ends.
        Returns whether it was entitled to it all the time."""
        end = monotonic_ns() + int(seconds * 1e9)
        while True:
            left = min(end, self.client.lease_end(lock)) - monotonic_ns()
            if left <= 0:
                return self.client.lease_end(lock) > monotonic_ns()
            hold = self.client.holds[lock]
            if self.by_library:
                await asyncio.sleep(min(left / 1e9, 0.05))
            elif hold.hold_ms != wire.UNLIMITED and self.client.lease_end(lock) - monotonic_ns() < \
                    hold.hold_ms * 500000:
                await self.client.refresh(lock, token=hold.token, drop=hold.drop, patience=left / 1e9)
            else:
                await asyncio.sleep(min(left / 1e9, 0.05))


@workload
class Mutex(Workload):
    """One hot lock, exclusive; some try it in passing and never wait."""
    name = "mutex"
    clients = 24
    locks_used = ("m",)

    async def turn(self):
        lock = "m"
        wait_ms = None if self.number % 3 == 0 else self.random.choice((0, 2000, 10000))
        answer = await self.acquire(lock, wait_ms=wait_ms,
                                    hold_ms=self.random.choice((1500, 5000, wire.UNLIMITED)))
        if answer.result == "granted":
            if self.random.random() < 0.1:
                await self.client.status(lock)
            await self.hold(lock, self.random.random() * 0.002)
            await self.let_go(lock, answer.token)
        elif answer.result == "denied":
            await asyncio.sleep(self.random.random() * 0.05)


@workload
class Queue(Workload):
    """Fifty waiters on each of two locks."""
    name = "queue"
    clients = 100
    locks_used = ("q0", "q1")

    async def turn(self):
        lock = self.locks_used[self.number % 2]
        answer = await self.acquire(lock, wait_ms=0, hold_ms=self.random.choice((600, 10000)))
        if answer.result == "granted":
            await self.let_go(lock, answer.token)


@workload
class Retry(Workload):
    """Every request is sent one to three times, without waiting for answers; and releases of earlier holds once
    more, while there is a new one."""
    name = "retry"
    library_can = False
    locks = 5
    locks_used = tuple(f"r{n}" for n in range(5))

    def __init__(self, world, number):
        super().__init__(world, number)
        self.earlier = {}  # lock -> token of the hold before

    async def turn(self):
        lock = f"r{self.random.randrange(self.locks)}"
        how = {"wait_ms": self.random.choice((None, 500, 3000)), "hold_ms": 4000}
        answers = await asyncio.gather(*(self.client.lock(lock, **how)
                                         for _ in range(self.random.randint(1, 3))))
        tokens = {a.token for a in answers if a.result == "granted"}
        if any(a.result in UNSURE for a in answers) or not tokens:
            await self.let_go(lock)
            return
        if lock in self.earlier and self.random.random() < 0.3:
            await self.client.release(lock, self.earlier[lock])
        self.earlier[lock] = max(tokens)
        await self.hold(lock, self.random.random() * 0.005)
        self.client.holds.pop(lock, None)
        await asyncio.gather(*(self.let_go(lock, max(tokens)) for _ in range(self.random.randint(1, 3))))
