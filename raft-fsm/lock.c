#include "lock.h"

#include <assert.h>

#include "claim.h"
#include "client.h"
#include "digest.h"
#include "dump.h"
#include "events.h"
#include "look.h"
#include "memory.h"

enum { BATCH_CAPACITY_MIN = 16 };

/* ---- records ---------------------------------------------------------------------- */

struct lock *lock_find(const struct fsm *fsm, struct fsm_str name)
{
    return lock_of(roster_find(&fsm->locks, name, digest_name(name, fsm->hash_seed)));
}

struct lock *lock_new(struct fsm *fsm, struct fsm_str name, uint16_t limit)
{
    struct lock *lock = memory_new(offsetof(struct lock, name) + name.len);

    lock->entry.copied = fsm->copied;
    lock->entry.election = fsm->elections.last;
    lock->limit = limit;
    lock->name_len = (uint8_t)name.len;
    memcpy(lock->name, str_data(name), name.len);
    roster_add(&fsm->locks, &lock->entry, digest_name(name, fsm->hash_seed));
    return lock;
}

static void lock_free(struct fsm *fsm, struct lock *lock)
{
    assert(lock->crowd == NULL);
    looks_pass(fsm, lock);
    dump_pass(fsm, &lock->entry);
    roster_remove(&fsm->locks, &lock->entry);
    free(lock->slots);
    free(lock);
}

static void claims_free(struct fsm *fsm, struct claim *claims)
{
    struct claim *claim;
    struct claim *next;

    DL_FOREACH_SAFE(claims, claim, next)
    {
        deadline_set(&fsm->deadlines, &claim->due, FSM_UNLIMITED);
        claim_delist(fsm, claim);
        claim_free(claim);
    }
}

void locks_free(struct fsm *fsm)
{
    struct lock *lock = lock_first(fsm);

    while (lock != NULL) {
        struct lock *next = lock_next(lock);
        claims_free(fsm, lock->waits);
        claims_free(fsm, lock->holds);
        lock_free(fsm, lock);
        lock = next;
    }
    roster_release(&fsm->locks);
}

/* ---- who may have it -------------------------------------------------------------- */

/* A READ is never held of a counting lock, so that its holders are all writers. */
bool lock_admits(const struct lock *lock, enum fsm_type type)
{
    if (type == FSM_WRITE) {
        return lock->holds_count < lock->limit;
    }
    return lock->holds == NULL || lock->holds->type == FSM_READ;
}

bool lock_admits_head(const struct lock *lock)
{
    const struct claim *head = lock->waits;

    if (head->upgrade) {
        return lock->holds_count == 1;
    }
    return lock_admits(lock, (enum fsm_type)head->type);
}

struct claim *lock_upgrade(const struct lock *lock)
{
    return lock->waits != NULL && lock->waits->upgrade ? lock->waits : NULL;
}

uint32_t lock_position(const struct claim *wait, uint32_t max)
{
    const struct claim *ahead = wait->lock->waits;
    uint32_t position = 1;

    while (ahead != wait && position < max) {
        ahead = ahead->next;
        position++;
    }
    return ahead == wait ? position : 0;
}

/* ---- holds ------------------------------------------------------------------------ */

void lock_tell_granted(struct fsm *fsm, const struct claim *hold, bool answer)
{
    struct fsm_event event = {
        .type = FSM_EV_GRANTED,
        .client = client_id(hold->client),
        .lock = lock_name(hold->lock),
        .token = hold->token,
    };

    claim_show(fsm, hold, &event.claim);
    if (answer) {
        events_answer(fsm, &event);
    } else {
        events_tell(fsm, &event);
    }
}

void lock_restart_hold(struct fsm *fsm, struct claim *hold)
{
    hold->extended_ms = 0;
    deadline_set(&fsm->deadlines, &hold->due, deadline_after(fsm->now_ms, hold->hold_ms));
}

void lock_start_hold(struct fsm *fsm, struct claim *claim)
{
    struct lock *lock = claim->lock;
    struct expired *expired = client_recall(claim->client, lock_name(lock));

    if (expired != NULL) {
        client_forget(fsm, claim->client, expired);
    }
    deadline_set(&fsm->deadlines, &claim->due, FSM_UNLIMITED);
    claim->waiting = false;
    claim->upgrade = false;
    claim->token = ++fsm->token;
    claim->due.order = ++fsm->order;
    claim->since_ms = fsm->now_ms & CLAIM_SINCE_MASK;
    claim->slot = lock->limit > 1 ? slot_take_lowest(lock) : 0;
    claim_enlist(fsm, claim, CLAIM_LAST);
    lock_restart_hold(fsm, claim);
}

