#include "raft_node.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <raft/uv.h>

#include "datadir.h"
#include "failover.h"
#include "feature_level.h"
#include "handover.h"
#include "memory.h"
#include "node_config.h"
#include "raft_guard.h"
#include "raft_guard_peer.h"
#include "raft_tidy.h"
#include "transport.h"

static_assert((int)RAFT_NODE_ERROR_BYTES == (int)DATADIR_ERROR_BYTES,
              "texts are passed through");

enum {
    LOG_LINE_BYTES = 1024,
    HANDSHAKE_TIMEOUT_MS = 5000,
    FORGOT_HANDOVER_MS = 2000,
    SPACE_MB_MIN = 16, /* two segments of libraft's log */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct raft_node {
    uv_loop_t *loop;
    struct raft_node_config config; /* a copy */
    struct replica_host host;
    struct datadir *dir;
    struct replica *replica;

    struct raft_uv_transport transport;
    struct raft_guard guard;
    struct raft raft;

    struct handover handover;
    struct failover failover;

    /* The replica is flushed before and after I/O, and when it has something due. */
    uv_prepare_t before_io;
    uv_check_t after_io;
    uv_timer_t due;
    unsigned handles_open;
    bool running;
    bool closing;
    uint32_t level_noted; /* in the log of events; 0: none yet */

    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* ---- small services ------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void
node_log(const struct raft_node *node, enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    node->config.log(node->config.log_arg, (int)level, line);
}

__attribute__((format(printf, 3, 4))) static int
refuse(char *ret_error, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, RAFT_NODE_ERROR_BYTES, format, args);
    va_end(args);
    return error;
}

/* The only place where libraft's codes become ours. */
static int errno_of_raft(int rv)
{
    switch (rv) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return -ENOMEM;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return -EUCLEAN;
    case RAFT_NOSPACE:
        return -ENOSPC;
    case RAFT_NOTLEADER:
    case RAFT_LEADERSHIPLOST:
        return -ENOTCONN;
    case RAFT_BUSY:
        return -EBUSY;
    case RAFT_CANCELED:
        return -ECANCELED;
    case RAFT_NAMETOOLONG:
        return -ENAMETOOLONG;
    case RAFT_NOTFOUND:
        return -ENOENT;
    default:
        return -EIO;
    }
}

static uint64_t boottime_ms(void)
{
    struct timespec now;

    /* Counts on while the machine sleeps: a lease that ran out in its sleep has run out.
     */
    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
        abort();
    }
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- one turn of the loop ------------------------------------------------------------------- */

static void step_handover(struct raft_node *node)
{
    uint64_t target = handover_step(&node->handover);

    if (target != 0) {
        node_log(node, LOG_INFO, "handing leadership to node %" PRIu64, target);
    }
}

/* What a member can, as it said when our connection to it was made; 0: there is none now, and a node that is
 * away may come back older. */
static uint32_t level_of(const struct raft_node *node, uint64_t node_id)
{
    uint32_t level = transport_level(&node->transport, node_id);

    if (node_id == node->config.node_id) {
        return feature_level_max;
    }
    return level <= replica_level(node->replica) || /* then nobody need be asked now */
                   transport_connected(&node->transport, node_id)
               ? level
               : 0;
}

static uint32_t level_of_all(const struct raft_node *node)
{
    const struct raft_configuration *members = &node->raft.configuration;
    uint32_t level = feature_level_max;

    for (unsigned i = 0; i < members->n && level > replica_level(node->replica); i++) {
        uint32_t its = level_of(node, members->servers[i].id);
        level = its < level ? its : level;
    }
    return level;
}

static void offer_level(struct raft_node *node)
{
    if (replica_level(node->replica) < feature_level_max &&
        raft_state(&node->raft) == RAFT_LEADER) {
        replica_offer_level(node->replica, level_of_all(node));
    }
}

static void note_level(struct raft_node *node)
{
    uint32_t level = replica_level(node->replica);

    if (level > node->level_noted && node->level_noted != 0) {
        node_log(node, LOG_INFO, "the feature level of the cluster is %" PRIu32 " now",
                 level);
    }
    node->level_noted = level;
}

static void on_due(uv_timer_t *timer);

