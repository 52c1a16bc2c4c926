#include "batch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { REFS_CAPACITY_MIN = 64 };

static struct batch *batch_open(struct batch_queue *queue)
{
    struct batch *batch = queue->spare;

    if (batch != NULL) {
        queue->spare = batch->next;
    } else {
        batch = calloc(1, sizeof(*batch));
        if (batch == NULL) {
            abort();
        }
    }
    batch->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = batch;
    } else {
        queue->first = batch;
    }
    queue->last = batch;
    return batch;
}

static void batch_free(struct batch *batch)
{
    entry_writer_release(&batch->entry);
    free(batch->refs);
    free(batch);
}

static void keep_ref(struct batch *batch, uint64_t ref)
{
    if (batch->refs_count == batch->refs_capacity) {
        size_t capacity =
            batch->refs_capacity > 0 ? 2 * batch->refs_capacity : REFS_CAPACITY_MIN;
        uint64_t *refs = reallocarray(batch->refs, capacity, sizeof(refs[0]));
        if (refs == NULL) {
            abort();
        }
        batch->refs = refs;
        batch->refs_capacity = capacity;
    }
    batch->refs[batch->refs_count++] = ref;
}

int batch_queue_add(struct batch_queue *queue,
                    const struct fsm_command *command,
                    size_t entry_bytes_max)
{
    struct batch *batch = queue->last != NULL ? queue->last : batch_open(queue);
    int rv = entry_writer_add(&batch->entry, command, entry_bytes_max);

    if (rv == -ENOBUFS) {
        batch = batch_open(queue);
        rv = entry_writer_add(&batch->entry, command, entry_bytes_max);
    }
    if (rv != 0) {
        return rv;
    }
    keep_ref(batch, command->ref);
    queue->commands_count++;
    return 0;
}

struct batch *batch_queue_take(struct batch_queue *queue)
{
    struct batch *batch = queue->first;

    assert(batch != NULL);
    queue->first = batch->next;
    if (queue->first == NULL) {
        queue->last = NULL;
    }
    batch->next = NULL;
    queue->commands_count -= batch->refs_count;
    return batch;
}

void batch_queue_recycle(struct batch_queue *queue, struct batch *batch)
{
    entry_writer_clear(&batch->entry);
    batch->refs_count = 0;
    batch->next = queue->spare;
    queue->spare = batch;
}

void batch_queue_clear(struct batch_queue *queue)
{
    while (queue->first != NULL) {
        batch_queue_recycle(queue, batch_queue_take(queue));
    }
}

void batch_queue_release(struct batch_queue *queue)
{
    batch_queue_clear(queue);
    while (queue->spare != NULL) {
        struct batch *next = queue->spare->next;
        batch_free(queue->spare);
        queue->spare = next;
    }
}
