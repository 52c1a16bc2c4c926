/* client.c - users: their list, their lives, what they are asked for, and what they believe. */
#include "client_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "net.h"
#include "random.h"

static struct {
    struct sim_client *list[SIM_HOSTS_MAX];
    unsigned count;
    struct sim_queued_ask *spare;
} clients;

static void on_end(struct sim_process *process, int status);
static void turn(struct sim_process *process);

/* ---- the list ------------------------------------------------------------------------ */

struct sim_client *sim_client_new(const struct sim_client_options *options, uint64_t seed)
{
    assert(clients.count < SIM_HOSTS_MAX);
    struct sim_client *client = sim_alloc(sizeof(*client));
    client->options = *options;
    client->number = clients.count;
    client->seed = sim_mix(seed, UINT64_C(0xc11e), client->number);
    client->asks_end = &client->asks;
    TAILQ_INIT(&client->held);
    client->process = (struct sim_process){
        .host = sim_net_add_host(options->name),
        .arg = client,
        .turn = turn,
        .on_end = on_end,
        .clock = sim_machine_clock(sim_mix1(client->seed), 1),
    };
    snprintf(client->process.name, sizeof(client->process.name), "%s", options->name);
    client->verbs =
        options->kind == SIM_CLIENT_RAW ? &sim_client_raw : &sim_client_library;
    client->verbs->make(client);
    clients.list[clients.count++] = client;
    return client;
}

unsigned sim_clients_count(void)
{
    return clients.count;
}

struct sim_client *sim_client(unsigned number)
{
    assert(number < clients.count);
    return clients.list[number];
}

struct sim_client *sim_client_find(const char *name)
{
    for (unsigned i = 0; i < clients.count; i++)
        if (strcmp(clients.list[i]->options.name, name) == 0)
            return clients.list[i];
    return NULL;
}

const struct sim_client_options *sim_client_options(const struct sim_client *client)
{
    return &client->options;
}

struct sim_process *sim_client_process(struct sim_client *client)
{
    return &client->process;
}

bool sim_client_runs(const struct sim_client *client)
{
    return client->process.alive;
}

unsigned sim_client_pending(const struct sim_client *client)
{
    return client->verbs->pending(client) + client->asks_count;
}

unsigned sim_client_holds(const struct sim_client *client)
{
    return client->holds;
}

/* ---- records ------------------------------------------------------------------------- */

struct sim_record sim_client_record(struct sim_client *client, enum sim_record_type type)
{
    return (struct sim_record){
        .type = type,
        .at_us = sim_now_us(),
        .client = client,
        .client_id = client->client_id,
        .counts_lease = client->options.kind == SIM_CLIENT_LIBRARY,
    };
}

static void tell(const struct sim_client *client, const struct sim_record *record)
{
    if (!client->freeing)
        sim_history_tell(record);
}

void sim_client_refused(struct sim_client *client,
                        const struct sim_ask *ask,
                        uint64_t op,
                        int rv)
{
    struct sim_record record = sim_client_record(client, SIM_REC_OUTCOME);
    record.op = op;
    record.rv = rv;
    record.ask_type = ask->type;
    record.lock = ask->lock;
    record.conn = ask->conn;
    tell(client, &record);
}

/* ---- lives --------------------------------------------------------------------------- */

static void turn(struct sim_process *process)
{
    struct sim_client *client = process->arg;
    client->verbs->turn(client);
}

static void tell_life(struct sim_client *client, bool on, int status)
{
    struct sim_record record = sim_client_record(client, SIM_REC_LIFE);
    record.on = on;
    record.rv = status;
    tell(client, &record);
}

static void drop_asks(struct sim_client *client)
{
    struct sim_queued_ask *queued;
    while ((queued = sim_client_take_ask(client)) != NULL)
        sim_client_give_back(queued);
}

static void on_end(struct sim_process *process, int status)
{
    struct sim_client *client = process->arg;
    drop_asks(client);
    client->verbs->ended(client);
    sim_beliefs_end(client);
    tell_life(client, false, status);
}

void sim_client_start(struct sim_client *client)
{
    if (client->process.alive)
        return;
    /* An id that the cluster made died with the process. */
    snprintf(client->client_id, sizeof(client->client_id), "%s",
             client->options.client_id);
    sim_process_start(&client->process, sim_mix(client->seed, ++client->lives, 0));
    tell_life(client, true, 0);
    sim_process_wake(&client->process, sim_now_us());
}

void sim_client_kill(struct sim_client *client)
{
    sim_process_kill(&client->process);
}

static void free_client(struct sim_client *client)
{
    client->freeing = true;
    sim_process_kill(&client->process);
    client->verbs->free(client);
    for (unsigned i = 0; i < SIM_BELIEF_BUCKETS; i++) {
        struct sim_belief *next;
        for (struct sim_belief *at = client->beliefs[i]; at != NULL; at = next) {
            next = at->next;
            sim_free(at);
        }
    }
    sim_free(client);
}

void sim_clients_free(void)
{
    for (unsigned i = 0; i < clients.count; i++)
        free_client(clients.list[i]);
    clients.count = 0;
    while (clients.spare != NULL) {
        struct sim_queued_ask *queued = clients.spare;
        clients.spare = queued->next;
        sim_free(queued->bytes);
        sim_free(queued);
    }
}

/* ---- what they are asked for --------------------------------------------------------- */

