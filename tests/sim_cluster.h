/* sim_cluster.h - a simulated cluster for unit tests: without clients, whose commands are proposed to the
 * leader's replica directly. */
#ifndef NETLOCK_TESTS_SIM_CLUSTER_H
#define NETLOCK_TESTS_SIM_CLUSTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "event.h"
#include "net.h"
#include "node.h"
#include "server_internal.h"

enum { MS = 1000, SECOND_US = 1000 * MS, HOUR_MS = 3600 * 1000 };

/* Nobody connects as the clients that are proposed: their grace is an hour, so that they stay. */
extern const struct sim_node_options cluster_three;
extern const struct sim_node_options
    cluster_small_log; /* a snapshot each 16 entries, 8 kept */

/* All nodes are started. */
void cluster_begin(const struct sim_node_options *options, uint64_t seed);
void cluster_end(void);
void cluster_run(uint64_t us);

/* Until somebody serves; that it does not take for ever is asserted. */
struct sim_node *cluster_wait_serving(void);
/* One that does not lead. */
struct sim_node *cluster_follower(void);

/* A command that makes client number @number. What replica_propose() says. */
int cluster_propose(struct sim_node *node, unsigned number);
/* Clients that there were not, one each 2 ms. */
void cluster_propose_many(struct sim_node *node, unsigned count);

const struct fsm *cluster_table(struct sim_node *node);
uint64_t cluster_applied_index(const struct sim_node *node);
/* That all run and come to the same, in a few seconds. */
void cluster_assert_equal(void);

/* From all others, both ways. */
void cluster_cut_off(struct sim_node *node, bool cut);

#endif
