/* Which connections act for which client, and when a client is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "liveness.h"

static struct fsm_str id(const char *text)
{
    return (struct fsm_str){.data = text, .len = strlen(text)};
}

static int setup(void **state)
{
    *state = liveness_new(42);
    return 0;
}

static int teardown(void **state)
{
    liveness_free(*state);
    return 0;
}

static void attach(struct liveness *liveness,
                   const char *client,
                   uint64_t attach_seq,
                   struct liveness_conn *conn)
{
    liveness_attaching(liveness, id(client));
    liveness_attached(liveness, id(client), attach_seq, 0, false, conn, 0);
}

static void supersede(struct liveness *liveness,
                      const char *client,
                      uint64_t attach_seq,
                      uint64_t epoch,
                      struct liveness_conn *conn)
{
    liveness_attaching(liveness, id(client));
    liveness_attached(liveness, id(client), attach_seq, epoch, true, conn, 0);
}

static void drop(struct liveness *liveness,
                 struct liveness_conn *conn,
                 const char *client,
                 uint64_t gone_at_ms)
{
    liveness_drop(liveness, liveness_find(liveness, conn, id(client)), gone_at_ms);
}

static bool
due_is(struct liveness *liveness, uint64_t now_ms, const char *client, uint64_t seq)
{
    struct liveness_due due;

    return liveness_due(liveness, now_ms, &due) && due.client.len == strlen(client) &&
           memcmp(due.client.data, client, due.client.len) == 0 && due.attach_seq == seq;
}

static bool nothing_due(struct liveness *liveness, uint64_t now_ms)
{
    struct liveness_due due;

    return !liveness_due(liveness, now_ms, &due);
}

/* ---- going ---- */

static void client_is_gone_with_its_last_connection(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};
    struct liveness_conn two = {0};

    attach(liveness, "c", 5, &one);
    attach(liveness, "c", 6, &two);
    drop(liveness, &one, "c", 100);
    assert_true(nothing_due(liveness, 1000));
    drop(liveness, &two, "c", 100);

    assert_true(nothing_due(liveness, 99));
    assert_int_equal(liveness_next_ms(liveness), 100);
    assert_true(due_is(liveness, 100, "c", 6));
    liveness_gone(liveness, id("c"));
    assert_true(nothing_due(liveness, 1000));
    assert_int_equal(liveness_next_ms(liveness), UINT64_MAX);
    assert_int_equal(liveness_clients_count(liveness), 0);
}

static void return_within_the_grace_cancels_it(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};
    struct liveness_conn two = {0};

    attach(liveness, "c", 5, &one);
    drop(liveness, &one, "c", 100);
    attach(liveness, "c", 6, &two);

    assert_true(nothing_due(liveness, 1000));
    drop(liveness, &two, "c", 2000);
    assert_true(due_is(liveness, 2000, "c", 6));
}

static void refused_return_does_not_stretch_the_grace(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};

    attach(liveness, "c", 5, &one);
    drop(liveness, &one, "c", 100);
    liveness_attaching(liveness, id("c"));
    assert_true(nothing_due(liveness, 1000)); /* the log decides first */
    liveness_refused(liveness, id("c"), NULL);

    assert_true(due_is(liveness, 100, "c", 5));
}

static void refused_attach_leaves_nothing_behind(void **state)
{
    struct liveness *liveness = *state;

    liveness_attaching(liveness, id("c"));
    liveness_refused(liveness, id("c"), NULL);

    assert_true(nothing_due(liveness, UINT64_MAX - 1));
    assert_int_equal(liveness_clients_count(liveness), 0);
}

static void attach_that_comes_too_late_leaves_a_stale_link(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn old = {0};
    struct liveness_conn new = {0};

    attach(liveness, "c", 5, &new);
    liveness_attaching(liveness, id("c"));
    liveness_refused(liveness, id("c"), &old);

    assert_true(liveness_link_stale(liveness_find(liveness, &old, id("c"))));
    assert_ptr_equal(liveness_newest(liveness, id("c")), &new);
    drop(liveness, &old, "c", 100);
    assert_true(nothing_due(liveness, 1000));
    drop(liveness, &new, "c", 2000);
    assert_true(due_is(liveness, 2000, "c", 5));
}

