#!/usr/bin/env python3
"""A violation of every checker, planted in a long history of other clients: the verdict must show the few operations
that are enough for it, and nothing else, in words and in a frame."""

import json
import os
import re
import sys
import tempfile
import unittest
import unittest.mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import report, shrink, verdict  # noqa: E402
from made_up import MS, START, UNLIMITED, History  # noqa: E402

BEFORE = 3000    # ms of other things that happen before it
TOKEN = 10000    # above all of theirs
LOCK = {"typ": 0, "w": 0, "h": UNLIMITED, "d": 0, "lim": 1}


def crowd():
    """Six clients that take two locks in turn, for a while; with a's and b's own innocent past."""
    h, clients = History(), ("x", "y", "z", "v", "a", "b")
    for client in clients:
        h.attach(client, 0)
    for n in range(240):
        client, lock, t = clients[n % 6], ("l", "other")[n % 2], 10 + n * 12
        h.lock(client, t, t + 3, n + 1, lock)
        h.release(client, t + 5, t + 8, n + 1, lock=lock)
    for client in clients:
        h.line(BEFORE - 50, "alive", g=f"s-{client}", s=(START + BEFORE - 51) * MS)
    h.start += BEFORE
    return h


def two_writers(h):
    h.lock("a", 10, 20, TOKEN)
    h.lock("b", 25, 35, TOKEN + 1)


def reader_beside_writer(h):
    h.lock("a", 10, 20, TOKEN, typ=1)
    h.refresh("a", 21, 22, TOKEN, UNLIMITED)
    h.lock("b", 25, 35, TOKEN + 1)


def a_token_twice(h):
    h.lock("a", 10, 20, TOKEN)
    h.release("a", 30, 40, TOKEN)
    h.lock("b", 50, 60, TOKEN, "other")


def a_smaller_token(h):
    h.lock("a", 10, 20, TOKEN)
    h.release("a", 30, 40, TOKEN)
    h.lock("b", 50, 60, TOKEN - 1)


def overtaken(h):
    h.lock("x", 5, 6, TOKEN)
    a = h.call(10, "lock", "a", **LOCK)
    h.wait(15, a, "a")
    b = h.call(20, "lock", "b", **LOCK)
    h.wait(25, b, "b")
    h.release("x", 30, 31, TOKEN)
    h.granted(40, b, TOKEN + 1)
    h.release("b", 41, 42, TOKEN + 1)
    h.granted(60, a, TOKEN + 2)


def not_handed_over(h):
    h.lock("a", 10, 20, TOKEN)
    b = h.call(21, "lock", "b", **LOCK)
    h.wait(22, b, "b")
    h.release("a", 30, 40, TOKEN)
    h.granted(3000, b, TOKEN + 1)


def released_and_shown(h):
    h.lock("a", 10, 20, TOKEN)
    h.release("a", 30, 40, TOKEN)
    h.ok(60, h.call(50, "status", "b"), "other", holders=[["a", TOKEN]])


def an_early_wait_timeout(h):
    h.lock("a", 10, 20, TOKEN)
    h.ok(400, h.call(30, "lock", "b", typ=0, w=500, h=0, d=0, lim=1), "wait-timeout")


def an_early_hold_timeout(h):
    h.lock("a", 10, 20, TOKEN, hold=1000)
    h.line(500, "lost", c="a", l="l", tok=TOKEN, r="expired", x=3)


def lost_by_a_failover(h):
    h.lock("a", 10, 20, TOKEN)
    h.line(30, "down", g="s-a", why="closed", contact=(h.start + 10) * MS)
    h.attach("a", 3000)


def an_ignore_hold_lost(h):
    h.lock("a", 10, 20, TOKEN, hold=20000, drop=1)
    h.line(30, "close", g="s-a")
    h.lock("b", 40, 50, TOKEN + 1)


def no_answer(h):
    h.call(10, "release", "a", tok=0)
    h.line(30000, "alive", g="s-b", s=(h.start + 29000) * MS)


def asked_again(h):
    h.lock("a", 10, 20, TOKEN)
    h.lock("a", 30, 40, TOKEN + 1)


def busy_and_nobody_there(h):
    h.ok(20, h.call(10, "try", "a", lock="free", typ=0, w=None, h=0, d=0, lim=1), "denied", why="held")


def nobody_asked(h):
    h.line(20, "ghost", g="s-a", r="LockGrantedResponse", key="7", c="a", l="l")


