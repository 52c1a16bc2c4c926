/* Prometheus' text format. Names and units are documented in cluster/README.md: they do not
 * change. */
#include "http_answer.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <unistd.h>

#define US_PER_S 1e6

static void head(struct body *body, const char *name, const char *type, const char *help)
{
    body_printf(body, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value(struct body *body, const char *name, uint64_t number)
{
    body_printf(body, "%s %" PRIu64 "\n", name, number);
}

static void gauge(struct body *body, const char *name, uint64_t number, const char *help)
{
    head(body, name, "gauge", help);
    value(body, name, number);
}

static void
counter(struct body *body, const char *name, uint64_t number, const char *help)
{
    head(body, name, "counter", help);
    value(body, name, number);
}

/* ---- the node ---- */

/* A label's value; configuration takes no control characters. */
static void label(struct body *body, const char *name, const char *text)
{
    body_printf(body, "%s=\"", name);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            body_put(body, "\\", 1);
        }
        body_put(body, text, 1);
    }
    body_put(body, "\"", 1);
}

static void put_info(struct body *body, const struct server *server)
{
    head(body, "netlock_build_info", "gauge", "What runs here: always 1.");
    body_text(body, "netlock_build_info{");
    label(body, "cluster", server->config->cluster);
    body_printf(body, ",node=\"%" PRIu64 "\",version=\"" NETLOCK_VERSION "\"} 1\n",
                server->config->node_id);
}

static void put_role(struct body *body,
                     const struct server *server,
                     const struct raft_node_status *status)
{
    gauge(body, "netlock_leader", status->leader, "1 on the node that leads.");
    gauge(body, "netlock_serving", server->serving,
          "1 on the node that leads and serves clients.");
    gauge(body, "netlock_disk_low", server->disk_low,
          "1 while the data directory has less room than disk-free-min.");
    gauge(body, "netlock_leader_known", status->leader_id != 0,
          "1 while this node knows which one leads.");
    gauge(body, "netlock_members", status->members_count,
          "Members of the cluster, as this node knows them.");
    gauge(body, "netlock_draining", server->draining,
          "1 while this node leaves leading to the others.");
    gauge(body, "netlock_feature_level", status->feature_level,
          "Of the formats that the cluster writes, as this node knows it.");
    gauge(body, "netlock_feature_level_max", status->feature_level_max,
          "The feature level that this node can.");
    gauge(body, "netlock_raft_term", status->term, "The term that this node is in.");
    gauge(body, "netlock_raft_last_index", status->last_index,
          "Last entry of this node's log.");
    gauge(body, "netlock_raft_commit_index", status->commit_index,
          "Last entry that this node knows a majority has.");
    gauge(body, "netlock_raft_applied_index", status->applied_index,
          "Last entry that is in this node's table.");
}

/* At most as many as there are members; a follower knows nothing of them. */
static void put_lag(struct body *body, const struct raft_node_status *status)
{
    head(body, "netlock_member_lag_entries", "gauge",
         "Entries that a member is not known to have; from the leader only.");
    for (size_t i = 0; status->leader && i < status->members_count; i++) {
        body_printf(body,
                    "netlock_member_lag_entries{member=\"%" PRIu64 "\"} %" PRIu64 "\n",
                    status->members[i].node_id,
                    status->last_index - status->members[i].match_index);
    }
    head(body, "netlock_member_connected", "gauge",
         "1 while this node has a connection with the member.");
    for (size_t i = 0; i < status->members_count; i++) {
        body_printf(body, "netlock_member_connected{member=\"%" PRIu64 "\"} %d\n",
                    status->members[i].node_id, status->members[i].connected);
    }
}

/* ---- the table ---- */

static void put_table(struct body *body, const struct server *server)
{
    const struct fsm *table = replica_table(server_replica(server));
    struct fsm_counts counts = fsm_counts(table);

    gauge(body, "netlock_locks", counts.locks, "Locks that somebody holds.");
    gauge(body, "netlock_holds", counts.holds, "Holds of locks.");
    gauge(body, "netlock_waits", counts.waits, "Places in queues.");
    gauge(body, "netlock_clients", counts.clients, "Clients that the table knows.");
    gauge(body, "netlock_connections", server->connections_count,
          "Connections of clients with this node.");
    gauge(body, "netlock_last_token", fsm_last_token(table), "The last fencing token.");
}

/* ---- what was counted ---- */

static const char *const request_names[METRICS_REQUESTS] = {
    [WIRE_REQ_ATTACH] = "attach",
    [WIRE_REQ_DETACH] = "detach",
    [WIRE_REQ_CREATE] = "create",
    [WIRE_REQ_GET_DEFAULT_ID] = "get_default_id",
    [WIRE_REQ_GET_ATTACHED_IDS] = "get_attached_ids",
    [WIRE_REQ_LOCK] = "lock",
    [WIRE_REQ_REFRESH] = "refresh",
    [WIRE_REQ_RELEASE] = "release",
    [WIRE_REQ_STATUS] = "status",
    [WIRE_REQ_HELLO] = "hello",
    [WIRE_REQ_PING] = "ping",
    [WIRE_REQ_CHECK_TOKEN] = "check_token",
    [WIRE_REQ_LIST_LOCKS] = "list_locks",
    [WIRE_REQ_LIST_CLIENTS] = "list_clients",
    [WIRE_REQ_FORCE_RELEASE] = "force_release",
    [WIRE_REQ_CLUSTER_STATUS] = "cluster_status",
    [WIRE_REQ_BACKUP] = "backup",
    [WIRE_REQ_CLIENT_KILL] = "client_kill",
    [WIRE_REQ_CLUSTER_CHANGE] = "cluster_change",
    [WIRE_REQ_NODE_CONTROL] = "node_control",
};

