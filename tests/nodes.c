#include "nodes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kept_port.h"

enum { LEADERS_MAX = 10 };

/* ---- what a node's owner does --------------------------------------------------------------- */

static void
on_event(void *arg, const struct fsm_event *event, const struct replica_position *at)
{
    struct host *host = arg;
    (void)at;

    if (event->ref != 0) {
        host->answers++;
        host->last_ref = event->ref;
        host->last_token = event->token;
    }
}

static void on_role(void *arg, enum replica_role role, uint64_t term)
{
    struct host *host = arg;

    host->role = role;
    host->term = term;
}

static void on_fatal(void *arg, const char *what)
{
    (void)arg;
    fail_msg("fatal: %s", what);
}

static void on_log(void *arg, int level, const char *message)
{
    struct host *host = arg;

    if (strstr(message, "start persisting snapshot") != NULL) {
        host->got_snapshot = true;
    }
    if (level >= 1 && host->lines_count < LINES_MAX) {
        snprintf(host->lines[host->lines_count++], sizeof host->lines[0], "%s", message);
    }
}

bool host_has_line(const struct host *host, const char *part)
{
    for (unsigned i = 0; i < host->lines_count; i++) {
        if (strstr(host->lines[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

static void host_on_closed(void *arg)
{
    struct host *host = arg;

    host->closed = true;
    raft_node_free(host->node);
    host->node = NULL;
}

/* ---- the loop, bounded ---------------------------------------------------------------------- */

static void on_nothing(uv_timer_t *timer)
{
    (void)timer;
}

bool nodes_run_until(struct fixture *f,
                     bool (*condition)(struct fixture *f),
                     unsigned limit_ms)
{
    uv_timer_t waker;

    uv_update_time(&f->loop);
    uint64_t start = uv_now(&f->loop);
    uv_timer_init(&f->loop, &waker);
    uv_timer_start(&waker, on_nothing, 10, 10);
    bool met = condition(f);
    while (!met && uv_now(&f->loop) - start < limit_ms) {
        uv_run(&f->loop, UV_RUN_ONCE);
        met = condition(f);
    }
    uv_close((uv_handle_t *)&waker, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    return met;
}

struct host *nodes_serving(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL && f->hosts[i].role == REPLICA_SERVING) {
            return &f->hosts[i];
        }
    }
    return NULL;
}

bool nodes_somebody_serves(struct fixture *f)
{
    return nodes_serving(f) != NULL;
}

struct host *nodes_leader(struct fixture *f)
{
    nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX);
    struct host *leader = nodes_serving(f);
    if (leader == NULL) {
        fail_msg("nobody serves");
        abort();
    }
    return leader;
}

bool nodes_never(struct fixture *f)
{
    (void)f;
    return false;
}

/* All running nodes have applied the same, and somebody leads. */
static bool all_equal(struct fixture *f)
{
    const struct host *leader = nodes_serving(f);

    if (leader == NULL) {
        return false;
    }
    struct replica *first = raft_node_replica(leader->node);
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node == NULL) {
            continue;
        }
        struct replica *other = raft_node_replica(f->hosts[i].node);
        if (replica_applied_index(other) != replica_applied_index(first)) {
            return false;
        }
    }
    return true;
}

void nodes_assert_equal(struct fixture *f)
{
    assert_true(nodes_run_until(f, all_equal, WAIT_MS_MAX));
    const struct fsm *first = replica_table(raft_node_replica(nodes_leader(f)->node));
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL) {
            const struct fsm *other = replica_table(raft_node_replica(f->hosts[i].node));
            assert_int_equal(fsm_hash(other), fsm_hash(first));
            assert_int_equal(fsm_digest(other), fsm_digest(first));
            fsm_check(other);
        }
    }
}

/* ---- nodes ---------------------------------------------------------------------------------- */

bool nodes_first_has_snapshot(struct fixture *f)
{
    char raft_dir[128];
    bool found = false;

    snprintf(raft_dir, sizeof raft_dir, "%s/raft", f->hosts[0].data_dir);
    DIR *dir = opendir(raft_dir);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        /* Its ".meta" is there before it. */
        found = found || (strncmp(entry->d_name, "snapshot-", 9) == 0 &&
                          strchr(entry->d_name, '.') == NULL);
    }
    closedir(dir);
    return found;
}

struct raft_node_config node_config(struct fixture *f, int i)
{
    return (struct raft_node_config){
        .data_dir = f->hosts[i].data_dir,
        .cluster_id = "test",
        .node_id = (uint64_t)i + 1,
        .peer_listen = f->hosts[i].listen[0] != '\0' ? f->hosts[i].listen : NULL,
        .members = f->members,
        .members_count = f->members_count,
        .timing = raft_node_timing_from_lease(LEASE_MS),
        .snapshot_threshold = f->snapshot_threshold,
        .snapshot_trailing = f->snapshot_trailing,
        .trace = f->trace,
        .replica = {.hash_seed = 7,
                    .settings = {.reattach_grace_ms = 10000,
                                 .clients_max = 1000,
                                 .claims_max = 1000,
                                 .claims_per_client_max = 1000,
                                 .waiters_per_lock_max = 1000},
                    .tick_interval_ms = 1000,
                    .commands_waiting_max = 1000},
        .log = on_log,
        .log_arg = &f->hosts[i],
    };
}

