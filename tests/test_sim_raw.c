/* The simulator's users that speak the protocol by hand. */
#include <errno.h>
#include <string.h>

#include "sim_users.h"

static void hello(struct sim_client *client)
{
    users_ask(client, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_ask(client, (struct sim_ask){.type = SIM_ASK_HELLO, .grace_ms = 2000});
}

static void a_plain_client_locks_and_waits(void **state)
{
    (void)state;
    world_begin(10);
    struct sim_client *p = users_new_raw("p"), *q = users_new_raw("q");
    users_run(ELECTED_US);
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_LOCK,
                                  .lock = "job"}); /* queued until it is there */
    users_run_ms(100);
    assert_true(users_find(p, SIM_REC_CONN, 0)->on);
    const struct seen *granted = users_response(p, WIRE_RESP_GRANTED);
    assert_true(users_there(granted));
    assert_int_equal(granted->op, users_find(p, SIM_REC_ASK, 1)->op);
    assert_true(users_last(p, SIM_REC_BELIEF)->holding);
    assert_int_equal(strlen(users_last(p, SIM_REC_BELIEF)->client_id), 32);

    users_ask(q, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_ask(q,
              (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "job", .client = "queen"});
    users_ask(q, (struct sim_ask){.type = SIM_ASK_LOCK,
                                  .lock = "job",
                                  .client = "king",
                                  .type_of_lock = NETLOCK_READ});
    users_run_ms(100);
    assert_true(users_there(users_response(q, WIRE_RESP_WAIT)));
    assert_int_equal(sim_client_pending(q), 2);
    users_unlock(p, "job");
    assert_int_equal(sim_client_holds(p), 1);
    users_run_ms(100);
    assert_int_equal(sim_client_holds(p), 0);
    assert_true(users_there(users_response(p, WIRE_RESP_RELEASE)));
    assert_string_equal(users_last(q, SIM_REC_BELIEF)->client_id, "queen");
    assert_int_equal(sim_client_pending(q), 1);

    users_ask(q, (struct sim_ask){.type = SIM_ASK_DETACH, .client = "queen"});
    users_run_ms(100);
    assert_string_equal(users_last(q, SIM_REC_BELIEF)->client_id, "king");
    assert_true(users_last(q, SIM_REC_BELIEF)->holding);
    assert_int_equal(users_last(q, SIM_REC_BELIEF)->type_of_lock, NETLOCK_READ);
    assert_int_equal(sim_client_holds(q), 1);
    users_lock(p, "job");
    users_ask(q, (struct sim_ask){.type = SIM_ASK_HANG_UP});
    users_run_ms(100);
    assert_int_equal(users_last(q, SIM_REC_CONN)->rv, 0);
    assert_int_equal(sim_client_holds(q), 0);
    assert_int_equal(sim_client_holds(p), 1);

    sim_client_close(p);
    users_run_ms(100);
    assert_false(sim_client_runs(p));
    assert_int_equal(sim_process_heap_bytes(sim_client_process(p)), 0);
    world_end();
}

static void an_extended_client_has_tokens_and_errors(void **state)
{
    (void)state;
    world_begin(11);
    struct sim_client *p = users_new_raw("p");
    users_run(ELECTED_US);
    hello(p);
    users_ask(p, (struct sim_ask){.type = SIM_ASK_ATTACH,
                                  .client = "me",
                                  .has_epoch = true,
                                  .epoch = 7,
                                  .supersede = true});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "job", .client = "me"});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_PING});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "", .client = "me"});
    users_run_ms(100);
    assert_true(users_there(users_response(p, WIRE_RESP_HELLO)));
    assert_true(users_there(users_response(p, WIRE_RESP_ATTACH)));
    assert_true(users_there(users_response(p, WIRE_RESP_PING)));
    assert_true(users_there(users_response(p, WIRE_RESP_ERROR)) ||
                users_there(users_response(p, WIRE_RESP_DENIED)));
    assert_true(users_last(p, SIM_REC_BELIEF)->token > 0);
    assert_int_equal(sim_client_pending(p), 0);

    users_ask(p, (struct sim_ask){.type = SIM_ASK_REFRESH,
                                  .lock = "job",
                                  .client = "me",
                                  .token = SIM_TOKEN_HELD,
                                  .hold_ms = 1500});
    users_run(3 * SECOND_US);
    assert_true(users_there(users_response(p, WIRE_RESP_TIMEOUT)));
    assert_false(users_last(p, SIM_REC_BELIEF)->holding);

    /* On a node that does not lead. */
    unsigned other = sim_leader()->number == 1 ? 2 : 1;
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT, .conn = 1, .node = other});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_LOCK, .conn = 1, .lock = "job"});
    users_run_ms(100);
    assert_int_equal(users_last(p, SIM_REC_CONN)->rv, -EPIPE);
    assert_int_equal(users_last(p, SIM_REC_CONN)->conn, 1);
    world_end();
}

