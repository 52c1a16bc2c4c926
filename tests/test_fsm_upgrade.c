/* READ becomes WRITE: in place, by waiting ahead of all, or not at all. */
#include "fsm_table.h"

static void the_only_reader_converts_in_place_with_a_new_token(void **state)
{
    struct table *t = *state;
    const struct fsm_event *granted;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 1000});
    t->now_ms += 400;

    granted = lock(t, "a", "L", (struct ask){.hold_ms = 3000});

    assert_told(t, "*a granted L W#2");
    assert_int_equal(granted->claim.since_ms, 400);
    assert_int_equal(granted->claim.remaining_ms, 3000);
    check_token(t, "L", 1);
    assert_told(t, "*L #1 superseded by #2");
}

static void the_only_reader_converts_ahead_of_ordinary_waiters(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.wait = true});

    lock(t, "a", "L", (struct ask){0});

    assert_told(t, "*a granted L W#2");
}

static void a_try_to_upgrade_among_readers_is_denied_and_keeps_read(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});

    lock(t, "a", "L", (struct ask){0});

    assert_told(t, "*a denied L held");
    status(t, "a", "L");
    assert_told(t, "*a status L mine R#1 holders 2 queue 0");
}

static void an_upgrade_goes_ahead_of_all_and_stops_new_readers(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b r1 w r2");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "r1", "L", (struct ask){.read = true, .wait = true});

    lock(t, "a", "L", (struct ask){.wait = true, .hold_ms = 700, .info = "up"});
    assert_told(t, "*a waiting L W 1/3");
    lock(t, "r2", "L", (struct ask){.read = true});
    assert_told(t, "*r2 denied L held");

    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #2; a granted L W#3");
    assert_int_equal(t->events.items[1].claim.hold_ms, 700);
    assert_memory_equal(t->events.items[1].claim.owner_info.data, "up", 2);
    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #3; w granted L W#4");
    release(t, "w", "L", 0);
    assert_told(t, "*w release L released #4; r1 granted L R#5");
}

static void an_upgrade_with_reader_writer_reader_behind_it_keeps_their_order(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b r1 w r2");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true, .hold_ms = 1000});
    lock(t, "r1", "L", (struct ask){.read = true, .wait = true});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "r2", "L", (struct ask){.read = true, .wait = true});
    assert_told(t, "*r2 waiting L R 4/4");
    table_reload(t);

    detach(t, "b");
    assert_told(t, "*b detached; a granted L W#3; b ended");
    pass(t, 1000);
    assert_told(t, "a expired L #3; r1 granted L R#4");
    release(t, "r1", "L", 0);
    assert_told(t, "*r1 release L released #4; w granted L W#5");
    release(t, "w", "L", 0);
    assert_told(t, "*w release L released #5; r2 granted L R#6");
}

static void the_second_of_two_upgraders_is_refused_and_keeps_read(void **state)
{
    struct table *t = *state;
    const struct fsm_event *denied;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});

    denied = lock(t, "b", "L", (struct ask){.wait = true});
    assert_told(t, "*b denied L upgrade-conflict");
    assert_int_equal(denied->claims_count, 2);
    lock(t, "b", "L", (struct ask){0});
    assert_told(t, "*b denied L held");

    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #2; a granted L W#3");
}

static void an_upgrader_that_asks_again_joins_its_wait(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true, .wait_ms = 100});
    lock(t, "c", "L", (struct ask){.wait = true});

    lock(t, "a", "L", (struct ask){.wait = true, .wait_ms = 900});
    assert_told(t, "*a waiting L W 1/2");
    lock(t, "a", "L", (struct ask){0});
    assert_told(t, "*a denied L held");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 5000});
    assert_told(t, "*a granted L R#1");

    pass(t, 899);
    assert_told(t, "");
    pass(t, 1);
    assert_told(t, "a wait-timeout L");
    status(t, "a", "L");
    assert_told(t, "*a status L mine R#1 holders 2 queue 1");
}

static void an_upgrade_that_times_out_lets_the_readers_behind_it_in(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b r");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true, .wait_ms = 100});
    lock(t, "r", "L", (struct ask){.read = true, .wait = true});

    pass(t, 100);

    assert_told(t, "a wait-timeout L; r granted L R#3");
}

