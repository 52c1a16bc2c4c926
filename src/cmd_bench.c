/* netlock bench - how fast a cluster is, and how long it takes when it is not.
 *
 * The command line, and the words for the result; the load itself is bench.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "cli.h"
#include "cli_text.h"

const char cmd_bench_help[] =
    "Usage: netlock bench [OPTIONS] [WORK]\n"
    "\n"
    "Put load on a cluster and tell how long its answers took. The locks have names of\n"
    "their own, which nobody else uses; but the load is real, and everybody else waits\n"
    "in it. WORK is what the clients do:\n"
    "\n"
    "  cycle        each takes a lock of its own and gives it back (default)\n"
    "  contend      the same, but all want the same lock, and stand in its queue\n"
    "  multiplexed  as cycle, each client with many locks at once on one connection\n"
    "  waiters      all stand in the queue of one lock; then it passes down the queue,\n"
    "               again and again: how long a handover takes with so many behind it\n"
    "  failover     as cycle, for longer, while YOU end or stop the leader: tells how "
    "long\n"
    "               nobody was granted a lock, and when the clients were back\n"
    "  hold         take --count locks and keep them, refreshed, for the duration\n"
    "\n"
    "  -c, --clients N     clients, each with a connection (16; waiters 100; hold 1)\n"
    "      --depth N       locks at once of each client (1; multiplexed and hold 64)\n"
    "  -d, --duration DUR  how long to measure (10s; failover 60s)\n"
    "      --warm-up DUR   how long not to, before (2s)\n"
    "  -r, --rate N        cycles a second, of all clients together; else as many as "
    "go\n"
    "      --count N       locks to hold (10000)\n"
    "      --ttl DUR       of the locks (30s)\n"
    "      --prefix TEXT   of their names ('bench.HOST.PID.')\n"
    "\n"
    "and the options of 'netlock --help'. What goes on is told on a line of stderr, if\n"
    "that is a terminal or with -v. Interrupted, it tells what it knows so far.\n"
    "\n"
    "acquire  from the request to the grant\n"
    "whole    from the request to the answer to the release\n"
    "grants   the least and the most that one of those who ask was granted\n"
    "\n"
    "With --rate, times count from when a cycle was due, whether the cluster was able "
    "to\n"
    "begin it then or not: what a stall holds up is late, all of it. So these are the\n"
    "times to plan with. Without it a client asks when it has its answer; that shows "
    "what\n"
    "the cluster can do at most, and a stall counts once for each client.\n"
    "\n"
    "Exit status: 0 measured; else as in 'netlock --help', also if a request failed.\n"
    "\n"
    "Examples:\n"
    "  netlock bench --clients 64\n"
    "  netlock bench --clients 64 --rate 5000 --json\n"
    "  netlock bench failover       # and elsewhere: systemctl kill -s KILL netlockd\n";

enum { CLIENTS_MAX = 100000, DEPTH_MAX = 10000 };
enum {
    OPTION_DEPTH = CLI_OPTION_OWN,
    OPTION_WARM_UP,
    OPTION_COUNT,
    OPTION_TTL,
    OPTION_PREFIX,
};

static const struct kind {
    const char *name;
    struct bench_options options;
} kinds[] = {
    {"cycle", {.work = BENCH_CYCLES, .clients = 16, .workers = 1, .duration_ms = 10000}},
    {"contend",
     {.work = BENCH_CYCLES,
      .clients = 16,
      .workers = 1,
      .duration_ms = 10000,
      .same_lock = true}},
    {"multiplexed",
     {.work = BENCH_CYCLES, .clients = 16, .workers = 64, .duration_ms = 10000}},
    {"waiters",
     {.work = BENCH_WAITERS,
      .clients = 100,
      .workers = 1,
      .duration_ms = 10000,
      .same_lock = true}},
    {"failover",
     {.work = BENCH_CYCLES,
      .clients = 16,
      .workers = 1,
      .duration_ms = 60000,
      .tell_interruptions = true}},
    {"hold",
     {.work = BENCH_HOLD,
      .clients = 1,
      .workers = 64,
      .count = 10000,
      .duration_ms = 10000}},
};
enum { KINDS_COUNT = sizeof kinds / sizeof *kinds };

/* ---- the command line ---- */

static const struct kind *find_kind(const struct cli *cli, const char *name)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    cli_usage(cli, "there is no work '%s'", name);
}

