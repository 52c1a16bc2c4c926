"""Rows 68 to 80 of catalogue.py: data directories, disks and clocks, of nodes of their own beside the one
that serves all along."""

import contextlib
import glob
import os
import resource
import shutil
import struct
import subprocess
import tempfile

from catalogue_config import expect_refused, netlockd
from catalogue_rows import ERROR, GRANTED, WAIT, Talker, covered, expect, is_open, number_field, row, wait_log
from procs import HOST, Cluster, wait_until

FATAL = 3


def start(node, directory, *flags):
    """A node that is to be refused: until its end."""
    return netlockd(node, "--data-dir", directory, "--cluster", "test", "--listen", HOST + ":0",
                    "--peer-listen", "localhost:0", *flags)


@contextlib.contextmanager
def alone(node, **options):
    """A node of its own, with the lock "kept" held for good."""
    with Cluster(build=node.build, options=options) as one:
        one.start()
        run = one.netlock("acquire", "--client-id", "keeper", "--ttl", "unlimited", "kept")
        assert run.returncode == 0, run
        yield one


def is_kept(one):
    with Talker(one.address(1)) as talker:
        return talker.lock("kept").name != GRANTED


def fails_to_start(one, status, *says):
    after = len(one.log_text(1))
    one.start_node(1)
    wait_until(lambda: not one.is_running(1), WAIT, "the node ends")
    log = one.log_text(1)[after:]
    assert one._nodes[1].process.returncode == status, log
    for words in says:
        assert words in log, (words, log)


def starts_with_all(one):
    one.start_node(1)
    one.wait_serving()
    assert is_kept(one), "what was held is not"


def raft_files(one, pattern):
    found = sorted(glob.glob(os.path.join(one.data(1), "raft", pattern)))
    assert found, os.listdir(os.path.join(one.data(1), "raft"))
    return found


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ 1
        file.seek(at)
        file.write(bytes([byte]))


# ---- whose directory


@row(68, "a missing parent, a file, foreign files, a name too long", "refused, named", "client")
def _(node):
    with tempfile.TemporaryDirectory(dir=node.cluster.directory) as scratch:
        expect_refused(start(node, os.path.join(scratch, "a", "b")), scratch, "parent")
        with open(os.path.join(scratch, "file"), "wb"):
            pass
        expect_refused(start(node, os.path.join(scratch, "file")), "file")
        os.chmod(scratch, 0o700)
        expect_refused(start(node, scratch), "no identity file")
        expect_refused(start(node, "/tmp/" + "x" * 900), "")


