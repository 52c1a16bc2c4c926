#include "replica.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "entry.h"
#include "feature_level.h"
#include "log_bound.h"
#include "outbox.h"
#include "raft_guard.h"
#include "snapshot.h"

static_assert((size_t)REPLICA_BATCH_BYTES_MAX <= RAFT_GUARD_ENTRY_BYTES_MAX,
              "the guard takes every batch");

enum {
    RETRY_MS =
        100, /* after libraft refused an entry for want of disk space, or in a transfer */
    SNAPSHOT_STEP_MS = 1, /* from one step to the next: half of the time is for clients */
    TELL_MS = 1, /* to the next events: a timer of nothing would be due in the same turn of a loop */
    FATAL_BYTES = 512,
};

/* The one entry that is submitted and not yet applied. libraft keeps `request` in a list until the
 * entry is applied or leadership is lost, both of which happen before another one is submitted. */
struct in_flight {
    struct raft_apply request;
    struct batch *batch; /* NULL: nothing is in flight */
    uint64_t number;
    uint64_t stamped_mono_ms;
};

/* One that is being encoded. */
struct snapshot {
    struct snapshot_writer *writer; /* NULL: none */
    struct raft_buffer *buf;        /* libraft's: empty until then */
    uint64_t next_mono_ms;          /* when the next step is due */
};

struct replica {
    struct replica_config config;
    struct replica_host host;
    struct raft_fsm raft_fsm;
    struct raft *raft;
    struct log_bound log_bound;
    struct snapshot snapshot;

    struct fsm *fsm;
    uint64_t commands_index; /* the last entry with commands that is in `fsm`; 0: none */
    uint32_t level;          /* the highest in `fsm` */
    uint32_t level_offered;  /* of all members; 0: not known */
    struct entry_reader reader;
    struct outbox outbox;
    struct fsm_events overheard; /* events that are of no use but for what they tell us */
    struct replica_checkpoint checkpoint;

    /* What the last flush knew. libraft may have moved on since: see leads(). */
    enum replica_role role;
    uint64_t term;

    /* Of the current leadership. */
    struct batch_queue open;
    struct in_flight in_flight;
    uint64_t batches_count;
    uint64_t stamped_ms;
    uint64_t retry_mono_ms;
    uint64_t inherited_index; /* the last entry of the log at the election */
    bool epoch_applied;

    struct leader_clock clock;
    uint64_t unanchored_ms; /* cluster time applied since the last flush; 0: none */
};

