/* Clients: attach, epochs, secrets, detach, and what their going does. */
#include "fsm_table.h"

/* ---- attach ----------------------------------------------------------------------- */

static void a_client_must_be_attached_to_act(void **state)
{
    struct table *t = *state;

    lock(t, "a", "L", (struct ask){0});
    assert_told(t, "*a denied L not-attached");
    refresh(t, "a", "L", 0, 0);
    assert_told(t, "*a denied L not-attached");
    release(t, "a", "L", 0);
    assert_told(t, "*a denied L not-attached");
    status(t, "a", "L");
    assert_told(t, "*a status L free W#0 holders 0 queue 0");
    assert_int_equal(fsm_counts(t->fsm).clients, 0);
}

static void attach_seq_only_grows(void **state)
{
    struct table *t = *state;
    uint64_t first = attach(t, "a")->attach_seq;
    uint64_t other = attach(t, "b")->attach_seq;
    uint64_t again = attach(t, "a")->attach_seq;
    uint64_t found;
    uint64_t number;

    assert_true(first < other);
    assert_true(other < again);
    assert_true(fsm_client_find(t->fsm, str("a"), &found, &number));
    assert_int_equal(found, again);
    assert_false(fsm_client_find(t->fsm, str("nobody"), &found, &number));
    assert_int_equal(found, 0);
}

static void an_attach_tells_holds_in_order_of_grant_then_waits(void **state)
{
    struct table *t = *state;
    const struct fsm_event *attached;

    attach_all(t, "a b");
    lock(t, "b", "W1", (struct ask){0});
    lock(t, "a", "W1", (struct ask){.wait = true});
    lock(t, "a", "H2", (struct ask){0});
    lock(t, "b", "R", (struct ask){.read = true});
    lock(t, "a", "R", (struct ask){.read = true});
    lock(t, "a", "H1", (struct ask){0});
    lock(t, "b", "W0", (struct ask){0});
    lock(t, "a", "W0", (struct ask){.wait = true});
    release(t, "b", "R", 0);
    lock(t, "a", "R", (struct ask){0}); /* an upgrade is a new grant */
    table_reload(t);

    attached = attach(t, "a");

    assert_int_equal(attached->claims_count, 5);
    assert_memory_equal(attached->claims[0].lock.data, "H2", 2);
    assert_memory_equal(attached->claims[1].lock.data, "H1", 2);
    assert_memory_equal(attached->claims[2].lock.data, "R", 1);
    assert_memory_equal(attached->claims[3].lock.data, "W1", 2);
    assert_memory_equal(attached->claims[4].lock.data, "W0", 2);
}

/* ---- epochs ----------------------------------------------------------------------- */

static void a_lower_epoch_is_refused_without_any_change(void **state)
{
    struct table *t = *state;
    uint64_t seq = attach_epoch(t, "a", 5, false)->attach_seq;
    uint64_t found;
    uint64_t number;

    attach_epoch(t, "a", 4, false);
    assert_told(t, "*a denied  stale-epoch");
    attach_epoch(t, "a", 4, true);
    assert_told(t, "*a denied  stale-epoch");
    fsm_client_find(t->fsm, str("a"), &found, &number);
    assert_int_equal(found, seq);
    assert_int_equal(number, 5);
}

static void a_connection_may_join_at_the_same_epoch_or_without_one(void **state)
{
    struct table *t = *state;

    attach_epoch(t, "a", 5, false);
    attach_epoch(t, "a", 5, false);
    assert_told(t, "*a attached epoch 5 claims 0");
    attach(t, "a");
    assert_told(t, "*a attached epoch 5 claims 0");
    attach_epoch(t, "a", 6, false);
    assert_told(t, "*a attached epoch 6 claims 0");
}

static void superseding_needs_a_higher_epoch(void **state)
{
    struct table *t = *state;

    attach_epoch(t, "a", 5, true);
    assert_told(t, "*a attached epoch 5 claims 0");
    attach_epoch(t, "a", 5, true);
    assert_told(t, "*a denied  stale-epoch");
    attach_epoch(t, "a", 6, true);
    assert_told(t, "*a attached epoch 6 superseding claims 0");
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_ATTACH,
                 .client = str("a"),
                 .attach = {.supersede = true},
             });
    assert_told(t, "*a denied  stale-epoch");
}

