/* Real nodes in one process: loopback, real files, one loop. */
#include "raft_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NODES = 3, WAIT_MS_MAX = 60000, LEASE_MS = 600, LINES_MAX = 400 };

struct host {
    struct raft_node *node;
    char data_dir[96];
    char listen[32];
    enum replica_role role;
    uint64_t term;
    uint64_t answers; /* direct ones */
    uint64_t last_ref;
    uint64_t last_token;
    bool closed;
    char lines[LINES_MAX][300];
    unsigned lines_count;
};

struct fixture {
    uv_loop_t loop;
    char base[64];
    struct raft_node_member members[NODES];
    char addresses[NODES][32];
    size_t members_count;
    uint32_t snapshot_threshold;
    uint32_t snapshot_trailing;
    struct host hosts[NODES];
    uint64_t refs;
};

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

    if (level >= 1 && host->lines_count < LINES_MAX) {
        snprintf(host->lines[host->lines_count++], sizeof host->lines[0], "%s", message);
    }
}

static bool has_line(const struct host *host, const char *part)
{
    for (unsigned i = 0; i < host->lines_count; i++) {
        if (strstr(host->lines[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

static void on_closed(void *arg)
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

static bool
run_until(struct fixture *f, bool (*condition)(struct fixture *f), unsigned limit_ms)
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

static struct host *serving(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL && f->hosts[i].role == REPLICA_SERVING) {
            return &f->hosts[i];
        }
    }
    return NULL;
}

/* The one that serves, where there must be one. */
static struct host *leader_of(struct fixture *f)
{
    struct host *leader = serving(f);

    if (leader == NULL) {
        fail_msg("nobody serves");
        abort();
    }
    return leader;
}

static bool somebody_serves(struct fixture *f)
{
    return serving(f) != NULL;
}

static bool never(struct fixture *f)
{
    (void)f;
    return false;
}

/* All running nodes have applied the same, and somebody leads. */
static bool all_equal(struct fixture *f)
{
    const struct host *leader = serving(f);

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

static void assert_all_equal(struct fixture *f)
{
    assert_true(run_until(f, all_equal, WAIT_MS_MAX));
    const struct fsm *first = replica_table(raft_node_replica(leader_of(f)->node));
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

static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static struct raft_node_config config_of(struct fixture *f, int i)
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

static struct replica_host host_of(struct host *host)
{
    return (struct replica_host){
        .arg = host, .on_event = on_event, .on_role = on_role, .fatal = on_fatal};
}

static void node_new(struct fixture *f, int i)
{
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct raft_node_config config = config_of(f, i);
    struct replica_host callbacks = host_of(&f->hosts[i]);

    f->hosts[i].closed = false;
    f->hosts[i].role = REPLICA_FOLLOWER;
    int rv = raft_node_new(&f->hosts[i].node, &f->loop, &config, &callbacks, error);
    if (rv != 0) {
        fail_msg("raft_node_new: %s", error);
    }
}

static void node_start(struct fixture *f, int i)
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

static void node_close(struct fixture *f, int i)
{
    raft_node_close(f->hosts[i].node, on_closed, &f->hosts[i]);
    f->hosts[i].role = REPLICA_FOLLOWER;
    for (int turns = 0; !f->hosts[i].closed; turns++) {
        assert_true(turns < 100000);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void close_all(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL) {
            raft_node_close(f->hosts[i].node, on_closed, &f->hosts[i]);
        }
    }
    assert_true(run_until(f, all_closing_closed, WAIT_MS_MAX));
}

static void choose_members(struct fixture *f, size_t count)
{
    f->members_count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(f->addresses[i], sizeof f->addresses[i], "127.0.0.1:%u", free_port());
        f->members[i] =
            (struct raft_node_member){.node_id = i + 1, .peer_address = f->addresses[i]};
    }
}

static void start_three(struct fixture *f)
{
    choose_members(f, 3);
    for (int i = 0; i < 3; i++) {
        node_start(f, i);
    }
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
}

static int setup(void **state)
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

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    close_all(f);
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

static bool answered(struct fixture *f)
{
    struct host *leader = serving(f);

    return leader != NULL && leader->last_ref == f->refs;
}

/* Propose and wait for the answer. */
static void command(struct fixture *f, struct fsm_command command)
{
    struct host *leader = leader_of(f);

    command.ref = ++f->refs;
    assert_int_equal(replica_propose(raft_node_replica(leader->node), &command), 0);
    assert_true(run_until(f, answered, WAIT_MS_MAX));
}

static void attach(struct fixture *f, const char *client)
{
    command(f, (struct fsm_command){.type = FSM_CMD_ATTACH, .client = str(client)});
}

static void lock(struct fixture *f, const char *client, const char *name)
{
    command(f,
            (struct fsm_command){
                .type = FSM_CMD_LOCK,
                .client = str(client),
                .lock = str(name),
                .lock_ = {.wait_ms = FSM_UNLIMITED, .hold_ms = FSM_UNLIMITED, .limit = 1},
            });
}

static void lock_many(struct fixture *f, const char *client, int from, int to)
{
    char name[32];

    for (int i = from; i < to; i++) {
        snprintf(name, sizeof name, "lock-%d", i);
        lock(f, client, name);
    }
}

static struct fsm_counts counts(struct fixture *f, int i)
{
    return fsm_counts(replica_table(raft_node_replica(f->hosts[i].node)));
}

static int index_of(const struct fixture *f, const struct host *host)
{
    return (int)(host - f->hosts);
}

/* ---- one node ------------------------------------------------------------------------------- */

static void a_single_node_serves_within_a_few_turns(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 1);
    node_start(f, 0);
    /* No election timeout passes: it is its own majority. */
    for (int turns = 0; turns < 200 && f->hosts[0].role != REPLICA_SERVING; turns++) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->hosts[0].role, REPLICA_SERVING);
    attach(f, "c");
    lock(f, "c", "l");
    assert_int_equal(counts(f, 0).holds, 1);

    struct raft_node_status status;
    raft_node_status(f->hosts[0].node, &status);
    assert_true(status.leader);
    assert_int_equal(status.leader_id, 1);
    assert_int_equal(status.members_count, 1);
    assert_string_equal(status.members[0].peer_address, f->addresses[0]);
    assert_true(status.members[0].voter);
    assert_true(status.applied_index >= 3);
}

static void locks_survive_a_restart(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 1);
    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    attach(f, "c");
    lock_many(f, "c", 0, 5);
    uint64_t token = f->hosts[0].last_token;
    node_close(f, 0);

    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    assert_int_equal(counts(f, 0).holds, 5);
    assert_int_equal(fsm_last_token(replica_table(raft_node_replica(f->hosts[0].node))),
                     token);
}

static void locks_survive_a_restart_from_a_snapshot(void **state)
{
    struct fixture *f = *state;

    f->snapshot_threshold = 10;
    f->snapshot_trailing = 2;
    choose_members(f, 1);
    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    attach(f, "c");
    lock_many(f, "c", 0, 40);
    uint64_t hash = fsm_hash(replica_table(raft_node_replica(f->hosts[0].node)));
    assert_int_not_equal(hash, 0);
    run_until(f, never, 100);
    node_close(f, 0);

    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    assert_int_equal(counts(f, 0).holds, 40);
    fsm_check(replica_table(raft_node_replica(f->hosts[0].node)));
}

/* ---- three nodes ---------------------------------------------------------------------------- */

static void three_nodes_elect_one_and_agree(void **state)
{
    struct fixture *f = *state;

    start_three(f);
    attach(f, "c");
    lock_many(f, "c", 0, 20);
    assert_all_equal(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(counts(f, i).holds, 20);
    }
    int leaders = 0;
    for (int i = 0; i < 3; i++) {
        struct raft_node_status status;
        raft_node_status(f->hosts[i].node, &status);
        leaders += status.leader;
        assert_int_equal(status.leader_id, index_of(f, leader_of(f)) + 1);
        assert_int_equal(status.members_count, 3);
    }
    assert_int_equal(leaders, 1);
}

static void two_of_three_go_on_and_the_third_catches_up(void **state)
{
    struct fixture *f = *state;

    start_three(f);
    attach(f, "c");
    lock_many(f, "c", 0, 5);
    int gone = index_of(f, leader_of(f));
    node_close(f, gone);

    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    lock_many(f, "c", 5, 15);
    assert_all_equal(f);

    node_start(f, gone);
    lock_many(f, "c", 15, 16);
    assert_all_equal(f);
    assert_int_equal(counts(f, gone).holds, 16);
}

static void a_node_that_was_away_for_long_catches_up_by_snapshot(void **state)
{
    struct fixture *f = *state;

    f->snapshot_threshold = 10;
    f->snapshot_trailing = 5;
    start_three(f);
    attach(f, "c");
    int gone = (index_of(f, leader_of(f)) + 1) % 3;
    node_close(f, gone);
    lock_many(f, "c", 0, 60);

    node_start(f, gone);
    lock_many(f, "c", 60, 61);
    assert_all_equal(f);
    assert_int_equal(counts(f, gone).holds, 61);

    /* It got a snapshot: the entries that it lacked are no longer in anybody's log. */
    struct raft_node_status status;
    raft_node_status(f->hosts[gone].node, &status);
    assert_true(status.applied_index > 60);
    bool has_snapshot = false;
    char raft_dir[128];
    snprintf(raft_dir, sizeof raft_dir, "%s/raft", f->hosts[gone].data_dir);
    DIR *dir = opendir(raft_dir);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        has_snapshot = has_snapshot || strncmp(entry->d_name, "snapshot-", 9) == 0;
    }
    closedir(dir);
    assert_true(has_snapshot);
}

