#include "script_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "server_internal.h"
#include "socket.h"

enum { AWAIT_STEP_US = 1000, ARRIVAL_US = 5000000, TICK_INTERVAL_MS = 1000 };

static bool verbose, aloud;

void sim_script_set_verbose(bool on)
{
    verbose = on;
}

void sim_script_set_aloud(bool on)
{
    aloud = on;
}

const char *sim_fault_name(enum sim_fault fault)
{
    static const char *const names[] = {
        "weather",    "client-weather", "cut",       "clog",         "crash",
        "crash-all",  "stop",           "pause",     "client-pause", "client-kill",
        "slow-disk",  "stall",          "full-disk", "disk-error",   "rot",
        "clock-rate", "wall-jump",      "hostile",   "alarm",        "members",
        "upgrade",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == SIM_FAULTS_COUNT,
                   "a name for each");

    return names[fault];
}

void sim_script_fail(struct sim_script *script,
                     enum sim_script_failure failure,
                     unsigned line,
                     const char *format,
                     ...)
{
    struct sim_script_result *ret = script->ret;
    va_list args;

    if (!script->stopped) {
        script->stopped = true;
        ret->syntax_error = failure == SIM_SCRIPT_SYNTAX;
        ret->mismatch = failure == SIM_SCRIPT_MISMATCH;
        int len = snprintf(ret->message, sizeof(ret->message),
                           "%.200s:%u: ", script->name, line);
        va_start(args, format);
        vsnprintf(ret->message + len, sizeof(ret->message) - (size_t)len, format, args);
        va_end(args);
    }
    sim_stop();
}

/* ---- what is scheduled ---- */

static void schedule(struct sim_script *script, const struct sim_command *command)
{
    if (command->at_us < sim_now_us() && !script->lenient) {
        sim_script_fail(script, SIM_SCRIPT_SYNTAX, command->line, "that time has passed");
        return;
    }
    if (script->queue_count == script->queue_capacity) {
        size_t capacity = script->queue_capacity == 0 ? 64 : script->queue_capacity * 2;
        script->queue = sim_realloc(script->queue, capacity * sizeof(script->queue[0]));
        script->queue_capacity = capacity;
    }
    script->queue[script->queue_count++] = command;
}

static int by_time(const void *a, const void *b)
{
    const struct sim_command *left = *(const struct sim_command *const *)a;
    const struct sim_command *right = *(const struct sim_command *const *)b;

    if (left->at_us != right->at_us) {
        return left->at_us < right->at_us ? -1 : 1;
    }
    return left < right ? -1
                        : left > right; /* both are in the array of commands: by line */
}

static void arm(struct sim_script *script)
{
    if (script->queue_head < script->queue_count) {
        sim_event_at(&script->walker, script->queue[script->queue_head]->at_us);
    }
}

/* Scripts are mostly written in the order of their times: then there is nothing to sort. */
static void sort_queue(struct sim_script *script)
{
    size_t i = script->queue_sorted > script->queue_head ? script->queue_sorted
                                                         : script->queue_head + 1;

    if (script->queue_sorted == script->queue_count) {
        return;
    }
    while (i < script->queue_count &&
           script->queue[i - 1]->at_us <= script->queue[i]->at_us) {
        i++;
    }
    if (i < script->queue_count) {
        qsort(script->queue + script->queue_head,
              script->queue_count - script->queue_head, sizeof(script->queue[0]),
              by_time);
    }
    script->queue_sorted = script->queue_count;
    arm(script);
}

static void on_walk(struct sim_event *event)
{
    struct sim_script *script =
        (struct sim_script *)(void *)((char *)event -
                                      offsetof(struct sim_script, walker));

    while (!script->stopped && script->queue_head < script->queue_count &&
           script->queue[script->queue_head]->at_us <= sim_now_us()) {
        const struct sim_command *command = script->queue[script->queue_head++];
        command->word->act(script, command);
    }
    arm(script);
}

void sim_script_run_until(struct sim_script *script, uint64_t until_us)
{
    sort_queue(script);
    if (!script->stopped && !sim_run_until(until_us)) {
        script->stopped = true;
    }
}

/* ---- letting time pass ---- */

void sim_act_run(struct sim_script *script, const struct sim_command *command)
{
    uint64_t until =
        command->what == SIM_RUN_FOR ? sim_now_us() + command->number : command->number;

    if (until < sim_now_us()) {
        if (!script->lenient) {
            sim_script_fail(script, SIM_SCRIPT_SYNTAX, command->line,
                            "that time has passed");
        }
        return;
    }
    sim_script_run_until(script, until);
}

