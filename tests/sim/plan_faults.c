#include "plan_internal.h"

#include <inttypes.h>

/* How often, in hundredths for each simulated minute, before the pace of the plan; and of those that
 * are about a node: for each node. */
static const struct {
    enum sim_fault fault;
    unsigned per_100_minutes;
    bool each_node;
} rates[] = {
    {SIM_FAULT_WEATHER, 50, false},       {SIM_FAULT_CLIENT_WEATHER, 50, false},
    {SIM_FAULT_CUT, 150, false},          {SIM_FAULT_CLOG, 200, false},
    {SIM_FAULT_CRASH, 50, true},          {SIM_FAULT_CRASH_ALL, 20, false},
    {SIM_FAULT_STOP, 20, true},           {SIM_FAULT_PAUSE, 50, true},
    {SIM_FAULT_CLIENT_PAUSE, 150, false}, {SIM_FAULT_CLIENT_KILL, 150, false},
    {SIM_FAULT_SLOW_DISK, 20, true},      {SIM_FAULT_STALL, 20, true},
    {SIM_FAULT_FULL_DISK, 10, true},      {SIM_FAULT_DISK_ERROR, 20, true},
    {SIM_FAULT_RATE, 20, true},           {SIM_FAULT_WALL, 20, true},
    {SIM_FAULT_ALARM, 200, false},
};

enum { SHORTEST_US = 50000, LONGEST_US = 30000000 };

/* One fault of a kind: when, and how long.
 *
 * In whatever draws there is one draw in each statement: arguments and initialisers have no order, and
 * each compiler chooses its own. */
struct fault {
    struct sim_plan *plan;
    struct sim_random *random;
    uint64_t at_us, length_us;
};

static uint64_t below(const struct fault *fault, uint64_t limit)
{
    return sim_random_below(fault->random, limit);
}

static uint64_t end_of(const struct fault *fault)
{
    return fault->at_us + fault->length_us;
}

static unsigned any_node(const struct fault *fault)
{
    return 1 + (unsigned)below(fault, fault->plan->nodes);
}

static unsigned any_user(const struct fault *fault)
{
    return 1 + (unsigned)below(fault, fault->plan->users);
}

/* "n2", or as often the leader, whom faults hurt most. */
static void draw_target(const struct fault *fault, char ret[static 16])
{
    unsigned node = any_node(fault);

    if (below(fault, 3) == 0) {
        snprintf(ret, 16, "leader");
    } else {
        snprintf(ret, 16, "n%u", node);
    }
}

/* ---- links ---- */

/* "loss=3%": one of the lighter or heavier ones. */
static uint64_t rate_ppm(const struct fault *fault, uint64_t most)
{
    return below(fault, 2) == 0 ? 0 : sim_plan_between_log(fault->random, 1000, most);
}

static void put_weather(const struct fault *fault, const char *links, const char *usual)
{
    uint64_t delay = sim_plan_between_log(fault->random, 100, 200000);
    uint64_t jitter = below(fault, delay * 2);
    uint64_t loss = rate_ppm(fault, 300000), duplicate = rate_ppm(fault, 100000);
    uint64_t reorder = rate_ppm(fault, 100000),
             late = sim_plan_between_log(fault->random, 1000, 1000000);
    uint64_t rate =
        below(fault, 4) == 0 ? sim_plan_between_log(fault->random, 100, 10000) : 0;

    sim_plan_at(fault->plan, fault->at_us,
                "weather %s delay=%" PRIu64 "us jitter=%" PRIu64 "us loss=%" PRIu64
                "ppm duplicate=%" PRIu64 "ppm reorder=%" PRIu64 "ppm late=%" PRIu64
                "us rate=%" PRIu64,
                links, delay, jitter, loss, duplicate, reorder, late, rate);
    sim_plan_at(fault->plan, end_of(fault), "weather %s %s", links, usual);
}

static void weather(const struct fault *fault)
{
    unsigned a = any_node(fault), b = any_node(fault);
    char link[24] = "peers";

    if (below(fault, 2) == 0) {
        snprintf(link, sizeof(link), "n%u>%s", a, "nodes");
    } else if (a != b) {
        snprintf(link, sizeof(link), "n%u>n%u", a, b);
    }
    put_weather(fault, link, fault->plan->peers_weather);
}

