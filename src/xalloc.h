/* xalloc.h - memory of the server. Out of memory aborts: a leader that forgot a client
 * would break promises, and libraft cannot cope with it either. What a client can make
 * grow is bounded. */
#ifndef NETLOCK_XALLOC_H
#define NETLOCK_XALLOC_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Zeroed. */
static inline void *xcalloc(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static inline void *xrealloc(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* NULL for no bytes. */
static inline char *xmemdup(const char *data, size_t len)
{
    return len == 0 ? NULL : memcpy(xcalloc(len), data, len);
}

#endif
