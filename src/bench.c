/* bench.c - the clients of a bench, and the course of time. */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    SCAN_NS = 1000 * 1000, /* how exact the clients' own timers are */
    NS_PER_MS = 1000 * 1000,
    NS_PER_S = 1000 * 1000 * 1000,
};
#define DRAIN_NS (UINT64_C(5) * NS_PER_S)
#define NEVER_NS UINT64_MAX

uint64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- clients ---- */

void bench_wake(struct bench_client *client)
{
    if (!client->inside && !client->is_woken) {
        client->is_woken = true;
        TAILQ_INSERT_TAIL(&client->bench->woken, client, woken);
    }
}

static void on_notice(void *arg, const struct netlock_notice *notice)
{
    struct bench_client *client = arg;

    switch (notice->event) {
    case NETLOCK_CONNECTED:
        client->bench->connected += client->connected ? 0 : 1;
        client->connected = true;
        break;
    case NETLOCK_DISCONNECTED:
        bench_interruption_begin(client);
        break;
    case NETLOCK_QUEUED:
        bench_work_queued(client);
        break;
    case NETLOCK_LOST:
        client->bench->result->lost++;
        break;
    case NETLOCK_JEOPARDY:
    case NETLOCK_SAFE:
        break;
    }
}

static void process(struct bench_client *client)
{
    struct bench *bench = client->bench;
    int rv, timeout_ms;

    client->inside = true;
    rv = netlock_process(client->nl);
    client->inside = false;
    if (rv != 0 && bench->dead == 0) {
        bench->dead = rv;
    }
    timeout_ms = netlock_timeout_ms(client->nl);
    client->wake_ns =
        timeout_ms < 0 ? NEVER_NS : bench_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

static void process_woken(struct bench *bench)
{
    struct bench_client *client;

    while ((client = TAILQ_FIRST(&bench->woken)) != NULL) {
        TAILQ_REMOVE(&bench->woken, client, woken);
        client->is_woken = false;
        process(client);
    }
}

static void process_due(struct bench *bench)
{
    if (bench->now_ns < bench->scan_ns) {
        return;
    }
    for (uint32_t i = 0; i < bench->options->clients; i++) {
        if (bench->clients[i].wake_ns <= bench->now_ns) {
            process(&bench->clients[i]);
        }
    }
    bench->scan_ns = bench->now_ns + SCAN_NS;
}

static int open_client(struct bench *bench, uint32_t number)
{
    struct bench_client *client = &bench->clients[number];
    struct netlock_options options = cli_client_options(bench->cli);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int rv;

    client->bench = bench;
    client->workers = &bench->workers[(size_t)number * bench->options->workers];
    for (uint32_t i = 0; i < bench->options->workers; i++) {
        client->workers[i].client = client;
        bench_work_name(&client->workers[i],
                        (uint64_t)number * bench->options->workers + i);
    }
    options.client_id = NULL;
    options.flags = NETLOCK_MANUAL;
    options.on_notice = on_notice;
    options.arg = client;
    rv = netlock_open(&client->nl, &options);
    if (rv != 0) {
        return rv;
    }
    return epoll_ctl(bench->epoll, EPOLL_CTL_ADD, netlock_fd(client->nl), &event) == 0
               ? 0
               : -errno;
}

/* After a failure without a farewell: it would take a second for each. */
static void close_clients(struct bench *bench, int rv)
{
    for (uint32_t i = 0; i < bench->options->clients && bench->clients != NULL; i++) {
        if (rv == 0) {
            netlock_close(bench->clients[i].nl);
        } else {
            netlock_abandon(bench->clients[i].nl);
        }
    }
}

/* ---- the course of time ---- */

/* A line that is written over again, or, where that cannot be done, a line for each second. */
static void tell_progress(struct bench *bench)
{
    if (bench->phase == BENCH_CONNECT || bench->now_ns < bench->told_ns) {
        return;
    }
    bench->told_ns = bench->now_ns + NS_PER_S;
    if (!cli_is_watched(bench->cli)) {
        return;
    }
    bool terminal = isatty(STDERR_FILENO) == 1;
    uint64_t done = bench->result->done;
    fprintf(stderr, "%s%s %3" PRIu64 " s  %8" PRIu64 " per second  p99 %.2f ms%s",
            terminal ? "\r" : "", bench->phase == BENCH_WARM_UP ? "warm-up " : "measured",
            (bench->now_ns - bench->start_ns) / NS_PER_S, done - bench->told_done,
            (double)histogram_quantile(&bench->result->acquire, 0.99) / 1000,
            terminal ? "\033[K" : "\n");
    bench->told_done = done;
}

static void wipe_progress(const struct bench *bench)
{
    if (cli_is_watched(bench->cli) && isatty(STDERR_FILENO) == 1) {
        fputs("\r\033[K", stderr);
    }
}

static void begin_measuring(struct bench *bench)
{
    bench->phase = BENCH_MEASURE;
    bench->measure_ns = bench->now_ns;
    bench->end_ns =
        bench->options->work == BENCH_HOLD
            ? NEVER_NS /* begins when all are taken */
            : bench->now_ns + (uint64_t)bench->options->duration_ms * NS_PER_MS;
}

static void begin_work(struct bench *bench)
{
    bench->phase = BENCH_WARM_UP;
    bench->end_ns = NEVER_NS;
    bench->told_ns = bench->now_ns + NS_PER_S;
    if (bench->options->work == BENCH_HOLD) {
        begin_measuring(bench);
    }
    bench_work_begin(bench);
}

static void end_measuring(struct bench *bench)
{
    bool counted = bench->options->work == BENCH_WAITERS || /* in its rounds */
                   bench->result->measured_ns != 0;         /* until all were held */

    if (bench->phase == BENCH_MEASURE && !counted) {
        bench->result->measured_ns = bench->now_ns - bench->measure_ns;
    }
    bench->end_ns = bench->now_ns;
    bench->drain_end_ns = bench->now_ns + DRAIN_NS;
    bench->phase = BENCH_DRAIN;
}

static void move_on(struct bench *bench)
{
    switch (bench->phase) {
    case BENCH_CONNECT:
        if (bench->connected == bench->options->clients) {
            begin_work(bench);
        }
        break;
    case BENCH_WARM_UP:
        if (bench->now_ns >= bench->end_ns) {
            end_measuring(bench); /* it has failed */
        } else if (bench->now_ns >=
                   bench->start_ns + (uint64_t)bench->options->warmup_ms * NS_PER_MS) {
            begin_measuring(bench);
        }
        break;
    case BENCH_MEASURE:
        if (bench->now_ns >= bench->end_ns) {
            end_measuring(bench);
        }
        break;
    case BENCH_DRAIN:
        break;
    }
}

/* Nanoseconds until something is due at the latest. */
static uint64_t wait_ns(const struct bench *bench)
{
    uint64_t until_ns = bench->now_ns + SCAN_NS;

    if (!TAILQ_EMPTY(&bench->woken)) {
        return 0;
    }
    if (bench_work_next_ns(bench) < until_ns) {
        until_ns = bench_work_next_ns(bench);
    }
    return until_ns > bench->now_ns ? until_ns - bench->now_ns : 0;
}

/* Told to stop: what is known so far is said. Told again: at once. */
static void on_signal(struct bench *bench)
{
    struct signalfd_siginfo info;

    if (read(bench->signals, &info, sizeof info) != sizeof info) {
        return;
    }
    if (bench->phase == BENCH_DRAIN) {
        bench->drain_end_ns = bench->now_ns;
    } else {
        end_measuring(bench);
    }
}

static int turn(struct bench *bench)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec timeout = {.tv_nsec = (long)wait_ns(bench)};
    int n = epoll_pwait2(bench->epoll, events, EVENTS_MAX, &timeout, NULL);

    if (n < 0 && errno != EINTR) {
        return -errno;
    }
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr != NULL) {
            process(events[i].data.ptr);
        } else {
            on_signal(bench);
        }
    }
    bench->now_ns = bench_now_ns();
    process_due(bench);
    bench_work_due(bench);
    process_woken(bench);
    move_on(bench);
    tell_progress(bench);
    return bench->dead;
}

