/* child.h - the command of `netlock run`: a process group of its own, and the terminal it may need.
 *
 * The lock protects whatever the command does, so it must not be given back while any process of the
 * command's group lives: child_is_gone() says when that is. This process becomes the reaper of
 * orphaned descendants (PR_SET_CHILD_SUBREAPER), so that it hears of the last one. What leaves the
 * group on purpose (setsid, a daemon) is not followed.
 *
 * If this process is killed with SIGKILL, the kernel kills the direct child (PR_SET_PDEATHSIG), since
 * the cluster is about to give the lock to somebody else. The kernel does not do that for children of
 * the child, nor for a set-user-ID program.
 *
 * Job control as a shell does it for one job. The group gets the terminal's foreground at once if
 * stdin and stdout are the terminal; as part of a pipeline it gets it when it first reads (SIGTTIN).
 * When it is stopped from the keyboard, child_reap() says so, and the caller stops itself by
 * child_suspend_self(), so that the shell sees the job stop.
 */
#ifndef NETLOCK_CHILD_H
#define NETLOCK_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
    pid_t pid; /* and id of its group; 0: not started */
    bool exited;
    int wait_status;  /* once exited */
    int terminal;     /* -1: none */
    bool interactive; /* it gets the terminal whenever we have it to give */
};

enum { CHILD_EXEC_FAILED = 126, CHILD_NOT_FOUND = 127 };

/* Start @argv by PATH, with @signals as its signal mask. Between fork and exec @prepare(@arg) runs in
 * the child: for the environment. SIGTTOU must be blocked in the caller. 0 or a negative errno; that
 * the command cannot be executed is an exit status of the child, as in a shell. */
int child_start(struct child *child,
                char *const argv[],
                const sigset_t *signals,
                void (*prepare)(const void *arg),
                const void *arg);

/* Collect what has ended or stopped, after SIGCHLD. True if the command was stopped from the keyboard
 * and the caller should suspend itself. */
bool child_reap(struct child *child);

/* No process is left in the group. (May need to be asked again without a SIGCHLD, if the last one's
 * parent had left the group.) */
bool child_is_gone(const struct child *child);

/* To the whole group; does nothing when it is gone. */
void child_signal(const struct child *child, int signal);

/* Stop this process and its own group as SIGTSTP from the terminal would; returns when continued. */
void child_suspend_self(struct child *child);

/* After child_suspend_self(), or SIGCONT: hand the terminal over again, let the group go on. */
void child_continue(struct child *child);

/* Take the terminal back and close it. */
void child_release(struct child *child);

/* As a shell would report it: the exit status, or 128 + signal. */
int child_exit_status(const struct child *child);

#endif
