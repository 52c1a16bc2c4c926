/* client_lock.c - the locks that this client has something to do with, by name. */
#include "client_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 16 };

int client_table_init(struct netlock *nl)
{
    struct client_table *table = &nl->table;
    LIST_INIT(&table->all);
    TAILQ_INIT(&table->noticed);
    table->buckets = calloc(BUCKETS_MIN, sizeof(struct client_lock *));
    if (table->buckets == NULL)
        return -ENOMEM;
    table->buckets_count = BUCKETS_MIN;
    return 0;
}

void client_table_release(struct netlock *nl)
{
    struct client_lock *next;
    for (struct client_lock *at = LIST_FIRST(&nl->table.all); at != NULL; at = next) {
        next = LIST_NEXT(at, link);
        free(at);
    }
    free(nl->table.buckets);
    nl->table = (struct client_table){0};
    free(nl->due.locks);
    nl->due = (struct client_due){0};
}

static uint64_t hash_name(const char *name, size_t len)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a: the names are our own program's */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)name[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

static struct client_lock **bucket_of(struct netlock *nl, uint64_t hash)
{
    return &nl->table.buckets[hash & (nl->table.buckets_count - 1)];
}

struct client_lock *client_lock_find(struct netlock *nl, const char *name, size_t len)
{
    uint64_t hash = hash_name(name, len);
    struct client_lock *at = *bucket_of(nl, hash);
    while (at != NULL &&
           (at->hash != hash || at->name_len != len || memcmp(at->name, name, len) != 0))
        at = at->next;
    return at;
}

/* Without memory the chains get longer, that is all. */
static void grow(struct netlock *nl)
{
    struct client_table *table = &nl->table;
    size_t count = 2 * table->buckets_count;
    struct client_lock **buckets = calloc(count, sizeof(struct client_lock *));
    if (buckets == NULL)
        return;
    free(table->buckets);
    table->buckets = buckets;
    table->buckets_count = count;
    struct client_lock *at;
    LIST_FOREACH(at, &table->all, link)
    {
        struct client_lock **bucket = bucket_of(nl, at->hash);
        at->next = *bucket;
        *bucket = at;
    }
}

struct client_lock *client_lock_get(struct netlock *nl, const char *name, size_t len)
{
    struct client_lock *lock = client_lock_find(nl, name, len);
    if (lock != NULL)
        return lock;
    if (client_due_reserve(&nl->due, nl->table.count + 1) != 0)
        return NULL;
    lock = calloc(1, sizeof(*lock) + len + 1);
    if (lock == NULL)
        return NULL;
    memcpy(lock->name, name, len);
    lock->name_len = len;
    lock->hash = hash_name(name, len);
    if (nl->table.count >= nl->table.buckets_count)
        grow(nl);
    struct client_lock **bucket = bucket_of(nl, lock->hash);
    lock->next = *bucket;
    *bucket = lock;
    LIST_INSERT_HEAD(&nl->table.all, lock, link);
    nl->table.count++;
    return lock;
}

void client_lock_unuse(struct netlock *nl, struct client_lock *lock)
{
    if (lock->held || lock->users > 0 || lock->notices != 0)
        return;
    struct client_lock **at = bucket_of(nl, lock->hash);
    while (*at != lock)
        at = &(*at)->next;
    *at = lock->next;
    LIST_REMOVE(lock, link);
    nl->table.count--;
    free(lock);
}

/* The last callback, not made yet, that tells of the hold. */
static struct operation *untold(struct netlock *nl, const struct client_lock *lock)
{
    struct operation *at;
    TAILQ_FOREACH_REVERSE(at, &nl->done, operation_list, link)
    {
        if (at->lock == lock && at->has_grant && at->grant.token == lock->token)
            return at;
    }
    return NULL;
}

void client_lock_notice(struct netlock *nl,
                        struct client_lock *lock,
                        enum lock_notice notice)
{
    struct operation *before = notice != NOTICE_QUEUED ? untold(nl, lock) : NULL;
    if (before != NULL) {
        nl->overtaken += before->notices == 0 ? 1 : 0;
        before->notices |= notice;
        return;
    }
    if (lock->notices == 0)
        TAILQ_INSERT_TAIL(&nl->table.noticed, lock, noticed);
    lock->notices |= notice;
    if (notice != NOTICE_QUEUED)
        lock->notice_token = lock->token;
}

/* ---- holds ---------------------------------------------------------------------------------- */

static void calm(struct netlock *nl, struct client_lock *lock)
{
    if (!lock->jeopardy)
        return;
    lock->jeopardy = false;
    nl->jeopardies--;
}

void client_lock_granted(struct netlock *nl,
                         struct client_lock *lock,
                         const struct lock_grant *grant)
{
    bool new_hold = !lock->held || lock->token != grant->token;
    if (new_hold)
        calm(nl, lock); /* JEOPARDY was about another hold */
    lock->releasing = lock->releasing && !new_hold;
    if (lock->held)
        client_lease_stop(nl, lock);
    else
        nl->holds++;
    lock->held = true;
    lock->token = grant->token;
    lock->index = grant->index;
    lock->slot = grant->slot;
    lock->type = grant->type;
    lock->drop = grant->drop;
    lock->lock_timeout_ms = grant->lock_timeout_ms;
    client_lease_start(nl, lock, grant);
}

void client_lock_releasing(struct netlock *nl, struct client_lock *lock)
{
    calm(nl, lock);
    client_lease_stop(nl, lock);
    lock->releasing = true;
}

void client_lock_dropped(struct netlock *nl, struct client_lock *lock)
{
    assert(lock->held);
    calm(nl, lock);
    client_lease_stop(nl, lock);
    nl->holds--;
    lock->held = false;
    lock->releasing = false;
    client_lock_unuse(nl, lock);
}

void client_lock_lost(struct netlock *nl, struct client_lock *lock)
{
    assert(lock->held);
    if (lock->releasing) {
        client_lock_dropped(nl, lock);
        return;
    }
    lock->lost_token = lock->token;
    client_lock_notice(nl, lock, NOTICE_LOST);
    client_lock_dropped(nl, lock);
}
