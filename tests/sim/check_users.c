/* check_users.c - users by client and by id, their lives, and what they ask for. */
#include "check_internal.h"

#include <string.h>

enum { DRIFT_PPM = 1000 }; /* the library's default */

static struct {
    struct check_array list;   /* struct check_user */
    struct check_map numbers;  /* by the address of the client */
    struct check_array owners; /* uint32_t: number of a user, by id; 0: nobody */
    struct check_array uses;   /* struct check_use */
    struct check_map use_numbers;
} users = {
    .list = {.size = sizeof(struct check_user)},
    .owners = {.size = sizeof(uint32_t)},
    .uses = {.size = sizeof(struct check_use)},
};

static struct check_user *user_at(uint64_t number)
{
    return check_array_at(&users.list, number - 1);
}

void check_users_begin(void)
{
    check_users_free();
}

void check_users_free(void)
{
    for (size_t i = 0; i < users.list.count; i++) {
        sim_free(user_at(i + 1)->asks);
    }
    check_array_free(&users.list);
    check_array_free(&users.owners);
    check_array_free(&users.uses);
    check_map_free(&users.numbers);
    check_map_free(&users.use_numbers);
}

void check_users_scan(void (*look)(struct check_user *user))
{
    for (size_t i = 0; i < users.list.count; i++) {
        look(user_at(i + 1));
    }
}

/* ---- who they are ----------------------------------------------------------------------------- */

static bool allows_for_drift(const struct sim_client_options *options)
{
    uint64_t drift_ppm = options->drift_ppm != 0 ? options->drift_ppm : DRIFT_PPM;

    return drift_ppm >= 2 * (uint64_t)check_run.options.rate_ppm_max;
}

static struct check_user *user_new(struct sim_client *client)
{
    struct check_user *user = check_array_push(&users.list);

    user->client = client;
    user->process = sim_client_process(client);
    user->options = sim_client_options(client);
    user->number = (unsigned)users.list.count;
    user->library = user->options->kind == SIM_CLIENT_LIBRARY;
    user->shared = user->options->share_id;
    user->alive = true;
    user->counts = user->library && allows_for_drift(user->options);
    return user;
}

static struct check_user *user_of(struct sim_client *client)
{
    uint64_t *number = check_map_at(&users.numbers, (uint64_t)(uintptr_t)client);

    if (*number == 0) {
        *number = users.list.count + 1;
        return user_new(client);
    }
    return user_at(*number);
}

struct check_user *check_user_of_id(uint32_t client)
{
    struct check_user *user;

    if (client >= users.owners.count) {
        return NULL;
    }
    uint32_t number = *(uint32_t *)check_array_at(&users.owners, client);
    if (number == 0) {
        return NULL;
    }
    user = user_at(number);
    return user->library && !user->shared && user->id == client ? user : NULL;
}

/* @user acts under this id. Two of them are one client to the cluster. */
static void take_id(struct check_user *user, uint32_t id)
{
    uint32_t *owner;

    check_array_grow(&users.owners, (size_t)id + 1);
    owner = check_array_at(&users.owners, id);
    if (*owner == 0) {
        *owner = user->number;
    } else if (*owner != user->number) {
        user_at(*owner)->shared = true;
        user->shared = true;
    }
}

static void learn_id(struct check_user *user, const char *id)
{
    if (id == NULL || id[0] == '\0' || (user->library && user->id != 0)) {
        return;
    }
    user->id = check_name_of_text(id);
    take_id(user, user->id);
}

/* ---- what they have to do with locks -------------------------------------------------------------- */

struct check_use *check_use_find(const struct check_user *user, uint32_t lock)
{
    uint64_t number = check_map_get(&users.use_numbers, check_pair(user->number, lock));

    return number != 0 ? check_array_at(&users.uses, number - 1) : NULL;
}

struct check_use *check_use_get(struct check_user *user, uint32_t lock)
{
    uint64_t *number = check_map_at(&users.use_numbers, check_pair(user->number, lock));

    if (*number == 0) {
        struct check_use *use = check_array_push(&users.uses);
        *number = users.uses.count;
        use->user = user;
        use->lock = lock;
        use->settled = true;
        return use;
    }
    return check_array_at(&users.uses, *number - 1);
}