/* Every node that runs has applied the same, and one of them serves. */
static bool all_equal(void)
{
    const struct sim_node *serving = sim_serving();

    if (serving == NULL) {
        return false;
    }
    const struct replica *leader = server_replica(serving->server);
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        const struct sim_node *node = sim_node(i);
        if (!sim_node_runs(node) || node->process.paused || !sim_check_is_member(node)) {
            continue;
        }
        if (node->server == NULL || node->server->node == NULL ||
            node->server->node_closed) {
            return false;
        }
        const struct replica *replica = server_replica(node->server);
        if (replica_applied_index(replica) != replica_applied_index(leader) ||
            fsm_digest(replica_table(replica)) != fsm_digest(replica_table(leader))) {
            return false;
        }
    }
    return true;
}

static bool node_is(const struct sim_node *node, unsigned what)
{
    return what == SIM_AWAIT_LEADER ? sim_serving() == node
                                    : sim_node_runs(node) == (what == SIM_AWAIT_UP);
}

static bool client_is(const struct sim_client *client, unsigned what)
{
    switch (what) {
    case SIM_AWAIT_ANSWERED:
        return sim_client_pending(client) == 0;
    case SIM_AWAIT_CONNECTED:
        return sim_transcript_connected(client);
    default:
        return sim_client_runs(client) == (what == SIM_AWAIT_UP);
    }
}

static bool all_are(const struct sim_who *who, unsigned what)
{
    bool nodes = who->kind == SIM_WHO_NODES || who->kind == SIM_WHO_ALL;
    bool clients = who->kind == SIM_WHO_CLIENTS || who->kind == SIM_WHO_ALL;

    nodes = nodes && (what == SIM_AWAIT_UP || what == SIM_AWAIT_DOWN);
    for (unsigned i = 1; nodes && i <= sim_nodes_count(); i++) {
        if (!node_is(sim_node(i), what)) {
            return false;
        }
    }
    for (unsigned i = 0; clients && i < sim_clients_count(); i++) {
        if (!client_is(sim_client(i), what)) {
            return false;
        }
    }
    return true;
}

static bool is_so(const struct sim_command *command)
{
    if (command->who.kind == SIM_WHO_NODE) {
        return node_is(sim_node(command->who.number), command->what);
    }
    if (command->who.kind == SIM_WHO_CLIENT) {
        return client_is(sim_client(command->who.number), command->what);
    }
    if (command->what == SIM_AWAIT_LEADER) {
        return sim_serving() != NULL;
    }
    return command->what == SIM_AWAIT_EQUAL ? all_equal()
                                            : all_are(&command->who, command->what);
}

void sim_act_await(struct sim_script *script, const struct sim_command *command)
{
    uint64_t until = sim_now_us() + command->number;

    while (!script->stopped && !is_so(command)) {
        if (sim_now_us() >= until) {
            sim_script_fail(script, SIM_SCRIPT_MISMATCH, command->line,
                            "it did not come to this within %" PRIu64 " ms",
                            command->number / 1000);
            return;
        }
        sim_script_run_until(script, sim_now_us() + AWAIT_STEP_US);
    }
}

static bool all_have_applied(uint64_t index)
{
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        const struct raft *raft = sim_node(i)->raft;
        if (raft != NULL && raft->last_applied < index &&
            sim_check_is_member(sim_node(i))) {
            return false;
        }
    }
    return true;
}

/* What one has just applied is on its way to the others. */
static void let_arrive(struct sim_script *script, uint64_t index)
{
    uint64_t until = sim_now_us() + ARRIVAL_US;

    while (!script->stopped && sim_now_us() < until && !all_have_applied(index)) {
        sim_script_run_until(script, sim_now_us() + AWAIT_STEP_US);
    }
}

void sim_act_check(struct sim_script *script, const struct sim_command *command)
{
    if (command->what == SIM_CHECK_HEALED) {
        sim_check_healed();
    } else {
        uint64_t index = sim_check_applied();
        let_arrive(script, index);
        sim_check_end(index);
    }
    script->stopped = script->stopped || sim_first_violation() != NULL;
}

/* ---- transcripts ---- */

static void write_up_to(struct sim_script *script, size_t end)
{
    if (script->actual != NULL) {
        fwrite(script->text + script->written, 1, end - script->written, script->actual);
    }
    script->written = end;
}

/* The line at *@at, which then is behind it; false at the end. */
static bool line_take(const char **at, const char *end, const char **ret, size_t *ret_len)
{
    if (*at >= end || **at == '\0') {
        *ret = "(nothing more)";
        *ret_len = strlen(*ret);
        return false;
    }
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    const char *stop = newline != NULL ? newline : end;
    *ret = *at;
    *ret_len = (size_t)(stop - *at);
    *at = newline != NULL ? newline + 1 : end;
    while (*ret_len > 0 &&
           ((*ret)[*ret_len - 1] == ' ' || (*ret)[*ret_len - 1] == '\r')) {
        *ret_len -= 1;
    }
    return true;
}

