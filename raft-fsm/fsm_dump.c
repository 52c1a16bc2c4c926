/* The state as a sequence of records, and fingerprints of it. */
#include "digest.h"
#include "dump.h"

void dump_give(struct dump_sink *sink, const struct fsm_record *record)
{
    sink->count++;
    if (sink->cb != NULL) {
        sink->cb(sink->arg, record);
    }
}

void dump_root(const struct fsm *fsm, struct dump_sink *sink)
{
    struct fsm_record record = {
        .type = FSM_REC_ROOT,
        .root = {.now_ms = fsm->now_ms,
                 .token = fsm->token,
                 .order = fsm->order,
                 .term = fsm->term,
                 .digest = fsm->digest,
                 .node_id_max = fsm->node_id_max,
                 .settings = fsm->settings},
    };

    dump_give(sink, &record);
}

void dump_members(const struct fsm *fsm, struct dump_sink *sink)
{
    for (uint32_t i = 0; i < fsm->members_count; i++) {
        const struct cluster_member *member = &fsm->members[i];
        struct fsm_record record = {
            .type = FSM_REC_MEMBER,
            .member = {.node_id = member->node_id,
                       .address = {member->address, member->address_len}},
        };
        dump_give(sink, &record);
    }
}

void dump_client(const struct client *client, struct dump_sink *sink)
{
    struct fsm_record record = {
        .type = FSM_REC_CLIENT,
        .client = {.id = client_id(client),
                   .epoch = client->epoch,
                   .attach_seq = client->grace.order,
                   .presence = (enum fsm_presence)client->presence,
                   .secret_digest = {client->secret, client->secret_len}},
    };

    if (client->presence == FSM_MISSING &&
        client->entry.election > sink->elections->last) {
        record.client.presence = FSM_ATTACHED;
    } else if (client->presence == FSM_MISSING) {
        record.client.grace_end_ms = client->grace.at_ms;
    }
    dump_give(sink, &record);
}

static struct fsm_str owner_info_of(const struct claim *claim)
{
    if (claim->owner_info == NULL) {
        return (struct fsm_str){0};
    }
    return (struct fsm_str){claim->owner_info->data, claim->owner_info->len};
}

static void dump_hold(const struct claim *hold, struct dump_sink *sink)
{
    struct fsm_record record = {
        .type = FSM_REC_HOLD,
        .hold = {.client = client_id(hold->client),
                 .lock = lock_name(hold->lock),
                 .owner_info = owner_info_of(hold),
                 .type = (enum fsm_type)hold->type,
                 .drop = (enum fsm_drop)hold->drop,
                 .slot = hold->slot,
                 .token = hold->token,
                 .hold_ms = hold->hold_ms,
                 .granted_at_ms = hold->since_ms,
                 .deadline_ms = claim_deadline_ms(sink->elections, hold),
                 .asked_deadline_ms = hold->due.at_ms - hold->extended_ms,
                 .order = hold->due.order},
    };

    dump_give(sink, &record);
}

static void dump_wait(const struct claim *wait, struct dump_sink *sink)
{
    struct fsm_record record = {
        .type = FSM_REC_WAIT,
        .wait = {.client = client_id(wait->client),
                 .lock = lock_name(wait->lock),
                 .owner_info = owner_info_of(wait),
                 .type = (enum fsm_type)wait->type,
                 .drop = (enum fsm_drop)wait->drop,
                 .upgrade = wait->upgrade,
                 .wait_ms = wait->wait_ms,
                 .hold_ms = wait->hold_ms,
                 .queued_at_ms = wait->since_ms,
                 .deadline_ms = wait->due.at_ms,
                 .order = wait->due.order},
    };

    dump_give(sink, &record);
}

void dump_lock(const struct lock *lock, struct dump_sink *sink)
{
    struct fsm_record record = {
        .type = FSM_REC_LOCK,
        .lock = {.name = lock_name(lock), .limit = lock->limit},
    };
    const struct claim *claim;

    dump_give(sink, &record);
    DL_FOREACH(lock->holds, claim)
    {
        dump_hold(claim, sink);
    }
    DL_FOREACH(lock->waits, claim)
    {
        dump_wait(claim, sink);
    }
}

void dump_expired(const struct client *client, struct dump_sink *sink)
{
    const struct expired *expired;

    DL_FOREACH(client->expired, expired)
    {
        struct fsm_record record = {
            .type = FSM_REC_EXPIRED,
            .expired = {.client = client_id(client),
                        .lock = {expired->name, expired->name_len},
                        .token = expired->token},
        };
        dump_give(sink, &record);
    }
}

void fsm_dump(const struct fsm *fsm, fsm_record_cb cb, void *arg)
{
    struct dump_sink sink = {.cb = cb, .arg = arg, .elections = &fsm->elections};
    const struct client *client;
    const struct lock *lock;

    dump_root(fsm, &sink);
    dump_members(fsm, &sink);
    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        dump_client(client, &sink);
    }
    for (lock = lock_first(fsm); lock != NULL; lock = lock_next(lock)) {
        dump_lock(lock, &sink);
    }
    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        dump_expired(client, &sink);
    }
}

static void hash_record(void *arg, const struct fsm_record *record)
{
    uint64_t *hash = arg;

    *hash = digest_record(*hash, record);
}

uint64_t fsm_hash(const struct fsm *fsm)
{
    uint64_t hash = 0;

    fsm_dump(fsm, hash_record, &hash);
    return hash;
}
