"""One logical client: what it asks, what it holds, and how long it may believe so.

    grant = await client.lock("a", wait_ms=5000, hold_ms=2000)     # an Answer
    if grant.result == "granted": ...
    await client.release("a", token=grant.token)

Every request is recorded before it is sent and when its outcome is known. A request that was under way
when its connection broke is sent again over the next one, as the reference advises; its operation ends
when an answer comes, or as `info` (it may have happened) when @patience is over."""

import asyncio

from . import wire
from .recorder import monotonic_ns
from .session import LATE, LOST

RHO_PPM = 1000  # error of clock rates that a client allows for


class Answer:
    __slots__ = ("result", "token", "slot", "why", "fields")

    def __init__(self, result, token=0, slot=0, why=None, fields=None):
        self.result, self.token, self.slot, self.why = result, token, slot, why
        self.fields = fields or {}


class Hold:
    __slots__ = ("token", "hold_ms", "drop", "lease", "since")

    def __init__(self, token, hold_ms, drop, lease):
        self.token, self.hold_ms, self.drop, self.lease = token, hold_ms, drop, lease
        self.since = monotonic_ns()


class Client:
    def __init__(self, session, name):
        self.session, self.id, self.epoch = session, name, 0
        self.recorder = session.recorder
        self.holds = {}
        session.clients.append(self)

    # ---- requests

    async def lock(self, lock, typ=wire.WRITE, wait_ms=None, hold_ms=0, drop=wire.RELEASE, limit=0,
                   downgrade=False, patience=30.0):
        """@wait_ms None: do not queue; 0: as long as it takes."""
        fields = {"client_id": self.id, "lock_name": lock, "type": typ, "lock_timeout": hold_ms,
                  "connection_drop": drop}
        if wait_ms is not None:
            fields["mode"], fields["wait_timeout"] = wire.WAIT, wait_ms
        if limit:
            fields["limit"] = limit
        if downgrade:
            fields["downgrade"] = 1
        return await self._operate("lock" if wait_ms is not None else "try", "LockRequest", fields, lock,
                                   patience, typ=typ, w=wait_ms, h=hold_ms, d=drop, lim=limit or 1,
                                   down=int(downgrade))

    async def release(self, lock, token=0, patience=30.0):
        hold = self.holds.get(lock)
        if hold is not None and token in (0, hold.token):
            del self.holds[lock]
        return await self._operate("release", "LockReleaseRequest",
                                   {"client_id": self.id, "lock_name": lock, **_token(token)}, lock, patience,
                                   tok=token)

    async def refresh(self, lock, hold_ms=0, token=0, drop=wire.RELEASE, patience=10.0):
        return await self._operate("refresh", "LockRefreshRequest",
                                   {"client_id": self.id, "lock_name": lock, "lock_timeout": hold_ms,
                                    "connection_drop": drop, **_token(token)}, lock, patience,
                                   h=hold_ms, tok=token, d=drop)

    async def status(self, lock, patience=10.0):
        return await self._operate("status", "LockStatusRequest", {"client_id": self.id, "lock_name": lock},
                                   lock, patience)

    def lease_end(self, lock):
        """Until when this client is entitled to @lock, by its own clock; 0: it is not."""
        hold = self.holds.get(lock)
        if hold is None:
            return 0
        ends = [1 << 63]
        if hold.hold_ms not in (0, wire.UNLIMITED):
            ends.append(hold.lease + hold.hold_ms * (1000000 - RHO_PPM))
        if hold.drop == wire.RELEASE:
            ends.append(self.session.contact + self.session.grace_ms * (1000000 - RHO_PPM))
        return min(ends)

    # ---- what the session tells

    def on_attached(self, session, sent, answer):
        have, waits = {}, []
        for claim in answer.get("claims", ()):
            if claim["waiting"]:
                waits.append(claim["lock_name"])
            else:
                have[claim["lock_name"]] = claim["token"]
        position = answer.get("position", {})
        self.recorder.write("claims", c=self.id, g=session.name, s=sent, ep=self.epoch,
                            have=list(have.items()), waits=waits, x=position.get("index", 0),
                            term=position.get("term", 0))
        # What was granted since the attach was sent, over another connection, it may not know.
        for lock in [l for l, h in self.holds.items() if have.get(l) != h.token and h.since < sent]:
            self._lose(lock, self.holds[lock].token, "claims")

    def on_lost(self, fields):
        self._lose(fields["lock_name"], fields.get("token", 0),
                   "expired" if fields.get("reason") == 1 else "broken", fields["position"]["index"])

    def _lose(self, lock, token, why, index=0):
        hold = self.holds.get(lock)
        if hold is not None and hold.token == token:
            del self.holds[lock]
        self.recorder.write("lost", c=self.id, l=lock, tok=token, r=why, x=index)

    # ---- inside

    async def _operate(self, op, name, fields, lock, patience, **told):
        number = self.recorder.op_number()
        self.recorder.write("call", i=number, op=op, c=self.id, l=lock, g=self.session.name, **told)
        try:
            outcome, sent, uncertain = await self._until_answered(name, fields, lock, number, patience)
        except asyncio.CancelledError:
            self.recorder.write("info", i=number, r="cancelled")
            raise
        if outcome is None:
            self.recorder.write("info" if uncertain else "fail", i=number, r="timeout")
            return Answer("unknown" if uncertain else "failed")
        return self._on_answer(number, op, lock, outcome, sent, uncertain, told)

    async def _until_answered(self, name, fields, lock, number, patience):
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        uncertain = False
        while True:
            try:
                if not self.session.is_up:
                    await asyncio.wait_for(self.session.ready(), max(0.0, end - loop.time()))
            except asyncio.TimeoutError:
                return None, 0, uncertain
            session = self.session
            pending = session.send(name, fields, self, lock, number, name == "LockRequest")
            timer = loop.call_at(end, session.forget, pending)
            try:
                outcome = await pending.future
            finally:
                timer.cancel()
            if outcome is LATE:
                return None, 0, True
            if outcome is LOST:
                uncertain = True
                await asyncio.sleep(0)
                continue
            if outcome[0] != "ErrorResponse":
                return outcome, pending.sent, uncertain
            uncertain = uncertain or outcome[1]["code"] == wire.UNKNOWN
            if outcome[1]["code"] in (wire.NOT_LEADER, wire.STALE_EPOCH):
                session.give_up("not the leader")
            await asyncio.sleep(max(0.02, outcome[1]["retry_after"] / 1000))
            if loop.time() > end:
                return None, 0, uncertain

    def _on_answer(self, number, op, lock, outcome, sent, uncertain, told):
        name, fields = outcome
        line = {"i": number, "g": self.session.name, "s": sent}
        if fields.get("client_id") != self.id or fields.get("lock_name") != lock:
            self.recorder.write("ghost", i=number, r=name, c=fields.get("client_id"),
                                l=fields.get("lock_name"))
        if uncertain:
            line["u"] = 1
        position = fields.get("position", {})
        line["x"], line["term"] = position.get("index", 0), position.get("term", 0)
        line["ct"] = position.get("cluster_time", 0)
        answer = _ANSWERS[name](self, op, lock, fields, sent, line, told)
        self.recorder.write("ok", **line)
        return answer

    def _granted(self, _op, lock, fields, sent, line, told):
        lease = max(sent, self.session.contact_log)
        hold = self.holds.get(lock)
        self.holds[lock] = Hold(fields["token"], fields.get("lock_timeout", wire.UNLIMITED),
                                fields.get("connection_drop", told.get("d", 0)), lease)
        if hold is not None and hold.token == fields["token"]:
            self.holds[lock].lease = max(lease, hold.lease) if hold.hold_ms >= told.get("h", 0) else lease
        line.update(r="granted", tok=fields["token"], slot=fields["slot"], typ=fields["type"], lease=lease,
                    h=fields.get("lock_timeout", wire.UNLIMITED), d=fields.get("connection_drop", 0))
        return Answer("granted", fields["token"], fields["slot"], fields=fields)

    def _denied(self, op, lock, fields, _sent, line, _told):
        why = wire.DENY.get(fields.get("reason"), "?")
        line.update(r="denied", why=why)
        if fields.get("holders"):
            line["holders"] = [[c["client_id"], c["token"]] for c in fields["holders"]]
        line["queue"] = fields.get("queue_length", 0)
        if op == "refresh" and lock in self.holds and why in ("not-held", "expired"):
            del self.holds[lock]
        return Answer("denied", why=why, fields=fields)

    def _wait_timeout(self, _op, _lock, fields, _sent, line, _told):
        line.update(r="wait-timeout")
        return Answer("wait-timeout", fields=fields)

    def _waiting(self, _op, _lock, fields, _sent, line, _told):
        line.update(r="waiting")
        return Answer("waiting", fields=fields)

    def _released(self, _op, _lock, fields, _sent, line, _told):
        result = wire.RELEASE_RESULT.get(fields.get("result"), "?")
        line.update(r=result, tok=fields.get("token", 0))
        return Answer(result, fields.get("token", 0), fields=fields)

    def _status(self, _op, _lock, fields, _sent, line, _told):
        state = wire.STATE.get(fields.get("state"), "?")
        line.update(r=state, tok=fields.get("token", 0), queue=fields.get("queue_length", 0),
                    holders=[[c["client_id"], c["token"]] for c in fields.get("holders", ())])
        return Answer(state, fields.get("token", 0), fields=fields)


_ANSWERS = {"LockGrantedResponse": Client._granted, "LockDeniedResponse": Client._denied,
            "LockWaitTimeoutResponse": Client._wait_timeout, "LockWaitResponse": Client._waiting,
            "LockReleaseResponse": Client._released, "LockStatusResponse": Client._status}


def _token(token):
    return {"token": token} if token else {}
