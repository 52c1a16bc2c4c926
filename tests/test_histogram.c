/* The histogram of durations: what it says against what was put in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "histogram.h"

static void an_empty_histogram_says_zero(void **state)
{
    struct histogram h = {0};

    (void)state;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_true(histogram_mean(&h) < 0.5);
}

static void small_values_are_exact(void **state)
{
    struct histogram h = {0};

    (void)state;
    for (uint64_t v = 1; v <= 100; v++) {
        histogram_add(&h, v);
    }
    assert_int_equal(histogram_quantile(&h, 0), 1);
    assert_int_equal(histogram_quantile(&h, 0.5), 50);
    assert_int_equal(histogram_quantile(&h, 0.99), 99);
    assert_int_equal(histogram_quantile(&h, 1), 100);
    assert_true(histogram_mean(&h) > 50.4 && histogram_mean(&h) < 50.6);
}

static void one_late_value_is_seen_in_the_last_quantile_only(void **state)
{
    struct histogram h = {0};

    (void)state;
    for (int i = 0; i < 999; i++) {
        histogram_add(&h, 10);
    }
    histogram_add(&h, 5000000000u);
    assert_int_equal(histogram_quantile(&h, 0.999), 10);
    assert_int_equal(histogram_quantile(&h, 1), 5000000000u);
    assert_int_equal(h.least, 10);
    assert_int_equal(h.greatest, 5000000000u);
}

/* A value alone, between two others that keep the exact ends out of the way. */
static uint64_t said_of(uint64_t value)
{
    struct histogram *h = calloc(1, sizeof *h);
    uint64_t said;

    assert_non_null(h);
    histogram_add(h, 0);
    histogram_add(h, value);
    histogram_add(h, UINT64_MAX);
    said = histogram_quantile(h, 0.5);
    free(h);
    return said;
}

static void no_value_is_said_smaller_or_much_greater_than_it_is(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t power = UINT64_C(1) << bit;
        const uint64_t values[] = {power - 1,           power,
                                   power + 1,           power + power / 2,
                                   power + power / 128, power + (power - 1)};

        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            uint64_t value = values[i], said = said_of(value);

            assert_true(said >= value);
            assert_true(said - value <= value / HISTOGRAM_STEPS);
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
    enum { COUNT = 10000 };
    static const double quantiles[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};
    static uint64_t values[COUNT];
    static struct histogram h;
    uint64_t random = 4711;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        values[i] = random >> (random % 60);
        histogram_add(&h, values[i]);
    }
    qsort(values, COUNT, sizeof *values, compare);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        uint64_t truth = values[(size_t)(quantiles[i] * COUNT) - 1];
        uint64_t said = histogram_quantile(&h, quantiles[i]);

        assert_true(said >= truth);
        assert_true(said - truth <= truth / HISTOGRAM_STEPS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(one_late_value_is_seen_in_the_last_quantile_only),
        cmocka_unit_test(no_value_is_said_smaller_or_much_greater_than_it_is),
        cmocka_unit_test(quantiles_are_those_of_the_sorted_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
