"""The lock table as its rules are written in proto/README.md, to replay a node's log against what clients
were told. Naive and sequential; shares no line with raft-fsm.

    model = Model()
    told = model.apply(command, time)     # [(client, lock, what, token)]: everything that was decided
"""

import heapq

UNLIMITED = 1 << 62
ATTACHED, MISSING, GONE = 1, 2, 3
WRITE, READ = 0, 1
BREAK = 0
RELEASE = 0
EXPIRED_MAX = 16


class Claim:
    __slots__ = ("client", "lock", "typ", "drop", "token", "slot", "wait", "hold", "deadline", "asked", "order",
                 "waiting", "upgrade", "gone", "made")


class Client:
    __slots__ = ("name", "epoch", "seq", "presence", "grace_end", "secret", "claims", "expired")

    def __init__(self, name):
        self.name, self.epoch, self.seq = name, 0, 0
        self.presence, self.grace_end, self.secret = ATTACHED, UNLIMITED, False
        self.claims, self.expired = [], []


class Lock:
    __slots__ = ("name", "limit", "holds", "waits")

    def __init__(self, name, limit):
        self.name, self.limit, self.holds, self.waits = name, limit, [], []


def _ms(value):
    return UNLIMITED if value < 0 else max(1, value)


class Model:
    def __init__(self):
        self.now = self.token = self.order = 0
        self.grace = 0
        self.clients, self.locks = {}, {}
        self._due = []   # (deadline, order, what): may be outdated
        self._told = []
        self._tie = 0
        self.number = 0  # of the command

    def counts(self):
        return (sum(len(lock.holds) for lock in self.locks.values()),
                sum(len(lock.waits) for lock in self.locks.values()))

    def apply(self, command, time):
        self._told = []
        self.number += 1
        self.now = max(self.now, time)
        self._expire()
        do = _COMMANDS.get(command["do"])
        if do is not None:
            do(self, command)
        return self._told

    # ---- time

    def _set_deadline(self, what, deadline, order):
        self._tie += 1
        if deadline < UNLIMITED:
            heapq.heappush(self._due, (deadline, order, self._tie, what))

    def _after(self, duration):
        return UNLIMITED if duration >= UNLIMITED else self.now + duration

    def _expire(self):
        while self._due and self._due[0][0] <= self.now:
            deadline, order, _tie, what = heapq.heappop(self._due)
            if isinstance(what, Client):
                if what.presence == MISSING and what.grace_end == deadline and what.seq == order \
                        and self.clients.get(what.name) is what:
                    self._go(what)
            elif not what.gone and what.deadline == deadline and what.order == order:
                self._claim_due(what)

    def _claim_due(self, claim):
        lock = claim.lock
        if claim.waiting:
            self._tell(claim, "wait-timeout")
            self._end_wait(claim)
        else:
            self._tell(claim, "hold-expired", claim.token)
            expired = [e for e in claim.client.expired if e[0] != lock.name]
            claim.client.expired = (expired + [(lock.name, claim.token)])[-EXPIRED_MAX:]
            self._end_hold(claim)
        self._forget(claim.client)
        self._settle(lock)

    # ---- claims

    def _tell(self, claim, what, token=0):
        self._told.append((claim.client.name, claim.lock.name, what, token))

    def _answer(self, command, what, token=0):
        self._told.append((command.get("client", ""), command.get("lock", ""), what, token))

    def _find(self, command, waiting):
        lock = self.locks.get(command["lock"])
        if lock is None:
            return None
        for claim in lock.waits if waiting else lock.holds:
            if claim.client.name == command["client"]:
                return claim
        return None

    def _new_claim(self, client, lock, command):
        claim = Claim()
        claim.client, claim.lock, claim.typ = client, lock, command["type"]
        claim.token = claim.slot = claim.deadline = claim.asked = claim.order = 0
        claim.wait, claim.waiting, claim.upgrade, claim.gone, claim.made = 0, False, False, False, self.number
        self._parameters(claim, command)
        client.claims.append(claim)
        return claim

    def _parameters(self, claim, command):
        claim.hold, claim.drop = _ms(command["hold"]), command["drop"]

    def _restart(self, hold):
        hold.deadline = hold.asked = self._after(hold.hold)
        self._set_deadline(hold, hold.deadline, hold.order)

    def _start_hold(self, claim):
        claim.client.expired = [e for e in claim.client.expired if e[0] != claim.lock.name]
        claim.waiting = claim.upgrade = False
        self.order += 1
        claim.token, claim.order = self._take_token(claim.made), self.order
        taken = {hold.slot for hold in claim.lock.holds}
        claim.slot = next(n for n in range(len(taken) + 1) if n not in taken) if claim.lock.limit > 1 else 0
        claim.lock.holds.append(claim)
        self._restart(claim)

    def _take_token(self, _made):
        """For what was asked for by the command number @_made."""
        self.token += 1
        return self.token

    def _end_hold(self, hold):
        hold.gone = True
        hold.lock.holds.remove(hold)
        hold.client.claims.remove(hold)
        for wait in hold.lock.waits:
            if wait.upgrade and wait.client is hold.client:
                wait.upgrade = False

    def _end_wait(self, wait):
        wait.gone = True
        wait.lock.waits.remove(wait)
        wait.client.claims.remove(wait)

    def _cancel(self, wait):
        self._tell(wait, "denied cancelled")
        self._end_wait(wait)

    def _admits(self, lock, typ):
        if typ == WRITE:
            return len(lock.holds) < lock.limit
        return not lock.holds or lock.holds[0].typ == READ

    def _settle(self, lock):
        while lock.waits:
            head = lock.waits[0]
            if not (len(lock.holds) == 1 if head.upgrade else self._admits(lock, head.typ)):
                break
            if head.deadline <= self.now:
                self._tell(head, "wait-timeout")
                self._end_wait(head)
            elif head.upgrade:
                self._grant_upgrade(head)
            else:
                lock.waits.remove(head)
                self._start_hold(head)
                self._tell(head, "granted", head.token)
        if not lock.holds and self.locks.get(lock.name) is lock:
            del self.locks[lock.name]

    def _become_write(self, hold, made):
        self.order += 1
        hold.typ, hold.token, hold.order = WRITE, self._take_token(made), self.order
        hold.lock.holds.remove(hold)
        hold.lock.holds.append(hold)
        self._restart(hold)

    def _grant_upgrade(self, wait):
        hold = next(h for h in wait.lock.holds if h.client is wait.client)
        hold.hold, hold.drop = wait.hold, wait.drop
        self._end_wait(wait)
        self._become_write(hold, wait.made)
        self._tell(hold, "granted", hold.token)

    # ---- commands of locks

    def _acting(self, command):
        client = self.clients.get(command["client"])
        if client is None or client.presence == GONE:
            self._answer(command, "denied not-attached")
            return None
        if command["client_epoch"] < client.epoch:
            self._answer(command, "denied stale-epoch")
            return None
        return client

    def _lock(self, command):
        client = self._acting(command)
        if client is None:
            return
        lock = self.locks.get(command["lock"])
        if (command["limit"] > 1 and command["type"] == READ) or (lock and lock.limit != command["limit"]):
            self._answer(command, "denied limit-mismatch")
            return
        hold, wait = self._find(command, False), self._find(command, True)
        if hold is not None and (hold.typ == WRITE or command["type"] == READ):
            if command["downgrade"] and command["type"] == READ:
                hold.typ = READ
            self._parameters(hold, command)
            self._restart(hold)
            self._answer(command, "granted", hold.token)
            self._settle(hold.lock)
        elif wait is not None:
            self._ask_again(command, wait)
        elif hold is not None:
            self._upgrade(command, client, hold)
        else:
            self._ask(command, client, lock)

    def _ask(self, command, client, lock):
        free = lock is None or (not lock.waits and self._admits(lock, command["type"]))
        if not free and command["mode"] == BREAK:
            self._answer(command, "denied held")
            return
        if lock is None:
            lock = self.locks[command["lock"]] = Lock(command["lock"], command["limit"])
        if free:
            claim = self._new_claim(client, lock, command)
            self._start_hold(claim)
            self._answer(command, "granted", claim.token)
        else:
            self._queue(command, client, lock, False)
            self._answer(command, "waiting")

    def _queue(self, command, client, lock, upgrade):
        wait = self._new_claim(client, lock, command)
        self.order += 1
        wait.waiting, wait.upgrade, wait.order = True, upgrade, self.order
        self._restart_wait(wait, _ms(command["wait"]))
        lock.waits.insert(0 if upgrade else len(lock.waits), wait)
        return wait

    def _restart_wait(self, wait, duration):
        wait.wait = duration
        wait.deadline = self._after(duration)
        self._set_deadline(wait, wait.deadline, wait.order)

    def _ask_again(self, command, wait):
        if command["mode"] == BREAK:
            self._answer(command, "denied held")
        elif wait.typ == command["type"]:
            self._parameters(wait, command)
            self._restart_wait(wait, _ms(command["wait"]))
            self._answer(command, "waiting")
        else:
            lock, client = wait.lock, wait.client
            self._cancel(wait)
            self._queue(command, client, lock, False)
            self._settle(lock)
            self._answer(command, "waiting")

    def _upgrade(self, command, client, hold):
        lock = hold.lock
        if len(lock.holds) == 1:
            self._parameters(hold, command)
            self._become_write(hold, self.number)
            self._answer(command, "granted", hold.token)
        elif command["mode"] == BREAK:
            self._answer(command, "denied held")
        elif lock.waits and lock.waits[0].upgrade:
            self._answer(command, "denied upgrade-conflict")
        else:
            self._queue(command, client, lock, True)
            self._answer(command, "waiting")

    def _recall(self, client, command):
        return next((e for e in client.expired if e[0] == command["lock"]
                     and command["token"] in (0, e[1])), None)

    def _refresh(self, command):
        client = self._acting(command)
        if client is None:
            return
        hold, wait = self._find(command, False), self._find(command, True)
        claim = None
        if hold is not None and command["token"] in (0, hold.token):
            claim = hold
        elif hold is None and wait is not None and command["token"] == 0:
            claim = wait
        if claim is None:
            self._answer(command, "denied expired" if self._recall(client, command) else "denied not-held")
            return
        if command["hold"]:
            claim.hold = _ms(command["hold"])
        if "drop" in command:
            claim.drop = command["drop"]
        if claim.waiting:
            self._restart_wait(claim, _ms(command["wait"]) if command["wait"] else claim.wait)
            self._answer(command, "waiting")
        else:
            self._restart(claim)
            self._answer(command, "granted", claim.token)

    def _release(self, command):
        client = self._acting(command)
        if client is None:
            return
        lock = self.locks.get(command["lock"])
        hold, wait = self._find(command, False), self._find(command, True)
        if hold is not None and command["token"] in (0, hold.token):
            if wait is not None and command["token"] == 0:
                self._cancel(wait)
            self._answer(command, "released", hold.token)
            self._end_hold(hold)
            self._settle(lock)
        elif hold is None and wait is not None and command["token"] == 0:
            self._cancel(wait)
            self._answer(command, "was-queued")
            self._settle(lock)
        else:
            self._release_nothing(command, client, hold, lock)

    def _release_nothing(self, command, client, hold, lock):
        expired = self._recall(client, command)
        if expired is not None:
            client.expired.remove(expired)
            self._answer(command, "expired", expired[1])
        elif hold is None and lock is not None:
            self._answer(command, "held-by-other")
        else:
            self._answer(command, "not-held")

    def _status(self, command):
        lock = self.locks.get(command["lock"])
        hold, wait = self._find(command, False), self._find(command, True)
        if lock is None:
            self._answer(command, "free")
        elif hold is not None:
            self._answer(command, "mine", hold.token)
        else:
            self._answer(command, "waiting" if wait is not None else "other")

    def _force_release(self, command):
        lock = self.locks.get(command["lock"])
        for hold in list(lock.holds) if lock else ():
            if command["token"] in (0, hold.token):
                self._tell(hold, "hold-broken", hold.token)
                self._end_hold(hold)
                self._forget(hold.client)
        if lock is not None:
            self._settle(lock)
        self._answer(command, "forced")

    # ---- commands of clients

    def _attach(self, command):
        client = self.clients.get(command["client"])
        if client is not None:
            epoch = command.get("epoch")
            if command["create"] or (epoch is not None and epoch < client.epoch) \
                    or (command["supersede"] and (epoch or 0) <= client.epoch):
                self._answer(command, "denied attach")
                return
        else:
            client = self.clients[command["client"]] = Client(command["client"])
        self.order += 1
        client.seq, client.presence, client.grace_end = self.order, ATTACHED, UNLIMITED
        client.epoch = command.get("epoch", client.epoch)
        self._answer(command, "attached")

    def _detach(self, command):
        client = self.clients.get(command["client"])
        if client is not None and command["last"] and client.seq == command["attach_seq"]:
            self._go(client)

    def _go(self, client):
        """First all waits, then the RELEASE holds, then the queues."""
        client.presence, client.grace_end = GONE, UNLIMITED
        touched = []
        for wait in [c for c in client.claims if c.waiting]:
            touched.append(wait.lock)
            self._cancel(wait)
        for hold in sorted((c for c in client.claims if c.drop == RELEASE), key=lambda c: c.order):
            touched.append(hold.lock)
            self._end_hold(hold)
        for lock in dict.fromkeys(touched):
            self._settle(lock)
        self._forget(client)

    def _forget(self, client):
        if client.presence == GONE and not client.claims:
            self.clients.pop(client.name, None)

    def _epoch(self, command):
        self.grace = command["reattach_grace"]
        end = self._after(self.grace)
        for client in self.clients.values():
            if client.presence == ATTACHED:
                client.presence, client.grace_end = MISSING, end
                self._set_deadline(client, end, client.seq)
            for hold in client.claims:
                if hold.waiting or hold.drop != RELEASE or hold.asked >= UNLIMITED:
                    continue
                extended = min(end, hold.asked + self.grace)
                if hold.deadline < extended:
                    hold.deadline = extended
                    self._set_deadline(hold, extended, hold.order)
        self._expire()

    # ---- from a snapshot

    def load(self, record):
        kind = record["record"]
        if kind == "root":
            self.now, self.token, self.order = record["now"], record["token"], record["order"]
            self.grace = record["reattach_grace"]
        elif kind == "client":
            client = self.clients[record["client"]] = Client(record["client"])
            client.epoch, client.seq = record["epoch"], record["attach_seq"]
            client.presence = record["presence"]
            client.grace_end = record["grace_end"] if record["grace_end"] >= 0 else UNLIMITED
            self._set_deadline(client, client.grace_end, client.seq)
        elif kind == "lock":
            self.locks[record["lock"]] = Lock(record["lock"], record["limit"])
        elif kind in ("hold", "wait"):
            self._load_claim(record, kind == "wait")
        elif kind == "expired":
            self.clients[record["client"]].expired.append((record["lock"], record["token"]))

    def _load_claim(self, record, waiting):
        lock, client = self.locks[record["lock"]], self.clients[record["client"]]
        claim = self._new_claim(client, lock, record)
        claim.waiting, claim.upgrade = waiting, bool(record.get("upgrade"))
        claim.token, claim.slot = record.get("token", 0), record.get("slot", 0)
        claim.order = record["order"]
        claim.wait = _ms(record["wait"]) if waiting else 0
        claim.deadline = record["deadline"] if record["deadline"] >= 0 else UNLIMITED
        asked = record.get("asked_deadline", -1)
        claim.asked = asked if asked >= 0 else UNLIMITED
        (lock.waits if waiting else lock.holds).append(claim)
        self._set_deadline(claim, claim.deadline, claim.order)


_COMMANDS = {"lock": Model._lock, "refresh": Model._refresh, "release": Model._release, "status": Model._status,
             "attach": Model._attach, "detach": Model._detach, "epoch": Model._epoch,
             "force-release": Model._force_release}