static _Noreturn void __attribute__((format(printf, 2, 3)))
die(const struct replica *replica, const char *format, ...)
{
    char what[FATAL_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    replica->host.fatal(replica->host.arg, what);
    abort();
}

/* @what: "entry 7", "a snapshot". */
static _Noreturn void
die_unread(const struct replica *replica, const char *what, const char *error)
{
    char text[FATAL_BYTES];

    if (!durable_is_newer(error) || replica->host.newer == NULL) {
        die(replica, "%s cannot be read: %s", what, error);
    }
    snprintf(text, sizeof(text), "%s cannot be read: %s: start the newer version", what,
             error);
    replica->host.newer(replica->host.arg, text);
    abort();
}

static _Noreturn void
die_at_entry(const struct replica *replica, uint64_t index, const char *error)
{
    char what[64];

    snprintf(what, sizeof(what), "entry %llu", (unsigned long long)index);
    die_unread(replica, what, error);
}

/* Whether libraft still leads in the term that the last flush knew. */
static bool leads(const struct replica *replica)
{
    return replica->role != REPLICA_FOLLOWER &&
           raft_state(replica->raft) == RAFT_LEADER &&
           raft_current_term(replica->raft) == replica->term;
}

/* ---- applying entries: inside libraft, nothing here may call back into it --------------------- */

/* What its leader had applied was committed, so it lies before the entry in every log. */
static void check_no_hole(const struct replica *replica, uint64_t index)
{
    uint64_t prior_index = replica->reader.header.prior_index;

    if (prior_index <= replica->commands_index) {
        return;
    }
    die(replica,
        "this node's log has a hole: entry %llu was made after entry %llu, but the last "
        "one here is %llu",
        (unsigned long long)index, (unsigned long long)prior_index,
        (unsigned long long)replica->commands_index);
}

static void check_agreement(const struct replica *replica, uint64_t index)
{
    const struct entry_header *header = &replica->reader.header;

    if (header->prior_index == 0 || header->prior_index != replica->commands_index ||
        header->prior_digest == fsm_digest(replica->fsm)) {
        return;
    }
    die(replica,
        "this node has diverged: before entry %llu its state digest is %016llx, the "
        "leader's "
        "(node %llu, term %llu) was %016llx",
        (unsigned long long)index, (unsigned long long)fsm_digest(replica->fsm),
        (unsigned long long)header->proposer, (unsigned long long)header->proposer_term,
        (unsigned long long)header->prior_digest);
}

static void
note_checkpoint(struct replica *replica, const struct fsm_events *events, uint64_t index)
{
    const struct fsm_event *last = &events->items[events->count - 1];

    assert(last->type == FSM_EV_CHECKPOINT);
    replica->checkpoint = (struct replica_checkpoint){.index = index, .hash = last->hash};
}

static void apply_command(struct replica *replica,
                          const struct fsm_command *command,
                          bool own,
                          uint64_t index)
{
    if (command->type == FSM_CMD_CHECKPOINT) {
        struct fsm_events *events = own ? &replica->outbox.events : &replica->overheard;
        fsm_apply(replica->fsm, command, events);
        note_checkpoint(replica, events, index);
        fsm_events_clear(&replica->overheard);
        return;
    }
    fsm_apply(replica->fsm, command, own ? &replica->outbox.events : NULL);
    if (own && command->type == FSM_CMD_EPOCH) {
        replica->epoch_applied = true;
    }
}

static void apply_commands(struct replica *replica, bool own, uint64_t index)
{
    const struct batch *batch = own ? replica->in_flight.batch : NULL;
    struct fsm_command command;
    const char *error;

    for (size_t i = 0; entry_reader_next(&replica->reader, &command, &error); i++) {
        if (batch != NULL) {
            assert(i < batch->refs_count);
            command.ref = batch->refs[i];
        }
        apply_command(replica, &command, own, index);
    }
    if (error != NULL) {
        die_at_entry(replica, index, error);
    }
}

static void land(struct replica *replica)
{
    batch_queue_recycle(&replica->open, replica->in_flight.batch);
    replica->in_flight.batch = NULL;
}

/* An entry of this leadership counts from when it was stamped; any other from the next flush, which
 * knows a steady time that is not before its apply. */
static void note_time(struct replica *replica, bool own)
{
    uint64_t cluster_ms = replica->reader.header.cluster_ms;

    if (own) {
        leader_clock_applied(&replica->clock, cluster_ms,
                             replica->in_flight.stamped_mono_ms);
    } else if (cluster_ms > replica->unanchored_ms) {
        replica->unanchored_ms = cluster_ms;
    }
}

static int
on_apply(struct raft_fsm *raft_fsm, const struct raft_buffer *buf, void **ret_result)
{
    struct replica *replica = raft_fsm->data;
    const struct entry_header *header = &replica->reader.header;
    uint64_t index = raft_last_applied(replica->raft) + 1;
    const char *error = entry_reader_open(&replica->reader, buf->base, buf->len);

    if (error != NULL) {
        die_at_entry(replica, index, error);
    }
    check_no_hole(replica, index);
    check_agreement(replica, index);
    log_bound_applied(&replica->log_bound, replica->raft, buf->len);

    /* Of this leadership, not an earlier one of this node: those have nobody to answer. */
    bool own = leads(replica) && header->proposer == replica->config.node_id &&
               header->proposer_term == replica->term;
    assert(!own || (replica->in_flight.batch != NULL &&
                    replica->in_flight.number == header->batch));
    apply_commands(replica, own, index);
    replica->commands_index = index;
    if (header->level > replica->level) {
        replica->level = header->level;
    }
    note_time(replica, own);
    if (own) {
        struct replica_position at = {
            .index = index,
            .term = header->proposer_term,
            .cluster_ms = fsm_now_ms(replica->fsm),
        };
        outbox_close_entry(&replica->outbox, &at);
        land(replica);
    }
    *ret_result = NULL;
    return 0;
}

/* ---- snapshots: inside libraft too ------------------------------------------------------------ */

static int on_snapshot(struct raft_fsm *raft_fsm,
                       struct raft_buffer *ret_bufs[],
                       unsigned *ret_count)
{
    struct replica *replica = raft_fsm->data;
    struct raft_buffer *buf = raft_calloc(1, sizeof(*buf));

    if (buf == NULL) {
        abort();
    }
    if (replica->config.snapshot_step_records == 0) {
        snapshot_encode(replica->fsm, replica->commands_index, replica->level, &buf->base,
                        &buf->len);
    } else {
        assert(replica->snapshot.writer == NULL);
        replica->snapshot.writer =
            snapshot_writer_new(replica->fsm, replica->commands_index, replica->level);
        replica->snapshot.buf = buf;
    }
    log_bound_snapshot(&replica->log_bound, replica->raft);
    *ret_bufs = buf;
    *ret_count = 1;
    return 0;
}

/* The guard sees when the bytes are there. */
static void go_on_with_snapshot(struct replica *replica, uint64_t mono_ms)
{
    struct snapshot *snapshot = &replica->snapshot;

    if (snapshot->writer == NULL || mono_ms < snapshot->next_mono_ms) {
        return;
    }
    snapshot->next_mono_ms = mono_ms + SNAPSHOT_STEP_MS;
    if (snapshot_writer_step(snapshot->writer, replica->config.snapshot_step_records)) {
        return;
    }
    snapshot_writer_finish(snapshot->writer, &snapshot->buf->base, &snapshot->buf->len);
    snapshot->writer = NULL;
}

static int on_restore(struct raft_fsm *raft_fsm, struct raft_buffer *buf)
{
    struct replica *replica = raft_fsm->data;
    struct fsm *fsm;
    const char *error = snapshot_decode(buf->base, buf->len, replica->config.hash_seed,
                                        &fsm, &replica->commands_index);

    if (error != NULL) {
        die_unread(replica, "a snapshot", error);
    }
    assert(replica->snapshot.writer == NULL); /* guard B1 */
    replica->level = snapshot_level(buf->base);
    fsm_free(replica->fsm);
    replica->fsm = fsm;
    replica->unanchored_ms = fsm_now_ms(fsm);
    outbox_clear(&replica->outbox);
    raft_free(buf->base);
    return 0;
}

/* ---- roles ------------------------------------------------------------------------------------ */

static void become(struct replica *replica, enum replica_role role)
{
    replica->role = role;
    replica->host.on_role(replica->host.arg, role, replica->term);
}

/* What was proposed may or may not be committed by another leader: nobody here is told. */
static void step_down(struct replica *replica)
{
    batch_queue_clear(&replica->open);
    if (replica->in_flight.batch != NULL) {
        land(replica);
    }
    outbox_clear(&replica->outbox);
    replica->term = raft_current_term(replica->raft);
    become(replica, REPLICA_FOLLOWER);
}

/* libraft does not always append an entry of its own in a new term, and until one of this term is
 * applied, this node may lack what earlier leaders committed. */
static void take_office(struct replica *replica)
{
    struct fsm_command epoch = {
        .type = FSM_CMD_EPOCH,
        .epoch =
            {
                .node_id = replica->config.node_id,
                .term = raft_current_term(replica->raft),
                .settings = replica->config.settings,
            },
    };

    if (replica->level < FEATURE_LEVEL_DROP_MAX) {
        epoch.epoch.settings.drop_max = 0;
    }
    replica->term = epoch.epoch.term;
    replica->batches_count = 0;
    replica->stamped_ms = 0;
    replica->retry_mono_ms = 0;
    replica->inherited_index = raft_last_index(replica->raft);
    replica->epoch_applied = false;
    batch_queue_add(&replica->open, &epoch, REPLICA_BATCH_BYTES_MAX);
    become(replica, REPLICA_ELECTED);
}

/* libraft has no callback for a change of role. Its term is compared too: it may have lost and won
 * leadership since the last look. */
static void notice_role(struct replica *replica)
{
    if (replica->role != REPLICA_FOLLOWER && !leads(replica)) {
        step_down(replica);
    }
    if (replica->role == REPLICA_FOLLOWER && raft_state(replica->raft) == RAFT_LEADER) {
        take_office(replica);
    }
    if (replica->role == REPLICA_ELECTED && replica->epoch_applied) {
        become(replica, REPLICA_SERVING);
    }
}

/* ---- time and submission ---------------------------------------------------------------------- */

static void anchor_clock(struct replica *replica, uint64_t mono_ms)
{
    if (replica->unanchored_ms > 0) {
        leader_clock_applied(&replica->clock, replica->unanchored_ms, mono_ms);
        replica->unanchored_ms = 0;
    }
}

/* Cluster time at which a tick must be proposed if no other entry is; FSM_UNLIMITED: never. */
static uint64_t tick_due_ms(const struct replica *replica)
{
    uint64_t deadline_ms = fsm_next_deadline_ms(replica->fsm);
    uint64_t latest_ms = fsm_now_ms(replica->fsm) + replica->config.tick_interval_ms;

    if (deadline_ms == FSM_UNLIMITED || replica->role != REPLICA_SERVING) {
        return FSM_UNLIMITED;
    }
    return deadline_ms < latest_ms ? deadline_ms : latest_ms;
}

static bool level_is_due(const struct replica *replica)
{
    return replica->role == REPLICA_SERVING && replica->level_offered > replica->level;
}

static void propose_due_tick(struct replica *replica, uint64_t mono_ms)
{
    if (replica->open.commands_count == 0 &&
        (level_is_due(replica) ||
         leader_clock_now(&replica->clock, mono_ms) >= tick_due_ms(replica))) {
        struct fsm_command tick = {.type = FSM_CMD_TICK};
        batch_queue_add(&replica->open, &tick, REPLICA_BATCH_BYTES_MAX);
    }
}

static uint64_t stamp(struct replica *replica, uint64_t mono_ms)
{
    uint64_t now_ms = leader_clock_now(&replica->clock, mono_ms);

    if (now_ms > replica->stamped_ms) {
        replica->stamped_ms = now_ms;
    }
    return replica->stamped_ms;
}

/* Not before all that was in the log at the election is applied: libraft commits that without our help.
 * An earlier leader may have stamped it with a clock that was behind this node's (it learned later of the
 * entries before), and the deadlines that it gave would be shorter by the difference. */
static bool may_stamp(const struct replica *replica)
{
    return raft_last_applied(replica->raft) >= replica->inherited_index;
}

/* libraft keeps an entry for long: in just the memory that it takes. */
static struct raft_buffer copy_of(const uint8_t *data, size_t len)
{
    struct raft_buffer copy = {.base = raft_malloc(len), .len = len};

    if (copy.base == NULL) {
        abort();
    }
    memcpy(copy.base, data, len);
    return copy;
}

static void submit(struct replica *replica, uint64_t mono_ms)
{
    struct in_flight *in_flight = &replica->in_flight;
    struct batch *batch = replica->open.first;
    struct entry_header header = {
        .level = level_is_due(replica) ? replica->level_offered : replica->level,
        .cluster_ms = stamp(replica, mono_ms),
        .proposer = replica->config.node_id,
        .proposer_term = replica->term,
        .batch = replica->batches_count + 1,
        .prior_index = replica->commands_index,
        .prior_digest = fsm_digest(replica->fsm),
    };
    uint8_t *data;
    size_t len;

    entry_writer_close(&batch->entry, &header, &data, &len);
    struct raft_buffer buf = copy_of(data, len);
    /* No callback: on_apply() and notice_role() see all that it could tell. */
    int rv = raft_guard_apply(replica->raft, &in_flight->request, &buf, NULL);
    if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE) {
        raft_free(buf.base);
        replica->retry_mono_ms = mono_ms + RETRY_MS;
        return;
    }
    if (rv != 0) {
        die(replica, "libraft does not take an entry: %s", raft_strerror(rv));
    }
    in_flight->batch = batch_queue_take(&replica->open);
    in_flight->number = header.batch;
    in_flight->stamped_mono_ms = mono_ms;
    replica->batches_count++;
}

