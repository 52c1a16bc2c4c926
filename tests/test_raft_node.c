/* Real nodes in one process: loopback, real files, one loop. */
#include "nodes.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- one node ------------------------------------------------------------------------------- */

static void a_single_node_serves_within_a_few_turns(void **state)
{
    struct fixture *f = *state;

    nodes_choose_members(f, 1);
    node_start(f, 0);
    /* No election timeout passes: it is its own majority. */
    for (int turns = 0; turns < 200 && f->hosts[0].role != REPLICA_SERVING; turns++) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->hosts[0].role, REPLICA_SERVING);
    nodes_attach(f, "c");
    nodes_lock(f, "c", "l");
    assert_int_equal(node_counts(f, 0).holds, 1);

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

    nodes_choose_members(f, 1);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 5);
    uint64_t token = f->hosts[0].last_token;
    node_close(f, 0);

    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    assert_int_equal(node_counts(f, 0).holds, 5);
    assert_int_equal(fsm_last_token(replica_table(raft_node_replica(f->hosts[0].node))),
                     token);
}

static void locks_survive_a_restart_from_a_snapshot(void **state)
{
    struct fixture *f = *state;

    f->snapshot_threshold = 10;
    f->snapshot_trailing = 2;
    nodes_choose_members(f, 1);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 40);
    assert_true(nodes_run_until(f, nodes_first_has_snapshot, WAIT_MS_MAX));
    node_close(f, 0);

    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    assert_int_equal(node_counts(f, 0).holds, 40);
    fsm_check(replica_table(raft_node_replica(f->hosts[0].node)));
}

/* ---- three nodes ---------------------------------------------------------------------------- */

static void three_nodes_elect_one_and_agree(void **state)
{
    struct fixture *f = *state;

    nodes_start_three(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 20);
    nodes_assert_equal(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(node_counts(f, i).holds, 20);
    }
    int leaders = 0;
    for (int i = 0; i < 3; i++) {
        struct raft_node_status status;
        raft_node_status(f->hosts[i].node, &status);
        leaders += status.leader;
        assert_int_equal(status.leader_id, nodes_index_of(f, nodes_leader(f)) + 1);
        assert_int_equal(status.members_count, 3);
    }
    assert_int_equal(leaders, 1);
}

static void two_of_three_go_on_and_the_third_catches_up(void **state)
{
    struct fixture *f = *state;

    nodes_start_three(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 5);
    int gone = nodes_index_of(f, nodes_leader(f));
    node_close(f, gone);

    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_lock_many(f, "c", 5, 15);
    nodes_assert_equal(f);

    node_start(f, gone);
    nodes_lock_many(f, "c", 15, 16);
    nodes_assert_equal(f);
    assert_int_equal(node_counts(f, gone).holds, 16);
}

static void a_node_that_was_away_for_long_catches_up_by_snapshot(void **state)
{
    struct fixture *f = *state;

    f->snapshot_threshold = 10;
    f->snapshot_trailing = 5;
    f->trace = true;
    nodes_start_three(f);
    nodes_attach(f, "c");
    int gone = (nodes_index_of(f, nodes_leader(f)) + 1) % 3;
    node_close(f, gone);
    nodes_lock_many(f, "c", 0, 60);

    node_start(f, gone);
    nodes_lock_many(f, "c", 60, 61);
    nodes_assert_equal(f);
    assert_int_equal(node_counts(f, gone).holds, 61);

    assert_true(f->hosts[gone].got_snapshot);
}

static void empty_directory(const struct fixture *f, int i)
{
    char command[sizeof f->hosts[i].data_dir + 16];

    snprintf(command, sizeof command, "rm -rf %s", f->hosts[i].data_dir);
    assert_int_equal(system(command), 0);
}

static void comes_back_with_nothing(struct fixture *f)
{
    nodes_start_three(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 60);
    int gone = (nodes_index_of(f, nodes_leader(f)) + 1) % 3;
    node_close(f, gone);
    empty_directory(f, gone);

    node_start(f, gone);
    nodes_lock_many(f, "c", 60, 61);
    nodes_assert_equal(f);
    assert_int_equal(node_counts(f, gone).holds, 61);
}

/* B15: the leader that knew it would send it nothing, and not be told to. */
static void a_node_whose_directory_was_emptied_is_sent_the_log(void **state)
{
    comes_back_with_nothing(*state);
}

static void a_node_whose_directory_was_emptied_is_sent_the_snapshot(void **state)
{
    struct fixture *f = *state;

    f->snapshot_threshold = 10;
    f->snapshot_trailing = 5;
    comes_back_with_nothing(f);
}

