/* One replica on its own: batches, order, ticks, limits. */
#include "replica_cluster.h"

#include <errno.h>
#include <string.h>

enum { HOLD_REF = 1000, LOAD_STEP_MS = 10 };

static int setup(void **state)
{
    *state = cluster_new(1);
    return 0;
}

static int teardown(void **state)
{
    cluster_free(*state);
    return 0;
}

/* ---- becoming leader ------------------------------------------------------------------ */

static void nothing_is_served_before_the_epoch_entry_is_applied(void **state)
{
    struct cluster *c = *state;
    struct node *node = &c->nodes[1];

    assert_int_equal(propose(node, attach_command("a", 1)), -ENOTCONN);
    node_flush(node);
    assert_int_equal(replica_role(node->replica), REPLICA_ELECTED);
    assert_int_equal(propose(node, attach_command("a", 1)), -ENOTCONN);
    while (mem_io_complete(&node->io)) {
    }
    assert_int_equal(propose(node, attach_command("a", 1)), -ENOTCONN);
    node_flush(node);

    assert_int_equal(replica_role(node->replica), REPLICA_SERVING);
    assert_int_equal(node->told_count, 3);
    assert_true(node->told[0].is_role && node->told[0].role == REPLICA_ELECTED);
    assert_true(node->told[1].is_role && node->told[1].role == REPLICA_SERVING);
    assert_int_equal(node->told[1].term, raft_current_term(&node->raft));
    assert_true(!node->told[2].is_role && node->told[2].type == FSM_EV_SERVING);
    assert_int_equal(fsm_term(replica_table(node->replica)), node->told[1].term);
    assert_int_equal(propose(node, attach_command("a", 1)), 0);
}

/* ---- batches -------------------------------------------------------------------------- */

static void commands_are_answered_in_order(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);

    for (uint64_t ref = 10; ref < 20; ref++) {
        must_propose(node, lock_command("a", "L", FSM_UNLIMITED, ref));
        if (ref % 3 == 0) {
            cluster_settle(c);
        }
    }
    cluster_settle(c);

    assert_int_equal(node->told_count, 10);
    for (size_t i = 0; i < node->told_count; i++) {
        assert_int_equal(node->told[i].ref, 10 + i);
        assert_int_equal(node->told[i].type, FSM_EV_GRANTED);
        assert_int_equal(node->told[i].at.term, raft_current_term(&node->raft));
    }
}

static void commands_that_wait_share_one_entry(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    uint64_t last_index = raft_last_index(&node->raft);

    must_propose(node, status_command("a", "L", 10));
    node_flush(node); /* in flight */
    for (uint64_t ref = 11; ref < 61; ref++) {
        must_propose(node, status_command("a", "L", ref));
        node_flush(node);
    }
    assert_int_equal(raft_last_index(&node->raft), last_index + 1);
    cluster_settle(c);

    assert_int_equal(raft_last_index(&node->raft), last_index + 2);
    assert_int_equal(node_told_answer(node, 10)->at.index, last_index + 1);
    for (uint64_t ref = 11; ref < 61; ref++) {
        assert_int_equal(node_told_answer(node, ref)->at.index, last_index + 2);
    }
}

static void a_full_entry_is_followed_by_another(void **state)
{
    enum { COMMANDS = 5000 };
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    char name[FSM_NAME_BYTES_MAX + 1];
    uint64_t last_index = raft_last_index(&node->raft);
    uint64_t entries;

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (uint64_t ref = 10; ref < 10 + COMMANDS; ref++) {
        must_propose(node, status_command(name, name, ref));
    }
    cluster_settle(c);

    entries = raft_last_index(&node->raft) - last_index;
    assert_in_range(entries, 3, 4);
    for (uint64_t i = 1; i <= entries; i++) {
        size_t len = mem_disk_entry(&node->disk, last_index + i)->buf.len;
        assert_true(len <= REPLICA_BATCH_BYTES_MAX);
        assert_true(len % 8 == 0);
    }
    assert_int_equal(node->told_count, COMMANDS);
    for (size_t i = 0; i < COMMANDS; i++) {
        assert_int_equal(node->told[i].ref, 10 + i);
    }
}