static void node_turn(struct raft_node *node)
{
    if (!node->running || node->closing) {
        return;
    }
    /* Before the replica submits its next entry: now a follower may have everything. */
    step_handover(node);

    note_level(node);
    offer_level(node);
    uint64_t now_ms = boottime_ms();
    replica_flush(node->replica, now_ms);
    raft_guard_snapshot_turn(&node->guard);
    uint64_t due_ms = replica_deadline_ms(node->replica, now_ms);
    if (due_ms == UINT64_MAX || node->closing) {
        uv_timer_stop(&node->due);
        return;
    }
    uv_timer_start(&node->due, on_due, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void on_due(uv_timer_t *timer)
{
    node_turn(timer->data);
}

static void on_before_io(uv_prepare_t *prepare)
{
    node_turn(prepare->data);
}

static void on_after_io(uv_check_t *check)
{
    node_turn(check->data);
}

/* ---- what the guard and the transport want to know ------------------------------------------ */

static void on_fatal(void *arg, const char *what)
{
    struct raft_node *node = arg;
    char line[LOG_LINE_BYTES];

    snprintf(line, sizeof line, "%s (data directory %s)", what, node->config.data_dir);
    node->host.fatal(node->host.arg, line);
    abort();
}

static void on_trace(void *arg, int level, const char *message)
{
    const struct raft_node *node = arg;

    (void)level;
    if (node->config.trace) {
        node_log(node, LOG_DEBUG, "raft: %s", message);
    }
}

static void on_loaded(void *arg, const void *data, size_t len)
{
    replica_check_loaded(((struct raft_node *)arg)->replica, data, len);
}

static void on_refused(void *arg, raft_id peer, const char *what)
{
    struct raft_node *node = arg;

    transport_refuse(&node->transport, peer, what);
}

static void on_handed_over(void *arg)
{
    struct raft_node *node = arg;

    node->handover.avoid = 0;
}

static void on_forgot(void *arg, raft_id peer)
{
    struct raft_node *node = arg;

    if (node->closing || node->handover.wanted) {
        return;
    }
    node_log(node, LOG_WARNING,
             "node %" PRIu64
             " has lost what it had acknowledged: was its directory emptied? "
             "Leadership goes to another node, that it is sent everything again",
             (uint64_t)peer);
    node->handover.avoid = peer;
    handover_start(&node->handover, FORGOT_HANDOVER_MS, on_handed_over, node);
}

static void on_transport_log(void *arg, int level, const char *message)
{
    node_log(arg, (enum log_level)level, "%s", message);
}

static bool find_member(const struct raft_configuration *configuration,
                        uint64_t node_id,
                        const char **ret_address)
{
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == node_id) {
            *ret_address = configuration->servers[i].address;
            return true;
        }
    }
    return false;
}

/* A leader that removes itself still has to say when that is committed. */
static enum transport_membership
on_membership(void *arg, uint64_t node_id, const char **ret_address)
{
    const struct raft *raft = &((const struct raft_node *)arg)->raft;

    if (find_member(&raft->configuration, node_id, ret_address) ||
        find_member(&raft->configuration_committed, node_id, ret_address)) {
        return TRANSPORT_MEMBER;
    }
    return raft->configuration.n == 0 ? TRANSPORT_UNDECIDED : TRANSPORT_STRANGER;
}

static void on_connection_ended(void *arg,
                                uint64_t node_id,
                                enum peer_direction direction,
                                enum peer_end end)
{
    struct raft_node *node = arg;

    (void)direction;
    if (end == PEER_END_LOST) {
        failover_connection_lost(&node->failover, node_id);
    }
}

static void on_failover_note(void *arg, const char *what, uint64_t node_id)
{
    node_log(arg, LOG_INFO, "%s node %" PRIu64, what, node_id);
}

/* ---- making a node -------------------------------------------------------------------------- */

static void init_transport(struct raft_node *node)
{
    const struct raft_node_timing *timing = &node->config.timing;

    transport_init(&node->transport, node->loop,
                   &(struct transport_config){
                       .cluster_id = node->config.cluster_id,
                       .node_id = node->config.node_id,
                       .listen_address = node->config.peer_listen,
                       .connect_timeout_ms = timing->connect_timeout_ms,
                       .handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS,
                       .user_timeout_ms = timing->user_timeout_ms,
                       .membership = on_membership,
                       .connection_ended = on_connection_ended,
                       .log = on_transport_log,
                       .arg = node,
                   });
}

