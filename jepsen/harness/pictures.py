"""Inline SVG: small helpers, and the pictures of latency and availability over a run."""

import math
from html import escape

MS = 1_000_000
WIDTH, LEFT, RIGHT = 1200, 70, 20
BUCKETS = 300
COLOURS = {"partition": "#f6c7c7", "kill": "#f9d9b0", "pause": "#f3efb0", "restart": "#d8ecc3", "clients": "#c9e2f5",
           "packets": "#e3d3f3", "power": "#f3c3de", "torn": "#e8b4f0",
           "disk": "#d9d2c5", "clock": "#c8eee6", "rate": "#d6d6d6"}


class Scale:
    """Nanoseconds to pixels."""

    def __init__(self, begin, end, width=WIDTH):
        self.begin, self.end, self.width = begin, max(end, begin + 1), width

    def x(self, t):
        return LEFT + (min(max(t, self.begin), self.end) - self.begin) / (self.end - self.begin) \
            * (self.width - LEFT - RIGHT)


def tag(name, text=None, **attributes):
    inside = " ".join(f'{key.rstrip("_").replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name} {inside}/>" if text is None else f"<{name} {inside}>{text}</{name}>"


def label(x, y, text, **attributes):
    return tag("text", escape(str(text)), x=f"{x:.1f}", y=f"{y:.1f}", **attributes)


def box(scale, begin, end, y, height, fill, title="", **attributes):
    x = scale.x(begin)
    return tag("rect", f"<title>{escape(title)}</title>", x=f"{x:.2f}", y=y, width=f"{max(0.6, scale.x(end) - x):.2f}",
               height=height, fill=fill, **attributes)


def bands(scale, story, top, height):
    return [box(scale, begin, end, top, height, COLOURS.get(name, "#dddddd"), f"{name} {what}: {proof or 'no proof'}")
            for begin, end, name, what, proof in story.bands if end >= scale.begin and begin <= scale.end]


def seconds_axis(scale, story, y):
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 3600)
                if (scale.end - scale.begin) / 1e9 / s <= scale.width / 50)
    first = int((scale.begin - story.start) / 1e9 / step) * step
    out = []
    for n in range(int((scale.end - scale.begin) / 1e9 / step) + 2):
        t = story.start + (first + n * step) * 1e9
        if scale.begin <= t <= scale.end:
            out.append(tag("line", x1=f"{scale.x(t):.1f}", x2=f"{scale.x(t):.1f}", y1=y - 4, y2=y, stroke="#555"))
            out.append(label(scale.x(t), y + 12, f"{first + n * step:g} s", text_anchor="middle"))
    return out


def svg(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
            'font-size="11">' + tag("rect", width=width, height=height, fill="white") + "\n".join(parts) + "</svg>")


def _buckets(story):
    """[[latency in ms, ...], ...] over the run."""
    span = max(1, story.end - story.start)
    out = [[] for _ in range(BUCKETS)]
    for t, latency in zip(story.ok_times, story.latencies):
        out[min(BUCKETS - 1, (t - story.start) * BUCKETS // span)].append(latency / MS)
    return out


def latency(story):
    """Median, 99th percentile and maximum of every 300th of the run, on a logarithmic scale."""
    scale, top, height = Scale(story.start, story.end), 24, 240
    parts = bands(scale, story, top, height) + seconds_axis(scale, story, top + height + 4)

    def y(ms):
        exponent = 0 if ms <= 0.1 else math.log10(ms / 0.1)
        return top + height - min(1.0, exponent / 6) * height
    for n, text in enumerate(("0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s")):
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y(0.1 * 10 ** n):.1f}", y2=f"{y(0.1 * 10 ** n):.1f}",
                         stroke="#ccc"))
        parts.append(label(LEFT - 6, y(0.1 * 10 ** n) + 4, text, text_anchor="end"))
    span = (story.end - story.start) / BUCKETS
    for n, values in enumerate(_buckets(story)):
        if not values:
            continue
        values.sort()
        x = scale.x(story.start + (n + 0.5) * span)
        for share, colour in ((0.5, "#2a6fb0"), (0.99, "#d07020"), (1.0, "#b02a2a")):
            value = values[min(len(values) - 1, int(share * len(values)))]
            parts.append(tag("circle", cx=f"{x:.1f}", cy=f"{y(value):.1f}", r=1.8, fill=colour))
    parts.append(label(LEFT, 14, "Time to the answer: median (blue), 99th percentile (orange), maximum (red); waits "
                                 "included"))
    return svg(WIDTH, top + height + 24, parts)


def availability(story):
    """Answers per second."""
    scale, top, height = Scale(story.start, story.end), 24, 160
    span = max(1, story.end - story.start) / BUCKETS
    rates = [len(values) / (span / 1e9) for values in _buckets(story)]
    most = max([*rates, 1])
    parts = bands(scale, story, top, height) + seconds_axis(scale, story, top + height + 4)
    for n, rate in enumerate(rates):
        tall = rate / most * height
        parts.append(box(scale, story.start + n * span, story.start + (n + 1) * span, f"{top + height - tall:.1f}",
                         f"{tall:.1f}", "#3b7d4f", f"{rate:.0f} per second"))
    for share in (0, 0.5, 1):
        parts.append(label(LEFT - 6, top + height * (1 - share) + 4, f"{most * share:.0f}", text_anchor="end"))
    parts.append(label(LEFT, 14, "Answers per second"))
    return svg(WIDTH, top + height + 24, parts)
