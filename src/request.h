/* request.h - what a request means: a command for the log, or a refusal. Pure.
 *
 *     request_to_command(&request, &facts, &policy, &command, &refusal)
 *
 * Everything that depends on who asks (a plain client or one that said Hello) and on the
 * operator's policy is decided here: defaults, floors, clamps. What the lock table
 * decides is not. Strings in the command are those of the request and of the facts. */
#ifndef NETLOCK_REQUEST_H
#define NETLOCK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "fsm.h"
#include "wire.h"

/* Durations are those of the lock table: ms, FSM_UNLIMITED for none. */
struct request_policy {
    uint64_t lock_timeout_default_ms;
    uint64_t lock_timeout_max_ms;
    uint64_t plain_lock_timeout_min_ms; /* whoever says "30" means seconds: refused */
    bool allow_ignore_without_timeout;
};

struct request_facts {
    bool hello;            /* the connection said Hello */
    struct fsm_str client; /* for whom, the default client filled in */
    uint64_t client_epoch; /* as the connection attached it */
};

/* How a request is turned down without asking the log. */
struct request_refusal {
    enum wire_deny deny; /* where a lock is asked for: Denied with this reason; else 0 */
    enum wire_error error; /* otherwise: Error, or the end of a plain connection */
    const char *text;      /* static: says what to do */
};

/* For requests that name a lock, and the questions to the lock table (LOCK, REFRESH,
 * RELEASE, STATUS, CHECK_TOKEN, LIST_*, FORCE_RELEASE). Returns 0, or -EINVAL with
 * @ret_refusal. */
int request_to_command(const struct wire_request *request,
                       const struct request_facts *facts,
                       const struct request_policy *policy,
                       struct fsm_command *ret,
                       struct request_refusal *ret_refusal);

/* A ClientAttach; @secret_digest is of the secret that the client showed, empty if it
 * showed none. */
struct fsm_command request_to_attach(const struct wire_request *request,
                                     struct fsm_str secret_digest);

/* Whether the request acts for a client, so that the client must be attached on the
 * connection. A status only looks. */
bool request_needs_client(enum wire_request_type type);

/* Whether the request is about a lock and part of the plain protocol: it can be answered
 * Denied. */
bool request_deniable(enum wire_request_type type);

/* Whether only a connection that said Hello may send it. */
bool request_extended(enum wire_request_type type);

/* Whether the leader takes it while its disk is almost full: it frees something, or keeps what there is,
 * or asks the log for nothing. An ATTACH is taken if the client is known. */
bool request_adds_nothing(enum wire_request_type type);

/* A refusal by the wire room. WIRE_MALFORMED is not for here: it ends the connection. */
struct request_refusal request_refused_by_wire(const struct wire_request *request,
                                               const struct wire_refusal *refusal);

static inline struct fsm_str fsm_str_of(struct wire_str str)
{
    return (struct fsm_str){.data = str.data, .len = str.len};
}

#endif
