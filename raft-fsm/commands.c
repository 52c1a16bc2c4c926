/* Lock, refresh, release: the commands that change who has what. */
#include "commands.h"

#include <assert.h>

#include "claim.h"
#include "client.h"
#include "dump.h"
#include "events.h"
#include "lock.h"

/* The client that the command speaks for; NULL after a refusal has been answered. */
static struct client *acting_client(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct client *client = client_find(fsm, command->client);

    /* Nobody would ever let go of what a client takes after its last connection went. */
    if (client == NULL || client->presence == FSM_GONE) {
        events_answer_denied(fsm, FSM_DENY_NOT_ATTACHED);
        return NULL;
    }
    if (command->client_epoch < client->epoch) {
        events_answer_denied(fsm, FSM_DENY_STALE_EPOCH);
        return NULL;
    }
    return client;
}

static void
answer_denied_showing(struct fsm *fsm, const struct lock *lock, enum fsm_deny reason)
{
    struct fsm_event event = {
        .type = FSM_EV_DENIED,
        .client = fsm->command->client,
        .lock = fsm->command->lock,
        .deny = reason,
    };

    events_show_holders(fsm, &event, lock, FSM_HOLDERS_SHOWN_MAX);
    events_answer(fsm, &event);
}

static void answer_waiting(struct fsm *fsm, const struct claim *wait, uint32_t position)
{
    struct fsm_event event = {
        .type = FSM_EV_WAITING,
        .client = client_id(wait->client),
        .lock = lock_name(wait->lock),
        .queue_length = wait->lock->waits_count,
        .holders_count = wait->lock->holds_count,
    };

    claim_show(fsm, wait, &event.claim);
    event.claim.position = position;
    events_answer(fsm, &event);
}

/* A duration of nothing would be due before it began; the shortest one is a millisecond.
 */
static uint64_t at_least_1_ms(uint64_t duration_ms)
{
    return duration_ms > 0 ? duration_ms : 1;
}

/* What the command wants of a claim, whatever becomes of it. */
static void set_parameters(struct fsm *fsm, struct claim *claim)
{
    const struct fsm_command *command = fsm->command;

    lock_touch(fsm, claim->lock);
    claim->hold_ms = at_least_1_ms(command->lock_.hold_ms);
    claim->drop = command->lock_.drop & 1;
    claim_set_owner_info(claim, command->lock_.owner_info);
}

static const char *limit_reached(const struct fsm *fsm,
                                 const struct client *client,
                                 const struct lock *lock,
                                 bool to_wait)
{
    uint64_t of_client = (uint64_t)client->holds_count + client->waits_count;

    if (fsm->holds_count + fsm->waits_count >= fsm->settings.claims_max) {
        return "claims";
    }
    if (of_client >= fsm->settings.claims_per_client_max) {
        return "claims per client";
    }
    if (to_wait && lock->waits_count >= fsm->settings.waiters_per_lock_max) {
        return "waiters per lock";
    }
    return NULL;
}

/* ---- lock
 * -------------------------------------------------------------------------------------
 */

static struct claim *
enqueue(struct fsm *fsm, struct client *client, struct lock *lock, bool upgrade)
{
    struct claim *wait = claim_new(client, lock);

    wait->waiting = true;
    wait->upgrade = upgrade;
    wait->type = fsm->command->lock_.type & 1;
    wait->wait_ms = at_least_1_ms(fsm->command->lock_.wait_ms);
    wait->since_ms = fsm->now_ms & CLAIM_SINCE_MASK;
    wait->due.order = ++fsm->order;
    set_parameters(fsm, wait);
    deadline_set(&fsm->deadlines, &wait->due, deadline_after(fsm->now_ms, wait->wait_ms));
    claim_enlist(fsm, wait, upgrade ? CLAIM_FIRST : CLAIM_LAST);
    return wait;
}

