"""Checks on what the story has collected per lock: exclusion, order, prompt hand-over."""

from .history import Windows
from .sure import READ
from .violation import Violation

MS = 1_000_000
SETTLE_NS = 4_000 * MS   # after a fault: elections, clients that look for the leader
GRANT_NS = 1_000 * MS    # from a release to the arrival of the next grant
ANSWER_NS = 5_000 * MS   # for an answer, in healthy time


def excused(story, late_ms=50):
    """When timing proves nothing: faults and what follows, and times when some process was late."""
    windows = Windows()
    windows.add(story.start, story.start + 1000 * MS)
    for begin, end, *_ in story.bands:
        windows.add(begin, end + SETTLE_NS)
    for t, ms, _process in story.late:
        if ms >= late_ms:
            windows.add(t - (ms + 100) * MS, t + 100 * MS)
    windows.freeze()
    return windows


def exclusion(story):
    """P1 and P2: who is entitled at the same time. One sweep per lock."""
    found = []
    for lock, spans in story.intervals.sure.items():
        spans.sort()
        active = []
        for span in spans:
            active = [other for other in active if other[1] > span[0]]
            found += _conflicts(lock, span, active)
            active.append(span)
    return found


def _conflicts(lock, span, active):
    begin, _end, typ, client, limit, token, slot = span
    others = [o for o in active if o[3] != client and (o[2] != READ or typ != READ)]
    if limit > 1 and len(others) < limit:
        return [Violation("P1", begin, f"{client} and {o[3]} had slot {slot} of {lock} at the same time", lock,
                          (client, o[3])) for o in others if o[6] == slot]
    if len(others) < limit:
        return []
    other = others[0]
    prop = "P2" if READ in (typ, other[2]) else "P1"
    both_ms = (min(o[1] for o in others + [span]) - begin) / MS
    return [Violation(prop, begin, f"{client} (token {token}) and {other[3]} (token {other[5]}) were entitled to "
                                   f"{lock} at the same time, for {both_ms:.1f} ms"
                                   + (f", of {limit} allowed" if limit > 1 else ""), lock, (client, other[3]))]


def readers_overlap(story):
    """P2's other half: whether readers were ever seen to share. None if there were no two of them."""
    readers = 0
    for spans in story.intervals.sure.values():
        active = []
        for span in (s for s in spans if s[2] == READ):
            active = [o for o in active if o[1] > span[0]]
            if any(o[3] != span[3] for o in active):
                return True
            active.append(span)
            readers += 1
    return False if readers > 100 else None


def order(story):
    """P4: who was known to be queued before another asked is granted before it."""
    found = []
    for lock, grants in story.grants.items():
        moments = []
        for grant in grants:
            token, _ret, begun, queued, typ, _client, upgrade, _limit = grant
            if queued and not upgrade:
                moments.append((queued, 0, grant))
            if not upgrade:
                moments.append((begun, 1, grant))
        moments.sort(key=lambda moment: moment[:2])
        last = {True: None, False: None}  # the greatest token among queued readers, and among writers
        for _t, kind, grant in moments:
            reads = grant[4] == READ
            if kind == 0:
                if last[reads] is None or grant[0] > last[reads][0]:
                    last[reads] = grant
                continue
            rivals = [last[False]] if reads else [last[False], last[True]]
            for rival in rivals:
                if rival is not None and rival[0] > grant[0] and rival[5] != grant[5]:
                    found.append(Violation(
                        "P4", max(grant[1], rival[1]),
                        f"{rival[5]} was queued for {lock} before {grant[5]} asked, and was granted after it (tokens "
                        f"{rival[0]} and {grant[0]})", lock, (rival[5], grant[5])))
    return found


def handover(story, windows):
    """P5: a lock that was released goes to who waits, promptly. Judged between two exclusive grants that
    follow each other, with nobody of unknown fate around."""
    found, judged = [], 0
    for lock, grants in story.grants.items():
        grants.sort()
        unsure = story.unsure.get(lock, ())
        for before, after in zip(grants, grants[1:]):
            freed = story.released.get(before[0])
            if freed is None or READ in (before[4], after[4]) or before[7] > 1 or not after[3] \
                    or after[3] > freed:
                continue
            if windows.touch(freed, after[1]) or any(u < after[1] for u in unsure):
                continue
            judged += 1
            if after[1] - freed > GRANT_NS:
                found.append(Violation("P5", after[1], f"{lock} was free for {(after[1] - freed) / MS:.0f} ms while "
                                                       f"{after[5]} waited", lock, (before[5], after[5]), True))
    return found, judged


def answers(story, windows):
    """P12: what was asked in healthy time is answered. Waits may last."""
    found = []
    for begun, given_up, op, client, lock in story.unanswered:
        if op != "lock" and not windows.touch(begun, given_up) and given_up - begun > ANSWER_NS:
            found.append(Violation("P12", given_up, f"the {op} of {client} on {lock} had no answer for "
                                                    f"{(given_up - begun) / MS:.0f} ms in healthy time", lock,
                                   (client,), True))
    return found


def longest_gap(times, begin, end):
    """P20: the longest time without any answer in [begin, end]; @times is sorted."""
    longest, last = 0, begin
    for t in times:
        if begin <= t <= end:
            longest = max(longest, t - last)
            last = t
    return max(longest, end - last)
