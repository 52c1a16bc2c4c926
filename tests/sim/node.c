#include "node.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "event.h"
#include "loop.h"
#include "net.h"
#include "raft_io.h"
#include "random.h"
#include "server_internal.h"
#include "socket.h"

enum {
    SIM_LOG_FD = SIM_FD_FIRST - 1, /* where the servers' log goes */
    /* As netlockd's. */
    EXIT_REFUSED = 2,
    EXIT_CANNOT_GO_ON = 3,
    ARGS_MAX = 64,
    ARG_BYTES = 64,
    SNAPSHOT_STEP_RECORDS = 1, /* so that most take several turns, and commands come in between */
};

struct sim_node_hooks sim_node_hooks;

static struct {
    struct sim_node_options options;
    uint64_t seed;
    struct sim_node nodes[SIM_NODES_MAX];
    char addresses[SIM_NODES_MAX * 24];
} world;

unsigned sim_nodes_count(void)
{
    return world.options.nodes + world.options.joiners;
}

const struct sim_node_options *sim_nodes_options(void)
{
    return &world.options;
}

struct sim_node *sim_node(unsigned number)
{
    assert(number >= 1 && number <= sim_nodes_count());
    return &world.nodes[number - 1];
}

struct sim_node *sim_node_of(const struct sim_process *process)
{
    for (unsigned i = 0; process != NULL && i < sim_nodes_count(); i++) {
        if (process == &world.nodes[i].process) {
            return &world.nodes[i];
        }
    }
    return NULL;
}

const char *sim_nodes_addresses(void)
{
    return world.addresses;
}

static void die(const struct sim_node *node, const char *what)
{
    fprintf(stderr, "sim: n%u: %s\n", node->number, what);
    abort();
}

/* ---- configuration ---- */

struct arguments {
    char text[ARGS_MAX][ARG_BYTES];
    char *argv[ARGS_MAX + 1];
    int argc;
};

__attribute__((format(printf, 2, 3))) static void
add_argument(struct arguments *arguments, const char *format, ...)
{
    char *text = arguments->text[arguments->argc];
    va_list args;

    assert(arguments->argc < ARGS_MAX);
    va_start(args, format);
    int len = vsnprintf(text, ARG_BYTES, format, args);
    va_end(args);
    assert(len > 0 && len < ARG_BYTES);
    (void)len;
    arguments->argv[arguments->argc++] = text;
}

/* Zero leaves it as shipped. */
static void set(uint64_t *field, uint64_t value)
{
    if (value != 0) {
        *field = value;
    }
}

static void set_options(struct config *config)
{
    const struct sim_node_options *options = &world.options;

    set(&config->leader_lease_ms, options->leader_lease_ms);
    config->fast_failover = !options->slow_failover;
    set(&config->reattach_grace_ms, options->reattach_grace_ms);
    set(&config->session_grace_max_ms, options->session_grace_max_ms);
    set(&config->snapshot_threshold, options->snapshot_threshold);
    set(&config->snapshot_trailing, options->snapshot_trailing);
    config->snapshot_step_records = SNAPSHOT_STEP_RECORDS;
    set(&config->events_per_flush, options->events_per_flush);
    set(&config->commands_waiting_max, options->commands_waiting_max);
    set(&config->output_bytes_max, options->output_bytes_max);
    set(&config->pending_per_connection_max, options->pending_per_connection_max);
    set(&config->plain_lock_timeout_min_ms, options->plain_lock_timeout_min_ms);
}

/* The way of the command line, so that the defaults are the shipped ones. */
static void configure(struct sim_node *node)
{
    struct arguments arguments = {.argc = 0};
    char error[CONFIG_ERROR_BYTES] = "";
    enum config_action action;

    add_argument(&arguments, "netlockd");
    add_argument(&arguments, "--node-id=%u", node->number);
    add_argument(&arguments, "--cluster=sim");
    add_argument(&arguments, "--data-dir=/sim/n%u", node->number);
    add_argument(&arguments, "--insecure-listen=yes");
    bool joins = node->number > world.options.nodes;
    if (joins) {
        add_argument(&arguments, "--join=yes");
    }
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        const char *host = sim_host_address(sim_node(i)->process.host);
        if (joins ? i == node->number : i <= world.options.nodes) {
            add_argument(&arguments, "--member=%u %s:%d %s:%d", i, host, SIM_PEER_PORT,
                         host, SIM_CLIENT_PORT);
        }
    }
    if (config_load(&node->config, arguments.argc, arguments.argv, &action, error) != 0) {
        die(node, error);
    }
    set_options(&node->config);
}

/* ---- the end of a life ---- */

static void on_supervisor(struct sim_event *event)
{
    struct sim_node *node =
        (struct sim_node *)((char *)event - offsetof(struct sim_node, supervisor));

    sim_node_start(node);
}

