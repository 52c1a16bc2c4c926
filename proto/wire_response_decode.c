/* Responses, bytes to value: the client library's side. A server may be newer than this
 * build, so unknown fields are skipped in any number and unknown reasons, results and
 * states become 0; what decides who holds a lock must be understood, or the message is
 * refused. */
#include "wire_internal.h"

#include <errno.h>
#include <string.h>

/* One message being read; the first failure sticks. */
struct reading {
    struct wire_arena *arena;
    int error;
};

/* ---- parts ------------------------------------------------------------------------ */

/* Names are checked here too: they end up in the logs and on the terminals of people. */
static struct wire_str read_name(struct reading *reading, ProtobufCBinaryData bytes)
{
    struct wire_str name = wire_str_of(bytes);
    if (name.len == 0) {
        return (struct wire_str){0};
    }
    if (!wire_name_valid(name.data, name.len)) {
        reading->error = -EINVAL;
        return (struct wire_str){0};
    }
    return name;
}

static enum wire_type read_type(struct reading *reading, Gonetlock__LockType type)
{
    if (type != GONETLOCK__LOCK_TYPE__WRITE && type != GONETLOCK__LOCK_TYPE__READ) {
        reading->error = -EINVAL;
        return WIRE_WRITE;
    }
    return (enum wire_type)type;
}

static enum wire_drop read_drop(struct reading *reading,
                                Gonetlock__LockConnectionDrop drop)
{
    if (drop != GONETLOCK__LOCK_CONNECTION_DROP__RELEASE &&
        drop != GONETLOCK__LOCK_CONNECTION_DROP__IGNORE) {
        reading->error = -EINVAL;
        return WIRE_DROP_RELEASE;
    }
    return (enum wire_drop)drop;
}

static int known_or_zero(const ProtobufCEnumDescriptor *descriptor, int value)
{
    return protobuf_c_enum_descriptor_get_value(descriptor, value) != NULL ? value : 0;
}

static struct wire_position read_position(const Gonetlock__LogPosition *position)
{
    if (position == NULL) {
        return (struct wire_position){0};
    }
    return (struct wire_position){.index = position->index,
                                  .term = position->term,
                                  .cluster_time_ms = position->cluster_time};
}

/* NULL when there is nothing to allocate, or on failure. */
static void *alloc_array(struct reading *reading, size_t count, size_t size)
{
    int error = 0;
    if (count == 0 || reading->error != 0) {
        return NULL;
    }
    void *memory = wire_arena_alloc(reading->arena, count * size, &error);
    if (memory == NULL) {
        reading->error = error == -ENOMEM ? -ENOMEM : -EINVAL;
    }
    return memory;
}

static struct wire_claim read_claim(struct reading *reading, const Gonetlock__Claim *m)
{
    return (struct wire_claim){
        .client = read_name(reading, m->client_id),
        .lock = read_name(reading, m->lock_name),
        .owner_info = read_name(reading, m->owner_info),
        .type = read_type(reading, m->type),
        .drop = read_drop(reading, m->connection_drop),
        .waiting = m->waiting,
        .connected = m->connected,
        .token = m->token,
        .slot = m->slot,
        .limit = m->limit,
        .since_ms = m->since,
        .remaining_ms = m->remaining,
        .lock_timeout_ms = m->lock_timeout,
        .queue_position = m->queue_position,
    };
}

/* What a claim leaves out is what its answer says. */
static const struct wire_claim *read_claims(struct reading *reading,
                                            Gonetlock__Claim *const *parts,
                                            size_t count,
                                            struct wire_str answer_client,
                                            struct wire_str answer_lock)
{
    struct wire_claim *claims = alloc_array(reading, count, sizeof(*claims));
    if (claims == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        claims[i] = read_claim(reading, parts[i]);
        if (claims[i].client.len == 0) {
            claims[i].client = answer_client;
        }
        if (claims[i].lock.len == 0) {
            claims[i].lock = answer_lock;
        }
    }
    return claims;
}

static const struct wire_member *
read_members(struct reading *reading, Gonetlock__Member *const *parts, size_t count)
{
    struct wire_member *members = alloc_array(reading, count, sizeof(*members));
    if (members == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        members[i] = (struct wire_member){
            .node_id = parts[i]->node_id,
            .client_address = read_name(reading, parts[i]->client_address),
            .peer_address = read_name(reading, parts[i]->peer_address),
            .voter = parts[i]->voter,
            .match_index = parts[i]->match_index,
            .connected = parts[i]->connected,
        };
    }
    return members;
}

