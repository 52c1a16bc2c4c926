/* The client library finds the leader, and attaches, once and again. */
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

/* ---- finding the leader ----------------------------------------------------------------- */

static void follows_the_hint_of_a_follower(void **state)
{
    (void)state;
    struct world *world = world_new(&plain); /* knows the first server only */

    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    fake_hello(world, FIRST, false, SECOND->address);

    fake_greet(world, SECOND, NULL, 0);
    assert_int_equal(world_count(world, NETLOCK_CONNECTED, NULL), 1);
    assert_string_equal(world->nl->session.server_text, SECOND->address);
    world_free(world);
}

static void follows_the_hint_of_a_not_leader_error(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);

    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    fake_hello(world, FIRST, true, "");
    fake_expect(world, FIRST, WIRE_REQ_ATTACH);
    fake_error(world, FIRST, WIRE_ERROR_NOT_LEADER, SECOND->address, 0);

    fake_greet(world, SECOND, NULL, 0);
    world_free(world);
}

static void tries_the_next_server_when_one_refuses(void **state)
{
    (void)state;
    struct world *world = world_new(&all);
    fake_refuse_connections(FIRST);

    fake_greet(world, SECOND, NULL, 0);
    world_free(world);
}

static void tries_the_next_server_when_one_is_silent(void **state)
{
    (void)state;
    struct world *world = world_new(&all);

    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    world_advance(world, 2000);

    fake_greet(world, SECOND, NULL, 0);
    world_free(world);
}

static void goes_to_a_member_it_was_not_told_of(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    struct wire_member members[] = {
        {.node_id = 1, .client_address = fake_str(FIRST->address)},
        {.node_id = 2, .client_address = fake_str(SECOND->address)},
    };
    fake_send(world, FIRST,
              (struct wire_response){.type = WIRE_RESP_HELLO,
                                     .hello = {.version = WIRE_VERSION,
                                               .leader = true,
                                               .members = members,
                                               .members_count = 2,
                                               .session_grace_ms = 10000,
                                               .reattach_grace_ms = 10000}},
              false);
    fake_expect(world, FIRST, WIRE_REQ_ATTACH);
    fake_refuse_connections(FIRST);
    fake_close(FIRST);

    fake_greet(world, SECOND, NULL, 0);
    world_free(world);
}

static void backs_off_after_a_round_without_a_leader(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_refuse_connections(FIRST);

    for (int i = 0; i < 50 && world->nl->session.backoff_ms == CLIENT_BACKOFF_MIN_MS; i++)
        world_turn(world);

    assert_int_equal(world->nl->session.state, SESSION_DOWN);
    assert_true(netlock_timeout_ms(world->nl) > 0);
    assert_true(netlock_timeout_ms(world->nl) <= CLIENT_BACKOFF_MIN_MS);
    for (int i = 0; i < 50; i++)
        world_advance(world, CLIENT_BACKOFF_MAX_MS);
    assert_int_equal(world->nl->session.backoff_ms, CLIENT_BACKOFF_MAX_MS);
    world_free(world);
}

/* The leader is found soon after its election, however long that took. */
static void waits_for_a_quarter_of_the_time_without_a_leader_at_most(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    uint64_t since_ms = world->clock_ms;
    fake_refuse_connections(FIRST);

    for (int i = 0; i < 5000; i++) {
        uint64_t part_ms = (world->clock_ms - since_ms) / 4;
        uint64_t max_ms = part_ms < CLIENT_BACKOFF_MIN_MS   ? CLIENT_BACKOFF_MIN_MS
                          : part_ms > CLIENT_BACKOFF_MAX_MS ? CLIENT_BACKOFF_MAX_MS
                                                            : part_ms;
        assert_true(world->nl->session.retry_at_ms <= world->clock_ms + max_ms);
        world_advance(world, 1);
    }
    world_free(world);
}

static void does_not_spin_on_a_server_that_attaches_and_breaks(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    for (int i = 0; i < 5; i++) {
        fake_greet(world, FIRST, NULL, 0);
        fake_close(FIRST);
        world_until_down(world);
        assert_int_equal(world->nl->session.state, SESSION_DOWN);
        assert_true(world->nl->session.retry_at_ms > world->clock_ms);
        world_advance(world, CLIENT_BACKOFF_MAX_MS);
    }
    world_free(world);
}

static void two_followers_that_name_each_other_do_not_trap_it(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);

    for (int i = 0; i < 20 && world->nl->session.retry_at_ms <= world->clock_ms; i++) {
        struct fake *fake = i % 2 == 0 ? FIRST : SECOND;
        for (int turn = 0; turn < 20 && world->nl->session.state != SESSION_GREETING;
             turn++)
            world_turn(world);
        if (world->nl->session.state == SESSION_DOWN)
            break;
        fake_accept(world, fake);
        fake_expect(world, fake, WIRE_REQ_HELLO);
        fake_hello(world, fake, false, i % 2 == 0 ? SECOND->address : FIRST->address);
        world_turn(world);
    }

    assert_true(world->nl->session.retry_at_ms > world->clock_ms);
    world_free(world);
}

/* ---- attaching --------------------------------------------------------------------------- */

