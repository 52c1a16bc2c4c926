/* check_internal.h - what the files of the checkers share. */
#ifndef NETLOCK_SIM_CHECK_INTERNAL_H
#define NETLOCK_SIM_CHECK_INTERNAL_H

#include <raft.h>

#include "check.h"
#include "fsm.h"
#include "history.h"
#include "node.h"

struct check_run {
    bool running; /* between begin and free, and nothing was violated yet */
    bool healed;
    uint64_t healed_us;
    uint64_t served_us;   /* healed: a node was last seen serving */
    uint64_t unserved_us; /* healed: none was last seen serving */
    uint64_t late_us;     /* healed: what ticks, links and disks may add to a deadline */
    struct sim_check_options options;
    struct sim_check_counts counts;
};
extern struct check_run check_run;

/* ---- check_store.c: names as numbers, and tables of numbers ----------------------------- */

/* The number of a name, from 1; 0: the empty name. Kept for the whole run. */
uint32_t check_name(const char *data, size_t len);
uint32_t check_name_of(struct fsm_str str);
uint32_t check_name_of_text(const char *text); /* NULL: 0 */
const char *check_name_text(uint32_t name);

/* A growing array in chunks: elements never move. Zero-initialise, but for `size`. */
struct check_array {
    size_t size; /* of an element */
    size_t count;
    char **chunks;
    size_t chunks_count;
};
enum { CHECK_CHUNK_BITS = 12, CHECK_CHUNK_ITEMS = 1 << CHECK_CHUNK_BITS };

static inline void *check_array_at(const struct check_array *array, uint64_t i)
{
    return array->chunks[i >> CHECK_CHUNK_BITS] +
           (i & (CHECK_CHUNK_ITEMS - 1)) * array->size;
}
/* Make it at least @count long; what is new is zero. */
void check_array_grow(struct check_array *array, size_t count);
void *check_array_push(struct check_array *array);
void check_array_free(struct check_array *array);

/* Numbers by number. Zero-initialise. Key 0 is not allowed. */
struct check_map {
    struct check_map_item {
        uint64_t key, value;
    } * items;
    size_t count, capacity;
};
uint64_t check_map_get(const struct check_map *map, uint64_t key); /* 0: not there */
uint64_t *check_map_at(struct check_map *map, uint64_t key);       /* makes it */
void check_map_free(struct check_map *map);

static inline uint64_t check_pair(uint32_t a, uint32_t b)
{
    return (uint64_t)a << 32 | b;
}

void check_store_free(void);

/* ---- check_log.c: the canonical log ------------------------------------------------------ */

void check_log_begin(void);
void check_log_free(void);
void check_log_life(struct sim_node *node); /* it began or ended */
void check_log_applied(struct sim_node *node,
                       uint64_t index,
                       const struct fsm *fsm,
                       const struct fsm_command *command,
                       const struct fsm_event *events,
                       size_t count);
void check_log_restored(struct sim_node *node, uint64_t index, const struct fsm *fsm);
/* All nodes are equal. */
void check_log_end(uint64_t index);
/* The highest index that any node has applied commands of. */
uint64_t check_log_last(void);
/* Whether there are commands at this index. */
bool check_log_has(uint64_t index);

/* ---- check_model.c: the naive model beside it -------------------------------------------- */

void check_model_begin(void);
void check_model_free(void);
void check_model_applied(uint64_t index,
                         const struct fsm *fsm,
                         const struct fsm_command *command,
                         const struct fsm_event *events,
                         size_t count);

/* ---- check_table.c: who holds what and waits for what, according to the log --------------- */

/* A hold, or a place in a queue. */
struct check_claim {
    struct check_claim *prev,
        *next; /* of the lock: holds in order of grant, or the queue */
    struct check_claim *client_prev, *client_next;
    struct check_lock *lock;
    struct check_client *client;
    uint64_t token;
    uint64_t read_token;  /* of an upgraded hold: what its client may still go by */
    uint64_t duration_ms; /* of the hold, or of the wait */
    uint64_t hold_ms;     /* of a wait: what it will have */
    uint64_t deadline_ms, asked_deadline_ms; /* cluster time */
    uint64_t
        since_us; /* when the entry that set the deadline was proposed; SIM_NEVER: not known */
    uint64_t leaders; /* how many there had been by then */
    uint64_t index;   /* of the entry that asked for it */
    enum fsm_type type;
    enum fsm_drop drop;
    uint32_t slot; /* of a hold */
    bool waiting, upgrade;
};

struct check_lock {
    uint32_t name;
    uint32_t limit;
    struct check_claim *holds, *waits;
    uint32_t holds_count, waits_count;
    bool touched; /* by the command that is being looked at */
};

