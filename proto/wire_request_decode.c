/* Requests, bytes to value: the server's side, and the only place where input of clients
 * is refused for what it is. */
#include "wire_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    REQUEST_FIELDS_MAX = 128, /* no message has more than 11; but duplicates, features */
    LOCK_LIMIT_MAX = 65535,
    LIST_MAX = 1000,
    LIST_MAX_DEFAULT = 100,
    PING_BYTES_MAX = 255,
};

/* ---- checks ----------------------------------------------------------------------- */

/* The first reason counts. */
static void
refuse(struct wire_refusal *refusal, enum wire_problem problem, const char *text)
{
    if (refusal->problem == WIRE_OK) {
        *refusal = (struct wire_refusal){.problem = problem, .text = text};
    }
}

struct name_texts {
    const char *empty, *too_long, *malformed;
};
static const struct name_texts client_texts = {
    .empty = "client_id: empty",
    .too_long = "client_id: longer than 255 bytes",
    .malformed = "client_id: not UTF-8 or has control characters",
};
static const struct name_texts lock_texts = {
    .empty = "lock_name: empty",
    .too_long = "lock_name: longer than 255 bytes",
    .malformed = "lock_name: not UTF-8 or has control characters",
};
static const struct name_texts owner_info_texts = {
    .too_long = "owner_info: longer than 255 bytes",
    .malformed = "owner_info: not UTF-8 or has control characters",
};
static const struct name_texts library_texts = {
    .too_long = "library: longer than 255 bytes",
    .malformed = "library: not UTF-8 or has control characters",
};
static const struct name_texts token_texts = {
    .too_long = "token: longer than 255 bytes",
    .malformed = "token: not UTF-8 or has control characters",
};
static const struct name_texts prefix_texts = {
    .too_long = "prefix: longer than 255 bytes",
    .malformed = "prefix: not UTF-8 or has control characters",
};
static const struct name_texts after_texts = {
    .too_long = "after: longer than 255 bytes",
    .malformed = "after: not UTF-8 or has control characters",
};

static const struct name_texts address_texts = {
    .empty = "address: empty",
    .too_long = "address: longer than 255 bytes",
    .malformed = "address: not UTF-8 without control characters",
};

/* A name that may be empty; where it may not, its texts have words for that. */
static struct wire_str read_name(ProtobufCBinaryData bytes,
                                 const struct name_texts *texts,
                                 struct wire_refusal *refusal)
{
    struct wire_str name = wire_str_of(bytes);
    if (name.len == 0) {
        return (struct wire_str){0};
    }
    if (wire_name_valid(name.data, name.len)) {
        return name;
    }
    refuse(refusal, WIRE_INVALID,
           name.len > WIRE_NAME_BYTES_MAX ? texts->too_long : texts->malformed);
    return (struct wire_str){0};
}

static struct wire_str read_needed_name(ProtobufCBinaryData bytes,
                                        const struct name_texts *texts,
                                        struct wire_refusal *refusal)
{
    if (bytes.len == 0) {
        refuse(refusal, WIRE_INVALID, texts->empty);
    }
    return read_name(bytes, texts, refusal);
}

/* What is out of range has been refused before; it must only not become a value of the
 * enum. */
static enum wire_drop drop_of(Gonetlock__LockConnectionDrop drop)
{
    return drop == GONETLOCK__LOCK_CONNECTION_DROP__IGNORE ? WIRE_DROP_IGNORE
                                                           : WIRE_DROP_RELEASE;
}

/* ---- one function per message ----------------------------------------------------- */

