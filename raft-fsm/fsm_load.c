/* A machine rebuilt from records. Nothing is believed: a snapshot may be damaged, or come
 * from a node that is, and what it says must be a state that the machine could have
 * reached. */
#include <errno.h>

#include "claim.h"
#include "client.h"
#include "distinct.h"
#include "lock.h"
#include "member.h"

static bool name_fits(struct fsm_str name)
{
    return name.len <= FSM_NAME_BYTES_MAX;
}

static bool type_is_valid(enum fsm_type type, const struct lock *lock)
{
    return type == FSM_WRITE || (type == FSM_READ && lock->limit == 1);
}

static bool drop_is_valid(enum fsm_drop drop)
{
    return drop == FSM_DROP_RELEASE || drop == FSM_DROP_IGNORE;
}

/* Given out by this machine at some time. */
static bool order_was_given(const struct fsm *fsm, uint64_t order)
{
    return order >= 1 && order <= fsm->order;
}

/* ---- root, members and clients ------------------------------------------------------------- */

static int load_root(struct fsm *fsm, const struct fsm_record *record)
{
    if (fsm->stage != STAGE_EMPTY) {
        return -EINVAL;
    }
    fsm->now_ms = record->root.now_ms;
    fsm->token = record->root.token;
    fsm->order = record->root.order;
    fsm->term = record->root.term;
    fsm->digest = record->root.digest;
    fsm->node_id_max = record->root.node_id_max;
    fsm->settings = record->root.settings;
    fsm->stage = STAGE_LOAD_MEMBERS;
    return 0;
}

static int load_member(struct fsm *fsm, const struct fsm_record *record)
{
    uint64_t node_id = record->member.node_id;

    if (fsm->stage != STAGE_LOAD_MEMBERS || node_id == 0 || node_id > fsm->node_id_max ||
        record->member.address.len == 0 || !name_fits(record->member.address) ||
        fsm->members_count == FSM_MEMBERS_MAX ||
        (fsm->members_count > 0 &&
         fsm->members[fsm->members_count - 1].node_id >= node_id)) {
        return -EINVAL;
    }
    member_set(fsm, node_id, record->member.address);
    return 0;
}

static bool presence_is_valid(const struct fsm *fsm, const struct fsm_record *record)
{
    switch (record->client.presence) {
    case FSM_ATTACHED:
    case FSM_GONE:
        return record->client.grace_end_ms == 0;
    case FSM_MISSING:
        return record->client.grace_end_ms > fsm->now_ms;
    }
    return false;
}

static int load_client(struct fsm *fsm, const struct fsm_record *record)
{
    struct client *client;

    if ((fsm->stage != STAGE_LOAD_MEMBERS && fsm->stage != STAGE_LOAD_CLIENTS) ||
        !name_fits(record->client.id) ||
        record->client.secret_digest.len > FSM_SECRET_DIGEST_BYTES_MAX ||
        !presence_is_valid(fsm, record) ||
        !order_was_given(fsm, record->client.attach_seq) ||
        client_find(fsm, record->client.id) != NULL) {
        return -EINVAL;
    }
    client = client_add(fsm, record->client.id, record->client.secret_digest);
    fsm->stage = STAGE_LOAD_CLIENTS;
    client->epoch = record->client.epoch;
    client->presence = (uint8_t)record->client.presence;
    client->grace.order = record->client.attach_seq;
    if (record->client.presence == FSM_MISSING) {
        deadline_set(&fsm->deadlines, &client->grace, record->client.grace_end_ms);
    }
    return 0;
}

/* ---- locks ------------------------------------------------------------------------ */

/* The lock whose claims are being loaded. */
static struct lock *last_lock(const struct fsm *fsm)
{
    return lock_of(fsm->locks.last);
}

/* Whether the lock that was loaded last has all that it must have. */
static bool last_lock_is_whole(const struct fsm *fsm)
{
    const struct lock *lock = last_lock(fsm);

    if (lock == NULL) {
        return true;
    }
    return lock->holds != NULL && (lock->waits == NULL || !lock_admits_head(lock));
}

