#include "disk.h"

#include <assert.h>

#include "disk_internal.h"
#include "process.h"

enum {
    /* Two segments in reserve and none begun, of 8 MiB each. */
    CAPACITY_KIB = 2 * 8 * 1024,
};

/* ---- what is written at once ---- */

bool sim_disk_fails(struct sim_disk *disk, enum sim_disk_failure what)
{
    uint32_t bit = UINT32_C(1) << what;

    if ((disk->fail_next & bit) == 0) {
        return false;
    }
    disk->fail_next &= ~bit;
    disk->counts.failures++;
    return true;
}

int sim_disk_set_term(struct sim_disk *disk, raft_term term)
{
    if (sim_disk_fails(disk, SIM_FAIL_TERM)) {
        return RAFT_IOERR;
    }
    disk->image.term = term;
    disk->image.voted_for = 0;
    return 0;
}

int sim_disk_set_vote(struct sim_disk *disk, raft_id voted_for)
{
    if (sim_disk_fails(disk, SIM_FAIL_VOTE)) {
        return RAFT_IOERR;
    }
    disk->image.voted_for = voted_for;
    return 0;
}

void sim_disk_open(struct sim_disk *disk, raft_index next_index)
{
    assert(disk->queue == NULL && disk->beside == NULL && !disk->failed);
    disk->next_index = next_index;
}

unsigned short sim_disk_capacity(const struct sim_disk *disk)
{
    return disk->full ? 0 : CAPACITY_KIB;
}

struct sim_image *sim_disk_image(struct sim_disk *disk)
{
    return &disk->image;
}

/* ---- for scripts ---- */

struct sim_disk *sim_disk_new(uint32_t node, uint64_t seed)
{
    struct sim_disk *disk = sim_alloc(sizeof(*disk));

    disk->node = node;
    disk->seed = seed;
    disk->timing = (struct sim_disk_timing){
        .write_us = 200,
        .write_jitter_us = 100,
        .snapshot_us = 5000,
        .snapshot_jitter_us = 5000,
    };
    sim_disk_queue_init(disk);
    sim_image_clear(&disk->image);
    return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
    if (disk != NULL) {
        sim_disk_crashed(disk, SIM_TORN_NOTHING);
        sim_image_release(&disk->image);
        sim_free(disk);
    }
}

void sim_disk_set_timing(struct sim_disk *disk, const struct sim_disk_timing *timing)
{
    disk->timing = *timing;
}

void sim_disk_stall(struct sim_disk *disk, bool stalled)
{
    disk->stalled = stalled;
    sim_disk_go_on(disk);
}

void sim_disk_fill(struct sim_disk *disk, bool full)
{
    disk->full = full;
    sim_disk_go_on(disk);
}

void sim_disk_fail_next(struct sim_disk *disk, enum sim_disk_failure failure)
{
    disk->fail_next |= UINT32_C(1) << failure;
}

void sim_disk_rot_entry(struct sim_disk *disk, raft_index index)
{
    struct sim_stored_entry *entry =
        sim_image_find(&disk->image, index != 0 ? index : sim_image_last(&disk->image));

    if (entry != NULL) {
        entry->rotten = true;
    }
}

void sim_disk_rot_snapshot(struct sim_disk *disk)
{
    struct sim_stored_snapshot *snapshot = disk->image.snapshots[0];

    if (snapshot != NULL && snapshot->data.len > 0) {
        uint64_t bit = sim_disk_draw(disk, DRAW_ROT) % (snapshot->data.len * 8);
        uint8_t *bytes = snapshot->data.base;
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

void sim_disk_rot_snapshot_meta(struct sim_disk *disk)
{
    if (disk->image.snapshots[0] != NULL) {
        disk->image.snapshots[0]->meta_rotten = true;
    }
}

struct sim_disk_view sim_disk_view(const struct sim_disk *disk)
{
    const struct sim_image *image = &disk->image;

    return (struct sim_disk_view){
        .term = image->term,
        .voted_for = image->voted_for,
        .first_index = image->first,
        .last_index = sim_image_last(image),
        .snapshot_index = image->snapshots[0] != NULL ? image->snapshots[0]->index : 0,
    };
}

const struct raft_entry *sim_disk_entry(const struct sim_disk *disk, raft_index index)
{
    const struct sim_stored_entry *stored = sim_image_find(&disk->image, index);

    return stored != NULL ? &stored->entry : NULL;
}

struct sim_disk_counts sim_disk_counts(const struct sim_disk *disk)
{
    return disk->counts;
}
