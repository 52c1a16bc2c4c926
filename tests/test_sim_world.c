/* The world that simulated programs live in: virtual time, processes, their memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <raft.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "event.h"
#include "net.h"
#include "process.h"
#include "random.h"
#include "sim_told.h"
#include "socket.h"

enum { SECOND = 1000000 };

static int begin(void **state)
{
    (void)state;
    sim_events_reset();
    sim_net_reset(1);
    sim_sockets_reset();
    told[0] = '\0';
    return 0;
}

/* ---- events ---- */

struct mark {
    struct sim_event event;
    const char *name;
};

static void on_mark(struct sim_event *event)
{
    tell("%s@%d", ((struct mark *)event)->name, (int)sim_now_us());
}

static void events_come_by_time_and_then_in_order(void **state)
{
    struct mark a = {{.fire = on_mark}, "a"};
    struct mark b = {{.fire = on_mark}, "b"};
    struct mark c = {{.fire = on_mark}, "c"};

    (void)state;
    sim_event_at(&a.event, 20);
    sim_event_at(&b.event, 10);
    sim_event_in(&c.event, 20);
    assert_true(sim_event_scheduled(&c.event));
    assert_true(sim_run_until(19));
    assert_int_equal(sim_now_us(), 19);
    assert_true(sim_run_until(20));
    assert_told("b@10 a@20 c@20");
    assert_false(sim_event_scheduled(&c.event));
    assert_int_equal(sim_events_count(), 3);
}

static void an_event_moves_and_is_cancelled(void **state)
{
    struct mark a = {{.fire = on_mark}, "a"};
    struct mark b = {{.fire = on_mark}, "b"};
    struct mark c = {{.fire = on_mark}, "c"};

    (void)state;
    sim_event_at(&a.event, 10);
    sim_event_at(&b.event, 10);
    sim_event_at(&c.event, 15);
    sim_event_at(&a.event, 10); /* behind b now */
    sim_event_cancel(&c.event);
    sim_event_cancel(&c.event);
    assert_true(sim_run_until(100));
    assert_told("b@10 a@10");
    sim_event_at(&a.event, 5); /* passed: now */
    sim_event_at(&b.event, SIM_NEVER);
    assert_false(sim_event_scheduled(&b.event));
    assert_true(sim_run_until(100));
    assert_told("a@100");
}

static void on_stop(struct sim_event *event)
{
    (void)event;
    sim_stop();
}

static void a_run_can_be_stopped(void **state)
{
    struct sim_event stop = {.fire = on_stop};
    struct mark a = {{.fire = on_mark}, "a"};

    (void)state;
    sim_event_at(&stop, 10);
    sim_event_at(&a.event, 10);
    assert_false(sim_run_until(50));
    assert_int_equal(sim_now_us(), 10);
    assert_told("");
    sim_events_reset();
    assert_false(sim_event_scheduled(&a.event));
    assert_int_equal(sim_now_us(), 0);
}

enum { MANY = 200 };

struct numbered {
    struct sim_event event;
    uint64_t at_us, order; /* as the naive queue has it; at_us SIM_NEVER: not scheduled */
};

static struct numbered many[MANY];
static uint64_t last_order;

static void on_numbered(struct sim_event *event)
{
    struct numbered *fired = (struct numbered *)event;

    for (int i = 0; i < MANY; i++) {
        assert_true(many[i].at_us > fired->at_us ||
                    (many[i].at_us == fired->at_us && many[i].order >= fired->order));
    }
    assert_int_equal(fired->at_us, sim_now_us());
    fired->at_us = SIM_NEVER;
}

static uint64_t run_many(uint64_t seed)
{
    struct sim_random random = {seed};

    sim_events_reset();
    for (int i = 0; i < MANY; i++) {
        many[i] = (struct numbered){{.fire = on_numbered}, SIM_NEVER, 0};
    }
    for (int step = 0; step < 5000; step++) {
        struct numbered *one = &many[sim_random_below(&random, MANY)];
        if (sim_random_chance(&random, 200000)) {
            sim_event_cancel(&one->event);
            one->at_us = SIM_NEVER;
        } else {
            one->at_us = sim_now_us() + sim_random_below(&random, 50);
            one->order = ++last_order;
            sim_event_at(&one->event, one->at_us);
        }
        sim_run_until(sim_now_us() + sim_random_below(&random, 2));
    }
    sim_run_until(sim_now_us() + 50);
    return sim_trace_hash();
}