/* What was given; zero: it was not. */
static void parse(const struct cli *cli, struct bench_options *given, int option)
{
    switch (option) {
    case 'c':
        given->clients = (uint32_t)cli_number(cli, "--clients", optarg, 1, CLIENTS_MAX);
        break;
    case 'd':
        given->duration_ms = cli_duration(cli, "--duration", optarg);
        if (given->duration_ms == 0) {
            cli_usage(cli, "--duration must be more than 0");
        }
        break;
    case 'r':
        given->rate = cli_number(cli, "--rate", optarg, 1, 10000000);
        break;
    case OPTION_DEPTH:
        given->workers = (uint32_t)cli_number(cli, "--depth", optarg, 1, DEPTH_MAX);
        break;
    case OPTION_WARM_UP:
        given->warmup_ms = cli_duration(cli, "--warm-up", optarg);
        break;
    case OPTION_COUNT:
        given->count = cli_number(cli, "--count", optarg, 1, 100000000);
        break;
    case OPTION_TTL:
        given->ttl_ms = cli_ttl(cli, "--ttl", optarg);
        break;
    case OPTION_PREFIX:
        given->prefix = cli_lock_name(cli, optarg);
        break;
    default:
        break;
    }
}

static const struct kind *
take_options(const struct cli *cli, struct bench_options *options, int argc, char **argv)
{
    const struct kind *kind = &kinds[0];
    struct bench_options defaults;

    if (argc - optind > 1) {
        cli_usage(cli, "one kind of work at a time");
    }
    if (argc - optind == 1) {
        kind = find_kind(cli, argv[optind]);
    }
    defaults = kind->options;
    options->work = defaults.work;
    options->same_lock = defaults.same_lock;
    options->tell_interruptions = defaults.tell_interruptions;
    options->clients = options->clients == 0 ? defaults.clients : options->clients;
    options->workers = options->workers == 0 ? defaults.workers : options->workers;
    options->count = options->count == 0 ? defaults.count : options->count;
    if (options->duration_ms == 0) {
        options->duration_ms = defaults.duration_ms;
    }
    if (options->rate != 0 && options->work != BENCH_CYCLES) {
        cli_usage(cli, "%s has no --rate", kind->name);
    }
    if (options->same_lock && options->workers > 1) {
        cli_usage(cli, "%s: a client stands in the queue of a lock once: no --depth",
                  kind->name);
    }
    if (options->work == BENCH_WAITERS && options->clients < 2) {
        cli_usage(cli, "waiters: --clients must be 2 at least");
    }
    return kind;
}

/* ---- the result ---- */

static double per_second(const struct bench_result *result)
{
    return result->measured_ns == 0
               ? 0
               : (double)result->done * 1e9 / (double)result->measured_ns;
}

static const struct {
    const char *name;
    double quantile;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};
enum { QUANTILES_COUNT = sizeof quantiles / sizeof *quantiles };

static void add_us(struct text_table *table, double us)
{
    if (us < 1000) {
        text_table_addf(table, "%.0fus", us);
    } else if (us < 1000000) {
        text_table_addf(table, "%.2fms", us / 1000);
    } else {
        text_table_addf(table, "%.2fs", us / 1000000);
    }
}

static void
add_row(struct text_table *table, const char *name, const struct histogram *histogram)
{
    text_table_add(table, name);
    add_us(table, histogram_mean(histogram));
    for (int i = 0; i < QUANTILES_COUNT; i++) {
        add_us(table, (double)histogram_quantile(histogram, quantiles[i].quantile));
    }
}

static void print_times(const struct bench_options *options,
                        const struct bench_result *result)
{
    struct text_table table = {.columns = 2 + QUANTILES_COUNT};

    text_table_add(&table, "");
    text_table_add(&table, "mean");
    for (int i = 0; i < QUANTILES_COUNT; i++) {
        text_table_add(&table, quantiles[i].name);
    }
    add_row(&table, options->work == BENCH_WAITERS ? "handover" : "acquire",
            &result->acquire);
    if (options->work == BENCH_CYCLES) {
        add_row(&table, "whole", &result->whole);
    }
    text_table_print(&table, stdout);
    text_table_release(&table);
}

static void print_interruptions(const struct bench_result *result)
{
    for (size_t i = 0; i < result->interruptions_count; i++) {
        const struct bench_interruption *is = &result->interruptions[i];

        printf("interruption %zu: %" PRIu64 " ms without a grant; of %" PRIu64
               " clients the first was back after %" PRIu64 " ms, all after %" PRIu64
               " ms\n",
               i + 1, is->gap_us / 1000, is->clients, is->first_us / 1000,
               is->all_us / 1000);
    }
}

static void print_text(const struct kind *kind,
                       const struct bench_options *options,
                       const struct bench_result *result)
{
    printf("%s: %" PRIu32 " client%s", kind->name, options->clients,
           options->clients == 1 ? "" : "s");
    if (options->workers > 1) {
        printf(" with %" PRIu32 " at once each", options->workers);
    }
    printf(", %.0f per second: %" PRIu64 " in %.1f s\n", per_second(result), result->done,
           (double)result->measured_ns / 1e9);
    print_times(options, result);
    if (options->work == BENCH_CYCLES) {
        printf("grants %" PRIu64 " to %" PRIu64 "; longest time without any: %.1f ms\n",
               result->grants_least, result->grants_most, (double)result->gap_us / 1000);
    }
    print_interruptions(result);
    if (result->late + result->unfinished + result->lost + result->cut_off > 0) {
        printf("late %" PRIu64 ", unfinished %" PRIu64 ", holds lost %" PRIu64
               ", clients not back %" PRIu64 "\n",
               result->late, result->unfinished, result->lost, result->cut_off);
    }
}

