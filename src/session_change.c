/* Changes of members, and of the leader, for operators: one at a time. The connection that asked gets nothing else
 * until it is over. */
#include "session_request.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { ADDRESS_BYTES = 256, BUSY_CHANGE_RETRY_MS = 1000 };

static const enum membership_verb verbs[] = {
    [WIRE_CHANGE_ADD] = MEMBERSHIP_ADD,
    [WIRE_CHANGE_PROMOTE] = MEMBERSHIP_PROMOTE,
    [WIRE_CHANGE_REMOVE] = MEMBERSHIP_REMOVE,
    [WIRE_CHANGE_TRANSFER] = MEMBERSHIP_TRANSFER,
};

static const char *const verb_names[] = {
    [WIRE_CHANGE_ADD] = "add",
    [WIRE_CHANGE_PROMOTE] = "promote",
    [WIRE_CHANGE_REMOVE] = "remove",
    [WIRE_CHANGE_TRANSFER] = "transfer",
};

static enum wire_change_result result_of(enum membership_outcome outcome)
{
    switch (outcome) {
    case MEMBERSHIP_DONE:
        return WIRE_CHANGE_DONE;
    case MEMBERSHIP_REFUSED:
        return WIRE_CHANGE_REFUSED;
    case MEMBERSHIP_MOVED:
        return WIRE_CHANGE_MOVED;
    case MEMBERSHIP_UNKNOWN:
    case MEMBERSHIP_IDLE:
    case MEMBERSHIP_RUNNING:
        break;
    }
    return WIRE_CHANGE_UNKNOWN;
}

static const char *outcome_name(enum wire_change_result result)
{
    static const char *const names[] = {
        [WIRE_CHANGE_DONE] = "done",
        [WIRE_CHANGE_REFUSED] = "refused",
        [WIRE_CHANGE_UNKNOWN] = "unknown",
        [WIRE_CHANGE_MOVED] = "moved",
    };
    return names[result];
}

void session_forget_change(struct session *session)
{
    struct server_change *change = &session->server->change;

    if (change->session == session) {
        change->session = NULL;
    }
}

static void on_done(void *arg, enum membership_outcome outcome, const char *text)
{
    struct server *server = arg;
    struct server_change change = server->change;
    char quoted[LOG_QUOTED_BYTES];
    struct wire_response response = {
        .type = WIRE_RESP_CLUSTER_CHANGE,
        .key = answer_key(&change.to),
        .cluster_change = {.result = result_of(outcome), .text = wire_str_of_text(text)},
    };

    server->change = (struct server_change){.session = NULL};
    log_audit(server->log, "cluster-change-done",
              "change=%s node=%" PRIu64 " result=%s why=%s", verb_names[change.verb],
              change.node_id, outcome_name(response.cluster_change.result),
              log_quote(quoted, text, strlen(text)));
    if (change.session != NULL) {
        int rv = session_send(change.session, &response);
        assert(rv == 0);
        (void)rv;
        session_answered(change.session);
    }
    answer_to_release(&change.to);
}

static void text_of(struct wire_str str, char out[static ADDRESS_BYTES])
{
    assert(str.len < ADDRESS_BYTES); /* decoded as a name */
    if (str.len != 0) {
        memcpy(out, str.data, str.len);
    }
    out[str.len] = '\0';
}

enum session_need session_handle_change(struct session *session,
                                        const struct wire_request *request)
{
    struct server *server = session->server;
    char peer_address[ADDRESS_BYTES], client_address[ADDRESS_BYTES];
    struct membership_change change = {
        .verb = verbs[request->cluster_change.change],
        .node_id = request->cluster_change.node_id,
        .peer_address = peer_address,
        .client_address = client_address,
        .force = request->cluster_change.force,
    };

    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    text_of(request->cluster_change.peer_address, peer_address);
    text_of(request->cluster_change.client_address, client_address);
    if (!raft_node_change(server->node, &change, on_done, server)) {
        return session_answer_error(
            session, request, WIRE_ERROR_BUSY,
            "another change of members is under way: one at a time",
            BUSY_CHANGE_RETRY_MS);
    }
    server->change = (struct server_change){
        .session = session,
        .to = answer_to_request(request),
        .verb = request->cluster_change.change,
        .node_id = change.node_id,
    };
    session->pendings_count++;
    session->barrier = true;
    log_audit(server->log, "cluster-change-asked",
              "peer=%s change=%s node=%" PRIu64 " force=%s", session->peer,
              verb_names[server->change.verb], change.node_id,
              change.force ? "yes" : "no");
    return SESSION_NEEDS_NOTHING;
}