static void a_minority_does_not_serve(void **state)
{
    struct fixture *f = *state;

    nodes_start_three(f);
    int leader = nodes_index_of(f, nodes_leader(f));
    node_close(f, (leader + 1) % 3);
    node_close(f, (leader + 2) % 3);
    /* It notices within the lease. */
    nodes_run_until(f, nodes_never, 3 * LEASE_MS);
    assert_int_equal(f->hosts[leader].role, REPLICA_FOLLOWER);
}

static void a_whole_cluster_comes_back(void **state)
{
    struct fixture *f = *state;

    nodes_start_three(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 10);
    nodes_close_all(f);
    for (int i = 0; i < 3; i++) {
        node_start(f, i);
    }
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_lock(f, "c", "one more");
    nodes_assert_equal(f);
    assert_int_equal(node_counts(f, 0).holds, 11);
}

static void a_node_of_another_cluster_stays_out(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct replica_host callbacks = host_callbacks(&f->hosts[2]);

    nodes_choose_members(f, 3);
    node_start(f, 0);
    node_start(f, 1);
    struct raft_node_config config = node_config(f, 2);
    config.cluster_id = "another";
    assert_int_equal(
        raft_node_new(&f->hosts[2].node, &f->loop, &config, &callbacks, error), 0);
    assert_int_equal(raft_node_start(f->hosts[2].node, error), 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_run_until(f, nodes_never, LEASE_MS);
    assert_int_equal(replica_applied_index(raft_node_replica(f->hosts[2].node)), 1);
    assert_true(host_has_line(&f->hosts[2], "this node is of cluster"));
    assert_true(host_has_line(nodes_leader(f), "this node is of cluster"));
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

    nodes_start_three(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 3);
    struct host *old = nodes_leader(f);
    f->refs = old->term; /* what another_serves() compares with */

    raft_node_transfer(old->node, 10 * LEASE_MS, on_transferred, &done);
    assert_true(nodes_run_until(f, another_serves, WAIT_MS_MAX));
    assert_true(done);
    assert_int_equal(old->role, REPLICA_FOLLOWER);
}

static void handing_over_to_nobody_ends_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    nodes_start_three(f);
    int leader = nodes_index_of(f, nodes_leader(f));
    node_close(f, (leader + 1) % 3);
    node_close(f, (leader + 2) % 3);
    raft_node_transfer(f->hosts[leader].node, LEASE_MS / 4, on_transferred, &done);
    nodes_run_until(f, nodes_never, LEASE_MS);
    assert_true(done);
}

static void handing_over_alone_or_as_a_follower_is_done_at_once(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    nodes_choose_members(f, 1);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    raft_node_transfer(f->hosts[0].node, 10000, on_transferred, &done);
    assert_true(done);
    nodes_close_all(f);

    done = false;
    for (int i = 0; i < NODES; i++) {
        snprintf(f->hosts[i].data_dir, sizeof f->hosts[i].data_dir, "%s/m%d", f->base,
                 i + 1);
    }
    nodes_start_three(f);
    int follower = (nodes_index_of(f, nodes_leader(f)) + 1) % 3;
    raft_node_transfer(f->hosts[follower].node, 10000, on_transferred, &done);
    assert_true(done);
}

static void closing_ends_a_handover(void **state)
{
    struct fixture *f = *state;
    bool done = false;

    nodes_start_three(f);
    int leader = nodes_index_of(f, nodes_leader(f));
    node_close(f, (leader + 1) % 3);
    node_close(f, (leader + 2) % 3);
    raft_node_transfer(f->hosts[leader].node, 10 * WAIT_MS_MAX, on_transferred, &done);
    assert_false(done);
    node_close(f, leader);
    assert_true(done);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, nodes_setup, nodes_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_single_node_serves_within_a_few_turns),
        TEST(locks_survive_a_restart),
        TEST(locks_survive_a_restart_from_a_snapshot),
        TEST(three_nodes_elect_one_and_agree),
        TEST(two_of_three_go_on_and_the_third_catches_up),
        TEST(a_node_that_was_away_for_long_catches_up_by_snapshot),
        TEST(a_node_whose_directory_was_emptied_is_sent_the_log),
        TEST(a_node_whose_directory_was_emptied_is_sent_the_snapshot),
        TEST(a_minority_does_not_serve),
        TEST(a_whole_cluster_comes_back),
        TEST(a_node_of_another_cluster_stays_out),
        TEST(leadership_is_handed_to_a_member_that_has_everything),
        TEST(handing_over_to_nobody_ends_at_its_deadline),
        TEST(handing_over_alone_or_as_a_follower_is_done_at_once),
        TEST(closing_ends_a_handover),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
