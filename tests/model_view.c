/* The model seen from outside: events, status, lists, dump. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

const char *model_name(struct model *model, struct fsm_str name)
{
    for (int i = 0; i < model->names_count; i++) {
        if (strlen(model->names[i]) == name.len &&
            memcmp(model->names[i], name.data == NULL ? "" : name.data, name.len) == 0) {
            return model->names[i];
        }
    }
    assert(model->names_count < MODEL_NAMES_MAX);
    model->names[model->names_count] =
        strndup(name.data == NULL ? "" : name.data, name.len);
    return model->names[model->names_count++];
}

struct fsm_str model_str(const char *name)
{
    return (struct fsm_str){name, strlen(name)};
}

struct fsm_claim model_show(const struct model *model, const struct model_claim *claim)
{
    struct fsm_claim shown = {
        .client = model_str(claim->client),
        .lock = model_str(claim->lock),
        .owner_info = model_str(claim->info),
        .type = claim->type,
        .drop = claim->drop,
        .waiting = claim->waiting,
        .connected = model_client(model, claim->client)->presence == FSM_ATTACHED,
        .token = claim->token,
        .slot = claim->slot,
        .since_ms = model->now_ms - claim->since_ms,
        .remaining_ms = FSM_UNLIMITED,
        .hold_ms = claim->hold_ms,
    };

    for (int i = 0; i < model->locks_count; i++) {
        if (model->locks[i].name == claim->lock) {
            shown.limit = model->locks[i].limit;
        }
    }
    if (claim->deadline_ms != FSM_UNLIMITED) {
        shown.remaining_ms = claim->deadline_ms - model->now_ms;
    }
    return shown;
}

uint32_t model_position(const struct model *model, const struct model_claim *wait)
{
    uint32_t position = 1;

    for (int i = 0; i < model->claims_count; i++) {
        const struct model_claim *other = model->claims[i];
        if (other->waiting && other->lock == wait->lock && other->rank < wait->rank) {
            position++;
        }
    }
    return position;
}

void model_show_holders(struct model *model,
                        struct fsm_event *event,
                        const char *lock,
                        uint32_t max)
{
    const struct model_claim *hold = model_next_hold(model, lock, 0);

    event->claims = &model->shown[model->shown_count];
    for (; hold != NULL && event->claims_count < max;
         hold = model_next_hold(model, lock, hold->token)) {
        assert(model->shown_count < MODEL_SHOWN_MAX);
        model->shown[model->shown_count++] = model_show(model, hold);
        event->claims_count++;
    }
    event->holders_count = model_count(model, NULL, lock, false);
    event->queue_length = model_count(model, NULL, lock, true);
}

void model_tell(struct model *model, struct fsm_event event)
{
    assert(model->events_count < MODEL_EVENTS_MAX);
    model->events[model->events_count++] = event;
}

void model_answer(struct model *model, struct fsm_event event)
{
    event.ref = model->command->ref;
    event.command = model->command->type;
    model_tell(model, event);
}

/* ---- queries ---------------------------------------------------------------------------------- */

void model_status(struct model *model)
{
    const char *client = model_name(model, model->command->client);
    const char *lock = model_name(model, model->command->lock);
    const struct model_claim *hold = model_hold(model, client, lock);
    const struct model_claim *wait = model_wait(model, client, lock);
    struct fsm_event event = {
        .type = FSM_EV_STATUS,
        .client = model_str(client),
        .lock = model_str(lock),
    };

    if (hold != NULL) {
        event.state = FSM_HELD_BY_ME;
        event.token = hold->token;
        event.claim = model_show(model, hold);
    } else if (wait != NULL) {
        event.state = FSM_WAITING;
        event.claim = model_show(model, wait);
        event.claim.position = model_position(model, wait);
    } else {
        event.state =
            model_lock(model, lock) != NULL ? FSM_STATE_HELD_BY_OTHER : FSM_FREE;
    }
    model_show_holders(model, &event, lock, FSM_HOLDERS_SHOWN_MAX);
    model_answer(model, event);
}

