/* The checkers of the simulator: what users are told. Each answer is planted; what is wrong with it is named. */
#include "netlock.h"
#include "sim_check_world.h"

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

static void p2_another_type_than_was_asked_for(void **state)
{
    struct sim_client *a = user("a");
    uint64_t op;

    (void)state;
    world_attach("a");
    op = user_asks(a, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L"});
    world_lock("a", "L", (struct ask){.read = true});
    user_told(
        a, op, SIM_ASK_LOCK, "L", 0,
        &(struct netlock_grant){.token = 1, .index = world.index, .type = NETLOCK_READ});
    assert_violated("P2");
}

static void p6_released_for_the_user_only(void **state)
{
    struct sim_client *a = user("a");
    uint64_t token;
    uint64_t op;

    (void)state;
    world_attach("a");
    token = take(a, "L", (struct ask){0});
    op = gives_up(a, "L", token);
    user_told(a, op, SIM_ASK_UNLOCK, "L", 0, NULL);
    assert_violated("P6");
}

static void p7_cluster_time_runs_ahead_of_a_wait(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true, .wait_ms = 1000});
    world_pass(990);
    world.cluster_offset_ms += 20;
    world_tick();
    assert_violated("P7");
}

static void p7_a_user_is_told_too_early(void **state)
{
    struct sim_client *b = user("b");
    uint64_t op = wait_in_vain(b, 1000);

    (void)state;
    world_pass(500);
    user_told(b, op, SIM_ASK_LOCK, "L", -NETLOCK_ETIMEOUT, NULL);
    assert_violated("P7");
}

static void p7_a_user_is_told_what_the_log_does_not_say(void **state)
{
    struct sim_client *b = user("b");
    uint64_t op = wait_in_vain(b, 1000);

    (void)state;
    world_pass(1500);
    user_told(b, op, SIM_ASK_LOCK, "L", -NETLOCK_ETIMEOUT, NULL);
    assert_violated("P7");
}

static void p7_a_wait_without_end_times_out(void **state)
{
    struct sim_client *b = user("b");
    uint64_t op = wait_in_vain(b, 0);

    (void)state;
    world_pass(1500);
    user_told(b, op, SIM_ASK_LOCK, "L", -NETLOCK_ETIMEOUT, NULL);
    assert_violated("P7");
}

static void p7_is_kept_by_a_wait_in_its_time(void **state)
{
    struct sim_client *b = user("b");
    uint64_t op = wait_in_vain(b, 1000);

    (void)state;
    world_pass(1001);
    world_tick();
    user_told(b, op, SIM_ASK_LOCK, "L", -NETLOCK_ETIMEOUT, NULL);
    assert_clean();
}

static void p7_a_wait_that_never_times_out(void **state)
{
    struct sim_client *b = user("b");

    (void)state;
    sim_check_healed();
    wait_in_vain(b, 1000);
    world_pass(10000);
    assert_violated("P7");
}

static void p13_granted_without_a_request(void **state)
{
    struct sim_client *a = user("a");
    uint64_t token;
    uint64_t op;

    (void)state;
    world_attach("a");
    token = take(a, "L", (struct ask){0});
    op = gives_up(a, "L", token);
    world_release("a", "L", 0);
    user_told(a, op, SIM_ASK_UNLOCK, "L", 0, NULL);
    assert_clean();
    world_lock("a", "L", (struct ask){0});
    assert_violated("P13");
}

static void p13_lost_twice(void **state)
{
    struct sim_client *a = user("a");
    uint64_t token;

    (void)state;
    world_attach("a");
    token = take(a, "L", (struct ask){0});
    user_notice(a, NETLOCK_LOST, "L", token);
    user_believes(a, "L", token, NETLOCK_WRITE, false);
    assert_clean();
    user_notice(a, NETLOCK_LOST, "L", token);
    assert_violated("P13");
}

static void p13_goes_on_after_lost(void **state)
{
    struct sim_client *a = user("a");
    uint64_t token;

    (void)state;
    world_attach("a");
    token = take(a, "L", (struct ask){0});
    user_notice(a, NETLOCK_LOST, "L", token);
    user_believes(a, "L", token, NETLOCK_WRITE, false);
    user_believes(a, "L", token, NETLOCK_WRITE, true);
    assert_violated("P13");
}

