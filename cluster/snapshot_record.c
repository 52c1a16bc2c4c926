#include "snapshot_record.h"

#include <stdbool.h>
#include <stdlib.h>

#include "log.pb-c.h"

static const char damaged[] = "it has a record that is damaged";
static const char out_of_range[] = "it has a record with a value out of range";

/* ---- writing -------------------------------------------------------------------------- */

static uint8_t *put_root(uint8_t *at, const struct fsm_record *record)
{
    at = durable_put_number(at, 1, record->root.now_ms);
    at = durable_put_number(at, 2, record->root.token);
    at = durable_put_number(at, 3, record->root.order);
    at = durable_put_number(at, 4, record->root.term);
    at = durable_put_fixed64(at, 5, record->root.digest);
    at = durable_put_settings(at, 6, &record->root.settings);
    return durable_put_number(at, 7, record->root.node_id_max);
}

static uint8_t *put_client(uint8_t *at, const struct fsm_record *record)
{
    at = durable_put_str(at, 1, record->client.id);
    at = durable_put_number(at, 2, record->client.epoch);
    at = durable_put_number(at, 3, record->client.attach_seq);
    at = durable_put_number(at, 4, record->client.presence);
    at = durable_put_number(at, 5, record->client.grace_end_ms);
    return durable_put_str(at, 6, record->client.secret_digest);
}

static uint8_t *put_hold(uint8_t *at, const struct fsm_record *record)
{
    at = durable_put_str(at, 1, record->hold.client);
    at = durable_put_str(at, 2, record->hold.lock);
    at = durable_put_number(at, 3, record->hold.token);
    at = durable_put_number(at, 4, record->hold.type);
    at = durable_put_number(at, 5, record->hold.drop);
    at = durable_put_number(at, 6, record->hold.slot);
    at = durable_put_number(at, 7, record->hold.hold_ms);
    at = durable_put_number(at, 8, record->hold.granted_at_ms);
    at = durable_put_number(at, 9, record->hold.deadline_ms);
    at = durable_put_number(at, 10, record->hold.asked_deadline_ms);
    at = durable_put_number(at, 11, record->hold.order);
    return durable_put_str(at, 12, record->hold.owner_info);
}

static uint8_t *put_wait(uint8_t *at, const struct fsm_record *record)
{
    at = durable_put_str(at, 1, record->wait.client);
    at = durable_put_str(at, 2, record->wait.lock);
    at = durable_put_number(at, 3, record->wait.type);
    at = durable_put_number(at, 4, record->wait.drop);
    at = durable_put_number(at, 5, record->wait.upgrade);
    at = durable_put_number(at, 6, record->wait.wait_ms);
    at = durable_put_number(at, 7, record->wait.hold_ms);
    at = durable_put_number(at, 8, record->wait.queued_at_ms);
    at = durable_put_number(at, 9, record->wait.deadline_ms);
    at = durable_put_number(at, 10, record->wait.order);
    return durable_put_str(at, 11, record->wait.owner_info);
}

/* Field numbers are those of proto/log.proto, as everywhere here. */
static uint8_t *
put_record(uint8_t *at, const struct fsm_record *record, unsigned *ret_kind)
{
    switch (record->type) {
    case FSM_REC_ROOT:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_ROOT;
        return put_root(at, record);
    case FSM_REC_CLIENT:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_CLIENT;
        return put_client(at, record);
    case FSM_REC_LOCK:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_LOCK;
        at = durable_put_str(at, 1, record->lock.name);
        return durable_put_number(at, 2, record->lock.limit);
    case FSM_REC_HOLD:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_HOLD;
        return put_hold(at, record);
    case FSM_REC_WAIT:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_WAIT;
        return put_wait(at, record);
    case FSM_REC_EXPIRED:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_EXPIRED;
        at = durable_put_str(at, 1, record->expired.client);
        at = durable_put_str(at, 2, record->expired.lock);
        return durable_put_number(at, 3, record->expired.token);
    case FSM_REC_MEMBER:
        *ret_kind = NETLOCK__LOG__RECORD__KIND_MEMBER;
        at = durable_put_number(at, 1, record->member.node_id);
        return durable_put_str(at, 2, record->member.address);
    }
    abort(); /* a record left out would be a table lost */
}

void snapshot_record_append(struct durable_bytes *bytes, const struct fsm_record *record)
{
    unsigned kind;
    uint8_t *end = put_record(durable_begin(bytes), record, &kind);

    durable_end(bytes, kind, end);
}

/* ---- reading -------------------------------------------------------------------------- */

static bool fits(struct fsm_str str)
{
    return str.len <= FSM_NAME_BYTES_MAX;
}

static void read_root(const Netlock__Log__Root *message, struct fsm_record *record)
{
    static const Netlock__Log__Settings absent = NETLOCK__LOG__SETTINGS__INIT;
    const Netlock__Log__Settings *settings =
        message->settings != NULL ? message->settings : &absent;

    record->type = FSM_REC_ROOT;
    record->root.now_ms = message->now;
    record->root.token = message->token;
    record->root.order = message->order;
    record->root.term = message->term;
    record->root.digest = message->digest;
    record->root.node_id_max = message->node_id_max;
    record->root.settings = (struct fsm_settings){
        .reattach_grace_ms = settings->reattach_grace,
        .clients_max = settings->clients_max,
        .claims_max = settings->claims_max,
        .claims_per_client_max = settings->claims_per_client_max,
        .waiters_per_lock_max = settings->waiters_per_lock_max,
        .drop_max = settings->drop_max,
    };
}