/* Segments stay at libraft's 8 MB: it counts their size in too few bits for others. */
static void set_options(struct raft_node *node)
{
    const struct raft_node_config *config = &node->config;
    struct raft *raft = &node->raft;

    raft_node_set_trace(node, config->trace);
    raft_set_election_timeout(raft, config->timing.election_ms);
    raft_set_heartbeat_timeout(raft, config->timing.heartbeat_ms);
    raft_set_pre_vote(raft, true);
    raft_set_snapshot_threshold(raft, config->snapshot_threshold);
    raft_set_snapshot_trailing(raft, config->snapshot_trailing);
    /* How long a follower counts as busy with a snapshot that it may never have got, 30 s unless
     * said. The guard (B3) sees to it that an early second attempt sends nothing twice. */
    raft_set_install_snapshot_timeout(raft, RAFT_GUARD_STORE_MS_MIN);
    raft_uv_set_connect_retry_delay(&node->guard.io, config->timing.connect_retry_ms);
    /* It would rename a damaged segment away and start without the entries that it
     * acknowledged. */
    raft_uv_set_auto_recovery(&node->guard.io, false);
}

static int refuse_space(const struct raft_node *node, char *ret_error)
{
    return refuse(
        ret_error, -ENOSPC,
        "no space for the log in %.160s: make at least %d MB free and start again",
        datadir_raft_path(node->dir), SPACE_MB_MIN);
}

static int
refuse_log(const struct raft_node *node, int rv, const char *detail, char *ret_error)
{
    int error = errno_of_raft(rv);

    if (error == -ENOSPC) {
        return refuse_space(node, ret_error);
    }
    if (error == -EUCLEAN) {
        return refuse(ret_error, error,
                      "the log of node %" PRIu64
                      " in %.160s is damaged (%.160s): restore the directory, "
                      "or remove it and let the machine join under a new node id",
                      node->config.node_id, datadir_raft_path(node->dir), detail);
    }
    /* A file that was cut off is not told from one that cannot be read. */
    return refuse(ret_error, error, "cannot load the log in %.160s: %s: %.160s%s",
                  datadir_raft_path(node->dir), raft_strerror(rv), detail,
                  rv == RAFT_IOERR
                      ? "; netlockd check-data says what is damaged, and the way out"
                      : "");
}

static void on_removed(void *arg, const char *name)
{
    node_log(
        arg, LOG_WARNING,
        "a truncation of the log was cut off by a crash and is taken back: %s removed",
        name);
}

static int init_raft(struct raft_node *node, char *ret_error)
{
    struct raft_guard *guard = &node->guard;
    struct raft_guard_host host = {
        .arg = node,
        .fatal = on_fatal,
        .refused = on_refused,
        .loaded = on_loaded,
        .forgot = on_forgot,
        .trace = on_trace,
    };

    int error = raft_tidy(datadir_raft_path(node->dir), on_removed, node);
    if (error != 0) {
        return refuse(ret_error, error, "cannot tidy up %.160s: %s",
                      datadir_raft_path(node->dir), strerror(-error));
    }
    init_transport(node);
    guard->io.version = 1;
    int rv = raft_uv_init(&guard->io, node->loop, datadir_raft_path(node->dir),
                          &node->transport);
    if (rv != 0) {
        transport_release(&node->transport);
        return refuse_log(node, rv, guard->io.errmsg, ret_error);
    }
    raft_guard_install(guard, &node->raft, replica_raft_fsm(node->replica), &host);
    raft_uv_set_tracer(&guard->io, &guard->tracer);
    rv = raft_init(&node->raft, &guard->io, &guard->fsm, node->config.node_id,
                   node_config_own_address(&node->config));
    if (rv != 0) {
        refuse_log(node, rv, raft_errmsg(&node->raft), ret_error);
        raft_uv_close(&guard->io);
        transport_release(&node->transport);
        return errno_of_raft(rv);
    }
    set_options(node);
    replica_set_raft(node->replica, &node->raft);
    return 0;
}

static void init_handles(struct raft_node *node)
{
    int error = uv_prepare_init(node->loop, &node->before_io);

    error |= uv_check_init(node->loop, &node->after_io);
    error |= uv_timer_init(node->loop, &node->due);
    assert(error == 0);
    (void)error;
    node->before_io.data = node;
    node->after_io.data = node;
    node->due.data = node;
    handover_init(&node->handover, node->loop, &node->raft, &node->transport);
    failover_init(&node->failover, node->loop, &node->guard, &node->transport,
                  &(struct failover_host){.arg = node, .note = on_failover_note});
    node->handles_open = 5;
}