static void client_weather(const struct fault *fault)
{
    char link[24] = "clients";

    if (below(fault, 2) == 0) {
        snprintf(link, sizeof(link), "u%u=nodes", any_user(fault));
    }
    put_weather(fault, link, fault->plan->clients_weather);
}

static void cut_for(const struct fault *fault, const char *link)
{
    sim_plan_at(fault->plan, fault->at_us, "cut %s", link);
    sim_plan_at(fault->plan, end_of(fault), "heal %s", link);
}

/* Some nodes on one side, the others on the other; @bridge, if not 0, sees both. */
static void cut_halves(const struct fault *fault, unsigned bridge)
{
    uint64_t sides = sim_random_next(fault->random);
    char link[24];

    for (unsigned i = 1; i <= fault->plan->nodes; i++) {
        for (unsigned j = i + 1; j <= fault->plan->nodes; j++) {
            if (i != bridge && j != bridge && ((sides >> i ^ sides >> j) & 1) != 0) {
                snprintf(link, sizeof(link), "n%u=n%u", i, j);
                cut_for(fault, link);
            }
        }
    }
}

/* The lock of a leader that only its clients can still see. */
static void cut_leader(const struct fault *fault)
{
    static const char *const links[] = {"leader=*", "leader=nodes", "leader>nodes",
                                        "nodes>leader", "leader=clients"};

    sim_plan_at(fault->plan, fault->at_us, "cut %s", links[below(fault, 5)]);
    /* Who led then may not be who leads now. */
    sim_plan_at(fault->plan, end_of(fault), "heal all");
}

static void cut_node(const struct fault *fault)
{
    unsigned node = any_node(fault);
    char link[24];

    switch (below(fault, 4)) {
    case 0:
        snprintf(link, sizeof(link), "n%u=*", node);
        break;
    case 1:
        snprintf(link, sizeof(link), "n%u=nodes", node);
        break;
    case 2:
        snprintf(link, sizeof(link), "n%u>nodes", node);
        break;
    default:
        snprintf(link, sizeof(link), "nodes>n%u", node);
    }
    cut_for(fault, link);
}

static void cut_user(const struct fault *fault)
{
    unsigned user = any_user(fault);
    char node[24] = "nodes";

    if (below(fault, 2) == 0) {
        draw_target(fault, node);
    }
    sim_plan_at(fault->plan, fault->at_us, "cut u%u=%s", user, node);
    sim_plan_at(fault->plan, end_of(fault), "heal u%u=nodes", user);
}

static void cut(const struct fault *fault)
{
    switch (below(fault, 5)) {
    case 0:
        cut_leader(fault);
        return;
    case 1:
        cut_halves(fault, 0);
        return;
    case 2:
        cut_halves(fault, any_node(fault));
        return;
    case 3:
        cut_user(fault);
        return;
    default:
        cut_node(fault);
    }
}

/* Some nodes get stuck one by one, within five seconds, and free themselves in another order. */
static void swizzle(const struct fault *fault)
{
    uint64_t chosen = sim_random_next(fault->random);

    for (unsigned i = 1; i <= fault->plan->nodes; i++) {
        if ((chosen >> i & 1) != 0) {
            uint64_t from = fault->at_us + below(fault, 5 * SIM_SECOND_US);
            uint64_t until =
                end_of(fault) + 5 * SIM_SECOND_US + below(fault, 5 * SIM_SECOND_US);
            sim_plan_at(fault->plan, from, "clog n%u=nodes", i);
            sim_plan_at(fault->plan, until, "unclog n%u=nodes", i);
        }
    }
}

static void clog_link(const struct fault *fault)
{
    unsigned to = any_node(fault);
    char link[24];

    if (below(fault, 3) == 0) {
        swizzle(fault);
        return;
    }
    if (below(fault, 2) == 0) {
        snprintf(link, sizeof(link), "u%u=n%u", any_user(fault), to);
    } else {
        snprintf(link, sizeof(link), "n%u>n%u", any_node(fault), to);
    }
    sim_plan_at(fault->plan, fault->at_us, "clog %s", link);
    sim_plan_at(fault->plan, end_of(fault), "unclog %s", link);
}

/* Connections between living nodes break, which costs nothing; and as often new ones are refused, which
 * cannot be told from a death. */
