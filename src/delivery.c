/* Events of the lock table on their way to connections. An event with a ref answers a
 * command that was proposed here; without one it is news: of the end of a wait, for every
 * request that waits for it, or of a hold, for the client's newest connection. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <utlist.h>

#include "session.h"
#include "xalloc.h"

enum { WAITINGS_PER_SESSION_MAX = 10000 };

/* ---- attach, detach, create ---- */

static void send_attached(struct session *session,
                          const struct pending *pending,
                          const struct fsm_event *event,
                          const struct replica_position *at)
{
    struct server *server = session->server;
    struct wire_response response;

    answer_from_event(event, at, &pending->to, session->hello, &server->scratch,
                      &response);
    if (pending->kind == PENDING_CREATE) {
        response.type = WIRE_RESP_CREATE;
        response.create.secret = (struct wire_str){
            .data = (const char *)pending->secret,
            .len = pending->has_secret ? sizeof(pending->secret) : 0,
        };
    }
    if (session_send(session, &response) == -EMSGSIZE) {
        session_refuse(session, response.key, response.client, WIRE_ERROR_TOO_LARGE,
                       "the client is attached, but its claims do not fit one message");
    }
}

static void tell_attached(struct session *session,
                          const struct pending *pending,
                          const struct fsm_event *event,
                          const struct replica_position *at)
{
    switch (pending->kind) {
    case PENDING_ATTACH:
    case PENDING_CREATE:
        if (event->type == FSM_EV_ATTACHED) {
            send_attached(session, pending, event, at);
        } else {
            session_refuse(session, answer_key(&pending->to),
                           wire_str_of_fsm(event->client), answer_error_of(event->deny),
                           answer_deny_text(event->deny));
        }
        return;
    case PENDING_ATTACH_DEFAULT:
        session->default_attaching = false;
        return;
    case PENDING_ATTACH_IMPLICIT:
        if (event->type == FSM_EV_DENIED) {
            session->implicit_refused = event->deny;
        }
        return;
    case PENDING_REQUEST:
    case PENDING_DETACH:
    case PENDING_BACKUP:
    case PENDING_KILL:
        break;
    }
    abort(); /* not an attach */
}

static void on_attach_answer(struct server *server,
                             struct session *session,
                             const struct pending *pending,
                             const struct fsm_event *event,
                             const struct replica_position *at)
{
    if (event->type == FSM_EV_ATTACHED) {
        liveness_attached(server->liveness, event->client, event->attach_seq,
                          event->epoch, event->superseded,
                          session != NULL ? &session->live : NULL, pending->gone_at_ms);
    } else {
        bool stale = session != NULL && event->deny == FSM_DENY_STALE_EPOCH;
        liveness_refused(server->liveness, event->client, stale ? &session->live : NULL);
    }
    if (session != NULL) {
        tell_attached(session, pending, event, at);
    }
}

/* ---- lists and checkpoints ---- */

/* As many items as fit a frame; whoever asks goes on after the last one. */
static void send_page(struct session *session,
                      const struct pending *pending,
                      const struct fsm_event *event,
                      const struct replica_position *at)
{
    const struct page *page = &session->server->page;
    bool of_locks = event->command == FSM_CMD_LIST_LOCKS;
    size_t count = of_locks ? page->locks_count : page->clients_count;
    bool more = event->more;
    struct wire_response response = {
        .key = answer_key(&pending->to),
        .position = {.index = at->index,
                     .term = at->term,
                     .cluster_time_ms = at->cluster_ms},
    };

    for (;;) {
        if (of_locks) {
            response.type = WIRE_RESP_LIST_LOCKS;
            response.list_locks.locks = page->locks;
            response.list_locks.count = count;
            response.list_locks.more = more;
        } else {
            response.type = WIRE_RESP_LIST_CLIENTS;
            response.list_clients.clients = page->clients;
            response.list_clients.count = count;
            response.list_clients.more = more;
        }
        if (session_send(session, &response) == 0) {
            return;
        }
        assert(count > 1); /* one item always fits */
        count /= 2;
        more = true;
    }
}

static void send_checkpoint(struct session *session,
                            const struct pending *pending,
                            const struct replica_position *at)
{
    struct node_info info;
    struct wire_response response = {.key = answer_key(&pending->to)};

    node_info_get(session->server, &info);
    node_info_put_status(session->server, &info, &response);
    response.position = (struct wire_position){
        .index = at->index, .term = at->term, .cluster_time_ms = at->cluster_ms};
    int rv = session_send(session, &response);
    assert(rv == 0);
    (void)rv;
}

