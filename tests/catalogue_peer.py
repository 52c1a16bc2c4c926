"""Rows 44 to 56 of catalogue.py: the peer ports of two nodes of three, the third of which is whoever speaks
here. The layouts are those of cluster/transport_handshake.h and of libraft 0.22.1."""

import contextlib
import random
import socket
import struct

from catalogue_rows import (DENIED, DENY_HELD, ERROR, GRANTED, WAIT, Innocent, Talker, covered, expect,
                            resident_kib, row, wait_log)
from procs import Cluster, wait_until

SEED = 20261202
WELCOME, WRONG_VERSION, WRONG_CLUSTER, WRONG_NODE, OWN_ID, STRANGER, TOO_MANY = range(7)
SHUT_OUT = 8
APPEND, APPEND_RESULT, VOTE, VOTE_RESULT, INSTALL, TIMEOUT_NOW = range(1, 7)
ABSENT = 3      # the member that we pass for
TERM = 1 << 20  # above every term that there is, and believable
NOT_LEADER = 1
KILLER_COUNT, POISONOUS_TERM = 100000000, 1 << 62


class PeerWorld:
    """Nodes 1 and 2 of three."""

    def __init__(self, build):
        self.cluster = Cluster(nodes=3, build=build, options={"leader-lease": "2s"})
        try:
            for number in (1, 2):
                self.cluster.start_node(number)
            self.cluster.wait_serving()
        except BaseException:
            self.cluster.close(keep=True)
            raise
        self.processes = {number: self.cluster.pid(number) for number in (1, 2)}
        self.innocent = self.cluster.spawn("run", Innocent.LOCK, "--", "sh", "-c",
                                           "echo held; read line; exit 3")
        assert self.innocent.stdout.readline() == "held\n"

    def memory_kib(self):
        return sum(resident_kib(pid) for pid in self.processes.values())

    def state(self, number):
        """Of a node by its own account: fields of ClusterStatusResponse."""
        with Talker(self.cluster.address(number)) as talker:
            return expect(talker.ask("ClusterStatusRequest"), "ClusterStatusResponse").fields

    def check(self):
        for number in (1, 2):
            assert self.cluster.is_running(number), self.cluster.log_text(number)[-2000:]
            term = self.state(number)[5]
            assert term < TERM, f"node {number} is in term {term}"
        assert self.innocent.poll() is None, "the innocent client lost its lock"
        leader = self.cluster.leader(WAIT)
        with Talker(self.cluster.address(leader)) as newcomer:
            expect(newcomer.lock(Innocent.LOCK), DENIED, f100=DENY_HELD)
            expect(newcomer.lock("newcomer"), GRANTED)

    def close(self, failed):
        try:
            out, err = self.innocent.communicate("go\n", timeout=WAIT)
            assert self.innocent.returncode == 3, (out, err)
            for number in (1, 2):
                status = self.cluster.stop(number)
                assert status == 0, f"node {number} ended with {status}"
        finally:
            self.cluster.close(keep=failed)


# ---- a peer that is none


