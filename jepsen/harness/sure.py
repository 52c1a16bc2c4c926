"""Who is entitled to what, and until when, by what a cautious client knows.

A hold has sure intervals: its lease counts from the sending of the request that was granted or refreshed,
its session from the sending of the latest request that was answered. What happens beyond is not proven;
a later proof (a refresh, a claim at re-attach) begins a new interval."""

FAR = 1 << 62
UNLIMITED = 0xFFFFFFFF
READ, IGNORE = 1, 1


# Cluster time counts begun milliseconds, and each leader begins for itself: a timeout can be short by so many. As
# libnetlock's margin.
ROUNDING = 5_000_000


class Hold:
    __slots__ = ("c", "l", "tok", "typ", "lim", "slot", "d", "h", "lease", "since", "cap", "told", "library", "released")


class SureIntervals:
    """@sure: lock -> [(begin, end, typ, client, limit, token, slot)]."""

    def __init__(self, rho_ppm):
        self.rho = 1000000 - rho_ppm
        self.holds = {}          # open: (client, lock) -> Hold
        self.of_client = {}      # client -> {lock: Hold}
        self.contact = {}        # client -> when its latest answered request was sent
        self.grace = {}          # client -> ns
        self.sessions = {}       # session -> its clients
        self.sessions_of = {}    # client -> its sessions
        self.session_grace = {}
        self.sure = {}

    def begin(self, op, line, t):
        """A grant that begins a hold."""
        hold = Hold()
        hold.c, hold.l, hold.tok, hold.typ = op.c, op.l, line["tok"], line.get("typ", 0)
        hold.lim, hold.slot, hold.d, hold.h = op.lim, line.get("slot", 0), line["d"], line["h"]
        hold.library, hold.released = op.library, FAR
        hold.lease, hold.cap, hold.told = line["lease"], FAR, t
        self.holds[op.c, op.l] = hold
        self.of_client.setdefault(op.c, {})[op.l] = hold
        hold.since = t if t < self.bound(hold) else 0
        return hold

    def bound(self, hold):
        """The end of what is proven. Who uses libnetlock waits to be told LOST."""
        return min(hold.released, self.expiry(hold))

    def expiry(self, hold):
        """Before this the cluster cannot have ended it by itself."""
        if hold.library:
            return FAR
        end = hold.cap
        if hold.h != UNLIMITED:
            end = min(end, hold.lease + hold.h * self.rho - ROUNDING)
        if hold.d != IGNORE:
            end = min(end, self.contact.get(hold.c, 0) + self.grace.get(hold.c, 0) - ROUNDING)
        return end

    def entitled(self, hold, t):
        return bool(hold.since) and t < self.bound(hold)

    def close(self, hold, t):
        """The sure interval ends at @t, or where its proof ends."""
        end = min(t, self.bound(hold))
        if hold.since and hold.since < end:
            self.sure.setdefault(hold.l, []).append(
                (hold.since, end, hold.typ, hold.c, hold.lim, hold.tok, hold.slot))
        hold.since = 0

    def renew(self, hold, line, t):
        """A refresh or a repeated request was answered with the hold's own token."""
        if hold.since and t >= self.bound(hold):
            self.close(hold, t)
        sent = line["lease"] if "lease" in line else line["s"]
        if line["h"] < hold.h or sent > hold.lease:
            hold.lease = sent
        hold.h, hold.d, hold.cap = line["h"], line.get("d", hold.d), FAR
        hold.since = hold.since or t

    def proven(self, hold, t):
        """The cluster has just said that the client has it."""
        if hold.since and t >= self.bound(hold):
            self.close(hold, t)
        if not hold.since and t < self.bound(hold):
            hold.since = t

    def remove(self, hold):
        self.holds.pop((hold.c, hold.l), None)
        held = self.of_client.get(hold.c)
        if held is not None:
            held.pop(hold.l, None)
            if not held:
                del self.of_client[hold.c]

    def touch(self, client, sent, t):
        """A request of @client that was sent at @sent has been answered."""
        if sent <= self.contact.get(client, 0):
            return
        held = self.of_client.get(client)
        if held and self.contact.get(client, 0) + self.grace.get(client, 0) <= t:
            for hold in held.values():
                if hold.d != IGNORE:
                    self.close(hold, t)
        self.contact[client] = sent

    def attach(self, client, session):
        self.sessions.setdefault(session, set()).add(client)
        self.sessions_of.setdefault(client, set()).add(session)
        if session in self.session_grace:
            self.grace[client] = self.session_grace[session]

    def serve(self, session, grace_ms):
        self.session_grace[session] = grace_ms * self.rho
        for client in self.sessions.get(session, ()):
            self.grace[client] = self.session_grace[session]

    def let_go(self, session, t):
        """An orderly close: clients without another connection lose their RELEASE holds at once."""
        for client in self.sessions.pop(session, ()):
            self.sessions_of[client].discard(session)
            if self.sessions_of[client]:
                continue
            del self.sessions_of[client]
            for hold in list(self.of_client.get(client, {}).values()):
                if hold.d != IGNORE:
                    self.close(hold, t)

    def end_client(self, client, t):
        for hold in list(self.of_client.get(client, {}).values()):
            self.close(hold, t)

    def end_all(self, t):
        for hold in self.holds.values():
            self.close(hold, t)
