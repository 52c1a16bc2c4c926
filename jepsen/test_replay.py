#!/usr/bin/env python3
"""The replay of a node's log: the model's decisions, and lies about them that must be found."""

import json
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import replay  # noqa: E402
from harness.model import Model  # noqa: E402


def attach(client, epoch=1):
    return {"do": "attach", "client": client, "client_epoch": 0, "epoch": epoch, "supersede": 1, "create": 0}


def lock(client, name="l", mode=1, typ=0, wait=-1, hold=-1, drop=0, limit=1, downgrade=0):
    return {"do": "lock", "client": client, "client_epoch": 1, "lock": name, "type": typ, "mode": mode, "drop": drop,
            "wait": wait, "hold": hold, "limit": limit, "downgrade": downgrade}


def release(client, token=0, name="l"):
    return {"do": "release", "client": client, "client_epoch": 1, "lock": name, "token": token}


class Decisions(unittest.TestCase):
    def setUp(self):
        self.model = Model()
        for client in "abc":
            self.model.apply(attach(client), 0)

    def do(self, command, time=0):
        return self.model.apply(command, time)

    def test_in_turn(self):
        self.assertEqual(self.do(lock("a")), [("a", "l", "granted", 1)])
        self.assertEqual(self.do(lock("b")), [("b", "l", "waiting", 0)])
        self.assertEqual(self.do(lock("c", mode=0)), [("c", "l", "denied held", 0)])
        self.assertEqual(self.do(release("a", 1)), [("a", "l", "released", 1), ("b", "l", "granted", 2)])
        self.assertEqual(self.do(release("a")), [("a", "l", "held-by-other", 0)])

    def test_a_reader_does_not_pass_a_waiting_writer(self):
        self.do(lock("a", typ=1))
        self.do(lock("b"))
        self.assertEqual(self.do(lock("c", typ=1)), [("c", "l", "waiting", 0)])

    def test_upgrade_goes_ahead_with_a_new_token(self):
        self.do(lock("a", typ=1))
        self.do(lock("b", typ=1))
        self.do(lock("c"))
        self.assertEqual(self.do(lock("a")), [("a", "l", "waiting", 0)])
        self.assertEqual(self.do(lock("b")), [("b", "l", "denied upgrade-conflict", 0)])
        self.assertEqual(self.do(release("b")), [("b", "l", "released", 2), ("a", "l", "granted", 3)])

    def test_time(self):
        self.do(lock("a", hold=1000))
        self.do(lock("b", wait=500))
        self.assertEqual(self.do({"do": "tick"}, 499), [])
        self.assertEqual(self.do({"do": "tick"}, 500), [("b", "l", "wait-timeout", 0)])
        self.assertEqual(self.do({"do": "tick"}, 1000), [("a", "l", "hold-expired", 1)])
        self.assertEqual(self.do(release("a"), 1001), [("a", "l", "expired", 1)])

    def test_a_new_leader_gives_time(self):
        self.do(lock("a", hold=1000))
        self.do(lock("b", name="i", hold=1000, drop=1))
        self.do({"do": "epoch", "reattach_grace": 5000}, 900)
        self.assertEqual(self.do({"do": "tick"}, 1000), [("b", "i", "hold-expired", 2)])
        self.do(attach("a", 2), 1100)
        self.assertEqual(self.do({"do": "tick"}, 5900), [("a", "l", "hold-expired", 1)])

    def test_who_does_not_come_back_is_gone(self):
        self.do(lock("a"))
        self.do(lock("b"))
        self.do({"do": "epoch", "reattach_grace": 5000}, 900)
        self.do(attach("b", 2), 1000)
        self.assertEqual(self.do({"do": "tick"}, 5900), [("b", "l", "granted", 2)])

    def test_slots(self):
        self.do(lock("a", limit=2))
        self.do(lock("b", limit=2))
        self.assertEqual(self.do(lock("c", limit=2)), [("c", "l", "waiting", 0)])
        self.assertEqual(self.do(lock("c", limit=3)), [("c", "l", "denied limit-mismatch", 0)])

    def test_an_earlier_connection_can_do_nothing(self):
        self.do(attach("a", 7))
        self.assertEqual(self.do(lock("a")), [("a", "l", "denied stale-epoch", 0)])


class Lies(unittest.TestCase):
    log = [[attach("a"), attach("b")], [lock("a")], [lock("b")], [release("a", 1)]]
    truth = [(2, "lock", "a", "l", "granted", 1, ""), (4, "release", "a", "l", "released", 1, ""),
             (4, "lock", "b", "l", "granted", 2, "")]

    def replayed(self, answers, logs=None):
        with tempfile.TemporaryDirectory() as directory:
            for name, log in (logs or {"n1": self.log}).items():
                os.makedirs(os.path.join(directory, "nodes", name))
                with open(os.path.join(directory, "nodes", name, "dump.jsonl"), "w", encoding="utf-8") as file:
                    for index, commands in enumerate(log, 1):
                        line = {"index": index, "term": 1, "kind": "commands", "time": 0, "commands": commands}
                        file.write(json.dumps(line, separators=(",", ":")) + "\n")
            return sorted({v.prop for v in replay.replay(directory, answers, 0)[0]})

    def test_the_truth(self):
        self.assertEqual(self.replayed(self.truth), [])

    def test_another_token(self):
        self.assertEqual(self.replayed([*self.truth[:2], (4, "lock", "b", "l", "granted", 3, "")]), ["P15"])

    def test_a_grant_that_was_not_decided(self):
        self.assertEqual(self.replayed([*self.truth, (3, "lock", "b", "l", "granted", 2, "")]), ["P15"])

    def test_an_answer_from_behind_the_log(self):
        self.assertEqual(self.replayed([*self.truth, (5, "release", "b", "l", "released", 2, "")]), ["P15"])

    def test_logs_that_differ(self):
        other = [*self.log[:2], [lock("b", mode=0)], self.log[3]]
        self.assertEqual(self.replayed(self.truth, {"n1": self.log, "n2": other}), ["P14"])

    def test_a_node_that_has_less(self):
        self.assertEqual(self.replayed(self.truth, {"n1": self.log, "n2": self.log[:2]}), [])


if __name__ == "__main__":
    unittest.main()