static void read_attach(const ProtobufCMessage *base,
                        struct wire_request *ret,
                        struct wire_refusal *refusal)
{
    const Gonetlock__ClientAttachRequest *m = (const void *)base;
    ret->client = read_needed_name(m->client_id, &client_texts, refusal);
    ret->attach.has_epoch = m->has_epoch;
    ret->attach.epoch = m->epoch;
    ret->attach.supersede = m->supersede;
    ret->attach.secret = wire_str_of(m->secret);
    if (m->supersede && !m->has_epoch) {
        refuse(refusal, WIRE_INVALID, "supersede: needs an epoch");
    }
    if (m->secret.len != 0 && m->secret.len != WIRE_SECRET_BYTES) {
        refuse(refusal, WIRE_INVALID, "secret: not 16 bytes");
    }
}

static void read_detach(const ProtobufCMessage *base,
                        struct wire_request *ret,
                        struct wire_refusal *refusal)
{
    const Gonetlock__ClientDetachRequest *m = (const void *)base;
    ret->client = read_name(m->client_id, &client_texts, refusal);
}

static void read_nothing(const ProtobufCMessage *base,
                         struct wire_request *ret,
                         struct wire_refusal *refusal)
{
    (void)base;
    (void)ret;
    (void)refusal;
}

static void read_lock(const ProtobufCMessage *base,
                      struct wire_request *ret,
                      struct wire_refusal *refusal)
{
    const Gonetlock__LockRequest *m = (const void *)base;
    ret->client = read_name(m->client_id, &client_texts, refusal);
    ret->lock = read_needed_name(m->lock_name, &lock_texts, refusal);
    ret->lock_.type = m->type == GONETLOCK__LOCK_TYPE__READ ? WIRE_READ : WIRE_WRITE;
    ret->lock_.mode = m->mode == GONETLOCK__LOCK_MODE__WAIT ? WIRE_WAIT : WIRE_BREAK;
    ret->lock_.drop = drop_of(m->connection_drop);
    ret->lock_.wait_timeout_ms = m->wait_timeout;
    ret->lock_.lock_timeout_ms = m->lock_timeout;
    ret->lock_.limit = m->has_limit ? m->limit : 1;
    ret->lock_.downgrade = m->downgrade;
    ret->lock_.owner_info = read_name(m->owner_info, &owner_info_texts, refusal);
    ret->lock_.has_client_time = m->has_client_time;
    ret->lock_.client_time = m->client_time;
    if (ret->lock_.limit < 1 || ret->lock_.limit > LOCK_LIMIT_MAX) {
        refuse(refusal, WIRE_INVALID, "limit: not 1 to 65535");
    }
    if (ret->lock_.limit > 1 && ret->lock_.type == WIRE_READ) {
        refuse(refusal, WIRE_INVALID, "limit: a counting lock has no type READ");
    }
}

static void read_refresh(const ProtobufCMessage *base,
                         struct wire_request *ret,
                         struct wire_refusal *refusal)
{
    const Gonetlock__LockRefreshRequest *m = (const void *)base;
    ret->client = read_name(m->client_id, &client_texts, refusal);
    ret->lock = read_needed_name(m->lock_name, &lock_texts, refusal);
    ret->refresh.wait_timeout_ms = m->wait_timeout;
    ret->refresh.lock_timeout_ms = m->lock_timeout;
    ret->refresh.token = m->token;
    ret->refresh.has_client_time = m->has_client_time;
    ret->refresh.client_time = m->client_time;
    /* proto3 cannot tell RELEASE from unset, so upstream's field only ever turns to
     * IGNORE. */
    if (m->has_set_connection_drop) {
        ret->refresh.set_drop = true;
        ret->refresh.drop = drop_of(m->set_connection_drop);
    } else if (drop_of(m->connection_drop) == WIRE_DROP_IGNORE) {
        ret->refresh.set_drop = true;
        ret->refresh.drop = WIRE_DROP_IGNORE;
    }
}

static void read_release(const ProtobufCMessage *base,
                         struct wire_request *ret,
                         struct wire_refusal *refusal)
{
    const Gonetlock__LockReleaseRequest *m = (const void *)base;
    ret->client = read_name(m->client_id, &client_texts, refusal);
    ret->lock = read_needed_name(m->lock_name, &lock_texts, refusal);
    ret->release.token = m->token;
}