static void requests_of_a_superseded_connection_have_no_effect(void **state)
{
    struct table *t = *state;

    attach_epoch(t, "a", 1, false);
    lock(t, "a", "L", (struct ask){.epoch = 1, .hold_ms = 1000});
    attach_epoch(t, "a", 2, true);

    lock(t, "a", "M", (struct ask){.epoch = 1});
    assert_told(t, "*a denied M stale-epoch");
    release(t, "a", "L", 0);
    assert_told(t, "*a denied L stale-epoch");
    refresh(t, "a", "L", 0, 5000);
    assert_told(t, "*a denied L stale-epoch");
    pass(t, 1000);
    assert_told(t, "a expired L #1");
}

static void a_delayed_request_does_not_take_what_was_released_since(void **state)
{
    struct table *t = *state;

    attach_epoch(t, "a", 1, false);
    lock(t, "a", "L", (struct ask){.epoch = 1});
    attach_epoch(t, "a", 2, true);
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_RELEASE,
                 .client = str("a"),
                 .client_epoch = 2,
                 .lock = str("L"),
             });
    assert_told(t, "*a release L released #1");

    lock(t, "a", "L", (struct ask){.epoch = 1});

    assert_told(t, "*a denied L stale-epoch");
    assert_int_equal(fsm_counts(t->fsm).locks, 0);
}

/* ---- secrets ---------------------------------------------------------------------- */

static const struct fsm_event *
attach_secret(struct table *t, const char *client, const char *secret, bool create)
{
    return apply(t, (struct fsm_command){
                        .type = FSM_CMD_ATTACH,
                        .client = str(client),
                        .attach = {.create = create, .secret_digest = str(secret)},
                    });
}

static void a_client_with_a_secret_is_attached_only_with_it(void **state)
{
    struct table *t = *state;

    attach_secret(t, "a", "secret", true);
    assert_told(t, "*a attached epoch 0 claims 0");
    table_reload(t);
    attach_secret(t, "a", "wrong!", false);
    assert_told(t, "*a denied  not-allowed");
    attach_secret(t, "a", NULL, false);
    assert_told(t, "*a denied  not-allowed");
    attach_secret(t, "a", "secret", false);
    assert_told(t, "*a attached epoch 0 claims 0");
}

static void a_client_without_a_secret_is_not_bound_to_one_later(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    attach_secret(t, "a", "secret", false);
    assert_told(t, "*a attached epoch 0 claims 0");
    attach(t, "a");
    assert_told(t, "*a attached epoch 0 claims 0");
}

static void create_refuses_an_id_that_exists(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    attach_secret(t, "a", NULL, true);
    assert_told(t, "*a denied  not-allowed");
}

/* ---- detach ----------------------------------------------------------------------- */

static void a_detach_that_is_not_the_last_changes_nothing(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});
    apply(t, (struct fsm_command){.type = FSM_CMD_DETACH, .client = str("a")});
    assert_told(t, "*a detached");
    assert_int_equal(fsm_counts(t->fsm).holds, 1);
    detach(t, "nobody");
    assert_told(t, "*nobody detached");
}

static void the_last_detach_frees_holds_but_not_those_that_ignore_it(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});
    lock(t, "a", "M", (struct ask){.ignore = true, .hold_ms = 1000});

    detach(t, "a");
    assert_told(t, "*a detached");
    status(t, "x", "L");
    assert_told(t, "*x status L free W#0 holders 0 queue 0");
    status(t, "x", "M");
    assert_false(t->events.items[0].claims[0].connected);
    table_reload(t);

    pass(t, 1000);
    assert_told(t, "a expired M #2; a ended");
}

static void a_detach_that_was_overtaken_by_an_attach_changes_nothing(void **state)
{
    struct table *t = *state;
    uint64_t old_seq = attach(t, "a")->attach_seq;

    lock(t, "a", "L", (struct ask){0});
    attach(t, "a");

    apply(t, (struct fsm_command){
                 .type = FSM_CMD_DETACH,
                 .client = str("a"),
                 .detach = {.attach_seq = old_seq, .last = true},
             });

    assert_told(t, "*a detached");
    assert_int_equal(fsm_counts(t->fsm).holds, 1);
}

static void dropping_holder_and_head_waiter_in_one_grants_the_next(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "L", (struct ask){.read = true});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true}); /* holder and head waiter */
    lock(t, "c", "L", (struct ask){.wait = true});
    release(t, "b", "L", 0);
    assert_told(t, "*b release L released #2; a granted L W#3");
    lock(t, "b", "L", (struct ask){.wait = true});
    lock(t, "a", "M", (struct ask){0});
    lock(t, "c", "M", (struct ask){.wait = true});

    detach(t, "a");

    assert_told(t, "*a detached; c granted L W#5; c granted M W#6; a ended");
}

