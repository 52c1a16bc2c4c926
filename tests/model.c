#include "model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct model *model_new(void)
{
    struct model *model = calloc(1, sizeof(*model));

    assert(model != NULL);
    model->settings =
        (struct fsm_settings){0, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0};
    return model;
}

void model_free(struct model *model)
{
    for (int i = 0; i < model->clients_count; i++) {
        free(model->clients[i]);
    }
    for (int i = 0; i < model->claims_count; i++) {
        free(model->claims[i]);
    }
    for (int i = 0; i < model->names_count; i++) {
        free(model->names[i]);
    }
    free(model);
}

/* ---- looking ---------------------------------------------------------------------------------- */

struct model_client *model_client(const struct model *model, const char *id)
{
    for (int i = 0; i < model->clients_count; i++) {
        if (strcmp(model->clients[i]->id, id) == 0) {
            return model->clients[i];
        }
    }
    return NULL;
}

struct model_lock *model_lock(struct model *model, const char *name)
{
    for (int i = 0; i < model->locks_count; i++) {
        if (strcmp(model->locks[i].name, name) == 0) {
            return &model->locks[i];
        }
    }
    return NULL;
}

static struct model_claim *
find_claim(const struct model *model, const char *client, const char *lock, bool waiting)
{
    for (int i = 0; i < model->claims_count; i++) {
        struct model_claim *claim = model->claims[i];
        if (claim->client == client && claim->lock == lock && claim->waiting == waiting) {
            return claim;
        }
    }
    return NULL;
}

struct model_claim *
model_hold(const struct model *model, const char *client, const char *lock)
{
    return find_claim(model, client, lock, false);
}

struct model_claim *
model_wait(const struct model *model, const char *client, const char *lock)
{
    return find_claim(model, client, lock, true);
}

struct model_claim *
model_next_hold(const struct model *model, const char *lock, uint64_t after)
{
    struct model_claim *next = NULL;

    for (int i = 0; i < model->claims_count; i++) {
        struct model_claim *claim = model->claims[i];
        if (claim->lock == lock && !claim->waiting && claim->token > after &&
            (next == NULL || claim->token < next->token)) {
            next = claim;
        }
    }
    return next;
}

struct model_claim *
model_next_wait(const struct model *model, const char *lock, int64_t after)
{
    struct model_claim *next = NULL;

    for (int i = 0; i < model->claims_count; i++) {
        struct model_claim *claim = model->claims[i];
        if (claim->lock == lock && claim->waiting && claim->rank > after &&
            (next == NULL || claim->rank < next->rank)) {
            next = claim;
        }
    }
    return next;
}

uint32_t
model_count(const struct model *model, const char *client, const char *lock, bool waiting)
{
    uint32_t count = 0;

    for (int i = 0; i < model->claims_count; i++) {
        const struct model_claim *claim = model->claims[i];
        count += (client == NULL || claim->client == client) &&
                 (lock == NULL || claim->lock == lock) && claim->waiting == waiting;
    }
    return count;
}

/* The claim of @client with the lowest order above @after. */
struct model_claim *model_next_of_client(const struct model *model,
                                         const char *client,
                                         bool waiting,
                                         uint64_t after)
{
    struct model_claim *next = NULL;

    for (int i = 0; i < model->claims_count; i++) {
        struct model_claim *claim = model->claims[i];
        if (claim->client == client && claim->waiting == waiting &&
            claim->order > after && (next == NULL || claim->order < next->order)) {
            next = claim;
        }
    }
    return next;
}

uint64_t model_later(uint64_t now_ms, uint64_t duration_ms)
{
    return duration_ms >= FSM_UNLIMITED - now_ms ? FSM_UNLIMITED : now_ms + duration_ms;
}

/* ---- time ------------------------------------------------------------------------------------- */

static void hold_expires(struct model *model, struct model_claim *hold)
{
    struct model_client *client = model_client(model, hold->client);
    const char *lock = hold->lock;

    model_tell(model, (struct fsm_event){
                          .type = FSM_EV_HOLD_ENDED,
                          .client = model_str(client->id),
                          .lock = model_str(lock),
                          .token = hold->token,
                          .hold_end = FSM_HOLD_EXPIRED,
                      });
    if (client->expired_count == FSM_EXPIRED_MEMORY_MAX) {
        model_forget(client, 0);
    }
    client->expired[client->expired_count].lock = lock;
    client->expired[client->expired_count++].token = hold->token;
    model_end_hold(model, hold);
    model_end_client_if_done(model, client->id);
    model_pump(model, lock, NULL);
}

