/* The model: lock, refresh, release. */
#include <assert.h>
#include <stdlib.h>

#include "model.h"

static const char *
limit_reached(struct model *model, const char *client, const char *lock, bool to_wait)
{
    uint64_t of_client =
        model_count(model, client, NULL, false) + model_count(model, client, NULL, true);

    if ((uint64_t)model->claims_count >= model->settings.claims_max) {
        return "claims";
    }
    if (of_client >= model->settings.claims_per_client_max) {
        return "claims per client";
    }
    if (to_wait &&
        model_count(model, NULL, lock, true) >= model->settings.waiters_per_lock_max) {
        return "waiters per lock";
    }
    return NULL;
}

static void set_parameters(struct model *model, struct model_claim *claim)
{
    claim->hold_ms = model->command->lock_.hold_ms;
    claim->drop = model->command->lock_.drop;
    claim->info = model_name(model, model->command->lock_.owner_info);
}

static struct model_claim *
new_claim(struct model *model, const char *client, const char *lock)
{
    struct model_claim *claim = calloc(1, sizeof(*claim));

    assert(claim != NULL && model->claims_count < MODEL_CLAIMS_MAX);
    claim->client = client;
    claim->lock = lock;
    claim->type = model->command->lock_.type;
    claim->waiting = true;
    set_parameters(model, claim);
    model->claims[model->claims_count++] = claim;
    return claim;
}

static struct model_claim *
queue_up(struct model *model, const char *client, const char *lock, bool upgrade)
{
    struct model_claim *wait = new_claim(model, client, lock);

    wait->upgrade = upgrade;
    wait->rank = upgrade ? --model->first_rank : ++model->last_rank;
    wait->order = ++model->order;
    wait->since_ms = model->now_ms;
    wait->wait_ms = model->command->lock_.wait_ms;
    wait->deadline_ms = model_later(model->now_ms, wait->wait_ms);
    return wait;
}

static void
answer_waiting(struct model *model, const struct model_claim *wait, bool joined)
{
    struct fsm_event event = {
        .type = FSM_EV_WAITING,
        .client = model_str(wait->client),
        .lock = model_str(wait->lock),
        .queue_length = model_count(model, NULL, wait->lock, true),
        .holders_count = model_count(model, NULL, wait->lock, false),
        .claim = model_show(model, wait),
    };

    event.claim.position = model_position(model, wait);
    if (joined && event.claim.position > FSM_POSITION_COUNTED_MAX) {
        event.claim.position = 0;
    }
    model_answer(model, event);
}

/* NULL after an answer if the client may not act. */
static struct model_client *acting(struct model *model)
{
    struct model_client *client =
        model_client(model, model_name(model, model->command->client));

    if (client == NULL || client->presence == FSM_GONE) {
        model_deny(model, FSM_DENY_NOT_ATTACHED, NULL);
        return NULL;
    }
    if (model->command->client_epoch < client->epoch) {
        model_deny(model, FSM_DENY_STALE_EPOCH, NULL);
        return NULL;
    }
    return client;
}

/* It has nothing here. */
static void lock_first_time(struct model *model, const char *client, const char *name)
{
    const struct fsm_command *command = model->command;
    bool exists = model_lock(model, name) != NULL;
    bool now = !exists || (model_count(model, NULL, name, true) == 0 &&
                           model_fits(model, client, name, command->lock_.type));
    const char *limit_name;

    if (!now && command->lock_.mode == FSM_BREAK) {
        model_deny_showing(model, FSM_DENY_HELD, name);
        return;
    }
    limit_name = limit_reached(model, client, name, !now);
    if (limit_name != NULL) {
        model_deny(model, FSM_DENY_LIMIT_EXCEEDED, limit_name);
        return;
    }
    if (!exists) {
        assert(model->locks_count < MODEL_LOCKS_MAX);
        model->locks[model->locks_count++] =
            (struct model_lock){name, command->lock_.limit};
    }
    if (now) {
        struct model_claim *hold = new_claim(model, client, name);
        model_become_hold(model, hold);
        model_tell_granted(model, hold, true);
    } else {
        answer_waiting(model, queue_up(model, client, name, false), false);
    }
}

/* It waits and asks again. */
static void lock_waiting(struct model *model, struct model_claim *wait)
{
    const struct fsm_command *command = model->command;
    const char *client = wait->client;
    const char *name = wait->lock;

    if (command->lock_.mode == FSM_BREAK) {
        model_deny_showing(model, FSM_DENY_HELD, name);
    } else if (wait->type == command->lock_.type) {
        wait->wait_ms = command->lock_.wait_ms;
        wait->deadline_ms = model_later(model->now_ms, wait->wait_ms);
        set_parameters(model, wait);
        answer_waiting(model, wait, true);
    } else {
        model_cancel(model, wait);
        wait = queue_up(model, client, name, false);
        model_pump(model, name, wait);
        if (wait->waiting) {
            answer_waiting(model, wait, false);
        }
    }
}

/* It reads and wants to write. */
static void lock_upgrade(struct model *model, struct model_claim *hold)
{
    const char *name = hold->lock;
    const struct model_claim *head = model_next_wait(model, name, INT64_MIN);
    const char *limit_name;

    if (model_count(model, NULL, name, false) == 1) {
        set_parameters(model, hold);
        model_become_write(model, hold);
        model_tell_granted(model, hold, true);
    } else if (model->command->lock_.mode == FSM_BREAK) {
        model_deny_showing(model, FSM_DENY_HELD, name);
    } else if (head != NULL && head->upgrade) {
        model_deny_showing(model, FSM_DENY_UPGRADE_CONFLICT, name);
    } else if ((limit_name = limit_reached(model, hold->client, name, true)) != NULL) {
        model_deny(model, FSM_DENY_LIMIT_EXCEEDED, limit_name);
    } else {
        answer_waiting(model, queue_up(model, hold->client, name, true), false);
    }
}

