/* The simulator's users of the library: on a whole cluster of shipped servers, on virtual time. */
#include <errno.h>
#include <string.h>

#include "sim_users.h"

/* ---- users of the library ------------------------------------------------------------ */

static void a_lock_goes_from_one_user_to_the_next(void **state)
{
    (void)state;
    world_begin(1);
    struct sim_client *a = users_new("a"), *b = users_new("b");
    users_run(ELECTED_US);
    assert_true(users_there(users_notice(a, NETLOCK_CONNECTED)));
    assert_string_equal(users_find(a, SIM_REC_NOTICE, 0)->client_id, "a-id");

    users_lock(a, "job");
    users_run_ms(100);
    users_lock(b, "job");
    users_run_ms(100);

    const struct seen *asked = users_find(a, SIM_REC_ASK, 0),
                      *got = users_find(a, SIM_REC_OUTCOME, 0);
    assert_true(users_there(got));
    assert_int_equal(asked->op, got->op);
    assert_int_equal(got->rv, 0);
    assert_true(got->has_grant);
    assert_true(asked->at_us == ELECTED_US && got->at_us > asked->at_us);
    const struct seen *belief = users_find(a, SIM_REC_BELIEF, 0);
    assert_true(belief == got + 1 && belief->holding);
    assert_int_equal(belief->token, got->token);
    assert_int_equal(belief->at_us, got->at_us);
    assert_int_equal(sim_client_holds(a), 1);
    assert_true(users_there(users_notice(b, NETLOCK_QUEUED)));
    assert_false(users_there(users_find(b, SIM_REC_OUTCOME, 0)));
    assert_int_equal(sim_client_pending(b), 1);

    uint64_t given_up_us = sim_now_us();
    users_unlock(a, "job");
    users_run_ms(100);

    const struct seen *end = users_find(a, SIM_REC_BELIEF, 1);
    assert_true(!end->holding && end->at_us == given_up_us);
    assert_int_equal(users_find(a, SIM_REC_OUTCOME, 1)->rv, 0);
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, 0)->rv, 0);
    assert_true(users_find(b, SIM_REC_BELIEF, 0)->token > belief->token);
    assert_true(users_find(b, SIM_REC_BELIEF, 0)->at_us > given_up_us);
    assert_int_equal(sim_client_pending(b), 0);
    world_end();
}

static void what_was_used_for_long_enough_is_given_up(void **state)
{
    (void)state;
    world_begin(2);
    struct sim_client *a = users_new("a");
    users_run(ELECTED_US);
    users_ask(a,
              (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "job", .use_us = 1234567});
    users_run(2 * SECOND_US);

    const struct seen *begin = users_find(a, SIM_REC_BELIEF, 0),
                      *end = users_find(a, SIM_REC_BELIEF, 1);
    assert_int_equal(end->at_us - begin->at_us, 1234567);
    assert_int_equal(users_last(a, SIM_REC_ASK)->ask_type, SIM_ASK_UNLOCK);
    assert_int_equal(users_last(a, SIM_REC_OUTCOME)->ask_type, SIM_ASK_UNLOCK);
    assert_int_equal(users_last(a, SIM_REC_OUTCOME)->rv, 0);
    assert_int_equal(users_last(a, SIM_REC_OUTCOME)->op, users_last(a, SIM_REC_ASK)->op);
    world_end();
}

static void another_type_is_another_belief(void **state)
{
    (void)state;
    world_begin(3);
    struct sim_client *a = users_new("a");
    users_run(ELECTED_US);
    users_ask(a, (struct sim_ask){
                     .type = SIM_ASK_LOCK, .lock = "job", .type_of_lock = NETLOCK_READ});
    users_run_ms(100);
    users_lock(a, "job");
    users_run_ms(100);
    users_lock(a, "job"); /* once more: the same hold */
    users_run_ms(100);
    users_ask(a, (struct sim_ask){.type = SIM_ASK_LOCK,
                                  .lock = "job",
                                  .type_of_lock = NETLOCK_READ,
                                  .downgrade = true});
    users_run_ms(100);

    const struct seen *read = users_find(a, SIM_REC_BELIEF, 0),
                      *over = users_find(a, SIM_REC_BELIEF, 1);
    const struct seen *write = users_find(a, SIM_REC_BELIEF, 2);
    assert_int_equal(read->type_of_lock, NETLOCK_READ);
    assert_true(!over->holding && over->token == read->token);
    assert_true(write->holding && write->at_us == over->at_us);
    assert_int_equal(write->type_of_lock, NETLOCK_WRITE);
    assert_true(write->token > read->token);
    const struct seen *down = users_find(a, SIM_REC_BELIEF, 4);
    assert_true(down->holding && down->token == write->token);
    assert_int_equal(down->type_of_lock, NETLOCK_READ);
    assert_false(users_there(users_find(a, SIM_REC_BELIEF, 5)));
    assert_int_equal(sim_client_holds(a), 1);
    world_end();
}

