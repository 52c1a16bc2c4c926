#!/usr/bin/env python3
"""Every feature that upstream's clients know, used by a plain client against a real server.

    tests/plain_features.py HOST:PORT[,HOST:PORT...] [PART-OF-A-NAME]
    tests/plain_features.py BUILD-DIRECTORY [PART-OF-A-NAME]       starts a cluster of one node itself

Of several addresses the one that serves is taken. Names of locks and clients are new in every run, so a server
may be used again. Times are only ever asserted from below: nothing may end too early.
"""
import contextlib
import os
import secrets
import struct
import sys
import time

import plain_client
import procs
from plain_client import (BREAK, FRAME_BYTES_MAX, GOLDEN_FRAME, IGNORE, READ, UNLIMITED, WAIT,
                          Closed, PlainClient, Timeout, bytes_field, encode_payload, encode_value,
                          frame, number_field, varint)

GRANTED, DENIED, WAITS = "LockGrantedResponse", "LockDeniedResponse", "LockWaitResponse"
WAIT_TIMEOUT, LOCK_TIMEOUT = "LockWaitTimeoutResponse", "LockTimeoutResponse"
RELEASED, STATUS = "LockReleaseResponse", "LockStatusResponse"
HOLD_MS = 1000      # the shortest that a plain client may ask for
ROUNDING = 0.005    # cluster time counts in ms
QUIET = 0.3         # how long we listen for what must not come

suite = procs.Suite()
server = []         # [host, port], once it is known
run_id = secrets.token_hex(4)


def fresh(what):
    return f"{what}-{run_id}-{secrets.token_hex(4)}"


def connect():
    return PlainClient(*server)