/* Whatever is due first happens first; false if nothing is due. */
static bool next_due(struct model *model)
{
    struct model_claim *claim = NULL;
    struct model_client *client = NULL;
    uint64_t at_ms = model->now_ms;
    uint64_t order = UINT64_MAX;

    for (int i = 0; i < model->claims_count; i++) {
        struct model_claim *candidate = model->claims[i];
        if (candidate->deadline_ms < at_ms ||
            (candidate->deadline_ms == at_ms && candidate->order < order)) {
            at_ms = candidate->deadline_ms;
            order = candidate->order;
            claim = candidate;
        }
    }
    for (int i = 0; i < model->clients_count; i++) {
        struct model_client *candidate = model->clients[i];
        if (candidate->presence == FSM_MISSING &&
            (candidate->grace_end_ms < at_ms ||
             (candidate->grace_end_ms == at_ms && candidate->attach_seq < order))) {
            at_ms = candidate->grace_end_ms;
            order = candidate->attach_seq;
            client = candidate;
        }
    }
    if (client != NULL && model->settings.drop_max != 0 &&
        model->dropped >= model->settings.drop_max) {
        client->grace_end_ms = model->now_ms + 1;
    } else if (client != NULL) {
        model->dropped += 1 + model_count(model, client->id, NULL, true) +
                          model_count(model, client->id, NULL, false);
        model_go(model, client, false);
    } else if (claim != NULL && claim->waiting) {
        const char *lock = claim->lock;
        model_time_out(model, claim);
        model_pump(model, lock, NULL);
    } else if (claim != NULL) {
        hold_expires(model, claim);
    }
    return client != NULL || claim != NULL;
}

static void new_epoch(struct model *model)
{
    uint64_t grace_ms;
    uint64_t end_ms;

    model->term = model->command->epoch.term;
    model->settings = model->command->epoch.settings;
    model_answer(model, (struct fsm_event){.type = FSM_EV_SERVING});
    grace_ms = model->settings.reattach_grace_ms;
    end_ms = model_later(model->now_ms, grace_ms);
    for (int i = 0; i < model->clients_count; i++) {
        if (model->clients[i]->presence == FSM_ATTACHED) {
            model->clients[i]->presence = FSM_MISSING;
            model->clients[i]->grace_end_ms = end_ms;
        }
    }
    for (int i = 0; i < model->claims_count; i++) {
        struct model_claim *hold = model->claims[i];
        if (!hold->waiting && hold->drop == FSM_DROP_RELEASE &&
            hold->deadline_ms < end_ms) {
            uint64_t bound_ms = model_later(hold->asked_deadline_ms, grace_ms);
            uint64_t extended_ms = bound_ms < end_ms ? bound_ms : end_ms;
            if (extended_ms > hold->deadline_ms) {
                hold->deadline_ms = extended_ms;
            }
        }
    }
    while (next_due(model)) {
    }
}

void model_member(struct model *model, uint64_t node_id, struct fsm_str address)
{
    if (node_id > model->node_id_max) {
        model->node_id_max = node_id;
    }
    for (int i = 0; i < model->members_count; i++) {
        if (model->members[i].node_id == node_id && address.len > 0) {
            model->members[i].address = model_name(model, address);
            return;
        }
        if (model->members[i].node_id == node_id) {
            model->members[i] = model->members[--model->members_count];
            return;
        }
    }
    if (address.len > 0 && model->members_count < FSM_MEMBERS_MAX) {
        model->members[model->members_count].node_id = node_id;
        model->members[model->members_count++].address = model_name(model, address);
    }
}

void model_apply(struct model *model, const struct fsm_command *command)
{
    model->command = command;
    model->events_count = 0;
    model->shown_count = 0;
    model->dropped = 0;
    if (command->time_ms > model->now_ms) {
        model->now_ms = command->time_ms;
    }
    while (next_due(model)) {
    }
    switch (command->type) {
    case FSM_CMD_EPOCH:
        new_epoch(model);
        break;
    case FSM_CMD_TICK:
        break;
    case FSM_CMD_ATTACH:
        model_attach(model);
        break;
    case FSM_CMD_DETACH:
        model_detach(model);
        break;
    case FSM_CMD_LOCK:
        model_command_lock(model);
        break;
    case FSM_CMD_REFRESH:
        model_refresh(model);
        break;
    case FSM_CMD_RELEASE:
        model_release(model);
        break;
    case FSM_CMD_STATUS:
        model_status(model);
        break;
    case FSM_CMD_CHECK_TOKEN:
        model_check_token(model);
        break;
    case FSM_CMD_LIST_LOCKS:
        model_list_locks(model);
        break;
    case FSM_CMD_LIST_CLIENTS:
        model_list_clients(model);
        break;
    case FSM_CMD_FORCE_RELEASE:
        model_force_release(model);
        break;
    case FSM_CMD_CHECKPOINT:
        model_answer(model, (struct fsm_event){.type = FSM_EV_CHECKPOINT});
        break;
    case FSM_CMD_MEMBER:
        model_member(model, command->member.node_id, command->member.address);
        model_answer(model, (struct fsm_event){.type = FSM_EV_MEMBER});
        break;
    }
}
