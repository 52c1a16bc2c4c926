/* A look at the bytes before protobuf-c gets them. It unpacks, but it allocates up to
 * thirty times the input for tiny fields, keeps unknown fields without a bound, and cuts
 * numbers to the width of their field: -1 as wait_timeout would arrive as "for ever". */
#include "wire_internal.h"

#include <errno.h>
#include <string.h>

enum {
    EXTENSION_NUMBER_MIN = 100,
    VARINT_BYTES_MAX = 10,
    ENVELOPE_FIELDS_MAX = 64,
};

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

struct field {
    uint32_t number;
    unsigned wire_type;
    uint64_t varint;
    const uint8_t *data; /* WIRE_LENGTH */
    size_t len;
};

static int read_varint(struct cursor *cursor, uint64_t *ret)
{
    uint64_t value = 0;
    if (cursor->at != cursor->end && *cursor->at < 0x80) { /* most are one byte */
        *ret = *cursor->at++;
        return 0;
    }
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        if (cursor->at == cursor->end) {
            return -EINVAL;
        }
        uint8_t byte = *cursor->at++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return -EINVAL; /* above 64 bits, or still not the last byte */
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret = value;
            return 0;
        }
    }
    return -EINVAL;
}

static int skip(struct cursor *cursor, uint64_t len)
{
    if (len > (uint64_t)(cursor->end - cursor->at)) {
        return -EINVAL;
    }
    cursor->at += len;
    return 0;
}

/* The field at the cursor, which must not be at the end. Groups are refused: proto3 has
 * none. */
static int read_field(struct cursor *cursor, struct field *ret)
{
    uint64_t tag = 0;
    if (read_varint(cursor, &tag) != 0 || tag > UINT32_MAX || tag >> 3 == 0) {
        return -EINVAL;
    }
    *ret = (struct field){.number = (uint32_t)(tag >> 3), .wire_type = tag & 7};
    switch (ret->wire_type) {
    case WIRE_VARINT:
        return read_varint(cursor, &ret->varint);
    case WIRE_FIXED64:
        return skip(cursor, 8);
    case WIRE_FIXED32:
        return skip(cursor, 4);
    case WIRE_LENGTH: {
        uint64_t len = 0;
        if (read_varint(cursor, &len) != 0) {
            return -EINVAL;
        }
        ret->data = cursor->at;
        ret->len = (size_t)len;
        return skip(cursor, len);
    }
    default:
        return -EINVAL;
    }
}

/* Message and Any have the same shape: two fields, 1 and 2, both of them
 * length-delimited. */
static int read_pair(const uint8_t *data,
                     size_t len,
                     struct field *ret_first,
                     struct field *ret_second)
{
    struct cursor cursor = {.at = data, .end = data + len};
    size_t fields = 0;
    size_t unknown = 0;
    while (cursor.at != cursor.end) {
        struct field field;
        if (++fields > ENVELOPE_FIELDS_MAX || read_field(&cursor, &field) != 0) {
            return -EINVAL;
        }
        if (field.number > 2) {
            if (++unknown > WIRE_UNKNOWN_FIELDS_MAX) {
                return -EINVAL;
            }
            continue;
        }
        if (field.wire_type != WIRE_LENGTH) {
            return -EINVAL;
        }
        *(field.number == 1 ? ret_first : ret_second) = field;
    }
    return 0;
}

/* Any text but a broken one: a key is not interpreted, only sent back. */
static int
copy_key(struct wire_str key, struct wire_arena *arena, struct wire_envelope *ret)
{
    if (key.len > WIRE_KEY_BYTES_MAX || !wire_utf8_valid(key.data, key.len)) {
        ret->key_invalid = true;
        return 0;
    }
    if (key.len == 0) {
        return 0;
    }
    int error = 0;
    char *copy = wire_arena_alloc(arena, key.len, &error);
    if (copy == NULL) {
        return error == -ENOMEM ? -ENOMEM : -EINVAL;
    }
    memcpy(copy, key.data, key.len);
    ret->key = (struct wire_str){.data = copy, .len = key.len};
    return 0;
}

int wire_envelope_open(const uint8_t *payload,
                       size_t len,
                       struct wire_arena *arena,
                       struct wire_envelope *ret)
{
    struct field key = {0};
    struct field any = {0};
    struct field url = {0};
    struct field value = {0};
    *ret = (struct wire_envelope){0};
    if (len == 0) {
        return 0;
    }
    if (read_pair(payload, len, &key, &any) != 0) {
        return -EINVAL;
    }
    if (any.len != 0 && read_pair(any.data, any.len, &url, &value) != 0) {
        return -EINVAL;
    }
    if (url.len != 0) {
        const uint8_t *slash = memrchr(url.data, '/', url.len);
        const uint8_t *name = slash != NULL ? slash + 1 : url.data;
        ret->name.data = (const char *)name;
        ret->name.len = (size_t)(url.data + url.len - name);
    }
    ret->value = value.data;
    ret->value_len = value.len;
    return copy_key((struct wire_str){(const char *)key.data, key.len}, arena, ret);
}

static bool in_range(const ProtobufCFieldDescriptor *known, const struct field *field)
{
    if (field->wire_type != WIRE_VARINT) {
        return true; /* a wrong wire type is refused by unpacking */
    }
    switch (known->type) {
    case PROTOBUF_C_TYPE_UINT32:
        return field->varint <= UINT32_MAX;
    case PROTOBUF_C_TYPE_ENUM:
        return field->varint <= INT32_MAX &&
               protobuf_c_enum_descriptor_get_value(known->descriptor,
                                                    (int)field->varint) != NULL;
    default:
        return true;
    }
}

int wire_scan_message(const ProtobufCMessageDescriptor *descriptor,
                      const uint8_t *data,
                      size_t len,
                      size_t fields_max,
                      size_t unknown_max,
                      struct wire_scan *ret)
{
    *ret = (struct wire_scan){0};
    if (len == 0) {
        return 0; /* @data may be NULL */
    }
    struct cursor cursor = {.at = data, .end = data + len};
    size_t fields = 0;
    size_t unknown = 0;
    while (cursor.at != cursor.end) {
        struct field field;
        if (++fields > fields_max || read_field(&cursor, &field) != 0) {
            return -EINVAL;
        }
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(descriptor, field.number);
        if (known == NULL) {
            if (++unknown > unknown_max) {
                return -EINVAL;
            }
            continue;
        }
        ret->extended |= field.number >= EXTENSION_NUMBER_MIN;
        if (ret->out_of_range == NULL && !in_range(known, &field)) {
            ret->out_of_range = known;
        }
    }
    return 0;
}
