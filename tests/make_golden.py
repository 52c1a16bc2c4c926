#!/usr/bin/env python3
"""Writes golden_messages.h and fuzz/corpus/wire/*: every message of the protocol with all its fields, encoded
by protoc, that is by Google's implementation and not by ours. Run it after a change of the schema.

    tests/make_golden.py        (needs protoc; the result is committed)
"""
import pathlib
import subprocess

TESTS = pathlib.Path(__file__).resolve().parent
PROTO = TESTS.parent / "proto"

POSITION = "position { index: 1001 term: 7 cluster_time: 123456789012 }"
# Holders of the lock "n" as an answer about that lock names them; the second has zeros everywhere.
HOLDERS = """
  holders { client_id: "h1" type: READ connection_drop: IGNORE token: 41 slot: 2 limit: 3 since: 5000000000
            remaining: 60 lock_timeout: 70 owner_info: "host:pid" connected: true }
  holders { client_id: "h2" }"""
MEMBERS = """
  members { node_id: 1 client_address: "a:1" peer_address: "a:2" voter: true }
  members { node_id: 2 client_address: "b:1" peer_address: "b:2" match_index: 9 connected: true }"""

REQUESTS = {
    "ATTACH": ('ClientAttachRequest', 'client_id: "c" epoch: 5 supersede: true secret: "0123456789abcdef"'),
    "ATTACH_ZERO": ('ClientAttachRequest', 'client_id: "c" epoch: 0'),
    "DETACH": ('ClientDetachRequest', 'client_id: "c"'),
    "CREATE": ('ClientCreateRequest', ''),
    "GET_DEFAULT_ID": ('ClientGetDefaultIdRequest', ''),
    "GET_ATTACHED_IDS": ('ClientGetAttachedIdsRequest', ''),
    "LOCK": ('LockRequest', '''client_id: "c" lock_name: "n" mode: WAIT wait_timeout: 4294967295
        lock_timeout: 30000 connection_drop: IGNORE limit: 2 downgrade: true owner_info: "me"
        client_time: 18446744073709551615'''),
    "LOCK_READ": ('LockRequest', 'lock_name: "n" type: READ client_time: 0'),
    "REFRESH": ('LockRefreshRequest', '''client_id: "c" lock_name: "n" wait_timeout: 5 lock_timeout: 6
        token: 77 set_connection_drop: RELEASE client_time: 8'''),
    "RELEASE": ('LockReleaseRequest', 'client_id: "c" lock_name: "n" token: 77'),
    "STATUS": ('LockStatusRequest', 'client_id: "c" lock_name: "n"'),
    "HELLO": ('HelloRequest', 'version_min: 1 version_max: 2 library: "lib/1.0" session_grace: 10000 token: "0123456789abcdef"'),
    "PING": ('PingRequest', 'payload: "\\000\\377"'),
    "CHECK_TOKEN": ('CheckTokenRequest', 'lock_name: "n" token: 77'),
    "LIST_LOCKS": ('ListLocksRequest', 'prefix: "p" after: "pa" max: 1000'),
    "LIST_CLIENTS": ('ListClientsRequest', 'prefix: "p" after: "pa" max: 1'),
    "FORCE_RELEASE": ('ForceReleaseRequest', 'lock_name: "n" token: 77'),
    "CLUSTER_STATUS": ('ClusterStatusRequest', 'checkpoint: true'),
    "BACKUP": ('BackupRequest', 'backup: 18446744073709551615 offset: 262144'),
    "CLIENT_KILL": ('ClientKillRequest', 'client_id: "c"'),
    "CLUSTER_CHANGE": ('ClusterChangeRequest', '''change: CHANGE_ADD node_id: 4 peer_address: "d:2" client_address: "d:1"
        force: true'''),
    "NODE_CONTROL": ('NodeControlRequest', 'draining: false log_level: LOG_ERROR'),
}

