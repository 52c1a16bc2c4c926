/* wire_bytes.h - protobuf by hand, for tests: what no well-behaved encoder would send. */
#ifndef NETLOCK_WIRE_BYTES_H
#define NETLOCK_WIRE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct bytes {
    size_t len;
    uint8_t data[1200000];
};

static inline void bytes_put(struct bytes *bytes, const void *data, size_t len)
{
    assert_true(len <= sizeof(bytes->data) - bytes->len);
    if (len != 0) {
        memcpy(bytes->data + bytes->len, data, len);
    }
    bytes->len += len;
}

static inline void bytes_put_varint(struct bytes *bytes, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)(value & 0x7f);
        value >>= 7;
        if (value != 0) {
            byte |= 0x80;
        }
        bytes_put(bytes, &byte, 1);
    } while (value != 0);
}

static inline void bytes_put_number(struct bytes *bytes, unsigned field, uint64_t value)
{
    bytes_put_varint(bytes, (uint64_t)field << 3);
    bytes_put_varint(bytes, value);
}

static inline void
bytes_put_blob(struct bytes *bytes, unsigned field, const void *data, size_t len)
{
    bytes_put_varint(bytes, (uint64_t)field << 3 | 2);
    bytes_put_varint(bytes, len);
    bytes_put(bytes, data, len);
}

static inline void bytes_put_text(struct bytes *bytes, unsigned field, const char *text)
{
    bytes_put_blob(bytes, field, text, strlen(text));
}

static inline void bytes_put_hex(struct bytes *bytes, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    for (; *hex != '\0'; hex += 2) {
        const char *high = strchr(digits, hex[0]);
        const char *low = strchr(digits, hex[1]);
        assert_true(high != NULL && low != NULL && hex[1] != '\0');
        uint8_t byte = (uint8_t)((high - digits) << 4 | (low - digits));
        bytes_put(bytes, &byte, 1);
    }
}

#endif
