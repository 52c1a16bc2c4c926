#include "plan_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

enum {
    STREAM_CLUSTER = SIM_PLAN_STREAM_USERS + 1,
    STREAM_CORE,
    STREAM_FAILOVER,
    HEALED_S = 75, /* phase B and C at least */
    END_S = 40,
    SETTLED_S = 10, /* more than the slowest disk's snapshot */
    MINUTES = 10,
    OPERATIONS_PER_S = 50,
};

/* ---- text ---- */

void sim_plan_put(struct sim_plan_text *text, const char *format, ...)
{
    va_list args;

    for (;;) {
        size_t room = text->capacity - text->len;
        va_start(args, format);
        int len = vsnprintf(text->data != NULL ? text->data + text->len : NULL, room,
                            format, args);
        va_end(args);
        if ((size_t)len < room) {
            text->len += (size_t)len;
            return;
        }
        text->capacity = text->capacity * 2 + (size_t)len + 4096;
        text->data = sim_realloc(text->data, text->capacity);
    }
}

void sim_plan_begin_line(struct sim_plan *plan, uint64_t at_us)
{
    if (plan->count == plan->capacity) {
        plan->capacity = plan->capacity * 2 + 1024;
        plan->index = sim_realloc(plan->index, plan->capacity * sizeof(plan->index[0]));
    }
    plan->index[plan->count++] = (struct sim_plan_line){at_us, plan->lines.len};
}

void sim_plan_end_line(struct sim_plan *plan)
{
    plan->lines.len++; /* behind the NUL, for which there is room */
    if (plan->lines.len == plan->lines.capacity) {
        sim_plan_put(&plan->lines, "%s", "");
    }
}

void sim_plan_at(struct sim_plan *plan, uint64_t at_us, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    sim_plan_begin_line(plan, at_us);
    sim_plan_put(&plan->lines, "%s", line);
    sim_plan_end_line(plan);
}

/* ---- chance ---- */

uint64_t sim_plan_between_log(struct sim_random *random, uint64_t min, uint64_t max)
{
    unsigned doublings = 0;

    while (min << (doublings + 1) <= max) {
        doublings++;
    }
    uint64_t low = min << sim_random_below(random, doublings + 1);
    uint64_t high = low * 2 < max ? low * 2 : max;
    return sim_random_between(random, low, high);
}

struct sim_random sim_plan_stream(const struct sim_plan *plan, unsigned what)
{
    return (struct sim_random){sim_mix(plan->seed, what, 0x706c616e)};
}

/* ---- the cluster ---- */

static void draw_kinds(struct sim_plan *plan, struct sim_random *random)
{
    static const uint32_t usual = 1U << SIM_FAULT_WEATHER | 1U << SIM_FAULT_CUT |
                                  1U << SIM_FAULT_CLOG | 1U << SIM_FAULT_CRASH |
                                  1U << SIM_FAULT_PAUSE | 1U << SIM_FAULT_CLIENT_KILL |
                                  1U << SIM_FAULT_SLOW_DISK;
    uint32_t drawn = (uint32_t)sim_random_next(random) & ((1U << SIM_FAULT_MEMBERS) - 1);
    struct sim_random extra = sim_plan_stream(plan, SIM_PLAN_STREAM_MEMBERS);

    drawn |= sim_random_below(&extra, 8) == 0 ? 1U << SIM_FAULT_MEMBERS : 0;
    plan->kinds = plan->options->calm ? usual : drawn;
    plan->kinds &= ~plan->options->without;
    plan->kinds |= plan->options->with;
}

