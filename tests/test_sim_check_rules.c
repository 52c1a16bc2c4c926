/* The checkers of the simulator: the rules of the log. An event is planted in the place of what the lock
 * table said; the rule that it breaks is named. */
#include "netlock.h"
#include "sim_check_world.h"

/* What a test has told of the events of one command. */
static struct fsm_event planted;
static size_t planted_at;

static void replace(struct fsm_event *events, size_t *count)
{
    (void)count;
    events[planted_at] = planted;
}

static void insert(struct fsm_event *events, size_t *count)
{
    memmove(&events[1], &events[0], *count * sizeof(events[0]));
    events[0] = planted;
    (*count)++;
}

static void drop_last(struct fsm_event *events, size_t *count)
{
    (void)events;
    (*count)--;
}

static struct fsm_event grant_of(const char *client, const char *lock, uint64_t token)
{
    return (struct fsm_event){
        .type = FSM_EV_GRANTED,
        .client = str(client),
        .lock = str(lock),
        .token = token,
        .claim = {.client = str(client),
                  .lock = str(lock),
                  .token = token,
                  .limit = 1,
                  .connected = true,
                  .hold_ms = FSM_UNLIMITED,
                  .remaining_ms = FSM_UNLIMITED},
    };
}

/* These are about rules: the model would see the same, earlier. */
static int rules_setup(void **state)
{
    static const struct sim_check_options options = {
        .reattach_grace_ms = WORLD_GRACE_MS,
        .leader_lease_ms = 1000,
        .tick_interval_ms = 1000,
        .rate_ppm_max = 200,
    };

    (void)state;
    world_begin(&options);
    world_lead(1);
    return 0;
}

#define rules_test(name)                                                                 \
    cmocka_unit_test_setup_teardown(name, rules_setup, world_teardown)

static void p2_two_writers(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true});
    planted = grant_of("b", "L", 2);
    world.tamper = insert;
    world_tick();
    assert_violated("P2");
}

static void p3_a_token_is_left_out(void **state)
{
    (void)state;
    world_attach("a");
    planted = grant_of("a", "L", 2);
    planted.command = FSM_CMD_LOCK;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){0});
    assert_violated("P3");
}

static void p3_a_refresh_that_nobody_asked_for(void **state)
{
    (void)state;
    world_attach("a");
    world_lock("a", "L", (struct ask){0});
    planted = grant_of("a", "L", 1);
    world.tamper = insert;
    world_tick();
    assert_violated("P3");
}

static void p3_another_token_when_attaching(void **state)
{
    static struct fsm_claim claim;

    (void)state;
    world_attach("a");
    world_lock("a", "L", (struct ask){0});
    planted = *world_attach("a");
    planted.client = str("a");
    planted_at = 0;
    claim = (struct fsm_claim){.client = str("a"), .lock = str("L"), .token = 7};
    planted.claims = &claim;
    world.tamper = replace;
    world_attach("a");
    assert_violated("P3");
}

static void p4_the_second_in_the_queue_is_granted(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_attach("c");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true});
    world_lock("c", "L", (struct ask){.wait = true});
    planted = grant_of("c", "L", 2);
    planted_at = 1;
    world.tamper = replace;
    world_release("a", "L", 0);
    assert_violated("P4");
}

static void p4_a_reader_overtakes_a_writer(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_attach("c");
    world_lock("a", "L", (struct ask){.read = true});
    world_lock("b", "L", (struct ask){.wait = true});
    planted = grant_of("c", "L", 2);
    planted.command = FSM_CMD_LOCK;
    planted.claim.type = FSM_READ;
    planted_at = 0;
    world.tamper = replace;
    world_lock("c", "L", (struct ask){.read = true, .wait = true});
    assert_violated("P4");
}

static void p5_nobody_is_granted_what_is_free(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true});
    world.tamper = drop_last;
    world_release("a", "L", 0);
    assert_violated("P5");
}

static void p5_a_wait_is_cancelled_by_nobody(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true});
    planted = (struct fsm_event){.type = FSM_EV_DENIED,
                                 .client = str("b"),
                                 .lock = str("L"),
                                 .deny = FSM_DENY_CANCELLED};
    world.tamper = insert;
    world_tick();
    assert_violated("P5");
}

