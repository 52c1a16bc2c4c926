/* replica_cluster.h - replicas on libraft with a disk and a network in memory, for tests.
 *
 *     struct cluster *c = cluster_new(3);
 *     struct node *leader = cluster_elect(c);
 *     propose(leader, attach_command("a"));
 *     cluster_settle(c);                  all that needs no time: writes, messages, flushes
 *     cluster_step(c, 50);                time passes on every node, then the same
 *     leader->told[...]                   what its host was told
 *     cluster_free(c);
 *
 * Each node's steady clock has a different origin, as on real machines.
 */
#ifndef NETLOCK_TEST_REPLICA_CLUSTER_H
#define NETLOCK_TEST_REPLICA_CLUSTER_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem_io.h"
#include "replica.h"

enum {
    HEARTBEAT_MS = 50,
    ELECTION_MS = 500,
    TOLD_MAX = 8192,
    WAITING_MAX = 6000,
    TICK_INTERVAL_MS = 1000,
    GRACE_MS = 10000,
};

/* One call of the host: a role, or an event. */
struct told {
    bool is_role;
    enum replica_role role;
    uint64_t term;
    enum fsm_event_type type;
    uint64_t ref;
    uint64_t token;
    struct replica_position at;
    uint64_t mono_ms; /* when it was told, on the node's clock */
};

struct node {
    struct cluster *cluster;
    raft_id id;
    bool up;
    bool sleeping; /* does not flush: a loop that does not come round */
    uint64_t mono_ms;
    struct mem_disk disk;
    struct mem_io io;
    struct raft raft;
    struct replica *replica;
    struct told told[TOLD_MAX];
    size_t told_count;
};

struct cluster {
    struct mem_net net;
    struct node nodes[MEM_NODES_MAX + 1]; /* by id */
    unsigned count;
    unsigned snapshot_threshold;
    unsigned snapshot_trailing;
    size_t commands_waiting_max;
    size_t events_per_flush; /* of replicas made from now on; 0: all */
    uint64_t log_bytes_max; /* of replicas made from now on; 0: no bound */
    int fatal_fd;           /* -1, or where the reason goes before the process ends */
};

/* Nodes are up, and know nothing of each other yet. */
struct cluster *cluster_new(unsigned count);
void cluster_free(struct cluster *c);

void node_stop(struct node *node); /* what is not written yet is lost */
void node_start(struct node *node);
void node_flush(struct node *node);
void node_isolate(struct node *node, bool cut); /* cut or mend all its links */

/* The first record of this kind; NULL if there is none. */
const struct told *node_told_role(const struct node *node, enum replica_role role);
const struct told *node_told_answer(const struct node *node, uint64_t ref);
const struct told *node_told_event(const struct node *node, enum fsm_event_type type);

void cluster_settle(struct cluster *c);
void cluster_step(struct cluster *c, uint64_t ms);
void cluster_run(struct cluster *c, uint64_t ms); /* in steps */

/* The node that serves, and is not isolated; NULL. */
struct node *cluster_leader(struct cluster *c);

/* Let time pass until there is one. Fails the test after a minute of it. */
struct node *cluster_elect(struct cluster *c);

/* The same, with a client "a" attached by ref 1, and what the leader was told so far forgotten. */
struct node *cluster_elect_with_client(struct cluster *c);

/* The next node but this one. */
struct node *cluster_other(struct cluster *c, const struct node *node);

/* Stop all nodes, then start them on the same disks. */
void cluster_restart(struct cluster *c);

/* From now on, also after restarts. */
void cluster_set_snapshots(struct cluster *c, unsigned threshold, unsigned trailing);

/* Commit @entries entries that leave holds and waits behind. No time passes. */
void cluster_fill(struct cluster *c, unsigned entries);

/* Let time pass until all nodes that are up have applied the same. Fails after a minute of it. */
void cluster_catch_up(struct cluster *c);

/* All nodes that are up have applied the same and are equal. */
void assert_replicas_equal(struct cluster *c);

/* @scenario, in a process of its own, must end in a call of host.fatal with @what in its text. */
void assert_fatal(void (*scenario)(struct cluster *c), unsigned nodes, const char *what);

/* Commands of the test's clients. Returns of propose(): as replica_propose(). */
int propose(struct node *node, struct fsm_command command);
void must_propose(struct node *node, struct fsm_command command);
struct fsm_command attach_command(const char *client, uint64_t ref);
struct fsm_command
lock_command(const char *client, const char *lock, uint64_t hold_ms, uint64_t ref);
struct fsm_command status_command(const char *client, const char *lock, uint64_t ref);
struct fsm_command checkpoint_command(uint64_t ref);

#endif
