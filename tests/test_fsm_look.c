/* Looking at the locks in steps, while commands go on. */
#include "fsm_table.h"

enum { NAME_BYTES = 16, MANY = 8300 };

struct seen {
    char text[8192];
    int count, count_max; /* 0: no bound */
};

static void add(struct seen *seen, const char *format, ...)
{
    size_t len = strlen(seen->text);
    va_list args;

    va_start(args, format);
    vsnprintf(seen->text + len, sizeof(seen->text) - len, format, args);
    va_end(args);
}

static bool on_lock(void *arg, const struct fsm_lock_view *lock)
{
    struct seen *seen = arg;

    if (seen->count_max != 0 && seen->count == seen->count_max) {
        return false;
    }
    seen->count++;
    add(seen, "%s%.*s", seen->text[0] != '\0' ? "; " : "", (int)lock->name.len,
        lock->name.data);
    for (uint32_t i = 0; i < lock->holders_shown; i++) {
        add(seen, " %.*s#%d", (int)lock->holders[i].client.len,
            lock->holders[i].client.data, (int)lock->holders[i].token);
    }
    for (uint32_t i = 0; i < lock->waiters_shown; i++) {
        add(seen, " %u.%.*s", lock->waiters[i].position, (int)lock->waiters[i].client.len,
            lock->waiters[i].client.data);
    }
    return true;
}

static bool look_all(struct table *t,
                     const char *prefix,
                     const char *after,
                     uint32_t max,
                     struct seen *ret)
{
    struct fsm_look *look = fsm_look_new(t->fsm, str(prefix), str(after), max);

    while (fsm_look_step(look, on_lock, ret)) {
    }
    bool more = fsm_look_more(look);
    assert_false(fsm_look_lost(look));
    fsm_look_free(look);
    return more;
}

static void holders_and_queues_are_shown_in_order(void **state)
{
    struct table *t = *state;
    struct seen seen = {0};

    attach_all(t, "a b c");
    lock(t, "a", "z", (struct ask){.read = true});
    lock(t, "b", "z", (struct ask){.read = true});
    lock(t, "a", "m/1", (struct ask){0});
    lock(t, "c", "m/1", (struct ask){.wait = true});
    lock(t, "b", "m/1", (struct ask){.wait = true});
    assert_false(look_all(t, "", "", 10, &seen));
    assert_string_equal(seen.text, "m/1 a#3 1.c 2.b; z a#1 b#2");
}

static void a_queue_is_told_from_its_head(void **state)
{
    struct table *t = *state;
    struct fsm_claim queue[2];

    attach_all(t, "a b c d");
    lock(t, "a", "m", (struct ask){0});
    assert_int_equal(fsm_queue(t->fsm, str("m"), 2, queue), 0);
    for (const char *client = "dbc"; *client != '\0'; client++) {
        lock(t, (char[]){*client, '\0'}, "m", (struct ask){.wait = true});
    }
    assert_int_equal(fsm_queue(t->fsm, str("m"), 2, queue), 2);
    assert_true(queue[0].waiting && queue[0].position == 1 && queue[1].position == 2);
    assert_memory_equal(queue[0].client.data, "d", 1);
    assert_memory_equal(queue[1].client.data, "b", 1);
    assert_int_equal(fsm_queue(t->fsm, str("x"), 2, queue), 0);
}

static void a_page_ends_where_it_is_told_to(void **state)
{
    struct table *t = *state;
    struct seen seen = {0};

    attach(t, "a");
    for (const char *name = "edcba"; *name != '\0'; name++) {
        lock(t, "a", (char[]){*name, '\0'}, (struct ask){0});
    }
    assert_true(look_all(t, "", "", 2, &seen));
    assert_string_equal(seen.text, "a a#5; b a#4");
    seen = (struct seen){0};
    assert_false(look_all(t, "", "b", 3, &seen));
    assert_string_equal(seen.text, "c a#3; d a#2; e a#1");
    seen = (struct seen){.count_max = 1};
    assert_true(look_all(t, "", "b", 3, &seen));
    assert_string_equal(seen.text, "c a#3");
    seen = (struct seen){0};
    assert_false(look_all(t, "x", "", 3, &seen));
    assert_string_equal(seen.text, "");
}

