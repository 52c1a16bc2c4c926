#include "replica_cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STEP_MS = HEARTBEAT_MS,
    CLOCK_ORIGIN_MS = 1000000, /* times the id */
    ROUNDS_MAX = 100000,
    ELECTION_STEPS_MAX = 60000 / STEP_MS,
    FATAL_STATUS = 42,
};

/* ---- the host of a replica ------------------------------------------------------------ */

static struct told *tell(struct node *node)
{
    struct told *told = &node->told[node->told_count++];

    assert_true(node->told_count <= TOLD_MAX);
    *told = (struct told){.mono_ms = node->mono_ms};
    return told;
}

static void
on_event(void *arg, const struct fsm_event *event, const struct replica_position *at)
{
    struct told *told = tell(arg);

    told->type = event->type;
    told->ref = event->ref;
    told->token = event->token;
    told->at = *at;
}

static void on_role(void *arg, enum replica_role role, uint64_t term)
{
    struct told *told = tell(arg);

    told->is_role = true;
    told->role = role;
    told->term = term;
}

static void on_fatal(void *arg, const char *what)
{
    const struct node *node = arg;

    if (node->cluster->fatal_fd < 0) {
        fprintf(stderr, "node %llu: %s\n", node->id, what);
        abort();
    }
    ssize_t written = write(node->cluster->fatal_fd, what, strlen(what));
    _exit(written > 0 ? FATAL_STATUS : 1);
}

/* ---- nodes ---------------------------------------------------------------------------- */

static struct replica *new_replica(struct node *node)
{
    struct replica_config config = {
        .node_id = node->id,
        .hash_seed = 77 * node->id,
        .settings =
            {
                .reattach_grace_ms = GRACE_MS,
                .clients_max = 100000,
                .claims_max = 1000000,
                .claims_per_client_max = 10000,
                .waiters_per_lock_max = 10000,
                .drop_max = 10000,
            },
        .tick_interval_ms = TICK_INTERVAL_MS,
        .commands_waiting_max = node->cluster->commands_waiting_max,
        .events_per_flush = node->cluster->events_per_flush,
        .log_bytes_max = node->cluster->log_bytes_max,
        .snapshot_threshold = node->cluster->snapshot_threshold,
        .snapshot_trailing = node->cluster->snapshot_trailing,
    };
    struct replica_host host = {
        .arg = node,
        .on_event = on_event,
        .on_role = on_role,
        .fatal = on_fatal,
    };

    return replica_new(&config, &host);
}

static void bootstrap(struct node *node)
{
    struct raft_configuration members;

    raft_configuration_init(&members);
    for (unsigned id = 1; id <= node->cluster->count; id++) {
        char address[] = {(char)('0' + id), '\0'};
        assert_int_equal(raft_configuration_add(&members, id, address, RAFT_VOTER), 0);
    }
    assert_int_equal(raft_bootstrap(&node->raft, &members), 0);
    raft_configuration_close(&members);
}

void node_start(struct node *node)
{
    char address[] = {(char)('0' + node->id), '\0'};
    raft_time now_ms = node->io.now_ms;

    mem_io_init(&node->io, &node->cluster->net, &node->disk, node->id);
    node->io.now_ms = now_ms;
    node->replica = new_replica(node);
    assert_int_equal(raft_init(&node->raft, &node->io.raft_io,
                               replica_raft_fsm(node->replica), node->id, address),
                     0);
    replica_set_raft(node->replica, &node->raft);
    raft_set_election_timeout(&node->raft, ELECTION_MS);
    raft_set_heartbeat_timeout(&node->raft, HEARTBEAT_MS);
    raft_set_pre_vote(&node->raft, true);
    raft_set_snapshot_threshold(&node->raft, node->cluster->snapshot_threshold);
    raft_set_snapshot_trailing(&node->raft, node->cluster->snapshot_trailing);
    if (node->disk.term == 0) {
        bootstrap(node);
    }
    assert_int_equal(raft_start(&node->raft), 0);
    node->up = true;
}

void node_stop(struct node *node)
{
    node->up = false;
    raft_close(&node->raft, NULL);
    replica_free(node->replica);
    node->replica = NULL;
}

void node_flush(struct node *node)
{
    if (node->up && !node->sleeping) {
        replica_flush(node->replica, node->mono_ms);
    }
}