def an_answer_from_the_past(h):
    h.lock("a", 10, 20, TOKEN)
    h.ok(40, h.call(30, "status", "b"), "free", index=h.index - 5)


def an_answer_from_no_log(h):
    h.lock("a", 10, 20, TOKEN)
    h.ok(40, h.call(30, "try", "b", typ=0, w=None, h=0, d=0, lim=1), "denied", index=0, why="held")


def time_falls(h):
    h.ok(20, h.call(10, "status", "a"), "free", ct=50000)
    h.ok(40, h.call(30, "status", "b"), "free", ct=40000)


# what: (property, operations that are enough)
PLANTED = {two_writers: ("P1", 2), reader_beside_writer: ("P2", 2), a_token_twice: ("P3", 3),
           a_smaller_token: ("P3", 3), overtaken: ("P4", 3), not_handed_over: ("P5", 3), released_and_shown: ("P6", 3),
           an_early_wait_timeout: ("P7", 1), an_early_hold_timeout: ("P8", 1), lost_by_a_failover: ("P11", 1),
           an_ignore_hold_lost: ("P1", 2), no_answer: ("P12", 1), asked_again: ("P13", 2),
           busy_and_nobody_there: ("P16", 1), nobody_asked: ("P17", 0), an_answer_from_the_past: ("P18", 2),
           an_answer_from_no_log: ("P18", 1), time_falls: ("P18", 2)}


class Folder:
    """A run's folder as the harness leaves it."""

    def __init__(self, directory, lines, workload="mutex", logs=(), **facts):
        self.directory = directory
        lines.sort(key=lambda line: line["t"])
        lines.append({"t": lines[-1]["t"] + 100 * MS, "p": 1, "e": "finished", "failures": []})
        self._put("history/p1.jsonl", lines)
        os.makedirs(os.path.join(directory, "nodes"), exist_ok=True)
        os.makedirs(os.path.join(directory, "sets"), exist_ok=True)
        for number, log in enumerate(logs, 1):
            self._put(f"nodes/n{number}/dump.jsonl", log)
        options = {"workload": workload, "nemesis": "none", "nodes": 3, "time": 5.0, "seed": 7, "client": "own",
                   "net": "proxy"}
        self._put("facts.json", [{"unexpected": [], "stuck": [], "failed": [], "hashes": {}, "probes": {},
                                  "errors": [], "resources": {}, "options": options, **facts}])

    def _put(self, name, lines):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)

    def judge(self):
        """(verdict, verdict.txt, timeline.html)"""
        result = verdict.judge(self.directory)
        report.write(result)
        texts = []
        for name in ("verdict.txt", "timeline.html"):
            with open(os.path.join(self.directory, name), encoding="utf-8") as file:
                texts.append(file.read())
        return result, *texts


def entry(index, *commands):
    return {"index": index, "term": 1, "kind": "commands", "time": 0, "commands": list(commands)}


def asks(client, lock):
    return {"do": "lock", "client": client, "client_epoch": 1, "lock": lock, "type": 0, "mode": 1, "drop": 0, "wait": -1,
            "hold": -1, "limit": 1, "downgrade": 0}


def attaches(client):
    return {"do": "attach", "client": client, "client_epoch": 0, "epoch": 1, "supersede": 1, "create": 0}