/* ---- upstream's responses --------------------------------------------------------- */

static void read_attach(struct reading *reading,
                        const ProtobufCMessage *base,
                        struct wire_response *ret)
{
    const Gonetlock__ClientAttachResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->position = read_position(m->position);
    ret->attach.epoch = m->epoch;
    ret->attach.claims_count = m->n_claims;
    ret->attach.claims =
        read_claims(reading, m->claims, m->n_claims, ret->client, (struct wire_str){0});
}

static void read_detach(struct reading *reading,
                        const ProtobufCMessage *base,
                        struct wire_response *ret)
{
    const Gonetlock__ClientDetachResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->position = read_position(m->position);
}

static void read_create(struct reading *reading,
                        const ProtobufCMessage *base,
                        struct wire_response *ret)
{
    const Gonetlock__ClientCreateResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->position = read_position(m->position);
    ret->create.secret = wire_str_of(m->secret);
    if (m->secret.len != 0 && m->secret.len != WIRE_SECRET_BYTES) {
        reading->error = -EINVAL;
    }
}

static void read_default_id(struct reading *reading,
                            const ProtobufCMessage *base,
                            struct wire_response *ret)
{
    const Gonetlock__ClientGetDefaultIdResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
}

static void read_attached_ids(struct reading *reading,
                              const ProtobufCMessage *base,
                              struct wire_response *ret)
{
    const Gonetlock__ClientGetAttachedIdsResponse *m = (const void *)base;
    struct wire_str *ids = alloc_array(reading, m->n_client_ids, sizeof(*ids));
    ret->attached_ids.ids = ids;
    ret->attached_ids.ids_count = m->n_client_ids;
    for (size_t i = 0; ids != NULL && i < m->n_client_ids; i++) {
        ids[i] = read_name(reading, m->client_ids[i]);
    }
}

static void read_denied(struct reading *reading,
                        const ProtobufCMessage *base,
                        struct wire_response *ret)
{
    const Gonetlock__LockDeniedResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->denied.reason = (enum wire_deny)known_or_zero(
        &gonetlock__deny_reason__descriptor, (int)m->reason);
    ret->denied.text = wire_str_of(m->text);
    ret->denied.holders_shown = m->n_holders;
    ret->denied.holders =
        read_claims(reading, m->holders, m->n_holders, ret->client, ret->lock);
    ret->denied.holders_count = m->holders_count;
    ret->denied.queue_length = m->queue_length;
}

static void read_wait(struct reading *reading,
                      const ProtobufCMessage *base,
                      struct wire_response *ret)
{
    const Gonetlock__LockWaitResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->wait.queue_position = m->queue_position;
    ret->wait.queue_length = m->queue_length;
}

static void read_granted(struct reading *reading,
                         const ProtobufCMessage *base,
                         struct wire_response *ret)
{
    const Gonetlock__LockGrantedResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->granted.token = m->token;
    ret->granted.type = read_type(reading, m->type);
    ret->granted.slot = m->slot;
    ret->granted.lock_timeout_ms = m->lock_timeout;
    ret->granted.remaining_ms = m->remaining;
    ret->granted.drop = read_drop(reading, m->connection_drop);
    ret->granted.has_client_time = m->has_client_time;
    ret->granted.client_time = m->client_time;
}

static void read_wait_timeout(struct reading *reading,
                              const ProtobufCMessage *base,
                              struct wire_response *ret)
{
    const Gonetlock__LockWaitTimeoutResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
}

static void read_timeout(struct reading *reading,
                         const ProtobufCMessage *base,
                         struct wire_response *ret)
{
    const Gonetlock__LockTimeoutResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->timeout.token = m->token;
    ret->timeout.reason = (enum wire_hold_end)known_or_zero(
        &gonetlock__hold_end__descriptor, (int)m->reason);
}

static void read_release(struct reading *reading,
                         const ProtobufCMessage *base,
                         struct wire_response *ret)
{
    const Gonetlock__LockReleaseResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->release.result = (enum wire_release_result)known_or_zero(
        &gonetlock__release_result__descriptor, (int)m->result);
    ret->release.token = m->token;
}

