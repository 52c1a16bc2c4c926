#include "snapshot_record.h"

#include <stdbool.h>

#include "log.pb-c.h"

static const char damaged[] = "it has a record that is damaged";
static const char newer[] = "it has a record of a newer version";
static const char out_of_range[] = "it has a record with a value out of range";

/* ---- writing -------------------------------------------------------------------------- */

/* The alternatives of a Record, each with what it points to. */
union parts {
    struct {
        Netlock__Log__Root message;
        Netlock__Log__Settings settings;
    } root;
    Netlock__Log__ClientRecord client;
    Netlock__Log__LockRecord lock;
    Netlock__Log__HoldRecord hold;
    Netlock__Log__WaitRecord wait;
    Netlock__Log__ExpiredRecord expired;
};

static void write_root(Netlock__Log__Record *message,
                       union parts *parts,
                       const struct fsm_record *record)
{
    const struct fsm_settings *settings = &record->root.settings;

    parts->root.settings = (Netlock__Log__Settings)NETLOCK__LOG__SETTINGS__INIT;
    parts->root.settings.reattach_grace = settings->reattach_grace_ms;
    parts->root.settings.clients_max = settings->clients_max;
    parts->root.settings.claims_max = settings->claims_max;
    parts->root.settings.claims_per_client_max = settings->claims_per_client_max;
    parts->root.settings.waiters_per_lock_max = settings->waiters_per_lock_max;

    parts->root.message = (Netlock__Log__Root)NETLOCK__LOG__ROOT__INIT;
    parts->root.message.now = record->root.now_ms;
    parts->root.message.token = record->root.token;
    parts->root.message.order = record->root.order;
    parts->root.message.term = record->root.term;
    parts->root.message.digest = record->root.digest;
    parts->root.message.settings = &parts->root.settings;

    message->kind_case = NETLOCK__LOG__RECORD__KIND_ROOT;
    message->root = &parts->root.message;
}

static void write_client(Netlock__Log__Record *message,
                         union parts *parts,
                         const struct fsm_record *record)
{
    parts->client = (Netlock__Log__ClientRecord)NETLOCK__LOG__CLIENT_RECORD__INIT;
    parts->client.id = durable_from_str(record->client.id);
    parts->client.epoch = record->client.epoch;
    parts->client.attach_seq = record->client.attach_seq;
    parts->client.presence = record->client.presence;
    parts->client.grace_end = record->client.grace_end_ms;
    parts->client.secret_digest = durable_from_str(record->client.secret_digest);

    message->kind_case = NETLOCK__LOG__RECORD__KIND_CLIENT;
    message->client = &parts->client;
}

static void write_hold(Netlock__Log__Record *message,
                       union parts *parts,
                       const struct fsm_record *record)
{
    parts->hold = (Netlock__Log__HoldRecord)NETLOCK__LOG__HOLD_RECORD__INIT;
    parts->hold.client = durable_from_str(record->hold.client);
    parts->hold.lock = durable_from_str(record->hold.lock);
    parts->hold.token = record->hold.token;
    parts->hold.type = record->hold.type;
    parts->hold.drop = record->hold.drop;
    parts->hold.slot = record->hold.slot;
    parts->hold.hold = record->hold.hold_ms;
    parts->hold.granted_at = record->hold.granted_at_ms;
    parts->hold.deadline = record->hold.deadline_ms;
    parts->hold.asked_deadline = record->hold.asked_deadline_ms;
    parts->hold.order = record->hold.order;
    parts->hold.owner_info = durable_from_str(record->hold.owner_info);

    message->kind_case = NETLOCK__LOG__RECORD__KIND_HOLD;
    message->hold = &parts->hold;
}

static void write_wait(Netlock__Log__Record *message,
                       union parts *parts,
                       const struct fsm_record *record)
{
    parts->wait = (Netlock__Log__WaitRecord)NETLOCK__LOG__WAIT_RECORD__INIT;
    parts->wait.client = durable_from_str(record->wait.client);
    parts->wait.lock = durable_from_str(record->wait.lock);
    parts->wait.type = record->wait.type;
    parts->wait.drop = record->wait.drop;
    parts->wait.upgrade = record->wait.upgrade;
    parts->wait.wait = record->wait.wait_ms;
    parts->wait.hold = record->wait.hold_ms;
    parts->wait.queued_at = record->wait.queued_at_ms;
    parts->wait.deadline = record->wait.deadline_ms;
    parts->wait.order = record->wait.order;
    parts->wait.owner_info = durable_from_str(record->wait.owner_info);

    message->kind_case = NETLOCK__LOG__RECORD__KIND_WAIT;
    message->wait = &parts->wait;
}

static void write_record(Netlock__Log__Record *message,
                         union parts *parts,
                         const struct fsm_record *record)
{
    switch (record->type) {
    case FSM_REC_ROOT:
        write_root(message, parts, record);
        return;
    case FSM_REC_CLIENT:
        write_client(message, parts, record);
        return;
    case FSM_REC_LOCK:
        parts->lock = (Netlock__Log__LockRecord)NETLOCK__LOG__LOCK_RECORD__INIT;
        parts->lock.name = durable_from_str(record->lock.name);
        parts->lock.limit = record->lock.limit;
        message->kind_case = NETLOCK__LOG__RECORD__KIND_LOCK;
        message->lock = &parts->lock;
        return;
    case FSM_REC_HOLD:
        write_hold(message, parts, record);
        return;
    case FSM_REC_WAIT:
        write_wait(message, parts, record);
        return;
    case FSM_REC_EXPIRED:
        parts->expired = (Netlock__Log__ExpiredRecord)NETLOCK__LOG__EXPIRED_RECORD__INIT;
        parts->expired.client = durable_from_str(record->expired.client);
        parts->expired.lock = durable_from_str(record->expired.lock);
        parts->expired.token = record->expired.token;
        message->kind_case = NETLOCK__LOG__RECORD__KIND_EXPIRED;
        message->expired = &parts->expired;
        return;
    }
}

void snapshot_record_append(struct durable_bytes *bytes, const struct fsm_record *record)
{
    Netlock__Log__Record message = NETLOCK__LOG__RECORD__INIT;
    union parts parts;

    write_record(&message, &parts, record);
    durable_append(bytes, &message.base);
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
    record->root.settings = (struct fsm_settings){
        .reattach_grace_ms = settings->reattach_grace,
        .clients_max = settings->clients_max,
        .claims_max = settings->claims_max,
        .claims_per_client_max = settings->claims_per_client_max,
        .waiters_per_lock_max = settings->waiters_per_lock_max,
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
        return newer;
    }
    if (!read_record(message, &record)) {
        return out_of_range;
    }
    *ret_record = record;
    return NULL;
}