static void draw_numbers(struct sim_plan *plan, struct sim_random *random)
{
    static const uint32_t nodes[] = {1, 3, 3, 3, 3, 3, 3, 5, 5, 5};
    static const uint32_t leases[] = {300, 500, 1000};
    static const uint32_t paces[] = {50, 100, 200, 400};
    const struct sim_plan_options *options = plan->options;

    plan->nodes = SIM_ONE_OF(random, nodes);
    plan->users = (unsigned)sim_random_between(random, 1, 20);
    plan->hostile = (unsigned)sim_random_between(random, 1, SIM_PLAN_HOSTILE_MAX);
    plan->locks = (unsigned)sim_plan_between_log(random, 1, 20);
    plan->counting =
        sim_plan_half(random) ? (unsigned)sim_random_between(random, 1, 3) : 0;
    plan->lease_ms = SIM_ONE_OF(random, leases);
    plan->pace_percent = SIM_ONE_OF(random, paces);
    plan->breaks = sim_random_below(random, 4) == 0;
    plan->operations_per_s = (unsigned)sim_plan_between_log(random, 8, OPERATIONS_PER_S);
    if (options->calm) {
        plan->nodes = 3;
        plan->users = 20;
        plan->locks = 20;
        plan->lease_ms = 500;
        plan->pace_percent = 100;
        plan->breaks = false;
        plan->operations_per_s = OPERATIONS_PER_S;
    }
    plan->nodes = options->nodes != 0 ? options->nodes : plan->nodes;
    if (plan->nodes < 3 || plan->nodes + 2 > SIM_PLAN_NODES_MAX) {
        plan->kinds &= ~(1U << SIM_FAULT_MEMBERS);
    }
    plan->founders = plan->nodes;
    if (sim_plan_has(plan, SIM_FAULT_MEMBERS)) {
        plan->nodes = SIM_PLAN_NODES_MAX;
        plan->kinds &= ~(1U << SIM_FAULT_ROT); /* who is a majority is not known here */
    }
    plan->users = options->users != 0 ? options->users : plan->users;
    plan->hostile = sim_plan_has(plan, SIM_FAULT_HOSTILE) ? plan->hostile : 0;
    plan->operations_per_s = options->operations_per_s != 0 ? options->operations_per_s
                                                            : plan->operations_per_s;
    plan->rate_ppm_max = sim_plan_has(plan, SIM_FAULT_RATE) ? 10000 : 0;

    /* A queue of all users must be gone when everything has to be answered. */
    plan->use_us = sim_plan_between_log(random, 5000, 2 * SIM_SECOND_US);
    uint64_t bound = 15 * SIM_SECOND_US / plan->users;
    plan->use_us = plan->use_us < bound ? plan->use_us : bound;
}

static void draw_weather(struct sim_plan *plan, struct sim_random *random)
{
    static const uint32_t losses[] = {0, 100, 1000, 10000, 30000};
    uint64_t delay = sim_plan_between_log(random, 50, 5000);
    uint64_t jitter = sim_plan_half(random) ? 0 : sim_random_below(random, delay * 2);
    uint32_t loss = SIM_ONE_OF(random, losses), duplicate = SIM_ONE_OF(random, losses),
             reorder = SIM_ONE_OF(random, losses);

    snprintf(plan->peers_weather, sizeof(plan->peers_weather),
             "delay=%" PRIu64 "us jitter=%" PRIu64 "us", delay, jitter);
    snprintf(plan->clients_weather, sizeof(plan->clients_weather), "%s",
             plan->peers_weather);
    if (sim_plan_has(plan, SIM_FAULT_WEATHER)) {
        size_t len = strlen(plan->peers_weather);
        snprintf(plan->peers_weather + len, sizeof(plan->peers_weather) - len,
                 " loss=%" PRIu32 "ppm duplicate=%" PRIu32 "ppm reorder=%" PRIu32 "ppm",
                 loss, duplicate, reorder);
    }
    if (sim_plan_has(plan, SIM_FAULT_CLIENT_WEATHER)) {
        size_t len = strlen(plan->clients_weather);
        snprintf(plan->clients_weather + len, sizeof(plan->clients_weather) - len,
                 " loss=%" PRIu32 "ppm", loss / 2);
    }
    uint64_t write = sim_plan_between_log(random, 50, 5000);
    snprintf(plan->disks_timing, sizeof(plan->disks_timing),
             "write=%" PRIu64 "us jitter=%" PRIu64 "us", write,
             sim_random_below(random, 2 * write));
}

static void put_user(struct sim_plan *plan, struct sim_random *random, unsigned number)
{
    static const uint32_t graces_ms[] = {0, 1000, 3000, 10000};
    static const uint32_t connects_ms[] = {0, 2000, 30000};
    struct sim_plan_text *head = &plan->head;
    uint32_t grace = SIM_ONE_OF(random, graces_ms),
             connect = SIM_ONE_OF(random, connects_ms);

    sim_plan_put(head, "client u%u", number);
    if (sim_plan_half(random)) {
        sim_plan_put(head, " fresh-id");
    } else if (sim_random_below(random, 8) == 0) {
        sim_plan_put(head, " share-id");
    }
    if (grace != 0) {
        sim_plan_put(head, " grace %" PRIu32 "ms", grace);
    }
    if (connect != 0) {
        sim_plan_put(head, " connect-timeout %" PRIu32 "ms", connect);
    }
    if (sim_random_below(random, 8) == 0) {
        sim_plan_put(head, " no-refresh");
    }
    if (plan->rate_ppm_max != 0) {
        /* Its clock may be as wrong as it is allowed, and so may the leader's, the other way. */
        sim_plan_put(head, " drift %" PRIu32,
                     plan->rate_ppm_max * 2 + plan->rate_ppm_max / 10);
    }
    sim_plan_put(head, "\n");
}

