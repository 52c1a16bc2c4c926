/* The checkers of the simulator: replicas, disks and libraft. */
#include "netlock.h"
#include "sim_check_world.h"

static void other_hold(struct fsm_command *command, unsigned node)
{
    if (node == 2 && command->type == FSM_CMD_LOCK) {
        command->lock_.hold_ms++;
    }
}

static void p14_a_node_applies_something_else(void **state)
{
    (void)state;
    world_attach("a");
    world.tamper_command = other_hold;
    world_lock("a", "L", (struct ask){.hold_ms = 10});
    assert_violated("P14");
}

static void p14_a_replay_is_another(void **state)
{
    const struct fsm_command tick = {.type = FSM_CMD_TICK};

    (void)state;
    world_attach("a");
    sim_node_hooks.ended(&world.nodes[3], -1);
    sim_node_hooks.started(&world.nodes[3]);
    world_apply(3, 1, &tick);
    assert_violated("P14");
}

static void p14_more_commands_in_an_entry(void **state)
{
    const struct fsm_command tick = {.type = FSM_CMD_TICK};

    (void)state;
    world.behind = 3;
    world_commit(tick);
    world_commit(tick);
    world_apply(3, world.index - 1,
                &(struct fsm_command){.type = FSM_CMD_TICK, .time_ms = 1000});
    assert_clean();
    world_apply(3, world.index - 1, &tick);
    assert_violated("P14");
}

/* The digest is carried along, the state is not. */
static void p14_a_table_of_another_state(void **state)
{
    struct fsm *table;
    struct fsm_record root = {.type = FSM_REC_ROOT};

    (void)state;
    world_attach("a");
    root.root.now_ms = fsm_now_ms(world.tables[1]);
    root.root.digest = fsm_digest(world.tables[1]);
    table = fsm_new(1);
    assert_int_equal(fsm_load(table, &root), 0);
    assert_int_equal(fsm_load_end(table), 0);
    sim_node_hooks.restored(&world.nodes[3], world.index, table);
    assert_clean();
    fsm_free(world.tables[3]);
    world.tables[3] = table;
    for (int i = 0; i < 40 && sim_first_violation() == NULL; i++) {
        world_tick();
    }
    assert_violated("P14");
}

static void p14_a_snapshot_of_something_else(void **state)
{
    struct fsm *table = fsm_new(1);

    (void)state;
    world_attach("a");
    sim_node_hooks.restored(&world.nodes[3], world.index, table);
    assert_violated("P14");
    fsm_free(table);
}

static void p14_an_entry_is_applied_again(void **state)
{
    const struct fsm_command tick = {.type = FSM_CMD_TICK};

    (void)state;
    world_attach("a");
    world_apply(2, 1, &tick);
    assert_violated("P14");
}

static void p14_nodes_differ_at_the_end(void **state)
{
    (void)state;
    world_attach("a");
    world.rafts[2].last_applied--;
    sim_check_end(sim_check_applied());
    assert_violated("P14");
}

static void p15_applied_without_a_majority(void **state)
{
    (void)state;
    world.stored_by = 1;
    world_attach("a");
    assert_violated("P15");
}

static void p15_answered_before_it_is_applied(void **state)
{
    struct sim_client *a = user("a");
    uint64_t op;

    (void)state;
    world_attach("a");
    op = user_asks(a, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L"});
    world_lock("a", "L", (struct ask){0});
    user_granted(a, op, "L", 1, world.index + 1);
    assert_violated("P15");
}

static void p15_acknowledged_without_being_stored(void **state)
{
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES_RESULT, .server_id = 1};

    (void)state;
    message.append_entries_result.term = world.term;
    message.append_entries_result.last_log_index = world.index;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_clean();
    message.append_entries_result.last_log_index = world.index + 1;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_violated("P15");
}

static void p15_back_to_an_old_snapshot(void **state)
{
    (void)state;
    world_attach("a");
    sim_node_hooks.restored(&world.nodes[2], 1, world.tables[2]);
    assert_violated("P15");
}

static void raft_two_leaders(void **state)
{
    (void)state;
    world.rafts[2].state = RAFT_LEADER;
    world_turn();
    assert_violated("RAFT");
}

static void raft_a_message_of_a_second_leader(void **state)
{
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES, .server_id = 3};

    (void)state;
    message.append_entries.term = world.term;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_violated("RAFT");
}

static void raft_a_leader_without_what_was_committed(void **state)
{
    (void)state;
    world_attach("a");
    world.last[2]--;
    world.rafts[2].commit_index = world.rafts[2].last_applied = 0;
    sim_node_hooks.ended(&world.nodes[2], -1);
    sim_node_hooks.started(&world.nodes[2]);
    world.rafts[2].state = RAFT_LEADER;
    world.rafts[2].current_term = world_view(2)->term = world.term + 1;
    world_turn();
    assert_violated("RAFT");
}

