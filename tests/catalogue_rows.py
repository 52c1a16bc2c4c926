"""What a row of the catalogue is (see catalogue.py), and the clients that its functions use: an innocent
one that must notice nothing, and one that can say anything."""

import collections
import contextlib
import os
import re
import socket
import struct

from plain_client import (FRAME_BYTES_MAX, PlainClient, bytes_field, encode_payload, frame,
                          number_field, read_fields)
from procs import wait_until

WAIT = 60       # seconds: a bound, never an expectation
TESTS = os.path.dirname(os.path.abspath(__file__))

# Numbers of proto/README.md.
ERROR_UNKNOWN_TYPE, ERROR_INVALID, ERROR_TOO_LARGE, ERROR_NOT_ALLOWED = 4, 5, 6, 8
ERROR_VERSION, ERROR_NOT_ATTACHED, ERROR_STALE_EPOCH = 9, 10, 11
DENY_HELD, DENY_NOT_HELD, DENY_EXPIRED, DENY_NOT_ALLOWED, DENY_INVALID = 1, 3, 4, 9, 11
RELEASED, NOT_HELD, HELD_BY_OTHER = 1, 3, 5
GRANTED, DENIED, ERROR = "LockGrantedResponse", "LockDeniedResponse", "ErrorResponse"
WAITS, RELEASE, STATUS = "LockWaitResponse", "LockReleaseResponse", "LockStatusResponse"


Row = collections.namedtuple("Row", "numbers what expected world function covered_by open_because")
ROWS = []


def row(number, what, expected, world=None):
    """The function does @what, and fails unless the outcome is @expected. @world: what it is given,
    one of catalogue.py's WORLDS, shared by the rows of that world."""
    def mark(function):
        ROWS.append(Row(number, what, expected, world, function, (), ""))
        return function
    return mark


def covered(number, what, expected, *tests):
    """Executed elsewhere: @tests are names of ctests, each with a function of it after a colon."""
    ROWS.append(Row(number, what, expected, None, None, tests, ""))


def is_open(number, what, expected, because):
    """The product does not do what is expected."""
    ROWS.append(Row(number, what, expected, None, None, (), because))


def check_reference(test, known):
    """That the ctest is one of @known, and that the function, or the scenario, is there."""
    name, _, function = test.partition(":")
    assert name in known, f"no ctest {name}"
    if not function:
        return
    if name == "scenarios":
        assert os.path.exists(os.path.join(TESTS, name, f"{function}.txt")), test
        return
    for file in (f"test_{name}.c", f"test_{name}.py", f"{name}.py"):
        path = os.path.join(TESTS, file)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as source:
                assert re.search(rf"\b{function}\(", source.read()), f"{file} has no {function}"
            return
    raise AssertionError(f"no source of {name}")


# ---- clients -------------------------------------------------------------------------------------


Answer = collections.namedtuple("Answer", "name key fields")


def decode(payload):
    """Any message, its fields by number; of a repeated one the last."""
    message = dict(read_fields(payload))
    any_message = dict(read_fields(message.get(2, b"")))
    name = any_message.get(1, b"").decode().rpartition(".")[2]
    value = any_message.get(2, b"")
    return Answer(name, message.get(1, b"").decode(), dict(read_fields(value)))


class Talker:
    """One connection to @address that can send any bytes. With @hello it is an extended one, whose
    refusals have reasons. Text fields of answers are bytes."""

    def __init__(self, address, hello=True, grace=0):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT)
        self.buffer = b""
        self.keys = 0
        if hello:
            said = self.ask("HelloRequest", number_field(1, 1) + number_field(2, 1)
                            + number_field(4, grace))
            assert said is not None and said.name == "HelloResponse", said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """What an end of the other side loses shows when the answer is read."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def say(self, name, value=b"", key=""):
        self.send(frame(encode_payload(name, value, key)))

    def read(self):
        """The next message, or None when the server has closed the connection."""
        while True:
            if len(self.buffer) >= 4:
                length, = struct.unpack_from(">I", self.buffer)
                assert length <= FRAME_BYTES_MAX, length
                if len(self.buffer) >= 4 + length:
                    payload = self.buffer[4:4 + length]
                    self.buffer = self.buffer[4 + length:]
                    if length != 0:
                        return decode(payload)
                    continue
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.buffer += data

    def answer(self, key):
        while True:
            message = self.read()
            if message is None or message.key == key:
                return message

    def ask(self, name, value=b""):
        self.keys += 1
        key = f"k{self.keys}"
        self.say(name, value, key)
        return self.answer(key)

    def lock(self, name, more=b""):
        name = name if isinstance(name, bytes) else name.encode()
        return self.ask("LockRequest", bytes_field(2, name) + more)

    def release(self, name, more=b""):
        return self.ask("LockReleaseRequest", bytes_field(2, name.encode()) + more)

    def attach(self, client, more=b""):
        return self.ask("ClientAttachRequest", bytes_field(1, client) + more)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def expect(answer, name, **fields):
    """f100=1: the field 100 is 1."""
    assert answer is not None, f"closed, not {name}"
    assert answer.name == name, f"{answer}, not {name}"
    for field, value in fields.items():
        assert answer.fields.get(int(field[1:]), 0) == value, f"{answer}, not {field}={value}"
    return answer


def expect_closed(talker):
    message = talker.read()
    assert message is None, f"not closed: {message}"


def expect_error_then_closed(talker, code):
    expect(talker.read(), ERROR, f1=code)
    expect_closed(talker)


class Innocent:
    """A plain client that holds a lock from the beginning of a world to its end, on one connection."""

    LOCK = "innocent"

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.client = PlainClient(host, int(port), timeout=WAIT)
        assert self.client.lock(self.LOCK).name == GRANTED

    def check(self):
        answer = self.client.status(self.LOCK)
        assert answer.name == STATUS, f"the innocent client lost its lock: {answer}"
        assert not self.client.later, f"the innocent client was told {self.client.later}"

    def close(self):
        self.client.close()


def check_serving(address):
    """A newcomer is served, and does not get what the innocent one holds."""
    with Talker(address) as newcomer:
        expect(newcomer.lock(Innocent.LOCK), DENIED, f100=DENY_HELD)
        expect(newcomer.lock("newcomer"), GRANTED)
        expect(newcomer.release("newcomer"), RELEASE, f100=RELEASED)


def wait_log(cluster, number, words, after=0):
    wait_until(lambda: words in cluster.log_text(number)[after:], WAIT, f"the log says: {words}")


def wait_free(address, name):
    """The lock becomes free: its holder has gone, and the node may not know yet."""
    def free():
        with Talker(address) as other:
            return other.lock(name).name == GRANTED
    wait_until(free, WAIT, f"{name} is free")


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s*(\d+)", status.read()).group(1))
