/* Requests of the client library, over lost connections and refusals for now. */
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

static const struct netlock_options plain = {.client_id = "tester"};
static const struct netlock_options all = {.client_id = "tester", .servers = "all"};

/* ---- requests over lost connections ------------------------------------------------------- */

static void a_lock_request_carries_what_was_asked(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job",
               &(struct netlock_lock_options){.try_only = true,
                                              .wait_timeout_ms = 11,
                                              .lock_timeout_ms = 22,
                                              .drop = NETLOCK_DROP_IGNORE,
                                              .limit = 3,
                                              .owner_info = "cron on db1"});

    const struct wire_request *request = fake_expect(world, FIRST, WIRE_REQ_LOCK);

    assert_string_equal(request->client.data, "tester");
    assert_string_equal(request->lock.data, "job");
    assert_int_equal(request->lock_.mode, WIRE_BREAK);
    assert_int_equal(request->lock_.wait_timeout_ms, 11);
    assert_int_equal(request->lock_.lock_timeout_ms, 22);
    assert_int_equal(request->lock_.drop, WIRE_DROP_IGNORE);
    assert_int_equal(request->lock_.limit, 3);
    assert_int_equal(request->lock_.owner_info.len, strlen("cron on db1"));
    world_free(world);
}

static void a_waiting_request_survives_the_connection_and_gets_its_grant(void **state)
{
    (void)state;
    struct world *world = world_new(&all);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", &(struct netlock_lock_options){.wait_timeout_ms = 60000});
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_wait(world, FIRST, "job", 3);
    world_until(world, NETLOCK_QUEUED, "job");
    assert_int_equal(world->notices[1].position, 3);
    world_advance(world, 3000);
    fake_close(FIRST);

    fake_greet(world, SECOND, NULL, 0);
    const struct wire_request *request = fake_expect(world, SECOND, WIRE_REQ_LOCK);
    assert_int_equal(request->lock_.wait_timeout_ms, 57001);
    fake_wait(world, SECOND, "job", 1);
    fake_grant(world, SECOND, "job", 9, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    assert_int_equal(RESULT->grant.token, 9);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void a_grant_that_was_lost_with_the_connection_is_asked_for_again(void **state)
{
    (void)state;
    struct wire_claim job = fake_claim(7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    fake_close(FIRST); /* granted, but nobody heard */

    fake_greet(world, FIRST, &job, 1);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    assert_int_equal(RESULT->grant.token, 7);
    world_free(world);
}

static void a_wait_whose_time_has_passed_lets_the_cluster_say_so(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", &(struct netlock_lock_options){.wait_timeout_ms = 2000});
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_wait(world, FIRST, "job", 1);
    world_turn(world);
    world_advance(world, 2500);
    fake_close(FIRST);

    fake_greet(world, FIRST, NULL, 0);
    const struct wire_request *request = fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_int_equal(request->lock_.wait_timeout_ms, 1);
    fake_send(
        world, FIRST,
        (struct wire_response){.type = WIRE_RESP_WAIT_TIMEOUT, .lock = fake_str("job")},
        true);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_ETIMEOUT);
    world_free(world);
}

static void unlock_after_connection(struct world *world, enum wire_release_result second)
{
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, RESULT), 0);
    const struct wire_request *request = fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    assert_int_equal(request->release.token, 7);
    world_advance(world, 1500);
    fake_close(FIRST);
    fake_greet(world, FIRST, NULL, 0);
    request = fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    assert_int_equal(request->release.token, 7);
    fake_released(world, FIRST, "job", second);
    world_wait(world, RESULT);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
}

static void an_unlock_that_had_already_worked_is_a_success(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    unlock_after_connection(world, WIRE_NOT_HELD);
    assert_int_equal(RESULT->rv, 0);
    world_free(world);
}

static void an_unlock_is_a_success_when_another_has_the_lock_by_now(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    unlock_after_connection(world, WIRE_HELD_BY_OTHER);
    assert_int_equal(RESULT->rv, 0);
    world_free(world);
}

static void an_unlock_too_late_says_so_also_the_second_time(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    unlock_after_connection(world, WIRE_EXPIRED);
    assert_int_equal(RESULT->rv, -NETLOCK_EEXPIRED);
    world_free(world);
}

static void an_unlock_of_what_is_not_held_is_an_error(void **state)
{
    (void)state;
    static const struct {
        enum wire_release_result result;
        int rv;
    } cases[] = {
        {WIRE_NOT_HELD, -NETLOCK_ENOTHELD},
        {WIRE_EXPIRED, -NETLOCK_EEXPIRED},
        {WIRE_HELD_BY_OTHER, -NETLOCK_EOTHER},
        {WIRE_WAS_QUEUED, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *world = world_new(&plain);
        fake_greet(world, FIRST, NULL, 0);
        assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, RESULT),
                         0);
        fake_expect(world, FIRST, WIRE_REQ_RELEASE);
        fake_released(world, FIRST, "job", cases[i].result);
        world_wait(world, RESULT);
        assert_int_equal(RESULT->rv, cases[i].rv);
        world_free(world);
    }
}

