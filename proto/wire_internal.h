/* wire_internal.h - what the files of the wire module share. Nobody else includes it: it
 * lets the generated protobuf code be seen.
 *
 *     wire.c           memory, names, the envelope of what is sent
 *     wire_scan.c      the envelope of what came, and what is checked before unpacking
 *     wire_request_decode.c, wire_response_encode.c    the server's side
 *     wire_request_encode.c, wire_response_decode.c    the client library's side
 *
 * In the generated code every string of the schema is `bytes` (see CMakeLists.txt): the
 * wire is the same, and a name keeps its length, so that a NUL inside it is seen and
 * nothing has to be copied to end it with one. */
#ifndef NETLOCK_WIRE_INTERNAL_H
#define NETLOCK_WIRE_INTERNAL_H

#include "wire.h"

#include <gonetlock.pb-c.h>

/* ---- wire.c ----------------------------------------------------------------------- */

/* @size bytes from @arena, aligned for anything; NULL with *@ret_error -EMSGSIZE above
 * the arena's limit, or -ENOMEM. */
void *wire_arena_alloc(struct wire_arena *arena, size_t size, int *ret_error);

/* protobuf-c's unpack into @arena. NULL with *@ret_error -EINVAL when the bytes are no
 * such message or need more than the arena's limit; -ENOMEM. */
ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *descriptor,
                              const uint8_t *data,
                              size_t len,
                              struct wire_arena *arena,
                              int *ret_error);

/* Append the frame of @message in its envelope to @buf; returns as
 * wire_encode_response(). */
int wire_put_message(struct wire_buf *buf,
                     struct wire_str key,
                     const ProtobufCMessage *message);

/* @len may be 0. Control characters pass; see wire_name_valid(). */
bool wire_utf8_valid(const char *data, size_t len);

static inline struct wire_str wire_str_of(ProtobufCBinaryData bytes)
{
    return (struct wire_str){.data = (const char *)bytes.data, .len = bytes.len};
}

/* The generated structs have no const; packing only reads. */
static inline ProtobufCBinaryData wire_bytes_of(struct wire_str str)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)str.data, .len = str.len};
}

/* Set an optional field of a generated message; the other two leave it absent when it is
 * zero. */
#define WIRE_SET(message, field, value)                                                  \
    do {                                                                                 \
        (message).has_##field = 1;                                                       \
        (message).field = (value);                                                       \
    } while (0)
#define WIRE_SET_NONZERO(message, field, value)                                          \
    do {                                                                                 \
        if ((value) != 0) {                                                              \
            WIRE_SET(message, field, value);                                             \
        }                                                                                \
    } while (0)
#define WIRE_SET_STR(message, field, str)                                                \
    do {                                                                                 \
        if ((str).len != 0) {                                                            \
            WIRE_SET(message, field, wire_bytes_of(str));                                \
        }                                                                                \
    } while (0)

/* ---- wire_scan.c ------------------------------------------------------------------ */

enum { WIRE_UNKNOWN_FIELDS_MAX = 16 };

/* The parts of Message and Any. The key is a copy in the arena, the rest points into the
 * payload. */
struct wire_envelope {
    struct wire_str key;
    bool key_invalid;     /* then the key is empty */
    struct wire_str name; /* of the type: what follows the last '/' of the URL */
    const uint8_t *value;
    size_t value_len;
};

/* Returns 0; -EINVAL (not a Message) or -ENOMEM. */
int wire_envelope_open(const uint8_t *payload,
                       size_t len,
                       struct wire_arena *arena,
                       struct wire_envelope *ret);

struct wire_scan {
    bool extended; /* a field from 100 up is present */
    /* The first field with a number that does not fit its type, or an enum value that the
     * schema does not know: protobuf-c would silently cut it to 32 bits. NULL: none. */
    const ProtobufCFieldDescriptor *out_of_range;
};

/* Walk over the fields of one message, without going into its parts. Returns 0; or
 * -EINVAL when it is not well-formed, has more than @unknown_max unknown fields, or more
 * than @fields_max in all. */
int wire_scan_message(const ProtobufCMessageDescriptor *descriptor,
                      const uint8_t *data,
                      size_t len,
                      size_t fields_max,
                      size_t unknown_max,
                      struct wire_scan *ret);

#endif