static void read_status(struct reading *reading,
                        const ProtobufCMessage *base,
                        struct wire_response *ret)
{
    const Gonetlock__LockStatusResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->status.type = read_type(reading, m->type);
    ret->status.state = (enum wire_lock_state)known_or_zero(
        &gonetlock__lock_state__descriptor, (int)m->state);
    ret->status.token = m->token;
    ret->status.remaining_ms = m->remaining;
    ret->status.drop = read_drop(reading, m->connection_drop);
    ret->status.holders_shown = m->n_holders;
    ret->status.holders =
        read_claims(reading, m->holders, m->n_holders, ret->client, ret->lock);
    ret->status.holders_count = m->holders_count;
    ret->status.queue_length = m->queue_length;
    ret->status.queue_position = m->queue_position;
    ret->status.limit = m->limit;
    ret->status.slot = m->slot;
}

/* ---- responses to connections that said Hello ------------------------------------- */

static void read_hello(struct reading *reading,
                       const ProtobufCMessage *base,
                       struct wire_response *ret)
{
    const Gonetlock__HelloResponse *m = (const void *)base;
    ret->hello.version = m->version;
    ret->hello.server = read_name(reading, m->server);
    ret->hello.cluster_id = read_name(reading, m->cluster_id);
    ret->hello.leader_address = read_name(reading, m->leader_address);
    ret->hello.node_id = m->node_id;
    ret->hello.leader_id = m->leader_id;
    ret->hello.leader = m->leader;
    ret->hello.members = read_members(reading, m->members, m->n_members);
    ret->hello.members_count = m->n_members;
    ret->hello.session_grace_ms = m->session_grace;
    ret->hello.reattach_grace_ms = m->reattach_grace;
    ret->hello.frame_bytes_max = m->frame_bytes_max;
    ret->hello.lock_timeout_max_ms = m->lock_timeout_max;
}

static void read_ping(struct reading *reading,
                      const ProtobufCMessage *base,
                      struct wire_response *ret)
{
    (void)reading;
    const Gonetlock__PingResponse *m = (const void *)base;
    ret->ping.payload = wire_str_of(m->payload);
}

static void read_error(struct reading *reading,
                       const ProtobufCMessage *base,
                       struct wire_response *ret)
{
    const Gonetlock__ErrorResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->lock = read_name(reading, m->lock_name);
    ret->error.code =
        (enum wire_error)known_or_zero(&gonetlock__error_code__descriptor, (int)m->code);
    ret->error.text = wire_str_of(m->text);
    ret->error.leader_address = read_name(reading, m->leader_address);
    ret->error.leader_id = m->leader_id;
    ret->error.retry_after_ms = m->retry_after;
}

static void read_check_token(struct reading *reading,
                             const ProtobufCMessage *base,
                             struct wire_response *ret)
{
    const Gonetlock__CheckTokenResponse *m = (const void *)base;
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->check_token.token = m->token;
    ret->check_token.superseded_by = m->superseded_by;
    ret->check_token.state = (enum wire_token_state)known_or_zero(
        &gonetlock__token_state__descriptor, (int)m->state);
}

static void read_list_locks(struct reading *reading,
                            const ProtobufCMessage *base,
                            struct wire_response *ret)
{
    const Gonetlock__ListLocksResponse *m = (const void *)base;
    struct wire_lock_summary *locks = alloc_array(reading, m->n_locks, sizeof(*locks));
    ret->position = read_position(m->position);
    ret->list_locks.locks = locks;
    ret->list_locks.count = m->n_locks;
    ret->list_locks.more = m->more;
    for (size_t i = 0; locks != NULL && i < m->n_locks; i++) {
        const Gonetlock__LockSummary *part = m->locks[i];
        struct wire_str name = read_name(reading, part->lock_name);
        locks[i] = (struct wire_lock_summary){
            .lock = name,
            .type = read_type(reading, part->type),
            .limit = part->limit,
            .holders_count = part->holders_count,
            .queue_length = part->queue_length,
            .holders = read_claims(reading, part->holders, part->n_holders,
                                   (struct wire_str){0}, name),
            .holders_shown = part->n_holders,
            .waiters = read_claims(reading, part->waiters, part->n_waiters,
                                   (struct wire_str){0}, name),
            .waiters_shown = part->n_waiters,
        };
    }
}