/* Whoever stops in order has freed all. */
static void check_heap(const struct sim_node *node)
{
    char what[128];
    size_t bytes = sim_process_heap_bytes(&node->process);

    if (bytes != 0) {
        snprintf(what, sizeof(what), "stopped in order, but %zu bytes were not freed",
                 bytes);
        die(node, what);
    }
}

static void on_end(struct sim_process *process, int status)
{
    struct sim_node *node = process->arg;

    node->server = NULL;
    sim_raft_uv_forget(node);
    node->links = NULL;
    node->starting = false;
    node->overheard = (struct fsm_events){0};
    sim_disk_crashed(node->disk, node->torn);
    node->torn = SIM_TORN_DRAWN;
    if (status == 0) {
        check_heap(node);
    }
    sim_trace_mix((uint64_t)node->number << 32 ^ (uint64_t)(uint32_t)status);
    if (sim_node_hooks.ended != NULL) {
        sim_node_hooks.ended(node, status);
    }
    if (node->start_again) {
        sim_event_in(&node->supervisor, 0);
    } else if (status > 0 && !node->refused && world.options.restart_us != 0) {
        sim_event_in(&node->supervisor, world.options.restart_us);
    }
}

_Noreturn static void on_fatal(void *arg, const char *what)
{
    struct sim_node *node = arg;

    snprintf(node->last_words, sizeof(node->last_words), "%s", what);
    node->refused = node->starting && strstr(what, "a snapshot cannot be read") != NULL;
    sim_process_exit(EXIT_CANNOT_GO_ON);
}

/* A damaged log stays damaged; a full disk may have room again when the supervisor comes. */
_Noreturn static void refuse(struct sim_node *node, int error, const char *what)
{
    snprintf(node->last_words, sizeof(node->last_words), "%s", what);
    if (error != -EUCLEAN && error != -ENOSPC) {
        die(node, what);
    }
    node->refused = error == -EUCLEAN;
    sim_process_exit(EXIT_REFUSED);
}

/* ---- a life ---- */

static void boot(void *arg)
{
    struct sim_node *node = arg;
    struct server_host host = {.arg = node, .fatal = on_fatal};
    char error[SERVER_ERROR_BYTES] = "";

    sim_loop_init(&node->process, &node->loop);
    int rv =
        server_new(&node->server, &node->loop, &node->config, &node->log, &host, error);
    if (rv == 0) {
        rv = server_start(node->server, error);
    }
    if (rv != 0) {
        refuse(node, rv, error);
    }
    node->starting = false;
}

void sim_node_start(struct sim_node *node)
{
    if (sim_node_runs(node) || node->refused) {
        node->start_again = node->stopping;
        return;
    }
    sim_event_cancel(&node->supervisor);
    node->starts++;
    if (node->upgraded) {
        node->process.level = 0;
    }
    node->starting = true;
    node->stopping = node->stopped = node->start_again = false;
    node->last_words[0] = '\0';
    sim_process_start(&node->process, sim_mix(world.seed, node->number, node->starts));
    if (sim_node_hooks.started != NULL) {
        sim_node_hooks.started(node);
    }
    sim_process_enter(&node->process, boot, node);
}

void sim_node_kill(struct sim_node *node, enum sim_torn torn)
{
    sim_event_cancel(&node->supervisor);
    node->start_again = false;
    if (sim_node_runs(node)) {
        node->torn = torn;
        sim_process_kill(&node->process);
    }
}

static void on_server_stopped(void *arg)
{
    struct sim_node *node = arg;

    node->stopped = true;
}

static void stop(struct sim_post *post)
{
    struct sim_node *node =
        (struct sim_node *)((char *)post - offsetof(struct sim_node, stop));

    server_stop(node->server, on_server_stopped, node);
}

static void forget_stop(struct sim_post *post)
{
    (void)post;
}

void sim_node_stop(struct sim_node *node)
{
    sim_event_cancel(&node->supervisor);
    node->start_again = false;
    if (sim_node_runs(node) && !node->stopping) {
        node->stopping = true;
        node->stop = (struct sim_post){.run = stop, .drop = forget_stop};
        sim_process_post(&node->process, &node->stop);
    }
}

void sim_node_upgrade(struct sim_node *node)
{
    node->upgraded = true;
    if (sim_node_runs(node)) {
        sim_node_stop(node);
        sim_node_start(node);
    }
}

static void leave(void *arg)
{
    struct sim_node *node = arg;

    assert(sim_loop_handles(&node->process) == 0);
    server_free(node->server);
    fsm_events_release(&node->overheard);
    node->overheard = (struct fsm_events){0};
    sim_process_exit(0);
}

