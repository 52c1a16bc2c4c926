#include "plan_internal.h"

enum { ATTEMPTS = 8 };

/* What an operator says again and again until it is done; what is done already changes nothing. */
static uint64_t insist(struct sim_plan *plan,
                       struct sim_random *random,
                       const char *verb,
                       unsigned node,
                       uint64_t at_us)
{
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        sim_plan_at(plan, at_us, "member %s n%u", verb, node);
        at_us += sim_plan_between_log(random, 100000, 2 * SIM_SECOND_US);
    }
    return at_us;
}

/* One of the members @list has @count of, which leaves the list. */
static unsigned take_out(struct sim_random *random, unsigned *list, unsigned count)
{
    unsigned at = (unsigned)sim_random_below(random, count);
    unsigned node = list[at];

    list[at] = list[count - 1];
    return node;
}

/* Two more than there were, of which two go, and so on until all have been there. */
void sim_plan_members(struct sim_plan *plan)
{
    struct sim_random random = sim_plan_stream(plan, SIM_PLAN_STREAM_MEMBERS + 1);
    unsigned list[SIM_PLAN_NODES_MAX] = {1, 2, 3, 4, 5}, count = plan->founders;
    unsigned next = plan->founders + 1;
    uint64_t at_us = 2 * SIM_SECOND_US;

    while (sim_plan_has(plan, SIM_FAULT_MEMBERS) && at_us < plan->faults_us &&
           (next <= plan->nodes || count > plan->founders)) {
        bool joins = next <= plan->nodes &&
                     (count == plan->founders ||
                      (count < plan->founders + 2 && sim_plan_half(&random)));
        if (joins) {
            at_us = insist(plan, &random, "add", next, at_us);
            at_us = insist(plan, &random, "promote", next, at_us);
            list[count++] = next++;
        } else {
            unsigned node = take_out(&random, list, count--);
            at_us = insist(plan, &random, "remove", node, at_us);
        }
        at_us += sim_random_below(&random, plan->faults_us / 10);
    }
}
