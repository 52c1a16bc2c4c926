/* bench.h - load for a cluster: many clients in one loop, and what they saw.
 *
 * A *client* is one client of the cluster, with a connection of its own (NETLOCK_MANUAL: no threads).
 * Each has one or more *workers*, who do one thing after the other; a client with several has as many
 * requests under way. What workers do is the work (bench_work.c):
 *
 *     cycles    take a lock and give it back: each its own, or all the same one
 *     waiters   all stand in the queue of one lock, which then passes down it, round after round
 *     hold      take so many locks and keep them
 *
 * The course of a run: all connect, warm up, are measured, and get time to end what they have begun.
 *
 * Latencies count from the moment at which something was *due*. With a rate that is its place in the
 * schedule, kept whether the cluster is slow or not: while it stalls, everything that should have been
 * asked meanwhile counts as late. Without a rate whoever has an answer goes on at once, as fast as the
 * cluster lets him, and a stall is seen once by each worker.
 */
#ifndef NETLOCK_BENCH_H
#define NETLOCK_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cli.h"
#include "histogram.h"

enum bench_work { BENCH_CYCLES, BENCH_WAITERS, BENCH_HOLD };

struct bench_options {
    enum bench_work work;
    uint32_t clients;
    uint32_t workers; /* of each client */
    bool same_lock;   /* CYCLES */
    uint64_t rate;    /* CYCLES: a second, of all together; 0: as many as possible */
    uint64_t count;   /* HOLD: locks */
    uint32_t warmup_ms, duration_ms, ttl_ms;
    const char *prefix;      /* of the names of the locks */
    bool tell_interruptions; /* on stderr, when they are over */
};

/* Connections broke; it is over when all who lost theirs have been granted a lock again. */
struct bench_interruption {
    uint64_t clients; /* who lost their connection */
    uint64_t gap_us; /* from the last grant to anybody before it to the first one after */
    uint64_t
        first_us; /* from the first lost connection to the first grant to one of them */
    uint64_t all_us; /* to the first grant to the last of them */
};
enum { BENCH_INTERRUPTIONS_MAX = 1000 };

struct bench_result {
    uint64_t measured_ns;
    uint64_t done;       /* in that time: cycles, handovers, locks taken */
    uint64_t late;       /* with a rate: was due in that time, and not even begun */
    uint64_t unfinished; /* still under way a while after the end */
    uint64_t errors;     /* requests that failed */
    int error;           /* of the first of them; 0: none */
    uint64_t lost;       /* holds that ended before they were given back */
    uint64_t grants_least, grants_most; /* to one worker */
    uint64_t gap_us;                    /* longest time without a grant to anybody */
    struct histogram acquire;           /* microseconds */
    struct histogram whole;             /* CYCLES: with the release */
    size_t interruptions_count;
    struct bench_interruption interruptions[BENCH_INTERRUPTIONS_MAX];
    uint64_t cut_off; /* clients who were not back at the end */
};

/* The run. @result is all zero before. 0, or a negative error of the library for cli_fail(). */
int bench_run(const struct cli *cli,
              const struct bench_options *options,
              struct bench_result *result);

/* ---- the inside: bench.c (clients and time), bench_work.c, bench_interruption.c ---------------- */

enum bench_phase { BENCH_CONNECT, BENCH_WARM_UP, BENCH_MEASURE, BENCH_DRAIN };

struct bench_worker {
    TAILQ_ENTRY(bench_worker) idle;
    struct bench_client *client;
    uint64_t due_ns; /* of what is under way; 0: nothing is */
    uint64_t grants; /* in the time measured */
    char name[NETLOCK_NAME_BYTES_MAX + 1];
};
TAILQ_HEAD(bench_worker_list, bench_worker);

struct bench_client {
    TAILQ_ENTRY(bench_client) woken;
    struct bench *bench;
    struct netlock *nl; /* NULL: not opened */
    uint64_t wake_ns;   /* netlock_process() has something to do then */
    bool inside;        /* netlock_process() */
    bool is_woken;
    bool connected; /* it was, at least once */
    bool cut_off;   /* lost its connection, and has not been granted anything since */
    struct bench_worker *workers;
};
TAILQ_HEAD(bench_client_list, bench_client);

struct bench {
    const struct cli *cli;
    const struct bench_options *options;
    struct bench_result *result;

    struct bench_client *clients;
    struct bench_worker *workers;   /* of all clients */
    struct bench_client_list woken; /* were asked for something from outside */
    uint64_t connected;
    int epoll, signals;
    int dead; /* what netlock_process() said of a client that can never work again */

    enum bench_phase phase;
    uint64_t now_ns, scan_ns, told_ns, told_done;
    uint64_t measure_ns, end_ns; /* the time measured; UINT64_MAX: not known yet */
    uint64_t drain_end_ns;

    uint64_t busy;                 /* workers with something under way */
    struct bench_worker_list idle; /* who will do what is due next */
    uint64_t start_ns, begun;      /* of the schedule, and how much of it was begun */
    uint64_t rest_end_ns;          /* something failed: nothing new before */

    uint64_t asked;     /* HOLD: locks asked for */
    uint64_t standing;  /* WAITERS: in the queue, this round */
    bool passing;       /* the lock goes down the queue */
    uint64_t passed_ns; /* last time that it was given up */

    uint64_t last_grant_ns, cut_off;
    uint64_t interrupted_ns, before_ns; /* first lost connection; last grant before */
    struct bench_interruption interruption;
};

uint64_t bench_now_ns(void);
/* @client has been asked for something: netlock_process() must send it. */
void bench_wake(struct bench_client *client);

void bench_work_name(struct bench_worker *worker, uint64_t number);
void bench_work_begin(struct bench *bench); /* all are connected */
void bench_work_due(struct bench *bench);   /* time has passed */
uint64_t
bench_work_next_ns(const struct bench *bench); /* when it does the next; or UINT64_MAX */
void bench_work_queued(struct bench_client *client);
void bench_work_end(struct bench *bench); /* the last answers are here, or too late */

void bench_interruption_begin(struct bench_client *client);
void bench_interruption_grant(struct bench_client *client);

#endif