static void p6_a_status_that_is_not_true(void **state)
{
    (void)state;
    world_attach("a");
    world_lock("a", "L", (struct ask){0});
    planted = (struct fsm_event){.type = FSM_EV_STATUS,
                                 .command = FSM_CMD_STATUS,
                                 .client = str("a"),
                                 .lock = str("L"),
                                 .state = FSM_FREE};
    planted_at = 0;
    world.tamper = replace;
    world_commit((struct fsm_command){
        .type = FSM_CMD_STATUS, .client = str("a"), .lock = str("L")});
    assert_violated("P6");
}

static void p6_a_release_of_anothers_hold(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    planted = (struct fsm_event){.type = FSM_EV_RELEASE,
                                 .command = FSM_CMD_RELEASE,
                                 .client = str("b"),
                                 .lock = str("L"),
                                 .result = FSM_RELEASED,
                                 .token = 1};
    planted_at = 0;
    world.tamper = replace;
    world_release("b", "L", 1);
    assert_violated("P6");
}

static void p7_a_wait_times_out_in_the_log_too_early(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true, .wait_ms = 1000});
    world_pass(500);
    planted = (struct fsm_event){
        .type = FSM_EV_WAIT_TIMEOUT, .client = str("b"), .lock = str("L")};
    world.tamper = insert;
    world_tick();
    assert_violated("P7");
}

static void p8_a_hold_ends_in_the_log_too_early(void **state)
{
    (void)state;
    world_attach("a");
    world_lock("a", "L", (struct ask){.hold_ms = 1000});
    world_pass(900);
    planted = (struct fsm_event){.type = FSM_EV_HOLD_ENDED,
                                 .client = str("a"),
                                 .lock = str("L"),
                                 .token = 1,
                                 .hold_end = FSM_HOLD_EXPIRED};
    world.tamper = insert;
    world_tick();
    assert_violated("P8");
}

static void p8_another_duration_than_was_asked_for(void **state)
{
    (void)state;
    world_attach("a");
    planted = grant_of("a", "L", 1);
    planted.command = FSM_CMD_LOCK;
    planted_at = 0;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){.hold_ms = 1000});
    assert_violated("P8");
}

static void p9_a_client_that_goes_and_waits_on(void **state)
{
    (void)state;
    world_attach("a");
    world_attach("b");
    world_lock("a", "L", (struct ask){0});
    world_lock("b", "L", (struct ask){.wait = true});
    planted = (struct fsm_event){.type = FSM_EV_TOKEN}; /* says nothing */
    planted_at = 0;
    world.tamper = replace;
    world_detach("b");
    assert_violated("P9");
}

static void p10_another_policy_than_was_asked_for(void **state)
{
    (void)state;
    world_attach("a");
    planted = grant_of("a", "L", 1);
    planted.command = FSM_CMD_LOCK;
    planted_at = 0;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){.ignore = true});
    assert_violated("P10");
}

static void p11_a_client_is_refused_that_is_attached(void **state)
{
    (void)state;
    world_attach("a");
    planted = (struct fsm_event){.type = FSM_EV_DENIED,
                                 .command = FSM_CMD_LOCK,
                                 .client = str("a"),
                                 .lock = str("L"),
                                 .deny = FSM_DENY_NOT_ATTACHED};
    planted_at = 0;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){0});
    assert_violated("P11");
}

static void p13_the_same_client_is_granted_twice(void **state)
{
    (void)state;
    world_attach("a");
    world_lock("a", "L", (struct ask){0});
    planted = grant_of("a", "L", 2);
    planted.command = FSM_CMD_LOCK;
    planted_at = 0;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){0});
    assert_violated("P13");
}

static void p14_a_hold_that_nobody_is_told_of(void **state)
{
    (void)state;
    world_attach("a");
    planted = (struct fsm_event){.type = FSM_EV_TOKEN, .command = FSM_CMD_LOCK};
    planted_at = 0;
    world.tamper = replace;
    world_commit((struct fsm_command){
        .type = FSM_CMD_LOCK,
        .client = str("a"),
        .lock = str("L"),
        .lock_ = {.wait_ms = 1, .hold_ms = FSM_UNLIMITED, .limit = 1}});
    assert_non_null(sim_first_violation());
}

