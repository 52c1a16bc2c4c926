/* Several replicas: changes of leader, restarts, snapshots, agreement. */
#include "replica_cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"

enum {
    NODES = 3,
    RUNS = 20,
    RUN_STEPS = 400,
    RUN_CLIENTS = 4,
    RUN_LOCKS = 3,
};

static int setup(void **state)
{
    *state = cluster_new(NODES);
    return 0;
}

static int teardown(void **state)
{
    cluster_free(*state);
    return 0;
}

static struct node *other_than(struct cluster *c, const struct node *node)
{
    return &c->nodes[node->id % c->count + 1];
}

static struct node *elect_with_client(struct cluster *c)
{
    struct node *leader = cluster_elect(c);

    must_propose(leader, attach_command("a", 1));
    cluster_settle(c);
    assert_non_null(node_told_answer(leader, 1));
    leader->told_count = 0;
    return leader;
}

static void isolate(struct cluster *c, const struct node *node, bool cut)
{
    mem_net_isolate(&c->net, node->id, cut);
}

/* ---- losing leadership ---------------------------------------------------------------- */

static void followers_are_told_nothing(void **state)
{
    struct cluster *c = *state;
    struct node *leader = elect_with_client(c);

    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c, 10 * HEARTBEAT_MS);

    assert_non_null(node_told_answer(leader, 10));
    for (unsigned id = 1; id <= NODES; id++) {
        if (&c->nodes[id] != leader) {
            assert_int_equal(c->nodes[id].told_count, 0);
            assert_int_equal(propose(&c->nodes[id], attach_command("a", 1)), -ENOTCONN);
        }
    }
    assert_replicas_equal(c);
}

static void a_deposed_leader_answers_nothing_that_waited(void **state)
{
    struct cluster *c = *state;
    struct node *leader = elect_with_client(c);

    isolate(c, leader, true);
    must_propose(leader, lock_command("a", "in-flight", FSM_UNLIMITED, 10));
    cluster_settle(c);
    must_propose(leader, lock_command("a", "open", FSM_UNLIMITED, 11));
    cluster_run(c, 10 * ELECTION_MS);
    assert_int_equal(replica_role(leader->replica), REPLICA_FOLLOWER);
    assert_int_equal(propose(leader, attach_command("a", 12)), -ENOTCONN);
    isolate(c, leader, false);
    cluster_elect(c);
    cluster_run(c, ELECTION_MS);
    cluster_catch_up(c);

    assert_int_equal(leader->told_count, 1);
    assert_true(leader->told[0].is_role && leader->told[0].role == REPLICA_FOLLOWER);
    assert_int_equal(fsm_counts(replica_table(leader->replica)).holds, 0);
    assert_replicas_equal(c);
}

/* The entry reached one follower, which then leads and commits it: it takes effect, and the node
 * that proposed it, by then a follower, answers nobody. */
