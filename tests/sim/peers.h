/* peers.h - what the nodes say to each other: raft messages as datagrams (net.h).
 *
 * A message is copied into the simulator's memory when it is sent, since its sender may die, and into the
 * receiver's when it is told, each copy of a duplicate by itself. It goes to whatever life its receiver
 * leads when it arrives, unless the cluster's peers are in order (node.h). The sender is told in a later turn that a message has left, or after the connect
 * timeout that it could not: nothing passes to the peer, or it does not run. */
#ifndef NETLOCK_SIM_PEERS_H
#define NETLOCK_SIM_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <raft.h>

struct sim_node;

/* What a node has sent to a peer, and has last heard of it. */
struct sim_peer_order {
    uint64_t sent;
    uint64_t heard_life, heard;
};

/* A sending whose callback is still to be called. */
struct sim_peer_send {
    struct raft_io_send *request;
    int status;
    uint64_t due_ms; /* of the loop's time */
};

struct sim_peer_list {
    struct sim_peer_send *items;
    size_t count, capacity;
};

/* In the process's memory. Zero-initialise. */
struct sim_peer_sends {
    struct sim_peer_list left;    /* in this turn */
    struct sim_peer_list told;    /* before; to be told in the next one */
    struct sim_peer_list waiting; /* for their time */
    uint64_t due_ms;              /* the first of them */
};

/* All inside. */

void sim_peers_send(struct sim_node *node,
                    struct raft_io_send *request,
                    const struct raft_message *message,
                    uint64_t now_ms);
/* Once per turn, before I/O: call the callbacks that are due. */
void sim_peers_tell(struct sim_peer_sends *sends, uint64_t now_ms);
/* Once per turn, after I/O. */
void sim_peers_turn_over(struct sim_peer_sends *sends);
/* Cancel what is left, free all. */
void sim_peers_cancel(struct sim_peer_sends *sends);

/* @node will not hear what @peer said: tell the checkers. */
void sim_peers_refused(struct sim_node *node, uint64_t peer, const char *what);

/* peer_bytes.c: what peer_check.h says of @message, from the bytes that raft_uv would have sent. NULL: it
 * passes. */
const char *sim_peer_bytes_refused(uint64_t from, const struct raft_message *message);

#endif