/* ---- public ----------------------------------------------------------------------------------- */

struct replica *replica_new(const struct replica_config *config,
                            const struct replica_host *host)
{
    struct replica *replica = calloc(1, sizeof(*replica));

    if (replica == NULL) {
        abort();
    }
    replica->config = *config;
    replica->host = *host;
    replica->fsm = fsm_new(config->hash_seed);
    replica->level = FEATURE_LEVEL_FIRST;
    replica->log_bound = (struct log_bound){.bytes_max = config->log_bytes_max,
                                            .threshold = config->snapshot_threshold,
                                            .trailing = config->snapshot_trailing};
    replica->raft_fsm = (struct raft_fsm){
        .version = 1,
        .data = replica,
        .apply = on_apply,
        .snapshot = on_snapshot,
        .restore = on_restore,
    };
    return replica;
}

void replica_free(struct replica *replica)
{
    if (replica == NULL) {
        return;
    }
    if (replica->in_flight.batch != NULL) {
        land(replica);
    }
    batch_queue_release(&replica->open);
    outbox_release(&replica->outbox);
    fsm_events_release(&replica->overheard);
    snapshot_writer_free(replica->snapshot.writer);
    fsm_free(replica->fsm);
    free(replica);
}

struct raft_fsm *replica_raft_fsm(struct replica *replica)
{
    return &replica->raft_fsm;
}

