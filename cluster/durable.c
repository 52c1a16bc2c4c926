#include "durable.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <raft.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

const char durable_newer[] = "it comes from a newer version";
const char durable_newer_command[] = "it has a command of a newer version";
const char durable_newer_record[] = "it has a record of a newer version";

bool durable_is_newer(const char *error)
{
    return error == durable_newer || error == durable_newer_command ||
           error == durable_newer_record;
}

enum {
    CAPACITY_MIN = 4096,

    /* Protobuf on the wire. */
    VARINT_PAYLOAD_BITS = 7,
    VARINT_MORE = 0x80,
    TAG_TYPE_BITS = 3,
    TAG_VARINT = 0,
    TAG_FIXED64 = 1,
    TAG_BYTES = 2,

    PREFIX_BYTES_MAX = 5, /* a length below 2^14, a tag, a length below 2^14 */
};

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

void durable_trim(struct durable_bytes *bytes, size_t len)
{
    assert(len >= bytes->len && len <= bytes->capacity);
    bytes->data = raft_realloc(bytes->data, len);
    if (bytes->data == NULL) {
        abort();
    }
    bytes->capacity = len;
}

void durable_release(struct durable_bytes *bytes)
{
    raft_free(bytes->data);
    *bytes = (struct durable_bytes){0};
}

/* ---- messages behind their length ----------------------------------------------------- */

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    while (value >= VARINT_MORE) {
        *at++ = (uint8_t)(value | VARINT_MORE);
        value >>= VARINT_PAYLOAD_BITS;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* The fields come behind room for the longest prefix: their length is known afterwards. */
uint8_t *durable_begin(struct durable_bytes *bytes)
{
    durable_reserve(bytes, PREFIX_BYTES_MAX + DURABLE_MESSAGE_BYTES_MAX);
    return bytes->data + bytes->len + PREFIX_BYTES_MAX;
}

uint8_t *durable_put_number(uint8_t *at, unsigned field, uint64_t value)
{
    if (value == 0) {
        return at;
    }
    *at++ = (uint8_t)(field << TAG_TYPE_BITS | TAG_VARINT);
    return put_varint(at, value);
}

uint8_t *durable_put_fixed64(uint8_t *at, unsigned field, uint64_t value)
{
    if (value == 0) {
        return at;
    }
    *at++ = (uint8_t)(field << TAG_TYPE_BITS | TAG_FIXED64);
    durable_put_u64(at, value);
    return at + sizeof(value);
}

uint8_t *durable_put_str(uint8_t *at, unsigned field, struct fsm_str str)
{
    if (str.len == 0) {
        return at;
    }
    *at++ = (uint8_t)(field << TAG_TYPE_BITS | TAG_BYTES);
    at = put_varint(at, str.len);
    memcpy(at, str.data, str.len);
    return at + str.len;
}

/* Settings are present even if all are zero. */
uint8_t *
durable_put_settings(uint8_t *at, unsigned field, const struct fsm_settings *settings)
{
    uint8_t *len_at = at + 1;
    uint8_t *end = at + 2;

    *at = (uint8_t)(field << TAG_TYPE_BITS | TAG_BYTES);
    end = durable_put_number(end, 1, settings->reattach_grace_ms);
    end = durable_put_number(end, 2, settings->clients_max);
    end = durable_put_number(end, 3, settings->claims_max);
    end = durable_put_number(end, 4, settings->claims_per_client_max);
    end = durable_put_number(end, 5, settings->waiters_per_lock_max);
    end = durable_put_number(end, 6, settings->drop_max);
    *len_at = (uint8_t)(end - len_at - 1); /* at most six times eleven */
    return end;
}

void durable_end(struct durable_bytes *bytes, unsigned kind, uint8_t *end)
{
    uint8_t *start = bytes->data + bytes->len;
    uint8_t *fields = start + PREFIX_BYTES_MAX;
    size_t fields_len = (size_t)(end - fields);
    size_t kind_len = fields_len < VARINT_MORE ? 2 : 3; /* tag and length */
    uint8_t *at;

    assert(fields_len <= DURABLE_MESSAGE_BYTES_MAX);
    at = put_varint(start, kind_len + fields_len);
    *at++ = (uint8_t)(kind << TAG_TYPE_BITS | TAG_BYTES);
    at = put_varint(at, fields_len);
    memmove(at, fields, fields_len);
    bytes->len += (size_t)(at - start) + fields_len;
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

/* ---- frames --------------------------------------------------------------------------- */

uint64_t durable_checksum(const uint8_t *data, size_t len)
{
    return XXH64(data, len, 0);
}

/* ---- strings -------------------------------------------------------------------------- */

struct fsm_str durable_to_str(ProtobufCBinaryData data)
{
    return (struct fsm_str){.data = (const char *)data.data, .len = data.len};
}
