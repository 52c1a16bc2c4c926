/* The parts of the machine that have a contract of their own: deadlines, events, names. */
#include "deadline.h"
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
    };

    return cmocka_run_group_tests_name("fsm_parts", tests, NULL, NULL);
}
