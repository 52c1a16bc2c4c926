/* The loop of a simulated server: libuv, on virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <uv.h>

#include "event.h"
#include "loop.h"
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

static struct sim_process process;

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

static uv_loop_t loop;
static uv_timer_t timers[4];
static uv_prepare_t prepares[2];
static uv_check_t checks[2];

static int at_ms(void)
{
    return (int)uv_now(&loop);
}

static const char *name_of(const void *handle)
{
    return ((const uv_handle_t *)handle)->data;
}

static void on_timer(uv_timer_t *timer)
{
    tell("%s@%d", name_of(timer), at_ms());
}

static void on_prepare(uv_prepare_t *prepare)
{
    tell("%s", name_of(prepare));
}

static void on_check(uv_check_t *check)
{
    tell("%s", name_of(check));
}

static void on_closed(uv_handle_t *handle)
{
    tell("closed-%s", name_of(handle));
}

static void begin_loop(void *arg)
{
    static char names[] = "t0\0t1\0t2\0t3\0p0\0p1\0c0\0c1";

    (void)arg;
    sim_loop_init(&process, &loop);
    for (int i = 0; i < 4; i++) {
        uv_timer_init(&loop, &timers[i]);
        timers[i].data = names + i * 3L;
    }
    for (int i = 0; i < 2; i++) {
        uv_prepare_init(&loop, &prepares[i]);
        uv_check_init(&loop, &checks[i]);
        prepares[i].data = names + 12 + i * 3L;
        checks[i].data = names + 18 + i * 3L;
    }
}

/* A process with a loop, in which @call happens first. */
static void start_loop(void (*call)(void *arg))
{
    start(&process, "p");
    process.clock.shown_us = 700;
    sim_process_enter(&process, begin_loop, NULL);
    sim_process_enter(&process, call, NULL);
}

static void start_timers(void *arg)
{
    (void)arg;
    uv_timer_start(&timers[0], on_timer, 5, 0);
    uv_timer_start(&timers[1], on_timer, 3, 0);
    uv_timer_start(&timers[2], on_timer, 5, 0);
    uv_timer_start(&timers[3], on_timer, 2, 4);
    assert_int_equal(uv_timer_get_due_in(&timers[0]), 5);
    assert_true(uv_is_active((uv_handle_t *)&timers[0]));
}

static void timers_come_by_time_and_then_in_order(void **state)
{
    (void)state;
    start_loop(start_timers);
    sim_run_until(4299);
    assert_told("t3@2 t1@3");
    sim_run_until(4300); /* its clock shows 5000 us */
    assert_told("t0@5 t2@5");
    sim_run_until(10000);
    assert_told("t3@6 t3@10");
    assert_false(uv_is_active((uv_handle_t *)&timers[0]));
    sim_process_kill(&process);
}

static void restart_timers(void *arg)
{
    (void)arg;
    assert_int_equal(uv_timer_start(&timers[0], on_timer, 5, 0), 0);
    uv_timer_start(&timers[1], on_timer, 5, 0);
    uv_timer_start(&timers[0], on_timer, 5, 0);
    uv_timer_start(&timers[2], on_timer, 4, 0);
    uv_timer_stop(&timers[2]);
    uv_timer_stop(&timers[2]);
    uv_timer_start(&timers[3], on_timer, UINT64_MAX, 0);
    assert_int_equal(uv_timer_start(&timers[3], NULL, 0, 0), UV_EINVAL);
}

static void a_timer_that_is_started_again_is_the_last(void **state)
{
    (void)state;
    start_loop(restart_timers);
    sim_run_until(SECOND);
    assert_told("t1@5 t0@5");
    sim_process_kill(&process);
}

static void a_timer_follows_the_clock_of_its_machine(void **state)
{
    (void)state;
    start_loop(start_timers);
    sim_run_until(1000);
    sim_process_set_rate(&process, -500000);
    sim_run_until(2599); /* 300 us were missing: 600 */
    assert_told("t3@2");
    told[0] = '\0';
    sim_process_set_rate(&process, 999999);
    sim_run_until(2849);
    assert_told("");
    sim_run_until(2850);
    assert_told("t1@3");
    sim_process_kill(&process);
}

enum { RANDOM_TIMERS = 100 };

static uv_timer_t random_timers[RANDOM_TIMERS];
static uint64_t last_due, last_id;

static void on_random_timer(uv_timer_t *timer)
{
    assert_true(timer->timeout <= uv_now(&loop));
    assert_true(timer->timeout == uv_now(&loop));
    assert_true(timer->timeout > last_due ||
                (timer->timeout == last_due && timer->start_id > last_id));
    last_due = timer->timeout;
    last_id = timer->start_id;
}

static void change_timers(void *arg)
{
    struct sim_random *random = arg;
    uint64_t active = 0;

    for (int i = 0; i < 20; i++) {
        uv_timer_t *timer = &random_timers[sim_random_below(random, RANDOM_TIMERS)];
        if (sim_random_chance(random, 300000)) {
            uv_timer_stop(timer);
        } else {
            uv_timer_start(timer, on_random_timer, sim_random_between(random, 1, 9), 0);
        }
    }
    for (int i = 0; i < RANDOM_TIMERS; i++) {
        active += (uint64_t)uv_is_active((uv_handle_t *)&random_timers[i]);
        assert_true(!uv_is_active((uv_handle_t *)&random_timers[i]) ||
                    random_timers[i].timeout >= uv_now(&loop));
    }
    assert_true(active != 0);
}

