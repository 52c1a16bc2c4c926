/* model.h - the rules of the lock table once more, as simply as they can be written.
 *
 * Plain arrays, every question answered by looking at everything, no index, no list that must be
 * kept in step. Written from the rules and not from the machine, so that a mistake in one of them
 * shows as a difference. Serves the random tests; the same commands, the same events, the same dump.
 */
#ifndef NETLOCK_TEST_MODEL_H
#define NETLOCK_TEST_MODEL_H

#include "fsm.h"

enum {
    MODEL_CLIENTS_MAX = 256,
    MODEL_LOCKS_MAX = 1024,
    MODEL_CLAIMS_MAX = 4096,
    MODEL_EVENTS_MAX = 8192,
    MODEL_SHOWN_MAX = 32768,
    MODEL_NAMES_MAX = 4096,
};

struct model_client {
    const char *id;
    const char *secret; /* "": none */
    enum fsm_presence presence;
    uint64_t epoch, attach_seq, grace_end_ms;
    struct {
        const char *lock;
        uint64_t token;
    } expired[FSM_EXPIRED_MEMORY_MAX];
    int expired_count;
};

struct model_lock {
    const char *name;
    uint32_t limit;
};

struct model_claim {
    const char *client, *lock, *info;
    enum fsm_type type;
    enum fsm_drop drop;
    bool waiting, upgrade;
    int64_t rank; /* in the queue: lower is earlier */
    uint32_t slot;
    uint64_t token, order, since_ms, hold_ms, wait_ms, deadline_ms, asked_deadline_ms;
};

struct model {
    uint64_t now_ms, token, order, term, node_id_max;
    struct {
        uint64_t node_id;
        const char *address;
    } members[FSM_MEMBERS_MAX]; /* in no order */
    int members_count;
    int64_t first_rank, last_rank;
    struct fsm_settings settings;
    struct model_client *clients[MODEL_CLIENTS_MAX]; /* in order of creation */
    int clients_count;
    struct model_lock locks[MODEL_LOCKS_MAX]; /* in order of creation */
    int locks_count;
    struct model_claim *claims[MODEL_CLAIMS_MAX]; /* in no order */
    int claims_count;
    char *names[MODEL_NAMES_MAX]; /* every string once: equal names are equal pointers */
    int names_count;

    /* Of the last command. */
    uint64_t dropped;
    const struct fsm_command *command;
    struct fsm_event events[MODEL_EVENTS_MAX];
    size_t events_count;
    struct fsm_claim shown[MODEL_SHOWN_MAX];
    uint32_t shown_count;
};

struct model *model_new(void);
void model_free(struct model *model);

/* Afterwards events[0..events_count-1] is what the machine must have said. The hash of a checkpoint
 * is left 0. */
void model_apply(struct model *model, const struct fsm_command *command);

/* What FSM_CMD_MEMBER says. */
void model_member(struct model *model, uint64_t node_id, struct fsm_str address);

/* Like fsm_dump(); the digest of the root is left 0. */
void model_dump(const struct model *model, fsm_record_cb cb, void *arg);

/* ---- shared by the files of the model ----------------------------------------------------- */

const char *model_name(struct model *model, struct fsm_str name);
struct fsm_str model_str(const char *name);
struct model_client *model_client(const struct model *model, const char *id);
struct model_lock *model_lock(struct model *model, const char *name);
struct model_claim *
model_hold(const struct model *model, const char *client, const char *lock);
struct model_claim *
model_wait(const struct model *model, const char *client, const char *lock);

/* Holds by token, waits by place: the first one above @after of @lock; NULL after the last. */
struct model_claim *
model_next_hold(const struct model *model, const char *lock, uint64_t after);
struct model_claim *
model_next_wait(const struct model *model, const char *lock, int64_t after);
uint32_t model_count(const struct model *model,
                     const char *client,
                     const char *lock,
                     bool waiting); /* NULL: any */

struct fsm_claim model_show(const struct model *model, const struct model_claim *claim);
uint32_t model_position(const struct model *model, const struct model_claim *wait);
void model_show_holders(struct model *model,
                        struct fsm_event *event,
                        const char *lock,
                        uint32_t max);
void model_tell(struct model *model, struct fsm_event event);
void model_answer(struct model *model, struct fsm_event event);

struct model_claim *model_next_of_client(const struct model *model,
                                         const char *client,
                                         bool waiting,
                                         uint64_t after);
uint64_t model_later(uint64_t now_ms, uint64_t duration_ms);
void model_end_hold(struct model *model, struct model_claim *hold);
void model_restart(struct model *model, struct model_claim *hold);
void model_tell_granted(struct model *model, const struct model_claim *hold, bool answer);
void model_forget(struct model_client *client, int which);
int model_remembered(const struct model_client *client, const char *lock, uint64_t token);
void model_become_hold(struct model *model, struct model_claim *claim);
void model_become_write(struct model *model, struct model_claim *hold);
bool model_fits(struct model *model,
                const char *client,
                const char *lock,
                enum fsm_type type);
void model_time_out(struct model *model, struct model_claim *wait);
void model_cancel(struct model *model, struct model_claim *wait);
void model_pump(struct model *model, const char *lock, const struct model_claim *asked);
void model_end_client_if_done(struct model *model, const char *id);
void model_go(struct model *model, struct model_client *client, bool asked);
void model_deny(struct model *model, enum fsm_deny reason, const char *limit_name);
void model_deny_showing(struct model *model, enum fsm_deny reason, const char *lock);
void model_attach(struct model *model);
void model_detach(struct model *model);
void model_command_lock(struct model *model);
void model_refresh(struct model *model);
void model_release(struct model *model);
void model_force_release(struct model *model);

void model_status(struct model *model);
void model_check_token(struct model *model);
void model_list_locks(struct model *model);
void model_list_clients(struct model *model);

#endif
