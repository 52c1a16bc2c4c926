#include "raft_node_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "node_config.h"
#include "raft_guard_peer.h"

/* Every member of a new cluster writes the same first entry: the membership. */
static int write_membership(struct raft_node *node)
{
    struct raft_configuration configuration;
    int rv = 0;

    raft_configuration_init(&configuration);
    for (size_t i = 0; i < node->config.members_count && rv == 0; i++) {
        const struct raft_node_member *member = &node->config.members[i];
        rv = raft_configuration_add(&configuration, member->node_id, member->peer_address,
                                    RAFT_VOTER);
    }
    if (rv == 0) {
        rv = raft_bootstrap(&node->raft, &configuration);
    }
    raft_configuration_close(&configuration);
    return rv;
}

/* Who joins has no entry yet, but a term, as if it had been there in the first one: from now on its
 * directory counts. */
static int bootstrap(struct raft_node *node, char *ret_error)
{
    if (!datadir_is_new(node->dir)) {
        return 0;
    }
    int rv = node->config.joins ? node->guard.io.set_term(&node->guard.io, 1)
                                : write_membership(node);
    if (rv != 0) {
        return node_refuse_log(node, rv, node->guard.io.errmsg, ret_error);
    }
    int error = datadir_log_begun(node->dir);
    if (error != 0) {
        return node_refuse(ret_error, error, "cannot write %s: %s", node->config.data_dir,
                           strerror(-error));
    }
    return 0;
}

/* The log's membership counts; the configuration only began it. */
static void compare_membership(const struct raft_node *node)
{
    const struct raft_configuration *log = &node->raft.configuration;
    unsigned same = 0;

    if (log->n == 0) {
        node_log(node, LOG_INFO,
                 "waiting to be added to cluster %s: netlock cluster add %" PRIu64
                 " %s CLIENT-ADDRESS",
                 node->config.cluster_id, node->config.node_id,
                 node_config_own_address(&node->config));
        return;
    }
    if (node->config.joins) {
        return;
    }
    for (size_t i = 0; i < node->config.members_count; i++) {
        const char *address = NULL;
        if (node_membership_of((void *)(uintptr_t)node, node->config.members[i].node_id,
                               &address) == TRANSPORT_MEMBER &&
            strcmp(address, node->config.members[i].peer_address) == 0) {
            same++;
        }
    }
    if (same != log->n || same != node->config.members_count) {
        node_log(node, LOG_WARNING,
                 "the configured members differ from those of the cluster's log, which "
                 "count: of %zu "
                 "configured and %u in the log, %u agree in id and address",
                 node->config.members_count, log->n, same);
    }
}

/* libuv writes to sockets whose other end may be gone. */
static bool broken_pipes_do_not_kill(void)
{
    struct sigaction action;

    return sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
}

int raft_node_start(struct raft_node *node, char ret_error[static RAFT_NODE_ERROR_BYTES])
{
    const char *doubtful = datadir_doubtful_fs(node->dir);

    assert(!node->running && !node->closing);
    assert(broken_pipes_do_not_kill());
    if (doubtful != NULL) {
        node_log(node, LOG_WARNING,
                 "data directory %s is on %s: acknowledged locks may be lost with the "
                 "machine's power",
                 node->config.data_dir, doubtful);
    }
    int error = bootstrap(node, ret_error);
    if (error != 0) {
        return error;
    }
    int rv = raft_start(&node->raft);
    if (rv != 0) {
        error = transport_listen_error(&node->transport);
        if (error != 0) {
            return node_refuse(ret_error, error, "%s", node->transport.errmsg);
        }
        const char *detail = raft_errmsg(&node->raft);
        return node_refuse_log(
            node, rv, detail[0] != '\0' ? detail : node->guard.io.errmsg, ret_error);
    }
    const char *wrong = raft_guard_impossible_term(&node->raft);
    if (wrong != NULL) {
        char detail[LOG_LINE_BYTES];
        snprintf(detail, sizeof(detail), "metadata: %s", wrong);
        return node_refuse_log(node, RAFT_CORRUPT, detail, ret_error);
    }
    /* libraft prepares room at the start and when entries come; a leader without room takes none. */
    if (node->guard.io.capacity == 0) {
        return node_refuse_space(node, ret_error);
    }
    compare_membership(node);
    node->running = true;
    if (node->config.fast_failover) {
        failover_start(&node->failover);
    }
    node_begin_turns(node);
    return 0;
}
