#!/usr/bin/python3
"""TLS on the client port of real processes: who gets in, who does not, and what each is told.

    tests/test_tls_ports.py BUILD [PART-OF-A-NAME]

Each refusal is seen from both sides, and beside an innocent client, which holds its lock all the time."""

import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

from procs import Cluster, Suite, wait_until

BUILD = sys.argv[1]
test = Suite()
WAIT = 60


def make_cert(cluster, name, *keys):
    subprocess.run([os.path.join(BUILD, "tests", "make_cert"), cluster.directory, name, *keys],
                   check=True, timeout=WAIT)


def tls_cluster(**options):
    return Cluster(build=BUILD, tls=True, options={"log-level": "debug", **options})


def wait_log(cluster, words, after=0):
    """The log of node 1 says @words, behind its first @after characters."""
    wait_until(lambda: words in cluster.log_text(1)[after:], WAIT, f"the log says: {words}")


class Innocent:
    """Holds a lock for as long as the body runs, and must not notice anything."""

    def __init__(self, cluster):
        self.cluster = cluster

    def __enter__(self):
        self.process = self.cluster.spawn("run", "innocent", "--", "sh", "-c",
                                          "echo held; read line; exit 3")
        assert self.process.stdout.readline() == "held\n"
        return self

    def __exit__(self, kind, error, trace):
        out, err = self.process.communicate("go\n", timeout=WAIT)
        if kind is None:
            assert self.process.returncode == 3, (out, err)


def connect(cluster):
    host, port = cluster.address(1).rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=WAIT)


def context(cluster, certificate=None, ca="ca"):
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    result.load_verify_locations(cluster.file(f"{ca}.pem"))
    if certificate:
        result.load_cert_chain(cluster.file(f"{certificate}.pem"),
                               cluster.file(f"{certificate}.key"))
    return result


def secure(cluster, certificate):
    return context(cluster, certificate).wrap_socket(connect(cluster), server_hostname="127.0.0.1")


def assert_stranger_refused(cluster, how, log_says, name=""):
    """A client that is not ours, with the TLS context @how: the server ends it and says why."""
    with Innocent(cluster):
        after = len(cluster.log_text(1))
        refused = False
        try:
            with how.wrap_socket(connect(cluster), server_hostname="127.0.0.1") as stranger:
                # In TLS 1.3 a client learns what the server says to its certificate by reading.
                refused = stranger.recv(100) == b""
        except (ssl.SSLError, ConnectionError):
            refused = True
        assert refused, f"{name}: the server went on"
        wait_log(cluster, log_says, after)


def assert_run_refused(cluster, flags, status, says):
    """Our own command line with other certificates; says is on its stderr."""
    with Innocent(cluster):
        run = subprocess.run([*Cluster.command(cluster), *flags, "--timeout", "1s", "status", "x"],
                             capture_output=True, text=True, timeout=WAIT, check=False,
                             env=cluster.environment(), stdin=subprocess.DEVNULL)
        assert run.returncode == status, run
        assert says in run.stderr, run


# ---- who gets in


@test
def certificates_by_flags_and_environment():
    with tls_cluster() as cluster:
        cluster.start()
        assert cluster.netlock("run", "job", "--", "true").returncode == 0
        plain = [os.path.join(BUILD, "src", "netlock"), "--servers", cluster.servers]
        environment = cluster.environment(NETLOCK_TLS_CA=cluster.file("ca.pem"),
                                          NETLOCK_TLS_CERT=cluster.file("client-tester.pem"),
                                          NETLOCK_TLS_KEY=cluster.file("client-tester.key"))
        for command in (["run", "job", "--", "true"], ["cluster", "status", "--verify"]):
            run = subprocess.run([*plain, *command], env=environment, capture_output=True,
                                 timeout=WAIT, check=False)
            assert run.returncode == 0, run


