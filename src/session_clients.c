#include "session_request.h"

#include <assert.h>
#include <openssl/evp.h>

#include "xalloc.h"

enum { DIGEST_BYTES = 32 };
static_assert((int)DIGEST_BYTES <= (int)FSM_SECRET_DIGEST_BYTES_MAX, "SHA-256");

/* ---- ids and secrets ---- */

/* 128 random bits: nobody guesses them, nobody draws them twice. */
static void draw_id(char out[static SESSION_DEFAULT_ID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[SESSION_DEFAULT_ID_BYTES / 2];

    session_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

/* What binds an id to whoever made it: its principal and its secret, as far as there are
 * any. No principal has a colon, so neither is ever taken for the other. The log and every
 * replica know the digest only: who reads them cannot attach the client, and who has the
 * secret but is somebody else cannot either. */
static struct fsm_str digest_owner(const struct session *session,
                                   const void *secret,
                                   size_t len,
                                   char out[static DIGEST_BYTES])
{
    char owner[PRINCIPAL_BYTES_MAX + WIRE_SECRET_BYTES + 1];
    size_t owner_len = session->principal_len;
    unsigned digest_len = 0;

    if (len == 0 && owner_len == 0) {
        return (struct fsm_str){0};
    }
    memcpy(owner, session->principal, owner_len);
    owner[owner_len++] = ':';
    if (len != 0) {
        memcpy(owner + owner_len, secret, len);
    }
    if (EVP_Digest(owner, owner_len + len, (unsigned char *)out, &digest_len,
                   EVP_sha256(), NULL) != 1) {
        abort();
    }
    return (struct fsm_str){.data = out, .len = digest_len};
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

struct fsm_str session_client_of(struct session *session,
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
    char digest[DIGEST_BYTES];
    struct fsm_command command = {
        .type = FSM_CMD_ATTACH,
        .client = client,
        .attach = {.secret_digest = digest_owner(session, NULL, 0, digest)},
    };
    enum session_need need;

    if (session->implicit_refused != 0) {
        enum fsm_deny deny = session->implicit_refused;
        if (!session_is_quiet(session)) {
            return SESSION_NEEDS_QUIET;
        }
        session->implicit_refused = 0;
        deny = deny == FSM_DENY_NOT_ALLOWED ? FSM_DENY_NOT_ATTACHED : deny;
        return session_refuse_client(session, request, deny, answer_deny_text(deny));
    }
    if (too_many_clients(session)) {
        return session_refuse_client(session, request, FSM_DENY_LIMIT_EXCEEDED,
                                     too_many_clients_text);
    }
    bool own = is_default(session, client);
    enum pending_kind kind = own ? PENDING_ATTACH_DEFAULT : PENDING_ATTACH_IMPLICIT;
    if (session_propose_attach(session, kind, request, &command, &need) == NULL) {
        return need;
    }
    session->default_attaching = session->default_attaching || own;
    *ret_attached = own;
    return own ? SESSION_NEEDS_NOTHING : SESSION_NEEDS_QUIET;
}

/* Find, or make, the attachment that the request acts by. As attach_unasked(). */
enum session_need session_act_for(struct session *session,
                                  const struct wire_request *request,
                                  struct fsm_command *command,
                                  bool *ret_attached)
{
    struct liveness_link *link =
        liveness_find(session->server->liveness, &session->live, command->client);

    if (link != NULL && liveness_link_stale(link)) {
        return session_refuse_client(session, request, FSM_DENY_STALE_EPOCH,
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

/* ---- requests about clients ---- */

enum session_need session_handle_attach(struct session *session,
                                        const struct wire_request *request)
{
    char digest[DIGEST_BYTES];
    struct fsm_command command =
        request_to_attach(request, digest_owner(session, request->attach.secret.data,
                                                request->attach.secret.len, digest));
    enum session_need need = SESSION_NEEDS_NOTHING;

    if (too_many_clients(session) &&
        liveness_find(session->server->liveness, &session->live, command.client) ==
            NULL) {
        return session_refuse_client(session, request, FSM_DENY_LIMIT_EXCEEDED,
                                     too_many_clients_text);
    }
    if (session_propose_attach(session, PENDING_ATTACH, request, &command, &need) !=
        NULL) {
        session->barrier = true;
    }
    return need;
}

enum session_need session_handle_create(struct session *session,
                                        const struct wire_request *request)
{
    char id[SESSION_DEFAULT_ID_BYTES];
    uint8_t secret[WIRE_SECRET_BYTES];
    char digest[DIGEST_BYTES];
    struct fsm_command command = {.type = FSM_CMD_ATTACH, .attach = {.create = true}};
    enum session_need need = SESSION_NEEDS_NOTHING;

    if (too_many_clients(session)) {
        return session_refuse_client(session, request, FSM_DENY_LIMIT_EXCEEDED,
                                     too_many_clients_text);
    }
    draw_id(id);
    command.client = (struct fsm_str){.data = id, .len = sizeof(id)};
    if (session->hello) {
        session_random(secret, sizeof(secret));
    }
    command.attach.secret_digest =
        digest_owner(session, secret, session->hello ? sizeof(secret) : 0, digest);
    struct pending *pending =
        session_propose_attach(session, PENDING_CREATE, request, &command, &need);
    if (pending != NULL) {
        session->barrier = true;
        pending->has_secret = session->hello;
        if (session->hello) {
            memcpy(pending->secret, secret, sizeof(secret));
        }
    }
    return need;
}

enum session_need session_handle_detach(struct session *session,
                                        const struct wire_request *request)
{
    struct server *server = session->server;
    struct fsm_str client = session_client_of(session, request);
    enum session_need need = SESSION_NEEDS_NOTHING;

    /* Not before the answers of what was asked for the client, its attach among them. */
    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    struct liveness_link *link = liveness_find(server->liveness, &session->live, client);
    if (link != NULL && liveness_link_is_last(link)) {
        struct fsm_command command = {
            .type = FSM_CMD_DETACH,
            .client = client,
            .detach = {.attach_seq = liveness_link_attach_seq(link), .last = true},
        };
        if (session_propose(session, PENDING_DETACH, request, &command, &need) != NULL) {
            session->barrier = true;
            liveness_drop_detached(server->liveness, link);
        }
        return need;
    }
    /* There are other connections, or it was not attached: nothing that the log must
     * know. */
    struct wire_response response = {
        .type = WIRE_RESP_DETACH, .key = request->key, .client = wire_str_of_fsm(client)};
    need = session_answer(session, &response);
    if (link != NULL && !session->left) {
        liveness_drop(server->liveness, link, uv_now(server->loop));
    }
    return need;
}

/* In the log it is the end of the client's last connection; delivery closes what there is. */
enum session_need session_handle_kill(struct session *session,
                                      const struct wire_request *request)
{
    struct fsm_command command = {
        .type = FSM_CMD_DETACH,
        .client = fsm_str_of(request->client),
        .detach = {.last = true},
    };
    enum session_need need = SESSION_NEEDS_NOTHING;
    uint64_t epoch;
    bool found = fsm_client_find(replica_table(server_replica(session->server)),
                                 command.client, &command.detach.attach_seq, &epoch);
    struct pending *pending =
        session_propose(session, PENDING_KILL, request, &command, &need);

    if (pending != NULL) {
        char client[LOG_QUOTED_BYTES];
        pending->found = found;
        session->barrier = true;
        log_audit(session->server->log, "client-kill-asked", "peer=%s client=%s",
                  session->peer,
                  log_quote(client, request->client.data, request->client.len));
    }
    return need;
}

enum session_need session_handle_default_id(struct session *session,
                                            const struct wire_request *request)
{
    struct wire_response response = {
        .type = WIRE_RESP_DEFAULT_ID,
        .key = request->key,
        .client = wire_str_of_fsm(default_client(session)),
    };
    return session_answer(session, &response);
}

/* The default client is attached to its connection by nature, also before its first
 * use. */
enum session_need session_handle_attached_ids(struct session *session,
                                              const struct wire_request *request)
{
    if (!session_is_quiet(session)) {
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
    enum session_need need = session_answer(session, &response);
    free(ids);
    return need;
}
