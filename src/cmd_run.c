/* netlock run - a command under a lock, after flock(1).
 *
 * One loop drives everything: the library (asynchronous, so that its lease clock and the child are
 * looked after by the same thread), signals, and a timer on CLOCK_BOOTTIME, which also fires when the
 * machine wakes up from a sleep that outlasted the lease. The library is always served before
 * signals: whoever was stopped for longer than the lease first learns that the lock is lost, and
 * only then may continue the command. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "child.h"
#include "cli.h"
#include "cli_text.h"

const char cmd_run_help[] =
    "Usage: netlock run [OPTIONS] NAME [--] COMMAND [ARGUMENTS]\n"
    "\n"
    "Take the lock NAME, run COMMAND, give the lock back. As flock(1), but among\n"
    "machines. COMMAND is executed directly, without a shell; its exit status is\n"
    "passed on.\n"
    "\n"
    "  -s, --shared          a read lock: several may hold it, but no writer with them\n"
    "  -n, --nonblock        do not wait: exit 1 at once if it is not available\n"
    "  -w, --wait DUR        wait at most so long, then exit 1; '-w 0' is -n\n"
    "  -E, --conflict-exit-code N\n"
    "                        exit N instead of 1 in these two cases\n"
    "      --ttl DUR         the lock ends when it was not refreshed for so long (30s).\n"
    "                        That is done all the time; a --ttl below the cluster's "
    "grace\n"
    "                        for lost clients (10s as shipped) frees the lock of a dead\n"
    "                        machine earlier, but also that of a slow network\n"
    "      --limit N         a counting lock: N may hold it at once. All its users\n"
    "                        must name the same N\n"
    "      --on-lost WHAT    when the lock is lost while COMMAND runs: 'term' (default)\n"
    "                        kills COMMAND and exits 79; 'warn' says so and goes on\n"
    "      --info TEXT       who holds it, for 'netlock status'. Default: user, host,\n"
    "                        process id and the name of COMMAND\n"
    "\n"
    "and the options of 'netlock --help'. Options come before NAME. When nobody\n"
    "watches (stderr is no terminal, no -v), a conflict is reported by the exit status\n"
    "alone, so that cron sends no mail.\n"
    "\n"
    "COMMAND finds in its environment: NETLOCK_NAME, NETLOCK_CLIENT_ID, NETLOCK_TOKEN\n"
    "(the fencing token: every later holder's is greater), NETLOCK_SLOT (0 to N-1\n"
    "with --limit N, else 0), and NETLOCK_SERVERS if --servers was given.\n"
    "\n"
    "COMMAND runs in a process group of its own and has stdin, stdout, stderr and the\n"
    "terminal. TERM, INT, HUP, QUIT, USR1, USR2 and WINCH are passed on to the group;\n"
    "while still waiting for the lock, TERM, INT, HUP and QUIT end netlock. The lock is\n"
    "given back only when no process of the group is left. A process that leaves the\n"
    "group (a daemon) is not waited for.\n"
    "\n"
    "A lock is lost when the cluster cannot be reached for --ttl, or for its grace for\n"
    "lost clients if that is shorter, counted on this machine's clock from the last\n"
    "question that was answered; or when an operator breaks it. Then somebody else may\n"
    "have it, so 'term' means SIGKILL, at once. If netlock itself is killed by SIGKILL,\n"
    "the kernel kills COMMAND (but not COMMAND's own children, and not set-user-ID\n"
    "programs). A job stopped with ctrl-Z does not refresh its lock: continued after\n"
    "that time, it is killed.\n"
    "\n"
    "Exit status: that of COMMAND; 128 + N if signal N killed it; 126 or 127 if it\n"
    "cannot be executed or found; 1 (or -E) for a conflict; 64, 69, 71, 76, 77 as in\n"
    "'netlock --help'; 79 if the lock was lost.\n"
    "\n"
    "Examples:\n"
    "  netlock run -n nightly -- backup /home     # one machine of many does it\n"
    "  netlock run -w 5m deploy -- ./deploy.sh    # one after the other\n"
    "  netlock run -s catalogue -- ./report       # readers beside each other\n"
    "  netlock run --limit 4 encode -- ./encode x # at most four in the cluster\n"
    "  netlock run db -- sh -c './update --fence \"$NETLOCK_TOKEN\"'\n";

enum on_lost { ON_LOST_TERM, ON_LOST_WARN };
enum { TTL_DEFAULT_MS = 30000, GONE_POLL_MS = 100, NOT_ANSWERED = 1 };

struct run {
    const struct cli *cli;
    struct cli_lock_options options;
    enum on_lost on_lost;
    const char *name;
    char **command;
    char owner_info[CLI_OWNER_BYTES];

    struct netlock *nl;
    int answer; /* of the lock or unlock request; NOT_ANSWERED */
    struct netlock_grant grant;
    uint32_t queued_at; /* news of the queue to tell; 0: none */
    bool lost;

    int signals, timer; /* descriptors */
    sigset_t signals_before;
    int ended_by; /* a signal that came before the command was started, or after it was gone */
    struct child child;
};

