#include "session_request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_RETRY_MS = 1000, DISK_RETRY_MS = 1000 };

/* ---- locks ---- */

static enum session_need handle_command(struct session *session,
                                        const struct wire_request *request)
{
    struct request_facts facts = {.hello = session->hello};
    struct fsm_command command;
    struct request_refusal refusal;
    enum session_need need;

    if (request_deniable(request->type)) {
        facts.client = session_client_of(session, request);
    }
    if (request_to_command(request, &facts, &session->server->policy, &command,
                           &refusal) != 0) {
        return session_refuse_request(session, request, &refusal);
    }
    if (request_needs_client(request->type)) {
        bool attached = false;
        need = session_act_for(session, request, &command, &attached);
        if (!attached) {
            return need;
        }
    }
    if (session_propose(session, PENDING_REQUEST, request, &command, &need) == NULL) {
        return need;
    }
    if (request->type == WIRE_REQ_FORCE_RELEASE) {
        session_audit_break(session, request);
    }
    return SESSION_NEEDS_NOTHING;
}

/* The whole table is walked for a list: one at a time for each connection. */
static enum session_need handle_list(struct session *session,
                                     const struct wire_request *request)
{
    enum session_need need = handle_command(session, request);

    session->barrier = session->pendings_count != 0;
    return need;
}

/* ---- the connection itself ---- */

/* Its clients are bound to a name, and what it waits for was allowed to one. */
static bool is_spoken_for(const struct session *session)
{
    return session->hello || session->live.links != NULL;
}

static bool is_called(const struct session *session, struct fsm_str name)
{
    return session->principal_len == name.len &&
           memcmp(session->principal, name.data, name.len) == 0;
}

/* A token says who it is, whatever the certificate says. Returns 0, or -EACCES with why not, or -EAGAIN. */
static int identify(struct session *session,
                    const struct wire_request *request,
                    const char **ret_why)
{
    struct fsm_str name;
    unsigned char hash[TOKEN_HASH_BYTES];

    int rv = admission_identify(session->server, session->address,
                                fsm_str_of(request->hello.token), &name, hash);
    if (rv != 0) {
        *ret_why = "not a token of this cluster";
        return rv;
    }
    if (name.len == 0) {
        return 0;
    }
    if (is_spoken_for(session) && !is_called(session, name)) {
        *ret_why = "this connection is somebody else's; open another";
        return -EACCES;
    }
    memcpy(session->principal, name.data, name.len);
    session->principal_len = name.len;
    session->by_token = true;
    memcpy(session->token_hash, hash, sizeof(hash));
    return 0;
}

/* Somebody who may ask nothing is told so, and that is all. */
static enum session_need refuse_stranger(struct session *session,
                                         const struct wire_request *request,
                                         const char *text)
{
    struct server *server = session->server;

    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    SERVER_LOG_LIMITED(server, server->denied_limit, LOG_LEVEL_WARNING, "client-denied",
                       "peer=%s principal=\"%.*s\" why=\"%s\"", session->peer,
                       (int)session->principal_len, session->principal, text);
    session_answer_error(session, request, WIRE_ERROR_NOT_ALLOWED, text, 0);
    return session_hang_up(session);
}

/* Its token may well be right: it was somebody else at its address who guessed. */
static enum session_need put_back(struct session *session,
                                  const struct wire_request *request)
{
    session->hello = true; /* it understands errors */
    session_answer_error(session, request, WIRE_ERROR_BUSY,
                         "too many wrong tokens from this address; wait a second",
                         TOKEN_RETRY_MS);
    return session_hang_up(session);
}

static const char stranger_text[] =
    "not known here: show a certificate or a token that the cluster's ACL allows";

static bool is_stranger(const struct session *session)
{
    return !access_knows(&session->server->access, session_principal(session));
}

static enum session_need turn_away(struct session *session,
                                   const struct wire_request *request)
{
    return session->hello ? refuse_stranger(session, request, stranger_text)
                          : session_hang_up(session);
}

