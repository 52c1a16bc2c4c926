/* What the disk is writing, how long that takes, and what is left of it when it is broken off. */
#include <assert.h>

#include "disk_internal.h"
#include "process.h"

static uint64_t duration(struct sim_disk *disk, uint32_t least_us, uint32_t jitter_us)
{
    disk->writes++;
    return least_us + (jitter_us > 0
                           ? sim_disk_draw(disk, DRAW_JITTER) % ((uint64_t)jitter_us + 1)
                           : 0);
}

/* ---- the queue ---- */

static void enqueue(struct sim_disk *disk, struct sim_disk_request *request)
{
    request->next = NULL;
    *disk->queue_end = request;
    disk->queue_end = &request->next;
    disk->queued++;
}

static struct sim_disk_request *dequeue(struct sim_disk *disk)
{
    struct sim_disk_request *request = disk->queue;

    disk->queue = request->next;
    if (disk->queue == NULL) {
        disk->queue_end = &disk->queue;
    }
    disk->dequeued++;
    return request;
}

static void release(struct sim_disk_request *request)
{
    if (request->batch != NULL) {
        sim_batch_release(request->batch);
        request->batch = NULL;
    }
    sim_stored_snapshot_free(request->snapshot);
    request->snapshot = NULL;
}

static void lose(struct sim_disk_request *request)
{
    if (request->work != SIM_WORK_READ) {
        request->disk->counts.lost++;
    }
    release(request);
    request->lost(request);
}

static void start_write(struct sim_disk *disk)
{
    const struct sim_disk_request *first = disk->queue;
    const struct sim_disk_timing *timing = &disk->timing;

    if (first == NULL || disk->writing > 0 || disk->full || disk->failed) {
        return;
    }
    disk->writing = 1;
    if (first->work == SIM_WORK_INSTALL) {
        sim_event_in(&disk->write_done,
                     duration(disk, timing->snapshot_us, timing->snapshot_jitter_us));
        return;
    }
    if (first->work == SIM_WORK_APPEND) {
        for (const struct sim_disk_request *more = first->next;
             more != NULL && more->work == SIM_WORK_APPEND; more = more->next) {
            disk->writing++;
        }
    }
    sim_event_in(&disk->write_done,
                 duration(disk, timing->write_us, timing->write_jitter_us));
}

/* ---- what becomes durable ---- */

static void store_entries(struct sim_disk *disk, struct sim_batch *batch, unsigned count)
{
    raft_index first = sim_image_last(&disk->image) + 1;

    sim_image_append(&disk->image, batch, count);
    sim_trace_mix(first << 16 ^ (uint64_t)disk->node << 8 ^ count);
}

static void store_snapshot(struct sim_disk *disk, struct sim_disk_request *request)
{
    sim_trace_mix(request->snapshot->index << 8 ^ disk->node);
    sim_image_put(&disk->image, request->snapshot, request->trailing);
    request->snapshot = NULL;
    disk->counts.snapshots++;
}

static void store(struct sim_disk *disk, struct sim_disk_request *request)
{
    switch (request->work) {
    case SIM_WORK_APPEND:
        store_entries(disk, request->batch, request->batch->count);
        disk->counts.appends++;
        break;
    case SIM_WORK_TRUNCATE:
        sim_image_truncate(&disk->image, request->index);
        disk->counts.truncations++;
        break;
    case SIM_WORK_INSTALL:
    case SIM_WORK_SNAPSHOT:
        store_snapshot(disk, request);
        break;
    case SIM_WORK_READ:
        break;
    }
}

/* ---- a write that was broken off ---- */

static unsigned entries_written(const struct sim_disk *disk)
{
    const struct sim_disk_request *request = disk->queue;
    unsigned count = 0;

    for (unsigned i = 0; i < disk->writing; i++, request = request->next) {
        count += request->batch->count;
    }
    return count;
}

static unsigned
entries_kept(const struct sim_disk *disk, unsigned written, enum sim_torn torn)
{
    switch (torn) {
    case SIM_TORN_NOTHING:
        return 0;
    case SIM_TORN_ALL:
        return written;
    case SIM_TORN_FIRST:
        return 1;
    case SIM_TORN_DRAWN:
        break;
    }
    switch (sim_disk_draw(disk, DRAW_TORN) % 3) {
    case 0:
        return 0;
    case 1:
        return written;
    default:
        return (unsigned)(sim_disk_draw(disk, DRAW_TORN_COUNT) % written);
    }
}