int raft_node_new(struct raft_node **ret,
                  uv_loop_t *loop,
                  const struct raft_node_config *config,
                  const struct replica_host *host,
                  char ret_error[static RAFT_NODE_ERROR_BYTES])
{
    struct datadir_identity identity = {.cluster_id = config->cluster_id,
                                        .node_id = config->node_id};
    struct datadir *dir;

    int error = node_config_check(config, ret_error);
    if (error == 0) {
        error = datadir_open(&dir, config->data_dir, &identity, ret_error);
    }
    if (error != 0) {
        return error;
    }
    struct raft_node *node = memory_new(sizeof *node);
    node->loop = loop;
    node->dir = dir;
    node->host = *host;
    node->config = node_config_copy(config);
    node->replica = replica_new(&node->config.replica, host);
    error = init_raft(node, ret_error);
    if (error != 0) {
        datadir_close(dir);
        node->dir = NULL;
        raft_node_free(node);
        return error;
    }
    init_handles(node);
    *ret = node;
    return 0;
}

void raft_node_set_tls(struct raft_node *node,
                       struct tls_context *in,
                       struct tls_context *out)
{
    transport_set_tls(&node->transport, &(struct transport_tls){.in = in, .out = out});
}

void raft_node_free(struct raft_node *node)
{
    assert(node->dir == NULL && node->handles_open == 0);
    replica_free(node->replica);
    node_config_release(&node->config);
    free(node);
}

/* ---- starting ------------------------------------------------------------------------------- */

/* Every member of a new cluster writes the same first entry: the membership. */
static int bootstrap(struct raft_node *node, char *ret_error)
{
    struct raft_configuration configuration;
    int rv = 0;

    if (!datadir_is_new(node->dir)) {
        return 0;
    }
    raft_configuration_init(&configuration);
    for (size_t i = 0; i < node->config.members_count && rv == 0; i++) {
        const struct raft_node_member *member = &node->config.members[i];
        rv = raft_configuration_add(&configuration, member->node_id, member->peer_address,
                                    RAFT_VOTER);
    }
    if (rv == 0) {
        rv = raft_bootstrap(&node->raft, &configuration);
    }
    raft_configuration_close(&configuration);
    if (rv != 0) {
        return refuse_log(node, rv, node->guard.io.errmsg, ret_error);
    }
    int error = datadir_log_begun(node->dir);
    if (error != 0) {
        return refuse(ret_error, error, "cannot write %s: %s", node->config.data_dir,
                      strerror(-error));
    }
    return 0;
}

/* The log's membership counts; the configuration only began it. */
static void compare_membership(const struct raft_node *node)
{
    const struct raft_configuration *log = &node->raft.configuration;
    unsigned same = 0;

    for (size_t i = 0; i < node->config.members_count; i++) {
        const char *address = NULL;
        if (on_membership((void *)(uintptr_t)node, node->config.members[i].node_id,
                          &address) == TRANSPORT_MEMBER &&
            strcmp(address, node->config.members[i].peer_address) == 0) {
            same++;
        }
    }
    if (same != log->n || same != node->config.members_count) {
        node_log(node, LOG_WARNING,
                 "the configured members differ from those of the cluster's log, which "
                 "count: of %zu "
                 "configured and %u in the log, %u agree in id and address",
                 node->config.members_count, log->n, same);
    }
}

/* libuv writes to sockets whose other end may be gone. */
static bool broken_pipes_do_not_kill(void)
{
    struct sigaction action;

    return sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
}

int raft_node_start(struct raft_node *node, char ret_error[static RAFT_NODE_ERROR_BYTES])
{
    const char *doubtful = datadir_doubtful_fs(node->dir);

    assert(!node->running && !node->closing);
    assert(broken_pipes_do_not_kill());
    if (doubtful != NULL) {
        node_log(node, LOG_WARNING,
                 "data directory %s is on %s: acknowledged locks may be lost with the "
                 "machine's power",
                 node->config.data_dir, doubtful);
    }
    int error = bootstrap(node, ret_error);
    if (error != 0) {
        return error;
    }
    int rv = raft_start(&node->raft);
    if (rv != 0) {
        error = transport_listen_error(&node->transport);
        if (error != 0) {
            return refuse(ret_error, error, "%s", node->transport.errmsg);
        }
        const char *detail = raft_errmsg(&node->raft);
        return refuse_log(node, rv, detail[0] != '\0' ? detail : node->guard.io.errmsg,
                          ret_error);
    }
    const char *wrong = raft_guard_impossible_term(&node->raft);
    if (wrong != NULL) {
        char detail[LOG_LINE_BYTES];
        snprintf(detail, sizeof(detail), "metadata: %s", wrong);
        return refuse_log(node, RAFT_CORRUPT, detail, ret_error);
    }
    /* libraft prepares room at the start and when entries come; a leader without room takes none. */
    if (node->guard.io.capacity == 0) {
        return refuse_space(node, ret_error);
    }
    compare_membership(node);
    node->running = true;
    if (node->config.fast_failover) {
        failover_start(&node->failover);
    }
    uv_prepare_start(&node->before_io, on_before_io);
    uv_check_start(&node->after_io, on_after_io);
    return 0;
}

