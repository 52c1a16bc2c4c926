/* The simulated disks under shipped servers: what a crash leaves of a write, failing and full disks, damage,
 * snapshots. */
#include "sim_cluster.h"

/* ---- the disk ---- */

/* A follower that was away gets ten entries in one write, and is killed in the middle of it. */
static raft_index entries_after(enum sim_torn torn, uint64_t seed)
{
    const struct sim_disk_timing slow = {.write_us = 200 * MS};

    cluster_begin(&cluster_three, seed);
    struct sim_node *leader = cluster_wait_serving();
    struct sim_node *other = cluster_follower();
    cluster_propose_many(leader, 3);
    cluster_run(100 * MS);
    cluster_cut_off(other, true);
    raft_index last = sim_disk_view(other->disk).last_index;
    for (int i = 0; i < 10; i++) {
        cluster_propose_many(leader, 1);
        cluster_run(100 * MS); /* the next heartbeat, at least, takes it along */
    }
    sim_disk_set_timing(other->disk, &slow);
    cluster_cut_off(other, false);
    cluster_run(90 * MS);
    assert_int_equal(sim_disk_view(other->disk).last_index, last);
    sim_node_kill(other, torn);
    struct sim_disk_view view = sim_disk_view(other->disk);
    assert_null(sim_disk_entry(other->disk, view.last_index + 1));
    assert_int_equal(sim_disk_entry(other->disk, view.last_index)->type, RAFT_COMMAND);
    sim_node_start(other);
    cluster_run(SECOND_US);
    cluster_assert_equal();
    cluster_end();
    return view.last_index - last;
}

static void of_a_torn_write_the_first_entries_are_there(void **state)
{
    (void)state;
    unsigned seen = 0;

    assert_int_equal(entries_after(SIM_TORN_NOTHING, 7), 0);
    assert_int_equal(entries_after(SIM_TORN_ALL, 7), 10);
    assert_int_equal(entries_after(SIM_TORN_FIRST, 7), 1);
    for (uint64_t seed = 20; seed < 40; seed++) {
        seen |= 1U << entries_after(SIM_TORN_DRAWN, seed);
    }
    assert_true((seen & 1U << 0) != 0);
    assert_true((seen & 1U << 10) != 0);
    assert_true((seen & ~(1U << 10 | 1U << 0)) != 0);
}

static void a_full_disk_is_waited_for(void **state)
{
    (void)state;
    cluster_begin(&cluster_three, 8);
    struct sim_node *leader = cluster_wait_serving();
    for (unsigned i = 1; i <= 3; i++) {
        sim_disk_fill(sim_node(i)->disk, true);
    }
    raft_index applied = cluster_applied_index(leader);
    assert_int_equal(cluster_propose(leader, 2000), 0);
    cluster_run(3 * SECOND_US);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(sim_node_runs(sim_node(i)));
        assert_true(sim_disk_view(sim_node(i)->disk).last_index <= applied);
        sim_disk_fill(sim_node(i)->disk, false);
    }
    cluster_wait_serving();
    cluster_run(3 * SECOND_US);
    assert_true(sim_disk_view(leader->disk).last_index > applied);
    cluster_assert_equal();
    cluster_end();
}

static void without_space_it_does_not_start(void **state)
{
    (void)state;
    cluster_begin(&(struct sim_node_options){.nodes = 3, .restart_us = SECOND_US}, 9);
    cluster_wait_serving();
    struct sim_node *other = cluster_follower();
    sim_node_kill(other, SIM_TORN_NOTHING);
    sim_disk_fill(other->disk, true);
    sim_node_start(other);
    cluster_run(5 * SECOND_US);
    assert_false(sim_node_runs(other));
    assert_false(other->refused);
    assert_non_null(strstr(other->last_words, "no space for the log"));
    sim_disk_fill(other->disk, false);
    cluster_run(2 * SECOND_US);
    assert_true(sim_node_runs(other));
    cluster_end();
}

