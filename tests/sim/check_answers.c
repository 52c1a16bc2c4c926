/* check_answers.c - the answers of commands: whether they are true, and what they change. */
#include "check_internal.h"

#include <utlist.h>

static unsigned long long entry(void)
{
    return (unsigned long long)check_step.index;
}

static uint64_t at_least_1_ms(uint64_t ms)
{
    return ms > 0 ? ms : 1;
}

void check_acts(const struct fsm_event *event)
{
    const struct fsm_command *command = check_step.command;
    const struct check_client *client = check_step.client;

    if (client == NULL || !client->exists || client->presence == FSM_GONE ||
        command->client_epoch < client->epoch) {
        sim_violation("P17",
                      "ghost, old epoch: entry %llu: %.*s acts on %.*s by a connection "
                      "of epoch %llu, and "
                      "has %llu or is gone",
                      entry(), (int)event->client.len, event->client.data,
                      (int)event->lock.len, event->lock.data,
                      (unsigned long long)command->client_epoch,
                      (unsigned long long)(client != NULL ? client->epoch : 0));
    }
}

/* ---- asked again ------------------------------------------------------------------------------ */

void check_answer_granted_again(const struct fsm_event *event, struct check_claim *hold)
{
    const struct fsm_command *command = check_step.command;
    uint64_t hold_ms = hold->duration_ms;

    if (hold->client != check_step.client || hold->lock != check_step.lock ||
        (event->command != FSM_CMD_LOCK && event->command != FSM_CMD_REFRESH) ||
        (event->command == FSM_CMD_REFRESH && command->refresh.token != 0 &&
         command->refresh.token != hold->token)) {
        sim_violation("P3",
                      "fencing tokens, granted again: entry %llu: token %llu of %s is "
                      "granted again, which "
                      "nobody asked for",
                      entry(), (unsigned long long)event->token,
                      check_name_text(hold->lock->name));
        return;
    }
    check_acts(event);
    if (event->command == FSM_CMD_LOCK) {
        hold_ms = at_least_1_ms(command->lock_.hold_ms);
        hold->drop = command->lock_.drop;
        if (command->lock_.downgrade && command->lock_.type == FSM_READ) {
            hold->type = FSM_READ;
        }
    } else {
        hold_ms = command->refresh.hold_ms > 0 ? command->refresh.hold_ms : hold_ms;
        hold->drop = command->refresh.set_drop ? command->refresh.drop : hold->drop;
    }
    check_deadline_set(hold, hold_ms, check_step.proposed_us);
}

/* ---- waits ------------------------------------------------------------------------------------ */

static void take_parameters(struct check_claim *wait)
{
    const struct fsm_command *command = check_step.command;

    wait->type = command->lock_.type;
    wait->drop = command->lock_.drop;
    wait->hold_ms = at_least_1_ms(command->lock_.hold_ms);
}

static struct check_claim *
enqueue(struct check_lock *lock, struct check_client *client, bool upgrade)
{
    struct check_claim *wait = check_claim_new(lock, client, true, upgrade);

    wait->upgrade = upgrade;
    take_parameters(wait);
    check_deadline_set(wait, at_least_1_ms(check_step.command->lock_.wait_ms),
                       check_step.proposed_us);
    return wait;
}

/* Its place, and all that is asked now. */
static void join(struct check_claim *wait)
{
    wait->drop = check_step.command->lock_.drop;
    wait->hold_ms = at_least_1_ms(check_step.command->lock_.hold_ms);
    check_deadline_set(wait, at_least_1_ms(check_step.command->lock_.wait_ms),
                       check_step.proposed_us);
}

static void refresh(struct check_claim *wait)
{
    const struct fsm_command *command = check_step.command;
    uint64_t wait_ms = wait->duration_ms;

    wait_ms = command->refresh.wait_ms > 0 ? command->refresh.wait_ms : wait_ms;
    wait->hold_ms =
        command->refresh.hold_ms > 0 ? command->refresh.hold_ms : wait->hold_ms;
    wait->drop = command->refresh.set_drop ? command->refresh.drop : wait->drop;
    check_deadline_set(wait, wait_ms, check_step.proposed_us);
}

static uint32_t place_of(const struct check_claim *wait)
{
    const struct check_claim *at = wait->lock->waits;
    uint32_t place = 1;

    for (; at != wait; at = at->next) {
        place++;
    }
    return place;
}