static void
json_times(struct json *json, const char *key, const struct histogram *histogram)
{
    json_open_object(json, key);
    json_number(json, "count", histogram->count);
    json_number(json, "mean", (uint64_t)histogram_mean(histogram));
    for (int i = 0; i < QUANTILES_COUNT; i++) {
        json_number(json, quantiles[i].name,
                    histogram_quantile(histogram, quantiles[i].quantile));
    }
    json_close(json);
}

static void json_interruptions(struct json *json, const struct bench_result *result)
{
    json_open_array(json, "interruptions");
    for (size_t i = 0; i < result->interruptions_count; i++) {
        const struct bench_interruption *is = &result->interruptions[i];

        json_open_object(json, NULL);
        json_number(json, "clients", is->clients);
        json_number(json, "gap_us", is->gap_us);
        json_number(json, "first_us", is->first_us);
        json_number(json, "all_us", is->all_us);
        json_close(json);
    }
    json_close(json);
}

static void print_json(const struct kind *kind,
                       const struct bench_options *options,
                       const struct bench_result *result)
{
    struct json json = {.out = stdout};

    json_open_object(&json, NULL);
    json_string(&json, "work", kind->name);
    json_number(&json, "clients", options->clients);
    json_number(&json, "depth", options->workers);
    json_number(&json, "rate", options->rate);
    json_number(&json, "measured_us", result->measured_ns / 1000);
    json_number(&json, "done", result->done);
    json_number(&json, "per_second", (uint64_t)(per_second(result) + 0.5));
    json_times(&json, options->work == BENCH_WAITERS ? "handover_us" : "acquire_us",
               &result->acquire);
    if (options->work == BENCH_CYCLES) {
        json_times(&json, "whole_us", &result->whole);
        json_number(&json, "grants_least", result->grants_least);
        json_number(&json, "grants_most", result->grants_most);
        json_number(&json, "gap_us", result->gap_us);
    }
    json_interruptions(&json, result);
    json_number(&json, "late", result->late);
    json_number(&json, "unfinished", result->unfinished);
    json_number(&json, "lost", result->lost);
    json_number(&json, "not_back", result->cut_off);
    json_number(&json, "errors", result->errors);
    json_string(&json, "error",
                result->error == 0 ? NULL : netlock_strerror(result->error));
    json_close(&json);
}

static int print_result(const struct cli *cli,
                        const struct kind *kind,
                        const struct bench_options *options,
                        const struct bench_result *result)
{
    if (cli->json) {
        print_json(kind, options, result);
    } else {
        print_text(kind, options, result);
    }
    if (result->errors > 0) {
        cli_say("%" PRIu64 " requests failed, the first one because: %s", result->errors,
                netlock_strerror(result->error));
    }
    return cli_status_of(result->error);
}

int cmd_bench(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"clients", required_argument, NULL, 'c'},
        {"depth", required_argument, NULL, OPTION_DEPTH},
        {"duration", required_argument, NULL, 'd'},
        {"warm-up", required_argument, NULL, OPTION_WARM_UP},
        {"rate", required_argument, NULL, 'r'},
        {"count", required_argument, NULL, OPTION_COUNT},
        {"ttl", required_argument, NULL, OPTION_TTL},
        {"prefix", required_argument, NULL, OPTION_PREFIX},
        CLI_LONG};
    struct bench_options options = {.warmup_ms = 2000, .ttl_ms = 30000};
    struct bench_result *result;
    const struct kind *kind;
    struct netlock *nl;
    char prefix[128], host[65] = "";
    int option, rv;

    while ((option = cli_getopt(cli, argc, argv, CLI_SHORT "c:d:r:", longs)) != -1) {
        parse(cli, &options, option);
    }
    kind = take_options(cli, &options, argc, argv);
    if (options.prefix == NULL) {
        gethostname(host, sizeof host - 1);
        snprintf(prefix, sizeof prefix, "bench.%s.%ld.", host, (long)getpid());
        options.prefix = prefix;
    }
    /* Clients with a loop do not say why they find no leader; one that blocks does. */
    rv = cli_open(cli, &nl);
    if (rv != 0) {
        return rv;
    }
    netlock_close(nl);
    result = calloc(1, sizeof *result);
    if (result == NULL) {
        return cli_fail(cli, NULL, NULL, -ENOMEM);
    }
    rv = bench_run(cli, &options, result);
    rv = rv != 0 ? cli_fail(cli, NULL, NULL, rv)
                 : print_result(cli, kind, &options, result);
    free(result);
    return rv;
}