class Minimal(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="netlock-shrink-")
        self.addCleanup(__import__("shutil").rmtree, self.directory)

    def show(self, lines, prop, **how):
        """What is shown of @prop, which the verdict must name with the command and in a frame."""
        result, text, page = Folder(self.directory, lines, **how).judge()
        self.assertEqual(result.word, "INVALID", text)
        minimal = next((m for m in result.minimal if m.violation.prop == prop), None)
        self.assertIsNotNone(minimal, text)
        self.assertTrue(minimal.is_complete)
        self.assertRegex(text, rf"(?m)^{prop}: \d+ of \d+ operations.* enough to show it$")
        self.assertIn("again: jepsen/run --nodes 3 --time 5.0 --workload", text)
        self.assertRegex(page, rf'<div class="broken"><b>{prop}</b>')
        return minimal, text

    def test_planted(self):
        for plant, (prop, operations) in PLANTED.items():
            with self.subTest(plant.__name__):
                h = crowd()
                plant(h)
                minimal, text = self.show(h.lines, prop)
                self.assertEqual(minimal.calls(), operations, text)
                self.assertEqual({line["c"] for line in minimal.lines if "c" in line} - {"a", "b", "x"}, set())
                self.assertGreaterEqual(minimal.operations, 480 + operations)

    def test_long_before_the_end(self):
        """What comes after it is more than is looked at, and does not push it out."""
        h = crowd()
        overtaken(h)
        for n in range(600):
            h.line(20000 + n, "alive", g="s-v", s=(h.start + 19990 + n) * MS)
        with unittest.mock.patch.object(shrink, "LINES_MAX", 500):
            minimal, text = self.show(h.lines, "P4")
        self.assertEqual(minimal.calls(), 3, text)

    def test_answers_are_evidence(self):
        h = crowd()
        two_writers(h)
        self.show(h.lines, "P1")
        with open(os.path.join(self.directory, "evidence-1.jsonl"), encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual([line["tok"] for line in lines if line.get("e") == "ok" and line.get("tok", 0) >= TOKEN],
                         [TOKEN, TOKEN + 1])

    def test_healthy(self):
        result, _text, page = Folder(self.directory, crowd().lines).judge()
        self.assertEqual(result.violations, [])
        self.assertNotIn('class="broken"><b>', page)

    def test_search(self):
        h = crowd()
        two_writers(h)
        result = Folder(self.directory, h.lines).judge()[0]
        searched = [v for v in result.violations if "(search)" in v.text]
        self.assertEqual(len(searched), 1)
        self.assertEqual(shrink.shrink(self.directory, searched[0]).calls(), 2)

    def test_lost_update(self):
        h = crowd()
        for n in range(20):
            h.line(10 + n, "add", set="lock-set-0-1", v=f"1.0.{n}", ok=1, late=0, tok=TOKEN + n)
        lines = h.lines
        folder = Folder(self.directory, lines, workload="lock-set")
        with open(os.path.join(self.directory, "sets", "lock-set-0-1.json"), "w", encoding="utf-8") as file:
            json.dump({"elements": [f"1.0.{n}" for n in range(20) if n != 7], "token": TOKEN + 19}, file)
        result, text, _page = folder.judge()
        self.assertEqual([line["v"] for m in result.minimal for line in m.lines], ["1.0.7"], text)

    def test_replay(self):
        """b is told a grant that the log has not decided; of the log three commands are enough."""
        h = History()
        log = [entry(1, attaches("a"), attaches("b"), attaches("x"))]
        for n in range(2, 60):
            log.append(entry(n, asks("x", f"other-{n}")))
        log += [entry(60, asks("a", "l")), entry(61, asks("b", "l"))]
        for client in "abx":
            h.attach(client, 0)
        for n in range(2, 60):
            h.lock("x", n, n + 1, n - 1, f"other-{n}", index=n)
        h.lock("b", 70, 80, 60, index=61)
        minimal, text = self.show(h.lines, "P15", logs=[log])
        self.assertEqual(minimal.calls(), 1)
        self.assertEqual([e["commands"][0]["do"] for e in minimal.entries], ["attach", "attach", "lock", "lock"], text)

    def test_logs_that_differ(self):
        h = History()
        h.attach("a", 0)
        h.lock("a", 10, 20, 1, index=2)
        logs = [[entry(1, attaches("a")), entry(2, asks("a", "l"))], [entry(1, attaches("a")), entry(2, asks("a", "k"))]]
        minimal, _text = self.show(h.lines, "P14", logs=logs)
        self.assertEqual([e["index"] for e in minimal.entries], ["2 of n1", "2 of n2"])

    def test_what_the_processes_show(self):
        """No operation is to blame; the last look names its own."""
        h = crowd()
        h.lock("probe-2", 10, 20, TOKEN, "l")
        result, text, _page = Folder(self.directory, h.lines, hashes={"1": [5, "aa"], "2": [5, "bb"]},
                                     unexpected=[[3, "ended by itself with status -6"]],
                                     probes={"2": ["l was taken, and its status is other"]}).judge()
        self.assertEqual(sorted({v.prop for v in result.violations}), ["P12", "P14", "P19"])
        calls = {m.violation.prop: m.calls() for m in result.minimal}
        self.assertEqual(calls, {"P12": 1, "P14": 0, "P19": 0}, text)
        self.assertTrue(re.search(r"^P12: 1 of \d+ operations", text, re.M))


if __name__ == "__main__":
    unittest.main()
