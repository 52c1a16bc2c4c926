#include "plan_internal.h"

/* The founders get the newest build, one after the other and in any order, while all the rest goes on; those that
 * join later have it already. */
void sim_plan_upgrade(struct sim_plan *plan)
{
    struct sim_random random = sim_plan_stream(plan, SIM_PLAN_STREAM_UPGRADE);
    unsigned list[SIM_PLAN_NODES_MAX];
    uint64_t at_us = plan->faults_us / 10;

    for (unsigned i = 0; i < plan->founders; i++) {
        list[i] = i + 1;
    }
    for (unsigned left = plan->founders;
         sim_plan_has(plan, SIM_FAULT_UPGRADE) && left > 0; left--) {
        unsigned at = (unsigned)sim_random_below(&random, left);

        at_us += sim_random_below(&random, plan->faults_us * 7 / 10 / plan->founders);
        sim_plan_at(plan, at_us, "upgrade n%u", list[at]);
        list[at] = list[left - 1];
    }
}
