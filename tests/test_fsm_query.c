/* Release, force release, status, token checks, lists. */
#include "fsm_table.h"

/* ---- release ---------------------------------------------------------------------- */

static void a_release_says_what_it_did(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    release(t, "a", "L", 0);
    assert_told(t, "*a release L not-held #0");
    lock(t, "b", "L", (struct ask){0});
    release(t, "a", "L", 0);
    assert_told(t, "*a release L held-by-other #0");
    lock(t, "a", "L", (struct ask){.wait = true});
    release(t, "a", "L", 0);
    assert_told(t, "a denied L cancelled; *a release L was-queued #0");
    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #1");
    release(t, "b", "L", 0);
    assert_told(t, "*b release L not-held #0");
}

static void a_release_with_a_token_frees_only_that_hold(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){0});
    release(t, "a", "L", 2);
    assert_told(t, "*a release L not-held #0");
    release(t, "b", "L", 1);
    assert_told(t, "*b release L held-by-other #0");
    lock(t, "b", "L", (struct ask){.wait = true});
    release(t, "b", "L", 1);
    assert_told(t, "*b release L held-by-other #0");
    release(t, "a", "L", 1);
    assert_told(t, "*a release L released #1; b granted L W#2");
    release(t, "a", "L", 1);
    assert_told(t, "*a release L held-by-other #0");
}

static void a_release_tells_once_that_the_hold_had_expired(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.hold_ms = 100});
    pass(t, 100);
    lock(t, "b", "L", (struct ask){0});
    table_reload(t);

    release(t, "a", "L", 9);
    assert_told(t, "*a release L held-by-other #0");
    release(t, "a", "L", 1);
    assert_told(t, "*a release L expired #1");
    release(t, "a", "L", 1);
    assert_told(t, "*a release L held-by-other #0");
}

static void a_client_remembers_sixteen_expired_holds_and_forgets_the_oldest(void **state)
{
    struct table *t = *state;
    char name[16];

    attach(t, "a");
    for (int i = 0; i <= FSM_EXPIRED_MEMORY_MAX; i++) {
        snprintf(name, sizeof(name), "L%d", i);
        lock(t, "a", name, (struct ask){.hold_ms = 100});
        t->now_ms++;
    }
    pass(t, 100);
    table_reload(t);

    release(t, "a", "L0", 0);
    assert_told(t, "*a release L0 not-held #0");
    release(t, "a", "L1", 0);
    assert_told(t, "*a release L1 expired #2");
    release(t, "a", "L16", 0);
    assert_told(t, "*a release L16 expired #17");
}

static void a_new_grant_clears_the_memory_of_the_expired_one(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 100});
    pass(t, 100);
    lock(t, "a", "L", (struct ask){0});
    release(t, "a", "L", 1);
    assert_told(t, "*a release L not-held #0");
    release(t, "a", "L", 2);
    assert_told(t, "*a release L released #2");
    release(t, "a", "L", 1);
    assert_told(t, "*a release L not-held #0");
}

static void an_ignored_hold_is_released_after_its_client_came_back(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.ignore = true});
    detach(t, "a");
    attach(t, "a");
    assert_told(t, "*a attached epoch 0 claims 1");

    release(t, "a", "L", 1);

    assert_told(t, "*a release L released #1");
    detach(t, "a");
    assert_told(t, "*a detached; a ended");
}

/* ---- force ------------------------------------------------------------------------ */

static void a_force_release_breaks_all_holds_and_serves_the_queue(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "c", "L", (struct ask){.wait = true});

    force(t, "L", 0);

    assert_told(t, "a broken L #1; b broken L #2; c granted L W#3; *forced L 2");
    release(t, "a", "L", 0);
    assert_told(t, "*a release L held-by-other #0");
}

static void a_force_release_with_a_token_breaks_that_hold(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    force(t, "L", 2);
    assert_told(t, "b broken L #2; *forced L 1");
    force(t, "L", 2);
    assert_told(t, "*forced L 0");
    force(t, "M", 0);
    assert_told(t, "*forced M 0");
}

static void a_force_release_ends_a_gone_client(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.ignore = true});
    detach(t, "a");

    force(t, "L", 0);

    assert_told(t, "a broken L #1; a ended; *forced L 1");
    assert_int_equal(fsm_counts(t->fsm).clients, 0);
}

/* ---- status and tokens ------------------------------------------------------------ */

static void a_status_shows_the_lock_as_the_client_sees_it(void **state)
{
    struct table *t = *state;
    const struct fsm_event *shown;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.hold_ms = 900, .info = "why"});
    lock(t, "b", "L", (struct ask){.wait = true, .wait_ms = 300});
    t->now_ms += 100;

    shown = status(t, "a", "L");
    assert_told(t, "*a status L mine W#1 holders 1 queue 1");
    assert_int_equal(shown->token, 1);
    assert_int_equal(shown->claim.remaining_ms, 800);
    shown = status(t, "b", "L");
    assert_told(t, "*b status L waiting W 1/ holders 1 queue 1");
    assert_int_equal(shown->claim.remaining_ms, 200);
    shown = status(t, "stranger", "L");
    assert_told(t, "*stranger status L other W#0 holders 1 queue 1");
    assert_int_equal(shown->claims_count, 1);
    assert_memory_equal(shown->claims[0].owner_info.data, "why", 3);
}