static bool finished(const struct bench *bench)
{
    return bench->phase == BENCH_DRAIN &&
           (bench->busy == 0 || bench->now_ns >= bench->drain_end_ns);
}

static int run(struct bench *bench)
{
    uint64_t connect_end_ns =
        bench_now_ns() + (uint64_t)bench->cli->timeout_ms * NS_PER_MS;

    bench->now_ns = bench_now_ns();
    while (!finished(bench)) {
        int rv = turn(bench);

        if (rv != 0) {
            return rv;
        }
        if (bench->phase == BENCH_CONNECT && bench->now_ns >= connect_end_ns) {
            return -NETLOCK_EUNREACHABLE;
        }
    }
    wipe_progress(bench);
    bench_work_end(bench);
    return 0;
}

/* ---- beginning and end ---- */

/* Two descriptors for each client, and a timer that is not rounded. */
static void prepare_process(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)prctl(PR_SET_TIMERSLACK, 1);
}

static int open_descriptors(struct bench *bench)
{
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    bench->epoll = epoll_create1(EPOLL_CLOEXEC);
    bench->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (bench->epoll < 0 || bench->signals < 0) {
        return -errno;
    }
    return epoll_ctl(bench->epoll, EPOLL_CTL_ADD, bench->signals, &event) == 0 ? 0
                                                                               : -errno;
}

int bench_run(const struct cli *cli,
              const struct bench_options *options,
              struct bench_result *result)
{
    struct bench bench = {.cli = cli,
                          .options = options,
                          .result = result,
                          .end_ns = NEVER_NS,
                          .idle = TAILQ_HEAD_INITIALIZER(bench.idle),
                          .woken = TAILQ_HEAD_INITIALIZER(bench.woken)};
    int rv;

    prepare_process();
    bench.clients = calloc(options->clients, sizeof *bench.clients);
    bench.workers =
        calloc((size_t)options->clients * options->workers, sizeof *bench.workers);
    rv = bench.clients == NULL || bench.workers == NULL ? -ENOMEM
                                                        : open_descriptors(&bench);
    for (uint32_t i = 0; i < options->clients && rv == 0; i++) {
        rv = open_client(&bench, i);
    }
    if (rv == 0) {
        rv = run(&bench);
    }
    close_clients(&bench, rv);
    close(bench.epoll);
    close(bench.signals);
    free(bench.clients);
    free(bench.workers);
    return rv;
}
