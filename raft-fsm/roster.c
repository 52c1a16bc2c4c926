#include "roster.h"

#include <assert.h>
#include <string.h>

#include "memory.h"

enum { BUCKETS_MIN = 8, BUCKETS_EXPECTED_MAX = 1 << 24 };

void roster_init(struct roster *roster, size_t name_at, uint64_t expected)
{
    uint32_t buckets = BUCKETS_MIN;

    while (buckets < BUCKETS_EXPECTED_MAX && buckets < expected) {
        buckets *= 2;
    }
    *roster = (struct roster){
        .buckets = memory_new(buckets * sizeof(roster->buckets[0])),
        .buckets_count = buckets,
        .round = buckets,
        .name_at = name_at,
    };
}

void roster_release(struct roster *roster)
{
    free(roster->buckets);
    *roster = (struct roster){0};
}

/* ---- the hash table --------------------------------------------------------------- */

/* The buckets below buckets_count - round, and their twins above `round`, have been split. */
static struct roster_entry **bucket_of(const struct roster *roster, uint32_t hash)
{
    uint32_t bucket = hash & (roster->round * 2 - 1);

    if (bucket >= roster->buckets_count) {
        bucket -= roster->round;
    }
    return &roster->buckets[bucket];
}

static void split_bucket(struct roster *roster)
{
    uint32_t count = roster->buckets_count;
    struct roster_entry **from;
    struct roster_entry **to;

    if (count == roster->round) {
        roster->buckets =
            memory_resize(roster->buckets, (size_t)count * 2, sizeof(roster->buckets[0]));
    }
    from = &roster->buckets[count - roster->round];
    to = &roster->buckets[count];
    *to = NULL;
    while (*from != NULL) {
        struct roster_entry *entry = *from;
        if ((entry->hash & (roster->round * 2 - 1)) == count) {
            *from = entry->chain;
            entry->chain = *to;
            *to = entry;
        } else {
            from = &entry->chain;
        }
    }
    roster->buckets_count++;
    if (roster->buckets_count == roster->round * 2) {
        assert(roster->round <= UINT32_MAX / 4);
        roster->round *= 2;
    }
}

static bool has_name(const struct roster *roster,
                     const struct roster_entry *entry,
                     struct fsm_str name)
{
    const uint8_t *len = (const uint8_t *)entry + roster->name_at;

    return *len == name.len && (name.len == 0 || memcmp(len + 1, name.data, *len) == 0);
}

struct roster_entry *
roster_find(const struct roster *roster, struct fsm_str name, uint32_t hash)
{
    struct roster_entry *entry = *bucket_of(roster, hash);

    while (entry != NULL && (entry->hash != hash || !has_name(roster, entry, name))) {
        entry = entry->chain;
    }
    return entry;
}

/* ---- the order -------------------------------------------------------------------- */

/* NULL for @next: at the end. */
static void
link_before(struct roster *roster, struct roster_entry *entry, struct roster_entry *next)
{
    struct roster_entry *prev = next != NULL ? next->prev : roster->last;

    entry->prev = prev;
    entry->next = next;
    *(prev != NULL ? &prev->next : &roster->first) = entry;
    *(next != NULL ? &next->prev : &roster->last) = entry;
}

static void unlink_entry(struct roster *roster, struct roster_entry *entry)
{
    *(entry->prev != NULL ? &entry->prev->next : &roster->first) = entry->next;
    *(entry->next != NULL ? &entry->next->prev : &roster->last) = entry->prev;
}

/* ---- both ------------------------------------------------------------------------- */

void roster_add(struct roster *roster, struct roster_entry *entry, uint32_t hash)
{
    struct roster_entry **bucket;

    roster->count++;
    if (roster->count > roster->buckets_count) {
        split_bucket(roster);
    }
    bucket = bucket_of(roster, hash);
    entry->hash = hash;
    entry->chain = *bucket;
    *bucket = entry;
    link_before(roster, entry, NULL);
}

void roster_remove(struct roster *roster, struct roster_entry *entry)
{
    struct roster_entry **at = bucket_of(roster, entry->hash);

    while (*at != entry) {
        at = &(*at)->chain;
    }
    *at = entry->chain;
    unlink_entry(roster, entry);
    roster->count--;
}

void roster_insert_frozen(struct roster *roster,
                          struct roster_entry *frozen,
                          struct roster_entry *place)
{
    frozen->frozen = true;
    link_before(roster, frozen, place);
}

void roster_remove_frozen(struct roster *roster, struct roster_entry *frozen)
{
    assert(frozen->frozen);
    unlink_entry(roster, frozen);
}
