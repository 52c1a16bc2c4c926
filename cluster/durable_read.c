/* durable_read.c - protobuf messages of entries and snapshots, unpacked by their generated descriptors.
 *
 * protobuf-c does it in several passes, for what a schema could have: repeated fields, merged messages, kept
 * unknown fields. Every node reads every command, and here none of these is ever written. */
#include "durable.h"

#include <stdbool.h>

enum {
    VARINT_PAYLOAD_BITS = 7,
    VARINT_MORE = 0x80,
    VARINT_BITS = 64,
    TAG_TYPE_BITS = 3,
    TAG_TYPE_MASK = 7,
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

struct value {
    enum wire_type type;
    uint64_t number;
    struct cursor bytes;
};

/* ---- memory --------------------------------------------------------------------------- */

static void *arena_alloc(struct durable_arena *arena, size_t size)
{
    void *memory = arena->bytes + arena->used;

    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (size > sizeof(arena->bytes) - arena->used) {
        return NULL;
    }
    arena->used += size;
    return memory;
}

/* ---- bytes ---------------------------------------------------------------------------- */

static bool read_varint(struct cursor *cursor, uint64_t *ret)
{
    uint64_t number = 0;

    for (unsigned shift = 0; shift < VARINT_BITS; shift += VARINT_PAYLOAD_BITS) {
        if (cursor->at == cursor->end) {
            return false;
        }
        uint8_t byte = *cursor->at++;
        uint64_t payload = byte & (VARINT_MORE - 1);
        if (payload << shift >> shift != payload) {
            return false; /* more than 64 bits: no writer's, and readers differ in what it is */
        }
        number |= payload << shift;
        if (byte < VARINT_MORE) {
            *ret = number;
            return true;
        }
    }
    return false;
}

static bool read_bytes(struct cursor *cursor, uint64_t len, struct cursor *ret)
{
    if (len > (uint64_t)(cursor->end - cursor->at)) {
        return false;
    }
    *ret = (struct cursor){.at = cursor->at, .end = cursor->at + len};
    cursor->at += len;
    return true;
}

static bool read_value(struct cursor *cursor, struct value *value)
{
    switch (value->type) {
    case WIRE_VARINT:
        return read_varint(cursor, &value->number);
    case WIRE_FIXED64:
        if (!read_bytes(cursor, sizeof(value->number), &value->bytes)) {
            return false;
        }
        value->number = durable_get_u64(value->bytes.at);
        return true;
    case WIRE_FIXED32:
        return read_bytes(cursor, sizeof(uint32_t), &value->bytes);
    case WIRE_BYTES:
        return read_varint(cursor, &value->number) &&
               read_bytes(cursor, value->number, &value->bytes);
    }
    return false; /* there are no others in proto3 */
}

/* ---- messages ------------------------------------------------------------------------- */

/* Fields are in order, and here numbered from 1 without a gap. NULL: of a newer version. */
static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type,
                                                uint64_t number)
{
    return number - 1 < type->n_fields && type->fields[number - 1].id == number
               ? &type->fields[number - 1]
               : NULL;
}

static void *read_message(struct durable_arena *arena,
                          const ProtobufCMessageDescriptor *type,
                          struct cursor bytes);

static bool put_message(struct durable_arena *arena,
                        const ProtobufCFieldDescriptor *field,
                        const struct value *value,
                        void *message,
                        void **place)
{
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t kind = field->id;
        memcpy((uint8_t *)message + field->quantifier_offset, &kind, sizeof(kind));
    }
    if (*place != NULL) {
        return false; /* twice, or two kinds of a oneof */
    }
    *place = read_message(arena, field->descriptor, value->bytes);
    return *place != NULL;
}

/* Bytes stay where they are. */
static bool put(struct durable_arena *arena,
                const ProtobufCFieldDescriptor *field,
                const struct value *value,
                void *message)
{
    void *place = (uint8_t *)message + field->offset;

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return false;
    }
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)place = value->number;
        return value->type == WIRE_VARINT;
    case PROTOBUF_C_TYPE_UINT32:
        *(uint32_t *)place = (uint32_t)value->number;
        return value->type == WIRE_VARINT;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)place = value->number != 0;
        return value->type == WIRE_VARINT;
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)place = value->number;
        return value->type == WIRE_FIXED64;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)place = (ProtobufCBinaryData){
            .data = (uint8_t *)(uintptr_t)value->bytes.at, .len = value->number};
        return value->type == WIRE_BYTES;
    case PROTOBUF_C_TYPE_MESSAGE:
        return value->type == WIRE_BYTES &&
               put_message(arena, field, value, message, place);
    default:
        return false; /* in no message of log.proto */
    }
}

static void *read_message(struct durable_arena *arena,
                          const ProtobufCMessageDescriptor *type,
                          struct cursor bytes)
{
    void *message = arena_alloc(arena, type->sizeof_message);

    if (message == NULL) {
        return NULL;
    }
    type->message_init(message);
    while (bytes.at != bytes.end) {
        struct value value = {0};
        uint64_t tag;
        if (!read_varint(&bytes, &tag) || tag > UINT32_MAX || tag >> TAG_TYPE_BITS == 0) {
            return NULL;
        }
        value.type = (enum wire_type)(tag & TAG_TYPE_MASK);
        if (!read_value(&bytes, &value)) {
            return NULL;
        }
        const ProtobufCFieldDescriptor *field = field_of(type, tag >> TAG_TYPE_BITS);
        if (field != NULL && !put(arena, field, &value, message)) {
            return NULL;
        }
    }
    return message;
}

void *durable_unpack(struct durable_arena *arena,
                     const ProtobufCMessageDescriptor *type,
                     const uint8_t *data,
                     size_t len)
{
    arena->used = 0;
    return read_message(arena, type, (struct cursor){data, data + len});
}
