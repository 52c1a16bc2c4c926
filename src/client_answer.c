/* client_answer.c - what the cluster's answers mean for operations and holds. */
#include "client_engine.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    RETRY_MIN_MS = 10,
    RETRY_MAX_MS = 1000,
};

static void strange(struct netlock *nl)
{
    session_fail(nl, -NETLOCK_EPROTOCOL);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static int deny_to_rv(enum wire_deny reason)
{
    switch (reason) {
    case WIRE_DENY_HELD:
        return -NETLOCK_EHELD;
    case WIRE_DENY_CANCELLED:
        return -NETLOCK_ECANCELLED;
    case WIRE_DENY_NOT_HELD:
        return -NETLOCK_ENOTHELD;
    case WIRE_DENY_EXPIRED:
        return -NETLOCK_EEXPIRED;
    case WIRE_DENY_UPGRADE_CONFLICT:
        return -NETLOCK_ECONFLICT;
    case WIRE_DENY_LIMIT_MISMATCH:
        return -NETLOCK_ELIMIT;
    case WIRE_DENY_STALE_EPOCH:
        return -NETLOCK_ESTALE;
    case WIRE_DENY_NOT_ALLOWED:
        return -NETLOCK_EDENIED;
    case WIRE_DENY_LIMIT_EXCEEDED:
        return -NETLOCK_EFULL;
    case WIRE_DENY_NOT_ATTACHED:
    case WIRE_DENY_INVALID:
        break;
    }
    return -NETLOCK_EINVALID;
}

static int error_to_rv(enum wire_error code)
{
    switch (code) {
    case WIRE_ERROR_LIMIT:
        return -NETLOCK_EFULL;
    case WIRE_ERROR_NOT_ALLOWED:
        return -NETLOCK_EDENIED;
    case WIRE_ERROR_VERSION:
        return -NETLOCK_EPROTOCOL;
    case WIRE_ERROR_STALE_EPOCH:
        return -NETLOCK_ESTALE;
    case WIRE_ERROR_UNKNOWN_TYPE:
    case WIRE_ERROR_INVALID:
    case WIRE_ERROR_TOO_LARGE:
    case WIRE_ERROR_NOT_LEADER:
    case WIRE_ERROR_UNKNOWN:
    case WIRE_ERROR_BUSY:
    case WIRE_ERROR_NOT_ATTACHED:
        break;
    }
    return -NETLOCK_EINVALID;
}

/* A refusal that is not about the lock. True: there is nothing more to do with the operation. */
static bool refused_as_client(struct netlock *nl, int rv, bool attached)
{
    if (rv == -NETLOCK_ESTALE)
        client_die(nl, rv);
    else if (!attached)
        session_fail(nl, -NETLOCK_EUNREACHABLE); /* attach again */
    return rv == -NETLOCK_ESTALE || !attached;
}

static void denied(struct netlock *nl,
                   struct operation *operation,
                   const struct wire_response *answer)
{
    int rv = deny_to_rv(answer->denied.reason);
    if (refused_as_client(nl, rv, answer->denied.reason != WIRE_DENY_NOT_ATTACHED))
        return;
    client_set_error_text(nl, answer->denied.text);
    operation_complete(nl, operation, rv);
}

/* BUSY: no effect. UNKNOWN: perhaps. Both: ask again, but not for ever. */
static void refused_for_now(struct netlock *nl,
                            struct operation *operation,
                            const struct wire_response *answer)
{
    uint64_t wait_ms = answer->error.retry_after_ms;
    if (wait_ms < RETRY_MIN_MS)
        wait_ms = RETRY_MIN_MS;
    if (wait_ms > RETRY_MAX_MS)
        wait_ms = RETRY_MAX_MS;
    if (operation->refused_since_ms == 0)
        operation->refused_since_ms = nl->now_ms;
    if (answer->error.code == WIRE_ERROR_UNKNOWN)
        operation->uncertain = true;
    if (operation->cancelled)
        operation_complete(nl, operation, -NETLOCK_ECANCELLED);
    else if (!operation->internal &&
             nl->now_ms - operation->refused_since_ms >= nl->connect_timeout_ms) {
        client_set_error_text(nl, answer->error.text);
        operation_abandon(nl, operation, -NETLOCK_EUNREACHABLE);
    } else
        operation_again(nl, operation, nl->now_ms + wait_ms);
}

static void refused(struct netlock *nl,
                    struct operation *operation,
                    const struct wire_response *answer)
{
    enum wire_error code = answer->error.code;
    if (code == WIRE_ERROR_UNKNOWN || code == WIRE_ERROR_BUSY) {
        refused_for_now(nl, operation, answer);
        return;
    }
    int rv = error_to_rv(code);
    if (refused_as_client(nl, rv, code != WIRE_ERROR_NOT_ATTACHED))
        return;
    client_set_error_text(nl, answer->error.text);
    if (operation->internal && operation->kind == OPERATION_REFRESH)
        operation_again(nl, operation,
                        nl->now_ms + RETRY_MAX_MS); /* until the lease ends */
    else
        operation_complete(nl, operation, rv);
}

/* ---- lock ------------------------------------------------------------------------------------ */

static struct lock_grant grant_of(const struct wire_response *answer, uint64_t decided_ms)
{
    return (struct lock_grant){
        .token = answer->granted.token,
        .index = answer->position.index,
        .slot = answer->granted.slot,
        .lock_timeout_ms = answer->granted.lock_timeout_ms,
        .remaining_ms = answer->granted.remaining_ms,
        .type = answer->granted.type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE,
        .drop = answer->granted.drop == WIRE_DROP_IGNORE ? NETLOCK_DROP_IGNORE
                                                         : NETLOCK_DROP_RELEASE,
        .decided_ms = decided_ms,
    };
}

/* The same, as the answer to @operation. */
static struct lock_grant answer_of(const struct operation *operation,
                                   const struct wire_response *answer,
                                   uint64_t decided_ms)
{
    struct lock_grant grant = grant_of(answer, decided_ms);
    grant.number = operation->sent_number;
    return grant;
}

static void tell_grant(struct operation *operation, const struct lock_grant *grant)
{
    operation->has_grant = true;
    operation->grant = (struct netlock_grant){
        .token = grant->token,
        .slot = grant->slot,
        .type = grant->type,
        .lock_timeout_ms = grant->lock_timeout_ms,
        .index = grant->index,
    };
}

/* A release that is still to come and frees the hold with @token: it was refused for now, or is on its
 * way behind what has just been granted. One of the caller counts if it was made before @number. */
static bool
release_follows(const struct client_lock *lock, uint64_t token, uint64_t number)
{
    const struct operation *at;
    LIST_FOREACH(at, &lock->operations, of_lock)
    {
        if (at->kind == OPERATION_UNLOCK && (at->internal || at->number < number) &&
            (at->token == 0 || at->token == token))
            return true;
    }
    return false;
}

/* The caller has given the hold up, or was told LOST, and the cluster has not heard of it yet. */
static bool given_up(struct netlock *nl, struct client_lock *lock, uint64_t token)
{
    if (!lock->held && lock->lost_token == token &&
        !release_follows(lock, token, UINT64_MAX))
        operation_clean_up(nl, lock, token);
    return release_follows(lock, token, UINT64_MAX);
}

static void lock_granted(struct netlock *nl,
                         struct operation *operation,
                         const struct wire_response *answer,
                         uint64_t decided_ms)
{
    struct client_lock *lock = operation->lock;
    if (operation->cancelled)
        return; /* the clean-up that was sent after it frees it, and answers the caller */
    if (decided_ms < operation->sent_ms)
        decided_ms = operation->sent_ms;
    struct lock_grant grant = answer_of(operation, answer, decided_ms);
    /* Not his for long. After the release the same request gets a hold of its own. */
    if (given_up(nl, lock, grant.token)) {
        operation_again_last(nl, operation);
        return;
    }
    /* This process may have slept on its grant. Asking again is answered with the same hold, or the
     * request queues again: either way with a lease that is worth something. Only once, because
     * a timeout can be shorter than any round trip; then the caller gets it, and LOST. */
    if (client_grant_over(nl, &grant) && !operation->asked_again) {
        operation->asked_again = true;
        operation_again(nl, operation, 0);
        return;
    }
    tell_grant(operation, &grant);
    client_lock_granted(nl, lock, &grant);
    operation_complete(nl, operation, 0);
}

static void lock_answered(struct netlock *nl,
                          struct operation *operation,
                          const struct wire_response *answer,
                          uint64_t decided_ms)
{
    struct client_lock *lock = operation->lock;
    switch (answer->type) {
    case WIRE_RESP_WAIT:
        operation->refused_since_ms = 0;
        lock->position = answer->wait.queue_position;
        operation->parked = true;
        if (lock->held)
            client_lease_look(nl,
                              lock); /* an upgrade: it can end the hold that there is */
        if (!operation->cancelled)
            client_lock_notice(nl, lock, NOTICE_QUEUED);
        operation_to_waiting(nl, operation);
        break;
    case WIRE_RESP_GRANTED:
        lock_granted(nl, operation, answer, decided_ms);
        break;
    case WIRE_RESP_WAIT_TIMEOUT:
        operation_complete(nl, operation,
                           operation->cancelled ? -NETLOCK_ECANCELLED
                                                : -NETLOCK_ETIMEOUT);
        break;
    case WIRE_RESP_DENIED:
        denied(nl, operation, answer);
        break;
    default:
        strange(nl);
    }
}

/* ---- unlock ---------------------------------------------------------------------------------- */

static int release_to_rv(const struct operation *operation,
                         enum wire_release_result result)
{
    /* An earlier sending may have done it, and another client may hold the lock by now. */
    bool done_before = operation->uncertain && operation->believed_held;
    switch (result) {
    case WIRE_RELEASED:
    case WIRE_WAS_QUEUED:
        return 0;
    case WIRE_NOT_HELD:
        return done_before ? 0 : -NETLOCK_ENOTHELD;
    case WIRE_HELD_BY_OTHER:
        return done_before ? 0 : -NETLOCK_EOTHER;
    case WIRE_EXPIRED:
        return -NETLOCK_EEXPIRED;
    }
    return -NETLOCK_EPROTOCOL;
}

static void unlock_answered(struct netlock *nl,
                            struct operation *operation,
                            const struct wire_response *answer)
{
    struct client_lock *lock = operation->lock;
    if (answer->type == WIRE_RESP_DENIED) {
        /* Still held, as far as anybody knows: keep counting. */
        lock->releasing = lock->releasing && operation->internal;
        client_lease_look(nl, lock);
        denied(nl, operation, answer);
        return;
    }
    if (answer->type != WIRE_RESP_RELEASE) {
        strange(nl);
        return;
    }
    uint64_t token = operation->token;
    struct operation *request = lock->request;
    if (token == 0 && request != NULL && request->cancelled)
        operation_complete(nl, request, -NETLOCK_ECANCELLED);
    if (lock->held && (token == 0 || token == lock->token))
        client_lock_dropped(nl, lock);
    if (token == 0 || token == lock->lost_token)
        lock->lost_token = 0; /* what is granted from now on is another hold */
    operation_complete(nl, operation, release_to_rv(operation, answer->release.result));
}

/* ---- refresh ---------------------------------------------------------------------------------- */

static void refresh_granted(struct netlock *nl,
                            struct operation *operation,
                            const struct wire_response *answer)
{
    struct client_lock *lock = operation->lock;
    struct lock_grant grant = answer_of(operation, answer, operation->sent_ms);
    bool known = lock->held && lock->token == grant.token;
    /* Reported LOST while the refresh was under way; its clean-up follows. Or the caller had given
     * it up before. */
    if ((!lock->held && lock->lost_token == grant.token) ||
        release_follows(lock, grant.token, operation->number)) {
        operation_complete(nl, operation, -NETLOCK_EEXPIRED);
        return;
    }
    if (operation->internal)
        lock->refreshing = false;
    else
        tell_grant(operation, &grant);
    if (known || !operation->internal)
        client_lock_granted(nl, lock, &grant);
    operation_complete(nl, operation, 0);
}

static void refresh_answered(struct netlock *nl,
                             struct operation *operation,
                             const struct wire_response *answer)
{
    struct client_lock *lock = operation->lock;
    if (answer->type == WIRE_RESP_GRANTED) {
        refresh_granted(nl, operation, answer);
    } else if (answer->type == WIRE_RESP_WAIT) {
        operation_complete(nl, operation, -NETLOCK_ENOTHELD);
    } else if (answer->type == WIRE_RESP_DENIED) {
        enum wire_deny reason = answer->denied.reason;
        bool gone = reason == WIRE_DENY_NOT_HELD || reason == WIRE_DENY_EXPIRED;
        if (gone && lock->held && lock->token == operation->token)
            client_lock_lost(nl, lock);
        client_lease_look(nl, lock);
        if (operation->internal && !gone && reason != WIRE_DENY_NOT_ATTACHED &&
            reason != WIRE_DENY_STALE_EPOCH)
            operation_again(nl, operation, nl->now_ms + RETRY_MAX_MS);
        else
            denied(nl, operation, answer);
    } else {
        strange(nl);
    }
}

/* ---- the rest ---------------------------------------------------------------------------------- */

static void token_answered(struct netlock *nl,
                           struct operation *operation,
                           const struct wire_response *answer)
{
    struct client_lock *lock = operation->lock;
    if (answer->type != WIRE_RESP_CHECK_TOKEN) {
        strange(nl);
        return;
    }
    if (answer->check_token.state != WIRE_TOKEN_CURRENT && lock->held &&
        lock->token == operation->token)
        client_lock_lost(nl, lock);
    operation_complete(nl, operation, 0);
    client_leases_look(nl); /* the next one is due some time */
}

static void query_answered(struct netlock *nl,
                           struct operation *operation,
                           const struct wire_response *answer)
{
    if (answer->type == WIRE_RESP_DENIED) {
        denied(nl, operation, answer);
        return;
    }
    operation->on_answer(operation, answer);
    if (operation->rv == -NETLOCK_EPROTOCOL)
        strange(nl);
    else
        operation_complete(nl, operation, operation->rv);
}

static void answered(struct netlock *nl,
                     struct operation *operation,
                     const struct wire_response *answer,
                     uint64_t decided_ms)
{
    switch (operation->kind) {
    case OPERATION_LOCK:
        lock_answered(nl, operation, answer, decided_ms);
        break;
    case OPERATION_UNLOCK:
        unlock_answered(nl, operation, answer);
        break;
    case OPERATION_REFRESH:
        refresh_answered(nl, operation, answer);
        break;
    case OPERATION_CHECK_TOKEN:
        if (operation->internal)
            token_answered(nl, operation, answer);
        else
            query_answered(nl, operation, answer);
        break;
    case OPERATION_STATUS:
    case OPERATION_LIST:
    case OPERATION_BREAK:
    case OPERATION_BACKUP:
    case OPERATION_LIST_CLIENTS:
    case OPERATION_KILL_CLIENT:
        query_answered(nl, operation, answer);
        break;
    case OPERATION_DETACH:
    case OPERATION_PING:
        operation_complete(nl, operation, 0);
        break;
    }
}

/* ---- what nobody asked for just now ------------------------------------------------------------ */

static void hold_ended(struct netlock *nl, const struct wire_response *answer)
{
    struct client_lock *lock = client_lock_find(nl, answer->lock.data, answer->lock.len);
    if (lock == NULL || !lock->held || lock->token != answer->timeout.token)
        return;
    client_lock_lost(nl, lock);
}

/* A grant whose request is over: an upgrade of what we hold, or nobody wants it any more. */
static void
stray_grant(struct netlock *nl, const struct wire_response *answer, uint64_t decided_ms)
{
    if (!wire_name_valid(answer->lock.data, answer->lock.len) || nl->share_id)
        return;
    struct client_lock *lock = client_lock_get(nl, answer->lock.data, answer->lock.len);
    if (lock == NULL)
        return;
    struct lock_grant grant = grant_of(answer, decided_ms);
    if (lock->held && !lock->releasing && grant.token > lock->token)
        client_lock_granted(nl, lock, &grant);
    else if (!lock->held &&
             lock->request == NULL) /* else that is answered with this hold */
        operation_clean_up(nl, lock, grant.token);
    client_lock_unuse(nl, lock);
}

static void
unasked(struct netlock *nl, const struct wire_response *answer, uint64_t decided_ms)
{
    if (answer->type == WIRE_RESP_ERROR) {
        client_set_error_text(nl, answer->error.text);
        strange(nl);
        return;
    }
    struct client_lock *lock =
        answer->lock.len > 0 ? client_lock_find(nl, answer->lock.data, answer->lock.len)
                             : NULL;
    struct operation *request = lock != NULL ? lock->request : NULL;
    /* The server forgot whose request it was, but there is only one it can be. */
    if (request != NULL && request->place == PLACE_WAITING && answer->key.len == 0 &&
        (answer->type == WIRE_RESP_GRANTED || answer->type == WIRE_RESP_WAIT_TIMEOUT ||
         answer->type == WIRE_RESP_DENIED))
        lock_answered(nl, request, answer, decided_ms);
    else if (answer->type == WIRE_RESP_GRANTED)
        stray_grant(nl, answer, decided_ms);
}

void client_answer(struct netlock *nl, const struct wire_response *answer)
{
    struct operation *operation = operation_find(nl, answer->key);
    uint64_t decided_ms = 0;
    if (answer->type == WIRE_RESP_TIMEOUT) {
        hold_ended(nl, answer);
        return;
    }
    if (operation != NULL && operation->place == PLACE_SENT) {
        decided_ms = operation->sent_ms;
        client_evidence(nl, operation->sent_ms, &answer->position);
    } else {
        decided_ms = client_evidence_event(nl, &answer->position);
    }
    if (operation != NULL && answer->type != WIRE_RESP_GRANTED &&
        (answer->type != WIRE_RESP_ERROR || answer->error.code != WIRE_ERROR_UNKNOWN))
        client_lease_unchanged(nl, operation);
    if (operation == NULL)
        unasked(nl, answer, decided_ms);
    else if (answer->type == WIRE_RESP_ERROR)
        refused(nl, operation, answer);
    else
        answered(nl, operation, answer, decided_ms);
}

/* ---- attached again ------------------------------------------------------------------------------ */

static void take_claim(struct netlock *nl, const struct wire_claim *claim, uint64_t index)
{
    struct client_lock *lock = client_lock_find(nl, claim->lock.data, claim->lock.len);
    if (lock == NULL || !lock->held || claim->waiting)
        return;
    struct lock_grant grant = {
        .token = claim->token,
        .index = index,
        .slot = claim->slot,
        .lock_timeout_ms = claim->lock_timeout_ms,
        .remaining_ms = claim->remaining_ms,
        .type = claim->type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE,
        .drop =
            claim->drop == WIRE_DROP_IGNORE ? NETLOCK_DROP_IGNORE : NETLOCK_DROP_RELEASE,
        .decided_ms = nl->session.attach_sent_ms,
        .number = nl->operations_sent,
    };
    lock->claimed = claim->token == lock->token;
    if (lock->claimed) {
        client_lock_granted(nl, lock, &grant);
    } else if (lock->request != NULL && lock->request->uncertain &&
               claim->token > lock->token) {
        /* Our own request that was under way has given it a new one; its answer will say so. */
        lock->claimed = true;
        client_lease_claimed(nl, lock, &grant);
    } else if (claim->token > lock->token && !nl->share_id) {
        /* A request that was given up has got it: nobody waits for it. */
        operation_clean_up(nl, lock, claim->token);
    }
}

void client_reconcile(struct netlock *nl, const struct wire_response *attach)
{
    assert(nl->session.state == SESSION_READY);
    if (attach->type == WIRE_RESP_ATTACH)
        for (size_t i = 0; i < attach->attach.claims_count; i++)
            take_claim(nl, &attach->attach.claims[i], attach->position.index);
    struct client_lock *next;
    for (struct client_lock *at = LIST_FIRST(&nl->table.all); at != NULL; at = next) {
        next = LIST_NEXT(at, link);
        bool claimed = at->claimed;
        at->claimed = false;
        if (!at->held)
            continue;
        if (!claimed)
            client_lock_lost(nl, at);
        else if (!at->releasing)
            (void)client_lease_refresh(nl, at); /* else at its third */
    }
    client_leases_look(nl);
}