static void a_minority_does_not_serve(void **state)
{
    struct fixture *f = *state;

    start_three(f);
    int leader = index_of(f, leader_of(f));
    node_close(f, (leader + 1) % 3);
    node_close(f, (leader + 2) % 3);
    /* It notices within the lease. */
    run_until(f, never, 3 * LEASE_MS);
    assert_int_equal(f->hosts[leader].role, REPLICA_FOLLOWER);
}

static void a_whole_cluster_comes_back(void **state)
{
    struct fixture *f = *state;

    start_three(f);
    attach(f, "c");
    lock_many(f, "c", 0, 10);
    close_all(f);
    for (int i = 0; i < 3; i++) {
        node_start(f, i);
    }
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    lock(f, "c", "one more");
    assert_all_equal(f);
    assert_int_equal(counts(f, 0).holds, 11);
}

static void a_node_of_another_cluster_stays_out(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct replica_host callbacks = host_of(&f->hosts[2]);

    choose_members(f, 3);
    node_start(f, 0);
    node_start(f, 1);
    struct raft_node_config config = config_of(f, 2);
    config.cluster_id = "another";
    assert_int_equal(
        raft_node_new(&f->hosts[2].node, &f->loop, &config, &callbacks, error), 0);
    assert_int_equal(raft_node_start(f->hosts[2].node, error), 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    run_until(f, never, LEASE_MS);
    assert_int_equal(replica_applied_index(raft_node_replica(f->hosts[2].node)), 1);
    assert_true(has_line(&f->hosts[2], "this node is of cluster"));
    assert_true(has_line(leader_of(f), "this node is of cluster"));
}

/* ---- handing over --------------------------------------------------------------------------- */

static void on_transferred(void *arg)
{
    *(bool *)arg = true;
}

static bool another_serves(struct fixture *f)
{
    for (int i = 0; i < NODES; i++) {
        if (f->hosts[i].node != NULL && f->hosts[i].role == REPLICA_SERVING &&
            f->hosts[i].term > f->refs) {
            return true;
        }
    }
    return false;
}

static void leadership_is_handed_to_a_member_that_has_everything(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    start_three(f);
    attach(f, "c");
    lock_many(f, "c", 0, 3);
    struct host *old = leader_of(f);
    f->refs = old->term; /* what another_serves() compares with */

    raft_node_transfer(old->node, 10 * LEASE_MS, on_transferred, &done);
    assert_true(run_until(f, another_serves, WAIT_MS_MAX));
    assert_true(done);
    assert_int_equal(old->role, REPLICA_FOLLOWER);
}

static void handing_over_to_nobody_ends_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    start_three(f);
    int leader = index_of(f, leader_of(f));
    node_close(f, (leader + 1) % 3);
    node_close(f, (leader + 2) % 3);
    raft_node_transfer(f->hosts[leader].node, LEASE_MS / 4, on_transferred, &done);
    run_until(f, never, LEASE_MS);
    assert_true(done);
}

