#!/usr/bin/env python3
"""The example alerts and dashboard: every metric in them is one that a node has, in the README too; the
dashboard is what Grafana loads; promtool, of Debian's prometheus, reads the rules and every query, and what
the rules say of a cluster that fails is in alerts_test.yml.

    tests/test_monitoring.py BUILD_DIRECTORY [--promtool]

With --promtool only what needs that; 77 if it is not installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kept_port import Port  # noqa: E402
from procs import Cluster  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIP = 77
METRIC = re.compile(r"\b(?:netlock|process)_[a-z_]+\b")
OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def dashboard():
    return json.loads(text_of("package", "grafana.json"))


def queries():
    """Every expression of the dashboard, with what Grafana would put for its variables."""
    board = dashboard()
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [note["expr"] for note in board["annotations"]["list"]]
    return [expr.replace("$__rate_interval", "1m").replace("$job", "netlock") for expr in found]


def metrics_of_a_node(build):
    port = Port()
    with Cluster(nodes=1, build=build, options={"http-listen": port.address}) as cluster:
        cluster.start()
        with urllib.request.urlopen(f"http://{port.address}/metrics", timeout=60) as answer:
            text = answer.read().decode()
    port.close()
    return set(re.findall(r"(?m)^# TYPE (\S+)", text))


def names(text):
    return {OF_HISTOGRAMS.sub("", name) for name in METRIC.findall(text)}


def check_names(build):
    real = metrics_of_a_node(build)
    rules = re.sub(r"(?m)^ *#.*$", "", text_of("package", "alerts.yml"))
    used = names(rules) | names("\n".join(queries()))
    assert used and not used - real, f"no node has {used - real}"
    documented = names(text_of("cluster", "README.md"))
    assert not real - documented, f"not in cluster/README.md: {real - documented}"


def check_dashboard():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels), "an id is there twice"
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


def promtool(*arguments):
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def check_with_promtool():
    promtool("check", "rules", os.path.join(ROOT, "package", "alerts.yml"))
    promtool("test", "rules", os.path.join(ROOT, "tests", "alerts_test.yml"))
    rules = [{"record": f"dashboard:query_{number}", "expr": expr} for number, expr in enumerate(queries())]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)  # JSON is YAML
        file.flush()
        promtool("check", "rules", file.name)


def main():
    if len(sys.argv) == 3 and sys.argv[2] == "--promtool":
        if not shutil.which("promtool"):
            print("skip: promtool, of the Debian package prometheus, is not installed")
            return SKIP
        check_with_promtool()
        return 0
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    check_dashboard()
    check_names(os.path.abspath(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