/* Asked again for what it has: the same token, the new parameters, the timer restarts. */
static void lock_again(struct fsm *fsm, struct claim *hold)
{
    const struct fsm_command *command = fsm->command;

    set_parameters(fsm, hold);
    if (command->lock_.downgrade && command->lock_.type == FSM_READ) {
        hold->type = FSM_READ;
    }
    lock_restart_hold(fsm, hold);
    lock_tell_granted(fsm, hold, true);
    lock_settle(fsm, hold->lock);
}

/* Asked again for what it waits for: its place, the new parameters, the timer restarts. */
static void join_wait(struct fsm *fsm, struct claim *wait)
{
    set_parameters(fsm, wait);
    wait->wait_ms = at_least_1_ms(fsm->command->lock_.wait_ms);
    deadline_set(&fsm->deadlines, &wait->due, deadline_after(fsm->now_ms, wait->wait_ms));
    answer_waiting(fsm, wait, lock_position(wait, FSM_POSITION_COUNTED_MAX));
}

/* Asked for another type than it waits for: a new place at the tail. Those behind the old
 * place may move up, and this very request with them. */
static void replace_wait(struct fsm *fsm, struct claim *wait)
{
    struct client *client = wait->client;
    struct lock *lock = wait->lock;

    lock_cancel_wait(fsm, wait);
    wait = enqueue(fsm, client, lock, false);
    fsm->asked = wait;
    lock_settle(fsm, lock);
    if (!fsm->answered) {
        answer_waiting(fsm, wait, lock->waits_count);
    }
}

static void lock_again_waiting(struct fsm *fsm, struct claim *wait)
{
    if (fsm->command->lock_.mode == FSM_BREAK) {
        answer_denied_showing(fsm, wait->lock, FSM_DENY_HELD);
    } else if (fsm->command->lock_.type == (enum fsm_type)wait->type) {
        join_wait(fsm, wait);
    } else {
        replace_wait(fsm, wait);
    }
}

/* WRITE asked by one who holds READ. */
static void upgrade_hold(struct fsm *fsm, struct claim *hold)
{
    struct lock *lock = hold->lock;
    const char *limit_name;

    if (lock->holds_count == 1) {
        set_parameters(fsm, hold);
        lock_upgrade_hold(fsm, hold);
        lock_tell_granted(fsm, hold, true);
        return;
    }
    if (fsm->command->lock_.mode == FSM_BREAK) {
        answer_denied_showing(fsm, lock, FSM_DENY_HELD);
        return;
    }
    /* Each of two upgraders would wait for the other's READ to end. */
    if (lock_upgrade(lock) != NULL) {
        answer_denied_showing(fsm, lock, FSM_DENY_UPGRADE_CONFLICT);
        return;
    }
    limit_name = limit_reached(fsm, hold->client, lock, true);
    if (limit_name != NULL) {
        lock_answer_limit_exceeded(fsm, limit_name);
        return;
    }
    answer_waiting(fsm, enqueue(fsm, hold->client, lock, true), 1);
}

static void grant_now(struct fsm *fsm, struct client *client, struct lock *lock)
{
    const struct fsm_command *command = fsm->command;
    struct claim *hold;

    if (lock == NULL) {
        lock = lock_new(fsm, command->lock, (uint16_t)command->lock_.limit);
    }
    hold = claim_new(client, lock);
    hold->type = command->lock_.type & 1;
    set_parameters(fsm, hold);
    lock_start_hold(fsm, hold);
    lock_tell_granted(fsm, hold, true);
}

