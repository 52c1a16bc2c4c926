#include "raft_guard_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT_BYTES = 512 };

__attribute__((noreturn)) static void
stop(const struct raft_guard *guard, const char *action, int status)
{
    char what[WHAT_BYTES];
    const char *detail = guard->io.errmsg;

    snprintf(what, sizeof what, "%s: %s%s%.255s", action, raft_strerror(status),
             detail[0] != '\0' ? ": " : "", detail);
    guard->host.fatal(guard->host.arg, what);
    abort();
}

/* ---- B2: failures of the disk --------------------------------------------------------------- */
/* libraft's error paths after a failed append release the entries twice, and its retry of
 * a failed write arms one timer with the state in another (uv_append.c: prepare_retry for
 * append_retry). None of them may run: a node that cannot store must stop, once, and say
 * why. Waiting for space when a new segment cannot be created works in the library and is
 * left to it. */

static int guard_set_term(struct raft_io *io, raft_term term)
{
    struct raft_guard *guard = raft_guard_of(io);
    int rv = guard->inner.set_term(io, term);

    if (rv != 0) {
        stop(guard, "cannot store the term", rv);
    }
    return rv;
}

static int guard_set_vote(struct raft_io *io, raft_id server_id)
{
    struct raft_guard *guard = raft_guard_of(io);
    int rv = guard->inner.set_vote(io, server_id);

    if (rv != 0) {
        stop(guard, "cannot store the vote", rv);
    }
    return rv;
}

struct guarded_append {
    struct raft_io_append request;
    struct raft_guard *guard;
    struct raft_io_append *outer;
    raft_io_append_cb on_done;
    const struct raft_entry *entries;
    unsigned n;
};

static void on_appended(struct raft_io_append *request, int status)
{
    struct guarded_append *append = request->data;
    struct raft_io_append *outer = append->outer;
    raft_io_append_cb on_done = append->on_done;

    if (status != 0 && status != RAFT_CANCELED) {
        stop(append->guard, "cannot write the log", status);
    }
    raft_free(append);
    on_done(outer, status);
}

static void submit_append(struct raft_guard *guard)
{
    struct guarded_append *append = guard->append_waiting;

    if (append == NULL) {
        return;
    }
    guard->append_waiting = NULL;
    int rv = guard->inner.append(&guard->io, &append->request, append->entries, append->n,
                                 on_appended);
    if (rv != 0) {
        stop(guard, "cannot write the log", rv);
    }
}

static int guard_append(struct raft_io *io,
                        struct raft_io_append *request,
                        const struct raft_entry entries[],
                        unsigned n,
                        raft_io_append_cb on_done)
{
    struct raft_guard *guard = raft_guard_of(io);
    struct guarded_append *append = raft_guard_alloc(sizeof *append);

    append->request.data = append;
    append->guard = guard;
    append->outer = request;
    append->on_done = on_done;
    append->entries = entries;
    append->n = n;
    submit_append(guard);
    guard->append_waiting = append;
    if (!guard->host.has_turns || guard->raft->state != RAFT_LEADER) {
        submit_append(guard);
    }
    return 0;
}

