#include "sim_users.h"

#include <stdio.h>
#include <string.h>

#include "socket.h"

enum { SEEN_MAX = 4096 };

static struct seen seen[SEEN_MAX];
static unsigned seen_count;
static const struct seen nothing;

bool users_there(const struct seen *record)
{
    return record != &nothing;
}

static void on_record(void *arg, const struct sim_record *record)
{
    (void)arg;
    assert_null(sim_process_current());
    assert_int_equal(record->at_us, sim_now_us());
    assert_true(seen_count < SEEN_MAX);
    struct seen *at = &seen[seen_count++];
    *at = (struct seen){
        .type = record->type,
        .at_us = record->at_us,
        .op = record->op,
        .token = record->token,
        .client = record->client,
        .ask_type = record->ask_type,
        .type_of_lock = record->type_of_lock,
        .holding = record->holding,
        .on = record->on,
        .has_grant = record->grant != NULL,
        .has_answer = record->answer != NULL,
        .rv = record->rv,
        .conn = record->conn,
        .limit = record->limit,
    };
    if (record->notice != NULL)
        at->event = record->notice->event;
    if (record->response != NULL)
        at->response = record->response->type;
    if (record->answer != NULL)
        at->answer = *record->answer;
    snprintf(at->lock, sizeof(at->lock), "%s", record->lock != NULL ? record->lock : "");
    snprintf(at->client_id, sizeof(at->client_id), "%s", record->client_id);
}

const struct seen *
users_find(const struct sim_client *client, enum sim_record_type type, unsigned n)
{
    for (unsigned i = 0; i < seen_count; i++)
        if (seen[i].type == type && seen[i].client == client && n-- == 0)
            return &seen[i];
    return &nothing;
}

const struct seen *users_last(const struct sim_client *client, enum sim_record_type type)
{
    for (unsigned i = seen_count; i-- > 0;)
        if (seen[i].type == type && seen[i].client == client)
            return &seen[i];
    return &nothing;
}

const struct seen *users_notice(const struct sim_client *client, enum netlock_event event)
{
    for (unsigned i = seen_count; i-- > 0;)
        if (seen[i].type == SIM_REC_NOTICE && seen[i].client == client &&
            seen[i].event == event)
            return &seen[i];
    return &nothing;
}

const struct seen *users_response(const struct sim_client *client,
                                  enum wire_response_type type)
{
    for (unsigned i = seen_count; i-- > 0;)
        if (seen[i].type == SIM_REC_RESPONSE && seen[i].client == client &&
            seen[i].response == type)
            return &seen[i];
    return &nothing;
}

/* ---- the world ----------------------------------------------------------------------- */

static uint64_t world_seed;

void users_run(uint64_t us)
{
    assert_true(sim_run_until(sim_now_us() + us));
}

void users_run_ms(uint64_t ms)
{
    users_run(ms * 1000);
}

void world_begin(uint64_t seed)
{
    world_seed = seed;
    seen_count = 0;
    sim_events_reset();
    sim_sockets_reset();
    sim_net_reset(seed);
    sim_history_reset();
    sim_history_listen(on_record, NULL);
    struct sim_node_options options = {.nodes = 3};
    sim_nodes_new(&options, seed);
    for (unsigned i = 1; i <= 3; i++)
        sim_node_start(sim_node(i));
}

void world_end(void)
{
    sim_clients_free();
    sim_nodes_free();
    sim_sockets_reset();
    sim_net_reset(0);
    sim_history_reset();
    sim_events_reset();
}

struct sim_client *users_new(const char *name)
{
    struct sim_client_options options = {.kind = SIM_CLIENT_LIBRARY};
    snprintf(options.name, sizeof(options.name), "%s", name);
    snprintf(options.client_id, sizeof(options.client_id), "%s-id", name);
    struct sim_client *client = sim_client_new(&options, world_seed);
    sim_client_start(client);
    return client;
}

struct sim_client *users_new_raw(const char *name)
{
    struct sim_client_options options = {.kind = SIM_CLIENT_RAW};
    snprintf(options.name, sizeof(options.name), "%s", name);
    struct sim_client *client = sim_client_new(&options, world_seed);
    sim_client_start(client);
    return client;
}

void users_ask(struct sim_client *client, struct sim_ask what)
{
    sim_client_ask(client, &what);
}

void users_lock(struct sim_client *client, const char *name)
{
    users_ask(client, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = name});
}

void users_unlock(struct sim_client *client, const char *name)
{
    users_ask(client, (struct sim_ask){.type = SIM_ASK_UNLOCK, .lock = name});
}

void users_isolate(struct sim_client *client, bool cut)
{
    uint32_t host = sim_client_process(client)->host;
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        sim_net_cut(host, sim_node(i)->process.host, cut);
        sim_net_cut(sim_node(i)->process.host, host, cut);
    }
}
