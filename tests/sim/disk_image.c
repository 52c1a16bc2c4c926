#include "disk_image.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

enum { RING_SIZE_MIN = 64 };

/* ---- batches ---- */

struct sim_batch *sim_batch_new(const struct raft_entry *entries, unsigned count)
{
    size_t head = sizeof(struct sim_batch) + count * sizeof(struct raft_entry);
    size_t bytes = head;

    for (unsigned i = 0; i < count; i++) {
        bytes += entries[i].buf.len;
    }
    struct sim_batch *batch = sim_alloc(bytes);
    uint8_t *data = (uint8_t *)batch + head;
    batch->refs = 1;
    batch->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct raft_entry *copy = &batch->entries[i];
        *copy = entries[i];
        copy->batch = batch;
        copy->buf.base = data;
        if (copy->buf.len > 0) {
            memcpy(data, entries[i].buf.base, copy->buf.len);
        }
        data += copy->buf.len;
    }
    return batch;
}

void sim_batch_release(struct sim_batch *batch)
{
    if (--batch->refs == 0) {
        sim_free(batch);
    }
}

/* ---- snapshots ---- */

static struct raft_buffer copy_bytes(const struct raft_buffer *from, unsigned count)
{
    struct raft_buffer copy = {0};

    for (unsigned i = 0; i < count; i++) {
        copy.len += from[i].len;
    }
    uint8_t *at = sim_alloc(copy.len);
    copy.base = at;
    for (unsigned i = 0; i < count; i++) {
        memcpy(at, from[i].base, from[i].len);
        at += from[i].len;
    }
    return copy;
}

struct sim_stored_snapshot *sim_stored_snapshot_new(const struct raft_snapshot *snapshot)
{
    struct sim_stored_snapshot *stored = sim_alloc(sizeof(*stored));
    struct raft_buffer configuration;

    if (raft_configuration_encode(&snapshot->configuration, &configuration) != 0) {
        abort();
    }
    stored->index = snapshot->index;
    stored->term = snapshot->term;
    stored->configuration_index = snapshot->configuration_index;
    stored->configuration = copy_bytes(&configuration, 1);
    stored->data = copy_bytes(snapshot->bufs, snapshot->n_bufs);
    raft_free(configuration.base);
    return stored;
}

void sim_stored_snapshot_free(struct sim_stored_snapshot *snapshot)
{
    if (snapshot != NULL) {
        sim_free(snapshot->configuration.base);
        sim_free(snapshot->data.base);
        sim_free(snapshot);
    }
}

/* ---- the log ---- */

static struct sim_stored_entry *at(const struct sim_image *image, size_t place)
{
    return &image->ring[(image->head + place) & (image->ring_size - 1)];
}

struct sim_stored_entry *sim_image_find(const struct sim_image *image, raft_index index)
{
    if (index < image->first || index - image->first >= image->count) {
        return NULL;
    }
    return at(image, index - image->first);
}

static void grow(struct sim_image *image)
{
    size_t size = image->ring_size > 0 ? image->ring_size * 2 : RING_SIZE_MIN;
    struct sim_stored_entry *ring = sim_alloc(size * sizeof(*ring));

    for (size_t i = 0; i < image->count; i++) {
        ring[i] = *at(image, i);
    }
    sim_free(image->ring);
    image->ring = ring;
    image->ring_size = size;
    image->head = 0;
}

void sim_image_append(struct sim_image *image, struct sim_batch *batch, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (image->count == image->ring_size) {
            grow(image);
        }
        *at(image, image->count++) =
            (struct sim_stored_entry){.entry = batch->entries[i]};
        batch->refs++;
    }
}

void sim_image_truncate(struct sim_image *image, raft_index index)
{
    while (image->count > 0 && sim_image_last(image) >= index) {
        sim_batch_release(at(image, --image->count)->entry.batch);
    }
}

static void drop_before(struct sim_image *image, raft_index index)
{
    while (image->count > 0 && image->first < index) {
        sim_batch_release(at(image, 0)->entry.batch);
        image->head = (image->head + 1) & (image->ring_size - 1);
        image->count--;
        image->first++;
    }
}

void sim_image_put(struct sim_image *image,
                   struct sim_stored_snapshot *snapshot,
                   unsigned trailing)
{
    sim_stored_snapshot_free(image->snapshots[1]);
    image->snapshots[1] = image->snapshots[0];
    image->snapshots[0] = snapshot;
    if (trailing == 0) {
        sim_image_truncate(image, 0);
        image->first = snapshot->index + 1;
    } else if (snapshot->index > trailing) {
        drop_before(image, snapshot->index - trailing + 1);
    }
    assert(image->first <= snapshot->index + 1 &&
           sim_image_last(image) >= snapshot->index);
}

void sim_image_clear(struct sim_image *image)
{
    sim_image_release(image);
    image->first = 1;
}

void sim_image_release(struct sim_image *image)
{
    sim_image_truncate(image, 0);
    sim_free(image->ring);
    sim_stored_snapshot_free(image->snapshots[0]);
    sim_stored_snapshot_free(image->snapshots[1]);
    *image = (struct sim_image){0};
}

