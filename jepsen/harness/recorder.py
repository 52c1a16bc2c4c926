"""The history: one JSON object per line, in one file per process, written before anything is sent.

Every line has "t" (CLOCK_MONOTONIC in ns, one clock for the whole machine) and "e":

    call      i op c l ...     an operation begins; i is its number in this process
    wait      i x              it was queued; x is the position's index
    ok        i r s x ...      its outcome r is known; s: when the answered request was sent
    fail      i r              it certainly has no effect
    info      i r              it may have an effect, at any time, or none
    up, down, close            a connection: session g serves; is given up (reset); was closed in order
    claims    c g have         what the cluster says that client c holds [lock, token] and waits for
    alive     g s              a ping that was sent at s was answered
    lost      c l tok r        the cluster said that the hold is over, or the client's own clock did
    late-answer  c l r tok     what became of a request whose connection is gone, or that was given up
    ghost     ...              an answer to nothing that was asked
    late      ms               this process was so long behind its own timers
    begin, end f ...           a nemesis
    killed    victim s         a process of clients is dead; s: before the signal was sent

Lines of a killed process are complete up to its death: each is one write(2)."""

import json
import os
import time

monotonic_ns = time.monotonic_ns
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class Recorder:
    def __init__(self, path, proc):
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.proc = proc
        self._next = 0

    def op_number(self):
        self._next += 1
        return f"{self.proc}.{self._next}"

    def write(self, event, **fields):
        """Returns the time that the line carries."""
        now = monotonic_ns()
        line = {"t": now, "p": self.proc, "e": event}
        line.update(fields)
        os.write(self._fd, (_dumps(line) + "\n").encode())
        return now