static void a_deposed_leaders_late_entry_counts_and_answers_nobody(void **state)
{
    struct cluster *c = *state;
    struct node *old = elect_with_client(c);
    struct node *heir = other_than(c, old);
    struct node *rest = other_than(c, heir);

    isolate(c, rest, true);
    c->net.cut[heir->id][old->id] = true;
    must_propose(old, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_settle(c);
    assert_int_equal(fsm_counts(replica_table(old->replica)).holds, 0);
    isolate(c, rest, false);
    isolate(c, old, true);
    assert_ptr_equal(cluster_elect(c), heir);
    isolate(c, old, false);
    cluster_run(c, ELECTION_MS);
    cluster_catch_up(c);

    assert_null(node_told_answer(old, 10));
    assert_null(node_told_answer(heir, 10));
    assert_int_equal(fsm_counts(replica_table(old->replica)).holds, 1);
    assert_replicas_equal(c);
}

/* Nobody but this node lets time pass, so that nobody else can win. */
static void pass_time_of(struct cluster *c, struct node *node, uint64_t ms)
{
    for (; ms > 0; ms -= HEARTBEAT_MS) {
        node->mono_ms += HEARTBEAT_MS;
        mem_io_tick(&node->io, node->io.now_ms + HEARTBEAT_MS);
        cluster_settle(c);
    }
}

static void a_leadership_lost_and_won_between_two_flushes_is_noticed(void **state)
{
    struct cluster *c = *state;
    struct node *leader = elect_with_client(c);
    uint64_t term = raft_current_term(&leader->raft);

    for (unsigned id = 1; id <= NODES; id++) {
        mem_net_isolate(&c->net, id, true);
    }
    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_settle(c);
    must_propose(leader, lock_command("a", "M", FSM_UNLIMITED, 11));
    leader->sleeping = true;
    cluster_run(c, 4 * ELECTION_MS);
    assert_int_not_equal(raft_state(&leader->raft), RAFT_LEADER);
    for (unsigned id = 1; id <= NODES; id++) {
        mem_net_isolate(&c->net, id, false);
    }
    pass_time_of(c, leader, 4 * ELECTION_MS);
    assert_int_equal(raft_state(&leader->raft), RAFT_LEADER);
    assert_true(raft_current_term(&leader->raft) > term);
    assert_int_equal(leader->told_count, 0);
    assert_int_equal(propose(leader, attach_command("a", 12)), -ENOTCONN);
    leader->sleeping = false;
    cluster_settle(c);

    assert_int_equal(leader->told_count, 4);
    assert_true(leader->told[0].is_role && leader->told[0].role == REPLICA_FOLLOWER);
    assert_true(leader->told[1].is_role && leader->told[1].role == REPLICA_ELECTED);
    assert_true(leader->told[2].is_role && leader->told[2].role == REPLICA_SERVING);
    assert_int_equal(leader->told[2].term, raft_current_term(&leader->raft));
    assert_int_equal(leader->told[3].type, FSM_EV_SERVING);
    /* What was in flight is in its log, and was committed after all. */
    assert_int_equal(fsm_counts(replica_table(leader->replica)).holds, 1);
}

/* ---- time ----------------------------------------------------------------------------- */

static void time_never_falls_over_a_change_of_leader(void **state)
{
    struct cluster *c = *state;
    struct node *leader = elect_with_client(c);
    uint64_t now_ms = 0;

    must_propose(leader, lock_command("a", "L", 3600 * 1000, 10));
    for (unsigned change = 0; change < 6; change++) {
        struct node *old = leader;
        cluster_run(c, 3 * TICK_INTERVAL_MS);
        isolate(c, old, true);
        leader = cluster_elect(c);
        isolate(c, old, false);
        for (size_t i = 0; i < leader->told_count; i++) {
            if (!leader->told[i].is_role && leader->told[i].term == 0 &&
                leader->told[i].at.term == raft_current_term(&leader->raft)) {
                assert_true(leader->told[i].at.cluster_ms >= now_ms);
            }
        }
        assert_true(fsm_now_ms(replica_table(leader->replica)) >= now_ms);
        now_ms = fsm_now_ms(replica_table(leader->replica));
    }
    cluster_run(c, ELECTION_MS);
    cluster_catch_up(c);
    assert_replicas_equal(c);
}

/* IGNORE, so that the grace of the new leader does not extend it. */
static void a_failover_expires_nothing_early_and_late_by_the_election(void **state)
{
    struct cluster *c = *state;
    struct node *old = elect_with_client(c);
    struct fsm_command command = lock_command("a", "L", 5000, 10);
    uint64_t start_ms = old->io.now_ms;
    uint64_t election_ms;
    struct node *leader;

    command.lock_.drop = FSM_DROP_IGNORE;
    must_propose(old, command);
    cluster_settle(c);
    assert_non_null(node_told_answer(old, 10));
    cluster_run(c, 2000);
    node_stop(old);
    election_ms = c->nodes[other_than(c, old)->id].io.now_ms;
    leader = cluster_elect(c);
    election_ms = leader->io.now_ms - election_ms;
    while (node_told_event(leader, FSM_EV_HOLD_ENDED) == NULL) {
        cluster_step(c, HEARTBEAT_MS);
        assert_true(leader->io.now_ms - start_ms < 20000);
    }

    assert_in_range(leader->io.now_ms - start_ms, 5000,
                    5000 + election_ms + TICK_INTERVAL_MS);
}

/* ---- restarts and snapshots ----------------------------------------------------------- */

static void fill(struct cluster *c, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
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

static void restart_all(struct cluster *c)
{
    for (unsigned id = 1; id <= c->count; id++) {
        node_stop(&c->nodes[id]);
    }
    for (unsigned id = 1; id <= c->count; id++) {
        node_start(&c->nodes[id]);
    }
}

static void a_restart_from_snapshot_and_log_restores_the_table(void **state)
{
    struct cluster *c = *state;

    for (unsigned id = 1; id <= NODES; id++) {
        raft_set_snapshot_threshold(&c->nodes[id].raft, 20);
        raft_set_snapshot_trailing(&c->nodes[id].raft, 5);
    }
    c->snapshot_threshold = 20;
    c->snapshot_trailing = 5;
    fill(c, 50);
    must_propose(cluster_elect(c), checkpoint_command(10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    uint64_t waits = fsm_counts(replica_table(c->nodes[1].replica)).waits;
    uint64_t tokens = fsm_last_token(replica_table(c->nodes[1].replica));
    uint64_t now_ms = fsm_now_ms(replica_table(c->nodes[1].replica));
    for (unsigned id = 1; id <= NODES; id++) {
        assert_non_null(c->nodes[id].disk.snapshot);
        assert_true(c->nodes[id].disk.first_index > 1);
    }
    restart_all(c);
    cluster_elect(c);
    cluster_run(c, 2 * HEARTBEAT_MS);
    cluster_catch_up(c);

    assert_replicas_equal(c);
    assert_true(waits > 0);
    assert_int_equal(fsm_counts(replica_table(c->nodes[1].replica)).waits, waits);
    assert_int_equal(fsm_last_token(replica_table(c->nodes[1].replica)), tokens);
    assert_true(fsm_now_ms(replica_table(c->nodes[1].replica)) >= now_ms);
    fill(c, 50); /* the digests still agree */
    cluster_catch_up(c);
    assert_replicas_equal(c);
}

static void a_follower_far_behind_takes_the_leaders_snapshot(void **state)
{
    struct cluster *c = *state;
    struct node *leader = elect_with_client(c);
    struct node *lagging = other_than(c, leader);

    for (unsigned id = 1; id <= NODES; id++) {
        raft_set_snapshot_threshold(&c->nodes[id].raft, 20);
        raft_set_snapshot_trailing(&c->nodes[id].raft, 5);
    }
    isolate(c, lagging, true);
    cluster_run(c,
                2 * ELECTION_MS); /* or libraft would send the snapshot into the void */
    fill(c, 60);
    assert_int_equal(fsm_counts(replica_table(lagging->replica)).holds, 0);
    isolate(c, lagging, false);
    cluster_run(c, 10 * ELECTION_MS);
    assert_non_null(lagging->disk.snapshot);
    assert_true(lagging->disk.first_index > 20);
    fill(c, 5);
    cluster_run(c, 2 * HEARTBEAT_MS);
    cluster_catch_up(c);

    assert_true(fsm_counts(replica_table(lagging->replica)).holds > 0);
    assert_replicas_equal(c);
}

static void checkpoints_are_equal_on_every_node(void **state)
{
    struct cluster *c = *state;

    fill(c, 10);
    must_propose(cluster_elect(c), checkpoint_command(10));
    cluster_run(c, 2 * HEARTBEAT_MS);

    for (unsigned id = 2; id <= NODES; id++) {
        struct replica_checkpoint first = replica_last_checkpoint(c->nodes[1].replica);
        struct replica_checkpoint own = replica_last_checkpoint(c->nodes[id].replica);
        assert_true(own.index > 0);
        assert_int_equal(own.index, first.index);
        assert_true(own.hash == first.hash);
    }
}

/* ---- agreement ------------------------------------------------------------------------ */

/* Put @command in the place of the entry's commands, with a valid checksum. */
static void replace_commands(struct raft_buffer *buf, const struct fsm_command *command)
{
    struct entry_reader reader;
    struct entry_writer writer = {0};
    uint8_t *data;
    size_t len;

    assert_null(entry_reader_open(&reader, buf->base, buf->len));
    assert_int_equal(entry_writer_add(&writer, command, REPLICA_BATCH_BYTES_MAX), 0);
    entry_writer_close(&writer, &reader.header, &data, &len);
    assert_true(len <= buf->len);
    memset(buf->base, 0, buf->len);
    memcpy(buf->base, data, len);
    buf->len = len;
    entry_writer_release(&writer);
}

static void plant_another_lock(void *arg, raft_id to, struct raft_message *message)
{
    struct fsm_command command = lock_command("a", "Another", FSM_UNLIMITED, 0);

    (void)arg;
    if (to == 2 && message->type == RAFT_APPEND_ENTRIES &&
        message->append_entries.n_entries == 1 &&
        message->append_entries.entries[0].type == RAFT_COMMAND) {
        replace_commands(&message->append_entries.entries[0].buf, &command);
    }
}

static void plant_damage(void *arg, raft_id to, struct raft_message *message)
{
    (void)arg;
    if (to == 2 && message->type == RAFT_APPEND_ENTRIES &&
        message->append_entries.n_entries == 1 &&
        message->append_entries.entries[0].type == RAFT_COMMAND) {
        uint8_t *data = message->append_entries.entries[0].buf.base;
        data[ENTRY_FRAME_BYTES + 3] ^= 0x10;
    }
}

static void plant_snapshot_damage(void *arg, raft_id to, struct raft_message *message)
{
    (void)arg;
    (void)to;
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        uint8_t *data = message->install_snapshot.data.base;
        data[message->install_snapshot.data.len / 2] ^= 0x10;
    }
}

/* Node 2 must not lead, or what is planted comes too late. */
static struct node *elect_another(struct cluster *c)
{
    c->nodes[2].sleeping = false;
    mem_net_isolate(&c->net, 2, true);
    cluster_elect(c);
    struct node *leader = elect_with_client(c);
    mem_net_isolate(&c->net, 2, false);
    cluster_run(c, 20 * ELECTION_MS);
    leader = cluster_elect(c);
    assert_int_not_equal(leader->id, 2);
    return leader;
}

static void diverge(struct cluster *c)
{
    struct node *leader = elect_another(c);

    c->net.on_message = plant_another_lock;
    must_propose(leader, lock_command("a", "Longer-name", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    c->net.on_message = NULL;
    must_propose(leader, lock_command("a", "M", FSM_UNLIMITED, 11));
    cluster_run(c, 2 * HEARTBEAT_MS);
}

static void receive_damage(struct cluster *c)
{
    struct node *leader = elect_another(c);

    c->net.on_message = plant_damage;
    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
}

static void receive_damaged_snapshot(struct cluster *c)
{
    elect_with_client(c);
    for (unsigned id = 1; id <= NODES; id++) {
        raft_set_snapshot_threshold(&c->nodes[id].raft, 20);
        raft_set_snapshot_trailing(&c->nodes[id].raft, 5);
    }
    isolate(c, other_than(c, cluster_leader(c)), true);
    cluster_run(c, 2 * ELECTION_MS);
    fill(c, 60);
    c->net.on_message = plant_snapshot_damage;
    for (unsigned id = 1; id <= NODES; id++) {
        mem_net_isolate(&c->net, id, false);
    }
    cluster_run(c, 10 * ELECTION_MS);
}

static void start_on_a_newer_log(struct cluster *c)
{
    struct node *leader = elect_with_client(c);
    uint8_t *data;

    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    data = mem_disk_entry(&leader->disk, raft_last_applied(&leader->raft))->buf.base;
    data[4]++; /* the version of the frame */
    restart_all(c);
    cluster_elect(c);
    cluster_run(c, ELECTION_MS);
}

static void a_diverged_replica_is_noticed(void **state)
{
    (void)state;
    assert_fatal(diverge, NODES, "this node has diverged");
}

static void a_damaged_entry_stops_the_node_and_says_why(void **state)
{
    (void)state;
    assert_fatal(receive_damage, NODES, "cannot be read: it is damaged (checksum)");
}

static void a_damaged_snapshot_stops_the_node_and_says_why(void **state)
{
    (void)state;
    assert_fatal(receive_damaged_snapshot, NODES,
                 "a snapshot cannot be read: it is damaged (checksum)");
}

static void an_entry_of_a_newer_version_stops_the_node_and_says_why(void **state)
{
    (void)state;
    assert_fatal(start_on_a_newer_log, NODES,
                 "cannot be read: it comes from a newer version");
}

/* ---- at random ------------------------------------------------------------------------ */

static void propose_at_random(struct cluster *c, unsigned *random, uint64_t *ref)
{
    char client[] = {'c', (char)('0' + raft_random(random, 1, RUN_CLIENTS)), '\0'};
    char lock[] = {'l', (char)('0' + raft_random(random, 1, RUN_LOCKS)), '\0'};
    struct node *leader = cluster_leader(c);

    if (leader == NULL) {
        return;
    }
    switch (raft_random(random, 0, 4)) {
    case 0:
        propose(leader, attach_command(client, ++*ref));
        break;
    case 1:
        propose(leader, checkpoint_command(++*ref));
        break;
    default:
        propose(leader, lock_command(client, lock, raft_random(random, 1, 5000), ++*ref));
        break;
    }
}

static void disturb_at_random(struct cluster *c, unsigned *random)
{
    struct node *node = &c->nodes[raft_random(random, 1, NODES)];

    switch (raft_random(random, 0, 40)) {
    case 0:
        if (node->up) {
            node_stop(node);
        }
        break;
    case 1:
        mem_net_isolate(&c->net, node->id, true);
        break;
    case 2:
    case 3:
    case 4:
        mem_net_isolate(&c->net, node->id, false);
        if (!node->up) {
            node_start(node);
        }
        break;
    default:
        break;
    }
}

/* Every ref is answered at most once, by one node, and time does not fall from entry to entry. */
static void check_told(struct cluster *c, uint64_t refs)
{
    unsigned *answers = calloc(refs + 1, sizeof(answers[0]));

    assert_non_null(answers);
    for (unsigned id = 1; id <= NODES; id++) {
        const struct node *node = &c->nodes[id];
        struct replica_position last = {0};
        for (size_t i = 0; i < node->told_count; i++) {
            const struct told *told = &node->told[i];
            if (told->is_role) {
                continue;
            }
            assert_true(told->at.index >= last.index);
            assert_true(told->at.cluster_ms >= last.cluster_ms);
            last = told->at;
            answers[told->ref]++;
        }
    }
    for (uint64_t ref = 1; ref <= refs; ref++) {
        assert_true(answers[ref] <= 1);
    }
    free(answers);
}

static void run_at_random(unsigned seed)
{
    struct cluster *c = cluster_new(NODES);
    unsigned random = seed;
    uint64_t refs = 0;

    for (unsigned id = 1; id <= NODES; id++) {
        raft_set_snapshot_threshold(&c->nodes[id].raft, 30);
        raft_set_snapshot_trailing(&c->nodes[id].raft, 200);
    }
    c->snapshot_threshold = 30;
    c->snapshot_trailing = 200;
    for (unsigned i = 0; i < RUN_STEPS; i++) {
        disturb_at_random(c, &random);
        propose_at_random(c, &random, &refs);
        cluster_step(c, raft_random(&random, 0, 2 * HEARTBEAT_MS));
    }
    for (unsigned id = 1; id <= NODES; id++) {
        mem_net_isolate(&c->net, id, false);
        if (!c->nodes[id].up) {
            node_start(&c->nodes[id]);
        }
    }
    cluster_run(c, 4 * ELECTION_MS);
    cluster_elect(c);
    cluster_catch_up(c);
    assert_replicas_equal(c);
    check_told(c, refs);
    cluster_free(c);
}

/* NETLOCK_SEED repeats one run. */
static void replicas_stay_equal_whatever_happens(void **state)
{
    const char *given = getenv("NETLOCK_SEED");
    unsigned first = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 1;
    unsigned runs = given != NULL ? 1 : RUNS;

    (void)state;
    for (unsigned seed = first; seed < first + runs; seed++) {
        printf("seed %u\n", seed);
        run_at_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(followers_are_told_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deposed_leader_answers_nothing_that_waited,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_deposed_leaders_late_entry_counts_and_answers_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_leadership_lost_and_won_between_two_flushes_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(time_never_falls_over_a_change_of_leader, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_failover_expires_nothing_early_and_late_by_the_election, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_restart_from_snapshot_and_log_restores_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(a_follower_far_behind_takes_the_leaders_snapshot,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(checkpoints_are_equal_on_every_node, setup,
                                        teardown),
        cmocka_unit_test(a_diverged_replica_is_noticed),
        cmocka_unit_test(a_damaged_entry_stops_the_node_and_says_why),
        cmocka_unit_test(a_damaged_snapshot_stops_the_node_and_says_why),
        cmocka_unit_test(an_entry_of_a_newer_version_stops_the_node_and_says_why),
        cmocka_unit_test(replicas_stay_equal_whatever_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