static int load_lock(struct fsm *fsm, const struct fsm_record *record)
{
    if (fsm->stage != STAGE_LOAD_MEMBERS && fsm->stage != STAGE_LOAD_CLIENTS &&
        fsm->stage != STAGE_LOAD_LOCKS) {
        return -EINVAL;
    }
    if (!name_fits(record->lock.name) || record->lock.limit < 1 ||
        record->lock.limit > FSM_LIMIT_MAX || !last_lock_is_whole(fsm) ||
        lock_find(fsm, record->lock.name) != NULL) {
        return -EINVAL;
    }
    lock_new(fsm, record->lock.name, (uint16_t)record->lock.limit);
    fsm->stage = STAGE_LOAD_LOCKS;
    return 0;
}

/* The lock that a hold or wait belongs to; NULL if this is not its place. */
static struct lock *lock_being_loaded(const struct fsm *fsm, struct fsm_str name)
{
    struct lock *lock = fsm->stage == STAGE_LOAD_LOCKS ? last_lock(fsm) : NULL;

    return lock != NULL && str_equal(lock_name(lock), name) ? lock : NULL;
}

/* A client's claims must be in order of age, but come by lock: sorted in fsm_load_end().
 */
static void enter_loaded(struct fsm *fsm, struct claim *claim, uint64_t deadline_ms)
{
    struct client *client = claim->client;
    const struct claim *first = claim->waiting ? client->waits : client->holds;

    if (first != NULL && first->client_prev->due.order > claim->due.order) {
        client->unsorted = true;
    }
    claim_enlist(fsm, claim, CLAIM_LAST);
    deadline_set(&fsm->deadlines, &claim->due, deadline_ms);
}

static uint64_t extension_of(const struct fsm_record *record)
{
    return record->hold.deadline_ms - record->hold.asked_deadline_ms;
}

static bool hold_is_valid(const struct fsm *fsm,
                          const struct fsm_record *record,
                          const struct lock *lock,
                          const struct client *client)
{
    const struct claim *before = lock->holds != NULL ? lock->holds->prev : NULL;

    if (!type_is_valid(record->hold.type, lock) || !drop_is_valid(record->hold.drop) ||
        !name_fits(record->hold.owner_info) || !lock_admits(lock, record->hold.type) ||
        record->hold.slot >= lock->limit) {
        return false;
    }
    if (client->presence == FSM_GONE && record->hold.drop != FSM_DROP_IGNORE) {
        return false;
    }
    if (record->hold.token < 1 || record->hold.token > fsm->token ||
        !order_was_given(fsm, record->hold.order)) {
        return false;
    }
    if (before != NULL && (record->hold.token <= before->token ||
                           record->hold.order <= before->due.order)) {
        return false;
    }
    return record->hold.hold_ms >= 1 && record->hold.granted_at_ms <= fsm->now_ms &&
           record->hold.deadline_ms > fsm->now_ms &&
           record->hold.asked_deadline_ms <= record->hold.deadline_ms &&
           extension_of(record) <= CLAIM_EXTENDED_MAX &&
           (extension_of(record) == 0 || record->hold.deadline_ms != FSM_UNLIMITED);
}

static int load_hold(struct fsm *fsm, const struct fsm_record *record)
{
    struct lock *lock = lock_being_loaded(fsm, record->hold.lock);
    struct client *client = client_find(fsm, record->hold.client);
    struct claim *hold;

    if (lock == NULL || client == NULL || lock->waits != NULL ||
        claim_find_hold(lock, client) != NULL ||
        !hold_is_valid(fsm, record, lock, client)) {
        return -EINVAL;
    }
    if (lock->limit > 1 && !slot_take(lock, record->hold.slot)) {
        return -EINVAL;
    }
    hold = claim_new(client, lock);
    hold->type = record->hold.type & 1;
    hold->drop = record->hold.drop & 1;
    hold->slot = (uint16_t)record->hold.slot;
    hold->token = record->hold.token;
    hold->hold_ms = record->hold.hold_ms;
    hold->since_ms = record->hold.granted_at_ms & CLAIM_SINCE_MASK;
    hold->extended_ms = (uint32_t)extension_of(record) & CLAIM_EXTENDED_MAX;
    hold->due.order = record->hold.order;
    claim_set_owner_info(hold, record->hold.owner_info);
    enter_loaded(fsm, hold, record->hold.deadline_ms);
    return 0;
}

