/* raft_node_internal.h - the parts of a node, for raft_node*.c alone. */
#ifndef NETLOCK_RAFT_NODE_INTERNAL_H
#define NETLOCK_RAFT_NODE_INTERNAL_H

#include "datadir.h"
#include "failover.h"
#include "handover.h"
#include "raft_guard.h"
#include "raft_node.h"
#include "removal.h"
#include "transport.h"

enum { LOG_LINE_BYTES = 1024 };

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct raft_node {
    uv_loop_t *loop;
    struct raft_node_config config; /* a copy */
    struct replica_host host;
    struct datadir *dir;
    struct replica *replica;

    struct raft_uv_transport transport;
    struct raft_guard guard;
    struct raft raft;

    struct handover handover;
    struct node_change change;
    struct failover failover;
    struct removal removal;

    /* The replica is flushed before and after I/O, and when it has something due. */
    uv_prepare_t before_io;
    uv_check_t after_io;
    uv_timer_t due;
    unsigned handles_open;
    bool running;
    bool closing;
    uint32_t level_noted; /* in the log of events; 0: none yet */

    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* One line for the host's log. */
__attribute__((format(printf, 3, 4))) void
node_log(const struct raft_node *node, enum log_level level, const char *format, ...);

int errno_of_raft(int rv);

/* The line that says why, into @ret_error of RAFT_NODE_ERROR_BYTES; returns @error, or the errno of
 * libraft's @rv. */
__attribute__((format(printf, 3, 4))) int
node_refuse(char *ret_error, int error, const char *format, ...);
int node_refuse_space(const struct raft_node *node, char *ret_error);
int node_refuse_log(const struct raft_node *node,
                    int rv,
                    const char *detail,
                    char *ret_error);

/* For the transport: as struct raft_uv_transport wants it, with the node as @arg. */
enum transport_membership
node_membership_of(void *arg, uint64_t node_id, const char **ret_address);

/* From now on every turn of the loop has the node's part in it. */
void node_begin_turns(struct raft_node *node);

#endif