static void read_list_clients(struct reading *reading,
                              const ProtobufCMessage *base,
                              struct wire_response *ret)
{
    const Gonetlock__ListClientsResponse *m = (const void *)base;
    struct wire_client_summary *clients =
        alloc_array(reading, m->n_clients, sizeof(*clients));
    ret->position = read_position(m->position);
    ret->list_clients.clients = clients;
    ret->list_clients.count = m->n_clients;
    ret->list_clients.more = m->more;
    for (size_t i = 0; clients != NULL && i < m->n_clients; i++) {
        const Gonetlock__ClientSummary *part = m->clients[i];
        clients[i] = (struct wire_client_summary){
            .client = read_name(reading, part->client_id),
            .epoch = part->epoch,
            .holds_count = part->holds_count,
            .waits_count = part->waits_count,
            .connected = part->connected,
        };
    }
}

static void read_force_release(struct reading *reading,
                               const ProtobufCMessage *base,
                               struct wire_response *ret)
{
    const Gonetlock__ForceReleaseResponse *m = (const void *)base;
    ret->lock = read_name(reading, m->lock_name);
    ret->position = read_position(m->position);
    ret->force_release.holds_broken = m->holds_broken;
}

static enum wire_log_level read_log_level(Gonetlock__LogLevel level)
{
    return (enum wire_log_level)known_or_zero(&gonetlock__log_level__descriptor,
                                              (int)level);
}

static void read_cluster_status(struct reading *reading,
                                const ProtobufCMessage *base,
                                struct wire_response *ret)
{
    const Gonetlock__ClusterStatusResponse *m = (const void *)base;
    ret->cluster_status.node_id = m->node_id;
    ret->cluster_status.cluster_id = read_name(reading, m->cluster_id);
    ret->cluster_status.server = read_name(reading, m->server);
    ret->cluster_status.role =
        (enum wire_role)known_or_zero(&gonetlock__node_role__descriptor, (int)m->role);
    ret->cluster_status.term = m->term;
    ret->cluster_status.leader_id = m->leader_id;
    ret->cluster_status.leader_address = read_name(reading, m->leader_address);
    ret->cluster_status.members = read_members(reading, m->members, m->n_members);
    ret->cluster_status.members_count = m->n_members;
    ret->cluster_status.commit_index = m->commit_index;
    ret->cluster_status.applied_index = m->applied_index;
    ret->cluster_status.last_index = m->last_index;
    ret->cluster_status.cluster_time_ms = m->cluster_time;
    ret->cluster_status.checkpoint_index = m->checkpoint_index;
    ret->cluster_status.checkpoint_hash = m->checkpoint_hash;
    ret->cluster_status.locks = m->locks;
    ret->cluster_status.holds = m->holds;
    ret->cluster_status.waits = m->waits;
    ret->cluster_status.clients = m->clients;
    ret->cluster_status.connections = m->connections;
    ret->cluster_status.uptime_ms = m->uptime;
    ret->cluster_status.last_token = m->last_token;
    ret->cluster_status.draining = m->draining != 0;
    ret->cluster_status.log_level = read_log_level(m->log_level);
    ret->cluster_status.feature_level = m->feature_level;
    ret->cluster_status.feature_level_max = m->feature_level_max;
    ret->cluster_status.requests = m->requests;
    ret->cluster_status.commits = m->commits;
    ret->cluster_status.commits_us = m->commits_time;
}

static void read_node_control(struct reading *reading,
                              const ProtobufCMessage *base,
                              struct wire_response *ret)
{
    (void)reading;
    const Gonetlock__NodeControlResponse *m = (const void *)base;
    ret->node_control.node_id = m->node_id;
    ret->node_control.draining = m->draining != 0;
    ret->node_control.log_level = read_log_level(m->log_level);
}

static void read_backup(struct reading *reading,
                        const ProtobufCMessage *base,
                        struct wire_response *ret)
{
    (void)reading;
    const Gonetlock__BackupResponse *m = (const void *)base;
    ret->position = read_position(m->position);
    ret->backup.backup = m->backup;
    ret->backup.offset = m->offset;
    ret->backup.size = m->size;
    ret->backup.data = wire_str_of(m->data);
    ret->backup.last_token = m->last_token;
}

static void read_client_kill(struct reading *reading,
                             const ProtobufCMessage *base,
                             struct wire_response *ret)
{
    const Gonetlock__ClientKillResponse *m = (const void *)base;
    ret->client = read_name(reading, m->client_id);
    ret->position = read_position(m->position);
    ret->client_kill.found = m->found;
}

static void read_cluster_change(struct reading *reading,
                                const ProtobufCMessage *base,
                                struct wire_response *ret)
{
    (void)reading;
    const Gonetlock__ClusterChangeResponse *m = (const void *)base;
    ret->cluster_change.result = (enum wire_change_result)known_or_zero(
        &gonetlock__change_result__descriptor, (int)m->result);
    ret->cluster_change.text = wire_str_of(m->text);
}

