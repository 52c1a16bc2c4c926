"""One run: cluster, clients, faults, the end, and the folder with all of it.

Phases: (A) clients and faults together; (B) everything is healed and the clients finish; (C) fresh clients
take every lock, the nodes compare their states, and stop. Then the checkers look at what was recorded."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import workload_list
from .nemesis import World
from .nemesis_list import NEMESES
from .nodes import Cluster
from .probe import probe
from .proxy import ProxyNetwork
from .recorder import Recorder, monotonic_ns

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(os.path.dirname(HERE), "tests"))
from kept_port import HOST, Port  # noqa: E402

GRACE_MS = 6000
FINISH_SECONDS = 90   # for the clients, after everything was healed
WORKERS = 2
MEMORY = "/dev/shm"


class Workers:
    """The client processes of a run. Their number is their name in the history."""

    def __init__(self, run, until):
        self.run, self.until = run, until
        self.processes = {}
        self._next = 0

    def start(self, clients):
        self._next += 1
        number = self._next
        run = self.run
        group = "c0" if number % 2 else "c1"
        config = {"proc": number, "seed": run.options.seed, "workload": run.options.workload,
                  "clients": clients, "history": run.path("history", f"p{number}.jsonl"),
                  "addresses": run.addresses(group),
                  "client": run.options.client, "build": run.build,
                  "grace_ms": GRACE_MS, "until_ns": int(self.until * 1e9), "directory": run.directory}
        path = run.path("processes", f"p{number}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        with open(run.path("processes", f"p{number}.log"), "wb") as log:
            self.processes[number] = (subprocess.Popen(
                [*run.client_prefix(group), sys.executable, "-B", "-m", "harness.worker", path], cwd=HERE,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log), clients)
        return number

    def running(self):
        return [n for n, (process, _clients) in self.processes.items() if process.poll() is None]

    def kill(self, number, recorder):
        """It lived when the signal was sent, and is dead when the line is written. Its kernel closes its connections
        in between: a node may have given its locks to others before we know that it is dead."""
        process, _clients = self.processes[number]
        sent = monotonic_ns()
        process.kill()
        process.wait()
        recorder.write("killed", victim=number, s=sent)

    def clients_of(self, number):
        return self.processes[number][1]

    def wait(self, seconds):
        """Returns the numbers of processes that did not end; they are killed."""
        end = time.monotonic() + seconds
        stuck = []
        for number, (process, _clients) in self.processes.items():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                stuck.append(number)
                process.kill()
                process.wait()
        return stuck

    def failed(self):
        """Those that ended otherwise than they should, or than a nemesis wanted it."""
        return [n for n, (process, _clients) in self.processes.items()
                if process.returncode not in (0, -signal.SIGKILL)]


class Run:
    """@options: the command line of jepsen/run."""

    def __init__(self, options):
        self.options = options
        self.build = os.path.abspath(options.build)
        self.directory = os.path.abspath(options.out)
        for folder in ("processes", "nodes"):
            os.makedirs(self.path(folder), exist_ok=True)
        self._keep_in_memory("history", "sets")
        self.groups = ["c0", "c1"]
        self.facts = {"unexpected": [], "stuck": [], "failed": [], "hashes": {}, "probes": {}, "errors": [],
                      "resources": {}}

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def _keep_in_memory(self, *folders):
        """Until the end: clients that wait for the disks that nodes sync would measure those, and be late."""
        self._memory = tempfile.mkdtemp(prefix="netlock-jepsen-", dir=MEMORY if os.path.isdir(MEMORY) else None)
        for folder in folders:
            os.mkdir(os.path.join(self._memory, folder))
            os.symlink(os.path.join(self._memory, folder), self.path(folder))

    def _bring_home(self):
        for folder in os.listdir(self._memory):
            os.unlink(self.path(folder))
            shutil.move(os.path.join(self._memory, folder), self.path(folder))
        os.rmdir(self._memory)

    def addresses(self, group):
        return {n: self.network.client_address(group, n) for n in self.cluster}

    # ---- the parts that differ with root

    def client_prefix(self, _group):
        """What stands before the command line of a client process."""
        return []

    def build_network(self):
        count = self.options.nodes
        self._ports = {n: (Port(), Port()) for n in range(1, count + 1)}
        where = {n: tuple((HOST, port.number) for port in pair) for n, pair in self._ports.items()}
        self.network = ProxyNetwork(where, self.groups)
        reach = {n: (self.network.client_address("c0", n), self.network.peer_address(n)) for n in where}
        return where, reach

    def tear_down(self):
        self.network.close()
        for pair in self._ports.values():
            for port in pair:
                port.close()

    # ---- phases

    def execute(self):
        where, reach = self.build_network()
        workload = workload_list.WORKLOADS[self.options.workload]
        settings = {"log-level": "info", "snapshot-threshold": 10000000, **workload.options}
        for name in self.options.nemesis.split(","):
            settings.update(NEMESES[name].settings if name != "none" else {})
        settings = {**settings, **dict(pair.split("=", 1) for pair in self.options.set)}
        self.cluster = Cluster(self.build, self.path("nodes"), where, reach, settings)
        self.control = Recorder(self.path("history", "control.jsonl"), "control")
        self.control.write("phase", name="start")
        jitter = subprocess.Popen([sys.executable, "-B", "-m", "harness.jitter",
                                   self.path("history", "jitter.jsonl")], cwd=HERE)
        try:
            self.prepare_nodes()
            self.cluster.start_all()
            if not self.cluster.leader(60):
                self.facts["errors"].append("no leader within 60 s of the start")
                return
            self._load(workload)
            self._last_phase()
        finally:
            self.cluster.look_for_the_dead()
            self.cluster.stop_all()
            self.facts["unexpected"] = self.cluster.unexpected
            self._dump_logs()
            jitter.kill()
            jitter.wait()
            self.tear_down()
            self._keep_facts()
            self._bring_home()

    def prepare_nodes(self):
        """Before the first start."""

    def _load(self, workload):
        self.control.write("phase", name="load")
        until = time.monotonic() + self.options.time
        self.workers = Workers(self, until)
        count = self.options.clients or workload.clients
        for n in range(WORKERS):
            self.workers.start(count // WORKERS + (n < count % WORKERS))
        world = World(self.cluster, self.network, self.control, self.workers, until, self.options.seed,
                      {"groups": self.groups})
        world.run = self
        threads = [NEMESES[name](world) for name in self.options.nemesis.split(",") if name != "none"]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            time.sleep(0.5)
            self.cluster.look_for_the_dead()
            self._look_at_resources()
        self.facts["load"] = os.getloadavg()[0]
        world.stopping.set()
        for thread in threads:
            thread.join(60)
            if thread.error is not None or thread.is_alive():
                self.facts["errors"].append(f"nemesis {thread.name}: {thread.error or 'does not end'}")
        self._heal()
        self.facts["stuck"] = self.workers.wait(FINISH_SECONDS)
        self.facts["failed"] = self.workers.failed()

    def _heal(self):
        self.control.write("phase", name="healed")
        self.network.cut(())
        for node in self.cluster:
            self.cluster.resume(node)
            self.cluster.start(node)

    def _last_phase(self):
        self.control.write("phase", name="probes")
        if not self.cluster.leader(60):
            self.facts["errors"].append("no leader within 60 s of the healing")
            return
        recorder = Recorder(self.path("history", "probe.jsonl"), "probe")
        locks = workload_list.WORKLOADS[self.options.workload].locks_used
        self.facts["probes"] = asyncio.run(probe(recorder, self.cluster, GRACE_MS, locks))
        self.facts["hashes"] = self._compare_states()

    def _compare_states(self):
        """Every node's hash of its state at one index: {node: (index, hash)}."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            leader = self.cluster.leader(5.0)
            status = self.cluster.status(leader, 5.0, checkpoint=True) if leader else None
            index = status["checkpoint_index"] if status else 0
            while index and time.monotonic() < end:
                found = {n: self.cluster.status(n) for n in self.cluster}
                hashes = {n: (s["checkpoint_index"], s["checkpoint_hash"]) for n, s in found.items() if s}
                if len(hashes) == len(found) and all(i == index for i, _hash in hashes.values()):
                    return hashes
                if any(i > index for i, _hash in hashes.values()):
                    break
                time.sleep(0.1)
        return {}

    def _dump_logs(self):
        for node in self.cluster.nodes.values():
            with open(os.path.join(node.directory, "dump.jsonl"), "wb") as out:
                dump = subprocess.run([self.cluster.binary, "dump-log", node.data], stdout=out,
                                      stderr=subprocess.PIPE, check=False)
            if dump.returncode != 0:
                self.facts["errors"].append(f"n{node.number} dump-log: {dump.stderr.decode()[:300].strip()}")

    def _look_at_resources(self):
        """RSS and descriptors of every node, by process: a leak shows over its life."""
        for number, node in self.cluster.nodes.items():
            if not node.is_running():
                continue
            pid = self.cluster.pid(number)
            try:
                with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                    rss = int(file.read().split()[1]) * 4
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            except (OSError, IndexError):
                continue
            self.facts["resources"].setdefault(f"n{number}/{pid}", []).append((rss, descriptors))

    def _keep_facts(self):
        with open(self.path("facts.json"), "w", encoding="utf-8") as file:
            json.dump({**self.facts, "options": vars(self.options)}, file, default=str)


def default_out(options):
    stamp = time.strftime("%Y%m%d-%H%M%S")
    nemesis = options.nemesis.replace(",", "+")
    return os.path.join(HERE, "store", f"{stamp}-{options.workload}-{nemesis}-{options.seed}")


def draw_seed():
    return random.SystemRandom().randrange(1 << 32)


def kind_for(options):
    """The class of run that the options ask for."""
    if options.net == "switch":
        from .root import RootRun  # pylint: disable=import-outside-toplevel # needs root, and only then
        return RootRun
    return Run