static const char *const denial_names[METRICS_DENIALS] = {
    [FSM_DENY_HELD] = "held",
    [FSM_DENY_CANCELLED] = "cancelled",
    [FSM_DENY_NOT_HELD] = "not_held",
    [FSM_DENY_EXPIRED] = "expired",
    [FSM_DENY_UPGRADE_CONFLICT] = "upgrade_conflict",
    [FSM_DENY_LIMIT_MISMATCH] = "limit_mismatch",
    [FSM_DENY_NOT_ATTACHED] = "not_attached",
    [FSM_DENY_STALE_EPOCH] = "stale_epoch",
    [FSM_DENY_NOT_ALLOWED] = "not_allowed",
    [FSM_DENY_LIMIT_EXCEEDED] = "limit_exceeded",
};

static void family(struct body *body,
                   const char *name,
                   const char *label_name,
                   const char *const *names,
                   const uint64_t *numbers,
                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i] != NULL) {
            body_printf(body, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label_name, names[i],
                        numbers[i]);
        }
    }
}

static void put_counters(struct body *body, const struct metrics *metrics)
{
    head(body, "netlock_requests_total", "counter", "Requests of clients, by type.");
    family(body, "netlock_requests_total", "type", request_names, metrics->requests,
           METRICS_REQUESTS);
    counter(body, "netlock_requests_malformed_total", metrics->malformed,
            "Requests that were none, or had values out of range.");
    counter(body, "netlock_grants_total", metrics->grants,
            "Grants told: at once, from a queue, or again.");
    counter(body, "netlock_waits_total", metrics->waits,
            "Requests that were given a place in a queue.");
    counter(body, "netlock_releases_total", metrics->releases,
            "Holds that their clients gave back.");
    head(body, "netlock_denials_total", "counter",
         "Refusals of the lock table, by reason.");
    family(body, "netlock_denials_total", "reason", denial_names, metrics->denials,
           METRICS_DENIALS);
    counter(body, "netlock_wait_timeouts_total", metrics->wait_timeouts,
            "Waits that ended by their timeout.");
    counter(body, "netlock_holds_expired_total", metrics->holds_expired,
            "Holds that ended by their timeout.");
    counter(body, "netlock_holds_broken_total", metrics->holds_broken,
            "Holds that an operator broke.");
    counter(body, "netlock_connections_accepted_total", metrics->connections_accepted,
            "Connections of clients that were accepted.");
    counter(body, "netlock_connections_refused_total", metrics->connections_refused,
            "Connections beyond a limit.");
}

static void put_durations(struct body *body, const struct metrics_durations *durations)
{
    static const char name[] = "netlock_commit_duration_seconds";
    uint64_t sum = 0;

    head(body, name, "histogram",
         "From a client's command to its answer: replicated, on disks, applied.");
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        sum += durations->buckets[i];
        body_printf(body, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                    (double)metrics_bounds_us[i] / US_PER_S, sum);
    }
    body_printf(body, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, durations->count);
    body_printf(body, "%s_sum %.6f\n", name, (double)durations->sum_us / US_PER_S);
    body_printf(body, "%s_count %" PRIu64 "\n", name, durations->count);
}

/* ---- the process ---- */

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / US_PER_S;
}

static void put_process(struct body *body, const struct server *server)
{
    struct rusage usage = {0};

    (void)getrusage(RUSAGE_SELF, &usage);
    head(body, "process_cpu_seconds_total", "counter", "Processor time used.");
    body_printf(body, "process_cpu_seconds_total %.3f\n",
                seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
    head(body, "netlock_uptime_seconds", "gauge", "Time since the start.");
    body_printf(body, "netlock_uptime_seconds %.3f\n",
                (double)(uv_now(server->loop) - server->started_ms) / 1000);
    head(body, "netlock_resident_memory_max_bytes", "gauge",
         "The most memory that the process has had.");
    body_printf(body, "netlock_resident_memory_max_bytes %ld\n", usage.ru_maxrss * 1024);
}

void http_metrics(const struct server *server,
                  const struct http_query *query,
                  struct http_answer *answer)
{
    struct body *body = &answer->body;
    struct node_info info;

    (void)query;
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    node_info_get(server, &info);
    put_info(body, server);
    put_role(body, server, &info.status);
    put_lag(body, &info.status);
    put_table(body, server);
    put_counters(body, &server->metrics);
    put_durations(body, &server->metrics.commits);
    put_process(body, server);
}
