/* What becomes of holds when the connection is lost, and when there is a new one. */
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
};

static const struct netlock_options plain = {.client_id = "tester",
                                             .session_grace_ms = LONG_MS};

/* ---- lost connections ------------------------------------------------------------------------ */

static void an_ignore_hold_is_not_lost_with_the_connection(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, 60000, NETLOCK_DROP_IGNORE, LONG_MS);
    FIRST->grace_ms = 1000;
    world->nl->session.session_grace_ms = 1000; /* the session would be long over */
    world->nl->session.reattach_grace_ms = 1000;
    world_isolate(world);

    world_advance(world, 59000);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_advance(world, 1000);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

static void a_release_hold_without_timeout_lives_as_long_as_the_session(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, LONG_MS);
    world->nl->session.session_grace_ms = 10000;
    world->nl->session.reattach_grace_ms = 10000;
    world->nl->lease_due_ms = 0;
    world_isolate(world);

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
    struct world *world = world_holding(&plain, 3600000, NETLOCK_DROP_RELEASE, LONG_MS);
    world->nl->session.session_grace_ms = 10000;
    world->nl->session.reattach_grace_ms = 10000;
    world->nl->lease_due_ms = 0;
    world_isolate(world);

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

    world_isolate(world);
    world_turn(world);

    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    world_free(world);
}

/* ---- attached again ---------------------------------------------------------------------------- */

static void a_hold_that_the_cluster_confirms_goes_on(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world_advance(world, 1500);
    fake_close(FIRST);
    struct wire_claim still = fake_claim(7, 28000, WIRE_DROP_RELEASE);

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
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
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
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    world_advance(world, 1500);
    fake_close(FIRST);
    struct wire_claim other = fake_claim(7, LEASE_MS, WIRE_DROP_RELEASE);
    other.token = 9;

    fake_greet(world, FIRST, &other, 1);
    world_until(world, NETLOCK_LOST, "job");
    world_free(world);
}

static void an_upgrade_granted_meanwhile_is_not_a_loss(void **state)
{
    (void)state;
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    struct netlock_lock_options how = {.lock_timeout_ms = LEASE_MS};
    struct fake_result *upgrade = &world->result[1];
    assert_int_equal(netlock_lock_async(world->nl, "job", &how, world_done, upgrade), 0);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_wait(world, FIRST, "job", 1);
    world_until(world, NETLOCK_QUEUED, "job");
    world_advance(world, 1500);
    fake_close(FIRST);
    struct wire_claim upgraded = fake_claim(7, LEASE_MS, WIRE_DROP_RELEASE);
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
    struct wire_claim foreign = fake_claim(7, LEASE_MS, WIRE_DROP_IGNORE);

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
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    struct fake_result *unlock = &world->result[1];
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, unlock), 0);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    world_isolate(world);

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
    struct world *world = world_holding(&plain, LEASE_MS, NETLOCK_DROP_RELEASE, LONG_MS);
    struct fake_result *unlock = &world->result[1];
    world_isolate(world);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, unlock), 0);
    world_advance(world, 10000);
    world_wait(world, unlock);
    assert_int_equal(unlock->rv, -NETLOCK_EUNREACHABLE);

    client_servers_hint(&world->nl->session.servers, fake_str(world->server[1].address));
    world_advance(world, 600);
    struct wire_claim still = fake_claim(7, LEASE_MS / 2, WIRE_DROP_RELEASE);
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
