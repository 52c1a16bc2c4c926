#include "answer.h"

#include <assert.h>
#include <stdio.h>

#include "xalloc.h"

void answer_scratch_release(struct answer_scratch *scratch)
{
    free(scratch->claims);
    *scratch = (struct answer_scratch){0};
}

/* ---- values ---- */

/* The wire has 32 bits; what is longer, but ends, must not read as "never". */
static uint32_t wire_ms(uint64_t ms)
{
    if (ms == FSM_UNLIMITED) {
        return WIRE_UNLIMITED;
    }
    return ms < WIRE_UNLIMITED ? (uint32_t)ms : WIRE_UNLIMITED - 1;
}

static enum wire_type wire_type_of(enum fsm_type type)
{
    return type == FSM_READ ? WIRE_READ : WIRE_WRITE;
}

static enum wire_drop wire_drop_of(enum fsm_drop drop)
{
    return drop == FSM_DROP_IGNORE ? WIRE_DROP_IGNORE : WIRE_DROP_RELEASE;
}

/* The enums of the two rooms have the same numbers, in which new values are only ever
 * added. */
static_assert((int)WIRE_DENY_HELD == (int)FSM_DENY_HELD, "deny");
static_assert((int)WIRE_DENY_CANCELLED == (int)FSM_DENY_CANCELLED, "deny");
static_assert((int)WIRE_DENY_NOT_HELD == (int)FSM_DENY_NOT_HELD, "deny");
static_assert((int)WIRE_DENY_EXPIRED == (int)FSM_DENY_EXPIRED, "deny");
static_assert((int)WIRE_DENY_UPGRADE_CONFLICT == (int)FSM_DENY_UPGRADE_CONFLICT, "deny");
static_assert((int)WIRE_DENY_LIMIT_MISMATCH == (int)FSM_DENY_LIMIT_MISMATCH, "deny");
static_assert((int)WIRE_DENY_NOT_ATTACHED == (int)FSM_DENY_NOT_ATTACHED, "deny");
static_assert((int)WIRE_DENY_STALE_EPOCH == (int)FSM_DENY_STALE_EPOCH, "deny");
static_assert((int)WIRE_DENY_NOT_ALLOWED == (int)FSM_DENY_NOT_ALLOWED, "deny");
static_assert((int)WIRE_DENY_LIMIT_EXCEEDED == (int)FSM_DENY_LIMIT_EXCEEDED, "deny");
static_assert((int)WIRE_HOLD_EXPIRED == (int)FSM_HOLD_EXPIRED, "hold end");
static_assert((int)WIRE_HOLD_BROKEN == (int)FSM_HOLD_BROKEN, "hold end");
static_assert((int)WIRE_RELEASED == (int)FSM_RELEASED, "release");
static_assert((int)WIRE_WAS_QUEUED == (int)FSM_WAS_QUEUED, "release");
static_assert((int)WIRE_NOT_HELD == (int)FSM_NOT_HELD, "release");
static_assert((int)WIRE_EXPIRED == (int)FSM_EXPIRED, "release");
static_assert((int)WIRE_HELD_BY_OTHER == (int)FSM_HELD_BY_OTHER, "release");
static_assert((int)WIRE_FREE == (int)FSM_FREE, "state");
static_assert((int)WIRE_HELD_BY_ME == (int)FSM_HELD_BY_ME, "state");
static_assert((int)WIRE_WAITING == (int)FSM_WAITING, "state");
static_assert((int)WIRE_HELD_BY_OTHER_CLIENT == (int)FSM_STATE_HELD_BY_OTHER, "state");
static_assert((int)WIRE_TOKEN_CURRENT == (int)FSM_TOKEN_CURRENT, "token");
static_assert((int)WIRE_TOKEN_SUPERSEDED == (int)FSM_TOKEN_SUPERSEDED, "token");
static_assert((int)WIRE_TOKEN_FREE == (int)FSM_TOKEN_FREE, "token");

struct wire_claim answer_claim(const struct fsm_claim *claim)
{
    return (struct wire_claim){
        .client = wire_str_of_fsm(claim->client),
        .lock = wire_str_of_fsm(claim->lock),
        .owner_info = wire_str_of_fsm(claim->owner_info),
        .type = wire_type_of(claim->type),
        .drop = wire_drop_of(claim->drop),
        .waiting = claim->waiting,
        .connected = claim->connected,
        .token = claim->token,
        .slot = claim->slot,
        .limit = claim->limit,
        .since_ms = claim->since_ms,
        .remaining_ms = wire_ms(claim->remaining_ms),
        .lock_timeout_ms = wire_ms(claim->hold_ms),
        .queue_position = claim->position,
    };
}

