/* Backups. One copy of the table at a time, kept as the bytes of a file until the
 * connection that asked for it has fetched them piece by piece: as fast as it reads, and
 * in the memory of one copy. */
#include "session_request.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
    PIECE_BYTES_MAX = 262144,
    /* A connection that has not asked for so long may lose its copy to another one. */
    IDLE_MS = 10000,
    BUSY_BACKUP_RETRY_MS = 1000,
};

static const char taken_text[] = "another backup is being fetched";

static void drop(struct server_backup *backup)
{
    free(backup->data);
    *backup = (struct server_backup){.last_id = backup->last_id};
}

void session_forget_backup(struct session *session)
{
    struct server_backup *backup = &session->server->backup;

    if (backup->session == session) {
        drop(backup);
    }
}

/* ---- a new one ---- */

/* The table at the index of the entry that was just applied: while its events are told,
 * no other entry is. */
static void take(struct server *server, const struct replica_position *at)
{
    struct server_backup *backup = &server->backup;
    struct backup_origin origin = {.index = at->index, .term = at->term};
    size_t len = strlen(server->config->cluster);

    assert(len < sizeof(origin.cluster_id));
    memcpy(origin.cluster_id, server->config->cluster, len);
    replica_backup(server_replica(server), &origin, &backup->data, &backup->len);
    backup->id = ++backup->last_id;
    backup->last_token = fsm_last_token(replica_table(server_replica(server)));
}

/* Also with a small output queue a piece must fit into it. */
static size_t piece_bytes(const struct server *server, uint64_t offset)
{
    size_t bytes = server->backup.len - (size_t)offset;
    size_t bytes_max = server->config->output_bytes_max / 2;

    if (bytes_max > PIECE_BYTES_MAX) {
        bytes_max = PIECE_BYTES_MAX;
    }
    return bytes < bytes_max ? bytes : bytes_max;
}

/* Send the piece at @offset; with the last one the copy is given up. */
static void
send_piece(struct session *session, uint64_t offset, struct wire_response *response)
{
    struct server_backup *backup = &session->server->backup;
    size_t bytes = piece_bytes(session->server, offset);

    response->type = WIRE_RESP_BACKUP;
    response->backup.backup = backup->id;
    response->backup.offset = offset;
    response->backup.size = backup->len;
    response->backup.last_token = backup->last_token;
    response->backup.data =
        (struct wire_str){.data = (const char *)backup->data + offset, .len = bytes};
    int rv = session_send(session, response);
    assert(rv == 0);
    (void)rv;
    if (backup->session == session && offset + bytes == backup->len) {
        drop(backup);
    }
}

void session_begin_backup(struct session *session,
                          const struct pending *pending,
                          const struct replica_position *at)
{
    struct server *server = session->server;
    struct server_backup *backup = &server->backup;
    struct wire_response response = {
        .key = answer_key(&pending->to),
        .position = {.index = at->index,
                     .term = at->term,
                     .cluster_time_ms = at->cluster_ms},
    };

    if (backup->session != session) {
        session_refuse(session, response.key, (struct wire_str){0}, WIRE_ERROR_BUSY,
                       taken_text);
        return;
    }
    take(server, at);
    log_audit(server->log, "backup",
              "peer=%s index=%" PRIu64 " bytes=%zu last_token=%" PRIu64, session->peer,
              at->index, backup->len, backup->last_token);
    send_piece(session, 0, &response);
}

static bool is_taken(const struct server *server, const struct session *session)
{
    const struct server_backup *backup = &server->backup;

    return backup->session != NULL && backup->session != session &&
           uv_now(server->loop) - backup->asked_ms < IDLE_MS;
}

/* A checkpoint commits something: only a leader that still leads gets that far. */
static enum session_need begin(struct session *session,
                               const struct wire_request *request)
{
    struct server *server = session->server;
    struct fsm_command command = {.type = FSM_CMD_CHECKPOINT};
    enum session_need need = SESSION_NEEDS_NOTHING;

    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    if (is_taken(server, session)) {
        return session_answer_error(session, request, WIRE_ERROR_BUSY, taken_text,
                                    BUSY_BACKUP_RETRY_MS);
    }
    if (session_propose(session, PENDING_BACKUP, request, &command, &need) != NULL) {
        session->barrier = true;
        drop(&server->backup);
        server->backup.session = session;
        server->backup.asked_ms = uv_now(server->loop);
    }
    return need;
}

/* ---- its pieces ---- */

enum session_need session_handle_backup(struct session *session,
                                        const struct wire_request *request)
{
    struct server *server = session->server;
    struct server_backup *backup = &server->backup;
    struct wire_response response = {.key = request->key};

    if (request->backup.backup == 0) {
        return begin(session, request);
    }
    if (!session_is_quiet(session)) {
        return SESSION_NEEDS_QUIET;
    }
    if (backup->session != session || backup->id != request->backup.backup ||
        request->backup.offset >= backup->len) {
        return session_answer_error(session, request, WIRE_ERROR_INVALID,
                                    "there is no such backup (any more): begin again", 0);
    }
    backup->asked_ms = uv_now(server->loop);
    send_piece(session, request->backup.offset, &response);
    return SESSION_NEEDS_NOTHING;
}