static void p16_refused_by_nobody(void **state)
{
    struct sim_client *a = user("a");
    uint64_t op;

    (void)state;
    world_attach("a");
    op = user_asks(a,
                   (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L", .try_only = true});
    user_told(a, op, SIM_ASK_LOCK, "L", -NETLOCK_EHELD, NULL);
    assert_violated("P16");
}

static void p16_is_kept_by_an_honest_refusal(void **state)
{
    struct sim_client *b = user("b");
    uint64_t op;

    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    op = user_asks(b,
                   (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L", .try_only = true});
    world_lock("b", "L", (struct ask){0});
    user_told(b, op, SIM_ASK_LOCK, "L", -NETLOCK_EHELD, NULL);
    assert_clean();
}

static void p17_a_token_of_another_client(void **state)
{
    struct sim_client *a = user("a");
    uint64_t op;

    (void)state;
    world_attach("a");
    world_attach("b");
    op = user_asks(a, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "L"});
    world_lock("b", "L", (struct ask){0});
    user_granted(a, op, "L", 1, world.index);
    assert_violated("P17");
}

static void p17_a_token_that_was_never_granted(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    world_attach("a");
    user_believes(a, "L", 5, NETLOCK_WRITE, true);
    assert_violated("P17");
}

static void p17_an_answer_without_a_question(void **state)
{
    struct sim_client *a = user("a");

    (void)state;
    user_told(a, 99, SIM_ASK_STATUS, "L", 0, NULL);
    assert_violated("P17");
}

static void p17_two_outcomes(void **state)
{
    struct sim_client *a = user("a");
    uint64_t op = user_asks(a, (struct sim_ask){.type = SIM_ASK_STATUS, .lock = "L"});

    (void)state;
    user_told(a, op, SIM_ASK_STATUS, "L", 0, NULL);
    assert_clean();
    user_told(a, op, SIM_ASK_STATUS, "L", 0, NULL);
    assert_violated("P17");
}

static void p18_an_answer_from_before(void **state)
{
    struct sim_client *a = user("a");
    struct sim_client *b = user("b");
    uint64_t op;

    (void)state;
    world_attach("a");
    world_attach("b");
    op = user_asks(b, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "M"});
    world_lock("b", "M", (struct ask){0});
    uint64_t index = world.index;
    user_granted(b, op, "M", 1, index);
    take(a, "L", (struct ask){0});
    op = user_asks(b, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "M"});
    user_granted(b, op, "M", 1, index);
    assert_violated("P18");
}

static void p18_one_connection_goes_back(void **state)
{
    struct sim_client *raw = raw_user("r");

    (void)state;
    world_attach("a");
    world_tick();
    user_response(raw, 0, WIRE_RESP_DENIED, world.index, 0);
    user_response(raw, 1, WIRE_RESP_DENIED, world.index - 1, 0);
    assert_clean();
    user_response(raw, 0, WIRE_RESP_DENIED, world.index - 1, 0);
    assert_violated("P18");
}

static void p18_a_term_begins_again(void **state)
{
    (void)state;
    world_commit((struct fsm_command){.type = FSM_CMD_EPOCH,
                                      .epoch = {.node_id = 1, .term = world.term}});
    assert_violated("P18");
}

static void p18_a_term_of_another_leader(void **state)
{
    (void)state;
    world.term++;
    for (unsigned i = 1; i <= WORLD_NODES; i++) {
        world.rafts[i].current_term = world_view(i)->term = world.term;
        world.rafts[i].voted_for = world_view(i)->voted_for = 1;
    }
    world_commit((struct fsm_command){.type = FSM_CMD_EPOCH,
                                      .epoch = {.node_id = 2, .term = world.term}});
    assert_violated("P18");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(p2_another_type_than_was_asked_for),
        world_test(p6_released_for_the_user_only),
        world_test(p7_cluster_time_runs_ahead_of_a_wait),
        world_test(p7_a_user_is_told_too_early),
        world_test(p7_a_user_is_told_what_the_log_does_not_say),
        world_test(p7_a_wait_without_end_times_out),
        world_test(p7_is_kept_by_a_wait_in_its_time),
        world_test(p7_a_wait_that_never_times_out),
        world_test(p13_granted_without_a_request),
        world_test(p13_lost_twice),
        world_test(p13_goes_on_after_lost),
        world_test(p16_refused_by_nobody),
        world_test(p16_is_kept_by_an_honest_refusal),
        world_test(p17_a_token_of_another_client),
        world_test(p17_a_token_that_was_never_granted),
        world_test(p17_an_answer_without_a_question),
        world_test(p17_two_outcomes),
        world_test(p18_an_answer_from_before),
        world_test(p18_one_connection_goes_back),
        world_test(p18_a_term_begins_again),
        world_test(p18_a_term_of_another_leader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