static void alarm_once(const struct fault *fault)
{
    static const char *const links[] = {"leader=nodes", "nodes=nodes", "leader=follower"};
    const char *link = links[below(fault, 3)];

    if (below(fault, 2) == 0) {
        sim_plan_at(fault->plan, fault->at_us, "refuse %s", link);
        sim_plan_at(fault->plan, end_of(fault), "accept all");
    }
    sim_plan_at(fault->plan, fault->at_us, "break-off %s", link);
}

/* ---- processes ---- */

static void crash(const struct fault *fault)
{
    static const char *const torn[] = {"",          "",           "", " torn nothing",
                                       " torn all", " torn first"};
    char who[16];

    draw_target(fault, who);
    sim_plan_at(fault->plan, fault->at_us, "kill %s%s", who, torn[below(fault, 6)]);
    /* A machine that is gone for half a minute, or a process that comes back at once. */
    sim_plan_at(fault->plan, end_of(fault), "start %s", who[0] == 'n' ? who : "nodes");
}

static void crash_all(const struct fault *fault)
{
    uint64_t at_us = end_of(fault);

    sim_plan_at(fault->plan, fault->at_us, "kill nodes");
    for (unsigned i = 1; i <= fault->plan->nodes; i++) {
        sim_plan_at(fault->plan, at_us + below(fault, 2 * SIM_SECOND_US), "start n%u", i);
    }
}

static void stop(const struct fault *fault)
{
    char who[16];

    draw_target(fault, who);
    sim_plan_at(fault->plan, fault->at_us, "stop %s", who);
    sim_plan_at(fault->plan, end_of(fault) + SIM_SECOND_US, "start %s",
                who[0] == 'n' ? who : "nodes");
}

static void pause(const struct fault *fault)
{
    char who[16];

    draw_target(fault, who);
    sim_plan_at(fault->plan, fault->at_us, "pause %s", who);
    sim_plan_at(fault->plan, end_of(fault), "resume %s", who[0] == 'n' ? who : "nodes");
}

static void client_pause(const struct fault *fault)
{
    unsigned user = any_user(fault);

    sim_plan_at(fault->plan, fault->at_us, "pause u%u", user);
    sim_plan_at(fault->plan, end_of(fault), "resume u%u", user);
}

static void client_kill(const struct fault *fault)
{
    unsigned user = any_user(fault);

    sim_plan_at(fault->plan, fault->at_us, "%s u%u",
                below(fault, 3) == 0 ? "close" : "kill", user);
    sim_plan_at(fault->plan, end_of(fault), "start u%u", user);
}

/* ---- disks ---- */

static void slow_disk(const struct fault *fault)
{
    unsigned node = any_node(fault);
    uint64_t write = sim_plan_between_log(fault->random, 10000, 1000000);

    sim_plan_at(fault->plan, fault->at_us,
                "disk n%u slow write=%" PRIu64 "us jitter=%" PRIu64 "us snapshot=%" PRIu64
                "us",
                node, write, below(fault, write * 2), write * 10);
    sim_plan_at(fault->plan, end_of(fault), "disk n%u slow %s", node,
                fault->plan->disks_timing);
}

static void stall(const struct fault *fault)
{
    unsigned node = any_node(fault);

    sim_plan_at(fault->plan, fault->at_us, "disk n%u stall", node);
    sim_plan_at(fault->plan, end_of(fault), "disk n%u go", node);
}

static void full_disk(const struct fault *fault)
{
    unsigned node = any_node(fault);

    sim_plan_at(fault->plan, fault->at_us, "disk n%u full", node);
    sim_plan_at(fault->plan, end_of(fault), "disk n%u space", node);
}

static void disk_error(const struct fault *fault)
{
    static const char *const what[] = {"append",   "append", "truncate",
                                       "snapshot", "term",   "vote"};

    unsigned node = any_node(fault);

    sim_plan_at(fault->plan, fault->at_us, "disk n%u fail %s", node,
                what[below(fault, 6)]);
    sim_plan_at(fault->plan, end_of(fault), "start nodes");
}

/* Once, and of one node: it is found out when the node starts, which then stays down for good. A
 * majority must be left that never breaks in this way, with room for a crash. */
