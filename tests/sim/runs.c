#include "runs.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event.h"

/* ---- inside the run's process ---- */

/* "SIGSEGV at 12.345678s" on stderr. Nothing here may use the heap or stdio: they may be what is
 * broken; nor write(), which is the simulator's. */
static void on_crash(int number)
{
    char text[64];
    size_t at = sizeof(text) - 1;
    uint64_t us = sim_now_us();
    const char *name = sigabbrev_np(number);

    text[at--] = '\n';
    text[at--] = 's';
    for (int digit = 0; digit < 7 || us > 0; digit++) {
        if (digit == 6) {
            text[at--] = '.';
        }
        text[at--] = (char)('0' + us % 10);
        us /= 10;
    }
    static const char before[] = "SIG", between[] = " at simulated time ";
    syscall(SYS_write, STDERR_FILENO, before, sizeof(before) - 1);
    syscall(SYS_write, STDERR_FILENO, name, strlen(name));
    syscall(SYS_write, STDERR_FILENO, between, sizeof(between) - 1);
    syscall(SYS_write, STDERR_FILENO, text + at + 1, sizeof(text) - at - 1);
    raise(number); /* SA_RESETHAND: this time it kills */
}

static void catch_crashes(void)
{
    static uint8_t stack_memory[65536];
    const stack_t stack = {.ss_sp = stack_memory, .ss_size = sizeof(stack_memory)};
    struct sigaction action = {.sa_handler = on_crash,
                               .sa_flags = (int)(SA_RESETHAND | SA_NODEFER | SA_ONSTACK)};

    sigaltstack(&stack, NULL);
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGXCPU, &action, NULL);
#if !defined(__SANITIZE_ADDRESS__)
    /* The sanitizer has more to say about these. */
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGILL, &action, NULL);
#endif
}