void raft_node_set_trace(struct raft_node *node, bool on)
{
    node->config.trace = on;
    node->raft.tracer = on ? &node->guard.tracer : NULL;
}

/* ---- handing leadership over ---------------------------------------------------------------- */

void raft_node_transfer(struct raft_node *node,
                        uint32_t timeout_ms,
                        void (*on_done)(void *arg),
                        void *arg)
{
    if (!node->running || node->closing) {
        on_done(arg);
        return;
    }
    handover_end(&node->handover); /* on_forgot() */
    handover_start(&node->handover, timeout_ms, on_done, arg);
    step_handover(node);
}

/* ---- closing -------------------------------------------------------------------------------- */
/* 1 libraft with its files and connections, 2 our handles, 3 memory and the directory's
 * lock. */

static void on_part_closed(void *arg)
{
    struct raft_node *node = arg;

    node->handles_open--;
    if (node->handles_open > 0) {
        return;
    }
    raft_uv_close(&node->guard.io);
    transport_release(&node->transport);
    datadir_close(node->dir);
    node->dir = NULL;
    node->on_closed(node->on_closed_arg);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

static void on_raft_closed(struct raft *raft)
{
    struct raft_node *node = raft->data;

    uv_close((uv_handle_t *)&node->before_io, on_handle_closed);
    uv_close((uv_handle_t *)&node->after_io, on_handle_closed);
    uv_close((uv_handle_t *)&node->due, on_handle_closed);
    node->handover.deadline.data = node;
    uv_close((uv_handle_t *)&node->handover.deadline, on_handle_closed);
    failover_close(&node->failover, on_part_closed, node);
}

void raft_node_close(struct raft_node *node, void (*on_closed)(void *arg), void *arg)
{
    assert(!node->closing);
    node->closing = true;
    node->on_closed = on_closed;
    node->on_closed_arg = arg;
    handover_end(&node->handover);
    failover_stop(&node->failover);
    uv_prepare_stop(&node->before_io);
    uv_check_stop(&node->after_io);
    uv_timer_stop(&node->due);
    node->raft.data = node;
    raft_close(&node->raft, on_raft_closed);
}

/* ---- looking in ----------------------------------------------------------------------------- */

struct replica *raft_node_replica(struct raft_node *node)
{
    return node->replica;
}

uint64_t raft_node_now_ms(const struct raft_node *node)
{
    (void)node;
    return boottime_ms();
}

static uint64_t match_index(struct raft *raft, uint64_t node_id)
{
    raft_index index;

    if (raft_state(raft) != RAFT_LEADER) {
        return 0;
    }
    if (node_id == raft->id) {
        return raft_last_index(raft);
    }
    return raft_match_index(raft, node_id, &index) == 0 ? index : 0;
}

void raft_node_status(const struct raft_node *node, struct raft_node_status *ret)
{
    /* libraft's getters take a struct that they could change, but do not. */
    struct raft *raft = (struct raft *)(uintptr_t)&node->raft;
    const struct raft_configuration *configuration = &raft->configuration;
    const char *leader_address;
    raft_id leader_id;

    memset(ret, 0, sizeof *ret);
    raft_leader(raft, &leader_id, &leader_address);
    ret->node_id = node->config.node_id;
    ret->term = raft_current_term(raft);
    ret->leader_id = leader_id;
    ret->leader = raft_state(raft) == RAFT_LEADER;
    ret->candidate = raft_state(raft) == RAFT_CANDIDATE;
    ret->commit_index = raft_commit_index(raft);
    ret->applied_index = raft_last_applied(raft);
    ret->last_index = raft_last_index(raft);
    ret->feature_level = replica_level(node->replica);
    ret->feature_level_max = feature_level_max;
    for (unsigned i = 0; i < configuration->n && i < RAFT_NODE_MEMBERS_MAX; i++) {
        const struct raft_server *server = &configuration->servers[i];
        ret->members[i].node_id = server->id;
        ret->members[i].voter = server->role == RAFT_VOTER;
        ret->members[i].peer_address = server->address;
        ret->members[i].connected = server->id == ret->node_id ||
                                    transport_connected(&node->transport, server->id);
        ret->members[i].match_index = match_index(raft, server->id);
        ret->members_count++;
    }
}
