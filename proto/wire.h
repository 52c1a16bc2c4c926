/* wire.h - messages of the client protocol as plain values, both directions.
 *
 * The only room that sees the generated protobuf code. Malformed input is refused here
 * and nowhere else: what wire_decode_request() accepts has valid names (1..255 bytes of
 * UTF-8 without control characters, where a name is needed), enums in range, and
 * everything else as SPEC'd in README.md.
 *
 * Strings are borrowed: after decoding they point into the wire_arena given, until it is
 * cleared; before encoding they belong to the caller. A wire_str with len 0 is "absent"
 * or empty.
 *
 * Durations on this level are what the wire carries: uint32 ms, WIRE_UNLIMITED for no
 * limit. */
#ifndef NETLOCK_WIRE_H
#define NETLOCK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire_buf.h"

enum {
    WIRE_NAME_BYTES_MAX = 255,
    WIRE_KEY_BYTES_MAX = 255,
    WIRE_SECRET_BYTES = 16,
    WIRE_TOKEN_BYTES_MIN = 16,
    WIRE_VERSION = 1, /* of the extended protocol, in Hello */
    WIRE_CLAIMS_MAX = 10000,
};
#define WIRE_UNLIMITED UINT32_MAX

struct wire_str {
    const char *data;
    size_t len;
};

/* Memory of decoded messages: chunks that are kept over wire_arena_clear().
 * Zero-initialise.
 * @limit_bytes bounds one message (0: 16 MiB); what does not fit is refused as malformed.
 */
struct wire_arena {
    struct wire_chunk *chunks;
    size_t used_bytes;
    size_t limit_bytes;
};
void wire_arena_clear(struct wire_arena *arena);
void wire_arena_release(struct wire_arena *arena);

enum wire_type { WIRE_WRITE = 0, WIRE_READ = 1 };
enum wire_mode { WIRE_BREAK = 0, WIRE_WAIT = 1 };
enum wire_drop { WIRE_DROP_RELEASE = 0, WIRE_DROP_IGNORE = 1 };

/* ---- requests --------------------------------------------------------------------- */

enum wire_request_type {
    WIRE_REQ_ATTACH = 1,
    WIRE_REQ_DETACH,
    WIRE_REQ_CREATE,
    WIRE_REQ_GET_DEFAULT_ID,
    WIRE_REQ_GET_ATTACHED_IDS,
    WIRE_REQ_LOCK,
    WIRE_REQ_REFRESH,
    WIRE_REQ_RELEASE,
    WIRE_REQ_STATUS,
    WIRE_REQ_HELLO,
    WIRE_REQ_PING,
    WIRE_REQ_CHECK_TOKEN,
    WIRE_REQ_LIST_LOCKS,
    WIRE_REQ_LIST_CLIENTS,
    WIRE_REQ_FORCE_RELEASE,
    WIRE_REQ_CLUSTER_STATUS,
    WIRE_REQ_BACKUP,
    WIRE_REQ_CLIENT_KILL,
    WIRE_REQ_CLUSTER_CHANGE,
    WIRE_REQ_NODE_CONTROL,
};

enum wire_change {
    WIRE_CHANGE_ADD = 1,
    WIRE_CHANGE_PROMOTE,
    WIRE_CHANGE_REMOVE,
    WIRE_CHANGE_TRANSFER,
};

/* Numbers of the protocol's LogLevel; 0: none. */
enum wire_log_level {
    WIRE_LOG_ERROR = 1,
    WIRE_LOG_WARNING,
    WIRE_LOG_INFO,
    WIRE_LOG_DEBUG,
};

