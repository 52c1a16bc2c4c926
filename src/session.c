/* The life of a session: opening, sending, waiting, leaving. What it does with requests
 * is in session_request.c. */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define uthash_fatal(message) abort()
#include <utlist.h>

#include "session_request.h"
#include "xalloc.h"

/* ---- sending ---- */

int session_send(struct session *session, struct wire_response *response)
{
    struct server *server = session->server;

    if (session->left) {
        return 0;
    }
    response->extended = session->hello;
    int rv = wire_encode_response(&session->conn.out, response);
    if (rv == -ENOMEM) {
        abort();
    }
    if (rv != 0) {
        return rv;
    }
    if (conn_queued(&session->conn) == -ENOBUFS) {
        SERVER_LOG_LIMITED(
            server, server->broken_limit, LOG_LEVEL_WARNING, "client-too-slow",
            "peer=%s closed=\"it does not read its answers\"", session->peer);
        session_close(session, SESSION_GONE_AFTER_GRACE);
        return 0;
    }
    if (!session->unsent) {
        session->unsent = true;
        DL_APPEND2(server->unsent, session, unsent_prev, unsent_next);
    }
    return 0;
}

void session_refuse(struct session *session,
                    struct wire_str key,
                    struct wire_str client,
                    enum wire_error error,
                    const char *text)
{
    if (!session->hello) {
        session_finish(session, SESSION_GONE_NOW);
        return;
    }
    struct wire_response response = {
        .type = WIRE_RESP_ERROR,
        .key = key,
        .client = client,
        .error = {.code = error, .text = wire_str_of_text(text)},
    };
    int rv = session_send(session, &response);
    assert(rv == 0);
    (void)rv;
}

/* ---- waiting ---- */

static void end_if_done(struct session *session)
{
    if (session->left || session->pendings_count != 0 ||
        session->need != SESSION_NEEDS_NOTHING) {
        return;
    }
    if (session->oversized) {
        session_refuse(session, (struct wire_str){0}, (struct wire_str){0},
                       WIRE_ERROR_TOO_LARGE, "a frame of more than 1048576 bytes");
        session_finish(session, SESSION_GONE_AFTER_GRACE);
    } else if (session->ended) {
        session_finish(session, SESSION_GONE_NOW);
    }
}

static bool has_what_it_needs(const struct session *session)
{
    switch (session->need) {
    case SESSION_NEEDS_QUIET:
        return session->pendings_count == 0;
    case SESSION_NEEDS_SLOT:
        return session->pendings_count <
               session->server->config->pending_per_connection_max;
    case SESSION_NEEDS_NOTHING:
    case SESSION_NEEDS_ROOM:
        break;
    }
    return false;
}

static void look_again(struct session *session)
{
    session->need = SESSION_NEEDS_NOTHING;
    conn_resume(&session->conn);
    end_if_done(session);
}

void session_answered(struct session *session)
{
    if (session->left) {
        return;
    }
    assert(session->pendings_count > 0);
    session->pendings_count--;
    if (session->pendings_count == 0) {
        session->barrier = false;
    }
    if (has_what_it_needs(session)) {
        look_again(session);
    } else {
        end_if_done(session);
    }
}

void session_retry(struct session *session)
{
    assert(session->need == SESSION_NEEDS_ROOM);
    DL_DELETE2(session->server->starved, session, starved_prev, starved_next);
    look_again(session);
}

/* ---- leaving ---- */

static void forget_requests(struct session *session)
{
    struct waiting *waiting;
    struct waiting *next_waiting;
    struct pending *pending;
    struct pending *next_pending;

    DL_FOREACH_SAFE(session->waitings, waiting, next_waiting)
    {
        DL_DELETE(session->waitings, waiting);
        waiting_free(&session->server->waitings, waiting);
    }
    DL_FOREACH_SAFE(session->pendings, pending, next_pending)
    {
        DL_DELETE(session->pendings, pending);
        pending->session = NULL;
    }
}

static void leave(struct session *session, enum session_gone gone)
{
    struct server *server = session->server;
    uint64_t grace_ms = gone == SESSION_GONE_AFTER_GRACE ? session->grace_ms : 0;
    uint64_t gone_at_ms = uv_now(server->loop) + grace_ms;
    struct pending *pending;

    if (session->left) {
        return;
    }
    session->left = true;
    DL_FOREACH(session->pendings, pending)
    {
        pending->gone_at_ms = gone_at_ms;
    }
    forget_requests(session);
    session_forget_backup(session);
    session_forget_change(session);
    while (session->live.links != NULL) {
        liveness_drop(server->liveness, session->live.links, gone_at_ms);
    }
    if (session->unsent) {
        DL_DELETE2(server->unsent, session, unsent_prev, unsent_next);
        session->unsent = false;
    }
    if (session->need == SESSION_NEEDS_ROOM) {
        DL_DELETE2(server->starved, session, starved_prev, starved_next);
    }
    DL_DELETE(server->sessions, session);
    DL_APPEND(server->leaving, session);
    log_event(server->log, LOG_LEVEL_DEBUG, "server", "client-left",
              "peer=%s grace_ms=%llu", session->peer, (unsigned long long)grace_ms);
}

