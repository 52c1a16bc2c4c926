/* check_table.c - locks, clients, holds and waits as the events of the log add up to them. Plain lists: a
 * simulated lock has few claims. Records of locks and clients stay, as names do. */
#include "check_internal.h"

#include <string.h>

#include <utlist.h>

struct check_table check_table;

static struct {
    struct check_array locks, clients; /* pointers, by name */
    struct check_array tokens;         /* struct check_token, by token */
    struct check_claim *spare;
} store = {
    .locks = {.size = sizeof(struct check_lock *)},
    .clients = {.size = sizeof(struct check_client *)},
    .tokens = {.size = sizeof(struct check_token)},
};

void check_table_begin(void)
{
    check_table_free();
    check_table = (struct check_table){.next_due_ms = FSM_UNLIMITED};
}

/* ---- records ----------------------------------------------------------------------------- */

static void *record_get(struct check_array *records, uint32_t name, size_t size)
{
    void **place;

    if (name >= records->count) {
        check_array_grow(records, (size_t)name + 1);
    }
    place = check_array_at(records, name);
    if (*place == NULL) {
        *place = sim_alloc(size);
    }
    return *place;
}

struct check_lock *check_lock_get(uint32_t name)
{
    struct check_lock *lock = record_get(&store.locks, name, sizeof(*lock));

    lock->name = name;
    return lock;
}

struct check_client *check_client_get(uint32_t name)
{
    struct check_client *client = record_get(&store.clients, name, sizeof(*client));

    client->name = name;
    return client;
}

const struct check_token *check_token_find(uint64_t token)
{
    const struct check_token *found;

    if (token >= store.tokens.count) {
        return NULL;
    }
    found = check_array_at(&store.tokens, token);
    return found->index != 0 ? found : NULL;
}

struct check_token *check_token_new(uint64_t token)
{
    check_array_grow(&store.tokens, token + 1);
    return check_array_at(&store.tokens, token);
}

static void free_claims(struct check_claim *claims)
{
    while (claims != NULL) {
        struct check_claim *next = claims->next;
        sim_free(claims);
        claims = next;
    }
}

void check_table_free(void)
{
    for (size_t i = 0; i < store.locks.count; i++) {
        struct check_lock *lock = *(struct check_lock **)check_array_at(&store.locks, i);
        if (lock != NULL) {
            free_claims(lock->holds);
            free_claims(lock->waits);
            sim_free(lock);
        }
    }
    for (size_t i = 0; i < store.clients.count; i++) {
        sim_free(*(struct check_client **)check_array_at(&store.clients, i));
    }
    check_array_free(&store.locks);
    check_array_free(&store.clients);
    check_array_free(&store.tokens);
    free_claims(store.spare);
    store.spare = NULL;
    check_table = (struct check_table){0};
}

/* ---- finding ----------------------------------------------------------------------------- */

/* In the shorter of two lists. */
static struct check_claim *find(struct check_claim *of_lock,
                                uint32_t of_lock_count,
                                struct check_claim *of_client,
                                uint32_t of_client_count,
                                const struct check_lock *lock,
                                const struct check_client *client)
{
    struct check_claim *claim;

    if (of_lock_count <= of_client_count) {
        DL_FOREACH(of_lock, claim)
        {
            if (claim->client == client) {
                return claim;
            }
        }
        return NULL;
    }
    DL_FOREACH2(of_client, claim, client_next)
    {
        if (claim->lock == lock) {
            return claim;
        }
    }
    return NULL;
}

struct check_claim *check_hold_find(const struct check_lock *lock,
                                    const struct check_client *client)
{
    return find(lock->holds, lock->holds_count, client->holds, client->holds_count, lock,
                client);
}

struct check_claim *check_wait_find(const struct check_lock *lock,
                                    const struct check_client *client)
{
    return find(lock->waits, lock->waits_count, client->waits, client->waits_count, lock,
                client);
}

struct check_claim *check_hold_by_token(const struct check_lock *lock, uint64_t token)
{
    struct check_claim *claim;

    DL_FOREACH(lock->holds, claim)
    {
        if (claim->token == token) {
            return claim;
        }
    }
    return NULL;
}

