#include "config_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "peer_address.h"

#define FIELD(member)                                                                    \
    offsetof(struct config, member), sizeof(((struct config *)0)->member)
static const uint64_t timeout_max_ms = UINT32_MAX - 1; /* the wire has 32 bits */

const struct config_key config_keys[] = {
    {"node-id", KIND_NUMBER, FIELD(node_id), 1, INT64_MAX, false, "1",
     "number of this node"},
    {"cluster", KIND_TEXT, FIELD(cluster), 1, 0, false, "local", "name of the cluster"},
    {"data-dir", KIND_TEXT, FIELD(data_dir), 1, 0, false, "see below", "durable state"},
    {"listen", KIND_TEXT, FIELD(listen), 1, 0, false, "127.0.0.1:7670",
     "HOST:PORT for clients; port 0 takes a free one"},
    {"peer-listen", KIND_TEXT, FIELD(peer_listen), 1, 0, false, "127.0.0.1:7671",
     "HOST:PORT for the other nodes"},
    {"http-listen", KIND_TEXT, FIELD(http_listen), 1, 0, false, "none",
     "HOST:PORT of the status page, metrics and health"},
    {"advertise", KIND_TEXT, FIELD(advertise), 1, 0, false, "listen",
     "HOST:PORT at which clients reach this node"},
    {"member", KIND_MEMBER, 0, 0, 0, 0, false, "this node",
     "\"ID PEERHOST:PORT CLIENTHOST:PORT\", once for each node"},
    {"join", KIND_YES_NO, FIELD(join), 0, 0, false, "no",
     "begin no cluster: wait for 'netlock cluster add'"},
    {"insecure-listen", KIND_YES_NO, FIELD(insecure_listen), 0, 0, false, "no",
     "listen beyond loopback without encryption"},
    {"tls-ca", KIND_TEXT, FIELD(tls_ca), 1, 0, false, "none",
     "certificates of who may sign those of clients and nodes"},
    {"tls-cert", KIND_TEXT, FIELD(tls_cert), 1, 0, false, "none",
     "certificate of this node, netlock://CLUSTER/node/ID"},
    {"tls-key", KIND_TEXT, FIELD(tls_key), 1, 0, false, "none", "its key, mode 0600"},
    {"user", KIND_TEXT, FIELD(user), 1, 0, false, "none",
     "whom a node that is started as root becomes"},
    {"ready-file", KIND_TEXT, FIELD(ready_file), 1, 0, false, "none",
     "the ready line is written here too"},
    {"acl-file", KIND_TEXT, FIELD(acl_file), 1, 0, false, "none",
     "who may do what with which locks"},
    {"tokens-file", KIND_TEXT, FIELD(tokens_file), 1, 0, false, "none",
     "hashes of what clients without a certificate show"},
    {"leader-lease", KIND_DURATION, FIELD(leader_lease_ms), 100, MINUTE, false, "500ms",
     "how long a silent leader leads"},
    {"fast-failover", KIND_YES_NO, FIELD(fast_failover), 0, 0, false, "yes",
     "replace a leader whose process has died at once"},
    {"reattach-grace", KIND_DURATION, FIELD(reattach_grace_ms), 1, HOUR, false,
     "20 leases, at least 10s", "for clients to find a new leader"},
    {"session-grace-max", KIND_DURATION, FIELD(session_grace_max_ms), 0, HOUR, false,
     "60s", "longest grace a client may ask for"},
    {"frame-timeout", KIND_DURATION, FIELD(frame_timeout_ms), 10, HOUR, false, "10s",
     "for the first message, and for the rest of a begun one"},
    {"lock-timeout-default", KIND_DURATION, FIELD(lock_timeout_default_ms), 1,
     timeout_max_ms, true, "unlimited", "when a request gives none"},
    {"lock-timeout-max", KIND_DURATION, FIELD(lock_timeout_max_ms), 1, timeout_max_ms,
     true, "unlimited", "longer ones are cut to this"},
    {"plain-lock-timeout-min", KIND_DURATION, FIELD(plain_lock_timeout_min_ms), 0, HOUR,
     false, "1s", "shorter ones of plain clients are refused: meant as seconds"},
    {"allow-ignore-without-timeout", KIND_YES_NO, FIELD(allow_ignore_without_timeout), 0,
     0, false, "no", "IGNORE with no lock timeout"},
    {"connections-max", KIND_NUMBER, FIELD(connections_max), 1, 1000000, false, "10000",
     ""},
    {"connections-per-address-max", KIND_NUMBER, FIELD(connections_per_address_max), 1,
     1000000, false, "1000", ""},
    {"clients-per-connection-max", KIND_NUMBER, FIELD(clients_per_connection_max), 1,
     1000000, false, "1000", ""},
    {"pending-per-connection-max", KIND_NUMBER, FIELD(pending_per_connection_max), 1,
     65536, false, "256", "unanswered requests; then it is not read"},
    {"output-bytes-max", KIND_NUMBER, FIELD(output_bytes_max), 65536, 1 << 30, false,
     "1048576", "unread answers; then it is closed"},
    {"commands-waiting-max", KIND_NUMBER, FIELD(commands_waiting_max), 1, 1000000, false,
     "65536", "for the log; then clients are told to wait"},
    {"clients-max", KIND_NUMBER, FIELD(clients_max), 1, 10000000, false, "100000", ""},
    {"claims-max", KIND_NUMBER, FIELD(claims_max), 1, 100000000, false, "1000000",
     "holds and waits in all"},
    {"claims-per-client-max", KIND_NUMBER, FIELD(claims_per_client_max), 1, 10000, false,
     "10000", ""},
    {"waiters-per-lock-max", KIND_NUMBER, FIELD(waiters_per_lock_max), 1, 1000000, false,
     "10000", ""},
    {"disk-free-min", KIND_NUMBER, FIELD(disk_free_min_bytes), 0, INT64_MAX, false,
     "67108864", "bytes; with less the leader takes releases and refreshes only"},
    {"snapshot-threshold", KIND_NUMBER, FIELD(snapshot_threshold), 1, 10000000, false,
     "8192", "log entries between snapshots"},
    {"snapshot-trailing", KIND_NUMBER, FIELD(snapshot_trailing), 1, 10000000, false,
     "8192", "log entries kept behind a snapshot"},
    {"log-level", KIND_LEVEL, FIELD(log_level), 0, 0, false, "info",
     "error, warning, info or debug"},
};

