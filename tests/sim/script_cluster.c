#include "script_internal.h"

#include <string.h>

enum { DURATION_MS_MAX = 0x7fffffff };

bool sim_cluster_lenient(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    line->script->lenient = true;
    return true;
}

bool sim_cluster_nodes(struct sim_line *line, struct sim_command *command)
{
    uint64_t number;

    (void)command;
    if (!sim_line_number(line, SIM_NODES_MAX, &number)) {
        return false;
    }
    if (number == 0) {
        return sim_line_wrong(line, "at least one node");
    }
    line->script->nodes.nodes = (unsigned)number;
    return true;
}

bool sim_cluster_joiners(struct sim_line *line, struct sim_command *command)
{
    uint64_t number;

    (void)command;
    if (!sim_line_number(line, SIM_NODES_MAX - line->script->nodes.nodes, &number)) {
        return false;
    }
    line->script->nodes.joiners = (unsigned)number;
    return true;
}

bool sim_cluster_build(struct sim_line *line, struct sim_command *command)
{
    uint64_t level;

    (void)command;
    if (!sim_line_number(line, sim_newest_level, &level)) {
        return false;
    }
    line->script->nodes.level = (uint32_t)level;
    return true;
}

static bool duration_ms(struct sim_line *line, uint64_t *ret_ms)
{
    uint64_t us;

    if (!sim_line_duration(line, &us)) {
        return false;
    }
    if (us % 1000 != 0 || us / 1000 > DURATION_MS_MAX) {
        return sim_line_wrong(line, "whole milliseconds, up to 500h");
    }
    *ret_ms = us / 1000;
    return true;
}

bool sim_cluster_lease(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return duration_ms(line, &line->script->nodes.leader_lease_ms);
}

/* False: neither on nor off. */
static bool parse_on_off(struct sim_line *line, bool *ret)
{
    static const char *const names[] = {"on", "off", NULL};
    unsigned which;

    if (!sim_line_choice(line, names, &which)) {
        return false;
    }
    *ret = which == 1;
    return true;
}

bool sim_cluster_fast_failover(struct sim_line *line, struct sim_command *command)
{
    bool on;

    (void)command;
    if (!parse_on_off(line, &on)) {
        return false;
    }
    line->script->nodes.slow_failover = !on;
    return true;
}

bool sim_cluster_reattach_grace(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return duration_ms(line, &line->script->nodes.reattach_grace_ms);
}

bool sim_cluster_grace_max(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return duration_ms(line, &line->script->nodes.session_grace_max_ms);
}

bool sim_cluster_plain_min(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return duration_ms(line, &line->script->nodes.plain_lock_timeout_min_ms);
}

bool sim_cluster_restart(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return sim_line_duration(line, &line->script->nodes.restart_us);
}

bool sim_cluster_snapshot(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"threshold", "trailing", NULL};
    struct sim_node_options *nodes = &line->script->nodes;

    (void)command;
    do {
        unsigned which;
        if (!sim_line_choice(line, names, &which) ||
            !sim_line_number(line, 10000000,
                             which == 1 ? &nodes->snapshot_threshold
                                        : &nodes->snapshot_trailing)) {
            return false;
        }
    } while (line->next < line->count);
    return true;
}

bool sim_cluster_limit(struct sim_line *line, struct sim_command *command)
{
    static const char *const names[] = {"commands-waiting", "output-bytes", "pending",
                                        "events", NULL};
    struct sim_node_options *nodes = &line->script->nodes;
    unsigned which;

    (void)command;
    if (!sim_line_choice(line, names, &which)) {
        return false;
    }
    return sim_line_number(line, 1 << 30,
                           which == 1   ? &nodes->commands_waiting_max
                           : which == 2 ? &nodes->output_bytes_max
                           : which == 3 ? &nodes->pending_per_connection_max
                                        : &nodes->events_per_flush);
}

bool sim_cluster_seed(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return sim_line_number(line, UINT64_MAX, &line->script->seed);
}