static bool read_client(const Netlock__Log__ClientRecord *message,
                        struct fsm_record *record)
{
    if (message->presence < FSM_ATTACHED || message->presence > FSM_GONE) {
        return false;
    }
    record->type = FSM_REC_CLIENT;
    record->client.id = durable_to_str(message->id);
    record->client.epoch = message->epoch;
    record->client.attach_seq = message->attach_seq;
    record->client.grace_end_ms = message->grace_end;
    record->client.presence = (enum fsm_presence)message->presence;
    record->client.secret_digest = durable_to_str(message->secret_digest);
    return fits(record->client.id) &&
           record->client.secret_digest.len <= FSM_SECRET_DIGEST_BYTES_MAX;
}

static bool read_hold(const Netlock__Log__HoldRecord *message, struct fsm_record *record)
{
    if (message->type > FSM_READ || message->drop > FSM_DROP_IGNORE) {
        return false;
    }
    record->type = FSM_REC_HOLD;
    record->hold.client = durable_to_str(message->client);
    record->hold.lock = durable_to_str(message->lock);
    record->hold.owner_info = durable_to_str(message->owner_info);
    record->hold.type = (enum fsm_type)message->type;
    record->hold.drop = (enum fsm_drop)message->drop;
    record->hold.slot = message->slot;
    record->hold.token = message->token;
    record->hold.hold_ms = message->hold;
    record->hold.granted_at_ms = message->granted_at;
    record->hold.deadline_ms = message->deadline;
    record->hold.asked_deadline_ms = message->asked_deadline;
    record->hold.order = message->order;
    return fits(record->hold.client) && fits(record->hold.lock) &&
           fits(record->hold.owner_info);
}

static bool read_wait(const Netlock__Log__WaitRecord *message, struct fsm_record *record)
{
    if (message->type > FSM_READ || message->drop > FSM_DROP_IGNORE) {
        return false;
    }
    record->type = FSM_REC_WAIT;
    record->wait.client = durable_to_str(message->client);
    record->wait.lock = durable_to_str(message->lock);
    record->wait.owner_info = durable_to_str(message->owner_info);
    record->wait.type = (enum fsm_type)message->type;
    record->wait.drop = (enum fsm_drop)message->drop;
    record->wait.upgrade = message->upgrade;
    record->wait.wait_ms = message->wait;
    record->wait.hold_ms = message->hold;
    record->wait.queued_at_ms = message->queued_at;
    record->wait.deadline_ms = message->deadline;
    record->wait.order = message->order;
    return fits(record->wait.client) && fits(record->wait.lock) &&
           fits(record->wait.owner_info);
}

static bool read_record(const Netlock__Log__Record *message, struct fsm_record *record)
{
    switch (message->kind_case) {
    case NETLOCK__LOG__RECORD__KIND_ROOT:
        read_root(message->root, record);
        return true;
    case NETLOCK__LOG__RECORD__KIND_CLIENT:
        return read_client(message->client, record);
    case NETLOCK__LOG__RECORD__KIND_LOCK:
        record->type = FSM_REC_LOCK;
        record->lock.name = durable_to_str(message->lock->name);
        record->lock.limit = message->lock->limit;
        return fits(record->lock.name);
    case NETLOCK__LOG__RECORD__KIND_HOLD:
        return read_hold(message->hold, record);
    case NETLOCK__LOG__RECORD__KIND_WAIT:
        return read_wait(message->wait, record);
    case NETLOCK__LOG__RECORD__KIND_EXPIRED:
        record->type = FSM_REC_EXPIRED;
        record->expired.client = durable_to_str(message->expired->client);
        record->expired.lock = durable_to_str(message->expired->lock);
        record->expired.token = message->expired->token;
        return fits(record->expired.client) && fits(record->expired.lock);
    case NETLOCK__LOG__RECORD__KIND_MEMBER:
        record->type = FSM_REC_MEMBER;
        record->member.node_id = message->member->node_id;
        record->member.address = durable_to_str(message->member->client_address);
        return fits(record->member.address);
    case NETLOCK__LOG__RECORD__KIND__NOT_SET:
    default:
        return false;
    }
}

const char *snapshot_record_read(struct durable_arena *arena,
                                 const uint8_t *data,
                                 size_t len,
                                 struct fsm_record *ret_record)
{
    const Netlock__Log__Record *message =
        durable_unpack(arena, &netlock__log__record__descriptor, data, len);
    struct fsm_record record = {0};

    if (message == NULL) {
        return damaged;
    }
    if (message->kind_case == NETLOCK__LOG__RECORD__KIND__NOT_SET) {
        return durable_newer_record;
    }
    if (!read_record(message, &record)) {
        return out_of_range;
    }
    *ret_record = record;
    return NULL;
}