static void put_limits(struct sim_plan *plan, struct sim_random *random)
{
    static const uint32_t commands[] = {4, 16, 256}, pending[] = {2, 16};
    struct sim_plan_text *head = &plan->head;
    uint32_t commands_max = SIM_ONE_OF(random, commands),
             pending_max = SIM_ONE_OF(random, pending);

    sim_plan_put(head, "limit events 2\n");
    if (sim_random_below(random, 4) == 0) {
        sim_plan_put(head, "limit commands-waiting %" PRIu32 "\n", commands_max);
    }
    if (sim_random_below(random, 4) == 0) {
        sim_plan_put(head, "limit pending %" PRIu32 "\n", pending_max);
    }
    if (sim_random_below(random, 4) == 0) {
        sim_plan_put(head, "limit output-bytes 65536\n");
    }
}

static void put_head(struct sim_plan *plan, struct sim_random *random)
{
    static const uint32_t reattach_ms[] = {0, 2000, 5000, 10000};
    static const uint32_t graces_ms[] = {2000, 10000, 60000};
    static const uint32_t restarts_ms[] = {100, 1000, 5000};
    struct sim_plan_text *head = &plan->head;
    uint64_t threshold = sim_plan_between_log(random, 8, 1024);
    uint64_t trailing = sim_plan_between_log(random, 1, threshold * 2);
    uint32_t reattach = SIM_ONE_OF(random, reattach_ms);
    bool model = sim_random_below(random, 8) == 0 && !plan->options->calm;
    struct sim_random extra = sim_plan_stream(plan, STREAM_FAILOVER);
    bool slow = sim_plan_half(&extra) && !plan->options->calm;

    sim_plan_put(head, "lenient\nnodes %u\nseed %" PRIu64 "\nlease %" PRIu32 "ms\n",
                 plan->founders, plan->seed, plan->lease_ms);
    if (plan->nodes > plan->founders) {
        sim_plan_put(head, "joiners %u\n", plan->nodes - plan->founders);
    }
    if (sim_plan_has(plan, SIM_FAULT_UPGRADE)) {
        sim_plan_put(head, "build 1\n");
    }
    sim_plan_put(head, "fast-failover %s\n", slow ? "off" : "on");
    if (reattach != 0) {
        sim_plan_put(head, "reattach-grace %" PRIu32 "ms\n", reattach);
    }
    uint32_t grace = SIM_ONE_OF(random, graces_ms),
             restart = SIM_ONE_OF(random, restarts_ms);
    sim_plan_put(head, "grace %" PRIu32 "ms\nrestart %" PRIu32 "ms\n", grace, restart);
    sim_plan_put(head, "snapshot threshold %" PRIu64 " trailing %" PRIu64 "\n", threshold,
                 trailing);
    sim_plan_put(head, "rate-max %" PRIu32 "\nmodel %s\n", plan->rate_ppm_max,
                 model || plan->options->model ? "on" : "off");
    if (!plan->options->calm) {
        put_limits(plan, random);
    }
    for (unsigned i = 1; i <= plan->users; i++) {
        put_user(plan, random, i);
    }
    for (unsigned i = 1; i <= plan->hostile; i++) {
        sim_plan_put(head, "client h%u raw\n", i);
    }
    sim_plan_put(head, "weather peers %s\nweather clients %s\n", plan->peers_weather,
                 plan->clients_weather);
    sim_plan_put(head, "disk nodes slow %s\nstart all\n", plan->disks_timing);
}

/* ---- the end ---- */

/* What is broken for a while is whole again. */
static void put_healing(struct sim_plan_text *out, const char *who, const char *links)
{
    sim_plan_put(out, "heal %s\nunclog %s\naccept %s\nresume %s\n", links, links, links,
                 who);
    sim_plan_put(out, "disk nodes go\ndisk nodes space\n");
    sim_plan_put(out, "disk nodes slow\nstart %s\n", who);
}

/* A minority stays as broken as a node can be, in ways that this plan has. */
static void put_broken(struct sim_plan *plan, struct sim_plan_text *out)
{
    static const struct {
        enum sim_fault kind;
        const char *before, *behind;
    } ways[] = {
        {SIM_FAULT_CRASH, "kill", ""},
        {SIM_FAULT_CUT, "cut", "=*"},
        {SIM_FAULT_PAUSE, "pause", ""},
    };
    struct sim_random random = sim_plan_stream(plan, STREAM_CORE);
    unsigned minority = plan->nodes > plan->founders ? 0 : (plan->nodes - 1) / 2,
             left = plan->nodes - (plan->rotten != 0);
    unsigned broken = (unsigned)sim_random_between(&random, 0, minority);

    broken -= broken != 0 && plan->rotten != 0; /* that one stays down anyway */
    for (unsigned node = 1; node <= plan->nodes; node++) {
        size_t way = sim_random_below(&random, sizeof(ways) / sizeof(ways[0]));
        if (node == plan->rotten) {
            continue;
        }
        if (sim_random_below(&random, left--) < broken) {
            broken--;
            if (sim_plan_has(plan, ways[way].kind)) {
                sim_plan_put(out, "%s n%u%s\n", ways[way].before, node, ways[way].behind);
            }
        }
    }
}

