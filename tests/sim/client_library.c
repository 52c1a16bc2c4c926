/* client_library.c - users of libnetlock, as shipped: one client of it per process, driven by hand.
 *
 * The calls that block would drive the engine until they have their answer, and no time passes while a
 * process runs. So queries are submitted as client_query.c does, and netlock_close() is taken apart. */
#include "client_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "client_engine.h"
#include "node.h"
#include "socket.h"

enum {
    /* A library that wants to go on at once, again and again, is a program that spins. */
    ROUNDS_MAX = 16,
    SPIN_US = 50,
};

/* An operation under way: what its callbacks are given. */
struct pending {
    TAILQ_ENTRY(pending) link;
    struct sim_client *client;
    struct sim_belief *belief; /* of the lock */
    uint64_t op;
    enum sim_ask_type type;
    uint32_t limit;
    uint64_t use_us;
    bool held; /* when it was asked for: the hold with `token` */
    uint64_t token;
    struct sim_answer answer;
};
TAILQ_HEAD(pending_list, pending);

struct sim_library {
    struct netlock *nl; /* NULL: the process is dead, or begins */
    bool closing;
    struct pending_list pending, spare;
    unsigned pending_count;
};

/* ---- outcomes ------------------------------------------------------------------------ */

static struct pending *pending_new(struct sim_client *client,
                                   const struct sim_ask *ask,
                                   struct sim_belief *belief,
                                   uint64_t op)
{
    struct sim_library *library = client->library;
    struct pending *pending = TAILQ_FIRST(&library->spare);
    if (pending != NULL)
        TAILQ_REMOVE(&library->spare, pending, link);
    else
        pending = sim_alloc(sizeof(*pending));
    TAILQ_INSERT_TAIL(&library->pending, pending, link);
    library->pending_count++;
    pending->client = client;
    pending->belief = belief;
    pending->op = op;
    pending->type = ask->type;
    pending->limit = ask->limit;
    if (ask->type == SIM_ASK_LOCK)
        pending->belief->limit_asked = ask->limit;
    pending->use_us = ask->use_us;
    pending->held = belief->holding;
    pending->token = belief->token;
    return pending;
}

static void pending_free(struct pending *pending)
{
    struct sim_library *library = pending->client->library;
    TAILQ_REMOVE(&library->pending, pending, link);
    TAILQ_INSERT_HEAD(&library->spare, pending, link);
    library->pending_count--;
}

static bool is_query(enum sim_ask_type type)
{
    return type == SIM_ASK_STATUS || type == SIM_ASK_CHECK_TOKEN || type == SIM_ASK_BREAK;
}

static void
tell_outcome(const struct pending *pending, int rv, const struct netlock_grant *grant)
{
    struct sim_record record = sim_client_record(pending->client, SIM_REC_OUTCOME);
    record.op = pending->op;
    record.rv = rv;
    record.ask_type = pending->type;
    record.lock = pending->belief->lock;
    record.grant = grant;
    if (grant != NULL) {
        record.token = grant->token;
        record.type_of_lock = grant->type;
        record.limit = pending->limit;
    }
    if (rv == 0 && is_query(pending->type))
        record.answer = &pending->answer;
    sim_history_tell(&record);
}

/* A grant of a lock counts whatever came in between; the library knows best. A refresh only says that
 * a hold goes on: not one that the user has given up since it asked. */
static void take_grant(const struct pending *pending, const struct netlock_grant *grant)
{
    struct sim_client *client = pending->client;
    struct sim_belief *belief = pending->belief;
    bool refresh = pending->type == SIM_ASK_REFRESH;
    if (refresh && belief->given_up_op > pending->op)
        return;
    uint32_t limit = !refresh          ? pending->limit
                     : belief->holding ? belief->limit
                                       : belief->limit_asked;
    sim_belief_grant(client, belief, pending->op, grant->token, grant->type,
                     limit > 1 ? limit : 1);
    if (!refresh)
        belief->use_end_us = pending->use_us != 0
                                 ? sim_clock_us(&client->process.clock) + pending->use_us
                                 : SIM_NEVER;
}

static void on_done(void *arg, int rv, const struct netlock_grant *grant)
{
    struct pending *pending = arg;
    struct sim_belief *belief = pending->belief;
    tell_outcome(pending, rv, grant);
    if (rv == 0 && grant != NULL)
        take_grant(pending, grant);
    /* The hold that it was about, if it is that one still. */
    if (pending->type == SIM_ASK_REFRESH &&
        (rv == -NETLOCK_ENOTHELD || rv == -NETLOCK_EEXPIRED) && pending->held &&
        belief->token == pending->token)
        sim_belief_end(pending->client, belief);
    pending_free(pending);
}