static void rot(struct sim_plan *plan)
{
    static const char *const what[] = {"entry", "entry", "snapshot", "meta"};
    struct sim_random random = sim_plan_stream(plan, SIM_FAULT_ROT);
    uint64_t at_us = sim_random_between(&random, 10 * SIM_SECOND_US, plan->faults_us);

    if (plan->nodes < 3 || !sim_plan_has(plan, SIM_FAULT_ROT)) {
        return;
    }
    plan->rotten = 1 + (unsigned)sim_random_below(&random, plan->nodes);
    sim_plan_at(plan, at_us, "kill n%u", plan->rotten);
    sim_plan_at(plan, at_us, "disk n%u rot %s", plan->rotten,
                what[sim_random_below(&random, 4)]);
    sim_plan_at(plan, at_us + SIM_SECOND_US, "start n%u", plan->rotten);
}

/* ---- clocks ---- */

/* A rate is not set back: a bad crystal stays one, until it is another. */
static void clock_rate(const struct fault *fault)
{
    uint64_t rate = below(fault, fault->plan->rate_ppm_max + 1);
    const char *sign = below(fault, 2) == 0 ? "-" : "+";

    if (below(fault, 2) == 0) {
        sim_plan_at(fault->plan, fault->at_us, "clock u%u rate %s%" PRIu64,
                    any_user(fault), sign, rate);
    } else {
        sim_plan_at(fault->plan, fault->at_us, "clock n%u rate %s%" PRIu64,
                    any_node(fault), sign, rate);
    }
}

static void wall_jump(const struct fault *fault)
{
    uint64_t jump = sim_plan_between_log(fault->random, 11, 3600000);
    const char *sign = below(fault, 2) == 0 ? "-" : "+";

    if (below(fault, 2) == 0) {
        sim_plan_at(fault->plan, fault->at_us, "clock u%u wall %s%" PRIu64 "ms",
                    any_user(fault), sign, jump);
    } else {
        sim_plan_at(fault->plan, fault->at_us, "clock n%u wall %s%" PRIu64 "ms",
                    any_node(fault), sign, jump);
    }
}

/* ---- when ---- */

static void (*const makers[SIM_FAULTS_COUNT])(const struct fault *) = {
    [SIM_FAULT_WEATHER] = weather,
    [SIM_FAULT_CLIENT_WEATHER] = client_weather,
    [SIM_FAULT_CUT] = cut,
    [SIM_FAULT_CLOG] = clog_link,
    [SIM_FAULT_CRASH] = crash,
    [SIM_FAULT_CRASH_ALL] = crash_all,
    [SIM_FAULT_STOP] = stop,
    [SIM_FAULT_PAUSE] = pause,
    [SIM_FAULT_CLIENT_PAUSE] = client_pause,
    [SIM_FAULT_CLIENT_KILL] = client_kill,
    [SIM_FAULT_SLOW_DISK] = slow_disk,
    [SIM_FAULT_STALL] = stall,
    [SIM_FAULT_FULL_DISK] = full_disk,
    [SIM_FAULT_DISK_ERROR] = disk_error,
    [SIM_FAULT_RATE] = clock_rate,
    [SIM_FAULT_WALL] = wall_jump,
    [SIM_FAULT_ALARM] = alarm_once,
};

/* Faults of one kind, spread over the phase; what ends them lies in it too. */
static void spread(struct sim_plan *plan, enum sim_fault kind, uint64_t gap_us)
{
    struct sim_random random = sim_plan_stream(plan, kind);
    uint64_t last_us = plan->faults_us - SIM_SECOND_US;
    struct fault fault = {.plan = plan, .random = &random, .at_us = SIM_SECOND_US};

    for (;;) {
        fault.at_us += sim_random_below(&random, 2 * gap_us + 1);
        if (fault.at_us >= last_us) {
            return;
        }
        fault.length_us = sim_plan_between_log(&random, SHORTEST_US, LONGEST_US);
        if (end_of(&fault) > last_us) {
            fault.length_us = last_us - fault.at_us;
        }
        makers[kind](&fault);
    }
}

void sim_plan_faults(struct sim_plan *plan)
{
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        unsigned often =
            rates[i].per_100_minutes * (rates[i].each_node ? plan->nodes : 1);
        if (sim_plan_has(plan, rates[i].fault)) {
            spread(plan, rates[i].fault,
                   UINT64_C(6000) * SIM_SECOND_US * 100 / often / plan->pace_percent);
        }
    }
    rot(plan);
}