void replica_set_raft(struct replica *replica, struct raft *raft)
{
    replica->raft = raft;
}

int replica_propose(struct replica *replica, const struct fsm_command *command)
{
    if (replica->role != REPLICA_SERVING || !leads(replica)) {
        return -ENOTCONN;
    }
    if (replica->open.commands_count >= replica->config.commands_waiting_max) {
        return -EBUSY;
    }
    return batch_queue_add(&replica->open, command, REPLICA_BATCH_BYTES_MAX);
}

void replica_flush(struct replica *replica, uint64_t mono_ms)
{
    anchor_clock(replica, mono_ms);
    notice_role(replica);
    outbox_deliver(&replica->outbox, &replica->host, replica->config.events_per_flush);
    go_on_with_snapshot(replica, mono_ms);

    if (!leads(replica) || replica->in_flight.batch != NULL || !may_stamp(replica) ||
        !replica_has_told(replica) || mono_ms < replica->retry_mono_ms) {
        return;
    }
    propose_due_tick(replica, mono_ms);
    if (replica->open.commands_count > 0) {
        submit(replica, mono_ms);
    }
}

uint64_t replica_cluster_ms(const struct replica *replica, uint64_t mono_ms)
{
    return leader_clock_now(&replica->clock, mono_ms);
}

