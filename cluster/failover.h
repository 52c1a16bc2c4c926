/* failover.h - noticing the death of the leader's process, and following it at once.
 *
 *     a connection with it ends (transport.h) -> its host refuses new ones (peer_probe.h)
 *         -> when to do what (takeover.h) -> done to libraft, here
 *
 * libraft 0.22 has no calls for this: forgetting a leader is written into its public struct as it does it
 * itself when it changes its state, and standing for election is an election timeout that has run out, and
 * a tick. Both happen in callbacks of ours on the loop, never inside one of libraft's. With another release
 * nothing is done: its fields may mean something else. */
#ifndef NETLOCK_FAILOVER_H
#define NETLOCK_FAILOVER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "peer_mesh.h"
#include "peer_probe.h"
#include "raft_guard.h"
#include "takeover.h"

struct failover_host {
    void *arg;
    /* One line for the log: what happens, and to which node. */
    void (*note)(void *arg, const char *what, uint64_t node_id);
};

struct failover {
    struct raft_guard *guard;
    struct raft *raft;
    const struct raft_uv_transport *transport;
    struct failover_host host;
    uint32_t election_ms;
    bool running;
    struct takeover takeover;
    struct peer_probe probe;
    struct peer_mesh mesh;
    uv_timer_t due;
    uint64_t suspect, suspect_term; /* of the probe */
    unsigned open;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* Borrows all but @host, which is copied. */
void failover_init(struct failover *failover,
                   uv_loop_t *loop,
                   struct raft_guard *guard,
                   const struct raft_uv_transport *transport,
                   const struct failover_host *host);

/* After raft_start(); without it, nothing here does anything. And the end of it, before raft_close(). */
void failover_start(struct failover *failover);
void failover_stop(struct failover *failover);

/* A connection with @node_id, in either direction, has ended without this node's doing. */
void failover_connection_lost(struct failover *failover, uint64_t node_id);

/* After raft_close() has finished: @on_closed when the handles are closed, not from inside this call. */
void failover_close(struct failover *failover, void (*on_closed)(void *arg), void *arg);

#endif