struct wire_request {
    enum wire_request_type type;
    struct wire_str key;    /* message_key */
    struct wire_str client; /* empty: the default client */
    struct wire_str lock;
    union {
        struct {
            bool has_epoch;
            uint64_t epoch;
            bool supersede;
            struct wire_str secret; /* empty or WIRE_SECRET_BYTES */
        } attach;
        struct {
            enum wire_type type;
            enum wire_mode mode;
            enum wire_drop drop;
            uint32_t wait_timeout_ms;
            uint32_t lock_timeout_ms;
            uint32_t limit; /* 1 if absent; 0 is malformed */
            bool downgrade;
            struct wire_str owner_info;
            bool has_client_time;
            uint64_t client_time;
        } lock_;
        struct {
            uint32_t wait_timeout_ms;
            uint32_t lock_timeout_ms;
            bool set_drop; /* IGNORE in connection_drop, or the explicit field */
            enum wire_drop drop;
            uint64_t token; /* 0: absent */
            bool has_client_time;
            uint64_t client_time;
        } refresh;
        struct {
            uint64_t token;
        } release, check_token, force_release;
        struct {
            struct wire_str prefix;
            struct wire_str after;
            uint32_t max; /* 1..1000 */
        } list;
        struct {
            uint32_t version_min, version_max;
            struct wire_str library;
            struct wire_str token; /* empty, or 16..255 bytes */
            uint32_t session_grace_ms;
        } hello;
        struct {
            struct wire_str payload; /* at most 255 bytes */
        } ping;
        struct {
            bool checkpoint;
        } cluster_status;
        struct {
            uint64_t backup; /* 0: a new one */
            uint64_t offset;
        } backup;
        struct {
            enum wire_change change;
            uint64_t node_id;                             /* not 0 */
            struct wire_str peer_address, client_address; /* ADD: not empty */
            bool force;
        } cluster_change;
        struct {
            bool has_draining, draining;
            enum wire_log_level log_level; /* 0: as it is */
        } node_control;
    };
};

/* Why a payload was refused. `client`, `lock` and `key` of the request are filled as far
 * as they were readable and valid, so that an answer can name them. */
enum wire_problem {
    WIRE_OK = 0,
    WIRE_MALFORMED,    /* not a Message, wrong wire types, too many parts: close the
                          connection */
    WIRE_UNKNOWN_TYPE, /* a type that this build does not know */
    WIRE_INVALID,      /* well-formed, but a name, an enum or a number is not allowed */
};

struct wire_refusal {
    enum wire_problem problem;
    const char *text; /* for people, static or in the arena: "lock_name: empty" */
};

/* Decode one payload. Returns 0 and fills @ret; or -EINVAL (in want of memory -ENOMEM)
 * and fills
 * @ret_refusal and what was readable of @ret (ret->type is 0 when unknown). */
int wire_decode_request(const uint8_t *payload,
                        size_t len,
                        struct wire_arena *arena,
                        struct wire_request *ret,
                        struct wire_refusal *ret_refusal);

/* ---- responses -------------------------------------------------------------------- */

enum wire_response_type {
    WIRE_RESP_ATTACH = 1,
    WIRE_RESP_DETACH,
    WIRE_RESP_CREATE,
    WIRE_RESP_DEFAULT_ID,
    WIRE_RESP_ATTACHED_IDS,
    WIRE_RESP_DENIED,
    WIRE_RESP_WAIT,
    WIRE_RESP_GRANTED,
    WIRE_RESP_WAIT_TIMEOUT,
    WIRE_RESP_TIMEOUT,
    WIRE_RESP_RELEASE,
    WIRE_RESP_STATUS,
    WIRE_RESP_HELLO,
    WIRE_RESP_PING,
    WIRE_RESP_ERROR,
    WIRE_RESP_CHECK_TOKEN,
    WIRE_RESP_LIST_LOCKS,
    WIRE_RESP_LIST_CLIENTS,
    WIRE_RESP_FORCE_RELEASE,
    WIRE_RESP_CLUSTER_STATUS,
    WIRE_RESP_BACKUP,
    WIRE_RESP_CLIENT_KILL,
    WIRE_RESP_CLUSTER_CHANGE,
    WIRE_RESP_NODE_CONTROL,
};

