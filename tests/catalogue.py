#!/usr/bin/env python3
"""The catalogue of bad input: what can be done to a real netlockd at its ports, with its files, its command
line and its limits, what it must answer, and that an innocent client beside it notices nothing.

    tests/catalogue.py BUILD [PART-OF-A-ROW]

Prints a table with one line for each row; a number may have several. Rows are executed here, or name the
ctests in which they are. Behind every row of a world that runs, its innocent client still holds its lock, a
newcomer is served, and the process is the one that was started, and has not grown. Rows that netlock does
not fulfil are marked as open. Exit status 1 if a row fails, or if a number has no row."""

import os
import subprocess
import sys
import time
import traceback

import catalogue_client  # pylint: disable=unused-import # each adds its rows
import catalogue_peer
import catalogue_config  # pylint: disable=unused-import
import catalogue_data  # pylint: disable=unused-import
from catalogue_rows import ROWS, WAIT, Innocent, check_reference, check_serving, resident_kib
from kept_port import Port
from procs import Cluster

NUMBERS = range(1, 81)
GROWTH_KIB_MAX = 65536  # of one row; a sanitizer keeps what is freed


class ClientWorld:
    """One plain node."""

    connections_max = 200
    RULES = "".join(f"allow {who} * *\n" for who in ("anonymous", "alice", "bob"))

    def __init__(self, build):
        self.build = build
        self.cluster = Cluster(build=build, options={
            "frame-timeout": "3s", "connections-per-address-max": self.connections_max})
        self.tokens = {}
        self.ports = []
        try:
            self._start()
        except BaseException:
            self.cluster.close(keep=True)
            raise

    def _start(self):
        with open(self.cluster.config(1), "a", encoding="utf-8") as config:
            config.write(f"tokens-file = {self.cluster.file('tokens')}\n"
                         f"acl-file = {self.cluster.file('acl')}\n")
        self.write_acl(self.RULES)
        with open(self.cluster.file("tokens"), "w", encoding="utf-8") as file:
            for name in ("alice", "bob"):
                file.write(self._make_token(name))
        self.cluster.start()
        self.address = self.cluster.address(1)
        self.process = self.cluster.pid(1)
        self.innocent = Innocent(self.address)

    def _make_token(self, name):
        secret = self.cluster.file(f"{name}.token")
        line = subprocess.run([os.path.join(self.build, "src", "netlock"), "access-token", name,
                               secret], check=True, timeout=WAIT, text=True,
                              stdout=subprocess.PIPE).stdout
        with open(secret, "rb") as file:
            self.tokens[name] = file.read().strip()
        return line

    def write_acl(self, text):
        with open(self.cluster.file("acl"), "w", encoding="utf-8") as file:
            file.write(text)

    def token(self, name):
        return self.tokens[name]

    def free_address(self):
        """Where nobody listens; the port stays ours."""
        self.ports.append(Port())
        return self.ports[-1].address

    def descriptors(self):
        return os.listdir(f"/proc/{self.process}/fd")

    def serves(self):
        try:
            check_serving(self.address)
        except (AssertionError, ConnectionError):
            return False
        return True

    def memory_kib(self):
        return resident_kib(self.process)

    def check(self):
        assert self.cluster.is_running(1), "netlockd ended: " + self.cluster.log_text(1)[-2000:]
        self.innocent.check()
        check_serving(self.address)

    def close(self, failed):
        self.innocent.close()
        for port in self.ports:
            port.close()
        try:
            status = self.cluster.stop(1)
            assert status == 0, f"netlockd ended with {status}: " + self.cluster.log_text(1)[-2000:]
        finally:
            self.cluster.close(keep=failed)


WORLDS = {"client": ClientWorld, "peer": catalogue_peer.PeerWorld}


class Catalogue:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.is_sanitized = self._has_sanitizer()
        self.counts = {"pass": 0, "reference": 0, "open": 0, "FAIL": 0}
        self.worlds = {}  # by name, once they were needed; None: it did not begin
        self.failed = set()

    def _has_sanitizer(self):
        with open(os.path.join(self.build, "CMakeCache.txt"), encoding="utf-8") as cache:
            return any(line.startswith("SANITIZE:") and line.rstrip().split("=")[1] for line in cache)

    def known_ctests(self):
        listing = subprocess.run(["ctest", "--test-dir", self.build, "-N"], check=True, timeout=WAIT,
                                 capture_output=True, text=True).stdout
        return {line.split(": ", 1)[1] for line in listing.splitlines() if " Test " in line}

    def enter(self, name):
        if name not in self.worlds:
            self.worlds[name] = None
            self.worlds[name] = WORLDS[name](self.build)
        assert self.worlds[name] is not None, "its world did not begin"
        return self.worlds[name]

    def run(self, row):
        world = self.enter(row.world)
        before = world.memory_kib()
        row.function(world)
        world.check()
        growth = world.memory_kib() - before
        assert self.is_sanitized or growth < GROWTH_KIB_MAX, f"netlockd has grown by {growth} KiB"

    def judge(self, row, known):
        if row.open_because:
            return "open", row.open_because
        if row.covered_by:
            for test in row.covered_by:
                check_reference(test, known)
            return "reference", "ctest " + ", ".join(row.covered_by)
        start = time.monotonic()
        self.run(row)
        return "pass", f"{time.monotonic() - start:.1f} s"

    def show(self, row, known):
        try:
            result, why = self.judge(row, known)
        except Exception:  # pylint: disable=broad-except # a row may fail in any way
            traceback.print_exc(file=sys.stdout)
            result, why = "FAIL", "see above"
            self.failed.add(row.world)
        self.counts[result] += 1
        print(f"{row.numbers:>3}  {result:9}  {row.what} -> {row.expected}  ({why})", flush=True)

    def end(self):
        for name, world in self.worlds.items():
            try:
                if world is not None:
                    world.close(name in self.failed)
            except Exception:  # pylint: disable=broad-except
                traceback.print_exc(file=sys.stdout)
                self.counts["FAIL"] += 1


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 64
    only = sys.argv[2] if len(sys.argv) == 3 else ""
    catalogue = Catalogue(sys.argv[1])
    known = catalogue.known_ctests()
    missing = set(NUMBERS) - {row.numbers for row in ROWS}
    for row in ROWS:
        if only in f"{row.numbers} {row.what}":
            catalogue.show(row, known)
    catalogue.end()
    counts = catalogue.counts
    print(f"{counts['pass']} rows pass, {counts['reference']} are covered elsewhere, "
          f"{counts['open']} are open, {counts['FAIL']} fail"
          + (f"; no row for {sorted(missing)}" if missing else ""))
    return 1 if counts["FAIL"] or missing or not sum(counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
