"""What the search gets to see of a history: operations on exclusive locks, as long as nothing but releases ends a
hold there. It knows no tokens, no indices and no time."""

from .search import FAR, Call

CALLS_MAX = 5000  # of one lock
_KINDS = {"granted": "acquire", "held": "fail", "released": "release", "not-held": "none", "held-by-other": "none"}


class SearchInput:
    def __init__(self):
        self.calls = {}      # lock -> [Call]
        self._open = {}      # lock -> {number: operation}
        self._closed = set()

    def begin(self, op):
        if op.l not in self._closed and op.op in ("lock", "try", "release"):
            self._open.setdefault(op.l, {})[op.i] = op

    def close(self, lock):
        """From here on the lock is no plain one: something timed out, was shared, or lost its client. What is
        under way may still have an effect."""
        if lock not in self._closed:
            self._closed.add(lock)
            for op in self._open.pop(lock, {}).values():
                self.calls.setdefault(lock, []).append(
                    Call(op.inv, FAR, op.c, "release" if op.op == "release" else "acquire"))

    def close_since(self, lock, since):
        """As if it had been closed at @since, which is past: what was answered later is under way."""
        self.close(lock)
        self.calls[lock] = [Call(c.begin, FAR, c.client, c.kind) if c.end > since else c
                            for c in self.calls.get(lock, ()) if c.begin <= since]

    def end(self, op, line, t, expired):
        """@expired: whether a hold of the lock may have ended by itself."""
        if line.get("u") or op.lim > 1 or op.typ or expired or line["r"] == "expired":
            self.close(op.l)  # "u": it was sent twice, and both may have had an effect
        if self._open.get(op.l, {}).pop(op.i, None) is None:
            return
        kind = _KINDS.get(line.get("why") or line["r"])
        if kind == "none" and op.tok:
            kind = None  # it speaks of one hold, and the search knows no tokens
        calls = self.calls.setdefault(op.l, [])
        if kind is not None:
            calls.append(Call(op.inv, t, op.c, kind))
        if len(calls) >= CALLS_MAX:
            self.close(op.l)

    def unknown(self, op):
        """It may have had an effect at any time since."""
        if op.op in ("lock", "try", "release"):
            self.close(op.l)
