#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static bool has_foreground(const struct child *child, pid_t group)
{
    return child->terminal >= 0 && tcgetpgrp(child->terminal) == group;
}

/* Only the foreground, @own_group, may give the foreground away: else it belongs to another job. */
static bool hand_over(const struct child *child, pid_t own_group)
{
    return child->interactive && has_foreground(child, own_group) &&
           tcsetpgrp(child->terminal, child->pid) == 0;
}

static void take_back(const struct child *child)
{
    if (has_foreground(child, child->pid)) {
        tcsetpgrp(child->terminal, getpgrp());
    }
}

static noreturn void exec_command(char *const argv[])
{
    int status;

    execvp(argv[0], argv);
    status = errno == ENOENT ? CHILD_NOT_FOUND : CHILD_EXEC_FAILED;
    fprintf(stderr, "netlock: %s: %s\n", argv[0], strerror(errno));
    _exit(status);
}

int child_start(struct child *child,
                char *const argv[],
                const sigset_t *signals,
                void (*prepare)(const void *arg),
                const void *arg)
{
    const pid_t parent = getpid(), own_group = getpgrp();
    pid_t pid;

    *child = (struct child){.terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
    child->interactive = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return -errno;
    }
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        return -errno;
    }
    /* In both processes, because neither may go on before it is done. */
    child->pid = pid == 0 ? getpid() : pid;
    setpgid(child->pid, child->pid);
    hand_over(child, own_group);
    if (pid != 0) {
        return 0;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(128 + SIGKILL); /* it died before we asked to be told */
    }
    prepare(arg);
    sigprocmask(SIG_SETMASK, signals, NULL);
    exec_command(argv);
}

/* A stop that a terminal caused concerns the job; one that a person sent with kill(1) to the command
 * alone does not stop us: we go on refreshing its lock. */
static bool on_stopped(struct child *child, int signal)
{
    if (child->terminal < 0 || signal == SIGSTOP) {
        return false;
    }
    if (signal == SIGTTIN || signal == SIGTTOU) {
        child->interactive = true;
        if (hand_over(child, getpgrp())) {
            child_signal(child, SIGCONT);
            return false;
        }
    }
    return true;
}

bool child_reap(struct child *child)
{
    bool suspend = false;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (WIFSTOPPED(status)) {
            suspend =
                suspend || (pid == child->pid && on_stopped(child, WSTOPSIG(status)));
        } else if (pid == child->pid) {
            child->exited = true;
            child->wait_status = status;
        }
    }
    return suspend;
}

bool child_is_gone(const struct child *child)
{
    return child->exited && kill(-child->pid, 0) != 0 && errno == ESRCH;
}

void child_signal(const struct child *child, int signal)
{
    if (!child_is_gone(child)) {
        kill(-child->pid, signal);
    }
}

void child_suspend_self(struct child *child)
{
    sigset_t stop;

    take_back(child);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    /* Pending before it is unblocked, it stops us in sigprocmask(). In an orphaned group, where
     * nobody could continue us, the kernel ignores it and we go on. */
    kill(0, SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

void child_continue(struct child *child)
{
    hand_over(child, getpgrp());
    child_signal(child, SIGCONT);
}

void child_release(struct child *child)
{
    if (child->terminal >= 0) {
        take_back(child);
        close(child->terminal);
        child->terminal = -1;
    }
}

int child_exit_status(const struct child *child)
{
    return WIFSIGNALED(child->wait_status) ? 128 + WTERMSIG(child->wait_status)
                                           : WEXITSTATUS(child->wait_status);
}