void model_check_token(struct model *model)
{
    const char *lock = model_name(model, model->command->lock);
    uint64_t token = model->command->check_token.token;
    const struct model_claim *hold;
    struct fsm_event event = {
        .type = FSM_EV_TOKEN,
        .client = model->command->client,
        .lock = model_str(lock),
        .token = token,
        .token_state = FSM_TOKEN_FREE,
    };

    for (hold = model_next_hold(model, lock, 0); hold != NULL;
         hold = model_next_hold(model, lock, hold->token)) {
        if (hold->token == token) {
            event.token_state = FSM_TOKEN_CURRENT;
            event.superseded_by = 0;
            break;
        }
        event.token_state = FSM_TOKEN_SUPERSEDED;
        event.superseded_by = hold->token;
    }
    model_answer(model, event);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sort @names and keep those of the page that the command asks for. */
static int
page_of(const struct fsm_command *command, const char **names, int count, bool *more)
{
    uint32_t max = command->list.max;
    uint32_t kept = 0;

    max = max < 1 ? 1 : max > FSM_LIST_MAX ? FSM_LIST_MAX : max;
    *more = false;
    qsort(names, (size_t)count, sizeof(names[0]), compare_names);
    for (int i = 0; i < count; i++) {
        char after[FSM_NAME_BYTES_MAX + 1] = "";
        if (command->list.after.len > 0) {
            memcpy(after, command->list.after.data, command->list.after.len);
        }
        if ((command->list.prefix.len > 0 && strncmp(names[i], command->list.prefix.data,
                                                     command->list.prefix.len) != 0) ||
            (after[0] != '\0' && strcmp(names[i], after) <= 0)) {
            continue;
        }
        if (kept == max) {
            *more = true;
            break;
        }
        names[kept++] = names[i];
    }
    return (int)kept;
}

static void list_end(struct model *model, bool more)
{
    model_answer(model, (struct fsm_event){.type = FSM_EV_LIST_END, .more = more});
}

void model_list_locks(struct model *model)
{
    const char *names[MODEL_LOCKS_MAX];
    int count = model->locks_count;
    bool more;

    for (int i = 0; i < count; i++) {
        names[i] = model->locks[i].name;
    }
    count = page_of(model->command, names, count, &more);
    for (int i = 0; i < count; i++) {
        struct fsm_event event = {
            .type = FSM_EV_LIST_LOCK,
            .command = model->command->type,
            .lock = model_str(names[i]),
            .claim = {.lock = model_str(names[i]),
                      .type = model_next_hold(model, names[i], 0)->type,
                      .limit = model_lock(model, names[i])->limit},
        };
        model_show_holders(model, &event, names[i], 4);
        model_tell(model, event);
    }
    list_end(model, more);
}

void model_list_clients(struct model *model)
{
    const char *names[MODEL_CLIENTS_MAX];
    int count = model->clients_count;
    bool more;

    for (int i = 0; i < count; i++) {
        names[i] = model->clients[i]->id;
    }
    count = page_of(model->command, names, count, &more);
    for (int i = 0; i < count; i++) {
        const struct model_client *client = model_client(model, names[i]);
        model_tell(model, (struct fsm_event){
                              .type = FSM_EV_LIST_CLIENT,
                              .command = model->command->type,
                              .client = model_str(names[i]),
                              .epoch = client->epoch,
                              .attach_seq = client->attach_seq,
                              .holds_count = model_count(model, names[i], NULL, false),
                              .waits_count = model_count(model, names[i], NULL, true),
                              .connected = client->presence == FSM_ATTACHED,
                          });
    }
    list_end(model, more);
}

/* ---- dump ------------------------------------------------------------------------------------- */

static void
dump_claims(const struct model *model, const char *lock, fsm_record_cb cb, void *arg)
{
    const struct model_claim *claim;

    for (claim = model_next_hold(model, lock, 0); claim != NULL;
         claim = model_next_hold(model, lock, claim->token)) {
        cb(arg, &(struct fsm_record){
                    .type = FSM_REC_HOLD,
                    .hold = {.client = model_str(claim->client),
                             .lock = model_str(lock),
                             .owner_info = model_str(claim->info),
                             .type = claim->type,
                             .drop = claim->drop,
                             .slot = claim->slot,
                             .token = claim->token,
                             .hold_ms = claim->hold_ms,
                             .granted_at_ms = claim->since_ms,
                             .deadline_ms = claim->deadline_ms,
                             .asked_deadline_ms = claim->asked_deadline_ms,
                             .order = claim->order},
                });
    }
    for (claim = model_next_wait(model, lock, INT64_MIN); claim != NULL;
         claim = model_next_wait(model, lock, claim->rank)) {
        cb(arg, &(struct fsm_record){
                    .type = FSM_REC_WAIT,
                    .wait = {.client = model_str(claim->client),
                             .lock = model_str(lock),
                             .owner_info = model_str(claim->info),
                             .type = claim->type,
                             .drop = claim->drop,
                             .upgrade = claim->upgrade,
                             .wait_ms = claim->wait_ms,
                             .hold_ms = claim->hold_ms,
                             .queued_at_ms = claim->since_ms,
                             .deadline_ms = claim->deadline_ms,
                             .order = claim->order},
                });
    }
}

static void dump_members(const struct model *model, fsm_record_cb cb, void *arg)
{
    for (uint64_t last = 0, next;; last = next) {
        int at = -1;
        for (int i = 0; i < model->members_count; i++) {
            if (model->members[i].node_id > last &&
                (at < 0 || model->members[i].node_id < model->members[at].node_id)) {
                at = i;
            }
        }
        if (at < 0) {
            return;
        }
        next = model->members[at].node_id;
        cb(arg, &(struct fsm_record){
                    .type = FSM_REC_MEMBER,
                    .member = {.node_id = next,
                               .address = model_str(model->members[at].address)},
                });
    }
}

void model_dump(const struct model *model, fsm_record_cb cb, void *arg)
{
    cb(arg, &(struct fsm_record){
                .type = FSM_REC_ROOT,
                .root = {.now_ms = model->now_ms,
                         .token = model->token,
                         .order = model->order,
                         .term = model->term,
                         .node_id_max = model->node_id_max,
                         .settings = model->settings},
            });
    dump_members(model, cb, arg);
    for (int i = 0; i < model->clients_count; i++) {
        const struct model_client *client = model->clients[i];
        cb(arg,
           &(struct fsm_record){
               .type = FSM_REC_CLIENT,
               .client = {.id = model_str(client->id),
                          .epoch = client->epoch,
                          .attach_seq = client->attach_seq,
                          .grace_end_ms =
                              client->presence == FSM_MISSING ? client->grace_end_ms : 0,
                          .presence = client->presence,
                          .secret_digest = model_str(client->secret)},
           });
    }
    for (int i = 0; i < model->locks_count; i++) {
        cb(arg, &(struct fsm_record){
                    .type = FSM_REC_LOCK,
                    .lock = {.name = model_str(model->locks[i].name),
                             .limit = model->locks[i].limit},
                });
        dump_claims(model, model->locks[i].name, cb, arg);
    }
    for (int i = 0; i < model->clients_count; i++) {
        const struct model_client *client = model->clients[i];
        for (int k = 0; k < client->expired_count; k++) {
            cb(arg, &(struct fsm_record){
                        .type = FSM_REC_EXPIRED,
                        .expired = {.client = model_str(client->id),
                                    .lock = model_str(client->expired[k].lock),
                                    .token = client->expired[k].token},
                    });
        }
    }
}
