/* Grants, ends of holds and releases that cross: what the caller sees is in order, and what it was told
 * is over, or has given up, does not come back. */
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
#define OTHER  (&world->result[1])

enum {
    LONG_MS = 600000, /* a grace that does not matter */
    LEASE_MS = 30000,
};

static const struct netlock_options plain = {.client_id = "tester",
                                             .session_grace_ms = LONG_MS};
static const struct netlock_options no_refresh = {
    .client_id = "tester", .session_grace_ms = LONG_MS, .flags = NETLOCK_NO_REFRESH};

struct key {
    char text[WIRE_KEY_BYTES_MAX + 1];
};

/* Of the last request. */
static struct key key_of(const struct fake *fake)
{
    struct key key;
    memcpy(key.text, fake->key, sizeof(key.text));
    return key;
}

/* What is sent next without a key of its own answers this one. */
static void answer_to(struct fake *fake, const struct key *key)
{
    memcpy(fake->key, key->text, sizeof(key->text));
}

static struct world *connected(void)
{
    struct world *world = world_new(&plain);
    FIRST->grace_ms = LONG_MS;
    fake_greet(world, FIRST, NULL, 0);
    return world;
}

static void hold_ended(struct world *world, uint64_t token)
{
    fake_send(world, FIRST,
              (struct wire_response){
                  .type = WIRE_RESP_TIMEOUT,
                  .lock = fake_str("job"),
                  .timeout = {.token = token, .reason = WIRE_HOLD_BROKEN},
              },
              true);
}

/* ---- the grant, then its end ------------------------------------------------------------- */

static bool granted_when_lost, other_when_lost;

static void note_what_is_done(struct world *world, const struct netlock_notice *notice)
{
    if (notice->event != NETLOCK_LOST)
        return;
    granted_when_lost = RESULT->done && RESULT->grant.token == notice->token;
    other_when_lost = OTHER->done;
}

static struct world *watched(struct world *world)
{
    granted_when_lost = false;
    other_when_lost = false;
    world->in_notice = note_what_is_done;
    return world;
}

