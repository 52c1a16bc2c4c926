#include "peer_mesh.h"

#include <assert.h>

#include "transport.h"

enum {
    LOOK_MS = 500,
    ANSWER_VERSION = 2, /* as libraft 0.22 sends it */
    MEND_MS = 10, /* a connect to a process whose sockets are closing gets stuck */
};

static void on_sent(struct raft_io_send *send, int status)
{
    struct peer_mesh_greeting *greeting = send->data;

    (void)status;
    greeting->node_id = 0;
}

/* One per peer: while it cannot be reached, libraft keeps what is sent to it. */
static struct peer_mesh_greeting *new_greeting(struct peer_mesh *mesh, raft_id node_id)
{
    struct peer_mesh_greeting *unused = NULL;

    for (unsigned i = 0; i < PEER_MESH_MAX; i++) {
        struct peer_mesh_greeting *greeting = &mesh->greetings[i];
        if (greeting->node_id == node_id) {
            return NULL;
        }
        if (greeting->node_id == 0) {
            unused = greeting;
        }
    }
    return unused;
}

/* A follower does not expect such an answer, and to a leader it is one from a term long ago. */
static void greet(struct peer_mesh *mesh, const struct raft_server *server)
{
    struct peer_mesh_greeting *greeting = new_greeting(mesh, server->id);
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .server_id = server->id,
        .server_address = server->address,
        .append_entries_result = {.version = ANSWER_VERSION},
    };

    if (greeting == NULL) {
        return;
    }
    greeting->node_id = server->id;
    greeting->send.data = greeting;
    struct raft_io *io = mesh->raft->io;
    if (io->send(io, &greeting->send, &message, on_sent) != 0) {
        greeting->node_id = 0;
    }
}

static void on_time(uv_timer_t *timer)
{
    struct peer_mesh *mesh = timer->data;
    const struct raft_configuration *configuration = &mesh->raft->configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (server->id != mesh->raft->id &&
            !transport_connected(mesh->transport, server->id)) {
            greet(mesh, server);
        }
    }
}

void peer_mesh_init(struct peer_mesh *mesh,
                    uv_loop_t *loop,
                    struct raft *raft,
                    const struct raft_uv_transport *transport)
{
    *mesh = (struct peer_mesh){.raft = raft, .transport = transport};
    int error = uv_timer_init(loop, &mesh->timer);
    assert(error == 0);
    (void)error;
    mesh->timer.data = mesh;
}

void peer_mesh_start(struct peer_mesh *mesh)
{
    uv_timer_start(&mesh->timer, on_time, 0, LOOK_MS);
}

void peer_mesh_stop(struct peer_mesh *mesh)
{
    uv_timer_stop(&mesh->timer);
}

void peer_mesh_mend(struct peer_mesh *mesh)
{
    if (uv_is_active((uv_handle_t *)&mesh->timer)) {
        uv_timer_start(&mesh->timer, on_time, MEND_MS, LOOK_MS);
    }
}
