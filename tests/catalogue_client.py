"""Rows 1 to 43 of catalogue.py: the client port of one plain node. @node has `address`, the `cluster` of
one node, and `token()`."""

import contextlib
import random
import resource
import socket
import struct

from catalogue_rows import (DENIED, DENY_EXPIRED, DENY_HELD, DENY_INVALID, DENY_NOT_HELD, ERROR,
                            ERROR_INVALID, ERROR_NOT_ALLOWED, ERROR_STALE_EPOCH, ERROR_TOO_LARGE,
                            ERROR_UNKNOWN_TYPE, ERROR_VERSION, GRANTED, HELD_BY_OTHER, NOT_HELD,
                            RELEASE, RELEASED, WAIT, WAITS, Talker, covered, expect, expect_closed,
                            expect_error_then_closed, row, wait_free, wait_log)
from plain_client import FRAME_BYTES_MAX, bytes_field, encode_payload, frame, number_field, varint
from procs import wait_until

SEED = 20261201
TRY, QUEUE = number_field(4, 0), number_field(4, 1)
READ, DOWNGRADE = number_field(3, 1), number_field(101, 1)
U64_MAX = (1 << 64) - 1


def lock_frame(name, more=b"", key="k"):
    return frame(encode_payload("LockRequest", bytes_field(2, name) + more, key))


def refused(node, data, code=ERROR_INVALID):
    """Who said Hello is told why before the end; a plain client sees the end only."""
    with Talker(node.address) as talker, Talker(node.address, hello=False) as plain:
        talker.send(data)
        expect_error_then_closed(talker, code)
        plain.send(data)
        expect_closed(plain)


# ---- frames


@row(1, "0 bytes, then close", "nothing is said", "client")
def _(node):
    with Talker(node.address, hello=False) as talker:
        talker.socket.shutdown(socket.SHUT_WR)
        expect_closed(talker)


@row(2, "1 byte, then silence", "closed when frame-timeout is over", "client")
def _(node):
    with Talker(node.address, hello=False) as talker, Talker(node.address) as known:
        talker.send(b"\0")
        known.send(b"\0")
        expect_closed(talker)
        expect_closed(known)


@row(3, "frames of length 0", "ignored (SPEC 2), the connection stays", "client")
def _(node):
    with Talker(node.address) as talker:
        talker.send(frame(b"") * 1000)
        expect(talker.lock("a"), GRANTED)


@row(4, "length 0xFFFFFFFF", "TOO_LARGE, closed, nothing allocated", "client")
def _(node):
    refused(node, b"\xff\xff\xff\xff", ERROR_TOO_LARGE)


@row(5, "length at the limit, and one more", "answered; TOO_LARGE, closed", "client")
def _(node):
    inside = encode_payload("ClientGetDefaultIdRequest", b"", "k")
    head = varint(15 << 3 | 2)
    payload = inside + head + varint(FRAME_BYTES_MAX - len(inside) - len(head) - 3)
    with Talker(node.address) as talker:
        talker.send(frame(payload + bytes(FRAME_BYTES_MAX - len(payload))))
        expect(talker.read(), "ClientGetDefaultIdResponse")
    refused(node, struct.pack(">I", FRAME_BYTES_MAX + 1), ERROR_TOO_LARGE)


@row(6, "a length of 11 bytes inside the message", "INVALID, closed", "client")
def _(node):
    refused(node, frame(b"\x0a" + b"\xff" * 10 + b"\x01"))


@row(7, "a request cut off, then FIN", "no effect", "client")
def _(node):
    with Talker(node.address) as talker:
        talker.send(lock_frame(b"cut")[:-1])
        talker.socket.shutdown(socket.SHUT_WR)
        expect_closed(talker)
    with Talker(node.address) as other:
        expect(other.lock("cut"), GRANTED)


@row(8, "a request byte by byte", "answered", "client")
def _(node):
    with Talker(node.address) as talker:
        talker.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in lock_frame(b"slow"):
            talker.send(bytes([byte]))
        expect(talker.read(), GRANTED)


