/* roster.h - records that are found by name and kept in the order in which they came. Private to this
 * room.
 *
 * Intrusive: a record begins with its entry and ends with its name. The table grows by one bucket for
 * each record (linear hashing), so that no command waits for a rehash. The order is that of arrival,
 * whatever the hashes are.
 */
#ifndef NETLOCK_ROSTER_H
#define NETLOCK_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fsm.h"

struct roster_entry {
    struct roster_entry *prev, *next; /* in order of arrival; NULL at the ends */
    struct roster_entry *chain;       /* the next of its bucket */
    uint32_t hash;
    uint16_t election; /* of a lock: election.h; of a client: dump.h */
    bool copied;       /* see dump.h */
    bool frozen;       /* not a record, but a copy of one: in the order, but not found */
};

struct roster {
    struct roster_entry *first, *last;
    struct roster_entry **buckets;
    uint32_t buckets_count;
    uint32_t round; /* a power of two: the buckets before this doubling of the table */
    uint32_t count; /* without frozen ones */
    size_t name_at; /* where in a record: a byte for the length, then the name */
};

/* @expected: about so many records will come; 0: who knows. */
void roster_init(struct roster *roster, size_t name_at, uint64_t expected);
void roster_release(struct roster *roster); /* the records are their owner's */

struct roster_entry *
roster_find(const struct roster *roster, struct fsm_str name, uint32_t hash);

/* At the end. @entry is zeroed, and its record has its name, which no other has. */
void roster_add(struct roster *roster, struct roster_entry *entry, uint32_t hash);
void roster_remove(struct roster *roster, struct roster_entry *entry);

/* Frozen entries: right before @place, and out again. */
void roster_insert_frozen(struct roster *roster,
                          struct roster_entry *frozen,
                          struct roster_entry *place);
void roster_remove_frozen(struct roster *roster, struct roster_entry *frozen);

/* @entry, or the first behind it that is a record; NULL at the end. */
static inline struct roster_entry *roster_record(struct roster_entry *entry)
{
    while (entry != NULL && entry->frozen) {
        entry = entry->next;
    }
    return entry;
}

#endif
