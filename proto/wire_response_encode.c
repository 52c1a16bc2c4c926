/* Responses, value to bytes. */
#include "wire_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <string.h>

/* ---- parts ------------------------------------------------------------------------ */

/* Room for the generated structs of an answer's parts: the stack has enough for sixteen
 * holders, so that only long lists and long re-attachments touch the heap. */
struct scratch {
    struct wire_arena arena;
    size_t used;
    alignas(max_align_t) uint8_t bytes[8192];
};

static void *scratch_array(struct scratch *scratch, size_t count, size_t size)
{
    assert(count <= SIZE_MAX / size / 2);
    size_t bytes =
        (count * size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (bytes <= sizeof(scratch->bytes) - scratch->used) {
        void *memory = scratch->bytes + scratch->used;
        scratch->used += bytes;
        return memory;
    }
    int error = 0;
    return wire_arena_alloc(&scratch->arena, bytes, &error);
}

/* An array of pointers to @count structs of @size bytes, as protobuf-c wants its repeated
 * parts. NULL: no memory. */
static void **scratch_parts(struct scratch *scratch, size_t count, size_t size)
{
    void **pointers = scratch_array(scratch, count, sizeof(*pointers));
    uint8_t *parts = scratch_array(scratch, count, size);
    if (pointers == NULL || parts == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        pointers[i] = parts + i * size;
    }
    return pointers;
}

static Gonetlock__LogPosition *position_of(const struct wire_response *response,
                                           Gonetlock__LogPosition *ret)
{
    if (!response->extended || response->position.index == 0) {
        return NULL;
    }
    *ret = (Gonetlock__LogPosition)GONETLOCK__LOG_POSITION__INIT;
    WIRE_SET(*ret, index, response->position.index);
    WIRE_SET(*ret, term, response->position.term);
    WIRE_SET(*ret, cluster_time, response->position.cluster_time_ms);
    return ret;
}

static bool str_equal(struct wire_str a, struct wire_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* What the claims of an answer have in common with it is said once: ten thousand claims
 * of one client must fit a frame. */
static Gonetlock__Claim claim_of(const struct wire_claim *claim,
                                 struct wire_str answer_client,
                                 struct wire_str answer_lock)
{
    Gonetlock__Claim m = GONETLOCK__CLAIM__INIT;
    if (!str_equal(claim->client, answer_client)) {
        WIRE_SET_STR(m, client_id, claim->client);
    }
    if (!str_equal(claim->lock, answer_lock)) {
        WIRE_SET_STR(m, lock_name, claim->lock);
    }
    WIRE_SET_NONZERO(m, type, (Gonetlock__LockType)claim->type);
    WIRE_SET_NONZERO(m, connection_drop, (Gonetlock__LockConnectionDrop)claim->drop);
    WIRE_SET_NONZERO(m, waiting, claim->waiting);
    WIRE_SET_NONZERO(m, token, claim->token);
    WIRE_SET_NONZERO(m, slot, claim->slot);
    WIRE_SET_NONZERO(m, limit, claim->limit);
    WIRE_SET_NONZERO(m, since, claim->since_ms);
    WIRE_SET_NONZERO(m, remaining, claim->remaining_ms);
    WIRE_SET_NONZERO(m, lock_timeout, claim->lock_timeout_ms);
    WIRE_SET_NONZERO(m, queue_position, claim->queue_position);
    WIRE_SET_STR(m, owner_info, claim->owner_info);
    WIRE_SET_NONZERO(m, connected, claim->connected);
    return m;
}

static int claims_of(struct scratch *scratch,
                     const struct wire_claim *claims,
                     size_t count,
                     struct wire_str answer_client,
                     struct wire_str answer_lock,
                     Gonetlock__Claim ***ret)
{
    void **parts = scratch_parts(scratch, count, sizeof(Gonetlock__Claim));
    if (parts == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        *(Gonetlock__Claim *)parts[i] = claim_of(&claims[i], answer_client, answer_lock);
    }
    *ret = (Gonetlock__Claim **)parts;
    return 0;
}

static int members_of(struct scratch *scratch,
                      const struct wire_member *members,
                      size_t count,
                      Gonetlock__Member ***ret)
{
    void **parts = scratch_parts(scratch, count, sizeof(Gonetlock__Member));
    if (parts == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        Gonetlock__Member m = GONETLOCK__MEMBER__INIT;
        WIRE_SET_NONZERO(m, node_id, members[i].node_id);
        WIRE_SET_STR(m, client_address, members[i].client_address);
        WIRE_SET_STR(m, peer_address, members[i].peer_address);
        WIRE_SET_NONZERO(m, voter, members[i].voter);
        WIRE_SET_NONZERO(m, match_index, members[i].match_index);
        WIRE_SET_NONZERO(m, connected, members[i].connected);
        *(Gonetlock__Member *)parts[i] = m;
    }
    *ret = (Gonetlock__Member **)parts;
    return 0;
}

/* ---- upstream's responses --------------------------------------------------------- */

/* Those that end in client_id, lock_name and, when extended, position differ in their
 * type only. */
#define BEGIN_LOCK_RESPONSE(Type, TYPE)                                                  \
    Gonetlock__LogPosition position;                                                     \
    Gonetlock__##Type m = GONETLOCK__##TYPE##__INIT;                                     \
    WIRE_SET_STR(m, client_id, response->client);                                        \
    WIRE_SET_STR(m, lock_name, response->lock);                                          \
    m.position = position_of(response, &position)

static int put_attach(struct wire_buf *buf,
                      const struct wire_response *response,
                      struct scratch *scratch)
{
    Gonetlock__LogPosition position;
    Gonetlock__ClientAttachResponse m = GONETLOCK__CLIENT_ATTACH_RESPONSE__INIT;
    WIRE_SET_STR(m, client_id, response->client);
    m.position = position_of(response, &position);
    if (response->extended) {
        WIRE_SET(m, epoch, response->attach.epoch);
        m.n_claims = response->attach.claims_count;
        int rv = claims_of(scratch, response->attach.claims, m.n_claims, response->client,
                           response->lock, &m.claims);
        if (rv != 0) {
            return rv;
        }
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_detach(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__LogPosition position;
    Gonetlock__ClientDetachResponse m = GONETLOCK__CLIENT_DETACH_RESPONSE__INIT;
    WIRE_SET_STR(m, client_id, response->client);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_create(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__LogPosition position;
    Gonetlock__ClientCreateResponse m = GONETLOCK__CLIENT_CREATE_RESPONSE__INIT;
    WIRE_SET_STR(m, client_id, response->client);
    m.position = position_of(response, &position);
    if (response->extended) {
        WIRE_SET_STR(m, secret, response->create.secret);
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_default_id(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__ClientGetDefaultIdResponse m =
        GONETLOCK__CLIENT_GET_DEFAULT_ID_RESPONSE__INIT;
    WIRE_SET_STR(m, client_id, response->client);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_attached_ids(struct wire_buf *buf,
                            const struct wire_response *response,
                            struct scratch *scratch)
{
    Gonetlock__ClientGetAttachedIdsResponse m =
        GONETLOCK__CLIENT_GET_ATTACHED_IDS_RESPONSE__INIT;
    m.n_client_ids = response->attached_ids.ids_count;
    m.client_ids = scratch_array(scratch, m.n_client_ids, sizeof(*m.client_ids));
    if (m.client_ids == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < m.n_client_ids; i++) {
        m.client_ids[i] = wire_bytes_of(response->attached_ids.ids[i]);
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_denied(struct wire_buf *buf,
                      const struct wire_response *response,
                      struct scratch *scratch)
{
    BEGIN_LOCK_RESPONSE(LockDeniedResponse, LOCK_DENIED_RESPONSE);
    if (response->extended) {
        WIRE_SET_NONZERO(m, reason, (Gonetlock__DenyReason)response->denied.reason);
        WIRE_SET_STR(m, text, response->denied.text);
        m.n_holders = response->denied.holders_shown;
        int rv = claims_of(scratch, response->denied.holders, m.n_holders,
                           response->client, response->lock, &m.holders);
        if (rv != 0) {
            return rv;
        }
        WIRE_SET(m, holders_count, response->denied.holders_count);
        WIRE_SET(m, queue_length, response->denied.queue_length);
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_wait(struct wire_buf *buf, const struct wire_response *response)
{
    BEGIN_LOCK_RESPONSE(LockWaitResponse, LOCK_WAIT_RESPONSE);
    if (response->extended) {
        WIRE_SET(m, queue_position, response->wait.queue_position);
        WIRE_SET(m, queue_length, response->wait.queue_length);
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_granted(struct wire_buf *buf, const struct wire_response *response)
{
    BEGIN_LOCK_RESPONSE(LockGrantedResponse, LOCK_GRANTED_RESPONSE);
    if (response->extended) {
        WIRE_SET(m, token, response->granted.token);
        WIRE_SET(m, type, (Gonetlock__LockType)response->granted.type);
        WIRE_SET(m, slot, response->granted.slot);
        WIRE_SET(m, lock_timeout, response->granted.lock_timeout_ms);
        WIRE_SET(m, remaining, response->granted.remaining_ms);
        WIRE_SET(m, connection_drop,
                 (Gonetlock__LockConnectionDrop)response->granted.drop);
        if (response->granted.has_client_time) {
            WIRE_SET(m, client_time, response->granted.client_time);
        }
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_wait_timeout(struct wire_buf *buf, const struct wire_response *response)
{
    BEGIN_LOCK_RESPONSE(LockWaitTimeoutResponse, LOCK_WAIT_TIMEOUT_RESPONSE);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_timeout(struct wire_buf *buf, const struct wire_response *response)
{
    BEGIN_LOCK_RESPONSE(LockTimeoutResponse, LOCK_TIMEOUT_RESPONSE);
    if (response->extended) {
        WIRE_SET(m, token, response->timeout.token);
        WIRE_SET_NONZERO(m, reason, (Gonetlock__HoldEnd)response->timeout.reason);
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_release(struct wire_buf *buf, const struct wire_response *response)
{
    BEGIN_LOCK_RESPONSE(LockReleaseResponse, LOCK_RELEASE_RESPONSE);
    if (response->extended) {
        WIRE_SET_NONZERO(m, result, (Gonetlock__ReleaseResult)response->release.result);
        WIRE_SET_NONZERO(m, token, response->release.token);
    }
    return wire_put_message(buf, response->key, &m.base);
}

static int put_status(struct wire_buf *buf,
                      const struct wire_response *response,
                      struct scratch *scratch)
{
    BEGIN_LOCK_RESPONSE(LockStatusResponse, LOCK_STATUS_RESPONSE);
    WIRE_SET_NONZERO(m, type, (Gonetlock__LockType)response->status.type);
    if (response->extended) {
        WIRE_SET_NONZERO(m, state, (Gonetlock__LockState)response->status.state);
        WIRE_SET_NONZERO(m, token, response->status.token);
        WIRE_SET(m, remaining, response->status.remaining_ms);
        WIRE_SET(m, connection_drop,
                 (Gonetlock__LockConnectionDrop)response->status.drop);
        m.n_holders = response->status.holders_shown;
        int rv = claims_of(scratch, response->status.holders, m.n_holders,
                           response->client, response->lock, &m.holders);
        if (rv != 0) {
            return rv;
        }
        WIRE_SET(m, holders_count, response->status.holders_count);
        WIRE_SET(m, queue_length, response->status.queue_length);
        WIRE_SET_NONZERO(m, queue_position, response->status.queue_position);
        WIRE_SET_NONZERO(m, limit, response->status.limit);
        WIRE_SET_NONZERO(m, slot, response->status.slot);
    }
    return wire_put_message(buf, response->key, &m.base);
}

/* ---- responses to connections that said Hello ------------------------------------- */

static int put_hello(struct wire_buf *buf,
                     const struct wire_response *response,
                     struct scratch *scratch)
{
    Gonetlock__HelloResponse m = GONETLOCK__HELLO_RESPONSE__INIT;
    WIRE_SET_NONZERO(m, version, response->hello.version);
    WIRE_SET_STR(m, server, response->hello.server);
    WIRE_SET_STR(m, cluster_id, response->hello.cluster_id);
    WIRE_SET_NONZERO(m, node_id, response->hello.node_id);
    WIRE_SET_NONZERO(m, leader, response->hello.leader);
    WIRE_SET_NONZERO(m, leader_id, response->hello.leader_id);
    WIRE_SET_STR(m, leader_address, response->hello.leader_address);
    WIRE_SET_NONZERO(m, session_grace, response->hello.session_grace_ms);
    WIRE_SET_NONZERO(m, reattach_grace, response->hello.reattach_grace_ms);
    WIRE_SET_NONZERO(m, frame_bytes_max, response->hello.frame_bytes_max);
    WIRE_SET_NONZERO(m, lock_timeout_max, response->hello.lock_timeout_max_ms);
    m.n_members = response->hello.members_count;
    int rv = members_of(scratch, response->hello.members, m.n_members, &m.members);
    return rv != 0 ? rv : wire_put_message(buf, response->key, &m.base);
}

static int put_ping(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__PingResponse m = GONETLOCK__PING_RESPONSE__INIT;
    WIRE_SET_STR(m, payload, response->ping.payload);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_error(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__ErrorResponse m = GONETLOCK__ERROR_RESPONSE__INIT;
    WIRE_SET_NONZERO(m, code, (Gonetlock__ErrorCode)response->error.code);
    WIRE_SET_STR(m, text, response->error.text);
    WIRE_SET_NONZERO(m, leader_id, response->error.leader_id);
    WIRE_SET_STR(m, leader_address, response->error.leader_address);
    WIRE_SET_NONZERO(m, retry_after, response->error.retry_after_ms);
    WIRE_SET_STR(m, client_id, response->client);
    WIRE_SET_STR(m, lock_name, response->lock);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_check_token(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__LogPosition position;
    Gonetlock__CheckTokenResponse m = GONETLOCK__CHECK_TOKEN_RESPONSE__INIT;
    WIRE_SET_STR(m, lock_name, response->lock);
    WIRE_SET_NONZERO(m, token, response->check_token.token);
    WIRE_SET_NONZERO(m, state, (Gonetlock__TokenState)response->check_token.state);
    WIRE_SET_NONZERO(m, superseded_by, response->check_token.superseded_by);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_list_locks(struct wire_buf *buf,
                          const struct wire_response *response,
                          struct scratch *scratch)
{
    Gonetlock__LogPosition position;
    Gonetlock__ListLocksResponse m = GONETLOCK__LIST_LOCKS_RESPONSE__INIT;
    size_t count = response->list_locks.count;
    void **parts = scratch_parts(scratch, count, sizeof(Gonetlock__LockSummary));
    if (parts == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const struct wire_lock_summary *lock = &response->list_locks.locks[i];
        Gonetlock__LockSummary part = GONETLOCK__LOCK_SUMMARY__INIT;
        WIRE_SET_STR(part, lock_name, lock->lock);
        WIRE_SET_NONZERO(part, type, (Gonetlock__LockType)lock->type);
        WIRE_SET_NONZERO(part, limit, lock->limit);
        WIRE_SET_NONZERO(part, holders_count, lock->holders_count);
        WIRE_SET_NONZERO(part, queue_length, lock->queue_length);
        part.n_holders = lock->holders_shown;
        int rv = claims_of(scratch, lock->holders, part.n_holders, (struct wire_str){0},
                           lock->lock, &part.holders);
        part.n_waiters = lock->waiters_shown;
        if (rv == 0) {
            rv = claims_of(scratch, lock->waiters, part.n_waiters, (struct wire_str){0},
                           lock->lock, &part.waiters);
        }
        if (rv != 0) {
            return rv;
        }
        *(Gonetlock__LockSummary *)parts[i] = part;
    }
    m.n_locks = count;
    m.locks = (Gonetlock__LockSummary **)parts;
    WIRE_SET_NONZERO(m, more, response->list_locks.more);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_list_clients(struct wire_buf *buf,
                            const struct wire_response *response,
                            struct scratch *scratch)
{
    Gonetlock__LogPosition position;
    Gonetlock__ListClientsResponse m = GONETLOCK__LIST_CLIENTS_RESPONSE__INIT;
    size_t count = response->list_clients.count;
    void **parts = scratch_parts(scratch, count, sizeof(Gonetlock__ClientSummary));
    if (parts == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const struct wire_client_summary *client = &response->list_clients.clients[i];
        Gonetlock__ClientSummary part = GONETLOCK__CLIENT_SUMMARY__INIT;
        WIRE_SET_STR(part, client_id, client->client);
        WIRE_SET_NONZERO(part, epoch, client->epoch);
        WIRE_SET_NONZERO(part, holds_count, client->holds_count);
        WIRE_SET_NONZERO(part, waits_count, client->waits_count);
        WIRE_SET_NONZERO(part, connected, client->connected);
        *(Gonetlock__ClientSummary *)parts[i] = part;
    }
    m.n_clients = count;
    m.clients = (Gonetlock__ClientSummary **)parts;
    WIRE_SET_NONZERO(m, more, response->list_clients.more);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_force_release(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__LogPosition position;
    Gonetlock__ForceReleaseResponse m = GONETLOCK__FORCE_RELEASE_RESPONSE__INIT;
    WIRE_SET_STR(m, lock_name, response->lock);
    WIRE_SET_NONZERO(m, holds_broken, response->force_release.holds_broken);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_cluster_status(struct wire_buf *buf,
                              const struct wire_response *response,
                              struct scratch *scratch)
{
    Gonetlock__ClusterStatusResponse m = GONETLOCK__CLUSTER_STATUS_RESPONSE__INIT;
    WIRE_SET_NONZERO(m, node_id, response->cluster_status.node_id);
    WIRE_SET_STR(m, cluster_id, response->cluster_status.cluster_id);
    WIRE_SET_STR(m, server, response->cluster_status.server);
    WIRE_SET_NONZERO(m, role, (Gonetlock__NodeRole)response->cluster_status.role);
    WIRE_SET_NONZERO(m, term, response->cluster_status.term);
    WIRE_SET_NONZERO(m, leader_id, response->cluster_status.leader_id);
    WIRE_SET_STR(m, leader_address, response->cluster_status.leader_address);
    WIRE_SET_NONZERO(m, commit_index, response->cluster_status.commit_index);
    WIRE_SET_NONZERO(m, applied_index, response->cluster_status.applied_index);
    WIRE_SET_NONZERO(m, last_index, response->cluster_status.last_index);
    WIRE_SET_NONZERO(m, cluster_time, response->cluster_status.cluster_time_ms);
    WIRE_SET_NONZERO(m, checkpoint_index, response->cluster_status.checkpoint_index);
    WIRE_SET_NONZERO(m, checkpoint_hash, response->cluster_status.checkpoint_hash);
    WIRE_SET_NONZERO(m, locks, response->cluster_status.locks);
    WIRE_SET_NONZERO(m, holds, response->cluster_status.holds);
    WIRE_SET_NONZERO(m, waits, response->cluster_status.waits);
    WIRE_SET_NONZERO(m, clients, response->cluster_status.clients);
    WIRE_SET_NONZERO(m, connections, response->cluster_status.connections);
    WIRE_SET_NONZERO(m, uptime, response->cluster_status.uptime_ms);
    WIRE_SET_NONZERO(m, last_token, response->cluster_status.last_token);
    WIRE_SET_NONZERO(m, draining, response->cluster_status.draining);
    WIRE_SET_NONZERO(m, log_level,
                     (Gonetlock__LogLevel)response->cluster_status.log_level);
    WIRE_SET_NONZERO(m, feature_level, response->cluster_status.feature_level);
    WIRE_SET_NONZERO(m, feature_level_max, response->cluster_status.feature_level_max);
    WIRE_SET_NONZERO(m, requests, response->cluster_status.requests);
    WIRE_SET_NONZERO(m, commits, response->cluster_status.commits);
    WIRE_SET_NONZERO(m, commits_time, response->cluster_status.commits_us);
    m.n_members = response->cluster_status.members_count;
    int rv =
        members_of(scratch, response->cluster_status.members, m.n_members, &m.members);
    return rv != 0 ? rv : wire_put_message(buf, response->key, &m.base);
}

static int put_backup(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__LogPosition position;
    Gonetlock__BackupResponse m = GONETLOCK__BACKUP_RESPONSE__INIT;
    WIRE_SET_NONZERO(m, backup, response->backup.backup);
    WIRE_SET_NONZERO(m, offset, response->backup.offset);
    WIRE_SET_NONZERO(m, size, response->backup.size);
    WIRE_SET_STR(m, data, response->backup.data);
    WIRE_SET_NONZERO(m, last_token, response->backup.last_token);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_node_control(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__NodeControlResponse m = GONETLOCK__NODE_CONTROL_RESPONSE__INIT;
    WIRE_SET_NONZERO(m, node_id, response->node_control.node_id);
    WIRE_SET_NONZERO(m, draining, response->node_control.draining);
    WIRE_SET_NONZERO(m, log_level, (Gonetlock__LogLevel)response->node_control.log_level);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_client_kill(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__LogPosition position;
    Gonetlock__ClientKillResponse m = GONETLOCK__CLIENT_KILL_RESPONSE__INIT;
    WIRE_SET_STR(m, client_id, response->client);
    WIRE_SET_NONZERO(m, found, response->client_kill.found);
    m.position = position_of(response, &position);
    return wire_put_message(buf, response->key, &m.base);
}

static int put_cluster_change(struct wire_buf *buf, const struct wire_response *response)
{
    Gonetlock__ClusterChangeResponse m = GONETLOCK__CLUSTER_CHANGE_RESPONSE__INIT;
    WIRE_SET_NONZERO(m, result, (Gonetlock__ChangeResult)response->cluster_change.result);
    WIRE_SET_STR(m, text, response->cluster_change.text);
    return wire_put_message(buf, response->key, &m.base);
}

/* ---- dispatch --------------------------------------------------------------------- */

static int put_response(struct wire_buf *buf,
                        const struct wire_response *response,
                        struct scratch *scratch)
{
    switch (response->type) {
    case WIRE_RESP_ATTACH:
        return put_attach(buf, response, scratch);
    case WIRE_RESP_DETACH:
        return put_detach(buf, response);
    case WIRE_RESP_CREATE:
        return put_create(buf, response);
    case WIRE_RESP_DEFAULT_ID:
        return put_default_id(buf, response);
    case WIRE_RESP_ATTACHED_IDS:
        return put_attached_ids(buf, response, scratch);
    case WIRE_RESP_DENIED:
        return put_denied(buf, response, scratch);
    case WIRE_RESP_WAIT:
        return put_wait(buf, response);
    case WIRE_RESP_GRANTED:
        return put_granted(buf, response);
    case WIRE_RESP_WAIT_TIMEOUT:
        return put_wait_timeout(buf, response);
    case WIRE_RESP_TIMEOUT:
        return put_timeout(buf, response);
    case WIRE_RESP_RELEASE:
        return put_release(buf, response);
    case WIRE_RESP_STATUS:
        return put_status(buf, response, scratch);
    case WIRE_RESP_HELLO:
        return put_hello(buf, response, scratch);
    case WIRE_RESP_PING:
        return put_ping(buf, response);
    case WIRE_RESP_ERROR:
        return put_error(buf, response);
    case WIRE_RESP_CHECK_TOKEN:
        return put_check_token(buf, response);
    case WIRE_RESP_LIST_LOCKS:
        return put_list_locks(buf, response, scratch);
    case WIRE_RESP_LIST_CLIENTS:
        return put_list_clients(buf, response, scratch);
    case WIRE_RESP_FORCE_RELEASE:
        return put_force_release(buf, response);
    case WIRE_RESP_CLUSTER_STATUS:
        return put_cluster_status(buf, response, scratch);
    case WIRE_RESP_BACKUP:
        return put_backup(buf, response);
    case WIRE_RESP_CLIENT_KILL:
        return put_client_kill(buf, response);
    case WIRE_RESP_CLUSTER_CHANGE:
        return put_cluster_change(buf, response);
    case WIRE_RESP_NODE_CONTROL:
        return put_node_control(buf, response);
    }
    assert(false && "a response type of this build");
    return -EINVAL;
}

int wire_encode_response(struct wire_buf *buf, const struct wire_response *response)
{
    struct scratch scratch;
    /* Not an initialiser: that would clear 8 KiB for every answer. The frame limit comes
     * later. */
    scratch.arena = (struct wire_arena){.limit_bytes = SIZE_MAX / 2};
    scratch.used = 0;
    int rv = put_response(buf, response, &scratch);
    wire_arena_release(&scratch.arena);
    return rv;
}
