/* sim - the simulator's program: seeds, scripts, records. `sim --help` says how. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "process.h"
#include "runs.h"

enum { SCRIPT_BYTES_MAX = 256 << 20, PROGRESS_S = 10 };

struct options {
    struct sim_plan_options plan;
    uint64_t minutes;
    uint64_t seed, runs, cpu_s, cpu_limit_s;
    const char *with, *without;
    const char *record;
    bool has_seed, many, script, print, hash, update, verbose, aloud, stay, json;
};

static const char help[] =
    "usage: sim [--seed N] [options]              one run, drawn from a seed\n"
    "       sim --runs K [--seed FIRST] [--seconds CPU] [options]\n"
    "       sim --script [--update] FILE...       scenarios and traces\n"
    "       sim --print [--seed N] [options]      the script that a seed draws\n"
    "       sim --record FILE [--seed N] [options] | --record FILE --script SCRIPT\n"
    "\n"
    "Whole clusters of the shipped server, clients and libraft on virtual time.\n"
    "\n"
    "what is run\n"
    "  --seed N            what everything is drawn from (default: a fresh one, which is "
    "printed)\n"
    "  --runs K            so many runs, of seeds in a row\n"
    "  --seconds S         no new run when S seconds of CPU are used\n"
    "  --script            the arguments are scripts: see tests/sim/README.md\n"
    "  --update            write the transcripts as they were seen into the scripts\n"
    "  --print             print the script, run nothing\n"
    "  --record FILE       write the script with every fate that was drawn: --script "
    "FILE is then\n"
    "                      the same run, from which lines can be taken out\n"
    "what is drawn\n"
    "  --minutes M         simulated time of a run (default 10)\n"
    "  --ops N             operations a second, in all (default: drawn, 8 to 50; calm "
    "50)\n"
    "  --nodes N, --users N\n"
    "  --with A,B --without A,B\n"
    "                      kinds of faults, or all (`--without all --with cut`: only "
    "this):\n"
    "                      weather client-weather cut clog crash crash-all stop pause "
    "client-pause\n"
    "                      client-kill slow-disk stall full-disk disk-error rot "
    "clock-rate wall-jump\n"
    "                      hostile alarm; and, only if it is said, members upgrade\n"
    "  --calm              3 nodes, 20 users, usual faults: for figures\n"
    "  --model             compare every command with the naive model\n"
    "how\n"
    "  --hash              print nothing but the hash of all that happened\n"
    "  --json              the figures once more, as the last line\n"
    "  --aloud             all that users and nodes see, on stderr\n"
    "  --verbose           the servers' log on stderr\n"
    "  --cpu-limit S       for one run (default 30 s, and 6 s for each simulated "
    "minute)\n"
    "  --no-fork           in this process, for debuggers\n"
    "  --help\n"
    "\n"
    "Exits with 0; 1 after a violation, 2 if a transcript differs, 64 for a mistake in a "
    "script or an\n"
    "option; after a crash it dies of the same signal. What fails says how to repeat "
    "it.\n";

_Noreturn __attribute__((format(printf, 1, 2))) static void usage(const char *format, ...)
{
    va_list args;

    fputs("sim: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs(" (sim --help)\n", stderr);
    exit(SIM_EXIT_SYNTAX);
}

/* ---- options ---- */

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;

    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < min ||
        value > max) {
        usage("--%s: \"%s\" is not a number from %" PRIu64 " to %" PRIu64, name, text,
              min, max);
    }
    return value;
}

/* "cut,clog": bits. */
static uint32_t kinds(const char *name, const char *list)
{
    uint32_t bits = 0;

    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        unsigned i = 0;
        if (len == 3 && strncmp(list, "all", 3) == 0) {
            bits = (1U << SIM_FAULTS_COUNT) - 1;
            i = SIM_FAULTS_COUNT;
        }
        while (i < SIM_FAULTS_COUNT && (strncmp(sim_fault_name(i), list, len) != 0 ||
                                        sim_fault_name(i)[len] != '\0')) {
            i++;
        }
        if (i < SIM_FAULTS_COUNT) {
            bits |= 1U << i;
        } else if (len != 3 || strncmp(list, "all", 3) != 0) {
            usage("--%s: no kind of fault is called \"%.*s\"", name, (int)len, list);
        }
        list += len + (list[len] == ',');
    }
    return bits;
}

