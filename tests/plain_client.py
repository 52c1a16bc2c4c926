"""A plain client of netlock: never says Hello, knows no field above 99. Written from proto/README.md,
with its own protobuf encoder and decoder, so that it shares no mistake with the C code. Standard library only.

    client = PlainClient("127.0.0.1", 7670)
    client.attach("player-1")
    answer = client.lock("a", client_id="player-1", mode=WAIT, lock_timeout=30000)
    if answer.name == "LockWaitResponse":
        answer = client.recv()          # LockGrantedResponse, or why not
    client.release("a", client_id="player-1")
    client.close()

Every request method sends, and returns the first answer with its key. What arrives in between and later is
kept for recv(). A closed connection raises Closed. An answer that a plain client must not get raises
ProtocolError: unknown messages, unknown fields, zeros that proto3 leaves out, a wrong wire type.
"""
import collections
import itertools
import socket
import struct
import time

WRITE, READ = 0, 1
BREAK, WAIT = 0, 1
RELEASE, IGNORE = 0, 1
UNLIMITED = 0xFFFFFFFF
FRAME_BYTES_MAX = 1048576
URL_PREFIX = "type.googleapis.com/gonetlock."

# Field names by number. The kind follows from the name; see kind_of().
MESSAGES = {
    "ClientAttachRequest": {1: "client_id"},
    "ClientAttachResponse": {1: "client_id"},
    "ClientDetachRequest": {1: "client_id"},
    "ClientDetachResponse": {1: "client_id"},
    "ClientCreateRequest": {},
    "ClientCreateResponse": {2: "client_id"},
    "ClientGetDefaultIdRequest": {},
    "ClientGetDefaultIdResponse": {1: "client_id"},
    "ClientGetAttachedIdsRequest": {},
    "ClientGetAttachedIdsResponse": {1: "client_ids"},
    "LockRequest": {1: "client_id", 2: "lock_name", 3: "type", 4: "mode", 5: "wait_timeout",
                    6: "lock_timeout", 7: "connection_drop"},
    "LockRefreshRequest": {1: "client_id", 2: "lock_name", 3: "mode", 4: "wait_timeout",
                           5: "lock_timeout", 6: "connection_drop"},
    "LockReleaseRequest": {1: "client_id", 2: "lock_name"},
    "LockStatusRequest": {1: "client_id", 2: "lock_name"},
    "LockDeniedResponse": {1: "client_id", 2: "lock_name"},
    "LockWaitResponse": {1: "client_id", 2: "lock_name"},
    "LockGrantedResponse": {1: "client_id", 2: "lock_name"},
    "LockWaitTimeoutResponse": {1: "client_id", 2: "lock_name"},
    "LockTimeoutResponse": {1: "client_id", 2: "lock_name"},
    "LockReleaseResponse": {1: "client_id", 2: "lock_name"},
    "LockStatusResponse": {1: "client_id", 2: "lock_name", 3: "type"},
}
TEXTS = {"client_id", "lock_name"}
LISTS = {"client_ids"}


class ProtocolError(Exception):
    """The server sent what a plain client must not get."""


class Closed(Exception):
    """The server closed the connection."""


class Timeout(Exception):
    """Nothing came in time."""


# ---- protobuf ------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number_field(number, value):
    return varint(number << 3) + varint(value & 0xFFFFFFFFFFFFFFFF)