/* The client has nothing on this lock yet. @lock is NULL if nobody has. */
static void lock_anew(struct fsm *fsm, struct client *client, struct lock *lock)
{
    const struct fsm_command *command = fsm->command;
    bool free =
        lock == NULL || (lock->waits == NULL && lock_admits(lock, command->lock_.type));
    const char *limit_name;

    if (!free && command->lock_.mode == FSM_BREAK) {
        answer_denied_showing(fsm, lock, FSM_DENY_HELD);
        return;
    }
    limit_name = limit_reached(fsm, client, lock, !free);
    if (limit_name != NULL) {
        lock_answer_limit_exceeded(fsm, limit_name);
    } else if (free) {
        grant_now(fsm, client, lock);
    } else {
        struct claim *wait = enqueue(fsm, client, lock, false);
        answer_waiting(fsm, wait, lock->waits_count);
    }
}

/* Holders of a counting lock are all writers; its limit is that of the first of them. */
static bool limit_matches(const struct fsm_command *command, const struct lock *lock)
{
    uint32_t limit = command->lock_.limit;

    if (limit < 1 || limit > FSM_LIMIT_MAX) {
        return false;
    }
    if (limit > 1 && command->lock_.type == FSM_READ) {
        return false;
    }
    return lock == NULL || limit == lock->limit;
}

static void answer_limit_mismatch(struct fsm *fsm, const struct lock *lock)
{
    if (lock != NULL) {
        answer_denied_showing(fsm, lock, FSM_DENY_LIMIT_MISMATCH);
    } else {
        events_answer_denied(fsm, FSM_DENY_LIMIT_MISMATCH);
    }
}

void command_lock(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct client *client = acting_client(fsm);
    struct lock *lock;
    struct claim *hold = NULL;
    struct claim *wait = NULL;

    if (client == NULL) {
        return;
    }
    lock = lock_find(fsm, command->lock);
    if (!limit_matches(command, lock)) {
        answer_limit_mismatch(fsm, lock);
        return;
    }
    if (lock != NULL) {
        hold = claim_find_hold(lock, client);
        wait = claim_find_wait(lock, client);
    }
    if (hold != NULL && (hold->type == FSM_WRITE || command->lock_.type == FSM_READ)) {
        lock_again(fsm, hold);
    } else if (wait != NULL) {
        lock_again_waiting(fsm, wait);
    } else if (hold != NULL) {
        upgrade_hold(fsm, hold);
    } else {
        lock_anew(fsm, client, lock);
    }
}

/* ---- refresh ---------------------------------------------------------------------- */

static void refresh_hold(struct fsm *fsm, struct claim *hold)
{
    const struct fsm_command *command = fsm->command;

    lock_touch(fsm, hold->lock);
    if (command->refresh.hold_ms > 0) {
        hold->hold_ms = command->refresh.hold_ms;
    }
    if (command->refresh.set_drop) {
        hold->drop = command->refresh.drop & 1;
    }
    lock_restart_hold(fsm, hold);
    lock_tell_granted(fsm, hold, true);
}

static void refresh_wait(struct fsm *fsm, struct claim *wait)
{
    const struct fsm_command *command = fsm->command;

    lock_touch(fsm, wait->lock);
    if (command->refresh.wait_ms > 0) {
        wait->wait_ms = command->refresh.wait_ms;
    }
    if (command->refresh.hold_ms > 0) {
        wait->hold_ms = command->refresh.hold_ms;
    }
    if (command->refresh.set_drop) {
        wait->drop = command->refresh.drop & 1;
    }
    deadline_set(&fsm->deadlines, &wait->due, deadline_after(fsm->now_ms, wait->wait_ms));
    answer_waiting(fsm, wait, lock_position(wait, FSM_POSITION_COUNTED_MAX));
}

/* The hold that timed out and that the client means, by name and, if it gave one, by
 * token. */
static struct expired *
recall(const struct client *client, struct fsm_str lock, uint64_t token)
{
    struct expired *expired = client_recall(client, lock);

    if (expired != NULL && token != 0 && expired->token != token) {
        return NULL;
    }
    return expired;
}