int config_fail(struct config_source *source, const char *format, ...)
{
    char text[CONFIG_ERROR_BYTES / 2];
    va_list args;

    if (source->error[0] != '\0') {
        return -EINVAL;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (source->name == NULL) {
        snprintf(source->error, CONFIG_ERROR_BYTES, "%s", text);
    } else if (source->line == 0) {
        snprintf(source->error, CONFIG_ERROR_BYTES, "%.200s: %s", source->name, text);
    } else {
        snprintf(source->error, CONFIG_ERROR_BYTES, "%.200s:%d: %s", source->name,
                 source->line, text);
    }
    return -EINVAL;
}

static const struct config_key *key_find(const char *name)
{
    for (size_t i = 0; i < CONFIG_KEYS_COUNT; i++) {
        if (strcmp(config_keys[i].name, name) == 0) {
            return &config_keys[i];
        }
    }
    return NULL;
}

/* ---- values ---- */

/* Decimal digits up to *@ret_end, nothing else: strtoull would take signs and spaces. */
static int number_parse(const char *text, uint64_t *ret, const char **ret_end)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return -ERANGE;
        }
        value = value * 10 + digit;
    }
    if (at == text) {
        return -EINVAL;
    }
    *ret = value;
    *ret_end = at;
    return 0;
}

int config_duration_parse(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", SECOND}, {"ms", 1}, {"s", SECOND}, {"m", MINUTE}, {"h", HOUR}};
    uint64_t number;
    const char *unit;

    int rv = number_parse(text, &number, &unit);
    if (rv != 0) {
        return rv;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) == 0) {
            if (number > (UINT64_MAX - 1) / units[i].ms) {
                return -ERANGE;
            }
            *ret_ms = number * units[i].ms;
            return 0;
        }
    }
    return -EINVAL;
}

/* "1h", "1500ms": the largest unit in which it is a whole number. */
static const char *duration_text(uint64_t ms, char out[static 32])
{
    if (ms != 0 && ms % HOUR == 0) {
        snprintf(out, 32, "%" PRIu64 "h", ms / HOUR);
    } else if (ms != 0 && ms % MINUTE == 0) {
        snprintf(out, 32, "%" PRIu64 "m", ms / MINUTE);
    } else if (ms % SECOND == 0) {
        snprintf(out, 32, "%" PRIu64 "s", ms / SECOND);
    } else {
        snprintf(out, 32, "%" PRIu64 "ms", ms);
    }
    return out;
}

static int set_number(struct config_source *source,
                      const struct config_key *key,
                      const char *value,
                      void *field)
{
    uint64_t number;
    const char *end;

    int rv = number_parse(value, &number, &end);
    if (rv != 0 || *end != '\0' || number < key->min || number > key->max) {
        return config_fail(source,
                           "%s: \"%.40s\" is not a number from %" PRIu64 " to %" PRIu64,
                           key->name, value, key->min, key->max);
    }
    *(uint64_t *)field = number;
    return 0;
}

