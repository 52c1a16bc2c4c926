/* The parts of the machine that have a contract of their own: deadlines, events, names. */
#include "deadline.h"
#include "digest.h"
#include "fsm_table.h"

/* ---- the heap of deadlines -------------------------------------------------------------------- */

static void deadlines_come_out_by_time_then_age(void **state)
{
    struct deadline_heap heap = {0};
    struct deadline items[500];
    uint64_t at_ms = 0;
    uint64_t order = 0;
    int count = 0;

    (void)state;
    for (uint32_t i = 0; i < 500; i++) {
        deadline_init(&items[i], DEADLINE_OF_CLAIM);
        items[i].order = i + 1;
        deadline_set(&heap, &items[i], 1 + i * 7919 % 100);
    }
    while (deadline_first(&heap) != NULL) {
        struct deadline *first = deadline_first(&heap);
        assert_true(first->at_ms > at_ms ||
                    (first->at_ms == at_ms && first->order > order));
        at_ms = first->at_ms;
        order = first->order;
        deadline_set(&heap, first, FSM_UNLIMITED);
        count++;
    }
    assert_int_equal(count, 500);
    deadline_heap_release(&heap);
}

static void a_deadline_can_be_moved_and_taken_out(void **state)
{
    struct deadline_heap heap = {0};
    struct deadline a;
    struct deadline b;

    (void)state;
    deadline_init(&a, DEADLINE_OF_CLAIM);
    deadline_init(&b, DEADLINE_OF_CLIENT);
    deadline_set(&heap, &a, 10);
    deadline_set(&heap, &b, 20);
    assert_ptr_equal(deadline_first(&heap), &a);
    deadline_set(&heap, &a, 30);
    assert_ptr_equal(deadline_first(&heap), &b);
    deadline_set(&heap, &b, FSM_UNLIMITED);
    assert_int_equal(b.place, 0);
    deadline_set(&heap, &b, FSM_UNLIMITED);
    assert_ptr_equal(deadline_first(&heap), &a);
    deadline_set(&heap, &a, FSM_UNLIMITED);
    assert_null(deadline_first(&heap));
    deadline_heap_release(&heap);
}

static void the_end_of_time_is_never(void **state)
{
    (void)state;
    assert_int_equal(deadline_after(5, 6), 11);
    assert_true(deadline_after(5, FSM_UNLIMITED) == FSM_UNLIMITED);
    assert_true(deadline_after(FSM_UNLIMITED, 5) == FSM_UNLIMITED);
    assert_true(deadline_after(5, FSM_UNLIMITED - 4) == FSM_UNLIMITED);
}

/* ---- events ----------------------------------------------------------------------------------- */

static void events_outlive_the_state_that_they_speak_of(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "some lock",
         (struct ask){.ignore = true, .hold_ms = 10, .info = "info"});
    detach(t, "a");
    pass(t, 10);
    assert_told(t, "a expired some lock #1; a ended");
    fsm_free(t->fsm);
    t->fsm = fsm_new(0);

    assert_memory_equal(t->events.items[0].lock.data, "some lock", 9);
    assert_memory_equal(t->events.items[1].client.data, "a", 1);
}

static void events_add_up_until_they_are_cleared(void **state)
{
    struct table *t = *state;
    struct fsm_events events = {0};
    char id[260];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8000; i++) {
            struct fsm_command command = {.type = FSM_CMD_STATUS, .ref = 1};
            snprintf(id, sizeof(id), "%0200d", i);
            command.client = str(id);
            fsm_apply(t->fsm, &command, &events);
        }
        assert_int_equal(events.count, 8000);
        for (int i = 0; i < 8000; i++) {
            snprintf(id, sizeof(id), "%0200d", i);
            assert_memory_equal(events.items[i].client.data, id, 200);
        }
        fsm_events_clear(&events);
        assert_int_equal(events.count, 0);
    }
    fsm_events_release(&events);
    assert_null(events.items);
}

static void an_answer_may_be_larger_than_a_chunk(void **state)
{
    struct table *t = *state;
    char name[16];

    attach(t, "a");
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "lock %d", i);
        lock(t, "a", name, (struct ask){0});
    }
    for (int i = 0; i < 2; i++) {
        const struct fsm_event *attached = attach(t, "a");
        assert_int_equal(attached->claims_count, 2000);
        assert_memory_equal(attached->claims[1999].lock.data, "lock 1999", 9);
    }
}