static void on_notice(void *arg, const struct netlock_notice *notice)
{
    struct sim_client *client = arg;
    const char *id = netlock_client_id(client->library->nl);
    if (notice->event == NETLOCK_CONNECTED && id != NULL)
        memcpy(client->client_id, id, strlen(id) + 1);
    struct sim_record record = sim_client_record(client, SIM_REC_NOTICE);
    record.notice = notice;
    record.lock = notice->name;
    record.token = notice->token;
    sim_history_tell(&record);
    if (notice->event != NETLOCK_LOST)
        return;
    struct sim_belief *belief = sim_belief_find(client, "", notice->name);
    if (belief != NULL)
        sim_belief_end(client, belief);
}

/* ---- queries ------------------------------------------------------------------------- */

static void keep_holders(struct sim_answer *answer, const struct wire_response *response)
{
    size_t count = response->status.holders_shown;
    if (count > SIM_ANSWER_HOLDERS_MAX)
        count = SIM_ANSWER_HOLDERS_MAX;
    answer->holders_shown = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        const struct wire_claim *claim = &response->status.holders[i];
        struct sim_answer_holder *holder = &answer->holders[i];
        size_t len = claim->client.len;
        if (len >= sizeof(holder->client_id))
            len = sizeof(holder->client_id) - 1;
        *holder = (struct sim_answer_holder){
            .token = claim->token,
            .type = claim->type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE,
            .slot = claim->slot,
        };
        if (len > 0)
            memcpy(holder->client_id, claim->client.data, len);
    }
}

static void keep_status(struct sim_answer *answer, const struct wire_response *response)
{
    static const enum netlock_state states[] = {
        [WIRE_FREE] = NETLOCK_FREE,
        [WIRE_HELD_BY_ME] = NETLOCK_HELD,
        [WIRE_WAITING] = NETLOCK_WAITING,
        [WIRE_HELD_BY_OTHER_CLIENT] = NETLOCK_HELD_BY_OTHER,
    };
    answer->state = states[response->status.state];
    answer->type = response->status.type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE;
    answer->drop = response->status.drop == WIRE_DROP_IGNORE ? NETLOCK_DROP_IGNORE
                                                             : NETLOCK_DROP_RELEASE;
    answer->token = response->status.token;
    answer->remaining_ms = response->status.remaining_ms;
    answer->limit = response->status.limit;
    answer->slot = response->status.slot;
    answer->holders_count = response->status.holders_count;
    answer->queue_length = response->status.queue_length;
    answer->queue_position = response->status.queue_position;
    keep_holders(answer, response);
}

static void keep_token(struct sim_answer *answer, const struct wire_response *response)
{
    static const enum netlock_token_state states[] = {
        [WIRE_TOKEN_CURRENT] = NETLOCK_CURRENT,
        [WIRE_TOKEN_SUPERSEDED] = NETLOCK_SUPERSEDED,
        [WIRE_TOKEN_FREE] = NETLOCK_TOKEN_FREE,
    };
    answer->token_state = states[response->check_token.state];
    answer->superseded_by = response->check_token.superseded_by;
}

static void on_answer(struct operation *operation, const struct wire_response *response)
{
    struct pending *pending = operation->query;
    struct sim_answer *answer = &pending->answer;
    static const enum wire_response_type types[] = {
        [SIM_ASK_STATUS] = WIRE_RESP_STATUS,
        [SIM_ASK_CHECK_TOKEN] = WIRE_RESP_CHECK_TOKEN,
        [SIM_ASK_BREAK] = WIRE_RESP_FORCE_RELEASE,
    };
    if (response->type != types[pending->type]) {
        operation->rv = -NETLOCK_EPROTOCOL;
        return;
    }
    *answer = (struct sim_answer){
        .index = response->position.index,
        .cluster_time_ms = response->position.cluster_time_ms,
    };
    if (pending->type == SIM_ASK_STATUS)
        keep_status(answer, response);
    else if (pending->type == SIM_ASK_CHECK_TOKEN)
        keep_token(answer, response);
    else
        answer->count = response->force_release.holds_broken;
    operation->rv = 0;
}

