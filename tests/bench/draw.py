"""Curves as SVG: a line through medians, a band from least to greatest. Standard library only."""

import math
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 170, 40, 55
COLOURS = ("#0b6e99", "#c2410c", "#3f7d20", "#6b3fa0")


class Series:
    """@points: (x, middle, low, high), in the order of x."""

    def __init__(self, label, points):
        self.label, self.points = label, points


class Axis:
    def __init__(self, values, pixels, log):
        self.log, self.pixels = log, pixels
        values = [v for v in values if v > 0 or not log]
        if log:
            self.low = 10 ** math.floor(math.log10(min(values)))
            self.high = 10 ** math.ceil(math.log10(max(values)))
            self.high = self.high if self.high > self.low else self.low * 10
        else:
            self.low, self.high = 0, (max(values) or 1) * 1.05

    def at(self, value):
        low, high = self.pixels
        if self.log:
            value = max(value, self.low)  # 0 has no place of its own
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = value / self.high
        return low + (high - low) * part

    def ticks(self):
        if self.log:
            return [10 ** e for e in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = 10 ** math.floor(math.log10(self.high))
        while self.high / step < 4:
            step /= 2
        return [step * i for i in range(int(self.high / step) + 1)]


def text(x, y, words, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def frame(x_axis, y_axis, title, x_label, y_label):
    parts = [text(LEFT, 22, title, "start", ' font-weight="bold"'),
             text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label),
             text(18, (TOP + HEIGHT - BOTTOM) / 2, y_label, "middle",
                  f' transform="rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})"')]
    for value in x_axis.ticks():
        x = x_axis.at(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(text(x, HEIGHT - BOTTOM + 18, f"{value:g}"))
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, y + 4, f"{value:g}", "end"))
    return parts


def curve(series, x_axis, y_axis, colour, place):
    def path(points):
        return "L".join(f"{x_axis.at(x):.1f} {y_axis.at(y):.1f}" for x, y in points)
    band = path([(x, high) for x, _, _, high in series.points] +
                [(x, low) for x, _, low, _ in reversed(series.points)])
    y = TOP + 12 + 20 * place
    parts = [f'<path d="M{band}Z" fill="{colour}" fill-opacity="0.15"/>',
             f'<path d="M{path([p[:2] for p in series.points])}" fill="none" stroke="{colour}" stroke-width="2"/>',
             f'<path d="M{WIDTH - RIGHT + 12} {y - 4}h18" stroke="{colour}" stroke-width="2"/>',
             text(WIDTH - RIGHT + 36, y, series.label, "start")]
    parts += [f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(m):.1f}" r="3" fill="{colour}"/>'
              for x, m, _, _ in series.points]
    return parts


def draw(path, title, x_label, y_label, all_series, log_x=False, log_y=False):
    points = [p for series in all_series for p in series.points]
    x_axis = Axis([p[0] for p in points], (LEFT, WIDTH - RIGHT), log_x)
    y_axis = Axis([v for p in points for v in p[1:]], (HEIGHT - BOTTOM, TOP), log_y)
    parts = frame(x_axis, y_axis, title, x_label, y_label)
    for place, series in enumerate(all_series):
        parts += curve(series, x_axis, y_axis, COLOURS[place % len(COLOURS)], place)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
                   'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
                   + "\n".join(parts) + "\n</svg>\n")
