/* batch.h - commands that wait for the entry in flight, already encoded, in batches of one entry.
 *
 * Each command keeps its ref, which is not durable, beside the bytes. Emptied batches are used
 * again, so that a steady load allocates nothing per command. Out of memory aborts.
 */
#ifndef NETLOCK_BATCH_H
#define NETLOCK_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "fsm.h"

struct batch {
    struct batch *next;
    struct entry_writer entry;
    uint64_t *refs; /* of each command in the entry */
    size_t refs_count;
    size_t refs_capacity;
};

/* Zero-initialise; batch_queue_release(). */
struct batch_queue {
    struct batch *first;
    struct batch *last;
    struct batch *spare;
    size_t commands_count;
};

/* Add to the last batch, or to a new one if that would grow over @entry_bytes_max. Returns 0, or
 * -EMSGSIZE if no entry can carry the command. */
int batch_queue_add(struct batch_queue *queue,
                    const struct fsm_command *command,
                    size_t entry_bytes_max);

/* Remove the first batch; it is the caller's until batch_queue_recycle(). */
struct batch *batch_queue_take(struct batch_queue *queue);
void batch_queue_recycle(struct batch_queue *queue, struct batch *batch);

/* Drop every command that waits. */
void batch_queue_clear(struct batch_queue *queue);
void batch_queue_release(struct batch_queue *queue);

#endif