/* Its votes came when another had been elected already, in a later term. */
static void raft_a_late_leader_need_not_have_what_a_later_one_committed(void **state)
{
    (void)state;
    world.rafts[1].current_term = world_view(1)->term = world.term + 2;
    world_turn();
    world_attach("a");
    world.last[2]--;
    world.rafts[2].commit_index = world.rafts[2].last_applied = 0;
    sim_node_hooks.ended(&world.nodes[2], -1);
    sim_node_hooks.started(&world.nodes[2]);
    world.rafts[2].state = RAFT_LEADER;
    world.rafts[2].current_term = world_view(2)->term = world.term + 1;
    world_turn();
    assert_clean();
}

static void raft_a_leader_cuts_its_log(void **state)
{
    (void)state;
    world_attach("a");
    world_turn();
    world.last[1]--;
    world_turn();
    assert_violated("RAFT");
}

static void raft_the_commit_index_falls(void **state)
{
    (void)state;
    world_turn();
    world.rafts[2].commit_index = world.rafts[2].last_applied = 0;
    world_turn();
    assert_violated("RAFT");
}

static void raft_a_term_is_forgotten(void **state)
{
    (void)state;
    world_view(2)->term--;
    world.rafts[2].current_term--;
    world_turn();
    assert_violated("RAFT");
}

static void raft_a_term_that_is_not_stored(void **state)
{
    (void)state;
    world.rafts[2].current_term++;
    world_turn();
    assert_violated("RAFT");
}

static void raft_a_second_vote(void **state)
{
    (void)state;
    world_view(2)->voted_for = world.rafts[2].voted_for = 3;
    world_turn();
    assert_violated("RAFT");
}

static void raft_a_vote_that_is_not_stored(void **state)
{
    struct raft_message message = {.type = RAFT_REQUEST_VOTE_RESULT, .server_id = 1};

    (void)state;
    message.request_vote_result.term = world.term;
    message.request_vote_result.vote_granted = true;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_clean();
    message.server_id = 3;
    message.request_vote_result.pre_vote = true;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_clean();
    message.request_vote_result.pre_vote = false;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_violated("RAFT");
}

static void raft_a_candidate_without_a_vote_of_its_own(void **state)
{
    struct raft_message message = {.type = RAFT_REQUEST_VOTE, .server_id = 3};

    (void)state;
    message.request_vote.term = world.term;
    message.request_vote.candidate_id = 2;
    sim_node_hooks.sent(&world.nodes[2], &message);
    assert_violated("RAFT");
}

static void raft_logs_that_agree_after_a_difference(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_store(2, world.index - 1, 9);
    world_store(2, world.index, world.term);
    sim_check_end(sim_check_applied());
    assert_violated("RAFT");
}

static void raft_another_membership(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 2; i++) {
        world.rafts[i].configuration_committed = world.rafts[i].configuration;
        world.rafts[i].configuration_committed_index = 1;
    }
    world.rafts[2].configuration_committed.n--;
    world_turn();
    world_turn();
    assert_violated("RAFT");
}

static void raft_a_change_that_stays_uncommitted(void **state)
{
    (void)state;
    world.rafts[2].configuration_uncommitted_index = world.rafts[2].last_applied = 1;
    world_turn();
    world_turn();
    assert_violated("RAFT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(p14_a_node_applies_something_else),
        world_test(p14_a_replay_is_another),
        world_test(p14_more_commands_in_an_entry),
        world_test(p14_a_table_of_another_state),
        world_test(p14_a_snapshot_of_something_else),
        world_test(p14_an_entry_is_applied_again),
        world_test(p14_nodes_differ_at_the_end),
        world_test(p15_applied_without_a_majority),
        world_test(p15_answered_before_it_is_applied),
        world_test(p15_acknowledged_without_being_stored),
        world_test(p15_back_to_an_old_snapshot),
        world_test(raft_two_leaders),
        world_test(raft_a_message_of_a_second_leader),
        world_test(raft_a_leader_without_what_was_committed),
        world_test(raft_a_late_leader_need_not_have_what_a_later_one_committed),
        world_test(raft_a_leader_cuts_its_log),
        world_test(raft_the_commit_index_falls),
        world_test(raft_a_term_is_forgotten),
        world_test(raft_a_term_that_is_not_stored),
        world_test(raft_a_second_vote),
        world_test(raft_a_vote_that_is_not_stored),
        world_test(raft_a_candidate_without_a_vote_of_its_own),
        world_test(raft_logs_that_agree_after_a_difference),
        world_test(raft_another_membership),
        world_test(raft_a_change_that_stays_uncommitted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
