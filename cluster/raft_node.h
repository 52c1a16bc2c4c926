/* raft_node.h - one raft node on a libuv loop: owns libraft, its files, its peers and the
 * replica.
 *
 *     raft_node_new(&node, loop, &config, &host)      opens and locks the data directory
 *     raft_node_start(node)                           loads snapshot and log, listens for
 * peers, elects
 *     ... uv_run(loop) ...
 *     raft_node_close(node, cb)                       cb when every handle is closed
 *     raft_node_free(node)
 *
 * Everything that libraft 0.22 needs guarding against is in raft_guard.[ch]; the
 * connection to peers in transport.[ch]; the directory's identity in datadir.[ch]. Time
 * enters the replica here, from CLOCK_BOOTTIME, and nowhere else.
 */
#ifndef NETLOCK_RAFT_NODE_H
#define NETLOCK_RAFT_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "node_change.h"
#include "replica.h"
#include "tls.h"

enum { RAFT_NODE_MEMBERS_MAX = 15, RAFT_NODE_ERROR_BYTES = 512 };

struct raft_node_member {
    uint64_t node_id;
    const char *peer_address; /* host:port or [v6]:port, as peers dial it */
};

/* Copied. Every timeout is derived from the leader lease: see timing_from_lease(). */
struct raft_node_timing {
    uint32_t election_ms;  /* = the leader lease: a leader that hears no majority so long
                              steps down */
    uint32_t heartbeat_ms; /* lease / 10 */
    uint32_t connect_timeout_ms; /* <= 1000 */
    uint32_t connect_retry_ms;   /* 100..200 */
    uint32_t user_timeout_ms;    /* TCP_USER_TIMEOUT of peer connections */
};
struct raft_node_timing raft_node_timing_from_lease(uint32_t lease_ms);

struct raft_node_config {
    const char *data_dir;
    const char *cluster_id;
    uint64_t node_id;
    const char *peer_listen; /* address to bind; NULL: the own peer_address */
    const struct raft_node_member
        *members; /* the initial cluster; used when the directory is new */
    size_t members_count;
    bool
        joins; /* a new directory begins no cluster: the node waits until a leader adds it */
    /* Where clients reach a member, as far as this node was told; NULL: it was not. */
    const char *(*client_address)(void *arg, uint64_t node_id);
    void *client_address_arg;
    struct raft_node_timing timing;
    uint32_t snapshot_threshold; /* entries between snapshots; 0: 8192 */
    uint32_t snapshot_trailing;  /* entries kept behind a snapshot; 0: 8192. Must outlast
                                    sending one */
    bool fast_failover; /* follow a leader whose process died at once: failover.h */
    bool trace;         /* log what libraft says about itself, as debug lines */
    struct replica_config replica;
    void (*log)(void *arg,
                int level,
                const char *message); /* 0 debug 1 info 2 warning 3 error */
    void *log_arg;
};

struct raft_node;

/* Open the directory, take its lock, check whose it is. @host is copied.
 * @host.fatal is called for failures that make going on unsafe (write, sync, divergence);
 * it must not return. Returns 0, or a negative errno and one line in @ret_error that says
 * what is wrong and what to do: directory not writable, locked by another process, of
 * another node or cluster, from a newer version; own id not among the members. Nothing is
 * changed in a directory that is refused. */
int raft_node_new(struct raft_node **ret,
                  uv_loop_t *loop,
                  const struct raft_node_config *config,
                  const struct replica_host *host,
                  char ret_error[static RAFT_NODE_ERROR_BYTES]);

/* Certificates for connections between nodes from now on: @in for accepted ones (TLS_SERVER), @out for our
 * own (TLS_CLIENT). Takes both over. Without them nodes speak in plain text. */
void raft_node_set_tls(struct raft_node *node,
                       struct tls_context *in,
                       struct tls_context *out);

/* The process must not have SIGPIPE at its default; asserted.
 * Load snapshot and log (blocks), then listen and take part in elections. Returns 0, or a
 * negative errno and one line in @ret_error: -EADDRINUSE and other failures to listen,
 * -EUCLEAN for a damaged log, -ENOSPC, -EIO. After a failure the node must be closed, as
 * after success. */
int raft_node_start(struct raft_node *node, char ret_error[static RAFT_NODE_ERROR_BYTES]);

/* @on_closed when every handle is closed and the directory is unlocked; not from inside
 * this call. It may call raft_node_free(). The host hears nothing any more. */
void raft_node_close(struct raft_node *node, void (*on_closed)(void *arg), void *arg);
void raft_node_free(struct raft_node *node);

/* Whether what libraft says about itself is logged, as debug lines. */
void raft_node_set_trace(struct raft_node *node, bool on);

/* Hand leadership to a connected, caught-up member, if there is one; @on_done when
 * another node leads or after @timeout_ms. Does nothing on a follower (on_done at once).
 * One that is under way is given up, and done. */
void raft_node_transfer(struct raft_node *node,
                        uint32_t timeout_ms,
                        void (*on_done)(void *arg),
                        void *arg);

/* Change the members, or hand leadership to one of them. False: this node does not serve, or a change is
 * under way. Else @on_done once: in a later turn, or from inside raft_node_close(). */
bool raft_node_change(struct raft_node *node,
                      const struct membership_change *change,
                      node_change_cb on_done,
                      void *arg);

/* The place in the log of the membership that is in force: another number, another membership. */
uint64_t raft_node_membership(const struct raft_node *node);

struct replica *raft_node_replica(struct raft_node *node);

struct raft_node_status {
    uint64_t node_id, term, leader_id; /* leader 0: unknown */
    bool leader, candidate;
    bool removed; /* it is no member any more, as far as it can know */
    uint64_t commit_index, applied_index, last_index;
    uint32_t feature_level, feature_level_max; /* of the cluster; of this build */
    size_t members_count;
    struct {
        uint64_t node_id;
        const char *peer_address; /* borrowed until the loop goes on */
        bool voter;
        bool connected;       /* this node has a connection with it */
        uint64_t match_index; /* on the leader: what it surely has; else 0 */
    } members[RAFT_NODE_MEMBERS_MAX];
};
void raft_node_status(const struct raft_node *node, struct raft_node_status *ret);

/* Steady time of this node, ms of CLOCK_BOOTTIME. */
uint64_t raft_node_now_ms(const struct raft_node *node);

#endif