static int guard_truncate(struct raft_io *io, raft_index index)
{
    struct raft_guard *guard = raft_guard_of(io);

    submit_append(guard);
    int rv = guard->inner.truncate(io, index);
    if (rv != 0) {
        stop(guard, "cannot truncate the log", rv);
    }
    return rv;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Some failures libraft keeps to itself: it retries a failed write (and dies of that), and notes a
 * failed truncation or closing of a segment in a flag that nobody reads, so that the files and what
 * it acknowledged go apart. What it says while doing so is all there is to see: before the retry is
 * armed, and before the loop goes on after work in the thread pool. */
static void look_for_failures(struct raft_guard *guard, const char *message)
{
    if (starts_with(message, "retry failed write")) {
        stop(guard, "cannot write the log", RAFT_IOERR);
    }
    if (starts_with(message, "uv truncate after work cb") &&
        atomic_load(&guard->truncating)) {
        stop(guard, "cannot truncate the log", RAFT_IOERR);
    }
    if (starts_with(message, "uv finalize after work") &&
        atomic_load(&guard->segment_failed)) {
        stop(guard, "cannot close a segment of the log", RAFT_IOERR);
    }
}

static void note_work(struct raft_guard *guard, const char *message)
{
    if (strcmp(message, "uv truncate work cb") == 0) {
        atomic_store(&guard->truncating, true);
    } else if (strcmp(message, "uv truncate work cb ok") == 0) {
        atomic_store(&guard->truncating, false);
    } else if (starts_with(message, "truncate segment open-")) {
        atomic_store(&guard->segment_failed, true);
    }
}

static void guard_trace(struct raft_tracer *tracer, int type, const void *info)
{
    struct raft_guard *guard = tracer->impl;
    const struct raft_tracer_info *trace = info;

    if (type != RAFT_TRACER_DIAGNOSTIC) {
        return;
    }
    if (!pthread_equal(pthread_self(), guard->thread)) {
        note_work(guard, trace->diagnostic.message);
        return;
    }
    look_for_failures(guard, trace->diagnostic.message);
    if (guard->host.trace != NULL) {
        guard->host.trace(guard->host.arg, trace->diagnostic.level,
                          trace->diagnostic.message);
    }
}

/* ---- B1, B2: storing snapshots -------------------------------------------------------------- */

struct guarded_put {
    struct raft_io_snapshot_put request;
    struct raft_guard *guard;
    struct raft_io_snapshot_put *outer;
    raft_io_snapshot_put_cb on_done;
    unsigned trailing; /* 0: it was received */
    const struct raft_snapshot *snapshot;
};

/* A failed snapshot that was to be installed leaves `installing` set for ever (legacy.c):
 * the node would ignore its leader until the next restart. One of our own that cannot be
 * renamed or synced is a disk not to be trusted either. Lack of space is waited for by
 * the library and is not seen here. */
static void on_snapshot_put(struct raft_io_snapshot_put *request, int status)
{
    struct guarded_put *put = request->data;
    struct raft_guard *guard = put->guard;
    struct raft_io_snapshot_put *outer = put->outer;
    raft_io_snapshot_put_cb on_done = put->on_done;

    if (status != 0 && status != RAFT_CANCELED) {
        stop(guard, "cannot store a snapshot", status);
    }
    guard->snapshots_storing--;
    raft_free(put);
    on_done(outer, status);
}

static void store(struct guarded_put *put)
{
    struct raft_guard *guard = put->guard;

    submit_append(guard);
    int rv = guard->inner.snapshot_put(&guard->io, put->trailing, &put->request,
                                       put->snapshot, on_snapshot_put);
    if (rv != 0) {
        stop(guard, "cannot store a snapshot", rv);
    }
}

static int guard_snapshot_put(struct raft_io *io,
                              unsigned trailing,
                              struct raft_io_snapshot_put *request,
                              const struct raft_snapshot *snapshot,
                              raft_io_snapshot_put_cb on_done)
{
    struct raft_guard *guard = raft_guard_of(io);
    struct guarded_put *put = raft_guard_alloc(sizeof *put);

    put->request.data = put;
    put->guard = guard;
    put->outer = request;
    put->on_done = on_done;
    put->trailing = trailing;
    put->snapshot = snapshot;
    guard->snapshots_storing++;
    if (trailing > 0 && snapshot->n_bufs == 1 && snapshot->bufs[0].base == NULL) {
        guard->put_unready = put;
    } else {
        store(put);
    }
    return 0;
}

void raft_guard_turn(struct raft_guard *guard)
{
    struct guarded_put *put = guard->put_unready;

    submit_append(guard);
    if (put != NULL && put->snapshot->bufs[0].base != NULL) {
        guard->put_unready = NULL;
        store(put);
    }
}

static void guard_close(struct raft_io *io, raft_io_close_cb on_closed)
{
    struct raft_guard *guard = raft_guard_of(io);
    struct guarded_put *put = guard->put_unready;

    submit_append(guard);
    if (put != NULL) {
        guard->put_unready = NULL;
        on_snapshot_put(&put->request, RAFT_CANCELED);
    }
    guard->inner.close(io, on_closed);
}

/* ---- B6: reading a snapshot to send it ------------------------------------------------------ */

struct guarded_get {
    struct raft_io_snapshot_get request;
    struct raft_guard *guard;
    struct raft_io_snapshot_get *outer;
    raft_io_snapshot_get_cb on_done;
};

/* On failure libraft frees a configuration that was never filled in (legacy.c:
 * legacyLoadSnapshotCb). While closing, the few bytes of the request are the lesser evil.
 */
static void on_snapshot_got(struct raft_io_snapshot_get *request,
                            struct raft_snapshot *snapshot,
                            int status)
{
    struct guarded_get *get = request->data;
    struct raft_guard *guard = get->guard;
    struct raft_io_snapshot_get *outer = get->outer;
    raft_io_snapshot_get_cb on_done = get->on_done;

    raft_free(get);
    if (status == 0) {
        /* libraft sends it before this returns. */
        guard->loaded_term = snapshot->term;
        on_done(outer, snapshot, status);
        guard->loaded_term = 0;
    } else if (!guard->raft->legacy.closing) {
        stop(guard, "cannot read the last snapshot", status);
    }
}

static int guard_snapshot_get(struct raft_io *io,
                              struct raft_io_snapshot_get *request,
                              raft_io_snapshot_get_cb on_done)
{
    struct raft_guard *guard = raft_guard_of(io);
    struct guarded_get *get = raft_guard_alloc(sizeof *get);

    get->request.data = get;
    get->guard = guard;
    get->outer = request;
    get->on_done = on_done;
    int rv = guard->inner.snapshot_get(io, &get->request, on_snapshot_got);
    if (rv != 0) {
        stop(guard, "cannot read the last snapshot", rv);
    }
    return rv;
}

/* The belt to these braces: a node that holds a committed change for uncommitted writes
 * no snapshot, because that would have the old membership; after a restart it reads the
 * change from its log and is right again. libraft drops the attempt and makes another at
 * a later step. B1 again: none while one is being installed. */
static int
guard_fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_guard *guard = fsm->data;
    const struct raft *raft = guard->raft;

    if (raft->configuration_uncommitted_index != 0 &&
        raft->configuration_uncommitted_index <= raft->last_applied) {
        return RAFT_BUSY;
    }
    if (guard->snapshots_storing > 0 || raft->snapshot.installing) {
        return RAFT_BUSY;
    }
    return guard->inner_fsm->snapshot(guard->inner_fsm, bufs, n_bufs);
}

