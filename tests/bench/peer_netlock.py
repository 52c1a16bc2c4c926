"""netlock for `run-peer`, beside the servers that it is compared with; PEERS_PATH names this directory.

Three nodes with the defaults of netlockd, built in $NETLOCK_BUILD (or build/ of this tree). Modes:
`own`, each client on a connection of its own, and `shared`, where 64 of them share one."""

import json
import os
import subprocess

import peerlib

SELF = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(SELF))
BUILT = os.path.abspath(os.environ.get("NETLOCK_BUILD", os.path.join(ROOT, "build")))


class PEER(peerlib.Peer):
    name = "netlock"
    modes = ["own", "shared"]
    contend_modes = ["own"]
    base = 26501

    def build(self):
        library = os.path.join(BUILT, "src", "libnetlock.a")
        self.bin = os.path.join(peerlib.BUILD, "netlock_client")
        os.makedirs(peerlib.BUILD, exist_ok=True)
        subprocess.check_call(
            ["gcc", "-O2", "-Wall", "-Wextra", "-I" + peerlib.HERE,
             "-I" + os.path.join(ROOT, "src"), os.path.join(SELF, "peer_client.c"), library,
             "-lprotobuf-c", "-lssl", "-lcrypto", "-lpthread", "-o", self.bin])

    def address(self, i):
        return "127.0.0.1:%d" % (self.base + i)

    def command(self, i, d):
        config = os.path.join(d, "netlockd.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write("node-id = %d\ncluster = bench\ndata-dir = %s\nlisten = %s\npeer-listen = %s\n"
                       % (i + 1, os.path.join(d, "data"), self.address(i), self.address(i + 10)))
            for n in range(self.nodes):
                file.write("member = %d %s %s\n" % (n + 1, self.address(n + 10), self.address(n)))
            file.write(os.environ.get("NETLOCKD_OPTIONS", "").replace(";", "\n") + "\n")
        return [os.path.join(BUILT, "src", "netlockd"), "--config", config]

    def status(self):
        run = subprocess.run(
            [os.path.join(BUILT, "src", "netlock"), "--servers", self.endpoints(), "--timeout", "1s",
             "cluster", "status", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return json.loads(run.stdout)

    def ready(self):
        return bool(self.status().get("leader_id"))

    def leader(self):
        return self.status()["leader_id"] - 1

    def endpoints(self):
        return ",".join(self.address(i) for i in range(self.nodes))

    def client(self):
        return [self.bin]
