#include "request.h"

#include <errno.h>

bool request_needs_client(enum wire_request_type type)
{
    return type == WIRE_REQ_LOCK || type == WIRE_REQ_REFRESH || type == WIRE_REQ_RELEASE;
}

bool request_deniable(enum wire_request_type type)
{
    return request_needs_client(type) || type == WIRE_REQ_STATUS;
}

bool request_extended(enum wire_request_type type)
{
    return type >= WIRE_REQ_PING;
}

bool request_adds_nothing(enum wire_request_type type)
{
    switch (type) {
    case WIRE_REQ_REFRESH:
    case WIRE_REQ_RELEASE:
    case WIRE_REQ_FORCE_RELEASE:
    case WIRE_REQ_DETACH:
    case WIRE_REQ_CLIENT_KILL:
    case WIRE_REQ_GET_DEFAULT_ID:
    case WIRE_REQ_GET_ATTACHED_IDS:
    case WIRE_REQ_HELLO:
    case WIRE_REQ_PING:
    case WIRE_REQ_CLUSTER_STATUS:
    case WIRE_REQ_CLUSTER_CHANGE:
    case WIRE_REQ_NODE_CONTROL:
        return true;
    case WIRE_REQ_ATTACH:
    case WIRE_REQ_CREATE:
    case WIRE_REQ_LOCK:
    case WIRE_REQ_STATUS:
    case WIRE_REQ_CHECK_TOKEN:
    case WIRE_REQ_LIST_LOCKS:
    case WIRE_REQ_LIST_CLIENTS:
    case WIRE_REQ_BACKUP:
        return false;
    }
    return false;
}

static int refuse_lock(struct request_refusal *ret, enum wire_deny deny, const char *text)
{
    *ret = (struct request_refusal){.deny = deny, .text = text};
    return -EINVAL;
}

/* ---- durations ---- */

static uint64_t duration_of(uint32_t wire_ms)
{
    return wire_ms == WIRE_UNLIMITED ? FSM_UNLIMITED : wire_ms;
}

static uint64_t at_most(uint64_t ms, uint64_t max_ms)
{
    return ms < max_ms ? ms : max_ms;
}

/* Plain clients have no way to see what was granted: what looks like seconds is
 * refused. */
static bool below_floor(uint32_t wire_ms,
                        const struct request_facts *facts,
                        const struct request_policy *policy)
{
    return !facts->hello && wire_ms != 0 && wire_ms < policy->plain_lock_timeout_min_ms;
}

static const char floor_text[] = "lock_timeout: too short; it is in milliseconds";

static int lock_durations(const struct wire_request *request,
                          const struct request_facts *facts,
                          const struct request_policy *policy,
                          struct fsm_command *ret,
                          struct request_refusal *ret_refusal)
{
    uint32_t hold = request->lock_.lock_timeout_ms;
    uint32_t wait = request->lock_.wait_timeout_ms;

    if (below_floor(hold, facts, policy)) {
        return refuse_lock(ret_refusal, WIRE_DENY_INVALID, floor_text);
    }
    /* A hold that ignores its client's end and never times out would stay for ever by
     * mistake; on purpose one says so. */
    if (hold == 0 && request->lock_.drop == WIRE_DROP_IGNORE &&
        !policy->allow_ignore_without_timeout) {
        return refuse_lock(
            ret_refusal, WIRE_DENY_INVALID,
            "connection_drop IGNORE needs a lock_timeout (0xFFFFFFFF: none)");
    }
    ret->lock_.hold_ms =
        at_most(hold == 0 ? policy->lock_timeout_default_ms : duration_of(hold),
                policy->lock_timeout_max_ms);
    ret->lock_.wait_ms = wait == 0 ? FSM_UNLIMITED : duration_of(wait);
    return 0;
}

/* ---- commands ---- */

static int lock_to_command(const struct wire_request *request,
                           const struct request_facts *facts,
                           const struct request_policy *policy,
                           struct fsm_command *ret,
                           struct request_refusal *ret_refusal)
{
    ret->type = FSM_CMD_LOCK;
    ret->lock_.type = request->lock_.type == WIRE_READ ? FSM_READ : FSM_WRITE;
    ret->lock_.mode = request->lock_.mode == WIRE_WAIT ? FSM_WAIT : FSM_BREAK;
    ret->lock_.drop =
        request->lock_.drop == WIRE_DROP_IGNORE ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    ret->lock_.limit = request->lock_.limit;
    ret->lock_.downgrade = request->lock_.downgrade;
    ret->lock_.owner_info = fsm_str_of(request->lock_.owner_info);
    return lock_durations(request, facts, policy, ret, ret_refusal);
}

