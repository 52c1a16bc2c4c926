/* raft_io.h - the struct raft_io of a node: raft_uv's place, between libraft and a simulated disk
 * (disk_io.h) and network (peers.h).
 *
 * It keeps raft_uv's order: completions and messages are told in the I/O phase of a turn, ticks by a timer
 * of the loop, requests of the node that are completed by prepare and check handles. */
#ifndef NETLOCK_SIM_RAFT_IO_H
#define NETLOCK_SIM_RAFT_IO_H

#include <stdbool.h>

#include <raft.h>
#include <uv.h>

#include "peers.h"

struct sim_node;

/* In the process's memory; struct raft_io.impl. */
struct sim_raft_io {
    struct raft_io *io;
    struct sim_node *node;
    uv_loop_t *loop;
    struct raft_tracer *tracer; /* raft_uv's messages go there */

    raft_io_tick_cb on_tick;
    raft_io_recv_cb on_message; /* NULL: not started */
    uv_timer_t tick;
    uv_prepare_t before_io;
    uv_check_t after_io;

    struct sim_peer_sends sends;
    unsigned requests; /* of the disk, whose callbacks are still to be called */

    /* The guard's, in whose place ours is, to see snapshots come. */
    int (*restore)(struct raft_fsm *fsm, struct raft_buffer *buf);
    raft_index loaded_index; /* of the snapshot that was loaded at the start */

    bool closing;
    unsigned handles;
    raft_io_close_cb on_closed;
};

/* Inside a node's process: fill in @io as raft_uv_init() does. */
void sim_raft_io_init(struct raft_io *io, struct sim_node *node, uv_loop_t *loop);
void sim_raft_io_release(struct raft_io *io);

/* raft_uv.c: @node has no libraft any more. */
void sim_raft_uv_forget(struct sim_node *node);

#endif
