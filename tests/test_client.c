/* The client library against a scripted server: finding the leader, keeping requests over lost
 * connections, refusals. Leases are in test_client_lease.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_server.h"

static const struct netlock_options plain = {.client_id = "tester"};
static const struct netlock_options all = {.client_id = "tester", .servers = "all"};

#define FIRST  (&world->server[0])
#define SECOND (&world->server[1])
#define RESULT (&world->result[0])
#define OTHER  (&world->result[1])

static void
lock(struct world *world, const char *name, const struct netlock_lock_options *options)
{
    assert_int_equal(netlock_lock_async(world->nl, name, options, world_done, RESULT), 0);
}

/* Holds "job" with token 7 and no timeout. */
static struct world *holding(const struct netlock_options *options)
{
    struct world *world = world_new(options);
    fake_greet(world, FIRST, NULL, 0);
    lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_grant(world, FIRST, "job", 7, WIRE_UNLIMITED, WIRE_DROP_RELEASE);
    world_wait(world, RESULT);
    assert_int_equal(RESULT->rv, 0);
    *RESULT = (struct fake_result){0};
    return world;
}

static const struct wire_claim job_claim = {
    .client = {"tester", 6},
    .lock = {"job", 3},
    .token = 7,
    .remaining_ms = WIRE_UNLIMITED,
    .lock_timeout_ms = WIRE_UNLIMITED,
    .limit = 1,
};

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

    for (int i = 0; i < 20 && world->nl->session.backoff_ms == CLIENT_BACKOFF_MIN_MS;
         i++) {
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

    assert_true(world->nl->session.backoff_ms > CLIENT_BACKOFF_MIN_MS);
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
    struct world *world = holding(&plain);
    world_advance(world, 2000);
    lock(world, "other", NULL);
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
    struct world *world = holding(&plain);
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
    lock(world, "job", NULL);
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

/* ---- requests over lost connections ------------------------------------------------------- */

static void a_lock_request_carries_what_was_asked(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    lock(world, "job",
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
    lock(world, "job", &(struct netlock_lock_options){.wait_timeout_ms = 60000});
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    fake_wait(world, FIRST, "job", 3);
    world_until(world, NETLOCK_QUEUED, "job");
    assert_int_equal(world->notices[1].position, 3);
    world_advance(world, 3000);
    fake_close(FIRST);

    fake_greet(world, SECOND, NULL, 0);
    const struct wire_request *request = fake_expect(world, SECOND, WIRE_REQ_LOCK);
    assert_int_equal(request->lock_.wait_timeout_ms, 57000);
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
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    fake_close(FIRST); /* granted, but nobody heard */

    fake_greet(world, FIRST, &job_claim, 1);
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
    lock(world, "job", &(struct netlock_lock_options){.wait_timeout_ms = 2000});
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
    struct world *world = holding(&plain);
    unlock_after_connection(world, WIRE_NOT_HELD);
    assert_int_equal(RESULT->rv, 0);
    world_free(world);
}

static void an_unlock_is_a_success_when_another_has_the_lock_by_now(void **state)
{
    (void)state;
    struct world *world = holding(&plain);
    unlock_after_connection(world, WIRE_HELD_BY_OTHER);
    assert_int_equal(RESULT->rv, 0);
    world_free(world);
}

static void an_unlock_too_late_says_so_also_the_second_time(void **state)
{
    (void)state;
    struct world *world = holding(&plain);
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
    lock(world, "job", NULL);
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
    struct world *world = world_new(
        &(struct netlock_options){.client_id = "tester", .connect_timeout_ms = 3000});
    fake_greet(world, FIRST, NULL, 0);
    lock(world, "job", NULL);
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
    fake_greet(world, SECOND, &job_claim, 1);
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
    lock(world, "job", NULL);
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
    struct world *world = holding(&plain);
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
    lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    lock(world, "another", NULL);

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
    lock(world, "job", NULL);
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
        lock(world, "job", NULL);
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
    lock(world, "job", NULL);

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
    lock(world, "job", NULL);
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
    lock(world, "job", NULL);
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
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 1500);
    fake_close(FIRST);
    world_until_down(world);

    assert_int_equal(netlock_cancel(world->nl, "job"), 0);
    world_wait(world, RESULT);
    assert_int_equal(RESULT->rv, -NETLOCK_ECANCELLED);

    fake_greet(world, FIRST, &job_claim, 1);
    fake_expect(world, FIRST, WIRE_REQ_RELEASE);
    world_free(world);
}

static void an_upgrade_cannot_be_cancelled_without_the_hold(void **state)
{
    (void)state;
    struct world *world = holding(&plain);
    lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    assert_int_equal(netlock_cancel(world->nl, "job"), -EBUSY);
    world_free(world);
}

static void one_request_for_a_lock_at_a_time(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    lock(world, "job", NULL);
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
    struct world *world = holding(&plain);
    lock(world, "other", NULL);
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
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    static const uint8_t noise[] = {0, 0, 0, 5, 1, 2, 3, 4, 5};
    struct world *world = holding(&plain);
    for (int i = 0; i < 2; i++) {
        world_advance(world, 1500);
        if (i == 0)
            fake_send_bytes(FIRST, huge, sizeof(huge));
        else
            fake_send_bytes(FIRST, noise, sizeof(noise));
        world_until_down(world);
        fake_greet(world, FIRST, &job_claim, 1);
    }
    assert_int_equal(world_count(world, NETLOCK_LOST, "job"), 0);
    world_free(world);
}

static void answers_to_nobody_are_ignored(void **state)
{
    (void)state;
    struct world *world = world_new(&plain);
    fake_greet(world, FIRST, NULL, 0);
    lock(world, "job", NULL);
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
    lock(world, "job", NULL);
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
        cmocka_unit_test(follows_the_hint_of_a_follower),
        cmocka_unit_test(follows_the_hint_of_a_not_leader_error),
        cmocka_unit_test(tries_the_next_server_when_one_refuses),
        cmocka_unit_test(tries_the_next_server_when_one_is_silent),
        cmocka_unit_test(goes_to_a_member_it_was_not_told_of),
        cmocka_unit_test(backs_off_after_a_round_without_a_leader),
        cmocka_unit_test(does_not_spin_on_a_server_that_attaches_and_breaks),
        cmocka_unit_test(two_followers_that_name_each_other_do_not_trap_it),
        cmocka_unit_test(takes_the_id_and_secret_that_the_cluster_makes),
        cmocka_unit_test(attaches_again_with_a_higher_epoch),
        cmocka_unit_test(a_shared_id_supersedes_nobody),
        cmocka_unit_test(a_first_attach_climbs_over_an_epoch_from_a_faster_clock),
        cmocka_unit_test(a_taken_over_client_gives_up),
        cmocka_unit_test(a_client_taken_over_while_it_was_away_does_not_fight_back),
        cmocka_unit_test(a_wrong_secret_is_the_end),
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