static const struct wire_claim *claims_of(const struct fsm_event *event,
                                          struct answer_scratch *scratch)
{
    if (event->claims_count > scratch->claims_capacity) {
        scratch->claims =
            xrealloc(scratch->claims, event->claims_count * sizeof(scratch->claims[0]));
        scratch->claims_capacity = event->claims_count;
    }
    for (size_t i = 0; i < event->claims_count; i++) {
        scratch->claims[i] = answer_claim(&event->claims[i]);
    }
    return scratch->claims;
}

struct wire_str answer_key(const struct answer_to *to)
{
    return to != NULL ? (struct wire_str){.data = to->key, .len = to->key_len}
                      : (struct wire_str){0};
}

enum wire_error answer_error_of(enum fsm_deny deny)
{
    switch (deny) {
    case FSM_DENY_NOT_ATTACHED:
        return WIRE_ERROR_NOT_ATTACHED;
    case FSM_DENY_STALE_EPOCH:
        return WIRE_ERROR_STALE_EPOCH;
    case FSM_DENY_NOT_ALLOWED:
        return WIRE_ERROR_NOT_ALLOWED;
    case FSM_DENY_LIMIT_EXCEEDED:
        return WIRE_ERROR_LIMIT;
    case FSM_DENY_HELD:
    case FSM_DENY_CANCELLED:
    case FSM_DENY_NOT_HELD:
    case FSM_DENY_EXPIRED:
    case FSM_DENY_UPGRADE_CONFLICT:
    case FSM_DENY_LIMIT_MISMATCH:
        break;
    }
    return WIRE_ERROR_INVALID;
}

const char *answer_deny_text(enum fsm_deny deny)
{
    switch (deny) {
    case FSM_DENY_HELD:
        return "held by another client; wait for it, or try again later";
    case FSM_DENY_CANCELLED:
        return "the wait ended: released, replaced by another request, or the client "
               "went";
    case FSM_DENY_NOT_HELD:
        return "this client does not hold the lock; ask for it again";
    case FSM_DENY_EXPIRED:
        return "the hold has timed out; ask for the lock again, refresh earlier next "
               "time";
    case FSM_DENY_UPGRADE_CONFLICT:
        return "another reader already waits to become the writer; release and ask for "
               "WRITE";
    case FSM_DENY_LIMIT_MISMATCH:
        return "the lock is in use with another limit; use the same one everywhere";
    case FSM_DENY_NOT_ATTACHED:
        return "the client is not attached here; attach it first";
    case FSM_DENY_STALE_EPOCH:
        return "a newer connection of this client took over; this one must stop acting "
               "for it";
    case FSM_DENY_NOT_ALLOWED:
        return "this client id is another's: attach it with its secret, as who made it";
    case FSM_DENY_LIMIT_EXCEEDED:
        return "a limit of the cluster is reached";
    }
    return "";
}

/* ---- one function per kind ---- */

static void put_denied(const struct fsm_event *event,
                       struct answer_scratch *scratch,
                       struct wire_response *ret)
{
    const char *text = answer_deny_text(event->deny);

    ret->type = WIRE_RESP_DENIED;
    ret->denied.reason = (enum wire_deny)event->deny;
    if (event->deny == FSM_DENY_LIMIT_EXCEEDED && event->limit_name != NULL) {
        snprintf(scratch->text, sizeof(scratch->text), "%s: %s", text, event->limit_name);
        text = scratch->text;
    }
    ret->denied.text = wire_str_of_text(text);
    ret->denied.holders = claims_of(event, scratch);
    ret->denied.holders_shown = event->claims_count;
    ret->denied.holders_count = event->holders_count;
    ret->denied.queue_length = event->queue_length;
}

static void put_granted(const struct fsm_event *event,
                        const struct answer_to *to,
                        struct wire_response *ret)
{
    ret->type = WIRE_RESP_GRANTED;
    ret->granted.token = event->claim.token;
    ret->granted.type = wire_type_of(event->claim.type);
    ret->granted.slot = event->claim.slot;
    ret->granted.lock_timeout_ms = wire_ms(event->claim.hold_ms);
    ret->granted.remaining_ms = wire_ms(event->claim.remaining_ms);
    ret->granted.drop = wire_drop_of(event->claim.drop);
    if (to != NULL) {
        ret->granted.has_client_time = to->has_client_time;
        ret->granted.client_time = to->client_time;
    }
}

static void put_status(const struct fsm_event *event,
                       struct answer_scratch *scratch,
                       struct wire_response *ret)
{
    const struct fsm_claim *own = &event->claim;
    const struct fsm_claim *shown = event->claims_count != 0 ? &event->claims[0] : own;
    bool mine = event->state == FSM_HELD_BY_ME || event->state == FSM_WAITING;

