#!/usr/bin/env python3
"""The search: histories that an ordinary lock could have given, and such that it could not."""

import os
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness.search import FAR, Call, judge, possible  # noqa: E402


def history(*calls):
    return [Call(*call) for call in calls]


class Search(unittest.TestCase):
    def test_one_after_the_other(self):
        calls = history((0, 1, "a", "acquire"), (2, 3, "a", "release"), (4, 5, "b", "acquire"))
        self.assertTrue(possible(calls)[0])

    def test_two_at_once(self):
        self.assertFalse(possible(history((0, 1, "a", "acquire"), (2, 3, "b", "acquire")))[0])

    def test_a_release_that_overlaps(self):
        calls = history((0, 1, "a", "acquire"), (2, 5, "a", "release"), (3, 4, "b", "acquire"))
        self.assertTrue(possible(calls)[0])

    def test_busy_and_nobody_there(self):
        self.assertFalse(possible(history((0, 1, "a", "fail")))[0])

    def test_busy_while_somebody_asks(self):
        self.assertTrue(possible(history((0, 3, "a", "acquire"), (1, 2, "b", "fail")))[0])

    def test_what_is_unknown_may_have_happened(self):
        self.assertTrue(possible(history((0, FAR, "a", "acquire"), (1, 2, "b", "fail")))[0])
        self.assertTrue(possible(history((0, FAR, "a", "acquire"), (1, 2, "b", "acquire")))[0])

    def test_released_twice(self):
        calls = history((0, 1, "a", "acquire"), (2, 3, "a", "release"), (4, 5, "a", "release"))
        self.assertFalse(possible(calls)[0])

    def test_the_owner_is_carried_on(self):
        calls = history((0, 1, "a", "acquire"), (10, 11, "b", "fail"), (20, 21, "a", "release"),
                        (30, 31, "b", "acquire"), (40, 41, "a", "acquire"))
        wrong, judged, given_up = judge({"l": calls})
        self.assertEqual(([w[0] for w in wrong], judged, given_up), (["l"], 5, 0))

    def test_random_histories_of_a_real_lock(self):
        """Operations take effect at a point within their time: such histories are always possible."""
        rng = random.Random(1)
        for _ in range(100):
            owner, calls, points = "", [], []
            for client in "abcd":
                t = rng.random()
                for _ in range(15):
                    begin, point, end = sorted(t + rng.random() * 3 for _ in range(3))
                    points.append((point, begin, end, client))
                    t = end + rng.random()
            for _point, begin, end, client in sorted(points):
                if owner == client:
                    owner, kind = "", "release"
                elif owner == "":
                    owner, kind = client, "acquire"
                else:
                    kind = "fail"
                calls.append(Call(begin, end, client, kind))
            self.assertTrue(possible(calls)[0])


if __name__ == "__main__":
    unittest.main()