static void take(struct options *options, const char *name, const char *value)
{
    struct sim_plan_options *plan = &options->plan;

    if (strcmp(name, "seed") == 0) {
        options->seed = number(name, value, 0, UINT64_MAX);
        options->has_seed = true;
    } else if (strcmp(name, "runs") == 0) {
        options->runs = number(name, value, 1, UINT32_MAX);
        options->many = true;
    } else if (strcmp(name, "seconds") == 0) {
        options->cpu_s = number(name, value, 1, UINT32_MAX);
        options->many = true;
    } else if (strcmp(name, "minutes") == 0) {
        options->minutes = number(name, value, 1, 100000);
        plan->length_us = options->minutes * 60000000;
    } else if (strcmp(name, "ops") == 0) {
        plan->operations_per_s = (uint32_t)number(name, value, 1, 10000);
    } else if (strcmp(name, "nodes") == 0) {
        plan->nodes = (unsigned)number(name, value, 1, 7);
    } else if (strcmp(name, "users") == 0) {
        plan->users = (unsigned)number(name, value, 1, SIM_PLAN_USERS_MAX);
    } else if (strcmp(name, "with") == 0) {
        plan->with = kinds(name, value);
        options->with = value;
    } else if (strcmp(name, "without") == 0) {
        plan->without = kinds(name, value);
        options->without = value;
    } else if (strcmp(name, "record") == 0) {
        options->record = value;
    } else {
        options->cpu_limit_s = number(name, value, 1, 1000000);
    }
}

static void take_flag(struct options *options, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"script", &options->script},   {"update", &options->update},
        {"print", &options->print},     {"hash", &options->hash},
        {"verbose", &options->verbose}, {"no-fork", &options->stay},
        {"calm", &options->plan.calm},  {"model", &options->plan.model},
        {"json", &options->json},       {"aloud", &options->aloud},
    };

    if (strcmp(name, "help") == 0) {
        fputs(help, stdout);
        exit(0);
    }
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(flags[i].name, name) == 0) {
            *flags[i].flag = true;
        }
    }
}

static void parse(struct options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", 1, NULL, 0},    {"runs", 1, NULL, 0},      {"seconds", 1, NULL, 0},
        {"minutes", 1, NULL, 0}, {"ops", 1, NULL, 0},       {"nodes", 1, NULL, 0},
        {"users", 1, NULL, 0},   {"with", 1, NULL, 0},      {"without", 1, NULL, 0},
        {"record", 1, NULL, 0},  {"cpu-limit", 1, NULL, 0}, {"script", 0, NULL, 0},
        {"update", 0, NULL, 0},  {"print", 0, NULL, 0},     {"hash", 0, NULL, 0},
        {"verbose", 0, NULL, 0}, {"no-fork", 0, NULL, 0},   {"calm", 0, NULL, 0},
        {"model", 0, NULL, 0},   {"help", 0, NULL, 0},      {"json", 0, NULL, 0},
        {"aloud", 0, NULL, 0},   {NULL, 0, NULL, 0},
    };
    int which, found;

    while ((found = getopt_long(argc, argv, "", names, &which)) != -1) {
        if (found != 0) {
            usage("an option is wrong");
        }
        if (names[which].has_arg != 0) {
            take(options, names[which].name, optarg);
        } else {
            take_flag(options, names[which].name);
        }
    }
    if (options->script != (optind < argc)) {
        usage(options->script ? "--script: which?" : "\"%s\": --script FILE?",
              argv[optind]);
    }
    if (options->record != NULL && (options->many || argc - optind > 1)) {
        usage("--record is for one run");
    }
    if (options->update && !options->script) {
        usage("--update is for --script");
    }
}

/* ---- one run ---- */

