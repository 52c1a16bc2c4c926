/* node_config.h - checking and keeping what raft_node_new() is told. */
#ifndef NETLOCK_NODE_CONFIG_H
#define NETLOCK_NODE_CONFIG_H

#include "raft_node.h"

/* Returns 0, or -EINVAL and one line in @ret_error. */
int node_config_check(const struct raft_node_config *config,
                      char ret_error[static RAFT_NODE_ERROR_BYTES]);

/* A deep copy of a checked configuration, with defaults filled in. */
struct raft_node_config node_config_copy(const struct raft_node_config *config);
void node_config_release(struct raft_node_config *copy);

/* Of this node, as its peers dial it. */
const char *node_config_own_address(const struct raft_node_config *config);

#endif