    ret->type = WIRE_RESP_STATUS;
    ret->status.state = (enum wire_lock_state)event->state;
    ret->status.type = wire_type_of(mine ? own->type : shown->type);
    ret->status.limit = shown->limit;
    ret->status.holders = claims_of(event, scratch);
    ret->status.holders_shown = event->claims_count;
    ret->status.holders_count = event->holders_count;
    ret->status.queue_length = event->queue_length;
    if (mine) {
        ret->status.token = own->token;
        ret->status.remaining_ms = wire_ms(own->remaining_ms);
        ret->status.drop = wire_drop_of(own->drop);
        ret->status.queue_position = own->position;
        ret->status.limit = own->limit;
        ret->status.slot = own->slot;
    }
}

/* The plain protocol has three words for it: I hold it, I wait for it, neither. */
static void put_plain_status(const struct fsm_event *event, struct wire_response *ret)
{
    if (event->state == FSM_HELD_BY_ME) {
        ret->type = WIRE_RESP_STATUS;
        ret->status.type = wire_type_of(event->claim.type);
    } else {
        ret->type = event->state == FSM_WAITING ? WIRE_RESP_WAIT : WIRE_RESP_DENIED;
    }
}

static void put_attached(const struct fsm_event *event,
                         struct answer_scratch *scratch,
                         struct wire_response *ret)
{
    ret->type = WIRE_RESP_ATTACH;
    ret->attach.epoch = event->epoch;
    ret->attach.claims = claims_of(event, scratch);
    ret->attach.claims_count = event->claims_count;
}

static void put_token(const struct fsm_event *event, struct wire_response *ret)
{
    ret->type = WIRE_RESP_CHECK_TOKEN;
    ret->check_token.token = event->token;
    ret->check_token.state = (enum wire_token_state)event->token_state;
    ret->check_token.superseded_by = event->superseded_by;
}

static void put_body(const struct fsm_event *event,
                     const struct answer_to *to,
                     bool hello,
                     struct answer_scratch *scratch,
                     struct wire_response *ret)
{
    switch (event->type) {
    case FSM_EV_ATTACHED:
        put_attached(event, scratch, ret);
        return;
    case FSM_EV_DETACHED:
        ret->type = WIRE_RESP_DETACH;
        return;
    case FSM_EV_GRANTED:
        put_granted(event, to, ret);
        return;
    case FSM_EV_WAITING:
        ret->type = WIRE_RESP_WAIT;
        ret->wait.queue_position = event->claim.position;
        ret->wait.queue_length = event->queue_length;
        return;
    case FSM_EV_DENIED:
        put_denied(event, scratch, ret);
        return;
    case FSM_EV_WAIT_TIMEOUT:
        ret->type = WIRE_RESP_WAIT_TIMEOUT;
        return;
    case FSM_EV_HOLD_ENDED:
        ret->type = WIRE_RESP_TIMEOUT;
        ret->timeout.token = event->token;
        ret->timeout.reason = (enum wire_hold_end)event->hold_end;
        return;
    case FSM_EV_RELEASE:
        ret->type = WIRE_RESP_RELEASE;
        ret->release.result = (enum wire_release_result)event->result;
        ret->release.token = event->token;
        return;
    case FSM_EV_STATUS:
        if (hello) {
            put_status(event, scratch, ret);
        } else {
            put_plain_status(event, ret);
        }
        return;
    case FSM_EV_TOKEN:
        put_token(event, ret);
        return;
    case FSM_EV_FORCED:
        ret->type = WIRE_RESP_FORCE_RELEASE;
        ret->force_release.holds_broken = event->holders_count;
        return;
    case FSM_EV_SERVING:
    case FSM_EV_LIST_LOCK:
    case FSM_EV_LIST_CLIENT:
    case FSM_EV_LIST_END:
    case FSM_EV_CHECKPOINT:
    case FSM_EV_CLIENT_ENDED:
    case FSM_EV_MEMBER:
        break;
    }
    abort(); /* an event that is no answer by itself */
}

void answer_from_event(const struct fsm_event *event,
                       const struct replica_position *at,
                       const struct answer_to *to,
                       bool hello,
                       struct answer_scratch *scratch,
                       struct wire_response *ret)
{
    *ret = (struct wire_response){
        .key = answer_key(to),
        .client = wire_str_of_fsm(event->client),
        .lock = wire_str_of_fsm(event->lock),
        .position = {.index = at->index,
                     .term = at->term,
                     .cluster_time_ms = at->cluster_ms},
    };
    put_body(event, to, hello, scratch, ret);
}
