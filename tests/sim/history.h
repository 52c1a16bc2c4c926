/* history.h - what users did and saw, with exact times; told to the checkers and to the transcript.
 *
 * One record at a time, through one function; nothing is kept here. `op` numbers the operations of the
 * whole run from 1: an ASK and its OUTCOME, or its RESPONSEs, have the same. An operation whose process
 * dies, or whose connection breaks, has no outcome.
 *
 * Of things that happen in one instant: the ask comes before the belief that it ends, and both before
 * the request leaves the process; an outcome or a notice comes before what it does to a belief. */
#ifndef NETLOCK_SIM_HISTORY_H
#define NETLOCK_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client.h"
#include "wire.h"

enum sim_record_type {
    SIM_REC_ASK = 1, /* an operation begins: `ask`, its token resolved */
    SIM_REC_OUTCOME, /* it ended as the user was told: rv (0 or a negative error of netlock.h), grant, or
                      * answer. RAW: it could not be sent (rv); what is sent is answered by RESPONSEs */
    SIM_REC_NOTICE, /* the library's: queued, jeopardy, safe, lost, connected, disconnected */
    SIM_REC_BELIEF, /* the user begins or ceases to be entitled to `lock` (holding, token, type, limit):
                     * from the grant until it gives up, is told LOST, or dies. A paused user cannot
                     * act; see check.h. `op` is what began it, or 0 */
    SIM_REC_RESPONSE, /* RAW: a message came; `response` NULL: one that cannot be decoded (rv) */
    SIM_REC_CONN, /* RAW: connected (on), or gone (off): `rv` 0: hung up by the client itself, -EPIPE:
                   * closed by the peer, else broken or refused */
    SIM_REC_LIFE, /* the process started (on) or ended (off): `rv` is its exit status, -1: killed */
};

enum { SIM_ANSWER_HOLDERS_MAX = 8 };

/* What a query was answered. Fields as in netlock.h. */
struct sim_answer {
    /* STATUS */
    enum netlock_state state;
    enum netlock_type type;
    enum netlock_drop drop;
    uint64_t token;
    uint32_t remaining_ms, limit, slot;
    uint32_t holders_count, queue_length, queue_position;
    uint32_t holders_shown; /* of `holders` */
    struct sim_answer_holder {
        char client_id[64]; /* its beginning, if it is longer */
        uint64_t token;
        enum netlock_type type;
        uint32_t slot;
    } holders[SIM_ANSWER_HOLDERS_MAX];
    /* CHECK_TOKEN */
    enum netlock_token_state token_state;
    uint64_t superseded_by;
    /* BREAK */
    uint32_t count;
    /* All: where in the log it was answered; 0: not from there. */
    uint64_t index, cluster_time_ms;
};

struct sim_record {
    enum sim_record_type type;
    uint64_t at_us;
    struct sim_client *client;
    uint64_t op;
    const struct sim_ask *ask;
    int rv;
    const struct netlock_grant *grant; /* OUTCOME; NULL: none */
    const struct sim_answer *answer;   /* OUTCOME of a query that succeeded; or NULL */
    const struct netlock_notice *notice;
    enum sim_ask_type
        ask_type;     /* ASK, OUTCOME, RESPONSE: of the operation; 0: not known */
    const char *lock; /* ASK, OUTCOME, NOTICE, BELIEF, RESPONSE: or NULL */
    /* Whose. LIBRARY: always, "" while the cluster has not made one. RAW: of responses, beliefs, and asks
     * that name one; else "". */
    const char *client_id;
    uint64_t token;
    enum netlock_type type_of_lock;
    uint32_t limit;
    bool holding, on;
    bool
        counts_lease; /* the client counts its own lease: LIBRARY. A RAW one believes what it was told
                        * until it is told otherwise */
    unsigned conn;
    const struct wire_response *response;
};

/* Called outside of any process. A listener may ask clients for things: they do them in a turn of their
 * own. */
typedef void (*sim_record_cb)(void *arg, const struct sim_record *record);
void sim_history_listen(sim_record_cb listener, void *arg); /* up to 8 */
void sim_history_reset(void);                           /* no listeners, no operations */
void sim_history_tell(const struct sim_record *record); /* from inside or outside */

uint64_t sim_history_next_op(void);
uint64_t sim_history_ops(void); /* how many there were */

#endif
