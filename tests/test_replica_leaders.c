/* Several replicas: changes of leader, time, restarts, snapshots. */
#include "replica_cluster.h"

#include <errno.h>

#include "snapshot.h"

enum { NODES = 3 };

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

/* ---- losing leadership ---------------------------------------------------------------- */

static void followers_are_told_nothing(void **state)
{
    struct cluster *c = *state;
    struct node *leader = cluster_elect_with_client(c);

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
    struct node *leader = cluster_elect_with_client(c);

    node_isolate(leader, true);
    must_propose(leader, lock_command("a", "in-flight", FSM_UNLIMITED, 10));
    cluster_settle(c);
    must_propose(leader, lock_command("a", "open", FSM_UNLIMITED, 11));
    cluster_run(c, 10 * ELECTION_MS);
    assert_int_equal(replica_role(leader->replica), REPLICA_FOLLOWER);
    assert_int_equal(propose(leader, attach_command("a", 12)), -ENOTCONN);
    node_isolate(leader, false);
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
    struct node *old = cluster_elect_with_client(c);
    struct node *heir = cluster_other(c, old);
    struct node *rest = cluster_other(c, heir);

    node_isolate(rest, true);
    c->net.cut[heir->id][old->id] = true;
    must_propose(old, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_settle(c);
    assert_int_equal(fsm_counts(replica_table(old->replica)).holds, 0);
    node_isolate(rest, false);
    node_isolate(old, true);
    assert_ptr_equal(cluster_elect(c), heir);
    node_isolate(old, false);
    cluster_run(c, ELECTION_MS);
    cluster_catch_up(c);

    assert_null(node_told_answer(old, 10));
    assert_null(node_told_answer(heir, 10));
    assert_int_equal(fsm_counts(replica_table(old->replica)).holds, 1);
    assert_replicas_equal(c);
}

/* Committed, applied, and leadership lost before the loop came round to say so. */
static void what_was_not_told_in_time_is_not_told_after_leadership(void **state)
{
    struct cluster *c = *state;
    struct node *leader = cluster_elect_with_client(c);

    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    node_flush(leader);
    leader->sleeping = true;
    cluster_settle(c);
    assert_int_equal(fsm_counts(replica_table(leader->replica)).holds, 1);
    node_isolate(leader, true);
    cluster_run(c, 4 * ELECTION_MS);
    assert_int_not_equal(raft_state(&leader->raft), RAFT_LEADER);
    leader->sleeping = false;
    cluster_settle(c);

    assert_int_equal(leader->told_count, 1);
    assert_true(leader->told[0].is_role && leader->told[0].role == REPLICA_FOLLOWER);
}

static void a_new_leader_is_told_nothing_from_before_its_epoch(void **state)
{
    struct cluster *c = *state;
    struct node *old = cluster_elect_with_client(c);
    struct node *leader;

    cluster_fill(c, 5);
    node_isolate(old, true);
    leader = cluster_elect(c);

    assert_true(leader->told_count >= 3);
    assert_true(leader->told[0].is_role && leader->told[0].role == REPLICA_ELECTED);
    assert_true(leader->told[1].is_role && leader->told[1].role == REPLICA_SERVING);
    assert_int_equal(leader->told[2].type, FSM_EV_SERVING);
    for (size_t i = 2; i < leader->told_count; i++) {
        assert_int_equal(leader->told[i].at.term, raft_current_term(&leader->raft));
    }
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
    struct node *leader = cluster_elect_with_client(c);
    uint64_t term = raft_current_term(&leader->raft);

    for (unsigned id = 1; id <= NODES; id++) {
        node_isolate(&c->nodes[id], true);
    }
    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_settle(c);
    must_propose(leader, lock_command("a", "M", FSM_UNLIMITED, 11));
    leader->sleeping = true;
    cluster_run(c, 4 * ELECTION_MS);
    assert_int_not_equal(raft_state(&leader->raft), RAFT_LEADER);
    for (unsigned id = 1; id <= NODES; id++) {
        node_isolate(&c->nodes[id], false);
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
    struct node *leader = cluster_elect_with_client(c);
    uint64_t now_ms = 0;

    must_propose(leader, lock_command("a", "L", 3600 * 1000, 10));
    for (unsigned change = 0; change < 6; change++) {
        struct node *old = leader;
        cluster_run(c, 3 * TICK_INTERVAL_MS);
        node_isolate(old, true);
        leader = cluster_elect(c);
        node_isolate(old, false);
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
    struct node *old = cluster_elect_with_client(c);
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
    election_ms = c->nodes[cluster_other(c, old)->id].io.now_ms;
    leader = cluster_elect(c);
    election_ms = leader->io.now_ms - election_ms;
    while (node_told_event(leader, FSM_EV_HOLD_ENDED) == NULL) {
        cluster_step(c, HEARTBEAT_MS);
        assert_true(leader->io.now_ms - start_ms < 20000);
    }

    assert_in_range(leader->io.now_ms - start_ms, 5000,
                    5000 + election_ms + TICK_INTERVAL_MS);
}

/* One whose loop came round late has learned the time late. What it stamped in a leadership without effect,
 * but that the next leader found in its log, is what time goes on from: not from that one's own clock, which
 * is ahead, for all that the epoch gave a deadline would lose the difference. */
static void time_goes_on_from_stamps_not_yet_applied(void **state)
{
    struct cluster *c = *state;
    struct node *old = cluster_elect_with_client(c);
    struct node *late = cluster_other(c, old);
    struct node *next = cluster_other(c, late);

    must_propose(old, lock_command("a", "L", FSM_UNLIMITED, 10));
    late->sleeping = true;
    cluster_run(c, 20 * ELECTION_MS);
    late->sleeping = false;
    cluster_catch_up(c);

    for (unsigned id = 1; id <= NODES; id++) {
        node_isolate(&c->nodes[id], true);
    }
    cluster_run(c, 4 * ELECTION_MS);
    c->net.cut[late->id][next->id] = c->net.cut[next->id][late->id] = false;
    late->sleeping = true;
    pass_time_of(c, late, 4 * ELECTION_MS);
    assert_int_equal(raft_state(&late->raft), RAFT_LEADER);
    c->net.cut[next->id][late->id] = true;
    late->sleeping = false;
    cluster_settle(c);
    assert_int_equal(replica_role(late->replica), REPLICA_ELECTED);
    uint64_t stamped_ms = replica_cluster_ms(late->replica, late->mono_ms);
    uint64_t stamped_mono_ms = next->mono_ms;
    assert_true(replica_cluster_ms(next->replica, next->mono_ms) >
                stamped_ms + 10 * ELECTION_MS);

    node_isolate(late, true);
    c->net.cut[old->id][next->id] = c->net.cut[next->id][old->id] = false;
    assert_ptr_equal(cluster_elect(c), next);
    assert_in_range(fsm_now_ms(replica_table(next->replica)), stamped_ms,
                    stamped_ms + next->mono_ms - stamped_mono_ms);
}

/* ---- restarts and snapshots ----------------------------------------------------------- */

/* So that the first entry after the snapshot is compared with the leader's digest, too. */
static void assert_snapshot_knows_its_last_entry(const struct node *node)
{
    const struct raft_snapshot *snapshot = node->disk.snapshot;
    uint64_t commands_index;
    struct fsm *fsm;

    assert_null(snapshot_decode(snapshot->bufs[0].base, snapshot->bufs[0].len, 1, &fsm,
                                &commands_index));
    assert_int_equal(commands_index, snapshot->index);
    fsm_free(fsm);
}

static void a_restart_from_snapshot_and_log_restores_the_table(void **state)
{
    struct cluster *c = *state;

    cluster_set_snapshots(c, 20, 5);
    cluster_fill(c, 50);
    must_propose(cluster_elect(c), checkpoint_command(10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    uint64_t waits = fsm_counts(replica_table(c->nodes[1].replica)).waits;
    uint64_t tokens = fsm_last_token(replica_table(c->nodes[1].replica));
    uint64_t now_ms = fsm_now_ms(replica_table(c->nodes[1].replica));
    for (unsigned id = 1; id <= NODES; id++) {
        assert_non_null(c->nodes[id].disk.snapshot);
        assert_true(c->nodes[id].disk.first_index > 1);
        assert_snapshot_knows_its_last_entry(&c->nodes[id]);
    }
    cluster_restart(c);
    cluster_elect(c);
    cluster_run(c, 2 * HEARTBEAT_MS);
    cluster_catch_up(c);

    assert_replicas_equal(c);
    assert_true(waits > 0);
    assert_int_equal(fsm_counts(replica_table(c->nodes[1].replica)).waits, waits);
    assert_int_equal(fsm_last_token(replica_table(c->nodes[1].replica)), tokens);
    assert_true(fsm_now_ms(replica_table(c->nodes[1].replica)) >= now_ms);
    cluster_fill(c, 50); /* the digests still agree */
    cluster_catch_up(c);
    assert_replicas_equal(c);
}

static void a_follower_far_behind_takes_the_leaders_snapshot(void **state)
{
    struct cluster *c = *state;
    struct node *leader = cluster_elect_with_client(c);
    struct node *lagging = cluster_other(c, leader);

    cluster_set_snapshots(c, 20, 5);
    node_isolate(lagging, true);
    cluster_run(c,
                2 * ELECTION_MS); /* or libraft would send the snapshot into the void */
    cluster_fill(c, 60);
    assert_int_equal(fsm_counts(replica_table(lagging->replica)).holds, 0);
    node_isolate(lagging, false);
    cluster_run(c, 10 * ELECTION_MS);
    assert_non_null(lagging->disk.snapshot);
    assert_true(lagging->disk.first_index > 20);
    cluster_fill(c, 5);
    cluster_run(c, 2 * HEARTBEAT_MS);
    cluster_catch_up(c);

    assert_true(fsm_counts(replica_table(lagging->replica)).holds > 0);
    assert_replicas_equal(c);
}

/* The number of entries alone would keep them all. */
static void a_log_of_large_entries_is_cut_by_its_bytes(void **state)
{
    struct cluster *c = *state;
    uint64_t entries_max = 200;

    c->log_bytes_max = 4000; /* some thirty of them */
    cluster_restart(c);
    cluster_fill(c, 300);
    cluster_run(c, 2 * HEARTBEAT_MS);
    cluster_catch_up(c);

    for (unsigned id = 1; id <= NODES; id++) {
        struct node *node = &c->nodes[id];
        assert_non_null(node->disk.snapshot);
        assert_true(raft_last_index(&node->raft) > 300);
        assert_true(raft_last_index(&node->raft) - node->disk.first_index < entries_max);
        assert_snapshot_knows_its_last_entry(node);
    }
    assert_replicas_equal(c);
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
            what_was_not_told_in_time_is_not_told_after_leadership, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_new_leader_is_told_nothing_from_before_its_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_leadership_lost_and_won_between_two_flushes_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(time_never_falls_over_a_change_of_leader, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(time_goes_on_from_stamps_not_yet_applied, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_failover_expires_nothing_early_and_late_by_the_election, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_restart_from_snapshot_and_log_restores_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_of_large_entries_is_cut_by_its_bytes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_follower_far_behind_takes_the_leaders_snapshot,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
