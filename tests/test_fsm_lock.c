/* Grants and queues, the same client asking again. */
#include "fsm_table.h"

/* ---- grants and the queue --------------------------------------------------------- */

static void a_free_lock_is_granted_and_a_held_one_denied(void **state)
{
    struct table *t = *state;
    const struct fsm_event *denied;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.info = "on host one", .hold_ms = 500});
    assert_told(t, "*a granted L W#1");

    t->now_ms += 100;
    denied = lock(t, "b", "L", (struct ask){0});

    assert_told(t, "*b denied L held");
    assert_int_equal(denied->claims_count, 1);
    assert_int_equal(denied->holders_count, 1);
    assert_memory_equal(denied->claims[0].client.data, "a", 1);
    assert_memory_equal(denied->claims[0].owner_info.data, "on host one", 11);
    assert_int_equal(denied->claims[0].since_ms, 100);
    assert_int_equal(denied->claims[0].remaining_ms, 400);
    assert_int_equal(denied->claims[0].hold_ms, 500);
    assert_true(denied->claims[0].connected);
}

static void a_refusal_shows_at_most_sixteen_holders(void **state)
{
    struct table *t = *state;
    const struct fsm_event *denied;

    for (int i = 0; i < 20; i++) {
        char client[16];
        snprintf(client, sizeof(client), "r%d", i);
        attach(t, client);
        lock(t, client, "L", (struct ask){.read = true});
    }
    attach(t, "w");

    denied = lock(t, "w", "L", (struct ask){0});

    assert_int_equal(denied->claims_count, FSM_HOLDERS_SHOWN_MAX);
    assert_int_equal(denied->holders_count, 20);
}

static void readers_share_and_a_writer_excludes(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    assert_told(t, "*b granted L R#2");
    lock(t, "c", "L", (struct ask){0});
    assert_told(t, "*c denied L held");
    lock(t, "c", "M", (struct ask){0});
    lock(t, "a", "M", (struct ask){.read = true});
    assert_told(t, "*a denied M held");
}

static void waiters_are_granted_in_order_of_arrival(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true});
    assert_told(t, "*b waiting L W 1/1");
    lock(t, "c", "L", (struct ask){.wait = true});
    assert_told(t, "*c waiting L W 2/2");

    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1; b granted L W#2");
    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #2; c granted L W#3");
}

static void a_reader_does_not_pass_a_waiting_writer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c d");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.wait = true});

    lock(t, "c", "L", (struct ask){.read = true});
    assert_told(t, "*c denied L held");
    lock(t, "d", "L", (struct ask){.read = true, .wait = true});
    assert_told(t, "*d waiting L R 2/2");
}

static void a_release_grants_all_readers_up_to_the_next_writer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a r1 r2 w r3");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "r1", "L", (struct ask){.read = true, .wait = true});
    lock(t, "r2", "L", (struct ask){.read = true, .wait = true});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "r3", "L", (struct ask){.read = true, .wait = true});

    release(t, "a", "L", 0);

    assert_told(t, "*a release L released #1; r1 granted L R#2; r2 granted L R#3");
    release(t, "r1", "L", 0);
    assert_told(t, "*r1 release L released #2");
    release(t, "r2", "L", 0);
    assert_told(t, "*r2 release L released #3; w granted L W#4");
}

static void a_writer_that_leaves_the_queue_lets_the_readers_behind_it_in(void **state)
{
    struct table *t = *state;

    attach_all(t, "a w r1 r2");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "r1", "L", (struct ask){.read = true, .wait = true});
    lock(t, "r2", "L", (struct ask){.read = true, .wait = true});

    release(t, "w", "L", 0);

    assert_told(t, "w denied L cancelled; *w release L was-queued #0; r1 granted L R#2; "
                   "r2 granted L R#3");
}

static void positions_far_back_are_counted_only_in_a_status(void **state)
{
    struct table *t = *state;
    char client[16];

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});
    for (int i = 1; i <= FSM_POSITION_COUNTED_MAX + 1; i++) {
        snprintf(client, sizeof(client), "w%d", i);
        attach(t, client);
        lock(t, client, "L", (struct ask){.wait = true});
        assert_int_equal(t->events.items[0].claim.position, i);
    }

    refresh(t, "w100", "L", 0, 0);
    assert_told(t, "*w100 waiting L W 100/101");
    refresh(t, "w101", "L", 0, 0);
    assert_told(t, "*w101 waiting L W 0/101");
    status(t, "w101", "L");
    assert_told(t, "*w101 status L waiting W 101/ holders 1 queue 101");
}

/* ---- the same client asks again --------------------------------------------------- */

static void asking_again_keeps_the_token_and_restarts_the_timer(void **state)
{
    struct table *t = *state;
    const struct fsm_event *granted;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 1000, .info = "first"});
    t->now_ms += 900;

    granted = lock(t, "a", "L",
                   (struct ask){.hold_ms = 2000, .ignore = true, .info = "second"});

    assert_told(t, "*a granted L W#1");
    assert_int_equal(granted->claim.remaining_ms, 2000);
    assert_int_equal(granted->claim.since_ms, 900);
    assert_int_equal(granted->claim.drop, FSM_DROP_IGNORE);
    assert_memory_equal(granted->claim.owner_info.data, "second", 6);
    pass(t, 1999);
    assert_told(t, "");
    pass(t, 1);
    assert_told(t, "a expired L #1");
}