void node_isolate(struct node *node, bool cut)
{
    mem_net_isolate(&node->cluster->net, node->id, cut);
}

const struct told *node_told_role(const struct node *node, enum replica_role role)
{
    for (size_t i = 0; i < node->told_count; i++) {
        if (node->told[i].is_role && node->told[i].role == role) {
            return &node->told[i];
        }
    }
    return NULL;
}

const struct told *node_told_answer(const struct node *node, uint64_t ref)
{
    for (size_t i = 0; i < node->told_count; i++) {
        if (!node->told[i].is_role && node->told[i].ref == ref) {
            return &node->told[i];
        }
    }
    return NULL;
}

const struct told *node_told_event(const struct node *node, enum fsm_event_type type)
{
    for (size_t i = 0; i < node->told_count; i++) {
        if (!node->told[i].is_role && node->told[i].type == type) {
            return &node->told[i];
        }
    }
    return NULL;
}

/* ---- the cluster ---------------------------------------------------------------------- */

struct cluster *cluster_new(unsigned count)
{
    struct cluster *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    c->count = count;
    c->snapshot_threshold = 100000;
    c->snapshot_trailing = 100000;
    c->commands_waiting_max = WAITING_MAX;
    c->fatal_fd = -1;
    for (unsigned id = 1; id <= count; id++) {
        struct node *node = &c->nodes[id];
        node->cluster = c;
        node->id = id;
        node->mono_ms = CLOCK_ORIGIN_MS * node->id;
        node_start(node);
    }
    return c;
}

void cluster_free(struct cluster *c)
{
    for (unsigned id = 1; id <= c->count; id++) {
        if (c->nodes[id].up) {
            node_stop(&c->nodes[id]);
        }
        mem_disk_release(&c->nodes[id].disk);
    }
    free(c);
}

static bool round_of_work(struct cluster *c)
{
    bool worked = false;

    for (unsigned id = 1; id <= c->count; id++) {
        struct node *node = &c->nodes[id];
        if (node->up) {
            node_flush(node);
            worked |= mem_io_complete(&node->io);
            node_flush(node);
        }
    }
    return mem_net_deliver(&c->net) || worked;
}

void cluster_settle(struct cluster *c)
{
    unsigned rounds = 0;

    while (round_of_work(c)) {
        assert_true(++rounds < ROUNDS_MAX);
    }
}

void cluster_step(struct cluster *c, uint64_t ms)
{
    for (unsigned id = 1; id <= c->count; id++) {
        struct node *node = &c->nodes[id];
        node->mono_ms += ms;
        if (node->up) {
            mem_io_tick(&node->io, node->io.now_ms + ms);
        } else {
            node->io.now_ms += ms;
        }
    }
    cluster_settle(c);
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    for (; ms > STEP_MS; ms -= STEP_MS) {
        cluster_step(c, STEP_MS);
    }
    cluster_step(c, ms);
}

static bool isolated(const struct cluster *c, raft_id id)
{
    for (unsigned other = 1; other <= c->count; other++) {
        if (other != id && !c->net.cut[id][other]) {
            return false;
        }
    }
    return c->count > 1;
}

struct node *cluster_leader(struct cluster *c)
{
    for (unsigned id = 1; id <= c->count; id++) {
        struct node *node = &c->nodes[id];
        if (node->up && !isolated(c, id) &&
            replica_role(node->replica) == REPLICA_SERVING) {
            return node;
        }
    }
    return NULL;
}

struct node *cluster_elect(struct cluster *c)
{
    struct node *leader = cluster_leader(c);

    for (unsigned i = 0; leader == NULL && i < ELECTION_STEPS_MAX; i++) {
        cluster_step(c, STEP_MS);
        leader = cluster_leader(c);
    }
    assert_non_null(leader);
    return leader;
}

struct node *cluster_elect_with_client(struct cluster *c)
{
    struct node *leader = cluster_elect(c);

    must_propose(leader, attach_command("a", 1));
    cluster_settle(c);
    assert_non_null(node_told_answer(leader, 1));
    leader->told_count = 0;
    return leader;
}

struct node *cluster_other(struct cluster *c, const struct node *node)
{
    return &c->nodes[node->id % c->count + 1];
}

