/* mem_raft.h - libraft nodes in memory, for showing its defects and the guards against them.
 *
 * Nothing happens by itself: time moves with mem_tick(), writes, snapshots and messages wait in
 * queues until they are completed or delivered, and each queue can be held. A node runs with the
 * guards or without. Its state machine adds up the numbers in its entries. */
#ifndef NETLOCK_MEM_RAFT_H
#define NETLOCK_MEM_RAFT_H

#include <stdbool.h>
#include <stdint.h>

#include <raft.h>

#include "raft_guard.h"

enum {
    MEM_NODES_MAX = 4,
    MEM_TICK_MS = 100,
    MEM_ELECTION_MS = 1000,
    MEM_APPLIES_MAX = 512
};

enum mem_op_type { MEM_APPEND, MEM_PUT, MEM_GET, MEM_SEND };

/* A submitted operation. */
struct mem_op {
    enum mem_op_type type;
    struct mem_node *node;
    struct mem_op *next;
    union {
        struct raft_io_append *append;
        struct raft_io_snapshot_put *put;
        struct raft_io_snapshot_get *get;
        struct raft_io_send *send;
    };
    union {
        raft_io_append_cb on_append;
        raft_io_snapshot_put_cb on_put;
        raft_io_snapshot_get_cb on_get;
        raft_io_send_cb on_send;
    };
    const struct raft_snapshot *snapshot;
    struct raft_message message; /* MEM_SEND: its bytes are the sender's */
};

struct mem_node {
    struct mem_cluster *cluster;
    raft_id id;
    char address[16];
    bool guarded;
    bool started;

    struct raft_guard guard;
    struct raft_io *io;
    struct raft_fsm fsm;
    struct raft raft;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb on_close;
    bool closed;

    /* Its disk, as far as libraft asks for it back. */
    struct raft_snapshot *snapshot;

    /* What the test wants of it. */
    bool hold[MEM_SEND + 1];
    raft_id cut_off;   /* messages to this node are dropped */
    bool answers_lost; /* and so are answers to entries and snapshots, to all */
    raft_id hold_entries_to;
    int fail_append; /* submitting one returns this */
    int fail_get;    /* completing one gives this */
    int fail_put;
    size_t snapshot_bytes;

    struct raft_apply
        requests[MEM_APPLIES_MAX]; /* libraft keeps them until they are applied */
    unsigned requests_count;

    /* What it did. */
    uint64_t sum;
    unsigned applied;
    unsigned snapshots_taken;
    unsigned snapshots_restored;
    unsigned installs_sent; /* asked of the io below the guard */
    unsigned sends_while_closing;

    /* Its last snapshot: libraft's buffer, filled at once or, with `snapshot_later`, by mem_snapshot_fill(). */
    bool snapshot_later;
    struct raft_buffer *snapshot_buf;
    uint64_t snapshot_sum;

    unsigned
        longest_before_change; /* entries in front of a change of membership, in one message */
};

struct mem_cluster {
    raft_time now;
    unsigned count;
    struct mem_node nodes[MEM_NODES_MAX];
    struct mem_op *ops;
    const struct raft_guard_host *host;
    unsigned loaded[MEM_NODES_MAX];
};

/* @count voters with ids from 1; node i is guarded if bit i - 1 of @guarded is set. */
void mem_init(struct mem_cluster *cluster,
              unsigned count,
              unsigned guarded,
              const struct raft_guard_host *host);

/* The same; node i finds @loaded[i - 1] entries of number 1 in its log when it starts. */
void mem_init_loaded(struct mem_cluster *cluster,
                     unsigned count,
                     unsigned guarded,
                     const struct raft_guard_host *host,
                     const unsigned loaded[MEM_NODES_MAX]);
void mem_release(struct mem_cluster *cluster);

struct mem_node *mem_node(struct mem_cluster *cluster, raft_id id);

/* Complete and deliver everything that is not held, until nothing is left. */
void mem_run(struct mem_cluster *cluster);

/* Let 100 ms pass, tick every node, then mem_run(). */
void mem_tick(struct mem_cluster *cluster, unsigned times);

/* Tick node @id alone until it leads. */
void mem_elect(struct mem_cluster *cluster, raft_id id);

/* Submit @number on a leader; returns what raft_apply() returned. */
int mem_apply(struct mem_node *node, uint64_t number);

/* Complete the oldest held operation of @type of @node with @status; false if there is none. */
bool mem_complete(struct mem_node *node, enum mem_op_type type, int status);

/* The bytes that a snapshot with `snapshot_later` owes. */
void mem_snapshot_fill(struct mem_node *node);

#endif
