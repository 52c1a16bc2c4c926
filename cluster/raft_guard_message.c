/* raft_guard_message.c - the guards that look at messages, in the order of their numbers. */
#include "raft_guard_internal.h"

#include <string.h>

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
 * leader's entries contradict it, and the follower frees them twice (recv_append_entries.c, legacy.c).
 * And when the leader has lost the lead meanwhile, what was read may be of a later leader, whose entries and
 * members nobody could have known in the term that the message names: it is not sent at all. */
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

    if (message->install_snapshot.term < guard->raft->current_term) {
        return RAFT_NOTLEADER;
    }
    if (transfer != NULL && (transfer->sending || now < transfer->hold_until)) {
        return RAFT_BUSY;
    }
    if (transfer == NULL) {
        transfer = transfer_find(guard, 0);
    }
    if (transfer == NULL) {
        return RAFT_BUSY;
    }
    struct guarded_send *send = raft_guard_alloc(sizeof *send);
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
        raft_guard_alloc(sizeof *sent + count * sizeof entries[0] + bytes);
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

/* ---- B8, B9, B14: answers that do not say what they should ---------------------------------- */
/* B8. The answer to entries or a snapshot of an earlier term has a last log index that was never set
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

/* B9. The answer to a pre-vote echoes the term of the request (recv_request_vote.c), so that a node of a
 * lower term can be heard. A refusal because of our higher term then never tells it: the candidate
 * asks for the same term again for ever, and if it has the newer log, and the two are all that is left of a
 * majority, nobody is ever elected. The candidate would follow the true term (recv_request_vote_result.c). */

/* B14. A follower refuses entries behind one that its log has let go, although its snapshot has it
 * (replication.c: checkLogMatchingProperty), and takes an older snapshot without telling how much newer its
 * own is (recv_install_snapshot.c). If the leader's snapshot is the older one, and the leader does not know
 * what the follower has because answers got lost, it goes back entry by entry, sends that snapshot,
 * is acknowledged what it knows already, and begins again, until it takes another snapshot. What is in a
 * snapshot is committed, so that every leader of this term has it too: instead of refusing, the follower
 * acknowledges its snapshot. */

static bool refuses_what_it_has(const struct raft *raft,
                                const struct raft_append_entries_result *result)
{
    return result->rejected != 0 && result->rejected <= raft->trail.snapshot.index &&
           raft->last_stored >= raft->trail.snapshot.index && !raft->snapshot.installing;
}

static void correct_result(const struct raft_guard *guard,
                           struct raft_append_entries_result *result)
{
    if (guard->answers_earlier_term) { /* B8 */
        result->last_log_index = 0;
    } else if (refuses_what_it_has(guard->raft, result)) { /* B14 */
        result->rejected = 0;
        result->last_log_index = guard->raft->trail.snapshot.index;
    }
}

static void correct_vote(const struct raft_guard *guard,
                         struct raft_request_vote_result *result)
{
    if (!result->vote_granted && result->term < guard->raft->current_term) { /* B9 */
        result->term = guard->raft->current_term;
    }
}

static int send_answer(struct raft_guard *guard,
                       struct raft_io_send *request,
                       const struct raft_message *message,
                       raft_io_send_cb on_done)
{
    struct raft_message answer = *message;

    if (message->type == RAFT_APPEND_ENTRIES_RESULT) {
        correct_result(guard, &answer.append_entries_result);
    } else {
        correct_vote(guard, &answer.request_vote_result);
    }
    return guard->inner.send(&guard->io, request, &answer, on_done);
}

/* ---- what goes out --------------------------------------------------------------------------- */