static void empty_events_can_be_cleared_and_released(void **state)
{
    struct fsm_events events = {0};

    (void)state;
    fsm_events_clear(&events);
    fsm_events_release(&events);
    fsm_free(NULL);
}

/* ---- names ------------------------------------------------------------------------------------ */

static void names_are_bytes_of_any_value_up_to_255(void **state)
{
    struct table *t = *state;
    char bytes[FSM_NAME_BYTES_MAX];
    struct fsm_str longest = {bytes, sizeof(bytes)};
    struct fsm_str shorter = {bytes, sizeof(bytes) - 1};
    struct fsm_command command = {.type = FSM_CMD_ATTACH, .client = longest};

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)i; /* with a NUL at the start */
    }
    apply(t, command);
    command.type = FSM_CMD_LOCK;
    command.lock = longest;
    command.lock_.limit = 1;
    command.lock_.hold_ms = FSM_UNLIMITED;
    command.lock_.wait_ms = FSM_UNLIMITED;
    command.lock_.owner_info = longest;
    assert_int_equal(apply(t, command)->type, FSM_EV_GRANTED);
    command.lock = shorter;
    assert_int_equal(apply(t, command)->token, 2);
    table_reload(t);
    assert_int_equal(fsm_counts(t->fsm).locks, 2);
}

static void empty_names_are_names(void **state)
{
    struct table *t = *state;

    attach(t, "");
    lock(t, "", "", (struct ask){0});
    assert_told(t, "* granted  W#1");
    apply(t, (struct fsm_command){.type = FSM_CMD_STATUS});
    assert_told(t, "* status  mine W#1 holders 1 queue 0");
    table_reload(t);
}

/* ---- fingerprints ----------------------------------------------------------------------------- */

/* A changed field must change the digest. */
#define EVENT_MATTERS(field, value)                                                      \
    do {                                                                                 \
        struct fsm_event changed = event;                                                \
        changed.field = value;                                                           \
        assert_true(digest_event(1, &changed) != digest_event(1, &event));               \
    } while (0)

static void every_field_of_an_event_is_in_its_digest_but_the_ref(void **state)
{
    struct fsm_claim claims[2] = {{.token = 1}, {.token = 2}};
    struct fsm_event event = {
        .type = FSM_EV_GRANTED, .claims = claims, .claims_count = 2};
    struct fsm_event same = event;

    (void)state;
    same.ref = 9;
    assert_true(digest_event(1, &same) == digest_event(1, &event));
    assert_true(digest_event(2, &event) != digest_event(1, &event));
    EVENT_MATTERS(type, FSM_EV_WAITING);
    EVENT_MATTERS(command, FSM_CMD_LOCK);
    EVENT_MATTERS(client, str("a"));
    EVENT_MATTERS(lock, str("a"));
    EVENT_MATTERS(token, 1);
    EVENT_MATTERS(epoch, 1);
    EVENT_MATTERS(attach_seq, 1);
    EVENT_MATTERS(superseded, true);
    EVENT_MATTERS(deny, FSM_DENY_HELD);
    EVENT_MATTERS(result, FSM_RELEASED);
    EVENT_MATTERS(hold_end, FSM_HOLD_EXPIRED);
    EVENT_MATTERS(state, FSM_FREE);
    EVENT_MATTERS(token_state, FSM_TOKEN_CURRENT);
    EVENT_MATTERS(superseded_by, 1);
    EVENT_MATTERS(claims_count, 1);
    EVENT_MATTERS(holders_count, 1);
    EVENT_MATTERS(queue_length, 1);
    EVENT_MATTERS(holds_count, 1);
    EVENT_MATTERS(waits_count, 1);
    EVENT_MATTERS(connected, true);
    EVENT_MATTERS(more, true);
    EVENT_MATTERS(hash, 1);
    EVENT_MATTERS(limit_name, "claims");
    EVENT_MATTERS(claim.client, str("a"));
    EVENT_MATTERS(claim.lock, str("a"));
    EVENT_MATTERS(claim.owner_info, str("a"));
    EVENT_MATTERS(claim.type, FSM_READ);
    EVENT_MATTERS(claim.drop, FSM_DROP_IGNORE);
    EVENT_MATTERS(claim.waiting, true);
    EVENT_MATTERS(claim.connected, true);
    EVENT_MATTERS(claim.token, 1);
    EVENT_MATTERS(claim.slot, 1);
    EVENT_MATTERS(claim.limit, 1);
    EVENT_MATTERS(claim.since_ms, 1);
    EVENT_MATTERS(claim.remaining_ms, 1);
    EVENT_MATTERS(claim.hold_ms, 1);
    EVENT_MATTERS(claim.position, 1);
}

