/* netlock_backup() against a real netlockd, which is killed between two pieces.
 *     test_client_backup NETLOCKD */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netlock.h"
#include "netlockd_process.h"

enum { LOCKS = 1500, NAME_BYTES = 200 };

static const char *binary;

static int start_node(void **state)
{
    struct netlockd_process *node = malloc(sizeof(*node));
    if (node == NULL)
        return -1;
    netlockd_init(node, binary);
    netlockd_start(node);
    *state = node;
    return 0;
}

static int end_node(void **state)
{
    netlockd_release(*state);
    free(*state);
    return 0;
}

/* With locks enough for several pieces. */
static struct netlock *open_client(const struct netlockd_process *node)
{
    struct netlock *nl = NULL;
    struct netlock_options options = {.servers = node->address,
                                      .connect_timeout_ms = 60000};
    char name[NAME_BYTES + 1];
    assert_int_equal(netlock_open(&nl, &options), 0);
    for (int i = 0; i < LOCKS; i++) {
        snprintf(name, sizeof(name), "%0*d", NAME_BYTES, i);
        assert_int_equal(netlock_lock(nl, name, NULL, NULL), 0);
    }
    return nl;
}

struct sink {
    struct netlockd_process *node; /* killed and started again at the first piece */
    uint64_t bytes;
    unsigned pieces;
    int rv; /* what writing says */
};

static int take(void *arg, const void *data, size_t len)
{
    struct sink *sink = arg;
    assert_non_null(data);
    if (sink->pieces == 0 && sink->node != NULL) {
        netlockd_kill9(sink->node);
        netlockd_start(sink->node);
    }
    sink->pieces++;
    sink->bytes += len;
    return sink->rv;
}

static void all_pieces_come(void **state)
{
    struct netlock *nl = open_client(*state);
    struct sink sink = {0};
    struct netlock_backup backup;

    assert_int_equal(netlock_backup(nl, take, &sink, &backup), 0);

    assert_true(sink.pieces > 1);
    assert_int_equal(sink.bytes, backup.bytes);
    assert_int_equal(backup.last_token, LOCKS);
    assert_true(backup.index > 0);
    netlock_close(nl);
}

static void what_cannot_be_written_ends_it(void **state)
{
    struct netlock *nl = open_client(*state);
    struct sink sink = {.rv = -ENOSPC};

    assert_int_equal(netlock_backup(nl, take, &sink, NULL), -ENOSPC);

    assert_int_equal(sink.pieces, 1);
    sink = (struct sink){0};
    assert_int_equal(netlock_backup(nl, take, &sink, NULL), 0); /* begins anew */
    netlock_close(nl);
}

static void a_leader_that_goes_says_begin_again(void **state)
{
    struct netlock *nl = open_client(*state);
    struct sink sink = {.node = *state};

    assert_int_equal(netlock_backup(nl, take, &sink, NULL), -EAGAIN);

    assert_int_equal(sink.pieces, 1);
    sink = (struct sink){0};
    assert_int_equal(netlock_backup(nl, take, &sink, NULL), 0);
    netlock_close(nl);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_node, end_node)
        TEST(all_pieces_come),
        TEST(what_cannot_be_written_ends_it),
        TEST(a_leader_that_goes_says_begin_again),
#undef TEST
    };
    if (argc != 2) {
        fprintf(stderr, "usage: test_client_backup NETLOCKD\n");
        return 64;
    }
    binary = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
