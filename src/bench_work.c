/* bench_work.c - what the workers of a bench do: cycles, waiters, hold. */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { REST_NS = 100 * 1000 * 1000, NS_PER_S = 1000 * 1000 * 1000 };

static void on_locked(void *arg, int rv, const struct netlock_grant *grant);
static void on_unlocked(void *arg, int rv, const struct netlock_grant *grant);

/* ---- a request ---- */

void bench_work_name(struct bench_worker *worker, uint64_t number)
{
    const struct bench_options *options = worker->client->bench->options;

    snprintf(worker->name, sizeof worker->name, "%s%" PRIu64, options->prefix,
             options->same_lock ? 0 : number);
}

static void failed(struct bench_worker *worker, int rv)
{
    struct bench *bench = worker->client->bench;

    bench->result->errors++;
    if (bench->result->error == 0) {
        bench->result->error = rv;
    }
    bench->rest_end_ns = bench->now_ns + REST_NS;
    if (bench->options->work != BENCH_CYCLES) {
        bench->end_ns = bench->now_ns; /* it makes no sense any more */
    }
    worker->due_ns = 0;
    bench->busy--;
    TAILQ_INSERT_TAIL(&bench->idle, worker, idle);
}

static void ask(struct bench_worker *worker, uint64_t due_ns)
{
    struct bench *bench = worker->client->bench;
    struct netlock_lock_options how = {.lock_timeout_ms = bench->options->ttl_ms};
    int rv;

    worker->due_ns = due_ns;
    bench->busy++;
    rv = netlock_lock_async(worker->client->nl, worker->name, &how, on_locked, worker);
    if (rv != 0) {
        failed(worker, rv);
    }
    bench_wake(worker->client);
}

static void give_up(struct bench_worker *worker)
{
    int rv =
        netlock_unlock_async(worker->client->nl, worker->name, 0, on_unlocked, worker);

    if (rv != 0) {
        failed(worker, rv);
    }
    bench_wake(worker->client);
}

/* ---- cycles ---- */

/* What was due before the time measured, or after it, is not of the figures. */
static bool counts(const struct bench *bench, uint64_t due_ns)
{
    return bench->phase >= BENCH_MEASURE && due_ns >= bench->measure_ns &&
           due_ns < bench->end_ns;
}

static void count(const struct bench_worker *worker, struct histogram *histogram)
{
    const struct bench *bench = worker->client->bench;

    if (counts(bench, worker->due_ns)) {
        histogram_add(histogram, (bench->now_ns - worker->due_ns) / 1000);
    }
}

static bool has_rate(const struct bench *bench)
{
    return bench->options->work == BENCH_CYCLES && bench->options->rate != 0;
}

static uint64_t due_of(const struct bench *bench, uint64_t number)
{
    uint64_t rate = bench->options->rate;

    return bench->start_ns + number / rate * NS_PER_S + number % rate * NS_PER_S / rate;
}

static void cycle_done(struct bench_worker *worker)
{
    struct bench *bench = worker->client->bench;

    count(worker, &bench->result->whole);
    if (bench->phase == BENCH_MEASURE) {
        bench->result->done++;
    }
    worker->due_ns = 0;
    bench->busy--;
    if (has_rate(bench) || bench->now_ns < bench->rest_end_ns) {
        TAILQ_INSERT_TAIL(&bench->idle, worker, idle);
    } else if (bench->phase < BENCH_DRAIN) {
        ask(worker, bench->now_ns);
    }
}

static void begin_due_cycles(struct bench *bench)
{
    while (!TAILQ_EMPTY(&bench->idle) && bench->now_ns >= bench->rest_end_ns) {
        struct bench_worker *worker = TAILQ_FIRST(&bench->idle);
        uint64_t due_ns = bench->now_ns;

        if (has_rate(bench)) {
            due_ns = due_of(bench, bench->begun);
            if (due_ns > bench->now_ns) {
                return;
            }
            bench->begun++;
        }
        TAILQ_REMOVE(&bench->idle, worker, idle);
        ask(worker, due_ns);
    }
}

/* ---- hold ---- */

static void take_next(struct bench_worker *worker)
{
    struct bench *bench = worker->client->bench;

    if (bench->asked == bench->options->count || bench->phase == BENCH_DRAIN) {
        return;
    }
    bench_work_name(worker, bench->asked++);
    ask(worker, bench->now_ns);
}

static void taken(struct bench_worker *worker)
{
    struct bench *bench = worker->client->bench;
    struct bench_result *result = bench->result;

    worker->due_ns = 0;
    bench->busy--;
    if (bench->phase == BENCH_MEASURE && ++result->done == bench->options->count) {
        result->measured_ns = bench->now_ns - bench->measure_ns;
        bench->end_ns = bench->now_ns + UINT64_C(1000000) * bench->options->duration_ms;
        if (cli_is_watched(bench->cli)) {
            cli_say("%" PRIu64 " locks are held", result->done);
        }
    }
    take_next(worker);
}

/* ---- waiters ---- */