static void a_going_client_is_never_granted_what_it_waited_for(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 1000});
    lock(t, "b", "L", (struct ask){.read = true});
    lock(t, "a", "L", (struct ask){.wait = true});
    t->now_ms += 1000;
    status(t, "a", "L");
    assert_told(t, "a expired L #1; *a status L waiting W 1/ holders 1 queue 1");
    lock(t, "a", "M", (struct ask){0});
    lock(t, "b", "M", (struct ask){.wait = true});

    detach(t, "a");

    assert_told(t, "a denied L cancelled; *a detached; b granted M W#4; a ended");
    assert_int_equal(fsm_counts(t->fsm).holds, 2);
}

static void a_gone_client_cannot_act_before_it_attaches(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.ignore = true});
    detach(t, "a");

    lock(t, "a", "M", (struct ask){0});
    assert_told(t, "*a denied M not-attached");
    refresh(t, "a", "L", 0, 500);
    assert_told(t, "*a denied L not-attached");
    release(t, "a", "L", 0);
    assert_told(t, "*a denied L not-attached");
    attach(t, "a");
    release(t, "a", "L", 0);
    assert_told(t, "*a release L released #1");
}

static void a_record_ends_when_nothing_is_left(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    detach(t, "a");
    assert_told(t, "*a detached; a ended");
    assert_int_equal(fsm_counts(t->fsm).clients, 0);
    detach(t, "a");
    assert_told(t, "*a detached");
}

static void a_missing_client_can_be_detached_before_its_grace_ends(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){0});
    epoch(t);
    detach(t, "a");
    assert_told(t, "*a detached; a ended");
    pass(t, 20000);
    assert_told(t, "");
}

static void graces_that_end_together_end_in_turns(void **state)
{
    struct table *t = *state;

    t->settings.drop_max = 3;
    attach_all(t, "a b c");
    lock(t, "a", "K", (struct ask){0});
    lock(t, "a", "L", (struct ask){0});
    lock(t, "b", "M", (struct ask){0});
    lock(t, "b", "O", (struct ask){0});
    lock(t, "c", "N", (struct ask){0});
    lock(t, "c", "M", (struct ask){.wait = true});
    epoch(t);
    pass(t, t->settings.reattach_grace_ms);
    assert_told(t, "a ended");
    table_reload(t);
    pass(t, 1);
    assert_told(t, "c granted M W#6; b ended");
    pass(t, 1);
    assert_told(t, "c ended");
    assert_int_equal(fsm_next_deadline_ms(t->fsm), FSM_UNLIMITED);
}

static void who_comes_back_before_its_turn_keeps_everything(void **state)
{
    struct table *t = *state;

    t->settings.drop_max = 1;
    attach_all(t, "a b");
    lock(t, "a", "K", (struct ask){0});
    lock(t, "b", "L", (struct ask){0});
    epoch(t);
    pass(t, t->settings.reattach_grace_ms);
    assert_told(t, "a ended");
    attach(t, "b");
    pass(t, 1000);
    assert_told(t, "");
    assert_int_equal(fsm_counts(t->fsm).holds, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(a_client_must_be_attached_to_act),
        fsm_test(attach_seq_only_grows),
        fsm_test(an_attach_tells_holds_in_order_of_grant_then_waits),
        fsm_test(a_lower_epoch_is_refused_without_any_change),
        fsm_test(a_connection_may_join_at_the_same_epoch_or_without_one),
        fsm_test(superseding_needs_a_higher_epoch),
        fsm_test(requests_of_a_superseded_connection_have_no_effect),
        fsm_test(a_delayed_request_does_not_take_what_was_released_since),
        fsm_test(a_client_with_a_secret_is_attached_only_with_it),
        fsm_test(a_client_without_a_secret_is_not_bound_to_one_later),
        fsm_test(create_refuses_an_id_that_exists),
        fsm_test(a_detach_that_is_not_the_last_changes_nothing),
        fsm_test(the_last_detach_frees_holds_but_not_those_that_ignore_it),
        fsm_test(a_detach_that_was_overtaken_by_an_attach_changes_nothing),
        fsm_test(dropping_holder_and_head_waiter_in_one_grants_the_next),
        fsm_test(a_going_client_is_never_granted_what_it_waited_for),
        fsm_test(a_gone_client_cannot_act_before_it_attaches),
        fsm_test(a_record_ends_when_nothing_is_left),
        fsm_test(a_missing_client_can_be_detached_before_its_grace_ends),
        fsm_test(graces_that_end_together_end_in_turns),
        fsm_test(who_comes_back_before_its_turn_keeps_everything),
    };

    return cmocka_run_group_tests_name("fsm_client", tests, NULL, NULL);
}
