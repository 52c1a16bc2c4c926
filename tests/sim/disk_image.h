/* disk_image.h - what is on a disk: identity, term, vote, log, snapshots. No time and no faults: disk.c
 * has those, and decides what gets here.
 *
 * All memory is the simulator's. A snapshot's configuration is kept encoded, as in a file. */
#ifndef NETLOCK_SIM_DISK_IMAGE_H
#define NETLOCK_SIM_DISK_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <raft.h>

/* A copy of entries, in one piece with their data. The entries of the image hold one reference each
 * in their `batch`, and whoever made it has one. */
struct sim_batch {
    unsigned refs;
    unsigned count;
    struct raft_entry entries[];
};
struct sim_batch *sim_batch_new(const struct raft_entry *entries, unsigned count);
void sim_batch_release(struct sim_batch *batch);

struct sim_stored_snapshot {
    raft_index index;
    raft_term term;
    raft_index configuration_index;
    struct raft_buffer configuration;
    struct raft_buffer data;
    bool meta_rotten; /* its checksum, which covers the configuration, will not fit */
};
/* Inside a process or outside: reads what belongs to it, keeps nothing of it. */
struct sim_stored_snapshot *sim_stored_snapshot_new(const struct raft_snapshot *snapshot);
void sim_stored_snapshot_free(struct sim_stored_snapshot *snapshot);

struct sim_stored_entry {
    struct raft_entry entry;
    bool rotten; /* its checksum will not fit */
};

struct sim_image {
    bool begun; /* the node has had a log: datadir.h */
    raft_term term;
    raft_id voted_for;
    raft_index first; /* of the entries, or of the next one */
    struct sim_stored_entry *ring;
    size_t ring_size; /* a power of two, or 0 */
    size_t head, count;
    struct sim_stored_snapshot *snapshots[2]; /* the newer one first */
};

void sim_image_release(struct sim_image *image);
/* As a new disk. */
void sim_image_clear(struct sim_image *image);

static inline raft_index sim_image_last(const struct sim_image *image)
{
    return image->first + image->count - 1;
}

/* NULL: not there. */
struct sim_stored_entry *sim_image_find(const struct sim_image *image, raft_index index);

/* The first @count entries of @batch. */
void sim_image_append(struct sim_image *image, struct sim_batch *batch, unsigned count);
/* Remove all entries from @index on. */
void sim_image_truncate(struct sim_image *image, raft_index index);
/* Take @snapshot, keep the newest of the others and of the log what raft_uv keeps: @trailing entries up
 * to the snapshot's last, and all behind it; nothing for 0. */
void sim_image_put(struct sim_image *image,
                   struct sim_stored_snapshot *snapshot,
                   unsigned trailing);

/* As raft_uv finds it when it starts. Allocates with raft_malloc(). Returns 0, or RAFT_CORRUPT and why
 * in @errmsg. */
int sim_image_load(struct sim_image *image,
                   struct raft_snapshot **ret_snapshot,
                   raft_index *ret_start_index,
                   struct raft_entry **ret_entries,
                   size_t *ret_count,
                   char errmsg[RAFT_ERRMSG_BUF_SIZE]);
/* The newest snapshot; the same. */
int sim_image_load_snapshot(const struct sim_stored_snapshot *stored,
                            struct raft_snapshot **ret_snapshot,
                            char errmsg[RAFT_ERRMSG_BUF_SIZE]);

#endif
