/* The log: one line per event, whatever is in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

enum { TEXT_BYTES = 16384 };

struct capture {
    struct log log;
    int read_fd;
    char text[TEXT_BYTES];
};

static int setup(void **state)
{
    struct capture *capture = calloc(1, sizeof(*capture));
    int ends[2];

    assert_non_null(capture);
    assert_int_equal(pipe(ends), 0);
    capture->log = (struct log){.level = LOG_LEVEL_INFO, .fd = ends[1]};
    capture->read_fd = ends[0];
    *state = capture;
    return 0;
}

static int teardown(void **state)
{
    struct capture *capture = *state;

    close(capture->read_fd);
    close(capture->log.fd);
    free(capture);
    return 0;
}

/* What was written since; there is something. */
static const char *written(struct capture *capture)
{
    ssize_t got = read(capture->read_fd, capture->text, TEXT_BYTES - 1);

    assert_true(got > 0);
    capture->text[got] = '\0';
    return capture->text;
}

static void line_has_time_level_component_and_event(void **state)
{
    struct capture *capture = *state;

    log_event(&capture->log, LOG_LEVEL_WARNING, "server", "thing", "a=%d b=\"%s\"", 1,
              "x y");

    const char *line = written(capture);
    assert_int_equal(
        strlen(line),
        strlen("2026-01-01T00:00:00.000Z warning server thing a=1 b=\"x y\"\n"));
    assert_int_equal(line[10], 'T');
    assert_int_equal(line[23], 'Z');
    assert_string_equal(line + 24, " warning server thing a=1 b=\"x y\"\n");
}

static void an_operators_action_is_written_at_every_level(void **state)
{
    struct capture *capture = *state;

    capture->log.level = LOG_LEVEL_ERROR;
    log_event(&capture->log, LOG_LEVEL_INFO, "server", "thing", "a=%d", 1);
    log_audit(&capture->log, "break-done", "lock=\"x\" holds=%d", 1);

    assert_string_equal(written(capture) + 24,
                        " info audit break-done lock=\"x\" holds=1\n");
}

static void journal_gets_a_priority_instead_of_the_time(void **state)
{
    struct capture *capture = *state;

    capture->log.journal = true;
    log_event(&capture->log, LOG_LEVEL_ERROR, "server", "thing", "a=%d", 1);

    assert_string_equal(written(capture), "<3>server thing a=1\n");
}

static void lines_above_the_level_are_not_written(void **state)
{
    struct capture *capture = *state;

    capture->log.journal = true;
    log_event(&capture->log, LOG_LEVEL_DEBUG, "server", "quiet", "a=%d", 1);
    log_event(&capture->log, LOG_LEVEL_INFO, "server", "loud", "a=%d", 1);

    assert_string_equal(written(capture), "<6>server loud a=1\n");
}

static void nobody_can_forge_a_line(void **state)
{
    struct capture *capture = *state;

    capture->log.journal = true;
    log_event(&capture->log, LOG_LEVEL_INFO, "server", "thing", "a=%s",
              "x\n<3>server fake\x1b[2J");

    assert_string_equal(written(capture),
                        "<6>server thing a=x\\x0a<3>server fake\\x1b[2J\n");
}

static void endless_text_is_cut_and_still_a_line(void **state)
{
    struct capture *capture = *state;
    char *text = malloc(10000);

    assert_non_null(text);
    memset(text, '\n', 9999);
    text[9999] = '\0';
    log_event(&capture->log, LOG_LEVEL_INFO, "server", "thing", "a=%s", text);
    free(text);

    const char *line = written(capture);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void quoted_values_can_be_told_apart(void **state)
{
    char out[LOG_QUOTED_BYTES];

    (void)state;
    assert_string_equal(log_quote(out, "a\"b\\c", 5), "\"a\\\"b\\\\c\"");
    assert_string_equal(log_quote(out, "\xc3\xa4\xff\0", 4), "\"\xc3\xa4\\xff\\x00\"");
    assert_string_equal(log_quote(out, "\xc2\x9b", 2), "\"\\xc2\\x9b\"");
    assert_string_equal(log_quote(out, "", 0), "\"\"");
}

static void client_ids_are_shown_in_part(void **state)
{
    char out[LOG_CLIENT_ID_BYTES];

    (void)state;
    assert_string_equal(log_client_id(out, "0123456789ab", 12), "0123456789ab");
    assert_string_equal(log_client_id(out, "0123456789abc", 13), "0123456789ab…");
    assert_string_equal(log_client_id(out, "ääääääääääääää", 28), "ääääääääääää…");
}

static void flood_is_summed_up(void **state)
{
    struct log_limit limit = {0};
    uint32_t suppressed = 7;
    int passed = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        passed += log_limit_pass(&limit, 1000, &suppressed);
    }
    assert_int_equal(passed, 5);
    assert_int_equal(suppressed, 0);
    assert_true(log_limit_pass(&limit, 11000, &suppressed));
    assert_int_equal(suppressed, 95);
    assert_true(log_limit_pass(&limit, 11000, &suppressed));
    assert_int_equal(suppressed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(line_has_time_level_component_and_event),
        TEST(an_operators_action_is_written_at_every_level),
        TEST(journal_gets_a_priority_instead_of_the_time),
        TEST(lines_above_the_level_are_not_written),
        TEST(nobody_can_forge_a_line),
        TEST(endless_text_is_cut_and_still_a_line),
        cmocka_unit_test(quoted_values_can_be_told_apart),
        cmocka_unit_test(client_ids_are_shown_in_part),
        cmocka_unit_test(flood_is_summed_up),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
