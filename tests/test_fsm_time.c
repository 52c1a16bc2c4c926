/* What happens by itself: expiry, wait timeouts, elections; and refresh, which puts it
 * off. */
#include "fsm_table.h"

/* ---- deadlines -------------------------------------------------------------------- */

static void nothing_expires_early(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    assert_int_equal(fsm_next_deadline_ms(t->fsm), 1500);

    pass(t, 499);
    assert_told(t, "");
    pass(t, 1);
    assert_told(t, "a expired L #1");
    assert_true(fsm_next_deadline_ms(t->fsm) == FSM_UNLIMITED);
}

static void a_late_command_does_not_move_time_back(void **state)
{
    struct table *t = *state;

    pass(t, 5000);
    t->now_ms -= 3000;
    attach(t, "a");

    lock(t, "a", "L", (struct ask){.hold_ms = 500});

    assert_int_equal(fsm_now_ms(t->fsm), 6000);
    assert_int_equal(fsm_next_deadline_ms(t->fsm), 6500);
}

static void what_is_due_happens_before_the_command_acts(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    t->now_ms += 500;

    lock(t, "b", "L", (struct ask){0});

    assert_told(t, "a expired L #1; *b granted L W#2");
}

static void what_is_due_happens_in_order_of_time_then_age(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L3", (struct ask){.hold_ms = 300});
    lock(t, "a", "L1", (struct ask){.hold_ms = 100});
    lock(t, "a", "L2b", (struct ask){.hold_ms = 200});
    lock(t, "a", "L2a", (struct ask){.hold_ms = 200});
    table_reload(t);

    pass(t, 300);

    assert_told(t,
                "a expired L1 #2; a expired L2b #3; a expired L2a #4; a expired L3 #1");
}

static void an_expiry_hands_the_lock_to_the_next_in_the_same_step(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    lock(t, "b", "L", (struct ask){.wait = true, .hold_ms = 500});

    pass(t, 500);

    assert_told(t, "a expired L #1; b granted L W#2");
    assert_int_equal(t->events.items[1].claim.remaining_ms, 500);
}

static void a_waiter_whose_time_comes_as_it_becomes_first_is_timed_out(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    lock(t, "b", "L", (struct ask){.wait = true, .wait_ms = 500});
    lock(t, "c", "L", (struct ask){.wait = true});

    pass(t, 500);

    assert_told(t, "a expired L #1; b wait-timeout L; c granted L W#2");
}

static void a_waiter_due_after_the_hold_but_before_now_is_timed_out_too(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    lock(t, "b", "L", (struct ask){.wait = true, .wait_ms = 600});

    pass(t, 5000);

    assert_told(t, "a expired L #1; b wait-timeout L");
    assert_int_equal(fsm_counts(t->fsm).locks, 0);
}

static void a_wait_that_times_out_lets_those_behind_it_in(void **state)
{
    struct table *t = *state;

    attach_all(t, "a w r");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "w", "L", (struct ask){.wait = true, .wait_ms = 100});
    lock(t, "r", "L", (struct ask){.wait = true, .read = true});

    pass(t, 100);

    assert_told(t, "w wait-timeout L; r granted L R#2");
}

static void durations_that_do_not_fit_are_unlimited(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = FSM_UNLIMITED - 5});

    assert_true(fsm_next_deadline_ms(t->fsm) == FSM_UNLIMITED);
    assert_true(t->events.items[0].claim.remaining_ms == FSM_UNLIMITED);
}

static void a_duration_of_nothing_is_a_millisecond(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_LOCK,
                 .client = str("a"),
                 .lock = str("L"),
                 .lock_ = {.limit = 1},
             });

    assert_told(t, "*a granted L W#1");
    assert_int_equal(t->events.items[0].claim.hold_ms, 1);
}

/* ---- refresh ---------------------------------------------------------------------- */

static void a_refresh_restarts_the_duration_that_the_hold_has(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    t->now_ms += 400;

    refresh(t, "a", "L", 0, 0);
    assert_told(t, "*a granted L W#1");
    assert_int_equal(t->events.items[0].claim.remaining_ms, 500);
    refresh(t, "a", "L", 1, 2000);
    assert_int_equal(t->events.items[0].claim.remaining_ms, 2000);
    pass(t, 1999);
    assert_told(t, "");
    pass(t, 1);
    assert_told(t, "a expired L #1");
}

static void a_refresh_may_shorten_the_hold(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});

    refresh(t, "a", "L", 0, 10);

    pass(t, 10);
    assert_told(t, "a expired L #1");
}

