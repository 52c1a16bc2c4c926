/* Requests that give a hold another timeout: what they may have done counts from their sending. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_server.h"

#define FIRST  (&world->server[0])
#define SECOND (&world->server[1])
#define RESULT (&world->result[0])

enum {
    LONG_MS = 600000, /* a grace that does not matter */
    SHORT_MS = 2000,
    MARGIN_MS = SHORT_MS / 1000 + CLIENT_MARGIN_MS, /* 1000 ppm, and the constant */
};

static const struct netlock_options no_refresh = {
    .client_id = "tester", .session_grace_ms = LONG_MS, .flags = NETLOCK_NO_REFRESH};
static const struct netlock_options plain = {.client_id = "tester",
                                             .session_grace_ms = LONG_MS};
static const struct netlock_lock_options shorter = {.lock_timeout_ms = SHORT_MS};

static struct world *holding_unlimited(const struct netlock_options *options)
{
    return world_holding(options, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
}

static void expect_lost_after(struct world *world, uint64_t ms)
{
    world_advance(world, ms - 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_advance(world, 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
}

static void a_shorter_timeout_counts_from_the_sending_of_its_request(void **state)
{
    (void)state;
    struct world *world = holding_unlimited(&no_refresh);
    world_lock(world, "job", &shorter);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

static void a_shorter_refresh_counts_from_its_sending(void **state)
{
    (void)state;
    struct world *world = holding_unlimited(&no_refresh);
    assert_int_equal(
        netlock_refresh_async(world->nl, "job", SHORT_MS, NULL, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

/* After a failover a hold has the grace to itself, which the first refresh takes away. */
static void a_refresh_counts_what_it_makes_of_a_hold_that_was_prolonged(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, SHORT_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    fake_close(FIRST);
    world_until_down(world);
    world_advance(world, SHORT_MS / 4);
    struct wire_claim prolonged = fake_claim(7, 5 * SHORT_MS, WIRE_DROP_RELEASE);
    prolonged.lock_timeout_ms = SHORT_MS;
    fake_greet(world, FIRST, &prolonged, 1);
    const struct wire_request *refresh = fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    assert_int_equal(refresh->refresh.lock_timeout_ms, 0);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

static void a_longer_timeout_counts_only_when_it_is_granted(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&no_refresh, SHORT_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world_lock(world, "job", &(struct netlock_lock_options){.lock_timeout_ms = LONG_MS});
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

static void a_shorter_timeout_still_counts_when_the_connection_is_lost(void **state)
{
    (void)state;
    struct world *world = holding_unlimited(&no_refresh);
    world_lock(world, "job", &shorter);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_isolate(world);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

static void a_refused_request_has_shortened_nothing(void **state)
{
    (void)state;
    struct world *world = holding_unlimited(&no_refresh);
    world_lock(world, "job", &shorter);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, SHORT_MS - MARGIN_MS - 1);
    fake_deny(world, FIRST, "job", WIRE_DENY_LIMIT_MISMATCH);
    world_wait(world, RESULT);

    world_advance(world, 10 * SHORT_MS);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void the_answer_says_what_holds(void **state)
{
    (void)state;
    struct world *world = holding_unlimited(&no_refresh);
    world_lock(world, "job", &shorter);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, SHORT_MS - MARGIN_MS - 1);
    fake_grant(world, FIRST, "job", 7, 2 * SHORT_MS, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    world_advance(world, SHORT_MS - 2 * MARGIN_MS);

    assert_int_equal(RESULT->rv, 0);
    assert_int_equal(world_count(world, NETLOCK_SAFE, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

/* What was sent before the shorter one is answered as if that did not exist. */
static void an_earlier_answer_does_not_speak_for_a_later_request(void **state)
{
    (void)state;
    struct world *world = holding_unlimited(&no_refresh);
    assert_int_equal(netlock_refresh_async(world->nl, "job", 0, NULL, world_done, RESULT),
                     0);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    char key[WIRE_KEY_BYTES_MAX + 1];
    memcpy(key, FIRST->key, sizeof(key));
    assert_int_equal(
        netlock_lock_async(world->nl, "job", &shorter, world_done, &world->result[1]), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_granted_later(world, FIRST, key, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

static void what_the_cluster_claims_replaces_what_was_asked(void **state)
{
    (void)state;
    struct wire_claim job = fake_claim(7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    struct world *world = holding_unlimited(&no_refresh);
    world_lock(world, "job", &shorter);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    fake_close(FIRST);
    fake_greet(world, FIRST, &job, 1);
    fake_expect(world, FIRST, WIRE_REQ_LOCK); /* it counts anew */

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

/* ---- upgrades -------------------------------------------------------------------------------- */

static struct world *upgrading(void)
{
    struct world *world = holding_unlimited(&plain);
    client_lock_find(world->nl, "job", 3)->type = NETLOCK_READ;
    world_lock(world, "job", &shorter);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_wait(world, FIRST, "job", 1);
    world_until(world, NETLOCK_QUEUED, "job");
    return world;
}

static void an_upgrade_in_the_queue_may_end_the_hold_unseen(void **state)
{
    (void)state;
    struct world *world = upgrading();

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

static void an_answer_from_the_log_shows_that_an_upgrade_still_waits(void **state)
{
    (void)state;
    struct world *world = upgrading();
    for (int i = 0; i < 10; i++) {
        world_advance(world, (SHORT_MS - MARGIN_MS) / 3);
        const struct wire_request *request =
            fake_expect(world, FIRST, WIRE_REQ_CHECK_TOKEN);
        assert_int_equal(request->check_token.token, 7);
        fake_send(world, FIRST,
                  (struct wire_response){.type = WIRE_RESP_CHECK_TOKEN,
                                         .lock = fake_str("job"),
                                         .check_token = {.state = WIRE_TOKEN_CURRENT}},
                  true);
        fake_expect_nothing(world, FIRST);
    }

    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 0);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void an_upgrade_found_granted_after_a_reconnect_counts_as_claimed(void **state)
{
    (void)state;
    struct wire_claim job = fake_claim(8, SHORT_MS, WIRE_DROP_RELEASE);
    struct world *world = upgrading();
    world_advance(world, 500);
    fake_close(FIRST);
    world_until_down(world);
    world_advance(world, 1000);
    fake_greet(world, FIRST, &job, 1);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);

    expect_lost_after(world, SHORT_MS - MARGIN_MS);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shorter_timeout_counts_from_the_sending_of_its_request),
        cmocka_unit_test(a_shorter_refresh_counts_from_its_sending),
        cmocka_unit_test(a_refresh_counts_what_it_makes_of_a_hold_that_was_prolonged),
        cmocka_unit_test(a_longer_timeout_counts_only_when_it_is_granted),
        cmocka_unit_test(a_shorter_timeout_still_counts_when_the_connection_is_lost),
        cmocka_unit_test(a_refused_request_has_shortened_nothing),
        cmocka_unit_test(the_answer_says_what_holds),
        cmocka_unit_test(an_earlier_answer_does_not_speak_for_a_later_request),
        cmocka_unit_test(what_the_cluster_claims_replaces_what_was_asked),
        cmocka_unit_test(an_upgrade_in_the_queue_may_end_the_hold_unseen),
        cmocka_unit_test(an_answer_from_the_log_shows_that_an_upgrade_still_waits),
        cmocka_unit_test(an_upgrade_found_granted_after_a_reconnect_counts_as_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