static enum session_need handle_hello(struct session *session,
                                      const struct wire_request *request)
{
    struct server *server = session->server;
    uint64_t grace_ms = request->hello.session_grace_ms;
    char library[LOG_QUOTED_BYTES];
    struct node_info info;

    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    const char *why = stranger_text;
    int rv = identify(session, request, &why);
    if (rv == -EAGAIN) {
        return put_back(session, request);
    }
    session->hello = true;
    if (rv != 0 || is_stranger(session)) {
        return refuse_stranger(session, request, why);
    }
    if (request->hello.version_min > WIRE_VERSION ||
        request->hello.version_max < WIRE_VERSION) {
        session_answer_error(session, request, WIRE_ERROR_VERSION,
                             "this server speaks version 1", 0);
        session_finish(session, SESSION_GONE_AFTER_GRACE);
        return SESSION_NEEDS_NOTHING;
    }
    if (grace_ms > server->config->session_grace_max_ms) {
        grace_ms = server->config->session_grace_max_ms;
    }
    session->grace_ms = grace_ms;
    conn_set_heartbeat(&session->conn, grace_ms);
    log_event(
        server->log, LOG_LEVEL_DEBUG, "server", "client-hello", "peer=%s library=%s",
        session->peer,
        log_quote(library, request->hello.library.data, request->hello.library.len));
    node_info_get(server, &info);
    struct wire_response response = {.key = request->key};
    node_info_put_hello(server, &info, grace_ms, &response);
    return session_answer(session, &response);
}

void session_tell_hello(struct session *session)
{
    struct node_info info;
    struct wire_response response = {.key = {0}};

    node_info_get(session->server, &info);
    node_info_put_hello(session->server, &info, session->grace_ms, &response);
    int rv = session_send(session, &response);
    assert(rv == 0);
    (void)rv;
}

static enum session_need handle_ping(struct session *session,
                                     const struct wire_request *request)
{
    struct wire_response response = {
        .type = WIRE_RESP_PING,
        .key = request->key,
        .ping = {.payload = request->ping.payload},
    };
    return session_answer(session, &response);
}

static enum session_need handle_cluster_status(struct session *session,
                                               const struct wire_request *request)
{
    struct server *server = session->server;
    enum session_need need = SESSION_NEEDS_NOTHING;
    struct node_info info;

    if (request->cluster_status.checkpoint && server->serving) {
        struct fsm_command command = {.type = FSM_CMD_CHECKPOINT};
        if (session_propose(session, PENDING_REQUEST, request, &command, &need) != NULL) {
            session->barrier = true;
        }
        return need;
    }
    node_info_get(server, &info);
    struct wire_response response = {.key = request->key};
    node_info_put_status(server, &info, &response);
    return session_answer(session, &response);
}

static bool is_allowed(const struct session *session, const struct wire_request *request)
{
    return access_allows(&session->server->access, session_principal(session), request);
}

static enum session_need refuse_by_acl(struct session *session,
                                       const struct wire_request *request)
{
    struct request_refusal refusal = {
        .deny = request_deniable(request->type) ? WIRE_DENY_NOT_ALLOWED : 0,
        .error = WIRE_ERROR_NOT_ALLOWED,
        .text = "no rule of the cluster's ACL allows it",
    };

    return session_refuse_request(session, request, &refusal);
}

static enum session_need handle_node_control(struct session *session,
                                             const struct wire_request *request)
{
    struct server *server = session->server;

    if (!is_allowed(session, request)) {
        return refuse_by_acl(session, request);
    }
    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    node_control(server, request, session->peer);
    struct wire_response response = {.key = request->key};
    node_control_put(server, &response);
    return session_answer(session, &response);
}

/* ---- dispatch ---- */

/* A client that comes back has holds to give back. A plain client's question about a lock is taken
 * too: there is no answer that it would not take for "not held". */
static bool disk_allows(const struct session *session, const struct wire_request *request)
{
    const struct server *server = session->server;
    uint64_t attach_seq, epoch;

    if (!server->disk_low || request_adds_nothing(request->type)) {
        return true;
    }
    if (request->type == WIRE_REQ_ATTACH) {
        return fsm_client_find(replica_table(server_replica(server)),
                               fsm_str_of(request->client), &attach_seq, &epoch);
    }
    return request->type == WIRE_REQ_STATUS && !session->hello;
}

static enum session_need refuse_for_disk(struct session *session,
                                         const struct wire_request *request)
{
    struct request_refusal refusal = {
        .deny = request_deniable(request->type) ? WIRE_DENY_LIMIT_EXCEEDED : 0,
        .text = "the leader's disk is almost full: it takes releases and refreshes only",
    };

    return session->hello ? session_answer_error(session, request, WIRE_ERROR_BUSY,
                                                 refusal.text, DISK_RETRY_MS)
                          : session_refuse_request(session, request, &refusal);
}

