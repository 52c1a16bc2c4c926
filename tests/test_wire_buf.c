/* Bytes that grow. */
#include "wire_buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void what_is_appended_is_there_in_order(void **state)
{
    (void)state;
    struct wire_buf buf = {0};

    for (unsigned i = 0; i < 5000; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(wire_buf_append(&buf, &byte, 1), 0);
    }

    assert_int_equal(buf.len, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(buf.data[i], (uint8_t)i);
    }
    wire_buf_release(&buf);
    assert_null(buf.data);
}

static void dropping_keeps_the_rest(void **state)
{
    (void)state;
    struct wire_buf buf = {0};
    assert_int_equal(wire_buf_append(&buf, "abcdef", 6), 0);

    wire_buf_drop(&buf, 0);
    wire_buf_drop(&buf, 2);

    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.data, "cdef", 4);
    wire_buf_drop(&buf, 4);
    assert_int_equal(buf.len, 0);
    wire_buf_release(&buf);
}

static void what_no_memory_can_hold_is_refused(void **state)
{
    (void)state;
    struct wire_buf buf = {0};
    assert_int_equal(wire_buf_append(&buf, "ab", 2), 0);

    assert_int_equal(wire_buf_reserve(&buf, SIZE_MAX - 1), -ENOMEM);

    assert_int_equal(buf.len, 2);
    assert_memory_equal(buf.data, "ab", 2);
    wire_buf_release(&buf);
}

static void clearing_gives_large_memory_back(void **state)
{
    (void)state;
    struct wire_buf buf = {0};
    assert_int_equal(wire_buf_reserve(&buf, 5000), 0);

    wire_buf_clear(&buf, 10000);
    assert_non_null(buf.data);
    wire_buf_clear(&buf, 1000);

    assert_null(buf.data);
    assert_int_equal(buf.capacity, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_there_in_order),
        cmocka_unit_test(dropping_keeps_the_rest),
        cmocka_unit_test(what_no_memory_can_hold_is_refused),
        cmocka_unit_test(clearing_gives_large_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
