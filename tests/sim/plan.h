/* plan.h - a script drawn from a seed: who takes part, what users ask for, and what breaks.
 *
 * Everything is drawn: nodes, clients, locks, timeouts, limits, which kinds of faults there are at all
 * (each with one chance in two) and how often. Each kind of fault, and the users, draw from a stream of
 * their own, so that leaving one out changes nothing in the others.
 *
 * In one run out of eight with three nodes or five, more join until there have been seven, and others go, while all
 * the rest happens ("members"; such a run rots no disk).
 * When it is asked for ("upgrade"), the founders begin with a build of feature level 1, and get the newest one after
 * the other.
 *
 * A run has three phases:
 *   A  everything may happen, but never more than the cluster is made for: disks of a majority do not rot
 *   B  a majority is healed, the others stay dead, cut off or paused; nobody asks for anything new; `check
 *      healed`
 *   C  everything is healed; `check end` */
#ifndef NETLOCK_SIM_PLAN_H
#define NETLOCK_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "script.h"

enum {
    SIM_PLAN_USERS_MAX = 50,  /* on the library */
    SIM_PLAN_HOSTILE_MAX = 4, /* raw */
    SIM_PLAN_NODES_MAX = 7,   /* where nodes join and go */
};

struct sim_plan_options {
    uint64_t length_us;        /* 0: 10 minutes; more if phases B and C need it */
    uint32_t operations_per_s; /* in all; 0: drawn */
    unsigned nodes, users;     /* 0: drawn */
    uint32_t with, without; /* kinds of faults: bits 1 << enum sim_fault. `with` wins */
    bool calm;  /* for figures: 3 nodes, 20 users, usual faults at the usual rates */
    bool model; /* always compare with the naive model; else now and then */
};

/* The text is sim_alloc()'ed. */
char *sim_plan_draw(uint64_t seed, const struct sim_plan_options *options);

#endif
