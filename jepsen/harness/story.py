"""The history as operations and holds, in one pass in time order, with every check that needs no more
than that. Memory grows with the number of grants, not with that of lines.

What has an unknown outcome may have happened: it counts as a possible holder or waiter until its client
has released without a token and was answered."""

from array import array

from .search_input import SearchInput
from .sure import FAR, IGNORE, READ, ROUNDING, SureIntervals
from .violation import Violation

MS = 1_000_000


class Op:
    __slots__ = ("i", "p", "op", "c", "l", "inv", "w", "h", "lim", "tok", "typ", "queued", "index_before", "seen_other",
                 "had", "first", "library")


class Story:
    def __init__(self, rho_ppm=1000):
        self.rho = 1000000 - rho_ppm
        self.intervals = SureIntervals(rho_ppm)
        self.search = SearchInput()
        self.violations = []
        self.ops = {}            # open: number -> Op
        self.ops_of = {}         # client -> {number: Op}, the same
        self.groups = {}         # (client, lock) -> [open lock requests, first begun, tokens before it]
        self.things = {}         # lock -> {client: count}: what may hold it or wait for it
        self.tries = {}          # lock -> {number: Op}
        self.grants = {}         # lock -> [(token, ret, begun, queued, typ, client, upgrade, limit)]
        self.released = {}       # token -> when it was known to be freed
        self.owner = {}          # token -> (client, lock)
        self.positions = {}      # index -> (term, cluster time)
        self.answers = []        # (index, op, client, lock, result, token, why)
        self.unsure = {}         # lock -> when requests of unknown outcome were begun
        self.unanswered = []     # (begun, given up, op, client, lock)
        self.ok_times = array("q")
        self.latencies = array("q")  # ns, of the same answers
        self.leaders = []        # (t, node, term): as clients found them
        self.counts = {"ok": 0, "fail": 0, "info": 0}
        self.last_index = self.last_token = 0
        self.late = []           # (t, ms, process)
        self.bands = []          # [begin, end, name, details, proof]
        self.adds = {}           # set -> [(t, element, token, late)]
        self.notes = []          # what processes said of themselves
        self.start = self.end = 0
        self._lived = {}         # process -> when it wrote its latest line
        self._open_bands = {}
        self._doubt = set()      # (client, lock) with a lock request of unknown outcome

    def feed(self, line):
        t = line["t"]
        self.start = self.start or t
        self.end = t
        self._lived[line["p"]] = t
        handler = _HANDLERS.get(line["e"])
        if handler is not None:
            handler(self, t, line)

    def finish(self):
        for band in self._open_bands.values():
            band[1] = self.end
        self.intervals.end_all(self.end)
        for op in self.ops.values():
            self.unanswered.append((op.inv, self.end, op.op, op.c, op.l))
        self._terms_grow()

    def violate(self, prop, t, text, lock=None, clients=(), timing=False):
        self.violations.append(Violation(prop, t, text, lock, tuple(clients), timing))

    # ---- operations

    def _call(self, t, line):
        op = Op()
        op.i, op.p, op.op, op.c, op.l, op.inv = line["i"], line["p"], line["op"], line["c"], line["l"], t
        op.w, op.h, op.lim = line.get("w"), line.get("h", 0), line.get("lim", 1)
        op.tok, op.typ = line.get("tok", 0), line.get("typ", 0)
        op.queued, op.seen_other, op.first, op.library = 0, False, None, "lib" in line
        op.index_before = self.last_index
        hold = self.intervals.holds.get((op.c, op.l))
        op.had = hold.tok if hold else 0
        self.ops[op.i] = op
        self.ops_of.setdefault(op.c, {})[op.i] = op
        self.search.begin(op)
        if op.op in ("lock", "try"):
            self._begin_group(op, t)
            self._add_thing(op)
        if hold is None:
            return
        if op.op == "release" and op.tok in (0, hold.tok):
            self.intervals.close(hold, t)
            hold.released = t
        elif op.op in ("lock", "try", "refresh") and op.h and op.h < hold.h:
            hold.cap = min(hold.cap, t + op.h * self.rho - ROUNDING)
        if line.get("down"):
            self.intervals.close(hold, t)

    def _pop(self, number):
        op = self.ops.pop(number)
        mine = self.ops_of[op.c]
        del mine[number]
        if not mine:
            del self.ops_of[op.c]
        return op

    def _begin_group(self, op, t):
        """Requests of one client for one lock that overlap are one: the first may have what a later one
        is told."""
        group = self.groups.setdefault((op.c, op.l), [0, t, self.last_token])
        if group[0] == 0 and (op.c, op.l) not in self._doubt:
            group[1], group[2] = t, self.last_token
        group[0] += 1
        op.first = group

    def _wait(self, t, line):
        op = self.ops.get(line["i"])
        if op is not None:
            op.queued = op.queued or t
            self._see_index(op, line["x"], t)
            self.intervals.touch(op.c, line["s"], t)

    def _ok(self, t, line):
        op = self._pop(line["i"])
        self.counts["ok"] += 1
        self.ok_times.append(t)
        self.latencies.append(t - op.inv)
        self.intervals.touch(op.c, line["s"], t)
        self._see_answer(op, line, t)
        self.search.end(op, line, t, self._has_expired(op.l, t))
        if op.op in ("lock", "try"):
            self._leave_try(op)
            if line["r"] == "granted":
                self._granted(op, line, t)
            else:
                self._not_granted(op, line, t)
                self._remove_thing(op.c, op.l)
            op.first[0] -= 1
        elif op.op == "release":
            self._release_ok(op, line, t)
        elif op.op == "refresh":
            self._refresh_ok(op, line, t)

    def _fail(self, t, line):
        op = self._pop(line["i"])
        self.counts["fail"] += 1
        self.search.unknown(op)
        if op.op in ("lock", "try"):
            self._leave_try(op)
            self._remove_thing(op.c, op.l)
            op.first[0] -= 1
        self.unanswered.append((op.inv, t, op.op, op.c, op.l))

    def _info(self, t, line):
        op = self._pop(line["i"])
        self.counts["info"] += 1
        self._leave_try(op)
        self.search.unknown(op)
        self.unsure.setdefault(op.l, []).append(op.inv)
        if op.op in ("lock", "try"):
            op.first[0] -= 1
            self._doubt.add((op.c, op.l))
        if line["r"] == "timeout":
            self.unanswered.append((op.inv, t, op.op, op.c, op.l))

    def _granted(self, op, line, t):
        token = line["tok"]
        is_new = self._see_token(op, token, t)
        old = self.intervals.holds.get((op.c, op.l))
        if old is not None and old.tok != token:
            if line.get("typ", 0) == old.typ and self.intervals.entitled(old, t):
                self.violate("P13", t, f"{op.c} asked again for {op.l}, which it held with token {old.tok}, "
                                       f"and got token {token}", op.l, [op.c])
            self._remove_hold(old, op.inv)
        if old is not None and old.tok == token:
            self.intervals.renew(old, line, t)
            old.typ = line.get("typ", old.typ)
            self._remove_thing(op.c, op.l)
        elif token not in self.released:
            self.intervals.begin(op, line, t)
        else:
            self._remove_thing(op.c, op.l)
        if is_new:
            self._add_grant(op, token, line.get("typ", 0), t)

    def _add_grant(self, op, token, typ, t):
        self.grants.setdefault(op.l, []).append((token, t, op.first[1], op.queued, typ, op.c, bool(op.had), op.lim))

    def _not_granted(self, op, line, t):
        result, why = line["r"], line.get("why")
        if result == "wait-timeout" and (not op.w or t - op.inv < op.w * self.rho - ROUNDING):
            self.violate("P7", t, f"{op.c} was told a wait timeout for {op.l} after {(t - op.inv) / MS:.1f} ms; "
                                  f"it had asked for {op.w} ms", op.l, [op.c])
        if op.op == "try" and why == "held" and not op.seen_other and not op.had:
            self.violate("P16", t, f"{op.c} was told that {op.l} is held, and nobody can have held it or "
                                   "waited for it", op.l, [op.c])

    def _release_ok(self, op, line, t):
        result = line["r"]
        hold = self.intervals.holds.get((op.c, op.l))
        if hold is not None and op.tok in (0, hold.tok):
            if result in ("not-held", "held-by-other", "expired") and not line.get("u") \
                    and self._was_entitled(hold, op):
                self.violate("P8", t, f"{op.c} released {op.l} (token {hold.tok}) in time and was told "
                                      f"{result}", op.l, [op.c])
            self._remove_hold(hold, op.inv)
        if result == "released":
            self.released.setdefault(op.tok if op.library else line.get("tok", 0), t)
        if op.tok == 0 or op.library:
            self._doubt.discard((op.c, op.l))
            group = self.groups.get((op.c, op.l))
            self.things.get(op.l, {}).pop(op.c, None)
            if group is not None and group[0] > 0:
                self.things.setdefault(op.l, {})[op.c] = group[0]

    def _was_entitled(self, hold, op):
        """Nothing but this release can have ended it."""
        hold.released = FAR
        return hold.d == IGNORE and not hold.library and op.inv < self.intervals.bound(hold) - 1000 * MS \
            and not any(o.op == "release" and o.l == op.l for o in self.ops_of.get(op.c, {}).values())

    def _refresh_ok(self, op, line, t):
        hold = self.intervals.holds.get((op.c, op.l))
        if hold is None or op.tok not in (0, hold.tok):
            return
        if line["r"] == "granted":
            if line["tok"] != hold.tok:
                self.violate("P3", t, f"a refresh of {op.l} by {op.c} changed token {hold.tok} to "
                                      f"{line['tok']}", op.l, [op.c])
            else:
                self.intervals.renew(hold, line, t)
        elif line["r"] == "denied" and line.get("why") in ("not-held", "expired"):
            if self.intervals.entitled(hold, t):
                self.violate("P8", t, f"{op.c} lost {op.l} (token {hold.tok}) before its time: a refresh was "
                                      f"denied ({line['why']})", op.l, [op.c])
            self._remove_hold(hold, t)

    def _remove_hold(self, hold, t):
        self.intervals.close(hold, t)
        self.intervals.remove(hold)
        self._remove_thing(hold.c, hold.l)

    # ---- who may hold or wait

    def _add_thing(self, op):
        things = self.things.setdefault(op.l, {})
        things[op.c] = things.get(op.c, 0) + 1
        tries = self.tries.get(op.l)
        if tries:
            for other in tries.values():
                other.seen_other = other.seen_other or other.c != op.c
        if op.op == "try":
            op.seen_other = len(things) > 1
            self.tries.setdefault(op.l, {})[op.i] = op

    def _remove_thing(self, client, lock):
        things = self.things.get(lock, {})
        count = things.get(client, 0)
        if count > 1:
            things[client] = count - 1
        elif count and (client, lock) not in self._doubt:
            del things[client]

    def _leave_try(self, op):
        if op.op == "try":
            self.tries.get(op.l, {}).pop(op.i, None)

    # ---- what answers show

    def _see_answer(self, op, line, t):
        index = line["x"]
        if index:
            self._see_index(op, index, t)
            if "term" in line:
                self._see_position(index, line["term"], line["ct"], t)
            self.answers.append((index, op.op, op.c, op.l, line["r"], line.get("tok", 0), line.get("why", "")))
        elif not op.library:
            self.violate("P18", t, f"the {op.op} of {op.c} on {op.l} was told {line['r']} without a place in the log",
                         op.l, [op.c])
        shown = [token for _client, token in line.get("holders", ())]
        if op.op == "status" and line["r"] == "mine":
            shown.append(line.get("tok", 0))
        for token in shown:
            if self.released.get(token, FAR) < op.inv:
                self.violate("P6", t, f"the {op.op} of {op.c} shows token {token} of {op.l}, which had been "
                                      "released before", op.l, [op.c])

    def _see_index(self, op, index, t):
        if index < op.index_before:
            self.violate("P18", t, f"the {op.op} of {op.c} on {op.l} was answered at index {index}; before it "
                                   f"began, an answer at {op.index_before} had come", op.l, [op.c])
        self.last_index = max(self.last_index, index)

    def _see_position(self, index, term, cluster_time, t):
        known = self.positions.setdefault(index, (term, cluster_time))
        if known != (term, cluster_time):
            self.violate("P18", t, f"index {index} was answered with (term, time) {known} and "
                                   f"{(term, cluster_time)}")

    def _see_token(self, op, token, t):
        """Returns whether nobody has seen it before."""
        is_new = token not in self.owner
        owner = self.owner.setdefault(token, (op.c, op.l))
        if owner != (op.c, op.l):
            self.violate("P3", t, f"token {token} was given to {owner[0]} for {owner[1]} and to {op.c} for "
                                  f"{op.l}", op.l, [op.c, owner[0]])
        elif self.released.get(token, FAR) < op.first[1]:
            self.violate("P6", t, f"token {token} of {op.l} was released and then granted again to {op.c}",
                         op.l, [op.c])
        elif is_new and token <= op.first[2]:
            self.violate("P3", t, f"{op.c} got token {token} for {op.l}; before it asked, token "
                                  f"{op.first[2]} had been given out", op.l, [op.c])
        self.last_token = max(self.last_token, token)
        return is_new

    def _terms_grow(self):
        last = (0, 0)
        for index in sorted(self.positions):
            position = self.positions[index]
            if position[0] < last[0] or position[1] < last[1]:
                self.violate("P18", self.end, f"(term, time) falls from {last} to {position} at index {index}")
            last = position

    # ---- connections and clients

    def _claims(self, t, line):
        client, session = line["c"], line["g"]
        if self.leaders and not self.leaders[-1][2]:
            self.leaders[-1] = (*self.leaders[-1][:2], line["term"])
        have = dict(line["have"])
        self.intervals.attach(client, session)
        for hold in list(self.intervals.of_client.get(client, {}).values()):
            if have.get(hold.l) == hold.tok:
                self.intervals.proven(hold, t)
            elif self._may_have_upgraded(hold, have):
                self._remove_hold(hold, t)
            elif hold.told < line["s"] and self.intervals.entitled(hold, t):
                self.violate("P11", t, f"{client} attached again in time and had lost {hold.l} (token "
                                       f"{hold.tok}; now {have.get(hold.l)})", hold.l, [client])
        self.intervals.touch(client, line["s"], t)
        for hold in list(self.intervals.of_client.get(client, {}).values()):
            if have.get(hold.l) == hold.tok:
                self.intervals.proven(hold, t)
        for lock, token in have.items():
            self.owner.setdefault(token, (client, lock))
            self.last_token = max(self.last_token, token)
        for op in self.ops_of.get(client, {}).values():
            if op.l not in line["waits"]:
                op.queued = 0

    def _may_have_upgraded(self, hold, have):
        """A reader whose request to write is under way may have got it, with a new token."""
        return hold.typ == READ and hold.l in have and any(
            op.l == hold.l and op.op in ("lock", "try") and op.typ != READ
            for op in self.ops_of.get(hold.c, {}).values())

    def _late_answer(self, t, line):
        """An earlier wait is over, and what it was granted counts in the order of the queue; the request that is
        sent again begins another wait, if that grant has ended meanwhile. Answers to other requests end no wait."""
        if line["r"] not in ("LockGrantedResponse", "LockWaitTimeoutResponse", "LockDeniedResponse"):
            return
        waits = [op for op in self.ops_of.get(line["c"], {}).values()
                 if op.l == line["l"] and op.op in ("lock", "try")]
        granted = [op for op in waits if op.typ == line.get("typ", op.typ)]
        if line["r"] == "LockGrantedResponse" and granted:
            op = next((op for op in granted if op.queued), granted[0])
            if self._see_token(op, line["tok"], t):
                self._add_grant(op, line["tok"], op.typ, t)
        for op in waits:
            op.queued = 0

    def _up(self, t, line):
        if not self.leaders or self.leaders[-1][1] != line["n"]:
            self.leaders.append((t, line["n"], 0))
        self.intervals.serve(line["g"], line["grace"])

    def _alive(self, t, line):
        for client in self.intervals.sessions.get(line["g"], ()):
            self.intervals.touch(client, line["s"], t)

    def _close(self, t, line):
        for client in self.intervals.sessions.get(line["g"], ()):
            for lock in self.intervals.of_client.get(client, ()):
                self.search.close(lock)
        self.intervals.let_go(line["g"], t)

    def _has_expired(self, lock, t):
        """Whether a hold of the lock may have ended by itself, by what its client knows."""
        holds = (self.intervals.holds.get((client, lock)) for client in self.things.get(lock, ()))
        return any(h is not None and t >= self.intervals.expiry(h) for h in holds)

    def _lost(self, t, line):
        hold = self.intervals.holds.get((line["c"], line["l"]))
        if hold is None or hold.tok != line["tok"]:
            return
        if line["r"] == "expired" and self.intervals.entitled(hold, t):
            self.violate("P8", t, f"{line['c']} was told that {hold.l} (token {hold.tok}) timed out, before its "
                                  f"time", hold.l, [line["c"]])
        self.search.close(hold.l)
        self._remove_hold(hold, t - line.get("late", 0))

    def _killed(self, _t, line):
        """A process of clients is dead. They were entitled to what they held for as long as it is known to have
        lived: until the signal was sent, or until its last line. Since then its connections may have been closed, and
        its locks given to others; they may still be held as well."""
        victim, prefix = line["victim"], f"c{line['victim']}-"
        lived = max(line.get("s", 0), self._lived.get(victim, 0))
        for client in [c for c in self.intervals.of_client if c.startswith(prefix)]:
            for lock in self.intervals.of_client[client]:
                self.search.close_since(lock, lived)
            self.intervals.end_client(client, lived)
        for op in [op for op in self.ops.values() if op.p == victim]:
            self.search.unknown(op)
            self.unsure.setdefault(op.l, []).append(op.inv)
            self._leave_try(op)
            self._pop(op.i)

    def _ghost(self, t, line):
        self.violate("P17", t, "an answer that nobody asked for: "
                     + ", ".join(f"{k}={v}" for k, v in line.items() if k not in ("t", "e")),
                     line.get("l"), [line["c"]] if line.get("c") else [])

    # ---- the harness about itself

    def _late(self, t, line):
        self.late.append((t, line["ms"], line["p"]))

    def _begin(self, t, line):
        band = [t, 0, line["f"], line.get("what", ""), None]
        self.bands.append(band)
        self._open_bands[line["id"]] = band

    def _end(self, t, line):
        band = self._open_bands.pop(line["id"], None)
        if band is not None:
            band[1], band[4] = t, line.get("proof")

    def _add(self, t, line):
        if line["ok"]:
            self.adds.setdefault(line["set"], []).append((t, line["v"], line["tok"], line["late"]))

    def _finished(self, _t, line):
        self.notes += [f"process {line['p']}: {failure}" for failure in line["failures"]]


_HANDLERS = {"call": Story._call, "wait": Story._wait, "ok": Story._ok, "fail": Story._fail,
             "info": Story._info, "claims": Story._claims, "up": Story._up, "alive": Story._alive,
             "close": Story._close, "lost": Story._lost, "killed": Story._killed, "ghost": Story._ghost,
             "late": Story._late, "add": Story._add, "late-answer": Story._late_answer,
             "begin": Story._begin, "end": Story._end, "finished": Story._finished}
