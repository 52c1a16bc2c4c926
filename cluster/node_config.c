#include "node_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "peer_address.h"

enum {
    SNAPSHOT_THRESHOLD = 8192,
    SNAPSHOT_TRAILING = 8192,
    SNAPSHOT_STEP_RECORDS = 2048, /* half a millisecond */
    EVENTS_PER_FLUSH = 2048, /* a millisecond; an ordinary entry has fewer */
    LOG_BYTES_MAX = 24 * 1024 * 1024,
};

__attribute__((format(printf, 2, 3))) static int
refuse(char *ret_error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, RAFT_NODE_ERROR_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

static int check_member(const struct raft_node_config *config, size_t i, char *ret_error)
{
    const struct raft_node_member *member = &config->members[i];
    struct peer_address parsed;

    if (member->node_id == 0 || peer_address_parse(member->peer_address, &parsed) != 0) {
        return refuse(ret_error,
                      "member %" PRIu64 " at '%.200s': an id is not 0, an address is "
                      "host:port or [v6]:port",
                      member->node_id, member->peer_address);
    }
    for (size_t j = 0; j < i; j++) {
        if (config->members[j].node_id == member->node_id ||
            strcmp(config->members[j].peer_address, member->peer_address) == 0) {
            return refuse(ret_error,
                          "member %" PRIu64
                          " at %.200s: the id or the address is there twice",
                          member->node_id, member->peer_address);
        }
    }
    return 0;
}

static const char *address_of(const struct raft_node_config *config, uint64_t node_id)
{
    for (size_t i = 0; i < config->members_count; i++) {
        if (config->members[i].node_id == node_id) {
            return config->members[i].peer_address;
        }
    }
    return NULL;
}

int node_config_check(const struct raft_node_config *config,
                      char ret_error[static RAFT_NODE_ERROR_BYTES])
{
    struct peer_address parsed;

    if (config->members_count == 0 || config->members_count > RAFT_NODE_MEMBERS_MAX) {
        return refuse(ret_error, "a cluster has 1 to %d members",
                      (int)RAFT_NODE_MEMBERS_MAX);
    }
    for (size_t i = 0; i < config->members_count; i++) {
        int error = check_member(config, i, ret_error);
        if (error != 0) {
            return error;
        }
    }
    if (address_of(config, config->node_id) == NULL) {
        return refuse(ret_error, "this node's id %" PRIu64 " is not among the members",
                      config->node_id);
    }
    if (config->peer_listen != NULL &&
        peer_address_parse(config->peer_listen, &parsed) != 0) {
        return refuse(ret_error,
                      "'%.200s' is no address to listen on: host:port or [v6]:port",
                      config->peer_listen);
    }
    return 0;
}

static char *copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    if (text != NULL && copy == NULL) {
        abort();
    }
    return copy;
}

struct raft_node_config node_config_copy(const struct raft_node_config *config)
{
    struct raft_node_config copy = *config;
    struct raft_node_member *members =
        memory_new(config->members_count * sizeof *members);

    for (size_t i = 0; i < config->members_count; i++) {
        members[i].node_id = config->members[i].node_id;
        members[i].peer_address = copy_text(config->members[i].peer_address);
    }
    copy.members = members;
    copy.data_dir = copy_text(config->data_dir);
    copy.cluster_id = copy_text(config->cluster_id);
    copy.peer_listen = copy_text(config->peer_listen);
    copy.replica.node_id = config->node_id;
    if (copy.snapshot_threshold == 0) {
        copy.snapshot_threshold = SNAPSHOT_THRESHOLD;
    }
    if (copy.snapshot_trailing == 0) {
        copy.snapshot_trailing = SNAPSHOT_TRAILING;
    }
    if (copy.replica.snapshot_step_records == 0) {
        copy.replica.snapshot_step_records = SNAPSHOT_STEP_RECORDS;
    }
    if (copy.replica.events_per_flush == 0) {
        copy.replica.events_per_flush = EVENTS_PER_FLUSH;
    }
    copy.replica.log_bytes_max = LOG_BYTES_MAX;
    copy.replica.snapshot_threshold = copy.snapshot_threshold;
    copy.replica.snapshot_trailing = copy.snapshot_trailing;
    return copy;
}

/* The texts are const for everybody else. */
static void free_text(const char *text)
{
    free((void *)(uintptr_t)text);
}

void node_config_release(struct raft_node_config *copy)
{
    for (size_t i = 0; i < copy->members_count; i++) {
        free_text(copy->members[i].peer_address);
    }
    free((void *)(uintptr_t)copy->members);
    free_text(copy->data_dir);
    free_text(copy->cluster_id);
    free_text(copy->peer_listen);
}

const char *node_config_own_address(const struct raft_node_config *config)
{
    return address_of(config, config->node_id);
}

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
    if (value < low) {
        return low;
    }
    return value < high ? value : high;
}

struct raft_node_timing raft_node_timing_from_lease(uint32_t lease_ms)
{
    struct raft_node_timing timing = {
        .election_ms = lease_ms,
        .heartbeat_ms = clamp(lease_ms / 10, 1, UINT32_MAX),
        .connect_timeout_ms = clamp(lease_ms / 2, 100, 1000),
        .connect_retry_ms = clamp(lease_ms / 5, 100, 200),
        .user_timeout_ms = lease_ms < 1000 ? 2000 : lease_ms + 1000,
    };

    /* libraft silently triples exactly this pair, for somebody's test suite. */
    if (timing.election_ms == 150 && timing.heartbeat_ms == 15) {
        timing.heartbeat_ms = 14;
    }
    return timing;
}
