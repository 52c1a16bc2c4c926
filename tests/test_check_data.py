#!/usr/bin/env python3
"""netlockd check-data on real directories, damaged in many ways: what it calls damaged, a node refuses to
start from; from everything else the node starts.

    tests/test_check_data.py BUILD_DIRECTORY [PART_OF_A_TEST_NAME]
"""

import glob
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from procs import Cluster, Suite  # noqa: E402

WHOLE, DAMAGED, REFUSED = 0, 1, 2
FATAL = 3  # of a node
SEED = 20261130
FLIPS = 16
BUILD = None
SCRATCH = None
GOOD = None  # a directory with a snapshot, closed segments, and an open one as a killed node leaves it

test = Suite()


def netlockd(*arguments, **kwargs):
    return subprocess.run([os.path.join(BUILD, "src", "netlockd"), *arguments], timeout=60,
                          capture_output=True, text=True, check=False, **kwargs)


def check(directory):
    return netlockd("check-data", directory)


def make_good():
    """Three lives of a node: in the second one it takes its snapshot, and goes on; the third one is killed."""
    with Cluster(nodes=1, build=BUILD, options={"snapshot-threshold": 64, "snapshot-trailing": 40}) as one:
        data = one.data(1)

        def use(times):
            for _ in range(times):
                assert one.netlock("run", "job", "--", "true").returncode == 0

        def keep(name):
            # Without a deadline, so that no ticks fill the log.
            assert one.netlock("acquire", "--client-id", "c", "--ttl", "unlimited", name).returncode == 0

        one.start()
        use(3)
        keep("kept-first")
        one.stop(1)
        one.start_node(1)
        one.wait_serving()
        for _ in range(60):
            if glob.glob(os.path.join(data, "raft", "snapshot-*.meta")):
                break
            use(1)
        use(2)
        one.stop(1)
        one.start_node(1)
        one.wait_serving()
        use(2)
        keep("kept-last")
        one.kill9(1)
        shutil.copytree(data, os.path.join(SCRATCH, "good"))
    return os.path.join(SCRATCH, "good")