static void the_queue_is_a_queue(void **state)
{
    (void)state;
    uint64_t hash = run_many(1);
    for (int i = 0; i < MANY; i++) {
        assert_true(many[i].at_us == SIM_NEVER && !sim_event_scheduled(&many[i].event));
    }
    assert_true(hash == run_many(1));
    assert_true(hash != run_many(2));
}

static void what_is_mixed_into_the_trace_shows(void **state)
{
    (void)state;
    sim_trace_mix(1);
    sim_trace_mix(2);
    uint64_t one_two = sim_trace_hash();
    sim_events_reset();
    sim_trace_mix(2);
    sim_trace_mix(1);
    assert_true(one_two != sim_trace_hash());
    sim_events_reset();
    assert_true(one_two != sim_trace_hash());
}

/* ---- clocks ---- */

static void a_clock_runs_at_its_rate(void **state)
{
    struct sim_clock clock = {.shown_us = 500};

    (void)state;
    sim_run_until(SECOND);
    assert_int_equal(sim_clock_us(&clock), SECOND + 500);
    sim_clock_set_rate(&clock, 250);
    sim_run_until(3 * SECOND);
    assert_int_equal(sim_clock_us(&clock), 3 * SECOND + 500 + 500);
    sim_clock_set_rate(&clock, -500000);
    sim_run_until(5 * SECOND);
    assert_int_equal(sim_clock_us(&clock), 4 * SECOND + 1000);
    assert_int_equal(sim_clock_when(&clock, 4 * SECOND + 1001), 5 * SECOND + 2);
    assert_int_equal(sim_clock_when(&clock, 17), 5 * SECOND);
    assert_true(sim_clock_when(&clock, SIM_NEVER) > SIM_NEVER / 4);
}

static void a_clock_is_exact_after_a_year(void **state)
{
    struct sim_clock clock = {.ppm = 100};
    uint64_t year_us = UINT64_C(365) * 86400 * SECOND;

    (void)state;
    sim_run_until(year_us);
    assert_true(sim_clock_us(&clock) == year_us + year_us / 10000);
    assert_true(sim_clock_when(&clock, 2 * (year_us + year_us / 10000)) == 2 * year_us);
}

static void what_a_clock_will_show_it_shows_then_and_not_before(void **state)
{
    struct sim_random random = {7};
    struct sim_clock clock = {0};
    uint64_t last_us = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        int32_t ppm = (int32_t)sim_random_below(&random, 1900000) - 900000;
        sim_clock_set_rate(&clock, ppm);
        assert_true(sim_clock_us(&clock) >= last_us);
        last_us = sim_clock_us(&clock);
        uint64_t shown = last_us + sim_random_between(&random, 1, 100000);
        uint64_t when = sim_clock_when(&clock, shown);
        sim_run_until(when - 1);
        assert_true(sim_clock_us(&clock) < shown);
        assert_int_equal(sim_clock_when(&clock, shown), when);
        sim_run_until(when);
        assert_true(sim_clock_us(&clock) >= shown);
        last_us = sim_clock_us(&clock);
    }
}

static struct sim_process process;
static struct sim_process other;

static void on_end(struct sim_process *ended, int status)
{
    assert_null(sim_process_current());
    tell("%s-ended:%d", ended->name, status);
}

static void start(struct sim_process *one, const char *name)
{
    *one = (struct sim_process){.on_end = on_end, .host = sim_net_add_host(name)};
    snprintf(one->name, sizeof(one->name), "%s", name);
    sim_process_start(one, 1);
}

static uint64_t clock_us(clockid_t id)
{
    struct timespec time;

    assert_int_equal(clock_gettime(id, &time), 0);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec / 1000;
}

static void ask_clocks(void *arg)
{
    (void)arg;
    tell("%d %d", (int)clock_us(CLOCK_BOOTTIME), (int)clock_us(CLOCK_MONOTONIC));
    assert_int_equal(clock_us(CLOCK_REALTIME),
                     UINT64_C(1767225600) * SECOND + 1007 - 10 * SECOND);
    struct timespec time;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time), -1);
}

static void a_process_sees_its_clock(void **state)
{
    (void)state;
    start(&process, "p");
    process.clock.shown_us = 1000;
    process.clock.wall_offset_us = -10 * SECOND;
    sim_run_until(7);
    assert_true(sim_process_enter(&process, ask_clocks, NULL));
    assert_told("1007 1007");
    assert_true(clock_us(CLOCK_BOOTTIME) != 7);
    sim_process_kill(&process);
}