static void queries_are_answered(void **state)
{
    (void)state;
    world_begin(4);
    struct sim_client *a = users_new("a"), *b = users_new("b");
    users_run(ELECTED_US);
    users_lock(a, "job");
    users_run_ms(100);
    uint64_t token = users_find(a, SIM_REC_BELIEF, 0)->token;
    users_ask(b, (struct sim_ask){.type = SIM_ASK_STATUS, .lock = "job"});
    users_run_ms(100);
    struct sim_answer status = users_last(b, SIM_REC_OUTCOME)->answer;
    assert_true(users_last(b, SIM_REC_OUTCOME)->has_answer);
    assert_int_equal(status.state, NETLOCK_HELD_BY_OTHER);
    assert_int_equal(status.holders_count, 1);
    assert_int_equal(status.holders[0].token, token);
    assert_string_equal(status.holders[0].client_id, "a-id");
    assert_true(status.index > 0);

    users_ask(a, (struct sim_ask){.type = SIM_ASK_CHECK_TOKEN,
                                  .lock = "job",
                                  .token = SIM_TOKEN_HELD});
    users_run_ms(100);
    assert_int_equal(users_last(a, SIM_REC_ASK)->token, token);
    assert_int_equal(users_last(a, SIM_REC_OUTCOME)->answer.token_state, NETLOCK_CURRENT);

    users_ask(b, (struct sim_ask){.type = SIM_ASK_BREAK, .lock = "job"});
    users_run_ms(100);
    assert_int_equal(users_last(b, SIM_REC_OUTCOME)->answer.count, 1);
    assert_true(users_there(users_notice(a, NETLOCK_LOST)));
    assert_int_equal(users_notice(a, NETLOCK_LOST)->token, token);
    assert_false(users_last(a, SIM_REC_BELIEF)->holding);

    users_ask(b, (struct sim_ask){.type = SIM_ASK_STATUS, .lock = ""});
    users_ask(b, (struct sim_ask){.type = SIM_ASK_CANCEL, .lock = "job"});
    users_ask(b, (struct sim_ask){.type = SIM_ASK_HELLO});
    users_run_ms(100);
    unsigned n = 2;
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, n)->rv, -EINVAL);
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, n + 1)->rv, -ENOENT);
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, n + 2)->rv, -EOPNOTSUPP);
    world_end();
}

/* The lease is counted in milliseconds that begin: LOST comes with the first microsecond of one. */
static void a_user_that_nobody_reaches_is_told_lost_on_time(void **state)
{
    (void)state;
    world_begin(5);
    struct sim_client *a = users_new("a");
    users_run(ELECTED_US);
    users_ask(a, (struct sim_ask){.type = SIM_ASK_LOCK, .lock = "job", .hold_ms = 5000});
    users_run_ms(100);
    const struct seen *asked = users_find(a, SIM_REC_ASK, 0);
    sim_process_set_rate(sim_client_process(a), 300);
    users_isolate(a, true);
    users_run(6 * SECOND_US);

    const struct seen *lost = users_notice(a, NETLOCK_LOST);
    assert_true(users_there(users_notice(a, NETLOCK_JEOPARDY)));
    assert_true(users_there(lost));
    assert_false(users_last(a, SIM_REC_BELIEF)->holding);
    assert_int_equal(users_last(a, SIM_REC_BELIEF)->at_us, lost->at_us);
    /* 5000 less the drift and 5 ms, from the millisecond in which it was sent; refreshed never. */
    uint64_t passed_us = lost->at_us - asked->at_us;
    assert_in_range(passed_us, 4986 * 1000, 4990 * 1000);
    const struct sim_clock *clock = &sim_client_process(a)->clock;
    uint64_t since_us = lost->at_us - clock->since_us;
    uint64_t shown_us = clock->shown_us + since_us + since_us * 300 / 1000000;
    assert_true(shown_us % 1000 <= 1);
    assert_int_equal(sim_client_holds(a), 0);
    world_end();
}

