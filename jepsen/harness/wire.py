"""The client protocol as bytes, written from proto/README.md alone: it shares nothing with libnetlock.

    frame = encode("LockRequest", "17", {"client_id": "c1", "lock_name": "a", "mode": WAIT})
    decoder = Decoder()
    for name, key, fields in decoder.feed(data): ...

Fields that are absent are absent from the dict too, except those with a default in `DEFAULTS`.
Unknown fields are ignored, as the reference demands of a client."""

import struct

WRITE, READ = 0, 1
BREAK, WAIT = 0, 1
RELEASE, IGNORE = 0, 1
UNLIMITED = 0xFFFFFFFF
FRAME_BYTES_MAX = 1048576
URL_PREFIX = b"type.googleapis.com/gonetlock."

NOT_LEADER, UNKNOWN, BUSY = 1, 2, 3
STALE_EPOCH = 11
DENY = {1: "held", 2: "cancelled", 3: "not-held", 4: "expired", 5: "upgrade-conflict", 6: "limit-mismatch",
        7: "not-attached", 8: "stale-epoch", 9: "not-allowed", 10: "limit-exceeded", 11: "invalid"}
RELEASE_RESULT = {1: "released", 2: "was-queued", 3: "not-held", 4: "expired", 5: "held-by-other"}
STATE = {1: "free", 2: "mine", 3: "waiting", 4: "other"}
SERVING = 4

# name -> {field: (number, kind)}; kinds: n number, f fixed64, s text, b bytes, or the name of a message;
# a star before it: repeated.
_POSITION = {"position": (110, "LogPosition")}
_NAMES = {"client_id": (1, "s"), "lock_name": (2, "s")}
MESSAGES = {
    "LogPosition": {"index": (1, "n"), "term": (2, "n"), "cluster_time": (3, "n")},
    "Claim": {"client_id": (1, "s"), "lock_name": (2, "s"), "type": (3, "n"), "connection_drop": (4, "n"),
              "waiting": (5, "n"), "token": (6, "n"), "slot": (7, "n"), "limit": (8, "n"),
              "since": (9, "n"), "remaining": (10, "n"), "lock_timeout": (11, "n"),
              "queue_position": (12, "n"), "owner_info": (13, "s"), "connected": (14, "n")},
    "Member": {"node_id": (1, "n"), "client_address": (2, "s"), "peer_address": (3, "s"), "voter": (4, "n")},
    "HelloRequest": {"version_min": (1, "n"), "version_max": (2, "n"), "library": (3, "s"),
                     "session_grace": (4, "n")},
    "HelloResponse": {"version": (1, "n"), "server": (2, "s"), "cluster_id": (3, "s"), "node_id": (4, "n"),
                      "leader": (5, "n"), "leader_id": (6, "n"), "leader_address": (7, "s"),
                      "session_grace": (9, "n"), "reattach_grace": (10, "n")},
    "ClientAttachRequest": {"client_id": (1, "s"), "epoch": (100, "n"), "supersede": (101, "n"),
                            "secret": (102, "b")},
    "ClientAttachResponse": {"client_id": (1, "s"), "epoch": (100, "n"), "claims": (101, "*Claim"),
                             **_POSITION},
    "ClientDetachRequest": {"client_id": (1, "s")},
    "ClientDetachResponse": {"client_id": (1, "s"), **_POSITION},
    "LockRequest": {**_NAMES, "type": (3, "n"), "mode": (4, "n"), "wait_timeout": (5, "n"),
                    "lock_timeout": (6, "n"), "connection_drop": (7, "n"), "limit": (100, "n"),
                    "downgrade": (101, "n"), "owner_info": (102, "s"), "client_time": (103, "n")},
    "LockRefreshRequest": {**_NAMES, "mode": (3, "n"), "wait_timeout": (4, "n"), "lock_timeout": (5, "n"),
                           "connection_drop": (6, "n"), "token": (100, "n"),
                           "set_connection_drop": (101, "n"), "client_time": (103, "n")},
    "LockReleaseRequest": {**_NAMES, "token": (100, "n")},
    "LockStatusRequest": {**_NAMES},
    "LockDeniedResponse": {**_NAMES, "reason": (100, "n"), "text": (101, "s"), "holders": (102, "*Claim"),
                           "holders_count": (103, "n"), "queue_length": (104, "n"), **_POSITION},
    "LockWaitResponse": {**_NAMES, "queue_position": (100, "n"), "queue_length": (101, "n"), **_POSITION},
    "LockGrantedResponse": {**_NAMES, "token": (100, "n"), "type": (101, "n"), "slot": (102, "n"),
                            "lock_timeout": (103, "n"), "remaining": (104, "n"),
                            "connection_drop": (105, "n"), "client_time": (106, "n"), **_POSITION},
    "LockWaitTimeoutResponse": {**_NAMES, **_POSITION},
    "LockTimeoutResponse": {**_NAMES, "token": (100, "n"), "reason": (101, "n"), **_POSITION},
    "LockReleaseResponse": {**_NAMES, "result": (100, "n"), "token": (101, "n"), **_POSITION},
    "LockStatusResponse": {**_NAMES, "type": (3, "n"), "state": (100, "n"), "token": (101, "n"),
                           "remaining": (102, "n"), "connection_drop": (103, "n"), "holders": (104, "*Claim"),
                           "holders_count": (105, "n"), "queue_length": (106, "n"),
                           "queue_position": (107, "n"), "limit": (108, "n"), "slot": (109, "n"),
                           **_POSITION},
    "PingRequest": {"payload": (1, "b")},
    "PingResponse": {"payload": (1, "b")},
    "ErrorResponse": {"code": (1, "n"), "text": (2, "s"), "leader_id": (3, "n"), "leader_address": (4, "s"),
                      "retry_after": (5, "n"), "client_id": (6, "s"), "lock_name": (7, "s")},
    "CheckTokenRequest": {"lock_name": (1, "s"), "token": (2, "n")},
    "CheckTokenResponse": {"lock_name": (1, "s"), "token": (2, "n"), "state": (3, "n"),
                           "superseded_by": (4, "n"), **_POSITION},
    "ClusterStatusRequest": {"checkpoint": (1, "n")},
    "ClusterStatusResponse": {"node_id": (1, "n"), "cluster_id": (2, "s"), "server": (3, "s"),
                              "role": (4, "n"), "term": (5, "n"), "leader_id": (6, "n"),
                              "leader_address": (7, "s"), "commit_index": (9, "n"),
                              "applied_index": (10, "n"), "last_index": (11, "n"), "cluster_time": (12, "n"),
                              "checkpoint_index": (13, "n"), "checkpoint_hash": (14, "f"),
                              "locks": (15, "n"), "holds": (16, "n"), "waits": (17, "n"),
                              "clients": (18, "n"), "connections": (19, "n"), "uptime": (20, "n"),
                              "last_token": (21, "n")},
}
# A zero is not sent; these read as zero or empty when they are absent.
DEFAULTS = {
    "LogPosition": {"index": 0, "term": 0, "cluster_time": 0},
    "Claim": {"client_id": "", "lock_name": "", "type": 0, "connection_drop": 0, "waiting": 0, "token": 0,
              "slot": 0, "limit": 0, "remaining": 0},
    "HelloResponse": {"leader": 0, "leader_id": 0, "node_id": 0},
    "LockGrantedResponse": {"type": 0, "slot": 0, "token": 0},
    "ErrorResponse": {"code": 0, "text": "", "leader_id": 0, "retry_after": 0},
    "ClusterStatusResponse": {"role": 0, "term": 0, "leader_id": 0, "checkpoint_index": 0,
                              "checkpoint_hash": 0, "holds": 0, "waits": 0, "applied_index": 0},
}
_BY_NUMBER = {name: {number: (field, kind) for field, (number, kind) in fields.items()}
              for name, fields in MESSAGES.items()}


