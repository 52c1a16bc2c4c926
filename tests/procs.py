"""Real netlockd processes for tests: a cluster on loopback, started, killed and frozen at will.

    with Cluster(nodes=3, build="build") as cluster:
        cluster.start()                       # waits until a leader serves
        cluster.netlock("run", "job", "--", "true")
        cluster.kill9(cluster.leader())

Nodes are numbered from 1. Only processes started here are ever signalled, by their pid. Without
@directory a temporary one is used; it is kept, and named on stdout, if the body of the `with` raised
or called keep(). Standard library only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from kept_port import HOST, Port


def wait_until(condition, timeout, what, every=0.02):
    """The first true value of @condition(); raises after @timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(every)


class Node:
    def __init__(self, number, directory):
        self.number = number
        self.config = os.path.join(directory, f"node{number}.conf")
        self.data = os.path.join(directory, f"node{number}")
        self.log = os.path.join(directory, f"node{number}.log")
        self.client, self.peer = Port(), Port()
        self.process = None
        self.binary = None  # None: that of the build

    def is_running(self):
        return self.process is not None and self.process.poll() is None


class Cluster:
    def __init__(self, nodes=1, build="build", directory=None, options=None, name="test", tls=False):
        """@options: more keys for every node's configuration file. @tls: certificates are made, and
        netlock() and spawn() use that of the client "tester"."""
        self.name = name
        self.build = os.path.abspath(build)
        self._is_temporary = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="netlock-test-")
        self._keep = False
        self._nodes = {n: Node(n, self.directory) for n in range(1, nodes + 1)}
        self._flags = []
        for node in self._nodes.values():
            self._write_config(node, {**(options or {}), **self._node_tls(node, tls)})
        if tls:
            self._certify("client", "tester")
            self._flags = self.tls_flags("client-tester")

    def _certify(self, *what):
        subprocess.run([os.path.join(self.build, "src", "netlock"), "tls", what[0], "--dir",
                        self.directory, *what[1:]], check=True, stdout=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, timeout=60)

    def _node_tls(self, node, tls):
        if not tls:
            return {}
        if node.number == 1:
            self._certify("init", self.name)
        self._certify("node", str(node.number), HOST)
        return {"tls-ca": self.file("ca.pem"), "tls-cert": self.file(f"node{node.number}.pem"),
                "tls-key": self.file(f"node{node.number}.key")}

    def file(self, name):
        """A path in the cluster's directory."""
        return os.path.join(self.directory, name)

    def tls_flags(self, name, ca="ca"):
        """For the command line to be the client whose certificate is NAME.pem."""
        return ["--tls-ca", self.file(f"{ca}.pem"), "--tls-cert", self.file(f"{name}.pem"),
                "--tls-key", self.file(f"{name}.key")]

    def _write_config(self, node, options):
        lines = [f"node-id = {node.number}", f"cluster = {self.name}", f"data-dir = {node.data}",
                 f"listen = {node.client.address}", f"peer-listen = {node.peer.address}"]
        lines += [f"member = {n.number} {n.peer.address} {n.client.address}"
                  for n in self._nodes.values()]
        lines += [f"{key} = {value}" for key, value in options.items()]
        with open(node.config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def new_node(self, number, name=None, tls=False, **options):
        """One that waits to be added, as `netlock cluster add` wants it: (id, peer address, client address)."""
        node = self._nodes[number] = Node(number, self.directory)
        lines = [f"node-id = {number}", f"cluster = {name or self.name}", f"data-dir = {node.data}",
                 f"listen = {node.client.address}", f"peer-listen = {node.peer.address}", "join = yes"]
        lines += [f"{key} = {value}" for key, value in {**options, **self._node_tls(node, tls)}.items()]
        with open(node.config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return str(number), node.peer.address, node.client.address

    def servers_of(self, *numbers):
        return ",".join(self._nodes[number].client.address for number in numbers)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close(keep=kind is not None)

    # ---- life of nodes

    def start(self):
        for number in self._nodes:
            self.start_node(number)
        self.wait_serving()

    def start_node(self, number):
        """Does not wait: alone it may have no quorum to serve with."""
        node = self._nodes[number]
        assert not node.is_running(), f"node {number} runs already"
        with open(node.log, "ab") as log:
            node.process = subprocess.Popen(
                [node.binary or os.path.join(self.build, "src", "netlockd"), "--config", node.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def kill9(self, number):
        self._end(number, signal.SIGKILL)

    def stop(self, number):
        """As an operator would; returns its exit status."""
        return self._end(number, signal.SIGTERM)

    def restart(self, number):
        self.stop(number)
        self.start_node(number)

    def hangup(self, number):
        """Let it read its certificates anew."""
        self._nodes[number].process.send_signal(signal.SIGHUP)

    def signal(self, number, which):
        self._nodes[number].process.send_signal(which)

    def pause(self, number):
        self._nodes[number].process.send_signal(signal.SIGSTOP)

    def cont(self, number):
        self._nodes[number].process.send_signal(signal.SIGCONT)

    def _end(self, number, how):
        node = self._nodes[number]
        if not node.is_running():
            return None
        node.process.send_signal(how)
        node.process.send_signal(signal.SIGCONT)
        try:
            return node.process.wait(60)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
            raise AssertionError(f"node {number} did not end in 60 s") from None

    def use_binary(self, number, path):
        """From its next start on."""
        self._nodes[number].binary = path

    def pid(self, number):
        return self._nodes[number].process.pid

    def is_running(self, number):
        return self._nodes[number].is_running()

    def config(self, number):
        return self._nodes[number].config

    def data(self, number):
        return self._nodes[number].data

    def keep(self):
        """Leave the directory with logs and data behind."""
        self._keep = True

    def close(self, keep=False):
        for node in self._nodes.values():
            if node.is_running():
                node.process.kill()
                node.process.wait()
            node.client.close()
            node.peer.close()
        if keep or self._keep:
            print(f"logs and data are in {self.directory}", flush=True)
        elif self._is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- looking

    @property
    def servers(self):
        return ",".join(node.client.address for node in self._nodes.values())

    def address(self, number):
        return self._nodes[number].client.address

    def log_text(self, number):
        with open(self._nodes[number].log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def status(self):
        """What `netlock cluster status --json` says, or None if that is nothing."""
        run = self.netlock("cluster", "status", "--json", "--timeout", "3s")
        try:
            return json.loads(run.stdout)
        except ValueError:
            return None

    def leader(self, timeout=90):
        """The number of the node that serves; waits for one."""
        return wait_until(lambda: (self.status() or {}).get("leader_id"), timeout,
                          "a leader serves")

    def wait_serving(self, timeout=90):
        def serving():
            for node in self._nodes.values():
                if node.process is not None and node.process.poll() is not None:
                    raise AssertionError(f"node {node.number} ended with {node.process.poll()}: "
                                         + self.log_text(node.number)[-2000:])
            return (self.status() or {}).get("leader_id")
        wait_until(serving, timeout, "a leader serves")

    # ---- clients

    def command(self, *arguments):
        return [os.path.join(self.build, "src", "netlock"), "--servers", self.servers, *self._flags,
                *arguments]

    def environment(self, **more):
        """Ours without what netlock would read, so that a test says all it depends on."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("NETLOCK_")}
        return {**clean, **more}

    def netlock(self, *arguments, env=None, timeout=60, **kwargs):
        """Run the command line to its end: a CompletedProcess with texts."""
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(*arguments), capture_output=True, text=True,
                              timeout=timeout, env=self.environment(**(env or {})), **kwargs)

    def spawn(self, *arguments, env=None, **kwargs):
        """Start the command line: a Popen with text pipes. The caller waits for it."""
        for stream in ("stdin", "stdout", "stderr"):
            kwargs.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen(self.command(*arguments), text=True,
                                env=self.environment(**(env or {})), **kwargs)


class Suite:
    """Tests are functions without arguments, marked by calling the suite as a decorator."""

    def __init__(self):
        self._tests = []

    def __call__(self, function):
        self._tests.append(function)
        return function

    def run(self, only="", on_failure=None):
        """Print what fails and 'N passed, N failed'; returns an exit status. @only: part of a name."""
        passed, failed = 0, 0
        for function in self._tests:
            if only not in function.__name__:
                continue
            start = time.monotonic()
            try:
                function()
            except Exception:  # pylint: disable=broad-except # a test may fail in any way
                failed += 1
                print(f"FAIL {function.__name__}", flush=True)
                traceback.print_exc(file=sys.stdout)
            else:
                passed += 1
                print(f"ok   {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
        if failed and on_failure:
            on_failure()
        print(f"{passed} passed, {failed} failed", flush=True)
        return 1 if failed or passed == 0 else 0