static void tear_appends(struct sim_disk *disk, enum sim_torn torn)
{
    unsigned written = entries_written(disk);
    unsigned left = entries_kept(disk, written, torn);
    struct sim_disk_request *request = disk->queue;

    if (left > 0 && left < written) {
        disk->counts.torn++;
    }
    for (; left > 0; request = request->next) {
        struct sim_batch *batch = request->batch;
        unsigned count = batch->count < left ? batch->count : left;
        store_entries(disk, batch, count);
        left -= count;
    }
}

static bool
is_kept(const struct sim_disk *disk, enum sim_torn torn, enum sim_disk_draw what)
{
    return torn == SIM_TORN_ALL ||
           (torn == SIM_TORN_DRAWN && sim_disk_draw(disk, what) % 2 == 0);
}

static void tear_write(struct sim_disk *disk, enum sim_torn torn)
{
    struct sim_disk_request *request = disk->queue;

    if (disk->writing == 0) {
        return;
    }
    if (request->work == SIM_WORK_APPEND) {
        tear_appends(disk, torn);
    } else if (is_kept(disk, torn, DRAW_TORN)) {
        store(disk, request);
    }
    disk->writing = 0;
    disk->write_ready = false;
    sim_event_cancel(&disk->write_done);
}

/* ---- completion ---- */

static bool write_fails(struct sim_disk *disk)
{
    switch (disk->queue->work) {
    case SIM_WORK_APPEND:
        return sim_disk_fails(disk, SIM_FAIL_APPEND);
    case SIM_WORK_TRUNCATE:
        return sim_disk_fails(disk, SIM_FAIL_TRUNCATE);
    default:
        return sim_disk_fails(disk, SIM_FAIL_SNAPSHOT);
    }
}

/* Of a write that failed something may be there all the same. */
static void fail_write(struct sim_disk *disk)
{
    disk->failed = true;
    tear_write(disk, SIM_TORN_DRAWN);
    struct sim_disk_request *request = dequeue(disk);
    release(request);
    request->done(request, RAFT_IOERR);
}

static void finish_beside(struct sim_disk_request *request);

/* What waits for the queue, or for the disk to go on. */
static void finish_waiting(struct sim_disk *disk)
{
    struct sim_disk_request *next;

    for (struct sim_disk_request *request = disk->beside; request != NULL;
         request = next) {
        next = request->next;
        if (request->ready) {
            finish_beside(request);
        }
    }
}

static void finish_write(struct sim_disk *disk)
{
    unsigned count = disk->writing;

    if (write_fails(disk)) {
        fail_write(disk);
        return;
    }
    disk->writing = 0;
    while (count-- > 0) {
        struct sim_disk_request *request = dequeue(disk);
        store(disk, request);
        release(request);
        request->done(request, 0);
    }
    start_write(disk);
    finish_waiting(disk);
}

static void on_write_done(struct sim_event *event)
{
    struct sim_disk *disk =
        (struct sim_disk *)((char *)event - offsetof(struct sim_disk, write_done));

    if (disk->stalled) {
        disk->write_ready = true;
    } else {
        finish_write(disk);
    }
}

static void remove_beside(struct sim_disk_request *request)
{
    struct sim_disk_request **link = &request->disk->beside;

    while (*link != request) {
        link = &(*link)->next;
    }
    *link = request->next;
    request->next = NULL;
    sim_event_cancel(&request->finish);
}

static bool is_held_up(const struct sim_disk_request *request)
{
    const struct sim_disk *disk = request->disk;

    return disk->stalled ||
           (request->work == SIM_WORK_SNAPSHOT &&
            (disk->full || disk->failed || disk->dequeued < request->behind));
}

static void finish_beside(struct sim_disk_request *request)
{
    struct sim_disk *disk = request->disk;
    int status = 0;

    request->ready = true;
    if (is_held_up(request)) {
        return;
    }
    remove_beside(request);
    if (request->work == SIM_WORK_SNAPSHOT && sim_disk_fails(disk, SIM_FAIL_SNAPSHOT)) {
        disk->failed = true;
        status = RAFT_IOERR;
    } else {
        store(disk, request);
    }
    release(request);
    request->done(request, status);
}

/* raft_uv writes a snapshot into files of other names, and before it renames them waits for what was
 * appended until then. */
static void on_beside_done(struct sim_event *event)
{
    struct sim_disk_request *request =
        (struct sim_disk_request *)((char *)event -
                                    offsetof(struct sim_disk_request, finish));

    request->behind = request->disk->queued;
    finish_beside(request);
}