class Copy:
    """Of the good directory, to be damaged."""

    def __init__(self):
        self.path = tempfile.mkdtemp(dir=SCRATCH)
        shutil.rmtree(self.path)
        shutil.copytree(GOOD, self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def files(self, pattern):
        return sorted(glob.glob(os.path.join(self.path, "raft", pattern)))

    def only(self, pattern):
        found = self.files(pattern)
        assert found, (pattern, os.listdir(os.path.join(self.path, "raft")))
        return found[-1]

    @property
    def closed(self):
        return self.only("0*-0*")

    @property
    def open(self):
        return next(name for name in self.files("open-*") if used(name))

    @property
    def snapshot(self):
        return self.only("snapshot-*[0-9]")

    def change(self, file, at, value=None):
        """One byte; without @value its lowest bit."""
        with open(file, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0] ^ 1 if value is None else value
            f.seek(at)
            f.write(bytes([byte]))

    def node(self):
        """A node that runs from it, or tries to."""
        return subprocess.Popen(
            [os.path.join(BUILD, "src", "netlockd"), "--data-dir", self.path, "--cluster", "test",
             "--listen", "127.0.0.1:0", "--peer-listen", "localhost:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def starts(self):
        """Whether a node serves from it."""
        process = self.node()
        try:
            return process.stdout.readline().startswith("netlockd ready")
        finally:
            process.terminate()
            process.communicate(timeout=60)


def used(name):
    with open(name, "rb") as f:
        return any(f.read())


def expect(copy, status, *texts):
    run = check(copy.path)
    assert run.returncode == status, run
    for text in texts:
        assert text in run.stdout, (text, run)
    damaged = "DAMAGED" in run.stdout
    if status == DAMAGED:
        assert run.stdout.count("way out: ") == run.stdout.count("DAMAGED") + run.stdout.count("DOUBTFUL")
    assert copy.starts() != damaged, run
    return run


@test
def a_whole_directory_is_whole_and_untouched():
    with Copy() as copy:
        before = {name: os.stat(name).st_mtime_ns for name in copy.files("*")}
        run = check(copy.path)
        assert run.returncode == WHOLE and run.stdout.endswith("whole\n"), run
        assert "2 holds" in run.stdout and "node 1 of cluster test" in run.stdout, run
        assert before == {name: os.stat(name).st_mtime_ns for name in copy.files("*")}
        assert copy.starts()
        # What the next start made of it is whole too, and the table has the same two holds.
        assert "2 holds" in expect(copy, WHOLE).stdout


@test
def each_kind_of_damage_is_found():
    for what, damage, text in (
            ("closed segment, data", lambda c: c.change(c.closed, os.path.getsize(c.closed) - 1), "checksum of the data"),
            ("closed segment, header", lambda c: c.change(c.closed, 8 + 20), "checksum of a header"),
            ("closed segment, format", lambda c: c.change(c.closed, 0), "its format is not known"),
            ("closed segment, short", lambda c: os.truncate(c.closed, os.path.getsize(c.closed) - 8), "cut off in the data"),
            ("closed segment, empty", lambda c: os.truncate(c.closed, 0), "damaged"),
            ("open segment, format", lambda c: c.change(c.open, 0, 9), "its format is not known"),
            ("snapshot", lambda c: c.change(c.snapshot, os.path.getsize(c.snapshot) // 2), "checksum"),
            ("snapshot, short", lambda c: os.truncate(c.snapshot, os.path.getsize(c.snapshot) - 8), "cannot be read"),
            ("members", lambda c: c.change(c.snapshot + ".meta", 40), "checksum of its members"),
            ("members, short", lambda c: os.truncate(c.snapshot + ".meta", 30), "cut off"),
            ("term and vote, format", lambda c: [c.change(f, 0) for f in c.files("metadata?")], "no term and vote"),
            ("term, one that cannot be", lambda c: [c.change(f, 23) for f in c.files("metadata?")], "no cluster has come"),
    ):
        print(" ", what, flush=True)
        with Copy() as copy:
            damage(copy)
            expect(copy, DAMAGED, "DAMAGED", text)


@test
def what_a_crash_leaves_is_told_from_damage():
    def cut_off_write(copy):
        # The last batch is there in part: its data, which is zero from some byte on.
        with open(copy.open, "r+b") as f:
            content = f.read()
            end = len(content.rstrip(b"\0"))
            f.seek(end - 1)
            f.write(b"\0")

    def unfinished_snapshot(copy):
        with open(copy.snapshot.replace("snapshot-", "snapshot-9") + ".meta", "wb"):
            pass

    def later_data(copy):
        with open(copy.open, "r+b") as f:
            f.seek(len(f.read().rstrip(b"\0")) + 65536)
            f.write(b"something")

    def cut_off_truncation(copy):
        # What stays of the segment has been written, and the segment is still there.
        first, last = (int(number) for number in os.path.basename(copy.closed).split("-"))
        shutil.copy(copy.closed, os.path.join(copy.path, "raft", f"{first:016}-{last - 1:016}"))

    with Copy() as copy:
        cut_off_truncation(copy)
        expect(copy, WHOLE, "harmless", "a truncation that was cut off")
        assert "truncation" not in expect(copy, WHOLE).stdout
    with Copy() as copy:
        cut_off_write(copy)
        expect(copy, WHOLE, "harmless", "a write was cut off")
    with Copy() as copy:
        unfinished_snapshot(copy)
        expect(copy, WHOLE, "harmless", "not finished")
    with Copy() as copy:
        later_data(copy)
        expect(copy, DAMAGED, "DOUBTFUL", "more behind it")
    with Copy() as copy:
        os.truncate(copy.files("metadata?")[0], 8)
        run = check(copy.path)
        assert run.returncode == DAMAGED and "too short" in run.stdout, run


@test
def a_flipped_bit_anywhere_is_judged_as_a_start_judges_it():
    numbers = random.Random(SEED)
    for i in range(FLIPS):
        with Copy() as copy:
            names = [name for name in copy.files("*") if "metadata" not in name and used(name)]
            name = numbers.choice(names)
            with open(name, "rb") as f:
                length = len(f.read().rstrip(b"\0"))
            at, bit = numbers.randrange(length + 8), numbers.randrange(8)
            print(f"  {i}: bit {bit} of byte {at} of {os.path.basename(name)}", flush=True)
            if at >= os.path.getsize(name):
                continue
            with open(name, "rb") as f:
                f.seek(at)
                value = f.read(1)[0]
            copy.change(name, at, value ^ (1 << bit))
            run = check(copy.path)
            assert run.returncode in (WHOLE, DAMAGED), run
            assert copy.starts() != ("DAMAGED" in run.stdout), run


@test
def a_missing_segment_is_found():
    with Copy() as copy:
        closed = copy.files("0*-0*")
        snapshot_index = int(os.path.basename(copy.snapshot).split("-")[2])
        last = int(os.path.basename(closed[-1]).split("-")[1])
        assert last > snapshot_index, (closed, snapshot_index)
        os.unlink(closed[-1])
        run = check(copy.path)
        # libraft takes what remains for a log that goes on, with entries under wrong numbers.
        assert run.returncode == DAMAGED and "there is a hole" in run.stdout, run
        node = copy.node()
        _, errors = node.communicate(timeout=60)
        assert node.returncode == FATAL and "log has a hole" in errors, errors


@test
def what_is_no_directory_of_ours_is_refused():
    empty = tempfile.mkdtemp(dir=SCRATCH)
    for arguments, text in (((empty,), "no data directory"), (("/nonexistent",), "No such file"),
                            ((), "usage"), (("a", "b"), "usage")):
        run = netlockd("check-data", *arguments)
        assert run.returncode == REFUSED and text in run.stderr, run
    with Cluster(nodes=1, build=BUILD) as one:
        one.start()
        run = check(one.data(1))
        assert run.returncode == REFUSED and "running node" in run.stderr, run
        one.stop(1)
        assert check(one.data(1)).returncode == WHOLE
        os.unlink(os.path.join(one.data(1), "raft", "metadata1"))
    with Copy() as copy:
        with open(os.path.join(copy.path, "node"), "w", encoding="ascii") as node:
            node.write("nonsense")
        run = check(copy.path)
        assert run.returncode == DAMAGED and "whose the directory is" in run.stdout, run


def main():
    global BUILD, SCRATCH, GOOD  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    SCRATCH = tempfile.mkdtemp(prefix="netlock-check-")
    GOOD = make_good()
    status = test.run(sys.argv[2] if len(sys.argv) > 2 else "")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
