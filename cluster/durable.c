#include "durable.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <raft.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CAPACITY_MIN = 4096, VARINT_PAYLOAD_BITS = 7, VARINT_MORE = 0x80 };

/* ---- growing bytes -------------------------------------------------------------------- */

void durable_reserve(struct durable_bytes *bytes, size_t more)
{
    size_t capacity = bytes->capacity > 0 ? bytes->capacity : CAPACITY_MIN;

    assert(more <= SIZE_MAX / 4 && bytes->len <= SIZE_MAX / 4);
    while (capacity - bytes->len < more) {
        capacity *= 2;
    }
    if (capacity == bytes->capacity) {
        return;
    }
    bytes->data = raft_realloc(bytes->data, capacity);
    if (bytes->data == NULL) {
        abort();
    }
    bytes->capacity = capacity;
}

void durable_release(struct durable_bytes *bytes)
{
    raft_free(bytes->data);
    *bytes = (struct durable_bytes){0};
}

/* ---- messages behind their length ----------------------------------------------------- */

/* The message is packed first, behind the room for the longest length: to ask protobuf-c for the
 * size beforehand costs as much as packing. A short length then moves it down by one byte. */
void durable_append(struct durable_bytes *bytes, const ProtobufCMessage *message)
{
    durable_reserve(bytes, DURABLE_PREFIX_BYTES_MAX + DURABLE_MESSAGE_BYTES_MAX);

    uint8_t *at = bytes->data + bytes->len;
    size_t len = protobuf_c_message_pack(message, at + DURABLE_PREFIX_BYTES_MAX);
    assert(len <= DURABLE_MESSAGE_BYTES_MAX);

    if (len < VARINT_MORE) {
        at[0] = (uint8_t)len;
        memmove(at + 1, at + DURABLE_PREFIX_BYTES_MAX, len);
        bytes->len += 1 + len;
    } else {
        at[0] = (uint8_t)(len | VARINT_MORE);
        at[1] = (uint8_t)(len >> VARINT_PAYLOAD_BITS);
        bytes->len += DURABLE_PREFIX_BYTES_MAX + len;
    }
}

int durable_next(const uint8_t **cursor,
                 const uint8_t *end,
                 const uint8_t **ret_message,
                 size_t *ret_len)
{
    const uint8_t *at = *cursor;
    size_t len;

    if (at == end) {
        return -EBADMSG;
    }
    len = *at++;
    if (len >= VARINT_MORE) {
        if (at == end || *at >= VARINT_MORE) {
            return -EBADMSG;
        }
        len = (len & ~(size_t)VARINT_MORE) | (size_t)*at++ << VARINT_PAYLOAD_BITS;
    }
    if ((size_t)(end - at) < len) {
        return -EBADMSG;
    }
    *ret_message = at;
    *ret_len = len;
    *cursor = at + len;
    return 0;
}

/* ---- unpacking without malloc --------------------------------------------------------- */

static void *arena_alloc(void *arg, size_t size)
{
    struct durable_arena *arena = arg;
    size_t free_bytes = sizeof(arena->bytes) - arena->used;
    void *memory = arena->bytes + arena->used;

    if (size > free_bytes) {
        return NULL;
    }
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    arena->used += size < free_bytes ? size : free_bytes;
    return memory;
}

static void arena_free(void *arg, void *memory)
{
    (void)arg;
    (void)memory;
}

void *durable_unpack(struct durable_arena *arena,
                     const ProtobufCMessageDescriptor *type,
                     const uint8_t *data,
                     size_t len)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc,
        .free = arena_free,
        .allocator_data = arena,
    };

    arena->used = 0;
    return protobuf_c_message_unpack(type, &allocator, len, data);
}

/* ---- frames --------------------------------------------------------------------------- */

uint64_t durable_checksum(const uint8_t *data, size_t len)
{
    return XXH64(data, len, 0);
}

void durable_put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < sizeof(value); i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

void durable_put_u64(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < sizeof(value); i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

uint32_t durable_get_u32(const uint8_t *at)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < sizeof(value); i++) {
        value |= (uint32_t)at[i] << (8 * i);
    }
    return value;
}

uint64_t durable_get_u64(const uint8_t *at)
{
    return (uint64_t)durable_get_u32(at) | (uint64_t)durable_get_u32(at + 4) << 32;
}

/* ---- strings -------------------------------------------------------------------------- */

/* protobuf-c has no const; it only reads what it packs. */
ProtobufCBinaryData durable_from_str(struct fsm_str str)
{
    union {
        const char *borrowed;
        uint8_t *packed;
    } data = {.borrowed = str.data};

    return (ProtobufCBinaryData){.len = str.len, .data = data.packed};
}

struct fsm_str durable_to_str(ProtobufCBinaryData data)
{
    return (struct fsm_str){.data = (const char *)data.data, .len = data.len};
}