/* The line that repeats a drawn run. */
static void
replay_line(const struct options *options, uint64_t seed, char ret[static 512])
{
    const struct sim_plan_options *plan = &options->plan;
    int len = snprintf(ret, 512, "sim --seed %" PRIu64, seed);

#define ADD(...) len += snprintf(ret + len, 512 - (size_t)len, __VA_ARGS__)
    if (options->minutes != 0) {
        ADD(" --minutes %" PRIu64, options->minutes);
    }
    if (plan->operations_per_s != 0) {
        ADD(" --ops %" PRIu32, plan->operations_per_s);
    }
    if (plan->nodes != 0) {
        ADD(" --nodes %u", plan->nodes);
    }
    if (plan->users != 0) {
        ADD(" --users %u", plan->users);
    }
    if (options->with != NULL && strlen(options->with) < 160) {
        ADD(" --with %s", options->with);
    }
    if (options->without != NULL && strlen(options->without) < 160) {
        ADD(" --without %s", options->without);
    }
    ADD("%s%s", plan->calm ? " --calm" : "", plan->model ? " --model" : "");
#undef ADD
}

static uint64_t cpu_limit_s(const struct options *options)
{
    uint64_t minutes = options->minutes != 0 ? options->minutes : 10;

    return options->cpu_limit_s != 0 ? options->cpu_limit_s : 30 + 6 * minutes;
}

static void report(const struct options *options,
                   const struct sim_run *run,
                   const char *name,
                   const char *replay)
{
    const struct sim_script_result *result = &run->result;

    if (options->hash) {
        if (run->finished && !result->syntax_error) {
            printf("%016" PRIx64 "\n", result->trace_hash);
        }
    } else if (run->finished && run->status == 0 && !options->many) {
        printf("%s: %" PRIu64 ".%03u s simulated, %" PRIu64
               " operations, hash %016" PRIx64 "\n",
               name, result->simulated_us / 1000000,
               (unsigned)(result->simulated_us / 1000 % 1000), result->checked.operations,
               result->trace_hash);
    }
    if (run->finished && run->status == 0) {
        return;
    }
    fflush(stdout);
    if (result->syntax_error || result->mismatch) {
        fprintf(stderr, "%s\n", result->message);
    } else if (run->signal == SIGXCPU) {
        fprintf(stderr, "TIMEOUT %s: more than %" PRIu64 " s of CPU\n", name,
                cpu_limit_s(options));
    } else if (!run->finished) {
        fprintf(stderr, "CRASH %s: %s\n", name,
                run->signal != 0 ? strsignal(run->signal) : "exit without a result");
    }
    if (replay != NULL) {
        fprintf(stderr, "replay: %s\n", replay);
    }
}

/* ---- files ---- */

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t capacity = 65536, len = 0, got;
    char *text = sim_alloc(capacity);

    if (file == NULL) {
        usage("%s: %s", path, strerror(errno));
    }
    while ((got = fread(text + len, 1, capacity - len - 1, file)) > 0) {
        len += got;
        if (len > SCRIPT_BYTES_MAX) {
            usage("%s: more than 256 MiB", path);
        }
        if (len + 1 == capacity) {
            capacity *= 2;
            text = sim_realloc(text, capacity);
        }
    }
    text[len] = '\0';
    fclose(file);
    return text;
}

/* The script with its decisions: the cluster, then what was drawn, then what happens. */
static void write_record(const char *path, const char *text, const char *fates_path)
{
    size_t body = sim_script_body(text);
    char *fates = read_file(fates_path);
    FILE *file = fopen(path, "w");

    if (file == NULL) {
        usage("%s: %s", path, strerror(errno));
    }
    fprintf(file, "%.*sdraw off\n%s%s", (int)body, text, fates, text + body);
    if (fclose(file) != 0) {
        usage("%s: %s", path, strerror(errno));
    }
    unlink(fates_path);
    sim_free(fates);
}

static void run_text(const struct options *options,
                     const char *text,
                     const char *name,
                     const char *replay,
                     struct sim_run *ret)
{
    char fates[4096] = "", updated[4096] = "";
    struct sim_job job = {.text = text,
                          .name = name,
                          .cpu_limit_s = cpu_limit_s(options),
                          .stay = options->stay};