static void a_refresh_changes_the_drop_policy_only_if_it_says_so(void **state)
{
    struct table *t = *state;
    struct fsm_command command = {
        .type = FSM_CMD_REFRESH,
        .client = str("a"),
        .lock = str("L"),
        .refresh = {.drop = FSM_DROP_IGNORE},
    };

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});

    assert_int_equal(apply(t, command)->claim.drop, FSM_DROP_RELEASE);
    command.refresh.set_drop = true;
    assert_int_equal(apply(t, command)->claim.drop, FSM_DROP_IGNORE);
    command.refresh.drop = FSM_DROP_RELEASE;
    assert_int_equal(apply(t, command)->claim.drop, FSM_DROP_RELEASE);
}

static void a_refresh_of_a_wait_keeps_its_place_and_restarts_its_time(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true, .wait_ms = 500});
    lock(t, "c", "L", (struct ask){.wait = true});
    t->now_ms += 400;

    refresh(t, "b", "L", 0, 0);
    assert_told(t, "*b waiting L W 1/2");
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_REFRESH,
                 .client = str("b"),
                 .lock = str("L"),
                 .refresh = {.wait_ms = 600, .hold_ms = 70, .set_drop = true, .drop = 1},
             });
    assert_told(t, "*b waiting L W 1/2");
    pass(t, 599);
    assert_told(t, "");
    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1; b granted L W#2");
    assert_int_equal(t->events.items[1].claim.hold_ms, 70);
    assert_int_equal(t->events.items[1].claim.drop, FSM_DROP_IGNORE);
}

static void a_refresh_never_resurrects(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    refresh(t, "a", "L", 0, 1000);
    assert_told(t, "*a denied L not-held");
    lock(t, "a", "L", (struct ask){.hold_ms = 100});
    pass(t, 100);
    refresh(t, "a", "L", 1, 1000);
    assert_told(t, "*a denied L expired");
    refresh(t, "a", "L", 7, 1000);
    assert_told(t, "*a denied L not-held");
    lock(t, "b", "L", (struct ask){0});
    refresh(t, "a", "L", 0, 1000);
    assert_told(t, "*a denied L expired");
    lock(t, "a", "L", (struct ask){.wait = true});
    release(t, "b", "L", 0);
    refresh(t, "a", "L", 1, 1000);
    assert_told(t, "*a denied L not-held");
}

static void a_refresh_with_a_token_is_not_of_a_wait(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true});

    refresh(t, "b", "L", 1, 0);

    assert_told(t, "*b denied L not-held");
}

/* ---- elections -------------------------------------------------------------------- */

static void an_election_extends_a_hold_that_would_end_within_the_grace(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "short", (struct ask){.hold_ms = 500});
    lock(t, "a", "ignored", (struct ask){.hold_ms = 500, .ignore = true});
    lock(t, "a", "long", (struct ask){.hold_ms = 10200});
    t->now_ms += 100;

    epoch(t);
    assert_told(t, "*serving");
    attach(t, "a");

    pass(t, 400);
    assert_told(t, "a expired ignored #2");
    pass(t, 9599);
    assert_told(t, "");
    pass(t, 1); /* 10 s after the election */
    assert_told(t, "a expired short #1");
    pass(t, 100);
    assert_told(t, "a expired long #3");
}

static void a_client_that_does_not_come_back_is_gone_at_the_end_of_the_grace(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "a", "M", (struct ask){.ignore = true});
    epoch(t);
    attach(t, "b");
    table_reload(t);

    pass(t, 9999);
    assert_told(t, "");
    pass(t, 1);

    assert_told(t, "b granted L W#3");
    attach(t, "a");
    assert_told(t, "*a attached epoch 0 claims 1");
}

static void a_client_that_comes_back_keeps_its_holds_and_its_place(void **state)
{
    struct table *t = *state;
    const struct fsm_event *attached;

    attach_all(t, "a b c");
    lock(t, "c", "L", (struct ask){0});
    lock(t, "a", "L", (struct ask){.wait = true});
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "b", "M", (struct ask){.hold_ms = 60000});
    epoch(t);
    attach(t, "c");

    attached = attach(t, "b");

    assert_told(t, "*b attached epoch 0 claims 2");
    assert_false(attached->claims[0].waiting);
    assert_int_equal(attached->claims[0].token, 2);
    assert_true(attached->claims[1].waiting);
    assert_int_equal(attached->claims[1].position, 2);
    pass(t, 10000);
    assert_told(t, "a denied L cancelled; a ended");
    release(t, "c", "L", 0);
    assert_told(t, "*c release L released #1; b granted L W#3");
}

