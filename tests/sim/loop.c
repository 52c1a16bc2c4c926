#include "loop_inside.h"

#include <assert.h>
#include <string.h>

enum { PENDING_ROUNDS = 8 }; /* for writes that are done in a callback of a write */

void loop_handle_init(uv_loop_t *uv, uv_handle_t *handle, uv_handle_type type)
{
    handle->loop = uv;
    handle->type = type;
    handle->flags = 0;
    handle->close_cb = NULL;
    handle->next_closing = NULL;
    memset(&handle->u, 0, sizeof(handle->u));
    loop_of(uv)->handles++;
}

int uv_is_active(const uv_handle_t *handle)
{
    return loop_is_active(handle);
}

int uv_is_closing(const uv_handle_t *handle)
{
    return (handle->flags & LOOP_CLOSING) != 0;
}

/* ---- time ---- */

void uv_update_time(uv_loop_t *uv)
{
    uv->time = sim_clock_us(&loop_of(uv)->process->clock) / 1000;
}

/* A turn has one time. What enters the process otherwise is like I/O that woke the loop. */
static uint64_t now_ms(const struct sim_loop *loop)
{
    if (!loop->process->turning) {
        uv_update_time(loop->uv);
    }
    return loop->uv->time;
}

uint64_t uv_now(const uv_loop_t *uv)
{
    return now_ms(loop_of(uv));
}

/* ---- timers ---- */

static bool timer_before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->start_id < b->start_id;
}

static void timer_put(struct sim_loop *loop, size_t place, struct loop_timer entry)
{
    loop->timers[place - 1] = entry;
    entry.timer->heap_node[0] = &loop->timers[place - 1];
}

/* @entry goes to where @place is free: up as far as it must, else down. */
static void timer_settle(struct sim_loop *loop, size_t place, struct loop_timer entry)
{
    struct loop_timer *timers = loop->timers;

    while (place > 1 && timer_before(&entry, &timers[place / 2 - 1])) {
        timer_put(loop, place, timers[place / 2 - 1]);
        place /= 2;
    }
    while (place <= loop->timers_count / 2) {
        size_t child = place * 2;
        if (child < loop->timers_count &&
            timer_before(&timers[child], &timers[child - 1])) {
            child++;
        }
        if (!timer_before(&timers[child - 1], &entry)) {
            break;
        }
        timer_put(loop, place, timers[child - 1]);
        place = child;
    }
    timer_put(loop, place, entry);
}

static void timers_grow(struct sim_loop *loop)
{
    loop->timers_capacity = loop->timers_capacity != 0 ? loop->timers_capacity * 2 : 16;
    loop->timers =
        sim_realloc(loop->timers, loop->timers_capacity * sizeof(loop->timers[0]));
    for (size_t i = 0; i < loop->timers_count; i++) {
        loop->timers[i].timer->heap_node[0] = &loop->timers[i];
    }
}

int uv_timer_init(uv_loop_t *uv, uv_timer_t *timer)
{
    loop_handle_init(uv, (uv_handle_t *)timer, UV_TIMER);
    timer->timer_cb = NULL;
    timer->timeout = timer->repeat = 0;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    struct sim_loop *loop = loop_of(timer->loop);

    if (!loop_is_active((uv_handle_t *)timer)) {
        return 0;
    }
    struct loop_timer *entry = timer->heap_node[0];
    assert(entry->timer == timer);
    struct loop_timer last = loop->timers[--loop->timers_count];
    if (last.timer != timer) {
        timer_settle(loop, (size_t)(entry - loop->timers) + 1, last);
    }
    loop_set_active((uv_handle_t *)timer, false);
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    struct sim_loop *loop = loop_of(timer->loop);

    if ((timer->flags & LOOP_CLOSING) != 0 || cb == NULL) {
        return UV_EINVAL;
    }
    uv_timer_stop(timer);
    uint64_t now = now_ms(loop);
    timer->timer_cb = cb;
    timer->timeout = timeout < UINT64_MAX - now ? now + timeout : UINT64_MAX;
    timer->repeat = repeat;
    timer->start_id = loop->uv->timer_counter++;
    if (loop->timers_count == loop->timers_capacity) {
        timers_grow(loop);
    }
    struct loop_timer entry = {timer->timeout, timer->start_id, timer};
    timer_settle(loop, ++loop->timers_count, entry);
    loop_set_active((uv_handle_t *)timer, true);
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer)
{
    uint64_t now = now_ms(loop_of(timer->loop));

    return timer->timeout > now ? timer->timeout - now : 0;
}

static void run_timers(struct sim_loop *loop)
{
    while (loop->timers_count != 0 && loop->timers[0].due_ms <= loop->uv->time) {
        uv_timer_t *timer = loop->timers[0].timer;
        uv_timer_stop(timer);
        if (timer->repeat != 0) {
            uv_timer_start(timer, timer->timer_cb, timer->repeat, timer->repeat);
        }
        timer->timer_cb(timer);
    }
}

/* ---- prepare and check handles ---- */

static void hook_start(struct loop_hooks *hooks, uv_handle_t *handle)
{
    assert(hooks->count < LOOP_HOOKS_MAX);
    hooks->handles[hooks->count++] = handle;
    loop_set_active(handle, true);
}

static void hook_stop(struct loop_hooks *hooks, uv_handle_t *handle)
{
    size_t i = 0;

    if (!loop_is_active(handle)) {
        return;
    }
    while (hooks->handles[i] != handle) {
        i++;
    }
    hooks->count--;
    memmove(&hooks->handles[i], &hooks->handles[i + 1],
            (hooks->count - i) * sizeof(hooks->handles[0]));
    if (i < hooks->left) {
        hooks->left--;
    }
    loop_set_active(handle, false);
}

