"""P14, P15 and the witness order: the nodes' logs, replayed, against what clients were told.

Every answer names the index at which it was decided. Replayed in that order, the model must decide the same;
together with P18 (indices agree with real time) that is linearizability, in linear time."""

import json
import os

from .model import Model
from .violation import Violation

BY_TOKEN = ": by the token only"


def remoteness(violation):
    """One grant too many shifts the tokens of all locks: what differs by its token, or was asked by it, may only be
    a consequence."""
    return 2 if violation.text.endswith(BY_TOKEN) else int(violation.text.startswith(("the release", "the refresh")))


def dumps(directory):
    """{node: path of its dump}"""
    folder = os.path.join(directory, "nodes")
    paths = {name: os.path.join(folder, name, "dump.jsonl") for name in sorted(os.listdir(folder))}
    return {name: path for name, path in paths.items() if os.path.exists(path) and os.path.getsize(path)}


def parsed(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _last_index(path):
    last = 0
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - (1 << 20)))
        tail = file.read().splitlines()
    if tail:
        try:
            last = json.loads(tail[-1]).get("index", 0)
        except ValueError:
            pass
    return last


def _first_index(path):
    """Of its snapshot; 0: it has the whole log."""
    with open(path, encoding="utf-8") as file:
        return json.loads(file.readline()).get("snapshot", 0)


def equal_logs(paths, until, end=0):
    """P14: what two nodes have at one index is the same entry, up to @until, which is committed."""
    seen, found = {}, []
    for name, path in paths.items():
        with open(path, encoding="utf-8") as file:
            for line in file:
                if not line.startswith('{"index":'):
                    continue
                index = int(line[9:line.index(",")])
                if index > until:
                    break
                mark = hash(line)
                if seen.setdefault(index, (mark, name))[0] != mark:
                    found.append(Violation("P14", end, f"the entry {index} of {name} is not that of {seen[index][1]}",
                                           None, (), False, index))
                    if len(found) > 5:
                        return found
    return found


def fullest(paths, until):
    """(node, path) of the log that goes furthest back of those that reach @until, or else of the longest one."""
    whole = {name: path for name, path in paths.items() if _last_index(path) >= until}
    return min(whole.items(), key=lambda item: _first_index(item[1])) if whole else \
        max(paths.items(), key=lambda item: _last_index(item[1]))


def replay(directory, answers, end):
    """@answers: [(index, op, client, lock, result, token, why)]. Returns (violations, notes, final)."""
    paths = dumps(directory)
    if not paths:
        return [], ["no log was dumped: nothing is replayed"], None
    answers = sorted(answers)
    until = answers[-1][0] if answers else 0
    found = equal_logs(paths, until, end)
    name, path = fullest(paths, until)
    if _last_index(path) < until:
        client, lock = answers[-1][2:4]
        return found + [Violation("P15", end, f"an answer was decided at index {until}; the longest log, that of "
                                              f"{name}, ends at {_last_index(path)}", lock, (client,), False,
                                  until)], [], None
    checked, more, model, notes = _compare(path, answers, until, end)
    notes.append(f"{checked} of {len(answers)} answers compared with the log of {name}")
    return found + more, notes, model


def _compare(path, answers, until, end):
    model, found, notes = Model(), [], []
    at, checked, start = 0, 0, 0
    for line in parsed(path):
        if "record" in line:
            model.load(line)
        elif "snapshot" in line:
            start = line["snapshot"]
        if line.get("index") == 1:
            model, start = Model(), 0  # the log is whole: the snapshot before it is not needed
        if line.get("index", 0) <= start:
            continue
        if line["index"] > until:
            break
        told = set()
        for command in line.get("commands", ()):
            told.update(model.apply(command, line["time"]))
        while at < len(answers) and answers[at][0] < line["index"]:
            checked += _check_gap(answers[at], start, found, end)
            at += 1
        while at < len(answers) and answers[at][0] == line["index"]:
            checked += 1
            check_answer(answers[at], told, found, end)
            at += 1
    if start:
        notes.append(f"replayed from the snapshot at {start}")
    return checked, found, model, notes


def _check_gap(answer, start, found, end):
    if answer[0] > start and len(found) < 20:
        found.append(Violation("P15", end, f"{answer[2]} was told {answer[4]} at index {answer[0]}, and there is no "
                                           "such entry", answer[3], (answer[2],), False, answer[0]))
    return 0


def check_answer(answer, told, found, end):
    index, op, client, lock, result, token, why = answer
    what = f"denied {why}" if result == "denied" else result
    if result in ("granted", "released", "expired", "mine"):
        good = (client, lock, what, token) in told
    else:
        good = any(t[:3] == (client, lock, what) for t in told)
    if not good and len(found) < 20:
        decided = sorted(t[2:] for t in told if t[:2] == (client, lock))
        only = BY_TOKEN if any(t[0] == what for t in decided) else ""
        text = f"the {op} of {client} on {lock} was told {what} {token or ''} at index {index}"
        found.append(Violation("P15", end, f"{text}; replayed, the log says {decided}{only}", lock, (client,), False,
                               index))