static void a_grant_and_its_end_that_arrive_together_are_told_in_order(void **state)
{
    (void)state;
    struct world *world = watched(connected());
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    hold_ended(world, 7);
    world_until(world, NETLOCK_LOST, "job");

    assert_true(granted_when_lost);
    assert_int_equal(RESULT->rv, 0);
    fake_expect_nothing(world, FIRST);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void a_grant_that_is_over_is_told_before_lost(void **state)
{
    (void)state;
    struct world *world = watched(connected());
    world_lock(world, "job", &(struct netlock_lock_options){.lock_timeout_ms = 1});
    for (int i = 0; i < 2; i++) {
        fake_expect(world, FIRST, WIRE_REQ_LOCK);
        fake_grant(world, FIRST, "job", 7, 1, WIRE_DROP_RELEASE);
    }
    world_until(world, NETLOCK_LOST, "job");

    assert_true(granted_when_lost);
    for (int i = 0; i < 5; i++)
        world_advance(world, LEASE_MS);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void lost_and_what_led_to_it_come_before_all_else(void **state)
{
    (void)state;
    struct world *world =
        watched(world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS));
    assert_int_equal(netlock_lock_async(world->nl, "other", NULL, world_done, OTHER), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    struct key other = key_of(FIRST);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    fake_granted_later(world, FIRST, other.text, "other", 8, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    hold_ended(world, 7);
    world_until(world, NETLOCK_LOST, "job");

    assert_true(granted_when_lost);
    assert_false(other_when_lost);
    world_wait(world, OTHER);
    world_free(world);
}

static void the_ends_of_two_holds_in_a_row_are_both_told(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    hold_ended(world, 7);
    fake_grant(world, FIRST, "job", 8, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    hold_ended(world, 8);
    world_wait(world, RESULT);
    fake_expect_nothing(world, FIRST);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 2);
    assert_int_equal(world->notices[world->notices_count - 2].token, 7);
    assert_int_equal(world->notices[world->notices_count - 1].token, 8);
    world_free(world);
}

/* ---- what is over does not come back ------------------------------------------------------ */

/* Seed 4 of the simulator: the release that follows LOST freed what the request had got. */
static void a_lost_hold_does_not_come_back_by_a_request_under_way(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&no_refresh, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world_advance(world, LEASE_MS - 1000);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    struct key lock = key_of(FIRST);
    world_advance(world, 1000);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    const struct wire_request *request = fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    assert_int_equal(request->release.token, 7);
    struct key release = key_of(FIRST);

    fake_granted_later(world, FIRST, lock.text, "job", 7, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    fake_expect(world, FIRST, WIRE_REQ_LOCK); /* after the release */
    lock = key_of(FIRST);
    answer_to(FIRST, &release);
    fake_released(world, FIRST, "job", WIRE_RELEASED);
    fake_expect_nothing(world, FIRST);
    assert_false(RESULT->done);
    fake_granted_later(world, FIRST, lock.text, "job", 8, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    assert_int_equal(RESULT->grant.token, 8);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void a_hold_given_up_does_not_come_back_by_a_request_under_way(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    struct key lock = key_of(FIRST);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 7, world_done, OTHER), 0);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    struct key release = key_of(FIRST);

    fake_granted_later(world, FIRST, lock.text, "job", 7, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    lock = key_of(FIRST);
    answer_to(FIRST, &release);
    fake_released(world, FIRST, "job", WIRE_RELEASED);
    world_wait(world, OTHER);
    assert_int_equal(OTHER->rv, 0);
    assert_false(RESULT->done);
    fake_granted_later(world, FIRST, lock.text, "job", 8, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->grant.token, 8);
    world_free(world);
}

/* The release was refused for now, and what was sent behind it was not. */
static void a_grant_before_a_release_that_was_refused_is_asked_for_after_it(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, OTHER), 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    struct key release = key_of(FIRST);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    struct key lock = key_of(FIRST);

    answer_to(FIRST, &release);
    fake_error(world, FIRST, WIRE_ERROR_BUSY, "", 100);
    fake_granted_later(world, FIRST, lock.text, "job", 7, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    fake_expect_nothing(world, FIRST);
    world_advance(world, 100);

    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_false(RESULT->done);
    world_free(world);
}

static void a_refresh_before_a_release_that_was_refused_finds_nothing(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, OTHER), 0);
    assert_int_equal(netlock_refresh_async(world->nl, "job", 0, NULL, world_done, RESULT),
                     0);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    struct key release = key_of(FIRST);
    fake_expect(world, FIRST, WIRE_REQ_REFRESH);
    struct key refresh = key_of(FIRST);

    answer_to(FIRST, &release);
    fake_error(world, FIRST, WIRE_ERROR_BUSY, "", 100);
    fake_granted_later(world, FIRST, refresh.text, "job", 7, WIRE_UNLIMITED,
                       WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_EEXPIRED);
    world_free(world);
}

/* Seed 13 of the simulator: an unlock was given up while no leader was found; its clean-up went after
 * the refresh that was called next, and freed what that had been told it has. */
static void a_clean_up_takes_the_place_of_what_was_given_up(void **state)
{
    (void)state;
    struct netlock_options impatient = plain;
    impatient.connect_timeout_ms = 3000;
    struct world *world =
        world_holding(&impatient, LEASE_MS, NETLOCK_DROP_IGNORE, LONG_MS);
    world_isolate(world);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, RESULT), 0);
    world_advance(world, 1500);
    assert_int_equal(netlock_refresh_async(world->nl, "job", 0, NULL, world_done, OTHER),
                     0);
    world_advance(world, 1500);
    assert_int_equal(RESULT->rv, -NETLOCK_EUNREACHABLE);
    assert_false(OTHER->done);

    struct wire_claim job = fake_claim(7, LEASE_MS - 3000, WIRE_DROP_IGNORE);
    client_servers_hint(&world->nl->session.servers, fake_str(SECOND->address));
    world_advance(world, 600);
    SECOND->grace_ms = LONG_MS;
    fake_greet(world, SECOND, &job, 1);

    fake_expect(world, SECOND, WIRE_REQ_RELEASE);
    fake_expect(world, SECOND, WIRE_REQ_REFRESH);
    world_free(world);
}

/* Seed 1074 of the simulator: an unlock and the lock after it were given up; only the hold before was
 * released, and what the lock had got was kept for nobody. */
static void a_lock_given_up_behind_an_unlock_is_cleaned_up_too(void **state)
{
    (void)state;
    struct netlock_options impatient = plain;
    impatient.connect_timeout_ms = 3000;
    struct world *world =
        world_holding(&impatient, LEASE_MS, NETLOCK_DROP_IGNORE, LONG_MS);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, OTHER), 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_isolate(world);
    world_advance(world, 3000);
    assert_int_equal(RESULT->rv, -NETLOCK_EUNREACHABLE);

    struct wire_claim job = fake_claim(8, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    client_servers_hint(&world->nl->session.servers, fake_str(SECOND->address));
    world_advance(world, 600);
    SECOND->grace_ms = LONG_MS;
    fake_greet(world, SECOND, &job, 1);

    bool freed = false;
    for (int i = 0; i < 2; i++) {
        uint64_t token = fake_expect(world, SECOND, WIRE_REQ_RELEASE)->release.token;
        freed = freed || token == 0 || token == 8;
    }
    assert_true(freed);
    world_free(world);
}

/* The hold is another than the one we know, by a request that nobody waits for any more. */
static void a_claim_of_an_upgrade_given_up_is_lost_and_cleaned_up(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
    world_isolate(world);
    struct wire_claim job = fake_claim(8, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    client_servers_hint(&world->nl->session.servers, fake_str(SECOND->address));
    world_advance(world, 600);
    SECOND->grace_ms = LONG_MS;
    fake_greet(world, SECOND, &job, 1);

    assert_int_equal(fake_expect(world, SECOND, WIRE_REQ_RELEASE)->release.token, 8);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grant_and_its_end_that_arrive_together_are_told_in_order),
        cmocka_unit_test(a_grant_that_is_over_is_told_before_lost),
        cmocka_unit_test(lost_and_what_led_to_it_come_before_all_else),
        cmocka_unit_test(the_ends_of_two_holds_in_a_row_are_both_told),
        cmocka_unit_test(a_lost_hold_does_not_come_back_by_a_request_under_way),
        cmocka_unit_test(a_hold_given_up_does_not_come_back_by_a_request_under_way),
        cmocka_unit_test(a_grant_before_a_release_that_was_refused_is_asked_for_after_it),
        cmocka_unit_test(a_refresh_before_a_release_that_was_refused_finds_nothing),
        cmocka_unit_test(a_clean_up_takes_the_place_of_what_was_given_up),
        cmocka_unit_test(a_lock_given_up_behind_an_unlock_is_cleaned_up_too),
        cmocka_unit_test(a_claim_of_an_upgrade_given_up_is_lost_and_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