static void draw(void *arg)
{
    assert_int_equal(getrandom(arg, 13, 0), 13);
}

static void randomness_is_of_the_seed(void **state)
{
    uint8_t first[13], second[13], again[13];

    (void)state;
    start(&process, "p");
    sim_process_enter(&process, draw, first);
    sim_process_enter(&process, draw, second);
    sim_process_kill(&process);
    sim_process_start(&process, 1);
    sim_process_enter(&process, draw, again);
    assert_memory_equal(first, again, 13);
    assert_memory_not_equal(first, second, 13);
    sim_process_kill(&process);
    sim_process_start(&process, 2);
    sim_process_enter(&process, draw, again);
    assert_memory_not_equal(first, again, 13);
    sim_process_kill(&process);
}

/* ---- life and death ---- */

static void take_memory(void *arg)
{
    void **ret = arg;

    *ret = malloc(100);
    assert_non_null(*ret);
}

static int compare_by_exit(const void *a, const void *b)
{
    (void)a;
    (void)b;
    sim_process_exit(7);
}

/* From a frame that is not even ours. */
static void exit_deep(void *arg)
{
    int two[2] = {1, 2};

    (void)arg;
    qsort(two, 2, sizeof(two[0]), compare_by_exit);
}

static void a_process_ends_itself(void **state)
{
    void *memory;

    (void)state;
    start(&process, "p");
    assert_true(sim_process_enter(&process, take_memory, &memory));
    assert_int_equal(sim_process_heap_bytes(&process), 100);
    assert_false(sim_process_enter(&process, exit_deep, NULL));
    assert_told("p-ended:7");
    assert_null(sim_process_current());
    assert_false(process.alive);
    assert_int_equal(sim_process_heap_bytes(&process), 100); /* what it left behind */
    assert_false(sim_process_enter(&process, take_memory, &memory));
    sim_process_kill(&process);
    assert_told("");
}

static void live_again(struct sim_process *ended, int status)
{
    on_end(ended, status);
    sim_process_start(ended, 2);
}

static void a_killed_process_can_live_again(void **state)
{
    void *memory;

    (void)state;
    start(&process, "p");
    process.on_end = live_again;
    sim_process_enter(&process, take_memory, &memory);
    sim_process_kill(&process);
    assert_told("p-ended:-1");
    assert_true(process.alive);
    assert_int_equal(sim_process_heap_bytes(&process), 0);
    process.on_end = on_end;
    sim_process_kill(&process);
}

static void enter_other(void *arg)
{
    void *memory;

    assert_ptr_equal(sim_process_current(), &process);
    struct sim_process *inside = sim_process_outside(NULL);
    assert_null(sim_process_current());
    assert_true(sim_process_enter(&other, take_memory, &memory));
    assert_false(sim_process_enter(&other, exit_deep, NULL));
    sim_process_outside(inside);
    assert_ptr_equal(sim_process_current(), &process);
    assert_true(sim_process_enter(&process, take_memory, &memory)); /* just a call */
    assert_int_equal(sim_process_heap_bytes(&process), 100);
    assert_int_equal(sim_process_heap_bytes(&other), 100);
    sim_process_start(&other, 1);
    sim_process_kill(&other);
    exit_deep(arg);
}

static void one_steps_out_of_a_process_into_another(void **state)
{

    (void)state;
    start(&process, "p");
    start(&other, "q");
    assert_false(sim_process_enter(&process, enter_other, NULL));
    assert_told("q-ended:7 q-ended:-1 p-ended:7");
}

static void tell_turn(struct sim_process *one)
{
    assert_ptr_equal(sim_process_current(), one);
    tell("turn@%d", (int)sim_now_us());
    if (sim_now_us() == 30) {
        sim_process_exit(0);
    }
}

static void tell_turned(struct sim_process *one)
{
    (void)one;
    assert_null(sim_process_current());
    tell("turned");
}

static void a_process_is_woken_at_the_earliest_time(void **state)
{
    (void)state;
    start(&process, "p");
    process.turn = tell_turn;
    process.on_turned = tell_turned;
    sim_process_wake(&process, 20);
    sim_process_wake(&process, 10);
    sim_process_wake(&process, 15);
    sim_process_wake(&process, SIM_NEVER);
    sim_run_until(25);
    assert_told("turn@10 turned");
    sim_process_wake(&process, 30);
    sim_run_until(30);
    assert_told("turn@30 p-ended:0");
    sim_process_wake(&process, 40);
    sim_run_until(50);
    assert_told("");
}