static void take_many(struct table *t)
{
    char client[NAME_BYTES];
    char name[NAME_BYTES];

    for (int i = 0; i < MANY; i++) {
        snprintf(client, sizeof(client), "c%d", i / 5000);
        snprintf(name, sizeof(name), "L%05d", i);
        if (i % 5000 == 0) {
            attach(t, client);
        }
        /* Not by lock(): that checks the whole table each time. */
        struct fsm_command command = {
            .type = FSM_CMD_LOCK,
            .time_ms = t->now_ms,
            .client = str(client),
            .lock = str(name),
            .lock_ = {.wait_ms = FSM_UNLIMITED, .hold_ms = FSM_UNLIMITED, .limit = 1},
        };
        fsm_apply(t->fsm, &command, NULL);
    }
}

static void give(struct table *t, int i)
{
    char client[NAME_BYTES];
    char name[NAME_BYTES];

    snprintf(client, sizeof(client), "c%d", i / 5000);
    snprintf(name, sizeof(name), "L%05d", i);
    release(t, client, name, 0);
}

/* The lock at which the walk stands goes, with its neighbours; so do those that were walked. */
static void locks_that_go_meanwhile_do_no_harm(void **state)
{
    struct table *t = *state;
    struct seen seen = {0};

    take_many(t);
    struct fsm_look *look = fsm_look_new(t->fsm, str("L"), str("L08190"), 4);
    assert_true(fsm_look_step(look, on_lock, &seen));
    assert_int_equal(seen.count, 0);
    for (int i = 8188; i <= 8195; i++) {
        give(t, i);
    }
    lock(t, "c0", "L08199a", (struct ask){0});
    while (fsm_look_step(look, on_lock, &seen)) {
        give(t, MANY - 1);
    }
    assert_true(fsm_look_more(look));
    assert_false(fsm_look_lost(look));
    fsm_look_free(look);
    /* L08191 was walked, took a place, and went. */
    assert_string_equal(seen.text, "L08196 c1#8197; L08197 c1#8198; L08198 c1#8199");
    fsm_check(t->fsm);
}

static void several_look_at_once(void **state)
{
    struct table *t = *state;
    struct seen first = {0};
    struct seen second = {0};

    take_many(t);
    struct fsm_look *a = fsm_look_new(t->fsm, str("L0829"), str(""), 1000);
    fsm_look_step(a, on_lock, &first);
    struct fsm_look *b = fsm_look_new(t->fsm, str("L0829"), str(""), 1000);
    fsm_look_step(b, on_lock, &second);
    for (int i = 8185; i <= 8200; i++) {
        give(t, i);
    }
    fsm_look_free(a);
    while (fsm_look_step(b, on_lock, &second)) {
    }
    fsm_look_free(b);
    assert_int_equal(first.count, 0);
    assert_int_equal(second.count, 10);
}

static void a_table_that_is_freed_ends_the_look(void **state)
{
    struct table *t = *state;
    struct seen seen = {0};

    take_many(t);
    struct fsm_look *look = fsm_look_new(t->fsm, str(""), str(""), 4);
    assert_true(fsm_look_step(look, on_lock, &seen));
    fsm_free(t->fsm);
    t->fsm = fsm_new(1);
    assert_false(fsm_look_step(look, on_lock, &seen));
    assert_true(fsm_look_lost(look));
    assert_int_equal(seen.count, 0);
    fsm_look_free(look);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(holders_and_queues_are_shown_in_order),
        fsm_test(a_queue_is_told_from_its_head),
        fsm_test(a_page_ends_where_it_is_told_to),
        fsm_test(locks_that_go_meanwhile_do_no_harm),
        fsm_test(several_look_at_once),
        fsm_test(a_table_that_is_freed_ends_the_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