static void p16_refused_what_is_free(void **state)
{
    (void)state;
    world_attach("a");
    planted = (struct fsm_event){.type = FSM_EV_DENIED,
                                 .command = FSM_CMD_LOCK,
                                 .client = str("a"),
                                 .lock = str("L"),
                                 .deny = FSM_DENY_HELD};
    planted_at = 0;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){0});
    assert_violated("P16");
}

static void p17_a_grant_that_nobody_asked_for(void **state)
{
    (void)state;
    world_attach("a");
    planted = grant_of("a", "L", 1);
    world.tamper = insert;
    world_tick();
    assert_violated("P17");
}

static void p17_a_stale_connection_acts(void **state)
{
    (void)state;
    world_commit((struct fsm_command){.type = FSM_CMD_ATTACH,
                                      .client = str("a"),
                                      .attach = {.has_epoch = true, .epoch = 7}});
    world_lock("a", "L", (struct ask){.epoch = 7});
    planted = (struct fsm_event){.type = FSM_EV_RELEASE,
                                 .command = FSM_CMD_RELEASE,
                                 .client = str("a"),
                                 .lock = str("L"),
                                 .result = FSM_RELEASED,
                                 .token = 1};
    planted_at = 0;
    world.tamper = replace;
    world_release("a", "L", 0);
    assert_violated("P17");
}

static void p17_two_answers_to_one_command(void **state)
{
    (void)state;
    world_attach("a");
    planted = (struct fsm_event){
        .type = FSM_EV_DETACHED, .command = FSM_CMD_DETACH, .client = str("b")};
    world.tamper = insert;
    world_detach("a");
    assert_violated("P17");
}

static void p14_not_what_the_model_says(void **state)
{
    (void)state;
    world_attach("a");
    planted = grant_of("a", "L", 1);
    planted.command = FSM_CMD_LOCK;
    planted.claim.since_ms = 5;
    planted_at = 0;
    world.tamper = replace;
    world_lock("a", "L", (struct ask){0});
    assert_violated("P14");
}

/* Not a mistake of anybody: the graces of both readers end in one command, the first to go makes the second
 * a writer, and that one goes next. */
static void upgrade_and_go(const char *upgrading)
{
    world_attach("a");
    world_attach("b");
    world_attach("c");
    world_lock("a", "L", (struct ask){.read = true});
    world_lock("b", "L", (struct ask){.read = true});
    world_lock("c", "L", (struct ask){.wait = true});
    world_lock(upgrading, "L", (struct ask){.wait = true});
    world_lead(2);
    world_attach("c");
    world_pass(WORLD_GRACE_MS);
    world_tick();
    assert_clean();
}

static void an_upgrade_of_the_last_to_go_is_no_mistake(void **state)
{
    (void)state;
    upgrade_and_go("b");
}

static void an_upgrade_of_the_first_to_go_is_no_mistake(void **state)
{
    (void)state;
    upgrade_and_go("a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rules_test(p2_two_writers),
        rules_test(an_upgrade_of_the_last_to_go_is_no_mistake),
        rules_test(an_upgrade_of_the_first_to_go_is_no_mistake),
        rules_test(p3_a_token_is_left_out),
        rules_test(p3_a_refresh_that_nobody_asked_for),
        rules_test(p3_another_token_when_attaching),
        rules_test(p4_the_second_in_the_queue_is_granted),
        rules_test(p4_a_reader_overtakes_a_writer),
        rules_test(p5_nobody_is_granted_what_is_free),
        rules_test(p5_a_wait_is_cancelled_by_nobody),
        rules_test(p6_a_status_that_is_not_true),
        rules_test(p6_a_release_of_anothers_hold),
        rules_test(p7_a_wait_times_out_in_the_log_too_early),
        rules_test(p8_a_hold_ends_in_the_log_too_early),
        rules_test(p8_another_duration_than_was_asked_for),
        rules_test(p9_a_client_that_goes_and_waits_on),
        rules_test(p10_another_policy_than_was_asked_for),
        rules_test(p11_a_client_is_refused_that_is_attached),
        rules_test(p13_the_same_client_is_granted_twice),
        rules_test(p14_a_hold_that_nobody_is_told_of),
        rules_test(p16_refused_what_is_free),
        rules_test(p17_a_grant_that_nobody_asked_for),
        rules_test(p17_a_stale_connection_acts),
        rules_test(p17_two_answers_to_one_command),
        world_test(p14_not_what_the_model_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