@test
def three_nodes_and_their_leader_is_found():
    with Cluster(nodes=3, build=BUILD, tls=True) as cluster:
        cluster.start()
        for _ in range(3):
            assert cluster.netlock("run", "job", "--", "true").returncode == 0
        cluster.kill9(cluster.leader())
        assert cluster.netlock("--timeout", "60s", "run", "job", "--", "true",
                               timeout=120).returncode == 0


# ---- who does not


@test
def a_plain_client_is_told_that_tls_is_wanted():
    with tls_cluster() as cluster:
        cluster.start()
        with Innocent(cluster):
            flags, cluster._flags = cluster._flags, []
            run = cluster.netlock("--timeout", "1s", "status", "x")
            cluster._flags = flags
            assert run.returncode == 76 and "it wants TLS" in run.stderr, run
            wait_log(cluster, "the other side does not speak TLS")


@test
def plain_text_is_answered_with_an_alert():
    with tls_cluster() as cluster:
        cluster.start()
        with Innocent(cluster):
            for text in (b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
                         struct.pack(">I", 30) + b"\x0a\x05hello" + bytes(23)):
                with connect(cluster) as stranger:
                    stranger.sendall(text)
                    got = b""
                    while piece := stranger.recv(100):
                        got += piece
                    assert got[:1] == b"\x15", got


@test
def a_tls_client_at_a_plain_port_is_told():
    with tls_cluster() as secured, Cluster(build=BUILD) as cluster:
        cluster.start()
        flags = secured.tls_flags("client-tester")
        assert_run_refused(cluster, flags, 69, "may not want TLS")
        wait_log(cluster, "it speaks TLS, and this port is plain")


@test
def no_certificate_is_refused():
    with tls_cluster() as cluster:
        cluster.start()
        assert_stranger_refused(cluster, context(cluster), "did not return a certificate")


@test
def tls_1_2_is_refused():
    with tls_cluster() as cluster:
        cluster.start()
        old = context(cluster, "client-tester")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert_stranger_refused(cluster, old, "unsupported protocol")


@test
def certificates_that_are_not_good_are_refused():
    cases = {
        "stranger": (["ca=other-ca", "usage=client"], "unable to get local issuer certificate"),
        "old": (["ca=ca", "usage=client", "from=-1000", "for=500"], "certificate has expired"),
        "future": (["ca=ca", "usage=client", "from=5000"], "certificate is not yet valid"),
        "server": (["ca=ca", "usage=server"], "unsuitable certificate purpose"),
        "unused": (["ca=ca", "usage=none"], "unsuitable certificate purpose"),
        "odd": (["ca=ca", "usage=client", "uri=netlock://test/node/x"], "netlock:// name"),
        "foreign": (["ca=ca", "usage=client", "uri=netlock://prod/client/bob"],
                    'certificate-of-cluster="prod"'),
    }
    with tls_cluster() as cluster:
        make_cert(cluster, "other-ca")
        for name, (keys, says) in cases.items():
            make_cert(cluster, name, *keys)
            cluster.restart(1)  # the log bounds what a stranger can make it say
            cluster.wait_serving()
            assert_stranger_refused(cluster, context(cluster, name), says, name)


@test
def our_own_client_says_why_it_is_refused():
    with tls_cluster() as cluster:
        cluster.start()
        make_cert(cluster, "other-ca")
        make_cert(cluster, "stranger", "ca=other-ca", "usage=client")
        with open(cluster.file("both.pem"), "w", encoding="ascii") as both:
            for name in ("ca", "other-ca"):
                with open(cluster.file(f"{name}.pem"), encoding="ascii") as one:
                    both.write(one.read())
        assert_run_refused(cluster, cluster.tls_flags("stranger", ca="both"), 69,
                           "the other side refuses: unknown CA")
        assert_run_refused(cluster, cluster.tls_flags("stranger", ca="other-ca"), 69,
                           "its certificate is refused")
        make_cert(cluster, "old", "ca=ca", "usage=client", "from=-1000", "for=500")
        assert_run_refused(cluster, cluster.tls_flags("old"), 64, "certificate has expired")
        os.chmod(cluster.file("client-tester.key"), 0o644)
        flags, cluster._flags = cluster._flags, []
        run = cluster.netlock(*flags, "status", "x")
        assert run.returncode != 0 and "chmod 600" in run.stderr, run


