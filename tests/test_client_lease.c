/* What the client library knows about its holds without asking: leases, JEOPARDY, LOST. */
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

enum {
    LONG_MS = 600000, /* a grace that does not matter */
    LEASE_MS = 30000,
    MARGIN_MS = LEASE_MS / 1000 + CLIENT_MARGIN_MS, /* 1000 ppm, and the constant */
};

static const struct netlock_options plain = {.client_id = "tester",
                                             .session_grace_ms = LONG_MS};
static const struct netlock_options no_refresh = {
    .client_id = "tester", .session_grace_ms = LONG_MS, .flags = NETLOCK_NO_REFRESH};

/* ---- refresh, jeopardy, lost ------------------------------------------------------------ */

static void refreshes_at_a_third_and_counts_from_the_sending(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    uint64_t granted_ms = world->clock_ms;

    world_advance(world, (LEASE_MS - MARGIN_MS) / 3 - 1);
    fake_expect_nothing(world, FIRST);
    world_advance(world, 1);
    const struct wire_request *refresh = fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    assert_int_equal(refresh->refresh.token, 7);
    assert_int_equal(refresh->refresh.lock_timeout_ms, 0);
    uint64_t sent_ms = world->clock_ms;
    world_advance(world, 200); /* the answer takes its time, which is not ours */
    fake_grant(world, FIRST, "job", 7, LEASE_MS, WIRE_DROP_RELEASE);
    fake_expect_nothing(world, FIRST);

    struct client_lock *lock = client_lock_find(world->nl, "job", 3);
    assert_true(sent_ms > granted_ms);
    assert_int_equal(lock->start_ms, sent_ms);
    assert_int_equal(lock->end_ms, sent_ms + LEASE_MS - MARGIN_MS);
    world_free(world);
}

static void without_answers_jeopardy_then_lost_exactly_once(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    uint64_t start_ms = world->clock_ms;
    world_isolate(world);

    world_advance(world, (LEASE_MS - MARGIN_MS) * 2 / 3 - 1);
    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 0);
    world_advance(world, 1);
    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    while (world->clock_ms < start_ms + LEASE_MS - MARGIN_MS - 1)
        world_advance(world, 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_advance(world, 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    for (int i = 0; i < 10; i++)
        world_advance(world, LEASE_MS);

    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_SAFE, "job"), 0);
    assert_int_equal(world->notices[world->notices_count - 1].token, 7);
    world_free(world);
}

