"""The smallest part of a history in which the checkers still find the same violation: the same property at the
same time, of the same clients, with the same figures in its text.

What is left out goes in whole units: an operation with its answer, or a hold from its grant to its release, since
a hold without its release would be another story. First all other locks and clients, then all that was long ago,
then whatever else is not needed (delta debugging, as Zeller does it)."""

import collections
import itertools
import json
import time

from . import checks, history
from .story import Story
from .sure import UNLIMITED

LINES_MAX = 300000   # the latest ones: those of a violation that names no lock come from everywhere
AFTER_NS = 10 ** 10  # from a violation on: answers that are under way come, holds end
SECONDS = 20.0       # of work for one violation; what is left then is shown, and called not minimal
AGO_NS = (10 ** 8, 10 ** 9, 10 ** 10)
_OPERATION = ("call", "wait", "library-wait", "ok", "fail", "info")


class Minimal:
    """@lines of the history and @entries of the log, which show @violation; of how many @operations and @logged.
    @is_complete: nothing more can be left out."""

    def __init__(self, violation, lines, operations):
        self.violation, self.lines, self.operations = violation, lines, operations
        self.entries, self.logged = [], 0
        self.is_complete = True

    def calls(self):
        return sum(line["e"] == "call" for line in self.lines)


def ddmin(items, shows, end):
    """A subset of @items, in their order, that still @shows it, and whether it is known to be minimal. @shows(items)
    is true. Not later than @end (time.monotonic)."""
    parts = 2
    while len(items) > 1:
        size = -(-len(items) // parts)
        starts = range(0, len(items), size)
        candidates = itertools.chain((items[n:n + size] for n in starts),
                                     (items[:n] + items[n + size:] for n in starts if parts > 2))
        for candidate in candidates:
            if time.monotonic() > end:
                return items, False
            if shows(candidate):
                parts = 2 if len(candidate) <= size else max(parts - 1, 2)
                items = candidate
                break
        else:
            if parts >= len(items):
                return items, True
            parts = min(2 * parts, len(items))
    return items, True


def shrink(directory, violation, rho_ppm=1000, must_lose=False, seconds=SECONDS):
    """A Minimal. Of a violation that is not in the history but in processes or logs, its own operations."""
    end = time.monotonic() + seconds
    lines, operations = _load(directory, violation)
    anchors = [{"t": t, "p": "control", "e": "phase"} for t in _span(directory)]

    def shows(units):
        chosen = sorted((line for unit in units for line in unit), key=lambda line: line["t"])
        return _found(directory, [anchors[0], *chosen, anchors[1]], violation, rho_ppm, must_lose)
    units = _units(lines)
    if not shows(units):
        own = [unit for unit in units if violation.clients and _is_about(unit, violation.lock, violation.clients)]
        return Minimal(violation, [line for unit in own for line in unit][-40:], operations)
    units = _coarse(units, violation, shows)
    units, is_complete = ddmin(units, shows, end)
    minimal = Minimal(violation, sorted((line for unit in units for line in unit), key=lambda line: line["t"]),
                      operations)
    minimal.is_complete = is_complete
    return minimal


def answered_at(directory, violation):
    """The lines of its clients' operations that were decided at its index, and how many operations there were."""
    numbers = {line["i"] for line in history.read(directory)
               if line["e"] == "ok" and line["x"] == violation.index}
    found, operations = {}, 0
    for line in history.read(directory):
        operations += line["e"] == "call"
        if line["e"] in _OPERATION and line["i"] in numbers:
            found.setdefault(line["i"], []).append(line)
    return [line for lines in found.values() for line in lines
            if lines[0]["c"] in violation.clients and lines[0]["l"] == violation.lock], operations


def _span(directory):
    """The times of the first and the last line."""
    first = last = 0
    for line in history.read(directory):
        first = first or line["t"]
        last = line["t"]
    return first, last


def _load(directory, violation):
    """The lines that can matter, and how many operations there were."""
    lines, begun, operations = collections.deque(maxlen=LINES_MAX), set(), 0
    for line in history.read(directory):
        operations += line["e"] == "call"
        other_lock = violation.lock is not None and line.get("l", violation.lock) != violation.lock \
            and line.get("c") not in violation.clients
        if other_lock or line["e"] == "late" or line["t"] > violation.t + AFTER_NS:
            continue
        if line["e"] == "call":
            begun.add(line["i"])
        if line["e"] not in _OPERATION or line["i"] in begun:
            lines.append(line)
    return _whole(lines), operations


def _whole(lines):
    """Without what belongs to an operation whose beginning has been left out."""
    begun = {line["i"] for line in lines if line["e"] == "call"}
    return [line for line in lines if line["e"] not in _OPERATION or line["i"] in begun]


def _units(lines):
    """Lists of lines that stay together, in the order of their beginnings."""
    token_of = {line["i"]: line["tok"] for line in lines if line["e"] == "ok" and line.get("r") == "granted"}
    calls, last, units = {}, {}, {}
    for line in lines:
        if line["e"] == "call":
            calls[line["i"]] = key = _key(line, token_of, last)
        elif line["e"] in _OPERATION:
            key = calls[line["i"]]
            if line.get("r") == "granted" and key[0] == "hold":
                last[key[1:3]] = key
        elif line["e"] == "lost":
            key = ("hold", line["c"], line["l"], line["tok"])
        else:
            key = ("line", len(units))
        units.setdefault(key, []).append(line)
    return list(units.values())


def _key(call, token_of, last):
    """Lock requests and releases belong to their hold; everything else stands for itself."""
    if call["op"] in ("lock", "try") and call["i"] in token_of:
        return ("hold", call["c"], call["l"], token_of[call["i"]])
    if call["op"] == "release":
        hold = last.pop((call["c"], call["l"]), ("operation", call["i"]))
        return ("hold", call["c"], call["l"], call["tok"]) if call.get("tok") else hold
    return ("operation", call["i"])


def _is_about(unit, lock, clients):
    return any(line.get("c") in clients and line.get("l", lock) == lock for line in unit)


def _coarse(units, violation, shows):
    """Large steps, each kept if it still shows: nothing later, its lock, its clients, not long before."""
    lock, clients, t = violation.lock, violation.clients, violation.t
    for keep in (lambda line: line["t"] <= t, lambda line: line.get("l", lock) == lock,
                 lambda line: "c" not in line or line["c"] in clients):
        fewer = [unit for unit in units if any(keep(line) for line in unit)]
        if len(fewer) < len(units) and shows(fewer):
            units = fewer
    for ago in AGO_NS:
        fewer = [unit for unit in units if unit[-1]["t"] >= violation.t - ago]
        if len(fewer) < len(units) and shows(fewer):
            return fewer
    return units


def _found(directory, lines, violation, rho_ppm, must_lose):
    """Whether the checkers find @violation in @lines."""
    story = Story(rho_ppm=rho_ppm)
    try:
        for line in lines:
            story.feed(line)
        story.finish()
        found = checks.of_story(story)[0] + checks.of_search(story)[0]
        if story.adds:
            found += checks.of_sets(story, directory, must_lose)[0]
    except (KeyError, AttributeError):
        return False  # it makes no sense without what was left out
    return violation in found


# ---- for people ----------------------------------------------------------------------------------


def text(minimal, start):
    """Lines of verdict.txt; @start: of the run."""
    head = f"{minimal.violation.prop}: {minimal.calls()} of {minimal.operations} operations"
    if minimal.entries:
        head += f" and {len(minimal.entries)} of {minimal.logged} commands of the log"
    yield head + (" are enough to show it" if minimal.is_complete else " show it; it was not made smaller in time")
    clients = {line["i"]: line["c"] for line in minimal.lines if line["e"] == "call"}
    for line in minimal.lines:
        who = line.get("c") or clients.get(line.get("i")) or f"process {line['p']}"
        yield f"  {(line['t'] - start) / 1e9:10.4f} s  {who} {_words(line)}"
    for entry in minimal.entries:
        for command in entry.get("commands", ()):
            yield f"  log {entry['index']} at {entry['time']} ms: " + " ".join(
                f"{value}" if key == "do" else f"{key}={value}" for key, value in command.items())


_SHOWN = (("typ", "READ {}"), ("w", "wait {} ms"), ("h", "hold {} ms"), ("tok", "token {}"), ("slot", "slot {}"),
          ("why", "{}"), ("x", "index {}"), ("ct", "cluster time {}"), ("have", "has {}"), ("holders", "holders {}"),
          ("waits", "waits for {}"), ("set", "set {}"), ("v", "element {}"))


def _words(line):
    """A line of the history, as one reads it."""
    head = [{"call": "asks:", "ok": "is told", "wait": "is queued for"}.get(line["e"], line["e"])]
    head += [str(line[key]) for key in ("op", "r", "l") if key in line]
    head += [f"({line['i']})"] if "i" in line else []
    more = [form.format(json.dumps(line[key])) for key, form in _SHOWN
            if line.get(key) and line[key] != UNLIMITED]
    return " ".join(head) + (": " + ", ".join(more) if more else "")