static int submit_query(struct netlock *nl,
                        enum operation_kind kind,
                        const struct sim_ask *ask,
                        struct pending *pending)
{
    size_t len = ask->lock != NULL ? strnlen(ask->lock, NETLOCK_NAME_BYTES_MAX + 1) : 0;
    int rv = wire_name_valid(ask->lock, len) ? client_usable(nl) : -EINVAL;
    if (rv != 0)
        return rv;
    client_clock(nl);
    struct client_lock *lock = client_lock_get(nl, ask->lock, len);
    struct operation *operation = lock != NULL ? operation_new(nl, kind, lock) : NULL;
    if (operation == NULL)
        return -ENOMEM;
    operation->token = ask->token;
    operation->on_answer = on_answer;
    operation->query = pending;
    operation->done = on_done;
    operation->arg = pending;
    return 0;
}

/* ---- asks ---------------------------------------------------------------------------- */

static int
submit_lock(struct netlock *nl, const struct sim_ask *ask, struct pending *pending)
{
    const struct netlock_lock_options how = {
        .type = ask->type_of_lock,
        .try_only = ask->try_only,
        .wait_timeout_ms = ask->wait_ms,
        .lock_timeout_ms = ask->hold_ms,
        .drop = ask->ignore ? NETLOCK_DROP_IGNORE : NETLOCK_DROP_RELEASE,
        .limit = ask->limit,
        .downgrade = ask->downgrade,
    };
    return netlock_lock_async(nl, ask->lock, &how, on_done, pending);
}

static int
submit_refresh(struct netlock *nl, const struct sim_ask *ask, struct pending *pending)
{
    const enum netlock_drop drop = NETLOCK_DROP_IGNORE;
    return netlock_refresh_async(nl, ask->lock, ask->hold_ms, ask->ignore ? &drop : NULL,
                                 on_done, pending);
}

static int submit(struct netlock *nl, const struct sim_ask *ask, struct pending *pending)
{
    switch (ask->type) {
    case SIM_ASK_LOCK:
        return submit_lock(nl, ask, pending);
    case SIM_ASK_UNLOCK:
        return netlock_unlock_async(nl, ask->lock, ask->token, on_done, pending);
    case SIM_ASK_REFRESH:
        return submit_refresh(nl, ask, pending);
    case SIM_ASK_CANCEL:
        return netlock_cancel(nl, ask->lock);
    case SIM_ASK_STATUS:
        return submit_query(nl, OPERATION_STATUS, ask, pending);
    case SIM_ASK_CHECK_TOKEN:
        return submit_query(nl, OPERATION_CHECK_TOKEN, ask, pending);
    case SIM_ASK_BREAK:
        return submit_query(nl, OPERATION_BREAK, ask, pending);
    default: /* there are no connections to play with */
        return -EOPNOTSUPP;
    }
}

static void tell_ask(struct sim_client *client, const struct sim_ask *ask, uint64_t op)
{
    struct sim_record record = sim_client_record(client, SIM_REC_ASK);
    record.op = op;
    record.ask = ask;
    record.ask_type = ask->type;
    record.lock = ask->lock;
    record.token = ask->token;
    record.type_of_lock = ask->type_of_lock;
    record.limit = ask->limit;
    sim_history_tell(&record);
}

/* @ask->token is resolved in place. */
static void begin(struct sim_client *client, struct sim_ask *ask)
{
    uint64_t op = sim_history_next_op();
    struct sim_belief *belief =
        sim_belief_get(client, "", ask->lock != NULL ? ask->lock : "");
    if (ask->token == SIM_TOKEN_HELD)
        ask->token = belief->token; /* never granted: none has that number */
    tell_ask(client, ask, op);
    struct pending *pending = pending_new(client, ask, belief, op);
    if (ask->type == SIM_ASK_UNLOCK) {
        belief->given_up_op = op;
        if (ask->token == 0 || ask->token == belief->token)
            sim_belief_end(client, belief);
    }
    int rv = submit(client->library->nl, ask, pending);
    if (rv != 0 || ask->type == SIM_ASK_CANCEL) { /* it is over */
        tell_outcome(pending, rv, NULL);
        pending_free(pending);
    }
}

/* Give up what was used for long enough. Returns when that is due next, by the process's clock. */
static uint64_t end_uses(struct sim_client *client)
{
    uint64_t now_us = sim_clock_us(&client->process.clock);
    uint64_t due_us = SIM_NEVER;
    struct sim_belief *next;
    for (struct sim_belief *at = TAILQ_FIRST(&client->held); at != NULL; at = next) {
        next = TAILQ_NEXT(at, held);
        if (at->use_end_us <= now_us)
            begin(client, &(struct sim_ask){.type = SIM_ASK_UNLOCK, .lock = at->lock});
        else if (at->use_end_us < due_us)
            due_us = at->use_end_us;
    }
    return due_us;
}

