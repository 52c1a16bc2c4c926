/* The calls of the client library against a scripted server: refusals, cancel, close, nonsense. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_server.h"

#define FIRST  (&world->server[0])
#define RESULT (&world->result[0])
#define OTHER  (&world->result[1])

static const struct netlock_options plain = {.client_id = "tester"};

/* ---- refusals, cancel ----------------------------------------------------------------------- */

static void every_refusal_has_its_value_and_words(void **state)
{
    (void)state;
    static const struct {
        enum wire_deny reason;
        int rv;
    } cases[] = {
        {WIRE_DENY_HELD, -NETLOCK_EHELD},
        {WIRE_DENY_CANCELLED, -NETLOCK_ECANCELLED},
        {WIRE_DENY_UPGRADE_CONFLICT, -NETLOCK_ECONFLICT},
        {WIRE_DENY_LIMIT_MISMATCH, -NETLOCK_ELIMIT},
        {WIRE_DENY_NOT_ALLOWED, -NETLOCK_EDENIED},
        {WIRE_DENY_LIMIT_EXCEEDED, -NETLOCK_EFULL},
        {WIRE_DENY_INVALID, -NETLOCK_EINVALID},
        {WIRE_DENY_STALE_EPOCH, -NETLOCK_ESTALE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *world = world_new(&plain);
        fake_greet(world, FIRST, NULL, 0);
        world_lock(world, "job", NULL);
        fake_expect(world, FIRST, WIRE_REQ_LOCK);
        fake_deny(world, FIRST, "job", cases[i].reason);
        world_wait(world, RESULT);
        assert_int_equal(RESULT->rv, cases[i].rv);
        if (cases[i].reason != WIRE_DENY_STALE_EPOCH)
            assert_string_equal(netlock_error_text(world->nl), "because of?a test");
        assert_string_not_equal(netlock_strerror(cases[i].rv), "unknown error");
        world_free(world);
    }
}

static void cancel_before_anything_was_sent_ends_it_at_once(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    world_lock(world, "job", NULL);

    assert_int_equal(netlock_cancel(world->nl, "job"), 0);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_ECANCELLED);
    assert_int_equal(netlock_cancel(world->nl, "job"), -ENOENT);
    fake_greet(world, FIRST, NULL, 0);
    fake_expect_nothing(world, FIRST);
    world_free(world);
}

static void cancel_leaves_the_queue(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    char key[WIRE_KEY_BYTES_MAX + 1];
    memcpy(key, FIRST->key, sizeof(key));
    fake_wait(world, FIRST, "job", 1);
    world_turn(world);

    assert_int_equal(netlock_cancel(world->nl, "job"), 0);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    assert_false(RESULT->done);
    fake_send(world, FIRST,
              (struct wire_response){.type = WIRE_RESP_DENIED,
                                     .key = fake_str(key),
                                     .lock = fake_str("job"),
                                     .denied = {.reason = WIRE_DENY_CANCELLED}},
              true);
    fake_released(world, FIRST, "job", WIRE_WAS_QUEUED);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_ECANCELLED);
    world_free(world);
}

static void cancel_frees_a_grant_that_crossed_it(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    char key[WIRE_KEY_BYTES_MAX + 1];
    memcpy(key, FIRST->key, sizeof(key));

    assert_int_equal(netlock_cancel(world->nl, "job"), 0);
    fake_granted_later(world, FIRST, key, "job", 9, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    assert_int_equal(fake_expect(world, FIRST, WIRE_REQ_RELEASE)->release.token, 0);
    fake_released(world, FIRST, "job", WIRE_RELEASED);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_ECANCELLED);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void cancel_without_a_connection_is_made_good_later(void **state)
{
    (void)state;
    struct wire_claim job = fake_claim(7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    fake_close(FIRST);
    world_until_down(world);

    assert_int_equal(netlock_cancel(world->nl, "job"), 0);
    world_wait(world, RESULT);
    assert_int_equal(RESULT->rv, -NETLOCK_ECANCELLED);

    fake_greet(world, FIRST, &job, 1);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    world_free(world);
}

static void an_upgrade_cannot_be_cancelled_without_the_hold(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_int_equal(netlock_cancel(world->nl, "job"), -EBUSY);
    world_free(world);
}

static void one_request_for_a_lock_at_a_time(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    world_lock(world, "job", NULL);
    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, OTHER),
                     -EALREADY);
    world_free(world);
}

static void bad_arguments_are_refused_before_anything_is_sent(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    struct netlock *nl = world->nl;
    char long_name[NETLOCK_NAME_BYTES_MAX + 2];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    struct netlock_lock_options limit = {.type = NETLOCK_READ, .limit = 2};
    struct netlock_lock_options info = {.owner_info = long_name};

    assert_int_equal(netlock_lock_async(nl, "", NULL, world_done, RESULT), -EINVAL);
    assert_int_equal(netlock_lock_async(nl, NULL, NULL, world_done, RESULT), -EINVAL);
    assert_int_equal(netlock_lock_async(nl, "a\nb", NULL, world_done, RESULT), -EINVAL);
    assert_int_equal(netlock_lock_async(nl, long_name, NULL, world_done, RESULT),
                     -EINVAL);
    assert_int_equal(netlock_lock_async(nl, "job", &limit, world_done, RESULT), -EINVAL);
    assert_int_equal(netlock_lock_async(nl, "job", &info, world_done, RESULT), -EINVAL);
    assert_int_equal(netlock_unlock_async(nl, "\xff", 0, world_done, RESULT), -EINVAL);
    assert_int_equal(nl->table.count, 0);

    struct netlock *other;
    struct netlock_options options = {.servers = "127.0.0.1:99999",
                                      .flags = NETLOCK_MANUAL};
    assert_int_equal(netlock_open(&other, &options), -EINVAL);
    options = (struct netlock_options){.client_id = "", .flags = NETLOCK_MANUAL};
    assert_int_equal(netlock_open(&other, &options), -EINVAL);
    options = (struct netlock_options){.share_id = true, .flags = NETLOCK_MANUAL};
    assert_int_equal(netlock_open(&other, &options), -EINVAL);
    world_free(world);
}