static void read_status(const ProtobufCMessage *base,
                        struct wire_request *ret,
                        struct wire_refusal *refusal)
{
    const Gonetlock__LockStatusRequest *m = (const void *)base;
    ret->client = read_name(m->client_id, &client_texts, refusal);
    ret->lock = read_needed_name(m->lock_name, &lock_texts, refusal);
}

static void read_hello(const ProtobufCMessage *base,
                       struct wire_request *ret,
                       struct wire_refusal *refusal)
{
    const Gonetlock__HelloRequest *m = (const void *)base;
    ret->hello.version_min = m->version_min;
    ret->hello.version_max = m->version_max;
    ret->hello.library = read_name(m->library, &library_texts, refusal);
    ret->hello.token = read_name(m->token, &token_texts, refusal);
    ret->hello.session_grace_ms = m->session_grace;
    if (ret->hello.token.len != 0 && ret->hello.token.len < WIRE_TOKEN_BYTES_MIN) {
        refuse(refusal, WIRE_INVALID, "token: shorter than 16 bytes");
    }
    if (m->version_min > m->version_max) {
        refuse(refusal, WIRE_INVALID, "version_min: above version_max");
    }
}

static void read_ping(const ProtobufCMessage *base,
                      struct wire_request *ret,
                      struct wire_refusal *refusal)
{
    const Gonetlock__PingRequest *m = (const void *)base;
    ret->ping.payload = wire_str_of(m->payload);
    if (m->payload.len > PING_BYTES_MAX) {
        refuse(refusal, WIRE_INVALID, "payload: longer than 255 bytes");
    }
}

static void read_check_token(const ProtobufCMessage *base,
                             struct wire_request *ret,
                             struct wire_refusal *refusal)
{
    const Gonetlock__CheckTokenRequest *m = (const void *)base;
    ret->lock = read_needed_name(m->lock_name, &lock_texts, refusal);
    ret->check_token.token = m->token;
}

static void read_page(ProtobufCBinaryData prefix,
                      ProtobufCBinaryData after,
                      uint32_t max,
                      struct wire_request *ret,
                      struct wire_refusal *refusal)
{
    ret->list.prefix = read_name(prefix, &prefix_texts, refusal);
    ret->list.after = read_name(after, &after_texts, refusal);
    ret->list.max = max != 0 ? max : LIST_MAX_DEFAULT;
    if (max > LIST_MAX) {
        refuse(refusal, WIRE_INVALID, "max: above 1000");
    }
}

static void read_list_locks(const ProtobufCMessage *base,
                            struct wire_request *ret,
                            struct wire_refusal *refusal)
{
    const Gonetlock__ListLocksRequest *m = (const void *)base;
    read_page(m->prefix, m->after, m->max, ret, refusal);
}

static void read_list_clients(const ProtobufCMessage *base,
                              struct wire_request *ret,
                              struct wire_refusal *refusal)
{
    const Gonetlock__ListClientsRequest *m = (const void *)base;
    read_page(m->prefix, m->after, m->max, ret, refusal);
}

static void read_force_release(const ProtobufCMessage *base,
                               struct wire_request *ret,
                               struct wire_refusal *refusal)
{
    const Gonetlock__ForceReleaseRequest *m = (const void *)base;
    ret->lock = read_needed_name(m->lock_name, &lock_texts, refusal);
    ret->force_release.token = m->token;
}

static void read_cluster_status(const ProtobufCMessage *base,
                                struct wire_request *ret,
                                struct wire_refusal *refusal)
{
    (void)refusal;
    const Gonetlock__ClusterStatusRequest *m = (const void *)base;
    ret->cluster_status.checkpoint = m->checkpoint;
}

static void read_backup(const ProtobufCMessage *base,
                        struct wire_request *ret,
                        struct wire_refusal *refusal)
{
    (void)refusal;
    const Gonetlock__BackupRequest *m = (const void *)base;
    ret->backup.backup = m->backup;
    ret->backup.offset = m->offset;
}