#define COMMAND_MATTERS(kind, field, value)                                              \
    do {                                                                                 \
        struct fsm_command command = {.type = kind};                                     \
        struct fsm_command changed = {.type = kind};                                     \
        changed.field = value;                                                           \
        assert_true(digest_command(1, &changed) != digest_command(1, &command));         \
    } while (0)

static void every_field_of_a_command_is_in_its_digest_but_the_ref(void **state)
{
    struct fsm_command a = {.type = FSM_CMD_TICK, .ref = 1};
    struct fsm_command b = {.type = FSM_CMD_TICK, .ref = 2};
    struct fsm_command supersede = {.type = FSM_CMD_ATTACH,
                                    .attach = {.has_epoch = true}};
    struct fsm_command higher = {.type = FSM_CMD_ATTACH,
                                 .attach = {.has_epoch = true, .epoch = 1}};
    struct fsm_command release_drop = {.type = FSM_CMD_REFRESH,
                                       .refresh = {.set_drop = true}};
    struct fsm_command ignore_drop = {
        .type = FSM_CMD_REFRESH, .refresh = {.set_drop = true, .drop = FSM_DROP_IGNORE}};

    (void)state;
    assert_true(digest_command(1, &a) == digest_command(1, &b));
    assert_true(digest_command(1, &supersede) != digest_command(1, &higher));
    assert_true(digest_command(1, &release_drop) != digest_command(1, &ignore_drop));
    COMMAND_MATTERS(FSM_CMD_TICK, type, FSM_CMD_STATUS);
    COMMAND_MATTERS(FSM_CMD_TICK, time_ms, 1);
    COMMAND_MATTERS(FSM_CMD_LOCK, client_epoch, 1);
    COMMAND_MATTERS(FSM_CMD_LOCK, client, str("a"));
    COMMAND_MATTERS(FSM_CMD_LOCK, lock, str("a"));
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.node_id, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.term, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.settings.reattach_grace_ms, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.settings.clients_max, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.settings.claims_max, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.settings.claims_per_client_max, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.settings.waiters_per_lock_max, 1);
    COMMAND_MATTERS(FSM_CMD_EPOCH, epoch.settings.drop_max, 1);
    COMMAND_MATTERS(FSM_CMD_ATTACH, attach.has_epoch, true);
    COMMAND_MATTERS(FSM_CMD_ATTACH, attach.supersede, true);
    COMMAND_MATTERS(FSM_CMD_ATTACH, attach.create, true);
    COMMAND_MATTERS(FSM_CMD_ATTACH, attach.secret_digest, str("a"));
    COMMAND_MATTERS(FSM_CMD_DETACH, detach.attach_seq, 1);
    COMMAND_MATTERS(FSM_CMD_DETACH, detach.last, true);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.type, FSM_READ);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.mode, FSM_WAIT);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.drop, FSM_DROP_IGNORE);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.wait_ms, 1);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.hold_ms, 1);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.limit, 1);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.downgrade, true);
    COMMAND_MATTERS(FSM_CMD_LOCK, lock_.owner_info, str("a"));
    COMMAND_MATTERS(FSM_CMD_REFRESH, refresh.wait_ms, 1);
    COMMAND_MATTERS(FSM_CMD_REFRESH, refresh.hold_ms, 1);
    COMMAND_MATTERS(FSM_CMD_REFRESH, refresh.set_drop, true);
    COMMAND_MATTERS(FSM_CMD_REFRESH, refresh.token, 1);
    COMMAND_MATTERS(FSM_CMD_RELEASE, release.token, 1);
    COMMAND_MATTERS(FSM_CMD_CHECK_TOKEN, check_token.token, 1);
    COMMAND_MATTERS(FSM_CMD_LIST_LOCKS, list.prefix, str("a"));
    COMMAND_MATTERS(FSM_CMD_LIST_LOCKS, list.after, str("a"));
    COMMAND_MATTERS(FSM_CMD_LIST_CLIENTS, list.max, 1);
    COMMAND_MATTERS(FSM_CMD_FORCE_RELEASE, force_release.token, 1);
}

#define RECORD_MATTERS(kind, field, value)                                               \
    do {                                                                                 \
        struct fsm_record record = {.type = kind};                                       \
        struct fsm_record changed = {.type = kind};                                      \
        changed.field = value;                                                           \
        assert_true(digest_record(1, &changed) != digest_record(1, &record));            \
    } while (0)

