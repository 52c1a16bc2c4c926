#include "model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct model *model_new(void)
{
    struct model *model = calloc(1, sizeof(*model));

    assert(model != NULL);
    model->settings =
        (struct fsm_settings){0, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
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
static struct model_claim *next_of_client(const struct model *model,
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

static uint64_t later(uint64_t now_ms, uint64_t duration_ms)
{
    return duration_ms >= FSM_UNLIMITED - now_ms ? FSM_UNLIMITED : now_ms + duration_ms;
}

/* ---- claims ----------------------------------------------------------------------------------- */

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
static void end_hold(struct model *model, struct model_claim *hold)
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

static void restart(struct model *model, struct model_claim *hold)
{
    hold->deadline_ms = later(model->now_ms, hold->hold_ms);
    hold->asked_deadline_ms = hold->deadline_ms;
}

static void tell_granted(struct model *model, const struct model_claim *hold, bool answer)
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

static void forget(struct model_client *client, int which)
{
    memmove(&client->expired[which], &client->expired[which + 1],
            (size_t)(client->expired_count - which - 1) * sizeof(client->expired[0]));
    client->expired_count--;
}

static int remembered(const struct model_client *client, const char *lock, uint64_t token)
{
    for (int i = 0; i < client->expired_count; i++) {
        if (client->expired[i].lock == lock &&
            (token == 0 || client->expired[i].token == token)) {
            return i;
        }
    }
    return -1;
}

static void become_hold(struct model *model, struct model_claim *claim)
{
    struct model_client *client = model_client(model, claim->client);
    int memory = remembered(client, claim->lock, 0);

    if (memory >= 0) {
        forget(client, memory);
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
    restart(model, claim);
}

static void become_write(struct model *model, struct model_claim *hold)
{
    hold->type = FSM_WRITE;
    hold->token = ++model->token;
    hold->order = ++model->order;
    restart(model, hold);
}

/* Could this be granted, if it were the first in the queue? */
static bool
fits(struct model *model, const char *client, const char *lock, enum fsm_type type)
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
        become_hold(model, wait);
        tell_granted(model, wait, answer);
        return;
    }
    hold->hold_ms = wait->hold_ms;
    hold->drop = wait->drop;
    hold->info = wait->info;
    remove_claim(model, wait);
    become_write(model, hold);
    tell_granted(model, hold, answer);
}

static void time_out(struct model *model, struct model_claim *wait)
{
    model_tell(model, (struct fsm_event){
                          .type = FSM_EV_WAIT_TIMEOUT,
                          .client = model_str(wait->client),
                          .lock = model_str(wait->lock),
                      });
    remove_claim(model, wait);
}

static void cancel(struct model *model, struct model_claim *wait)
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
static void pump(struct model *model, const char *lock, const struct model_claim *asked)
{
    struct model_claim *head;

    while ((head = model_next_wait(model, lock, INT64_MIN)) != NULL &&
           fits(model, head->client, lock, head->type)) {
        if (head->deadline_ms <= model->now_ms) {
            time_out(model, head);
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

/* ---- clients ---------------------------------------------------------------------------------- */

static void end_client_if_done(struct model *model, const char *id)
{
    for (int i = 0; i < model->clients_count; i++) {
        struct model_client *client = model->clients[i];
        if (client->id == id && client->presence == FSM_GONE &&
            model_count(model, id, NULL, false) + model_count(model, id, NULL, true) ==
                0) {
            model_tell(model, (struct fsm_event){
                                  .type = FSM_EV_CLIENT_ENDED,
                                  .client = model_str(id),
                              });
            free(client);
            memmove(&model->clients[i], &model->clients[i + 1],
                    (size_t)(model->clients_count - i - 1) * sizeof(model->clients[0]));
            model->clients_count--;
        }
    }
}

static void answer_detached(struct model *model)
{
    model_answer(model, (struct fsm_event){
                            .type = FSM_EV_DETACHED,
                            .client = model->command->client,
                        });
}

static void go(struct model *model, struct model_client *client, bool asked)
{
    const char *touched[MODEL_CLAIMS_MAX];
    const char *id = client->id;
    struct model_claim *claim;
    uint64_t after = 0;
    int count = 0;

    client->presence = FSM_GONE;
    while ((claim = next_of_client(model, id, true, 0)) != NULL) {
        touched[count++] = claim->lock;
        cancel(model, claim);
    }
    while ((claim = next_of_client(model, id, false, after)) != NULL) {
        after = claim->order;
        if (claim->drop == FSM_DROP_RELEASE) {
            touched[count++] = claim->lock;
            end_hold(model, claim);
        }
    }
    if (asked) {
        answer_detached(model);
    }
    for (int i = 0; i < count; i++) {
        pump(model, touched[i], NULL);
    }
    end_client_if_done(model, id);
}

static void deny(struct model *model, enum fsm_deny reason, const char *limit_name)
{
    model_answer(model, (struct fsm_event){
                            .type = FSM_EV_DENIED,
                            .client = model->command->client,
                            .lock = model->command->lock,
                            .deny = reason,
                            .limit_name = limit_name,
                        });
}

static void deny_showing(struct model *model, enum fsm_deny reason, const char *lock)
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

static void
told_to_attach(struct model *model, const struct model_client *client, bool superseded)
{
    const struct model_claim *claim = NULL;
    struct fsm_event event = {
        .type = FSM_EV_ATTACHED,
        .client = model_str(client->id),
        .epoch = client->epoch,
        .attach_seq = client->attach_seq,
        .superseded = superseded,
        .claims = &model->shown[model->shown_count],
        .holds_count = model_count(model, client->id, NULL, false),
        .waits_count = model_count(model, client->id, NULL, true),
        .connected = true,
    };

    event.claims_count = event.holds_count + event.waits_count;
    while ((claim = next_of_client(model, client->id, false,
                                   claim != NULL ? claim->order : 0)) != NULL) {
        model->shown[model->shown_count++] = model_show(model, claim);
    }
    while ((claim = next_of_client(model, client->id, true,
                                   claim != NULL ? claim->order : 0)) != NULL) {
        uint32_t position = model_position(model, claim);
        model->shown[model->shown_count] = model_show(model, claim);
        model->shown[model->shown_count++].position =
            position <= FSM_POSITION_COUNTED_MAX ? position : 0;
    }
    model_answer(model, event);
}

static void attach(struct model *model)
{
    const struct fsm_command *command = model->command;
    const char *id = model_name(model, command->client);
    const char *secret = model_name(model, command->attach.secret_digest);
    struct model_client *client = model_client(model, id);
    bool existed = client != NULL;

    if (existed) {
        if ((client->secret[0] != '\0' && secret != client->secret) ||
            command->attach.create) {
            deny(model, FSM_DENY_NOT_ALLOWED, NULL);
            return;
        }
        if ((command->attach.has_epoch && command->attach.epoch < client->epoch) ||
            (command->attach.supersede &&
             (!command->attach.has_epoch || command->attach.epoch <= client->epoch))) {
            deny(model, FSM_DENY_STALE_EPOCH, NULL);
            return;
        }
    } else {
        if ((uint64_t)model->clients_count >= model->settings.clients_max) {
            deny(model, FSM_DENY_LIMIT_EXCEEDED, "clients");
            return;
        }
        assert(model->clients_count < MODEL_CLIENTS_MAX);
        client = calloc(1, sizeof(*client));
        assert(client != NULL);
        client->id = id;
        client->secret = secret;
        model->clients[model->clients_count++] = client;
    }
    if (command->attach.has_epoch) {
        client->epoch = command->attach.epoch;
    }
    client->presence = FSM_ATTACHED;
    client->attach_seq = ++model->order;
    told_to_attach(model, client, existed && command->attach.supersede);
}

static void detach(struct model *model)
{
    struct model_client *client =
        model_client(model, model_name(model, model->command->client));

    if (client != NULL && model->command->detach.last &&
        model->command->detach.attach_seq == client->attach_seq) {
        go(model, client, true);
    } else {
        answer_detached(model);
    }
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
        forget(client, 0);
    }
    client->expired[client->expired_count].lock = lock;
    client->expired[client->expired_count++].token = hold->token;
    end_hold(model, hold);
    end_client_if_done(model, client->id);
    pump(model, lock, NULL);
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
    if (client != NULL) {
        go(model, client, false);
    } else if (claim != NULL && claim->waiting) {
        const char *lock = claim->lock;
        time_out(model, claim);
        pump(model, lock, NULL);
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
    end_ms = later(model->now_ms, grace_ms);
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
            uint64_t bound_ms = later(hold->asked_deadline_ms, grace_ms);
            uint64_t extended_ms = bound_ms < end_ms ? bound_ms : end_ms;
            if (extended_ms > hold->deadline_ms) {
                hold->deadline_ms = extended_ms;
            }
        }
    }
    while (next_due(model)) {
    }
}

/* ---- lock, refresh, release ------------------------------------------------------------------- */

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
    wait->deadline_ms = later(model->now_ms, wait->wait_ms);
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
        deny(model, FSM_DENY_NOT_ATTACHED, NULL);
        return NULL;
    }
    if (model->command->client_epoch < client->epoch) {
        deny(model, FSM_DENY_STALE_EPOCH, NULL);
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
                           fits(model, client, name, command->lock_.type));
    const char *limit_name;

    if (!now && command->lock_.mode == FSM_BREAK) {
        deny_showing(model, FSM_DENY_HELD, name);
        return;
    }
    limit_name = limit_reached(model, client, name, !now);
    if (limit_name != NULL) {
        deny(model, FSM_DENY_LIMIT_EXCEEDED, limit_name);
        return;
    }
    if (!exists) {
        assert(model->locks_count < MODEL_LOCKS_MAX);
        model->locks[model->locks_count++] =
            (struct model_lock){name, command->lock_.limit};
    }
    if (now) {
        struct model_claim *hold = new_claim(model, client, name);
        become_hold(model, hold);
        tell_granted(model, hold, true);
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
        deny_showing(model, FSM_DENY_HELD, name);
    } else if (wait->type == command->lock_.type) {
        uint64_t deadline_ms = later(model->now_ms, command->lock_.wait_ms);
        if (deadline_ms > wait->deadline_ms) {
            wait->deadline_ms = deadline_ms;
            wait->wait_ms = command->lock_.wait_ms;
        }
        set_parameters(model, wait);
        answer_waiting(model, wait, true);
    } else {
        cancel(model, wait);
        wait = queue_up(model, client, name, false);
        pump(model, name, wait);
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
        become_write(model, hold);
        tell_granted(model, hold, true);
    } else if (model->command->lock_.mode == FSM_BREAK) {
        deny_showing(model, FSM_DENY_HELD, name);
    } else if (head != NULL && head->upgrade) {
        deny_showing(model, FSM_DENY_UPGRADE_CONFLICT, name);
    } else if ((limit_name = limit_reached(model, hold->client, name, true)) != NULL) {
        deny(model, FSM_DENY_LIMIT_EXCEEDED, limit_name);
    } else {
        answer_waiting(model, queue_up(model, hold->client, name, true), false);
    }
}

static void lock(struct model *model)
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
            deny_showing(model, FSM_DENY_LIMIT_MISMATCH, name);
        } else {
            deny(model, FSM_DENY_LIMIT_MISMATCH, NULL);
        }
        return;
    }
    hold = model_hold(model, client->id, name);
    wait = model_wait(model, client->id, name);
    if (hold != NULL && (hold->type == FSM_WRITE || command->lock_.type == FSM_READ)) {
        set_parameters(model, hold);
        restart(model, hold);
        if (command->lock_.type == FSM_READ && command->lock_.downgrade) {
            hold->type = FSM_READ;
        }
        tell_granted(model, hold, true);
        pump(model, name, NULL);
    } else if (wait != NULL) {
        lock_waiting(model, wait);
    } else if (hold != NULL) {
        lock_upgrade(model, hold);
    } else {
        lock_first_time(model, client->id, name);
    }
}