static int set_duration(struct config_source *source,
                        const struct config_key *key,
                        const char *value,
                        void *field)
{
    uint64_t ms;
    char min[32];
    char max[32];

    if (key->or_unlimited && strcmp(value, "unlimited") == 0) {
        *(uint64_t *)field = CONFIG_UNLIMITED;
        return 0;
    }
    if (config_duration_parse(value, &ms) != 0 || ms < key->min || ms > key->max) {
        return config_fail(
            source,
            "%s: \"%.40s\" is not a duration (500ms, 30s, 2m, 1h) from %s to %s%s",
            key->name, value, duration_text(key->min, min), duration_text(key->max, max),
            key->or_unlimited ? ", or unlimited" : "");
    }
    *(uint64_t *)field = ms;
    return 0;
}

static int set_yes_no(struct config_source *source,
                      const struct config_key *key,
                      const char *value,
                      void *field)
{
    bool yes = strcmp(value, "yes") == 0;

    if (!yes && strcmp(value, "no") != 0) {
        return config_fail(source, "%s: \"%.40s\" is neither yes nor no", key->name,
                           value);
    }
    *(bool *)field = yes;
    return 0;
}

static int set_text(struct config_source *source,
                    const struct config_key *key,
                    const char *value,
                    void *field)
{
    size_t len = strlen(value);

    if (len < key->min || len >= key->size) {
        return config_fail(source, "%s: not 1 to %zu characters", key->name,
                           key->size - 1);
    }
    memcpy(field, value, len + 1);
    return 0;
}

static int set_level(struct config_source *source,
                     const struct config_key *key,
                     const char *value,
                     void *field)
{
    enum log_level level;

    if (!log_level_parse(value, &level)) {
        return config_fail(source,
                           "%s: \"%.40s\" is not one of error, warning, info, debug",
                           key->name, value);
    }
    *(enum log_level *)field = level;
    return 0;
}

/* "ID PEERHOST:PORT CLIENTHOST:PORT" */
static int add_member(struct config_source *source, const char *value)
{
    struct config *config = source->config;
    struct config_member member = {0};
    struct peer_address parsed;
    char extra;
    const char *rest;

    if (config->members_count == RAFT_NODE_MEMBERS_MAX) {
        return config_fail(source, "member: more than %d", RAFT_NODE_MEMBERS_MAX);
    }
    if (number_parse(value, &member.node_id, &rest) != 0 || member.node_id == 0 ||
        member.node_id > INT64_MAX ||
        sscanf(rest, " %255s %255s %c", member.peer_address, member.client_address,
               &extra) != 2 ||
        peer_address_parse(member.peer_address, &parsed) != 0 ||
        peer_address_parse(member.client_address, &parsed) != 0) {
        return config_fail(
            source, "member: \"%.80s\" is not \"ID PEERHOST:PORT CLIENTHOST:PORT\"",
            value);
    }
    for (size_t i = 0; i < config->members_count; i++) {
        const struct config_member *other = &config->members[i];
        if (other->node_id == member.node_id) {
            return config_fail(source, "member: node %" PRIu64 " is there twice",
                               member.node_id);
        }
        if (strcmp(other->peer_address, member.peer_address) == 0 ||
            strcmp(other->client_address, member.client_address) == 0) {
            return config_fail(
                source, "member: nodes %" PRIu64 " and %" PRIu64 " share an address",
                other->node_id, member.node_id);
        }
    }
    config->members[config->members_count++] = member;
    return 0;
}

int config_set(struct config_source *source, const char *name, const char *value)
{
    const struct config_key *key = key_find(name);

    if (key == NULL) {
        return config_fail(source, "%.60s: no such key; netlockd --help lists them",
                           name);
    }
    bool *given = &source->given[key - config_keys];
    if (*given && key->kind != KIND_MEMBER) {
        return config_fail(source, "%s: given twice", key->name);
    }
    if (!*given && key->kind == KIND_MEMBER) {
        source->config->members_count = 0; /* flags replace the members of the file */
    }
    *given = true;
    void *field = (char *)source->config + key->offset;
    switch (key->kind) {
    case KIND_NUMBER:
        return set_number(source, key, value, field);
    case KIND_DURATION:
        return set_duration(source, key, value, field);
    case KIND_YES_NO:
        return set_yes_no(source, key, value, field);
    case KIND_TEXT:
        return set_text(source, key, value, field);
    case KIND_LEVEL:
        return set_level(source, key, value, field);
    case KIND_MEMBER:
        return add_member(source, value);
    }
    return -EINVAL;
}
