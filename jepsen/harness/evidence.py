"""What shows that something is broken: for the first violation of each property the smallest part of the history,
and of the log, that is enough for it (minimal-N.jsonl), and all that happened around it (evidence-N.jsonl)."""

import json
import os

from . import history, replay, shrink, shrink_log, workload_list

SHOWN = 3
AROUND_NS = 3_000_000_000


def find(verdict):
    """[shrink.Minimal] for the violations that are shown."""
    first = {}
    for violation in sorted(verdict.violations, key=lambda v: (replay.remoteness(v), v.t)):
        first.setdefault(violation.prop, violation)
    chosen = list(first.values())[:SHOWN]
    return [_minimal(verdict, violation) for violation in chosen]


def _minimal(verdict, violation):
    if not violation.index:
        must_lose = workload_list.WORKLOADS[verdict.options["workload"]].must_lose
        return shrink.shrink(verdict.directory, violation, verdict.facts.get("rho_ppm", 1000), must_lose)
    lines, operations = shrink.answered_at(verdict.directory, violation)
    minimal = shrink.Minimal(violation, lines, operations)
    if violation.prop == "P14":
        for name, path in replay.dumps(verdict.directory).items():
            minimal.entries += [{**entry, "index": f"{violation.index} of {name}"} for entry in replay.parsed(path)
                                if entry.get("index") == violation.index]
        minimal.logged = violation.index
        return minimal
    answer = next((a for a in verdict.story.answers
                   if a[0] == violation.index and (a[2],) == violation.clients and a[3] == violation.lock), None)
    if answer is not None:
        minimal.entries, minimal.logged, minimal.is_complete = shrink_log.shrink(verdict.directory, violation, answer)
    return minimal


def write(verdict):
    for n, minimal in enumerate(verdict.minimal, 1):
        head = {"violation": minimal.violation.prop, "text": minimal.violation.text, "again": verdict.command()}
        _write(verdict.directory, f"minimal-{n}.jsonl", head, minimal.lines + minimal.entries)
        _write(verdict.directory, f"evidence-{n}.jsonl", head, _around(verdict.directory, minimal.violation))


def _around(directory, violation):
    """The lines about its lock and its clients, answers too, which name neither, and the faults."""
    operations = set()
    for line in history.read(directory):
        if line["t"] > violation.t + AROUND_NS // 3:
            return
        is_about = line["e"] in ("begin", "end", "killed") or line.get("c") in violation.clients \
            or (violation.lock and line.get("l") == violation.lock) or line.get("i") in operations
        if is_about and line["e"] == "call":
            operations.add(line["i"])
        if is_about and line["t"] >= violation.t - AROUND_NS:
            yield line


def _write(directory, name, head, lines):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        for line in (head, *lines):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