/* These have the numbers of the enums of the same name in gonetlock.proto; asserted in
 * wire.c. */
enum wire_deny {
    WIRE_DENY_HELD = 1,
    WIRE_DENY_CANCELLED,
    WIRE_DENY_NOT_HELD,
    WIRE_DENY_EXPIRED,
    WIRE_DENY_UPGRADE_CONFLICT,
    WIRE_DENY_LIMIT_MISMATCH,
    WIRE_DENY_NOT_ATTACHED,
    WIRE_DENY_STALE_EPOCH,
    WIRE_DENY_NOT_ALLOWED,
    WIRE_DENY_LIMIT_EXCEEDED,
    WIRE_DENY_INVALID,
};
enum wire_hold_end { WIRE_HOLD_EXPIRED = 1, WIRE_HOLD_BROKEN };
enum wire_release_result {
    WIRE_RELEASED = 1,
    WIRE_WAS_QUEUED,
    WIRE_NOT_HELD,
    WIRE_EXPIRED,
    WIRE_HELD_BY_OTHER,
};
enum wire_lock_state {
    WIRE_FREE = 1,
    WIRE_HELD_BY_ME,
    WIRE_WAITING,
    WIRE_HELD_BY_OTHER_CLIENT
};
enum wire_token_state { WIRE_TOKEN_CURRENT = 1, WIRE_TOKEN_SUPERSEDED, WIRE_TOKEN_FREE };
enum wire_change_result {
    WIRE_CHANGE_DONE = 1,
    WIRE_CHANGE_REFUSED,
    WIRE_CHANGE_UNKNOWN,
    WIRE_CHANGE_MOVED,
};
enum wire_error {
    WIRE_ERROR_NOT_LEADER = 1,
    WIRE_ERROR_UNKNOWN,
    WIRE_ERROR_BUSY,
    WIRE_ERROR_UNKNOWN_TYPE,
    WIRE_ERROR_INVALID,
    WIRE_ERROR_TOO_LARGE,
    WIRE_ERROR_LIMIT,
    WIRE_ERROR_NOT_ALLOWED,
    WIRE_ERROR_VERSION,
    WIRE_ERROR_NOT_ATTACHED,
    WIRE_ERROR_STALE_EPOCH,
};
enum wire_role {
    WIRE_ROLE_FOLLOWER = 1,
    WIRE_ROLE_CANDIDATE,
    WIRE_ROLE_LEADER,
    WIRE_ROLE_SERVING
};

struct wire_position {
    uint64_t index, term, cluster_time_ms;
};

struct wire_claim {
    struct wire_str client, lock, owner_info;
    enum wire_type type;
    enum wire_drop drop;
    bool waiting, connected;
    uint64_t token;
    uint32_t slot, limit;
    uint64_t since_ms;
    uint32_t remaining_ms, lock_timeout_ms;
    uint32_t queue_position;
};

struct wire_member {
    uint64_t node_id;
    struct wire_str client_address, peer_address;
    bool voter;
    uint64_t match_index; /* 0: not known here */
    bool connected;
};

struct wire_lock_summary {
    struct wire_str lock;
    enum wire_type type;
    uint32_t limit, holders_count, queue_length;
    const struct wire_claim *holders, *waiters;
    size_t holders_shown, waiters_shown;
};

struct wire_client_summary {
    struct wire_str client;
    uint64_t epoch;
    uint32_t holds_count, waits_count;
    bool connected;
};