/* ---- dispatch --------------------------------------------------------------------- */

struct kind {
    const char *name;
    size_t name_len;
    enum wire_response_type type;
    bool extension; /* a type that upstream does not have */
    const ProtobufCMessageDescriptor *descriptor;
    void (*read)(struct reading *, const ProtobufCMessage *, struct wire_response *);
};

#define KIND(Name, name_, TYPE, read_, extension_)                                       \
    {                                                                                    \
        .name = "gonetlock." Name, .name_len = sizeof("gonetlock." Name) - 1,            \
        .type = WIRE_RESP_##TYPE, .extension = (extension_),                             \
        .descriptor = &gonetlock__##name_##__descriptor, .read = read_                   \
    }
static const struct kind kinds[] = {
    KIND("LockGrantedResponse", lock_granted_response, GRANTED, read_granted, false),
    KIND("LockReleaseResponse", lock_release_response, RELEASE, read_release, false),
    KIND("LockWaitResponse", lock_wait_response, WAIT, read_wait, false),
    KIND("LockDeniedResponse", lock_denied_response, DENIED, read_denied, false),
    KIND("LockWaitTimeoutResponse",
         lock_wait_timeout_response,
         WAIT_TIMEOUT,
         read_wait_timeout,
         false),
    KIND("LockTimeoutResponse", lock_timeout_response, TIMEOUT, read_timeout, false),
    KIND("LockStatusResponse", lock_status_response, STATUS, read_status, false),
    KIND("PingResponse", ping_response, PING, read_ping, true),
    KIND("ErrorResponse", error_response, ERROR, read_error, true),
    KIND("CheckTokenResponse", check_token_response, CHECK_TOKEN, read_check_token, true),
    KIND("ClientAttachResponse", client_attach_response, ATTACH, read_attach, false),
    KIND("ClientDetachResponse", client_detach_response, DETACH, read_detach, false),
    KIND("ClientCreateResponse", client_create_response, CREATE, read_create, false),
    KIND("ClientGetDefaultIdResponse",
         client_get_default_id_response,
         DEFAULT_ID,
         read_default_id,
         false),
    KIND("ClientGetAttachedIdsResponse",
         client_get_attached_ids_response,
         ATTACHED_IDS,
         read_attached_ids,
         false),
    KIND("HelloResponse", hello_response, HELLO, read_hello, true),
    KIND("ListLocksResponse", list_locks_response, LIST_LOCKS, read_list_locks, true),
    KIND("ListClientsResponse",
         list_clients_response,
         LIST_CLIENTS,
         read_list_clients,
         true),
    KIND("ForceReleaseResponse",
         force_release_response,
         FORCE_RELEASE,
         read_force_release,
         true),
    KIND("ClusterStatusResponse",
         cluster_status_response,
         CLUSTER_STATUS,
         read_cluster_status,
         true),
    KIND("BackupResponse", backup_response, BACKUP, read_backup, true),
    KIND("ClientKillResponse", client_kill_response, CLIENT_KILL, read_client_kill, true),
    KIND("ClusterChangeResponse",
         cluster_change_response,
         CLUSTER_CHANGE,
         read_cluster_change,
         true),
    KIND("NodeControlResponse",
         node_control_response,
         NODE_CONTROL,
         read_node_control,
         true),
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

int wire_decode_response(const uint8_t *payload,
                         size_t len,
                         struct wire_arena *arena,
                         struct wire_response *ret)
{
    struct reading reading = {.arena = arena};
    struct wire_envelope envelope;
    struct wire_scan scan;
    *ret = (struct wire_response){0};
    int rv = wire_envelope_open(payload, len, arena, &envelope);
    if (rv != 0) {
        return rv;
    }
    ret->key = envelope.key;
    const struct kind *kind = kind_of(envelope.name);
    if (kind == NULL) {
        return -EOPNOTSUPP;
    }
    rv = wire_scan_message(kind->descriptor, envelope.value, envelope.value_len, SIZE_MAX,
                           SIZE_MAX, &scan);
    if (rv != 0) {
        return rv;
    }
    const ProtobufCMessage *message =
        wire_unpack(kind->descriptor, envelope.value, envelope.value_len, arena, &rv);
    if (message == NULL) {
        return rv;
    }
    ret->type = kind->type;
    ret->extended = kind->extension || scan.extended;
    kind->read(&reading, message, ret);
    return reading.error;
}
