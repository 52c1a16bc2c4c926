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
    LEASE_MS = 30000,
    MARGIN_MS = LEASE_MS / 1000 + CLIENT_MARGIN_MS, /* 1000 ppm, and the constant */
};

static const struct netlock_options plain = {.client_id = "tester",
                                             .session_grace_ms = 600000};

/* "job" is held with token 7; asked for just now. */
static struct world *
holding(uint32_t lock_timeout_ms, enum netlock_drop drop, unsigned flags)
{
    struct netlock_options options = plain;
    options.flags = flags;
    struct world *world = world_new(&options);
    FIRST->grace_ms = 600000; /* so that only the lock's own timeout matters */
    fake_greet(world, FIRST, NULL, 0);
    struct netlock_lock_options how = {.lock_timeout_ms = lock_timeout_ms, .drop = drop};
    assert_int_equal(netlock_lock_async(world->nl, "job", &how, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, lock_timeout_ms, (enum wire_drop)drop);
    world_wait(world, RESULT);
    assert_int_equal(RESULT->rv, 0);
    return world;
}

static struct wire_claim claim(uint32_t remaining_ms, enum wire_drop drop)
{
    return (struct wire_claim){
        .client = {"tester", 6},
        .lock = {"job", 3},
        .token = 7,
        .drop = drop,
        .remaining_ms = remaining_ms,
        .lock_timeout_ms = LEASE_MS,
        .limit = 1,
    };
}

/* Cut off: the connection is gone and nobody listens. */
static void isolate(struct world *world)
{
    fake_refuse_connections(FIRST);
    fake_close(FIRST);
    world_until_down(world);
}

/* ---- refresh, jeopardy, lost ------------------------------------------------------------ */

static void refreshes_at_a_third_and_counts_from_the_sending(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
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
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    uint64_t start_ms = world->clock_ms;
    isolate(world);

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
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    world->nl->session_grace_ms = 600000;
    world_advance(world, (LEASE_MS - MARGIN_MS) / 3);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    /* Not so long unanswered that the connection is given up. */
    world_advance(world, CLIENT_ANSWER_MAX_MS - 1);
    uint64_t jeopardy_ms =
        client_lock_find(world->nl, "job", 3)->start_ms + (LEASE_MS - MARGIN_MS) * 2 / 3;
    isolate(world);
    world_advance(world, jeopardy_ms - world->clock_ms);
    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 1);

    client_servers_hint(&world->nl->session.servers, fake_str(world->server[1].address));
    world_advance(world, 600);
    world->server[1].grace_ms = 600000;
    struct wire_claim still = claim(LEASE_MS - 1, WIRE_DROP_RELEASE);
    fake_greet(world, &world->server[1], &still, 1);
    world_until(world, NETLOCK_SAFE, "job");

    fake_expect(world, &world->server[1], WIRE_REQ_REFRESH);
    assert_int_equal(world_count(world, NETLOCK_SAFE, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void a_refused_refresh_is_a_loss(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
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
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_IGNORE, NETLOCK_NO_REFRESH);

    world_advance(world, LEASE_MS / 2);
    fake_expect_nothing(world, FIRST);
    world_advance(world, LEASE_MS / 2);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void the_cluster_can_end_a_hold(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
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
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
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
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);

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
    FIRST->grace_ms = 600000;
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
    FIRST->grace_ms = 600000;
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
    FIRST->grace_ms = 600000;
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
    FIRST->grace_ms = 600000;
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
    FIRST->grace_ms = 600000;
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

/* ---- lost connections ------------------------------------------------------------------------ */

static void an_ignore_hold_is_not_lost_with_the_connection(void **state)
{
    (void)state;
    struct world *world = holding(60000, NETLOCK_DROP_IGNORE, 0);
    FIRST->grace_ms = 1000;
    world->nl->session.session_grace_ms = 1000; /* the session would be long over */
    world->nl->session.reattach_grace_ms = 1000;
    isolate(world);

    world_advance(world, 59000);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_advance(world, 1000);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void a_release_hold_without_timeout_lives_as_long_as_the_session(void **state)
{
    (void)state;
    struct world *world = holding(NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, 0);
    world->nl->session.session_grace_ms = 10000;
    world->nl->session.reattach_grace_ms = 10000;
    world->nl->lease_due_ms = 0;
    isolate(world);

    world_advance(world, 10000 - 10 - CLIENT_MARGIN_MS - 1);
    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_advance(world, 1);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void a_long_timeout_does_not_outlive_the_session(void **state)
{
    (void)state;
    struct world *world = holding(3600000, NETLOCK_DROP_RELEASE, 0);
    world->nl->session.session_grace_ms = 10000;
    world->nl->session.reattach_grace_ms = 10000;
    world->nl->lease_due_ms = 0;
    isolate(world);

    world_advance(world, 10000);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void the_session_is_kept_alive_through_the_log(void **state)
{
    (void)state;
    struct world *world = world_new(&(struct netlock_options){.client_id = "tester"});
    fake_greet(world, FIRST, NULL, 0);
    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    for (int i = 0; i < 10; i++) {
        world_advance(world, FAKE_GRACE_MS / 3);
        const struct wire_request *check =
            fake_expect(world, FIRST, WIRE_REQ_CHECK_TOKEN);
        assert_int_equal(check->check_token.token, 7);
        fake_send(world, FIRST,
                  (struct wire_response){
                      .type = WIRE_RESP_CHECK_TOKEN,
                      .lock = fake_str("job"),
                      .check_token = {.token = 7, .state = WIRE_TOKEN_CURRENT}},
                  true);
        fake_expect_nothing(world, FIRST);
    }

    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 0);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void answered_pings_of_a_deposed_leader_do_not_keep_a_hold(void **state)
{
    (void)state;
    struct world *world = world_new(&(struct netlock_options){.client_id = "tester"});
    fake_greet(world, FIRST, NULL, 0);
    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    /* Whatever it asks is answered, but nothing comes from the log. */
    world_advance(world, FAKE_GRACE_MS / 3);
    fake_expect(world, FIRST, WIRE_REQ_CHECK_TOKEN);
    fake_send(
        world, FIRST,
        (struct wire_response){.type = WIRE_RESP_CHECK_TOKEN,
                               .check_token = {.token = 7, .state = WIRE_TOKEN_CURRENT}},
        false);
    fake_expect(world, FIRST, WIRE_REQ_CHECK_TOKEN);
    for (int i = 0; i < 7; i++)
        world_advance(world, 1000);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void a_token_that_is_not_current_any_more_is_a_loss(void **state)
{
    (void)state;
    struct world *world = world_new(&(struct netlock_options){.client_id = "tester"});
    fake_greet(world, FIRST, NULL, 0);
    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    world_advance(world, FAKE_GRACE_MS / 3);
    fake_expect(world, FIRST, WIRE_REQ_CHECK_TOKEN);
    fake_send(world, FIRST,
              (struct wire_response){.type = WIRE_RESP_CHECK_TOKEN,
                                     .check_token = {.token = 7,
                                                     .state = WIRE_TOKEN_SUPERSEDED,
                                                     .superseded_by = 8}},
              true);
    world_until(world, NETLOCK_LOST, "job");
    world_free(world);
}

static void without_a_grace_a_broken_connection_ends_the_hold(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    FIRST->grace_ms = 0;
    fake_greet(world, FIRST, NULL, 0);
    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);
    world_advance(world, 3600000);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);

    isolate(world);
    world_turn(world);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

/* ---- attached again ---------------------------------------------------------------------------- */

static void a_hold_that_the_cluster_confirms_goes_on(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    world_advance(world, 1500);
    fake_close(FIRST);
    struct wire_claim still = claim(28000, WIRE_DROP_RELEASE);

    fake_greet(world, FIRST, &still, 1);

    struct client_lock *lock = client_lock_find(world->nl, "job", 3);
    assert_int_equal(lock->end_ms, world->clock_ms + 28000 - 28 - CLIENT_MARGIN_MS);
    const struct wire_request *refresh = fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    assert_int_equal(refresh->refresh.token, 7);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void a_hold_that_the_cluster_does_not_know_is_lost(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    world_advance(world, 1500);
    fake_close(FIRST);

    fake_greet(world, FIRST, NULL, 0);
    world_until(world, NETLOCK_LOST, "job");

    fake_expect_nothing(world, FIRST);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    assert_int_equal(world->nl->table.count, 0);
    world_free(world);
}

static void a_hold_of_another_token_is_another_hold(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    world_advance(world, 1500);
    fake_close(FIRST);
    struct wire_claim other = claim(LEASE_MS, WIRE_DROP_RELEASE);
    other.token = 9;

    fake_greet(world, FIRST, &other, 1);
    world_until(world, NETLOCK_LOST, "job");
    world_free(world);
}

static void an_upgrade_granted_meanwhile_is_not_a_loss(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    struct netlock_lock_options how = {.lock_timeout_ms = LEASE_MS};
    struct fake_result *upgrade = &world->result[1];
    assert_int_equal(netlock_lock_async(world->nl, "job", &how, world_done, upgrade), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_wait(world, FIRST, "job", 1);
    world_until(world, NETLOCK_QUEUED, "job");
    world_advance(world, 1500);
    fake_close(FIRST);
    struct wire_claim upgraded = claim(LEASE_MS, WIRE_DROP_RELEASE);
    upgraded.token = 9;

    fake_greet(world, FIRST, &upgraded, 1);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 9, LEASE_MS, WIRE_DROP_RELEASE);
    world_wait(world, upgrade);

    assert_int_equal(upgrade->rv, 0);
    assert_int_equal(upgrade->grant.token, 9);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void claims_never_asked_for_are_left_alone(void **state)
{
    (void)state;
    struct world *world =
        world_new(&(struct netlock_options){.client_id = "tester", .share_id = true});
    struct wire_claim foreign = claim(LEASE_MS, WIRE_DROP_IGNORE);

    fake_greet(world, FIRST, &foreign, 1);

    fake_expect_nothing(world, FIRST);
    assert_int_equal(world->nl->table.count, 0);
    world_free(world);
}

static void a_refresh_by_hand_takes_up_a_hold_of_a_shared_id(void **state)
{
    (void)state;
    struct world *world =
        world_new(&(struct netlock_options){.client_id = "tester", .share_id = true});
    fake_greet(world, FIRST, NULL, 0);

    assert_int_equal(
        netlock_refresh_async(world->nl, "job", 5000, NULL, world_done, RESULT), 0);
    const struct wire_request *refresh = fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    assert_int_equal(refresh->refresh.token, 0);
    assert_int_equal(refresh->refresh.lock_timeout_ms, 5000);
    fake_grant(world, FIRST, "job", 7, 5000, WIRE_DROP_IGNORE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    assert_int_equal(RESULT->grant.token, 7);
    world_free(world);
}

/* ---- unlocking ----------------------------------------------------------------------------------- */

static void what_is_being_released_is_never_reported_lost(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    struct fake_result *unlock = &world->result[1];
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, unlock), 0);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    isolate(world);

    for (int i = 0; i < 10; i++)
        world_advance(world, LEASE_MS);
    world_wait(world, unlock);

    assert_int_equal(unlock->rv, -NETLOCK_EUNREACHABLE);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    assert_int_equal(world_count(world, NETLOCK_JEOPARDY, "job"), 0);
    world_free(world);
}

static void an_unlock_given_up_is_made_good_later(void **state)
{
    (void)state;
    struct world *world = holding(LEASE_MS, NETLOCK_DROP_RELEASE, 0);
    struct fake_result *unlock = &world->result[1];
    isolate(world);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, unlock), 0);
    world_advance(world, 10000);
    world_wait(world, unlock);
    assert_int_equal(unlock->rv, -NETLOCK_EUNREACHABLE);

    client_servers_hint(&world->nl->session.servers, fake_str(world->server[1].address));
    world_advance(world, 600);
    struct wire_claim still = claim(LEASE_MS / 2, WIRE_DROP_RELEASE);
    fake_greet(world, &world->server[1], &still, 1);
    const struct wire_request *release =
        fake_expect(world, &world->server[1], WIRE_REQ_RELEASE);
    assert_int_equal(release->release.token, 7);
    fake_released(world, &world->server[1], "job", WIRE_RELEASED);
    fake_expect_nothing(world, &world->server[1]);

    assert_int_equal(world->nl->table.count, 0);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refreshes_at_a_third_and_counts_from_the_sending),
        cmocka_unit_test(without_answers_jeopardy_then_lost_exactly_once),
        cmocka_unit_test(a_refresh_after_jeopardy_makes_it_safe),
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
        cmocka_unit_test(an_ignore_hold_is_not_lost_with_the_connection),
        cmocka_unit_test(a_release_hold_without_timeout_lives_as_long_as_the_session),
        cmocka_unit_test(a_long_timeout_does_not_outlive_the_session),
        cmocka_unit_test(the_session_is_kept_alive_through_the_log),
        cmocka_unit_test(answered_pings_of_a_deposed_leader_do_not_keep_a_hold),
        cmocka_unit_test(a_token_that_is_not_current_any_more_is_a_loss),
        cmocka_unit_test(without_a_grace_a_broken_connection_ends_the_hold),
        cmocka_unit_test(a_hold_that_the_cluster_confirms_goes_on),
        cmocka_unit_test(a_hold_that_the_cluster_does_not_know_is_lost),
        cmocka_unit_test(a_hold_of_another_token_is_another_hold),
        cmocka_unit_test(an_upgrade_granted_meanwhile_is_not_a_loss),
        cmocka_unit_test(claims_never_asked_for_are_left_alone),
        cmocka_unit_test(a_refresh_by_hand_takes_up_a_hold_of_a_shared_id),
        cmocka_unit_test(what_is_being_released_is_never_reported_lost),
        cmocka_unit_test(an_unlock_given_up_is_made_good_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
