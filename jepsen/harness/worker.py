"""A process full of clients: python3 -m harness.worker CONFIG.json

Ends when its clients have finished their last turns; kills and pauses are for the nemeses."""

import asyncio
import json
import random
import sys

from . import library, workload_list
from .client import Client
from .recorder import Recorder, monotonic_ns
from .session import Session

LATE_MS = 20      # what is noted
BEAT = 0.01


class World:
    def __init__(self, config):
        self.proc = config["proc"]
        self.seed = config["seed"]
        self.recorder = Recorder(config["history"], self.proc)
        self.addresses = {int(n): tuple(a) for n, a in config["addresses"].items()}
        self.grace_ms = config["grace_ms"]
        self.until_ns = config["until_ns"]
        self.directory = config["directory"]
        self.random = random.Random(f"{self.seed}/{self.proc}")
        self.library = library.load(config["build"]) if config["client"] == "lib" else None

    def new_client(self, name):
        """(session, client), on a connection of its own."""
        if self.library is not None:
            client = library.LibraryClient(self, name)
            return client, client
        session = Session(self.recorder, self.addresses, self.grace_ms)
        return session, Client(session, name)


async def measure_lateness(recorder):
    """How far this process is behind its own timers: what it tells of time is worth that much less."""
    while True:
        due = monotonic_ns() + int(BEAT * 1e9)
        await asyncio.sleep(BEAT)
        late_ms = (monotonic_ns() - due) // 1000000
        if late_ms >= LATE_MS:
            recorder.write("late", ms=late_ms)


async def work(config):
    world = World(config)
    kind = workload_list.WORKLOADS[config["workload"]]
    beat = asyncio.ensure_future(measure_lateness(world.recorder))
    users = [kind(world, n) for n in range(config["clients"])]
    done = await asyncio.gather(*(user.run() for user in users), return_exceptions=True)
    beat.cancel()
    failures = [e for e in done if isinstance(e, BaseException)]
    world.recorder.write("finished", failures=[repr(e) for e in failures])
    for failure in failures[:1]:
        raise failure


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    asyncio.run(work(config))


if __name__ == "__main__":
    main()