@contextlib.contextmanager
def connections(count):
    clients = [connect() for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def expect(message, name, **fields):
    """@message is a @name with these fields, and `key`, among others."""
    assert message.name == name, f"{message}, not {name}"
    key = fields.pop("key", message.key)
    assert message.key == key, f"{message}, not key {key!r}"
    for field, value in fields.items():
        assert message.fields[field] == value, f"{message}, not {field}={value!r}"
    return message


def expect_quiet(client):
    try:
        message = client.recv(timeout=QUIET)
    except Timeout:
        return
    raise AssertionError(f"not quiet: {message}")


def expect_closed(client):
    try:
        message = client.recv()
    except Closed:
        return
    raise AssertionError(f"not closed: {message}")


def expect_free(lock):
    """Nobody holds the lock, or not for long: its holder has just gone."""
    with connect() as other:
        message = other.lock(lock, mode=WAIT, wait_timeout=10000)
        expect(other.recv() if message.name == WAITS else message, GRANTED, lock_name=lock)


def raw_lock(client, lock, extra=b"", key="raw"):
    """A LockRequest with bytes of our own behind its name."""
    client.send_bytes(frame(encode_payload("LockRequest", bytes_field(2, lock) + extra, key)))
    return client.recv()


# ---- the wire ------------------------------------------------------------------------------------


@suite
def golden_frame_is_answered():
    with connect() as client:
        client.send_bytes(GOLDEN_FRAME)
        expect(client.recv(), "ClientAttachResponse", key="123", client_id="player-1")
        client.detach("player-1")


@suite
def key_is_echoed_and_its_absence_too():
    with connect() as client:
        for key in ("k", "x" * 255, "ä\n\x1b", ""):
            client.send("ClientGetDefaultIdRequest", key)
            expect(client.recv(), "ClientGetDefaultIdResponse", key=key)


@suite
def key_of_a_wait_comes_back_with_its_grant():
    lock = fresh("lock")
    with connections(2) as (holder, waiter):
        expect(holder.lock(lock, key=""), GRANTED, key="")
        expect(waiter.lock(lock, mode=WAIT, key="my wait"), WAITS, key="my wait")
        waiter.send("ClientGetDefaultIdRequest")
        expect(waiter.recv(), "ClientGetDefaultIdResponse", key="")
        holder.release(lock)
        expect(waiter.recv(), GRANTED, key="my wait", lock_name=lock)


@suite
def any_type_url_is_taken_from_its_last_slash():
    with connect() as client:
        for prefix in ("/gonetlock.", "https://example.org/x/gonetlock."):
            client.send("ClientGetDefaultIdRequest", "k", url_prefix=prefix)
            expect(client.recv(), "ClientGetDefaultIdResponse", key="k")


@suite
def empty_frames_are_ignored():
    with connect() as client:
        client.send_bytes(b"\0\0\0\0" * 3)
        client.default_id()
        expect_quiet(client)


@suite
def frame_may_come_byte_by_byte():
    with connect() as client:
        for byte in GOLDEN_FRAME:
            client.send_bytes(bytes([byte]))
            time.sleep(0.001)
        expect(client.recv(), "ClientAttachResponse", key="123")
        client.detach("player-1")


@suite
def thousand_requests_in_one_write_are_answered_in_order():
    lock = fresh("lock")
    with connect() as client:
        data = b""
        for i in range(500):
            for name in ("LockRequest", "LockReleaseRequest"):
                data += frame(encode_payload(name, encode_value(name, {"lock_name": lock}),
                                             f"{name} {i}"))
        client.send_bytes(data)
        for i in range(500):
            expect(client.recv(), GRANTED, key=f"LockRequest {i}")
            expect(client.recv(), RELEASED, key=f"LockReleaseRequest {i}")


# ---- clients -------------------------------------------------------------------------------------


@suite
def every_connection_has_a_default_client_of_its_own():
    lock = fresh("lock")
    with connections(2) as (one, two):
        first = one.default_id().fields["client_id"]
        assert len(first) == 32
        assert first == one.default_id().fields["client_id"]
        assert first != two.default_id().fields["client_id"]
        expect(one.lock(lock), GRANTED, client_id=first, lock_name=lock)
        expect(two.lock(lock), DENIED, lock_name=lock)


@suite
def attached_ids_are_listed():
    a, b = fresh("client"), fresh("client")
    with connect() as client:
        expect(client.attach(a), "ClientAttachResponse", client_id=a)
        expect(client.attach(b), "ClientAttachResponse", client_id=b)
        assert {a, b} <= set(client.attached_ids().fields["client_ids"])
        expect(client.detach(a), "ClientDetachResponse", client_id=a)
        ids = client.attached_ids().fields["client_ids"]
        assert b in ids and a not in ids


@suite
def created_client_is_fresh_and_attached():
    lock = fresh("lock")
    with connect() as client:
        made = client.create().fields["client_id"]
        assert made and made != client.create().fields["client_id"]
        assert made in client.attached_ids().fields["client_ids"]
        expect(client.lock(lock, client_id=made), GRANTED, client_id=made)


@suite
def clients_of_one_connection_are_strangers():
    lock, a, b = fresh("lock"), fresh("client"), fresh("client")
    with connect() as client:
        client.attach(a)
        client.attach(b)
        expect(client.lock(lock, client_id=a), GRANTED, client_id=a)
        expect(client.lock(lock, client_id=b), DENIED, client_id=b)
        expect(client.lock(lock, client_id=b, mode=WAIT, key="b"), WAITS, client_id=b)
        client.send("LockReleaseRequest", "a", client_id=a, lock_name=lock)
        answers = {m.key: m for m in (client.recv(), client.recv())}
        expect(answers["a"], RELEASED, client_id=a)
        expect(answers["b"], GRANTED, client_id=b)


@suite
def unattached_client_is_attached_by_its_first_request():
    lock, a = fresh("lock"), fresh("client")
    with connect() as client:
        expect(client.lock(lock, client_id=a), GRANTED, client_id=a)
        assert a in client.attached_ids().fields["client_ids"]
    expect_free(lock)


@suite
def client_on_two_connections_acts_on_both():
    lock, a = fresh("lock"), fresh("client")
    with connections(3) as (one, two, other):
        one.attach(a)
        two.attach(a)
        expect(one.lock(lock, client_id=a), GRANTED)
        expect(other.lock(lock), DENIED)
        expect(two.release(lock, client_id=a), RELEASED)
        expect(other.lock(lock), GRANTED)


@suite
def moving_to_a_new_connection_loses_nothing():
    held, wanted, a = fresh("held"), fresh("wanted"), fresh("client")
    with connections(3) as (old, new, other):
        old.attach(a)
        expect(old.lock(held, client_id=a), GRANTED)
        expect(other.lock(wanted), GRANTED)
        expect(old.lock(wanted, client_id=a, mode=WAIT), WAITS)
        expect(new.attach(a), "ClientAttachResponse")
        old.close()
        time.sleep(QUIET)
        expect(other.lock(held), DENIED)
        expect(new.status(held, client_id=a), STATUS)
        other.release(wanted)
        expect(new.recv(), GRANTED, client_id=a, lock_name=wanted)
        expect(new.release(held, client_id=a), RELEASED)
        expect(other.lock(held), GRANTED)


# ---- waiting and breaking ------------------------------------------------------------------------


@suite
def break_is_granted_or_denied_at_once():
    lock = fresh("lock")
    with connections(2) as (one, two):
        expect(one.lock(lock, mode=BREAK), GRANTED)
        expect(two.lock(lock, mode=BREAK), DENIED)
        expect_quiet(two)
        one.release(lock)
        expect(two.lock(lock, mode=BREAK), GRANTED)


@suite
def waiters_are_served_in_their_order():
    lock = fresh("lock")
    with connections(6) as (holder, *waiters):
        expect(holder.lock(lock), GRANTED)
        for number, waiter in enumerate(waiters):
            expect(waiter.lock(lock, mode=WAIT, key=str(number)), WAITS)
        holder.release(lock)
        for number, waiter in enumerate(waiters):
            expect(waiter.recv(), GRANTED, key=str(number))
            for later in waiters[number + 1:number + 2]:
                expect_quiet(later)
            waiter.release(lock)


@suite
def wait_times_out_and_leaves_the_queue():
    lock = fresh("lock")
    with connections(3) as (holder, waiter, next_one):
        expect(holder.lock(lock), GRANTED)
        start = time.monotonic()
        expect(waiter.lock(lock, mode=WAIT, wait_timeout=300, key="w"), WAITS)
        expect(next_one.lock(lock, mode=WAIT), WAITS)
        expect(waiter.recv(), WAIT_TIMEOUT, key="w", lock_name=lock)
        assert time.monotonic() - start >= 0.3 - ROUNDING
        holder.release(lock)
        expect(next_one.recv(), GRANTED)
        expect_quiet(waiter)


@suite
def release_while_waiting_cancels_the_wait():
    lock = fresh("lock")
    with connections(3) as (holder, waiter, next_one):
        expect(holder.lock(lock), GRANTED)
        expect(waiter.lock(lock, mode=WAIT, key="w"), WAITS)
        expect(next_one.lock(lock, mode=WAIT), WAITS)
        expect(waiter.release(lock, key="r"), RELEASED)
        expect(waiter.recv(), DENIED, key="w", lock_name=lock)
        holder.release(lock)
        expect(next_one.recv(), GRANTED)
        expect_quiet(waiter)


@suite
def asking_again_is_granted_and_one_release_frees():
    lock = fresh("lock")
    with connections(2) as (one, two):
        expect(one.lock(lock), GRANTED)
        expect(one.lock(lock, mode=WAIT), GRANTED)
        expect(one.lock(lock, type=READ), GRANTED)
        one.release(lock)
        expect(two.lock(lock), GRANTED)


@suite
def asking_again_while_waiting_keeps_the_place():
    lock = fresh("lock")
    with connections(3) as (holder, first, second):
        expect(holder.lock(lock), GRANTED)
        expect(first.lock(lock, mode=WAIT, key="1"), WAITS)
        expect(second.lock(lock, mode=WAIT), WAITS)
        expect(first.lock(lock, mode=BREAK), DENIED)
        expect(first.refresh(lock), WAITS)
        holder.release(lock)
        expect(first.recv(), GRANTED)
        expect_quiet(second)


# ---- readers -------------------------------------------------------------------------------------


@suite
def readers_share_and_writers_do_not():
    lock = fresh("lock")
    with connections(3) as (one, two, writer):
        expect(one.lock(lock, type=READ), GRANTED)
        expect(two.lock(lock, type=READ), GRANTED)
        expect(writer.lock(lock), DENIED)
        one.release(lock)
        expect(writer.lock(lock), DENIED)
        two.release(lock)
        expect(writer.lock(lock), GRANTED)
        expect(one.lock(lock, type=READ), DENIED)


@suite
def readers_do_not_pass_a_waiting_writer():
    lock = fresh("lock")
    with connections(5) as (reader, writer, late_one, late_two, hasty):
        expect(reader.lock(lock, type=READ), GRANTED)
        expect(writer.lock(lock, mode=WAIT), WAITS)
        expect(late_one.lock(lock, type=READ, mode=WAIT), WAITS)
        expect(late_two.lock(lock, type=READ, mode=WAIT), WAITS)
        expect(hasty.lock(lock, type=READ, mode=BREAK), DENIED)
        reader.release(lock)
        expect(writer.recv(), GRANTED)
        expect_quiet(late_one)
        writer.release(lock)
        expect(late_one.recv(), GRANTED)
        expect(late_two.recv(), GRANTED)


@suite
def sole_reader_becomes_writer_and_a_second_upgrader_is_refused():
    lock = fresh("lock")
    with connections(2) as (one, two):
        expect(one.lock(lock, type=READ), GRANTED)
        expect(two.lock(lock, type=READ), GRANTED)
        expect(one.lock(lock, mode=BREAK), DENIED)
        expect(one.lock(lock, mode=WAIT), WAITS)
        expect(two.lock(lock, mode=WAIT), DENIED)
        expect(two.status(lock), STATUS, type=READ)
        two.release(lock)
        expect(one.recv(), GRANTED)
        expect(two.lock(lock, type=READ), DENIED)


# ---- timeouts and refresh ------------------------------------------------------------------------


@suite
def hold_times_out_and_the_next_waiter_gets_it():
    lock = fresh("lock")
    with connections(2) as (holder, waiter):
        start = time.monotonic()
        expect(holder.lock(lock, lock_timeout=HOLD_MS), GRANTED)
        expect(waiter.lock(lock, mode=WAIT), WAITS)
        expect(waiter.recv(), GRANTED)
        assert time.monotonic() - start >= HOLD_MS / 1000 - ROUNDING
        expect(holder.recv(), LOCK_TIMEOUT, lock_name=lock)
        expect(holder.refresh(lock), DENIED)
        expect(holder.release(lock), RELEASED)
        expect(holder.lock(lock), DENIED)


@suite
def lock_timeout_has_no_key():
    lock = fresh("lock")
    with connections(1) as (holder,):
        expect(holder.lock(lock, lock_timeout=HOLD_MS, key="asked"), GRANTED, key="asked")
        expect(holder.recv(), LOCK_TIMEOUT, key="", lock_name=lock)


@suite
def refresh_restarts_the_timeout():
    lock = fresh("lock")
    with connections(2) as (holder, other):
        expect(holder.lock(lock, lock_timeout=2 * HOLD_MS), GRANTED)
        for _ in range(4):
            time.sleep(0.7 * HOLD_MS / 1000)
            last = time.monotonic()
            expect(holder.refresh(lock), GRANTED)
        expect(other.lock(lock), DENIED)
        expect(holder.recv(), LOCK_TIMEOUT)
        assert time.monotonic() - last >= 2 * HOLD_MS / 1000 - ROUNDING


@suite
def refresh_can_set_another_timeout():
    lock = fresh("lock")
    with connect() as holder:
        expect(holder.lock(lock), GRANTED)
        start = time.monotonic()
        expect(holder.refresh(lock, lock_timeout=HOLD_MS), GRANTED)
        expect(holder.recv(), LOCK_TIMEOUT)
        assert time.monotonic() - start >= HOLD_MS / 1000 - ROUNDING


@suite
def refresh_never_takes_a_lock():
    lock = fresh("lock")
    with connections(2) as (one, two):
        expect(one.refresh(lock, mode=WAIT), DENIED)
        expect(two.lock(lock), GRANTED)
        expect(one.refresh(lock, mode=WAIT), DENIED)
        expect_quiet(one)


@suite
def timeouts_that_look_like_seconds_are_refused():
    lock = fresh("lock")
    with connections(2) as (client, other):
        expect(client.lock(lock, lock_timeout=30), DENIED)
        expect(client.lock(lock, lock_timeout=999), DENIED)
        expect(other.lock(lock, lock_timeout=1000), GRANTED)
        expect(other.refresh(lock, lock_timeout=30), DENIED)
        expect(other.status(lock), STATUS)


@suite
def unlimited_is_said_by_all_bits():
    lock = fresh("lock")
    with connections(2) as (holder, waiter):
        expect(holder.lock(lock, lock_timeout=UNLIMITED), GRANTED)
        expect(waiter.lock(lock, mode=WAIT, wait_timeout=UNLIMITED), WAITS)
        expect_quiet(waiter)
        holder.release(lock)
        expect(waiter.recv(), GRANTED)


# ---- the end of connections ----------------------------------------------------------------------


@suite
def closing_frees_and_the_waiter_gets_it():
    lock = fresh("lock")
    with connections(2) as (holder, waiter):
        expect(holder.lock(lock, lock_timeout=UNLIMITED), GRANTED)
        expect(waiter.lock(lock, mode=WAIT), WAITS)
        holder.close()
        expect(waiter.recv(), GRANTED)


@suite
def reset_frees_too():
    lock = fresh("lock")
    with connections(2) as (holder, waiter):
        expect(holder.lock(lock), GRANTED)
        expect(waiter.lock(lock, mode=WAIT), WAITS)
        holder.reset()
        expect(waiter.recv(), GRANTED)


@suite
def detach_frees():
    lock, a = fresh("lock"), fresh("client")
    with connections(2) as (holder, waiter):
        expect(holder.lock(lock, client_id=a), GRANTED)
        expect(waiter.lock(lock, mode=WAIT), WAITS)
        expect(holder.detach(a), "ClientDetachResponse", client_id=a)
        expect(waiter.recv(), GRANTED)


@suite
def only_the_last_connection_frees():
    lock, a = fresh("lock"), fresh("client")
    with connections(3) as (one, two, waiter):
        one.attach(a)
        two.attach(a)
        expect(one.lock(lock, client_id=a), GRANTED)
        expect(waiter.lock(lock, mode=WAIT), WAITS)
        two.detach(a)
        expect_quiet(waiter)
        one.close()
        expect(waiter.recv(), GRANTED)


@suite
def waiter_that_goes_leaves_the_queue():
    lock = fresh("lock")
    with connections(3) as (holder, goes, stays):
        expect(holder.lock(lock), GRANTED)
        expect(goes.lock(lock, mode=WAIT), WAITS)
        expect(stays.lock(lock, mode=WAIT), WAITS)
        goes.close()
        time.sleep(QUIET)
        holder.release(lock)
        expect(stays.recv(), GRANTED)


@suite
def reader_waiting_behind_a_writer_that_goes_is_granted():
    lock = fresh("lock")
    with connections(3) as (reader, writer, late):
        expect(reader.lock(lock, type=READ), GRANTED)
        expect(writer.lock(lock, mode=WAIT), WAITS)
        expect(late.lock(lock, type=READ, mode=WAIT), WAITS)
        writer.close()
        expect(late.recv(), GRANTED)


@suite
def ignored_drop_keeps_the_lock_for_the_next_command():
    lock, a = fresh("lock"), fresh("client")
    with connect() as first:
        expect(first.lock(lock, client_id=a, lock_timeout=60000, connection_drop=IGNORE), GRANTED)
    time.sleep(QUIET)
    with connect() as other:
        expect(other.lock(lock), DENIED)
        with connect() as second:
            expect(second.refresh(lock, client_id=a), GRANTED, client_id=a)
        time.sleep(QUIET)
        expect(other.lock(lock), DENIED)
        with connect() as third:
            expect(third.status(lock, client_id=a), STATUS)
            expect(third.release(lock, client_id=a), RELEASED)
        expect(other.lock(lock), GRANTED)


@suite
def ignored_drop_ends_with_the_timeout():
    lock, a = fresh("lock"), fresh("client")
    start = time.monotonic()
    with connect() as first:
        expect(first.lock(lock, client_id=a, lock_timeout=HOLD_MS, connection_drop=IGNORE), GRANTED)
    with connect() as waiter:
        expect(waiter.lock(lock, mode=WAIT), WAITS)
        expect(waiter.recv(), GRANTED)
        assert time.monotonic() - start >= HOLD_MS / 1000 - ROUNDING


@suite
def refresh_turns_release_into_ignore_but_not_back():
    lock, a = fresh("lock"), fresh("client")
    with connections(2) as (holder, other):
        expect(holder.lock(lock, client_id=a, lock_timeout=60000), GRANTED)
        expect(holder.refresh(lock, client_id=a, connection_drop=IGNORE), GRANTED)
        expect(holder.refresh(lock, client_id=a), GRANTED)
        holder.close()
        time.sleep(QUIET)
        expect(other.lock(lock), DENIED)
        expect(other.release(lock, client_id=a), RELEASED)
        expect(other.lock(lock), GRANTED)


@suite
def ignore_needs_a_timeout_or_unlimited_on_purpose():
    lock, a = fresh("lock"), fresh("client")
    with connect() as client:
        expect(client.lock(lock, client_id=a, connection_drop=IGNORE), DENIED)
        expect(client.lock(lock, client_id=a, connection_drop=IGNORE, lock_timeout=UNLIMITED),
               GRANTED)
        expect(client.release(lock, client_id=a), RELEASED)


# ---- status and release --------------------------------------------------------------------------


@suite
def status_tells_a_plain_client_what_it_has():
    lock, unknown = fresh("lock"), fresh("lock")
    with connections(2) as (holder, other):
        expect(holder.status(unknown), DENIED, lock_name=unknown)
        expect(holder.lock(lock, type=READ), GRANTED)
        expect(holder.status(lock), STATUS, type=READ, lock_name=lock)
        expect(other.status(lock), DENIED)
        expect(other.lock(lock, mode=WAIT), WAITS)
        expect(other.status(lock), WAITS, lock_name=lock)
        holder.release(lock)
        expect(other.recv(), GRANTED)
        expect(other.status(lock), STATUS, type=0)


@suite
def release_may_be_repeated_and_touches_nobody_else():
    lock = fresh("lock")
    with connections(2) as (one, two):
        expect(one.release(lock), RELEASED, lock_name=lock)
        expect(one.lock(lock), GRANTED)
        expect(two.release(lock), RELEASED)
        expect(two.lock(lock), DENIED)
        expect(one.release(lock), RELEASED)
        expect(one.release(lock), RELEASED)
        expect(two.lock(lock), GRANTED)
        expect(one.release(lock), RELEASED)
        expect(one.lock(lock), DENIED)


# ---- what is refused -----------------------------------------------------------------------------


@suite
def bad_lock_names_are_denied_and_the_connection_stays():
    with connect() as client:
        for bad in (b"", b"x" * 256, b"a\0b", b"a\nb", b"\x1b[2J", b"\xc2\x85", b"\xff", b"\xc0\xaf",
                    b"\xed\xa0\x80"):
            expect(raw_lock(client, bad), DENIED, key="raw")
        unique = run_id.encode()
        for good in (b"x" * (255 - len(unique)), b"../../etc/passwd", b"%s%n",
                     "'; DROP ü\u202e".encode()):
            expect(raw_lock(client, good + unique), GRANTED, key="raw")
        client.default_id()


@suite
def enums_and_numbers_out_of_range_are_denied():
    lock = fresh("lock")
    with connect() as client:
        for extra in (number_field(3, 2), number_field(4, 2), number_field(7, 2),
                      number_field(3, (1 << 32) + 1), number_field(5, 1 << 32),
                      number_field(6, -30000), number_field(5, 1 << 63)):
            expect(raw_lock(client, lock.encode(), extra), DENIED, lock_name=lock)
        expect(client.status(lock), DENIED)


@suite
def last_of_two_names_counts():
    first, second = fresh("first"), fresh("second")
    with connect() as client:
        expect(raw_lock(client, first.encode(), bytes_field(2, second.encode())), GRANTED,
               lock_name=second)


@suite
def few_unknown_fields_are_ignored():
    lock = fresh("lock")
    with connect() as client:
        extra = b"".join(number_field(1000 + i, i) for i in range(16))
        expect(raw_lock(client, lock.encode(), extra), GRANTED, lock_name=lock)


def refused_by_closing(data):
    """The connection that sends it is closed, and no other is disturbed."""
    with connections(2) as (bad, good):
        bad.default_id()
        try:
            bad.send_bytes(data)
        except Closed:
            pass
        expect_closed(bad)
        good.default_id()


@suite
def bad_client_ids_close_a_plain_connection():
    for bad in (b"", b"x" * 256, b"a\nb", b"\xff"):
        refused_by_closing(frame(encode_payload("ClientAttachRequest",
                                                bytes_field(1, bad) if bad else b"", "k")))


@suite
def unknown_and_extended_messages_close_a_plain_connection():
    for name in ("NoSuchRequest", "PingRequest", "ListLocksRequest", "LockGrantedResponse"):
        refused_by_closing(frame(encode_payload(name, b"", "k")))
    refused_by_closing(frame(bytes_field(1, b"only a key")))


@suite
def malformed_frames_close_the_connection():
    many = b"".join(number_field(15, 0) for _ in range(32000))
    for data in (frame(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                 frame(b"\x12\x7f"),
                 frame(encode_payload("LockRequest", many, "k")),
                 frame(encode_payload("LockRequest", number_field(2, 1), "k")),
                 struct.pack(">I", FRAME_BYTES_MAX + 1),
                 b"\xff\xff\xff\xff",
                 b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                 frame(bytes(range(255, -1, -1)) * 4)):
        refused_by_closing(data)


@suite
def largest_frame_is_taken():
    with connect() as client:
        # One unknown field fills it up to the last byte.
        inside = len(encode_payload("ClientGetDefaultIdRequest", b"", "k"))
        head = varint(15 << 3 | 2)
        filler = FRAME_BYTES_MAX - inside - len(head) - 3
        payload = encode_payload("ClientGetDefaultIdRequest", b"", "k") + head + varint(filler)
        payload += b"\0" * (FRAME_BYTES_MAX - len(payload))
        client.send_bytes(frame(payload))
        expect(client.recv(), "ClientGetDefaultIdResponse", key="k")


@suite
def half_closed_connection_still_gets_its_answers():
    with connect() as client:
        for i in range(10):
            client.send("ClientGetDefaultIdRequest", str(i))
        client.socket.shutdown(1)
        for i in range(10):
            expect(client.recv(), "ClientGetDefaultIdResponse", key=str(i))
        expect_closed(client)


# ---- start ---------------------------------------------------------------------------------------


def find_serving(addresses):
    """[host, port] of the node that answers; followers close plain connections."""
    def serving():
        for address in addresses:
            host, _, port = address.rpartition(":")
            try:
                with PlainClient(host.strip("[]"), int(port), timeout=2) as client:
                    client.default_id()
                return [host.strip("[]"), int(port)]
            except (OSError, Closed, Timeout):
                continue
        return None
    return procs.wait_until(serving, 30, f"one of {addresses} serves", every=0.1)


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 64
    plain_client.self_test()
    only = sys.argv[2] if len(sys.argv) == 3 else ""
    if not os.path.isdir(sys.argv[1]):
        server[:] = find_serving(sys.argv[1].split(","))
        return suite.run(only)
    with procs.Cluster(nodes=1, build=sys.argv[1]) as cluster:
        cluster.start()
        server[:] = find_serving([cluster.address(1)])
        return suite.run(only, on_failure=cluster.keep)


if __name__ == "__main__":
    sys.exit(main())
