/* runs.h - runs of scripts, each in a process of its own, so that a crash in one is a finding with
 * its seed and not the end of all. */
#ifndef NETLOCK_SIM_RUNS_H
#define NETLOCK_SIM_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "script.h"

/* What `sim` exits with; after a crash it dies of the same signal. */
enum { SIM_EXIT_VIOLATION = 1, SIM_EXIT_MISMATCH = 2, SIM_EXIT_SYNTAX = 64 };

struct sim_job {
    const char *text, *name;
    const char *actual; /* the script is written anew, to this file; NULL: no */
    const char *fates;  /* decisions are written to this file; NULL: no */
    uint64_t cpu_limit_s;
    bool stay; /* in this process: for debuggers */
};

struct sim_run {
    bool finished; /* else it crashed, or took too long */
    int signal;    /* 0, or what ended it */
    int status;    /* 0, or SIM_EXIT_* */
    uint64_t cpu_us;
    struct sim_script_result result;
};

void sim_run_job(const struct sim_job *job, struct sim_run *ret);

/* Sums over runs, and what people read at the end. */
struct sim_totals {
    uint64_t runs, failed, simulated_us, cpu_us;
    struct sim_script_result sum; /* its counts */
};
void sim_totals_add(struct sim_totals *totals, const struct sim_run *run);
void sim_totals_print(const struct sim_totals *totals);
void sim_totals_print_json(
    const struct sim_totals *totals); /* one line: an object of numbers */

#endif
