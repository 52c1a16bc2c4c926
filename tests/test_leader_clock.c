/* Cluster time as arithmetic. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "leader_clock.h"

static void starts_at_zero_and_counts_from_the_first_entry(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    assert_int_equal(leader_clock_now(&clock, 0), 0);
    leader_clock_applied(&clock, 100, 5000);
    assert_int_equal(leader_clock_now(&clock, 5000), 100);
    assert_int_equal(leader_clock_now(&clock, 5007), 107);
}

/* After a power cut of all, the new leader may have applied nothing yet: how long its machine is up
 * says nothing about cluster time. */
static void stands_still_until_something_is_applied(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    assert_int_equal(leader_clock_now(&clock, 1000000000), 0);
    assert_int_equal(leader_clock_until(&clock, 70, 1000000000), 70);
    leader_clock_applied(&clock, 0, 1000000000);
    assert_int_equal(leader_clock_now(&clock, 1000000007), 7);
}

static void an_entry_that_is_not_newer_changes_nothing(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    leader_clock_applied(&clock, 100, 5000);
    leader_clock_applied(&clock, 100, 6000);
    leader_clock_applied(&clock, 99, 7000);
    assert_int_equal(leader_clock_now(&clock, 7000), 2100);
}

static void a_newer_entry_is_counted_from_its_own_moment(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    leader_clock_applied(&clock, 100, 5000);
    leader_clock_applied(&clock, 101, 9000);
    assert_int_equal(leader_clock_now(&clock, 9010), 111);
}

/* A leader stamps 10 ms apart and applies 10 ms later: no time is lost. */
static void stamping_times_keep_pace_where_apply_times_would_not(void **state)
{
    struct leader_clock clock = {0};
    uint64_t mono_ms = 1000;

    (void)state;
    leader_clock_applied(&clock, 100, mono_ms);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t stamp_ms = leader_clock_now(&clock, mono_ms);
        leader_clock_applied(&clock, stamp_ms, mono_ms);
        mono_ms += 10;
    }
    assert_int_equal(leader_clock_now(&clock, mono_ms), 100 + 10 * 1000);
}

static void an_earlier_steady_time_does_not_turn_it_back(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    leader_clock_applied(&clock, 100, 5000);
    assert_int_equal(leader_clock_now(&clock, 4000), 100);
}

static void says_how_long_until_a_cluster_time(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    leader_clock_applied(&clock, 100, 5000);
    assert_int_equal(leader_clock_until(&clock, 100, 5000), 0);
    assert_int_equal(leader_clock_until(&clock, 150, 5000), 50);
    assert_int_equal(leader_clock_until(&clock, 150, 5049), 1);
    assert_int_equal(leader_clock_until(&clock, 150, 5050), 0);
    assert_int_equal(leader_clock_until(&clock, 150, 6000), 0);
    assert_int_equal(
        leader_clock_now(&clock, 5000 + leader_clock_until(&clock, 150, 5000)), 150);
}

static void the_ends_of_the_range_do_not_wrap(void **state)
{
    struct leader_clock clock = {0};

    (void)state;
    leader_clock_applied(&clock, UINT64_MAX - 5, 1000);
    assert_true(leader_clock_now(&clock, 2000) == UINT64_MAX);
    assert_int_equal(leader_clock_until(&clock, UINT64_MAX, 1000), 5);

    clock = (struct leader_clock){0};
    leader_clock_applied(&clock, 1, 1000);
    assert_true(leader_clock_until(&clock, UINT64_MAX, 0) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_at_zero_and_counts_from_the_first_entry),
        cmocka_unit_test(stands_still_until_something_is_applied),
        cmocka_unit_test(an_entry_that_is_not_newer_changes_nothing),
        cmocka_unit_test(a_newer_entry_is_counted_from_its_own_moment),
        cmocka_unit_test(stamping_times_keep_pace_where_apply_times_would_not),
        cmocka_unit_test(an_earlier_steady_time_does_not_turn_it_back),
        cmocka_unit_test(says_how_long_until_a_cluster_time),
        cmocka_unit_test(the_ends_of_the_range_do_not_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
