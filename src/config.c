#include "config_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer_address.h"

/* ---- the command line ---- */

enum { OPTION_CONFIG = 1000, OPTION_VERSION };

struct flags {
    struct option options[CONFIG_KEYS_COUNT + 5];
};

static void flags_init(struct flags *flags)
{
    size_t n = 0;

    *flags = (struct flags){0};
    for (; n < CONFIG_KEYS_COUNT; n++) {
        flags->options[n] =
            (struct option){config_keys[n].name, required_argument, NULL, (int)n};
    }
    flags->options[n++] =
        (struct option){"config", required_argument, NULL, OPTION_CONFIG};
    flags->options[n++] = (struct option){"check", no_argument, NULL, 'n'};
    flags->options[n++] = (struct option){"help", no_argument, NULL, 'h'};
    flags->options[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
}

/* getopt's state is global; it is reset here, and nothing else in the server uses it. */
static int next_flag(const struct flags *flags, int argc, char *const *argv)
{
    return getopt_long(argc, argv, "+:nh", flags->options, NULL);
}

static int parse_flags(struct config *config,
                       int argc,
                       char *const *argv,
                       const char **ret_file,
                       bool set_values,
                       enum config_action *ret_action,
                       char *ret_error)
{
    struct config_source source = {.config = config, .error = ret_error};
    struct flags flags;
    int flag;
    int rv = 0;

    flags_init(&flags);
    optind = 0;
    opterr = 0;
    while (rv == 0 && (flag = next_flag(&flags, argc, argv)) != -1) {
        if (flag == '?' || flag == ':') {
            return config_fail(&source, "%.80s: %s; try --help", argv[optind - 1],
                               flag == ':' ? "needs a value" : "no such option");
        }
        if (flag == OPTION_CONFIG) {
            *ret_file = optarg;
        } else if (flag == 'n') {
            *ret_action = CONFIG_CHECK;
        } else if (flag == 'h') {
            *ret_action = CONFIG_HELP;
            return 0;
        } else if (flag == OPTION_VERSION) {
            *ret_action = CONFIG_VERSION;
            return 0;
        } else if (set_values) {
            rv = config_set(&source, config_keys[flag].name, optarg);
        }
    }
    if (rv == 0 && optind < argc) {
        return config_fail(&source, "%.80s: not an option; try --help", argv[optind]);
    }
    return rv;
}

void config_help(FILE *out)
{
    fputs("usage: netlockd [--config FILE] [--KEY VALUE]...\n"
          "       netlockd restore FILE [--tokens-from N] [--config FILE] [--KEY "
          "VALUE]...\n"
          "       netlockd recover DIR FILE\n"
          "       netlockd check-data DIR\n"
          "       netlockd dump-log DIR\n"
          "\n"
          "Without arguments: a durable single node on loopback.\n"
          "\n"
          "  --config FILE    lines \"key = value\"; # and ; begin comments\n"
          "  -n, --check      check the configuration and exit\n"
          "  -h, --help       this text\n"
          "  --version        the version\n"
          "\n"
          "Keys, in the file or as flags, which override the file:\n"
          "\n",
          out);
    for (size_t i = 0; i < CONFIG_KEYS_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        fprintf(out, "  %-28s %s%s(default %s)\n", key->name, key->help,
                key->help[0] != '\0' ? " " : "", key->fallback);
    }
    fputs("\n"
          "Durations are 500ms, 30s, 2m, 1h; a plain number is seconds.\n"
          "data-dir is /var/lib/netlock for root, else $XDG_STATE_HOME/netlock or\n"
          "~/.local/state/netlock.\n"
          "\n"
          "Exit status: 0 stopped in order, 2 configuration or data directory refused,\n"
          "3 could not go on (disk, damaged or diverged state), 4 the data is of a newer "
          "version.\n",
          out);
}

/* ---- what was not said, and what does not fit ---- */

static const struct config defaults = {
    .session_grace_max_ms = MINUTE,
    .frame_timeout_ms = 10 * SECOND,
    .leader_lease_ms = 500,
    .fast_failover = true,
    .lock_timeout_default_ms = CONFIG_UNLIMITED,
    .lock_timeout_max_ms = CONFIG_UNLIMITED,
    .plain_lock_timeout_min_ms = SECOND,
    .connections_max = 10000,
    .connections_per_address_max = 1000,
    .clients_per_connection_max = 1000,
    .pending_per_connection_max = 256,
    .output_bytes_max = 1048576,
    .commands_waiting_max = 65536,
    .clients_max = 100000,
    .claims_max = 1000000,
    .claims_per_client_max = 10000,
    .waiters_per_lock_max = 10000,
    .disk_free_min_bytes = 67108864,
    .snapshot_threshold = 8192,
    .snapshot_trailing = 8192,
    .log_level = LOG_LEVEL_INFO,
};

static int default_data_dir(struct config *config, struct config_source *source)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int len = 0;

    config->data_dir_is_default = true;
    if (geteuid() == 0) {
        len = snprintf(config->data_dir, CONFIG_PATH_BYTES, "/var/lib/netlock");
    } else if (state != NULL && state[0] == '/') {
        len = snprintf(config->data_dir, CONFIG_PATH_BYTES, "%s/netlock", state);
    } else if (home != NULL && home[0] == '/') {
        len = snprintf(config->data_dir, CONFIG_PATH_BYTES, "%s/.local/state/netlock",
                       home);
    }
    if (len <= 0 || len >= CONFIG_PATH_BYTES) {
        return config_fail(
            source, "data-dir: no usable $HOME; say where the state is to be kept");
    }
    return 0;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&v6);
    }
    return strcmp(host, "localhost") == 0;
}

