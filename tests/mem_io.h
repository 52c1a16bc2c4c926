/* mem_io.h - libraft's disk and network in memory: deterministic, for unit tests.
 *
 * A `struct raft_io` for 1..MEM_NODES_MAX nodes in one process. Nothing happens by itself: time
 * passes when mem_io_tick() says so, writes complete in mem_io_complete(), messages arrive in
 * mem_net_deliver(). The disk outlives its node: close the node, initialise another mem_io on the
 * same disk and it finds what had completed.
 *
 *     struct mem_net net = {0};
 *     struct mem_disk disk = {0};                one per node
 *     mem_io_init(&io, &net, &disk, id);
 *     raft_init(&raft, &io.raft_io, ...)
 *     mem_io_tick(&io, now_ms); mem_io_complete(&io); mem_net_deliver(&net); ...
 *     raft_close(&raft, cb);                     calls cb at once
 *     mem_disk_release(&disk);
 */
#ifndef NETLOCK_MEM_IO_H
#define NETLOCK_MEM_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <raft.h>

enum { MEM_NODES_MAX = 5 };

/* What survives the end of a node. Zero-initialise. */
struct mem_disk {
    raft_term term;
    raft_id voted_for;
    raft_index first_index; /* of `entries`; 0 as long as nothing was ever written */
    struct raft_entry *entries;
    size_t entries_count;
    struct raft_snapshot *snapshot; /* the newest, or NULL */
};

void mem_disk_release(struct mem_disk *disk);

/* The entry at @index, to look at or to damage. */
struct raft_entry *mem_disk_entry(struct mem_disk *disk, raft_index index);

struct mem_io;
struct mem_message;

/* Messages arrive in the order in which they were sent. Zero-initialise. */
struct mem_net {
    struct mem_io *nodes[MEM_NODES_MAX + 1];        /* by id; NULL: down */
    bool cut[MEM_NODES_MAX + 1][MEM_NODES_MAX + 1]; /* [from][to] */
    struct mem_message *messages;
    /* Sees each AppendEntries or InstallSnapshot before it arrives, and may change the copy. */
    void (*on_message)(void *arg, raft_id to, struct raft_message *message);
    void *arg;
};

/* Deliver or lose the oldest message. Returns false if there was none. */
bool mem_net_deliver(struct mem_net *net);

/* Cut or mend every link of a node. */
void mem_net_isolate(struct mem_net *net, raft_id id, bool cut);

struct mem_io {
    struct raft_io raft_io;
    struct mem_net *net;
    struct mem_disk *disk;
    struct mem_request *requests; /* of the disk, in order */
    raft_id id;
    raft_time now_ms;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
};

void mem_io_init(struct mem_io *io,
                 struct mem_net *net,
                 struct mem_disk *disk,
                 raft_id id);

/* It is @now_ms; let libraft look at its timers. */
void mem_io_tick(struct mem_io *io, raft_time now_ms);

/* Complete the oldest request of the disk. Returns false if there was none. */
bool mem_io_complete(struct mem_io *io);

#endif
