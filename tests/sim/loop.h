/* loop.h - libuv on virtual time: the functions of uv.h that the server uses, linked in its place.
 *
 * The order of a turn is libuv's: timers, prepare handles, I/O, check handles, closed handles; handles
 * of one kind newest first. A turn is woken by a timer or by something to read, write or accept. What was
 * posted to the process (process.h: disk and peers) runs in the I/O phase, before sockets, and so does,
 * in effect, what enters the process outside of its turn.
 *
 * As the loop sleeps between prepare handles and I/O, a turn goes from there to there: I/O, check handles,
 * closed handles, timers, prepare handles. No callback takes any time. A handle is closed, or its process
 * dies; nothing else frees what the loop knows of it. */
#ifndef NETLOCK_SIM_LOOP_H
#define NETLOCK_SIM_LOOP_H

#include <uv.h>

#include "process.h"

/* Inside a process that has none: its loop, which need not be initialised. It becomes the process's
 * turn, and the first one comes at once. @loop stays where it is until the process ends, or
 * sim_loop_end(). */
void sim_loop_init(struct sim_process *process, uv_loop_t *loop);

/* Handles whose closing has not been told yet. At 0 uv_run() would return. */
unsigned sim_loop_handles(const struct sim_process *process);

/* Forget the process's loop, if it has one. Process.c does when it ended. */
void sim_loop_end(struct sim_process *process);

#endif
