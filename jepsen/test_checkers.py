#!/usr/bin/env python3
"""Every checker against a violation that was planted in a made-up history, and against the same history
without it. Times in the tests are milliseconds."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import check_order, checks  # noqa: E402
from harness.story import Story  # noqa: E402
from made_up import MS, START, UNLIMITED, History  # noqa: E402


def told(h):
    """The story of a history that has come to its end."""
    h.lines.append({"t": h.lines[-1]["t"] + 100 * MS, "p": "control", "e": "phase"})
    story = Story()
    for line in h.lines:
        story.feed(line)
    story.finish()
    return story


def found(h):
    """The properties that the checkers say are broken."""
    return sorted({v.prop for v in checks.of_story(told(h))[0]})


def two_clients():
    h = History()
    h.attach("a", 0)
    h.attach("b", 0)
    return h


class Exclusion(unittest.TestCase):
    def test_holds_one_after_the_other_are_fine(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.release("a", 30, 40, 1)
        h.lock("b", 15, 39, 2, queued=16)
        self.assertEqual(found(h), [])

    def test_two_writers(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.lock("b", 15, 25, 2)
        h.release("a", 30, 40, 1)
        self.assertEqual(found(h), ["P1"])

    def test_reader_beside_writer(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, typ=1)
        h.lock("b", 15, 25, 2)
        self.assertEqual(found(h), ["P2"])

    def test_readers_share(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, typ=1)
        h.lock("b", 15, 25, 2, typ=1)
        self.assertEqual(found(h), [])
        self.assertTrue(check_order.readers_overlap(told(h)))

    def test_a_third_of_two(self):
        h = two_clients()
        h.attach("c", 0)
        for n, client in enumerate("abc"):
            h.lock(client, 10 + n, 20 + n, 1 + n, lim=2)
        self.assertEqual(found(h), ["P1"])

    def test_a_lease_counts_from_the_sending(self):
        h = two_clients()
        h.lock("a", 10, 500, 1, hold=1000)
        h.lock("b", 600, 1012, 2)
        self.assertEqual(found(h), [])

    def test_a_refreshed_lease_is_longer(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, hold=1000)
        h.refresh("a", 800, 810, 1, 1000)
        h.lock("b", 600, 1200, 2)
        self.assertEqual(found(h), ["P1"])

    def test_a_silent_session_ends(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.line(6100, "alive", g="s-b", s=(START + 6090) * MS)
        h.lock("b", 6100, 6110, 2)
        self.assertEqual(found(h), [])

    def test_the_library_tells_a_grant_and_its_end_at_once(self):
        for late_ms, expected in ((20, []), (0, ["P1"])):
            h = two_clients()
            call = h.call(10, "lock", "a", typ=0, w=0, h=1, d=0, lim=1, lib=1)
            h.granted(20, h.call(12, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1), 2, index=2)
            h.granted(30, call, 1, hold=1, index=1)
            h.line(31, "lost", c="a", l="l", tok=1, r="library", x=0, late=late_ms * MS)
            self.assertEqual([v.prop for v in checks.of_story(told(h))[0] if v.prop == "P1"], expected)

    def test_ignore_outlives_the_session(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, drop=1)
        h.line(6100, "alive", g="s-b", s=(START + 6090) * MS)
        h.lock("b", 6100, 6110, 2)
        self.assertEqual(found(h), ["P1"])


class Killed(unittest.TestCase):
    """A client process gets the signal at 25, and is known to be dead at 40."""

    def judge(self, granted, last_line=None, told_when=True):
        """b is granted what the killed client had; what exclusion and the search say of it."""
        h = History()
        h.proc = 9
        h.attach("c9-0", 0)
        h.lock("c9-0", 10, 20, 1)
        h.proc = 1
        h.attach("b", 0)
        call = h.call(21, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        if last_line is not None:
            h.line(last_line, "alive", p=9, g="s-c9-0", s=(START + last_line - 1) * MS)
        if granted < 40:
            h.granted(granted, call, 2)
        h.line(40, "killed", p="control", victim=9, **({"s": (START + 25) * MS} if told_when else {}))
        if granted > 40:
            h.granted(granted, call, 2)
        story = told(h)
        return sorted(v.prop for v in checks.of_story(story)[0] + checks.of_search(story)[0])

    def test_it_is_entitled_to_nothing(self):
        self.assertEqual(self.judge(45), [])

    def test_its_lock_is_given_away_before_its_death_is_known(self):
        self.assertEqual(self.judge(35), [])
        self.assertEqual(self.judge(35, last_line=30), [])

    def test_its_lock_is_given_away_before_the_signal(self):
        self.assertEqual(self.judge(24), ["P1", "P1"])

    def test_its_lock_is_given_away_while_it_still_writes(self):
        self.assertEqual(self.judge(28, last_line=30), ["P1", "P1"])

    def test_when_the_signal_was_sent_is_not_known(self):
        self.assertEqual(self.judge(28, told_when=False), [])
        self.assertEqual(self.judge(28, last_line=30, told_when=False), ["P1", "P1"])


class Tokens(unittest.TestCase):
    def test_the_same_token_twice(self):
        h = two_clients()
        h.lock("a", 10, 20, 5)
        h.release("a", 30, 40, 5)
        h.lock("b", 50, 60, 5)
        self.assertIn("P3", found(h))

    def test_a_smaller_token_later(self):
        h = two_clients()
        h.lock("a", 10, 20, 5)
        h.release("a", 30, 40, 5)
        h.lock("b", 50, 60, 4)
        self.assertEqual(found(h), ["P3"])

    def test_a_token_that_an_unknown_request_may_have_got(self):
        h = two_clients()
        call = h.call(5, "lock", "b", "other", typ=0, w=0, h=0, d=0, lim=1)
        h.line(9, "info", i=call[0], r="timeout")
        h.lock("a", 10, 20, 5)
        h.release("a", 30, 40, 5)
        h.lock("b", 50, 60, 4, lock="other")
        self.assertEqual(found(h), [])

    def test_a_refresh_changes_it(self):
        h = two_clients()
        h.lock("a", 10, 20, 5)
        call = h.call(30, "refresh", "a", h=0, tok=0)
        h.ok(40, call, "granted", tok=6, h=UNLIMITED, d=0)
        self.assertEqual(found(h), ["P3"])

    def test_asked_again_and_changed(self):
        h = two_clients()
        h.lock("a", 10, 20, 5)
        h.lock("a", 30, 40, 6)
        self.assertEqual(found(h), ["P13"])

    def test_an_upgrade_may_change_it(self):
        h = two_clients()
        h.lock("a", 10, 20, 5, typ=1)
        h.lock("a", 30, 40, 6)
        self.assertEqual(found(h), [])


class Order(unittest.TestCase):
    def queue(self, first, second, typ=0):
        h = two_clients()
        h.attach("c", 0)
        h.lock("c", 5, 6, 1)
        a = h.call(10, "lock", "a", typ=typ, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(15, a, "a")
        b = h.call(20, "lock", "b", typ=typ, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(25, b, "b")
        h.release("c", 30, 31, 1)
        for t, call, token in sorted(((40 if first < second else 60, a, first), (60 if first < second else 40, b, second))):
            client = "a" if call is a else "b"
            h.granted(t, call, token, typ=typ)
            h.release(client, t + 5, t + 6, token)
        return h

    def test_in_turn(self):
        self.assertEqual(found(self.queue(2, 3)), [])

    def test_overtaken(self):
        self.assertEqual(found(self.queue(3, 2)), ["P4"])

    def test_readers_do_not_overtake_each_other(self):
        self.assertEqual(found(self.queue(3, 2, typ=1)), [])

    def test_place_lost_with_the_client(self):
        h = two_clients()
        h.attach("c", 0)
        h.lock("c", 5, 6, 1)
        a = h.call(10, "lock", "a", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(15, a, "a")
        b = h.call(20, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(25, b, "b")
        h.attach("a", 28)
        h.wait(29, a, "a")
        h.release("c", 30, 31, 1)
        h.granted(40, b, 2)
        h.release("b", 45, 46, 2)
        h.granted(60, a, 3)
        self.assertEqual(found(h), [])

    def test_place_lost_by_a_timeout_on_another_connection(self):
        h = two_clients()
        h.attach("c", 0)
        h.lock("c", 5, 6, 1)
        a = h.call(10, "lock", "a", typ=0, w=500, h=UNLIMITED, d=0, lim=1)
        h.wait(15, a, "a")
        b = h.call(20, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.line(24, "late-answer", c="a", l="l", r="LockWaitTimeoutResponse", tok=0)
        h.wait(29, a, "a")
        h.release("c", 30, 31, 1)
        h.granted(40, b, 2)
        h.release("b", 45, 46, 2)
        h.granted(60, a, 3)
        self.assertEqual(found(h), [])

    def test_a_late_answer_to_something_else_ends_no_wait(self):
        for name in ("LockStatusResponse", "LockReleaseResponse", "ErrorResponse"):
            h = two_clients()
            h.attach("c", 0)
            h.lock("c", 5, 6, 1)
            a = h.call(10, "lock", "a", typ=0, w=50, h=UNLIMITED, d=0, lim=1)
            h.wait(15, a, "a")
            b = h.call(20, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
            h.line(25, "late-answer", c="a", l="l", r=name, typ=0, tok=0)
            h.release("c", 30, 31, 1)
            h.granted(40, b, 2)
            h.release("b", 45, 46, 2)
            h.granted(50, a, 3)
            self.assertEqual(found(h), ["P4"])

    def granted_elsewhere(self, token):
        """a waits; its connection is lost, and over the next one it is told that it was granted @token meanwhile. Its
        hold has ended when the request that is sent again comes, which begins another wait: (history, a's call)."""
        h = two_clients()
        h.attach("c", 0)
        h.lock("c", 5, 6, 1)
        a = h.call(10, "lock", "a", typ=0, w=50, h=1, d=0, lim=1)
        h.wait(15, a, "a")
        b = h.call(20, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(25, b, "b")
        h.release("c", 30, 31, 1)
        h.attach("a", 35, waits=["l"])
        h.line(36, "late-answer", c="a", l="l", r="LockGrantedResponse", typ=0, tok=token)
        h.granted(40, b, 3)
        h.line(41, "lost", c="a", l="l", tok=token, r="expired", x=0)
        return h, a

    def test_granted_on_another_connection_and_again_later(self):
        h, a = self.granted_elsewhere(2)
        h.release("b", 45, 46, 3)
        h.granted(50, a, 5, hold=1, u=1)
        self.assertEqual(found(h), [])

    def test_granted_on_another_connection_after_who_came_later(self):
        h, _a = self.granted_elsewhere(4)
        self.assertEqual(found(h), ["P4"])

    def test_overtaken_in_the_wait_after_a_grant_on_another_connection(self):
        h, a = self.granted_elsewhere(2)
        h.wait(42, a, "a")
        c = h.call(43, "lock", "c", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.release("b", 45, 46, 3)
        h.granted(47, c, 4)
        h.release("c", 48, 49, 4)
        h.granted(50, a, 5, hold=1, u=1)
        self.assertEqual(found(h), ["P4"])

    def test_free_and_not_handed_over(self):
        h = two_clients()
        h.lock("a", 2000, 2020, 1)
        b = h.call(2020, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(2021, b, "b")
        h.release("a", 2030, 2040, 1)
        h.granted(3500, b, 2)
        self.assertEqual(found(h), ["P5"])

    def test_not_handed_over_while_the_machine_was_late(self):
        h = two_clients()
        h.lock("a", 2000, 2020, 1)
        b = h.call(2020, "lock", "b", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.wait(2021, b, "b")
        h.release("a", 2030, 2040, 1)
        h.line(3400, "late", ms=1200)
        h.granted(3500, b, 2)
        self.assertEqual(found(h), [])


class Ends(unittest.TestCase):
    def test_a_released_token_is_still_shown(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.release("a", 30, 40, 1)
        h.ok(60, h.call(50, "status", "b"), "other", holders=[["a", 1]])
        self.assertEqual(found(h), ["P6"])

    def test_a_release_under_way_may_be_seen_or_not(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.ok(39, h.call(35, "status", "b"), "other", holders=[["a", 1]])
        h.release("a", 30, 40, 1)
        self.assertEqual(found(h), [])

    def test_a_wait_times_out_early(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        call = h.call(30, "lock", "b", typ=0, w=500, h=0, d=0, lim=1)
        h.ok(400, call, "wait-timeout")
        self.assertEqual(found(h), ["P7"])

    def test_a_wait_may_be_short_by_begun_milliseconds(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        call = h.call(30, "lock", "b", typ=0, w=500, h=0, d=0, lim=1)
        h.ok(528, call, "wait-timeout")
        self.assertEqual(found(h), [])

    def test_a_hold_times_out_early(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, hold=1000)
        h.line(900, "lost", c="a", l="l", tok=1, r="expired", x=3)
        self.assertEqual(found(h), ["P8"])

    def test_a_hold_times_out_in_time(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, hold=1000)
        h.line(1011, "lost", c="a", l="l", tok=1, r="expired", x=3)
        self.assertEqual(found(h), [])

    def test_a_refresh_in_time_is_denied(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, hold=1000)
        h.refresh("a", 500, 510, 1, 1000, result="denied", why="not-held")
        self.assertEqual(found(h), ["P8"])

    def test_a_hold_is_gone_after_a_change_of_leader(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.line(30, "down", g="s-a", why="closed", contact=(START + 10) * MS)
        h.attach("a", 3000)
        self.assertEqual(found(h), ["P11"])

    def test_an_upgrade_under_way_changes_the_token(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, typ=1)
        h.call(30, "lock", "a", typ=0, w=0, h=UNLIMITED, d=0, lim=1)
        h.line(40, "down", g="s-a", why="closed", contact=(START + 10) * MS)
        h.attach("a", 3000, have=[["l", 2]])
        self.assertEqual(found(h), [])

    def test_a_hold_is_gone_after_the_grace(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.line(30, "down", g="s-a", why="closed", contact=(START + 10) * MS)
        h.attach("a", 6500)
        self.assertEqual(found(h), [])

    def test_a_claim_that_a_release_has_overtaken(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        call = h.call(30, "release", "a", tok=1)
        h.attach("a", 40, have=[["l", 1]], sent=25)
        h.lock("b", 32, 45, 2, queued=33)
        h.attach("a", 50)
        h.ok(60, call, "not-held", tok=0, u=1)
        self.assertEqual(found(h), [])

    def test_an_answer_never_comes(self):
        h = two_clients()
        h.call(5000, "release", "a", tok=0)
        h.line(30000, "alive", g="s-b", s=(START + 29000) * MS)
        self.assertEqual(found(h), ["P12"])


class Answers(unittest.TestCase):
    def test_busy_and_nobody_there(self):
        h = two_clients()
        h.ok(20, h.call(10, "try", "a", typ=0, w=None, h=0, d=0, lim=1), "denied", why="held")
        self.assertEqual(found(h), ["P16"])

    def test_busy_with_somebody_of_unknown_fate(self):
        h = two_clients()
        call = h.call(5, "try", "b", typ=0, w=None, h=0, d=0, lim=1)
        h.line(9, "info", i=call[0], r="timeout")
        h.ok(20, h.call(10, "try", "a", typ=0, w=None, h=0, d=0, lim=1), "denied", why="held")
        self.assertEqual(found(h), [])

    def test_nobody_asked(self):
        h = two_clients()
        h.line(20, "ghost", g="s-a", r="LockGrantedResponse", key="7", c="a", l="l")
        self.assertEqual(found(h), ["P17"])

    def test_an_answer_from_the_past(self):
        h = two_clients()
        h.lock("a", 10, 20, 1, index=100)
        h.ok(40, h.call(30, "status", "b"), "free", index=90)
        self.assertIn("P18", found(h))

    def test_an_answer_from_no_log(self):
        h = two_clients()
        h.lock("a", 10, 20, 1)
        h.ok(40, h.call(30, "try", "b", typ=0, w=None, h=0, d=0, lim=1), "denied", index=0, why="held")
        self.assertEqual(found(h), ["P18"])

    def test_cluster_time_falls(self):
        h = two_clients()
        h.ok(20, h.call(10, "status", "b"), "free", index=100, ct=500)
        h.ok(40, h.call(30, "status", "b"), "free", index=101, ct=400)
        self.assertEqual(found(h), ["P18"])

    def test_longest_gap(self):
        self.assertEqual(check_order.longest_gap([1, 2, 9, 10], 0, 11), 7)


if __name__ == "__main__":
    unittest.main()