/* ---- lists ------------------------------------------------------------------------------- */

static void enlist(struct check_claim *claim, bool first)
{
    struct check_lock *lock = claim->lock;
    struct check_client *client = claim->client;

    if (!claim->waiting) {
        check_table.locks_count += lock->holds == NULL ? 1 : 0;
        DL_APPEND(lock->holds, claim);
        DL_APPEND2(client->holds, claim, client_prev, client_next);
        lock->holds_count++;
        client->holds_count++;
        check_table.holds_count++;
        return;
    }
    if (first) {
        DL_PREPEND(lock->waits, claim);
    } else {
        DL_APPEND(lock->waits, claim);
    }
    DL_APPEND2(client->waits, claim, client_prev, client_next);
    lock->waits_count++;
    client->waits_count++;
    check_table.waits_count++;
}

static void delist(struct check_claim *claim)
{
    struct check_lock *lock = claim->lock;
    struct check_client *client = claim->client;

    if (!claim->waiting) {
        DL_DELETE(lock->holds, claim);
        DL_DELETE2(client->holds, claim, client_prev, client_next);
        lock->holds_count--;
        client->holds_count--;
        check_table.holds_count--;
        check_table.locks_count -= lock->holds == NULL ? 1 : 0;
        return;
    }
    DL_DELETE(lock->waits, claim);
    DL_DELETE2(client->waits, claim, client_prev, client_next);
    lock->waits_count--;
    client->waits_count--;
    check_table.waits_count--;
}

struct check_claim *check_claim_new(struct check_lock *lock,
                                    struct check_client *client,
                                    bool waiting,
                                    bool first)
{
    struct check_claim *claim = store.spare;

    if (claim != NULL) {
        store.spare = claim->next;
    } else {
        claim = sim_alloc(sizeof(*claim));
    }
    *claim = (struct check_claim){
        .lock = lock,
        .client = client,
        .waiting = waiting,
        .deadline_ms = FSM_UNLIMITED,
        .since_us = SIM_NEVER,
        .index = check_step.index,
    };
    enlist(claim, first);
    return claim;
}

void check_claim_hold(struct check_claim *claim)
{
    delist(claim);
    claim->waiting = claim->upgrade = false;
    enlist(claim, false);
}

void check_claim_end(struct check_claim *claim)
{
    if (!claim->waiting) {
        /* An upgrade whose READ is over is an ordinary wait in the same place. */
        struct check_claim *wait = check_wait_find(claim->lock, claim->client);
        if (wait != NULL) {
            wait->upgrade = false;
        }
    }
    delist(claim);
    claim->next = store.spare;
    store.spare = claim;
}

/* ---- clients that are away ----------------------------------------------------------------- */

void check_client_missing(struct check_client *client, uint64_t grace_end_ms)
{
    if (client->presence != FSM_MISSING) {
        DL_APPEND2(check_table.missing, client, missing_prev, missing_next);
    }
    client->presence = FSM_MISSING;
    client->grace_end_ms = grace_end_ms;
    if (check_table.missing_end_ms > grace_end_ms ||
        check_table.missing->missing_next == NULL) {
        check_table.missing_end_ms = grace_end_ms;
    }
}

void check_client_not_missing(struct check_client *client)
{
    if (client->presence == FSM_MISSING) {
        DL_DELETE2(check_table.missing, client, missing_prev, missing_next);
    }
}

void check_table_scan(void (*look)(struct check_claim *claim))
{
    for (size_t i = 0; i < store.locks.count; i++) {
        struct check_lock *lock = *(struct check_lock **)check_array_at(&store.locks, i);
        struct check_claim *claim;
        if (lock == NULL) {
            continue;
        }
        DL_FOREACH(lock->holds, claim)
        {
            look(claim);
        }
        DL_FOREACH(lock->waits, claim)
        {
            look(claim);
        }
    }
}

void check_clients_scan(void (*look)(struct check_client *client))
{
    for (size_t i = 0; i < store.clients.count; i++) {
        struct check_client *client =
            *(struct check_client **)check_array_at(&store.clients, i);
        if (client != NULL) {
            look(client);
        }
    }
}
