/* The client library's scouts: who leads now, asked beside the session's connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "fake_server.h"

#define FIRST  (&world->server[0])
#define SECOND (&world->server[1])
#define THIRD  (&world->server[2])

enum { LATE_MS = 250 };

static const struct netlock_options all = {.client_id = "tester", .servers = "all"};

/* A client of the first server, with a request that is not answered in time: the scouts are out. */
static struct world *waiting_for_an_answer(void)
{
    struct world *world = world_new(&all);

    fake_refuse_connections(THIRD);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, LATE_MS);
    fake_accept(world, SECOND);
    fake_expect(world, SECOND, WIRE_REQ_HELLO);
    return world;
}

/* Its connection becomes the session's: no second one, no second Hello. */
static void another_leader_is_joined_on_the_scouts_connection(void **state)
{
    (void)state;
    struct world *world = waiting_for_an_answer();

    fake_hello(world, SECOND, true, SECOND->address);
    fake_expect(world, SECOND, WIRE_REQ_ATTACH);
    fake_expect_closed(world, FIRST);
    assert_int_equal(world_count(world, NETLOCK_DISCONNECTED, NULL), 1);
    world_free(world);
}

/* A follower said that it is none, and begins to lead: that is told without being asked for. */
static void a_server_that_begins_to_lead_is_believed(void **state)
{
    (void)state;
    struct world *world = waiting_for_an_answer();

    fake_hello(world, SECOND, false, FIRST->address);
    world_turn(world);
    assert_int_equal(world->nl->session.state, SESSION_READY);
    fake_hello(world, SECOND, true, SECOND->address);
    fake_expect(world, SECOND, WIRE_REQ_ATTACH);
    world_free(world);
}

static void a_leader_that_is_only_slow_is_not_left(void **state)
{
    (void)state;
    struct world *world = waiting_for_an_answer();

    fake_hello(world, SECOND, false, FIRST->address);
    world_turn(world);
    fake_grant(world, FIRST, "job", 7, 10000, WIRE_DROP_RELEASE);
    world_wait(world, &world->result[0]);
    assert_int_equal(world->result[0].rv, 0);
    fake_expect_closed(world, SECOND); /* called back */
    assert_int_equal(world_count(world, NETLOCK_DISCONNECTED, NULL), 0);
    world_free(world);
}

/* Where every answer is late, for every client, nobody would have time for anything but scouts. */
static void a_leader_that_stays_slow_is_scouted_rarely(void **state)
{
    (void)state;
    struct world *world = world_new(&all);
    unsigned outings = 0;

    fake_greet(world, FIRST, NULL, 0);
    for (int i = 0; i < 100; i++) {
        world->result[0] = (struct fake_result){0};
        world_lock(world, "job", NULL);
        fake_expect(world, FIRST, WIRE_REQ_LOCK);
        world_advance(world, LATE_MS);
        outings += world->nl->scouts.out;
        fake_deny(world, FIRST, "job", WIRE_DENY_HELD);
        world_wait(world, &world->result[0]);
        assert_false(world->nl->scouts.out);
    }
    assert_in_range(outings, 1, 8);
    assert_int_equal(world_count(world, NETLOCK_DISCONNECTED, NULL), 0);
    world_free(world);
}

static void no_scout_goes_out_before_an_answer_is_late(void **state)
{
    (void)state;
    struct world *world = world_new(&all);

    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    world_advance(world, 150);
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        assert_int_equal(world->nl->scouts.scouts[i].state, SCOUT_AWAY);
    world_free(world);
}

/* Not every server is a scout's to find: a client that has never been attached tries one after the other. */
static void a_lost_leader_is_looked_for_everywhere(void **state)
{
    (void)state;
    struct world *world = world_new(&all);
    fake_greet(world, FIRST, NULL, 0);
    world_advance(world, 1500);
    fake_refuse_connections(FIRST);
    fake_close(FIRST);
    world_until_down(world);

    unsigned out = 0;
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        out += world->nl->scouts.scouts[i].state != SCOUT_AWAY;
    assert_true(out > 0);
    fake_greet(world, THIRD, NULL, 0);
    world_free(world);
}

/* "localhost" where nobody listens on ::1. */
static void every_address_of_a_server_is_tried(void **state)
{
    (void)state;
    struct world *world = world_new(&all);
    struct client_server *second = &world->nl->session.servers.given[1];
    const struct client_server *third = &world->nl->session.servers.given[2];

    second->addresses[1] = second->addresses[0];
    second->addresses[0] = third->addresses[0];
    second->addresses_count = 2;
    fake_refuse_connections(THIRD);
    fake_greet(world, FIRST, NULL, 0);
    world_lock(world, "job", NULL);
    fake_expect(world, FIRST, WIRE_REQ_LOCK);
    for (int i = 0; i < 4; i++)
        world_advance(world, LATE_MS);
    fake_accept(world, SECOND);
    fake_expect(world, SECOND, WIRE_REQ_HELLO);
    world_free(world);
}

static void answer_as_follower(struct world *world, struct fake *fake)
{
    if (fake->request.type == WIRE_REQ_HELLO)
        fake_hello(world, fake, false, "");
}

static bool a_scout_has_heard(const struct world *world)
{
    bool heard = false;
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        heard = heard || world->nl->scouts.scouts[i].state == SCOUT_ANSWERED;
    return heard;
}

static bool session_is_at(const struct world *world, const struct fake *fake)
{
    char text[SERVER_TEXT_BYTES];
    client_server_format(&world->nl->session.server, text);
    return world->nl->session.state != SESSION_DOWN && strcmp(text, fake->address) == 0;
}

/* It tells its scouts when it begins to lead; ten thousand clients would keep it from that. */
static void a_follower_is_asked_by_scouts_only(void **state)
{
    (void)state;
    struct world *world = world_new(&all);

    fake_refuse_connections(THIRD);
    fake_greet(world, FIRST, NULL, 0);
    world_advance(world, 1500);
    fake_refuse_connections(FIRST);
    fake_close(FIRST);
    world_until_down(world);
    for (int i = 0; i < 5000 && !(a_scout_has_heard(world) &&
                                  world->nl->session.state == SESSION_DOWN);
         i++) {
        world_advance(world, 2);
        fake_serve(world, SECOND, answer_as_follower);
    }
    assert_true(a_scout_has_heard(world));

    unsigned visits = 0;
    for (int i = 0; i < 500; i++) {
        world_advance(world, 10);
        visits += session_is_at(world, SECOND);
        fake_serve(world, SECOND, answer_as_follower);
    }
    assert_int_equal(visits, 0);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_leader_is_joined_on_the_scouts_connection),
        cmocka_unit_test(a_server_that_begins_to_lead_is_believed),
        cmocka_unit_test(a_leader_that_is_only_slow_is_not_left),
        cmocka_unit_test(a_leader_that_stays_slow_is_scouted_rarely),
        cmocka_unit_test(no_scout_goes_out_before_an_answer_is_late),
        cmocka_unit_test(a_lost_leader_is_looked_for_everywhere),
        cmocka_unit_test(every_address_of_a_server_is_tried),
        cmocka_unit_test(a_follower_is_asked_by_scouts_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