struct replica_host host_callbacks(struct host *host)
{
    return (struct replica_host){
        .arg = host, .on_event = on_event, .on_role = on_role, .fatal = on_fatal};
}

void node_new(struct fixture *f, int i)
{
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct raft_node_config config = node_config(f, i);
    struct replica_host callbacks = host_callbacks(&f->hosts[i]);

    f->hosts[i].closed = false;
    f->hosts[i].role = REPLICA_FOLLOWER;
    int rv = raft_node_new(&f->hosts[i].node, &f->loop, &config, &callbacks, error);
    if (rv != 0) {
        fail_msg("raft_node_new: %s", error);
    }
    if (f->on_new != NULL) {
        f->on_new(f, i);
    }
}

void node_start(struct fixture *f, int i)
{
    char error[RAFT_NODE_ERROR_BYTES] = "";

    node_new(f, i);
    if (raft_node_start(f->hosts[i].node, error) != 0) {
        fail_msg("raft_node_start: %s", error);
    }
}

static bool all_closing_closed(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL && !f->hosts[i].closed) {
            return false;
        }
    }
    return true;
}

void node_close(struct fixture *f, int i)
{
    raft_node_close(f->hosts[i].node, host_on_closed, &f->hosts[i]);
    f->hosts[i].role = REPLICA_FOLLOWER;
    for (int turns = 0; !f->hosts[i].closed; turns++) {
        assert_true(turns < 100000);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

void nodes_close_all(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL) {
            raft_node_close(f->hosts[i].node, host_on_closed, &f->hosts[i]);
        }
    }
    assert_true(nodes_run_until(f, all_closing_closed, WAIT_MS_MAX));
}

void nodes_choose_members(struct fixture *f, size_t count)
{
    f->members_count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(f->addresses[i], sizeof f->addresses[i], "127.0.0.1:%u", keep_port());
        f->members[i] =
            (struct raft_node_member){.node_id = i + 1, .peer_address = f->addresses[i]};
    }
}

void nodes_start_three(struct fixture *f)
{
    nodes_choose_members(f, 3);
    for (int i = 0; i < 3; i++) {
        node_start(f, i);
    }
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
}

int nodes_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    snprintf(f->base, sizeof f->base, "/tmp/test_raft_node.XXXXXX");
    assert_non_null(mkdtemp(f->base));
    for (int i = 0; i < NODES; i++) {
        snprintf(f->hosts[i].data_dir, sizeof f->hosts[i].data_dir, "%s/n%d", f->base,
                 i + 1);
    }
    *state = f;
    return 0;
}

int nodes_teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    nodes_close_all(f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(command, sizeof command, "rm -rf %s", f->base);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* ---- commands ------------------------------------------------------------------------------- */

static struct fsm_str str(const char *text)
{
    return (struct fsm_str){.data = text, .len = strlen(text)};
}

static bool answered_or_deposed(struct fixture *f)
{
    return f->asked->last_ref == f->refs || f->asked->role != REPLICA_SERVING ||
           f->asked->term != f->asked_term;
}

/* Propose and wait for the answer. A leader that is deposed meanwhile, which happens on a busy
 * machine, gives none: the next one is asked. */
static void command(struct fixture *f, struct fsm_command command)
{
    for (int tries = 0; tries < LEADERS_MAX; tries++) {
        f->asked = nodes_leader(f);
        f->asked_term = f->asked->term;
        command.ref = ++f->refs;
        assert_int_equal(replica_propose(raft_node_replica(f->asked->node), &command), 0);
        assert_true(nodes_run_until(f, answered_or_deposed, WAIT_MS_MAX));
        if (f->asked->last_ref == f->refs) {
            return;
        }
    }
    fail_msg("%d leaders were deposed before they answered", LEADERS_MAX);
}

void nodes_attach(struct fixture *f, const char *client)
{
    command(f, (struct fsm_command){.type = FSM_CMD_ATTACH, .client = str(client)});
}

void nodes_lock(struct fixture *f, const char *client, const char *name)
{
    command(f,
            (struct fsm_command){
                .type = FSM_CMD_LOCK,
                .client = str(client),
                .lock = str(name),
                .lock_ = {.wait_ms = FSM_UNLIMITED, .hold_ms = FSM_UNLIMITED, .limit = 1},
            });
}

void nodes_lock_many(struct fixture *f, const char *client, int from, int to)
{
    char name[32];

    for (int i = from; i < to; i++) {
        snprintf(name, sizeof name, "lock-%d", i);
        nodes_lock(f, client, name);
    }
}

struct fsm_counts node_counts(struct fixture *f, int i)
{
    return fsm_counts(replica_table(raft_node_replica(f->hosts[i].node)));
}

int nodes_index_of(const struct fixture *f, const struct host *host)
{
    return (int)(host - f->hosts);
}
