#include "process.h"

#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "loop.h"
#include "random.h"
#include "socket.h"

/* A call into a process, from which its death jumps out. */
struct entry {
    jmp_buf out;
    struct sim_process *process;
    struct entry *outer; /* stepped out of by sim_process_outside() */
};

static struct sim_process *current;

/* The shipped code reads one number that was built into it. Here it is that of the build that is running, for
 * nodes may be of several; outside of all processes, the newest. */
#define feature_level_max sim_newest_level
#include "feature_level.c"
#undef feature_level_max
uint32_t feature_level_max = 0;

static void set_current(struct sim_process *process)
{
    current = process;
    feature_level_max =
        process != NULL && process->level != 0 ? process->level : sim_newest_level;
}
static struct entry *innermost;
static int last_status; /* of the process that jumps out */

struct sim_process *sim_process_current(void)
{
    return current;
}

struct sim_process *sim_process_outside(struct sim_process *back)
{
    struct sim_process *inside = current;

    assert(back == NULL || (innermost != NULL && innermost->process == back));
    set_current(back);
    return inside;
}

/* ---- life and death ---- */

static void on_wake(struct sim_event *event);

void sim_process_start(struct sim_process *process, uint64_t seed)
{
    assert(!process->alive && !process->entered);
    assert(process->blocks == NULL && process->loop == NULL);
    sim_heap_install();
    process->alive = true;
    process->paused = process->ready = process->turning = false;
    process->random = seed;
    process->wake = (struct sim_event){.fire = on_wake};
    process->heap_bytes = 0;
    process->sockets = NULL;
    process->next_fd = SIM_FD_FIRST;
    process->posts = NULL;
    process->posts_end = &process->posts;
}

static struct sim_post *take_post(struct sim_process *process)
{
    struct sim_post *post = process->posts;

    if (post != NULL) {
        process->posts = post->next;
        if (post->next == NULL) {
            process->posts_end = &process->posts;
        }
        post->next = NULL;
    }
    return post;
}

/* Its memory goes last: what knew the process may still be told about things in it. */
static void finish(struct sim_process *process, int status)
{
    struct sim_post *post;

    assert(current == NULL);
    process->alive = process->turning = false;
    sim_event_cancel(&process->wake);
    sim_sockets_end(process);
    while ((post = take_post(process)) != NULL) {
        post->drop(post);
    }
    sim_loop_end(process);
    sim_heap_end(process);
    if (process->on_end != NULL) {
        process->on_end(process, status);
    }
}

static bool enter(struct sim_process *process, void (*call)(void *arg), void *arg)
{
    struct entry entry; /* setjmp() fills the most of it, and zeroing it costs */

    entry.process = process;
    entry.outer = innermost;
    innermost = &entry;
    set_current(process);
    process->entered = true;
    bool died = setjmp(entry.out) != 0;
    if (!died) {
        call(arg);
        assert(current == process && innermost == &entry);
    }
    set_current(NULL);
    innermost = entry.outer;
    process->entered = false;
    if (died) {
        finish(process, last_status);
    }
    return !died;
}

bool sim_process_enter(struct sim_process *process, void (*call)(void *arg), void *arg)
{
    if (current != NULL) {
        assert(current == process);
        call(arg);
        return true;
    }
    if (!process->alive) {
        return false;
    }
    assert(!process->entered);
    if (!enter(process, call, arg)) {
        return false;
    }
    if (process->loop != NULL) {
        sim_process_wake(process, sim_now_us());
    }
    return true;
}

_Noreturn void sim_process_exit(int status)
{
    assert(current != NULL && innermost != NULL && innermost->process == current);
    last_status = status;
    longjmp(innermost->out, 1);
}

void sim_process_kill(struct sim_process *process)
{
    if (process->alive) {
        assert(!process->entered);
        struct sim_process *inside = sim_process_outside(NULL);
        finish(process, -1);
        sim_process_outside(inside);
    }
}

/* ---- turns ---- */

static void run_turn(void *arg)
{
    struct sim_process *process = arg;

    process->turn(process);
}

static void on_wake(struct sim_event *event)
{
    struct sim_process *process =
        (struct sim_process *)((char *)event - offsetof(struct sim_process, wake));

    if (process->paused) {
        process->ready = true;
        return;
    }
    process->turning = true;
    if (enter(process, run_turn, process)) {
        process->turning = false;
        if (process->on_turned != NULL) {
            process->on_turned(process);
        }
    }
}

void sim_process_wake(struct sim_process *process, uint64_t at_us)
{
    if (!process->alive || at_us == SIM_NEVER) {
        return;
    }
    if (!sim_event_scheduled(&process->wake) || at_us < process->wake.at_us) {
        sim_event_at(&process->wake, at_us);
    }
}

