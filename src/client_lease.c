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
 * Three things can end a hold:
 *
 *   Its own timeout, at start + remaining.
 *   With RELEASE: the cluster counts the client as gone, session_grace after the connection was last
 *   heard of, or reattach_grace after a new leader began. The former from the sending of the last
 *   request that was answered at all. The latter from the last one answered from the log: a
 *   deposed leader still answers pings for a while, but it commits nothing.
 *   A request of ours that gives it another timeout, decided when we do not know yet: from its
 *   sending, until an answer says what holds. An upgrade that waits in the queue: from the last
 *   answer from the log, which would have come after its grant.
 *
 * All are shortened by the drift and a little more. At a third of either we act (refresh; or ask
 * for the token, which goes through the log and changes nothing), at two thirds JEOPARDY, at the
 * end LOST. */
#include "client_engine.h"

#include <errno.h>

enum { LEAST_COUNT_MS = 1000 };

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
        client_leases_look(nl); /* some may be safe again */
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

static struct span asked_span(const struct client_lock *lock)
{
    return lock->asked_number != 0
               ? (struct span){lock->asked_start_ms, lock->asked_end_ms}
               : (struct span){0, CLIENT_NEVER};
}

/* An upgrade in the queue, which makes another hold of this one when its turn comes; or NULL. */
static const struct operation *upgrade_of(const struct client_lock *lock)
{
    return lock->request != NULL && lock->request->parked ? lock->request : NULL;
}

static struct span upgrade_span(const struct netlock *nl, const struct client_lock *lock)
{
    const struct operation *upgrade = upgrade_of(lock);
    uint32_t timeout_ms =
        upgrade != NULL ? upgrade->how.options.lock_timeout_ms : NETLOCK_UNLIMITED;
    if (timeout_ms == 0 || timeout_ms == NETLOCK_UNLIMITED)
        return (struct span){0, CLIENT_NEVER};
    uint64_t start_ms = nl->evidence.log_ms;
    return (struct span){start_ms, start_ms + shorten_ms(nl, timeout_ms)};
}

static bool ends_with_session(const struct client_lock *lock)
{
    const struct operation *upgrade = upgrade_of(lock);
    return lock->drop == NETLOCK_DROP_RELEASE ||
           (lock->asked_number != 0 && lock->asked_release) ||
           (upgrade != NULL && upgrade->how.options.drop == NETLOCK_DROP_RELEASE);
}

/* Of what a refresh begins anew; */
static uint64_t timeout_part_ms(const struct client_lock *lock, unsigned thirds)
{
    return min_ms(part_ms(own_span(lock), thirds), part_ms(asked_span(lock), thirds));
}

/* and of what any answer does. */
static uint64_t evidence_part_ms(const struct netlock *nl,
                                 const struct client_lock *lock,
                                 unsigned thirds)
{
    uint64_t at_ms = part_ms(upgrade_span(nl, lock), thirds);
    if (!ends_with_session(lock))
        return at_ms;
    return min_ms(at_ms, part_ms(session_span(nl), thirds));
}

/* At the same third of whichever comes first. */
static uint64_t
hold_part_ms(const struct netlock *nl, const struct client_lock *lock, unsigned thirds)
{
    return min_ms(timeout_part_ms(lock, thirds), evidence_part_ms(nl, lock, thirds));
}

static bool wants_refresh(const struct netlock *nl, const struct client_lock *lock)
{
    return timeout_part_ms(lock, 3) != CLIENT_NEVER && !lock->refreshing &&
           (nl->flags & NETLOCK_NO_REFRESH) == 0 && nl->session.state == SESSION_READY;
}

static bool wants_keepalive(const struct netlock *nl, const struct client_lock *lock)
{
    return evidence_part_ms(nl, lock, 3) != CLIENT_NEVER && nl->keepalive == NULL &&
           nl->session.state == SESSION_READY;
}

/* ---- when to look ---------------------------------------------------------------------------- */

/* A hold is looked at when something of its own is due, or when the session comes to the end of a
 * third: that is one time for all the holds that end with it. Both can only turn out to be later than
 * was thought, unless something is signalled here; so it is enough to find out when looking. */
