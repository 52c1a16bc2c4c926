#!/usr/bin/python3
"""A node that is started as root, and what is left of that; who may see its files.

    tests/test_privileges.py BUILD [PART-OF-A-NAME]

Needs root to have something to give away; ends with 77 (skipped) otherwise. The other user is nobody."""

import os
import pwd
import shutil
import subprocess
import sys

from kept_port import HOST, Port
from procs import Cluster, Suite, wait_until

BUILD = sys.argv[1]
test = Suite()
WAIT = 60
USER = "nobody"


def user_cluster(**options):
    """Its directory can be passed through by the user, as /var/lib can."""
    tls = options.pop("tls", False)
    cluster = Cluster(build=BUILD, tls=tls, options={"user": USER, **options})
    os.chmod(cluster.directory, 0o711)
    return cluster


def threads(cluster):
    """The fields of /proc/PID/task/TID/status for each thread of node 1."""
    directory = f"/proc/{cluster.pid(1)}/task"
    for thread in os.listdir(directory):
        with open(f"{directory}/{thread}/status", encoding="ascii", errors="replace") as status:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def assert_gave_all_away(cluster):
    user = pwd.getpwnam(USER)
    count = 0
    for status in threads(cluster):
        assert set(status["Uid"].split()) == {str(user.pw_uid)}, status
        assert set(status["Gid"].split()) == {str(user.pw_gid)}, status
        assert set(status["Groups"].split()) <= {str(g) for g in
                                                 os.getgrouplist(USER, user.pw_gid)}, status
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, (kind, status[kind])
        assert status["NoNewPrivs"] == "1", status
        count += 1
    assert count > 1, "the disk threads should be there by now"


def assert_refused(cluster, says):
    cluster.start_node(1)
    wait_until(lambda: not cluster.is_running(1), WAIT, "the node ends")
    assert says in cluster.log_text(1), cluster.log_text(1)


def wait_log(cluster, words, after=0):
    wait_until(lambda: words in cluster.log_text(1)[after:], WAIT, f"the log says: {words}")


def run_as_user(cluster, *flags):
    """netlockd started by the user itself, from a copy that it can reach."""
    netlockd = shutil.copy(os.path.join(BUILD, "src", "netlockd"), cluster.file("netlockd"))
    os.chmod(netlockd, 0o755)
    os.chmod(cluster.directory, 0o777)
    return subprocess.Popen([netlockd, "--data-dir", cluster.file("mine"), "--listen",
                             cluster.address(1), "--peer-listen", f"{HOST}:0", *flags],
                            user=USER, group=pwd.getpwnam(USER).pw_gid, extra_groups=[],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def low_port():
    """One that only root may bind."""
    for number in range(1023, 600, -1):
        try:
            return Port(number)
        except OSError:
            pass
    raise AssertionError("no free port below 1024")


# ---- root gives all away


@test
def root_becomes_the_user_for_good():
    with user_cluster() as cluster:
        cluster.start()
        assert cluster.netlock("run", "job", "--", "true").returncode == 0
        assert_gave_all_away(cluster)
        data = os.stat(cluster.file("node1"))
        assert data.st_uid == pwd.getpwnam(USER).pw_uid and data.st_mode & 0o777 == 0o700
        assert "running-as-root" not in cluster.log_text(1)
        assert cluster.stop(1) == 0
        cluster.start()
        assert_gave_all_away(cluster)


@test
def a_port_below_1024_is_bound_before():
    port = low_port()
    with user_cluster() as cluster:
        with open(cluster.file("node1.conf"), encoding="ascii") as file:
            lines = [line for line in file if not line.startswith("listen = ")]
        with open(cluster.file("node1.conf"), "w", encoding="ascii") as file:
            file.writelines(lines + [f"listen = {port.address}\n"])
        cluster.start_node(1)
        wait_log(cluster, "role=serving")
        assert_gave_all_away(cluster)
        run = cluster.netlock("--servers", port.address, "run", "job", "--", "true")
        assert run.returncode == 0, run
    port.close()


@test
def keys_of_root_are_read_before_and_again_where_files_allow():
    with user_cluster(tls=True) as cluster:
        cluster.start()
        assert_gave_all_away(cluster)
        after = len(cluster.log_text(1))
        cluster.hangup(1)
        wait_log(cluster, "reload-refused", after)
        assert "node1.key: Permission denied" in cluster.log_text(1)[after:]
        assert cluster.netlock("run", "job", "--", "true").returncode == 0

        user = pwd.getpwnam(USER)
        os.chown(cluster.file("node1.key"), user.pw_uid, user.pw_gid)
        after = len(cluster.log_text(1))
        cluster.hangup(1)
        wait_log(cluster, "reloaded", after)
        assert cluster.netlock("run", "job", "--", "true").returncode == 0


@test
def root_without_a_user_serves_and_is_warned():
    with Cluster(build=BUILD) as cluster:
        cluster.start()
        assert "running-as-root" in cluster.log_text(1)
        assert all(status["NoNewPrivs"] == "1" for status in threads(cluster))


@test
def users_that_cannot_be_are_refused():
    for name, says in (("no-such-user", "there is no user"), ("root", "is root itself")):
        with user_cluster(user=name) as cluster:
            assert_refused(cluster, says)


# ---- others than root


@test
def others_than_root_keep_nothing_either():
    with user_cluster() as cluster:
        process = run_as_user(cluster)
        try:
            assert "netlockd ready" in process.stdout.readline()
            with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                text = status.read()
            assert "NoNewPrivs:\t1" in text and "CapEff:\t0000000000000000" in text, text
        finally:
            process.terminate()
            process.communicate(timeout=WAIT)
        assert process.returncode == 0


@test
def only_root_can_become_somebody():
    with user_cluster() as cluster:
        process = run_as_user(cluster, "--user", "daemon")
        out, _ = process.communicate(timeout=WAIT)
        assert process.returncode == 2 and "only root can become daemon" in out, out


# ---- files


@test
def data_that_others_can_look_into_is_refused():
    with user_cluster() as cluster:
        os.mkdir(cluster.file("node1"))
        assert_refused(cluster, "belongs to uid 0")
        os.chown(cluster.file("node1"), pwd.getpwnam(USER).pw_uid, -1)
        os.chmod(cluster.file("node1"), 0o755)
        assert_refused(cluster, "is open to others (mode 0755): chmod 0700")
        os.chmod(cluster.file("node1"), 0o700)
        cluster.start()


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skipped: only root has privileges to give away")
        sys.exit(77)
    # A process that has changed its user cannot be looked into by LeakSanitizer.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    sys.exit(test.run(sys.argv[2] if len(sys.argv) > 2 else ""))