RESPONSES = {
    "ATTACH": ('ClientAttachResponse', f'''client_id: "c" epoch: 0
        claims {{ lock_name: "n1" token: 9 remaining: 4294967295 lock_timeout: 4294967295 limit: 1 }}
        claims {{ lock_name: "n2" waiting: true queue_position: 3 }} {POSITION}'''),
    "ATTACH_PLAIN": ('ClientAttachResponse', 'client_id: "c"'),
    "DETACH": ('ClientDetachResponse', f'client_id: "c" {POSITION}'),
    "DETACH_PLAIN": ('ClientDetachResponse', 'client_id: "c"'),
    "CREATE": ('ClientCreateResponse', f'client_id: "c" secret: "0123456789abcdef" {POSITION}'),
    "CREATE_PLAIN": ('ClientCreateResponse', 'client_id: "c"'),
    "DEFAULT_ID": ('ClientGetDefaultIdResponse', 'client_id: "c"'),
    "ATTACHED_IDS": ('ClientGetAttachedIdsResponse', 'client_ids: "c" client_ids: "d"'),
    "DENIED": ('LockDeniedResponse', f'''client_id: "c" lock_name: "n" reason: DENY_HELD text: "held"
        {HOLDERS} holders_count: 17 queue_length: 6 {POSITION}'''),
    "DENIED_PLAIN": ('LockDeniedResponse', 'client_id: "c" lock_name: "n"'),
    "WAIT": ('LockWaitResponse', f'client_id: "c" lock_name: "n" queue_position: 2 queue_length: 5 {POSITION}'),
    "WAIT_PLAIN": ('LockWaitResponse', 'client_id: "c" lock_name: "n"'),
    "GRANTED": ('LockGrantedResponse', f'''client_id: "c" lock_name: "n" token: 42 type: WRITE slot: 0
        lock_timeout: 30000 remaining: 29000 connection_drop: RELEASE client_time: 0 {POSITION}'''),
    "GRANTED_SLOT": ('LockGrantedResponse', f'''client_id: "c" lock_name: "n" token: 42 type: READ slot: 7
        lock_timeout: 0 remaining: 0 connection_drop: IGNORE {POSITION}'''),
    "GRANTED_PLAIN": ('LockGrantedResponse', 'client_id: "c" lock_name: "n"'),
    "WAIT_TIMEOUT": ('LockWaitTimeoutResponse', f'client_id: "c" lock_name: "n" {POSITION}'),
    "WAIT_TIMEOUT_PLAIN": ('LockWaitTimeoutResponse', 'client_id: "c" lock_name: "n"'),
    "TIMEOUT": ('LockTimeoutResponse', f'''client_id: "c" lock_name: "n" token: 42
        reason: HOLD_END_BROKEN {POSITION}'''),
    "TIMEOUT_PLAIN": ('LockTimeoutResponse', 'client_id: "c" lock_name: "n"'),
    "RELEASE": ('LockReleaseResponse', f'''client_id: "c" lock_name: "n" result: HELD_BY_OTHER token: 42
        {POSITION}'''),
    "RELEASE_PLAIN": ('LockReleaseResponse', 'client_id: "c" lock_name: "n"'),
    "STATUS": ('LockStatusResponse', f'''client_id: "c" lock_name: "n" type: READ state: HELD_BY_ME token: 42
        remaining: 0 connection_drop: IGNORE {HOLDERS} holders_count: 2 queue_length: 4 queue_position: 1
        limit: 3 slot: 2 {POSITION}'''),
    "STATUS_PLAIN": ('LockStatusResponse', 'client_id: "c" lock_name: "n" type: READ'),
    "HELLO": ('HelloResponse', f'''version: 1 server: "netlockd/1" cluster_id: "id" node_id: 2 leader: true
        leader_id: 2 leader_address: "b:1" {MEMBERS} session_grace: 1 reattach_grace: 2 frame_bytes_max: 3
        lock_timeout_max: 4'''),
    "PING": ('PingResponse', 'payload: "\\000\\377"'),
    "ERROR": ('ErrorResponse', '''code: ERROR_NOT_LEADER text: "elsewhere" leader_id: 3
        leader_address: "c:1" retry_after: 50 client_id: "c" lock_name: "n"'''),
    "CHECK_TOKEN": ('CheckTokenResponse', f'''lock_name: "n" token: 41 state: TOKEN_SUPERSEDED
        superseded_by: 42 {POSITION}'''),
    "LIST_LOCKS": ('ListLocksResponse', f'''locks {{ lock_name: "n" type: READ limit: 1 holders_count: 2
        queue_length: 3 {HOLDERS} waiters {{ client_id: "w" waiting: true queue_position: 1 }} }} locks {{ lock_name: "o" }} more: true {POSITION}'''),
    "LIST_CLIENTS": ('ListClientsResponse', f'''clients {{ client_id: "c" epoch: 5 holds_count: 6
        waits_count: 7 connected: true }} clients {{ client_id: "d" }} more: true {POSITION}'''),
    "FORCE_RELEASE": ('ForceReleaseResponse', f'lock_name: "n" holds_broken: 2 {POSITION}'),
    "CLUSTER_STATUS": ('ClusterStatusResponse', f'''node_id: 1 cluster_id: "id" server: "netlockd/1"
        role: ROLE_SERVING term: 7 leader_id: 1 leader_address: "a:1" {MEMBERS} commit_index: 9
        applied_index: 8 last_index: 10 cluster_time: 11 checkpoint_index: 12
        checkpoint_hash: 18446744073709551614 locks: 13 holds: 14 waits: 15 clients: 16 connections: 18
        uptime: 19 last_token: 20 draining: true log_level: LOG_DEBUG feature_level: 21
        feature_level_max: 22 requests: 23 commits: 24 commits_time: 25'''),
    "BACKUP": ('BackupResponse', f'backup: 3 offset: 4 size: 5 data: "NLBK" last_token: 6 {POSITION}'),
    "CLIENT_KILL": ('ClientKillResponse', f'client_id: "c" found: true {POSITION}'),
    "CLUSTER_CHANGE": ('ClusterChangeResponse', 'result: RESULT_REFUSED text: "no"'),
    "NODE_CONTROL": ('NodeControlResponse', 'node_id: 3 draining: true log_level: LOG_WARNING'),
}


