/* disk_internal.h - what the files of the disk share: disk.c has what scripts and checkers ask of it and
 * what is written at once, disk_queue.c what takes time. */
#ifndef NETLOCK_SIM_DISK_INTERNAL_H
#define NETLOCK_SIM_DISK_INTERNAL_H

#include "disk.h"
#include "disk_image.h"
#include "disk_io.h"
#include "event.h"
#include "random.h"

/* What sim_mix() is asked about, besides the number of the write. */
enum sim_disk_draw {
    DRAW_JITTER = 1,
    DRAW_TORN,
    DRAW_TORN_COUNT,
    DRAW_SNAPSHOT,
    DRAW_ROT,
};

struct sim_disk {
    uint32_t node;
    uint64_t seed;
    struct sim_image image;
    struct sim_disk_timing timing;
    bool stalled, full;
    bool
        failed; /* something could not be written: nothing more will, until the process ends */
    uint32_t fail_next; /* bits of enum sim_disk_failure */
    uint64_t writes;    /* begun so far: what jitter and tearing are drawn from */
    struct sim_disk_counts counts;

    /* One after another. The first `writing` are one write; a write is one request, or all appends that
     * had queued up in a row. */
    struct sim_disk_request *queue, **queue_end;
    unsigned writing;
    bool write_ready; /* its time has come, but the disk stalls */
    struct sim_event write_done;
    uint64_t queued, dequeued; /* ever */
    raft_index next_index;     /* of the entry that is queued next */

    struct sim_disk_request *beside; /* own snapshots and reads */
};

static inline uint64_t sim_disk_draw(const struct sim_disk *disk, enum sim_disk_draw what)
{
    return sim_mix(disk->seed, disk->node, disk->writes << 8 | what);
}

/* Whether it was said that the next such operation fails; if so, that is done with. */
bool sim_disk_fails(struct sim_disk *disk, enum sim_disk_failure what);

void sim_disk_queue_init(struct sim_disk *disk);
/* Go on with what a full or stalled disk held up. */
void sim_disk_go_on(struct sim_disk *disk);

#endif