static void an_upgrader_whose_read_expires_stays_first_as_an_ordinary_writer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b w");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 500});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "w", "L", (struct ask){.wait = true});
    lock(t, "a", "L", (struct ask){.wait = true});

    pass(t, 500);
    assert_told(t, "a expired L #1");
    status(t, "a", "L");
    assert_told(t, "*a status L waiting W 1/ holders 1 queue 2");
    table_reload(t);

    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #2; a granted L W#3");
    release(t, "a", "L", 1);
    assert_told(t, "*a release L not-held #0");
}

static void an_upgrader_that_is_broken_stays_first_as_an_ordinary_writer(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});

    force(t, "L", 1);
    assert_told(t, "a broken L #1; *forced L 1");
    force(t, "L", 0);
    assert_told(t, "b broken L #2; a granted L W#3; *forced L 1");
}

static void after_a_lapsed_upgrade_another_reader_may_upgrade_ahead_of_it(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 500});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "c", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});
    pass(t, 500);

    lock(t, "b", "L", (struct ask){.wait = true});
    assert_told(t, "*b waiting L W 1/2");
    release(t, "c", "L", 0);
    assert_told(t, "*c release L released #3; b granted L W#4");
    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #4; a granted L W#5");
}

static void a_release_while_upgrading_ends_both_hold_and_wait(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b r");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});
    lock(t, "r", "L", (struct ask){.read = true, .wait = true});

    release(t, "a", "L", 0);

    assert_told(t, "a denied L cancelled; *a release L released #1; r granted L R#3");
}

static void a_release_with_a_token_while_upgrading_ends_the_hold_only(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});

    release(t, "a", "L", 1);
    assert_told(t, "*a release L released #1");
    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #2; a granted L W#3");
}

static void an_upgrader_that_leaves_drops_both_and_lets_others_in(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b r");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});
    lock(t, "r", "L", (struct ask){.read = true, .wait = true});

    detach(t, "a");

    assert_told(t, "a denied L cancelled; *a detached; r granted L R#3; a ended");
}

static void a_refresh_while_upgrading_is_of_the_hold(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 500});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});

    refresh(t, "a", "L", 0, 0);

    assert_told(t, "*a granted L R#1");
}

static void upgrades_work_in_a_crowd_too(void **state)
{
    struct table *t = *state;
    char client[16];

    for (int i = 0; i < 40; i++) {
        snprintf(client, sizeof(client), "r%d", i);
        attach(t, client);
        lock(t, client, "L", (struct ask){.read = true});
    }
    lock(t, "r7", "L", (struct ask){.wait = true});
    table_reload(t);
    for (int i = 0; i < 39; i++) {
        snprintf(client, sizeof(client), "r%d", i);
        if (i != 7) {
            release(t, client, "L", 0);
        }
    }
    check_token(t, "L", 40);
    assert_told(t, "*L #40 current by #0");

    release(t, "r39", "L", 40);

    assert_told(t, "*r39 release L released #40; r7 granted L W#41");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(the_only_reader_converts_in_place_with_a_new_token),
        fsm_test(the_only_reader_converts_ahead_of_ordinary_waiters),
        fsm_test(a_try_to_upgrade_among_readers_is_denied_and_keeps_read),
        fsm_test(an_upgrade_goes_ahead_of_all_and_stops_new_readers),
        fsm_test(an_upgrade_with_reader_writer_reader_behind_it_keeps_their_order),
        fsm_test(the_second_of_two_upgraders_is_refused_and_keeps_read),
        fsm_test(an_upgrader_that_asks_again_joins_its_wait),
        fsm_test(an_upgrade_that_times_out_lets_the_readers_behind_it_in),
        fsm_test(an_upgrader_whose_read_expires_stays_first_as_an_ordinary_writer),
        fsm_test(an_upgrader_that_is_broken_stays_first_as_an_ordinary_writer),
        fsm_test(after_a_lapsed_upgrade_another_reader_may_upgrade_ahead_of_it),
        fsm_test(a_release_while_upgrading_ends_both_hold_and_wait),
        fsm_test(a_release_with_a_token_while_upgrading_ends_the_hold_only),
        fsm_test(an_upgrader_that_leaves_drops_both_and_lets_others_in),
        fsm_test(a_refresh_while_upgrading_is_of_the_hold),
        fsm_test(upgrades_work_in_a_crowd_too),
    };

    return cmocka_run_group_tests_name("fsm_upgrade", tests, NULL, NULL);
}