static void a_paused_user_does_first_what_the_library_says(void **state)
{
    (void)state;
    world_begin(6);
    struct sim_client *a = users_new("a"), *b = users_new("b");
    users_run(ELECTED_US);
    users_ask(
        a, (struct sim_ask){
               .type = SIM_ASK_LOCK, .lock = "job", .hold_ms = 5000, .use_us = 6000000});
    users_run_ms(100);
    sim_process_pause(sim_client_process(a));
    users_lock(a, "other");
    users_lock(b, "job");
    users_run(20 * SECOND_US);
    assert_false(users_there(users_find(a, SIM_REC_OUTCOME, 1)));
    assert_int_equal(sim_client_pending(a), 1);
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, 0)->rv, 0);

    uint64_t resumed_us = sim_now_us();
    sim_process_resume(sim_client_process(a));
    users_run(5 * SECOND_US);

    const struct seen *lost = users_notice(a, NETLOCK_LOST);
    assert_true(users_there(lost));
    assert_int_equal(lost->at_us, resumed_us);
    const struct seen *asked = users_find(a, SIM_REC_ASK, 1);
    assert_string_equal(asked->lock, "other");
    assert_true(asked > lost && asked->at_us == resumed_us);
    assert_false(users_there(
        users_find(a, SIM_REC_ASK, 2))); /* there was nothing to give up any more */
    assert_int_equal(users_last(a, SIM_REC_OUTCOME)->rv, 0);
    world_end();
}

static void a_killed_user_believes_nothing_and_lives_again(void **state)
{
    (void)state;
    world_begin(7);
    struct sim_client *a = users_new("a"), *b = users_new("b");
    users_run(ELECTED_US);
    users_lock(a, "job");
    users_run_ms(100);
    uint64_t token = users_last(a, SIM_REC_BELIEF)->token;
    users_lock(a, "more");
    sim_client_kill(a);
    assert_false(sim_client_runs(a));
    assert_false(users_last(a, SIM_REC_BELIEF)->holding);
    assert_int_equal(users_last(a, SIM_REC_LIFE)->rv, -1);
    assert_int_equal(sim_client_pending(a), 0);
    users_lock(a, "users_nothing");
    users_lock(b, "job");
    users_run(30 * SECOND_US);
    assert_false(users_there(users_find(a, SIM_REC_ASK, 1)));
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, 0)->rv, 0);

    sim_client_start(a);
    users_run(SECOND_US);
    users_ask(a, (struct sim_ask){
                     .type = SIM_ASK_UNLOCK, .lock = "job", .token = SIM_TOKEN_HELD});
    users_run(SECOND_US);
    assert_int_equal(users_last(a, SIM_REC_ASK)->token, token);
    assert_true(users_last(a, SIM_REC_OUTCOME)->rv < 0);
    assert_true(users_last(b, SIM_REC_BELIEF)->holding);
    world_end();
}

static void an_id_that_the_cluster_made_dies_with_its_user(void **state)
{
    (void)state;
    world_begin(15);
    struct sim_client_options options = {.name = "a"};
    struct sim_client *a = sim_client_new(&options, 15);
    sim_client_start(a);
    users_run(ELECTED_US);
    users_lock(a, "job");
    users_run_ms(100);
    const struct seen *first = users_last(a, SIM_REC_BELIEF);
    assert_int_equal(strlen(first->client_id), 32);
    sim_client_kill(a);
    assert_string_equal(users_last(a, SIM_REC_LIFE)->client_id, first->client_id);
    sim_client_start(a);
    assert_string_equal(users_last(a, SIM_REC_LIFE)->client_id, "");
    users_run(SECOND_US);
    const char *second = users_notice(a, NETLOCK_CONNECTED)->client_id;
    assert_int_equal(strlen(second), 32);
    assert_string_not_equal(second, first->client_id);
    world_end();
}

static void closing_detaches_and_leaves_no_memory(void **state)
{
    (void)state;
    world_begin(8);
    struct sim_client *a = users_new("a"), *b = users_new("b");
    users_run(ELECTED_US);
    users_lock(a, "job");
    users_run_ms(100);
    users_lock(b, "job");
    users_lock(b, "more");
    users_run_ms(100);
    uint64_t closed_us = sim_now_us();
    users_lock(a, "last");
    sim_client_close(a);
    users_lock(a, "later");
    users_run_ms(100);

    assert_false(sim_client_runs(a));
    assert_int_equal(users_last(a, SIM_REC_LIFE)->rv, 0);
    assert_int_equal(users_last(a, SIM_REC_BELIEF)->at_us, closed_us);
    assert_int_equal(users_find(a, SIM_REC_OUTCOME, 1)->rv, -NETLOCK_ECLOSED);
    assert_int_equal(users_last(a, SIM_REC_OUTCOME)->rv, -NETLOCK_ECLOSED);
    assert_int_equal(sim_process_heap_bytes(sim_client_process(a)), 0);
    assert_int_equal(users_find(b, SIM_REC_OUTCOME, 1)->rv, 0); /* at once: no grace */
    assert_int_equal(sim_client_holds(b), 2);

    users_isolate(b, true); /* nobody answers the detach */
    sim_client_close(b);
    users_run(3 * SECOND_US);
    assert_false(sim_client_runs(b));
    assert_in_range(users_last(b, SIM_REC_LIFE)->at_us - closed_us, SECOND_US,
                    2 * SECOND_US);
    assert_int_equal(sim_process_heap_bytes(sim_client_process(b)), 0);
    world_end();
}