static void put_end(struct sim_plan *plan, struct sim_plan_text *out)
{
    sim_plan_put(out, "run until %" PRIu64 "us\n", plan->faults_us);
    sim_plan_put(out, "# A majority is healed, and nobody asks for anything new.\n");
    for (unsigned i = 1; i <= plan->hostile; i++) {
        sim_plan_put(out, "kill h%u\n", i);
    }
    sim_plan_put(out, "weather all plain\n");
    put_healing(out, "all", "all");
    put_broken(plan, out);
    sim_plan_put(
        out,
        "# What slow disks and links had taken in before is done in the meantime.\n");
    sim_plan_put(out, "run until %" PRIu64 "us\n",
                 plan->faults_us + SETTLED_S * SIM_SECOND_US);
    sim_plan_put(out, "check healed\nrun until %" PRIu64 "us\n", plan->healed_us);
    sim_plan_put(out, "# All is healed.\n");
    put_healing(out, "all", "all");
    sim_plan_put(out, "run until %" PRIu64 "us\ncheck end\n", plan->end_us);
}

/* ---- the whole ---- */

static int by_time(const void *a, const void *b)
{
    const struct sim_plan_line *left = a, *right = b;

    if (left->at_us != right->at_us) {
        return left->at_us < right->at_us ? -1 : 1;
    }
    return left->start < right->start ? -1 : left->start > right->start;
}

/* Seven tenths are for faults. The other two phases are mostly silence, which costs little, but what
 * must be answered has a minute, so they are never shorter than that. */
static void set_phases(struct sim_plan *plan)
{
    uint64_t length_us = plan->options->length_us;
    uint64_t healed_us, end_us;

    length_us = length_us != 0 ? length_us : MINUTES * 60 * SIM_SECOND_US;
    plan->faults_us = length_us / 10 * 7;
    healed_us = length_us / 5;
    end_us = length_us / 10;
    if (healed_us < HEALED_S * SIM_SECOND_US || plan->options->calm) {
        healed_us = HEALED_S * SIM_SECOND_US;
    }
    if (end_us < END_S * SIM_SECOND_US || plan->options->calm) {
        end_us = END_S * SIM_SECOND_US;
    }
    if (plan->options->calm && length_us > 2 * (healed_us + end_us)) {
        plan->faults_us = length_us - healed_us - end_us;
    }
    plan->healed_us = plan->faults_us + healed_us;
    plan->end_us = plan->healed_us + end_us;
}

/* What would come later than the phase is left out. */
static void put_lines(struct sim_plan *plan, struct sim_plan_text *out)
{
    qsort(plan->index, plan->count, sizeof(plan->index[0]), by_time);
    for (size_t i = 0; i < plan->count; i++) {
        const struct sim_plan_line *line = &plan->index[i];
        uint64_t us = line->at_us;
        if (us >= plan->faults_us) {
            return;
        }
        sim_plan_put(out, "at %" PRIu64 ".%06us %s\n", us / SIM_SECOND_US,
                     (unsigned)(us % SIM_SECOND_US), plan->lines.data + line->start);
    }
}

char *sim_plan_draw(uint64_t seed, const struct sim_plan_options *options)
{
    struct sim_plan plan = {.seed = seed, .options = options};
    struct sim_random random = sim_plan_stream(&plan, STREAM_CLUSTER);

    draw_kinds(&plan, &random);
    draw_numbers(&plan, &random);
    draw_weather(&plan, &random);
    set_phases(&plan);
    sim_plan_put(&plan.head, "# Drawn from seed %" PRIu64 ". Faults:", seed);
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        if (sim_plan_has(&plan, i)) {
            sim_plan_put(&plan.head, " %s", sim_fault_name(i));
        }
    }
    sim_plan_put(&plan.head, "\n");
    put_head(&plan, &random);
    sim_plan_users(&plan);
    sim_plan_faults(&plan);
    sim_plan_members(&plan);
    sim_plan_upgrade(&plan);
    sim_plan_hostile(&plan);
    put_lines(&plan, &plan.head);
    put_end(&plan, &plan.head);
    sim_free(plan.lines.data);
    sim_free(plan.index);
    return plan.head.data;
}