static void too_many_waiting_commands_are_refused(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);

    for (size_t i = 0; i < WAITING_MAX; i++) {
        must_propose(node, status_command("a", "L", 0));
    }
    assert_int_equal(propose(node, status_command("a", "L", 7)), -EBUSY);
    node_flush(node);
    assert_int_equal(propose(node, status_command("a", "L", 8)), 0);
    cluster_settle(c);

    assert_null(node_told_answer(node, 7));
    assert_non_null(node_told_answer(node, 8));
}

static void a_command_that_no_entry_can_carry_is_refused(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    static const char long_name[FSM_NAME_BYTES_MAX + 1] = {'x'};
    struct fsm_command command = status_command("a", "L", 7);

    command.lock = (struct fsm_str){.data = long_name, .len = sizeof(long_name)};
    assert_int_equal(propose(node, command), -EMSGSIZE);
    must_propose(node, status_command("a", "L", 8));
    cluster_settle(c);

    assert_int_equal(node->told_count, 1);
    assert_int_equal(node->told[0].ref, 8);
}

/* The leader of one node that tells so many events at a time; "a" is attached. */
static struct node *elect_who_tells(struct cluster *c, size_t events_per_flush)
{
    node_stop(&c->nodes[1]);
    c->events_per_flush = events_per_flush;
    node_start(&c->nodes[1]);
    return cluster_elect_with_client(c);
}

static void apply_what_is_in_flight(struct node *node)
{
    while (mem_io_complete(&node->io)) {
    }
    assert_int_equal(node->told_count, 0);
}

static void
the_events_of_an_entry_are_told_in_turns_and_the_next_entry_waits(void **state)
{
    struct cluster *c = *state;
    struct node *node = elect_who_tells(c, 4);
    uint64_t last_index = raft_last_index(&node->raft) + 1;

    for (uint64_t ref = 10; ref < 20; ref++) {
        must_propose(node, lock_command("a", "L", FSM_UNLIMITED, ref));
    }
    node_flush(node);
    apply_what_is_in_flight(node);
    must_propose(node, lock_command("a", "L", FSM_UNLIMITED, 20));

    for (size_t told = 4; told <= 8; told += 4) {
        node_flush(node);
        assert_int_equal(node->told_count, told);
        assert_false(replica_has_told(node->replica));
        assert_int_equal(replica_deadline_ms(node->replica, node->mono_ms),
                         node->mono_ms + 1);
        assert_int_equal(raft_last_index(&node->raft), last_index);
    }
    node_flush(node);
    assert_int_equal(node->told_count, 10);
    assert_true(replica_has_told(node->replica));
    assert_int_equal(raft_last_index(&node->raft), last_index + 1);
    cluster_settle(c);

    assert_int_equal(node->told_count, 11);
    for (uint64_t i = 0; i < 11; i++) {
        assert_int_equal(node->told[i].ref, 10 + i);
        assert_int_equal(node->told[i].at.index, last_index + (i == 10));
    }
}

static void a_full_disk_keeps_the_batch(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    unsigned short plenty = node->io.raft_io.capacity;
    uint64_t last_index = raft_last_index(&node->raft);

    node->io.raft_io.capacity = 0;
    cluster_step(c, HEARTBEAT_MS);
    must_propose(node, status_command("a", "L", 10));
    cluster_step(c, HEARTBEAT_MS);
    must_propose(node, status_command("a", "L", 11));
    cluster_step(c, HEARTBEAT_MS);
    assert_int_equal(raft_last_index(&node->raft), last_index);

    node->io.raft_io.capacity = plenty;
    mem_io_tick(&node->io, node->io.now_ms);
    node->mono_ms = replica_deadline_ms(node->replica, node->mono_ms);
    cluster_settle(c);

    assert_int_equal(raft_last_index(&node->raft), last_index + 1);
    assert_int_equal(node->told_count, 2);
    assert_int_equal(node->told[0].ref, 10);
    assert_int_equal(node->told[1].ref, 11);
}

