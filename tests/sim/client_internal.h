/* client_internal.h - what the two kinds of users have in common: client.c for client_library.c and
 * client_raw.c.
 *
 * All of it is the simulator's memory. A user's process owns only what the library, or the protocol's
 * code, allocates in it. */
#ifndef NETLOCK_SIM_CLIENT_INTERNAL_H
#define NETLOCK_SIM_CLIENT_INTERNAL_H

#include <sys/queue.h>

#include "client.h"
#include "history.h"

enum { SIM_BELIEF_BUCKETS = 1024 };

/* What a user thinks of one lock. Kept over its lives, for the token. */
struct sim_belief {
    struct sim_belief *next;      /* in its bucket */
    TAILQ_ENTRY(sim_belief) held; /* while holding */
    uint64_t hash;
    bool holding;
    enum netlock_type type;
    uint32_t limit;
    uint32_t
        limit_asked; /* LIBRARY: by the last lock request; a refresh does not say it */
    uint64_t token;  /* last granted; UINT64_MAX: never */
    uint64_t given_up_op;  /* the last unlock; 0: none */
    uint64_t use_end_us;   /* LIBRARY, holding: to be given up, by the process's clock */
    bool ignore;           /* RAW: it stays when the connection is gone */
    unsigned conn;         /* RAW: on which it was granted */
    const char *client_id; /* RAW; else "" */
    const char *lock;
};
TAILQ_HEAD(sim_belief_list, sim_belief);

/* A copy of what was asked for, until the process takes it in its turn. */
struct sim_queued_ask {
    struct sim_queued_ask *next;
    bool close; /* sim_client_close() */
    struct sim_ask ask;
    char *bytes; /* of the ask's strings */
    size_t bytes_capacity;
};

/* One kind of users. */
struct sim_client_verbs {
    void (*make)(struct sim_client *client);  /* once */
    void (*turn)(struct sim_client *client);  /* inside */
    void (*ended)(struct sim_client *client); /* outside: its memory is gone */
    void (*free)(struct sim_client *client);
    unsigned (*pending)(const struct sim_client *client);
};
extern const struct sim_client_verbs sim_client_library, sim_client_raw;

struct sim_client {
    struct sim_client_options options;
    unsigned number;
    struct sim_process process;
    uint64_t seed;
    uint64_t lives;
    bool freeing;                               /* tell nobody */
    char client_id[NETLOCK_NAME_BYTES_MAX + 1]; /* LIBRARY */
    const struct sim_client_verbs *verbs;
    union { /* of the kind */
        struct sim_library *library;
        struct sim_raw *raw;
    };
    struct sim_queued_ask *asks, **asks_end;
    unsigned asks_count;
    struct sim_belief *beliefs[SIM_BELIEF_BUCKETS];
    struct sim_belief_list held;
    unsigned holds;
};

/* A record of this client and of now. */
struct sim_record sim_client_record(struct sim_client *client, enum sim_record_type type);
/* An operation that could not be begun. */
void sim_client_refused(struct sim_client *client,
                        const struct sim_ask *ask,
                        uint64_t op,
                        int rv);

/* The next thing to do, or NULL; to be given back. */
struct sim_queued_ask *sim_client_take_ask(struct sim_client *client);
void sim_client_give_back(struct sim_queued_ask *queued);

struct sim_belief *
sim_belief_find(struct sim_client *client, const char *client_id, const char *lock);
struct sim_belief * /* or makes it */
sim_belief_get(struct sim_client *client, const char *client_id, const char *lock);
/* It was granted, by @op: a hold begins, or becomes another one, or is what it was. */
void sim_belief_grant(struct sim_client *client,
                      struct sim_belief *belief,
                      uint64_t op,
                      uint64_t token,
                      enum netlock_type type,
                      uint32_t limit);
void sim_belief_end(struct sim_client *client, struct sim_belief *belief);
void sim_beliefs_end(struct sim_client *client);

#endif