static void every_field_of_a_record_is_in_the_hash(void **state)
{
    (void)state;
    RECORD_MATTERS(FSM_REC_ROOT, root.now_ms, 1);
    RECORD_MATTERS(FSM_REC_ROOT, root.token, 1);
    RECORD_MATTERS(FSM_REC_ROOT, root.order, 1);
    RECORD_MATTERS(FSM_REC_ROOT, root.term, 1);
    RECORD_MATTERS(FSM_REC_ROOT, root.digest, 1);
    RECORD_MATTERS(FSM_REC_ROOT, root.settings.claims_max, 1);
    RECORD_MATTERS(FSM_REC_CLIENT, client.id, str("a"));
    RECORD_MATTERS(FSM_REC_CLIENT, client.epoch, 1);
    RECORD_MATTERS(FSM_REC_CLIENT, client.attach_seq, 1);
    RECORD_MATTERS(FSM_REC_CLIENT, client.grace_end_ms, 1);
    RECORD_MATTERS(FSM_REC_CLIENT, client.presence, FSM_GONE);
    RECORD_MATTERS(FSM_REC_CLIENT, client.secret_digest, str("a"));
    RECORD_MATTERS(FSM_REC_LOCK, lock.name, str("a"));
    RECORD_MATTERS(FSM_REC_LOCK, lock.limit, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.client, str("a"));
    RECORD_MATTERS(FSM_REC_HOLD, hold.lock, str("a"));
    RECORD_MATTERS(FSM_REC_HOLD, hold.owner_info, str("a"));
    RECORD_MATTERS(FSM_REC_HOLD, hold.type, FSM_READ);
    RECORD_MATTERS(FSM_REC_HOLD, hold.drop, FSM_DROP_IGNORE);
    RECORD_MATTERS(FSM_REC_HOLD, hold.slot, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.token, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.hold_ms, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.granted_at_ms, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.deadline_ms, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.asked_deadline_ms, 1);
    RECORD_MATTERS(FSM_REC_HOLD, hold.order, 1);
    RECORD_MATTERS(FSM_REC_WAIT, wait.client, str("a"));
    RECORD_MATTERS(FSM_REC_WAIT, wait.lock, str("a"));
    RECORD_MATTERS(FSM_REC_WAIT, wait.owner_info, str("a"));
    RECORD_MATTERS(FSM_REC_WAIT, wait.type, FSM_READ);
    RECORD_MATTERS(FSM_REC_WAIT, wait.drop, FSM_DROP_IGNORE);
    RECORD_MATTERS(FSM_REC_WAIT, wait.upgrade, true);
    RECORD_MATTERS(FSM_REC_WAIT, wait.wait_ms, 1);
    RECORD_MATTERS(FSM_REC_WAIT, wait.hold_ms, 1);
    RECORD_MATTERS(FSM_REC_WAIT, wait.queued_at_ms, 1);
    RECORD_MATTERS(FSM_REC_WAIT, wait.deadline_ms, 1);
    RECORD_MATTERS(FSM_REC_WAIT, wait.order, 1);
    RECORD_MATTERS(FSM_REC_EXPIRED, expired.client, str("a"));
    RECORD_MATTERS(FSM_REC_EXPIRED, expired.lock, str("a"));
    RECORD_MATTERS(FSM_REC_EXPIRED, expired.token, 1);
    RECORD_MATTERS(FSM_REC_ROOT, root.node_id_max, 1);
    RECORD_MATTERS(FSM_REC_MEMBER, member.node_id, 1);
    RECORD_MATTERS(FSM_REC_MEMBER, member.address, str("a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_come_out_by_time_then_age),
        cmocka_unit_test(a_deadline_can_be_moved_and_taken_out),
        cmocka_unit_test(the_end_of_time_is_never),
        fsm_test(events_outlive_the_state_that_they_speak_of),
        fsm_test(events_add_up_until_they_are_cleared),
        fsm_test(an_answer_may_be_larger_than_a_chunk),
        cmocka_unit_test(empty_events_can_be_cleared_and_released),
        fsm_test(names_are_bytes_of_any_value_up_to_255),
        fsm_test(empty_names_are_names),
        cmocka_unit_test(every_field_of_an_event_is_in_its_digest_but_the_ref),
        cmocka_unit_test(every_field_of_a_command_is_in_its_digest_but_the_ref),
        cmocka_unit_test(every_field_of_a_record_is_in_the_hash),
    };

    return cmocka_run_group_tests_name("fsm_parts", tests, NULL, NULL);
}
