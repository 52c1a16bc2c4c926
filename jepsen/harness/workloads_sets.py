"""Workloads about what locks are for: a set outside of the cluster that many processes change.

A change reads the whole set, adds an element, and writes it all back. Whoever writes what he read too long
ago loses what others have added since. The set is a file of the run's folder."""

import asyncio
import fcntl
import json
import os

from .recorder import monotonic_ns
from .workloads import Workload, workload


class SharedSet:
    """@fenced: a write or read with a lower token than the highest it has seen is refused."""

    def __init__(self, path, fenced):
        self.path, self.fenced = path, fenced

    def read(self, token):
        """A list of elements, or None: refused."""
        with self._open():
            state = self._state()
            if self._refuses(state, token):
                return None
            self._write(state["elements"], max(state["token"], token))
            return state["elements"]

    def write(self, elements, token):
        with self._open():
            state = self._state()
            if self._refuses(state, token):
                return False
            self._write(elements, max(state["token"], token))
            return True

    def _refuses(self, state, token):
        return self.fenced and token < state["token"]

    def _open(self):
        """Alone with it, until the file is closed."""
        file = os.fdopen(os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _state(self):
        if not os.path.exists(self.path):
            return {"elements": [], "token": 0}
        with open(self.path, encoding="utf-8") as file:
            return json.load(file)

    def _write(self, elements, token):
        """Whole or not at all: the writer may be killed."""
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump({"elements": elements, "token": token}, file)
        os.replace(self.path + ".new", self.path)


class SetWorkload(Workload):
    """@fenced as above; @careful: clients watch their leases."""
    clients = 40
    fenced = careful = False
    sets = 40          # small sets, so that a change stays cheap
    hold_ms = 1500

    def __init__(self, world, number):
        super().__init__(world, number)
        self.added = 0

    async def turn(self):
        name = f"{self.name}-{self.random.randrange(self.sets)}-{self.epoch()}"
        answer = await self.acquire(name.rsplit("-", 1)[0], wait_ms=10000, hold_ms=self.hold_ms)
        if answer.result == "granted":
            await self._change(name, name.rsplit("-", 1)[0], answer.token)
            await self.let_go(name.rsplit("-", 1)[0], answer.token)

    def epoch(self):
        """A new set every few seconds, so that none grows without bound."""
        return monotonic_ns() // 5_000_000_000

    async def _change(self, name, lock, token):
        path = os.path.join(self.world.directory, "sets", f"{name}.json")
        shared = SharedSet(path, self.fenced)
        elements = shared.read(token)
        if elements is None:
            return
        self.added += 1
        element = f"{self.world.proc}.{self.number}.{self.added}"
        await self._think()
        lease_end = self.client.lease_end(lock)
        if self.careful and lease_end - monotonic_ns() < 100_000_000:
            return
        written = shared.write(elements + [element], token)
        overrun = self.careful and monotonic_ns() > lease_end
        self.world.recorder.write("add", set=name, v=element, ok=int(written), late=int(overrun), tok=token)

    async def _think(self):
        await asyncio.sleep(self.random.random() * 0.01)


@workload
class LockSet(SetWorkload):
    """Clients that watch their leases lose nothing."""
    name = "lock-set"
    careful = True
    locks_used = tuple(f"lock-set-{n}" for n in range(40))


class Careless(SetWorkload):
    clients = 64
    sets = 40

    async def _think(self):
        """Sometimes longer than the lease, without looking at it."""
        await asyncio.sleep(self.random.random() * 0.01 if self.random.random() < 0.97 else 1.0 + self.random.random())


@workload
class FencedSet(Careless):
    """Clients that do not watch them lose nothing where the resource checks tokens."""
    name = "fenced-set"
    fenced = True
    locks_used = tuple(f"fenced-set-{n}" for n in range(40))


@workload
class UnfencedSet(Careless):
    """The same without tokens must lose some: it proves that the fault bites."""
    name = "unfenced-set"
    must_lose = True
    locks_used = tuple(f"unfenced-set-{n}" for n in range(40))
