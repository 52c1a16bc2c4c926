/* peer_mesh.h - a connection to every peer, before it is needed.
 *
 * libraft's I/O connects to a peer when it first sends to it, and notices that a connection has ended when
 * it next sends: that message is lost. Followers have nothing to say to each other until one of them stands
 * for election, and then it is the vote that is lost. So each member that we are not connected to is
 * sent a message that means nothing, at the start and whenever a connection has ended. */
#ifndef NETLOCK_PEER_MESH_H
#define NETLOCK_PEER_MESH_H

#include <stdbool.h>

#include <raft/uv.h>
#include <uv.h>

enum { PEER_MESH_MAX = 15 };

struct peer_mesh_greeting {
    raft_id node_id; /* 0: this slot is free */
    struct raft_io_send send;
};

struct peer_mesh {
    struct raft *raft;
    const struct raft_uv_transport *transport;
    uv_timer_t timer; /* the owner closes it */
    struct peer_mesh_greeting greetings[PEER_MESH_MAX]; /* under way */
};

/* Borrows @raft and @transport. */
void peer_mesh_init(struct peer_mesh *mesh,
                    uv_loop_t *loop,
                    struct raft *raft,
                    const struct raft_uv_transport *transport);

/* After raft_start(); and the end of it before raft_close(). */
void peer_mesh_start(struct peer_mesh *mesh);
void peer_mesh_stop(struct peer_mesh *mesh);

/* Our connection to some peer has ended. */
void peer_mesh_mend(struct peer_mesh *mesh);

#endif
