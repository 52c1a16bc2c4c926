/* client_lease.c - how long a hold is surely ours, on our own clock.
 *
 * The rule everywhere: what is counted begins at a local time that is not after the decision of the
 * cluster, never at the arrival of the news. There are two such times:
 *
 *   A request was sent at S, and what answers it was decided in the log: then not before S.
 *
 *   A grant from the queue answers no recent request. But every answer from the log carries the
 *   cluster time of its entry, and the cluster's clock never runs faster than ours (less drift): it
 *   stands still while there is no leader, and otherwise is a leader's steady clock. So if a
 *   request sent at S was decided at cluster time C, what is decided at C' > C is decided at local
 *   S + (C' - C) or later. (S, C) is the pair in struct evidence; attaching gives the first, and
 *   whichever answer gives the later bound replaces it. An answered ping proves nothing here: an
 *   entry is stamped before it is committed, and a ping can be sent and answered in between.
 *
 * Two things can end a hold:
 *
 *   Its own timeout, at start + remaining.
 *   With RELEASE: the cluster counts the client as gone, session_grace after the connection was last
 *   heard of, or reattach_grace after a new leader began. The former from the sending of the last
 *   request that was answered at all. The latter from the last one answered from the log: a
 *   deposed leader still answers pings for a while, but it commits nothing.
 *
 * Both are shortened by the drift and a little more. At a third of either we act (refresh; or ask
 * for the token, which goes through the log and changes nothing), at two thirds JEOPARDY, at the
 * end LOST. */
#include "client_engine.h"

#include <errno.h>