static uint64_t hold_due_ms(const struct netlock *nl, const struct client_lock *lock)
{
    struct span upgrade = upgrade_span(nl, lock);
    uint64_t due_ms = min_ms(timeout_part_ms(lock, 3), part_ms(upgrade, 3));
    if (!lock->jeopardy)
        due_ms = min_ms(due_ms, min_ms(timeout_part_ms(lock, 2), part_ms(upgrade, 2)));
    if (wants_refresh(nl, lock))
        due_ms = min_ms(due_ms, timeout_part_ms(lock, 1));
    if (wants_keepalive(nl, lock))
        due_ms = min_ms(due_ms, part_ms(upgrade, 1));
    /* It has come late, and was not looked at with the others. */
    uint64_t session_ms = part_ms(session_span(nl), lock->jeopardy ? 3 : 2);
    return ends_with_session(lock) && session_ms <= nl->now_ms ? session_ms : due_ms;
}

static uint64_t session_due(const struct netlock *nl)
{
    if (LIST_EMPTY(&nl->of_session))
        return CLIENT_NEVER;
    struct span span = session_span(nl);
    uint64_t due_ms = span.end_ms;
    if (span.end_ms != nl->session_jeopardy_ms)
        due_ms = min_ms(due_ms, part_ms(span, 2));
    if (nl->keepalive == NULL && nl->session.state == SESSION_READY)
        due_ms = min_ms(due_ms, part_ms(span, 1));
    return due_ms;
}

/* What the caller has given up does not. */
static bool counts(const struct client_lock *lock)
{
    return lock->held && !lock->releasing;
}

static void leave_session(struct client_lock *lock)
{
    if (lock->is_of_session)
        LIST_REMOVE(lock, of_session);
    lock->is_of_session = false;
}

static void arm(struct netlock *nl, struct client_lock *lock, uint64_t not_before_ms)
{
    if (!counts(lock))
        return;
    uint64_t due_ms = hold_due_ms(nl, lock);
    if (due_ms < not_before_ms)
        due_ms = not_before_ms;
    client_due_put(&nl->due, lock, due_ms);
    if (!ends_with_session(lock)) {
        leave_session(lock);
    } else if (!lock->is_of_session) {
        LIST_INSERT_HEAD(&nl->of_session, lock, of_session);
        lock->is_of_session = true;
    }
    nl->lease_due_ms = min_ms(nl->lease_due_ms, min_ms(due_ms, session_due(nl)));
}

void client_lease_look(struct netlock *nl, struct client_lock *lock)
{
    if (!counts(lock))
        return;
    client_due_put(&nl->due, lock, 0);
    nl->lease_due_ms = 0;
}

void client_leases_look(struct netlock *nl)
{
    nl->lease_all = true;
    nl->lease_due_ms = 0;
}

void client_lease_stop(struct netlock *nl, struct client_lock *lock)
{
    client_due_remove(&nl->due, lock);
    leave_session(lock);
    nl->least_is_over = nl->least_is_over || lock->lock_timeout_ms == nl->lease_least_ms;
}

void client_lease_start(struct netlock *nl,
                        struct client_lock *lock,
                        const struct lock_grant *grant)
{
    if (grant->number >= lock->asked_number)
        lock->asked_number = 0;
    lock->start_ms = grant->decided_ms;
    lock->end_ms = CLIENT_NEVER;
    if (grant->remaining_ms != NETLOCK_UNLIMITED) {
        lock->end_ms = grant->decided_ms + shorten_ms(nl, grant->remaining_ms);
        if (grant->lock_timeout_ms < nl->lease_least_ms)
            nl->lease_least_ms = grant->lock_timeout_ms;
    }
    if (lock->jeopardy)
        client_lease_look(nl, lock); /* it may be safe again */
    else
        arm(nl, lock, 0);
}

/* ---- requests under way ---------------------------------------------------------------------- */

/* Whichever of several ends first counts: requests are answered in the order of their sending, so
 * the answer to the last one finds nothing else open. */
static void asked(struct netlock *nl,
                  struct client_lock *lock,
                  uint64_t number,
                  struct span span,
                  bool release)
{
    bool first = lock->asked_number == 0;
    if (first || span.end_ms < lock->asked_end_ms) {
        lock->asked_start_ms = span.start_ms;
        lock->asked_end_ms = span.end_ms;
    }
    lock->asked_release = (!first && lock->asked_release) || release;
    lock->asked_number = number;
    arm(nl, lock, 0);
}

/* A duration of 0 is not counted: for a lock it is the server's default, which we do not know. */
static struct span
span_from(const struct netlock *nl, uint64_t start_ms, uint32_t duration_ms)
{
    if (duration_ms == 0 || duration_ms == NETLOCK_UNLIMITED)
        return (struct span){start_ms, CLIENT_NEVER};
    return (struct span){start_ms, start_ms + shorten_ms(nl, duration_ms)};
}

/* What a refresh without a duration makes of the hold: its timeout, and nothing of the grace that may have been
 * left to it after a failover. */
