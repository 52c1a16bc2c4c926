"""Run the simulator once and say what came of it: for bugs/run, shrink and campaign.

    outcome = outcome_of([sim, "--seed", "7"], cpu_seconds=60)
    outcome.failure     None, or what went wrong: a property ("P13"), "crash", "hang", "mismatch", "syntax"
    outcome.detail      for people: the violation's text, the assertion, the signal
    outcome.key         failure and in which way ("P13 lost once, told again"), or where it crashed: two runs with equal
                        keys fail alike
    outcome.seconds     of CPU, of the run itself and not of whoever waited for it

Of many runs in one process (`sim --runs`), failures_of() tells one from the other.
"""
import os
import re
import resource
import signal
import subprocess
import tempfile
import time

VIOLATION = re.compile(r"^VIOLATION ([A-Z][A-Za-z0-9-]*): (.*)$", re.M)
ASSERTION = re.compile(r"(\w+\.[ch]):(\d+):.*Assertion `(.*)' failed")
SANITIZER = re.compile(r"^.*(?:ERROR: \w*Sanitizer: |runtime error: )(.*)$", re.M)
DIED = re.compile(r"^SIG[A-Z]+ at simulated time (\d+\.\d{6}s)$", re.M)
CRASHED = re.compile(r"^CRASH .*: (.*)$", re.M)
REPLAY = re.compile(r"^replay: (.*--seed (\d+).*)$", re.M)
EXIT_MISMATCH, EXIT_SYNTAX = 2, 64

class Outcome:
    def __init__(self, failure, detail, key, seconds, stdout, stderr):
        self.failure = failure
        self.detail = detail
        self.key = key
        self.seconds = seconds
        self.stdout = stdout
        self.stderr = stderr

    def what(self):
        """For a table: "P13 lost once, told again", "crash", "hang"."""
        return self.key if self.key.startswith(self.failure + " ") and self.failure != "crash" else self.failure


def _wait(process, wall_seconds):
    """(status, cpu seconds, killed); rusage is the child's own, whatever else runs here."""
    end = time.monotonic() + wall_seconds if wall_seconds else None
    pause = 0.001
    killed = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid != 0:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime, killed
        if end is not None and time.monotonic() > end and not killed:
            process.kill()
            killed = True
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def _crash(name, stderr):
    """What to say of a crash, and by what to know it again."""
    died = DIED.search(stderr)
    when = " at " + died.group(1) if died else ""
    assertion = ASSERTION.search(stderr)
    if assertion:
        text = "%s: %s" % (assertion.group(1), assertion.group(3))
        return text + when, "crash " + text
    sanitizer = SANITIZER.search(stderr)
    if sanitizer:
        return sanitizer.group(1) + when, "crash " + sanitizer.group(1).split(" on ")[0]
    return name + when, "crash " + name


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


def _judge(code, hung, stderr):
    """(failure, detail, key) of one run."""
    violation = VIOLATION.search(stderr)
    if violation:
        # "P13: lost once, told again: who, what": a property may have several ways to be broken.
        way = re.match(r"([^:]{1,40}): ", violation.group(2))
        return violation.group(1), violation.group(2), " ".join(
            [violation.group(1)] + ([way.group(1)] if way else []))
    if hung or code == -signal.SIGXCPU:
        return "hang", "no end within its time", "hang"
    if code < 0:
        return ("crash", *_crash(_signal_name(-code), stderr))
    if SANITIZER.search(stderr) and code != 0:
        return ("crash", *_crash("", stderr))
    if code == 0:
        return None, "", None
    lines = stderr.strip().splitlines()
    detail = lines[-1] if lines else ""
    failure = {EXIT_MISMATCH: "mismatch", EXIT_SYNTAX: "syntax"}.get(code, "exit %d" % code)
    return failure, detail, failure


def failures_of(stderr):
    """(seed, replay line, outcome) of each run that failed, from what `sim --runs` said."""
    found = []
    start = 0
    for replay in REPLAY.finditer(stderr):
        said = stderr[start:replay.start()]
        start = replay.end()
        crashed = CRASHED.search(said)
        if crashed and not VIOLATION.search(said):
            died = re.search(r"^(SIG[A-Z]+) at simulated", said, re.M)
            judged = ("crash", *_crash(died.group(1) if died else crashed.group(1), said))
        else:
            judged = _judge(1, "TIMEOUT" in said, said)
        found.append((int(replay.group(2)), replay.group(1), Outcome(*judged, 0.0, "", said)))
    return found


def outcome_of(argv, cpu_seconds=None, wall_seconds=None, env=None):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                                   start_new_session=True)  # Ctrl-C is for whoever asked, who decides
        try:
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
            if cpu_seconds:
                limit = int(cpu_seconds) + 1
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (limit, limit + 5))
        except ProcessLookupError:
            pass  # it has ended already
        try:
            code, seconds, hung = _wait(process, wall_seconds)
        except BaseException:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        stdout = out.read().decode(errors="replace")
        stderr = err.read().decode(errors="replace")
    failure, detail, key = _judge(code, hung, stderr)
    return Outcome(failure, detail, key, seconds, stdout, stderr)