static void handing_over_alone_or_as_a_follower_is_done_at_once(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    choose_members(f, 1);
    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    raft_node_transfer(f->hosts[0].node, 10000, on_transferred, &done);
    assert_true(done);
    close_all(f);

    done = false;
    for (int i = 0; i < NODES; i++) {
        snprintf(f->hosts[i].data_dir, sizeof f->hosts[i].data_dir, "%s/m%d", f->base,
                 i + 1);
    }
    start_three(f);
    int follower = (index_of(f, leader_of(f)) + 1) % 3;
    raft_node_transfer(f->hosts[follower].node, 10000, on_transferred, &done);
    assert_true(done);
}

static void closing_ends_a_handover(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    start_three(f);
    int leader = index_of(f, leader_of(f));
    node_close(f, (leader + 1) % 3);
    node_close(f, (leader + 2) % 3);
    raft_node_transfer(f->hosts[leader].node, 10 * WAIT_MS_MAX, on_transferred, &done);
    assert_false(done);
    node_close(f, leader);
    assert_true(done);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void assert_new_refused(struct fixture *f,
                               const struct raft_node_config *config,
                               int expected,
                               const char *part)
{
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct replica_host callbacks = host_of(&f->hosts[0]);
    struct raft_node *node = NULL;

    assert_int_equal(raft_node_new(&node, &f->loop, config, &callbacks, error), expected);
    assert_null(node);
    if (strstr(error, part) == NULL) {
        fail_msg("'%s' is not in '%s'", part, error);
    }
}

static void wrong_members_are_refused(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 3);
    struct raft_node_config config = config_of(f, 0);
    config.node_id = 4;
    assert_new_refused(f, &config, -EINVAL, "4 is not among the members");

    config = config_of(f, 0);
    config.members_count = 0;
    assert_new_refused(f, &config, -EINVAL, "1 to 15 members");

    f->members[1].peer_address = f->members[0].peer_address;
    config = config_of(f, 0);
    assert_new_refused(f, &config, -EINVAL, "there twice");
    f->members[1].peer_address = "no port";
    config = config_of(f, 0);
    assert_new_refused(f, &config, -EINVAL, "host:port");
    f->members[1].peer_address = f->addresses[1];
    f->members[1].node_id = 1;
    config = config_of(f, 0);
    assert_new_refused(f, &config, -EINVAL, "there twice");
    f->members[1].node_id = 2;

    config = config_of(f, 0);
    config.peer_listen = "nowhere";
    assert_new_refused(f, &config, -EINVAL, "no address to listen on");
    assert_int_equal(access(f->hosts[0].data_dir, F_OK), -1);
}