static uint32_t begun_anew_ms(const struct client_lock *lock)
{
    return lock->held ? lock->lock_timeout_ms : 0;
}

void client_lease_asked(struct netlock *nl, const struct operation *operation)
{
    uint32_t duration_ms = 0;
    bool release = false;
    if (operation->kind == OPERATION_LOCK) {
        duration_ms = operation->how.options.lock_timeout_ms;
        release = operation->how.options.drop == NETLOCK_DROP_RELEASE;
    } else if (operation->kind == OPERATION_REFRESH) {
        duration_ms = operation->refresh.lock_timeout_ms != 0
                          ? operation->refresh.lock_timeout_ms
                          : begun_anew_ms(operation->lock);
        release = operation->refresh.set_drop &&
                  operation->refresh.drop == NETLOCK_DROP_RELEASE;
    }
    struct span span = span_from(nl, operation->sent_ms, duration_ms);
    if (span.end_ms != CLIENT_NEVER || release)
        asked(nl, operation->lock, operation->sent_number, span, release);
}

void client_lease_unchanged(struct netlock *nl, const struct operation *operation)
{
    struct client_lock *lock = operation->lock;
    if (lock == NULL || lock->asked_number != operation->sent_number)
        return;
    lock->asked_number = 0;
    if (lock->jeopardy)
        client_lease_look(nl, lock); /* it may be safe again */
}

/* Whatever was sent on the connection before cannot act any more. */
void client_lease_claimed(struct netlock *nl,
                          struct client_lock *lock,
                          const struct lock_grant *claim)
{
    lock->asked_number = 0;
    asked(nl, lock, ++nl->operations_sent,
          span_from(nl, claim->decided_ms, claim->remaining_ms),
          claim->drop == NETLOCK_DROP_RELEASE);
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
    if (wants_refresh(nl, lock) && timeout_part_ms(lock, 1) <= nl->now_ms)
        (void)client_lease_refresh(nl,
                                   lock); /* no memory: tried again at the next look */
    if (wants_keepalive(nl, lock) && evidence_part_ms(nl, lock, 1) <= nl->now_ms)
        keep_alive(nl, lock);
}

static void look(struct netlock *nl, struct client_lock *lock)
{
    look_at(nl, lock);
    arm(nl, lock, nl->now_ms + 1); /* in the past only for want of memory */
}

static void look_at_all(struct netlock *nl)
{
    struct client_lock *next;
    nl->lease_all = false;
    for (struct client_lock *at = LIST_FIRST(&nl->table.all); at != NULL; at = next) {
        next = LIST_NEXT(at, link);
        if (counts(at))
            look(nl, at);
    }
}

static void look_at_session(struct netlock *nl)
{
    struct span span = session_span(nl);
    struct client_lock *next, *at = LIST_FIRST(&nl->of_session);
    if (part_ms(span, 2) <= nl->now_ms) {
        nl->session_jeopardy_ms = span.end_ms;
        for (; at != NULL; at = next) {
            next = LIST_NEXT(at, of_session);
            look(nl, at);
        }
    } else if (at != NULL) {
        look(nl, at); /* one question serves all */
    }
}

static void look_at_due(struct netlock *nl)
{
    struct client_lock *first;
    if (session_due(nl) <= nl->now_ms)
        look_at_session(nl);
    while ((first = client_due_first(&nl->due)) != NULL && first->due_ms <= nl->now_ms)
        look(nl, first);
}

/* Now and then, because many holds may be as short as the shortest. */
static void count_least(struct netlock *nl)
{
    if (!nl->least_is_over || nl->now_ms < nl->least_counted_ms + LEAST_COUNT_MS)
        return;
    nl->least_is_over = false;
    nl->least_counted_ms = nl->now_ms;
    nl->lease_least_ms = UINT32_MAX;
    struct client_lock *at;
    LIST_FOREACH(at, &nl->table.all, link)
    {
        if (counts(at) && at->end_ms != CLIENT_NEVER &&
            at->lock_timeout_ms < nl->lease_least_ms)
            nl->lease_least_ms = at->lock_timeout_ms;
    }
}

void client_leases_run(struct netlock *nl)
{
    count_least(nl);
    if (nl->lease_due_ms > nl->now_ms)
        return;
    if (nl->lease_all)
        look_at_all(nl);
    else
        look_at_due(nl);
    const struct client_lock *first = client_due_first(&nl->due);
    uint64_t due_ms =
        min_ms(first != NULL ? first->due_ms : CLIENT_NEVER, session_due(nl));
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
