/* durable.h - what raft entries and snapshots have in common as bytes.
 *
 * Both are sequences of small protobuf messages (proto/log.proto), each behind its length, inside a
 * frame with a magic number, a format number and a checksum. Numbers in frames are little-endian.
 * Buffers come from raft_malloc(), so that libraft can take them over. Out of memory aborts.
 */
#ifndef NETLOCK_DURABLE_H
#define NETLOCK_DURABLE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "fsm.h"

enum {
    /* No message is larger: three strings of at most 255 bytes and a dozen numbers. Asserted. */
    DURABLE_MESSAGE_BYTES_MAX = 1200,
    DURABLE_ARENA_BYTES = 8192,
};

/* What readers say of data that only a newer build can read. */
extern const char durable_newer[], durable_newer_command[], durable_newer_record[];
/* Whether @error, which a reader has returned, is one of them. */
bool durable_is_newer(const char *error);

/* Bytes that grow. Zero-initialise; durable_release(), or let libraft free `data`. */
struct durable_bytes {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

/* Make room for @more bytes behind `len`. */
void durable_reserve(struct durable_bytes *bytes, size_t more);
/* Give back what lies behind @len, which is at least what is in it. */
void durable_trim(struct durable_bytes *bytes, size_t len);
void durable_release(struct durable_bytes *bytes);

/* Append one alternative of a Command or Record, behind its length: begin, write the fields in
 * ascending order, end with the number of the alternative.
 *
 *     uint8_t *at = durable_begin(&bytes);
 *     at = durable_put_str(at, 1, client);
 *     at = durable_put_number(at, 2, epoch);
 *     durable_end(&bytes, KIND_LOCK, at);
 *
 * Written by hand, because protobuf-c takes five times as long and a snapshot holds up the loop;
 * read by the generated descriptors, so that no test passes with a wrong number. The bytes are those
 * that protobuf-c would write: zero and empty fields are absent. Field numbers are below 16. */
uint8_t *durable_begin(struct durable_bytes *bytes);
uint8_t *durable_put_number(uint8_t *at, unsigned field, uint64_t value);
uint8_t *durable_put_fixed64(uint8_t *at, unsigned field, uint64_t value);
uint8_t *durable_put_str(uint8_t *at, unsigned field, struct fsm_str str);
uint8_t *
durable_put_settings(uint8_t *at, unsigned field, const struct fsm_settings *settings);
void durable_end(struct durable_bytes *bytes, unsigned kind, uint8_t *end);

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

/* Unpack into @arena, over the message before; bytes are borrowed from @data. Fields that are not known
 * are skipped. NULL: damaged. */
void *durable_unpack(struct durable_arena *arena,
                     const ProtobufCMessageDescriptor *type,
                     const uint8_t *data,
                     size_t len);

uint64_t durable_checksum(const uint8_t *data, size_t len);

static inline void durable_put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void durable_put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

static inline uint32_t durable_get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static inline uint64_t durable_get_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

/* The same bytes, borrowed. */
struct fsm_str durable_to_str(ProtobufCBinaryData data);

#endif