static void
compare(struct sim_script *script, const struct sim_command *command, const char *seen)
{
    const char *expected = script->text + command->block.start;
    const char *end = script->text + command->block.end, *seen_end = seen + strlen(seen);
    const char *want, *got;
    size_t want_len, got_len;
    bool wanted, is_there;

    for (unsigned line = command->line + 1;; line++) {
        wanted = line_take(&expected, end, &want, &want_len);
        is_there = line_take(&seen, seen_end, &got, &got_len);
        if (!wanted && !is_there) {
            return;
        }
        if (wanted != is_there || want_len != got_len ||
            memcmp(want, got, want_len) != 0) {
            sim_script_fail(script, SIM_SCRIPT_MISMATCH, line,
                            "expected: %.*s\n    but saw: %.*s",
                            (int)(want_len < 300 ? want_len : 300), want,
                            (int)(got_len < 300 ? got_len : 300), got);
            return;
        }
    }
}

void sim_act_compare(struct sim_script *script, const struct sim_command *command)
{
    const char *seen = sim_transcript_text();

    write_up_to(script, command->block.start);
    if (script->actual != NULL) {
        fputs(seen, script->actual);
        script->written = command->block.end;
    } else {
        compare(script, command, seen);
    }
    sim_transcript_clear();
}

/* ---- the world ---- */

static FILE *decisions;

static void
on_decision(uint32_t from, uint32_t to, uint64_t number, const struct sim_fate *fate)
{
    static const char *const names[] = {"", "lost", "twice", "late"};

    fprintf(decisions, "fate %s>%s %" PRIu64 " %s", sim_net_host_name(from),
            sim_net_host_name(to), number, names[fate->kind]);
    if (fate->kind == SIM_FATE_LOST) {
        fputc('\n', decisions);
    } else {
        fprintf(decisions, " %" PRIu64 "us\n", fate->extra_us);
    }
}

static void world_begin(struct sim_script *script, FILE *record)
{
    sim_events_reset();
    sim_net_reset(script->seed);
    sim_sockets_reset();
    sim_history_reset();
    decisions = record;
    sim_net_on_decision = record != NULL ? on_decision : NULL;

    script->nodes.verbose = verbose;
    sim_nodes_new(&script->nodes, script->seed);
    for (unsigned i = 0; i < script->clients_count; i++) {
        sim_client_new(&script->clients[i], script->seed);
    }

    const struct config *config = &sim_node(1)->config;
    struct sim_check_options options = {
        .reattach_grace_ms = (uint32_t)config_timing(config).reattach_grace_ms,
        .leader_lease_ms = (uint32_t)config->leader_lease_ms,
        .tick_interval_ms = TICK_INTERVAL_MS,
        .rate_ppm_max = script->rate_ppm_max,
        .model = script->model,
    };
    sim_check_begin(&options);
    sim_transcript_begin(script);
}

static void world_end(struct sim_script *script)
{
    struct sim_script_result *ret = script->ret;
    const char *violation = sim_first_violation();

    if (violation != NULL) {
        ret->violated = true;
        if (!ret->mismatch) {
            snprintf(ret->message, sizeof(ret->message), "%s", violation);
        }
    }
    ret->trace_hash = sim_trace_hash();
    ret->simulated_us = sim_now_us();
    ret->events = sim_events_count();
    ret->checked = sim_check_counts();
    ret->net = sim_net_counts();

    sim_transcript_end();
    sim_check_free();
    sim_clients_free();
    sim_nodes_free();
    sim_sockets_reset();
    sim_net_on_decision = NULL;
    sim_events_reset();
}

static void happen(struct sim_script *script)
{
    for (size_t i = 0; i < script->commands_count && !script->stopped; i++) {
        const struct sim_command *command = &script->commands[i];
        if (command->at_us != SIM_NEVER) {
            schedule(script, command);
        } else {
            command->word->act(script, command);
        }
        script->stopped = script->stopped || sim_first_violation() != NULL;
    }
}

void sim_script_run(const char *text,
                    const char *name,
                    FILE *actual,
                    FILE *record,
                    struct sim_script_result *ret)
{
    struct sim_script *script = sim_alloc(sizeof(*script));

    *ret = (struct sim_script_result){.syntax_error = false};
    script->name = name;
    script->text = text;
    script->nodes.nodes = 3;
    script->seed = 1;
    script->walker.fire = on_walk;
    script->actual = actual;
    script->aloud = aloud;
    script->ret = ret;
    sim_script_read(script);
    if (!ret->syntax_error) {
        world_begin(script, record);
        happen(script);
        world_end(script);
        write_up_to(script, strlen(text));
    }
    sim_script_forget(script);
    sim_free(script);
}