/* ---- turns --------------------------------------------------------------------------- */

static void on_change(void *arg)
{
    struct sim_process *process = arg;
    sim_process_wake(process, sim_now_us());
}

static void open_library(struct sim_client *client)
{
    const struct sim_client_options *options = &client->options;
    const struct netlock_options how = {
        .servers = sim_nodes_addresses(),
        .client_id = options->client_id[0] != 0 ? options->client_id : NULL,
        .connect_timeout_ms = options->connect_timeout_ms,
        .session_grace_ms = options->session_grace_ms,
        .drift_ppm = options->drift_ppm,
        .flags =
            NETLOCK_MANUAL | (options->no_refresh ? (unsigned)NETLOCK_NO_REFRESH : 0),
        .application = options->name,
        .on_notice = on_notice,
        .arg = client,
        .share_id = options->share_id,
    };
    struct sim_library *library = client->library;
    int rv = netlock_open(&library->nl, &how);
    if (rv != 0)
        sim_process_exit(1);
    sim_epoll_watch(netlock_fd(library->nl), on_change, &client->process);
}

static void begin_close(struct sim_client *client)
{
    if (client->library->closing)
        return;
    client->library->closing = true;
    sim_beliefs_end(client);
    client_close_begin(client->library->nl);
}

static void take_asks(struct sim_client *client)
{
    struct sim_queued_ask *queued;
    while ((queued = sim_client_take_ask(client)) != NULL) {
        if (queued->close)
            begin_close(client);
        else
            begin(client, &queued->ask);
        sim_client_give_back(queued);
    }
}

static void end_if_closed(struct sim_client *client)
{
    struct sim_library *library = client->library;
    struct netlock *nl = library->nl;
    if (!library->closing || !client_close_finished(nl) || !TAILQ_EMPTY(&nl->done))
        return;
    library->nl = NULL;
    client_free(nl);
    sim_process_exit(0);
}

/* The library counts the milliseconds that have begun: its time has come at the first microsecond of
 * the one that it waits for. */
static void sleep_until(struct sim_process *process, int timeout_ms, uint64_t due_us)
{
    const struct sim_clock *clock = &process->clock;
    if (timeout_ms >= 0) {
        uint64_t now_ms = sim_clock_us(clock) / 1000;
        uint64_t end_us = (now_ms + (uint64_t)timeout_ms) * 1000;
        if (end_us < due_us)
            due_us = end_us;
    }
    if (due_us != SIM_NEVER)
        sim_process_wake(process, sim_clock_when(clock, due_us));
}

static void library_turn(struct sim_client *client)
{
    struct sim_library *library = client->library;
    if (library->nl == NULL)
        open_library(client);
    int timeout_ms = 0;
    uint64_t due_us = SIM_NEVER;
    bool again = true;
    for (unsigned round = 0; again && round < ROUNDS_MAX; round++) {
        (void)netlock_process(library->nl); /* what is over for good, its callbacks say */
        due_us = end_uses(client);
        take_asks(client);
        end_if_closed(client);
        timeout_ms = netlock_timeout_ms(library->nl);
        /* A program's loop polls before it sleeps, and finds what the library has not read. */
        again = timeout_ms == 0 || sim_epoll_ready(netlock_fd(library->nl));
    }
    if (again)
        sim_process_wake(&client->process, sim_now_us() + SPIN_US);
    else
        sleep_until(&client->process, timeout_ms, due_us);
}

/* ---- life ---------------------------------------------------------------------------- */

static void library_make(struct sim_client *client)
{
    client->library = sim_alloc(sizeof(*client->library));
    TAILQ_INIT(&client->library->pending);
    TAILQ_INIT(&client->library->spare);
}

/* What was under way has no outcome. */
static void library_ended(struct sim_client *client)
{
    struct sim_library *library = client->library;
    library->nl = NULL;
    library->closing = false;
    TAILQ_CONCAT(&library->spare, &library->pending, link);
    library->pending_count = 0;
}

static void library_free(struct sim_client *client)
{
    struct sim_library *library = client->library;
    struct pending *pending;
    while ((pending = TAILQ_FIRST(&library->spare)) != NULL) {
        TAILQ_REMOVE(&library->spare, pending, link);
        sim_free(pending);
    }
    sim_free(library);
}

static unsigned library_pending(const struct sim_client *client)
{
    return client->library->pending_count;
}

const struct sim_client_verbs sim_client_library = {
    .make = library_make,
    .turn = library_turn,
    .ended = library_ended,
    .free = library_free,
    .pending = library_pending,
};