int uv_prepare_init(uv_loop_t *uv, uv_prepare_t *prepare)
{
    loop_handle_init(uv, (uv_handle_t *)prepare, UV_PREPARE);
    prepare->prepare_cb = NULL;
    return 0;
}

int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb cb)
{
    if (loop_is_active((uv_handle_t *)prepare)) {
        return 0;
    }
    if (cb == NULL) {
        return UV_EINVAL;
    }
    prepare->prepare_cb = cb;
    hook_start(&loop_of(prepare->loop)->prepare, (uv_handle_t *)prepare);
    return 0;
}

int uv_prepare_stop(uv_prepare_t *prepare)
{
    hook_stop(&loop_of(prepare->loop)->prepare, (uv_handle_t *)prepare);
    return 0;
}

int uv_check_init(uv_loop_t *uv, uv_check_t *check)
{
    loop_handle_init(uv, (uv_handle_t *)check, UV_CHECK);
    check->check_cb = NULL;
    return 0;
}

int uv_check_start(uv_check_t *check, uv_check_cb cb)
{
    if (loop_is_active((uv_handle_t *)check)) {
        return 0;
    }
    if (cb == NULL) {
        return UV_EINVAL;
    }
    check->check_cb = cb;
    hook_start(&loop_of(check->loop)->check, (uv_handle_t *)check);
    return 0;
}

int uv_check_stop(uv_check_t *check)
{
    hook_stop(&loop_of(check->loop)->check, (uv_handle_t *)check);
    return 0;
}

static void run_prepare(struct sim_loop *loop)
{
    for (loop->prepare.left = loop->prepare.count; loop->prepare.left != 0;) {
        uv_prepare_t *prepare =
            (uv_prepare_t *)loop->prepare.handles[--loop->prepare.left];
        prepare->prepare_cb(prepare);
    }
}

static void run_check(struct sim_loop *loop)
{
    for (loop->check.left = loop->check.count; loop->check.left != 0;) {
        uv_check_t *check = (uv_check_t *)loop->check.handles[--loop->check.left];
        check->check_cb(check);
    }
}

/* ---- the end of a handle ---- */

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    uv_loop_t *uv = handle->loop;

    assert((handle->flags & LOOP_CLOSING) == 0);
    switch (handle->type) {
    case UV_TIMER:
        uv_timer_stop((uv_timer_t *)handle);
        break;
    case UV_PREPARE:
        uv_prepare_stop((uv_prepare_t *)handle);
        break;
    case UV_CHECK:
        uv_check_stop((uv_check_t *)handle);
        break;
    default:
        assert(handle->type == UV_TCP || handle->type == UV_POLL);
        loop_watch_close(handle);
        break;
    }
    handle->flags |= LOOP_CLOSING;
    handle->close_cb = cb;
    handle->next_closing = uv->closing_handles;
    uv->closing_handles = handle;
}

static void run_closing(struct sim_loop *loop)
{
    uv_handle_t *handle = loop->uv->closing_handles;

    loop->uv->closing_handles = NULL;
    while (handle != NULL) {
        uv_handle_t *next = handle->next_closing;
        if (handle->type == UV_TCP || handle->type == UV_POLL) {
            loop_watch_closed(handle);
        }
        loop->handles--;
        if (handle->close_cb != NULL) {
            handle->close_cb(handle); /* it may be freed now */
        }
        handle = next;
    }
}

/* ---- turns ---- */

static void run_io(struct sim_loop *loop)
{
    sim_process_run_posts(loop->process);
    loop_run_ready(loop);
    for (int i = 0; i < PENDING_ROUNDS && !TAILQ_EMPTY(&loop->pending); i++) {
        loop_run_pending(loop);
    }
}

static void sleep_until_due(struct sim_loop *loop)
{
    struct sim_process *process = loop->process;

    if (!TAILQ_EMPTY(&loop->ready) || !TAILQ_EMPTY(&loop->pending) ||
        loop->uv->closing_handles != NULL) {
        sim_process_wake(process, sim_now_us());
    } else if (loop->timers_count != 0 && loop->timers[0].due_ms < SIM_NEVER / 1000) {
        uint64_t due_us = loop->timers[0].due_ms * 1000;
        sim_process_wake(process, sim_clock_when(&process->clock, due_us));
    }
}

/* From where uv_run() sleeps to where it sleeps again. It begins with what precedes its first sleep. */
static void turn(struct sim_process *process)
{
    struct sim_loop *loop = process->loop;

    uv_update_time(loop->uv);
    if (loop->begun) {
        run_io(loop);
        run_check(loop);
        run_closing(loop);
    }
    loop->begun = true;
    run_timers(loop);
    loop_run_pending(loop);
    run_prepare(loop);
    sleep_until_due(loop);
}

void sim_loop_init(struct sim_process *process, uv_loop_t *uv)
{
    struct sim_loop *loop = sim_alloc(sizeof(*loop));

    assert(process->loop == NULL);
    loop->process = process;
    loop->uv = uv;
    TAILQ_INIT(&loop->ready);
    TAILQ_INIT(&loop->pending);
    memset(uv, 0, sizeof(*uv));
    uv->internal_fields = loop;
    process->loop = loop;
    process->turn = turn;
    uv_update_time(uv);
    sim_process_wake(process, sim_now_us());
}

unsigned sim_loop_handles(const struct sim_process *process)
{
    const struct sim_loop *loop = process->loop;

    return loop != NULL ? loop->handles : 0;
}

void sim_loop_end(struct sim_process *process)
{
    struct sim_loop *loop = process->loop;

    if (loop != NULL) {
        sim_free(loop->timers);
        sim_free(loop);
        process->loop = NULL;
    }
}