class ProtocolError(Exception):
    """The server sent bytes that the reference does not allow."""


def varint(value):
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_TAGS = {(number, wire): varint(number << 3 | wire) for number in range(1, 128) for wire in (0, 1, 2)}


def _bytes_field(number, value):
    return _TAGS[number, 2] + varint(len(value)) + value


def encode_value(name, fields):
    """Upstream's fields (below 100) are left out when they are zero; extensions say what they are given."""
    known = MESSAGES[name]
    out = []
    for field, value in fields.items():
        number, kind = known[field]
        if not value and number < 100:
            continue
        if kind == "n":
            out.append(_TAGS[number, 0] + varint(int(value)))
        else:
            out.append(_bytes_field(number, value.encode() if kind == "s" else value))
    return b"".join(out)


def encode(name, key, fields):
    """One whole frame."""
    value = encode_value(name, fields)
    inner = _bytes_field(1, URL_PREFIX + name.encode())
    if value:
        inner += _bytes_field(2, value)
    payload = _bytes_field(2, inner)
    if key:
        payload = _bytes_field(1, key.encode()) + payload
    return struct.pack(">I", len(payload)) + payload


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ProtocolError("a varint is too long")


def _fields(data):
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _read_varint(data, at)
        elif wire == 2:
            length, at = _read_varint(data, at)
            value, at = data[at:at + length], at + length
        elif wire == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        else:
            raise ProtocolError(f"wire type {wire}")
        if at > end:
            raise ProtocolError("a field is cut short")
        yield tag >> 3, value


def decode_value(name, data):
    known = _BY_NUMBER[name]
    out = dict(DEFAULTS.get(name, ()))
    for number, value in _fields(data):
        if number not in known:
            continue
        field, kind = known[number]
        if kind == "s":
            out[field] = value.decode()
        elif kind in ("n", "f", "b"):
            out[field] = value
        elif kind[0] == "*":
            out.setdefault(field, []).append(decode_value(kind[1:], value))
        else:
            out[field] = decode_value(kind, value)
    return out


def decode(payload):
    """(name, key, fields) of one payload."""
    key, inner = "", b""
    for number, value in _fields(payload):
        if number == 1:
            key = value.decode()
        elif number == 2:
            inner = value
    url, body = b"", b""
    for number, value in _fields(inner):
        if number == 1:
            url = value
        elif number == 2:
            body = value
    name = url.rsplit(b"/", 1)[-1].decode().rsplit(".", 1)[-1]
    if name not in MESSAGES:
        raise ProtocolError(f"unknown message {name!r}")
    try:
        return name, key, decode_value(name, body)
    except (IndexError, struct.error, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise ProtocolError(f"{name}: {error}") from error


class Decoder:
    """Bytes of a stream, in pieces, to messages."""

    def __init__(self):
        self._data = b""

    def feed(self, data):
        data = self._data + data if self._data else data
        at = 0
        while len(data) - at >= 4:
            length = int.from_bytes(data[at:at + 4], "big")
            if length > FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame of {length} bytes")
            if len(data) - at - 4 < length:
                break
            at += 4 + length
            if length:
                yield decode(data[at - length:at])
        self._data = data[at:]