/* ---- what happens ---- */

static void on_answer(void *arg, int rv, const struct netlock_grant *grant)
{
    struct run *run = arg;

    run->answer = rv;
    if (rv == 0 && grant != NULL) {
        run->grant = *grant;
    }
}

static void lock_lost(struct run *run, const char *why)
{
    char *name = text_escape(run->name);
    bool runs = run->child.pid != 0 && !child_is_gone(&run->child);

    run->lost = true;
    if (runs && run->on_lost == ON_LOST_TERM) {
        child_signal(&run->child, SIGKILL); /* first: words can wait */
    }
    cli_say("%s: the lock is lost (%s)%s", name, why,
            !runs                          ? ""
            : run->on_lost == ON_LOST_TERM ? "; the command has been killed"
                                           : "; the command goes on without it");
    free(name);
}

static void on_notice(void *arg, const struct netlock_notice *notice)
{
    struct run *run = arg;

    switch (notice->event) {
    case NETLOCK_QUEUED:
        run->queued_at = notice->position;
        break;
    case NETLOCK_LOST:
        if (!run->lost) {
            lock_lost(run, "its time is over, or it was broken");
        }
        break;
    case NETLOCK_JEOPARDY:
        cli_say("the cluster has not answered for two thirds of the lock's time");
        break;
    case NETLOCK_SAFE:
        cli_say("the lock has been refreshed again");
        break;
    case NETLOCK_CONNECTED:
        if (run->cli->verbose) {
            char *server = text_escape(notice->server == NULL ? "?" : notice->server);

            cli_say("connected to %s", server);
            free(server);
        }
        break;
    case NETLOCK_DISCONNECTED:
        if (run->cli->verbose) {
            cli_say("disconnected; looking for the leader");
        }
        break;
    }
}

static void on_signal(struct run *run, int signal)
{
    bool runs = run->child.pid != 0 && !child_is_gone(&run->child);

    switch (signal) {
    case SIGCHLD:
        if (child_reap(&run->child)) {
            child_suspend_self(&run->child);
            /* Not continued from here: the library must be served before, see above. Usually the
             * shell's SIGCONT is already pending; this one is for the case that it ignored us. */
            kill(getpid(), SIGCONT);
        }
        break;
    case SIGCONT:
        if (runs) {
            child_continue(&run->child);
        }
        break;
    default:
        if (runs) {
            child_signal(&run->child, signal);
        } else if (signal != SIGUSR1 && signal != SIGUSR2 && signal != SIGWINCH &&
                   signal != SIGTSTP) {
            run->ended_by = signal;
        }
        break;
    }
}

/* ---- the loop ---- */

static int open_descriptors(struct run *run)
{
    static const int caught[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGUSR1,
                                 SIGUSR2, SIGTSTP, SIGCONT, SIGCHLD, SIGWINCH};
    sigset_t set, blocked;

    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would hide the child's status */
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
        struct sigaction inherited;

        /* What nohup(1) has us ignore stays ignored; a signalfd would see it. */
        if (sigaction(caught[i], NULL, &inherited) == 0 &&
            inherited.sa_handler != SIG_IGN) {
            sigaddset(&set, caught[i]);
        }
    }
    blocked = set;
    sigaddset(&blocked, SIGPIPE); /* stderr may be closed before the command is through */
    sigaddset(&blocked,
              SIGTTOU); /* so that we may take the terminal back from the background */
    sigdelset(&blocked,
              SIGTSTP); /* simply stops us, but for the time that the command runs */
    sigprocmask(SIG_BLOCK, &blocked, &run->signals_before);
    run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    run->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    return run->signals < 0 || run->timer < 0 ? -errno : 0;
}

