/* check_grants.c - who may have a lock, and in which order: one writer or any readers, at most as many as the
 * lock counts, strictly as they came; a new token for each, one above the last. */
#include "check_internal.h"

#include <stdio.h>

#include <utlist.h>

bool check_admits(const struct check_lock *lock, enum fsm_type type)
{
    if (lock->holds == NULL) {
        return true;
    }
    if (type == FSM_READ) {
        return lock->holds->type == FSM_READ;
    }
    return lock->holds->type == FSM_WRITE && lock->holds_count < lock->limit;
}

void check_drop(struct check_claim *hold)
{
    check_run.counts.drops++;
    check_touch(hold->lock);
    check_belief_lost(hold->client->name, hold->lock->name, hold->token, CHECK_DROPPED);
    check_claim_end(hold);
}

/* Of a counting lock only the hold ends whose slot is granted: others may still expire before it is known
 * that their clients go. @upgrading goes too, perhaps, but later. */
static void
make_room(struct check_lock *lock, uint32_t slot, const struct check_claim *upgrading)
{
    struct check_claim *hold;
    struct check_claim *next;

    DL_FOREACH_SAFE(lock->holds, hold, next)
    {
        if (hold != upgrading && hold->client->going && hold->drop == FSM_DROP_RELEASE &&
            (lock->limit <= 1 || hold->slot == slot)) {
            check_drop(hold);
        }
    }
}

static const char *describe(const struct fsm_event *event)
{
    static char text[640];

    snprintf(text, sizeof(text), "entry %llu: %s of %.*s granted to %.*s, token %llu",
             (unsigned long long)check_step.index,
             event->claim.type == FSM_READ ? "READ" : "WRITE", (int)event->lock.len,
             event->lock.data, (int)event->client.len, event->client.data,
             (unsigned long long)event->token);
    return text;
}

static void new_token(const struct fsm_event *event,
                      const struct check_lock *lock,
                      const struct check_client *client)
{
    if (event->token != check_table.last_token + 1) {
        sim_violation("P3", "fencing tokens, not the next: %s after %llu",
                      describe(event), (unsigned long long)check_table.last_token);
        return;
    }
    check_table.last_token = event->token;
    *check_token_new(event->token) = (struct check_token){
        .index = check_step.index,
        .lock = lock->name,
        .client = client->name,
        .write = event->claim.type == FSM_WRITE,
    };
    check_run.counts.grants++;
    check_users_verdict(CHECK_GRANTED, client->name, lock->name);
}

/* The client reads, and now it writes. */
static void grant_upgrade(const struct fsm_event *event, struct check_claim *hold)
{
    struct check_lock *lock = hold->lock;
    struct check_claim *wait = check_wait_find(lock, hold->client);
    uint64_t hold_ms = check_step.command->lock_.hold_ms;
    enum fsm_drop how = check_step.command->lock_.drop;

    if (lock->holds_count > 1) {
        make_room(lock, event->claim.slot, hold);
    }
    if (lock->holds_count > 1) {
        sim_violation("P2", "read and write exclusion: %s while others read",
                      describe(event));
        return;
    }
    if (wait != NULL) {
        if (wait != lock->waits || !wait->upgrade) {
            sim_violation("P4",
                          "order, not the first: %s, which is not the first that waits",
                          describe(event));
            return;
        }
        hold_ms = wait->hold_ms;
        how = wait->drop;
        check_claim_end(wait);
    } else if (event->command != FSM_CMD_LOCK || hold->client != check_step.client) {
        sim_violation("P17", "ghost, not asked for: %s, which nobody asked for",
                      describe(event));
        return;
    }
    new_token(event, lock, hold->client);
    hold->read_token = hold->token;
    hold->token = event->token;
    hold->type = FSM_WRITE;
    hold->drop = how;
    check_claim_hold(hold);
    check_deadline_set(hold, hold_ms > 0 ? hold_ms : 1, check_step.proposed_us);
}