static void on_turned(struct sim_process *process)
{
    struct sim_node *node = process->arg;

    if (node->stopped) {
        sim_process_enter(process, leave, node);
    } else if (sim_node_hooks.turned != NULL) {
        sim_node_hooks.turned(node);
    }
}

/* ---- all of them ---- */

static void add_node(unsigned number)
{
    struct sim_node *node = &world.nodes[number - 1];

    *node = (struct sim_node){
        .number = number,
        .process = {.arg = node,
                    .level = number <= world.options.nodes ? world.options.level : 0,
                    .on_turned = on_turned,
                    .on_end = on_end,
                    .clock = sim_machine_clock(
                        sim_mix(world.seed, UINT64_C(0xc10c), number), SIM_MILLION)},
        .log = {.level = world.options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR,
                .journal = true,
                .fd = SIM_LOG_FD},
        .supervisor = {.fire = on_supervisor},
    };
    snprintf(node->process.name, sizeof(node->process.name), "n%u", number);
    node->process.host = sim_net_add_host(node->process.name);
    node->disk = sim_disk_new(number, world.seed);
}

void sim_nodes_new(const struct sim_node_options *options, uint64_t seed)
{
    size_t used = 0;

    assert(options->nodes >= 1 && options->nodes + options->joiners <= SIM_NODES_MAX);
    assert(world.options.nodes == 0);
    signal(SIGPIPE, SIG_IGN); /* the server asks for it, as netlockd does it */
    world.options = *options;
    world.seed = seed;
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        add_node(i);
    }
    for (unsigned i = 1; i <= options->nodes; i++) {
        used += (size_t)snprintf(world.addresses + used, sizeof(world.addresses) - used,
                                 "%s%s:%d", i > 1 ? "," : "",
                                 sim_host_address(sim_node(i)->process.host),
                                 SIM_CLIENT_PORT);
    }
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        configure(sim_node(i));
    }
}

void sim_nodes_free(void)
{
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        struct sim_node *node = sim_node(i);
        sim_node_kill(node, SIM_TORN_NOTHING);
        sim_event_cancel(&node->supervisor);
    }
    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        sim_disk_free(sim_node(i)->disk);
    }
    world.options.nodes = world.options.joiners = 0;
}

struct sim_node *sim_leader(void)
{
    struct sim_node *leader = NULL;

    for (unsigned i = 0; i < sim_nodes_count(); i++) {
        struct sim_node *node = &world.nodes[i];
        if (node->raft != NULL && raft_state(node->raft) == RAFT_LEADER &&
            (leader == NULL ||
             raft_current_term(node->raft) > raft_current_term(leader->raft))) {
            leader = node;
        }
    }
    return leader;
}

struct sim_node *sim_serving(void)
{
    struct sim_node *leader = sim_leader();

    return leader != NULL && leader->server->serving ? leader : NULL;
}

/* ---- what the shipped code does, seen or replaced ---- */

void __real_fsm_apply(struct fsm *fsm,
                      const struct fsm_command *command,
                      struct fsm_events *out);
void __wrap_fsm_apply(struct fsm *fsm,
                      const struct fsm_command *command,
                      struct fsm_events *out);
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);

/* Nobody listens where a model applies its own copy: outside of any process. */
void __wrap_fsm_apply(struct fsm *fsm,
                      const struct fsm_command *command,
                      struct fsm_events *out)
{
    struct sim_node *node =
        sim_node_hooks.applied != NULL ? sim_node_of(sim_process_current()) : NULL;

    if (node == NULL) {
        __real_fsm_apply(fsm, command, out);
        return;
    }
    struct fsm_events *events = out != NULL ? out : &node->overheard;
    size_t before = events->count;
    __real_fsm_apply(fsm, command, events);
    struct sim_process *inside = sim_process_outside(NULL);
    sim_node_hooks.applied(node, raft_last_applied(node->raft) + 1, fsm, command,
                           events->items + before, events->count - before);
    sim_process_outside(inside);
    if (out == NULL) {
        fsm_events_clear(events);
    }
}

static void print_log(const char *line, size_t len)
{
    const struct sim_process *process = sim_process_current();
    const char *text = memchr(line, '>', len); /* behind the journal's level */
    uint64_t now_us = sim_now_us();

    text = text != NULL && line[0] == '<' ? text + 1 : line;
    fprintf(stderr, "%" PRIu64 ".%06" PRIu64 " %s %.*s", now_us / SIM_MILLION,
            now_us % SIM_MILLION, process != NULL ? process->name : "-",
            (int)(len - (size_t)(text - line)), text);
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    if (fd == SIM_LOG_FD) {
        if (world.options.verbose) {
            print_log(data, len);
        }
        return (ssize_t)len;
    }
    return __real_write(fd, data, len);
}