struct wire_response {
    enum wire_response_type type;
    struct wire_str key;
    struct wire_str client;
    struct wire_str lock;
    /* The answer goes to a connection that said Hello: send extension fields. Set by
     * decoding when any were present. Without it only upstream's fields are encoded. */
    bool extended;
    struct wire_position position; /* index 0: not from the log */
    union {
        struct {
            uint64_t epoch;
            const struct wire_claim *claims;
            size_t claims_count;
        } attach;
        struct {
            struct wire_str secret;
        } create;
        struct {
            const struct wire_str *ids;
            size_t ids_count;
        } attached_ids;
        struct {
            enum wire_deny reason; /* 0: a plain answer without reason */
            struct wire_str text;
            const struct wire_claim *holders;
            size_t holders_shown;
            uint32_t holders_count, queue_length;
        } denied;
        struct {
            uint32_t queue_position, queue_length;
        } wait;
        struct {
            uint64_t token;
            enum wire_type type;
            uint32_t slot, lock_timeout_ms, remaining_ms;
            enum wire_drop drop;
            bool has_client_time;
            uint64_t client_time;
        } granted;
        struct {
            uint64_t token;
            enum wire_hold_end reason;
        } timeout;
        struct {
            enum wire_release_result result;
            uint64_t token;
        } release;
        struct {
            enum wire_type type;
            enum wire_lock_state state;
            uint64_t token;
            uint32_t remaining_ms;
            enum wire_drop drop;
            const struct wire_claim *holders;
            size_t holders_shown;
            uint32_t holders_count, queue_length, queue_position, limit, slot;
        } status;
        struct {
            uint32_t version;
            struct wire_str server, cluster_id, leader_address;
            uint64_t node_id, leader_id;
            bool leader;
            const struct wire_member *members;
            size_t members_count;
            uint32_t session_grace_ms, reattach_grace_ms, frame_bytes_max,
                lock_timeout_max_ms;
        } hello;
        struct {
            struct wire_str payload;
        } ping;
        struct {
            enum wire_error code;
            struct wire_str text, leader_address;
            uint64_t leader_id;
            uint32_t retry_after_ms;
        } error;
        struct {
            uint64_t token, superseded_by;
            enum wire_token_state state;
        } check_token;
        struct {
            const struct wire_lock_summary *locks;
            size_t count;
            bool more;
        } list_locks;
        struct {
            const struct wire_client_summary *clients;
            size_t count;
            bool more;
        } list_clients;
        struct {
            uint32_t holds_broken;
        } force_release;
        struct {
            uint64_t node_id, term, leader_id, commit_index, applied_index, last_index;
            uint64_t cluster_time_ms, checkpoint_index, checkpoint_hash;
            uint64_t locks, holds, waits, clients, connections, uptime_ms, last_token;
            uint64_t requests, commits, commits_us;
            uint32_t feature_level, feature_level_max;
            bool draining;
            enum wire_log_level log_level;
            enum wire_role role;
            struct wire_str cluster_id, server, leader_address;
            const struct wire_member *members;
            size_t members_count;
        } cluster_status;
        struct {
            uint64_t backup, offset, size, last_token;
            struct wire_str data;
        } backup;
        struct {
            bool found;
        } client_kill;
        struct {
            enum wire_change_result result;
            struct wire_str text;
        } cluster_change;
        struct {
            uint64_t node_id;
            bool draining;
            enum wire_log_level log_level;
        } node_control;
    };
};

/* Append one whole frame (header and payload) to @buf, growing it as needed.
 * Returns 0; -EMSGSIZE if it would exceed the frame limit (buf unchanged); -ENOMEM. */
int wire_encode_response(struct wire_buf *buf, const struct wire_response *response);

/* The client library's direction. Requests are encoded as they are: the server says what
 * is wrong with them. Decoding returns 0; -EOPNOTSUPP for a type that this build does not
 * know (ret->key is set); -EINVAL if it is no response; -ENOMEM. Unknown values of
 * reasons, results, states, roles and error codes, as a newer server may send them, are
 * decoded as 0. */
int wire_encode_request(struct wire_buf *buf, const struct wire_request *request);
int wire_decode_response(const uint8_t *payload,
                         size_t len,
                         struct wire_arena *arena,
                         struct wire_response *ret);

/* 1..255 bytes of valid UTF-8 without U+0000-U+001F and U+007F-U+009F. */
bool wire_name_valid(const char *data, size_t len);

#endif
