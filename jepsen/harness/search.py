"""A check that trusts nothing from the server: is there any order of the answers, in agreement with real time,
in which an ordinary lock would have given them? Wing and Gong's search, as Lowe does it: just in time. Along
the history, the set of all states in which the lock can be is carried on; an operation takes effect no
later than when its answer comes. No token and no index is looked at; what it says must agree with the checks
that do.

Locks are independent of each other, so each is searched alone, and its queue keeps the set of states small:
whoever has it blocks the others."""

FAR = 1 << 62
STATES_MAX = 20000  # for one answer; then the rest of the lock is given up, and counted as such


class Call:
    """One operation: @kind is acquire, fail (somebody else has it), release, or none (a release that found
    nothing). An @end of FAR: its outcome is not known, it may have happened or not."""
    __slots__ = ("begin", "end", "client", "kind")

    def __init__(self, begin, end, client, kind):
        self.begin, self.end, self.client, self.kind = begin, end, client, kind


def _is_free(call, owner):
    """Whether it only looks, and sees now what it was told: then nothing is lost if it takes effect."""
    if call.kind == "fail":
        return owner not in ("", call.client)
    return call.kind == "none" and owner != call.client


def _change(call, owner):
    """The owner after a call that changes it, or None if it cannot take effect now."""
    if call.kind == "acquire" and owner in ("", call.client):
        return call.client
    if call.kind == "release" and owner == call.client:
        return ""
    return None


class Search:
    """The states in which one lock can be: (owner, operations that took effect before their answer)."""

    def __init__(self):
        self._states = {("", frozenset())}
        self._pending = {}

    def owners(self):
        return {owner for owner, _done in self._states}

    def begin(self, number, call):
        self._pending[number] = call
        self._states = {(owner, done | {number}) if _is_free(call, owner) else (owner, done)
                        for owner, done in self._states}

    def end(self, number):
        """Returns whether there is a state left; None: there are too many."""
        left, seen, stack = set(), set(self._states), list(self._states)
        while stack:
            owner, done = stack.pop()
            if number in done:
                left.add((owner, done - {number}))
                continue
            for other, call in self._pending.items():
                after = None if other in done else _change(call, owner)
                if after is not None:
                    state = self._settled(after, done | {other})
                    if state not in seen:
                        seen.add(state)
                        stack.append(state)
            if len(seen) > STATES_MAX:
                return None
        del self._pending[number]
        self._states = left
        return bool(left)

    def _settled(self, owner, done):
        more = [n for n, call in self._pending.items() if n not in done and _is_free(call, owner)]
        return owner, done.union(more) if more else done


def possible(calls):
    """(False, the call that cannot be) or (True, None), or (None, where it was given up)."""
    events = sorted([(call.begin, 1, n) for n, call in enumerate(calls)]
                    + [(call.end, 0, n) for n, call in enumerate(calls) if call.end < FAR])
    search = Search()
    for _t, is_begin, number in events:
        if is_begin:
            search.begin(number, calls[number])
            continue
        good = search.end(number)
        if not good:
            return good, calls[number]
    return True, None


def judge(by_lock):
    """@by_lock: lock -> [Call], exclusive, without timeouts. Returns (wrong, judged, given_up): (lock, time,
    client) of answers that no order explains, and numbers of operations."""
    wrong, judged, given_up = [], 0, 0
    for lock, calls in by_lock.items():
        good, where = possible(calls)
        if good is None:
            given_up += len(calls)
        else:
            judged += len(calls)
        if good is False:
            wrong.append((lock, where.end, where.client))
    return wrong, judged, given_up
