/* The model: how claims begin, end and are granted. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

static void remove_claim(struct model *model, struct model_claim *claim)
{
    for (int i = 0; i < model->claims_count; i++) {
        if (model->claims[i] == claim) {
            model->claims[i] = model->claims[--model->claims_count];
        }
    }
    free(claim);
}

/* An upgrade whose READ is over is an ordinary wait in the same place. */
void model_end_hold(struct model *model, struct model_claim *hold)
{
    struct model_claim *wait = model_wait(model, hold->client, hold->lock);

    if (wait != NULL) {
        wait->upgrade = false;
    }
    remove_claim(model, hold);
}

static uint32_t lowest_free_slot(const struct model *model, const char *lock)
{
    for (uint32_t slot = 0;; slot++) {
        bool taken = false;
        for (int i = 0; i < model->claims_count; i++) {
            const struct model_claim *claim = model->claims[i];
            taken |= claim->lock == lock && !claim->waiting && claim->slot == slot;
        }
        if (!taken) {
            return slot;
        }
    }
}

void model_restart(struct model *model, struct model_claim *hold)
{
    hold->deadline_ms = model_later(model->now_ms, hold->hold_ms);
    hold->asked_deadline_ms = hold->deadline_ms;
}

void model_tell_granted(struct model *model, const struct model_claim *hold, bool answer)
{
    struct fsm_event event = {
        .type = FSM_EV_GRANTED,
        .client = model_str(hold->client),
        .lock = model_str(hold->lock),
        .token = hold->token,
        .claim = model_show(model, hold),
    };

    if (answer) {
        model_answer(model, event);
    } else {
        model_tell(model, event);
    }
}

void model_forget(struct model_client *client, int which)
{
    memmove(&client->expired[which], &client->expired[which + 1],
            (size_t)(client->expired_count - which - 1) * sizeof(client->expired[0]));
    client->expired_count--;
}

int model_remembered(const struct model_client *client, const char *lock, uint64_t token)
{
    for (int i = 0; i < client->expired_count; i++) {
        if (client->expired[i].lock == lock &&
            (token == 0 || client->expired[i].token == token)) {
            return i;
        }
    }
    return -1;
}

void model_become_hold(struct model *model, struct model_claim *claim)
{
    struct model_client *client = model_client(model, claim->client);
    int memory = model_remembered(client, claim->lock, 0);

    if (memory >= 0) {
        model_forget(client, memory);
    }
    claim->slot = 0;
    if (model_lock(model, claim->lock)->limit > 1) {
        claim->slot = lowest_free_slot(model, claim->lock);
    }
    claim->waiting = false;
    claim->upgrade = false;
    claim->token = ++model->token;
    claim->order = ++model->order;
    claim->since_ms = model->now_ms;
    model_restart(model, claim);
}

void model_become_write(struct model *model, struct model_claim *hold)
{
    hold->type = FSM_WRITE;
    hold->token = ++model->token;
    hold->order = ++model->order;
    model_restart(model, hold);
}

/* Could this be granted, if it were the first in the queue? */
bool model_fits(struct model *model,
                const char *client,
                const char *lock,
                enum fsm_type type)
{
    uint32_t holders = 0;
    bool writer = false;

    for (int i = 0; i < model->claims_count; i++) {
        const struct model_claim *claim = model->claims[i];
        if (claim->lock == lock && !claim->waiting && claim->client != client) {
            holders++;
            writer |= claim->type == FSM_WRITE;
        }
    }
    if (type == FSM_READ) {
        return !writer;
    }
    return holders == 0 || (writer && holders < model_lock(model, lock)->limit);
}

static void grant(struct model *model, struct model_claim *wait, bool answer)
{
    struct model_claim *hold = model_hold(model, wait->client, wait->lock);

    if (hold == NULL) {
        model_become_hold(model, wait);
        model_tell_granted(model, wait, answer);
        return;
    }
    hold->hold_ms = wait->hold_ms;
    hold->drop = wait->drop;
    hold->info = wait->info;
    remove_claim(model, wait);
    model_become_write(model, hold);
    model_tell_granted(model, hold, answer);
}

void model_time_out(struct model *model, struct model_claim *wait)
{
    model_tell(model, (struct fsm_event){
                          .type = FSM_EV_WAIT_TIMEOUT,
                          .client = model_str(wait->client),
                          .lock = model_str(wait->lock),
                      });
    remove_claim(model, wait);
}

void model_cancel(struct model *model, struct model_claim *wait)
{
    model_tell(model, (struct fsm_event){
                          .type = FSM_EV_DENIED,
                          .client = model_str(wait->client),
                          .lock = model_str(wait->lock),
                          .deny = FSM_DENY_CANCELLED,
                      });
    remove_claim(model, wait);
}

/* Serve the queue; @asked: the wait whose grant answers the command. */
void model_pump(struct model *model, const char *lock, const struct model_claim *asked)
{
    struct model_claim *head;

    while ((head = model_next_wait(model, lock, INT64_MIN)) != NULL &&
           model_fits(model, head->client, lock, head->type)) {
        if (head->deadline_ms <= model->now_ms) {
            model_time_out(model, head);
        } else {
            grant(model, head, head == asked);
        }
    }
    for (int i = 0; i < model->locks_count; i++) {
        if (model->locks[i].name == lock && model_next_hold(model, lock, 0) == NULL) {
            memmove(&model->locks[i], &model->locks[i + 1],
                    (size_t)(model->locks_count - i - 1) * sizeof(model->locks[0]));
            model->locks_count--;
        }
    }
}

/* ---- refusals --------------------------------------------------------------------------------- */

void model_deny(struct model *model, enum fsm_deny reason, const char *limit_name)
{
    model_answer(model, (struct fsm_event){
                            .type = FSM_EV_DENIED,
                            .client = model->command->client,
                            .lock = model->command->lock,
                            .deny = reason,
                            .limit_name = limit_name,
                        });
}

void model_deny_showing(struct model *model, enum fsm_deny reason, const char *lock)
{
    struct fsm_event event = {
        .type = FSM_EV_DENIED,
        .client = model->command->client,
        .lock = model->command->lock,
        .deny = reason,
    };

    model_show_holders(model, &event, lock, FSM_HOLDERS_SHOWN_MAX);
    model_answer(model, event);
}
