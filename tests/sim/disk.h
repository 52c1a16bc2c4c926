/* disk.h - the disk of a node, and libraft's struct raft_io on it.
 *
 * The shipped raft_node.c calls raft_uv_init(), datadir_open() and transport_init(); in a simulator these
 * are ours (raft_uv.c), so that everything above them is the shipped code. Underneath:
 *
 * Durable: term, vote, entries, the two newest snapshots, and the data directory's identity. It outlives
 * the process. Order as in raft_uv: appends one after another; a truncation, and a snapshot that
 * is being installed, wait for what is before them and hold up what is behind; a snapshot of the
 * node's own is written beside the appends. Term and vote are written at once.
 *
 * Time: each write takes write_us plus jitter, drawn from (seed, node, number of the write); the next
 * one starts when it is done. A stalled disk completes nothing until it goes on.
 *
 * A crash (the process was killed, or the power failed) in the middle of a write leaves of it, as drawn:
 * nothing, all, or the first entries; what is queued behind is lost. Appends that have queued up in a
 * row are one write, as in raft_uv. A snapshot is there or not. What had been answered is there.
 *
 * Failures: full (writes wait, capacity is 0), a write, truncation, snapshot, term or vote that fails
 * with an I/O error, and rot: an entry or snapshot found damaged when it is loaded. */
#ifndef NETLOCK_SIM_DISK_H
#define NETLOCK_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <raft.h>

struct sim_disk_timing {
    uint32_t write_us, write_jitter_us; /* of an append or truncation; default 200, 100 */
    uint32_t snapshot_us, snapshot_jitter_us; /* default 5000, 5000 */
};

enum sim_disk_failure {
    SIM_FAIL_APPEND = 1,
    SIM_FAIL_TRUNCATE,
    SIM_FAIL_SNAPSHOT,
    SIM_FAIL_TERM,
    SIM_FAIL_VOTE,
};

enum sim_torn {
    SIM_TORN_DRAWN = 0,
    SIM_TORN_NOTHING,
    SIM_TORN_ALL,
    SIM_TORN_FIRST /* entry only */
};

struct sim_disk; /* one per node; node.h owns it */

struct sim_disk *sim_disk_new(uint32_t node, uint64_t seed);
void sim_disk_free(struct sim_disk *disk);

void sim_disk_set_timing(struct sim_disk *disk, const struct sim_disk_timing *timing);
void sim_disk_stall(struct sim_disk *disk, bool stalled);
void sim_disk_fill(struct sim_disk *disk, bool full);
/* The next such operation fails. */
void sim_disk_fail_next(struct sim_disk *disk, enum sim_disk_failure failure);
/* Flip a bit of a durable entry (index 0: the newest): its checksum does not fit when it is loaded. */
void sim_disk_rot_entry(struct sim_disk *disk, raft_index index);
/* Flip a bit of the newest snapshot: of its data, which libraft does not check, or of what it keeps
 * beside it, which makes it look for the one before. */
void sim_disk_rot_snapshot(struct sim_disk *disk);
void sim_disk_rot_snapshot_meta(struct sim_disk *disk);

/* The process is dead: decide what became of its writes. */
void sim_disk_crashed(struct sim_disk *disk, enum sim_torn torn);

/* For the checkers. */
struct sim_disk_view {
    raft_term term;
    raft_id voted_for;
    raft_index first_index, last_index; /* of the entries; last < first: none */
    raft_index snapshot_index;          /* 0: none */
};
struct sim_disk_view sim_disk_view(const struct sim_disk *disk);
const struct raft_entry *sim_disk_entry(const struct sim_disk *disk,
                                        raft_index index); /* NULL: not there */
struct sim_disk_counts {
    uint64_t appends, truncations, snapshots, torn, lost, failures;
};
struct sim_disk_counts sim_disk_counts(const struct sim_disk *disk);

#endif