int raft_guard_send(struct raft_io *io,
                    struct raft_io_send *request,
                    const struct raft_message *message,
                    raft_io_send_cb on_done)
{
    struct raft_guard *guard = raft_guard_of(io);

    /* B6: a snapshot that was being read when the node was closed would open a connection
     * that nobody closes any more. */
    if (guard->raft->legacy.closing) {
        return RAFT_CANCELED;
    }
    guard->has_sent = true;
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

/* ---- B1: a snapshot that meets another ------------------------------------------------------- */
/* An install that comes while the own snapshot is being stored is put aside, and the
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

/* ---- B15: a follower that has lost its log --------------------------------------------------- */
/* What a follower has acknowledged it has: the leader sends it nothing from before (replication.c:
 * sendAppendEntries counts what is between as in flight, below zero, and has no room for more). Is the
 * directory of a member emptied and the member started again under the leader that knew it, then it gets a
 * snapshot at most, and not one entry. Another leader knows nothing of it and begins anew.
 * Its answers tell: they agree, up to less than before. One may be old, from a connection that has ended;
 * those that go on are not. Who was noted and says nothing more, because it has been replaced or because this
 * node has not led since, makes room. Refusals tell nothing, and no answer does while it installs a snapshot: then it
 * has 0. */

static void look_for_forgetful(struct raft_guard *guard,
                               const struct raft_message *message)
{
    const struct raft_append_entries_result *result = &message->append_entries_result;
    struct raft_guard_forgetful *forgetful = &guard->forgetful;
    raft_time now = guard->io.time(&guard->io);
    raft_index match;

    if (result->term != guard->raft->current_term || result->rejected > 0 ||
        result->last_log_index == 0 ||
        raft_match_index(guard->raft, message->server_id, &match) != 0) {
        return;
    }
    if (result->last_log_index >= match) {
        if (forgetful->peer == message->server_id) {
            forgetful->peer = 0;
        }
    } else if (forgetful->peer == 0 ||
               now >= forgetful->tell_at + RAFT_GUARD_FORGOT_AGAIN_MS) {
        *forgetful =
            (struct raft_guard_forgetful){message->server_id, now + RAFT_GUARD_FORGOT_MS};
    } else if (forgetful->peer == message->server_id && now >= forgetful->tell_at &&
               guard->host.forgot != NULL) {
        forgetful->tell_at = now + RAFT_GUARD_FORGOT_AGAIN_MS;
        guard->host.forgot(guard->host.arg, message->server_id);
    }
}

/* ---- B16: a promotion that is refused ------------------------------------------------------- */
/* An answer that tells that a node has caught up makes libraft submit its vote, inside of it (legacy.c:
 * legacyCheckChangeRequest). */

static void pass_on(struct raft_guard *guard, struct raft_message *message)
{
    struct raft *raft = guard->raft;

    if (raft->state == RAFT_LEADER && raft->leader_state.promotee_id != 0) {
        unsigned short threshold = raft_guard_suspend_threshold(raft);
        guard->recv(&guard->io, message);
        raft_set_capacity_threshold(raft, threshold);
    } else {
        guard->recv(&guard->io, message);
    }
}

/* ---- what comes in -------------------------------------------------------------------------- */

/* B13. */
static bool is_refused(struct raft_guard *guard, const struct raft_message *message)
{
    const char *wrong = raft_guard_contradiction(&guard->peers, guard->raft, message);

    if (wrong != NULL && guard->host.refused != NULL) {
        guard->host.refused(guard->host.arg, message->server_id, wrong);
    }
    return wrong != NULL;
}

void raft_guard_recv(struct raft_io *io, struct raft_message *message)
{
    struct raft_guard *guard = raft_guard_of(io);

    if (is_refused(guard, message) || must_drop(guard, message)) {
        raft_guard_release(message);
        return;
    }
    if (message->type == RAFT_APPEND_ENTRIES_RESULT) {
        transfer_answered(guard, message);
        look_for_forgetful(guard, message);
    }
    if (message->type == RAFT_APPEND_ENTRIES) {
        keep_commit_index(guard->raft, &message->append_entries);
    }
    if (message->type == RAFT_REQUEST_VOTE_RESULT) {
        report_no_space(&message->request_vote_result);
    }
    /* libraft answers before this returns. */
    guard->answers_earlier_term = is_of_earlier_term(guard->raft, message);
    pass_on(guard, message);
    guard->answers_earlier_term = false;
}
