/* raft_guard_internal.h - what raft_guard.c and raft_guard_message.c share. */
#ifndef NETLOCK_RAFT_GUARD_INTERNAL_H
#define NETLOCK_RAFT_GUARD_INTERNAL_H

#include "raft_guard.h"

#include <stdlib.h>

static inline struct raft_guard *raft_guard_of(struct raft_io *io)
{
    return (struct raft_guard *)io; /* its first member */
}

/* Zeroed, from libraft's heap; aborts without memory. */
static inline void *raft_guard_alloc(size_t size)
{
    void *memory = raft_calloc(1, size);

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* B16. libraft asks for no disk space until the threshold that is returned is set again. */
static inline unsigned short raft_guard_suspend_threshold(struct raft *raft)
{
    unsigned short threshold = raft->capacity_threshold;

    raft_set_capacity_threshold(raft, 0);
    return threshold;
}

/* Between libraft and the io below: each message passes one of them. */
int raft_guard_send(struct raft_io *io,
                    struct raft_io_send *request,
                    const struct raft_message *message,
                    raft_io_send_cb on_done);
void raft_guard_recv(struct raft_io *io, struct raft_message *message);

#endif