static void
start_beside(struct sim_disk *disk, struct sim_disk_request *request, uint64_t time_us)
{
    struct sim_disk_request **end = &disk->beside;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = request;
    request->next = NULL;
    request->ready = false;
    request->finish = (struct sim_event){.fire = on_beside_done};
    sim_event_in(&request->finish, time_us);
}

void sim_disk_queue_init(struct sim_disk *disk)
{
    disk->queue_end = &disk->queue;
    disk->write_done.fire = on_write_done;
}

/* ---- requests ---- */

static void
prepare(struct sim_disk *disk, struct sim_disk_request *request, enum sim_disk_work work)
{
    request->disk = disk;
    request->work = work;
    request->batch = NULL;
    request->snapshot = NULL;
}

void sim_disk_append(struct sim_disk *disk,
                     struct sim_disk_request *request,
                     const struct raft_entry *entries,
                     unsigned count)
{
    prepare(disk, request, SIM_WORK_APPEND);
    request->batch = sim_batch_new(entries, count);
    disk->next_index += count;
    enqueue(disk, request);
    start_write(disk);
}

bool sim_disk_truncate(struct sim_disk *disk,
                       struct sim_disk_request *request,
                       raft_index index)
{
    if (index >= disk->next_index) {
        return false;
    }
    prepare(disk, request, SIM_WORK_TRUNCATE);
    request->index = index;
    disk->next_index = index;
    enqueue(disk, request);
    start_write(disk);
    return true;
}

void sim_disk_put(struct sim_disk *disk,
                  struct sim_disk_request *request,
                  const struct raft_snapshot *snapshot,
                  unsigned trailing)
{
    prepare(disk, request, trailing == 0 ? SIM_WORK_INSTALL : SIM_WORK_SNAPSHOT);
    request->snapshot = sim_stored_snapshot_new(snapshot);
    request->trailing = trailing;
    if (trailing == 0) {
        disk->next_index = snapshot->index + 1;
        enqueue(disk, request);
        start_write(disk);
        return;
    }
    start_beside(
        disk, request,
        duration(disk, disk->timing.snapshot_us, disk->timing.snapshot_jitter_us));
}

void sim_disk_read(struct sim_disk *disk, struct sim_disk_request *request)
{
    prepare(disk, request, SIM_WORK_READ);
    start_beside(disk, request,
                 duration(disk, disk->timing.write_us, disk->timing.write_jitter_us));
}

static struct sim_disk_request *cancel_queued(struct sim_disk *disk)
{
    struct sim_disk_request **link = &disk->queue;

    for (unsigned i = 0; i < disk->writing; i++) {
        link = &(*link)->next;
    }
    struct sim_disk_request *request = *link;
    if (request != NULL) {
        *link = request->next;
        if (request->next == NULL) {
            disk->queue_end = link;
        }
        disk->dequeued++;
    }
    return request;
}

struct sim_disk_request *sim_disk_cancel(struct sim_disk *disk)
{
    struct sim_disk_request *request = cancel_queued(disk);

    for (struct sim_disk_request *at = disk->beside; at != NULL && request == NULL;
         at = at->next) {
        if (at->work == SIM_WORK_SNAPSHOT) {
            request = at;
            remove_beside(at);
            break;
        }
    }
    if (request != NULL) {
        release(request);
    }
    return request;
}

/* ---- what scripts do to it ---- */

void sim_disk_go_on(struct sim_disk *disk)
{
    if (disk->write_ready && !disk->stalled) {
        disk->write_ready = false;
        finish_write(disk);
    }
    start_write(disk);
    finish_waiting(disk);
}

/* A snapshot beside the queue is there only if all that was queued before it is: see
 * on_beside_done(). */
static void crash_beside(struct sim_disk *disk, bool quiet, enum sim_torn torn)
{
    struct sim_disk_request *request;

    while ((request = disk->beside) != NULL) {
        remove_beside(request);
        if (quiet && request->work == SIM_WORK_SNAPSHOT &&
            is_kept(disk, torn, DRAW_SNAPSHOT)) {
            store_snapshot(disk, request);
        }
        lose(request);
    }
}

void sim_disk_crashed(struct sim_disk *disk, enum sim_torn torn)
{
    bool quiet = disk->queue == NULL && !disk->failed;

    tear_write(disk, torn);
    crash_beside(disk, quiet, torn);
    while (disk->queue != NULL) {
        lose(dequeue(disk));
    }
    disk->failed = false;
}