static void
stops_and_comes_back(enum sim_disk_failure failure, bool leading, const char *words)
{
    cluster_begin(&(struct sim_node_options){.nodes = 3, .restart_us = 3 * SECOND_US},
                  10);
    struct sim_node *leader = cluster_wait_serving();
    struct sim_node *node = leading ? leader : cluster_follower();
    sim_disk_fail_next(node->disk, failure);
    if (failure == SIM_FAIL_APPEND) {
        cluster_propose_many(leader, 1);
    } else {
        sim_node_kill(leader, SIM_TORN_DRAWN);
    }
    for (int i = 0; i < 100 && sim_node_runs(node); i++) {
        cluster_run(20 * MS);
    }
    assert_false(sim_node_runs(node));
    assert_non_null(strstr(node->last_words, words));
    assert_int_equal(sim_disk_counts(node->disk).failures, 1);
    sim_node_start(leader);
    cluster_run(5 * SECOND_US);
    cluster_wait_serving();
    assert_true(sim_node_runs(node));
    cluster_assert_equal();
    cluster_end();
}

static void who_cannot_write_stops(void **state)
{
    (void)state;
    stops_and_comes_back(SIM_FAIL_APPEND, true, "cannot write the log");
    stops_and_comes_back(SIM_FAIL_APPEND, false, "cannot write the log");
    stops_and_comes_back(SIM_FAIL_TERM, false, "cannot store the term");
    stops_and_comes_back(SIM_FAIL_VOTE, false, "cannot store the vote");
}

/* A leader alone with entries that nobody else has must take them back. */
static void who_cannot_truncate_stops(void **state)
{
    (void)state;
    cluster_begin(&(struct sim_node_options){.nodes = 3, .restart_us = SECOND_US}, 11);
    struct sim_node *leader = cluster_wait_serving();
    cluster_cut_off(leader, true);
    assert_int_equal(cluster_propose(leader, 3000), 0);
    cluster_run(3 * SECOND_US);
    cluster_propose_many(cluster_wait_serving(), 3);
    sim_disk_fail_next(leader->disk, SIM_FAIL_TRUNCATE);
    cluster_cut_off(leader, false);
    cluster_run(500 * MS);
    assert_false(sim_node_runs(leader));
    assert_non_null(strstr(leader->last_words, "cannot truncate the log"));
    cluster_run(5 * SECOND_US);
    cluster_assert_equal();
    cluster_end();
}

static void a_damaged_log_is_refused(void **state)
{
    (void)state;
    cluster_begin(&(struct sim_node_options){.nodes = 3, .restart_us = SECOND_US}, 12);
    cluster_propose_many(cluster_wait_serving(), 5);
    struct sim_node *other = cluster_follower();
    sim_node_kill(other, SIM_TORN_DRAWN);
    sim_disk_rot_entry(other->disk, 3);
    sim_node_start(other);
    assert_false(sim_node_runs(other));
    assert_true(other->refused);
    assert_non_null(strstr(other->last_words, "is damaged"));
    assert_non_null(strstr(other->last_words, "checksum mismatch"));
    cluster_run(3 * SECOND_US);
    assert_false(sim_node_runs(other));
    cluster_wait_serving();
    cluster_end();
}

/* ---- snapshots ---- */

static void a_snapshot_shortens_the_log(void **state)
{
    (void)state;
    cluster_begin(&cluster_small_log, 13);
    cluster_propose_many(cluster_wait_serving(), 100);
    cluster_run(SECOND_US);
    for (unsigned i = 1; i <= 3; i++) {
        struct sim_disk_view view = sim_disk_view(sim_node(i)->disk);
        assert_true(view.snapshot_index > 50);
        assert_int_equal(view.first_index, view.snapshot_index - 8 + 1);
        sim_node_kill(sim_node(i), SIM_TORN_DRAWN);
        sim_node_start(sim_node(i));
    }
    cluster_wait_serving();
    cluster_run(SECOND_US);
    assert_int_equal(fsm_counts(cluster_table(sim_node(1))).clients, 100);
    cluster_assert_equal();
    cluster_end();
}

static unsigned restored;
static uint64_t restored_index;

static void on_restored(struct sim_node *node, uint64_t index, const struct fsm *fsm)
{
    (void)node;
    assert_null(sim_process_current());
    assert_true(fsm_counts(fsm).clients > 0);
    restored++;
    restored_index = index;
}

static void who_lags_gets_a_snapshot(void **state)
{
    (void)state;
    cluster_begin(&cluster_small_log, 14);
    struct sim_node *leader = cluster_wait_serving();
    struct sim_node *other = cluster_follower();
    cluster_cut_off(other, true);
    cluster_propose_many(leader, 60);
    cluster_run(SECOND_US); /* for the last snapshot to be whole */
    restored = 0;
    sim_node_hooks.restored = on_restored;
    cluster_cut_off(other, false);
    cluster_run(5 * SECOND_US);
    assert_int_equal(restored, 1);
    assert_int_equal(restored_index, sim_disk_view(other->disk).snapshot_index);
    cluster_assert_equal();

    sim_node_kill(other, SIM_TORN_DRAWN);
    sim_node_start(other);
    assert_int_equal(restored, 2);
    assert_int_equal(restored_index, sim_disk_view(other->disk).snapshot_index);
    cluster_run(SECOND_US);
    cluster_assert_equal();
    cluster_end();
}