static size_t text_bytes(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

/* Copy @len bytes to the room that is left, which moves on. */
static char *put_bytes(char **at, const void *bytes, size_t len)
{
    if (bytes == NULL)
        return NULL;
    char *copy = *at;
    if (len > 0)
        memcpy(copy, bytes, len);
    *at += len;
    return copy;
}

static void copy_ask(struct sim_queued_ask *queued, const struct sim_ask *ask)
{
    size_t client_bytes = text_bytes(ask->client), lock_bytes = text_bytes(ask->lock);
    size_t bytes = client_bytes + lock_bytes + ask->bytes_len;
    if (queued->bytes_capacity < bytes) {
        queued->bytes_capacity = bytes + 64;
        queued->bytes = sim_realloc(queued->bytes, queued->bytes_capacity);
    }
    char *at = queued->bytes;
    queued->ask = *ask;
    queued->ask.client = put_bytes(&at, ask->client, client_bytes);
    queued->ask.lock = put_bytes(&at, ask->lock, lock_bytes);
    queued->ask.bytes = (const uint8_t *)put_bytes(&at, ask->bytes, ask->bytes_len);
}

static struct sim_queued_ask *put_ask(struct sim_client *client)
{
    struct sim_queued_ask *queued = clients.spare;
    if (queued != NULL)
        clients.spare = queued->next;
    else
        queued = sim_alloc(sizeof(*queued));
    queued->next = NULL;
    queued->close = false;
    *client->asks_end = queued;
    client->asks_end = &queued->next;
    client->asks_count++;
    sim_process_wake(&client->process, sim_now_us());
    return queued;
}

struct sim_queued_ask *sim_client_take_ask(struct sim_client *client)
{
    struct sim_queued_ask *queued = client->asks;
    if (queued == NULL)
        return NULL;
    client->asks = queued->next;
    if (client->asks == NULL)
        client->asks_end = &client->asks;
    client->asks_count--;
    return queued;
}

void sim_client_give_back(struct sim_queued_ask *queued)
{
    queued->next = clients.spare;
    clients.spare = queued;
}

void sim_client_ask(struct sim_client *client, const struct sim_ask *ask)
{
    if (client->process.alive)
        copy_ask(put_ask(client), ask);
}

void sim_client_close(struct sim_client *client)
{
    if (client->process.alive)
        put_ask(client)->close = true;
}

/* ---- what they believe --------------------------------------------------------------- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    do /* with the NUL: what ends one text does not begin the next */
        hash = (hash ^ (uint8_t)*text) * UINT64_C(1099511628211);
    while (*text++ != 0);
    return hash;
}

static uint64_t hash_names(const char *client_id, const char *lock)
{
    return sim_mix1(
        hash_text(hash_text(UINT64_C(14695981039346656037), client_id), lock));
}

static struct sim_belief *find_hashed(struct sim_client *client,
                                      uint64_t hash,
                                      const char *client_id,
                                      const char *lock)
{
    struct sim_belief *at = client->beliefs[hash % SIM_BELIEF_BUCKETS];
    while (at != NULL && (at->hash != hash || strcmp(at->lock, lock) != 0 ||
                          strcmp(at->client_id, client_id) != 0))
        at = at->next;
    return at;
}

struct sim_belief *
sim_belief_find(struct sim_client *client, const char *client_id, const char *lock)
{
    return find_hashed(client, hash_names(client_id, lock), client_id, lock);
}

struct sim_belief *
sim_belief_get(struct sim_client *client, const char *client_id, const char *lock)
{
    uint64_t hash = hash_names(client_id, lock);
    struct sim_belief *belief = find_hashed(client, hash, client_id, lock);
    if (belief != NULL)
        return belief;
    size_t id_bytes = strlen(client_id) + 1, lock_bytes = strlen(lock) + 1;
    belief = sim_alloc(sizeof(*belief) + id_bytes + lock_bytes);
    char *at = (char *)(belief + 1);
    belief->client_id = put_bytes(&at, client_id, id_bytes);
    belief->lock = put_bytes(&at, lock, lock_bytes);
    belief->hash = hash;
    belief->token = UINT64_MAX;
    belief->use_end_us = SIM_NEVER;
    struct sim_belief **bucket = &client->beliefs[hash % SIM_BELIEF_BUCKETS];
    belief->next = *bucket;
    *bucket = belief;
    return belief;
}

static void
tell_belief(struct sim_client *client, const struct sim_belief *belief, uint64_t op)
{
    struct sim_record record = sim_client_record(client, SIM_REC_BELIEF);
    if (client->options.kind == SIM_CLIENT_RAW)
        record.client_id = belief->client_id;
    record.op = op;
    record.lock = belief->lock;
    record.holding = belief->holding;
    record.token = belief->token;
    record.type_of_lock = belief->type;
    record.limit = belief->limit;
    record.conn = belief->conn;
    tell(client, &record);
}

void sim_belief_grant(struct sim_client *client,
                      struct sim_belief *belief,
                      uint64_t op,
                      uint64_t token,
                      enum netlock_type type,
                      uint32_t limit)
{
    if (belief->holding && belief->token == token && belief->type == type &&
        belief->limit == limit)
        return;
    sim_belief_end(client, belief);
    belief->holding = true;
    belief->token = token;
    belief->type = type;
    belief->limit = limit;
    TAILQ_INSERT_TAIL(&client->held, belief, held);
    client->holds++;
    tell_belief(client, belief, op);
}

void sim_belief_end(struct sim_client *client, struct sim_belief *belief)
{
    if (!belief->holding)
        return;
    belief->holding = false;
    belief->use_end_us = SIM_NEVER;
    TAILQ_REMOVE(&client->held, belief, held);
    client->holds--;
    tell_belief(client, belief, 0);
}

void sim_beliefs_end(struct sim_client *client)
{
    while (!TAILQ_EMPTY(&client->held))
        sim_belief_end(client, TAILQ_FIRST(&client->held));
}