static void a_token_is_current_superseded_or_free(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    check_token(t, "L", 1);
    assert_told(t, "*L #1 free by #0");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    check_token(t, "L", 1);
    assert_told(t, "*L #1 current by #0");
    release(t, "a", "L", 0);
    check_token(t, "L", 1);
    assert_told(t, "*L #1 superseded by #2");
}

static void tokens_grow_across_locks_and_their_records_and_snapshots(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    for (uint64_t token = 1; token < 10; token++) {
        assert_int_equal(lock(t, "a", token % 2 ? "L" : "M", (struct ask){0})->token,
                         token);
        release(t, "a", token % 2 ? "L" : "M", 0);
        assert_int_equal(fsm_counts(t->fsm).locks, 0);
        table_reload(t);
        assert_int_equal(fsm_last_token(t->fsm), token);
    }
}

/* ---- lists ------------------------------------------------------------------------ */

static void list(struct table *t,
                 enum fsm_command_type type,
                 const char *prefix,
                 const char *after,
                 uint32_t max)
{
    apply(t, (struct fsm_command){
                 .type = type,
                 .list = {.prefix = str(prefix), .after = str(after), .max = max},
             });
}

static void locks_are_listed_in_order_of_name_by_pages(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c d e f");
    lock(t, "a", "job/b", (struct ask){0});
    lock(t, "b", "job/b", (struct ask){.wait = true});
    lock(t, "a", "job/a", (struct ask){.limit = 5});
    lock(t, "a", "job/aa", (struct ask){.read = true});
    lock(t, "a", "zoo", (struct ask){0});
    lock(t, "a", "job", (struct ask){0});
    lock(t, "a", "job/c", (struct ask){0});

    list(t, FSM_CMD_LIST_LOCKS, "job/", NULL, 2);
    assert_told(t,
                "job/a W limit 5 holders 1 queue 0; job/aa R limit 1 holders 1 queue 0; "
                "*end more");
    list(t, FSM_CMD_LIST_LOCKS, "job/", "job/aa", 2);
    assert_told(
        t, "job/b W limit 1 holders 1 queue 1; job/c W limit 1 holders 1 queue 0; *end");
    list(t, FSM_CMD_LIST_LOCKS, NULL, "job/c", 0);
    assert_told(t, "zoo W limit 1 holders 1 queue 0; *end");
    list(t, FSM_CMD_LIST_LOCKS, "nothing", NULL, 5000);
    assert_told(t, "*end");
}

static void a_list_shows_at_most_four_holders(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c d e f");
    for (const char *client = "abcdef"; *client != '\0'; client++) {
        char id[2] = {*client, '\0'};
        lock(t, id, "L", (struct ask){.read = true});
    }
    list(t, FSM_CMD_LIST_LOCKS, NULL, NULL, 10);
    assert_told(t, "L R limit 1 holders 6 queue 0; *end");
    assert_int_equal(t->events.items[0].claims_count, 4);
}

static void clients_are_listed_with_what_they_have(void **state)
{
    struct table *t = *state;

    attach_all(t, "c a b");
    attach_epoch(t, "a", 7, false);
    lock(t, "a", "L", (struct ask){.ignore = true, .epoch = 7});
    lock(t, "b", "L", (struct ask){.wait = true});
    detach(t, "a");

    list(t, FSM_CMD_LIST_CLIENTS, NULL, NULL, 10);

    assert_told(t, "a epoch 7 holds 1 waits 0; b epoch 0 holds 0 waits 1 connected; "
                   "c epoch 0 holds 0 waits 0 connected; *end");
}

static void a_page_holds_the_first_names_of_many(void **state)
{
    struct table *t = *state;
    char id[16];

    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof(id), "%03d", (i * 7919) % 300);
        attach(t, id);
    }
    list(t, FSM_CMD_LIST_CLIENTS, NULL, "099", 20);
    assert_int_equal(t->events.count, 21);
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof(id), "%03d", 100 + i);
        assert_memory_equal(t->events.items[i].client.data, id, 3);
    }
    assert_true(t->events.items[20].more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(a_release_says_what_it_did),
        fsm_test(a_release_with_a_token_frees_only_that_hold),
        fsm_test(a_release_tells_once_that_the_hold_had_expired),
        fsm_test(a_client_remembers_sixteen_expired_holds_and_forgets_the_oldest),
        fsm_test(a_new_grant_clears_the_memory_of_the_expired_one),
        fsm_test(an_ignored_hold_is_released_after_its_client_came_back),
        fsm_test(a_force_release_breaks_all_holds_and_serves_the_queue),
        fsm_test(a_force_release_with_a_token_breaks_that_hold),
        fsm_test(a_force_release_ends_a_gone_client),
        fsm_test(a_status_shows_the_lock_as_the_client_sees_it),
        fsm_test(a_token_is_current_superseded_or_free),
        fsm_test(tokens_grow_across_locks_and_their_records_and_snapshots),
        fsm_test(locks_are_listed_in_order_of_name_by_pages),
        fsm_test(a_list_shows_at_most_four_holders),
        fsm_test(clients_are_listed_with_what_they_have),
        fsm_test(a_page_holds_the_first_names_of_many),
    };

    return cmocka_run_group_tests_name("fsm_query", tests, NULL, NULL);
}
