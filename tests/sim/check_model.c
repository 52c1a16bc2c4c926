/* check_model.c - every command once more in the naive model of the lock table (tests/model.h), every event
 * and now and then the whole state compared.
 *
 * The model has fixed maxima and never forgets a name. When it runs full it is made anew from the
 * state of the machine, which was equal until then. */
#include "check_internal.h"

#include <stdlib.h>

#include "fsm_compare.h"
#include "model.h"

enum {
    DUMP_EVERY = 256,  /* commands */
    RECORDS_MAX = 512, /* of a state that is compared whole */
    NAMES_SPARE = 64,
    CLAIMS_SPARE = 64,
};

enum { SECRET_TEXT_BYTES = 2 * FSM_SECRET_DIGEST_BYTES_MAX };

static struct {
    struct model *model; /* NULL: not compared */
    uint64_t commands;
} naive;

/* The model keeps texts, and a digest has bytes of 0 in it. */
static struct fsm_str as_text(struct fsm_str digest, char text[static SECRET_TEXT_BYTES])
{
    for (size_t i = 0; i < digest.len; i++) {
        text[2 * i] = (char)('a' + ((uint8_t)digest.data[i] >> 4));
        text[2 * i + 1] = (char)('a' + ((uint8_t)digest.data[i] & 15));
    }
    return (struct fsm_str){.data = text, .len = 2 * digest.len};
}

void check_model_begin(void)
{
    check_model_free();
    if (check_run.options.model) {
        naive.model = model_new();
    }
}

void check_model_free(void)
{
    if (naive.model != NULL) {
        model_free(naive.model);
    }
    naive.model = NULL;
    naive.commands = 0;
}

/* ---- making it anew ----------------------------------------------------------------------- */

static void load_client(struct model *model, const struct fsm_record *record)
{
    struct model_client *client = calloc(1, sizeof(*client));
    char secret[SECRET_TEXT_BYTES];

    if (client == NULL) {
        abort();
    }
    client->id = model_name(model, record->client.id);
    client->secret = model_name(model, as_text(record->client.secret_digest, secret));
    client->presence = record->client.presence;
    client->epoch = record->client.epoch;
    client->attach_seq = record->client.attach_seq;
    client->grace_end_ms = record->client.grace_end_ms;
    model->clients[model->clients_count++] = client;
}

static struct model_claim *load_claim(struct model *model,
                                      struct fsm_str client,
                                      struct fsm_str lock,
                                      struct fsm_str info)
{
    struct model_claim *claim = calloc(1, sizeof(*claim));

    if (claim == NULL) {
        abort();
    }
    claim->client = model_name(model, client);
    claim->lock = model_name(model, lock);
    claim->info = model_name(model, info);
    model->claims[model->claims_count++] = claim;
    return claim;
}

static void load_hold(struct model *model, const struct fsm_record *record)
{
    struct model_claim *claim = load_claim(model, record->hold.client, record->hold.lock,
                                           record->hold.owner_info);

    claim->type = record->hold.type;
    claim->drop = record->hold.drop;
    claim->slot = record->hold.slot;
    claim->token = record->hold.token;
    claim->order = record->hold.order;
    claim->since_ms = record->hold.granted_at_ms;
    claim->hold_ms = record->hold.hold_ms;
    claim->deadline_ms = record->hold.deadline_ms;
    claim->asked_deadline_ms = record->hold.asked_deadline_ms;
}

/* Waits come in the order of their queues. */
static void load_wait(struct model *model, const struct fsm_record *record)
{
    struct model_claim *claim = load_claim(model, record->wait.client, record->wait.lock,
                                           record->wait.owner_info);

    claim->waiting = true;
    claim->type = record->wait.type;
    claim->drop = record->wait.drop;
    claim->upgrade = record->wait.upgrade;
    claim->rank = ++model->last_rank;
    claim->order = record->wait.order;
    claim->since_ms = record->wait.queued_at_ms;
    claim->hold_ms = record->wait.hold_ms;
    claim->wait_ms = record->wait.wait_ms;
    claim->deadline_ms = record->wait.deadline_ms;
}