static enum session_need handle_on_leader(struct session *session,
                                          const struct wire_request *request)
{
    if (!is_allowed(session, request)) {
        return refuse_by_acl(session, request);
    }
    if (!disk_allows(session, request)) {
        return refuse_for_disk(session, request);
    }
    switch (request->type) {
    case WIRE_REQ_LOCK:
    case WIRE_REQ_REFRESH:
    case WIRE_REQ_RELEASE:
    case WIRE_REQ_STATUS:
    case WIRE_REQ_CHECK_TOKEN:
    case WIRE_REQ_FORCE_RELEASE:
        return handle_command(session, request);
    case WIRE_REQ_LIST_LOCKS:
    case WIRE_REQ_LIST_CLIENTS:
        return handle_list(session, request);
    case WIRE_REQ_ATTACH:
        return session_handle_attach(session, request);
    case WIRE_REQ_DETACH:
        return session_handle_detach(session, request);
    case WIRE_REQ_CREATE:
        return session_handle_create(session, request);
    case WIRE_REQ_GET_DEFAULT_ID:
        return session_handle_default_id(session, request);
    case WIRE_REQ_GET_ATTACHED_IDS:
        return session_handle_attached_ids(session, request);
    case WIRE_REQ_BACKUP:
        return session_handle_backup(session, request);
    case WIRE_REQ_CLIENT_KILL:
        return session_handle_kill(session, request);
    case WIRE_REQ_CLUSTER_CHANGE:
        return session_handle_change(session, request);
    case WIRE_REQ_HELLO:
    case WIRE_REQ_PING:
    case WIRE_REQ_CLUSTER_STATUS:
    case WIRE_REQ_NODE_CONTROL:
        break;
    }
    abort(); /* answered by every node */
    return SESSION_NEEDS_NOTHING;
}

static enum session_need handle(struct session *session,
                                const struct wire_request *request)
{
    if (request->type == WIRE_REQ_HELLO) {
        return handle_hello(session, request);
    }
    if (is_stranger(session)) {
        return turn_away(session, request);
    }
    if (request_extended(request->type) && !session->hello) {
        struct request_refusal refusal = {.error = WIRE_ERROR_UNKNOWN_TYPE,
                                          .text = "say Hello first"};
        return session_refuse_request(session, request, &refusal);
    }
    if (request->type == WIRE_REQ_PING) {
        return handle_ping(session, request);
    }
    if (request->type == WIRE_REQ_CLUSTER_STATUS) {
        return handle_cluster_status(session, request);
    }
    if (request->type == WIRE_REQ_NODE_CONTROL) {
        return handle_node_control(session, request);
    }
    return session->server->serving ? handle_on_leader(session, request)
                                    : session_answer_not_leader(session, request);
}

static enum session_need refuse_malformed(struct session *session,
                                          const struct wire_request *request,
                                          const char *text)
{
    struct server *server = session->server;

    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    SERVER_LOG_LIMITED(server, server->malformed_limit, LOG_LEVEL_INFO,
                       "client-malformed", "peer=%s why=\"%s\"", session->peer, text);
    if (session->hello) {
        session_answer_error(session, request, WIRE_ERROR_INVALID, text, 0);
    }
    return session_hang_up(session);
}

enum session_need
session_handle_frame(struct session *session, const uint8_t *payload, size_t len)
{
    struct server *server = session->server;
    struct wire_request request;
    struct wire_refusal refusal;

    wire_arena_clear(&server->arena);
    int rv = wire_decode_request(payload, len, &server->arena, &request, &refusal);
    if (rv == -ENOMEM) {
        abort();
    }
    if (rv == 0) {
        server->metrics.requests[request.type]++;
        return handle(session, &request);
    }
    server->metrics.malformed++;
    if (refusal.problem == WIRE_MALFORMED) {
        return refuse_malformed(session, &request, refusal.text);
    }
    if (is_stranger(session)) {
        return turn_away(session, &request);
    }
    /* A plain client of a node that does not lead goes, whatever it asked. */
    if (!server->serving && !session->hello) {
        return session_answer_not_leader(session, &request);
    }
    struct request_refusal turned_down = request_refused_by_wire(&request, &refusal);
    return session_refuse_request(session, &request, &turned_down);
}