/* ---- locks ---- */

/* The final answer of this request comes when the wait ends. */
static void remember_waiting(struct session *session,
                             struct pending *pending,
                             const struct fsm_event *event)
{
    struct waitings *waitings = &session->server->waitings;

    if (session->waitings_count == WAITINGS_PER_SESSION_MAX) {
        struct waiting *oldest = session->waitings;
        DL_DELETE(session->waitings, oldest);
        waiting_free(waitings, oldest);
        session->waitings_count--;
    }
    struct waiting *waiting =
        waiting_add(waitings, event->client, event->lock, pending->to);
    pending->to = (struct answer_to){0};
    waiting->session = session;
    DL_APPEND(session->waitings, waiting);
    session->waitings_count++;
}

static void send_event(struct session *session,
                       const struct fsm_event *event,
                       const struct replica_position *at,
                       const struct answer_to *to)
{
    struct wire_response response;

    answer_from_event(event, at, to, session->hello, &session->server->scratch,
                      &response);
    int rv = session_send(session, &response);
    assert(rv == 0); /* at most 16 holders: far below a frame */
    (void)rv;
}

static void on_request_answer(struct session *session,
                              struct pending *pending,
                              const struct fsm_event *event,
                              const struct replica_position *at)
{
    if (event->type == FSM_EV_LIST_END) {
        send_page(session, pending, event, at);
        return;
    }
    if (event->type == FSM_EV_CHECKPOINT) {
        send_checkpoint(session, pending, at);
        return;
    }
    send_event(session, event, at, &pending->to);
    if (event->type == FSM_EV_WAITING && event->command == FSM_CMD_LOCK &&
        !session->left) {
        remember_waiting(session, pending, event);
    }
}

/* ---- what operators did ---- */

/* Whoever acts for the client learns by the end of its connection that it must attach again, and
 * then what it has lost. */
static void close_connections_of(struct server *server,
                                 struct fsm_str client,
                                 const struct session *but)
{
    struct liveness_conn *live;

    while ((live = liveness_newest(server->liveness, client)) != NULL) {
        struct session *session = session_of_live(live);
        if (session == but) {
            session_finish(session, SESSION_GONE_AFTER_GRACE);
        } else {
            session_close(session, SESSION_GONE_AFTER_GRACE);
        }
    }
}

static void finish_kill(struct server *server,
                        struct session *session,
                        const struct pending *pending,
                        const struct fsm_event *event,
                        const struct replica_position *at)
{
    char client[LOG_QUOTED_BYTES];
    struct wire_response response = {
        .type = WIRE_RESP_CLIENT_KILL,
        .key = answer_key(&pending->to),
        .client = wire_str_of_fsm(event->client),
        .position = {.index = at->index,
                     .term = at->term,
                     .cluster_time_ms = at->cluster_ms},
        .client_kill = {.found = pending->found},
    };

    log_audit(server->log, "client-kill-done", "client=%s found=%s index=%" PRIu64,
              log_quote(client, event->client.data, event->client.len),
              pending->found ? "yes" : "no", at->index);
    if (session != NULL) {
        int rv = session_send(session, &response);
        assert(rv == 0);
        (void)rv;
    }
    close_connections_of(server, event->client, session);
}

static void audit_hold_broken(const struct server *server,
                              const struct fsm_event *event,
                              const struct replica_position *at)
{
    char lock[LOG_QUOTED_BYTES];
    char client[LOG_QUOTED_BYTES];

    log_audit(server->log, "hold-broken",
              "lock=%s client=%s token=%" PRIu64 " index=%" PRIu64,
              log_quote(lock, event->lock.data, event->lock.len),
              log_quote(client, event->client.data, event->client.len), event->token,
              at->index);
}

static void audit_break_done(const struct server *server,
                             const struct fsm_event *event,
                             const struct replica_position *at)
{
    char lock[LOG_QUOTED_BYTES];

    log_audit(server->log, "break-done", "lock=%s holds=%u index=%" PRIu64,
              log_quote(lock, event->lock.data, event->lock.len), event->holders_count,
              at->index);
}

