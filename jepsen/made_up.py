"""Made-up histories for tests: what clients would have written down."""

MS = 1_000_000
UNLIMITED = 0xFFFFFFFF
START = 100_000


class History:
    """Lines as clients of process @proc write them, in milliseconds after @start; index, token and time are given
    where they matter."""

    def __init__(self, start=START):
        self.lines = []
        self.start = start
        self._ops = 0
        self.index = 0
        self.proc = 1

    def line(self, t, event, **fields):
        self.lines.append({"t": (self.start + t) * MS, "p": self.proc, "e": event, **fields})

    def attach(self, client, t, have=(), waits=(), grace=6000, sent=None):
        session = f"s-{client}"
        self.line(t, "up", g=session, n=1, grace=grace, reattach=10000)
        self.line(t, "claims", c=client, g=session, s=(self.start + (t if sent is None else sent)) * MS, ep=1,
                  have=list(have), waits=list(waits), x=0, term=1)

    def call(self, t, op, client, lock="l", **fields):
        self._ops += 1
        number = f"1.{self._ops}"
        self.line(t, "call", i=number, op=op, c=client, l=lock, **fields)
        return number, t

    def ok(self, t, call, result, index=None, term=1, ct=None, **fields):
        if index is None:
            self.index += 1
            index = self.index
        self.index = max(self.index, index)
        self.line(t, "ok", i=call[0], s=(self.start + call[1]) * MS, x=index, term=term,
                  ct=index if ct is None else ct, r=result, **fields)

    def lock(self, client, at, until, token, lock="l", op="lock", hold=UNLIMITED, typ=0, drop=0, lim=1, queued=0,
             **fields):
        call = self.call(at, op, client, lock, typ=typ, w=0 if op == "lock" else None, h=hold, d=drop, lim=lim)
        if queued:
            self.wait(queued, call, client, lock)
        self.granted(until, call, token, hold, typ, drop, **fields)
        return call

    def wait(self, t, call, client, lock="l"):
        self.index += 1
        self.line(t, "wait", i=call[0], c=client, l=lock, x=self.index, n=1, s=(self.start + call[1]) * MS)

    def granted(self, t, call, token, hold=UNLIMITED, typ=0, drop=0, **fields):
        self.ok(t, call, "granted", tok=token, slot=0, typ=typ, lease=(self.start + call[1]) * MS, h=hold, d=drop,
                **fields)

    def release(self, client, at, until, token=0, result="released", lock="l", **fields):
        self.ok(until, self.call(at, "release", client, lock, tok=token), result, tok=token, **fields)

    def refresh(self, client, at, until, token, hold, lock="l", result="granted", **fields):
        call = self.call(at, "refresh", client, lock, h=0, tok=token)
        self.ok(until, call, result, tok=token, h=hold, d=0, **fields)