@row(9, "1000 requests in one write", "all answered, in order", "client")
def _(node):
    with Talker(node.address) as talker:
        talker.send(b"".join(lock_frame(b"thousand", key=str(i)) for i in range(1000)))
        for i in range(1000):
            assert expect(talker.read(), GRANTED).key == str(i)


@row(10, "1 MiB of random bytes, as a frame and without", "INVALID or TOO_LARGE, closed", "client")
def _(node):
    noise = random.Random(SEED).randbytes(FRAME_BYTES_MAX)
    refused(node, frame(noise))
    refused(node, b"\xff" + noise, ERROR_TOO_LARGE)


@row(11, "HTTP, SSH, TLS", "closed; of TLS the log knows", "client")
def _(node):
    after = len(node.cluster.log_text(1))
    refused(node, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ERROR_TOO_LARGE)
    refused(node, b"SSH-2.0-OpenSSH_9.2\r\n", ERROR_TOO_LARGE)
    with Talker(node.address, hello=False) as talker:
        talker.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        expect_closed(talker)
    wait_log(node.cluster, 1, "it speaks TLS, and this port is plain", after)


covered(12, "plain text on the TLS port", "an alert, closed",
        "tls_ports:plain_text_is_answered_with_an_alert")


# ---- messages


@row(13, "an unknown message, and none", "UNKNOWN_TYPE, the connection stays", "client")
def _(node):
    with Talker(node.address) as talker:
        expect(talker.ask("NoSuchRequest"), ERROR, f1=ERROR_UNKNOWN_TYPE)
        expect(talker.ask("LockGrantedResponse"), ERROR, f1=ERROR_UNKNOWN_TYPE)
        talker.send(frame(bytes_field(1, b"only a key")))
        expect(talker.answer("only a key"), ERROR, f1=ERROR_UNKNOWN_TYPE)
        expect(talker.lock("a"), GRANTED)


@row(14, "16 unknown fields, and 17", "ignored; INVALID, closed", "client")
def _(node):
    def extra(count):
        return b"".join(number_field(1000 + i, i) for i in range(count))
    with Talker(node.address) as talker:
        expect(talker.lock("a", extra(16)), GRANTED)
    refused(node, lock_frame(b"a", extra(17)))


@row(15, "32 000 unknown fields of two bytes", "INVALID, closed, no memory", "client")
def _(node):
    for _ in range(8):
        refused(node, lock_frame(b"a", number_field(15, 0) * 32000))


@row(16, "a wrong wire type", "INVALID, closed", "client")
def _(node):
    refused(node, frame(encode_payload("LockRequest", number_field(2, 1), "k")))


@row(17, "a field twice", "the last counts", "client")
def _(node):
    with Talker(node.address) as talker:
        expect(talker.lock("first", bytes_field(2, b"second")), GRANTED, f2=b"second")
        expect(talker.release("first"), RELEASE, f100=NOT_HELD)


def invalid(node, name, *mores):
    with Talker(node.address) as talker:
        for more in mores:
            expect(talker.lock(name, more), DENIED, f100=DENY_INVALID)
    with Talker(node.address) as other:
        answer = other.ask("LockStatusRequest", bytes_field(2, name))
        assert answer.fields.get(100, 0) in (1, DENY_INVALID), answer  # free, or no name at all


@row(18, "enums out of range", "INVALID", "client")
def _(node):
    invalid(node, b"enums", number_field(3, 2), number_field(4, 2), number_field(7, 2),
            number_field(3, (1 << 32) + 1), number_field(4, U64_MAX))


@row(19, "timeouts below 0, of 2^32 and 2^63", "INVALID", "client")
def _(node):
    invalid(node, b"timeouts", *(number_field(field, value) for field in (5, 6)
                                 for value in (-30000, 1 << 32, 1 << 63)))


@row(20, "IGNORE without a lock timeout", "INVALID", "client")
def _(node):
    invalid(node, b"ignore", number_field(7, 1))


@row(21, "no lock name", "INVALID", "client")
def _(node):
    invalid(node, b"", b"")