class Peer:
    def __init__(self, world, number):
        self.world, self.number = world, number
        host, port = world.cluster._nodes[number].peer.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def read(self, count):
        """What comes until there are @count bytes, or the end."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while len(data) < count and (piece := self.socket.recv(count - len(data))):
                data += piece
        return data

    def expect_closed(self):
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass

    def hello(self, origin=ABSENT, target=None, version=1, cluster=b"test", address=b"127.0.0.1:1",
              lengths=None):
        """The verdict, or None if there is none."""
        lengths = lengths or (len(cluster), len(address))
        self.send(b"NLKP" + struct.pack(">IQQHH", version, origin, target or self.number, *lengths)
                  + cluster + address)
        reply = self.read(22)
        if len(reply) < 22:
            return None
        assert reply[:4] == b"NLKR", reply
        self.reason = self.read(struct.unpack(">H", reply[20:])[0]).decode()
        return struct.unpack(">I", reply[16:20])[0]


def refused_hello(world, verdict, **hello):
    with Peer(world, 1) as peer:
        assert peer.hello(**hello) == verdict, (verdict, hello)
        assert verdict is None or peer.reason, "no reason"
        peer.expect_closed()


@contextlib.contextmanager
def member(world, number):
    """A connection as the absent member, as soon as it is let in: for a second after a wrong word it is not."""
    found = []

    def welcome():
        peer = Peer(world, number)
        verdict = peer.hello()
        if verdict == WELCOME:
            found.append(peer)
            return True
        peer.socket.close()
        assert verdict in (SHUT_OUT, TOO_MANY), (verdict, peer.reason)
        return False
    wait_until(welcome, WAIT, "node 3 is let in", every=0.1)
    with found[0] as peer:
        yield peer


def message(kind, *words, version=None, length=None):
    """@words of 8 bytes, or bytes."""
    body = b"".join(word if isinstance(word, bytes) else struct.pack("<Q", word) for word in words)
    version = version if version is not None else 2 if kind in (2, 3, 4) else 0
    return struct.pack("<BBB5xQ", kind, 0, version, len(body) if length is None else length) + body


def append(term, count=0, extra=b""):
    return message(APPEND, term, 0, 0, 0, count, extra, 0)


def refused_messages(world, *messages):
    """Said by the absent member to each node in turn: the connection ends. The log, which is bounded,
    has the first of them at least."""
    for i, data in enumerate(messages):
        number = 1 + i % 2
        with member(world, number) as peer:
            peer.send(data)
            peer.expect_closed()
        wait_log(world.cluster, number, "refused a message")


# ---- the door


@row(44, "random bytes, HTTP, at the peer port", "closed at the first wrong byte", "peer")
def _(world):
    for data in (random.Random(SEED).randbytes(1 << 20), b"GET / HTTP/1.1\r\n\r\n"):
        for number in (1, 2):
            with Peer(world, number) as peer:
                peer.send(data)
                peer.expect_closed()


@row(45, "versions 0 and 2 of the handshake", "refused, ours is named", "peer")
def _(world):
    for version in (0, 2):
        refused_hello(world, WRONG_VERSION, version=version)


@row(46, "announced lengths of 0 and 65535", "closed, nothing is waited for", "peer")
def _(world):
    for lengths in ((0, 11), (4, 0), (65535, 11), (4, 65535)):
        refused_hello(world, None, lengths=lengths)


@row(47, "a stranger's id, the node's own, a hello for another node", "refused with the reason", "peer")
def _(world):
    refused_hello(world, STRANGER, origin=77)
    refused_hello(world, OWN_ID, origin=1)
    refused_hello(world, WRONG_NODE, target=2)
    refused_hello(world, None, origin=0)


covered(47, "the id of a live peer, with the certificate of another", "refused",
        "transport_tls:the_certificate_of_another_node_is_refused",
        "raft_node_tls:a_node_with_the_certificate_of_another_stays_out")


# ---- messages


covered(48, "a count of 10^8 without entries, to a plain libraft", "kills it",
        "peer_attack:a_count_without_entries_kills_a_plain_libraft")


@row(48, "a count of 10^8 without entries", "closed", "peer")
def _(world):
    refused_messages(world, append(1, KILLER_COUNT), append(1, 1), append(1, 1 << 63))


covered(49, "term 2^62 of a stranger, to a plain libraft", "becomes its term",
        "peer_attack:a_stranger_can_take_a_plain_libraft_to_the_end_of_terms")


@row(49, "term 2^62 of a stranger", "not let in", "peer")
def _(world):
    with Peer(world, 1) as peer:
        assert peer.hello(origin=77) == STRANGER
        peer.send(append(POISONOUS_TERM))
        peer.expect_closed()


@row(49, "terms 2^62 and 2^40 of a member", "closed, no term changes", "peer")
def _(world):
    refused_messages(world, append(POISONOUS_TERM), append(POISONOUS_TERM), append(1 << 40),
                     message(VOTE, 1 << 40, ABSENT, 0, 0, 0))


@row(50, "types 0, 7, 255; heads of 0 and 2^40 bytes", "closed", "peer")
def _(world):
    refused_messages(world, *(message(kind, 1, 0, 0, version=0) for kind in (0, 7, 255)),
                     message(APPEND, length=0), message(APPEND, length=1 << 40))


@row(51, "a payload behind a message that has none", "closed", "peer")
def _(world):
    refused_messages(world, message(VOTE, 1, ABSENT, 0, 0, 0, b"payload!"),
                     append(1, 0, b"payload."))


def install(size, data=b""):
    members = struct.pack("<BQQ", 1, 1, ABSENT) + b"127.0.0.1:1\0" + b"\1"
    members += bytes(-len(members) % 8)
    return message(INSTALL, TERM - 1, 100, 1, 1, len(members), members, size, 0) + data


@row(52, "a snapshot of 2^50 bytes; one that is none", "closed, the state stays", "peer")
def _(world):
    refused_messages(world, install(1 << 50), install(1 << 12, b"\xde\xad\xbe\xef" * 1024))


def hurry(world):
    """Whether term and leader stay when the follower is told a thousand times to stand for election."""
    leader = world.cluster.leader(WAIT)
    follower = 3 - leader
    before = world.state(follower)
    with member(world, follower) as peer:
        peer.send(message(TIMEOUT_NOW, before[5], before[11], before[5]) * 1000)
        peer.send(append(POISONOUS_TERM))  # what is refused shows that all before it was read
        peer.expect_closed()
    after = world.state(follower)
    return (after[5], after.get(6)) == (before[5], before.get(6))


@row(53, "TimeoutNow a thousand times, of one who does not lead", "no election", "peer")
def _(world):
    # A slow machine may elect for reasons of its own, but not each time.
    assert any(hurry(world) for _ in range(5)), "it stood for election"


covered(54, "an entry that cannot be read is committed", "the node stops, it does not skip",
        "replica_agreement:a_damaged_entry_stops_the_node_and_says_why",
        "entry:no_bytes_harm_the_reader", "replica:a_command_that_no_entry_can_carry_is_refused")


@row(55, "a node of another cluster", "refused, both sides say so", "peer")
def _(world):
    after = len(world.cluster.log_text(1))
    refused_hello(world, WRONG_CLUSTER, cluster=b"prod")
    wait_log(world.cluster, 1, "prod", after)


@row(56, "a fifth connection of one peer; 100 silent ones", "refused until one ends", "peer")
def _(world):
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(member(world, 1))
        with Peer(world, 1) as fifth:
            assert fifth.hello() == TOO_MANY
        silent = [stack.enter_context(Peer(world, 2)) for _ in range(100)]
        world.check()
        for peer in silent[:64]:
            peer.expect_closed()  # at the deadline of the handshake
    with member(world, 2):
        pass


# ---- clients of a node that does not lead


@row(41, "a request to a follower", "NOT_LEADER with the leader's address; a plain one is closed",
     "peer")
def _(world):
    leader = world.cluster.leader(WAIT)
    with Talker(world.cluster.address(3 - leader)) as talker:
        for _ in range(10):
            said = expect(talker.lock("a"), ERROR, f1=NOT_LEADER)
        assert said.fields[4].decode() == world.cluster.address(leader), said
    with Talker(world.cluster.address(3 - leader), hello=False) as plain:
        plain.say("LockRequest")
        assert plain.read() is None