static void compare_wait(const struct fsm_event *event, const struct check_claim *wait)
{
    uint64_t remaining_ms = wait->deadline_ms == FSM_UNLIMITED
                                ? FSM_UNLIMITED
                                : wait->deadline_ms - check_table.now_ms;
    uint32_t place = place_of(wait);

    if (event->claim.position != place &&
        (event->claim.position != 0 || place <= FSM_POSITION_COUNTED_MAX)) {
        sim_violation("P4",
                      "order, place told: entry %llu: %s is told place %u in the queue "
                      "of %s, and has %u",
                      entry(), check_name_text(wait->client->name), event->claim.position,
                      check_name_text(wait->lock->name), place);
    } else if (event->claim.remaining_ms != remaining_ms ||
               event->claim.type != wait->type || event->claim.drop != wait->drop ||
               event->claim.hold_ms != wait->hold_ms) {
        sim_violation("P7",
                      "wait timeout, told: entry %llu: the wait of %s for %s is not what "
                      "was asked for: %llu ms "
                      "remain, not %llu",
                      entry(), check_name_text(wait->client->name),
                      check_name_text(wait->lock->name),
                      (unsigned long long)event->claim.remaining_ms,
                      (unsigned long long)remaining_ms);
    }
}

void check_answer_waiting(const struct fsm_event *event)
{
    struct check_client *client = check_step.client;
    struct check_lock *lock = check_step.lock;
    struct check_claim *wait;
    bool holds;

    check_acts(event);
    if (lock == NULL || !check_run.running) {
        return;
    }
    wait = check_wait_find(lock, client);
    holds = check_hold_find(lock, client) != NULL;
    check_touch(lock);
    if (event->command == FSM_CMD_REFRESH && wait != NULL) {
        refresh(wait);
    } else if (event->command != FSM_CMD_LOCK ||
               check_step.command->lock_.mode != FSM_WAIT) {
        sim_violation(
            "P17", "ghost, waits: entry %llu: %s waits for %s and did not ask to",
            entry(), check_name_text(client->name), check_name_text(lock->name));
        return;
    } else if (wait == NULL) {
        wait = enqueue(lock, client, holds);
    } else if (wait != check_step.replacing) {
        join(wait);
    }
    compare_wait(event, wait);
    if (event->queue_length != lock->waits_count ||
        event->holders_count != lock->holds_count) {
        sim_violation("P4",
                      "order, counts told: entry %llu: %u wait for %s and %u hold it; "
                      "told are %u and %u",
                      entry(), lock->waits_count, check_name_text(lock->name),
                      lock->holds_count, event->queue_length, event->holders_count);
    }
}

/* ---- refusals --------------------------------------------------------------------------------- */

/* A wait ended because of what its client did, or because its client goes. */
static void on_cancelled(const struct fsm_event *event)
{
    const struct fsm_command *command = check_step.command;
    struct check_lock *lock = check_lock_get(check_name_of(event->lock));
    struct check_client *client = check_client_get(check_name_of(event->client));
    struct check_claim *wait = check_wait_find(lock, client);
    bool own = client == check_step.client && lock == check_step.lock;
    bool replaced = own && wait != NULL && command->type == FSM_CMD_LOCK &&
                    command->lock_.type != wait->type && command->lock_.mode == FSM_WAIT;

    if (wait == NULL || event->deny != FSM_DENY_CANCELLED ||
        !(client->going || replaced || (own && command->type == FSM_CMD_RELEASE))) {
        sim_violation("P5",
                      "no lost grant, cancelled: entry %llu: a wait of %s for %s is "
                      "cancelled, and nobody did",
                      entry(), check_name_text(client->name),
                      check_name_text(lock->name));
        return;
    }
    check_touch(lock);
    check_claim_end(wait);
    if (replaced && !client->going) {
        check_step.replacing = enqueue(lock, client, false);
    }
}

static void lock_refused_held(const struct fsm_event *event)
{
    const struct fsm_command *command = check_step.command;
    const struct check_lock *lock = check_step.lock;
    const struct check_client *client = check_step.client;
    const struct check_claim *hold = check_hold_find(lock, client);
    bool had =
        check_wait_find(lock, client) == NULL &&
        (hold != NULL ? lock->holds_count == 1 || hold->type == FSM_WRITE ||
                            command->lock_.type == FSM_READ
                      : lock->waits == NULL && check_admits(lock, command->lock_.type));

    if (had || command->lock_.mode != FSM_BREAK) {
        sim_violation(
            "P16",
            "false busy, held: entry %llu: %s is refused to %s as held, and is not",
            entry(), check_name_text(lock->name), check_name_text(client->name));
    } else if (event->holders_count != lock->holds_count) {
        sim_violation("P16",
                      "false busy, holders told: entry %llu: %s has %u holders, not %u",
                      entry(), check_name_text(lock->name), lock->holds_count,
                      event->holders_count);
    }
    check_users_verdict(CHECK_HELD, client->name, lock->name);
}