static void a_refresh_after_jeopardy_makes_it_safe(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world->nl->session_grace_ms = LONG_MS;
    world_advance(world, (LEASE_MS - MARGIN_MS) / 3);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    /* Not so long unanswered that the connection is given up. */
    world_advance(world, CLIENT_ANSWER_MAX_MS - 1);
    uint64_t jeopardy_ms =
        client_lock_find(world->nl, "job", 3)->start_ms + (LEASE_MS - MARGIN_MS) * 2 / 3;
    world_isolate(world);
    world_advance(world, jeopardy_ms - world->clock_ms);
    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 1);

    client_servers_hint(&world->nl->session.servers, fake_str(world->server[1].address));
    world_advance(world, 600);
    world->server[1].grace_ms = LONG_MS;
    struct wire_claim still = fake_claim(7, LEASE_MS - 1, WIRE_DROP_RELEASE);
    fake_greet(world, &world->server[1], &still, 1);
    world_until(world, NETLOCK_SAFE, "job");

    fake_expect(world, &world->server[1], WIRE_REQ_REFRESH);
    assert_int_equal(world_count(world, NETLOCK_SAFE, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void a_refresh_answered_behind_the_release_starts_nothing(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    assert_int_equal(netlock_refresh_async(world->nl, "job", 0, NULL, world_done, RESULT),
                     0);
    world_turn(world);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    assert_int_equal(
        netlock_unlock_async(world->nl, "job", 0, world_done, &world->result[1]), 0);
    fake_grant(world, FIRST, "job", 7, LEASE_MS, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    world_advance(world, LEASE_MS);

    assert_int_equal(world->nl->due.count, 0);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void a_refused_refresh_is_a_loss(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world_advance(world, (LEASE_MS - MARGIN_MS) / 3);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);

    fake_deny(world, FIRST, "job", WIRE_DENY_EXPIRED);
    world_until(world, NETLOCK_LOST, "job");

    fake_expect_nothing(world, FIRST);
    for (int i = 0; i < 5; i++)
        world_advance(world, LEASE_MS);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void no_refresh_means_none_but_still_lost(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&no_refresh, LEASE_MS, NETLOCK_DROP_IGNORE, LONG_MS);

    world_advance(world, LEASE_MS / 2);
    fake_expect_nothing(world, FIRST);
    world_advance(world, LEASE_MS / 2);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void the_cluster_can_end_a_hold(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    struct wire_response broken = {
        .type = WIRE_RESP_TIMEOUT,
        .lock = fake_str("job"),
        .timeout = {.token = 6, .reason = WIRE_HOLD_BROKEN},
    };

    fake_send(world, FIRST, broken, true); /* of a hold before */
    fake_expect_nothing(world, FIRST);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    broken.timeout.token = 7;
    fake_send(world, FIRST, broken, true);
    world_until(world, NETLOCK_LOST, "job");
    fake_send(world, FIRST, broken, true);
    fake_expect_nothing(world, FIRST);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

/* ---- pause ------------------------------------------------------------------------------ */

static size_t sent_when_lost;

static void note_what_was_sent(struct world *world, const struct netlock_notice *notice)
{
    if (notice->event != NETLOCK_LOST)
        return;
    char buf[64];
    ssize_t n = recv(FIRST->fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
    sent_when_lost = n > 0 ? (size_t)n : 0;
    assert_int_equal(world->nl->session.conn.out.len, 0);
}

static void a_process_that_slept_hears_lost_before_it_says_anything(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world->in_notice = note_what_was_sent;
    sent_when_lost = SIZE_MAX;
    /* Both a request of the caller and an answer of the server lie ready when it wakes up. */
    world->clock_ms += 10 * LEASE_MS;
    assert_int_equal(
        netlock_lock_async(world->nl, "other", NULL, world_done, &world->result[1]), 0);

    world_turn(world);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    assert_int_equal(sent_when_lost, 0);
    assert_int_equal(world->notices[world->notices_count - 1].event, NETLOCK_LOST);
    world_free(world);
}

static void a_lost_hold_is_given_back_to_the_cluster(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);

    world_advance(world, LEASE_MS);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    const struct wire_request *release = fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    assert_int_equal(release->release.token, 7);
    world_free(world);
}

static void a_grant_that_was_slept_through_is_asked_for_again(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    FIRST->grace_ms = LONG_MS;
    fake_greet(world, FIRST, NULL, 0);
    struct netlock_lock_options how = {.lock_timeout_ms = LEASE_MS};
    assert_int_equal(netlock_lock_async(world->nl, "job", &how, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, LEASE_MS, WIRE_DROP_RELEASE);
    world->clock_ms += LEASE_MS; /* SIGSTOP, SIGCONT */

    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_false(RESULT->done);
    fake_grant(world, FIRST, "job", 8, LEASE_MS, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    assert_int_equal(RESULT->grant.token, 8);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void a_timeout_below_every_round_trip_is_granted_and_lost(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    FIRST->grace_ms = LONG_MS;
    fake_greet(world, FIRST, NULL, 0);
    struct netlock_lock_options how = {.lock_timeout_ms = 1};
    assert_int_equal(netlock_lock_async(world->nl, "job", &how, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, 1, WIRE_DROP_RELEASE);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, 1, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    world_until(world, NETLOCK_LOST, "job");
    world_free(world);
}

/* ---- grants from the queue ---------------------------------------------------------------- */

/* Wait for "job" from now on; the key of the request in @key. */
static void queue_up(struct world *world, char key[WIRE_KEY_BYTES_MAX + 1])
{
    struct netlock_lock_options how = {.lock_timeout_ms = LEASE_MS};
    assert_int_equal(netlock_lock_async(world->nl, "job", &how, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    memcpy(key, FIRST->key, sizeof(FIRST->key));
    fake_wait(world, FIRST, "job", 1);
    world_until(world, NETLOCK_QUEUED, "job");
}

static void a_queued_grant_counts_by_the_clock_of_the_cluster(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    FIRST->grace_ms = LONG_MS;
    fake_greet(world, FIRST, NULL, 0);
    char key[WIRE_KEY_BYTES_MAX + 1];
    queue_up(world, key);
    uint64_t asked_ms = world->clock_ms;

    /* 100 s later it is granted; the news takes 4 s more. */
    world->clock_ms += 100000;
    world->cluster_ms += 100000;
    fake_granted_later(world, FIRST, key, "job", 7, LEASE_MS, WIRE_DROP_RELEASE);
    world->clock_ms += 4000;
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    struct client_lock *lock = client_lock_find(world->nl, "job", 3);
    assert_int_equal(lock->start_ms, asked_ms + 100000 - 100); /* less 1000 ppm */
    world_free(world);
}

static void a_cluster_clock_that_stood_still_makes_the_lease_shorter_only(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    FIRST->grace_ms = LONG_MS;
    fake_greet(world, FIRST, NULL, 0);
    char key[WIRE_KEY_BYTES_MAX + 1];
    queue_up(world, key);
    uint64_t asked_ms = world->clock_ms;

    world->clock_ms += 20000;
    world->cluster_ms += 15000; /* there was no leader for 5 s */
    fake_granted_later(world, FIRST, key, "job", 7, LEASE_MS, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    struct client_lock *lock = client_lock_find(world->nl, "job", 3);
    assert_int_equal(lock->start_ms, asked_ms + 15000 - 15);
    assert_true(lock->end_ms < asked_ms + 20000 + LEASE_MS);
    world_free(world);
}

static void a_cluster_time_from_the_future_gains_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    FIRST->grace_ms = LONG_MS;
    fake_greet(world, FIRST, NULL, 0);
    char key[WIRE_KEY_BYTES_MAX + 1];
    queue_up(world, key);

    world->clock_ms += 1000;
    world->cluster_ms = UINT64_MAX - 1;
    fake_granted_later(world, FIRST, key, "job", 7, LEASE_MS, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_true(client_lock_find(world->nl, "job", 3)->start_ms <= world->clock_ms);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refreshes_at_a_third_and_counts_from_the_sending),
        cmocka_unit_test(without_answers_jeopardy_then_lost_exactly_once),
        cmocka_unit_test(a_refresh_after_jeopardy_makes_it_safe),
        cmocka_unit_test(a_refresh_answered_behind_the_release_starts_nothing),
        cmocka_unit_test(a_refused_refresh_is_a_loss),
        cmocka_unit_test(no_refresh_means_none_but_still_lost),
        cmocka_unit_test(the_cluster_can_end_a_hold),
        cmocka_unit_test(a_process_that_slept_hears_lost_before_it_says_anything),
        cmocka_unit_test(a_lost_hold_is_given_back_to_the_cluster),
        cmocka_unit_test(a_grant_that_was_slept_through_is_asked_for_again),
        cmocka_unit_test(a_timeout_below_every_round_trip_is_granted_and_lost),
        cmocka_unit_test(a_queued_grant_counts_by_the_clock_of_the_cluster),
        cmocka_unit_test(a_cluster_clock_that_stood_still_makes_the_lease_shorter_only),
        cmocka_unit_test(a_cluster_time_from_the_future_gains_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
