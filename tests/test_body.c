/* JSON that is made of strangers' bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "body.h"

static void assert_json(const char *data, size_t len, const char *expected)
{
    struct body body = {0};

    json_string(&body, NULL, data, len);
    body_put(&body, "", 1);
    assert_string_equal(body.data, expected);
    body_release(&body);
}
#define ASSERT_JSON(literal, expected) assert_json(literal, sizeof(literal) - 1, expected)

static void what_could_be_markup_or_control_is_escaped(void **state)
{
    (void)state;
    ASSERT_JSON("", "\"\"");
    ASSERT_JSON("plain ~", "\"plain ~\"");
    ASSERT_JSON("<b>&\"\\", "\"\\u003cb\\u003e\\u0026\\u0022\\u005c\"");
    ASSERT_JSON("a\0b\n\x1f\x7f", "\"a\\u0000b\\u000a\\u001f\\u007f\"");
}

static void utf8_passes_and_nothing_else(void **state)
{
    (void)state;
    ASSERT_JSON("\xc3\xbc\xe2\x82\xac\xf0\x9f\x94\x92",
                "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x94\x92\"");
    ASSERT_JSON("\xff"
                "a",
                "\"\\ufffda\"");
    ASSERT_JSON("\xc3", "\"\\ufffd\"");            /* cut off */
    ASSERT_JSON("\xc0\xbc", "\"\\ufffd\\ufffd\""); /* longer than need be: < */
    ASSERT_JSON("\xe0\x80\xbc", "\"\\ufffd\\ufffd\\ufffd\"");
    ASSERT_JSON("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
    ASSERT_JSON("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

static void containers_have_commas_where_they_belong(void **state)
{
    struct body body = {0};

    (void)state;
    json_open(&body, NULL, '{');
    json_number(&body, "a", UINT64_MAX);
    json_open(&body, "b", '[');
    json_number(&body, NULL, 0);
    json_text(&body, NULL, "{");
    json_bool(&body, NULL, true);
    json_close(&body, ']');
    json_open(&body, "c", '{');
    json_close(&body, '}');
    json_null(&body, "d");
    json_close(&body, '}');
    body_put(&body, "", 1);
    assert_string_equal(body.data, "{\"a\":18446744073709551615,\"b\":[0,\"{\",true],"
                                   "\"c\":{},\"d\":null}");
    body_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_could_be_markup_or_control_is_escaped),
        cmocka_unit_test(utf8_passes_and_nothing_else),
        cmocka_unit_test(containers_have_commas_where_they_belong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