static void lock_refused_limit(void)
{
    const struct fsm_command *command = check_step.command;
    uint32_t limit = command->lock_.limit;
    bool odd = limit < 1 || limit > FSM_LIMIT_MAX ||
               (limit > 1 && command->lock_.type == FSM_READ);

    if (!odd && (check_step.lock->holds == NULL || check_step.lock->limit == limit)) {
        sim_violation(
            "P16",
            "false busy, limit: entry %llu: %s is refused for its limit, which it has",
            entry(), check_name_text(check_step.lock->name));
    }
}

static void refused_not_held(void)
{
    const struct fsm_command *command = check_step.command;
    uint64_t token = command->refresh.token;
    const struct check_claim *hold = check_hold_find(check_step.lock, check_step.client);
    const struct check_claim *wait = check_wait_find(check_step.lock, check_step.client);

    if (command->type != FSM_CMD_REFRESH) {
        return;
    }
    if (hold != NULL ? token == 0 || token == hold->token : wait != NULL && token == 0) {
        sim_violation(
            "P8",
            "hold timeout, not refreshed: entry %llu: %s may not refresh %s, and has it",
            entry(), check_name_text(check_step.client->name),
            check_name_text(check_step.lock->name));
    }
}

static void refused_as_client(const struct fsm_event *event)
{
    const struct check_client *client = check_step.client;
    bool there = client->exists && client->presence != FSM_GONE;

    if (event->deny == FSM_DENY_NOT_ATTACHED && there) {
        sim_violation(
            "P11",
            "re-attach, not attached: entry %llu: %s is refused as not attached, and is",
            entry(), check_name_text(client->name));
    } else if (event->deny == FSM_DENY_STALE_EPOCH && event->command != FSM_CMD_ATTACH &&
               check_step.command->client_epoch >= client->epoch) {
        sim_violation("P11",
                      "re-attach, epoch: entry %llu: %s is refused for its epoch %llu, "
                      "and has %llu",
                      entry(), check_name_text(client->name),
                      (unsigned long long)check_step.command->client_epoch,
                      (unsigned long long)client->epoch);
    }
}

void check_answer_denied(const struct fsm_event *event)
{
    if (event->command == 0) {
        on_cancelled(event);
        return;
    }
    if (check_step.client == NULL) {
        return;
    }
    refused_as_client(event);
    if (check_step.lock == NULL) {
        return;
    }
    switch (event->deny) {
    case FSM_DENY_HELD:
        lock_refused_held(event);
        return;
    case FSM_DENY_LIMIT_MISMATCH:
        lock_refused_limit();
        return;
    case FSM_DENY_UPGRADE_CONFLICT:
        if (check_step.lock->waits == NULL || !check_step.lock->waits->upgrade) {
            sim_violation("P16",
                          "false busy, upgrade: entry %llu: nobody else upgrades %s",
                          entry(), check_name_text(check_step.lock->name));
        }
        return;
    case FSM_DENY_NOT_HELD:
    case FSM_DENY_EXPIRED:
        refused_not_held();
        return;
    case FSM_DENY_CANCELLED:
    case FSM_DENY_NOT_ATTACHED:
    case FSM_DENY_STALE_EPOCH:
    case FSM_DENY_NOT_ALLOWED:
    case FSM_DENY_LIMIT_EXCEEDED:
        return;
    }
}

/* ---- release ------------------------------------------------------------------------------------ */

static void released(const struct fsm_event *event, struct check_claim *hold)
{
    if (hold == NULL || hold->token != event->token) {
        sim_violation("P6",
                      "release, not held: entry %llu: token %llu of %s is released, and "
                      "%s does not have it",
                      entry(), (unsigned long long)event->token,
                      check_name_text(check_step.lock->name),
                      check_name_text(check_step.client->name));
        return;
    }
    if (check_step.command->release.token == 0 &&
        check_wait_find(check_step.lock, check_step.client) != NULL) {
        sim_violation(
            "P6",
            "release, waits still: entry %llu: %s lets go of %s, and waits for it still",
            entry(), check_name_text(check_step.client->name),
            check_name_text(check_step.lock->name));
    }
    check_touch(hold->lock);
    check_claim_end(hold);
}

void check_answer_release(const struct fsm_event *event)
{
    uint64_t token = check_step.command->release.token;
    struct check_claim *hold;

    check_acts(event);
    if (check_step.lock == NULL || !check_run.running) {
        return;
    }
    hold = check_hold_find(check_step.lock, check_step.client);
    if (hold != NULL && token != 0 && token != hold->token) {
        hold = NULL;
    }
    if (event->result == FSM_RELEASED) {
        released(event, hold);
    } else if (hold != NULL ||
               (token == 0 &&
                check_wait_find(check_step.lock, check_step.client) != NULL)) {
        sim_violation(
            "P6", "release, refused: entry %llu: %s does not let go of %s (result %d)",
            entry(), check_name_text(check_step.client->name),
            check_name_text(check_step.lock->name), (int)event->result);
    } else if (event->result == FSM_HELD_BY_OTHER && check_step.lock->holds == NULL) {
        sim_violation(
            "P6",
            "release, held by nobody: entry %llu: %s is held by nobody, not by another",
            entry(), check_name_text(check_step.lock->name));
    }
}