static void bound(const struct sim_job *job)
{
    const struct rlimit none = {0, 0};
    struct rlimit cpu;

    setrlimit(RLIMIT_CORE, &none);
    getrlimit(RLIMIT_CPU, &cpu);
    if (job->cpu_limit_s < cpu.rlim_cur) {
        cpu.rlim_cur = job->cpu_limit_s;
    }
    setrlimit(RLIMIT_CPU, &cpu);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static FILE *create(const char *path)
{
    FILE *file = path != NULL ? fopen(path, "w") : NULL;

    if (path != NULL && file == NULL) {
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
        _exit(SIM_EXIT_SYNTAX);
    }
    return file;
}

/* Returns the exit status. */
static int run_here(const struct sim_job *job, struct sim_script_result *ret)
{
    FILE *actual = create(job->actual), *fates = create(job->fates);

    if (fates != NULL) {
        /* Line by line: a crash must not lose what was decided before it. */
        setvbuf(fates, NULL, _IOLBF, BUFSIZ);
    }
    sim_script_run(job->text, job->name, actual, fates, ret);
    if (actual != NULL) {
        fclose(actual);
    }
    if (fates != NULL) {
        fclose(fates);
    }
    if (ret->syntax_error) {
        return SIM_EXIT_SYNTAX;
    }
    if (ret->violated) {
        return SIM_EXIT_VIOLATION;
    }
    return ret->mismatch ? SIM_EXIT_MISMATCH : 0;
}

/* ---- outside ---- */

static uint64_t cpu_of(const struct rusage *usage)
{
    return (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

void sim_run_job(const struct sim_job *job, struct sim_run *ret)
{
    *ret = (struct sim_run){.finished = false};
    if (job->stay) {
        ret->status = run_here(job, &ret->result);
        ret->finished = true;
        return;
    }

    struct sim_run *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        exit(SIM_EXIT_SYNTAX);
    }
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(SIM_EXIT_SYNTAX);
    }
    if (child == 0) {
        bound(job);
        catch_crashes();
        int status = run_here(job, &shared->result);
        shared->finished = true;
        fflush(NULL);
        _exit(status);
    }

    struct rusage usage;
    int status = 0;
    while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    *ret = *shared;
    munmap(shared, sizeof(*shared));
    ret->cpu_us = cpu_of(&usage);
    ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (!ret->finished && ret->signal == 0 && ret->status == 0) {
        ret->status = SIM_EXIT_VIOLATION;
    }
}

/* ---- totals ---- */

void sim_totals_add(struct sim_totals *totals, const struct sim_run *run)
{
    struct sim_script_result *sum = &totals->sum;
    const struct sim_script_result *one = &run->result;

    totals->runs++;
    totals->failed += !run->finished || run->status != 0;
    totals->simulated_us += one->simulated_us;
    totals->cpu_us += run->cpu_us;
    for (size_t i = 0; i < SIM_FAULTS_COUNT; i++) {
        sum->faults[i] += one->faults[i];
    }
    sum->events += one->events;
    sum->net.sent += one->net.sent;
    sum->net.lost += one->net.lost;
    sum->net.twice += one->net.twice;
    sum->net.late += one->net.late;
    sum->net.cut += one->net.cut;
    sum->checked.commands += one->checked.commands;
    sum->checked.grants += one->checked.grants;
    sum->checked.expiries += one->checked.expiries;
    sum->checked.drops += one->checked.drops;
    sum->checked.elections += one->checked.elections;
    sum->checked.snapshots_restored += one->checked.snapshots_restored;
    sum->checked.operations += one->checked.operations;
    sum->checked.outcomes += one->checked.outcomes;
    sum->checked.lost_notices += one->checked.lost_notices;
    sum->checked.comparisons += one->checked.comparisons;
}

struct figure {
    const char *name;
    uint64_t value;
};

enum { FIGURES_MAX = 32 };

/* What is counted, in the order in which it is shown. Returns how many. */
static size_t figures(const struct sim_totals *totals,
                      struct figure ret[static FIGURES_MAX])
{
    const struct sim_script_result *sum = &totals->sum;
    const struct figure all[] = {
        {"events", sum->events},
        {"operations", sum->checked.operations},
        {"outcomes", sum->checked.outcomes},
        {"commands", sum->checked.commands},
        {"grants", sum->checked.grants},
        {"expiries", sum->checked.expiries},
        {"drops", sum->checked.drops},
        {"lost notices", sum->checked.lost_notices},
        {"elections", sum->checked.elections},
        {"snapshots restored", sum->checked.snapshots_restored},
        {"comparisons", sum->checked.comparisons},
        {"packets sent", sum->net.sent},
        {"packets lost", sum->net.lost},
        {"packets twice", sum->net.twice},
        {"packets late", sum->net.late},
        {"packets cut off", sum->net.cut},
    };

    _Static_assert(sizeof(all) / sizeof(all[0]) <= FIGURES_MAX, "room for all");
    memcpy(ret, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

/* @hundredths as "12.34". */
static void print_hundredths(const char *name, uint64_t hundredths)
{
    printf("%-32s%" PRIu64 ".%02" PRIu64 "\n", name, hundredths / 100, hundredths % 100);
}

void sim_totals_print(const struct sim_totals *totals)
{
    struct figure all[FIGURES_MAX];
    size_t count = figures(totals, all);
    uint64_t faults = 0;

    printf("%-32s%" PRIu64 "\n", "runs", totals->runs);
    print_hundredths("simulated hours", totals->simulated_us / 36000000);
    print_hundredths("CPU minutes", totals->cpu_us / 600000);
    /* (us / 3600e6) / (us / 60e6), in hundredths. */
    print_hundredths("simulated hours per CPU minute",
                     totals->cpu_us != 0 ? totals->simulated_us * 5 / 3 / totals->cpu_us
                                         : 0);
    for (size_t i = 0; i < count; i++) {
        printf("%-32s%" PRIu64 "\n", all[i].name, all[i].value);
    }
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        faults += totals->sum.faults[i];
    }
    printf("%-32s%" PRIu64, "faults", faults);
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        if (totals->sum.faults[i] != 0) {
            printf(" %s=%" PRIu64, sim_fault_name(i), totals->sum.faults[i]);
        }
    }
    printf("\n%-32s%" PRIu64 "\n", "findings", totals->failed);
}

void sim_totals_print_json(const struct sim_totals *totals)
{
    struct figure all[FIGURES_MAX];
    size_t count = figures(totals, all);

    printf("{\"runs\": %" PRIu64 ", \"simulated_us\": %" PRIu64 ", \"cpu_us\": %" PRIu64,
           totals->runs, totals->simulated_us, totals->cpu_us);
    for (size_t i = 0; i < count; i++) {
        printf(", \"%s\": %" PRIu64, all[i].name, all[i].value);
    }
    printf(", \"faults\": {");
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        printf("%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", sim_fault_name(i),
               totals->sum.faults[i]);
    }
    printf("}, \"findings\": %" PRIu64 "}\n", totals->failed);
}