bool config_is_loopback(const char *address)
{
    struct peer_address parsed;

    return peer_address_parse(address, &parsed) == 0 && is_loopback(parsed.host);
}

static int check_listen(struct config *config,
                        struct config_source *source,
                        const char *key,
                        const char *text)
{
    struct peer_address parsed;

    if (peer_address_parse(text, &parsed) != 0) {
        return config_fail(
            source, "%s: \"%.80s\" is not HOST:PORT (or [v6]:PORT), port 0 to 65535", key,
            text);
    }
    if (!is_loopback(parsed.host) && !config_has_tls(config) &&
        !config->insecure_listen) {
        return config_fail(
            source,
            "%s: %.80s is reachable from other machines and the protocol is not "
            "encrypted; set tls-ca, tls-cert and tls-key, or on a network that you trust "
            "say insecure-listen = yes",
            key, text);
    }
    return 0;
}

static int check_http(struct config *config, struct config_source *source)
{
    if (strcmp(config->http_listen, config->listen) == 0 ||
        strcmp(config->http_listen, config->peer_listen) == 0) {
        return config_fail(source, "http-listen: %.80s is a port of clients or nodes",
                           config->http_listen);
    }
    return check_listen(config, source, "http-listen", config->http_listen);
}

/* Whoever sees a token on its way has it. */
static int check_tokens(struct config *config, struct config_source *source)
{
    if (config->tokens_file[0] == '\0' || config_has_tls(config) ||
        (config_is_loopback(config->listen) &&
         (config->http_listen[0] == '\0' || config_is_loopback(config->http_listen)))) {
        return 0;
    }
    return config_fail(source,
                       "tokens-file: tokens would cross the network in the clear; "
                       "set tls-ca, tls-cert and tls-key");
}

static int check_tls(struct config *config, struct config_source *source)
{
    bool ca = config->tls_ca[0] != '\0';
    bool cert = config->tls_cert[0] != '\0';
    bool key = config->tls_key[0] != '\0';

    if (ca != cert || cert != key) {
        return config_fail(source,
                           "%s: missing: tls-ca, tls-cert and tls-key belong together",
                           !ca     ? "tls-ca"
                           : !cert ? "tls-cert"
                                   : "tls-key");
    }
    return 0;
}

static void take_default(char *field, size_t size, const char *value)
{
    if (field[0] == '\0') {
        snprintf(field, size, "%s", value);
    }
}

/* Without members this node is the cluster. */
static void become_only_member(struct config *config)
{
    struct config_member *self = &config->members[0];

    if (config->node_id == 0) {
        config->node_id = 1;
    }
    take_default(config->cluster, CONFIG_CLUSTER_BYTES, "local");
    take_default(config->listen, CONFIG_ADDRESS_BYTES, "127.0.0.1:7670");
    take_default(config->peer_listen, CONFIG_ADDRESS_BYTES, "127.0.0.1:7671");
    *self = (struct config_member){.node_id = config->node_id};
    take_default(self->peer_address, CONFIG_ADDRESS_BYTES, config->peer_listen);
    take_default(self->client_address, CONFIG_ADDRESS_BYTES,
                 config->advertise[0] != '\0' ? config->advertise : config->listen);
    config->members_count = 1;
}

