/* durable.h - what raft entries and snapshots have in common as bytes.
 *
 * Both are sequences of small protobuf messages (proto/log.proto), each behind its length, inside a
 * frame with a magic number, a format number and a checksum. Numbers in frames are little-endian.
 * Buffers come from raft_malloc(), so that libraft can take them over. Out of memory aborts.
 */
#ifndef NETLOCK_DURABLE_H
#define NETLOCK_DURABLE_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "fsm.h"

enum {
    /* No message packs larger: three strings of at most 255 bytes and a dozen numbers. Asserted. */
    DURABLE_MESSAGE_BYTES_MAX = 1200,
    DURABLE_PREFIX_BYTES_MAX = 2, /* a varint length below 2^14 */
    DURABLE_ARENA_BYTES = 8192,
};

/* Bytes that grow. Zero-initialise; durable_release(), or let libraft free `data`. */
struct durable_bytes {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

/* Make room for @more bytes behind `len`. */
void durable_reserve(struct durable_bytes *bytes, size_t more);
void durable_release(struct durable_bytes *bytes);

/* Append @message behind its length. */
void durable_append(struct durable_bytes *bytes, const ProtobufCMessage *message);

/* Step over one length and the message behind it. Returns 0, or -EBADMSG if they do not lie within
 * @end. */
int durable_next(const uint8_t **cursor,
                 const uint8_t *end,
                 const uint8_t **ret_message,
                 size_t *ret_len);

/* Memory for unpacking one message at a time. It is bounded: bytes that ask for more are damaged,
 * and unpacking them fails like any other damage. */
struct durable_arena {
    size_t used;
    _Alignas(max_align_t) uint8_t bytes[DURABLE_ARENA_BYTES];
};

/* Unpack into @arena, over the message before. NULL: damaged. */
void *durable_unpack(struct durable_arena *arena,
                     const ProtobufCMessageDescriptor *type,
                     const uint8_t *data,
                     size_t len);

uint64_t durable_checksum(const uint8_t *data, size_t len);

void durable_put_u32(uint8_t *at, uint32_t value);
void durable_put_u64(uint8_t *at, uint64_t value);
uint32_t durable_get_u32(const uint8_t *at);
uint64_t durable_get_u64(const uint8_t *at);

/* The same bytes in the types of both sides, borrowed. */
ProtobufCBinaryData durable_from_str(struct fsm_str str);
struct fsm_str durable_to_str(ProtobufCBinaryData data);

#endif
