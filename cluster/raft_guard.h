/* raft_guard.h - every guard against defects of libraft 0.22.1, and nothing else.
 *
 *     raft_uv_init(&guard.io, loop, dir, &transport);  or fill guard.io with functions of your own
 *     raft_guard_install(&guard, &raft, fsm, &host);
 *     raft_uv_set_tracer(&guard.io, &guard.tracer);
 *     raft_init(&raft, &guard.io, &guard.fsm, id, address);
 *     ... raft_guard_apply() in place of raft_apply(), and so for raft_add(), raft_assign(), raft_remove() ...
 *
 * libraft does all its work through the function pointers of struct raft_io and struct
 * raft_fsm, both public. The guards stand between: they refuse, cut, delay or stop the
 * process, and copy nothing of the library. Delete this file and raft_guard.c when a
 * release has the defects mended, and hand libraft the raft_uv io itself.
 *
 * The defects, as numbered in raft_guard.c (disks, snapshots) and raft_guard_message.c:
 *   B1  a snapshot that arrives while the node stores its own: NULL is read
 *   B2  a failed write of the log: memory is freed twice, or a timer runs into NULL; a failed
 *       truncation or renaming: nothing happens at all
 *   B3  a snapshot is sent again and again while the first is still on its way
 *   B4  a follower that gets a change of membership behind other entries never takes it as
 *       committed
 *   B5  several buffers in one apply, or a length that is no multiple of 8
 *   B6  a snapshot read for sending that fails, or ends while the node closes
 *   B7  a follower's commit index that falls, and a snapshot that is newer than its index
 *   B8  an answer to a message of an earlier term that acknowledges a random index
 *   B9  a refused pre-vote that does not tell the higher term: nobody is ever elected
 *   B10 a snapshot that is sent with the term of the one before, or in the name of an earlier leader
 *   B11 entries that are freed while they are being sent
 *   B12 a new leader whose first entry is refused: it forgets no request when it steps down
 *   B13 a message that contradicts what is known, taken for certain not to come
 *   B14 a follower whose snapshot is newer than the leader's, and is not taken for that
 *   B15 a follower that has lost what it acknowledged, and is sent nothing any more
 *   B16 a change of membership that is refused late: its bytes are lost, or the whole promotion */
#ifndef NETLOCK_RAFT_GUARD_H
#define NETLOCK_RAFT_GUARD_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <raft.h>

#include "raft_guard_peer.h"

enum {
    RAFT_GUARD_ENTRY_BYTES_MAX = 1048576,
    RAFT_GUARD_TRANSFERS_MAX = 32,
    RAFT_GUARD_FORGOT_MS = 100, /* how long a peer says so before it is told of */
    RAFT_GUARD_FORGOT_AGAIN_MS = 5000,
    RAFT_GUARD_STORE_MS_MIN =
        2000, /* how long a peer that has been sent a snapshot has for */
    RAFT_GUARD_STORE_MS_MAX =
        30000, /* storing it before it is sent again: thrice the sending */
};

struct raft_guard_host {
    void *arg;
    /* Going on is not safe, @what says why. Must not return. May be called from inside
     * libraft. */
    void (*fatal)(void *arg, const char *what);
    /* B13: @peer has sent what cannot be true; libraft has not seen it. NULL: not wanted. May be
     * called from inside libraft's I/O. */
    void (*refused)(void *arg, raft_id peer, const char *what);
    /* A command of the log as it was loaded at the start. NULL: not wanted. */
    void (*loaded)(void *arg, const void *data, size_t len);
    /* B15: @peer has lost what it had acknowledged to this leader; only another leader will send it
     * anything. Said again while that is so. NULL: not wanted. May be called from inside libraft's I/O. */
    void (*forgot)(void *arg, raft_id peer);
    /* raft_guard_turn() is called in every turn of the loop, before it waits. */
    bool has_turns;
    /* libraft's own messages, level 1 (error) to 5 (trace); NULL: not wanted. */
    void (*trace)(void *arg, int level, const char *message);
};

