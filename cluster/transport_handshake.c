#include "transport_handshake.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "feature_level.h"

static const uint8_t HELLO_MAGIC[4] = {'N', 'L', 'K', 'P'};
static const uint8_t REPLY_MAGIC[4] = {'N', 'L', 'K', 'R'};

static uint8_t *put_number(uint8_t *cursor, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        cursor[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
    return cursor + bytes;
}

static uint64_t get_number(const uint8_t *cursor, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | cursor[i];
    }
    return value;
}

static uint8_t *put_bytes(uint8_t *cursor, const void *bytes, size_t len)
{
    memcpy(cursor, bytes, len);
    return cursor + len;
}

/* Copy @len bytes of visible text; false if there are others in it. Spaces are visible in
 * a reason. */
static bool get_text(const uint8_t *bytes, size_t len, char *ret)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] < ' ' || bytes[i] > '~') {
            return false;
        }
    }
    memcpy(ret, bytes, len);
    ret[len] = '\0';
    return true;
}

size_t handshake_hello_format(const struct handshake_hello *hello,
                              uint8_t bytes[static HANDSHAKE_BYTES_MAX])
{
    size_t cluster_len = strnlen(hello->cluster_id, HANDSHAKE_TEXT_BYTES_MAX);
    size_t address_len = strnlen(hello->address, HANDSHAKE_TEXT_BYTES_MAX);
    uint8_t *cursor = put_bytes(bytes, HELLO_MAGIC, sizeof HELLO_MAGIC);

    cursor = put_number(cursor, hello->version, 4);
    cursor = put_number(cursor, hello->from_node, 8);
    cursor = put_number(cursor, hello->to_node, 8);
    cursor = put_number(cursor, cluster_len, 2);
    cursor = put_number(cursor, address_len, 2);
    assert(cursor - bytes == HANDSHAKE_HELLO_HEAD_BYTES);
    cursor = put_bytes(cursor, hello->cluster_id, cluster_len);
    cursor = put_bytes(cursor, hello->address, address_len);
    return (size_t)(cursor - bytes);
}

size_t handshake_reply_format(const struct handshake_reply *reply,
                              uint8_t bytes[static HANDSHAKE_BYTES_MAX])
{
    size_t reason_len = strnlen(reply->reason, HANDSHAKE_TEXT_BYTES_MAX);
    uint8_t *cursor = put_bytes(bytes, REPLY_MAGIC, sizeof REPLY_MAGIC);

    cursor = put_number(cursor, reply->version, 4);
    cursor = put_number(cursor, reply->from_node, 8);
    cursor = put_number(cursor, reply->verdict, 4);
    cursor = put_number(cursor, reason_len, 2);
    assert(cursor - bytes == HANDSHAKE_REPLY_HEAD_BYTES);
    cursor = put_bytes(cursor, reply->reason, reason_len);
    return (size_t)(cursor - bytes);
}

/* Wrong bytes are refused as soon as the first of them is there: whoever speaks something
 * else may never send a whole head. */
static int
head_check(const uint8_t *bytes, size_t len, const uint8_t magic[4], size_t head_len)
{
    if (memcmp(bytes, magic, len < 4 ? len : 4) != 0) {
        return -EPROTO;
    }
    return len < head_len ? -EAGAIN : 0;
}

int handshake_hello_parse(const uint8_t *bytes, size_t len, struct handshake_hello *ret)
{
    int error = head_check(bytes, len, HELLO_MAGIC, HANDSHAKE_HELLO_HEAD_BYTES);
    if (error != 0) {
        return error;
    }
    struct handshake_hello hello = {
        .version = (uint32_t)get_number(bytes + 4, 4),
        .from_node = get_number(bytes + 8, 8),
        .to_node = get_number(bytes + 16, 8),
    };
    if (hello.version != HANDSHAKE_VERSION) {
        *ret = hello;
        return HANDSHAKE_HELLO_HEAD_BYTES;
    }
    size_t cluster_len = get_number(bytes + 24, 2);
    size_t address_len = get_number(bytes + 26, 2);
    if (cluster_len == 0 || cluster_len > HANDSHAKE_TEXT_BYTES_MAX || address_len == 0 ||
        address_len > HANDSHAKE_TEXT_BYTES_MAX || hello.from_node == 0) {
        return -EPROTO;
    }
    size_t whole = HANDSHAKE_HELLO_HEAD_BYTES + cluster_len + address_len;
    if (len >= whole) {
        const uint8_t *texts = bytes + HANDSHAKE_HELLO_HEAD_BYTES;
        if (!get_text(texts, cluster_len, hello.cluster_id) ||
            !get_text(texts + cluster_len, address_len, hello.address)) {
            return -EPROTO;
        }
        *ret = hello;
    }
    return (int)whole;
}

int handshake_reply_parse(const uint8_t *bytes, size_t len, struct handshake_reply *ret)
{
    int error = head_check(bytes, len, REPLY_MAGIC, HANDSHAKE_REPLY_HEAD_BYTES);
    if (error != 0) {
        return error;
    }
    struct handshake_reply reply = {
        .version = (uint32_t)get_number(bytes + 4, 4),
        .from_node = get_number(bytes + 8, 8),
        .verdict = (uint32_t)get_number(bytes + 16, 4),
    };
    size_t reason_len = get_number(bytes + 20, 2);
    if (reason_len > HANDSHAKE_TEXT_BYTES_MAX) {
        return -EPROTO;
    }
    size_t whole = HANDSHAKE_REPLY_HEAD_BYTES + reason_len;
    if (len >= whole) {
        if (!get_text(bytes + HANDSHAKE_REPLY_HEAD_BYTES, reason_len, reply.reason)) {
            return -EPROTO;
        }
        *ret = reply;
    }
    return (int)whole;
}

uint32_t handshake_reply_level(const struct handshake_reply *reply)
{
    uint32_t level;

    return sscanf(reply->reason, "level %" SCNu32, &level) == 1 ? level
                                                                : FEATURE_LEVEL_FIRST;
}
