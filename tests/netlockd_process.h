/* netlockd_process.h - one real netlockd for a test: started, killed with SIGKILL, started again on the
 * same address and the same data. */
#ifndef NETLOCK_NETLOCKD_PROCESS_H
#define NETLOCK_NETLOCKD_PROCESS_H

#include <sys/types.h>

struct netlockd_process {
    const char *binary; /* borrowed */
    char directory[64];
    char address[32], peer_address[32];
    pid_t pid; /* 0: not running */
};

void netlockd_init(struct netlockd_process *process, const char *binary);
void netlockd_start(struct netlockd_process *process);
void netlockd_kill9(struct netlockd_process *process);
void netlockd_release(struct netlockd_process *process); /* kills, removes the data */

#endif