static void late_attach_does_not_touch_a_link_that_is_there(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};

    attach(liveness, "c", 5, &one);
    liveness_attaching(liveness, id("c"));
    liveness_refused(liveness, id("c"), &one);

    assert_false(liveness_link_stale(liveness_find(liveness, &one, id("c"))));
    drop(liveness, &one, "c", 100);
}

static void attach_of_a_dead_connection_makes_the_client_go(void **state)
{
    struct liveness *liveness = *state;

    liveness_attaching(liveness, id("c"));
    liveness_attached(liveness, id("c"), 9, 0, false, NULL, 50);

    assert_true(due_is(liveness, 50, "c", 9));
}

static void proposed_detach_is_not_due_again(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};

    attach(liveness, "c", 5, &one);
    struct liveness_link *link = liveness_find(liveness, &one, id("c"));
    assert_true(liveness_link_is_last(link));
    liveness_drop_detached(liveness, link);

    assert_true(nothing_due(liveness, UINT64_MAX - 1));
    assert_null(one.links);
    assert_int_equal(liveness_clients_count(liveness), 0);
}

static void link_is_not_the_last_beside_another_connection(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};
    struct liveness_conn two = {0};

    attach(liveness, "c", 1, &one);
    attach(liveness, "c", 2, &two);
    assert_false(liveness_link_is_last(liveness_find(liveness, &one, id("c"))));
    assert_false(liveness_link_is_last(liveness_find(liveness, &two, id("c"))));
    drop(liveness, &one, "c", 100);
    assert_true(liveness_link_is_last(liveness_find(liveness, &two, id("c"))));
}

static void link_is_not_the_last_while_another_attach_is_under_way(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};

    attach(liveness, "c", 5, &one);
    liveness_attaching(liveness, id("c"));

    assert_false(liveness_link_is_last(liveness_find(liveness, &one, id("c"))));
    liveness_refused(liveness, id("c"), NULL);
    assert_true(liveness_link_is_last(liveness_find(liveness, &one, id("c"))));
    liveness_clear(liveness); /* the connections go with this function */
}

/* ---- superseding ---- */

static void superseded_links_are_stale_and_do_not_count(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn old = {0};
    struct liveness_conn new = {0};

    supersede(liveness, "c", 5, 1, &old);
    supersede(liveness, "c", 6, 2, &new);
    struct liveness_link *stale = liveness_find(liveness, &old, id("c"));
    struct liveness_link *link = liveness_find(liveness, &new, id("c"));

    assert_true(liveness_link_stale(stale));
    assert_false(liveness_link_stale(link));
    assert_int_equal(liveness_link_epoch(link), 2);
    assert_ptr_equal(liveness_newest(liveness, id("c")), &new);
    assert_true(liveness_link_is_last(link));
    drop(liveness, &old, "c", 10);
    assert_true(nothing_due(liveness, 1000));
    drop(liveness, &new, "c", 20);
    assert_true(due_is(liveness, 20, "c", 6));
}

static void stale_link_outlives_the_client(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn old = {0};
    struct liveness_conn new = {0};

    supersede(liveness, "c", 5, 1, &old);
    supersede(liveness, "c", 6, 2, &new);
    drop(liveness, &new, "c", 10);
    assert_true(due_is(liveness, 10, "c", 6));
    liveness_gone(liveness, id("c"));

    assert_true(liveness_link_stale(liveness_find(liveness, &old, id("c"))));
    drop(liveness, &old, "c", 20);
    assert_true(nothing_due(liveness, 1000));
    assert_int_equal(liveness_clients_count(liveness), 0);
}

static void attach_anew_revives_a_stale_link(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn old = {0};
    struct liveness_conn new = {0};

    supersede(liveness, "c", 5, 1, &old);
    supersede(liveness, "c", 6, 2, &new);
    supersede(liveness, "c", 7, 3, &old);

    assert_false(liveness_link_stale(liveness_find(liveness, &old, id("c"))));
    assert_true(liveness_link_stale(liveness_find(liveness, &new, id("c"))));
    assert_int_equal(old.links_count, 1);
    liveness_clear(liveness); /* the connections go with this function */
}

