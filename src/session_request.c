#include "session_request.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <utlist.h>

#include "xalloc.h"

enum {
    BUSY_RETRY_MS = 50,
    ELECTION_RETRY_MIN_MS = 10, /* to look for the leader again while there is none */
    ELECTION_RETRY_MAX_MS = 50,
    DIGEST_BYTES = 32,
};
static_assert((int)DIGEST_BYTES <= (int)FSM_SECRET_DIGEST_BYTES_MAX, "SHA-256");

/* ---- random and secret ---- */

static void random_bytes(void *out, size_t len)
{
    if (getrandom(out, len, 0) != (ssize_t)len) {
        abort(); /* 256 bytes at most and no signal handlers: it cannot be cut short */
    }
}

/* 128 random bits: nobody guesses them, nobody draws them twice. */
static void draw_id(char out[static SESSION_DEFAULT_ID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[SESSION_DEFAULT_ID_BYTES / 2];

    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

/* The log and every replica know the digest only: who reads them cannot attach the
 * client. */
static struct fsm_str
digest_secret(const void *secret, size_t len, char out[static DIGEST_BYTES])
{
    unsigned digest_len = 0;

    if (len == 0) {
        return (struct fsm_str){0};
    }
    if (EVP_Digest(secret, len, (unsigned char *)out, &digest_len, EVP_sha256(), NULL) !=
        1) {
        abort();
    }
    return (struct fsm_str){.data = out, .len = digest_len};
}

/* ---- answers without the log ---- */

/* A local answer must not overtake those of commands under way. */
static bool quiet(const struct session *session)
{
    return session->pendings_count == 0;
}

static enum session_need answer(struct session *session, struct wire_response *response)
{
    if (!quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    int rv = session_send(session, response);
    assert(rv == 0);
    (void)rv;
    return SESSION_NEEDS_NOTHING;
}

static enum session_need answer_error(struct session *session,
                                      const struct wire_request *request,
                                      enum wire_error error,
                                      const char *text,
                                      uint32_t retry_after_ms)
{
    struct wire_response response = {
        .type = WIRE_RESP_ERROR,
        .key = request->key,
        .client = request->client,
        .lock = request->lock,
        .error = {.code = error,
                  .text = wire_str_of_text(text),
                  .retry_after_ms = retry_after_ms},
    };
    return answer(session, &response);
}

static enum session_need answer_denied(struct session *session,
                                       const struct wire_request *request,
                                       enum wire_deny reason,
                                       const char *text)
{
    struct wire_response response = {
        .type = WIRE_RESP_DENIED,
        .key = request->key,
        .client = request->client,
        .lock = request->lock,
        .denied = {.reason = reason, .text = wire_str_of_text(text)},
    };
    return answer(session, &response);
}

static enum session_need hang_up(struct session *session)
{
    if (!quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    session_finish(session, SESSION_GONE_AFTER_GRACE);
    return SESSION_NEEDS_NOTHING;
}

/* Denied where a lock is asked for; Error for those who know it; else only the end is
 * left. */
static enum session_need refuse(struct session *session,
                                const struct wire_request *request,
                                const struct request_refusal *refusal)
{
    if (refusal->deny != 0) {
        return answer_denied(session, request, refusal->deny, refusal->text);
    }
    if (session->hello) {
        return answer_error(session, request, refusal->error, refusal->text, 0);
    }
    if (request->lock.len != 0) {
        return answer_denied(session, request, WIRE_DENY_INVALID, refusal->text);
    }
    return hang_up(session);
}

static enum session_need refuse_attach(struct session *session,
                                       const struct wire_request *request,
                                       enum fsm_deny deny,
                                       const char *text)
{
    struct request_refusal refusal = {.error = answer_error_of(deny), .text = text};

    if (request_deniable(request->type)) {
        refusal.deny = (enum wire_deny)deny;
    }
    return refuse(session, request, &refusal);
}

static uint32_t election_retry_ms(void)
{
    uint8_t random;

    random_bytes(&random, sizeof(random));
    return ELECTION_RETRY_MIN_MS +
           random % (ELECTION_RETRY_MAX_MS - ELECTION_RETRY_MIN_MS + 1);
}

static enum session_need answer_not_leader(struct session *session,
                                           const struct wire_request *request)
{
    struct node_info info;

    if (!session->hello) {
        return hang_up(session);
    }
    node_info_get(session->server, &info);
    struct wire_response response = {
        .type = WIRE_RESP_ERROR,
        .key = request->key,
        .client = request->client,
        .lock = request->lock,
        .error = {.code = WIRE_ERROR_NOT_LEADER,
                  .text = wire_str_of_text("this node does not lead the cluster")},
    };
    if (info.status.leader_id != 0 &&
        info.status.leader_id != session->server->config->node_id) {
        response.error.leader_id = info.status.leader_id;
        response.error.leader_address = info.leader_address;
    } else {
        response.error.retry_after_ms = election_retry_ms();
    }
    return answer(session, &response);
}

/* ---- proposing ---- */

/* No room: a client that knows BUSY is told when nothing else is under way; the others
 * wait. */
static enum session_need busy(struct session *session, const struct wire_request *request)
{
    if (!session->hello || !quiet(session)) {
        return SESSION_NEEDS_ROOM;
    }
    return answer_error(session, request, WIRE_ERROR_BUSY,
                        "more requests than the cluster can take; ask again",
                        BUSY_RETRY_MS);
}

/* The pending of a proposed command, or NULL with *@ret_need. */
static struct pending *propose(struct session *session,
                               enum pending_kind kind,
                               const struct wire_request *request,
                               struct fsm_command *command,
                               enum session_need *ret_need)
{
    struct server *server = session->server;
    struct pending *pending =
        pending_new(&server->pendings, kind, answer_to_request(request));

    command->ref = pending->ref;
    int rv = replica_propose(server_replica(server), command);
    if (rv == 0) {
        pending->session = session;
        DL_APPEND(session->pendings, pending);
        session->pendings_count++;
        return pending;
    }
    pending_free(&server->pendings, pending);
    if (rv == -EBUSY) {
        *ret_need = busy(session, request);
    } else if (rv == -ENOTCONN) {
        *ret_need = answer_not_leader(session, request);
    } else {
        *ret_need = answer_error(session, request, WIRE_ERROR_TOO_LARGE, "too large", 0);
    }
    return NULL;
}

static struct pending *propose_attach(struct session *session,
                                      enum pending_kind kind,
                                      const struct wire_request *request,
                                      struct fsm_command *command,
                                      enum session_need *ret_need)
{
    struct pending *pending = propose(session, kind, request, command, ret_need);

    if (pending != NULL) {
        liveness_attaching(session->server->liveness, command->client);
    }
    return pending;
}

/* ---- for whom ---- */

static struct fsm_str default_client(struct session *session)
{
    if (!session->default_drawn) {
        draw_id(session->default_id);
        session->default_drawn = true;
    }
    return (struct fsm_str){.data = session->default_id, .len = SESSION_DEFAULT_ID_BYTES};
}

static struct fsm_str client_of(struct session *session,
                                const struct wire_request *request)
{
    return request->client.len != 0 ? fsm_str_of(request->client)
                                    : default_client(session);
}

static bool is_default(const struct session *session, struct fsm_str client)
{
    return session->default_drawn && client.len == SESSION_DEFAULT_ID_BYTES &&
           memcmp(client.data, session->default_id, SESSION_DEFAULT_ID_BYTES) == 0;
}

static bool too_many_clients(const struct session *session)
{
    return session->live.links_count + session->default_attaching >=
           session->server->config->clients_per_connection_max;
}

static const char too_many_clients_text[] =
    "too many clients on one connection; open another";

/* Attach the client of a request that needs it. The default client goes into the same
 * batch as the request: nobody else knows its id, so nothing can refuse it. Another one
 * has to be waited for. Returns SESSION_NEEDS_NOTHING with *@ret_attached true when the
 * request can go on; else it is dealt with, or put off. */
static enum session_need attach_unasked(struct session *session,
                                        const struct wire_request *request,
                                        struct fsm_str client,
                                        bool *ret_attached)
{
    struct fsm_command command = {.type = FSM_CMD_ATTACH, .client = client};
    enum session_need need;

    if (session->implicit_refused != 0) {
        enum fsm_deny deny = session->implicit_refused;
        if (!quiet(session)) {
            return SESSION_NEEDS_QUIET;
        }
        session->implicit_refused = 0;
        deny = deny == FSM_DENY_NOT_ALLOWED ? FSM_DENY_NOT_ATTACHED : deny;
        return refuse_attach(session, request, deny, answer_deny_text(deny));
    }
    if (too_many_clients(session)) {
        return refuse_attach(session, request, FSM_DENY_LIMIT_EXCEEDED,
                             too_many_clients_text);
    }
    bool own = is_default(session, client);
    enum pending_kind kind = own ? PENDING_ATTACH_DEFAULT : PENDING_ATTACH_IMPLICIT;
    if (propose_attach(session, kind, request, &command, &need) == NULL) {
        return need;
    }
    session->default_attaching = session->default_attaching || own;
    *ret_attached = own;
    return own ? SESSION_NEEDS_NOTHING : SESSION_NEEDS_QUIET;
}

/* ---- locks ---- */

/* Find, or make, the attachment that the request acts by. As attach_unasked(). */
static enum session_need act_for(struct session *session,
                                 const struct wire_request *request,
                                 struct fsm_command *command,
                                 bool *ret_attached)
{
    struct liveness_link *link =
        liveness_find(session->server->liveness, &session->live, command->client);

    if (link != NULL && liveness_link_stale(link)) {
        return refuse_attach(session, request, FSM_DENY_STALE_EPOCH,
                             answer_deny_text(FSM_DENY_STALE_EPOCH));
    }
    if (link != NULL) {
        command->client_epoch = liveness_link_epoch(link);
        *ret_attached = true;
        return SESSION_NEEDS_NOTHING;
    }
    if (session->default_attaching && is_default(session, command->client)) {
        *ret_attached = true;
        return SESSION_NEEDS_NOTHING;
    }
    return attach_unasked(session, request, command->client, ret_attached);
}

static enum session_need handle_command(struct session *session,
                                        const struct wire_request *request)
{
    struct request_facts facts = {.hello = session->hello};
    struct fsm_command command;
    struct request_refusal refusal;
    enum session_need need;

    if (request_deniable(request->type)) {
        facts.client = client_of(session, request);
    }
    if (request_to_command(request, &facts, &session->server->policy, &command,
                           &refusal) != 0) {
        return refuse(session, request, &refusal);
    }
    if (request_needs_client(request->type)) {
        bool attached = false;
        need = act_for(session, request, &command, &attached);
        if (!attached) {
            return need;
        }
    }
    if (propose(session, PENDING_REQUEST, request, &command, &need) == NULL) {
        return need;
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

/* ---- clients ---- */

static enum session_need handle_attach(struct session *session,
                                       const struct wire_request *request)
{
    char digest[DIGEST_BYTES];
    struct fsm_command command =
        request_to_attach(request, digest_secret(request->attach.secret.data,
                                                 request->attach.secret.len, digest));
    enum session_need need = SESSION_NEEDS_NOTHING;

    if (too_many_clients(session) &&
        liveness_find(session->server->liveness, &session->live, command.client) ==
            NULL) {
        return refuse_attach(session, request, FSM_DENY_LIMIT_EXCEEDED,
                             too_many_clients_text);
    }
    if (propose_attach(session, PENDING_ATTACH, request, &command, &need) != NULL) {
        session->barrier = true;
    }
    return need;
}

static enum session_need handle_create(struct session *session,
                                       const struct wire_request *request)
{
    char id[SESSION_DEFAULT_ID_BYTES];
    uint8_t secret[WIRE_SECRET_BYTES];
    char digest[DIGEST_BYTES];
    struct fsm_command command = {.type = FSM_CMD_ATTACH, .attach = {.create = true}};
    enum session_need need = SESSION_NEEDS_NOTHING;

    if (too_many_clients(session)) {
        return refuse_attach(session, request, FSM_DENY_LIMIT_EXCEEDED,
                             too_many_clients_text);
    }
    draw_id(id);
    command.client = (struct fsm_str){.data = id, .len = sizeof(id)};
    if (session->hello) {
        random_bytes(secret, sizeof(secret));
        command.attach.secret_digest = digest_secret(secret, sizeof(secret), digest);
    }
    struct pending *pending =
        propose_attach(session, PENDING_CREATE, request, &command, &need);
    if (pending != NULL) {
        session->barrier = true;
        pending->has_secret = session->hello;
        if (session->hello) {
            memcpy(pending->secret, secret, sizeof(secret));
        }
    }
    return need;
}

static enum session_need handle_detach(struct session *session,
                                       const struct wire_request *request)
{
    struct server *server = session->server;
    struct fsm_str client = client_of(session, request);
    enum session_need need = SESSION_NEEDS_NOTHING;

    /* Not before the answers of what was asked for the client, its attach among them. */
    if (!quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    struct liveness_link *link = liveness_find(server->liveness, &session->live, client);
    if (link != NULL && liveness_link_is_last(link)) {
        struct fsm_command command = {
            .type = FSM_CMD_DETACH,
            .client = client,
            .detach = {.attach_seq = liveness_link_attach_seq(link), .last = true},
        };
        if (propose(session, PENDING_DETACH, request, &command, &need) != NULL) {
            session->barrier = true;
            liveness_drop_detached(server->liveness, link);
        }
        return need;
    }
    /* There are other connections, or it was not attached: nothing that the log must
     * know. */
    struct wire_response response = {
        .type = WIRE_RESP_DETACH, .key = request->key, .client = wire_str_of_fsm(client)};
    need = answer(session, &response);
    if (link != NULL && !session->left) {
        liveness_drop(server->liveness, link, uv_now(server->loop));
    }
    return need;
}

static enum session_need handle_default_id(struct session *session,
                                           const struct wire_request *request)
{
    struct wire_response response = {
        .type = WIRE_RESP_DEFAULT_ID,
        .key = request->key,
        .client = wire_str_of_fsm(default_client(session)),
    };
    return answer(session, &response);
}

/* The default client is attached to its connection by nature, also before its first
 * use. */
static enum session_need handle_attached_ids(struct session *session,
                                             const struct wire_request *request)
{
    if (!quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    size_t count = 0;
    struct wire_str *ids = xcalloc((session->live.links_count + 1) * sizeof(ids[0]));
    ids[count++] = wire_str_of_fsm(default_client(session));
    for (const struct liveness_link *link = session->live.links; link != NULL;
         link = liveness_link_next(link)) {
        struct fsm_str client = liveness_link_client(link);
        if (!liveness_link_stale(link) && !is_default(session, client)) {
            ids[count++] = wire_str_of_fsm(client);
        }
    }
    struct wire_response response = {
        .type = WIRE_RESP_ATTACHED_IDS,
        .key = request->key,
        .attached_ids = {.ids = ids, .ids_count = count},
    };
    enum session_need need = answer(session, &response);
    free(ids);
    return need;
}

/* ---- the connection itself ---- */

static enum session_need handle_hello(struct session *session,
                                      const struct wire_request *request)
{
    struct server *server = session->server;
    uint64_t grace_ms = request->hello.session_grace_ms;
    char library[LOG_QUOTED_BYTES];
    struct node_info info;

    if (!quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    session->hello = true;
    if (request->hello.version_min > WIRE_VERSION ||
        request->hello.version_max < WIRE_VERSION) {
        answer_error(session, request, WIRE_ERROR_VERSION, "this server speaks version 1",
                     0);
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
    return answer(session, &response);
}

static enum session_need handle_ping(struct session *session,
                                     const struct wire_request *request)
{
    struct wire_response response = {
        .type = WIRE_RESP_PING,
        .key = request->key,
        .ping = {.payload = request->ping.payload},
    };
    return answer(session, &response);
}

static enum session_need handle_cluster_status(struct session *session,
                                               const struct wire_request *request)
{
    struct server *server = session->server;
    enum session_need need = SESSION_NEEDS_NOTHING;
    struct node_info info;

    if (request->cluster_status.checkpoint && server->serving) {
        struct fsm_command command = {.type = FSM_CMD_CHECKPOINT};
        if (propose(session, PENDING_REQUEST, request, &command, &need) != NULL) {
            session->barrier = true;
        }
        return need;
    }
    node_info_get(server, &info);
    struct wire_response response = {.key = request->key};
    node_info_put_status(server, &info, &response);
    return answer(session, &response);
}

/* ---- dispatch ---- */

static enum session_need handle_on_leader(struct session *session,
                                          const struct wire_request *request)
{
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
        return handle_attach(session, request);
    case WIRE_REQ_DETACH:
        return handle_detach(session, request);
    case WIRE_REQ_CREATE:
        return handle_create(session, request);
    case WIRE_REQ_GET_DEFAULT_ID:
        return handle_default_id(session, request);
    case WIRE_REQ_GET_ATTACHED_IDS:
        return handle_attached_ids(session, request);
    case WIRE_REQ_HELLO:
    case WIRE_REQ_PING:
    case WIRE_REQ_CLUSTER_STATUS:
        break;
    }
    assert(!"answered by every node");
    return SESSION_NEEDS_NOTHING;
}

static enum session_need handle(struct session *session,
                                const struct wire_request *request)
{
    if (request->type == WIRE_REQ_HELLO) {
        return handle_hello(session, request);
    }
    if (request_extended(request->type) && !session->hello) {
        struct request_refusal refusal = {.error = WIRE_ERROR_UNKNOWN_TYPE,
                                          .text = "say Hello first"};
        return refuse(session, request, &refusal);
    }
    if (request->type == WIRE_REQ_PING) {
        return handle_ping(session, request);
    }
    if (request->type == WIRE_REQ_CLUSTER_STATUS) {
        return handle_cluster_status(session, request);
    }
    return session->server->serving ? handle_on_leader(session, request)
                                    : answer_not_leader(session, request);
}

static enum session_need refuse_malformed(struct session *session,
                                          const struct wire_request *request,
                                          const char *text)
{
    struct server *server = session->server;

    if (!quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    SERVER_LOG_LIMITED(server, server->malformed_limit, LOG_LEVEL_INFO,
                       "client-malformed", "peer=%s why=\"%s\"", session->peer, text);
    if (session->hello) {
        answer_error(session, request, WIRE_ERROR_INVALID, text, 0);
    }
    return hang_up(session);
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
        return handle(session, &request);
    }
    if (refusal.problem == WIRE_MALFORMED) {
        return refuse_malformed(session, &request, refusal.text);
    }
    /* A plain client of a node that does not lead goes, whatever it asked. */
    if (!server->serving && !session->hello) {
        return answer_not_leader(session, &request);
    }
    struct request_refusal turned_down = request_refused_by_wire(&request, &refusal);
    return refuse(session, &request, &turned_down);
}