static void one_release_frees_however_often_it_was_asked(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "a", "L", (struct ask){0});
    lock(t, "a", "L", (struct ask){.wait = true});
    release(t, "a", "L", 0);

    lock(t, "b", "L", (struct ask){0});

    assert_told(t, "*b granted L W#2");
}

static void a_writer_that_asks_for_read_stays_a_writer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.read = true, .wait = true});

    lock(t, "a", "L", (struct ask){.read = true});

    assert_told(t, "*a granted L W#1");
}

static void a_downgrade_keeps_the_token_and_lets_readers_in(void **state)
{
    struct table *t = *state;

    attach_all(t, "a r1 r2 w r3");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "r1", "L", (struct ask){.read = true, .wait = true});
    lock(t, "r2", "L", (struct ask){.read = true, .wait = true});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "r3", "L", (struct ask){.read = true, .wait = true});

    lock(t, "a", "L", (struct ask){.read = true, .downgrade = true});

    assert_told(t, "*a granted L R#1; r1 granted L R#2; r2 granted L R#3");
}

static void a_downgrade_does_not_pass_a_queued_writer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a w r");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "r", "L", (struct ask){.read = true, .wait = true});

    lock(t, "a", "L", (struct ask){.read = true, .downgrade = true});

    assert_told(t, "*a granted L R#1");
    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1; w granted L W#2");
}

static void a_downgrade_flag_on_a_write_request_does_nothing(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});

    lock(t, "a", "L", (struct ask){.downgrade = true});

    assert_told(t, "*a granted L W#1");
}

static void asking_again_while_waiting_keeps_the_place_and_restarts_the_timer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true, .wait_ms = 1000});
    lock(t, "c", "L", (struct ask){.wait = true, .wait_ms = 1000});

    lock(t, "b", "L", (struct ask){.wait = true, .wait_ms = 500});
    assert_told(t, "*b waiting L W 1/2");
    lock(t, "c", "L", (struct ask){.wait = true, .wait_ms = 5000, .hold_ms = 77});
    assert_told(t, "*c waiting L W 2/2");

    pass(t, 499);
    assert_told(t, "");
    pass(t, 1);
    assert_told(t, "b wait-timeout L");
    pass(t, 4499);
    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1; c granted L W#2");
    assert_int_equal(t->events.items[1].claim.hold_ms, 77);
}

static void a_try_while_waiting_is_denied_and_keeps_the_place(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "c", "L", (struct ask){.wait = true});

    lock(t, "b", "L", (struct ask){0});
    assert_told(t, "*b denied L held");

    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1; b granted L W#2");
}

static void asking_for_another_type_goes_to_the_tail(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "c", "L", (struct ask){.wait = true});

    lock(t, "b", "L", (struct ask){.wait = true, .read = true});
    assert_told(t, "b denied L cancelled; *b waiting L R 2/2");

    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1; c granted L W#2");
}

static void
asking_for_another_type_may_be_granted_with_those_who_waited_behind(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "c", "L", (struct ask){.wait = true, .read = true});

    lock(t, "b", "L", (struct ask){.wait = true, .read = true});

    assert_told(t, "b denied L cancelled; c granted L R#2; *b granted L R#3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(a_free_lock_is_granted_and_a_held_one_denied),
        fsm_test(a_refusal_shows_at_most_sixteen_holders),
        fsm_test(readers_share_and_a_writer_excludes),
        fsm_test(waiters_are_granted_in_order_of_arrival),
        fsm_test(a_reader_does_not_pass_a_waiting_writer),
        fsm_test(a_release_grants_all_readers_up_to_the_next_writer),
        fsm_test(a_writer_that_leaves_the_queue_lets_the_readers_behind_it_in),
        fsm_test(positions_far_back_are_counted_only_in_a_status),
        fsm_test(asking_again_keeps_the_token_and_restarts_the_timer),
        fsm_test(one_release_frees_however_often_it_was_asked),
        fsm_test(a_writer_that_asks_for_read_stays_a_writer),
        fsm_test(a_downgrade_keeps_the_token_and_lets_readers_in),
        fsm_test(a_downgrade_does_not_pass_a_queued_writer),
        fsm_test(a_downgrade_flag_on_a_write_request_does_nothing),
        fsm_test(asking_again_while_waiting_keeps_the_place_and_restarts_the_timer),
        fsm_test(a_try_while_waiting_is_denied_and_keeps_the_place),
        fsm_test(asking_for_another_type_goes_to_the_tail),
        fsm_test(asking_for_another_type_may_be_granted_with_those_who_waited_behind),
    };

    return cmocka_run_group_tests_name("fsm_lock", tests, NULL, NULL);
}
