"""VALID, INVALID or UNKNOWN, and why: all checks of one run, put together.

INVALID: a property is broken. UNKNOWN: nothing is broken, but the run cannot vouch for it: a fault did not
bite, the harness failed, too little happened, or bounds of time were exceeded while the machine was late."""

import json
import os
import re

from . import check_order, checks, evidence, history, replay, shrink, workload_list
from .nemesis import ENDED
from .story import Story
from .violation import Violation

MS = 1_000_000
OPS_MIN_PER_SECOND = 5
LATE_SHARE_MAX = 0.05     # of the run
LATE_MAX_MS = 300
BAD_LOG = re.compile(r"Assertion|assertion|AddressSanitizer|runtime error:|LeakSanitizer|Aborted|"
                     r"state differs|diverged")
STOPPED = re.compile(r"\bfatal\b")   # a node stops for want of its disk, and for nothing else
SHOWN_MAX = 20


class Verdict:
    def __init__(self, directory):
        self.directory = directory
        self.violations, self.unknown, self.notes = [], [], []
        self.minimal = []   # what is enough to show the first violations
        self.story = None
        self.facts, self.options = {}, {}
        self.figures = {}

    @property
    def word(self):
        if self.violations:
            return "INVALID"
        return "UNKNOWN" if self.unknown else "VALID"

    def text(self, with_minimal=True):
        lines = [self.word, ""]
        lines += [f"{v.prop}: {v.text} (at {self.seconds(v.t):.3f} s)" for v in self.violations[:SHOWN_MAX]]
        if len(self.violations) > SHOWN_MAX:
            lines.append(f"... and {len(self.violations) - SHOWN_MAX} more")
        lines += [f"unknown: {why}" for why in self.unknown]
        lines += [f"note: {note}" for note in self.notes]
        for minimal in self.minimal if with_minimal else ():
            lines += ["", *shrink.text(minimal, self.story.start)]
        lines += ["", *(f"{name}: {value}" for name, value in self.figures.items())]
        lines += ["", "again: " + self.command()]
        return "\n".join(lines) + "\n"

    def seconds(self, t):
        return (t - self.story.start) / 1e9

    def command(self):
        o = self.options
        return (f"jepsen/run --nodes {o.get('nodes')} --time {o.get('time')} --workload {o.get('workload')} "
                f"--nemesis {o.get('nemesis')} --seed {o.get('seed')} --client {o.get('client')} "
                f"--net {o.get('net')}"
                + "".join(f" --set {pair}" for pair in o.get("set", ())))


def judge(directory):
    verdict = Verdict(directory)
    with open(os.path.join(directory, "facts.json"), encoding="utf-8") as file:
        verdict.facts = json.load(file)
    verdict.options = verdict.facts["options"]
    verdict.story = story = Story(rho_ppm=verdict.facts.get("rho_ppm", 1000))
    for line in history.read(directory):
        story.feed(line)
    story.finish()
    timing = []
    found, judged = checks.of_story(story)
    _add_processes(verdict, found)
    _replay(verdict, found)
    _search(verdict, found)
    must_lose = workload_list.WORKLOADS[verdict.options["workload"]].must_lose
    lost, unknown, figures = checks.of_sets(story, directory, must_lose)
    found += lost
    verdict.unknown += unknown
    verdict.figures.update(figures)
    for violation in found:
        (timing if violation.timing else verdict.violations).append(violation)
    verdict.violations.sort(key=lambda v: v.t)
    _weigh_timing(verdict, timing)
    _look_at_bands(verdict)
    _count(verdict, judged)
    verdict.minimal = evidence.find(verdict)
    return verdict


def _replay(verdict, found):
    """The log against the answers, and the model's last state against the cluster's."""
    story = verdict.story
    more, notes, model = replay.replay(verdict.directory, story.answers, story.end)
    found += more
    verdict.figures["replay"] = "; ".join(notes)
    if model is not None and verdict.facts.get("last_token") and not more \
            and model.token != verdict.facts["last_token"]:
        found.append(Violation("P3", story.end, f"the last token is {verdict.facts['last_token']}; replayed, the log "
                                                f"says {model.token}"))


def _search(verdict, found):
    wrong, judged, given_up = checks.of_search(verdict.story)
    found += wrong
    verdict.figures["search"] = f"{judged} operations in a possible order, {given_up} given up"


def _weigh_timing(verdict, timing):
    """A bound of time proves something only on a machine that kept time itself."""
    story = verdict.story
    jitter = [ms for _t, ms, process in story.late if process == "jitter"]
    share = sum(jitter) * MS / max(1, story.end - story.start)
    worst = max((ms for _t, ms, _p in story.late), default=0)
    load = verdict.facts.get("load")
    verdict.figures["lateness"] = f"worst {worst} ms, {share:.1%} of the time" + (f"; load {load:.0f}" if load else "")
    if not timing:
        return
    if verdict.options.get("lenient") or share > LATE_SHARE_MAX or worst > LATE_MAX_MS:
        verdict.unknown += [f"{v.prop}: {v.text}; this machine's time proves nothing" for v in timing[:5]]
    else:
        verdict.violations += timing


