/* loop_inside.h - what loop.c (time, turns, life) and loop_io.c (what is read and written) share. */
#ifndef NETLOCK_SIM_LOOP_INSIDE_H
#define NETLOCK_SIM_LOOP_INSIDE_H

#include <sys/queue.h>

#include "loop.h"
#include "socket.h"

enum {
    LOOP_HOOKS_MAX = 16
}; /* prepare or check handles of a loop; a server has two of each */

/* In uv_handle_t.flags, which is the implementation's. */
enum { LOOP_CLOSING = 1, LOOP_ACTIVE = 2 };

/* A place in a queue. A run through the queue takes those that were there when it began. */
struct loop_place {
    TAILQ_ENTRY(loop_watch) link;
    uint64_t round;
    bool queued;
};

/* What lies behind a stream or poll handle, found by its `u`. It is the process's memory: whoever does
 * not close a handle has lost it. */
struct loop_watch {
    struct sim_loop *loop;
    uv_handle_t *handle;
    int fd;
    struct sim_socket *socket; /* NULL: not open */
    int wants;                 /* UV_READABLE, UV_WRITABLE */
    struct loop_place ready;   /* what it wants may be possible */
    struct loop_place pending; /* a write of it is done, or failed */

    /* Of a stream. Writes are linked by their queue[0]. */
    bool reading, partial, ended, can_read, can_write;
    void *writes, **writes_end;
    void *done, **done_end;
};
TAILQ_HEAD(loop_watches, loop_watch);

struct loop_hooks {
    uv_handle_t *handles[LOOP_HOOKS_MAX]; /* oldest first */
    size_t count;
    size_t left; /* to be called, while they are */
};

struct loop_timer {
    uint64_t due_ms, start_id;
    uv_timer_t *timer;
};

struct sim_loop {
    struct sim_process *process;
    uv_loop_t *uv;
    bool begun;
    unsigned handles;
    uint64_t round;
    struct loop_watches ready, pending;
    struct loop_hooks prepare, check;
    struct loop_timer *timers; /* a binary heap; place p is timers[p - 1] */
    size_t timers_count, timers_capacity;
};

static inline struct sim_loop *loop_of(const uv_loop_t *uv)
{
    return uv->internal_fields;
}

static inline bool loop_is_active(const uv_handle_t *handle)
{
    return (handle->flags & LOOP_ACTIVE) != 0;
}

static inline void loop_set_active(uv_handle_t *handle, bool active)
{
    unsigned others = handle->flags & ~(unsigned)LOOP_ACTIVE;

    handle->flags = active ? others | LOOP_ACTIVE : others;
}

void loop_handle_init(uv_loop_t *uv, uv_handle_t *handle, uv_handle_type type);

/* The I/O phase: of the sockets that are ready; of the writes that are done. */
void loop_run_ready(struct sim_loop *loop);
void loop_run_pending(struct sim_loop *loop);

/* uv_close() of a stream or poll handle, and what comes of it when that is told. */
void loop_watch_close(uv_handle_t *handle);
void loop_watch_closed(uv_handle_t *handle);

#endif
