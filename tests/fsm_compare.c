#include "fsm_compare.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool str_same(struct fsm_str a, struct fsm_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool claim_same(const struct fsm_claim *a, const struct fsm_claim *b)
{
    return str_same(a->client, b->client) && str_same(a->lock, b->lock) &&
           str_same(a->owner_info, b->owner_info) && a->type == b->type &&
           a->drop == b->drop && a->waiting == b->waiting &&
           a->connected == b->connected && a->token == b->token && a->slot == b->slot &&
           a->limit == b->limit && a->since_ms == b->since_ms &&
           a->remaining_ms == b->remaining_ms && a->hold_ms == b->hold_ms &&
           a->position == b->position;
}

static bool claims_same(const struct fsm_event *a, const struct fsm_event *b)
{
    if (a->claims_count != b->claims_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->claims_count; i++) {
        if (!claim_same(&a->claims[i], &b->claims[i])) {
            return false;
        }
    }
    return true;
}

static bool limit_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool compare_event(const struct fsm_event *a, const struct fsm_event *b)
{
    return a->type == b->type && a->ref == b->ref && a->command == b->command &&
           str_same(a->client, b->client) && str_same(a->lock, b->lock) &&
           a->token == b->token && a->epoch == b->epoch &&
           a->attach_seq == b->attach_seq && a->superseded == b->superseded &&
           claim_same(&a->claim, &b->claim) && a->deny == b->deny &&
           a->result == b->result && a->hold_end == b->hold_end && a->state == b->state &&
           a->token_state == b->token_state && a->superseded_by == b->superseded_by &&
           claims_same(a, b) && a->holders_count == b->holders_count &&
           a->queue_length == b->queue_length && a->holds_count == b->holds_count &&
           a->waits_count == b->waits_count && a->connected == b->connected &&
           a->more == b->more && limit_same(a->limit_name, b->limit_name);
}

/* ---- records ---------------------------------------------------------------------------------- */

void records_add(void *arg, const struct fsm_record *record)
{
    struct records *records = arg;

    if (records->count == records->capacity) {
        records->capacity = records->capacity == 0 ? 64 : records->capacity * 2;
        records->items =
            reallocarray(records->items, records->capacity, sizeof(records->items[0]));
        assert(records->items != NULL);
    }
    records->items[records->count++] = *record;
}

void records_release(struct records *records)
{
    free(records->items);
    *records = (struct records){0};
}

static bool settings_same(const struct fsm_settings *a, const struct fsm_settings *b)
{
    return a->reattach_grace_ms == b->reattach_grace_ms &&
           a->clients_max == b->clients_max && a->claims_max == b->claims_max &&
           a->claims_per_client_max == b->claims_per_client_max &&
           a->waiters_per_lock_max == b->waiters_per_lock_max &&
           a->drop_max == b->drop_max;
}

static bool hold_same(const struct fsm_record *a, const struct fsm_record *b)
{
    return str_same(a->hold.client, b->hold.client) &&
           str_same(a->hold.lock, b->hold.lock) &&
           str_same(a->hold.owner_info, b->hold.owner_info) &&
           a->hold.type == b->hold.type && a->hold.drop == b->hold.drop &&
           a->hold.slot == b->hold.slot && a->hold.token == b->hold.token &&
           a->hold.hold_ms == b->hold.hold_ms &&
           a->hold.granted_at_ms == b->hold.granted_at_ms &&
           a->hold.deadline_ms == b->hold.deadline_ms &&
           a->hold.asked_deadline_ms == b->hold.asked_deadline_ms &&
           a->hold.order == b->hold.order;
}

static bool wait_same(const struct fsm_record *a, const struct fsm_record *b)
{
    return str_same(a->wait.client, b->wait.client) &&
           str_same(a->wait.lock, b->wait.lock) &&
           str_same(a->wait.owner_info, b->wait.owner_info) &&
           a->wait.type == b->wait.type && a->wait.drop == b->wait.drop &&
           a->wait.upgrade == b->wait.upgrade && a->wait.wait_ms == b->wait.wait_ms &&
           a->wait.hold_ms == b->wait.hold_ms &&
           a->wait.queued_at_ms == b->wait.queued_at_ms &&
           a->wait.deadline_ms == b->wait.deadline_ms && a->wait.order == b->wait.order;
}

static bool record_same(const struct fsm_record *a, const struct fsm_record *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case FSM_REC_ROOT:
        return a->root.now_ms == b->root.now_ms && a->root.token == b->root.token &&
               a->root.order == b->root.order && a->root.term == b->root.term &&
               a->root.node_id_max == b->root.node_id_max &&
               settings_same(&a->root.settings, &b->root.settings);
    case FSM_REC_CLIENT:
        return str_same(a->client.id, b->client.id) &&
               a->client.epoch == b->client.epoch &&
               a->client.attach_seq == b->client.attach_seq &&
               a->client.grace_end_ms == b->client.grace_end_ms &&
               a->client.presence == b->client.presence &&
               str_same(a->client.secret_digest, b->client.secret_digest);
    case FSM_REC_LOCK:
        return str_same(a->lock.name, b->lock.name) && a->lock.limit == b->lock.limit;
    case FSM_REC_HOLD:
        return hold_same(a, b);
    case FSM_REC_WAIT:
        return wait_same(a, b);
    case FSM_REC_EXPIRED:
        return str_same(a->expired.client, b->expired.client) &&
               str_same(a->expired.lock, b->expired.lock) &&
               a->expired.token == b->expired.token;
    case FSM_REC_MEMBER:
        return a->member.node_id == b->member.node_id &&
               str_same(a->member.address, b->member.address);
    }
    return false;
}

bool records_equal(const struct records *a, const struct records *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        if (!record_same(&a->items[i], &b->items[i])) {
            fprintf(stderr, "record %zu differs: types %d and %d\n", i, a->items[i].type,
                    b->items[i].type);
            return false;
        }
    }
    if (a->count != b->count) {
        fprintf(stderr, "%zu records, not %zu\n", a->count, b->count);
    }
    return a->count == b->count;
}