static void a_directory_in_use_is_refused(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 1);
    node_start(f, 0);
    struct raft_node_config config = config_of(f, 0);
    assert_new_refused(f, &config, -EBUSY, "in use by process");
}

static void a_port_in_use_is_named_and_the_node_can_be_closed(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";

    choose_members(f, 3);
    node_start(f, 0);
    snprintf(f->hosts[1].listen, sizeof f->hosts[1].listen, "%s", f->addresses[0]);
    node_new(f, 1);
    assert_int_equal(raft_node_start(f->hosts[1].node, error), -EADDRINUSE);
    assert_non_null(strstr(error, f->addresses[0]));
    node_close(f, 1);

    f->hosts[1].listen[0] = '\0';
    node_start(f, 1);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
}

/* Flip a byte in the last closed segment. */
static void damage_log(const char *data_dir)
{
    char raft_dir[128];
    char path[512] = "";

    snprintf(raft_dir, sizeof raft_dir, "%s/raft", data_dir);
    DIR *dir = opendir(raft_dir);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        unsigned long long first, last;
        if (sscanf(entry->d_name, "%llu-%llu", &first, &last) == 2 && last > 1) {
            snprintf(path, sizeof path, "%s/%s", raft_dir, entry->d_name);
        }
    }
    closedir(dir);
    assert_string_not_equal(path, "");
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte = 0;
    assert_int_equal(pread(fd, &byte, 1, 60), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, 60), 1);
    close(fd);
}