static void read_client_kill(const ProtobufCMessage *base,
                             struct wire_request *ret,
                             struct wire_refusal *refusal)
{
    const Gonetlock__ClientKillRequest *m = (const void *)base;
    ret->client = read_needed_name(m->client_id, &client_texts, refusal);
}

static void read_cluster_change(const ProtobufCMessage *base,
                                struct wire_request *ret,
                                struct wire_refusal *refusal)
{
    const Gonetlock__ClusterChangeRequest *m = (const void *)base;
    ret->cluster_change.change = (enum wire_change)m->change;
    ret->cluster_change.node_id = m->node_id;
    ret->cluster_change.force = m->force;
    if (m->change == GONETLOCK__CLUSTER_CHANGE__CHANGE_UNSPECIFIED) {
        refuse(refusal, WIRE_INVALID, "change: missing");
    }
    if (m->node_id == 0) {
        refuse(refusal, WIRE_INVALID, "node_id: missing");
    }
    if (m->change == GONETLOCK__CLUSTER_CHANGE__CHANGE_ADD) {
        ret->cluster_change.peer_address =
            read_needed_name(m->peer_address, &address_texts, refusal);
        ret->cluster_change.client_address =
            read_needed_name(m->client_address, &address_texts, refusal);
    }
}

static void read_node_control(const ProtobufCMessage *base,
                              struct wire_request *ret,
                              struct wire_refusal *refusal)
{
    const Gonetlock__NodeControlRequest *m = (const void *)base;
    ret->node_control.has_draining = m->has_draining != 0;
    ret->node_control.draining = m->draining != 0;
    if (m->log_level != GONETLOCK__LOG_LEVEL__LOG_LEVEL_UNSPECIFIED &&
        protobuf_c_enum_descriptor_get_value(&gonetlock__log_level__descriptor,
                                             (int)m->log_level) == NULL) {
        refuse(refusal, WIRE_INVALID, "log_level: not one of the protocol's");
        return;
    }
    ret->node_control.log_level = (enum wire_log_level)m->log_level;
}

/* ---- dispatch --------------------------------------------------------------------- */

struct kind {
    const char *name;
    size_t name_len;
    enum wire_request_type type;
    const ProtobufCMessageDescriptor *descriptor;
    void (*read)(const ProtobufCMessage *, struct wire_request *, struct wire_refusal *);
};

#define KIND(Name, name_, TYPE, read_)                                                   \
    {                                                                                    \
        .name = "gonetlock." Name, .name_len = sizeof("gonetlock." Name) - 1,            \
        .type = WIRE_REQ_##TYPE, .descriptor = &gonetlock__##name_##__descriptor,        \
        .read = read_                                                                    \
    }
static const struct kind kinds[] = {
    KIND("LockRequest", lock_request, LOCK, read_lock),
    KIND("LockReleaseRequest", lock_release_request, RELEASE, read_release),
    KIND("LockRefreshRequest", lock_refresh_request, REFRESH, read_refresh),
    KIND("LockStatusRequest", lock_status_request, STATUS, read_status),
    KIND("PingRequest", ping_request, PING, read_ping),
    KIND("CheckTokenRequest", check_token_request, CHECK_TOKEN, read_check_token),
    KIND("ClientAttachRequest", client_attach_request, ATTACH, read_attach),
    KIND("ClientDetachRequest", client_detach_request, DETACH, read_detach),
    KIND("ClientCreateRequest", client_create_request, CREATE, read_nothing),
    KIND("ClientGetDefaultIdRequest",
         client_get_default_id_request,
         GET_DEFAULT_ID,
         read_nothing),
    KIND("ClientGetAttachedIdsRequest",
         client_get_attached_ids_request,
         GET_ATTACHED_IDS,
         read_nothing),
    KIND("HelloRequest", hello_request, HELLO, read_hello),
    KIND("ListLocksRequest", list_locks_request, LIST_LOCKS, read_list_locks),
    KIND("ListClientsRequest", list_clients_request, LIST_CLIENTS, read_list_clients),
    KIND("ForceReleaseRequest", force_release_request, FORCE_RELEASE, read_force_release),
    KIND("ClusterStatusRequest",
         cluster_status_request,
         CLUSTER_STATUS,
         read_cluster_status),
    KIND("BackupRequest", backup_request, BACKUP, read_backup),
    KIND("ClientKillRequest", client_kill_request, CLIENT_KILL, read_client_kill),
    KIND("ClusterChangeRequest",
         cluster_change_request,
         CLUSTER_CHANGE,
         read_cluster_change),
    KIND("NodeControlRequest", node_control_request, NODE_CONTROL, read_node_control),
};
#undef KIND

