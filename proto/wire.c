#include "wire_internal.h"

#include "frame.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* The numbers of wire.h are those of the schema. */
#define SAME(ours, theirs)                                                               \
    static_assert((int)(ours) == (int)(GONETLOCK__##theirs), #ours " is not " #theirs)
SAME(WIRE_WRITE, LOCK_TYPE__WRITE);
SAME(WIRE_READ, LOCK_TYPE__READ);
SAME(WIRE_BREAK, LOCK_MODE__BREAK);
SAME(WIRE_WAIT, LOCK_MODE__WAIT);
SAME(WIRE_DROP_RELEASE, LOCK_CONNECTION_DROP__RELEASE);
SAME(WIRE_DROP_IGNORE, LOCK_CONNECTION_DROP__IGNORE);
SAME(WIRE_DENY_HELD, DENY_REASON__DENY_HELD);
SAME(WIRE_DENY_CANCELLED, DENY_REASON__DENY_CANCELLED);
SAME(WIRE_DENY_NOT_HELD, DENY_REASON__DENY_NOT_HELD);
SAME(WIRE_DENY_EXPIRED, DENY_REASON__DENY_EXPIRED);
SAME(WIRE_DENY_UPGRADE_CONFLICT, DENY_REASON__DENY_UPGRADE_CONFLICT);
SAME(WIRE_DENY_LIMIT_MISMATCH, DENY_REASON__DENY_LIMIT_MISMATCH);
SAME(WIRE_DENY_NOT_ATTACHED, DENY_REASON__DENY_NOT_ATTACHED);
SAME(WIRE_DENY_STALE_EPOCH, DENY_REASON__DENY_STALE_EPOCH);
SAME(WIRE_DENY_NOT_ALLOWED, DENY_REASON__DENY_NOT_ALLOWED);
SAME(WIRE_DENY_LIMIT_EXCEEDED, DENY_REASON__DENY_LIMIT_EXCEEDED);
SAME(WIRE_DENY_INVALID, DENY_REASON__DENY_INVALID);
SAME(WIRE_HOLD_EXPIRED, HOLD_END__HOLD_END_EXPIRED);
SAME(WIRE_HOLD_BROKEN, HOLD_END__HOLD_END_BROKEN);
SAME(WIRE_RELEASED, RELEASE_RESULT__RELEASED);
SAME(WIRE_WAS_QUEUED, RELEASE_RESULT__WAS_QUEUED);
SAME(WIRE_NOT_HELD, RELEASE_RESULT__NOT_HELD);
SAME(WIRE_EXPIRED, RELEASE_RESULT__EXPIRED);
SAME(WIRE_HELD_BY_OTHER, RELEASE_RESULT__HELD_BY_OTHER);
SAME(WIRE_FREE, LOCK_STATE__FREE);
SAME(WIRE_HELD_BY_ME, LOCK_STATE__HELD_BY_ME);
SAME(WIRE_WAITING, LOCK_STATE__WAITING);
SAME(WIRE_HELD_BY_OTHER_CLIENT, LOCK_STATE__HELD_BY_OTHER_CLIENT);
SAME(WIRE_TOKEN_CURRENT, TOKEN_STATE__TOKEN_CURRENT);
SAME(WIRE_TOKEN_SUPERSEDED, TOKEN_STATE__TOKEN_SUPERSEDED);
SAME(WIRE_TOKEN_FREE, TOKEN_STATE__TOKEN_FREE);
SAME(WIRE_ERROR_NOT_LEADER, ERROR_CODE__ERROR_NOT_LEADER);
SAME(WIRE_ERROR_UNKNOWN, ERROR_CODE__ERROR_UNKNOWN);
SAME(WIRE_ERROR_BUSY, ERROR_CODE__ERROR_BUSY);
SAME(WIRE_ERROR_UNKNOWN_TYPE, ERROR_CODE__ERROR_UNKNOWN_TYPE);
SAME(WIRE_ERROR_INVALID, ERROR_CODE__ERROR_INVALID);
SAME(WIRE_ERROR_TOO_LARGE, ERROR_CODE__ERROR_TOO_LARGE);
SAME(WIRE_ERROR_LIMIT, ERROR_CODE__ERROR_LIMIT);
SAME(WIRE_ERROR_NOT_ALLOWED, ERROR_CODE__ERROR_NOT_ALLOWED);
SAME(WIRE_ERROR_VERSION, ERROR_CODE__ERROR_VERSION);
SAME(WIRE_ERROR_NOT_ATTACHED, ERROR_CODE__ERROR_NOT_ATTACHED);
SAME(WIRE_ERROR_STALE_EPOCH, ERROR_CODE__ERROR_STALE_EPOCH);
SAME(WIRE_ROLE_FOLLOWER, NODE_ROLE__ROLE_FOLLOWER);
SAME(WIRE_ROLE_CANDIDATE, NODE_ROLE__ROLE_CANDIDATE);
SAME(WIRE_ROLE_LEADER, NODE_ROLE__ROLE_LEADER);
SAME(WIRE_ROLE_SERVING, NODE_ROLE__ROLE_SERVING);
#undef SAME

/* ---- memory ----------------------------------------------------------------------- */

enum {
    CHUNK_BYTES_MIN = 4096,
    ARENA_LIMIT_BYTES_DEFAULT = 16 * 1024 * 1024,
    ARENA_KEPT_BYTES_MAX = 256 * 1024, /* after one huge message */
};

struct wire_chunk {
    struct wire_chunk *next;
    size_t used;
    size_t size;
    alignas(max_align_t) uint8_t bytes[];
};

void wire_arena_clear(struct wire_arena *arena)
{
    size_t kept = 0;
    struct wire_chunk **link = &arena->chunks;
    while (*link != NULL) {
        struct wire_chunk *chunk = *link;
        if (kept + chunk->size > ARENA_KEPT_BYTES_MAX) {
            *link = chunk->next;
            free(chunk);
            continue;
        }
        kept += chunk->size;
        chunk->used = 0;
        link = &chunk->next;
    }
    arena->used_bytes = 0;
}

void wire_arena_release(struct wire_arena *arena)
{
    while (arena->chunks != NULL) {
        struct wire_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    arena->used_bytes = 0;
}

static struct wire_chunk *arena_chunk_with(struct wire_arena *arena, size_t size)
{
    size_t chunk_size = CHUNK_BYTES_MIN;
    for (struct wire_chunk *chunk = arena->chunks; chunk != NULL; chunk = chunk->next) {
        if (chunk->size - chunk->used >= size) {
            return chunk;
        }
        if (chunk_size <= chunk->size) {
            chunk_size = 2 * chunk->size; /* so that there are never more than a few */
        }
    }
    if (chunk_size < size) {
        chunk_size = size;
    }
    struct wire_chunk *chunk = malloc(sizeof(*chunk) + chunk_size);
    if (chunk == NULL) {
        return NULL;
    }
    *chunk = (struct wire_chunk){.next = arena->chunks, .size = chunk_size};
    arena->chunks = chunk;
    return chunk;
}

void *wire_arena_alloc(struct wire_arena *arena, size_t size, int *ret_error)
{
    size_t limit =
        arena->limit_bytes != 0 ? arena->limit_bytes : ARENA_LIMIT_BYTES_DEFAULT;
    if (size > limit) {
        *ret_error = -EMSGSIZE;
        return NULL;
    }
    size_t aligned = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (aligned > limit - arena->used_bytes) {
        *ret_error = -EMSGSIZE;
        return NULL;
    }
    struct wire_chunk *chunk = arena_chunk_with(arena, aligned);
    if (chunk == NULL) {
        *ret_error = -ENOMEM;
        return NULL;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += aligned;
    arena->used_bytes += aligned;
    return memory;
}

struct unpack_memory {
    struct wire_arena *arena;
    int error;
};

static void *unpack_alloc(void *arg, size_t size)
{
    struct unpack_memory *memory = arg;
    return wire_arena_alloc(memory->arena, size, &memory->error);
}

static void unpack_free(void *arg, void *pointer)
{
    /* The arena frees everything at once. */
    (void)arg;
    (void)pointer;
}

ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *descriptor,
                              const uint8_t *data,
                              size_t len,
                              struct wire_arena *arena,
                              int *ret_error)
{
    struct unpack_memory memory = {.arena = arena};
    ProtobufCAllocator allocator = {
        .alloc = unpack_alloc, .free = unpack_free, .allocator_data = &memory};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, &allocator, len, data);
    if (message == NULL) {
        *ret_error = memory.error == -ENOMEM ? -ENOMEM : -EINVAL;
    }
    return message;
}

/* ---- names ------------------------------------------------------------------------ */

/* Length of the UTF-8 sequence at @at, 0 if it is malformed (overlong forms, surrogates
 * and what lies above U+10FFFF too). Table 3-7 of the Unicode standard. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t lead = at[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || len > left) {
        return 0;
    }
    uint8_t second_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t second_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < second_min || at[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool wire_utf8_valid(const char *data, size_t len)
{
    const uint8_t *at = (const uint8_t *)data;
    size_t step = 0;
    for (size_t i = 0; i < len; i += step) {
        step = utf8_sequence(at + i, len - i);
        if (step == 0) {
            return false;
        }
    }
    return true;
}

bool wire_name_valid(const char *data, size_t len)
{
    if (len == 0 || len > WIRE_NAME_BYTES_MAX) {
        return false;
    }
    const uint8_t *at = (const uint8_t *)data;
    size_t step = 0;
    for (size_t i = 0; i < len; i += step) {
        step = 1;
        if (at[i] >= 0x20 && at[i] < 0x7f) {
            continue;
        }
        step = utf8_sequence(at + i, len - i);
        bool c0 = at[i] < 0x20 || at[i] == 0x7f;
        bool c1 = step == 2 && at[i] == 0xc2 && at[i + 1] < 0xa0;
        if (step == 0 || c0 || c1) {
            return false;
        }
    }
    return true;
}

/* ---- the envelope of what is sent ------------------------------------------------- */

static const char url_prefix[] = "type.googleapis.com/";
enum { URL_PREFIX_BYTES = sizeof(url_prefix) - 1 };

static size_t varint_size(size_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

/* A length-delimited field of @len bytes; absent when empty, as proto3 has it. */
static size_t field_size(size_t len)
{
    return len == 0 ? 0 : 1 + varint_size(len) + len;
}

/* Tag and length of such a field; the fields of the envelope have numbers below 16. */
static uint8_t *put_field_head(uint8_t *out, unsigned number, size_t len)
{
    *out++ = (uint8_t)(number << 3 | 2);
    while (len >= 0x80) {
        *out++ = (uint8_t)(len | 0x80);
        len >>= 7;
    }
    *out++ = (uint8_t)len;
    return out;
}

static uint8_t *put_bytes(uint8_t *out, const void *data, size_t len)
{
    memcpy(out, data, len);
    return out + len;
}

int wire_put_message(struct wire_buf *buf,
                     struct wire_str key,
                     const ProtobufCMessage *message)
{
    const char *name = message->descriptor->name;
    size_t name_len = strlen(name);
    size_t value_len = protobuf_c_message_get_packed_size(message);
    size_t any_len = field_size(URL_PREFIX_BYTES + name_len) + field_size(value_len);
    size_t payload_len = field_size(key.len) + field_size(any_len);
    if (payload_len > FRAME_PAYLOAD_BYTES_MAX) {
        return -EMSGSIZE;
    }
    int rv = wire_buf_reserve(buf, FRAME_HEADER_BYTES + payload_len);
    if (rv != 0) {
        return rv;
    }

    uint8_t *out = buf->data + buf->len;
    frame_put_header(out, payload_len);
    out += FRAME_HEADER_BYTES;
    if (key.len != 0) {
        out = put_field_head(out, 1, key.len);
        out = put_bytes(out, key.data, key.len);
    }
    out = put_field_head(out, 2, any_len);
    out = put_field_head(out, 1, URL_PREFIX_BYTES + name_len);
    out = put_bytes(out, url_prefix, URL_PREFIX_BYTES);
    out = put_bytes(out, name, name_len);
    if (value_len != 0) {
        out = put_field_head(out, 2, value_len);
        out += protobuf_c_message_pack(message, out);
    }
    buf->len += FRAME_HEADER_BYTES + payload_len;
    assert(out == buf->data + buf->len);
    return 0;
}