def bytes_field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_varint(data, at):
    value = shift = 0
    while True:
        if at == len(data) or shift > 63:
            raise ProtocolError("varint cut short or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def read_fields(data):
    """All (number, value) of a message; value is an int or bytes."""
    fields, at = [], 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            value, at = read_varint(data, at)
        elif tag & 7 == 2:
            length, at = read_varint(data, at)
            if length > len(data) - at:
                raise ProtocolError("field cut short")
            value, at = bytes(data[at:at + length]), at + length
        else:
            raise ProtocolError(f"wire type {tag & 7}")
        fields.append((tag >> 3, value))
    return fields


def encode_value(name, fields):
    """The message @name; numbers, str or bytes; zero and empty ones are left out, as proto3 does."""
    out = b""
    for number, field in MESSAGES[name].items():
        value = fields.get(field, 0)
        if isinstance(value, str):
            value = value.encode("utf-8")
        if isinstance(value, bytes):
            out += bytes_field(number, value) if value else b""
        elif value != 0:
            out += number_field(number, value)
    unknown = set(fields) - set(MESSAGES[name].values())
    if unknown:
        raise ValueError(f"{name} has no {unknown}")
    return out


def encode_payload(name, value, key="", url_prefix=URL_PREFIX):
    any_message = bytes_field(1, (url_prefix + name).encode())
    if value:
        any_message += bytes_field(2, value)
    payload = bytes_field(1, key.encode("utf-8")) if key else b""
    return payload + bytes_field(2, any_message)


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


def decode_value(name, data):
    known = MESSAGES[name]
    fields = {field: [] if field in LISTS else "" if field in TEXTS else 0
              for field in known.values()}
    for number, value in read_fields(data):
        field = known.get(number)
        if field is None:
            raise ProtocolError(f"{name} has a field {number}")
        if isinstance(value, bytes) != (field in TEXTS or field in LISTS):
            raise ProtocolError(f"{name}.{field} has the wrong wire type")
        if field in LISTS:
            fields[field].append(value.decode("utf-8"))
            continue
        if not value:
            raise ProtocolError(f"{name}.{field} is there, but zero")
        fields[field] = value.decode("utf-8") if field in TEXTS else value
    return fields


Message = collections.namedtuple("Message", "name key fields")


def decode_payload(payload):
    """A Message from the payload of a frame."""
    parts = {1: b"", 2: b""}
    for number, value in read_fields(payload):
        if number not in parts or not isinstance(value, bytes):
            raise ProtocolError(f"Message has a field {number}")
        parts[number] = value
    any_parts = {1: b"", 2: b""}
    for number, value in read_fields(parts[2]):
        if number not in any_parts or not isinstance(value, bytes):
            raise ProtocolError(f"Any has a field {number}")
        any_parts[number] = value
    url = any_parts[1].decode("utf-8")
    if not url.startswith(URL_PREFIX):
        raise ProtocolError(f"type URL {url!r}")
    name = url[len(URL_PREFIX):]
    if name not in MESSAGES or not name.endswith("Response"):
        raise ProtocolError(f"a plain client got {name}")
    return Message(name, parts[1].decode("utf-8"), decode_value(name, any_parts[2]))


# ---- the client ----------------------------------------------------------------------------------


class PlainClient:
    def __init__(self, host, port, timeout=10.0):
        self.address = (host, port)
        self.timeout = timeout
        self.keys = (f"key-{i}" for i in itertools.count(1))
        self.socket = None
        self.connect()

    def connect(self):
        """Connect, anew if it was connected before."""
        self.close()
        self.socket = socket.create_connection(self.address, timeout=self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.later = collections.deque()

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def reset(self):
        """Close with RST instead of FIN: what a crash of the machine looks like."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send_bytes(self, data):
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Closed from error

    def send(self, name, key="", url_prefix=URL_PREFIX, **fields):
        """Send a request without waiting for its answer."""
        value = encode_value(name, fields)
        self.send_bytes(frame(encode_payload(name, value, key, url_prefix)))

    def receive(self, timeout=None):
        """The next message off the socket."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.buffer) >= 4:
                length, = struct.unpack_from(">I", self.buffer)
                if length > FRAME_BYTES_MAX:
                    raise ProtocolError(f"a frame of {length} bytes")
                if len(self.buffer) >= 4 + length:
                    payload = bytes(self.buffer[4:4 + length])
                    del self.buffer[:4 + length]
                    if length == 0:
                        continue
                    return decode_payload(payload)
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, BlockingIOError) as error:
                raise Timeout from error
            except ConnectionResetError as error:
                raise Closed from error
            if not data:
                raise Closed
            self.buffer += data

    def recv(self, timeout=None):
        """The oldest message that no request method has returned."""
        return self.later.popleft() if self.later else self.receive(timeout)

    def request(self, name, key=None, **fields):
        """Send, and return the first answer with its key."""
        key = next(self.keys) if key is None else key
        self.send(name, key, **fields)
        while True:
            message = self.receive()
            if message.key == key:
                return message
            self.later.append(message)

    def attach(self, client_id, **more):
        return self.request("ClientAttachRequest", client_id=client_id, **more)

    def detach(self, client_id="", **more):
        return self.request("ClientDetachRequest", client_id=client_id, **more)

    def create(self, **more):
        return self.request("ClientCreateRequest", **more)

    def default_id(self, **more):
        return self.request("ClientGetDefaultIdRequest", **more)

    def attached_ids(self, **more):
        return self.request("ClientGetAttachedIdsRequest", **more)

    def lock(self, lock_name, **more):
        """more: client_id, type, mode, wait_timeout, lock_timeout, connection_drop, key."""
        return self.request("LockRequest", lock_name=lock_name, **more)

    def refresh(self, lock_name, **more):
        return self.request("LockRefreshRequest", lock_name=lock_name, **more)

    def release(self, lock_name, **more):
        return self.request("LockReleaseRequest", lock_name=lock_name, **more)

    def status(self, lock_name, **more):
        return self.request("LockStatusRequest", lock_name=lock_name, **more)


# ---- self-test -----------------------------------------------------------------------------------

GOLDEN_FRAME = bytes.fromhex(
    "000000460a03313233123f0a31747970652e676f6f676c65617069732e636f6d2f676f6e65746c6f636b2e"
    "436c69656e7441747461636852657175657374120a0a08706c617965722d31")


def self_test():
    """The codec against the golden frame and README's dialogue; raises AssertionError."""
    value = encode_value("ClientAttachRequest", {"client_id": "player-1"})
    assert frame(encode_payload("ClientAttachRequest", value, "123")) == GOLDEN_FRAME
    lock = encode_value("LockRequest", {"client_id": "player-1", "lock_name": "a", "mode": WAIT,
                                        "lock_timeout": 30000})
    assert lock.hex() == "0a08706c617965722d31120161200130b0ea01"
    granted = decode_payload(bytes.fromhex(
        "0a013112420a31747970652e676f6f676c65617069732e636f6d2f676f6e65746c6f636b2e4c6f636b47"
        "72616e746564526573706f6e7365120d0a08706c617965722d31120161"))
    assert granted == ("LockGrantedResponse", "1", {"client_id": "player-1", "lock_name": "a"})
    for bad in (b"\x12", b"\x0d\0\0\0\0", GOLDEN_FRAME[4:], b""):
        try:
            decode_payload(bad)
        except ProtocolError:
            continue
        raise AssertionError(f"accepted {bad!r}")


if __name__ == "__main__":
    self_test()
    print("codec: ok")