static void twenty_elections_in_a_row_do_not_keep_a_dead_holder(void **state)
{
    struct table *t = *state;

    attach_all(t, "dead waiter");
    lock(t, "dead", "L", (struct ask){0});
    lock(t, "waiter", "L", (struct ask){.wait = true});
    for (int i = 0; i < 20; i++) {
        epoch(t); /* the first one at 1000: the grace ends at 11000 */
        if (t->now_ms < 11000) {
            assert_told(t, "*serving");
        } else if (t->now_ms == 11000) {
            assert_told(t, "waiter granted L W#2; dead ended; *serving");
        }
        attach(t, "waiter");
        t->now_ms += 1000;
    }
    status(t, "waiter", "L");
    assert_told(t, "*waiter status L mine W#2 holders 1 queue 0");
}

static void elections_extend_a_hold_by_one_grace_at_most(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 2000});
    for (int i = 0; i < 20; i++) {
        t->now_ms += 500;
        epoch(t);
        attach(t, "a");
    }
    t->now_ms = 1000 + 2000 + 10000 - 1;
    epoch(t);
    attach(t, "a");
    assert_told(t, "*a attached epoch 0 claims 1");
    pass(t, 1);
    assert_told(t, "a expired L #1");
}

static void twenty_elections_in_a_row_do_not_end_a_live_hold(void **state)
{
    struct table *t = *state;

    attach(t, "live");
    lock(t, "live", "L", (struct ask){.hold_ms = 2000});
    for (int i = 0; i < 20; i++) {
        t->now_ms += 1900;
        epoch(t);
        assert_told(t, "*serving");
        t->now_ms += 5000;
        attach(t, "live");
        refresh(t, "live", "L", 1, 0);
        assert_told(t, "*live granted L W#1");
    }
}

static void a_grace_of_nothing_is_over_at_once(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});
    t->settings.reattach_grace_ms = 0;

    epoch(t);

    assert_told(t, "*serving; a ended");
    assert_int_equal(fsm_counts(t->fsm).locks, 0);
}

static void a_lock_request_alone_does_not_end_the_grace(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    epoch(t);
    lock(t, "a", "L", (struct ask){0});
    assert_told(t, "*a granted L W#1");

    pass(t, 10000);

    assert_told(t, "a ended");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(nothing_expires_early),
        fsm_test(a_late_command_does_not_move_time_back),
        fsm_test(what_is_due_happens_before_the_command_acts),
        fsm_test(what_is_due_happens_in_order_of_time_then_age),
        fsm_test(an_expiry_hands_the_lock_to_the_next_in_the_same_step),
        fsm_test(a_waiter_whose_time_comes_as_it_becomes_first_is_timed_out),
        fsm_test(a_waiter_due_after_the_hold_but_before_now_is_timed_out_too),
        fsm_test(a_wait_that_times_out_lets_those_behind_it_in),
        fsm_test(durations_that_do_not_fit_are_unlimited),
        fsm_test(a_duration_of_nothing_is_a_millisecond),
        fsm_test(a_refresh_restarts_the_duration_that_the_hold_has),
        fsm_test(a_refresh_may_shorten_the_hold),
        fsm_test(a_refresh_changes_the_drop_policy_only_if_it_says_so),
        fsm_test(a_refresh_of_a_wait_keeps_its_place_and_restarts_its_time),
        fsm_test(a_refresh_never_resurrects),
        fsm_test(a_refresh_with_a_token_is_not_of_a_wait),
        fsm_test(an_election_extends_a_hold_that_would_end_within_the_grace),
        fsm_test(a_client_that_does_not_come_back_is_gone_at_the_end_of_the_grace),
        fsm_test(a_client_that_comes_back_keeps_its_holds_and_its_place),
        fsm_test(twenty_elections_in_a_row_do_not_keep_a_dead_holder),
        fsm_test(elections_extend_a_hold_by_one_grace_at_most),
        fsm_test(twenty_elections_in_a_row_do_not_end_a_live_hold),
        fsm_test(a_grace_of_nothing_is_over_at_once),
        fsm_test(a_lock_request_alone_does_not_end_the_grace),
    };

    return cmocka_run_group_tests_name("fsm_time", tests, NULL, NULL);
}
