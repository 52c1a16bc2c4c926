#include "raft_node_internal.h"

#include <string.h>

#include "feature_level.h"

static uint64_t match_index(struct raft *raft, uint64_t node_id)
{
    raft_index index;

    if (raft_state(raft) != RAFT_LEADER) {
        return 0;
    }
    if (node_id == raft->id) {
        return raft_last_index(raft);
    }
    return raft_match_index(raft, node_id, &index) == 0 ? index : 0;
}

void raft_node_status(const struct raft_node *node, struct raft_node_status *ret)
{
    /* libraft's getters take a struct that they could change, but do not. */
    struct raft *raft = (struct raft *)(uintptr_t)&node->raft;
    const struct raft_configuration *configuration = &raft->configuration;
    const char *leader_address;
    raft_id leader_id;

    memset(ret, 0, sizeof *ret);
    raft_leader(raft, &leader_id, &leader_address);
    ret->node_id = node->config.node_id;
    ret->term = raft_current_term(raft);
    ret->leader_id = leader_id;
    ret->leader = raft_state(raft) == RAFT_LEADER;
    ret->removed = leader_id == 0 && removal_is(&node->removal);
    ret->candidate = raft_state(raft) == RAFT_CANDIDATE;
    ret->commit_index = raft_commit_index(raft);
    ret->applied_index = raft_last_applied(raft);
    ret->last_index = raft_last_index(raft);
    ret->feature_level = replica_level(node->replica);
    ret->feature_level_max = feature_level_max;
    for (unsigned i = 0; i < configuration->n && i < RAFT_NODE_MEMBERS_MAX; i++) {
        const struct raft_server *server = &configuration->servers[i];
        ret->members[i].node_id = server->id;
        ret->members[i].voter = server->role == RAFT_VOTER;
        ret->members[i].peer_address = server->address;
        ret->members[i].connected = server->id == ret->node_id ||
                                    transport_connected(&node->transport, server->id);
        ret->members[i].match_index = match_index(raft, server->id);
        ret->members_count++;
    }
}
