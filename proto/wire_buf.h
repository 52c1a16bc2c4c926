/* wire_buf.h - bytes that grow at their end. Zero-initialise; `data` is malloc'ed, wire_buf_release()
 * frees it. What was appended stays where it is until the next call that grows the buffer. */
#ifndef NETLOCK_WIRE_BUF_H
#define NETLOCK_WIRE_BUF_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WIRE_BUF_BYTES_MIN = 512 };

struct wire_buf {
    uint8_t *data;
    size_t len, capacity;
};

/* Room for @more bytes behind data + len. Returns 0 or -ENOMEM (the buffer is as it was). */
static inline int wire_buf_reserve(struct wire_buf *buf, size_t more)
{
    if (buf->capacity - buf->len >= more) {
        return 0;
    }
    size_t capacity = buf->capacity != 0 ? buf->capacity : WIRE_BUF_BYTES_MIN;
    while (capacity - buf->len < more) {
        if (capacity > PTRDIFF_MAX / 2) {
            return -ENOMEM;
        }
        capacity *= 2;
    }
    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

static inline int wire_buf_append(struct wire_buf *buf, const void *data, size_t len)
{
    int rv = wire_buf_reserve(buf, len);

    if (rv == 0 && len != 0) {
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
    return rv;
}

/* Drop @len bytes (at most all) from the front. */
static inline void wire_buf_drop(struct wire_buf *buf, size_t len)
{
    buf->len -= len;
    if (len != 0 && buf->len != 0) {
        memmove(buf->data, buf->data + len, buf->len);
    }
}

static inline void wire_buf_release(struct wire_buf *buf)
{
    free(buf->data);
    *buf = (struct wire_buf){0};
}

/* Empty it; memory beyond @kept_bytes_max is given back: one large message is not paid for ever. */
static inline void wire_buf_clear(struct wire_buf *buf, size_t kept_bytes_max)
{
    buf->len = 0;
    if (buf->capacity > kept_bytes_max) {
        wire_buf_release(buf);
    }
}

#endif