@row(22, "names of 255 and 256 bytes", "granted; INVALID", "client")
def _(node):
    with Talker(node.address) as talker:
        expect(talker.lock(b"x" * 255), GRANTED)
    invalid(node, b"x" * 256, b"")


@row(23, "NUL, newline, ESC, C1, invalid UTF-8; RTL marks", "INVALID; granted", "client")
def _(node):
    for name in (b"a\0b", b"a\nb", b"\x1b[2J", b"\xc2\x85", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"):
        invalid(node, name, b"")
    with Talker(node.address) as talker:
        expect(talker.lock("\u202eabc"), GRANTED)


@row(24, "../../etc/passwd, %s%n, '; DROP", "names like others", "client")
def _(node):
    with Talker(node.address) as talker:
        for name in ("../../etc/passwd", "%s%n", "'; DROP TABLE"):
            expect(talker.lock(name), GRANTED, f2=name.encode())


# ---- who one is


@row(25, "the id of another client, without its secret", "NOT_ALLOWED, the victim keeps its lock",
     "client")
def _(node):
    with Talker(node.address) as victim, Talker(node.address) as thief:
        made = expect(victim.ask("ClientCreateRequest"), "ClientCreateResponse")
        as_victim = bytes_field(1, made.fields[2])
        flipped = made.fields[100][:-1] + bytes([made.fields[100][-1] ^ 1])
        expect(victim.lock("secret", as_victim), GRANTED)
        for secret in (b"", bytes_field(102, bytes(16)), bytes_field(102, flipped)):
            expect(thief.attach(made.fields[2], secret), ERROR, f1=ERROR_NOT_ALLOWED)
        answer = thief.release("secret", as_victim)
        assert answer.fields.get(100) != RELEASED, answer
        expect(thief.lock("secret"), DENIED, f100=DENY_HELD)
        expect(victim.release("secret", as_victim), RELEASE, f100=RELEASED)


@row(26, "a client id of 10 KB", "INVALID, the connection stays", "client")
def _(node):
    with Talker(node.address) as talker:
        expect(talker.attach(b"x" * 10240), ERROR, f1=ERROR_INVALID)
        expect(talker.lock("a", bytes_field(1, b"x" * 10240)), DENIED, f100=DENY_INVALID)


@row(27, "an extended request before Hello", "closed (a plain client knows no Error)", "client")
def _(node):
    for name in ("PingRequest", "ListLocksRequest", "ForceReleaseRequest", "BackupRequest"):
        with Talker(node.address, hello=False) as talker:
            talker.say(name)
            expect_closed(talker)


@row(28, "a second Hello as somebody else", "NOT_ALLOWED, closed; as the same: answered", "client")
def _(node):
    def hello(token):
        return number_field(1, 1) + number_field(2, 1) + bytes_field(6, token)
    alice, bob = node.token("alice"), node.token("bob")
    with Talker(node.address) as talker:
        expect(talker.ask("HelloRequest", hello(alice)), ERROR, f1=ERROR_NOT_ALLOWED)
        expect_closed(talker)
    with Talker(node.address, hello=False) as talker:
        for _ in range(2):
            expect(talker.ask("HelloRequest", hello(alice)), "HelloResponse")
        expect(talker.ask("HelloRequest", hello(bob)), ERROR, f1=ERROR_NOT_ALLOWED)
        expect_closed(talker)


@row(29, "a wrong token", "NOT_ALLOWED, closed", "client")
def _(node):
    with Talker(node.address, hello=False) as talker:
        said = number_field(1, 1) + number_field(2, 1) + bytes_field(6, b"x" * 32)
        expect(talker.ask("HelloRequest", said), ERROR, f1=ERROR_NOT_ALLOWED)
        expect_closed(talker)


covered(29, "no, an old, a foreign certificate", "refused, the log says why",
        "tls_ports:certificates_that_are_not_good_are_refused", "tls_ports:no_certificate_is_refused")


# ---- locks


@row(30, "release: not held, twice, with another token, of another's", "said so, nothing changes",
     "client")
def _(node):
    with Talker(node.address) as one, Talker(node.address) as two:
        expect(one.release("r"), RELEASE, f100=NOT_HELD)
        token = expect(one.lock("r"), GRANTED).fields[100]
        expect(two.release("r"), RELEASE, f100=HELD_BY_OTHER)
        expect(two.release("r", number_field(100, token)), RELEASE, f100=HELD_BY_OTHER)
        expect(one.release("r", number_field(100, token - 1)), RELEASE, f100=NOT_HELD)
        expect(two.lock("r"), DENIED, f100=DENY_HELD)
        expect(one.release("r", number_field(100, token)), RELEASE, f100=RELEASED)
        expect(one.release("r"), RELEASE, f100=NOT_HELD)


@row(31, "a holder asks again: same, weaker, downgrade, upgrade", "as SPEC 3.5, no deadlock", "client")
def _(node):
    with Talker(node.address) as one, Talker(node.address) as two:
        token = expect(one.lock("again", QUEUE), GRANTED).fields[100]
        expect(one.lock("again", QUEUE), GRANTED, f100=token, f101=0)
        expect(one.lock("again", READ + QUEUE), GRANTED, f100=token, f101=0)
        expect(one.lock("again", READ + DOWNGRADE), GRANTED, f100=token, f101=1)
        expect(two.lock("again", READ), GRANTED)
        expect(one.lock("again", QUEUE), WAITS)
        expect(two.lock("again", QUEUE), DENIED, f100=5)  # the second upgrader
        expect(two.release("again"), RELEASE, f100=RELEASED)
        assert expect(one.read(), GRANTED).fields[100] > token


@row(32, "a refresh after the end of the hold", "EXPIRED, nothing is held", "client")
def _(node):
    with Talker(node.address) as talker:
        expect(talker.lock("expires", number_field(6, 50)), GRANTED)
        expect(talker.read(), "LockTimeoutResponse")
        refresh = bytes_field(2, b"expires") + number_field(5, 60000)
        expect(talker.ask("LockRefreshRequest", refresh), DENIED, f100=DENY_EXPIRED)
        with Talker(node.address) as other:
            expect(other.lock("expires"), GRANTED)
        refresh = bytes_field(2, b"never held") + number_field(5, 60000)
        expect(talker.ask("LockRefreshRequest", refresh), DENIED, f100=DENY_NOT_HELD)


@row(33, "one message key for two requests", "keys mean nothing here: each is answered", "client")
def _(node):
    with Talker(node.address) as talker:
        talker.send(lock_frame(b"one", key="same") + lock_frame(b"two", key="same"))
        expect(talker.answer("same"), GRANTED, f2=b"one")
        expect(talker.answer("same"), GRANTED, f2=b"two")


@row(34, "epochs backwards, with gaps, 2^64-1", "STALE_EPOCH; taken; taken", "client")
def _(node):
    def epoch(number):
        return number_field(100, number) + number_field(101, 1)
    with Talker(node.address) as old, Talker(node.address) as new:
        expect(old.attach(b"epochs", epoch(5)), "ClientAttachResponse", f100=5)
        expect(new.attach(b"epochs", epoch(4)), ERROR, f1=ERROR_STALE_EPOCH)
        expect(new.attach(b"epochs", epoch(5000)), "ClientAttachResponse", f100=5000)
        expect(old.lock("epoch", bytes_field(1, b"epochs")), DENIED, f100=8)
        expect(new.attach(b"epochs", epoch(U64_MAX)), "ClientAttachResponse", f100=U64_MAX)
        expect(old.attach(b"epochs", epoch(0)), ERROR, f1=ERROR_STALE_EPOCH)
        expect(new.lock("epoch", bytes_field(1, b"epochs")), GRANTED)


# ---- connections


@row(35, "10 000 requests whose answers nobody reads", "closed behind 1 MiB", "client")
def _(node):
    after = len(node.cluster.log_text(1))
    with Talker(node.address) as talker:
        for i in range(50):
            expect(talker.attach(b"%0250d" % i), "ClientAttachResponse")
        talker.send(frame(encode_payload("ClientGetAttachedIdsRequest", b"", "k")) * 10000)
        wait_log(node.cluster, 1, "client-too-slow", after)
        while talker.read() is not None:
            pass


@row(36, "more silent connections than one address may have", "the rest is refused", "client")
def _(node):
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(Talker(node.address, hello=False))
                for _ in range(node.connections_max + 20)]
        for talker in many[-20:]:
            expect_closed(talker)
        node.innocent.check()
    wait_until(lambda: node.serves(), WAIT, "the places are free again")