/* ---- closing, callbacks ----------------------------------------------------------------------- */

static void lock_again_when_done(void *arg, int rv, const struct netlock_grant *grant)
{
    struct world *world = arg;
    world_done(RESULT, rv, grant);
    assert_int_equal(netlock_lock_async(world->nl, "second", NULL, world_done, OTHER), 0);
    assert_int_equal(netlock_lock(world->nl, "third", NULL, NULL), -EDEADLK);
    assert_int_equal(netlock_process(world->nl), -EDEADLK);
}

static void a_callback_may_ask_for_more_but_not_wait(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    assert_int_equal(
        netlock_lock_async(world->nl, "job", NULL, lock_again_when_done, world), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_string_equal(fake_expect(world, FIRST, WIRE_REQ_LOCK)->lock.data, "second");
    fake_grant(world, FIRST, "second", 8, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, OTHER);
    world_free(world);
}

static void close_detaches_and_fails_what_is_pending(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    world_lock(world, "other", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    /* netlock_close() would block: it is these parts. */
    client_close_begin(world->nl);
    assert_int_equal(world->nl->closing_end_ms, world->clock_ms + CLIENT_CLOSE_MS);
    fake_expect(world, FIRST, WIRE_REQ_DETACH);
    fake_send(world, FIRST, (struct wire_response){.type = WIRE_RESP_DETACH}, true);
    for (int i = 0; i < 1000 && !client_close_finished(world->nl); i++)
        world_turn(world);

    assert_true(client_close_finished(world->nl));
    assert_true(world->clock_ms < world->nl->closing_end_ms);
    assert_int_equal(RESULT->rv, -NETLOCK_ECLOSED);
    assert_int_equal(netlock_lock_async(world->nl, "x", NULL, world_done, OTHER),
                     -NETLOCK_ECLOSED);
    world_free(world);
}

/* ---- hostile servers ---------------------------------------------------------------------------- */

static void nonsense_breaks_the_connection_and_nothing_else(void **state)
{
    (void)state;
    struct wire_claim job = fake_claim(7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    static const uint8_t noise[] = {0, 0, 0, 5, 1, 2, 3, 4, 5};
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    for (int i = 0; i < 2; i++) {
        world_advance(world, 1500);
        if (i == 0)
            fake_send_bytes(FIRST, huge, sizeof(huge));
        else
            fake_send_bytes(FIRST, noise, sizeof(noise));
        world_until_down(world);
        fake_greet(world, FIRST, &job, 1);
    }
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void answers_to_nobody_are_ignored(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    char key[WIRE_KEY_BYTES_MAX + 1];
    memcpy(key, FIRST->key, sizeof(key));

    memcpy(FIRST->key, "0.999", 6);
    fake_wait(world, FIRST, "job", 1);
    fake_released(world, FIRST, "nothing", WIRE_RELEASED);
    memcpy(FIRST->key, "ffffffffffff", 13);
    fake_deny(world, FIRST, "job", WIRE_DENY_HELD);
    memcpy(FIRST->key, key, sizeof(key));
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    world_free(world);
}

static void the_wrong_kind_of_answer_breaks_the_connection(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);

    fake_released(world, FIRST, "job", WIRE_RELEASED);

    fake_greet(world, FIRST, NULL, 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_false(RESULT->done);
    world_free(world);
}

static void a_grant_that_nobody_wants_is_given_back(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);

    fake_granted_later(world, FIRST, "", "stray", 5, WIRE_UNLIMITED, WIRE_DROP_RELEASE);

    const struct wire_request *request = fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    assert_int_equal(request->release.token, 5);
    fake_released(world, FIRST, "stray", WIRE_RELEASED);
    fake_expect_nothing(world, FIRST);
    assert_int_equal(world->nl->table.count, 0);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_value_and_words),
        cmocka_unit_test(cancel_before_anything_was_sent_ends_it_at_once),
        cmocka_unit_test(cancel_leaves_the_queue),
        cmocka_unit_test(cancel_frees_a_grant_that_crossed_it),
        cmocka_unit_test(cancel_without_a_connection_is_made_good_later),
        cmocka_unit_test(an_upgrade_cannot_be_cancelled_without_the_hold),
        cmocka_unit_test(one_request_for_a_lock_at_a_time),
        cmocka_unit_test(bad_arguments_are_refused_before_anything_is_sent),
        cmocka_unit_test(a_callback_may_ask_for_more_but_not_wait),
        cmocka_unit_test(close_detaches_and_fails_what_is_pending),
        cmocka_unit_test(nonsense_breaks_the_connection_and_nothing_else),
        cmocka_unit_test(answers_to_nobody_are_ignored),
        cmocka_unit_test(the_wrong_kind_of_answer_breaks_the_connection),
        cmocka_unit_test(a_grant_that_nobody_wants_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
