/* memory.h - allocation that cannot fail.
 *
 * A replica that skipped a command for want of memory would differ from the others for
 * ever after; one that stops can come back.
 */
#ifndef NETLOCK_FSM_MEMORY_H
#define NETLOCK_FSM_MEMORY_H

#include <stdlib.h>

static inline void *memory_new(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static inline void *memory_resize(void *memory, size_t count, size_t item_size)
{
    void *resized = reallocarray(memory, count, item_size);
    if (resized == NULL) {
        abort();
    }
    return resized;
}

#endif