static void grant_wait(const struct fsm_event *event, struct check_claim *wait)
{
    struct check_lock *lock = wait->lock;

    if (!check_admits(lock, wait->type)) {
        make_room(lock, event->claim.slot, NULL);
    }
    if (wait != lock->waits) {
        sim_violation("P4", "order, upgrade waits before: %s, while %s waits before it",
                      describe(event), check_name_text(lock->waits->client->name));
    } else if (!check_admits(lock, wait->type)) {
        sim_violation("P2", "exclusion, held: %s, while %s has it", describe(event),
                      check_name_text(lock->holds->client->name));
    } else if (wait->deadline_ms <= check_table.now_ms) {
        sim_violation("P7", "wait timeout, granted after: %s, after its wait was over",
                      describe(event));
    } else {
        new_token(event, lock, wait->client);
        wait->token = event->token;
        wait->slot = event->claim.slot;
        check_claim_hold(wait);
        check_deadline_set(wait, wait->hold_ms, check_step.proposed_us);
    }
}

static void grant_at_once(const struct fsm_event *event,
                          struct check_lock *lock,
                          struct check_client *client)
{
    const struct fsm_command *command = check_step.command;
    struct check_claim *hold;

    if (event->command != FSM_CMD_LOCK || client != check_step.client ||
        lock != check_step.lock) {
        sim_violation("P17", "ghost, does not wait: %s, which does not wait for it",
                      describe(event));
        return;
    }
    if (lock->waits != NULL) {
        sim_violation("P4", "order, waits for it: %s, while %s waits for it",
                      describe(event), check_name_text(lock->waits->client->name));
        return;
    }
    if (lock->holds == NULL) {
        lock->limit = command->lock_.limit;
    }
    if (!check_admits(lock, command->lock_.type) || lock->limit != command->lock_.limit) {
        sim_violation(
            "P2", "exclusion, held: %s, while %s has it", describe(event),
            check_name_text(lock->holds != NULL ? lock->holds->client->name : 0));
        return;
    }
    hold = check_claim_new(lock, client, false, false);
    hold->type = command->lock_.type;
    hold->drop = command->lock_.drop;
    hold->token = event->token;
    hold->slot = event->claim.slot;
    new_token(event, lock, client);
    check_deadline_set(hold, command->lock_.hold_ms > 0 ? command->lock_.hold_ms : 1,
                       check_step.proposed_us);
}

/* What the event shows is what the claim is now. */
static void compare_shown(const struct fsm_event *event, const struct check_claim *hold)
{
    const struct fsm_claim *shown = &event->claim;
    uint64_t remaining_ms = hold->deadline_ms == FSM_UNLIMITED
                                ? FSM_UNLIMITED
                                : hold->deadline_ms - check_table.now_ms;

    if (shown->type != hold->type) {
        sim_violation("P2", "exclusion, another type: %s as another type",
                      describe(event));
    } else if (shown->drop != hold->drop) {
        sim_violation("P10", "drop policy: %s with another policy", describe(event));
    } else if (shown->hold_ms != hold->duration_ms ||
               shown->remaining_ms != remaining_ms) {
        sim_violation(
            "P8", "hold timeout, granted for: %s for %llu ms of %llu, not %llu of %llu",
            describe(event), (unsigned long long)shown->remaining_ms,
            (unsigned long long)shown->hold_ms, (unsigned long long)remaining_ms,
            (unsigned long long)hold->duration_ms);
    }
}

void check_granted(const struct fsm_event *event)
{
    struct check_lock *lock = check_lock_get(check_name_of(event->lock));
    struct check_client *client = check_client_get(check_name_of(event->client));
    struct check_claim *hold = check_hold_find(lock, client);
    struct check_claim *wait = check_wait_find(lock, client);

    check_touch(lock);
    if (!client->exists || client->presence == FSM_GONE) {
        sim_violation("P17", "ghost, not there: %s, who is not there", describe(event));
    } else if (hold != NULL && hold->token == event->token) {
        check_answer_granted_again(event, hold);
    } else if (hold != NULL && hold->type == FSM_READ && event->claim.type == FSM_WRITE) {
        grant_upgrade(event, hold);
    } else if (hold != NULL) {
        sim_violation(
            "P13", "idempotence, granted twice: %s, who has it already under token %llu",
            describe(event), (unsigned long long)hold->token);
    } else if (wait != NULL) {
        grant_wait(event, wait);
    } else {
        grant_at_once(event, lock, client);
    }
    if (check_run.running) {
        compare_shown(event, check_hold_find(lock, client));
    }
}
