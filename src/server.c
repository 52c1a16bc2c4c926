/* The server as a whole: start, the turn of the loop, roles, who may connect, stop. */
#include "server_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>
#include <unistd.h>

#include <utlist.h>

#include "peer_address.h"
#include "session.h"
#include "session_request.h"
#include "xalloc.h"

enum {
    TICK_INTERVAL_MS = 1000,
    TRANSFER_MS_MAX = 1000,
};

/* ---- the turn ---- */

static void retry_starved(struct server *server)
{
    struct session *starved;
    size_t count = 0;

    DL_COUNT2(server->starved, starved, count, starved_next);
    while (count-- > 0 && server->starved != NULL) {
        session_retry(server->starved);
    }
}

static void send_unsent(struct server *server)
{
    while (server->unsent != NULL) {
        struct session *session = server->unsent;
        DL_DELETE2(server->unsent, session, unsent_prev, unsent_next);
        session->unsent = false;
        conn_flush(&session->conn);
    }
}

/* Who said Hello: it may be looking for a leader, and is to know where to look next time. */
static void tell_hello(struct server *server)
{
    struct session *session;
    struct session *next;

    server->membership = raft_node_membership(server->node);
    DL_FOREACH_SAFE(server->sessions, session, next)
    {
        if (session->hello) {
            session_tell_hello(session);
        }
    }
}

/* Both handles are started before those of the raft node, so that libuv runs them after
 * the node's: what the node had to tell in this turn goes out in this turn. */
static void on_before_io(uv_prepare_t *prepare)
{
    struct server *server = prepare->data;

    send_unsent(server);
    gone_arm(server);
}

static void on_after_io(uv_check_t *check)
{
    struct server *server = check->data;

    gone_propose(server);
    retry_starved(server);
    if (server->serving && raft_node_membership(server->node) != server->membership) {
        tell_hello(server);
    }
    send_unsent(server);
}

/* ---- roles ---- */

static void close_sessions(struct server *server)
{
    while (server->sessions != NULL) {
        struct session *session = server->sessions;
        conn_flush(&session->conn); /* answers that were given stay given; may close it */
        session_close(session, SESSION_GONE_NOW);
    }
}

/* What was asked and not answered has an unknown outcome: only the end of the connection
 * says so without saying something wrong. */
static void drop_clients(struct server *server)
{
    liveness_clear(server->liveness);
    gone_clear(server);
    close_sessions(server);
    pendings_clear(&server->pendings);
    page_clear(&server->page);
    assert(server->waitings.keys == NULL);
}

static void on_role(void *arg, enum replica_role role, uint64_t term)
{
    static const char *const names[] = {
        [REPLICA_FOLLOWER] = "follower",
        [REPLICA_ELECTED] = "elected",
        [REPLICA_SERVING] = "serving",
    };
    struct server *server = arg;
    bool served = server->serving;

    server->serving = role == REPLICA_SERVING;
    log_event(server->log, LOG_LEVEL_INFO, "server", "role", "role=%s term=%" PRIu64,
              names[role], term);
    if (served && !server->serving) {
        drop_clients(server);
    }
    if (!served && server->serving) {
        tell_hello(server);
    }
}

static void
on_event(void *arg, const struct fsm_event *event, const struct replica_position *at)
{
    struct server *server = arg;

    if (server->serving) {
        delivery_on_event(server, event, at);
    }
}

static void on_fatal(void *arg, const char *what)
{
    struct server *server = arg;

    server->host.fatal(server->host.arg, what);
    abort();
}

static void on_newer(void *arg, const char *what)
{
    struct server *server = arg;

    if (server->host.newer != NULL) {
        server->host.newer(server->host.arg, what);
    }
    on_fatal(arg, what);
}

/* ---- the listener ---- */

static void on_paused(void *arg, int error)
{
    struct server *server = arg;

    SERVER_LOG_LIMITED(server, server->paused_limit, LOG_LEVEL_WARNING, "accept-paused",
                       "why=\"%s\"", strerror(error));
}

static void stop_step(struct server *server);

void server_session_closed(struct server *server, struct session *session)
{
    server->connections_count--;
    admission_leave(server, session->address);
    stop_step(server);
}

/* ---- start ---- */

static void on_node_log(void *arg, int level, const char *message)
{
    static const enum log_level levels[] = {LOG_LEVEL_DEBUG, LOG_LEVEL_INFO,
                                            LOG_LEVEL_WARNING, LOG_LEVEL_ERROR};
    const struct server *server = arg;
    char quoted[LOG_QUOTED_BYTES];

    log_event(server->log, levels[level], "raft", "note", "text=%s",
              log_quote(quoted, message, strlen(message)));
}

static uint64_t random_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
        abort();
    }
    return seed;
}

static struct replica_config replica_config_of(const struct server *server)
{
    const struct config *config = server->config;

