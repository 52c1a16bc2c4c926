#include "raft_guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT_BYTES = 512 };

static struct raft_guard *guard_of(struct raft_io *io)
{
    return (struct raft_guard *)io; /* its first member */
}

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

static void *must_alloc(size_t size)
{
    void *memory = raft_calloc(1, size);

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- B2: failures of the disk --------------------------------------------------------------- */
/* libraft's error paths after a failed append release the entries twice, and its retry of
 * a failed write arms one timer with the state in another (uv_append.c: prepare_retry for
 * append_retry). None of them may run: a node that cannot store must stop, once, and say
 * why. Waiting for space when a new segment cannot be created works in the library and is
 * left to it. */

static int guard_set_term(struct raft_io *io, raft_term term)
{
    struct raft_guard *guard = guard_of(io);
    int rv = guard->inner.set_term(io, term);

    if (rv != 0) {
        stop(guard, "cannot store the term", rv);
    }
    return rv;
}

static int guard_set_vote(struct raft_io *io, raft_id server_id)
{
    struct raft_guard *guard = guard_of(io);
    int rv = guard->inner.set_vote(io, server_id);

    if (rv != 0) {
        stop(guard, "cannot store the vote", rv);
    }
    return rv;
}

static int guard_truncate(struct raft_io *io, raft_index index)
{
    struct raft_guard *guard = guard_of(io);
    int rv = guard->inner.truncate(io, index);

    if (rv != 0) {
        stop(guard, "cannot truncate the log", rv);
    }
    return rv;
}

struct guarded_append {
    struct raft_io_append request;
    struct raft_guard *guard;
    struct raft_io_append *outer;
    raft_io_append_cb on_done;
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

static int guard_append(struct raft_io *io,
                        struct raft_io_append *request,
                        const struct raft_entry entries[],
                        unsigned n,
                        raft_io_append_cb on_done)
{
    struct raft_guard *guard = guard_of(io);
    struct guarded_append *append = must_alloc(sizeof *append);

    append->request.data = append;
    append->guard = guard;
    append->outer = request;
    append->on_done = on_done;
    int rv = guard->inner.append(io, &append->request, entries, n, on_appended);
    if (rv != 0) {
        stop(guard, "cannot write the log", rv);
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

static int guard_snapshot_put(struct raft_io *io,
                              unsigned trailing,
                              struct raft_io_snapshot_put *request,
                              const struct raft_snapshot *snapshot,
                              raft_io_snapshot_put_cb on_done)
{
    struct raft_guard *guard = guard_of(io);
    struct guarded_put *put = must_alloc(sizeof *put);

    put->request.data = put;
    put->guard = guard;
    put->outer = request;
    put->on_done = on_done;
    guard->snapshots_storing++;
    int rv =
        guard->inner.snapshot_put(io, trailing, &put->request, snapshot, on_snapshot_put);
    if (rv != 0) {
        stop(guard, "cannot store a snapshot", rv);
    }
    return rv;
}

/* B1. An install that comes while the own snapshot is being stored is put aside, and the
 * pointer to it is cleared before it is read (legacy.c: takeSnapshotCb). One that comes
 * while another is being installed is ignored, but its buffers leak (replication.c,
 * mended after 0.22.1). So neither gets in: the leader sends it again, and the heartbeats
 * behind it keep the follower quiet. */
static bool must_drop(const struct raft_guard *guard, const struct raft_message *message)
{
    return message->type == RAFT_INSTALL_SNAPSHOT &&
           (guard->snapshots_storing > 0 || guard->raft->legacy.snapshot_taking ||
            guard->raft->snapshot.installing);
}

/* ---- B7: the commit index falls -------------------------------------------------------------- */
/* A follower takes min(leader's commit index, last entry of the message) for its own whenever the
 * leader's is higher than its own, also when the message ends before what it has committed already
 * (recv_append_entries.c): an old message, or a heartbeat to a follower that is being probed. Its
 * commit index then falls below what it has applied, and a snapshot taken at that moment has a state
 * that is newer than the index written on it: after a restart the entries between are applied twice.
 * Such a message has nothing to say about commitment. */

static void keep_commit_index(const struct raft *raft, struct raft_append_entries *append)
{
    if (append->prev_log_index + append->n_entries < raft->commit_index &&
        append->leader_commit > raft->commit_index) {
        append->leader_commit = raft->commit_index;
    }
}

/* ---- B8: an acknowledgement of nobody knows what -------------------------------------------- */
/* The answer to entries or a snapshot of an earlier term has a last log index that was never set
 * (recv_append_entries.c, recv_install_snapshot.c), and for a snapshot, or entries from the first on, it
 * is no refusal either. A leader that took it for its own term's would count a follower that has
 * nothing. Such an answer only tells the term. */

static bool is_of_earlier_term(const struct raft *raft,
                               const struct raft_message *message)
{
    return (message->type == RAFT_APPEND_ENTRIES &&
            message->append_entries.term < raft->current_term) ||
           (message->type == RAFT_INSTALL_SNAPSHOT &&
            message->install_snapshot.term < raft->current_term);
}

/* ---- B12: a leader whose first entry is refused -------------------------------------------- */
/* A new leader submits an entry of its own. If the votes say that a majority is short of disk space, that
 * entry is refused after the node has become leader (convert.c), and what follows a change of state is
 * left out (legacy.c): on stepping down, no request is taken off the list of the pending ones. A request
 * that is used again is then in the list twice, and the next search of it never ends. Entries are refused
 * later, by what followers report; votes report no space. */

static void report_no_space(struct raft_request_vote_result *vote)
{
    vote->features = 0;
}

/* ---- what comes in -------------------------------------------------------------------------- */

static void transfer_answered(struct raft_guard *guard,
                              const struct raft_message *message);

static void guard_recv(struct raft_io *io, struct raft_message *message)
{
    struct raft_guard *guard = guard_of(io);

    if (must_drop(guard, message)) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        return;
    }
    if (message->type == RAFT_APPEND_ENTRIES_RESULT) {
        transfer_answered(guard, message);
    }
    if (message->type == RAFT_APPEND_ENTRIES) {
        keep_commit_index(guard->raft, &message->append_entries);
    }
    if (message->type == RAFT_REQUEST_VOTE_RESULT) {
        report_no_space(&message->request_vote_result);
    }
    /* libraft answers before this returns. */
    guard->answers_earlier_term = is_of_earlier_term(guard->raft, message);
    guard->recv(io, message);
    guard->answers_earlier_term = false;
}

static int guard_start(struct raft_io *io,
                       unsigned msecs,
                       raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct raft_guard *guard = guard_of(io);

    guard->tick = tick;
    guard->recv = recv;
    return guard->inner.start(io, msecs, tick, guard_recv);
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
    struct raft_guard *guard = guard_of(io);
    struct guarded_get *get = must_alloc(sizeof *get);

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

/* ---- B3: sending snapshots ------------------------------------------------------------------ */
/* The leader gives a follower up that was silent for one tick, and then sends it the
 * whole snapshot anew (timeout.c: checkContactQuorum): a storm as soon as the transfer
 * takes longer than a heartbeat. One at a time, then: RAFT_BUSY makes libraft forget the
 * attempt and try at a later tick. The write ends when the last byte is in the kernel's
 * hands; the follower still has to receive and store it, and answers nothing until then,
 * so the next attempt also waits for its answer or for a time in proportion to the
 * sending. */

static struct raft_guard_transfer *transfer_find(struct raft_guard *guard, raft_id peer)
{
    for (unsigned i = 0; i < RAFT_GUARD_TRANSFERS_MAX; i++) {
        if (guard->transfers[i].peer == peer) {
            return &guard->transfers[i];
        }
    }
    return NULL;
}

static void transfer_answered(struct raft_guard *guard,
                              const struct raft_message *message)
{
    const struct raft_append_entries_result *result = &message->append_entries_result;
    struct raft_guard_transfer *transfer = transfer_find(guard, message->server_id);

    if (transfer != NULL && !transfer->sending && result->rejected == 0 &&
        result->last_log_index >= transfer->index) {
        *transfer = (struct raft_guard_transfer){.peer = 0};
    }
}

static raft_time time_to_store(raft_time sending_ms)
{
    raft_time ms = 3 * sending_ms;

    if (ms < RAFT_GUARD_STORE_MS_MIN) {
        return RAFT_GUARD_STORE_MS_MIN;
    }
    return ms < RAFT_GUARD_STORE_MS_MAX ? ms : RAFT_GUARD_STORE_MS_MAX;
}

struct guarded_send {
    struct raft_io_send request;
    struct raft_guard *guard;
    struct raft_guard_transfer *transfer;
    struct raft_io_send *outer;
    raft_io_send_cb on_done;
};

static void on_snapshot_sent(struct raft_io_send *request, int status)
{
    struct guarded_send *send = request->data;
    struct raft_guard *guard = send->guard;
    struct raft_guard_transfer *transfer = send->transfer;
    struct raft_io_send *outer = send->outer;
    raft_io_send_cb on_done = send->on_done;

    if (status == 0) {
        raft_time now = guard->io.time(&guard->io);
        transfer->sending = false;
        transfer->hold_until = now + time_to_store(now - transfer->started);
    } else {
        *transfer = (struct raft_guard_transfer){.peer = 0};
    }
    raft_free(send);
    on_done(outer, status);
}

/* B10. When the leader has stored another snapshot between the decision to send one and reading it, the
 * message gets the index of what was read and keeps the term of the old one (legacy.c:
 * legacyLoadSnapshotCb). The follower then has a committed entry under a term that it never had; the
 * leader's entries contradict it, and the follower frees them twice (recv_append_entries.c, legacy.c). */
static struct raft_message with_loaded_term(const struct raft_guard *guard,
                                            const struct raft_message *message)
{
    struct raft_message whole = *message;

    if (guard->loaded_term != 0) {
        whole.install_snapshot.last_term = guard->loaded_term;
    }
    return whole;
}

static int send_snapshot(struct raft_guard *guard,
                         struct raft_io_send *request,
                         const struct raft_message *message,
                         raft_io_send_cb on_done)
{
    struct raft_message whole = with_loaded_term(guard, message);
    raft_time now = guard->io.time(&guard->io);
    struct raft_guard_transfer *transfer = transfer_find(guard, message->server_id);

    if (transfer != NULL && (transfer->sending || now < transfer->hold_until)) {
        return RAFT_BUSY;
    }
    if (transfer == NULL) {
        transfer = transfer_find(guard, 0);
    }
    if (transfer == NULL) {
        return RAFT_BUSY;
    }
    struct guarded_send *send = must_alloc(sizeof *send);
    send->request.data = send;
    send->guard = guard;
    send->transfer = transfer;
    send->outer = request;
    send->on_done = on_done;
    int rv = guard->inner.send(&guard->io, &send->request, &whole, on_snapshot_sent);
    if (rv != 0) {
        raft_free(send);
        return rv;
    }
    *transfer = (struct raft_guard_transfer){
        .peer = message->server_id,
        .sending = true,
        .index = message->install_snapshot.last_index,
        .started = now,
    };
    return 0;
}

/* ---- B4: changes of membership -------------------------------------------------------------- */
/* A follower notes an uncommitted change under the index of the first new entry of the
 * message that brought it, not under its own (replication.c: replicationAppend), and then
 * does not recognise it when it commits: its snapshots keep the old membership. A change
 * that is the first entry of its message gets the right index. The follower's answer
 * makes the leader go on from the cut. */

static unsigned entries_before_change(const struct raft_append_entries *append)
{
    for (unsigned i = 1; i < append->n_entries; i++) {
        if (append->entries[i].type == RAFT_CHANGE) {
            return i;
        }
    }
    return append->n_entries;
}

/* ---- B11: entries that are sent while they leave the log ------------------------------------ */
/* Entries that were loaded or received together share one allocation. libraft counts references to the
 * entries, and frees the allocation when the last of them leaves its log (log.c: isBatchReferenced), also
 * while others of them, which have left before, are still being sent. So they are copied, and libraft is
 * told at once that they have been sent; it does not look at how that ended. */

struct entries_sent {
    struct raft_io_send request;
    struct raft_entry entries[]; /* their bytes follow */
};

static struct entries_sent *copy_entries(const struct raft_entry *entries, unsigned count)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        bytes += entries[i].buf.len;
    }
    struct entries_sent *sent =
        must_alloc(sizeof *sent + count * sizeof entries[0] + bytes);
    uint8_t *at = (uint8_t *)&sent->entries[count];
    for (unsigned i = 0; i < count; i++) {
        sent->entries[i] = entries[i];
        sent->entries[i].batch = NULL;
        sent->entries[i].buf.base = at;
        memcpy(at, entries[i].buf.base, entries[i].buf.len);
        at += entries[i].buf.len;
    }
    return sent;
}

static void on_entries_sent(struct raft_io_send *request, int status)
{
    (void)status;
    raft_free(request->data);
}

static int send_entries(struct raft_guard *guard,
                        struct raft_io_send *request,
                        const struct raft_message *message,
                        raft_io_send_cb on_done)
{
    struct raft_message copy = *message;
    struct raft_append_entries *append = &copy.append_entries;

    append->n_entries = entries_before_change(append); /* B4 */
    struct entries_sent *sent = copy_entries(append->entries, append->n_entries);
    sent->request.data = sent;
    append->entries = sent->entries;
    int rv = guard->inner.send(&guard->io, &sent->request, &copy, on_entries_sent);
    if (rv != 0) {
        raft_free(sent);
        return rv;
    }
    on_done(request, 0);
    return 0;
}

/* ---- B8, B9: answers that do not say what they should --------------------------------------- */
/* B9. The answer to a pre-vote echoes the term of the request (recv_request_vote.c), so that a node of a
 * lower term can be heard. A refusal because of our higher term then never tells it: the candidate
 * asks for the same term again for ever, and if it has the newer log, and the two are all that is left of a
 * majority, nobody is ever elected. The candidate would follow the true term (recv_request_vote_result.c). */

static int send_answer(struct raft_guard *guard,
                       struct raft_io_send *request,
                       const struct raft_message *message,
                       raft_io_send_cb on_done)
{
    struct raft_message answer = *message;

    if (message->type == RAFT_APPEND_ENTRIES_RESULT) {
        if (guard->answers_earlier_term) {
            answer.append_entries_result.last_log_index = 0;
        }
    } else if (!message->request_vote_result.vote_granted &&
               message->request_vote_result.term < guard->raft->current_term) {
        answer.request_vote_result.term = guard->raft->current_term;
    }
    return guard->inner.send(&guard->io, request, &answer, on_done);
}

static int guard_send(struct raft_io *io,
                      struct raft_io_send *request,
                      const struct raft_message *message,
                      raft_io_send_cb on_done)
{
    struct raft_guard *guard = guard_of(io);

    /* B6: a snapshot that was being read when the node was closed would open a connection
     * that nobody closes any more. */
    if (guard->raft->legacy.closing) {
        return RAFT_CANCELED;
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        return send_snapshot(guard, request, message, on_done);
    }
    if (message->type == RAFT_APPEND_ENTRIES && message->append_entries.n_entries > 0) {
        return send_entries(guard, request, message, on_done);
    }
    if (message->type == RAFT_APPEND_ENTRIES_RESULT ||
        message->type == RAFT_REQUEST_VOTE_RESULT) {
        return send_answer(guard, request, message, on_done);
    }
    return guard->inner.send(io, request, message, on_done);
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

/* ---- installing ----------------------------------------------------------------------------- */

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
    guard->snapshots_storing = 0;
    guard->answers_earlier_term = false;
    guard->loaded_term = 0;
    guard->thread = pthread_self();
    atomic_init(&guard->truncating, false);
    atomic_init(&guard->segment_failed, false);
    memset(guard->transfers, 0, sizeof guard->transfers);
    guard->tracer =
        (struct raft_tracer){.impl = guard, .version = 2, .emit = guard_trace};
    install_fsm(guard, fsm);

    guard->io.start = guard_start;
    guard->io.set_term = guard_set_term;
    guard->io.set_vote = guard_set_vote;
    guard->io.truncate = guard_truncate;
    guard->io.append = guard_append;
    guard->io.send = guard_send;
    guard->io.snapshot_put = guard_snapshot_put;
    guard->io.snapshot_get = guard_snapshot_get;
}
