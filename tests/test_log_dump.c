/* The log of a stopped node as text. */
#include "nodes.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log_dump.h"

static char *dumped(struct fixture *f)
{
    char error[LOG_DUMP_ERROR_BYTES] = "";
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    int rv = log_dump(f->hosts[0].data_dir, out, error);
    fclose(out);
    if (rv != 0) {
        fail_msg("%s", error);
    }
    return text;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("'%s' is not in:\n%s", part, text);
    }
}

static void start_one(struct fixture *f)
{
    nodes_choose_members(f, 1);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
}

static void every_command_is_there_in_its_entry(void **state)
{
    struct fixture *f = *state;

    start_one(f);
    nodes_attach(f, "a \"client\"");
    nodes_lock(f, "a \"client\"", "l");
    node_close(f, 0);

    char *text = dumped(f);
    assert_has(text, "{\"index\":1,\"term\":1,\"kind\":\"change\"}\n");
    assert_has(text, "\"kind\":\"commands\",\"time\":");
    assert_has(text, "{\"do\":\"epoch\",\"node\":1,\"term\":");
    assert_has(text, "{\"do\":\"attach\",\"client\":\"a \\u0022client\\u0022\"");
    assert_has(
        text, "{\"do\":\"lock\",\"client\":\"a \\u0022client\\u0022\",\"client_epoch\":0,"
              "\"lock\":\"l\",\"type\":0,");
    assert_null(strstr(text, "\"snapshot\""));
    free(text);
}

static void a_snapshot_comes_first_with_its_records(void **state)
{
    struct fixture *f = *state;

    f->snapshot_threshold = 10;
    f->snapshot_trailing = 2;
    start_one(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 40);
    assert_true(nodes_run_until(f, nodes_first_has_snapshot, WAIT_MS_MAX));
    node_close(f, 0);

    char *text = dumped(f);
    assert_int_equal(strncmp(text, "{\"snapshot\":", 12), 0);
    assert_has(text, "{\"record\":\"root\",\"now\":");
    assert_has(text, "{\"record\":\"client\",\"client\":\"c\",");
    assert_has(text, "{\"record\":\"hold\",\"client\":\"c\",\"lock\":\"");
    free(text);
}

static void looking_changes_nothing_for_the_node(void **state)
{
    struct fixture *f = *state;

    start_one(f);
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 5);
    node_close(f, 0);
    char *first = dumped(f);
    char *second = dumped(f);
    assert_string_equal(first, second);
    free(first);
    free(second);

    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    assert_int_equal(node_counts(f, 0).holds, 5);
}

static void a_directory_in_use_is_refused(void **state)
{
    struct fixture *f = *state;
    char error[LOG_DUMP_ERROR_BYTES] = "";

    start_one(f);
    assert_int_equal(log_dump(f->hosts[0].data_dir, stdout, error), -EBUSY);
    assert_has(error, "is in use");
}

static void what_is_no_data_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    char error[LOG_DUMP_ERROR_BYTES] = "";

    nodes_choose_members(f, 1);
    assert_int_equal(log_dump(f->hosts[0].data_dir, stdout, error), -ENOENT);
    assert_has(error, "no data directory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, nodes_setup, nodes_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_command_is_there_in_its_entry),
        TEST(a_snapshot_comes_first_with_its_records),
        TEST(looking_changes_nothing_for_the_node),
        TEST(a_directory_in_use_is_refused),
        TEST(what_is_no_data_directory_is_refused),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