static void without_a_leader_a_call_ends_after_the_connect_timeout(void **state)
{
    (void)state;
    struct world *world = world_new(
        &(struct netlock_options){.client_id = "tester", .connect_timeout_ms = 3000});
    fake_refuse_connections(FIRST);
    world_lock(world, "job", NULL);
    world_turn(world);

    world_advance(world, 2999);
    assert_false(RESULT->done);
    world_advance(world, 1);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_EUNREACHABLE);
    world_free(world);
}

static void a_request_given_up_is_cleaned_up_when_a_leader_is_back(void **state)
{
    (void)state;
    struct wire_claim job = fake_claim(7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    struct world *world = world_new(
        &(struct netlock_options){.client_id = "tester", .connect_timeout_ms = 3000});
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    fake_refuse_connections(FIRST);
    fake_close(FIRST);
    world_until_down(world);
    for (int i = 0; i < 6; i++)
        world_advance(world, 600);
    world_wait(world, RESULT);
    assert_int_equal(RESULT->rv, -NETLOCK_EUNREACHABLE);

    client_servers_hint(&world->nl->session.servers, fake_str(SECOND->address));
    world_advance(world, 600);
    fake_greet(world, SECOND, &job, 1);
    const struct wire_request *request = fake_expect(world, SECOND, WIRE_REQ_RELEASE);
    assert_string_equal(request->lock.data, "job");
    fake_released(world, SECOND, "job", WIRE_RELEASED);
    fake_expect_nothing(world, SECOND);
    world_free(world);
}

static void busy_and_unknown_are_asked_again_later(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    fake_error(world, FIRST, WIRE_ERROR_BUSY, "", 200);
    fake_expect_nothing(world, FIRST);
    world_advance(world, 200);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_error(world, FIRST, WIRE_ERROR_UNKNOWN, "", 100);
    fake_expect_nothing(world, FIRST);
    world_advance(world, 100);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, 0);
    world_free(world);
}

static void a_request_that_has_to_wait_is_not_overtaken(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    assert_int_equal(netlock_unlock_async(world->nl, "job", 0, world_done, RESULT), 0);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    fake_error(world, FIRST, WIRE_ERROR_BUSY, "", 200);
    fake_expect_nothing(world, FIRST);

    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, OTHER), 0);
    fake_expect_nothing(world, FIRST);
    world_advance(world, 200);

    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_free(world);
}

static void not_leader_in_the_middle_moves_to_the_new_leader(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    world_lock(world, "another", NULL);

    fake_error(world, FIRST, WIRE_ERROR_NOT_LEADER, SECOND->address, 0);

    fake_greet(world, SECOND, NULL, 0);
    fake_expect(world, SECOND, WIRE_REQ_LOCK);
    world_free(world);
}

static void a_silent_leader_is_left_for_another(void **state)
{
    (void)state;
    struct world *world = world_new(&all);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    world_advance(world, FAKE_GRACE_MS / 3 + 1);

    fake_greet(world, SECOND, NULL, 0);
    fake_expect(world, SECOND, WIRE_REQ_LOCK);
    world_free(world);
}

static void pings_when_there_is_nothing_else_to_say(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);

    world_advance(world, FAKE_GRACE_MS / 4 - 1);
    fake_expect_nothing(world, FIRST);
    world_advance(world, 1);
    fake_expect(world, FIRST, WIRE_REQ_PING);
    fake_send(world, FIRST, (struct wire_response){.type = WIRE_RESP_PING}, false);
    fake_expect_nothing(world, FIRST);

    assert_int_equal(world->nl->session.state, SESSION_READY);
    world_free(world);
}

/* A waiter that noticed a stopped leader only after the re-attach grace lost its place. */
static void notices_a_silent_leader_in_half_of_the_reattach_grace(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);

    world_advance(world, FAKE_GRACE_MS / 4);
    fake_expect(world, FIRST, WIRE_REQ_PING);
    world_advance(world, FAKE_GRACE_MS / 4);

    assert_int_not_equal(world->nl->session.state, SESSION_READY);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_request_carries_what_was_asked),
        cmocka_unit_test(a_waiting_request_survives_the_connection_and_gets_its_grant),
        cmocka_unit_test(a_grant_that_was_lost_with_the_connection_is_asked_for_again),
        cmocka_unit_test(a_wait_whose_time_has_passed_lets_the_cluster_say_so),
        cmocka_unit_test(an_unlock_that_had_already_worked_is_a_success),
        cmocka_unit_test(an_unlock_is_a_success_when_another_has_the_lock_by_now),
        cmocka_unit_test(an_unlock_too_late_says_so_also_the_second_time),
        cmocka_unit_test(an_unlock_of_what_is_not_held_is_an_error),
        cmocka_unit_test(without_a_leader_a_call_ends_after_the_connect_timeout),
        cmocka_unit_test(a_request_given_up_is_cleaned_up_when_a_leader_is_back),
        cmocka_unit_test(busy_and_unknown_are_asked_again_later),
        cmocka_unit_test(a_request_that_has_to_wait_is_not_overtaken),
        cmocka_unit_test(not_leader_in_the_middle_moves_to_the_new_leader),
        cmocka_unit_test(a_silent_leader_is_left_for_another),
        cmocka_unit_test(pings_when_there_is_nothing_else_to_say),
        cmocka_unit_test(notices_a_silent_leader_in_half_of_the_reattach_grace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
