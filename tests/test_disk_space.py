#!/usr/bin/python3
"""A data directory whose file system fills up: the node says so, takes what frees room and nothing
new, and goes on by itself when there is room again.

    tests/test_disk_space.py BUILD [PART-OF-A-NAME]

Needs root for a file system of its own; ends with 77 (skipped) otherwise."""

import os
import shutil
import subprocess
import sys
import tempfile

from procs import Cluster, Suite, wait_until

BUILD = sys.argv[1]
test = Suite()
WAIT = 60
MEBIBYTE = 1 << 20
FLOOR = 64 * MEBIBYTE


class SmallDisk:
    """A cluster of one node on a file system of its own."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="netlock-disk-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FLOOR + 160 * MEBIBYTE}", "netlock-test",
                        self.directory], check=True)
        self.cluster = Cluster(build=BUILD, directory=self.directory,
                               options={"disk-free-min": FLOOR})
        return self

    def __exit__(self, *_):
        self.cluster.close()
        subprocess.run(["umount", self.directory], check=True)
        shutil.rmtree(self.directory)

    def fill(self):
        """To a little below the floor."""
        free = shutil.disk_usage(self.directory).free
        with open(os.path.join(self.directory, "fill"), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - FLOOR + MEBIBYTE)

    def empty(self):
        os.unlink(os.path.join(self.directory, "fill"))

    def wait_log(self, word):
        wait_until(lambda: word in self.cluster.log_text(1), WAIT, f"the node says {word}")


def acquire(cluster, name, *more):
    return cluster.netlock("acquire", "--client-id", "keeper", "--ttl", "unlimited", name, *more)


@test
def below_the_floor_locks_are_given_back_and_none_are_given_out():
    with SmallDisk() as disk:
        cluster = disk.cluster
        cluster.start_node(1)
        cluster.wait_serving()
        assert acquire(cluster, "kept").returncode == 0
        disk.fill()
        disk.wait_log("disk-low")
        refused = acquire(cluster, "new", "--timeout", "2s")
        assert refused.returncode != 0, refused
        assert "disk" in refused.stderr, refused
        released = cluster.netlock("release", "--client-id", "keeper", "kept")
        assert released.returncode == 0, released
        disk.empty()
        disk.wait_log("disk-has-room")
        assert acquire(cluster, "new").returncode == 0
        assert cluster.stop(1) == 0


@test
def a_request_that_meets_a_full_disk_is_served_once_there_is_room():
    with SmallDisk() as disk:
        cluster = disk.cluster
        disk.fill()
        cluster.start_node(1)
        disk.wait_log("disk-low")
        waiting = cluster.spawn("acquire", "--client-id", "keeper", "--ttl", "unlimited", "--timeout", "120s",
                                "job")
        disk.empty()
        assert waiting.wait(120) == 0, waiting.stderr.read()
        for stream in (waiting.stdin, waiting.stdout, waiting.stderr):
            stream.close()


if os.geteuid() != 0:
    print("skipped: a file system of its own needs root")
    sys.exit(77)
sys.exit(test.run(*sys.argv[2:3]))
