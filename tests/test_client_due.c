/* The heap of holds by when they need a look: always the first one first, whatever moves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client_engine.h"

enum { LOCKS = 200, STEPS = 20000 };

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static void make_locks(struct client_lock *locks[static LOCKS])
{
    for (int i = 0; i < LOCKS; i++) {
        locks[i] = calloc(1, sizeof *locks[i]);
        assert_non_null(locks[i]);
    }
}

static void free_locks(struct client_lock *locks[static LOCKS])
{
    for (int i = 0; i < LOCKS; i++) {
        free(locks[i]);
    }
}

static const struct client_lock *first_of(struct client_lock *const locks[static LOCKS])
{
    const struct client_lock *first = NULL;

    for (int i = 0; i < LOCKS; i++) {
        if (locks[i]->due_place != 0 &&
            (first == NULL || locks[i]->due_ms < first->due_ms)) {
            first = locks[i];
        }
    }
    return first;
}

static void the_first_is_first_whatever_moves(void **state)
{
    struct client_lock *locks[LOCKS];
    struct client_due due = {0};
    uint64_t random = 4711;

    (void)state;
    make_locks(locks);
    for (size_t i = 1; i <= LOCKS; i++) {
        assert_int_equal(client_due_reserve(&due, i), 0);
    }
    for (int step = 0; step < STEPS; step++) {
        struct client_lock *lock = locks[next_random(&random) % LOCKS];

        if (next_random(&random) % 3 == 0) {
            client_due_remove(&due, lock);
            assert_int_equal(lock->due_place, 0);
        } else {
            client_due_put(&due, lock, next_random(&random) % 1000);
        }
        const struct client_lock *found = client_due_first(&due);
        const struct client_lock *expected = first_of(locks);
        assert_int_equal(found == NULL, expected == NULL);
        if (found != NULL) {
            assert_int_equal(found->due_ms, expected->due_ms);
        }
    }
    free(due.locks);
    free_locks(locks);
}

static void what_is_taken_out_first_comes_in_order(void **state)
{
    struct client_lock *locks[LOCKS];
    struct client_due due = {0};
    struct client_lock *first;
    uint64_t random = 4712, before_ms = 0;
    int count = 0;

    (void)state;
    make_locks(locks);
    for (size_t i = 0; i < LOCKS; i++) {
        assert_int_equal(client_due_reserve(&due, i + 1), 0);
        client_due_put(&due, locks[i], next_random(&random) % 50);
    }
    while ((first = client_due_first(&due)) != NULL) {
        assert_true(first->due_ms >= before_ms);
        before_ms = first->due_ms;
        client_due_remove(&due, first);
        count++;
    }
    assert_int_equal(count, LOCKS);
    free(due.locks);
    free_locks(locks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_first_whatever_moves),
        cmocka_unit_test(what_is_taken_out_first_comes_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
