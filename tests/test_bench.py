#!/usr/bin/env python3
"""`netlock bench` against real nodes: what it counts, not how fast it is.

    tests/test_bench.py BUILD_DIRECTORY [PART_OF_A_TEST_NAME]
"""

import json
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from procs import HOST, Cluster, Suite  # noqa: E402

UNAVAILABLE, PROTOCOL = 69, 76
ONE = None  # the single node that most tests share
BUILD = None

test = Suite()


def result_of(run):
    assert run.returncode == 0, (run.args, run.returncode, run.stdout, run.stderr)
    result = json.loads(run.stdout)
    for key in ("errors", "lost", "unfinished", "not_back"):
        assert result[key] == 0, (key, result)
    return result


def bench(*words, cluster=None):
    return result_of((cluster or ONE).netlock("bench", "--json", "--warm-up", "200ms", *words))


class Running:
    """A bench under way, which tells its progress; ended at the latest when the `with` is left."""

    def __init__(self, *words, cluster=None):
        self.process = (cluster or ONE).spawn("bench", "--json", "-v", *words)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_for(self, text):
        """Its end instead fails the test."""
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"the output ended without '{text}'")

    def result(self):
        out, errors = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, (self.process.returncode, out, errors)
        return json.loads(out)

    def stop(self):
        """Interrupted, it tells what it knows."""
        self.process.send_signal(signal.SIGINT)
        return self.result()


@test
def every_kind_of_work_is_measured():
    for work, times in (("cycle", "whole_us"), ("contend", "whole_us"), ("multiplexed", "whole_us"),
                        ("failover", "whole_us"), ("waiters", "handover_us")):
        result = bench(work, "--clients", "8", "--duration", "1s")
        assert result["work"] == work and result["clients"] == 8, result
        assert result["done"] > 0 and result["per_second"] > 0, result
        assert 0 < result[times]["p50"] <= result[times]["p99"] <= result[times]["max"], result
        assert result["interruptions"] == [] and result["late"] == 0, result


@test
def clients_of_one_lock_are_granted_it_in_turn():
    result = bench("contend", "--clients", "8", "--duration", "2s")
    assert result["grants_most"] - result["grants_least"] <= 2, result


@test
def held_locks_are_there_until_the_end_and_then_gone():
    with Running("hold", "--count", "2500", "--duration", "10m", "--prefix", "bench-held-") as run:
        run.wait_for("2500 locks are held")
        listed = json.loads(ONE.netlock("list", "--json", "bench-held-").stdout)
        result = run.stop()
    assert result["done"] == 2500 and result["lost"] == 0, result
    assert result["acquire_us"]["count"] == 2500, result
    assert len(listed) == 2500, len(listed)
    assert json.loads(ONE.netlock("list", "--json", "bench-held-").stdout) == []


@test
def a_rate_is_a_schedule_of_which_nothing_is_forgotten():
    result = bench("--clients", "4", "--rate", "100", "--duration", "2s")
    due = result["measured_us"] * result["rate"] / 1e6
    assert abs(result["whole_us"]["count"] + result["late"] - due) <= 2, result


@test
def what_a_stopped_node_holds_up_is_late_all_of_it():
    """Of 8 s at a rate, 1.5 are a stop: a fifth of what was due waits, some of it for all that time.
    A bench whose clients ask only when they have their answer would see 4 late ones of thousands."""
    with Running("--clients", "4", "--rate", "500", "--warm-up", "0", "--duration", "8s") as run:
        run.wait_for("measured")
        ONE.pause(1)
        try:
            time.sleep(1.5)
        finally:
            ONE.cont(1)
        result = run.result()
    assert result["whole_us"]["max"] >= 1400000, result
    assert result["whole_us"]["p90"] >= 100000, result
    assert result["gap_us"] >= 1400000, result


@test
def a_killed_leader_is_an_interruption_and_all_come_back():
    with Cluster(nodes=3, build=BUILD) as cluster:
        cluster.start()
        with Running("failover", "--clients", "8", "--warm-up", "0", "--duration", "10m",
                     "--timeout", "60s", cluster=cluster) as run:
            run.wait_for("measured")
            cluster.kill9(cluster.leader())
            run.wait_for("interruption: ")
            result = run.stop()
    assert result["errors"] == 0 and result["not_back"] == 0, result
    was = result["interruptions"][0]
    assert was["clients"] == 8 and was["first_us"] <= was["all_us"], result
    assert 0 < was["gap_us"] <= result["gap_us"], result


@test
def without_a_terminal_nothing_is_said_beside_the_result():
    run = ONE.netlock("bench", "--clients", "2", "--duration", "200ms", "--warm-up", "0")
    assert run.returncode == 0 and run.stderr == "", (run.returncode, run.stderr)
    assert run.stdout.startswith("cycle: 2 clients, ") and "p99.9" in run.stdout, run.stdout


@test
def what_is_no_netlock_server_gives_76():
    def speak(listener):
        while True:
            try:
                stranger, _ = listener.accept()
            except OSError:
                return
            stranger.recv(65536)
            stranger.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            stranger.close()

    listener = socket.create_server((HOST, 0))
    threading.Thread(target=speak, args=(listener,), daemon=True).start()
    address = "%s:%d" % listener.getsockname()
    for words in (["bench"], ["status", "x"]):
        run = ONE.netlock("--servers", address, "--timeout", "3s", *words)
        assert run.returncode == PROTOCOL, (words, run.returncode, run.stderr)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def main():
    global ONE, BUILD  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    with Cluster(nodes=1, build=BUILD) as ONE:
        ONE.start()
        return test.run(sys.argv[2] if len(sys.argv) > 2 else "", on_failure=ONE.keep)


if __name__ == "__main__":
    sys.exit(main())