static int refresh_to_command(const struct wire_request *request,
                              const struct request_facts *facts,
                              const struct request_policy *policy,
                              struct fsm_command *ret,
                              struct request_refusal *ret_refusal)
{
    uint32_t hold = request->refresh.lock_timeout_ms;

    if (below_floor(hold, facts, policy)) {
        return refuse_lock(ret_refusal, WIRE_DENY_INVALID, floor_text);
    }
    ret->type = FSM_CMD_REFRESH;
    ret->refresh.wait_ms = duration_of(request->refresh.wait_timeout_ms);
    /* 0 goes on: the duration that the hold has, which was clamped when it was
     * granted. */
    ret->refresh.hold_ms = at_most(duration_of(hold), policy->lock_timeout_max_ms);
    ret->refresh.set_drop = request->refresh.set_drop;
    ret->refresh.drop =
        request->refresh.drop == WIRE_DROP_IGNORE ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    ret->refresh.token = request->refresh.token;
    return 0;
}

static void list_to_command(const struct wire_request *request,
                            enum fsm_command_type type,
                            struct fsm_command *ret)
{
    ret->type = type;
    ret->list.prefix = fsm_str_of(request->list.prefix);
    ret->list.after = fsm_str_of(request->list.after);
    ret->list.max = request->list.max;
}

int request_to_command(const struct wire_request *request,
                       const struct request_facts *facts,
                       const struct request_policy *policy,
                       struct fsm_command *ret,
                       struct request_refusal *ret_refusal)
{
    *ret = (struct fsm_command){
        .client = facts->client,
        .client_epoch = facts->client_epoch,
        .lock = fsm_str_of(request->lock),
    };
    switch (request->type) {
    case WIRE_REQ_LOCK:
        return lock_to_command(request, facts, policy, ret, ret_refusal);
    case WIRE_REQ_REFRESH:
        return refresh_to_command(request, facts, policy, ret, ret_refusal);
    case WIRE_REQ_RELEASE:
        ret->type = FSM_CMD_RELEASE;
        ret->release.token = request->release.token;
        return 0;
    case WIRE_REQ_STATUS:
        ret->type = FSM_CMD_STATUS;
        return 0;
    case WIRE_REQ_CHECK_TOKEN:
        ret->type = FSM_CMD_CHECK_TOKEN;
        ret->check_token.token = request->check_token.token;
        return 0;
    case WIRE_REQ_LIST_LOCKS:
        list_to_command(request, FSM_CMD_LIST_LOCKS, ret);
        return 0;
    case WIRE_REQ_LIST_CLIENTS:
        list_to_command(request, FSM_CMD_LIST_CLIENTS, ret);
        return 0;
    case WIRE_REQ_FORCE_RELEASE:
        ret->type = FSM_CMD_FORCE_RELEASE;
        ret->force_release.token = request->force_release.token;
        return 0;
    case WIRE_REQ_ATTACH:
    case WIRE_REQ_DETACH:
    case WIRE_REQ_CREATE:
    case WIRE_REQ_GET_DEFAULT_ID:
    case WIRE_REQ_GET_ATTACHED_IDS:
    case WIRE_REQ_HELLO:
    case WIRE_REQ_PING:
    case WIRE_REQ_CLUSTER_STATUS:
    case WIRE_REQ_BACKUP:
    case WIRE_REQ_CLIENT_KILL:
    case WIRE_REQ_CLUSTER_CHANGE:
    case WIRE_REQ_NODE_CONTROL:
        break;
    }
    *ret_refusal = (struct request_refusal){.error = WIRE_ERROR_UNKNOWN_TYPE,
                                            .text = "not a request about locks"};
    return -EINVAL;
}

struct fsm_command request_to_attach(const struct wire_request *request,
                                     struct fsm_str secret_digest)
{
    return (struct fsm_command){
        .type = FSM_CMD_ATTACH,
        .client = fsm_str_of(request->client),
        .attach = {.has_epoch = request->attach.has_epoch,
                   .epoch = request->attach.epoch,
                   .supersede = request->attach.supersede,
                   .secret_digest = secret_digest},
    };
}

struct request_refusal request_refused_by_wire(const struct wire_request *request,
                                               const struct wire_refusal *refusal)
{
    if (refusal->problem == WIRE_UNKNOWN_TYPE) {
        return (struct request_refusal){.error = WIRE_ERROR_UNKNOWN_TYPE,
                                        .text = refusal->text};
    }
    if (request_deniable(request->type)) {
        return (struct request_refusal){.deny = WIRE_DENY_INVALID, .text = refusal->text};
    }
    return (struct request_refusal){.error = WIRE_ERROR_INVALID, .text = refusal->text};
}