@row(37, "no descriptors are left", "accepts again when there are; who is in stays in", "client")
def _(node):
    pid = node.cluster.pid(1)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(fd) for fd in node.descriptors())
    after = len(node.cluster.log_text(1))
    with Talker(node.address) as known:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, before[1]))
        try:
            waiting = [socket.create_connection(known.socket.getpeername()) for _ in range(8)]
            wait_log(node.cluster, 1, "accept-paused", after)
            expect(known.lock("a"), GRANTED)
            node.innocent.check()
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for connection in waiting:
            connection.close()
    wait_until(lambda: node.serves(), WAIT, "it accepts again")


@row(38, "a reset right behind a request that is granted", "freed; kept with IGNORE", "client")
def _(node):
    for name, more in (("reset", b""), ("reset-ignored", number_field(7, 1) + number_field(6, 600000))):
        with Talker(node.address) as talker:
            expect(talker.lock("before-" + name), GRANTED)
            talker.send(lock_frame(name.encode(), more))
            if more:
                expect(talker.read(), GRANTED)
            talker.reset()
        wait_free(node.address, "before-" + name)
    wait_free(node.address, "reset")
    with Talker(node.address) as other:
        expect(other.lock("reset-ignored"), DENIED, f100=DENY_HELD)


@row(39, "a half-close behind requests", "all answered, then the drop rule", "client")
def _(node):
    with Talker(node.address) as talker:
        talker.send(b"".join(lock_frame(b"half-%d" % i, key=str(i)) for i in range(100)))
        talker.socket.shutdown(socket.SHUT_WR)
        for i in range(100):
            assert expect(talker.read(), GRANTED).key == str(i)
        expect_closed(talker)
    wait_free(node.address, "half-99")