static void a_damaged_snapshot_is_refused(void **state)
{
    (void)state;
    cluster_begin(&cluster_small_log, 15);
    cluster_propose_many(cluster_wait_serving(), 40);
    struct sim_node *other = cluster_follower();
    sim_node_kill(other, SIM_TORN_DRAWN);
    sim_disk_rot_snapshot(other->disk);
    sim_node_start(other);
    assert_true(other->refused);
    assert_non_null(strstr(other->last_words, "a snapshot cannot be read"));
    cluster_end();
}

/* The one before it does, if the log reaches back to it. */
static void a_snapshot_without_its_meta_is_passed_over(void **state)
{
    (void)state;
    struct sim_node_options options = cluster_small_log;

    for (unsigned round = 0; round < 2; round++) {
        options.snapshot_trailing = round == 0 ? 64 : 8;
        cluster_begin(&options, 16);
        cluster_propose_many(cluster_wait_serving(), 80);
        struct sim_node *other = cluster_follower();
        sim_node_kill(other, SIM_TORN_DRAWN);
        sim_disk_rot_snapshot_meta(other->disk);
        sim_node_start(other);
        assert_int_equal(other->refused, round == 1);
        if (round == 0) {
            cluster_run(SECOND_US);
            cluster_assert_equal();
        } else {
            assert_non_null(strstr(other->last_words, "is past last snapshot"));
        }
        cluster_end();
    }
}

static void who_cannot_store_a_snapshot_stops(void **state)
{
    (void)state;
    cluster_begin(&cluster_small_log, 17);
    struct sim_node *leader = cluster_wait_serving();
    struct sim_node *other = cluster_follower();
    sim_disk_fail_next(other->disk, SIM_FAIL_SNAPSHOT);
    cluster_propose_many(leader, 40);
    assert_false(sim_node_runs(other));
    assert_non_null(strstr(other->last_words, "cannot store a snapshot"));
    sim_node_start(other);
    cluster_run(SECOND_US);
    cluster_assert_equal();
    cluster_end();
}

static void who_stops_while_storing_frees_all(void **state)
{
    (void)state;
    const struct sim_disk_timing slow = {
        .write_us = 30 * MS, .write_jitter_us = 60 * MS, .snapshot_us = 300 * MS};

    for (uint64_t seed = 0; seed < 40; seed++) {
        cluster_begin(&cluster_small_log, 100 + seed);
        struct sim_node *leader = cluster_wait_serving();
        struct sim_node *other = cluster_follower();
        cluster_cut_off(other, true);
        cluster_propose_many(leader, 40);
        for (unsigned i = 1; i <= 3; i++) {
            sim_disk_set_timing(sim_node(i)->disk, &slow);
        }
        cluster_cut_off(other, false);
        cluster_run(seed * 20 * MS);
        cluster_propose(leader, 5000);
        cluster_run(5 * MS);
        sim_node_stop(other);
        cluster_run(10 * MS * (seed % 4));
        sim_node_stop(leader);
        cluster_run(5 * SECOND_US);
        assert_false(sim_node_runs(leader));
        assert_false(sim_node_runs(other));
        sim_node_start(leader);
        sim_node_start(other);
        cluster_wait_serving();
        cluster_run(5 * SECOND_US);
        cluster_assert_equal();
        cluster_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_torn_write_the_first_entries_are_there),
        cmocka_unit_test(a_full_disk_is_waited_for),
        cmocka_unit_test(without_space_it_does_not_start),
        cmocka_unit_test(who_cannot_write_stops),
        cmocka_unit_test(who_cannot_truncate_stops),
        cmocka_unit_test(a_damaged_log_is_refused),
        cmocka_unit_test(a_snapshot_shortens_the_log),
        cmocka_unit_test(who_lags_gets_a_snapshot),
        cmocka_unit_test(a_damaged_snapshot_is_refused),
        cmocka_unit_test(a_snapshot_without_its_meta_is_passed_over),
        cmocka_unit_test(who_cannot_store_a_snapshot_stops),
        cmocka_unit_test(who_stops_while_storing_frees_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