static uint64_t min_ms(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- evidence ------------------------------------------------------------------------------ */

static uint64_t drift_ms(const struct netlock *nl, uint64_t duration_ms)
{
    return duration_ms / 1000000 * nl->drift_ppm +
           duration_ms % 1000000 * nl->drift_ppm / 1000000;
}

uint64_t client_local_ms(const struct netlock *nl, uint64_t cluster_ms)
{
    const struct evidence *evidence = &nl->evidence;
    if (!evidence->has_pair || cluster_ms < evidence->pair_cluster_ms)
        return 0;
    uint64_t passed_ms = cluster_ms - evidence->pair_cluster_ms;
    uint64_t passed_max_ms = nl->now_ms - evidence->pair_local_ms;
    if (passed_ms > passed_max_ms)
        passed_ms = passed_max_ms;
    return evidence->pair_local_ms + passed_ms - drift_ms(nl, passed_ms);
}

void client_evidence(struct netlock *nl,
                     uint64_t sent_ms,
                     const struct wire_position *position)
{
    struct evidence *evidence = &nl->evidence;
    if (sent_ms > evidence->heard_ms)
        evidence->heard_ms = sent_ms;
    if (position->index == 0)
        return;
    if (sent_ms > evidence->log_ms)
        evidence->log_ms = sent_ms;
    if (!evidence->has_pair || sent_ms > client_local_ms(nl, position->cluster_time_ms)) {
        evidence->has_pair = true;
        evidence->pair_local_ms = sent_ms;
        evidence->pair_cluster_ms = position->cluster_time_ms;
    }
    if (nl->jeopardies > 0)
        nl->lease_due_ms = 0; /* some may be safe again */
}

uint64_t client_evidence_event(struct netlock *nl, const struct wire_position *position)
{
    uint64_t local_ms =
        position->index != 0 ? client_local_ms(nl, position->cluster_time_ms) : 0;
    if (local_ms > nl->evidence.log_ms)
        nl->evidence.log_ms = local_ms;
    return local_ms;
}

/* ---- the session as a lease ------------------------------------------------------------------ */

struct span {
    uint64_t start_ms, end_ms; /* end CLIENT_NEVER: no end */
};

static uint64_t shorten_ms(const struct netlock *nl, uint64_t duration_ms)
{
    uint64_t margin_ms = drift_ms(nl, duration_ms) + CLIENT_MARGIN_MS;
    return duration_ms > margin_ms ? duration_ms - margin_ms : 0;
}

static struct span session_span(const struct netlock *nl)
{
    const struct session *session = &nl->session;
    uint64_t grace_ms = session->session_grace_ms;
    uint64_t reattach_ms = session->reattach_grace_ms;
    /* No grace was granted: a broken connection ends the holds, and only that. */
    if (grace_ms == 0 || reattach_ms == 0)
        return (struct span){nl->now_ms,
                             session->state == SESSION_READY ? CLIENT_NEVER : nl->now_ms};
    uint64_t end_ms = min_ms(nl->evidence.heard_ms + shorten_ms(nl, grace_ms),
                             nl->evidence.log_ms + shorten_ms(nl, reattach_ms));
    uint64_t length_ms = shorten_ms(nl, min_ms(grace_ms, reattach_ms));
    return (struct span){end_ms > length_ms ? end_ms - length_ms : 0, end_ms};
}

static uint64_t part_ms(struct span span, unsigned thirds)
{
    if (span.end_ms == CLIENT_NEVER)
        return CLIENT_NEVER;
    return span.start_ms + (span.end_ms - span.start_ms) * thirds / 3;
}

/* ---- one hold ------------------------------------------------------------------------------- */

static struct span own_span(const struct client_lock *lock)
{
    return (struct span){lock->start_ms, lock->end_ms};
}

/* At the same third of whichever comes first: its own timeout, or the session's. */
static uint64_t
hold_part_ms(const struct netlock *nl, const struct client_lock *lock, unsigned thirds)
{
    uint64_t at_ms = part_ms(own_span(lock), thirds);
    if (lock->drop == NETLOCK_DROP_IGNORE)
        return at_ms;
    return min_ms(at_ms, part_ms(session_span(nl), thirds));
}

static bool wants_refresh(const struct netlock *nl, const struct client_lock *lock)
{
    return lock->end_ms != CLIENT_NEVER && !lock->refreshing &&
           (nl->flags & NETLOCK_NO_REFRESH) == 0 && nl->session.state == SESSION_READY;
}

static bool wants_keepalive(const struct netlock *nl, const struct client_lock *lock)
{
    return lock->drop == NETLOCK_DROP_RELEASE && nl->keepalive == NULL &&
           nl->session.state == SESSION_READY;
}

static uint64_t hold_due_ms(const struct netlock *nl, const struct client_lock *lock)
{
    uint64_t due_ms = hold_part_ms(nl, lock, 3);
    if (!lock->jeopardy)
        due_ms = min_ms(due_ms, hold_part_ms(nl, lock, 2));
    if (wants_refresh(nl, lock))
        due_ms = min_ms(due_ms, part_ms(own_span(lock), 1));
    if (wants_keepalive(nl, lock))
        due_ms = min_ms(due_ms, part_ms(session_span(nl), 1));
    return due_ms;
}

void client_lease_start(struct netlock *nl,
                        struct client_lock *lock,
                        const struct lock_grant *grant)
{
    lock->start_ms = grant->decided_ms;
    lock->end_ms = CLIENT_NEVER;
    if (grant->remaining_ms != NETLOCK_UNLIMITED) {
        lock->end_ms = grant->decided_ms + shorten_ms(nl, grant->remaining_ms);
        if (grant->lock_timeout_ms < nl->lease_least_ms)
            nl->lease_least_ms = grant->lock_timeout_ms;
    }
    if (lock->jeopardy)
        nl->lease_due_ms = 0; /* it may be safe again */
    nl->lease_due_ms = min_ms(nl->lease_due_ms, hold_due_ms(nl, lock));
}

bool client_grant_over(const struct netlock *nl, const struct lock_grant *grant)
{
    uint64_t end_ms = grant->remaining_ms == NETLOCK_UNLIMITED
                          ? CLIENT_NEVER
                          : grant->decided_ms + shorten_ms(nl, grant->remaining_ms);
    if (grant->drop == NETLOCK_DROP_RELEASE)
        end_ms = min_ms(end_ms, session_span(nl).end_ms);
    return end_ms <= nl->now_ms;
}

int client_lease_refresh(struct netlock *nl, struct client_lock *lock)
{
    if (!wants_refresh(nl, lock))
        return 0;
    struct operation *refresh = operation_new(nl, OPERATION_REFRESH, lock);
    if (refresh == NULL)
        return -ENOMEM;
    refresh->internal = true;
    refresh->token = lock->token;
    lock->refreshing = true;
    return 0;
}

static void keep_alive(struct netlock *nl, struct client_lock *lock)
{
    nl->keepalive = operation_new(nl, OPERATION_CHECK_TOKEN, lock);
    if (nl->keepalive == NULL)
        return;
    nl->keepalive->internal = true;
    nl->keepalive->token = lock->token;
}

/* ---- all of them ------------------------------------------------------------------------------ */

static void look_at(struct netlock *nl, struct client_lock *lock)
{
    if (hold_part_ms(nl, lock, 3) <= nl->now_ms) {
        /* The cluster may see it otherwise and would keep it from others for nothing. */
        operation_clean_up(nl, lock, lock->token);
        client_lock_lost(nl, lock);
        return;
    }
    bool jeopardy = hold_part_ms(nl, lock, 2) <= nl->now_ms;
    if (jeopardy != lock->jeopardy) {
        lock->jeopardy = jeopardy;
        nl->jeopardies += jeopardy ? 1u : -1u;
        client_lock_notice(nl, lock, jeopardy ? NOTICE_JEOPARDY : NOTICE_SAFE);
    }
    if (wants_refresh(nl, lock) && part_ms(own_span(lock), 1) <= nl->now_ms)
        (void)client_lease_refresh(nl,
                                   lock); /* no memory: tried again at the next look */
    if (wants_keepalive(nl, lock) && part_ms(session_span(nl), 1) <= nl->now_ms)
        keep_alive(nl, lock);
}

void client_leases_run(struct netlock *nl)
{
    if (nl->lease_due_ms > nl->now_ms)
        return;
    uint64_t due_ms = CLIENT_NEVER;
    nl->lease_least_ms = UINT32_MAX;
    struct client_lock *next;
    for (struct client_lock *at = LIST_FIRST(&nl->table.all); at != NULL; at = next) {
        next = LIST_NEXT(at, link);
        if (!at->held || at->releasing)
            continue;
        look_at(nl, at);
        if (!at->held)
            continue;
        due_ms = min_ms(due_ms, hold_due_ms(nl, at));
        if (at->end_ms != CLIENT_NEVER && at->lock_timeout_ms < nl->lease_least_ms)
            nl->lease_least_ms = at->lock_timeout_ms;
    }
    /* In the past only for want of memory: not at once again. */
    nl->lease_due_ms = due_ms > nl->now_ms ? due_ms : nl->now_ms + 1;
}

void client_leases_end(struct netlock *nl)
{
    struct client_lock *next;
    for (struct client_lock *at = LIST_FIRST(&nl->table.all); at != NULL; at = next) {
        next = LIST_NEXT(at, link);
        if (at->held)
            client_lock_lost(nl, at);
    }
}