static int
guard_fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct raft_guard *guard = fsm->data;

    return guard->inner_fsm->apply(guard->inner_fsm, buf, result);
}

static int guard_fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct raft_guard *guard = fsm->data;

    return guard->inner_fsm->restore(guard->inner_fsm, buf);
}

static int
guard_fsm_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_guard *guard = fsm->data;

    return guard->inner_fsm->snapshot_finalize(guard->inner_fsm, bufs, n_bufs);
}

static int
guard_fsm_async(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_guard *guard = fsm->data;

    return guard->inner_fsm->snapshot_async(guard->inner_fsm, bufs, n_bufs);
}

/* ---- B16: a change of membership that is refused late --------------------------------------- */
/* libraft encodes the new membership, and asks only then whether an entry is taken now (legacy.c:
 * clientChangeConfiguration): if not, the bytes are lost. What is asked can be asked before, except for disk space.
 * So a change needs none. It is short, waits for space like the first entry of a leader, and without a member whose
 * disk is full the others may be a majority that has it. */

static int may_change(const struct raft *raft)
{
    if (raft->state != RAFT_LEADER || raft->leader_state.transferee != 0) {
        return RAFT_NOTLEADER;
    }
    return raft->configuration_uncommitted_index != 0 ||
                   raft->leader_state.promotee_id != 0
               ? RAFT_CANTCHANGE
               : 0;
}

int raft_guard_add(struct raft *raft,
                   struct raft_change *request,
                   raft_id id,
                   const char *address)
{
    int rv = may_change(raft);

    if (rv == 0) {
        unsigned short threshold = raft_guard_suspend_threshold(raft);
        rv = raft_add(raft, request, id, address, NULL);
        raft_set_capacity_threshold(raft, threshold);
    }
    return rv;
}

