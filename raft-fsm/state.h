/* state.h - what the machine is made of. Private to this room.
 *
 *     fsm ---- clients (a roster: by id, in order of creation)
 *      |          |---- holds, in order of grant       \  the same claims,
 *      |          `---- waits, in order of arrival     /  each in two lists
 *      |------ locks (a roster: by name, in order of creation)
 *      |          |---- holds, in order of grant
 *      |          `---- waits: the queue, head first
 *      `------ deadlines: claims and the graces of missing clients
 *
 * Invariants, all of them verified by fsm_check():
 *   - a lock record exists exactly as long as somebody holds the lock;
 *   - the head of a queue could not be granted: whoever changes a lock ends with
 * lock_settle();
 *   - a client that waits for a lock does not hold it, unless its wait is an upgrade;
 *   - an upgrade stands at the head of the queue, so there is at most one;
 *   - a client whose presence is GONE has holds with FSM_DROP_IGNORE, at least one, and
 * no waits;
 *   - after a command, nothing is due that has not happened.
 */
#ifndef NETLOCK_FSM_STATE_H
#define NETLOCK_FSM_STATE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"
#include "fsm.h"
#include "roster.h"

#define uthash_fatal(message) abort()
#include <uthash.h>
#include <utlist.h>

enum {
    CLAIM_SINCE_BITS = 48, /* 8900 years of cluster time */
    CLAIM_EXTENDED_BITS =
        28, /* three days; the grace after an election is an hour at most */
};
#define CLAIM_SINCE_MASK   ((UINT64_C(1) << CLAIM_SINCE_BITS) - 1)
#define CLAIM_EXTENDED_MAX ((UINT32_C(1) << CLAIM_EXTENDED_BITS) - 1)

/* A hold of a lock, or a place in its queue. A wait becomes a hold in place. Compact: there are millions. */
struct claim {
    struct client *client;
    struct lock *lock;
    struct claim *prev, *next; /* of the lock: holds or queue */
    struct claim *client_prev, *client_next;
    uint64_t hold_ms; /* of a wait: what it will have */
    union {
        uint64_t token;   /* of a hold */
        uint64_t wait_ms; /* of a wait */
    };
    struct owner_info *owner_info; /* NULL: none */
    __extension__ struct {
        uint64_t since_ms : CLAIM_SINCE_BITS;
        uint64_t slot : 16; /* of a hold */
    };
    struct deadline due;
    uint32_t extended_ms : CLAIM_EXTENDED_BITS; /* of a hold: by an election */
    uint32_t type : 1;                          /* enum fsm_type */
    uint32_t drop : 1;                          /* enum fsm_drop */
    uint32_t waiting : 1;
    uint32_t upgrade : 1; /* of a wait: the client holds READ meanwhile */
};

static_assert(sizeof(struct claim) <= 104, "a chunk of malloc() holds 16 n + 8 bytes");

struct owner_info {
    uint8_t len;
    char data[];
};

struct lock {
    struct roster_entry entry;
    struct claim *holds;
    struct claim *waits;
    struct crowd *crowd; /* NULL while the claims are few enough to look through */
    struct slots *slots; /* NULL unless limit > 1 */
    uint32_t holds_count;
    uint32_t waits_count;
    uint16_t limit;
    bool unsettled; /* is in a list of locks to settle */
    uint8_t name_len;
    char name[];
};

/* What a client that comes back is still to be told about a hold that timed out. */
struct expired {
    struct expired *prev, *next;
    uint64_t token;
    uint8_t name_len;
    char name[];
};

struct client {
    struct roster_entry entry;
    struct claim *holds;
    struct claim *waits;
    struct expired *expired; /* oldest first */
    struct deadline grace;   /* its `order` is the attach_seq */
    uint64_t epoch;
    uint32_t holds_count;
    uint32_t waits_count;
    uint8_t expired_count;
    uint8_t presence; /* enum fsm_presence */
    bool unsorted;    /* claims were loaded in another order */
    uint8_t secret_len;
    char secret[FSM_SECRET_DIGEST_BYTES_MAX];
    uint8_t id_len;
    char id[];
};

/* Where clients reach a node of the cluster. */
struct cluster_member {
    uint64_t node_id;
    uint8_t address_len; /* not 0 */
    char address[FSM_NAME_BYTES_MAX];
};

enum { ELECTIONS_MAX = 4 };

struct election {
    uint64_t grace_end_ms;
    uint32_t extension_max_ms;
    uint16_t number; /* from 1 */
};

/* See election.h. */
struct elections {
    uint16_t last;
    uint8_t count;
    struct election items[ELECTIONS_MAX]; /* that locks may not have yet, oldest first */
};

enum stage {
    STAGE_EMPTY = 0,
    STAGE_LOAD_MEMBERS,
    STAGE_LOAD_CLIENTS,
    STAGE_LOAD_LOCKS,
    STAGE_LOAD_EXPIRED,
    STAGE_LIVE,
};

/* Who looks at the locks, apart: looking does not change the machine. */
struct looks {
    struct fsm_look *first;
};

struct fsm {
    uint64_t now_ms;
    uint64_t token; /* the last one given */
    uint64_t order; /* the last one given: attach_seq, and the age of claims */
    uint64_t term;
    uint64_t digest;
    uint64_t node_id_max;
    struct fsm_settings settings;

    struct cluster_member *
        members; /* by ascending id; room for FSM_MEMBERS_MAX, NULL while there is none */
    uint32_t members_count;
    struct roster clients;
    struct roster locks;
    struct deadline_heap deadlines;
    uint64_t holds_count;
    uint64_t waits_count;
    uint64_t hash_seed;
    enum stage stage;

    struct looks *looks; /* no part of the state */

    struct fsm_dump *dump; /* in steps, the one that is under way; NULL: none */
    bool copied;           /* see dump.h */
    struct elections elections;

    /* While a command is being applied: */
    const struct fsm_command *command;
    struct fsm_events *out; /* NULL on a follower */
    const struct claim
        *asked; /* the wait that the command asked for, if its grant is the answer */
    bool answered;
    uint64_t dropped; /* clients and claims, of all turns: see fsm_settings.drop_max */

    /* Room for the claims of one event, kept from one to the next. */
    struct fsm_claim *shown;
    uint32_t shown_capacity;
};

static inline struct fsm_str lock_name(const struct lock *lock)
{
    return (struct fsm_str){lock->name, lock->name_len};
}

static inline struct fsm_str client_id(const struct client *client)
{
    return (struct fsm_str){client->id, client->id_len};
}

static inline bool str_equal(struct fsm_str a, struct fsm_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* In order of creation; NULL at the end. */
static inline struct lock *lock_of(struct roster_entry *entry)
{
    return (struct lock *)(void *)roster_record(entry);
}

static inline struct lock *lock_first(const struct fsm *fsm)
{
    return lock_of(fsm->locks.first);
}

static inline struct lock *lock_next(const struct lock *lock)
{
    return lock_of(lock->entry.next);
}

static inline struct client *client_of(struct roster_entry *entry)
{
    return (struct client *)(void *)roster_record(entry);
}

static inline struct client *client_first(const struct fsm *fsm)
{
    return client_of(fsm->clients.first);
}

static inline struct client *client_next(const struct client *client)
{
    return client_of(client->entry.next);
}

/* memcpy() and memcmp() want a pointer even for no bytes. */
static inline const char *str_data(struct fsm_str str)
{
    return str.data != NULL ? str.data : "";
}

/* Bytewise, a prefix first. */
static inline int str_compare(struct fsm_str a, struct fsm_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.data, b.data, len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

#endif