/* One snapshot on its way to a peer. */
struct raft_guard_transfer {
    raft_id peer; /* 0: this slot is free */
    bool sending; /* else it has been sent, and the peer stores it until hold_until */
    raft_index index;
    raft_time started;
    raft_time hold_until;
};

/* A peer whose answers say that it has less than it had acknowledged. */
struct raft_guard_forgetful {
    raft_id peer; /* 0: none */
    raft_time tell_at;
};

struct raft_guard {
    struct raft_io io;         /* for libraft */
    struct raft_fsm fsm;       /* for libraft */
    struct raft_tracer tracer; /* for raft_uv */
    raft_io_tick_cb tick;      /* libraft's, since raft_start(): what its timer calls */

    /* Private. */
    struct raft_io inner;
    struct raft_fsm *inner_fsm;
    struct raft *raft;
    struct raft_guard_host host;
    raft_io_recv_cb recv;
    struct raft_guard_peer peers;
    struct raft_guard_forgetful forgetful;
    unsigned snapshots_storing;
    struct guarded_append *append_waiting; /* for the end of the turn; NULL: none */
    struct guarded_put *put_unready; /* waits for its bytes; NULL: none */
    raft_term loaded_term; /* of the snapshot that libraft is sending now; 0: none */
    bool has_sent; /* libraft has, since the user cleared this */
    bool
        answers_earlier_term; /* what libraft sends now answers a message of an earlier term */
    pthread_t thread;         /* that libraft runs in */
    atomic_bool truncating; /* what its work in the thread pool said */
    atomic_bool segment_failed;
    struct raft_guard_transfer transfers[RAFT_GUARD_TRANSFERS_MAX];
};

/* Borrows all but @host, which is copied, until raft_close() has finished. */
void raft_guard_install(struct raft_guard *guard,
                        struct raft *raft,
                        struct raft_fsm *fsm,
                        const struct raft_guard_host *host);

/* B5. One buffer per entry, padded to 8 bytes by the caller, at most 1 MiB. Ownership as
 * raft_apply(): still the caller's on RAFT_NOTLEADER and RAFT_NOSPACE. */
static inline int raft_guard_apply(struct raft *raft,
                                   struct raft_apply *request,
                                   const struct raft_buffer *buffer,
                                   raft_apply_cb on_applied)
{
    assert(buffer->len > 0 && buffer->len % 8 == 0 &&
           buffer->len <= RAFT_GUARD_ENTRY_BYTES_MAX);
    return raft_apply(raft, request, buffer, 1, on_applied);
}

/* B16. As raft_add(), raft_assign() and raft_remove(), without a callback, and also when a majority is short of
 * disk space. RAFT_NOTLEADER: also while leadership is being handed over. RAFT_CANTCHANGE: another change is
 * under way. @request is libraft's until the change is over or leadership lost. */
int raft_guard_add(struct raft *raft,
                   struct raft_change *request,
                   raft_id id,
                   const char *address);
int raft_guard_assign(struct raft *raft,
                      struct raft_change *request,
                      raft_id id,
                      int role);
int raft_guard_remove(struct raft *raft, struct raft_change *request, raft_id id);

/* The end of a turn of the loop, after what libraft has said in it (@guard->has_sent) is on its
 * way, or as much of it as fits. May be called again.
 *
 * A leader's entries are written now: libraft would have it write before it sends, and what a commit waits
 * for is the slower of its own disk and a peer's, which has the way there and back besides (Ongaro's
 * dissertation, 10.2.1). Whatever concerns the log goes behind them. Only with host.has_turns.
 *
 * libraft wants the bytes of a snapshot at once, on the loop: the time of a million records. With the guard
 * between, raft_fsm's snapshot() may give one buffer that is empty (base NULL) and fill it in later, outside
 * of libraft, while entries are applied; the next call of this hands it on. What asks whether a snapshot is
 * under way (B1) counts from snapshot() on. If raft_close() comes first the buffer stays empty. */
void raft_guard_turn(struct raft_guard *guard);

#endif