static void a_paused_process_goes_on_later(void **state)
{
    (void)state;
    start(&process, "p");
    process.turn = tell_turn;
    sim_process_wake(&process, 10);
    sim_process_pause(&process);
    sim_run_until(20);
    assert_told("");
    sim_process_resume(&process);
    sim_run_until(21);
    assert_told("turn@20");
    sim_process_wake(&process, 25);
    sim_process_pause(&process);
    sim_run_until(22);
    sim_process_resume(&process);
    sim_run_until(26);
    assert_told("turn@25");
    sim_process_pause(&process);
    sim_process_kill(&process);
    sim_process_start(&process, 1);
    assert_false(process.paused);
    sim_process_kill(&process);
}

/* ---- posts ---- */

static void read_letters(struct sim_process *one)
{
    sim_process_run_posts(one);
    tell("|");
}

static void posts_run_in_the_next_turn(void **state)
{
    struct letter c = letter("c", NULL);
    struct letter a = letter("a", &c);
    struct letter b = letter("b", NULL);

    (void)state;
    start(&process, "p");
    process.turn = read_letters;
    sim_run_until(5);
    sim_process_post(&process, &a.post);
    sim_process_post(&process, &b.post);
    sim_run_until(6);
    assert_told("a@5 b@5 | c@5 |");
    sim_process_post(&process, &b.post);
    sim_process_kill(&process);
    assert_told("drop-b p-ended:-1");
    sim_process_post(&process, &b.post);
    assert_told("drop-b");
}

static void posts_behind_a_deadly_one_are_dropped(void **state)
{
    struct letter c = letter("c", NULL);
    struct letter a = letter("a", &c);
    struct letter b = letter("b", NULL);

    (void)state;
    start(&process, "p");
    process.turn = read_letters;
    a.deadly = true;
    sim_process_post(&process, &a.post);
    sim_process_post(&process, &b.post);
    sim_run_until(1);
    assert_told("a@0 drop-b drop-c p-ended:1");
}

/* ---- memory ---- */

enum { BLOCKS = 300 };

static uint8_t *blocks[BLOCKS];
static size_t sizes[BLOCKS];

static size_t draw_size(struct sim_random *random)
{
    static const uint64_t most[] = {16, 100, 1100, 70000};

    return (size_t)sim_random_between(random, 1, most[sim_random_below(random, 4)]);
}

static void check_block(int i, size_t len)
{
    for (size_t j = 0; j < len; j++) {
        assert_int_equal(blocks[i][j], (uint8_t)(i + 1));
    }
}

static void change_block(struct sim_random *random, int i)
{
    size_t size = draw_size(random);

    if (blocks[i] == NULL) {
        blocks[i] = malloc(size);
    } else if (sim_random_chance(random, 500000)) {
        check_block(i, sizes[i]);
        free(blocks[i]);
        blocks[i] = NULL;
        size = 0;
    } else {
        blocks[i] = realloc(blocks[i], size);
        check_block(i, size < sizes[i] ? size : sizes[i]);
    }
    sizes[i] = size;
    if (size != 0) {
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], i + 1, size);
    }
}

static void use_memory(void *arg)
{
    struct sim_random random = {5};
    size_t all = 0;

    (void)arg;
    for (int step = 0; step < 20000; step++) {
        change_block(&random, (int)sim_random_below(&random, BLOCKS));
    }
    for (int i = 0; i < BLOCKS; i++) {
        all += sizes[i];
    }
    assert_int_equal(sim_process_heap_bytes(&process), all);
}

static void free_memory(void *arg)
{
    (void)arg;
    for (int i = 0; i < BLOCKS; i++) {
        if (blocks[i] != NULL) {
            check_block(i, sizes[i]);
        }
        free(blocks[i]);
        blocks[i] = NULL;
        sizes[i] = 0;
    }
}

static void a_heap_keeps_what_is_in_it(void **state)
{
    (void)state;
    start(&process, "p");
    sim_process_enter(&process, use_memory, NULL);
    sim_process_enter(&process, free_memory, NULL);
    assert_int_equal(sim_process_heap_bytes(&process), 0);
    sim_process_enter(&process, use_memory, NULL);
    sim_process_kill(&process);
    memset(blocks, 0, sizeof(blocks));
    memset(sizes, 0, sizeof(sizes));
}