bool sim_cluster_model(struct sim_line *line, struct sim_command *command)
{
    (void)command;
    return parse_on_off(line, &line->script->model);
}

bool sim_cluster_rate_max(struct sim_line *line, struct sim_command *command)
{
    uint64_t ppm;

    (void)command;
    if (!sim_line_number(line, SIM_MILLION / 2, &ppm)) {
        return false;
    }
    line->script->rate_ppm_max = (uint32_t)ppm;
    return true;
}

/* ---- clients ---- */

static bool client_duration(struct sim_line *line, uint32_t *ret_ms)
{
    uint64_t ms = 0;

    if (!duration_ms(line, &ms)) {
        return false;
    }
    *ret_ms = (uint32_t)ms;
    return true;
}

static bool client_option(struct sim_line *line, struct sim_client_options *client)
{
    static const char *const names[] = {
        "library",         "raw",        "id",       "fresh-id", "grace",
        "connect-timeout", "no-refresh", "share-id", "drift",    NULL};
    unsigned which;
    uint64_t ppm;
    const char *id;

    if (!sim_line_choice(line, names, &which)) {
        return false;
    }
    switch (which) {
    case 1:
    case 2:
        client->kind = which == 1 ? SIM_CLIENT_LIBRARY : SIM_CLIENT_RAW;
        return true;
    case 3:
        id = sim_line_next(line);
        if (id == NULL || strlen(id) >= sizeof(client->client_id)) {
            return sim_line_wrong(line, "id: up to %zu bytes",
                                  sizeof(client->client_id) - 1);
        }
        snprintf(client->client_id, sizeof(client->client_id), "%s", id);
        return true;
    case 4:
        client->client_id[0] = '\0';
        return true;
    case 5:
        return client_duration(line, &client->session_grace_ms);
    case 6:
        return client_duration(line, &client->connect_timeout_ms);
    case 7:
        client->no_refresh = true;
        return true;
    case 8:
        client->share_id = true;
        return true;
    default:
        if (!sim_line_number(line, 500000, &ppm)) {
            return false;
        }
        client->drift_ppm = (uint32_t)ppm;
        return true;
    }
}

/* A name that means nothing else, and that can stand in a link or before a dot. */
static bool client_name_valid(const char *name)
{
    static const char *const taken[] = {"leader", "follower", "nodes", "clients", "peers",
                                        "all",    "at",       "held",  "repeat",  NULL};

    for (size_t i = 0; taken[i] != NULL; i++) {
        if (strcmp(name, taken[i]) == 0) {
            return false;
        }
    }
    return strcspn(name, ".>=*#") == strlen(name) && sim_word_find(name) == NULL &&
           !(name[0] == 'n' && name[1] >= '0' && name[1] <= '9');
}

bool sim_cluster_client(struct sim_line *line, struct sim_command *command)
{
    struct sim_script *script = line->script;
    const char *name = sim_line_next(line);

    (void)command;
    if (script->clients_count == SIM_SCRIPT_CLIENTS_MAX) {
        return sim_line_wrong(line, "more than %d clients", SIM_SCRIPT_CLIENTS_MAX);
    }
    struct sim_client_options *client = &script->clients[script->clients_count];
    *client = (struct sim_client_options){.kind = SIM_CLIENT_LIBRARY};
    if (name == NULL || strlen(name) >= sizeof(client->name) ||
        !client_name_valid(name)) {
        return sim_line_wrong(
            line, "a client's name: up to %zu bytes, not a word of the language",
            sizeof(client->name) - 1);
    }
    snprintf(client->name, sizeof(client->name), "%s", name);
    snprintf(client->client_id, sizeof(client->client_id), "%s", name);
    while (line->next < line->count) {
        if (!client_option(line, client)) {
            return false;
        }
    }
    for (unsigned i = 0; i < script->clients_count; i++) {
        if (strcmp(script->clients[i].name, name) == 0) {
            return sim_line_wrong(line, "a client \"%s\" is there already", name);
        }
    }
    script->clients_count++;
    return true;
}