static uint64_t leader_deadline_ms(const struct replica *replica, uint64_t mono_ms)
{
    if (replica->role == REPLICA_FOLLOWER || replica->in_flight.batch != NULL ||
        !may_stamp(replica)) {
        return UINT64_MAX;
    }
    if (replica->open.commands_count > 0 || level_is_due(replica)) {
        return replica->retry_mono_ms > mono_ms ? replica->retry_mono_ms : mono_ms;
    }

    uint64_t due_ms = tick_due_ms(replica);

    if (due_ms == FSM_UNLIMITED) {
        return UINT64_MAX;
    }
    return mono_ms + leader_clock_until(&replica->clock, due_ms, mono_ms);
}

uint64_t replica_deadline_ms(const struct replica *replica, uint64_t mono_ms)
{
    uint64_t deadline_ms = leader_deadline_ms(replica, mono_ms);

    if (!replica_has_told(replica)) {
        return mono_ms + TELL_MS;
    }
    if (replica->snapshot.writer != NULL &&
        replica->snapshot.next_mono_ms < deadline_ms) {
        deadline_ms = replica->snapshot.next_mono_ms;
    }
    return deadline_ms;
}

void replica_offer_level(struct replica *replica, uint32_t level)
{
    replica->level_offered = level;
}

uint32_t replica_level(const struct replica *replica)
{
    return replica->level;
}

void replica_check_loaded(const struct replica *replica, const void *data, size_t len)
{
    struct entry_reader reader;
    const char *error = entry_reader_open(&reader, data, len);

    if (error != NULL && durable_is_newer(error)) {
        die_unread(replica, "the log", error);
    }
}

enum replica_role replica_role(const struct replica *replica)
{
    return replica->role;
}

const struct fsm *replica_table(const struct replica *replica)
{
    return replica->fsm;
}

bool replica_has_told(const struct replica *replica)
{
    return outbox_is_empty(&replica->outbox);
}

bool replica_tells_rest(const struct replica *replica)
{
    size_t events_max = replica->config.events_per_flush;

    return events_max == 0 || outbox_left(&replica->outbox) <= events_max;
}

void replica_backup(const struct replica *replica,
                    const struct backup_origin *origin,
                    uint8_t **ret_data,
                    size_t *ret_len)
{
    void *snapshot;
    size_t snapshot_len;

    assert(origin->index >= replica->commands_index);
    snapshot_encode(replica->fsm, replica->commands_index, replica->level, &snapshot,
                    &snapshot_len);
    backup_encode(origin, snapshot, snapshot_len, ret_data, ret_len);
    raft_free(snapshot);
}

uint64_t replica_applied_index(const struct replica *replica)
{
    return replica->raft != NULL ? raft_last_applied(replica->raft) : 0;
}

struct replica_checkpoint replica_last_checkpoint(const struct replica *replica)
{
    return replica->checkpoint;
}