static void refresh(struct model *model)
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
        bool known = remembered(client, name, token) >= 0;
        deny(model, known ? FSM_DENY_EXPIRED : FSM_DENY_NOT_HELD, NULL);
        return;
    }
    if (command->refresh.hold_ms != 0) {
        claim->hold_ms = command->refresh.hold_ms;
    }
    if (command->refresh.set_drop) {
        claim->drop = command->refresh.drop;
    }
    if (!claim->waiting) {
        restart(model, claim);
        tell_granted(model, claim, true);
        return;
    }
    if (command->refresh.wait_ms != 0) {
        claim->wait_ms = command->refresh.wait_ms;
    }
    claim->deadline_ms = later(model->now_ms, claim->wait_ms);
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

static void release(struct model *model)
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
    memory = remembered(client, name, token);
    if (hold != NULL && (token == 0 || token == hold->token)) {
        if (wait != NULL && token == 0) {
            cancel(model, wait);
        }
        answer_release(model, FSM_RELEASED, hold->token);
        end_hold(model, hold);
        pump(model, name, NULL);
    } else if (hold == NULL && wait != NULL && token == 0) {
        cancel(model, wait);
        answer_release(model, FSM_WAS_QUEUED, 0);
        pump(model, name, NULL);
    } else if (memory >= 0) {
        answer_release(model, FSM_EXPIRED, client->expired[memory].token);
        forget(client, memory);
    } else if (hold == NULL && model_count(model, NULL, name, false) > 0) {
        answer_release(model, FSM_HELD_BY_OTHER, 0);
    } else {
        answer_release(model, FSM_NOT_HELD, 0);
    }
}

static void force_release(struct model *model)
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
            end_hold(model, hold);
            end_client_if_done(model, client);
            answer.holders_count++;
        }
        hold = next;
    }
    pump(model, name, NULL);
    model_answer(model, answer);
}

void model_apply(struct model *model, const struct fsm_command *command)
{
    model->command = command;
    model->events_count = 0;
    model->shown_count = 0;
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
        attach(model);
        break;
    case FSM_CMD_DETACH:
        detach(model);
        break;
    case FSM_CMD_LOCK:
        lock(model);
        break;
    case FSM_CMD_REFRESH:
        refresh(model);
        break;
    case FSM_CMD_RELEASE:
        release(model);
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
        force_release(model);
        break;
    case FSM_CMD_CHECKPOINT:
        model_answer(model, (struct fsm_event){.type = FSM_EV_CHECKPOINT});
        break;
    }
}