static void init_random_timers(void *arg)
{
    (void)arg;
    for (int i = 0; i < RANDOM_TIMERS; i++) {
        uv_timer_init(&loop, &random_timers[i]);
    }
}

static void timers_never_fire_early_late_or_out_of_turn(void **state)
{
    struct sim_random random = {3};

    (void)state;
    last_due = last_id = 0;
    start_loop(init_random_timers);
    for (int i = 0; i < 3000; i++) {
        sim_process_enter(&process, change_timers, &random);
        sim_run_until(sim_now_us() + sim_random_below(&random, 3000));
    }
    sim_process_kill(&process);
}

static void start_hooks(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(uv_prepare_start(&prepares[i], on_prepare), 0);
        assert_int_equal(uv_check_start(&checks[i], on_check), 0);
        assert_int_equal(uv_check_start(&checks[i], on_check), 0); /* nothing more */
    }
    uv_timer_start(&timers[0], on_timer, 0, 0);
    uv_timer_start(&timers[1], on_timer, 2, 0);
}

static void a_turn_has_its_order(void **state)
{
    struct letter post = letter("post", NULL);

    (void)state;
    start_loop(start_hooks);
    sim_run_until(0);
    assert_told("t0@0 p1 p0");
    sim_run_until(1000);
    assert_told("");
    sim_process_post(&process, &post.post);
    sim_run_until(1000);
    assert_told("post@1000 c1 c0 p1 p0");
    sim_run_until(1500);
    assert_told("c1 c0 t1@2 p1 p0");
    sim_process_kill(&process);
}

static void on_prepare_stop(uv_prepare_t *prepare)
{
    on_prepare(prepare);
    uv_prepare_stop(&prepares[0]);
    uv_prepare_stop(&prepares[1]);
    uv_prepare_start(&prepares[0], on_prepare); /* for the next time */
}

static void start_stopping_hooks(void *arg)
{
    (void)arg;
    uv_prepare_start(&prepares[0], on_prepare);
    uv_prepare_start(&prepares[1], on_prepare_stop);
    uv_timer_start(&timers[0], on_timer, 2, 0);
}

static void hooks_stop_hooks(void **state)
{
    (void)state;
    start_loop(start_stopping_hooks);
    sim_run_until(2000);
    assert_told("p1 t0@2 p0");
    sim_process_kill(&process);
}

static void on_closing_timer(uv_timer_t *timer)
{
    on_timer(timer);
    uv_close((uv_handle_t *)&timers[1], on_closed);
    uv_close((uv_handle_t *)timer, on_closed);
    assert_true(uv_is_closing((uv_handle_t *)timer));
    assert_int_equal(uv_timer_start(timer, on_timer, 0, 0), UV_EINVAL);
}

static void close_from_check(uv_check_t *check)
{
    on_check(check);
    if (!uv_is_closing((uv_handle_t *)&timers[2]) && uv_now(&loop) == 3) {
        uv_close((uv_handle_t *)&timers[2], on_closed);
    }
}

static void start_closing(void *arg)
{
    (void)arg;
    uv_timer_start(&timers[0], on_closing_timer, 2, 0);
    uv_timer_start(&timers[1], on_timer, 2, 0);
    uv_timer_start(&timers[2], on_timer, 3, 0);
    uv_timer_start(&timers[3], on_timer, 3, 0);
    uv_check_start(&checks[0], close_from_check);
    uv_prepare_start(&prepares[0], on_prepare);
}

static void handles_are_closed_at_the_end_of_a_turn(void **state)
{
    (void)state;
    start_loop(start_closing);
    assert_int_equal(sim_loop_handles(&process), 8);
    sim_run_until(1900);
    /* At once another turn, without sleeping: the last closed is told first. */
    assert_told("p0 c0 t0@2 p0 c0 closed-t0 closed-t1 p0");
    assert_int_equal(sim_loop_handles(&process), 6);
    sim_run_until(3000);
    assert_told("c0 closed-t2 t3@3 p0");
    assert_int_equal(sim_loop_handles(&process), 5);
    sim_process_kill(&process);
    assert_told("p-ended:-1");
    assert_int_equal(sim_loop_handles(&process), 0);
}

static void close_one(void *arg)
{
    uv_close(arg, on_closed);
}

static void what_enters_gets_a_turn(void **state)
{
    (void)state;
    start_loop(start_hooks);
    sim_run_until(500); /* its clock shows 1200 us */
    told[0] = '\0';
    sim_process_enter(&process, close_one, &checks[1]);
    assert_int_equal(uv_now(&loop), 1);
    sim_run_until(500);
    assert_told("c0 closed-c1 p1 p0");
    sim_process_kill(&process);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timers_come_by_time_and_then_in_order, begin),
        cmocka_unit_test_setup(a_timer_that_is_started_again_is_the_last, begin),
        cmocka_unit_test_setup(a_timer_follows_the_clock_of_its_machine, begin),
        cmocka_unit_test_setup(timers_never_fire_early_late_or_out_of_turn, begin),
        cmocka_unit_test_setup(a_turn_has_its_order, begin),
        cmocka_unit_test_setup(hooks_stop_hooks, begin),
        cmocka_unit_test_setup(handles_are_closed_at_the_end_of_a_turn, begin),
        cmocka_unit_test_setup(what_enters_gets_a_turn, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