    return (struct replica_config){
        .node_id = config->node_id,
        .hash_seed = random_seed(),
        .settings = {.reattach_grace_ms = server->reattach_grace_ms,
                     .clients_max = config->clients_max,
                     .claims_max = config->claims_max,
                     .claims_per_client_max = config->claims_per_client_max,
                     .waiters_per_lock_max = config->waiters_per_lock_max,
                     .drop_max = GONE_CLAIMS_MAX},
        .tick_interval_ms = TICK_INTERVAL_MS,
        .commands_waiting_max = config->commands_waiting_max,
        .snapshot_step_records = config->snapshot_step_records,
        .events_per_flush = config->events_per_flush,
    };
}

static const char *on_client_address(void *arg, uint64_t node_id)
{
    return node_info_told_address(arg, node_id);
}

static int open_node(struct server *server, char *ret_error)
{
    const struct config *config = server->config;
    struct raft_node_member members[RAFT_NODE_MEMBERS_MAX];
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct replica_host host = {.arg = server,
                                .on_event = on_event,
                                .on_role = on_role,
                                .fatal = on_fatal,
                                .newer = on_newer};

    for (size_t i = 0; i < config->members_count; i++) {
        members[i] = (struct raft_node_member){
            .node_id = config->members[i].node_id,
            .peer_address = config->members[i].peer_address,
        };
    }
    struct raft_node_config node_config = {
        .data_dir = config->data_dir,
        .cluster_id = config->cluster,
        .node_id = config->node_id,
        .peer_listen = config->peer_listen,
        .members = members,
        .members_count = config->members_count,
        .joins = config->join,
        .client_address = on_client_address,
        .client_address_arg = server,
        .timing = config_timing(config).raft,
        .snapshot_threshold = (uint32_t)config->snapshot_threshold,
        .snapshot_trailing = (uint32_t)config->snapshot_trailing,
        .fast_failover = config->fast_failover,
        .trace = server->log->level == LOG_LEVEL_DEBUG,
        .replica = replica_config_of(server),
        .log = on_node_log,
        .log_arg = server,
    };
    int rv = raft_node_new(&server->node, server->loop, &node_config, &host, error);
    if (rv != 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "%s", error);
        return rv;
    }
    secure_node(server);
    return 0;
}

static void init_requests(struct server *server)
{
    const struct config *config = server->config;

    server->policy = (struct request_policy){
        .lock_timeout_default_ms = config->lock_timeout_default_ms,
        .lock_timeout_max_ms = config->lock_timeout_max_ms,
        .plain_lock_timeout_min_ms = config->plain_lock_timeout_min_ms,
        .allow_ignore_without_timeout = config->allow_ignore_without_timeout,
    };
    session_conn_host(&server->conn_host);
    server->conn_host.read_buffer = server->read_buffer;
    server->conn_host.text_buffer = server->text_buffer;
    server->conn_host.output_bytes_max = config->output_bytes_max;
    server->conn_host.frame_timeout_ms = config->frame_timeout_ms;
    server->liveness = liveness_new(random_seed());
    server->waitings.hash_seed = random_seed();
}

static int bind_clients(struct server *server, char *ret_error)
{
    char error[LISTENER_ERROR_BYTES] = "";

    int fd = listener_bind(server->config->listen, error);
    if (fd < 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "%s", error);
        return fd;
    }
    server->listen_fd = fd;
    return 0;
}

static void free_memory(struct server *server)
{
    pendings_release(&server->pendings);
    liveness_free(server->liveness);
    page_release(&server->page);
    wire_arena_release(&server->arena);
    answer_scratch_release(&server->scratch);
    admission_release(server);
    access_release(&server->access);
    secure_release(&server->secure);
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
    }
    free(server);
}

int server_new(struct server **ret,
               uv_loop_t *loop,
               const struct config *config,
               const struct log *log,
               const struct server_host *host,
               char ret_error[static SERVER_ERROR_BYTES])
{
    struct server *server = xcalloc(sizeof(*server));

    server->loop = loop;
    server->config = config;
    server->log = log;
    server->host = *host;
    server->reattach_grace_ms = config_timing(config).reattach_grace_ms;
    server->started_ms = uv_now(loop);
    server->listen_fd = -1;
    init_requests(server);
    int rv = server_reload(server, ret_error);
    if (rv == 0) {
        rv = bind_clients(server, ret_error);
    }
    if (rv == 0 && host->on_bound != NULL) {
        rv = host->on_bound(host->arg, ret_error);
    }
    if (rv == 0) {
        rv = open_node(server, ret_error);
    }
    if (rv != 0) {
        free_memory(server);
        return rv;
    }
    *ret = server;
    return 0;
}

static void on_listener_closed(void *arg);