@row(40, "10 000 locks of one client, then disconnect", "all freed", "client")
def _(node):
    with Talker(node.address) as watcher:
        def holds():
            return expect(watcher.ask("ClusterStatusRequest"), "ClusterStatusResponse").fields.get(16, 0)
        before = holds()
        with Talker(node.address) as talker:
            for start in range(0, 10000, 1000):
                talker.send(b"".join(lock_frame(b"many-%d" % i) for i in range(start, start + 1000)))
                for _ in range(1000):
                    expect(talker.read(), GRANTED)
            assert holds() >= 10000
            expect(talker.lock("one more"), DENIED, f100=10)
        wait_until(lambda: holds() <= before, WAIT, "all are free")


covered(41, "a request during an election, without a quorum", "NOT_LEADER or the end",
        "server_cluster:node_without_a_majority_sends_clients_away",
        "server_cluster:leader_without_majority_closes_its_clients_unanswered")


@row(42, "versions of the past and the future", "VERSION with the version that is spoken, closed",
     "client")
def _(node):
    for least, most in ((0, 0), (2, 9)):
        with Talker(node.address, hello=False) as talker:
            said = talker.ask("HelloRequest", number_field(1, least) + number_field(2, most))
            expect(said, ERROR, f1=ERROR_VERSION)
            assert b"version 1" in said.fields[2], said
            expect_closed(talker)


@row(43, "a client's clock of 0 and 2^64-1", "echoed, nothing else", "client")
def _(node):
    with Talker(node.address) as talker:
        for time in (0, U64_MAX):
            expect(talker.lock("clock", number_field(103, time)), GRANTED, f106=time)
