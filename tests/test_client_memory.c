/* The client library when memory runs out: the n-th allocation fails, for every n until none does.
 * Nothing crashes or leaks, every callback comes exactly once, and when there is memory again
 * the client works. malloc, calloc and realloc are replaced at link time. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client_copy.h"
#include "fake_server.h"

#define FIRST (&world->server[0])

/* ---- allocations that fail ---------------------------------------------------------------- */

static struct {
    bool armed;
    unsigned long count; /* since armed */
    unsigned long fail_from, fail_to;
} faults;

static bool fails(void)
{
    if (!faults.armed)
        return false;
    faults.count++;
    return faults.count >= faults.fail_from && faults.count <= faults.fail_to;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

/* ---- a server that answers whatever comes --------------------------------------------------- */

static void answer(struct world *world, struct fake *fake)
{
    struct wire_response response = {.client = fake_str("tester"),
                                     .lock = fake->request.lock};
    switch (fake->request.type) {
    case WIRE_REQ_HELLO:
        fake_hello(world, fake, true, fake->address);
        return;
    case WIRE_REQ_ATTACH:
        response.type = WIRE_RESP_ATTACH;
        break;
    case WIRE_REQ_LOCK:
    case WIRE_REQ_REFRESH:
        response.type = WIRE_RESP_GRANTED;
        response.granted.token = 7;
        response.granted.lock_timeout_ms = 30000;
        response.granted.remaining_ms = 30000;
        break;
    case WIRE_REQ_RELEASE:
        response.type = WIRE_RESP_RELEASE;
        response.release.result = WIRE_RELEASED;
        break;
    default:
        fail_msg("not in this script: request %d", (int)fake->request.type);
    }
    fake_send(world, fake, response, true);
}

/* One turn of both sides; the faults strike the client only. */
static void turn(struct world *world)
{
    faults.armed = true;
    world_turn(world);
    faults.armed = false;
    fake_serve(world, FIRST, answer);
    /* The client may be waiting for a back-off, or for an answer that it had no memory to read. */
    world->clock_ms += 5;
    world->cluster_ms += 5;
}

static void finish(struct world *world, const struct fake_result *result)
{
    for (int i = 0; i < 4000 && !result->done; i++)
        turn(world);
    assert_true(result->done);
    assert_int_equal(result->calls, 1);
}

/* ---- the script ------------------------------------------------------------------------------- */

static struct fake_result run_lock(struct world *world, bool lock)
{
    struct fake_result result = {0};
    faults.armed = true;
    int rv = lock ? netlock_lock_async(world->nl, "job", NULL, world_done, &result)
                  : netlock_unlock_async(world->nl, "job", 0, world_done, &result);
    faults.armed = false;
    if (rv != 0)
        return (struct fake_result){.rv = rv};
    finish(world, &result);
    return result;
}

static void expect_fine_or_no_memory(int rv)
{
    if (rv != 0 && rv != -ENOMEM)
        fail_msg("neither 0 nor -ENOMEM: %d", rv);
}

/* True: the faults did not strike at all. */
static bool script(unsigned long fail_from, unsigned long fail_to)
{
    faults.armed = false;
    faults.count = 0;
    faults.fail_from = fail_from;
    faults.fail_to = fail_to;
    struct netlock *nl;
    struct netlock_options options = {.client_id = "tester", .servers = "127.0.0.1:1"};
    options.flags = NETLOCK_MANUAL;
    faults.armed = true;
    int rv = netlock_open(&nl, &options);
    faults.armed = false;
    expect_fine_or_no_memory(rv);
    if (rv == 0)
        netlock_abandon(nl);

    struct world *world = world_new(&(struct netlock_options){.client_id = "tester"});
    expect_fine_or_no_memory(run_lock(world, true).rv);
    expect_fine_or_no_memory(run_lock(world, false).rv);
    for (int i = 0; i < 3;
         i++) { /* the connection breaks, and the hold is taken up or not */
        expect_fine_or_no_memory(run_lock(world, true).rv);
        fake_close(FIRST);
        for (int j = 0; j < 100; j++)
            turn(world);
    }
    bool untouched = faults.count < fail_from;
    faults.fail_to = 0; /* there is memory again */
    assert_int_equal(run_lock(world, true).rv, 0);
    assert_int_equal(run_lock(world, false).rv, 0);
    world_free(world);
    return untouched;
}

static void every_single_failure_is_survived(void **state)
{
    (void)state;
    unsigned long n = 1;
    while (!script(n, n))
        n++;
    print_message("%lu allocations failed, each once\n", n - 1);
    assert_true(n > 10);
}

static void every_row_of_failures_is_survived(void **state)
{
    (void)state;
    for (unsigned long n = 1; !script(n, n + 7); n++)
        continue;
}

static void answers_that_cannot_be_copied_are_no_memory(void **state)
{
    (void)state;
    const struct wire_claim holders[] = {
        {.client = {"one", 3}, .lock = {"job", 3}, .owner_info = {"me", 2}},
        {.client = {"two", 3}, .lock = {"job", 3}, .owner_info = {"you", 3}},
    };
    for (unsigned long n = 1;; n++) {
        struct netlock_holder *copy = NULL;
        size_t count = 0;
        faults.count = 0;
        faults.fail_from = faults.fail_to = n;
        faults.armed = true;
        int rv = copy_holders(&copy, &count, holders, 2);
        faults.armed = false;
        expect_fine_or_no_memory(rv);
        free_holders(copy, count);
        if (rv == 0) {
            assert_int_equal(n, 8); /* the array and three strings each */
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_single_failure_is_survived),
        cmocka_unit_test(every_row_of_failures_is_survived),
        cmocka_unit_test(answers_that_cannot_be_copied_are_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