def _look_at_bands(verdict):
    story = verdict.story
    asked = [n for n in verdict.options["nemesis"].split(",") if n != "none"]
    for name in asked:
        idle = [b for b in story.bands if b[2] == name and not b[4]]
        if len(asked) > 1 and 2 * len(idle) < sum(b[2] == name for b in story.bands):
            # Faults of several kinds get into each other's way: who is dead cannot be stopped.
            verdict.notes += [f"{len(idle)} faults of {name} had no effect of their own"] if idle else []
            continue
        verdict.unknown += [f"nothing proves that {name} ({b[3]}) at {verdict.seconds(b[0]):.1f} s had an effect"
                            for b in idle]
    for name in asked:
        if not any(band[2] == name and band[4] and band[4] != ENDED for band in story.bands):
            verdict.unknown.append(f"no {name} in this run has proven an effect")
    verdict.unknown += story.notes + verdict.facts["errors"]
    verdict.unknown += [f"client process {n} failed" for n in verdict.facts["failed"]]


def _add_processes(verdict, found):
    """P12, P14 and P19 from what the run saw of its processes."""
    facts, end = verdict.facts, verdict.story.end
    for node, why in facts["unexpected"]:
        found.append(Violation("P19", end, f"n{node} {why}"))
    for number in sorted(os.listdir(os.path.join(verdict.directory, "nodes"))):
        path = os.path.join(verdict.directory, "nodes", number, "log")
        if os.path.exists(path):
            found += _bad_lines(path, number, end, BAD_LOG)
            if not set(verdict.options["nemesis"].split(",")) & {"disk", "power", "torn"}:
                found += _bad_lines(path, number, end, STOPPED)
    for node, wrong in facts["probes"].items():
        found += [Violation("P12", end, f"after all was healed, by way of n{node}: {text}", text.split(" ", 1)[0],
                            (f"probe-{node}",), True) for text in wrong]
    for number in facts["stuck"]:
        found.append(Violation("P12", end, f"client process {number} did not come to its end", None, (), True))
    hashes = facts["hashes"]
    if hashes and len({tuple(h) for h in hashes.values()}) > 1:
        found.append(Violation("P14", end, f"the nodes' states differ: {hashes}"))
    if not hashes and not facts["errors"]:
        verdict.unknown.append("P14: the nodes' states could not be compared")
    _add_leaks(verdict, found, end)


def _bad_lines(path, number, end, bad):
    with open(path, encoding="utf-8", errors="replace") as log:
        return [Violation("P19", end, f"n{number.lstrip('n')} says: {line.strip()[:200]}")
                for line in log if bad.search(line)][:3]


def _add_leaks(verdict, found, end):
    """RSS may not go on growing once a process is warm; descriptors neither."""
    for name, samples in verdict.facts["resources"].items():
        if len(samples) < 240:  # two minutes
            continue
        warm, last = samples[len(samples) // 3], samples[-1]
        for what, before, after, slack in (("RSS in KiB", warm[0], last[0], 20000),
                                           ("descriptors", warm[1], last[1], 100)):
            verdict.notes.append(f"{name}: {what} {before} when warm, {after} at the end")
            if after > before * 1.2 + slack and what == "descriptors":
                found.append(Violation("P19", end, f"{name} leaks {what}: {before}, then {after}"))


def _count(verdict, judged):
    story, figures = verdict.story, verdict.figures
    seconds = max(1e-9, verdict.options["time"])
    figures["operations"] = (f"{story.counts['ok']} ok, {story.counts['fail']} fail, {story.counts['info']} info; "
                             f"{story.counts['ok'] / seconds:.0f} ok per second")
    figures["grants"] = sum(len(grants) for grants in story.grants.values())
    figures["hand-overs judged"] = judged
    figures["faults"] = _faults(story)
    figures["longest gap without an answer"] = f"{check_order.longest_gap(story.ok_times, *_loaded(story)) / MS:.0f} ms"
    for name in sorted({band[2] for band in story.bands}):
        gaps = [check_order.longest_gap(story.ok_times, b[0], b[1] + 1000 * MS) / MS
                for b in story.bands if b[2] == name]
        gaps.sort()
        figures[f"longest gap, {name}"] = f"median {gaps[len(gaps) // 2]:.0f} ms, max {gaps[-1]:.0f} ms"
    sharing = check_order.readers_overlap(story)
    if sharing is not None:
        figures["readers share"] = sharing
    if story.counts["ok"] < OPS_MIN_PER_SECOND * seconds:
        verdict.unknown.append(f"only {story.counts['ok']} operations were answered")


def _loaded(story):
    return (story.ok_times[0], story.ok_times[-1]) if story.ok_times else (0, 0)


def _faults(story):
    kinds = {}
    for band in story.bands:
        kinds[f"{band[2]} {band[3]}".strip()] = kinds.get(f"{band[2]} {band[3]}".strip(), 0) + 1
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "none"