void command_refresh(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct client *client = acting_client(fsm);
    uint64_t token = command->refresh.token;
    const struct lock *lock;
    struct claim *hold = NULL;
    struct claim *wait = NULL;

    if (client == NULL) {
        return;
    }
    lock = lock_find(fsm, command->lock);
    if (lock != NULL) {
        hold = claim_find_hold(lock, client);
        wait = claim_find_wait(lock, client);
    }
    if (hold != NULL && (token == 0 || token == hold->token)) {
        refresh_hold(fsm, hold);
    } else if (hold == NULL && wait != NULL && token == 0) {
        refresh_wait(fsm, wait);
    } else if (recall(client, command->lock, token) != NULL) {
        events_answer_denied(fsm, FSM_DENY_EXPIRED);
    } else {
        events_answer_denied(fsm, FSM_DENY_NOT_HELD);
    }
}

/* ---- release ---------------------------------------------------------------------- */

static void
answer_release(struct fsm *fsm, enum fsm_release_result result, uint64_t token)
{
    struct fsm_event event = {
        .type = FSM_EV_RELEASE,
        .client = fsm->command->client,
        .lock = fsm->command->lock,
        .token = token,
        .result = result,
    };

    events_answer(fsm, &event);
}

static void release_hold(struct fsm *fsm, struct claim *hold, struct claim *wait)
{
    struct lock *lock = hold->lock;

    if (wait != NULL && fsm->command->release.token == 0) {
        lock_cancel_wait(fsm, wait);
    }
    answer_release(fsm, FSM_RELEASED, hold->token);
    lock_end_hold(fsm, hold);
    lock_settle(fsm, lock);
}

static void release_wait(struct fsm *fsm, struct claim *wait)
{
    struct lock *lock = wait->lock;

    lock_cancel_wait(fsm, wait);
    answer_release(fsm, FSM_WAS_QUEUED, 0);
    lock_settle(fsm, lock);
}

static void
release_nothing(struct fsm *fsm, struct client *client, bool holds, bool others_hold)
{
    const struct fsm_command *command = fsm->command;
    struct expired *expired = recall(client, command->lock, command->release.token);

    if (expired != NULL) {
        uint64_t token = expired->token;
        client_forget(fsm, client, expired);
        answer_release(fsm, FSM_EXPIRED, token);
    } else if (!holds && others_hold) {
        answer_release(fsm, FSM_HELD_BY_OTHER, 0);
    } else {
        answer_release(fsm, FSM_NOT_HELD, 0);
    }
}

void command_release(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct client *client = acting_client(fsm);
    uint64_t token = command->release.token;
    const struct lock *lock;
    struct claim *hold = NULL;
    struct claim *wait = NULL;

    if (client == NULL) {
        return;
    }
    lock = lock_find(fsm, command->lock);
    if (lock != NULL) {
        hold = claim_find_hold(lock, client);
        wait = claim_find_wait(lock, client);
    }
    if (hold != NULL && (token == 0 || token == hold->token)) {
        release_hold(fsm, hold, wait);
    } else if (hold == NULL && wait != NULL && token == 0) {
        release_wait(fsm, wait);
    } else {
        release_nothing(fsm, client, hold != NULL, lock != NULL);
    }
}

/* ---- force release ---------------------------------------------------------------- */

static void force_end(struct fsm *fsm, struct claim *hold)
{
    struct client *client = hold->client;

    lock_break_hold(fsm, hold, FSM_HOLD_BROKEN);
    client_settle(fsm, client);
}

void command_force_release(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct lock *lock = lock_find(fsm, command->lock);
    struct fsm_event event = {.type = FSM_EV_FORCED, .lock = command->lock};
    struct claim *hold;
    struct claim *next;

    if (lock != NULL) {
        DL_FOREACH_SAFE(lock->holds, hold, next)
        {
            if (command->force_release.token == 0 ||
                command->force_release.token == hold->token) {
                force_end(fsm, hold);
                event.holders_count++;
            }
        }
        lock_settle(fsm, lock);
    }
    events_answer(fsm, &event);
}
