/* What the command line prints and reads: escapes, tables, JSON, durations. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli.h"
#include "cli_text.h"

static void assert_escaped(const char *text, const char *expected)
{
    char *escaped = text_escape(text);

    assert_string_equal(escaped, expected);
    free(escaped);
}

static void plain_text_is_shown_as_it_is(void **state)
{
    (void)state;
    assert_escaped("", "");
    assert_escaped("cron.nightly/1 \"x\"", "cron.nightly/1 \"x\"");
    assert_escaped("\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x92",
                   "\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x92");
}

static void control_characters_become_escapes(void **state)
{
    (void)state;
    assert_escaped("a\nb\tc\\d", "a\\nb\\tc\\\\d");
    assert_escaped("\x1b[31m\x7f", "\\x1b[31m\\x7f");
    assert_escaped("\xc2\x9b"
                   "0m",
                   "\\u{9b}0m"); /* C1: another way to say ESC [ */
}

static void characters_that_hide_or_reverse_become_escapes(void **state)
{
    (void)state;
    assert_escaped("a\xe2\x80\xae"
                   "b",
                   "a\\u{202e}b");
    assert_escaped("\xe2\x81\xa6\xe2\x80\x8b\xef\xbb\xbf", "\\u{2066}\\u{200b}\\u{feff}");
    assert_escaped("\xf3\xa0\x81\x81", "\\u{e0041}");
}

static void invalid_utf8_is_shown_byte_by_byte(void **state)
{
    (void)state;
    assert_escaped("\xff", "\\xff");
    assert_escaped("\xc3", "\\xc3");                   /* cut off by the end */
    assert_escaped("\xe2\x82z", "\\xe2\\x82z");        /* cut off by another character */
    assert_escaped("\xc0\xaf", "\\xc0\\xaf");          /* overlong */
    assert_escaped("\xe0\x80\xaf", "\\xe0\\x80\\xaf"); /* overlong */
    assert_escaped("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* a surrogate */
    assert_escaped("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* beyond U+10FFFF */
}

static void durations_read_as_people_write_them(void **state)
{
    static const struct {
        const char *text;
        uint32_t ms;
    } good[] = {{"0", 0},
                {"30", 30000},
                {"30s", 30000},
                {"500ms", 500},
                {"2m", 120000},
                {"1h", 3600000},
                {"1d", 86400000},
                {"0.5", 500},
                {"1.25s", 1250},
                {"0.1ms", 1},
                {".5s", 500},
                {"0.0001", 0},
                {"4294967294ms", UINT32_MAX - 1}};
    static const char *const bad[] = {"",
                                      ".",
                                      "s",
                                      "-1",
                                      "1 s",
                                      "1y",
                                      "1sec",
                                      "0x10",
                                      "1e3",
                                      "50d",
                                      "1.5.5",
                                      "4294967295ms",
                                      "99999999999999999999"};
    uint32_t ms = 77;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(cli_parse_duration(good[i].text, &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    ms = 77;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(cli_parse_duration(bad[i], &ms), -EINVAL);
    }
    assert_int_equal(ms, 77);
}

static void durations_are_shown_with_two_units(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "0ms"},           {999, "999ms"},           {1000, "1s"},
                 {59999, "59s"},       {125000, "2m05s"},        {11220000, "3h07m"},
                 {439200000, "5d02h"}, {UINT32_MAX, "unlimited"}};
    char buffer[TEXT_DURATION_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(text_duration(cases[i].ms, buffer), cases[i].text);
    }
}

static void table_columns_are_as_wide_as_their_widest_cell(void **state)
{
    struct text_table table = {.columns = 2};
    char *printed;
    size_t bytes;
    FILE *out = open_memstream(&printed, &bytes);

    (void)state;
    text_table_add(&table, "NAME");
    text_table_add(&table, "N");
    text_table_add(&table,
                   "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"); /* five characters */
    text_table_addf(&table, "%d", 7);
    text_table_add(&table, "a\nb");
    text_table_add(&table, "");
    text_table_print(&table, out);
    fclose(out);

    assert_string_equal(printed, "NAME   N\n"
                                 "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9  7\n"
                                 "a\\nb   \n");
    free(printed);
    text_table_release(&table);
}

static void json_is_nested_with_commas_where_they_belong(void **state)
{
    char *printed;
    size_t bytes;
    struct json json = {.out = open_memstream(&printed, &bytes)};

    (void)state;
    json_open_object(&json, NULL);
    json_string(&json, "s", "x");
    json_open_array(&json, "a");
    json_number(&json, NULL, UINT64_MAX);
    json_open_object(&json, NULL);
    json_close(&json);
    json_close(&json);
    json_open_array(&json, "empty");
    json_close(&json);
    json_bool(&json, "b", false);
    json_string(&json, "null", NULL);
    json_ms(&json, "none", UINT32_MAX);
    json_close(&json);
    fclose(json.out);

    assert_string_equal(printed, "{\n"
                                 "  \"s\": \"x\",\n"
                                 "  \"a\": [\n"
                                 "    18446744073709551615,\n"
                                 "    {}\n"
                                 "  ],\n"
                                 "  \"empty\": [],\n"
                                 "  \"b\": false,\n"
                                 "  \"null\": null,\n"
                                 "  \"none\": null\n"
                                 "}\n");
    free(printed);
}

static void json_strings_are_escaped(void **state)
{
    char *printed;
    size_t bytes;
    struct json json = {.out = open_memstream(&printed, &bytes)};

    (void)state;
    json_open_array(&json, NULL);
    json_string(&json, NULL, "\"\\\n\x1b\xc3\xa9\xe2\x80\xae\xff");
    json_close(&json);
    fclose(json.out);

    assert_string_equal(printed,
                        "[\n  \"\\\"\\\\\\u000a\\u001b\xc3\xa9\\u202e\\ufffd\"\n]\n");
    free(printed);
}

static void errors_of_the_library_have_their_exit_status(void **state)
{
    (void)state;
    assert_int_equal(cli_status_of(0), CLI_OK);
    assert_int_equal(cli_status_of(-NETLOCK_EHELD), CLI_CONFLICT);
    assert_int_equal(cli_status_of(-NETLOCK_ETIMEOUT), CLI_CONFLICT);
    assert_int_equal(cli_status_of(-NETLOCK_EUNREACHABLE), CLI_UNAVAILABLE);
    assert_int_equal(cli_status_of(-NETLOCK_EDENIED), CLI_DENIED);
    assert_int_equal(cli_status_of(-NETLOCK_EINVALID), CLI_USAGE);
    assert_int_equal(cli_status_of(-NETLOCK_ESTALE), CLI_LOST);
    assert_int_equal(cli_status_of(-NETLOCK_EPROTOCOL), CLI_PROTOCOL);
    assert_int_equal(cli_status_of(-ENOMEM), CLI_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_is_shown_as_it_is),
        cmocka_unit_test(control_characters_become_escapes),
        cmocka_unit_test(characters_that_hide_or_reverse_become_escapes),
        cmocka_unit_test(invalid_utf8_is_shown_byte_by_byte),
        cmocka_unit_test(durations_read_as_people_write_them),
        cmocka_unit_test(durations_are_shown_with_two_units),
        cmocka_unit_test(table_columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(json_is_nested_with_commas_where_they_belong),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(errors_of_the_library_have_their_exit_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