void session_close(struct session *session, enum session_gone gone)
{
    leave(session, gone);
    conn_close(&session->conn);
}

void session_finish(struct session *session, enum session_gone gone)
{
    leave(session, gone);
    conn_finish(&session->conn);
}

/* ---- what the conn tells ---- */

static void put_off(struct session *session, enum session_need need)
{
    session->need = need;
    if (need == SESSION_NEEDS_ROOM) {
        DL_APPEND2(session->server->starved, session, starved_prev, starved_next);
    }
}

static enum conn_take on_frame(struct conn *conn, const uint8_t *payload, size_t len)
{
    struct session *session = session_of_conn(conn);
    enum session_need need = SESSION_NEEDS_NOTHING;

    if (session->barrier) {
        need = SESSION_NEEDS_QUIET;
    } else if (session->pendings_count >=
               session->server->config->pending_per_connection_max) {
        need = SESSION_NEEDS_SLOT;
    } else {
        need = session_handle_frame(session, payload, len);
    }
    if (need == SESSION_NEEDS_NOTHING) {
        return CONN_TAKEN;
    }
    if (!session->left) {
        put_off(session, need);
    }
    return CONN_LATER;
}

/* The client is whom its certificate names. A node is no client, and a name that no rule could have
 * stays anonymous. */
static void take_name(struct session *session, const struct tls_identity *peer)
{
    struct fsm_str name = {.data = peer->name, .len = strlen(peer->name)};

    if (peer->kind == TLS_NAMED_CLIENT && principal_valid(name.data, name.len)) {
        memcpy(session->principal, name.data, name.len);
        session->principal_len = name.len;
    }
}

/* A certificate of another cluster is as good as none. One that is known by its common name only
 * belongs to whichever cluster trusts its CA. */
static void on_secured(struct conn *conn)
{
    struct session *session = session_of_conn(conn);
    struct server *server = session->server;
    const struct tls_identity *peer = tls_peer(conn->tls);
    char quoted[LOG_QUOTED_BYTES];

    if (peer->cluster[0] != '\0' && strcmp(peer->cluster, server->config->cluster) != 0) {
        SERVER_LOG_LIMITED(server, server->refused_limit, LOG_LEVEL_WARNING,
                           "client-refused", "peer=%s certificate-of-cluster=%s",
                           session->peer,
                           log_quote(quoted, peer->cluster, strlen(peer->cluster)));
        session_close(session, SESSION_GONE_NOW);
        return;
    }
    take_name(session, peer);
}

static void on_end(struct conn *conn)
{
    struct session *session = session_of_conn(conn);

    session->ended = true;
    end_if_done(session);
}

static void on_oversize(struct conn *conn)
{
    struct session *session = session_of_conn(conn);

    session->oversized = true;
    end_if_done(session);
}

static void on_broken(struct conn *conn, const char *why)
{
    struct session *session = session_of_conn(conn);

    if (session->hello || session->conn.had_frame) {
        log_event(session->server->log, LOG_LEVEL_DEBUG, "server", "client-broken",
                  "peer=%s why=\"%s\"", session->peer, why);
    } else {
        SERVER_LOG_LIMITED(session->server, session->server->broken_limit, LOG_LEVEL_INFO,
                           "client-broken", "peer=%s why=\"%s\"", session->peer, why);
    }
    session_close(session, SESSION_GONE_AFTER_GRACE);
}

static void on_closed(struct conn *conn)
{
    struct session *session = session_of_conn(conn);

    DL_DELETE(session->server->leaving, session);
    server_session_closed(session->server, session);
    free(session);
}

void session_conn_host(struct conn_host *ret)
{
    ret->on_frame = on_frame;
    ret->on_secured = on_secured;
    ret->on_end = on_end;
    ret->on_oversize = on_oversize;
    ret->on_broken = on_broken;
    ret->on_closed = on_closed;
}

void session_open(struct server *server,
                  int fd,
                  const struct sockaddr_storage *peer,
                  struct address_count *address)
{
    struct session *session = xcalloc(sizeof(*session));

    session->server = server;
    session->address = address;
    listener_address_text(peer, session->peer);
    DL_APPEND(server->sessions, session);
    server->connections_count++;
    if (conn_open(&session->conn, server->loop, &server->conn_host, fd) != 0) {
        leave(session, SESSION_GONE_NOW);
    }
}