@test
def a_server_of_another_name_is_refused():
    with tls_cluster() as cluster:
        for kind in ("pem", "key"):
            os.remove(cluster.file(f"node1.{kind}"))
        make_cert(cluster, "node1", "ca=ca", "usage=both", "uri=netlock://test/node/1",
                  "host=node1.example")
        cluster.start_node(1)
        wait_log(cluster, "role=serving")
        run = cluster.netlock("--timeout", "1s", "status", "x")
        assert run.returncode == 69 and "IP address mismatch" in run.stderr, run


@test
def an_end_without_a_close_is_no_end():
    with tls_cluster() as cluster:
        cluster.start()
        cut = secure(cluster, "client-tester")
        cut.sendall(struct.pack(">I", 0))
        socket.socket(fileno=cut.detach()).close()  # a FIN, and no close of TLS before it
        wait_log(cluster, "the connection was cut off")


# ---- the node's own certificates


@test
def a_node_refuses_to_start_with_bad_certificates():
    def refused(cluster, says):
        cluster.start_node(1)
        wait_until(lambda: not cluster.is_running(1), WAIT, "the node ends")
        assert cluster.stop(1) is None
        assert says in cluster.log_text(1), cluster.log_text(1)

    with tls_cluster() as cluster:
        os.chmod(cluster.file("node1.key"), 0o604)
        refused(cluster, "others can read or write this key")
        os.chmod(cluster.file("node1.key"), 0o600)
        for name, says in (("node2", "does not name this node"), ("client-tester", "serverAuth")):
            if name == "node2":
                cluster._certify("node", "2", "127.0.0.1")
            for kind in ("pem", "key"):
                shutil.copy(cluster.file(f"{name}.{kind}"), cluster.file(f"node1.{kind}"))
            refused(cluster, says)
        os.remove(cluster.file("node1.pem"))
        refused(cluster, "node1.pem: No such file")


def serial(cluster):
    with secure(cluster, "client-tester") as client:
        return client.getpeercert()["serialNumber"]


@test
def certificates_are_replaced_while_clients_stay():
    with tls_cluster() as cluster:
        cluster.start()
        with Innocent(cluster):
            hellos = cluster.log_text(1).count("client-hello")
            first = serial(cluster)
            after = len(cluster.log_text(1))
            for kind in ("pem", "key"):
                os.remove(cluster.file(f"node1.{kind}"))
            cluster._certify("node", "1", "127.0.0.1")
            assert serial(cluster) == first
            cluster.hangup(1)
            wait_log(cluster, "reloaded", after)
            second = serial(cluster)
            assert second != first

            # What cannot be used leaves the old one in use, and the log says why.
            for text in ("", "nonsense\n"):
                with open(cluster.file("node1.pem"), "w", encoding="ascii") as file:
                    file.write(text)
                after = len(cluster.log_text(1))
                cluster.hangup(1)
                wait_log(cluster, "reload-refused", after)
                assert "no certificate in PEM form" in cluster.log_text(1)[after:]
                assert serial(cluster) == second
            # The innocent's connection is the first one still: it never said Hello again.
            assert cluster.log_text(1).count("client-hello") == hellos, cluster.log_text(1)


@test
def a_reload_while_a_node_stops_is_harmless():
    with tls_cluster() as cluster:
        cluster.start()
        clients = [connect(cluster) for _ in range(100)]
        cluster.signal(1, signal.SIGTERM)
        for _ in range(100):
            cluster.hangup(1)
            time.sleep(0.002)
        # Behind its last turn nothing handles signals any more: then it may end by this one.
        status = cluster._nodes[1].process.wait(WAIT)
        assert status in (0, -signal.SIGHUP), cluster.log_text(1)
        for client in clients:
            client.close()


if __name__ == "__main__":
    sys.exit(test.run(sys.argv[2] if len(sys.argv) > 2 else ""))
