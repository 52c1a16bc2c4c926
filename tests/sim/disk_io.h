/* disk_io.h - what the struct raft_io (raft_io.c) asks of a disk.
 *
 * A request is embedded in its owner, which the simulator owns: it outlives the process. Exactly one of
 * its callbacks is called, outside of any process: `done` when the disk has finished, `lost` when the
 * process died before; or sim_disk_cancel() gives it back. */
#ifndef NETLOCK_SIM_DISK_IO_H
#define NETLOCK_SIM_DISK_IO_H

#include "disk.h"
#include "disk_image.h"
#include "event.h"

enum sim_disk_work {
    SIM_WORK_APPEND = 1,
    SIM_WORK_TRUNCATE,
    SIM_WORK_INSTALL,  /* a snapshot that came from the leader: replaces the log */
    SIM_WORK_SNAPSHOT, /* one of the node's own: beside the appends */
    SIM_WORK_READ,     /* the newest snapshot */
};

struct sim_disk_request {
    /* @status: 0, or RAFT_IOERR; then the disk does no more until the process is dead. */
    void (*done)(struct sim_disk_request *request, int status);
    void (*lost)(struct sim_disk_request *request);

    /* Private. */
    enum sim_disk_work work;
    struct sim_disk *disk;
    struct sim_disk_request *next;
    struct sim_batch *batch; /* APPEND */
    raft_index index;        /* TRUNCATE */
    struct sim_stored_snapshot *snapshot;
    unsigned trailing;
    struct sim_event finish; /* of what runs beside the queue */
    uint64_t behind;         /* SNAPSHOT: not before this many queued requests are done */
    bool ready;              /* its time has come, but something holds it up */
};

struct sim_image *sim_disk_image(struct sim_disk *disk);
static inline bool sim_disk_request_reads(const struct sim_disk_request *request)
{
    return request->work == SIM_WORK_READ;
}

/* At once. 0, or RAFT_IOERR. */
int sim_disk_set_term(struct sim_disk *disk, raft_term term);
int sim_disk_set_vote(struct sim_disk *disk, raft_id voted_for);

/* A process begins to use the disk. The next entry that is appended will be at @next_index. */
void sim_disk_open(struct sim_disk *disk, raft_index next_index);
/* 1 KiB units, as raft_uv counts them: none on a full disk. */
unsigned short sim_disk_capacity(const struct sim_disk *disk);

/* What the arguments point to is copied. */
void sim_disk_append(struct sim_disk *disk,
                     struct sim_disk_request *request,
                     const struct raft_entry *entries,
                     unsigned count);
/* False if there is nothing to do: @request is not taken. */
bool sim_disk_truncate(struct sim_disk *disk,
                       struct sim_disk_request *request,
                       raft_index index);
/* @trailing 0: install. */
void sim_disk_put(struct sim_disk *disk,
                  struct sim_disk_request *request,
                  const struct raft_snapshot *snapshot,
                  unsigned trailing);
void sim_disk_read(struct sim_disk *disk, struct sim_disk_request *request);

/* The process closes its log: give back one request that was not begun, or is a snapshot beside the
 * queue; in order. NULL: no more; what is left will be done. */
struct sim_disk_request *sim_disk_cancel(struct sim_disk *disk);

#endif