/* ---- loading ---- */

static void *heap(size_t size)
{
    void *memory = raft_malloc(size);

    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* The data has no checksum in libraft's files: whether it is damaged, the lock table must find out. */
int sim_image_load_snapshot(const struct sim_stored_snapshot *stored,
                            struct raft_snapshot **ret_snapshot,
                            char errmsg[RAFT_ERRMSG_BUF_SIZE])
{
    if (stored->meta_rotten) {
        snprintf(errmsg, RAFT_ERRMSG_BUF_SIZE,
                 "read snapshot-%llu-%llu.meta: checksum mismatch", stored->term,
                 stored->index);
        return RAFT_CORRUPT;
    }
    struct raft_snapshot *snapshot = heap(sizeof(*snapshot));
    *snapshot = (struct raft_snapshot){
        .index = stored->index,
        .term = stored->term,
        .configuration_index = stored->configuration_index,
        .bufs = heap(sizeof(struct raft_buffer)),
        .n_bufs = 1,
    };
    if (raft_configuration_decode(&stored->configuration, &snapshot->configuration) !=
        0) {
        abort();
    }
    snapshot->bufs[0].len = stored->data.len;
    snapshot->bufs[0].base = heap(stored->data.len);
    memcpy(snapshot->bufs[0].base, stored->data.base, stored->data.len);
    *ret_snapshot = snapshot;
    return 0;
}

static int check_entries(const struct sim_image *image, char *errmsg)
{
    for (size_t i = 0; i < image->count; i++) {
        if (at(image, i)->rotten) {
            snprintf(errmsg, RAFT_ERRMSG_BUF_SIZE,
                     "load closed segment %016llu-%016llu: entry %llu: data checksum "
                     "mismatch",
                     image->first, sim_image_last(image), image->first + i);
            return RAFT_CORRUPT;
        }
    }
    return 0;
}

static void load_entries(const struct sim_image *image,
                         struct raft_entry **ret_entries,
                         size_t *ret_count)
{
    size_t bytes = 0;

    *ret_entries = NULL;
    *ret_count = image->count;
    if (image->count == 0) {
        return;
    }
    for (size_t i = 0; i < image->count; i++) {
        bytes += at(image, i)->entry.buf.len;
    }
    struct raft_entry *entries = heap(image->count * sizeof(*entries));
    uint8_t *batch = heap(bytes);
    uint8_t *data = batch;
    for (size_t i = 0; i < image->count; i++) {
        entries[i] = at(image, i)->entry;
        memcpy(data, entries[i].buf.base, entries[i].buf.len);
        entries[i].buf.base = data;
        entries[i].batch = batch;
        data += entries[i].buf.len;
    }
    *ret_entries = entries;
}

static void free_loaded(struct raft_snapshot *snapshot)
{
    raft_configuration_close(&snapshot->configuration);
    raft_free(snapshot->bufs[0].base);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
}

/* The newest snapshot that can be read, if there is one at all. */
static int find_snapshot(const struct sim_image *image,
                         struct raft_snapshot **ret_snapshot,
                         char *errmsg)
{
    int rv = 0;

    *ret_snapshot = NULL;
    for (size_t i = 0; i < 2 && image->snapshots[i] != NULL; i++) {
        rv = sim_image_load_snapshot(image->snapshots[i], ret_snapshot, errmsg);
        if (rv == 0) {
            break;
        }
    }
    return rv;
}

static int check_log(const struct sim_image *image, raft_index covered, char *errmsg)
{
    if (image->count > 0 && image->first > covered + 1) {
        snprintf(errmsg, RAFT_ERRMSG_BUF_SIZE,
                 "closed segment %016llu-%016llu is past last snapshot at %llu",
                 image->first, sim_image_last(image), covered);
        return RAFT_CORRUPT;
    }
    return check_entries(image, errmsg);
}

/* A log without entries begins behind the snapshot, whichever that is: when the newest one is damaged
 * and nothing is left of the log before it, raft_uv notices nothing either. */
int sim_image_load(struct sim_image *image,
                   struct raft_snapshot **ret_snapshot,
                   raft_index *ret_start_index,
                   struct raft_entry **ret_entries,
                   size_t *ret_count,
                   char errmsg[RAFT_ERRMSG_BUF_SIZE])
{
    struct raft_snapshot *snapshot;

    int rv = find_snapshot(image, &snapshot, errmsg);
    if (rv != 0) {
        return rv;
    }
    raft_index covered = snapshot != NULL ? snapshot->index : 0;
    rv = check_log(image, covered, errmsg);
    if (rv != 0) {
        if (snapshot != NULL) {
            free_loaded(snapshot);
        }
        return rv;
    }
    if (image->count == 0) {
        image->first = covered + 1;
    }
    *ret_snapshot = snapshot;
    *ret_start_index = image->first;
    load_entries(image, ret_entries, ret_count);
    return 0;
}