struct check_client {
    uint32_t name;
    bool exists;
    bool going; /* in this command: what it has to leave is left when somebody needs it */
    enum fsm_presence presence;
    uint64_t epoch, attach_seq, grace_end_ms;
    struct check_claim *holds, *waits;
    uint32_t holds_count, waits_count;
    struct check_client *missing_prev, *missing_next;
};

/* Of one grant. */
struct check_token {
    uint64_t index; /* of the entry; 0: never granted */
    uint32_t lock, client;
    bool broken, write;
};

struct check_table {
    uint64_t now_ms, last_token, leaders, last_term;
    uint64_t epoch_us; /* when the last leader's epoch was first applied */
    uint64_t holds_count, waits_count, clients_count, locks_count;
    uint64_t grace_ms;
    uint64_t next_due_ms; /* nothing is due before */
    struct check_client *missing;
    uint64_t missing_end_ms; /* none of them goes before */
};
extern struct check_table check_table;

void check_table_begin(void);
void check_table_free(void);
struct check_lock *check_lock_get(uint32_t name);
struct check_client *check_client_get(uint32_t name);
const struct check_token *check_token_find(uint64_t token); /* or NULL */
struct check_token *check_token_new(uint64_t token);
struct check_claim *check_hold_find(const struct check_lock *lock,
                                    const struct check_client *client);
struct check_claim *check_wait_find(const struct check_lock *lock,
                                    const struct check_client *client);
struct check_claim *check_hold_by_token(const struct check_lock *lock, uint64_t token);
struct check_claim *check_claim_new(struct check_lock *lock,
                                    struct check_client *client,
                                    bool waiting,
                                    bool first);
/* To the end of the holds, from wherever it is. */
void check_claim_hold(struct check_claim *claim);
void check_claim_end(struct check_claim *claim);
void check_client_missing(struct check_client *client, uint64_t grace_end_ms);
void check_client_not_missing(struct check_client *client);
/* For each claim there is. */
void check_table_scan(void (*look)(struct check_claim *claim));
void check_clients_scan(void (*look)(struct check_client *client));

/* ---- check_time.c: durations on clocks that are wrong -------------------------------------- */

/* What passes at least, in simulated time, while a cluster that had @leaders new leaders counts @ms. */
uint64_t check_least_us(uint64_t ms, uint64_t leaders);
/* What passes at most, while one leader counts @ms. SIM_NEVER for no limit. */
uint64_t check_most_us(uint64_t ms);
uint64_t check_later_ms(uint64_t now_ms, uint64_t duration_ms);
void check_deadline_set(struct check_claim *claim,
                        uint64_t duration_ms,
                        uint64_t proposed_us);
/* It ended, by the entry that was proposed at @proposed_us. */
void check_deadline_came(const struct check_claim *claim, uint64_t proposed_us);
/* Nothing in the table is later than it may be. */
void check_time_scan(void);
uint64_t check_healthy_late_us(void);

/* ---- check_rules.c: what may happen, event by event ----------------------------------------- */

void check_rules_begin(void);
void check_rules_free(void);
void check_rules_applied(uint64_t index,
                         uint64_t proposed_us,
                         const struct fsm *fsm,
                         const struct fsm_command *command,
                         const struct fsm_event *events,
                         size_t count);

/* ---- check_grants.c: who is granted what ----------------------------------------------------- */

bool check_admits(const struct check_lock *lock, enum fsm_type type);
/* The hold of a client that goes. */
void check_drop(struct check_claim *hold);
void check_granted(const struct fsm_event *event);

/* ---- check_answers.c: the same, for the answers of commands --------------------------------- */

/* The command that is being looked at. */
struct check_step {
    uint64_t index, proposed_us;
    const struct fsm_command *command;
    struct check_client *client; /* of the command, or NULL */
    struct check_lock *lock;
    struct check_claim
        *replacing;  /* the wait that took the place of another one of its client */
    uint32_t broken; /* holds that were ended by force */
};
extern struct check_step check_step;

void check_touch(struct check_lock *lock);
/* Give a claim what the command says. */
void check_answer_granted_again(const struct fsm_event *event, struct check_claim *hold);
void check_answer_waiting(const struct fsm_event *event);
void check_answer_denied(const struct fsm_event *event);
void check_answer_release(const struct fsm_event *event);
void check_answer_status(const struct fsm_event *event);
void check_answer_token(const struct fsm_event *event);
void check_answer_attached(const struct fsm_event *event);
/* Only a client that is attached, by its newest connection, has any effect. */
void check_acts(const struct fsm_event *event);

/* ---- check_users.c: who users are, and what they ask for --------------------------------------- */

/* An operation that has no outcome yet. */
struct check_ask {
    uint64_t op, at_us;
    uint64_t seen_index; /* of the log: the highest that anybody had been told of */
    uint64_t leaders;
    uint64_t token;
    enum sim_ask_type type;
    uint32_t lock;
    uint32_t wait_ms;
    bool try_only, write, lowers;
};

