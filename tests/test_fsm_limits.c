/* Counting locks, and the limits on how much of everything there may be. */
#include "fsm_table.h"

/* ---- counting locks --------------------------------------------------------------- */

static void a_counting_lock_is_held_by_as_many_as_its_limit_says(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "N", (struct ask){.limit = 2});
    assert_told(t, "*a granted N W#1 slot 0");
    lock(t, "b", "N", (struct ask){.limit = 2});
    assert_told(t, "*b granted N W#2 slot 1");
    lock(t, "c", "N", (struct ask){.limit = 2});
    assert_told(t, "*c denied N held");
    lock(t, "c", "N", (struct ask){.limit = 2, .wait = true});
    assert_told(t, "*c waiting N W 1/1");

    release(t, "a", "N", 0);
    assert_told(t, "*a release N released #1; c granted N W#3 slot 0");
}

static void another_limit_is_refused_while_the_lock_is_in_use(void **state)
{
    struct table *t = *state;
    const struct fsm_event *denied;

    attach_all(t, "a b");
    lock(t, "a", "N", (struct ask){.limit = 2});

    denied = lock(t, "b", "N", (struct ask){.limit = 3});
    assert_told(t, "*b denied N limit-mismatch");
    assert_int_equal(denied->claims[0].limit, 2);
    lock(t, "b", "N", (struct ask){0});
    assert_told(t, "*b denied N limit-mismatch");
    lock(t, "a", "N", (struct ask){.limit = 3});
    assert_told(t, "*a denied N limit-mismatch");

    release(t, "a", "N", 0);
    lock(t, "b", "N", (struct ask){.limit = 3});
    assert_told(t, "*b granted N W#2 slot 0");
}

static void a_counting_lock_has_no_readers(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "N", (struct ask){.limit = 2, .read = true});
    assert_told(t, "*a denied N limit-mismatch");
    lock(t, "a", "N", (struct ask){.limit = 2});
    lock(t, "a", "N", (struct ask){.limit = 2, .read = true, .downgrade = true});
    assert_told(t, "*a denied N limit-mismatch");
}

static void a_limit_out_of_range_is_refused(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "N", (struct ask){.limit = FSM_LIMIT_MAX + 1});
    assert_told(t, "*a denied N limit-mismatch");
    lock(t, "a", "N", (struct ask){.limit = FSM_LIMIT_MAX});
    assert_told(t, "*a granted N W#1 slot 0");
}

static void one_permit_expires_and_the_others_stay(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c d");
    lock(t, "a", "N", (struct ask){.limit = 3, .hold_ms = 5000});
    lock(t, "b", "N", (struct ask){.limit = 3, .hold_ms = 1000});
    lock(t, "c", "N", (struct ask){.limit = 3});
    lock(t, "d", "N", (struct ask){.limit = 3, .wait = true});

    pass(t, 1000);

    assert_told(t, "b expired N #2; d granted N W#4 slot 1");
}

static void the_lowest_free_slot_is_used_again(void **state)
{
    struct table *t = *state;
    char client[16];

    for (int i = 0; i < 200; i++) {
        snprintf(client, sizeof(client), "c%d", i);
        attach(t, client);
        lock(t, client, "N", (struct ask){.limit = 1000});
        assert_int_equal(t->events.items[0].claim.slot, i);
    }
    release(t, "c150", "N", 0);
    release(t, "c70", "N", 0);
    release(t, "c3", "N", 0);
    table_reload(t);
    for (int expected = 3; expected != 0;) {
        snprintf(client, sizeof(client), "new%d", expected);
        attach(t, client);
        assert_int_equal(lock(t, client, "N", (struct ask){.limit = 1000})->claim.slot,
                         expected);
        expected = expected == 3 ? 70 : expected == 70 ? 150 : expected == 150 ? 200 : 0;
    }
}

static void a_client_with_permits_of_several_locks_drops_them_all(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c d");
    lock(t, "a", "N", (struct ask){.limit = 2});
    lock(t, "b", "N", (struct ask){.limit = 2});
    lock(t, "a", "M", (struct ask){.limit = 3});
    lock(t, "a", "L", (struct ask){0});
    lock(t, "c", "N", (struct ask){.limit = 2, .wait = true});
    lock(t, "d", "N", (struct ask){.limit = 2, .wait = true});
    lock(t, "c", "L", (struct ask){.wait = true});

    detach(t, "a");

    assert_told(t, "*a detached; c granted N W#5 slot 0; c granted L W#6; a ended");
    assert_int_equal(fsm_counts(t->fsm).locks, 2);
}

/* ---- limits ----------------------------------------------------------------------- */

static void each_limit_is_enforced_and_named(void **state)
{
    struct table *t = *state;

    t->settings = (struct fsm_settings){
        .clients_max = 3,
        .claims_max = 4,
        .claims_per_client_max = 2,
        .waiters_per_lock_max = 1,
    };
    epoch(t);
    attach_all(t, "a b c");
    attach(t, "d");
    assert_told(t, "*d denied  limit-exceeded clients");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "c", "L", (struct ask){.wait = true});
    assert_told(t, "*c denied L limit-exceeded waiters per lock");
    lock(t, "a", "M", (struct ask){0});
    lock(t, "a", "N", (struct ask){0});
    assert_told(t, "*a denied N limit-exceeded claims per client");
    lock(t, "a", "M", (struct ask){0});
    assert_told(t, "*a granted M W#2");
    lock(t, "c", "N", (struct ask){0});
    lock(t, "b", "O", (struct ask){0});
    assert_told(t, "*b denied O limit-exceeded claims");
    assert_int_equal(fsm_counts(t->fsm).locks, 3);
}

static void a_try_at_a_held_lock_is_denied_for_that_and_not_for_a_limit(void **state)
{
    struct table *t = *state;

    t->settings.claims_max = 1;
    epoch(t);
    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){0});

    lock(t, "b", "L", (struct ask){0});

    assert_told(t, "*b denied L held");
}

static void an_upgrade_that_would_wait_counts_against_the_limits(void **state)
{
    struct table *t = *state;

    t->settings.claims_max = 2;
    epoch(t);
    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});

    lock(t, "a", "L", (struct ask){.wait = true});
    assert_told(t, "*a denied L limit-exceeded claims");
    release(t, "b", "L", 0);
    lock(t, "a", "L", (struct ask){.wait = true});
    assert_told(t, "*a granted L W#3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(a_counting_lock_is_held_by_as_many_as_its_limit_says),
        fsm_test(another_limit_is_refused_while_the_lock_is_in_use),
        fsm_test(a_counting_lock_has_no_readers),
        fsm_test(a_limit_out_of_range_is_refused),
        fsm_test(one_permit_expires_and_the_others_stay),
        fsm_test(the_lowest_free_slot_is_used_again),
        fsm_test(a_client_with_permits_of_several_locks_drops_them_all),
        fsm_test(each_limit_is_enforced_and_named),
        fsm_test(a_try_at_a_held_lock_is_denied_for_that_and_not_for_a_limit),
        fsm_test(an_upgrade_that_would_wait_counts_against_the_limits),
    };

    return cmocka_run_group_tests_name("fsm_limits", tests, NULL, NULL);
}