/* ---- looking ---- */

static void newest_is_who_attached_last(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn one = {0};
    struct liveness_conn two = {0};

    assert_null(liveness_newest(liveness, id("c")));
    attach(liveness, "c", 1, &one);
    attach(liveness, "c", 2, &two);
    assert_ptr_equal(liveness_newest(liveness, id("c")), &two);
    attach(liveness, "c", 3, &one);
    assert_ptr_equal(liveness_newest(liveness, id("c")), &one);
    drop(liveness, &one, "c", 0);
    assert_ptr_equal(liveness_newest(liveness, id("c")), &two);
    liveness_clear(liveness); /* the connections go with this function */
}

static void connection_lists_its_clients_in_order(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn conn = {0};

    attach(liveness, "b", 1, &conn);
    attach(liveness, "a", 2, &conn);
    attach(liveness, "b", 3, &conn);

    assert_int_equal(conn.links_count, 2);
    assert_int_equal(liveness_link_client(conn.links).data[0], 'b');
    assert_int_equal(liveness_link_client(liveness_link_next(conn.links)).data[0], 'a');
    assert_null(liveness_link_next(liveness_link_next(conn.links)));
    liveness_clear(liveness); /* the connections go with this function */
}

static void clearing_forgets_everything(void **state)
{
    struct liveness *liveness = *state;
    struct liveness_conn conn = {0};

    attach(liveness, "a", 1, &conn);
    attach(liveness, "b", 2, &conn);
    drop(liveness, &conn, "b", 10);
    liveness_attaching(liveness, id("c"));

    liveness_clear(liveness);

    assert_null(conn.links);
    assert_int_equal(conn.links_count, 0);
    assert_true(nothing_due(liveness, UINT64_MAX - 1));
    assert_int_equal(liveness_clients_count(liveness), 0);
}

/* Many clients with random graces come due in order, each once. */
static void due_comes_in_order_of_time(void **state)
{
    struct liveness *liveness = *state;
    enum { CLIENTS = 2000 };
    struct liveness_conn conn = {0};
    unsigned seed = (unsigned)time(NULL);
    char name[16];
    struct liveness_due due;

    print_message("seed %u\n", seed);
    srand(seed);
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        attach(liveness, name, (uint64_t)i + 1, &conn);
    }
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        drop(liveness, &conn, name, (uint64_t)(rand() % 1000));
    }
    for (int i = 0; i < CLIENTS; i += 3) {
        snprintf(name, sizeof(name), "c%d", i);
        attach(liveness, name, (uint64_t)(CLIENTS + i), &conn);
    }

    uint64_t last_ms = 0;
    int count = 0;
    while (liveness_next_ms(liveness) != UINT64_MAX) {
        uint64_t next_ms = liveness_next_ms(liveness);
        assert_true(next_ms >= last_ms);
        assert_true(next_ms == 0 || !liveness_due(liveness, next_ms - 1, &due));
        assert_true(liveness_due(liveness, next_ms, &due));
        liveness_gone(liveness, due.client);
        last_ms = next_ms;
        count++;
    }
    assert_int_equal(count, CLIENTS - (CLIENTS + 2) / 3);
    liveness_clear(liveness); /* the connections go with this function */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(client_is_gone_with_its_last_connection),
        TEST(return_within_the_grace_cancels_it),
        TEST(refused_return_does_not_stretch_the_grace),
        TEST(refused_attach_leaves_nothing_behind),
        TEST(attach_that_comes_too_late_leaves_a_stale_link),
        TEST(late_attach_does_not_touch_a_link_that_is_there),
        TEST(attach_of_a_dead_connection_makes_the_client_go),
        TEST(proposed_detach_is_not_due_again),
        TEST(link_is_not_the_last_beside_another_connection),
        TEST(link_is_not_the_last_while_another_attach_is_under_way),
        TEST(superseded_links_are_stale_and_do_not_count),
        TEST(stale_link_outlives_the_client),
        TEST(attach_anew_revives_a_stale_link),
        TEST(newest_is_who_attached_last),
        TEST(connection_lists_its_clients_in_order),
        TEST(clearing_forgets_everything),
        TEST(due_comes_in_order_of_time),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