static void audit(const struct server *server,
                  const struct fsm_event *event,
                  const struct replica_position *at)
{
    if (event->type == FSM_EV_HOLD_ENDED && event->hold_end == FSM_HOLD_BROKEN) {
        audit_hold_broken(server, event, at);
    } else if (event->type == FSM_EV_FORCED) {
        audit_break_done(server, event, at);
    }
}

/* ---- answers and news ---- */

static void on_answer(struct server *server,
                      struct session *session,
                      struct pending *pending,
                      const struct fsm_event *event,
                      const struct replica_position *at)
{
    switch (pending->kind) {
    case PENDING_ATTACH:
    case PENDING_CREATE:
    case PENDING_ATTACH_DEFAULT:
    case PENDING_ATTACH_IMPLICIT:
        on_attach_answer(server, session, pending, event, at);
        return;
    case PENDING_REQUEST:
        if (session != NULL) {
            on_request_answer(session, pending, event, at);
        }
        return;
    case PENDING_DETACH:
        if (session != NULL) {
            send_event(session, event, at, &pending->to);
        }
        return;
    case PENDING_BACKUP:
        if (session != NULL) {
            session_begin_backup(session, pending, at);
        }
        return;
    case PENDING_KILL:
        finish_kill(server, session, pending, event, at);
        return;
    }
}

static void deliver_answer(struct server *server,
                           const struct fsm_event *event,
                           const struct replica_position *at)
{
    struct pending *pending = pending_find(&server->pendings, event->ref);

    assert(pending != NULL);
    struct session *session = pending->session;
    if (session != NULL) {
        DL_DELETE(session->pendings, pending);
        pending->session = NULL;
    }
    metrics_add_duration(&server->metrics.commits, metrics_now_us() - pending->asked_us);
    on_answer(server, session, pending, event, at);
    pending_free(&server->pendings, pending);
    if (event->type == FSM_EV_LIST_END) {
        page_clear(&server->page);
    }
    if (session != NULL) {
        session_answered(session);
    }
}

/* To every request that waited for this. Sending may close a session, and that forgets
 * its requests: look from the start each time, if there were others at all. Returns
 * whether there was one. */
static bool end_waits(struct server *server,
                      const struct fsm_event *event,
                      const struct replica_position *at)
{
    struct waiting *waiting;
    bool found = false;
    bool others = true;

    while (others && (waiting = waiting_find(&server->waitings, event->client,
                                             event->lock)) != NULL) {
        others = waiting->more != NULL;
        struct session *session = waiting->session;
        struct answer_to to = waiting->to;
        waiting->to = (struct answer_to){0};
        DL_DELETE(session->waitings, waiting);
        session->waitings_count--;
        waiting_free(&server->waitings, waiting);
        send_event(session, event, at, &to);
        answer_to_release(&to);
        found = true;
    }
    return found;
}

static void deliver_news(struct server *server,
                         const struct fsm_event *event,
                         const struct replica_position *at)
{
    if (event->type != FSM_EV_HOLD_ENDED && end_waits(server, event, at)) {
        return;
    }
    struct liveness_conn *live = liveness_newest(server->liveness, event->client);
    if (live != NULL) {
        send_event(session_of_live(live), event, at, NULL);
    }
}

void delivery_on_event(struct server *server,
                       const struct fsm_event *event,
                       const struct replica_position *at)
{
    switch (event->type) {
    case FSM_EV_SERVING:
    case FSM_EV_CLIENT_ENDED:
    case FSM_EV_MEMBER:
        return;
    case FSM_EV_LIST_LOCK:
    case FSM_EV_LIST_CLIENT:
        page_add(&server->page, event, replica_table(server_replica(server)));
        return;
    case FSM_EV_ATTACHED:
    case FSM_EV_DETACHED:
    case FSM_EV_GRANTED:
    case FSM_EV_WAITING:
    case FSM_EV_DENIED:
    case FSM_EV_WAIT_TIMEOUT:
    case FSM_EV_HOLD_ENDED:
    case FSM_EV_RELEASE:
    case FSM_EV_STATUS:
    case FSM_EV_TOKEN:
    case FSM_EV_LIST_END:
    case FSM_EV_FORCED:
    case FSM_EV_CHECKPOINT:
        break;
    }
    metrics_on_event(&server->metrics, event);
    audit(server, event, at);
    if (event->ref != 0) {
        deliver_answer(server, event, at);
    } else if (event->type == FSM_EV_DETACHED) {
        gone_on_detached(server);
    } else if (event->command == 0) {
        deliver_news(server, event, at);
    }
}