void model_command_lock(struct model *model)
{
    const struct fsm_command *command = model->command;
    struct model_client *client = acting(model);
    const char *name = model_name(model, command->lock);
    const struct model_lock *record = model_lock(model, name);
    uint32_t limit = command->lock_.limit;
    struct model_claim *hold;
    struct model_claim *wait;

    if (client == NULL) {
        return;
    }
    if (limit == 0 || limit > FSM_LIMIT_MAX ||
        (limit > 1 && command->lock_.type == FSM_READ) ||
        (record != NULL && record->limit != limit)) {
        if (record != NULL) {
            model_deny_showing(model, FSM_DENY_LIMIT_MISMATCH, name);
        } else {
            model_deny(model, FSM_DENY_LIMIT_MISMATCH, NULL);
        }
        return;
    }
    hold = model_hold(model, client->id, name);
    wait = model_wait(model, client->id, name);
    if (hold != NULL && (hold->type == FSM_WRITE || command->lock_.type == FSM_READ)) {
        set_parameters(model, hold);
        model_restart(model, hold);
        if (command->lock_.type == FSM_READ && command->lock_.downgrade) {
            hold->type = FSM_READ;
        }
        model_tell_granted(model, hold, true);
        model_pump(model, name, NULL);
    } else if (wait != NULL) {
        lock_waiting(model, wait);
    } else if (hold != NULL) {
        lock_upgrade(model, hold);
    } else {
        lock_first_time(model, client->id, name);
    }
}

void model_refresh(struct model *model)
{
    const struct fsm_command *command = model->command;
    struct model_client *client = acting(model);
    const char *name = model_name(model, command->lock);
    uint64_t token = command->refresh.token;
    struct model_claim *claim;

    if (client == NULL) {
        return;
    }
    claim = model_hold(model, client->id, name);
    if (claim == NULL && token == 0) {
        claim = model_wait(model, client->id, name);
    }
    if (claim == NULL || (token != 0 && token != claim->token)) {
        bool known = model_remembered(client, name, token) >= 0;
        model_deny(model, known ? FSM_DENY_EXPIRED : FSM_DENY_NOT_HELD, NULL);
        return;
    }
    if (command->refresh.hold_ms != 0) {
        claim->hold_ms = command->refresh.hold_ms;
    }
    if (command->refresh.set_drop) {
        claim->drop = command->refresh.drop;
    }
    if (!claim->waiting) {
        model_restart(model, claim);
        model_tell_granted(model, claim, true);
        return;
    }
    if (command->refresh.wait_ms != 0) {
        claim->wait_ms = command->refresh.wait_ms;
    }
    claim->deadline_ms = model_later(model->now_ms, claim->wait_ms);
    answer_waiting(model, claim, true);
}

static void
answer_release(struct model *model, enum fsm_release_result result, uint64_t token)
{
    model_answer(model, (struct fsm_event){
                            .type = FSM_EV_RELEASE,
                            .client = model->command->client,
                            .lock = model->command->lock,
                            .result = result,
                            .token = token,
                        });
}

void model_release(struct model *model)
{
    struct model_client *client = acting(model);
    const char *name = model_name(model, model->command->lock);
    uint64_t token = model->command->release.token;
    struct model_claim *hold;
    struct model_claim *wait;
    int memory;

    if (client == NULL) {
        return;
    }
    hold = model_hold(model, client->id, name);
    wait = model_wait(model, client->id, name);
    memory = model_remembered(client, name, token);
    if (hold != NULL && (token == 0 || token == hold->token)) {
        if (wait != NULL && token == 0) {
            model_cancel(model, wait);
        }
        answer_release(model, FSM_RELEASED, hold->token);
        model_end_hold(model, hold);
        model_pump(model, name, NULL);
    } else if (hold == NULL && wait != NULL && token == 0) {
        model_cancel(model, wait);
        answer_release(model, FSM_WAS_QUEUED, 0);
        model_pump(model, name, NULL);
    } else if (memory >= 0) {
        answer_release(model, FSM_EXPIRED, client->expired[memory].token);
        model_forget(client, memory);
    } else if (hold == NULL && model_count(model, NULL, name, false) > 0) {
        answer_release(model, FSM_HELD_BY_OTHER, 0);
    } else {
        answer_release(model, FSM_NOT_HELD, 0);
    }
}

void model_force_release(struct model *model)
{
    const char *name = model_name(model, model->command->lock);
    uint64_t token = model->command->force_release.token;
    struct fsm_event answer = {.type = FSM_EV_FORCED, .lock = model_str(name)};
    struct model_claim *hold = model_next_hold(model, name, 0);

    while (hold != NULL) {
        struct model_claim *next = model_next_hold(model, name, hold->token);
        if (token == 0 || token == hold->token) {
            const char *client = hold->client;
            model_tell(model, (struct fsm_event){
                                  .type = FSM_EV_HOLD_ENDED,
                                  .client = model_str(client),
                                  .lock = model_str(name),
                                  .token = hold->token,
                                  .hold_end = FSM_HOLD_BROKEN,
                              });
            model_end_hold(model, hold);
            model_end_client_if_done(model, client);
            answer.holders_count++;
        }
        hold = next;
    }
    model_pump(model, name, NULL);
    model_answer(model, answer);
}