/* What a user has to do with one lock, over its lives. */
struct check_use {
    struct check_user *user;
    uint32_t lock;
    unsigned open_locks; /* operations that ask for it */
    uint64_t lock_op;    /* the last one */
    bool settled; /* no request of an operation that is over can be granted any more */
    uint64_t lost_token; /* the last one that was reported LOST */
};

enum { CHECK_RAW_ASKS = 64 };

struct check_user {
    struct sim_client *client;
    struct sim_process *process;
    const struct sim_client_options *options;
    unsigned number; /* from 1 */
    bool library;
    bool shared; /* somebody else acts under its id too */
    bool alive, connected;
    bool counts; /* its beliefs count */
    uint32_t id; /* 0: none yet */
    uint64_t died_us;
    uint64_t life_index; /* of the log, when this life was first attached; 0: not yet */

    struct check_ask *asks; /* LIBRARY */
    unsigned asks_count, asks_capacity;
    struct check_ask raw_asks[CHECK_RAW_ASKS]; /* RAW: by op */
    uint64_t conn_index[SIM_CLIENT_CONNS_MAX]; /* RAW: of the last answer on it */
};

void check_users_begin(void);
void check_users_free(void);
void check_users_record(const struct sim_record *record);

/* The user of a LIBRARY client that nobody shares, or NULL. */
struct check_user *check_user_of_id(uint32_t client);
struct check_use *check_use_find(const struct check_user *user,
                                 uint32_t lock); /* or NULL */
struct check_use *check_use_get(struct check_user *user, uint32_t lock);
void check_users_scan(void (*look)(struct check_user *user));
struct check_ask *check_ask_find(struct check_user *user, uint64_t op);
void check_ask_end(struct check_user *user, struct check_ask *ask);

static inline const char *check_user_name(const struct check_user *user)
{
    return user->options->name;
}

/* ---- check_outcomes.c: what users are told ---------------------------------------------------- */

void check_outcomes_begin(void);
void check_outcomes_free(void);
/* The highest index of the log that anybody has been told of. */
uint64_t check_seen_index(void);
void check_outcome(struct check_user *user, const struct sim_record *record);
void check_notice(struct check_user *user, const struct sim_record *record);
void check_response(struct check_user *user, const struct sim_record *record);
void check_belief(struct check_user *user, const struct sim_record *record);

/* For check_rules: a new hold, a refusal because it is held, a wait that timed out. */
enum check_verdict { CHECK_GRANTED = 1, CHECK_HELD, CHECK_TIMED_OUT };
void check_users_verdict(enum check_verdict verdict, uint32_t client, uint32_t lock);

/* ---- check_liveness.c: what has to happen, after healing and at the end -------------------------- */

void check_liveness_scan(void);
void check_liveness_end(void);

/* ---- check_beliefs.c: who thinks that he may act ---------------------------------------------- */

void check_beliefs_begin(void);
void check_beliefs_free(void);
void check_belief_begins(struct check_user *user,
                         uint32_t client,
                         uint32_t lock,
                         uint64_t token,
                         enum netlock_type type,
                         uint32_t limit);
void check_belief_ends(const struct check_user *user, uint32_t lock, uint64_t token);
void check_beliefs_forget(const struct check_user *user); /* it died */
/* It asks to write no more (or is refused that): from then on it may read. */
void check_belief_lowers(const struct check_user *user, uint32_t lock, bool lowers);
bool check_believes(const struct check_user *user, uint32_t lock);
/* Look at the locks that are suspect again. */
extern unsigned check_suspects_count;
void check_suspects(void);
static inline void check_beliefs_look(void)
{
    if (check_suspects_count > 0) {
        check_suspects();
    }
}
/* The log took a hold from its holder, who did not ask for it. */
enum check_loss { CHECK_EXPIRED = 1, CHECK_DROPPED, CHECK_BROKEN };
void check_belief_lost(uint32_t client,
                       uint32_t lock,
                       uint64_t token,
                       enum check_loss loss);

/* ---- check_raft.c: libraft and the disks ------------------------------------------------------ */

void check_raft_begin(void);
void check_raft_free(void);
void check_raft_life(struct sim_node *node);
void check_raft_turned(struct sim_node *node);
void check_raft_sent(struct sim_node *node, const struct raft_message *message);
void check_raft_refused(const struct sim_node *node, uint64_t peer, const char *what);
/* When the entry was proposed; SIM_NEVER: nobody saw it. */
uint64_t check_raft_proposed_us(uint64_t index, uint64_t term);
/* The entry is applied for the first time: it must be durable on a majority. Returns its term; 0: not
 * known. */
uint64_t check_raft_committed(const struct sim_node *node, uint64_t index);
/* Who won this term; 0: nobody was seen to. */
unsigned check_raft_leader(uint64_t term);
void check_raft_end(void);

#endif