static void takes_the_id_and_secret_that_the_cluster_makes(void **state)
{
    (void)state;
    struct world *world = world_new(&(struct netlock_options){0});
    assert_null(netlock_client_id(world->nl));

    fake_greet(world, FIRST, NULL, 0);

    assert_string_equal(netlock_client_id(world->nl), "made-by-the-cluster");
    assert_memory_equal(netlock_client_secret(world->nl), "0123456789abcde", 16);
    world_advance(world, 1500);
    fake_close(FIRST);
    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    const struct wire_request *attach = fake_expect(world, FIRST, WIRE_REQ_ATTACH);
    assert_int_equal(attach->attach.secret.len, WIRE_SECRET_BYTES);
    world_free(world);
}

static void attaches_again_with_a_higher_epoch(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    uint64_t first = fake_greet(world, FIRST, NULL, 0);
    assert_true(first > 0);
    world_advance(world, 1500);
    fake_close(FIRST);

    uint64_t second = fake_greet(world, FIRST, NULL, 0);

    assert_true(second > first);
    assert_true(FIRST->request.attach.supersede);
    assert_int_equal(world_count(world, NETLOCK_DISCONNECTED, NULL), 1);
    assert_int_equal(world_count(world, NETLOCK_CONNECTED, NULL), 2);
    world_free(world);
}

static void a_shared_id_supersedes_nobody(void **state)
{
    (void)state;
    struct world *world =
        world_new(&(struct netlock_options){.client_id = "tester", .share_id = true});

    fake_greet(world, FIRST, NULL, 0);

    assert_false(FIRST->request.attach.has_epoch);
    assert_false(FIRST->request.attach.supersede);
    world_free(world);
}

static void a_first_attach_climbs_over_an_epoch_from_a_faster_clock(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    fake_hello(world, FIRST, true, "");
    uint64_t first = fake_expect(world, FIRST, WIRE_REQ_ATTACH)->attach.epoch;
    uint64_t year_ahead = first + UINT64_C(365) * 24 * 3600 * 1000;

    uint64_t epoch = first;
    for (int i = 0; i < 64 && epoch <= year_ahead; i++) {
        fake_error(world, FIRST, WIRE_ERROR_STALE_EPOCH, "", 0);
        epoch = fake_expect(world, FIRST, WIRE_REQ_ATTACH)->attach.epoch;
    }

    assert_true(epoch > year_ahead);
    world_free(world);
}

static void a_taken_over_client_gives_up(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    world_advance(world, 2000);
    world_lock(world, "other", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);

    fake_error(world, FIRST, WIRE_ERROR_STALE_EPOCH, "", 0);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_ESTALE);
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 1);
    assert_int_equal(netlock_process(world->nl), -NETLOCK_ESTALE);
    assert_int_equal(netlock_lock_async(world->nl, "job", NULL, world_done, OTHER),
                     -NETLOCK_ESTALE);
    assert_int_equal(netlock_timeout_ms(world->nl), -1);
    world_free(world);
}

static void a_client_taken_over_while_it_was_away_does_not_fight_back(void **state)
{
    (void)state;
    struct world *world =
        world_holding(&plain, NETLOCK_UNLIMITED, NETLOCK_DROP_RELEASE, FAKE_GRACE_MS);
    world_advance(world, 1500);
    fake_close(FIRST);
    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    fake_hello(world, FIRST, true, "");
    fake_expect(world, FIRST, WIRE_REQ_ATTACH);

    fake_error(world, FIRST, WIRE_ERROR_STALE_EPOCH, "", 0);
    world_until(world, NETLOCK_LOST, "job");

    assert_int_equal(netlock_process(world->nl), -NETLOCK_ESTALE);
    world_free(world);
}

static void a_wrong_secret_is_the_end(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    world_lock(world, "job", NULL);
    fake_accept(world, FIRST);
    fake_expect(world, FIRST, WIRE_REQ_HELLO);
    fake_hello(world, FIRST, true, "");
    fake_expect(world, FIRST, WIRE_REQ_ATTACH);

    fake_error(world, FIRST, WIRE_ERROR_NOT_ALLOWED, "", 0);
    world_wait(world, RESULT);

    assert_int_equal(RESULT->rv, -NETLOCK_EDENIED);
    assert_string_equal(netlock_error_text(world->nl), "the server says no");
    assert_int_equal(netlock_process(world->nl), -NETLOCK_EDENIED);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_hint_of_a_follower),
        cmocka_unit_test(follows_the_hint_of_a_not_leader_error),
        cmocka_unit_test(tries_the_next_server_when_one_refuses),
        cmocka_unit_test(tries_the_next_server_when_one_is_silent),
        cmocka_unit_test(goes_to_a_member_it_was_not_told_of),
        cmocka_unit_test(backs_off_after_a_round_without_a_leader),
        cmocka_unit_test(waits_for_a_quarter_of_the_time_without_a_leader_at_most),
        cmocka_unit_test(does_not_spin_on_a_server_that_attaches_and_breaks),
        cmocka_unit_test(two_followers_that_name_each_other_do_not_trap_it),
        cmocka_unit_test(takes_the_id_and_secret_that_the_cluster_makes),
        cmocka_unit_test(attaches_again_with_a_higher_epoch),
        cmocka_unit_test(a_shared_id_supersedes_nobody),
        cmocka_unit_test(a_first_attach_climbs_over_an_epoch_from_a_faster_clock),
        cmocka_unit_test(a_taken_over_client_gives_up),
        cmocka_unit_test(a_client_taken_over_while_it_was_away_does_not_fight_back),
        cmocka_unit_test(a_wrong_secret_is_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
