"""The folder of a run, for people: verdict.txt, timeline.html, latency.svg, availability.svg; and where something
is broken, the lines of the history that show it."""

import os
from html import escape

from . import evidence, pictures, shrink
from .pictures import LEFT, Scale, box, label, svg, tag

MS = 1_000_000
BOXES_MAX = 6000
LANE = 14
CLIENTS_MAX = 60
AROUND_NS = 3_000 * MS
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;margin:20px}}pre{{background:#f4f4f4;padding:8px}}div{{overflow-x:auto}}
div.broken{{border:2px solid #d00000;padding:8px;margin:12px 0}}</style>
<h1>{title}</h1><pre>{verdict}</pre>{minimal}
<h2>Who had what</h2><p>{caption}</p><div>{timeline}</div>
<h2>Latency</h2><div>{latency}</div><h2>Availability</h2><div>{availability}</div>
"""


def write(verdict):
    story = verdict.story
    latency, availability = pictures.latency(story), pictures.availability(story)
    caption, timeline = _timeline(verdict)
    title = f"{verdict.word}: {verdict.options['workload']} under {verdict.options['nemesis']}"
    page = PAGE.format(title=escape(title), verdict=escape(verdict.text(False)), caption=escape(caption),
                       minimal="".join(_broken(verdict, one) for one in verdict.minimal), timeline=timeline,
                       latency=latency, availability=availability)
    for name, text in (("verdict.txt", verdict.text()), ("latency.svg", latency), ("availability.svg", availability),
                       ("timeline.html", page)):
        with open(os.path.join(verdict.directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    evidence.write(verdict)


# ---- what shows a violation ----------------------------------------------------------------------


def _broken(verdict, minimal):
    """The operations that are enough to show it, one lane per client, in a frame; below it the same in words."""
    v = minimal.violation
    calls = {line["i"]: line for line in minimal.lines if line["e"] == "call"}
    ends = {line["i"]: line for line in minimal.lines if line["e"] in ("ok", "fail", "info")}
    lanes = {client: 8 + 2 * LANE * n for n, client in enumerate(dict.fromkeys(c["c"] for c in calls.values()))}
    times = [line["t"] for line in minimal.lines] or [v.t]
    scale = Scale(times[0], times[-1], 900)
    parts = [label(LEFT - 4, y + 18, client[:11], text_anchor="end") for client, y in lanes.items()]
    for number, call in calls.items():
        end = ends.get(number, {"t": times[-1], "r": "no answer"})
        said = f"{call['op']} {call['l']}: {end['r']}" + (f", token {end['tok']}" if end.get("tok") else "")
        parts.append(box(scale, call["t"], end["t"], lanes[call["c"]] + LANE, LANE - 3, _colour(call["l"]), said))
        x = min(scale.x(call["t"]), scale.width - 6 * len(said))
        parts.append(label(x, lanes[call["c"]] + 10, said))
    picture = svg(scale.width, 16 + 2 * LANE * len(lanes), parts) if calls else ""
    words = "\n".join(shrink.text(minimal, verdict.story.start))
    return (f'<div class="broken"><b>{escape(v.prop)}</b>: {escape(v.text)}<br>{picture}<pre>{escape(words)}</pre>'
            f"again: <code>{escape(verdict.command())}</code></div>")


# ---- the timeline --------------------------------------------------------------------------------


def _spans(story):
    """Every sure interval: (begin, end, client, lock, token, type), in time order."""
    spans = [(begin, end, client, lock, token, typ)
             for lock, holds in story.intervals.sure.items() for begin, end, typ, client, _limit, token, _slot in holds]
    spans.sort()
    return spans


def _window(verdict, spans):
    """What is shown: all of it, if that can be looked at; else what is around the first violation, or the
    first fault."""
    story = verdict.story
    if len(spans) <= BOXES_MAX:
        return story.start, story.end
    middle = verdict.violations[0].t if verdict.violations else story.bands[0][0] if story.bands else story.start
    begin = max(story.start, middle - AROUND_NS)
    shown = [s for s in spans if s[1] >= begin][:BOXES_MAX]
    return begin, max(middle + MS * 500, shown[-1][1] if shown else story.end)


def _timeline(verdict):
    story, spans = verdict.story, _spans(verdict.story)
    begin, end = _window(verdict, spans)
    spans = [s for s in spans if s[1] >= begin and s[0] <= end][:BOXES_MAX]
    involved = [c for v in verdict.violations[:evidence.SHOWN] for c in v.clients]
    clients = list(dict.fromkeys(involved + [s[2] for s in spans]))[:CLIENTS_MAX]
    clients.sort()
    scale = Scale(begin, end, int(max(pictures.WIDTH, min(30000, (end - begin) / 1e9 * 120))))
    height = 60 + LANE * len(clients)
    parts = pictures.bands(scale, story, 20, height - 40)
    parts += _leaders(scale, story)
    lanes = {client: 46 + LANE * n for n, client in enumerate(clients)}
    for client, y in lanes.items():
        parts.append(label(LEFT - 4, y + 10, client[:11], text_anchor="end"))
        parts.append(tag("line", x1=LEFT, x2=scale.width - 20, y1=y + LANE - 1, y2=y + LANE - 1, stroke="#eee"))
    parts += [box(scale, s[0], s[1], lanes[s[2]] + 1, LANE - 3, _colour(s[3]),
                  f"{s[3]}, token {s[4]}, {'READ' if s[5] else 'WRITE'}, {(s[1] - s[0]) / MS:.1f} ms")
              for s in spans if s[2] in lanes]
    parts += _frames(scale, verdict, lanes)
    parts += pictures.seconds_axis(scale, story, height - 16)
    caption = (f"From {verdict.seconds(begin):.1f} s to {verdict.seconds(end):.1f} s; one lane per client, a box where "
               "it was entitled to a lock, coloured by lock; behind them the faults. Point at anything.")
    return caption, svg(scale.width, height, parts)


def _leaders(scale, story):
    parts = [label(LEFT - 4, 38, "leader", text_anchor="end")]
    changes = story.leaders + [(story.end, None, None)]
    for (t, node, term), (until, *_rest) in zip(changes, changes[1:]):
        parts.append(box(scale, t, until, 28, 12, ("#7aa6d8", "#e0a96d", "#8cc08a", "#c79bd0", "#d99090")[node % 5],
                         f"n{node} serves, term {term}"))
        if until >= scale.begin and t <= scale.end and scale.x(until) - scale.x(t) > 30:
            parts.append(label(scale.x(t) + 3, 38, f"n{node}"))
    return parts


def _frames(scale, verdict, lanes):
    """Violations, framed."""
    parts = []
    for violation in verdict.violations[:20]:
        rows = [lanes[c] for c in violation.clients if c in lanes] or [46]
        x = scale.x(violation.t)
        parts.append(tag("rect", f"<title>{escape(violation.prop + ': ' + violation.text)}</title>", x=f"{x - 6:.1f}",
                         y=min(rows) - 2, width=12, height=max(rows) - min(rows) + LANE + 2, fill="none",
                         stroke="#d00000", stroke_width=2))
        parts.append(label(x + 8, min(rows) + 8, violation.prop, fill="#d00000"))
    return parts


def _colour(lock):
    hue = sum(ord(c) * (n * 37 + 11) for n, c in enumerate(lock)) % 360
    return f"hsl({hue},60%,45%)"