static void set_timer(const struct run *run, int timeout_ms)
{
    /* All zero disarms it, so "at once" is one nanosecond. */
    struct itimerspec when = {.it_value.tv_sec = timeout_ms / 1000,
                              .it_value.tv_nsec =
                                  timeout_ms == 0 ? 1 : timeout_ms % 1000 * 1000000L};

    if (timeout_ms < 0) {
        when = (struct itimerspec){0};
    }
    timerfd_settime(run->timer, 0, &when, NULL);
}

/* Wait until something happens, but at most @limit_ms (-1: no limit), and deal with it. 0, or what
 * netlock_process() says when the client can never work again. */
static int turn(struct run *run, int limit_ms)
{
    struct pollfd fds[] = {
        {.fd = netlock_fd(run->nl), .events = netlock_poll_events(run->nl)},
        {.fd = run->signals, .events = POLLIN},
        {.fd = run->timer, .events = POLLIN}};
    int timeout_ms = netlock_timeout_ms(run->nl), rv;
    struct signalfd_siginfo info;

    if (timeout_ms < 0 || (limit_ms >= 0 && limit_ms < timeout_ms)) {
        timeout_ms = limit_ms;
    }
    set_timer(run, timeout_ms);
    if (poll(fds, sizeof fds / sizeof *fds, -1) < 0 && errno != EINTR) {
        return -errno;
    }
    rv = netlock_process(run->nl);
    while (rv == 0 && read(run->signals, &info, sizeof info) == sizeof info) {
        on_signal(run, (int)info.ssi_signo);
        if (info.ssi_signo == SIGCHLD) {
            break; /* we may have been stopped meanwhile: the library first */
        }
    }
    return rv;
}

/* ---- from the request to the exit status ---- */

static int take(struct run *run)
{
    bool told = false;
    int rv;

    run->answer = NOT_ANSWERED;
    rv = netlock_lock_async(run->nl, run->name, &run->options.lock, on_answer, run);
    while (rv == 0 && run->answer == NOT_ANSWERED && run->ended_by == 0) {
        rv = turn(run, -1);
        if (run->queued_at != 0 && run->answer == NOT_ANSWERED &&
            cli_is_watched(run->cli) && (!told || run->cli->verbose)) {
            cli_say_queued(run->cli, run->name, run->queued_at);
            told = true;
        }
        run->queued_at = 0;
    }
    return rv != 0 || run->answer == NOT_ANSWERED ? rv : run->answer;
}

static void set_environment(const void *arg)
{
    const struct run *run = arg;
    const char *client_id = netlock_client_id(run->nl);
    char token[24], slot[16];

    snprintf(token, sizeof token, "%" PRIu64, run->grant.token);
    snprintf(slot, sizeof slot, "%" PRIu32, run->grant.slot);
    setenv("NETLOCK_NAME", run->name, 1);
    setenv("NETLOCK_CLIENT_ID", client_id == NULL ? "" : client_id, 1);
    setenv("NETLOCK_TOKEN", token, 1);
    setenv("NETLOCK_SLOT", slot, 1);
    if (run->cli->servers != NULL) {
        setenv("NETLOCK_SERVERS", run->cli->servers, 1);
    }
}

/* Run the command to the end of its process group, whatever happens to the lock. */
static int watch(struct run *run)
{
    sigset_t stop;
    int rv;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    rv = child_start(&run->child, run->command, &run->signals_before, set_environment,
                     run);
    if (rv != 0) {
        return rv;
    }
    while (!child_is_gone(&run->child)) {
        rv = turn(run, run->child.exited ? GONE_POLL_MS : -1);
        if (rv != 0 && !run->lost) {
            lock_lost(run, netlock_strerror(rv)); /* nobody refreshes it any more */
        }
        if (rv != 0) {
            poll(NULL, 0,
                 GONE_POLL_MS); /* what the kill leaves: bounded only by the kernel */
            child_reap(&run->child);
        }
    }
    child_release(&run->child);
    return 0;
}

/* 0: it was ours until now. */
static int give_back(struct run *run)
{
    int rv;

    run->answer = NOT_ANSWERED;
    rv = netlock_unlock_async(run->nl, run->name, run->grant.token, on_answer, run);
    while (rv == 0 && run->answer == NOT_ANSWERED && run->ended_by == 0) {
        rv = turn(run, -1);
    }
    if (rv != 0 || run->answer == NOT_ANSWERED) {
        return rv;
    }
    return run->answer;
}

