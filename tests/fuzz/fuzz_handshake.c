/* The first bytes of a peer, as the hello of one that connects and as the reply to ours: however few
 * of them are there, the answer is the same in the end, and what is accepted means the same after it
 * was written and read again. */
#include "transport_handshake.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int hello_len(const uint8_t *data, size_t size)
{
    struct handshake_hello hello;
    return handshake_hello_parse(data, size, &hello);
}

static int reply_len(const uint8_t *data, size_t size)
{
    struct handshake_reply reply;
    return handshake_reply_parse(data, size, &reply);
}

/* What is known of a message does not change when more of it comes. */
static int
in_pieces(int (*len_of)(const uint8_t *, size_t), const uint8_t *data, size_t size)
{
    int known = -EAGAIN;

    for (size_t came = 0; came <= size && came <= HANDSHAKE_BYTES_MAX; came++) {
        int len = len_of(data, came);
        assert(len == -EAGAIN || len == -EPROTO ||
               (len > 0 && len <= HANDSHAKE_BYTES_MAX));
        assert(known == -EAGAIN || len == known || len == -EPROTO);
        known = len;
    }
    return known;
}

static void check_hello(const uint8_t *data, size_t size)
{
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    struct handshake_hello hello, again;
    int len = in_pieces(hello_len, data, size);

    if (len <= 0 || (size_t)len > size) {
        return;
    }
    len = handshake_hello_parse(data, size, &hello);
    if (len > 0 && hello.version == HANDSHAKE_VERSION) {
        size_t formatted = handshake_hello_format(&hello, bytes);
        assert(formatted == (size_t)len && memcmp(bytes, data, formatted) == 0);
        len = handshake_hello_parse(bytes, formatted, &again);
        assert((size_t)len == formatted);
    }
}

static void check_reply(const uint8_t *data, size_t size)
{
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    struct handshake_reply reply;
    int len = in_pieces(reply_len, data, size);

    if (len <= 0 || (size_t)len > size) {
        return;
    }
    len = handshake_reply_parse(data, size, &reply);
    if (len > 0) {
        size_t formatted = handshake_reply_format(&reply, bytes);
        assert(formatted == (size_t)len && memcmp(bytes, data, formatted) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_hello(data, size);
    check_reply(data, size);
    return 0;
}
