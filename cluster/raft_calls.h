/* raft_calls.h - two calls to the system that libraft makes, and netlockd answers better.
 *
 * libraft is a shared library and finds these functions by their names; a program that has them is
 * asked before libc. So it is enough that netlockd is linked with raft_calls.c: nobody calls anything
 * that is declared here. Every other program is linked without it and works the same, more slowly.
 *
 *   posix_fallocate(): of a new log segment. In blocks that are only reserved the first write of each
 *       has the file system change its tables, which costs a commit of its journal, and cannot be
 *       started without waiting, so that libraft passes it to a thread. A segment that is full of
 *       zeros is overwritten in place. It is written in the thread that prepares segments (at a node's
 *       start, on the loop): 8 MiB more for the disk for each segment, however full that gets. Snapshots
 *       are left as they are, and everything is on file systems that copy what is written.
 *   syscall(SYS_io_destroy): when a segment is full. The kernel returns after a grace period of its
 *       own (RCU), 35 ms in a trace; libraft waits for that on the loop, and a leader and its followers,
 *       whose segments are full at the same time, all stand still. Here a thread waits.
 *
 *       For so long there is one context more than libraft counts with (fs.aio-max-nr).
 *
 * What both gave is in tests/bench/RESULTS.md. */
#ifndef NETLOCK_RAFT_CALLS_H
#define NETLOCK_RAFT_CALLS_H

#include <sys/types.h>

/* As libc's, and the bytes of a file that has a name are written and stored. */
int posix_fallocate(int fd, off_t offset, off_t len);

/* As libc's; SYS_io_destroy gives 0, and the context is gone a little later. */
long syscall(long number, ...);

#endif