/* The first worker takes the lock, the others queue behind it; then it is passed down. */
static void begin_round(struct bench *bench)
{
    bench->standing = 0;
    bench->passing = false;
    ask(&bench->workers[0], bench->now_ns);
}

static void pass_down(struct bench *bench)
{
    bench->passing = true;
    bench->passed_ns = bench_now_ns();
    give_up(&bench->workers[0]);
}

void bench_work_queued(struct bench_client *client)
{
    struct bench *bench = client->bench;

    /* With a leader change it is said again to those who stand there already. */
    if (bench->options->work == BENCH_WAITERS && !bench->passing &&
        ++bench->standing == bench->options->clients - 1) {
        pass_down(bench);
    }
}

static void turn_came(struct bench_worker *worker)
{
    struct bench *bench = worker->client->bench;

    if (!bench->passing) {
        for (uint32_t i = 1; i < bench->options->clients; i++) {
            ask(&bench->workers[i], bench->now_ns);
        }
        return;
    }
    if (bench->phase == BENCH_MEASURE) {
        uint64_t took_ns = bench->now_ns - bench->passed_ns;

        histogram_add(&bench->result->acquire, took_ns / 1000);
        bench->result->measured_ns += took_ns;
        bench->result->done++;
    }
    bench->passed_ns = bench->now_ns;
    give_up(worker);
}

static void passed_on(struct bench_worker *worker)
{
    struct bench *bench = worker->client->bench;

    worker->due_ns = 0;
    if (--bench->busy == 0 && bench->phase < BENCH_DRAIN) {
        begin_round(bench);
    }
}

/* ---- answers ---- */

static void on_locked(void *arg, int rv, const struct netlock_grant *grant)
{
    struct bench_worker *worker = arg;
    struct bench *bench = worker->client->bench;

    (void)grant;
    bench->now_ns = bench_now_ns();
    if (rv != 0) {
        failed(worker, rv);
        return;
    }
    bench_interruption_grant(worker->client);
    if (bench->phase == BENCH_MEASURE) {
        worker->grants++;
    }
    switch (bench->options->work) {
    case BENCH_CYCLES:
        count(worker, &bench->result->acquire);
        give_up(worker);
        break;
    case BENCH_HOLD:
        count(worker, &bench->result->acquire);
        taken(worker);
        break;
    case BENCH_WAITERS:
        turn_came(worker);
        break;
    }
}

static void on_unlocked(void *arg, int rv, const struct netlock_grant *grant)
{
    struct bench_worker *worker = arg;
    struct bench *bench = worker->client->bench;

    (void)grant;
    bench->now_ns = bench_now_ns();
    if (rv != 0) {
        failed(worker, rv);
    } else if (bench->options->work == BENCH_WAITERS) {
        passed_on(worker);
    } else {
        cycle_done(worker);
    }
}

/* ---- the course of a run ---- */

void bench_work_begin(struct bench *bench)
{
    uint64_t workers = (uint64_t)bench->options->clients * bench->options->workers;

    bench->start_ns = bench->now_ns;
    switch (bench->options->work) {
    case BENCH_CYCLES:
        for (uint64_t i = 0; i < workers; i++) {
            TAILQ_INSERT_TAIL(&bench->idle, &bench->workers[i], idle);
        }
        begin_due_cycles(bench);
        break;
    case BENCH_HOLD:
        for (uint64_t i = 0; i < workers; i++) {
            take_next(&bench->workers[i]);
        }
        break;
    case BENCH_WAITERS:
        begin_round(bench);
        break;
    }
}

void bench_work_due(struct bench *bench)
{
    if (bench->options->work == BENCH_CYCLES && bench->phase != BENCH_CONNECT &&
        bench->phase != BENCH_DRAIN) {
        begin_due_cycles(bench);
    }
}

uint64_t bench_work_next_ns(const struct bench *bench)
{
    uint64_t due_ns;

    if (!has_rate(bench) || bench->phase == BENCH_CONNECT ||
        bench->phase == BENCH_DRAIN || TAILQ_EMPTY(&bench->idle)) {
        return UINT64_MAX;
    }
    due_ns = due_of(bench, bench->begun);
    return due_ns > bench->rest_end_ns ? due_ns : bench->rest_end_ns;
}

void bench_work_end(struct bench *bench)
{
    struct bench_result *result = bench->result;
    uint64_t workers = (uint64_t)bench->options->clients * bench->options->workers;

    result->unfinished = bench->busy;
    result->cut_off = bench->cut_off;
    result->grants_least = UINT64_MAX;
    for (uint64_t i = 0; i < workers; i++) {
        const struct bench_worker *worker = &bench->workers[i];

        /* As long as it has been by now, or the worst would be left out. */
        if (worker->due_ns != 0 && bench->options->work == BENCH_CYCLES) {
            count(worker, &result->whole);
        }
        if (worker->grants < result->grants_least) {
            result->grants_least = worker->grants;
        }
        if (worker->grants > result->grants_most) {
            result->grants_most = worker->grants;
        }
    }
    while (has_rate(bench) &&
           due_of(bench, bench->begun + result->late) < bench->end_ns) {
        result->late++;
    }
}