def encode(message, fields):
    text = f'message_key: "k" message {{ [type.googleapis.com/gonetlock.{message}] {{ {fields} }} }}'
    return subprocess.run(
        ["protoc", "--encode=gonetlock.Message", f"-I{PROTO}", "gonetlock.proto"],
        input=text.encode(), stdout=subprocess.PIPE, check=True, cwd=PROTO).stdout


def c_string(name, data):
    lines = [f"static const char {name}[] ="]
    digits = data.hex()
    for at in range(0, len(digits), 76):
        lines.append(f'    "{digits[at:at + 76]}"')
    return "\n".join(lines) + ";\n"


def main():
    out = ["/* golden_messages.h - every message with all its fields, in hex, as protoc encodes it.\n"
           " * Written by make_golden.py, which has the values in readable form. */\n"
           "#ifndef NETLOCK_GOLDEN_MESSAGES_H\n#define NETLOCK_GOLDEN_MESSAGES_H\n\n"]
    for direction, messages in (("request", REQUESTS), ("response", RESPONSES)):
        for name, (message, fields) in messages.items():
            data = encode(message, fields)
            out.append(c_string(f"golden_{direction}_{name.lower()}", data))
            (TESTS / "fuzz/corpus/wire" / f"{direction}_{name.lower()}").write_bytes(data)
    out.append("\n#endif\n")
    (TESTS / "golden_messages.h").write_text("".join(out))


if __name__ == "__main__":
    main()
