/* The checkers of the simulator: what users may believe, what the cluster may take from them, and what has to
 * happen in the end. Every check catches what it is for, and says nothing when all is well. */
#include "netlock.h"
#include "sim_check_world.h"

static void nothing_is_said_of_a_quiet_life(void **state)
{
    struct sim_client *a = user("a");
    struct sim_client *b = user("b");
    uint64_t token;
    uint64_t op;

    (void)state;
    world_attach("a");
    world_attach("b");
    token = take(a, "L", (struct ask){.hold_ms = 5000});
    op = user_asks(b, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L"});
    world_lock("b", "L", (struct ask){.wait = true});
    uint64_t unlock = gives_up(a, "L", token);
    world_release("a", "L", token);
    user_told(a, unlock, SIM_ASK_UNLOCK, "L", 0, NULL);
    assert_int_equal(world.events_count, 2);
    user_granted(b, op, "L", token + 1, world.index);
    user_believes(b, "L", token + 1, NETLOCK_WRITE, true);
    world_turn();
    assert_clean();
    sim_check_healed();
    world_pass(5000);
    world_lead(2);
    world_attach("b");
    sim_check_end(sim_check_applied());
    assert_clean();
    assert_int_equal(sim_check_counts().grants, 2);
    assert_int_equal(sim_check_counts().elections, 2);
    assert_true(sim_check_counts().comparisons > 5);
}

static void readers_and_counted_holders_share(void **state)
{
    struct sim_client *a = user("a");
    struct sim_client *b = user("b");

    (void)state;
    world_attach("a");
    world_attach("b");
    take(a, "R", (struct ask){.read = true});
    take(b, "R", (struct ask){.read = true});
    world_pass(10);
    assert_clean();
}

/* a is stopped, its hold times out, b gets the lock. */
static void overtake(struct sim_client *a, struct sim_client *b, uint64_t *ret_token)
{
    world_attach("a");
    world_attach("b");
    *ret_token = take(a, "L", (struct ask){.hold_ms = 1000});
    a->process.paused = true;
    world_pass(1100);
    world_tick();
    take(b, "L", (struct ask){0});
    world_pass(50);
    assert_clean();
}

static void p1_a_user_who_goes_on_after_his_lease(void **state)
{
    struct sim_client *a = user("a");
    struct sim_client *b = user("b");
    uint64_t token;

    (void)state;
    overtake(a, b, &token);
    a->process.paused = false;
    world_pass(2);
    assert_violated("P1");
}

static void p1_is_kept_by_one_who_hears_that_he_lost(void **state)
{
    struct sim_client *a = user("a");
    struct sim_client *b = user("b");
    uint64_t token;

    (void)state;
    overtake(a, b, &token);
    a->process.paused = false;
    a->process.turning = true;
    user_notice(a, NETLOCK_LOST, "L", token);
    user_believes(a, "L", token, NETLOCK_WRITE, false);
    a->process.turning = false;
    world_pass(2);
    assert_clean();
}

static void p1_does_not_count_who_allows_for_no_drift(void **state)
{
    struct sim_client *b = user("b");
    struct sim_client a = {.options = {.name = "a", .client_id = "a", .drift_ppm = 1}};
    uint64_t token;

    (void)state;
    user_life(&a, true);
    overtake(&a, b, &token);
    a.process.paused = false;
    world_pass(2);
    assert_clean();
}

static void p5_a_hold_that_its_holder_does_not_know(void **state)
{
    struct sim_client *a = user("a");
    uint64_t token;

    (void)state;
    world_attach("a");
    token = take(a, "L", (struct ask){0});
    user_believes(a, "L", token, NETLOCK_WRITE, false);
    sim_check_end(sim_check_applied());
    assert_violated("P5");
}

/* b waits for what a has. */
static uint64_t wait_in_vain(struct sim_client *b, uint32_t wait_ms)
{
    uint64_t op;

    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    op = user_asks(
        b, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L", .wait_ms = wait_ms});
    world_lock("b", "L", (struct ask){.wait = true, .wait_ms = wait_ms});
    return op;
}

static void p8_cluster_time_runs_ahead_of_a_hold(void **state)
{
    (void)state;
    world_attach("a");
    world_lock("a", "L", (struct ask){.hold_ms = 1000});
    world_pass(990);
    world.cluster_offset_ms += 20;
    world_tick();
    assert_violated("P8");
}

static void p8_a_hold_ends_while_its_holder_counts_on_it(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    take(a, "L", (struct ask){.hold_ms = 1000});
    world_pass(1001);
    world_tick();
    assert_violated("P8");
}

static void p8_a_hold_that_never_ends(void **state)
{
    (void)state;
    world_attach("a");
    sim_check_healed();
    world_lock("a", "L", (struct ask){.hold_ms = 1000});
    world_pass(10000);
    assert_violated("P8");
}

static void p9_what_the_dead_leave_behind(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    take(a, "L", (struct ask){0});
    sim_check_healed();
    user_life(a, false);
    world_pass(45000);
    assert_clean();
    world_pass(15000);
    assert_violated("P9");
}

static void p11_a_hold_is_dropped_while_its_holder_is_there(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    take(a, "L", (struct ask){0});
    world_detach("a");
    assert_violated("P11");
}

static void p11_is_kept_when_the_holder_is_stopped(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    take(a, "L", (struct ask){0});
    a->process.paused = true;
    world_detach("a");
    assert_clean();
}

static void p12_an_operation_without_an_answer(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    sim_check_healed();
    user_asks(a, (struct sim_ask){.type = SIM_ASK_STATUS, .lock = "L"});
    world_pass(59000);
    assert_clean();
    world_pass(3000);
    assert_violated("P12");
}

static void p12_nobody_serves(void **state)
{
    (void)state;
    world.serving = false;
    sim_check_healed();
    world_pass(59000);
    assert_clean();
    world_pass(3000);
    assert_violated("P12");
}

static void p12_an_operation_is_open_at_the_end(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    user_asks(a, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L"});
    sim_check_end(sim_check_applied());
    assert_violated("P12");
}

static void p12_is_kept_by_one_who_waits_his_turn(void **state)
{
    struct sim_client *b = user("b");

    (void)state;
    wait_in_vain(b, 0);
    sim_check_healed();
    world_pass(100000);
    sim_check_end(sim_check_applied());
    assert_clean();
}

static void p12_a_node_is_down_at_the_end(void **state)
{
    (void)state;
    world.nodes[3].process.alive = false;
    sim_check_end(sim_check_applied());
    assert_violated("P12");
}

static void only_the_first_violation_counts(void **state)
{
    (void)state;
    sim_violation("P1", "one %d", 1);
    sim_violation("P2", "two");
    assert_string_equal(sim_first_violation(), "P1: one 1");
    world_attach("a");
    assert_int_equal(sim_check_counts().commands, 1);
}

/* b reads as soon as the log has it, a hears of it later. */
static void read_with(struct sim_client *a, struct sim_client *b, bool downgrade)
{
    world_attach("a");
    world_attach("b");
    take(a, "L", (struct ask){0});
    user_asks(a, (struct sim_ask){.type = SIM_ASK_LOCK,
                                  .lock = "L",
                                  .type_of_lock = NETLOCK_READ,
                                  .downgrade = downgrade});
    world_lock("a", "L", (struct ask){.read = true, .downgrade = true});
    take(b, "L", (struct ask){.read = true});
    world_pass(2);
}

static void p1_is_kept_by_one_who_asks_to_write_no_more(void **state)
{
    (void)state;
    read_with(user("a"), user("b"), true);
    assert_clean();
}

static void p1_one_who_did_not_ask_to_write_no_more(void **state)
{
    (void)state;
    read_with(user("a"), user("b"), false);
    assert_violated("P1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(nothing_is_said_of_a_quiet_life),
        world_test(readers_and_counted_holders_share),
        world_test(p1_a_user_who_goes_on_after_his_lease),
        world_test(p1_is_kept_by_one_who_hears_that_he_lost),
        world_test(p1_is_kept_by_one_who_asks_to_write_no_more),
        world_test(p1_one_who_did_not_ask_to_write_no_more),
        world_test(p1_does_not_count_who_allows_for_no_drift),
        world_test(p5_a_hold_that_its_holder_does_not_know),
        world_test(p8_cluster_time_runs_ahead_of_a_hold),
        world_test(p8_a_hold_ends_while_its_holder_counts_on_it),
        world_test(p8_a_hold_that_never_ends),
        world_test(p9_what_the_dead_leave_behind),
        world_test(p11_a_hold_is_dropped_while_its_holder_is_there),
        world_test(p11_is_kept_when_the_holder_is_stopped),
        world_test(p12_an_operation_without_an_answer),
        world_test(p12_nobody_serves),
        world_test(p12_an_operation_is_open_at_the_end),
        world_test(p12_is_kept_by_one_who_waits_his_turn),
        world_test(p12_a_node_is_down_at_the_end),
        world_test(only_the_first_violation_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