static int join_members(struct config *config, struct config_source *source)
{
    if (config->node_id == 0) {
        return config_fail(source,
                           "node-id: missing: which of the members is this node?");
    }
    if (config->cluster[0] == '\0') {
        return config_fail(
            source,
            "cluster: missing: a name that keeps the nodes of two clusters apart");
    }
    const struct config_member *self = config_member_find(config, config->node_id);
    if (self == NULL) {
        return config_fail(source,
                           "member: none for node-id %" PRIu64 ", which is this node",
                           config->node_id);
    }
    take_default(config->listen, CONFIG_ADDRESS_BYTES, self->client_address);
    take_default(config->peer_listen, CONFIG_ADDRESS_BYTES, self->peer_address);
    return 0;
}

static int finish(struct config *config, const char *file, char *ret_error)
{
    struct config_source source = {.config = config, .name = file, .error = ret_error};
    struct peer_address parsed;
    int rv = 0;

    if (config->members_count == 0 && config->join &&
        (config->node_id == 0 || config->cluster[0] == '\0')) {
        rv = config_fail(&source,
                         "join: say which cluster, and the node-id to be added under");
    } else if (config->members_count == 0) {
        become_only_member(config);
    } else {
        rv = join_members(config, &source);
    }
    if (rv == 0 && config->data_dir[0] == '\0') {
        rv = default_data_dir(config, &source);
    }
    if (rv == 0) {
        rv = check_tls(config, &source);
    }
    if (rv == 0) {
        rv = check_tokens(config, &source);
    }
    if (rv == 0) {
        rv = check_listen(config, &source, "listen", config->listen);
    }
    if (rv == 0) {
        rv = check_listen(config, &source, "peer-listen", config->peer_listen);
    }
    if (rv == 0 && config->http_listen[0] != '\0') {
        rv = check_http(config, &source);
    }
    if (rv == 0 && config->advertise[0] != '\0' &&
        peer_address_parse(config->advertise, &parsed) != 0) {
        rv = config_fail(&source, "advertise: \"%.80s\" is not HOST:PORT",
                         config->advertise);
    }
    if (rv == 0 && strcmp(config->listen, config->peer_listen) == 0) {
        rv = config_fail(
            &source,
            "listen and peer-listen are both %.80s: clients and nodes need a port each",
            config->listen);
    }
    if (rv == 0 && config->lock_timeout_default_ms != CONFIG_UNLIMITED &&
        config->lock_timeout_default_ms > config->lock_timeout_max_ms) {
        rv = config_fail(&source, "lock-timeout-default: above lock-timeout-max");
    }
    return rv;
}

int config_load(struct config *ret,
                int argc,
                char *const *argv,
                enum config_action *ret_action,
                char ret_error[static CONFIG_ERROR_BYTES])
{
    const char *file = NULL;

    *ret = defaults;
    *ret_action = CONFIG_RUN;
    ret_error[0] = '\0';
    int rv = parse_flags(ret, argc, argv, &file, false, ret_action, ret_error);
    if (rv != 0 || *ret_action == CONFIG_HELP || *ret_action == CONFIG_VERSION) {
        return rv;
    }
    if (file != NULL) {
        rv = config_parse_file(ret, file, ret_error);
    }
    if (rv == 0) {
        rv = parse_flags(ret, argc, argv, &file, true, ret_action, ret_error);
    }
    return rv == 0 ? finish(ret, file, ret_error) : rv;
}

struct config_timing config_timing(const struct config *config)
{
    uint64_t grace_ms = config->reattach_grace_ms;

    if (grace_ms == 0) {
        grace_ms = 20 * config->leader_lease_ms;
        grace_ms = grace_ms < 10 * SECOND ? 10 * SECOND : grace_ms;
    }
    return (struct config_timing){
        .raft = raft_node_timing_from_lease((uint32_t)config->leader_lease_ms),
        .reattach_grace_ms = grace_ms,
    };
}

const struct config_member *config_member_find(const struct config *config,
                                               uint64_t node_id)
{
    for (size_t i = 0; i < config->members_count; i++) {
        if (config->members[i].node_id == node_id) {
            return &config->members[i];
        }
    }
    return NULL;
}
