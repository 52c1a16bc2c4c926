#!/usr/bin/env python3
"""The examples, with and without their locks, against a real cluster: the difference is the point.

    tests/test_examples.py BUILD_DIRECTORY [PART_OF_A_TEST_NAME]
"""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from procs import Cluster, Suite  # noqa: E402

SOURCES = os.path.join(os.path.dirname(HERE), "src", "examples")
CLUSTER = None

test = Suite()


def example(name, *arguments):
    """Run it; its exit status and the numbers in its verdict."""
    directory = SOURCES if name.endswith(".sh") else os.path.join(CLUSTER.build, "src", "examples")
    run = subprocess.run([os.path.join(directory, name), *arguments], capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, timeout=120,
                         env=CLUSTER.environment(NETLOCK_SERVERS=CLUSTER.servers,
                                                 NETLOCK=os.path.join(CLUSTER.build, "src", "netlock")))
    last = (run.stdout.splitlines() or [""])[-1]
    assert last.startswith("VERDICT: "), (run.returncode, run.stdout, run.stderr)
    return run.returncode, [int(number) for number in re.findall(r"\d+", last)]


@test
def registration_with_locks_registers_nobody_twice():
    status, (registered, users, entries, duplicates) = example("registration")
    assert (status, registered, entries, duplicates) == (0, users, users, 0)


@test
def registration_without_locks_has_duplicates():
    status, (registered, users, _, duplicates) = example("registration", "--no-lock")
    assert status == 1 and registered == users and duplicates > 0


@test
def counting_lock_lets_every_cron_job_run_but_three_at_once():
    status, (ran, jobs, most, limit) = example("cron-limit.sh", "--counting")
    assert status == 0 and ran == jobs and 1 <= most <= limit


@test
def numbered_locks_let_three_cron_jobs_run_and_skip_the_rest():
    status, (ran, jobs, most, limit) = example("cron-limit.sh", "--loop")
    assert status == 0 and limit <= ran <= jobs and 1 <= most <= limit


@test
def without_locks_too_many_cron_jobs_run_at_once():
    status, (ran, jobs, most, limit) = example("cron-limit.sh", "--no-lock")
    assert status == 1 and ran == jobs and most > limit


@test
def cache_with_a_lock_is_filled_once_and_used_by_all():
    status, (fillings, uses, users) = example("warm-cache.sh")
    assert status == 0 and fillings == 1 and uses == users


@test
def cache_without_a_lock_is_filled_several_times():
    status, (fillings, uses, users) = example("warm-cache.sh", "--no-lock")
    assert status == 1 and fillings > 1 and uses == users


def main():
    global CLUSTER  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with Cluster(nodes=3, build=sys.argv[1]) as CLUSTER:
        CLUSTER.start()
        return test.run(sys.argv[2] if len(sys.argv) > 2 else "", on_failure=CLUSTER.keep)


if __name__ == "__main__":
    sys.exit(main())
