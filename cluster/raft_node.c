#include "raft_node_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <raft/uv.h>

#include "feature_level.h"
#include "memory.h"
#include "node_config.h"
#include "raft_tidy.h"

static_assert((int)RAFT_NODE_ERROR_BYTES == (int)DATADIR_ERROR_BYTES,
              "texts are passed through");

enum { HANDSHAKE_TIMEOUT_MS = 5000, FORGOT_HANDOVER_MS = 2000 };

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
    uint64_t target;

    /* What the flush of this turn leaves would be forgotten with the leadership. Not only when nothing is left before
     * it: under load a follower has everything just when an entry has been applied, and not told. */
    if (!replica_tells_rest(node->replica)) {
        return;
    }
    target = handover_step(&node->handover);
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
    node_change_step(
        &node->change); /* the outcome of a handover is told before its effect */

    note_level(node);
    offer_level(node);
    uint64_t now_ms = boottime_ms();
    replica_flush(node->replica, now_ms);
    if (node->guard.has_sent) {
        node->guard.has_sent = false;
        transport_flush(&node->transport);
    }
    raft_guard_turn(&node->guard);
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

void node_begin_turns(struct raft_node *node)
{
    uv_prepare_start(&node->before_io, on_before_io);
    uv_check_start(&node->after_io, on_after_io);
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
    handover_start(&node->handover, 0, FORGOT_HANDOVER_MS, on_handed_over, node);
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

/* A node that was away, or is being copied to, knows old members only, of which perhaps none is left: whom it
 * does not know may be the leader that tells it. It learns of no other while it follows one. */
static bool may_be_behind(const struct raft *raft, uint64_t node_id)
{
    if (raft->state != RAFT_FOLLOWER) {
        return raft->state == RAFT_CANDIDATE;
    }
    return raft->follower_state.current_leader.id == 0 ||
           raft->follower_state.current_leader.id == node_id;
}

/* A leader that removes itself still has to say when that is committed. */
enum transport_membership
node_membership_of(void *arg, uint64_t node_id, const char **ret_address)
{
    const struct raft *raft = &((const struct raft_node *)arg)->raft;

    if (find_member(&raft->configuration, node_id, ret_address) ||
        find_member(&raft->configuration_committed, node_id, ret_address)) {
        return TRANSPORT_MEMBER;
    }
    return raft->configuration.n == 0 || may_be_behind(raft, node_id)
               ? TRANSPORT_UNDECIDED
               : TRANSPORT_STRANGER;
}

static void on_called_stranger(void *arg, uint64_t node_id)
{
    struct raft_node *node = arg;

    if (removal_refused(&node->removal, node_id)) {
        node_log(node, LOG_WARNING,
                 "node %" PRIu64
                 " is no member of the cluster any more: stop it; its data "
                 "directory is of no use, and to come back it needs a new one and a new "
                 "node id",
                 node->config.node_id);
    }
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
                       .membership = node_membership_of,
                       .connection_ended = on_connection_ended,
                       .called_stranger = on_called_stranger,
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
        .has_turns = true,
        .trace = on_trace,
    };

    int error = raft_tidy(datadir_raft_path(node->dir), on_removed, node);
    if (error != 0) {
        return node_refuse(ret_error, error, "cannot tidy up %.160s: %s",
                           datadir_raft_path(node->dir), strerror(-error));
    }
    init_transport(node);
    guard->io.version = 1;
    int rv = raft_uv_init(&guard->io, node->loop, datadir_raft_path(node->dir),
                          &node->transport);
    if (rv != 0) {
        transport_release(&node->transport);
        return node_refuse_log(node, rv, guard->io.errmsg, ret_error);
    }
    raft_guard_install(guard, &node->raft, replica_raft_fsm(node->replica), &host);
    raft_uv_set_tracer(&guard->io, &guard->tracer);
    rv = raft_init(&node->raft, &guard->io, &guard->fsm, node->config.node_id,
                   node_config_own_address(&node->config));
    if (rv != 0) {
        node_refuse_log(node, rv, raft_errmsg(&node->raft), ret_error);
        raft_uv_close(&guard->io);
        transport_release(&node->transport);
        return errno_of_raft(rv);
    }
    set_options(node);
    replica_set_raft(node->replica, &node->raft);
    return 0;
}

static bool on_connected(void *arg, uint64_t node_id)
{
    const struct raft_node *node = arg;

    return transport_connected(&node->transport, node_id);
}

static const char *on_client_address(void *arg, uint64_t node_id)
{
    const struct raft_node_config *config = &((const struct raft_node *)arg)->config;

    return config->client_address != NULL
               ? config->client_address(config->client_address_arg, node_id)
               : NULL;
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
    node->removal = (struct removal){.raft = &node->raft, .transport = &node->transport};
    node_change_init(&node->change, &node->raft, node->replica, &node->handover,
                     &(struct membership_host){.arg = node,
                                               .members_max = RAFT_NODE_MEMBERS_MAX,
                                               .connected = on_connected,
                                               .client_address = on_client_address});
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
    handover_start(&node->handover, 0, timeout_ms, on_done, arg);
    step_handover(node);
}

bool raft_node_change(struct raft_node *node,
                      const struct membership_change *change,
                      node_change_cb on_done,
                      void *arg)
{
    return node->running && !node->closing &&
           replica_role(node->replica) == REPLICA_SERVING &&
           node_change_start(&node->change, change, on_done, arg);
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
    node_change_end(&node->change);
    handover_end(&node->handover);
    failover_stop(&node->failover);
    uv_prepare_stop(&node->before_io);
    uv_check_stop(&node->after_io);
    uv_timer_stop(&node->due);
    node->raft.data = node;
    raft_close(&node->raft, on_raft_closed);
}

/* ---- looking in ----------------------------------------------------------------------------- */

uint64_t raft_node_membership(const struct raft_node *node)
{
    return node->raft.configuration_committed_index;
}

struct replica *raft_node_replica(struct raft_node *node)
{
    return node->replica;
}

uint64_t raft_node_now_ms(const struct raft_node *node)
{
    (void)node;
    return boottime_ms();
}