static void use_all_calls(void *arg)
{
    volatile size_t huge = SIZE_MAX / 2;
    uint8_t *zeros = calloc(7, 9);
    char *text = strdup("text");
    char *part = strndup("text", 2);

    (void)arg;
    for (int i = 0; i < 63; i++) {
        assert_int_equal(zeros[i], 0);
    }
    assert_string_equal(text, "text");
    assert_string_equal(part, "te");
    assert_int_equal(sim_process_heap_bytes(&process), 63 + 5 + 3);
    void *volatile none[] = {calloc(huge, 3), reallocarray(NULL, huge, 3), malloc(huge)};
    for (int i = 0; i < 3; i++) {
        assert_null(none[i]);
    }
    text = reallocarray(text, 3, 1000);
    assert_string_equal(text, "text");
    free(text);
    free(part);
    free(zeros);
    assert_null(realloc(malloc(1), 0));
    free(malloc(0));
    free(NULL);
    assert_int_equal(sim_process_heap_bytes(&process), 0);
}

static void use_raft_memory(void *arg)
{
    uint8_t *aligned = raft_aligned_alloc(4096, 10000);

    (void)arg;
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    memset(aligned, 1, 10000);
    char *more = raft_realloc(raft_calloc(1, 100), 200);
    void *third = raft_malloc(1);
    assert_int_equal(sim_process_heap_bytes(&process), 10201);
    assert_int_equal(more[99], 0);
    raft_aligned_free(4096, aligned);
    raft_free(more);
    raft_free(third);
    assert_int_equal(sim_process_heap_bytes(&process), 0);
    assert_non_null(raft_aligned_alloc(64, 1000)); /* left for its death */
}

static void all_ways_to_memory_are_ours(void **state)
{
    (void)state;
    start(&process, "p");
    sim_process_enter(&process, use_all_calls, NULL);
    sim_process_enter(&process, use_raft_memory, NULL);
    sim_process_kill(&process);
}

static void use_own(void *arg)
{
    (void)arg;
    char *zeroed = sim_alloc(2000);
    zeroed[0] = 'x';
    assert_int_equal(zeroed[1999], 0);
    zeroed = sim_realloc(zeroed, 10);
    assert_int_equal(zeroed[0], 'x');
    sim_free(zeroed);
    zeroed = sim_strdup("more");
    assert_string_equal(zeroed, "more");
    assert_int_equal(sim_process_heap_bytes(&process), 0);
    sim_free(zeroed);
}

static void memory_is_whose_it_was(void **state)
{
    void *memory;

    (void)state;
    start(&process, "p");
    sim_process_enter(&process, use_own, NULL);
    sim_process_enter(&process, take_memory, &memory);
    memory = realloc(memory, 5000);
    assert_int_equal(sim_process_heap_bytes(&process), 5000);
    free(memory);
    assert_int_equal(sim_process_heap_bytes(&process), 0);
    sim_process_kill(&process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(events_come_by_time_and_then_in_order, begin),
        cmocka_unit_test_setup(an_event_moves_and_is_cancelled, begin),
        cmocka_unit_test_setup(a_run_can_be_stopped, begin),
        cmocka_unit_test_setup(the_queue_is_a_queue, begin),
        cmocka_unit_test_setup(what_is_mixed_into_the_trace_shows, begin),
        cmocka_unit_test_setup(a_clock_runs_at_its_rate, begin),
        cmocka_unit_test_setup(a_clock_is_exact_after_a_year, begin),
        cmocka_unit_test_setup(what_a_clock_will_show_it_shows_then_and_not_before,
                               begin),
        cmocka_unit_test_setup(a_process_sees_its_clock, begin),
        cmocka_unit_test_setup(randomness_is_of_the_seed, begin),
        cmocka_unit_test_setup(a_process_ends_itself, begin),
        cmocka_unit_test_setup(a_killed_process_can_live_again, begin),
        cmocka_unit_test_setup(one_steps_out_of_a_process_into_another, begin),
        cmocka_unit_test_setup(a_process_is_woken_at_the_earliest_time, begin),
        cmocka_unit_test_setup(a_paused_process_goes_on_later, begin),
        cmocka_unit_test_setup(posts_run_in_the_next_turn, begin),
        cmocka_unit_test_setup(posts_behind_a_deadly_one_are_dropped, begin),
        cmocka_unit_test_setup(a_heap_keeps_what_is_in_it, begin),
        cmocka_unit_test_setup(all_ways_to_memory_are_ours, begin),
        cmocka_unit_test_setup(memory_is_whose_it_was, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