/* Requests of the last life may still be on their way, and what it lost the next one may get. */
static void unsettle(const struct check_user *user)
{
    for (size_t i = 0; i < users.uses.count; i++) {
        struct check_use *use = check_array_at(&users.uses, i);
        if (use->user == user) {
            use->open_locks = 0;
            use->settled = false;
            use->lost_token = 0;
        }
    }
}

/* ---- asks ------------------------------------------------------------------------------------------- */

struct check_ask *check_ask_find(struct check_user *user, uint64_t op)
{
    if (!user->library) {
        struct check_ask *ask = &user->raw_asks[op % CHECK_RAW_ASKS];
        return op != 0 && ask->op == op ? ask : NULL;
    }
    for (unsigned i = 0; i < user->asks_count; i++) {
        if (user->asks[i].op == op) {
            return &user->asks[i];
        }
    }
    return NULL;
}

void check_ask_end(struct check_user *user, struct check_ask *ask)
{
    if (user->library) {
        *ask = user->asks[--user->asks_count];
    } else {
        ask->op = 0;
    }
}

static struct check_ask *ask_new(struct check_user *user, uint64_t op)
{
    if (!user->library) {
        return &user->raw_asks[op % CHECK_RAW_ASKS];
    }
    if (user->asks_count == user->asks_capacity) {
        user->asks_capacity = 2 * user->asks_capacity + 8;
        user->asks = sim_realloc(user->asks, user->asks_capacity * sizeof(user->asks[0]));
    }
    return &user->asks[user->asks_count++];
}

static void on_ask(struct check_user *user, const struct sim_record *record)
{
    const struct sim_ask *ask = record->ask;
    uint32_t lock = check_name_of_text(record->lock);
    bool lowers = user->library && lock != 0 && ask->type == SIM_ASK_LOCK &&
                  ask->downgrade && ask->type_of_lock == NETLOCK_READ;

    check_run.counts.operations++;
    *ask_new(user, record->op) = (struct check_ask){
        .op = record->op,
        .at_us = record->at_us,
        .seen_index = check_seen_index(),
        .leaders = check_table.leaders,
        .token = ask->token,
        .type = ask->type,
        .lock = lock,
        .wait_ms = ask->wait_ms,
        .try_only = ask->try_only,
        .write = ask->type_of_lock == NETLOCK_WRITE,
        .lowers = lowers,
    };
    if (lowers) {
        check_belief_lowers(user, lock, true);
    }
    if (user->library && ask->type == SIM_ASK_LOCK && lock != 0) {
        struct check_use *use = check_use_get(user, lock);
        use->open_locks++;
        use->lock_op = record->op;
    }
}

/* ---- lives ------------------------------------------------------------------------------------------ */

static void on_life(struct check_user *user, const struct sim_record *record)
{
    user->alive = record->on;
    user->connected = false;
    user->asks_count = 0;
    memset(user->raw_asks, 0, sizeof(user->raw_asks));
    memset(user->conn_index, 0, sizeof(user->conn_index));
    if (!record->on) {
        user->died_us = record->at_us;
        check_beliefs_forget(user);
        return;
    }
    user->id = 0;
    user->life_index = 0;
    unsettle(user);
}

void check_users_record(const struct sim_record *record)
{
    struct check_user *user = user_of(record->client);

    if (record->type == SIM_REC_LIFE) {
        on_life(user, record);
    }
    learn_id(user, record->client_id);
    switch (record->type) {
    case SIM_REC_ASK:
        on_ask(user, record);
        return;
    case SIM_REC_OUTCOME:
        check_outcome(user, record);
        return;
    case SIM_REC_NOTICE:
        check_notice(user, record);
        return;
    case SIM_REC_BELIEF:
        check_belief(user, record);
        return;
    case SIM_REC_RESPONSE:
        check_response(user, record);
        return;
    case SIM_REC_CONN:
        if (record->conn < SIM_CLIENT_CONNS_MAX) {
            user->conn_index[record->conn] = 0;
        }
        return;
    case SIM_REC_LIFE:
        return;
    }
}