int raft_guard_assign(struct raft *raft,
                      struct raft_change *request,
                      raft_id id,
                      int role)
{
    int rv = may_change(raft);

    if (rv == 0) {
        unsigned short threshold = raft_guard_suspend_threshold(raft);
        rv = raft_assign(raft, request, id, role, NULL);
        raft_set_capacity_threshold(raft, threshold);
    }
    return rv;
}

int raft_guard_remove(struct raft *raft, struct raft_change *request, raft_id id)
{
    int rv = may_change(raft);

    if (rv == 0) {
        unsigned short threshold = raft_guard_suspend_threshold(raft);
        rv = raft_remove(raft, request, id, NULL);
        raft_set_capacity_threshold(raft, threshold);
    }
    return rv;
}

/* ---- installing ----------------------------------------------------------------------------- */

static int guard_start(struct raft_io *io,
                       unsigned msecs,
                       raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct raft_guard *guard = raft_guard_of(io);

    guard->tick = tick;
    guard->recv = recv;
    return guard->inner.start(io, msecs, tick, raft_guard_recv);
}

static int guard_load(struct raft_io *io,
                      raft_term *term,
                      raft_id *voted_for,
                      struct raft_snapshot **snapshot,
                      raft_index *start_index,
                      struct raft_entry *entries[],
                      size_t *n_entries)
{
    struct raft_guard *guard = raft_guard_of(io);
    int rv =
        guard->inner.load(io, term, voted_for, snapshot, start_index, entries, n_entries);

    for (size_t i = 0; rv == 0 && guard->host.loaded != NULL && i < *n_entries; i++) {
        const struct raft_entry *entry = &(*entries)[i];
        if (entry->type == RAFT_COMMAND) {
            guard->host.loaded(guard->host.arg, entry->buf.base, entry->buf.len);
        }
    }
    return rv;
}

static void install_fsm(struct raft_guard *guard, struct raft_fsm *fsm)
{
    guard->inner_fsm = fsm;
    guard->fsm = (struct raft_fsm){
        .version = fsm->version,
        .data = guard,
        .apply = guard_fsm_apply,
        .snapshot = guard_fsm_snapshot,
        .restore = guard_fsm_restore,
    };
    if (fsm->version >= 2 && fsm->snapshot_finalize != NULL) {
        guard->fsm.snapshot_finalize = guard_fsm_finalize;
    }
    if (fsm->version >= 3 && fsm->snapshot_async != NULL) {
        guard->fsm.snapshot_async = guard_fsm_async;
    }
}

void raft_guard_install(struct raft_guard *guard,
                        struct raft *raft,
                        struct raft_fsm *fsm,
                        const struct raft_guard_host *host)
{
    guard->inner = guard->io;
    guard->raft = raft;
    guard->host = *host;
    guard->recv = NULL;
    guard->peers = (struct raft_guard_peer){.leader = 0};
    guard->forgetful = (struct raft_guard_forgetful){.peer = 0};
    guard->snapshots_storing = 0;
    guard->put_unready = NULL;
    guard->append_waiting = NULL;
    guard->has_sent = false;
    guard->answers_earlier_term = false;
    guard->loaded_term = 0;
    guard->thread = pthread_self();
    atomic_init(&guard->truncating, false);
    atomic_init(&guard->segment_failed, false);
    memset(guard->transfers, 0, sizeof guard->transfers);
    guard->tracer =
        (struct raft_tracer){.impl = guard, .version = 2, .emit = guard_trace};
    install_fsm(guard, fsm);

    guard->io.load = guard_load;
    guard->io.start = guard_start;
    guard->io.close = guard_close;
    guard->io.set_term = guard_set_term;
    guard->io.set_vote = guard_set_vote;
    guard->io.truncate = guard_truncate;
    guard->io.append = guard_append;
    guard->io.send = raft_guard_send;
    guard->io.snapshot_put = guard_snapshot_put;
    guard->io.snapshot_get = guard_snapshot_get;
}
