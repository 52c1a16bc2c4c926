/* guard_fixture.h - what the tests of the guards share: a child to die in, and a follower left behind. */
#ifndef NETLOCK_GUARD_FIXTURE_H
#define NETLOCK_GUARD_FIXTURE_H

#include "mem_raft.h"

enum { GUARD_CHILD_FATAL = 42, GUARD_NONE = 0, GUARD_ALL = 0xff };

/* A guard that stops the process fails the test. */
extern const struct raft_guard_host GUARD_NO_FATAL;

/* In a child: a guard that stops the process ends it with GUARD_CHILD_FATAL if what it says begins with
 * @arg, else with 1. */
void guard_fatal_exit(void *arg, const char *what);

/* Run @body in a child without a voice. Returns its exit code, or -1 if a signal or a sanitizer ended
 * it: libraft, with its assertions compiled out, dies of memory errors. */
int guard_in_child(void (*body)(unsigned guarded), unsigned guarded);

/* Submit and commit @count entries of number 1, one after the other. */
void guard_apply_some(struct mem_cluster *cluster, raft_id leader, unsigned count);

void guard_set_snapshots(struct mem_node *node, unsigned threshold, unsigned trailing);

/* Node 3 is away for so long that the leader, node 1, takes it for dead, and needs a snapshot when it is
 * back. */
void guard_leave_node_3_behind(struct mem_cluster *cluster);

#endif