static int refused(struct run *run, int rv)
{
    bool conflict = cli_status_of(rv) == CLI_CONFLICT;

    if (conflict && !run->cli->json && !cli_is_watched(run->cli)) {
        return run->options.conflict_status;
    }
    rv = cli_fail(run->cli, run->nl, run->name, rv);
    return conflict ? run->options.conflict_status : rv;
}

static int finish(struct run *run)
{
    int rv = run->lost ? 0 : give_back(run);

    if (rv == -NETLOCK_ENOTHELD || rv == -NETLOCK_EEXPIRED || rv == -NETLOCK_EOTHER) {
        lock_lost(run, "noticed when giving it back");
    } else if (rv != 0) {
        cli_say("the lock could not be given back; the cluster frees it by itself: %s",
                netlock_strerror(rv));
    }
    return run->lost && run->on_lost == ON_LOST_TERM ? CLI_LOST
                                                     : child_exit_status(&run->child);
}

static int run_locked(struct run *run)
{
    int rv = take(run);

    if (run->ended_by != 0) {
        return CLI_CONFLICT; /* not seen: the signal ends us */
    }
    if (rv != 0) {
        return refused(run, rv);
    }
    if (run->lost) {
        return CLI_LOST; /* its time was over before the command was started */
    }
    rv = watch(run);
    if (rv != 0) {
        cli_say("cannot start a process: %s", strerror(-rv));
        give_back(run);
        return CLI_SYSTEM;
    }
    return finish(run);
}

/* Die as whoever sent the signal expects. */
static void end_by(const struct run *run)
{
    signal(run->ended_by, SIG_DFL);
    sigprocmask(SIG_SETMASK, &run->signals_before, NULL);
    raise(run->ended_by);
}

static void parse(struct run *run, struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        CLI_LOCK_LONG, {"on-lost", required_argument, NULL, CLI_OPTION_RUN}, CLI_LONG};
    int option;

    while ((option = cli_getopt(cli, argc, argv, "+" CLI_LOCK_SHORT, longs)) != -1) {
        if (cli_lock_option(cli, &run->options, option)) {
            continue;
        }
        if (strcmp(optarg, "warn") == 0) {
            run->on_lost = ON_LOST_WARN;
        } else if (strcmp(optarg, "term") == 0) {
            run->on_lost = ON_LOST_TERM;
        } else {
            cli_usage(cli, "--on-lost: '%s' is neither 'term' nor 'warn'", optarg);
        }
    }
    if (optind == argc) {
        cli_usage(cli, "which lock?");
    }
    run->name = cli_lock_name(cli, argv[optind++]);
    if (optind < argc && strcmp(argv[optind], "--") == 0) {
        optind++;
    } else if (optind < argc && argv[optind][0] == '-') {
        cli_usage(cli, "'%s': options come before the name of the lock", argv[optind]);
    }
    if (optind == argc) {
        cli_usage(cli, "which command?");
    }
    run->command = argv + optind;
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
    struct run run = {
        .cli = cli,
        .options = {.lock = {.lock_timeout_ms = TTL_DEFAULT_MS},
                    .conflict_status = CLI_CONFLICT},
        .child = {.terminal = -1},
    };
    struct netlock_options options;
    int rv, status;

    parse(&run, cli, argc, argv);
    if (run.options.lock.owner_info == NULL) {
        cli_owner_info(run.owner_info, run.command[0]);
        run.options.lock.owner_info = run.owner_info;
    }
    rv = open_descriptors(&run);
    if (rv != 0) {
        return cli_fail(cli, NULL, NULL, rv);
    }
    options = cli_client_options(cli);
    options.flags = NETLOCK_MANUAL;
    options.on_notice = on_notice;
    options.arg = &run;
    rv = netlock_open(&run.nl, &options);
    if (rv != 0) {
        return cli_fail(cli, NULL, NULL, rv);
    }
    status = run_locked(&run);
    netlock_close(run.nl);
    close(run.signals);
    close(run.timer);
    if (run.ended_by != 0 && run.child.pid == 0) {
        end_by(&run);
    }
    return status;
}
