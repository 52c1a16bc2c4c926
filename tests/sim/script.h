/* script.h - scenarios and traces: one language for what is written by hand, drawn from a seed,
 * recorded, and shrunk.
 *
 * A script is lines of words; `#` begins a comment. First the cluster (`nodes 3`, `client a`), then what
 * happens. A line may begin with `at TIME`, a time since the beginning: it is scheduled, and `run DUR` lets
 * time pass. Without it the line happens now. After a line `----` comes what was to be seen of
 * everything since the last one, up to an empty line: the transcript.
 *
 *     nodes 3
 *     client a
 *     start all
 *     run 2s
 *     a lock L
 *     run 100ms
 *     ----
 *     0.652 n2 serves term=1
 *     0.655 a connected n2
 *     2.001 a L granted token=1
 *
 * README.md has all words. Durations: 250us, 30ms, 1.5s, 2m.
 *
 * The whole script is read before anything happens, so that a mistake in its last line does not
 * cost a run. Under `lenient` a line about what is not there (a client, a node, a leader) is
 * skipped: lines can be taken out of a trace one by one. */
#ifndef NETLOCK_SIM_SCRIPT_H
#define NETLOCK_SIM_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "check.h"
#include "net.h"

/* Kinds of faults: what a plan switches on and off, and what a run counts. */
enum sim_fault {
    SIM_FAULT_WEATHER,        /* loss, duplicates, disorder between nodes */
    SIM_FAULT_CLIENT_WEATHER, /* the same on the way to clients: as TCP shows it, lateness */
    SIM_FAULT_CUT,
    SIM_FAULT_CLOG,
    SIM_FAULT_CRASH,
    SIM_FAULT_CRASH_ALL,
    SIM_FAULT_STOP, /* SIGTERM */
    SIM_FAULT_PAUSE,
    SIM_FAULT_CLIENT_PAUSE,
    SIM_FAULT_CLIENT_KILL,
    SIM_FAULT_SLOW_DISK,
    SIM_FAULT_STALL,
    SIM_FAULT_FULL_DISK,
    SIM_FAULT_DISK_ERROR,
    SIM_FAULT_ROT,
    SIM_FAULT_RATE, /* of a clock */
    SIM_FAULT_WALL, /* a jump of the wall clock */
    SIM_FAULT_HOSTILE,
    SIM_FAULT_ALARM, /* connections between nodes that break, and are refused, though both live */
    SIM_FAULT_MEMBERS, /* nodes are added and removed: no fault, and drawn apart from them */
    SIM_FAULT_UPGRADE, /* to a build that can more, one node after the other: likewise */
    SIM_FAULTS_COUNT,
};
const char *sim_fault_name(enum sim_fault fault); /* "client-weather" */

struct sim_script_result {
    bool syntax_error, mismatch, violated;
    char message[1024]; /* of the first of them */
    uint64_t trace_hash;
    uint64_t simulated_us;
    uint64_t events; /* that were fired */
    uint64_t faults[SIM_FAULTS_COUNT];
    struct sim_check_counts checked;
    struct sim_net_counts net;
};

/* Run a whole script. @actual, if not NULL, gets the script with the transcripts as they were seen
 * (for --update). @record, if not NULL, gets every fate that was drawn, as script lines. */
void sim_script_run(const char *text,
                    const char *name,
                    FILE *actual,
                    FILE *record,
                    struct sim_script_result *ret);

/* For the next runs, on stderr: the servers' log; and all that is seen, as in `transcript all`. */
void sim_script_set_verbose(bool verbose);
void sim_script_set_aloud(bool aloud);

/* Where the description of the cluster ends and things begin to happen: recorded fates are put
 * there. */
size_t sim_script_body(const char *text);

#endif