void cluster_restart(struct cluster *c)
{
    for (unsigned id = 1; id <= c->count; id++) {
        node_stop(&c->nodes[id]);
    }
    for (unsigned id = 1; id <= c->count; id++) {
        node_start(&c->nodes[id]);
    }
}

void cluster_set_snapshots(struct cluster *c, unsigned threshold, unsigned trailing)
{
    c->snapshot_threshold = threshold;
    c->snapshot_trailing = trailing;
    for (unsigned id = 1; id <= c->count; id++) {
        raft_set_snapshot_threshold(&c->nodes[id].raft, threshold);
        raft_set_snapshot_trailing(&c->nodes[id].raft, trailing);
    }
}

void cluster_fill(struct cluster *c, unsigned entries)
{
    for (unsigned i = 0; i < entries; i++) {
        char client[16];
        char lock[16];
        struct node *leader = cluster_elect(c);
        snprintf(client, sizeof(client), "c%u", i % 7);
        snprintf(lock, sizeof(lock), "l%u", i % 11);
        must_propose(leader, attach_command(client, 0));
        must_propose(leader, lock_command(client, lock, 60000 + i, 0));
        cluster_settle(c);
    }
}

static bool caught_up(const struct cluster *c)
{
    uint64_t applied = 0;

    for (unsigned id = 1; id <= c->count; id++) {
        if (!c->nodes[id].up) {
            continue;
        }
        uint64_t own = replica_applied_index(c->nodes[id].replica);
        if (applied != 0 && own != applied) {
            return false;
        }
        applied = own;
    }
    return true;
}

void cluster_catch_up(struct cluster *c)
{
    for (unsigned i = 0; !caught_up(c); i++) {
        assert_true(i < ELECTION_STEPS_MAX);
        cluster_step(c, STEP_MS);
    }
}

void assert_replicas_equal(struct cluster *c)
{
    const struct node *first = NULL;

    for (unsigned id = 1; id <= c->count; id++) {
        const struct node *node = &c->nodes[id];
        if (!node->up) {
            continue;
        }
        fsm_check(replica_table(node->replica));
        if (first == NULL) {
            first = node;
            continue;
        }
        assert_int_equal(replica_applied_index(node->replica),
                         replica_applied_index(first->replica));
        assert_true(fsm_hash(replica_table(node->replica)) ==
                    fsm_hash(replica_table(first->replica)));
    }
}

void assert_fatal(void (*scenario)(struct cluster *c), unsigned nodes, const char *what)
{
    char text[1024];
    ssize_t len;
    int status;
    int fds[2];
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct cluster *c = cluster_new(nodes);
        c->fatal_fd = fds[1];
        scenario(c);
        _exit(0);
    }
    close(fds[1]);
    len = read(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FATAL_STATUS);
    assert_true(len > 0);
    text[len] = '\0';
    if (strstr(text, what) == NULL) {
        fail_msg("fatal said: %s", text);
    }
}

/* ---- commands ------------------------------------------------------------------------- */

int propose(struct node *node, struct fsm_command command)
{
    return replica_propose(node->replica, &command);
}

void must_propose(struct node *node, struct fsm_command command)
{
    assert_int_equal(propose(node, command), 0);
}

static struct fsm_str str(const char *text)
{
    return (struct fsm_str){.data = text, .len = strlen(text)};
}

struct fsm_command attach_command(const char *client, uint64_t ref)
{
    return (struct fsm_command){
        .type = FSM_CMD_ATTACH, .client = str(client), .ref = ref};
}

struct fsm_command
lock_command(const char *client, const char *lock, uint64_t hold_ms, uint64_t ref)
{
    return (struct fsm_command){
        .type = FSM_CMD_LOCK,
        .client = str(client),
        .lock = str(lock),
        .ref = ref,
        .lock_ =
            {
                .mode = FSM_WAIT,
                .wait_ms = FSM_UNLIMITED,
                .hold_ms = hold_ms,
                .limit = 1,
            },
    };
}

struct fsm_command status_command(const char *client, const char *lock, uint64_t ref)
{
    return (struct fsm_command){
        .type = FSM_CMD_STATUS, .client = str(client), .lock = str(lock), .ref = ref};
}

struct fsm_command checkpoint_command(uint64_t ref)
{
    return (struct fsm_command){.type = FSM_CMD_CHECKPOINT, .ref = ref};
}
