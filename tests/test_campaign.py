#!/usr/bin/env python3
"""sim/campaign: which seeds count does not depend on how fast they are.

A simulator that is none: each seed simulates a quarter of an hour, and every seventh fails. What it is told to be
slow with does not change what is reported.
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CAMPAIGN = os.path.join(HERE, "sim", "campaign")
SIMULATOR = """#!/usr/bin/env python3
import os, sys, time
words = sys.argv[1:]
if "--runs" not in words:
    sys.exit(1)  # it cannot record
runs, first = (int(words[words.index(name) + 1]) for name in ("--runs", "--seed"))
time.sleep(0.3 if first // 10 % 3 == int(os.environ["SLOW"]) else 0)
for seed in range(first, first + runs):
    if seed % 7 == 0:
        print("VIOLATION P1: test: seed %d at 1.000000s" % seed, file=sys.stderr)
        print("replay: sim --seed %d" % seed, file=sys.stderr)
print("runs                            %d" % runs)
print("simulated hours                 %.2f" % (runs / 4))
sys.exit(1)
"""


def report_of(directory, *options, slow=0):
    simulator = os.path.join(directory, "sim")
    with open(simulator, "w", encoding="utf-8") as f:
        f.write(SIMULATOR)
    os.chmod(simulator, 0o755)
    argv = [CAMPAIGN, "--sim", simulator, "--dir", directory, "--simulated-hours", "12", "--shrink-max", "0", *options]
    subprocess.run(argv, env=dict(os.environ, SLOW=str(slow)), capture_output=True, timeout=120, check=False)
    with open(os.path.join(directory, "report.json"), encoding="utf-8") as f:
        return json.load(f)


def what_counts(report):
    return report["first_seed"], report["seeds"], report["simulated_hours"], [f["seed"] for f in report["findings"]]


def main():
    with tempfile.TemporaryDirectory() as directory:
        expected = (100, 50, 12.5, [105, 112, 119, 126, 133, 140, 147])
        for jobs in ("1", "2", "8"):
            for slow in (0, 1, 2):
                counts = what_counts(report_of(directory, "--seed", "100", "--jobs", jobs, slow=slow))
                assert counts == expected, (jobs, slow, counts)
        # Not told otherwise, twice the same; drawn, hardly ever.
        if os.path.isdir(os.path.join(HERE, "..", ".git")):
            assert report_of(directory)["first_seed"] == report_of(directory)["first_seed"]
        drawn = {report_of(directory, "--fresh")["first_seed"] for _ in range(3)}
        assert len(drawn) > 1, drawn
    print("the seeds that count are the same however fast they are")
    return 0


if __name__ == "__main__":
    sys.exit(main())