void lock_upgrade_hold(struct fsm *fsm, struct claim *hold)
{
    assert(hold->lock->holds_count == 1);
    assert(hold->type == FSM_READ);
    claim_delist(fsm, hold);
    deadline_set(&fsm->deadlines, &hold->due, FSM_UNLIMITED);
    hold->type = FSM_WRITE;
    hold->token = ++fsm->token;
    hold->due.order = ++fsm->order;
    claim_enlist(fsm, hold, CLAIM_LAST);
    lock_restart_hold(fsm, hold);
}

static void claim_end(struct fsm *fsm, struct claim *claim)
{
    claim_delist(fsm, claim);
    deadline_set(&fsm->deadlines, &claim->due, FSM_UNLIMITED);
    claim_free(claim);
}

void lock_end_hold(struct fsm *fsm, struct claim *hold)
{
    struct lock *lock = hold->lock;
    struct claim *upgrade = lock_upgrade(lock);

    lock_touch(fsm, lock);
    if (upgrade != NULL && upgrade->client == hold->client) {
        upgrade->upgrade = false;
    }
    if (lock->limit > 1) {
        slot_give_back(lock, hold->slot);
    }
    claim_end(fsm, hold);
}

void lock_break_hold(struct fsm *fsm, struct claim *hold, enum fsm_hold_end why)
{
    struct fsm_event event = {
        .type = FSM_EV_HOLD_ENDED,
        .client = client_id(hold->client),
        .lock = lock_name(hold->lock),
        .token = hold->token,
        .hold_end = why,
    };

    events_tell(fsm, &event);
    if (why == FSM_HOLD_EXPIRED) {
        client_remember(fsm, hold->client, lock_name(hold->lock), hold->token);
    }
    lock_end_hold(fsm, hold);
}

/* ---- waits ------------------------------------------------------------------------ */

void lock_cancel_wait(struct fsm *fsm, struct claim *wait)
{
    struct fsm_event event = {
        .type = FSM_EV_DENIED,
        .client = client_id(wait->client),
        .lock = lock_name(wait->lock),
        .deny = FSM_DENY_CANCELLED,
    };

    events_tell(fsm, &event);
    claim_end(fsm, wait);
}

void lock_time_out_wait(struct fsm *fsm, struct claim *wait)
{
    struct fsm_event event = {
        .type = FSM_EV_WAIT_TIMEOUT,
        .client = client_id(wait->client),
        .lock = lock_name(wait->lock),
    };

    events_tell(fsm, &event);
    claim_end(fsm, wait);
}

/* The hold that the client has takes over what it waited for. */
static struct claim *grant_upgrade(struct fsm *fsm, struct claim *wait)
{
    struct claim *hold = claim_find_hold(wait->lock, wait->client);
    struct owner_info *owner_info = hold->owner_info;

    assert(hold->lock->entry.election == fsm->elections.last);
    hold->hold_ms = wait->hold_ms;
    hold->drop = wait->drop;
    hold->owner_info = wait->owner_info;
    wait->owner_info = owner_info;
    claim_end(fsm, wait);
    lock_upgrade_hold(fsm, hold);
    return hold;
}

static void grant_head(struct fsm *fsm, struct claim *wait)
{
    bool answer = fsm->asked == wait;
    struct claim *hold = wait;

    if (wait->upgrade) {
        hold = grant_upgrade(fsm, wait);
    } else {
        claim_delist(fsm, wait);
        lock_start_hold(fsm, wait);
    }
    lock_tell_granted(fsm, hold, answer);
}

void lock_settle(struct fsm *fsm, struct lock *lock)
{
    while (lock->waits != NULL && lock_admits_head(lock)) {
        /* Its own time may have come in the instant in which it became the first. */
        if (lock->waits->due.at_ms <= fsm->now_ms) {
            lock_time_out_wait(fsm, lock->waits);
        } else {
            grant_head(fsm, lock->waits);
        }
    }
    if (lock->holds == NULL) {
        assert(lock->waits == NULL);
        lock_free(fsm, lock);
    }
}

void lock_answer_limit_exceeded(struct fsm *fsm, const char *limit_name)
{
    struct fsm_event event = {
        .type = FSM_EV_DENIED,
        .client = fsm->command->client,
        .lock = fsm->command->lock,
        .deny = FSM_DENY_LIMIT_EXCEEDED,
        .limit_name = limit_name,
    };

    events_answer(fsm, &event);
}

/* ---- several locks ---------------------------------------------------------------- */

void lock_batch_add(struct lock_batch *batch, struct lock *lock)
{
    if (lock->unsettled) {
        return;
    }
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity == 0 ? BATCH_CAPACITY_MIN : batch->capacity * 2;
        batch->items =
            memory_resize(batch->items, batch->capacity, sizeof(batch->items[0]));
    }
    lock->unsettled = true;
    batch->items[batch->count++] = lock;
}

void lock_batch_settle(struct fsm *fsm, struct lock_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        batch->items[i]->unsettled = false;
        lock_settle(fsm, batch->items[i]);
    }
    free(batch->items);
}