static void a_checkpoint_is_noted_with_its_hash(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);

    assert_int_equal(replica_last_checkpoint(node->replica).index, 0);
    must_propose(node, checkpoint_command(10));
    cluster_settle(c);

    assert_int_equal(node_told_answer(node, 10)->type, FSM_EV_CHECKPOINT);
    assert_int_equal(replica_last_checkpoint(node->replica).index,
                     node_told_answer(node, 10)->at.index);
    assert_true(replica_last_checkpoint(node->replica).hash != 0);
}

/* ---- time ----------------------------------------------------------------------------- */

static void an_idle_leader_proposes_nothing(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    uint64_t last_index;

    must_propose(node, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c,
                GRACE_MS + 2 * TICK_INTERVAL_MS); /* the epoch's own grace has passed */
    last_index = raft_last_index(&node->raft);
    cluster_run(c, 60000);

    assert_int_equal(raft_last_index(&node->raft), last_index);
    assert_true(replica_deadline_ms(node->replica, node->mono_ms) == UINT64_MAX);
}

static void time_is_committed_while_a_deadline_is_pending(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    uint64_t last_index;
    uint64_t now_ms;

    cluster_run(c, GRACE_MS);
    must_propose(node, lock_command("a", "L", 10000, 10));
    cluster_settle(c);
    last_index = raft_last_index(&node->raft);
    now_ms = fsm_now_ms(replica_table(node->replica));
    for (unsigned second = 1; second <= 9; second++) {
        cluster_run(c, TICK_INTERVAL_MS);
        assert_int_equal(raft_last_index(&node->raft), last_index + second);
        assert_int_equal(fsm_now_ms(replica_table(node->replica)),
                         now_ms + second * TICK_INTERVAL_MS);
    }
    assert_null(node_told_event(node, FSM_EV_HOLD_ENDED));
}

static void a_tick_is_proposed_when_a_deadline_is_due_and_not_before(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    uint64_t granted_mono_ms = node->mono_ms;

    must_propose(node, lock_command("a", "L", 300, 10));
    cluster_settle(c);
    assert_int_equal(replica_deadline_ms(node->replica, node->mono_ms),
                     granted_mono_ms + 300);
    node->mono_ms = granted_mono_ms + 299;
    cluster_settle(c);
    assert_null(node_told_event(node, FSM_EV_HOLD_ENDED));
    node->mono_ms = granted_mono_ms + 300;
    cluster_settle(c);

    assert_non_null(node_told_event(node, FSM_EV_HOLD_ENDED));
    assert_int_equal(node_told_event(node, FSM_EV_HOLD_ENDED)->at.cluster_ms,
                     node_told_answer(node, 10)->at.cluster_ms + 300);
}

/* The entry in flight is always younger than the time at which the next one is stamped: were time
 * counted from applying, it would lose the latency of every commit. */
static void time_does_not_stand_still_under_load(void **state)
{
    struct cluster *c = *state;
    struct node *node = cluster_elect_with_client(c);
    uint64_t granted_mono_ms;
    uint64_t ref = HOLD_REF;

    must_propose(node, lock_command("a", "L", 1000, ref));
    node_flush(node);
    granted_mono_ms = node->mono_ms;
    while (node_told_event(node, FSM_EV_HOLD_ENDED) == NULL) {
        must_propose(node, status_command("a", "M", ++ref));
        node->mono_ms += LOAD_STEP_MS; /* the commit's latency */
        while (mem_io_complete(&node->io)) {
        }
        node_flush(node);
        assert_true(node->mono_ms < granted_mono_ms + 10000);
    }

    assert_in_range(node->mono_ms - granted_mono_ms, 1000, 1000 + 3 * LOAD_STEP_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            nothing_is_served_before_the_epoch_entry_is_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(commands_are_answered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(commands_that_wait_share_one_entry, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_entry_is_followed_by_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(too_many_waiting_commands_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_command_that_no_entry_can_carry_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_events_of_an_entry_are_told_in_turns_and_the_next_entry_waits, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_keeps_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_checkpoint_is_noted_with_its_hash, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_idle_leader_proposes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(time_is_committed_while_a_deadline_is_pending,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_tick_is_proposed_when_a_deadline_is_due_and_not_before, setup, teardown),
        cmocka_unit_test_setup_teardown(time_does_not_stand_still_under_load, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
