/* What the status page shows, as JSON. Every answer begins with whose view it is: "leader" on the
 * node that serves, "local" on the others, which may lag. */
#include "http_answer.h"

static const char *role_of(const struct server *server,
                           const struct raft_node_status *status)
{
    if (server->serving) {
        return "serving";
    }
    return status->leader ? "elected" : status->candidate ? "candidate" : "follower";
}

void http_api_begin(struct http_answer *answer,
                    const struct server *server,
                    const struct raft_node_status *status)
{
    struct body *body = &answer->body;

    answer->type = "application/json";
    json_open(body, NULL, '{');
    json_text(body, "view", server->serving ? "leader" : "local");
    json_text(body, "cluster", server->config->cluster);
    json_number(body, "node_id", status->node_id);
    json_number(body, "term", status->term);
    json_number(body, "applied_index", status->applied_index);
}

void http_api_end(struct http_answer *answer)
{
    json_close(&answer->body, '}');
    body_put(&answer->body, "\n", 1);
}

uint64_t http_api_cluster_ms(const struct server *server)
{
    uint64_t now_ms =
        replica_cluster_ms(server_replica(server), raft_node_now_ms(server->node));
    uint64_t table_ms = fsm_now_ms(replica_table(server_replica(server)));

    return now_ms > table_ms ? now_ms : table_ms;
}

/* ---- status ---- */

static void put_counters(struct body *body, const struct metrics *metrics)
{
    uint64_t denials = 0;

    for (int i = 0; i < METRICS_DENIALS; i++) {
        denials += metrics->denials[i];
    }
    json_open(body, "counters", '{');
    json_number(body, "requests", metrics_requests(metrics));
    json_number(body, "grants", metrics->grants);
    json_number(body, "waits", metrics->waits);
    json_number(body, "releases", metrics->releases);
    json_number(body, "denials", denials);
    json_number(body, "wait_timeouts", metrics->wait_timeouts);
    json_number(body, "holds_expired", metrics->holds_expired);
    json_number(body, "holds_broken", metrics->holds_broken);
    json_close(body, '}');
}

static void put_commits(struct body *body, const struct metrics_durations *commits)
{
    json_open(body, "commits", '{');
    json_number(body, "count", commits->count);
    json_number(body, "sum_us", commits->sum_us);
    json_open(body, "bounds_us", '[');
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        json_number(body, NULL, metrics_bounds_us[i]);
    }
    json_close(body, ']');
    json_open(body, "buckets", '[');
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        json_number(body, NULL, commits->buckets[i]);
    }
    json_close(body, ']');
    json_close(body, '}');
}

void http_api_status(const struct server *server,
                     const struct http_query *query,
                     struct http_answer *answer)
{
    const struct fsm *table = replica_table(server_replica(server));
    struct fsm_counts counts = fsm_counts(table);
    struct body *body = &answer->body;
    struct node_info info;

    (void)query;
    node_info_get(server, &info);
    http_api_begin(answer, server, &info.status);
    json_text(body, "version", NETLOCK_VERSION);
    json_text(body, "role", role_of(server, &info.status));
    json_number(body, "leader_id", info.status.leader_id);
    json_bool(body, "stopping", server->stopping);
    json_bool(body, "draining", server->draining);
    json_number(body, "feature_level", info.status.feature_level);
    json_number(body, "feature_level_max", info.status.feature_level_max);
    json_number(body, "uptime_ms", uv_now(server->loop) - server->started_ms);
    json_number(body, "cluster_time_ms", http_api_cluster_ms(server));
    json_number(body, "commit_index", info.status.commit_index);
    json_number(body, "last_index", info.status.last_index);
    json_number(body, "last_token", fsm_last_token(table));
    json_number(body, "locks", counts.locks);
    json_number(body, "holds", counts.holds);
    json_number(body, "waits", counts.waits);
    json_number(body, "clients", counts.clients);
    json_number(body, "connections", server->connections_count);
    put_counters(body, &server->metrics);
    put_commits(body, &server->metrics.commits);
    http_api_end(answer);
}

/* ---- members ---- */

static const char *member_role(const struct server *server,
                               const struct raft_node_status *status,
                               uint64_t node_id)
{
    if (node_id == status->node_id) {
        return role_of(server, status);
    }
    return node_id == status->leader_id ? "leader" : "follower";
}

/* Of others a node knows what the leader knows of them, or nothing. */
void http_api_members(const struct server *server,
                      const struct http_query *query,
                      struct http_answer *answer)
{
    struct body *body = &answer->body;
    struct node_info info;

    (void)query;
    node_info_get(server, &info);
    const struct raft_node_status *status = &info.status;
    http_api_begin(answer, server, status);
    json_open(body, "members", '[');
    for (size_t i = 0; i < status->members_count; i++) {
        bool self = status->members[i].node_id == status->node_id;
        json_open(body, NULL, '{');
        json_number(body, "node_id", status->members[i].node_id);
        json_string(body, "client_address", info.members[i].client_address.data,
                    info.members[i].client_address.len);
        json_text(body, "peer_address", status->members[i].peer_address);
        json_text(body, "role", member_role(server, status, status->members[i].node_id));
        json_bool(body, "voter", status->members[i].voter);
        json_bool(body, "connected", status->members[i].connected);
        if (self) {
            json_number(body, "term", status->term);
            json_number(body, "commit_index", status->commit_index);
        }
        if (status->leader) {
            json_number(body, "match_index", status->members[i].match_index);
            json_number(body, "lag_entries",
                        status->last_index - status->members[i].match_index);
        }
        json_close(body, '}');
    }
    json_close(body, ']');
    http_api_end(answer);
}