static void a_damaged_log_is_refused_with_the_way_out(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";

    choose_members(f, 1);
    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    attach(f, "c");
    lock_many(f, "c", 0, 10);
    node_close(f, 0);
    damage_log(f->hosts[0].data_dir);

    node_new(f, 0);
    assert_int_equal(raft_node_start(f->hosts[0].node, error), -EUCLEAN);
    assert_non_null(strstr(error, f->hosts[0].data_dir));
    assert_non_null(strstr(error, "new node id"));
    node_close(f, 0);

    /* Nothing was renamed away: it is refused again. */
    node_new(f, 0);
    assert_int_equal(raft_node_start(f->hosts[0].node, error), -EUCLEAN);
    node_close(f, 0);
}

static void the_membership_of_the_log_counts(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 1);
    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX));
    assert_false(has_line(&f->hosts[0], "configured members differ"));
    node_close(f, 0);

    choose_members(f, 3);
    node_start(f, 0);
    assert_true(run_until(f, somebody_serves, WAIT_MS_MAX)); /* still its own majority */
    assert_true(has_line(&f->hosts[0], "configured members differ"));
    struct raft_node_status status;
    raft_node_status(f->hosts[0].node, &status);
    assert_int_equal(status.members_count, 1);
}

/* ---- closing, time -------------------------------------------------------------------------- */

static void a_node_that_never_started_can_be_closed(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 3);
    node_new(f, 0);
    node_close(f, 0);
    node_start(f, 0); /* it still counts as new */
}

static void nodes_can_be_closed_at_any_turn(void **state)
{
    struct fixture *f = *state;

    choose_members(f, 3);
    for (int turns = 0; turns < 40; turns += 3) {
        for (int i = 0; i < 3; i++) {
            node_start(f, i);
        }
        for (int i = 0; i < turns; i++) {
            uv_run(&f->loop, UV_RUN_ONCE);
        }
        close_all(f);
    }
}

static void timing_follows_from_the_lease(void **state)
{
    struct raft_node_timing timing = raft_node_timing_from_lease(1000);
    (void)state;

    assert_int_equal(timing.election_ms, 1000);
    assert_int_equal(timing.heartbeat_ms, 100);
    for (uint32_t lease_ms = 10; lease_ms < 20000; lease_ms += 10) {
        timing = raft_node_timing_from_lease(lease_ms);
        assert_int_equal(timing.election_ms, lease_ms);
        assert_in_range(timing.heartbeat_ms, 1, lease_ms / 5);
        assert_in_range(timing.connect_timeout_ms, 100, 1000);
        assert_in_range(timing.connect_retry_ms, 100, 200);
        assert_true(timing.user_timeout_ms >= 2000 && timing.user_timeout_ms > lease_ms);
        /* libraft triples this pair. */
        assert_false(timing.election_ms == 150 && timing.heartbeat_ms == 15);
    }
}

static void steady_time_does_not_fall(void **state)
{
    (void)state;
    uint64_t before = raft_node_now_ms(NULL);

    assert_true(before > 0);
    assert_true(raft_node_now_ms(NULL) >= before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_single_node_serves_within_a_few_turns),
        TEST(locks_survive_a_restart),
        TEST(locks_survive_a_restart_from_a_snapshot),
        TEST(three_nodes_elect_one_and_agree),
        TEST(two_of_three_go_on_and_the_third_catches_up),
        TEST(a_node_that_was_away_for_long_catches_up_by_snapshot),
        TEST(a_minority_does_not_serve),
        TEST(a_whole_cluster_comes_back),
        TEST(a_node_of_another_cluster_stays_out),
        TEST(leadership_is_handed_to_a_member_that_has_everything),
        TEST(handing_over_to_nobody_ends_at_its_deadline),
        TEST(handing_over_alone_or_as_a_follower_is_done_at_once),
        TEST(closing_ends_a_handover),
        TEST(wrong_members_are_refused),
        TEST(a_directory_in_use_is_refused),
        TEST(a_port_in_use_is_named_and_the_node_can_be_closed),
        TEST(a_damaged_log_is_refused_with_the_way_out),
        TEST(the_membership_of_the_log_counts),
        TEST(a_node_that_never_started_can_be_closed),
        TEST(nodes_can_be_closed_at_any_turn),
        cmocka_unit_test(timing_follows_from_the_lease),
        cmocka_unit_test(steady_time_does_not_fall),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
