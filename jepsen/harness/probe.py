"""The last look: fresh clients take and release every lock, coming in by every node."""

import asyncio

from .client import Client
from .session import Session


async def probe(recorder, cluster, grace_ms, locks, patience=30.0):
    """{node: [what went wrong]}"""
    addresses = {n: cluster.nodes[n].listen for n in cluster}
    wrong = {}
    for node in cluster:
        session = Session(recorder, addresses, grace_ms)
        session.node = node  # where it begins to look for the leader
        client = Client(session, f"probe-{node}")
        session.start()
        results = await asyncio.gather(*(_take(client, lock, patience) for lock in locks))
        wrong[node] = [text for text in results if text]
        await session.close()
    return wrong


async def _take(client, lock, patience):
    answer = await client.lock(lock, wait_ms=int(patience * 1000), hold_ms=10000, patience=patience + 5)
    if answer.result != "granted":
        return f"{lock} could not be taken: {answer.result} {answer.why or ''}".rstrip()
    status = await client.status(lock)
    if status.result != "mine":
        return f"{lock} was taken, and its status is {status.result}"
    released = await client.release(lock, answer.token)
    if released.result != "released":
        return f"{lock} was taken, and its release says {released.result}"
    return None