static void what_cannot_be_asked_is_an_outcome(void **state)
{
    (void)state;
    world_begin(12);
    struct sim_client *p = users_new_raw("p");
    users_run(ELECTED_US);
    users_lock(p, "job");
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT, .conn = SIM_CLIENT_CONNS_MAX});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT, .node = 4});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_run_ms(100);
    static const int rvs[] = {-ENOTCONN, -EINVAL, -EINVAL, -EISCONN};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(users_find(p, SIM_REC_OUTCOME, i)->rv, rvs[i]);
    assert_false(users_there(users_find(p, SIM_REC_OUTCOME, 4)));

    users_ask(p, (struct sim_ask){.type = SIM_ASK_HANG_UP});
    sim_node_kill(sim_node(1), SIM_TORN_DRAWN);
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT, .node = 1});
    users_run_ms(100);
    assert_int_equal(users_last(p, SIM_REC_CONN)->rv, -ECONNREFUSED);
    assert_int_equal(sim_clients_count(), 1);
    world_end();
}

static void nonsense_is_cut_off_and_bytes_can_be_held_back(void **state)
{
    (void)state;
    world_begin(13);
    struct sim_client *p = users_new_raw("p"), *q = users_new_raw("q");
    users_run(ELECTED_US);
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_HOLD, .on = true});
    users_run_ms(10);
    users_ask(p, (struct sim_ask){.type = SIM_ASK_HOLD, .on = true});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "job", .client = "late"});
    users_run_ms(500);
    assert_false(users_there(users_response(p, WIRE_RESP_GRANTED)));
    users_ask(p, (struct sim_ask){.type = SIM_ASK_HOLD});
    users_run_ms(100);
    assert_true(users_there(users_response(p, WIRE_RESP_GRANTED)));

    static const uint8_t nonsense[] = {0, 0, 0, 3, 0xff, 0xff, 0xff};
    users_ask(p, (struct sim_ask){.type = SIM_ASK_BYTES,
                                  .bytes = nonsense,
                                  .bytes_len = sizeof(nonsense)});
    users_run_ms(100);
    assert_false(users_last(p, SIM_REC_CONN)->on);
    assert_false(users_last(p, SIM_REC_BELIEF)->holding);

    users_ask(q, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_ask(q, (struct sim_ask){.type = SIM_ASK_READ});
    users_lock(q, "deaf");
    users_run_ms(100);
    assert_false(users_there(users_response(q, WIRE_RESP_GRANTED)));
    users_ask(q, (struct sim_ask){.type = SIM_ASK_READ, .on = true});
    users_run_ms(1);
    assert_true(users_there(users_response(q, WIRE_RESP_GRANTED)));
    users_ask(q, (struct sim_ask){.type = SIM_ASK_RESET});
    users_run_ms(100);
    assert_int_equal(sim_client_holds(q), 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_client_locks_and_waits),
        cmocka_unit_test(an_extended_client_has_tokens_and_errors),
        cmocka_unit_test(what_cannot_be_asked_is_an_outcome),
        cmocka_unit_test(nonsense_is_cut_off_and_bytes_can_be_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
