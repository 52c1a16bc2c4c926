#include "netlockd_process.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kept_port.h"

void netlockd_init(struct netlockd_process *process, const char *binary)
{
    *process = (struct netlockd_process){.binary = binary};
    memcpy(process->directory, "/tmp/netlock-test-XXXXXX",
           sizeof("/tmp/netlock-test-XXXXXX"));
    const char *made = mkdtemp(process->directory);
    assert(made != NULL);
    (void)snprintf(process->address, sizeof(process->address), "127.0.0.1:%u",
                   keep_port());
    (void)snprintf(process->peer_address, sizeof(process->peer_address), "127.0.0.1:%u",
                   keep_port());
}

void netlockd_start(struct netlockd_process *process)
{
    assert(process->pid == 0);
    process->pid = fork();
    assert(process->pid >= 0);
    if (process->pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char log[128], data[128];
    (void)snprintf(log, sizeof(log), "%s/log", process->directory);
    (void)snprintf(data, sizeof(data), "%s/data", process->directory);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execl(process->binary, process->binary, "--data-dir", data, "--listen",
          process->address, "--peer-listen", process->peer_address, (char *)NULL);
    _exit(127);
}

void netlockd_kill9(struct netlockd_process *process)
{
    if (process->pid == 0)
        return;
    kill(process->pid, SIGKILL);
    waitpid(process->pid, NULL, 0);
    process->pid = 0;
}

static int
remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void netlockd_release(struct netlockd_process *process)
{
    netlockd_kill9(process);
    nftw(process->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
