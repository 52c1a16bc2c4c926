/* The model: clients come and go. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

void model_end_client_if_done(struct model *model, const char *id)
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

void model_go(struct model *model, struct model_client *client, bool asked)
{
    const char *touched[MODEL_CLAIMS_MAX];
    const char *id = client->id;
    struct model_claim *claim;
    uint64_t after = 0;
    int count = 0;

    client->presence = FSM_GONE;
    while ((claim = model_next_of_client(model, id, true, 0)) != NULL) {
        touched[count++] = claim->lock;
        model_cancel(model, claim);
    }
    while ((claim = model_next_of_client(model, id, false, after)) != NULL) {
        after = claim->order;
        if (claim->drop == FSM_DROP_RELEASE) {
            touched[count++] = claim->lock;
            model_end_hold(model, claim);
        }
    }
    if (asked) {
        answer_detached(model);
    }
    for (int i = 0; i < count; i++) {
        model_pump(model, touched[i], NULL);
    }
    model_end_client_if_done(model, id);
}

static void
answer_attached(struct model *model, const struct model_client *client, bool superseded)
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
    while ((claim = model_next_of_client(model, client->id, false,
                                         claim != NULL ? claim->order : 0)) != NULL) {
        model->shown[model->shown_count++] = model_show(model, claim);
    }
    while ((claim = model_next_of_client(model, client->id, true,
                                         claim != NULL ? claim->order : 0)) != NULL) {
        uint32_t position = model_position(model, claim);
        model->shown[model->shown_count] = model_show(model, claim);
        model->shown[model->shown_count++].position =
            position <= FSM_POSITION_COUNTED_MAX ? position : 0;
    }
    model_answer(model, event);
}

void model_attach(struct model *model)
{
    const struct fsm_command *command = model->command;
    const char *id = model_name(model, command->client);
    const char *secret = model_name(model, command->attach.secret_digest);
    struct model_client *client = model_client(model, id);
    bool existed = client != NULL;

    if (existed) {
        if ((client->secret[0] != '\0' && secret != client->secret) ||
            command->attach.create) {
            model_deny(model, FSM_DENY_NOT_ALLOWED, NULL);
            return;
        }
        if ((command->attach.has_epoch && command->attach.epoch < client->epoch) ||
            (command->attach.supersede &&
             (!command->attach.has_epoch || command->attach.epoch <= client->epoch))) {
            model_deny(model, FSM_DENY_STALE_EPOCH, NULL);
            return;
        }
    } else {
        if ((uint64_t)model->clients_count >= model->settings.clients_max) {
            model_deny(model, FSM_DENY_LIMIT_EXCEEDED, "clients");
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
    answer_attached(model, client, existed && command->attach.supersede);
}

void model_detach(struct model *model)
{
    struct model_client *client =
        model_client(model, model_name(model, model->command->client));

    if (client != NULL && model->command->detach.last &&
        model->command->detach.attach_seq == client->attach_seq) {
        model_go(model, client, true);
    } else {
        answer_detached(model);
    }
}