void sim_process_pause(struct sim_process *process)
{
    process->paused = process->alive;
}

void sim_process_resume(struct sim_process *process)
{
    process->paused = false;
    if (process->ready) {
        process->ready = false;
        sim_process_wake(process, sim_now_us());
    }
}

/* ---- posts ---- */

void sim_process_post(struct sim_process *process, struct sim_post *post)
{
    if (!process->alive) {
        post->drop(post);
        return;
    }
    post->next = NULL;
    *process->posts_end = post;
    process->posts_end = &post->next;
    sim_process_wake(process, sim_now_us());
}

void sim_process_run_posts(struct sim_process *process)
{
    struct sim_post **end = process->posts_end;
    struct sim_post *post;

    assert(current == process);
    /* The last of now is the one whose `next` was the end. They stay queued until they run, so that
     * none is forgotten when one of them is the process's death. */
    do {
        post = take_post(process);
        if (post != NULL) {
            bool last = end == &post->next;
            post->run(post);
            if (last) {
                break;
            }
        }
    } while (post != NULL);
}

/* ---- its clock ---- */

struct sim_clock sim_machine_clock(uint64_t seed, uint64_t step_us)
{
    struct sim_random random = {seed};
    uint64_t up_us = sim_random_between(&random, UINT64_C(1000) * SIM_MILLION,
                                        UINT64_C(1000000) * SIM_MILLION);

    up_us -= up_us % step_us;
    return (struct sim_clock){
        .since_us = sim_now_us(),
        .shown_us = up_us + sim_now_us(),
        .wall_offset_us = -(int64_t)up_us,
    };
}

static uint64_t clock_rate(const struct sim_clock *clock)
{
    assert(clock->ppm > -SIM_MILLION);
    return (uint64_t)(SIM_MILLION + (int64_t)clock->ppm);
}

/* Whole seconds apart: their product with the rate is exact, and the rest's does not overflow. */
uint64_t sim_clock_us(const struct sim_clock *clock)
{
    uint64_t passed = sim_now_us() - clock->since_us;

    if (clock->ppm == 0) {
        return clock->shown_us + passed;
    }
    uint64_t rate = clock_rate(clock);
    return clock->shown_us + passed / SIM_MILLION * rate +
           passed % SIM_MILLION * rate / SIM_MILLION;
}

/* The least time whose product with the rate, rounded down, is what is missing. */
uint64_t sim_clock_when(const struct sim_clock *clock, uint64_t shown_us)
{
    if (shown_us <= sim_clock_us(clock)) {
        return sim_now_us();
    }
    uint64_t missing = shown_us - clock->shown_us;
    uint64_t rate = clock_rate(clock);
    if (missing / rate >= SIM_NEVER / 2 / SIM_MILLION) {
        return SIM_NEVER;
    }
    return clock->since_us + missing / rate * SIM_MILLION +
           (missing % rate * SIM_MILLION + rate - 1) / rate;
}

void sim_clock_set_rate(struct sim_clock *clock, int32_t ppm)
{
    clock->shown_us = sim_clock_us(clock);
    clock->since_us = sim_now_us();
    clock->ppm = ppm;
}

/* What it waits for may be due sooner now. */
void sim_process_set_rate(struct sim_process *process, int32_t ppm)
{
    sim_clock_set_rate(&process->clock, ppm);
    sim_process_wake(process, sim_now_us());
}

/* ---- what its code asks the system for ---- */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

enum {
    WALL_S = 1767225600
}; /* what a clock that shows 0 takes for the date: 2026-01-01 */

int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
    if (current == NULL) {
        return __real_clock_gettime(id, ret);
    }
    uint64_t us = sim_clock_us(&current->clock);
    switch (id) {
    case CLOCK_BOOTTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
        break;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        us += (uint64_t)WALL_S * SIM_MILLION + (uint64_t)current->clock.wall_offset_us;
        break;
    default: /* the CPU's, say: nothing here could depend on it and be repeated */
        errno = EINVAL;
        return -1;
    }
    ret->tv_sec = (time_t)(us / SIM_MILLION);
    ret->tv_nsec = (long)(us % SIM_MILLION) * 1000;
    return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    if (current == NULL) {
        return __real_getrandom(buf, len, flags);
    }
    struct sim_random stream = {current->random};
    uint8_t *bytes = buf;
    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word = sim_random_next(&stream);
        for (size_t j = 0; j < sizeof(word) && i + j < len; j++) {
            bytes[i + j] = (uint8_t)(word >> (8 * j));
        }
    }
    current->random = stream.state;
    return (ssize_t)len;
}
