"""Reading a history: the files of all processes, in time order, line by line."""

import heapq
import json
import os

BANDS_SETTLE_NS = 3_000_000_000  # after a fault has ended the cluster may still be finding its leader


def files(directory):
    folder = os.path.join(directory, "history")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def _lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                return  # the last line of a killed process


def read(directory):
    """All lines in time order. Each file is in order by itself."""
    return heapq.merge(*(_lines(path) for path in files(directory)), key=lambda line: line["t"])


class Windows:
    """Times in which timing is not judged: faults with what follows them, and our own lateness."""

    def __init__(self):
        self._spans = []

    def add(self, begin, end):
        self._spans.append((begin, end))

    def freeze(self):
        self._spans.sort()
        merged = []
        for begin, end in self._spans:
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        self._spans = merged

    def touch(self, begin, end):
        """Whether [begin, end] meets a window."""
        low, high = 0, len(self._spans)
        while low < high:
            middle = (low + high) // 2
            if self._spans[middle][1] < begin:
                low = middle + 1
            else:
                high = middle
        return low < len(self._spans) and self._spans[low][0] <= end