/* ---- looking ------------------------------------------------------------------------------------- */

void check_answer_status(const struct fsm_event *event)
{
    const struct check_lock *lock = check_step.lock;
    const struct check_claim *hold;
    enum fsm_lock_state state = FSM_FREE;

    if (lock == NULL || check_step.client == NULL) {
        return;
    }
    hold = check_hold_find(lock, check_step.client);
    if (hold != NULL) {
        state = FSM_HELD_BY_ME;
    } else if (check_wait_find(lock, check_step.client) != NULL) {
        state = FSM_WAITING;
    } else if (lock->holds != NULL) {
        state = FSM_STATE_HELD_BY_OTHER;
    }
    if (event->state != state || event->holders_count != lock->holds_count ||
        event->queue_length != lock->waits_count ||
        (hold != NULL && event->token != hold->token)) {
        sim_violation(
            "P6",
            "status: entry %llu: %s is told state %d of %s with %u holders and %u "
            "waiting; it is %d with %u and %u",
            entry(), check_name_text(check_step.client->name), (int)event->state,
            check_name_text(lock->name), event->holders_count, event->queue_length,
            (int)state, lock->holds_count, lock->waits_count);
    }
}

void check_answer_token(const struct fsm_event *event)
{
    const struct check_lock *lock = check_step.lock;
    enum fsm_token_state state = FSM_TOKEN_SUPERSEDED;

    if (lock == NULL) {
        return;
    }
    if (lock->holds == NULL) {
        state = FSM_TOKEN_FREE;
    } else if (check_hold_by_token(lock, check_step.command->check_token.token) != NULL) {
        state = FSM_TOKEN_CURRENT;
    }
    if (event->token_state != state ||
        (state == FSM_TOKEN_SUPERSEDED &&
         event->superseded_by != lock->holds->prev->token)) {
        sim_violation("P3",
                      "fencing tokens, state told: entry %llu: token %llu of %s is told "
                      "state %d, and has %d",
                      entry(), (unsigned long long)check_step.command->check_token.token,
                      check_name_text(lock->name), (int)event->token_state, (int)state);
    }
}

/* ---- attach --------------------------------------------------------------------------------------- */

static void compare_claims(const struct fsm_event *event,
                           const struct check_client *client)
{
    if (event->holds_count != client->holds_count ||
        event->waits_count != client->waits_count ||
        event->claims_count != client->holds_count + client->waits_count) {
        sim_violation("P11",
                      "re-attach, told: entry %llu: %s is told %u holds and %u waits, "
                      "and has %u and "
                      "%u",
                      entry(), check_name_text(client->name), event->holds_count,
                      event->waits_count, client->holds_count, client->waits_count);
        return;
    }
    for (uint32_t i = 0; i < event->claims_count; i++) {
        const struct fsm_claim *shown = &event->claims[i];
        const struct check_lock *lock = check_lock_get(check_name_of(shown->lock));
        const struct check_claim *claim = shown->waiting ? check_wait_find(lock, client)
                                                         : check_hold_find(lock, client);
        if (claim == NULL || claim->token != shown->token || claim->type != shown->type) {
            sim_violation(
                "P3",
                "fencing tokens, told: entry %llu: %s attaches and is told token %llu of "
                "%s, which it does not have",
                entry(), check_name_text(client->name), (unsigned long long)shown->token,
                check_name_text(lock->name));
        }
    }
}

void check_answer_attached(const struct fsm_event *event)
{
    const struct fsm_command *command = check_step.command;
    struct check_client *client = check_step.client;
    uint64_t epoch = command->attach.has_epoch ? command->attach.epoch : 0;

    if (client == NULL || client->name != check_name_of(event->client)) {
        return;
    }
    if (client->exists && ((command->attach.has_epoch && epoch < client->epoch) ||
                           (command->attach.supersede && epoch <= client->epoch))) {
        sim_violation("P17",
                      "ghost, epoch again: entry %llu: %s attaches with epoch %llu, and "
                      "has %llu already",
                      entry(), check_name_text(client->name), (unsigned long long)epoch,
                      (unsigned long long)client->epoch);
        return;
    }
    if (!client->exists) {
        client->exists = true;
        check_table.clients_count++;
    }
    check_client_not_missing(client);
    client->presence = FSM_ATTACHED;
    client->attach_seq = event->attach_seq;
    client->epoch = command->attach.has_epoch ? epoch : client->epoch;
    compare_claims(event, client);
}