    if (options->record != NULL) {
        snprintf(fates, sizeof(fates), "%s.fates", options->record);
        job.fates = fates;
    }
    if (options->update) {
        snprintf(updated, sizeof(updated), "%s.new", name);
        job.actual = updated;
    }
    sim_run_job(&job, ret);
    report(options, ret, name, replay);
    if (options->record != NULL && !ret->result.syntax_error) {
        write_record(options->record, text, fates);
    }
    if (options->update && (!ret->finished || ret->status != 0)) {
        unlink(updated);
    } else if (options->update && rename(updated, name) != 0) {
        usage("%s: %s", name, strerror(errno));
    }
}

/* ---- many ---- */

static int run_scripts(const struct options *options,
                       char **files,
                       struct sim_totals *totals,
                       struct sim_run *ret_last)
{
    int status = 0;

    for (; *files != NULL; files++) {
        char *text = read_file(*files);
        run_text(options, text, *files, NULL, ret_last);
        sim_totals_add(totals, ret_last);
        status = status != 0 ? status : ret_last->status;
        sim_free(text);
    }
    return status;
}

static uint64_t fresh_seed(void)
{
    uint32_t seed = 0;

    /* Short enough to be read aloud. */
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
        usage("no randomness: give --seed");
    }
    return seed;
}

static void progress(const struct sim_totals *totals)
{
    static time_t last;
    time_t now = time(NULL);

    if (isatty(STDERR_FILENO) && now >= last + PROGRESS_S) {
        last = now;
        fprintf(stderr,
                "%" PRIu64 " runs, %" PRIu64 ".%02u simulated hours, %" PRIu64
                " findings\n",
                totals->runs, totals->simulated_us / UINT64_C(3600000000),
                (unsigned)(totals->simulated_us / 36000000 % 100), totals->failed);
    }
}

static int run_seeds(const struct options *options,
                     struct sim_totals *totals,
                     struct sim_run *ret_last)
{
    uint64_t first = options->has_seed ? options->seed : fresh_seed();
    uint64_t count = options->runs != 0    ? options->runs
                     : options->cpu_s != 0 ? UINT32_MAX
                                           : 1;
    int status = 0;

    if (options->many && !options->hash) {
        printf("first seed %" PRIu64 "\n", first);
    }
    for (uint64_t seed = first; seed - first < count; seed++) {
        char replay[512], name[32];
        char *text = sim_plan_draw(seed, &options->plan);
        if (options->print) {
            fputs(text, stdout);
            sim_free(text);
            return 0;
        }
        snprintf(name, sizeof(name), "seed %" PRIu64, seed);
        replay_line(options, seed, replay);
        run_text(options, text, name, replay, ret_last);
        sim_totals_add(totals, ret_last);
        status = status != 0 ? status : ret_last->status;
        sim_free(text);
        if (options->cpu_s != 0 && totals->cpu_us >= options->cpu_s * 1000000) {
            break;
        }
        progress(totals);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {.minutes = 0};
    struct sim_totals totals = {.runs = 0};
    struct sim_run last = {.finished = true};

    parse(&options, argc, argv);
    sim_script_set_verbose(options.verbose);
    sim_script_set_aloud(options.aloud);
    int status = options.script ? run_scripts(&options, argv + optind, &totals, &last)
                                : run_seeds(&options, &totals, &last);
    if (!options.hash && !options.print) {
        if (!options.script) {
            sim_totals_print(&totals);
        }
        printf("%" PRIu64 " passed, %" PRIu64 " failed\n", totals.runs - totals.failed,
               totals.failed);
    }
    if (options.json) {
        sim_totals_print_json(&totals);
    }
    if (totals.runs == 1 && last.signal != 0) {
        fflush(NULL);
        signal(last.signal, SIG_DFL);
        raise(last.signal);
    }
    return status == 0 && totals.failed != 0 ? SIM_EXIT_VIOLATION : status;
}
