#include "sim_cluster.h"

#include <stdio.h>

#include "socket.h"

enum { WAIT_US = 20 * SECOND_US };

static unsigned clients; /* that were proposed in this cluster */

const struct sim_node_options cluster_three = {.nodes = 3, .reattach_grace_ms = HOUR_MS};

const struct sim_node_options cluster_small_log = {
    .nodes = 3,
    .reattach_grace_ms = HOUR_MS,
    .snapshot_threshold = 16,
    .snapshot_trailing = 8,
};

void cluster_begin(const struct sim_node_options *options, uint64_t seed)
{
    sim_nodes_free(); /* of a test that failed */
    sim_events_reset();
    sim_net_reset(seed);
    sim_sockets_reset();
    sim_node_hooks = (struct sim_node_hooks){0};
    clients = 0;
    sim_nodes_new(options, seed);
    for (unsigned i = 1; i <= options->nodes; i++) {
        sim_node_start(sim_node(i));
    }
}

void cluster_end(void)
{
    sim_nodes_free();
    sim_node_hooks = (struct sim_node_hooks){0};
}

void cluster_run(uint64_t us)
{
    assert_true(sim_run_until(sim_now_us() + us));
}

struct sim_node *cluster_wait_serving(void)
{
    for (uint64_t us = 0; us < WAIT_US && sim_serving() == NULL; us += 10 * MS) {
        cluster_run(10 * MS);
    }
    assert_non_null(sim_serving());
    return sim_serving();
}

struct sim_node *cluster_follower(void)
{
    return sim_leader() == sim_node(1) ? sim_node(2) : sim_node(1);
}

/* Commands without an answer, one entry each. */
struct proposal {
    struct sim_node *node;
    unsigned number;
    int rv;
};

static void propose_inside(void *arg)
{
    struct proposal *proposal = arg;
    struct replica *replica = server_replica(proposal->node->server);
    char name[16];
    int len = snprintf(name, sizeof(name), "client%u", proposal->number);
    struct fsm_command command = {
        .type = FSM_CMD_ATTACH,
        .client = {.data = name, .len = (size_t)len},
    };

    proposal->rv = replica_propose(replica, &command);
}

int cluster_propose(struct sim_node *node, unsigned number)
{
    struct proposal proposal = {.node = node, .number = number};

    sim_process_enter(&node->process, propose_inside, &proposal);
    return proposal.rv;
}

void cluster_propose_many(struct sim_node *node, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(cluster_propose(node, ++clients), 0);
        cluster_run(2 * MS);
    }
}

const struct fsm *cluster_table(struct sim_node *node)
{
    return replica_table(server_replica(node->server));
}

uint64_t cluster_applied_index(const struct sim_node *node)
{
    return replica_applied_index(server_replica(node->server));
}

static bool all_applied_the_same(void)
{
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if (!sim_node_runs(sim_node(i)) ||
            cluster_applied_index(sim_node(i)) != cluster_applied_index(sim_node(1))) {
            return false;
        }
    }
    return true;
}

/* Something may be on its way at any moment: the leader proposes ticks. */
void cluster_assert_equal(void)
{
    for (int i = 0; i < 300 && !all_applied_the_same(); i++) {
        cluster_run(20 * MS);
    }
    assert_true(all_applied_the_same());
    for (unsigned i = 2; i <= sim_nodes_count(); i++) {
        assert_true(fsm_hash(cluster_table(sim_node(i))) ==
                    fsm_hash(cluster_table(sim_node(1))));
    }
}

void cluster_cut_off(struct sim_node *node, bool cut)
{
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        if (sim_node(i) != node) {
            sim_net_cut(node->process.host, sim_node(i)->process.host, cut);
            sim_net_cut(sim_node(i)->process.host, node->process.host, cut);
        }
    }
}
