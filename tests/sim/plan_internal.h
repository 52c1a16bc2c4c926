/* plan_internal.h - what plan.c (who takes part, and the phases), plan_users.c, plan_faults.c and
 * plan_hostile.c share. */
#ifndef NETLOCK_SIM_PLAN_INTERNAL_H
#define NETLOCK_SIM_PLAN_INTERNAL_H

#include "plan.h"
#include "random.h"

/* Streams behind those of the faults; the members' have numbers of their own, since seeds would mean other runs
 * if these were moved. */
enum {
    SIM_PLAN_STREAM_USERS = SIM_FAULT_MEMBERS,
    SIM_PLAN_STREAM_MEMBERS = 100,
    SIM_PLAN_STREAM_UPGRADE = 200
};
#define SIM_SECOND_US UINT64_C(1000000)

struct sim_plan_text {
    char *data;
    size_t len, capacity;
};

struct sim_plan_line {
    uint64_t at_us;
    size_t start; /* in `lines` */
};

struct sim_plan {
    uint64_t seed;
    const struct sim_plan_options *options;
    uint32_t kinds; /* bits of enum sim_fault */

    unsigned founders; /* the first of the nodes; the others join */
    unsigned nodes, users, hostile, locks, counting;
    uint64_t faults_us, healed_us, end_us; /* ends of the phases */
    uint32_t operations_per_s;
    uint32_t pace_percent; /* how much faster or slower faults come than usual */
    uint64_t use_us;       /* longest use of a lock */
    uint32_t lease_ms;
    uint32_t rate_ppm_max;
    bool breaks;
    unsigned rotten; /* this node's disk rots; 0: none */
    char peers_weather[96], clients_weather[96], disks_timing[96];

    struct sim_plan_text head;  /* the cluster */
    struct sim_plan_text lines; /* what happens when; each line ends with NUL */
    struct sim_plan_line *index;
    size_t count, capacity;
};

__attribute__((format(printf, 2, 3))) void
sim_plan_put(struct sim_plan_text *text, const char *format, ...);

/* Begin a line that happens at a time; the text follows by sim_plan_put(&plan->lines, ...), and
 * sim_plan_end_line(). */
void sim_plan_begin_line(struct sim_plan *plan, uint64_t at_us);
void sim_plan_end_line(struct sim_plan *plan);
__attribute__((format(printf, 3, 4))) void
sim_plan_at(struct sim_plan *plan, uint64_t at_us, const char *format, ...);

/* From @min to @max, as likely to be near 10 as near 1000. */
uint64_t sim_plan_between_log(struct sim_random *random, uint64_t min, uint64_t max);

static inline bool sim_plan_half(struct sim_random *random)
{
    return sim_random_below(random, 2) == 0;
}

/* One of an array's values. */
#define SIM_ONE_OF(random, values)                                                       \
    ((values)[sim_random_below(random, sizeof(values) / sizeof((values)[0]))])

/* The stream of this kind of fault, or of what has the number above SIM_FAULTS_COUNT. */
struct sim_random sim_plan_stream(const struct sim_plan *plan, unsigned what);

static inline bool sim_plan_has(const struct sim_plan *plan, enum sim_fault fault)
{
    return (plan->kinds >> fault & 1) != 0;
}

/* plan_users.c: what users ask for in phase A. */
void sim_plan_users(struct sim_plan *plan);
/* plan_faults.c: everything that breaks in phase A. */
void sim_plan_faults(struct sim_plan *plan);
/* plan_members.c: who joins and who goes in phase A. */
void sim_plan_members(struct sim_plan *plan);
/* plan_upgrade.c: the way to the newest build in phase A. */
void sim_plan_upgrade(struct sim_plan *plan);
/* plan_hostile.c: what clients that mean harm, or that are merely simple, do in phase A. */
void sim_plan_hostile(struct sim_plan *plan);

#endif