static const struct kind *kind_of(struct wire_str name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].name_len == name.len &&
            memcmp(kinds[i].name, name.data, name.len) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

static void refuse_out_of_range(struct wire_refusal *refusal,
                                const ProtobufCFieldDescriptor *field,
                                struct wire_arena *arena)
{
    static const char format[] = "%s: out of range";
    int error = 0;
    size_t size = strlen(field->name) + sizeof(format);
    char *text = wire_arena_alloc(arena, size, &error);
    if (text != NULL) {
        snprintf(text, size, format, field->name);
    }
    refuse(refusal, WIRE_INVALID, text != NULL ? text : "a number is out of range");
}

static const char no_memory[] = "out of memory";

static int decode_value(const struct kind *kind,
                        const struct wire_envelope *envelope,
                        struct wire_arena *arena,
                        struct wire_request *ret,
                        struct wire_refusal *refusal)
{
    int error = 0;
    struct wire_scan scan;
    if (wire_scan_message(kind->descriptor, envelope->value, envelope->value_len,
                          REQUEST_FIELDS_MAX, WIRE_UNKNOWN_FIELDS_MAX, &scan) != 0) {
        refuse(refusal, WIRE_MALFORMED, "not a message, or one of too many parts");
        return -EINVAL;
    }
    if (scan.out_of_range != NULL) {
        refuse_out_of_range(refusal, scan.out_of_range, arena);
    }
    const ProtobufCMessage *message = wire_unpack(kind->descriptor, envelope->value,
                                                  envelope->value_len, arena, &error);
    if (message == NULL) {
        *refusal = (struct wire_refusal){
            .problem = WIRE_MALFORMED,
            .text = error == -ENOMEM ? no_memory : "a field of the wrong type"};
        return error;
    }
    kind->read(message, ret, refusal);
    return refusal->problem == WIRE_OK ? 0 : -EINVAL;
}

int wire_decode_request(const uint8_t *payload,
                        size_t len,
                        struct wire_arena *arena,
                        struct wire_request *ret,
                        struct wire_refusal *ret_refusal)
{
    *ret = (struct wire_request){0};
    *ret_refusal = (struct wire_refusal){0};
    struct wire_envelope envelope;
    int rv = wire_envelope_open(payload, len, arena, &envelope);
    if (rv != 0) {
        refuse(ret_refusal, WIRE_MALFORMED,
               rv == -ENOMEM ? no_memory : "not a gonetlock.Message");
        return rv;
    }
    ret->key = envelope.key;
    if (envelope.key_invalid) {
        refuse(ret_refusal, WIRE_INVALID,
               "message_key: not UTF-8 or longer than 255 bytes");
    }
    const struct kind *kind = kind_of(envelope.name);
    if (kind == NULL) {
        refuse(ret_refusal, WIRE_UNKNOWN_TYPE,
               "a type of message that this server does not know");
        return -EINVAL;
    }
    ret->type = kind->type;
    return decode_value(kind, &envelope, arena, ret, ret_refusal);
}