@row(68, "a symbolic link to a directory; a tmpfs", "taken; taken, and warned", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        os.rename(one.data(1), one.data(1) + ".real")
        os.symlink(one.data(1) + ".real", one.data(1))
        starts_with_all(one)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        with Cluster(build=node.build, directory=scratch) as one:
            one.start()
            if subprocess.run(["stat", "-f", "-c", "%T", scratch], check=True, timeout=WAIT, text=True,
                              stdout=subprocess.PIPE).stdout == "tmpfs\n":
                wait_log(one, 1, "tmpfs")


covered(68, "a directory that cannot be written; tmpfs, NFS", "refused; known, for a warning",
        "datadir:a_directory_that_cannot_be_written_is_refused",
        "datadir:file_systems_without_durability_are_told_apart")


@row(69, "the directory of a running node", "refused with its pid", "client")
def _(node):
    expect_refused(start(node, node.cluster.data(1)), f"in use by process {node.process}")


@row(70, "the directory of another node, of another cluster", "refused, whose it is", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        for flags in (["--cluster", "prod"], ["--cluster", "test", "--node-id", "2"]):
            run = netlockd(node, "--data-dir", one.data(1), "--listen", HOST + ":0", "--peer-listen",
                           "localhost:0", *flags)
            expect_refused(run, "belongs to node 1 of cluster test")
        starts_with_all(one)


@row(71, "a directory of a later format", "refused", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        path = os.path.join(one.data(1), "node")
        with open(path, encoding="ascii") as file:
            good = file.read()
        with open(path, "w", encoding="ascii") as file:
            file.write(good.replace("format 1", "format 2"))
        assert "format 1" in good, good
        fails_to_start(one, 4, "start the newer version")
        with open(path, "w", encoding="ascii") as file:
            file.write(good)
        starts_with_all(one)


# ---- damage


WAY_OUT = "let the machine join under a new node id"


@contextlib.contextmanager
def copy_of(one):
    """Its data directory as it is now comes back at the end."""
    good = one.data(1) + ".good"
    shutil.copytree(one.data(1), good)
    yield
    shutil.rmtree(one.data(1))
    os.rename(good, one.data(1))


@row(72, "a file of term and vote is damaged, either or both", "refused with the way out", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        first = raft_files(one, "metadata1")[0]
        with open(first, "rb") as file:
            layout, version, term, vote = struct.unpack("<4Q", file.read())
        with open(first[:-1] + "2", "wb") as file:  # as with the next term, which a node alone never has
            file.write(struct.pack("<4Q", layout, version + 1, term, vote))
        for which in ("1", "2", "?"):
            with copy_of(one):
                for path in raft_files(one, "metadata" + which):
                    flip(path, 0)
                fails_to_start(one, 2, "damaged", "metadata", WAY_OUT)
        starts_with_all(one)


@row(73, "a closed segment: a flipped bit, cut off", "refused with the way out", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        segment = raft_files(one, "0*-0*")[-1]
        size = os.path.getsize(segment)
        for damage, says in ((lambda: flip(segment, size - 1), WAY_OUT),
                             (lambda: os.truncate(segment, size - 8), "check-data")):
            with copy_of(one):
                damage()
                fails_to_start(one, 2, os.path.basename(segment), says)
        starts_with_all(one)


@row(73, "a segment twice; files that nobody knows", "refused, or passed over: nothing is lost", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        segment = raft_files(one, "0*-0*")[-1]
        with copy_of(one):
            first, last = os.path.basename(segment).split("-")
            shutil.copy(segment, os.path.join(os.path.dirname(segment), f"{first}-{int(last) + 1:016d}"))
            fails_to_start(one, 2, os.path.basename(segment)[:16])
        for name in ("unknown", "open-x", "snapshot-1"):
            with open(os.path.join(os.path.dirname(segment), name), "wb") as file:
                file.write(b"what is this?")
        starts_with_all(one)


covered(73, "damage of every kind, 16 random bits, a segment that is gone", "refused, check-data says what",
        "check_data:each_kind_of_damage_is_found",
        "check_data:a_flipped_bit_anywhere_is_judged_as_a_start_judges_it",
        "check_data:a_missing_segment_is_found")


covered(74, "an open segment with a torn tail; with more behind it", "cut there; check-data doubts",
        "check_data:what_a_crash_leaves_is_told_from_damage")


@row(74, "SIGKILL while entries are written", "all that was answered is there", "client")
def _(node):
    with alone(node) as one:
        with Talker(one.address(1)) as talker:
            for i in range(50):
                expect(talker.lock(f"answered-{i}", number_field(7, 1) + number_field(6, 0xFFFFFFFF)), GRANTED)
            one.kill9(1)
        starts_with_all(one)
        with Talker(one.address(1)) as talker:
            for i in range(50):
                assert talker.lock(f"answered-{i}").name != GRANTED, i


covered(75, "a snapshot that is damaged, cut off, half-written", "refused, or passed over",
        "check_data:each_kind_of_damage_is_found",
        "check_data:what_a_crash_leaves_is_told_from_damage",
        "sim_disk:a_snapshot_without_its_meta_is_passed_over")


# ---- disks


covered(76, "a write that fails, to a plain libraft; to ours", "frees twice; stops with a reason",
        "guard_disk:unguarded_a_write_that_fails_kills_the_process",
        "guard_disk:a_write_that_fails_stops_the_node_with_a_reason")
covered(76, "a full disk", "waited for; without a log refused", "guard_disk:a_full_disk_is_waited_for",
        "raft_node_start:a_node_without_space_for_its_log_is_refused")


covered(76, "little room on the disk", "releases pass, nothing new does, until there is room",
        "disk_space:below_the_floor_locks_are_given_back_and_none_are_given_out")


@row(76, "files may not grow (RLIMIT_FSIZE)", "stops with a message, nothing is lost", "client")
def _(node):
    with alone(node) as one:
        resource.prlimit(one.pid(1), resource.RLIMIT_FSIZE, (4096, 4096))
        with Talker(one.address(1)) as talker:
            for i in range(100000):
                answer = talker.lock(f"more-{i % 100}")
                if answer is None or answer.name == ERROR:
                    break
        wait_until(lambda: not one.is_running(1), WAIT, "the node ends")
        assert one._nodes[1].process.returncode == FATAL, (one._nodes[1].process.returncode, one.log_text(1)[-500:])
        wait_log(one, 1, "fatal")
        starts_with_all(one)


is_open(77, "the directory of an hour ago, copied back", "refused, if the cluster knows of more",
        "nothing tells it from the right one; cluster/README.md says that a copy is no backup")
covered(77, "the log is gone; a restore was cut off", "refused",
        "datadir:a_node_without_its_log_is_refused",
        "restore:a_node_whose_restore_was_cut_off_does_not_start_empty")


@row(78, "a directory that is open to others", "refused with the chmod that helps", "client")
def _(node):
    with alone(node) as one:
        one.stop(1)
        for mode in (0o755, 0o770, 0o701):
            os.chmod(one.data(1), mode)
            fails_to_start(one, 2, "chmod 0700")
        os.chmod(one.data(1), 0o700)
        starts_with_all(one)


@row(79, "the directory is deleted under a running node of three", "it stops; the cluster goes on", "client")
def _(node):
    with Cluster(nodes=3, build=node.build) as three:
        three.start()
        assert three.netlock("acquire", "--client-id", "keeper", "--ttl", "unlimited", "kept").returncode == 0
        leader = three.leader()
        victim = leader % 3 + 1
        shutil.rmtree(three.data(victim))

        def has_ended():
            if three.is_running(victim):
                three.restart(leader)  # the next term has to be written by everybody
                three.leader(WAIT)
            return not three.is_running(victim)
        wait_until(has_ended, WAIT, "the node without a disk ends")
        assert three._nodes[victim].process.returncode == FATAL, three.log_text(victim)[-500:]
        run = three.netlock("--client-id", "keeper", "--timeout", "60s", "refresh", "kept", timeout=2 * WAIT)
        assert run.returncode == 0, run


# ---- clocks


covered(80, "the wall clock jumps, on servers and clients", "nothing: nobody who decides reads it",
        "scenarios:clocks", "core_is_pure")