static void load_record(void *arg, const struct fsm_record *record)
{
    struct model *model = arg;
    struct model_client *client;

    switch (record->type) {
    case FSM_REC_ROOT:
        model->now_ms = record->root.now_ms;
        model->token = record->root.token;
        model->order = record->root.order;
        model->term = record->root.term;
        model->node_id_max = record->root.node_id_max;
        model->settings = record->root.settings;
        return;
    case FSM_REC_CLIENT:
        load_client(model, record);
        return;
    case FSM_REC_LOCK:
        model->locks[model->locks_count++] = (struct model_lock){
            .name = model_name(model, record->lock.name), .limit = record->lock.limit};
        return;
    case FSM_REC_HOLD:
        load_hold(model, record);
        return;
    case FSM_REC_WAIT:
        load_wait(model, record);
        return;
    case FSM_REC_EXPIRED:
        client = model_client(model, model_name(model, record->expired.client));
        if (client == NULL) {
            abort();
        }
        client->expired[client->expired_count].lock =
            model_name(model, record->expired.lock);
        client->expired[client->expired_count++].token = record->expired.token;
        return;
    case FSM_REC_MEMBER:
        model_member(model, record->member.node_id, record->member.address);
        return;
    }
}

static bool is_full(void)
{
    const struct model *model = naive.model;

    return model->names_count > MODEL_NAMES_MAX - NAMES_SPARE ||
           model->clients_count >= MODEL_CLIENTS_MAX - 1 ||
           model->locks_count >= MODEL_LOCKS_MAX - 1 ||
           model->claims_count > MODEL_CLAIMS_MAX - CLAIMS_SPARE;
}

/* @fsm is in the state that the model is in, too. */
static void make_anew(const struct fsm *fsm)
{
    model_free(naive.model);
    naive.model = model_new();
    fsm_dump(fsm, load_record, naive.model);
    if (is_full()) { /* it is the state itself that is too large */
        check_model_free();
    }
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* Without secrets, which the model has as texts: that they are the same shows in who is refused. */
static void add_record(void *arg, const struct fsm_record *record)
{
    struct fsm_record copy = *record;

    if (copy.type == FSM_REC_CLIENT) {
        copy.client.secret_digest = (struct fsm_str){0};
    }
    records_add(arg, &copy);
}

static void compare_state(uint64_t index, const struct fsm *fsm)
{
    struct fsm_counts counts = fsm_counts(fsm);
    struct records machine = {0};
    struct records model = {0};

    if (counts.clients + counts.locks + counts.holds + counts.waits > RECORDS_MAX) {
        return;
    }
    fsm_dump(fsm, add_record, &machine);
    model_dump(naive.model, add_record, &model);
    if (!records_equal(&machine, &model)) {
        sim_violation(
            "P14", "model, table: after entry %llu the table is not what the model has",
            (unsigned long long)index);
    }
    records_release(&machine);
    records_release(&model);
}

static void compare_events(uint64_t index, const struct fsm_event *events, size_t count)
{
    const struct model *model = naive.model;

    if (count != model->events_count) {
        sim_violation("P14",
                      "model, events: a command of entry %llu (type %d) tells %zu "
                      "events, the model's %zu",
                      (unsigned long long)index, (int)model->command->type, count,
                      model->events_count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!compare_event(&events[i], &model->events[i])) {
            sim_violation("P14",
                          "model, event: event %zu of a command of entry %llu (type %d) "
                          "is another one: type %d, the model's %d",
                          i + 1, (unsigned long long)index, (int)model->command->type,
                          (int)events[i].type, (int)model->events[i].type);
            return;
        }
    }
}

void check_model_applied(uint64_t index,
                         const struct fsm *fsm,
                         const struct fsm_command *command,
                         const struct fsm_event *events,
                         size_t count)
{
    struct fsm_command in_text = *command;
    char secret[SECRET_TEXT_BYTES];

    if (naive.model == NULL) {
        return;
    }
    if (command->type == FSM_CMD_ATTACH) {
        in_text.attach.secret_digest = as_text(command->attach.secret_digest, secret);
    }
    model_apply(naive.model, &in_text);
    compare_events(index, events, count);
    check_run.counts.comparisons++;
    if (++naive.commands % DUMP_EVERY == 0) {
        compare_state(index, fsm);
    }
    if (is_full()) {
        make_anew(fsm);
    }
}
