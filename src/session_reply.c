#include "session_request.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <utlist.h>

enum {
    BUSY_RETRY_MS = 50,
    ELECTION_RETRY_MIN_MS = 10, /* to look for the leader again while there is none */
    ELECTION_RETRY_MAX_MS = 50,
};

void session_random(void *out, size_t len)
{
    if (getrandom(out, len, 0) != (ssize_t)len) {
        abort(); /* up to 256 bytes are never cut short: there is no randomness at all */
    }
}

/* ---- answers without the log ---- */

/* A local answer must not overtake those of commands under way. */
bool session_is_quiet(const struct session *session)
{
    return session->pendings_count == 0;
}

enum session_need session_answer(struct session *session, struct wire_response *response)
{
    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    if (session_send(session, response) != 0) {
        session_refuse(session, response->key, response->client, WIRE_ERROR_TOO_LARGE,
                       "the answer does not fit a frame");
    }
    return SESSION_NEEDS_NOTHING;
}

enum session_need session_answer_error(struct session *session,
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
    return session_answer(session, &response);
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
    return session_answer(session, &response);
}

enum session_need session_hang_up(struct session *session)
{
    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    session_finish(session, SESSION_GONE_AFTER_GRACE);
    return SESSION_NEEDS_NOTHING;
}

/* Denied where a lock is asked for; Error for those who know it; else only the end is
 * left. */
enum session_need session_refuse_request(struct session *session,
                                         const struct wire_request *request,
                                         const struct request_refusal *refusal)
{
    if (refusal->deny != 0) {
        return answer_denied(session, request, refusal->deny, refusal->text);
    }
    if (session->hello) {
        return session_answer_error(session, request, refusal->error, refusal->text, 0);
    }
    if (request->lock.len != 0) {
        return answer_denied(session, request, WIRE_DENY_INVALID, refusal->text);
    }
    return session_hang_up(session);
}

enum session_need session_refuse_client(struct session *session,
                                        const struct wire_request *request,
                                        enum fsm_deny deny,
                                        const char *text)
{
    struct request_refusal refusal = {.error = answer_error_of(deny), .text = text};

    if (request_deniable(request->type)) {
        refusal.deny = (enum wire_deny)deny;
    }
    return session_refuse_request(session, request, &refusal);
}

static uint32_t election_retry_ms(void)
{
    uint8_t random;

    session_random(&random, sizeof(random));
    return ELECTION_RETRY_MIN_MS +
           random % (ELECTION_RETRY_MAX_MS - ELECTION_RETRY_MIN_MS + 1);
}

enum session_need session_answer_not_leader(struct session *session,
                                            const struct wire_request *request)
{
    struct node_info info;

    if (!session->hello) {
        return session_hang_up(session);
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
    return session_answer(session, &response);
}

/* ---- audit ---- */

/* Asked and done are two lines: between them this node may lose its office, and the break may yet
 * come about. */
void session_audit_break(const struct session *session,
                         const struct wire_request *request)
{
    char lock[LOG_QUOTED_BYTES];

    log_audit(session->server->log, "break-asked", "peer=%s lock=%s token=%llu",
              session->peer, log_quote(lock, request->lock.data, request->lock.len),
              (unsigned long long)request->force_release.token);
}

/* ---- proposing ---- */

/* No room: a client that knows BUSY is told when nothing else is under way; the others
 * wait. */
static enum session_need busy(struct session *session, const struct wire_request *request)
{
    if (!session->hello || !session_is_quiet(session)) {
        return SESSION_NEEDS_ROOM;
    }
    return session_answer_error(session, request, WIRE_ERROR_BUSY,
                                "more requests than the cluster can take; ask again",
                                BUSY_RETRY_MS);
}

/* The pending of a proposed command, or NULL with *@ret_need. */
struct pending *session_propose(struct session *session,
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
        pending->asked_us = metrics_now_us();
        DL_APPEND(session->pendings, pending);
        session->pendings_count++;
        return pending;
    }
    pending_free(&server->pendings, pending);
    if (rv == -EBUSY) {
        *ret_need = busy(session, request);
    } else if (rv == -ENOTCONN) {
        *ret_need = session_answer_not_leader(session, request);
    } else {
        *ret_need =
            session_answer_error(session, request, WIRE_ERROR_TOO_LARGE, "too large", 0);
    }
    return NULL;
}

struct pending *session_propose_attach(struct session *session,
                                       enum pending_kind kind,
                                       const struct wire_request *request,
                                       struct fsm_command *command,
                                       enum session_need *ret_need)
{
    struct pending *pending = session_propose(session, kind, request, command, ret_need);

    if (pending != NULL) {
        liveness_attaching(session->server->liveness, command->client);
    }
    return pending;
}