static void a_life_can_be_short(void **state)
{
    (void)state;
    world_begin(14);
    struct sim_client *a = users_new("a"), *b = users_new("b"), *p = users_new_raw("p");
    sim_client_close(a); /* before its first turn */
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT});
    users_run_ms(1);
    assert_false(sim_client_runs(a));
    assert_int_equal(users_last(a, SIM_REC_LIFE)->rv, 0);
    assert_int_equal(sim_process_heap_bytes(sim_client_process(a)), 0);

    users_lock(b, "job"); /* nobody leads yet */
    sim_client_close(b);
    users_run_ms(1);
    assert_int_equal(users_last(b, SIM_REC_OUTCOME)->rv, -NETLOCK_ECLOSED);
    assert_false(sim_client_runs(b));

    users_run(ELECTED_US);
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT, .conn = 1});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_LOCK, .conn = 1, .lock = "job"});
    users_ask(p, (struct sim_ask){.type = SIM_ASK_STATUS}); /* of no lock */
    users_ask(p, (struct sim_ask){.type = SIM_ASK_HANG_UP, .conn = 1});
    users_run_ms(100);
    sim_client_start(a);
    users_ask(a, (struct sim_ask){.type = SIM_ASK_STATUS});
    users_lock(a, "job"); /* it was let go when the one by hand hung up */
    users_run(5 * SECOND_US);
    assert_int_equal(users_find(a, SIM_REC_OUTCOME, 0)->rv, -EINVAL);
    assert_int_equal(users_find(a, SIM_REC_OUTCOME, 1)->rv, 0);
    sim_client_kill(p);
    assert_int_equal(users_last(p, SIM_REC_LIFE)->rv, -1);
    world_end();
}

static void a_user_follows_the_leader(void **state)
{
    (void)state;
    world_begin(9);
    struct sim_client *a = users_new("a");
    users_run(ELECTED_US);
    users_lock(a, "job");
    users_run_ms(100);
    sim_node_kill(sim_leader(), SIM_TORN_DRAWN);
    users_lock(a, "more");
    users_run(15 * SECOND_US);

    assert_int_equal(users_find(a, SIM_REC_OUTCOME, 1)->rv, 0);
    assert_true(users_there(users_notice(a, NETLOCK_DISCONNECTED)));
    assert_false(users_there(users_notice(a, NETLOCK_LOST)));
    assert_int_equal(sim_client_holds(a), 2);
    world_end();
}

/* ---- the same again ------------------------------------------------------------------ */

static uint64_t some_life(uint64_t seed)
{
    world_begin(seed);
    struct sim_client *users[5];
    for (unsigned i = 0; i < 5; i++)
        users[i] = users_new((const char *[]){"a", "b", "c", "d", "e"}[i]);
    struct sim_client *p = users_new_raw("p");
    users_ask(p, (struct sim_ask){.type = SIM_ASK_CONNECT});
    for (unsigned i = 0; i < 200; i++) {
        users_run_ms(100);
        users_ask(users[i % 5], (struct sim_ask){.type = SIM_ASK_LOCK,
                                                 .lock = i % 3 == 0 ? "x" : "y",
                                                 .use_us = 150000,
                                                 .hold_ms = 2000 + i,
                                                 .try_only = i % 7 == 0});
        users_ask(p, (struct sim_ask){.type = SIM_ASK_STATUS, .lock = "x"});
        if (i == 120)
            sim_node_kill(sim_node(1), SIM_TORN_DRAWN);
    }
    users_run(20 * SECOND_US);
    uint64_t hash = sim_trace_hash();
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(sim_client_pending(users[i]), 0);
    world_end();
    return hash;
}

static void the_same_seed_is_the_same_life(void **state)
{
    (void)state;
    uint64_t hash = some_life(20);
    assert_true(some_life(20) == hash);
    assert_true(some_life(21) != hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_goes_from_one_user_to_the_next),
        cmocka_unit_test(what_was_used_for_long_enough_is_given_up),
        cmocka_unit_test(another_type_is_another_belief),
        cmocka_unit_test(queries_are_answered),
        cmocka_unit_test(a_user_that_nobody_reaches_is_told_lost_on_time),
        cmocka_unit_test(a_paused_user_does_first_what_the_library_says),
        cmocka_unit_test(a_killed_user_believes_nothing_and_lives_again),
        cmocka_unit_test(an_id_that_the_cluster_made_dies_with_its_user),
        cmocka_unit_test(closing_detaches_and_leaves_no_memory),
        cmocka_unit_test(a_life_can_be_short),
        cmocka_unit_test(a_user_follows_the_leader),
        cmocka_unit_test(the_same_seed_is_the_same_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
