/* node.h - a cluster of shipped servers: server.c and all below it, each in a simulated process with a
 * disk of its own. */
#ifndef NETLOCK_SIM_NODE_H
#define NETLOCK_SIM_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "config.h"
#include "disk.h"
#include "peers.h"
#include "fsm.h"
#include "process.h"
#include "raft_guard.h"
#include "server.h"

enum { SIM_NODES_MAX = 7, SIM_CLIENT_PORT = 7670, SIM_PEER_PORT = 7671 };

/* What all nodes are configured with; each value 0: as shipped. */
struct sim_node_options {
    unsigned nodes;   /* that found the cluster: 1..SIM_NODES_MAX */
    unsigned joiners; /* behind them, as many nodes that wait to be added */
    uint64_t leader_lease_ms, reattach_grace_ms, session_grace_max_ms;
    uint64_t snapshot_threshold, snapshot_trailing;
    uint64_t commands_waiting_max, output_bytes_max, pending_per_connection_max;
    uint64_t events_per_flush;
    uint64_t plain_lock_timeout_min_ms;
    uint64_t
        restart_us; /* a supervisor starts a node that stopped by itself after so long; 0: never */
    /* Peers' messages as over TCP, which libraft is made for: in order, once, from one life to one life; what
     * comes late or twice is dropped. Off: as the links deliver them. */
    bool peers_in_order;
    uint32_t level;     /* feature level of the founders' first build; 0: the newest */
    bool slow_failover; /* fast-failover = no */
    bool verbose;       /* the servers' log, with virtual times, on stderr */
};

struct sim_node {
    unsigned number; /* 1.. */
    struct sim_process process;
    struct sim_disk *disk;
    struct config config;
    struct server *server; /* in the process's memory; NULL: not running */
    struct raft *raft;     /* of the running process, or NULL: to look at */
    struct raft_guard *guard;
    uint64_t starts;
    bool refused;         /* it would not start: a damaged disk. It stays down */
    bool stopping;        /* server_stop() was called */
    bool start_again;     /* when that is done */
    bool upgraded;        /* its next life is one of the newest build */
    char last_words[512]; /* why it stopped or would not start */
    struct sim_event supervisor;

    /* Private. */
    struct log log;
    bool starting;
    bool stopped; /* server_stop() is done */
    enum sim_torn torn;
    struct sim_post stop;
    struct fsm_events
        overheard; /* in the process's memory: what nobody but the hook wants */
    uint32_t connect_timeout_ms;
    struct sim_peer_order peers[SIM_NODES_MAX]; /* peers.h */
    struct sim_raft_io *io;                     /* raft_io.h; in the process's memory */
    struct sim_peer_links *links;               /* peer_links.h; too */
    uv_loop_t loop;
};

/* Hosts are added to the net, disks are empty, nothing runs. */
void sim_nodes_new(const struct sim_node_options *options, uint64_t seed);
void sim_nodes_free(void);
unsigned sim_nodes_count(void); /* joiners too */
const struct sim_node_options *sim_nodes_options(void);
struct sim_node *sim_node(unsigned number);                      /* 1..count */
struct sim_node *sim_node_of(const struct sim_process *process); /* or NULL */

/* Nothing if it runs or is refused; one that is being stopped is started when it has ended, as a service
 * manager does it. */
void sim_node_start(struct sim_node *node);
void sim_node_kill(struct sim_node *node, enum sim_torn torn);
/* SIGTERM: server_stop(). When it is done the process ends with status 0, having freed all it had, which is
 * checked. */
void sim_node_stop(struct sim_node *node);

/* Stop it, if it runs, and start it again as the newest build; one that is down is so when it starts. */
void sim_node_upgrade(struct sim_node *node);

/* The feature level that it can, or could when it ran last. */
static inline uint32_t sim_node_level(const struct sim_node *node)
{
    return node->process.level != 0 ? node->process.level : sim_newest_level;
}

static inline bool sim_node_runs(const struct sim_node *node)
{
    return node->process.alive;
}

/* The node that leads in the highest term among those that run, or NULL. */
struct sim_node *sim_leader(void);
/* The same, if it serves clients. */
struct sim_node *sim_serving(void);

/* Where clients reach the founders: "10.0.0.1:7670,10.0.0.2:7670". */
const char *sim_nodes_addresses(void);

/* ---- hooks for checkers; NULL: nobody. Called outside of any process. ---- */
struct sim_node_hooks {
    /* Node started, or ended (status -1: killed). */
    void (*started)(struct sim_node *node);
    void (*ended)(struct sim_node *node, int status);
    /* After every turn of a node. */
    void (*turned)(struct sim_node *node);
    /* The node applied a command of the entry at @index; @events are what the lock table said, in order.
     * Called for every node and every command (by wrapping fsm_apply()). */
    void (*applied)(struct sim_node *node,
                    uint64_t index,
                    const struct fsm *fsm,
                    const struct fsm_command *command,
                    const struct fsm_event *events,
                    size_t count);
    /* The node's table was replaced by a snapshot's, up to @index. */
    void (*restored)(struct sim_node *node, uint64_t index, const struct fsm *fsm);
    /* A peer message left a node. */
    void (*sent)(struct sim_node *node, const struct raft_message *message);
    /* The node refused what @peer said to it. */
    void (*refused)(struct sim_node *node, uint64_t peer, const char *what);
};
extern struct sim_node_hooks sim_node_hooks;

#endif
