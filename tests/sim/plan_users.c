#include "plan_internal.h"

#include <string.h>

/* How often users do what, drawn once for a run: some of it not at all. */
struct habits {
    uint32_t read, try, ignore, downgrade, wait, hold;      /* per cent of locks */
    uint32_t unlock, refresh, cancel, status, check, force; /* per cent of all */
    bool skewed; /* some locks are wanted more than others */
};

static uint32_t habit(struct sim_random *random, uint32_t most)
{
    return sim_plan_half(random) ? 0 : (uint32_t)sim_random_between(random, 1, most);
}

static struct habits draw_habits(const struct sim_plan *plan, struct sim_random *random)
{
    struct habits habits;

    /* One after the other: initialisers have no order. */
    habits.read = habit(random, 80);
    habits.try = habit(random, 50);
    habits.ignore = habit(random, 30);
    habits.downgrade = habit(random, 10);
    habits.wait = (uint32_t)sim_random_below(random, 101);
    habits.hold = (uint32_t)sim_random_below(random, 101);
    habits.unlock = habit(random, 15);
    habits.refresh = habit(random, 10);
    habits.cancel = habit(random, 10);
    habits.status = habit(random, 10);
    habits.check = habit(random, 5);
    habits.force = plan->breaks ? 2 : 0;
    habits.skewed = sim_plan_half(random);
    return habits;
}

static bool per_cent(struct sim_random *random, uint32_t percent)
{
    return sim_random_below(random, 100) < percent;
}

/* The words of a line are put together by hand: there are tens of thousands. */
static void word(struct sim_plan *plan, const char *text)
{
    struct sim_plan_text *lines = &plan->lines;
    size_t len = strlen(text);

    if (lines->len + len + 1 >= lines->capacity) {
        sim_plan_put(lines, "%s", text);
        return;
    }
    memcpy(lines->data + lines->len, text, len + 1);
    lines->len += len;
}

static void
number(struct sim_plan *plan, const char *before, uint64_t value, const char *after)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    word(plan, before);
    word(plan, digits + at);
    word(plan, after);
}

static void put_lock_options(struct sim_plan *plan,
                             const struct habits *habits,
                             struct sim_random *random,
                             bool counting,
                             unsigned lock)
{
    static const uint32_t waits_ms[] = {1, 50, 1000, 5000, 30000};
    static const uint32_t holds_ms[] = {50, 1000, 1000, 5000, 5000, 30000};
    bool ignore = per_cent(random, habits->ignore), read = per_cent(random, habits->read);
    uint64_t use = sim_plan_between_log(random, 1000, plan->use_us);

    if (counting) {
        /* Now and then somebody has another idea of how many there are. */
        number(plan, " limit=", 2 + lock % 3 + (sim_random_below(random, 50) == 0), "");
    } else if (read) {
        word(plan, " read");
        if (per_cent(random, habits->downgrade)) {
            word(plan, " downgrade");
        }
    }
    if (per_cent(random, habits->try)) {
        word(plan, " try");
    } else if (per_cent(random, habits->wait)) {
        number(plan, " wait=", SIM_ONE_OF(random, waits_ms), "ms");
    }
    if (ignore) {
        word(plan, " ignore");
    }
    if (ignore || per_cent(random, habits->hold)) {
        uint32_t hold = SIM_ONE_OF(random, holds_ms);
        number(plan, " hold=", ignore && hold > 5000 ? 5000 : hold, "ms");
    }
    number(plan, " use=", use, "us");
}

/* One line; returns for how many operations it counts: what is used is given up later. */
static unsigned put_operation(struct sim_plan *plan,
                              const struct habits *habits,
                              struct sim_random *random,
                              uint64_t at_us)
{
    uint64_t user = 1 + sim_random_below(random, plan->users);
    unsigned lock = 1 + (unsigned)sim_random_below(random, plan->locks);
    unsigned other = 1 + (unsigned)sim_random_below(random, plan->locks);
    bool counting = plan->counting != 0 && sim_random_below(random, 5) == 0;
    uint32_t what = (uint32_t)sim_random_below(random, 100);
    unsigned cost = 1;

    const struct {
        const char *verb;
        uint32_t percent;
        const char *end;
    } verbs[] = {
        {" unlock ", habits->unlock, ""},          {" refresh ", habits->refresh, ""},
        {" cancel ", habits->cancel, ""},          {" status ", habits->status, ""},
        {" check ", habits->check, " token=held"}, {" break ", habits->force, ""},
    };
    size_t i = 0;

    if (counting) {
        lock = 1 + lock % plan->counting;
    } else if (habits->skewed && other < lock) {
        lock = other;
    }
    while (i < sizeof(verbs) / sizeof(verbs[0]) && what >= verbs[i].percent) {
        what -= verbs[i++].percent;
    }
    bool is_lock = i == sizeof(verbs) / sizeof(verbs[0]);
    sim_plan_begin_line(plan, at_us);
    number(plan, "u", user, is_lock ? " lock " : verbs[i].verb);
    number(plan, counting ? "C" : "L", lock, "");
    if (is_lock) {
        put_lock_options(plan, habits, random, counting, lock);
        cost = 2;
    } else {
        word(plan, verbs[i].end);
    }
    sim_plan_end_line(plan);
    return cost;
}

void sim_plan_users(struct sim_plan *plan)
{
    struct sim_random random = sim_plan_stream(plan, SIM_PLAN_STREAM_USERS);
    struct habits habits = draw_habits(plan, &random);
    uint64_t gap_us = SIM_SECOND_US / plan->operations_per_s;
    uint64_t at_us = SIM_SECOND_US / 2;

    while (at_us < plan->faults_us - SIM_SECOND_US) {
        unsigned cost = put_operation(plan, &habits, &random, at_us);
        at_us += cost * sim_random_below(&random, 2 * gap_us + 1);
    }
}
