#include "guard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_fatal_fail(void *arg, const char *what)
{
    (void)arg;
    fail_msg("fatal: %s", what);
}

const struct raft_guard_host GUARD_NO_FATAL = {.fatal = on_fatal_fail};

void guard_fatal_exit(void *arg, const char *what)
{
    const char *expected = arg;

    _exit(strncmp(what, expected, strlen(expected)) == 0 ? GUARD_CHILD_FATAL : 1);
}

int guard_in_child(void (*body)(unsigned guarded), unsigned guarded)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        body(guarded);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) &&
                   (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == GUARD_CHILD_FATAL)
               ? WEXITSTATUS(status)
               : -1;
}

void guard_apply_some(struct mem_cluster *cluster, raft_id leader, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert(mem_apply(mem_node(cluster, leader), 1) == 0);
        mem_run(cluster);
    }
}

void guard_set_snapshots(struct mem_node *node, unsigned threshold, unsigned trailing)
{
    raft_set_snapshot_threshold(&node->raft, threshold);
    raft_set_snapshot_trailing(&node->raft, trailing);
}

void guard_leave_node_3_behind(struct mem_cluster *cluster)
{
    mem_elect(cluster, 1);
    mem_node(cluster, 3)->cut_off = 1;
    mem_tick(cluster, 15);
    guard_set_snapshots(mem_node(cluster, 1), 10, 5);
    guard_apply_some(cluster, 1, 40);
    mem_tick(cluster, 3);
    assert(mem_node(cluster, 1)->installs_sent == 0);
}
