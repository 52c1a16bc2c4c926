/* pending.h - what the server remembers of requests under way, to answer them.
 *
 * Two stages. A command that was proposed has a `struct pending` until its direct answer
 * comes; the command's `ref` finds it. If that answer is "waiting", a `struct waiting`
 * remembers the request until the wait ends; client and lock find it. Both belong to a
 * connection's list as long as the connection lives; a pending outlives it, since the
 * answer still has to be dealt with.
 *
 * A ref names a slot and its generation, so that no answer can reach the wrong
 * request. */
#ifndef NETLOCK_PENDING_H
#define NETLOCK_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fsm.h"
#include "wire.h"

/* What every answer to a request repeats. */
struct answer_to {
    char *key; /* message_key, owned; NULL: none */
    size_t key_len;
    bool has_client_time;
    uint64_t client_time;
};

struct answer_to answer_to_request(const struct wire_request *request);
void answer_to_release(struct answer_to *to);

/* Why a command was proposed, and so what its answer means. */
enum pending_kind {
    PENDING_REQUEST = 1, /* answered by what the event says */
    PENDING_ATTACH,
    PENDING_CREATE,
    PENDING_ATTACH_DEFAULT,  /* the default client at its first use: nobody is told */
    PENDING_ATTACH_IMPLICIT, /* before the request of a client not attached here */
    PENDING_DETACH,
    PENDING_BACKUP, /* a checkpoint, after which the table is copied */
    PENDING_KILL,   /* a detach, after which the client's connections are closed */
};

struct session;

struct pending {
    struct session *session; /* NULL: the connection is gone */
    struct pending *prev, *next;
    enum pending_kind kind;
    struct answer_to to;
    uint8_t secret[WIRE_SECRET_BYTES]; /* PENDING_CREATE, if has_secret */
    bool has_secret;
    bool found; /* PENDING_KILL: there was such a client */
    uint64_t
        gone_at_ms; /* attaches of a connection that is gone: when the client is, too */
    uint64_t asked_us; /* metrics_now_us() */
    uint64_t ref;
    uint32_t index;
    uint32_t next_free;
};

/* All slots; zero-initialise. */
struct pendings {
    struct pending **blocks;
    uint32_t blocks_count;
    uint32_t slots_count; /* ever used */
    uint32_t first_free;  /* index + 1; 0: none */
    uint32_t in_use;
};

/* A free slot with its ref set; @to is taken. */
struct pending *
pending_new(struct pendings *pendings, enum pending_kind kind, struct answer_to to);
/* The slot of @ref, or NULL if it was answered or forgotten. */
struct pending *pending_find(const struct pendings *pendings, uint64_t ref);
void pending_free(struct pendings *pendings, struct pending *pending);
/* Forget all requests under way (their outcome is unknown), keep the memory. */
void pendings_clear(struct pendings *pendings);
void pendings_release(struct pendings *pendings);

/* A request that waits in a queue. */
struct waiting {
    struct session *session;
    struct waiting *prev, *next; /* of the session, oldest first */
    struct waiting *more;        /* of the same client and lock, newer */
    struct waiting_key *key;
    struct answer_to to;
};

struct waitings {
    struct waiting_key *keys;
    uint64_t hash_seed;
};

/* Remember it; @to is taken. The caller lists it in the session. */
struct waiting *waiting_add(struct waitings *waitings,
                            struct fsm_str client,
                            struct fsm_str lock,
                            struct answer_to to);
/* The oldest request that waits for this, or NULL; the others follow by `more`. */
struct waiting *
waiting_find(const struct waitings *waitings, struct fsm_str client, struct fsm_str lock);
/* Forget it; the caller has unlisted it. */
void waiting_free(struct waitings *waitings, struct waiting *waiting);

#endif