static void start_handles(struct server *server)
{
    int error = uv_prepare_init(server->loop, &server->before_io);

    error |= uv_check_init(server->loop, &server->after_io);
    error |= uv_timer_init(server->loop, &server->due);
    error |= uv_timer_init(server->loop, &server->drain);
    error |= uv_prepare_start(&server->before_io, on_before_io);
    error |= uv_check_start(&server->after_io, on_after_io);
    assert(error == 0);
    (void)error;
    server->before_io.data = server;
    server->after_io.data = server;
    server->due.data = server;
    server->drain.data = server;
    server->handles_open = 4;
    server->started = true;
}

/* A port 0 became a real one; others can be told that only if the operator did not say
 * better. */
static void find_client_address(struct server *server)
{
    const struct config *config = server->config;
    const struct config_member *self = config_member_find(config, config->node_id);
    const char *address =
        config->advertise[0] != '\0' ? config->advertise : self->client_address;
    struct peer_address parsed;

    if (peer_address_parse(address, &parsed) == 0 && strcmp(parsed.port, "0") == 0) {
        address = server->listener.address;
    }
    snprintf(server->client_address, sizeof(server->client_address), "%s", address);
}

int server_start(struct server *server, char ret_error[static SERVER_ERROR_BYTES])
{
    char node_error[RAFT_NODE_ERROR_BYTES] = "";

    start_handles(server);
    server->listener = (struct listener){
        .arg = server,
        .on_accept = admission_on_accept,
        .on_paused = on_paused,
        .on_closed = on_listener_closed,
    };
    int fd = server->listen_fd;
    server->listen_fd = -1;
    int rv = listener_open(&server->listener, server->loop, fd);
    if (rv != 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "listen on %.100s: %s",
                 server->config->listen, uv_strerror(rv));
        return rv;
    }
    server->listening = true;
    find_client_address(server);
    rv = raft_node_start(server->node, node_error);
    if (rv != 0) {
        snprintf(ret_error, SERVER_ERROR_BYTES, "%s", node_error);
    }
    return rv;
}

void server_log_level_changed(struct server *server)
{
    raft_node_set_trace(server->node, server->log->level == LOG_LEVEL_DEBUG);
}

const char *server_address(const struct server *server)
{
    return server->listener.address;
}

void server_set_disk_low(struct server *server, bool low, uint64_t free_bytes)
{
    server->disk_low = low;
    log_event(server->log, low ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "server",
              low ? "disk-low" : "disk-has-room",
              "free=%" PRIu64 " disk-free-min=%" PRIu64 " text=\"%s\"", free_bytes,
              server->config->disk_free_min_bytes,
              low ? "only releases and refreshes are taken until there is room"
                  : "everything is taken again");
}

/* ---- stop ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;

    if (--server->handles_open == 0) {
        server->on_stopped(server->on_stopped_arg);
    }
}

/* The last step, once nothing is left that could need the turn. */
static void stop_step(struct server *server)
{
    if (!server->node_closed || server->listening || server->connections_count != 0 ||
        uv_is_closing((uv_handle_t *)&server->due)) {
        return;
    }
    uv_close((uv_handle_t *)&server->before_io, on_handle_closed);
    uv_close((uv_handle_t *)&server->after_io, on_handle_closed);
    uv_close((uv_handle_t *)&server->due, on_handle_closed);
    uv_close((uv_handle_t *)&server->drain, on_handle_closed);
}

static void on_listener_closed(void *arg)
{
    struct server *server = arg;

    server->listening = false;
    stop_step(server);
}

static void on_node_closed(void *arg)
{
    struct server *server = arg;

    server->node_closed = true;
    stop_step(server);
}

/* Leadership is somewhere else now, or nobody took it in time. */
static void on_transferred(void *arg)
{
    struct server *server = arg;

    struct session *session;

    server->serving = false;
    drop_clients(server);
    DL_FOREACH(server->leaving, session)
    {
        conn_close(&session->conn);
    }
    raft_node_close(server->node, on_node_closed, server);
}

void server_stop(struct server *server, void (*on_stopped)(void *arg), void *arg)
{
    uint64_t transfer_ms = 2 * server->config->leader_lease_ms;

    server->on_stopped = on_stopped;
    server->on_stopped_arg = arg;
    if (server->stopping) {
        return;
    }
    server->stopping = true;
    server->draining = false;
    if (!server->started) {
        start_handles(server);
    }
    if (server->listening) {
        listener_close(&server->listener);
    }
    raft_node_transfer(
        server->node,
        (uint32_t)(transfer_ms < TRANSFER_MS_MAX ? transfer_ms : TRANSFER_MS_MAX),
        on_transferred, server);
}

void server_free(struct server *server)
{
    if (server == NULL) {
        return;
    }
    assert(server->node_closed);
    assert(server->connections_count == 0);
    raft_node_free(server->node);
    free_memory(server);
}