static bool wait_is_valid(const struct fsm *fsm,
                          const struct fsm_record *record,
                          const struct lock *lock,
                          const struct client *client)
{
    const struct claim *hold = claim_find_hold(lock, client);

    if (!type_is_valid(record->wait.type, lock) || !drop_is_valid(record->wait.drop) ||
        !name_fits(record->wait.owner_info) || client->presence == FSM_GONE) {
        return false;
    }
    if (record->wait.upgrade != (hold != NULL)) {
        return false;
    }
    if (record->wait.upgrade && (record->wait.type != FSM_WRITE ||
                                 hold->type != FSM_READ || lock->waits != NULL)) {
        return false;
    }
    return order_was_given(fsm, record->wait.order) && record->wait.wait_ms >= 1 &&
           record->wait.hold_ms >= 1 && record->wait.queued_at_ms <= fsm->now_ms &&
           record->wait.deadline_ms > fsm->now_ms;
}

static int load_wait(struct fsm *fsm, const struct fsm_record *record)
{
    struct lock *lock = lock_being_loaded(fsm, record->wait.lock);
    struct client *client = client_find(fsm, record->wait.client);
    struct claim *wait;

    if (lock == NULL || client == NULL || claim_find_wait(lock, client) != NULL ||
        !wait_is_valid(fsm, record, lock, client)) {
        return -EINVAL;
    }
    wait = claim_new(client, lock);
    wait->waiting = true;
    wait->upgrade = record->wait.upgrade;
    wait->type = record->wait.type & 1;
    wait->drop = record->wait.drop & 1;
    wait->wait_ms = record->wait.wait_ms;
    wait->hold_ms = record->wait.hold_ms;
    wait->since_ms = record->wait.queued_at_ms & CLAIM_SINCE_MASK;
    wait->due.order = record->wait.order;
    claim_set_owner_info(wait, record->wait.owner_info);
    enter_loaded(fsm, wait, record->wait.deadline_ms);
    return 0;
}

/* ---- the rest --------------------------------------------------------------------- */

static int load_expired(struct fsm *fsm, const struct fsm_record *record)
{
    struct client *client = client_find(fsm, record->expired.client);
    const struct lock *lock = lock_find(fsm, record->expired.lock);

    if (fsm->stage == STAGE_EMPTY || fsm->stage == STAGE_LIVE || client == NULL ||
        !last_lock_is_whole(fsm) || !name_fits(record->expired.lock) ||
        record->expired.token < 1 || record->expired.token > fsm->token) {
        return -EINVAL;
    }
    if (client->expired_count == FSM_EXPIRED_MEMORY_MAX ||
        client_recall(client, record->expired.lock) != NULL ||
        (lock != NULL && claim_find_hold(lock, client) != NULL)) {
        return -EINVAL;
    }
    client_remember(fsm, client, record->expired.lock, record->expired.token);
    fsm->stage = STAGE_LOAD_EXPIRED;
    return 0;
}

int fsm_load(struct fsm *fsm, const struct fsm_record *record)
{
    switch (record->type) {
    case FSM_REC_ROOT:
        return load_root(fsm, record);
    case FSM_REC_CLIENT:
        return load_client(fsm, record);
    case FSM_REC_LOCK:
        return load_lock(fsm, record);
    case FSM_REC_HOLD:
        return load_hold(fsm, record);
    case FSM_REC_WAIT:
        return load_wait(fsm, record);
    case FSM_REC_EXPIRED:
        return load_expired(fsm, record);
    case FSM_REC_MEMBER:
        return load_member(fsm, record);
    }
    return -EINVAL;
}

static int compare_age(const struct claim *a, const struct claim *b)
{
    return (a->due.order > b->due.order) - (a->due.order < b->due.order);
}

int fsm_load_end(struct fsm *fsm)
{
    struct client *client;

    if (fsm->stage == STAGE_LIVE) {
        return 0;
    }
    if (!last_lock_is_whole(fsm) || !ages_and_tokens_differ(fsm)) {
        return -EINVAL;
    }
    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        if (client->presence == FSM_GONE && client->holds == NULL) {
            return -EINVAL;
        }
        if (client->unsorted) {
            DL_SORT2(client->holds, compare_age, client_prev, client_next);
            DL_SORT2(client->waits, compare_age, client_prev, client_next);
            client->unsorted = false;
        }
    }
    fsm->stage = STAGE_LIVE;
    return 0;
}
