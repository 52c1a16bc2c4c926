#include "server_internal.h"

#include "frame.h"

static const char server_version[] = "netlockd " NETLOCK_VERSION;

/* The own address is what we really listen on. */
const char *node_info_told_address(const struct server *server, uint64_t node_id)
{
    if (node_id == server->config->node_id) {
        return server->client_address;
    }
    const struct config_member *member = config_member_find(server->config, node_id);
    return member != NULL ? member->client_address : NULL;
}

/* The configuration is this node's; what joined later is in the log. */
static struct wire_str client_address(const struct server *server, uint64_t node_id)
{
    const char *told = node_info_told_address(server, node_id);

    return told != NULL ? wire_str_of_text(told)
                        : wire_str_of_fsm(fsm_member_address(
                              replica_table(server_replica(server)), node_id));
}

void node_info_get(const struct server *server, struct node_info *ret)
{
    *ret = (struct node_info){0};
    raft_node_status(server->node, &ret->status);
    for (size_t i = 0; i < ret->status.members_count; i++) {
        ret->members[i] = (struct wire_member){
            .node_id = ret->status.members[i].node_id,
            .client_address = client_address(server, ret->status.members[i].node_id),
            .peer_address = wire_str_of_text(ret->status.members[i].peer_address),
            .voter = ret->status.members[i].voter,
        };
    }
    if (ret->status.leader_id != 0) {
        ret->leader_address = client_address(server, ret->status.leader_id);
    }
}

static uint32_t wire_duration(uint64_t ms)
{
    return ms < WIRE_UNLIMITED ? (uint32_t)ms : WIRE_UNLIMITED;
}

void node_info_put_hello(const struct server *server,
                         const struct node_info *info,
                         uint64_t session_grace_ms,
                         struct wire_response *ret)
{
    ret->type = WIRE_RESP_HELLO;
    ret->hello.version = WIRE_VERSION;
    ret->hello.server = wire_str_of_text(server_version);
    ret->hello.cluster_id = wire_str_of_text(server->config->cluster);
    ret->hello.leader_address = info->leader_address;
    ret->hello.node_id = server->config->node_id;
    ret->hello.leader_id = info->status.leader_id;
    ret->hello.leader = server->serving;
    ret->hello.members = info->members;
    ret->hello.members_count = info->status.members_count;
    ret->hello.session_grace_ms = wire_duration(session_grace_ms);
    ret->hello.reattach_grace_ms = wire_duration(server->reattach_grace_ms);
    ret->hello.frame_bytes_max = FRAME_PAYLOAD_BYTES_MAX;
    ret->hello.lock_timeout_max_ms = wire_duration(server->policy.lock_timeout_max_ms);
}

static enum wire_role role_of(const struct server *server,
                              const struct raft_node_status *status)
{
    if (server->serving) {
        return WIRE_ROLE_SERVING;
    }
    if (status->leader) {
        return WIRE_ROLE_LEADER;
    }
    return status->candidate ? WIRE_ROLE_CANDIDATE : WIRE_ROLE_FOLLOWER;
}

void node_info_put_status(const struct server *server,
                          struct node_info *info,
                          struct wire_response *ret)
{
    const struct replica *replica = server_replica(server);
    const struct fsm *table = replica_table(replica);
    struct replica_checkpoint checkpoint = replica_last_checkpoint(replica);
    struct fsm_counts counts = fsm_counts(table);

    for (size_t i = 0; i < info->status.members_count; i++) {
        info->members[i].match_index = info->status.members[i].match_index;
        info->members[i].connected = info->status.members[i].connected;
    }
    ret->type = WIRE_RESP_CLUSTER_STATUS;
    ret->cluster_status.node_id = server->config->node_id;
    ret->cluster_status.term = info->status.term;
    ret->cluster_status.leader_id = info->status.leader_id;
    ret->cluster_status.leader_address = info->leader_address;
    ret->cluster_status.commit_index = info->status.commit_index;
    ret->cluster_status.applied_index = info->status.applied_index;
    ret->cluster_status.last_index = info->status.last_index;
    ret->cluster_status.cluster_time_ms = fsm_now_ms(table);
    ret->cluster_status.checkpoint_index = checkpoint.index;
    ret->cluster_status.checkpoint_hash = checkpoint.hash;
    ret->cluster_status.locks = counts.locks;
    ret->cluster_status.holds = counts.holds;
    ret->cluster_status.waits = counts.waits;
    ret->cluster_status.clients = counts.clients;
    ret->cluster_status.connections = server->connections_count;
    ret->cluster_status.uptime_ms = uv_now(server->loop) - server->started_ms;
    ret->cluster_status.last_token = fsm_last_token(table);
    ret->cluster_status.requests = metrics_requests(&server->metrics);
    ret->cluster_status.commits = server->metrics.commits.count;
    ret->cluster_status.commits_us = server->metrics.commits.sum_us;
    ret->cluster_status.feature_level = info->status.feature_level;
    ret->cluster_status.feature_level_max = info->status.feature_level_max;
    ret->cluster_status.draining = server->draining;
    ret->cluster_status.log_level = node_control_log_level(server);
    ret->cluster_status.role = role_of(server, &info->status);
    ret->cluster_status.cluster_id = wire_str_of_text(server->config->cluster);
    ret->cluster_status.server = wire_str_of_text(server_version);
    ret->cluster_status.members = info->members;
    ret->cluster_status.members_count = info->status.members_count;
}
