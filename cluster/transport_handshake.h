/* transport_handshake.h - the first bytes on a connection between peers. Pure: bytes <->
 * values.
 *
 * libraft believes whatever a peer says about itself, so before it sees a connection the
 * two ends make sure that they mean each other. All numbers are big-endian.
 *
 *   hello  4 magic "NLKP"  4 version  8 from node  8 to node  2 cluster length  2 address
 * length cluster id, then the peer address of the sender reply  4 magic "NLKR"  4 version
 * 8 from node  4 verdict  2 reason length reason: text for the log of the other side;
 * when welcome "level N", the feature level that the node can, or nothing, which is
 * level 1
 *
 * The layout of the heads and of the reply never changes, so that any version can refuse
 * any other and be understood. Lengths are bounded before anything is read: a message
 * never needs more than HANDSHAKE_BYTES_MAX. After a welcome both sides speak libraft's
 * format. */
#ifndef NETLOCK_TRANSPORT_HANDSHAKE_H
#define NETLOCK_TRANSPORT_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

enum {
    HANDSHAKE_VERSION = 1,
    HANDSHAKE_HELLO_HEAD_BYTES = 28,
    HANDSHAKE_REPLY_HEAD_BYTES = 22,
    HANDSHAKE_TEXT_BYTES_MAX = 255,
    HANDSHAKE_BYTES_MAX = HANDSHAKE_HELLO_HEAD_BYTES + 2 * HANDSHAKE_TEXT_BYTES_MAX,
};

enum handshake_verdict {
    HANDSHAKE_WELCOME = 0,
    HANDSHAKE_WRONG_VERSION,
    HANDSHAKE_WRONG_CLUSTER,
    HANDSHAKE_WRONG_NODE, /* the hello is addressed to somebody else */
    HANDSHAKE_OWN_ID,
    HANDSHAKE_STRANGER, /* not a member */
    HANDSHAKE_TOO_MANY,
    HANDSHAKE_WRONG_CERTIFICATE, /* it is another node's */
    HANDSHAKE_SHUT_OUT,          /* for a moment, because of what it said */
    HANDSHAKE_VERDICTS_COUNT,
};

struct handshake_hello {
    uint32_t version;
    uint64_t from_node;
    uint64_t to_node;
    char cluster_id[HANDSHAKE_TEXT_BYTES_MAX + 1];
    char address[HANDSHAKE_TEXT_BYTES_MAX + 1];
};

struct handshake_reply {
    uint32_t version;
    uint64_t from_node;
    uint32_t verdict; /* may be one that we do not know: refused all the same */
    char reason[HANDSHAKE_TEXT_BYTES_MAX + 1];
};

/* Both return the number of bytes written. Longer texts than fit are cut. */
size_t handshake_hello_format(const struct handshake_hello *hello,
                              uint8_t bytes[static HANDSHAKE_BYTES_MAX]);
size_t handshake_reply_format(const struct handshake_reply *reply,
                              uint8_t bytes[static HANDSHAKE_BYTES_MAX]);

/* Parse the first @len bytes of a message.
 * Returns the number of bytes that the whole message has, known as soon as the head is
 * there (then, when @len is as much, *ret is filled in); -EAGAIN while the head is not
 * complete; -EPROTO for anything that is not such a message: wrong magic, over-long,
 * empty or unprintable texts. A hello of another version is parsed no further than its
 * head, which then is the whole message. */
int handshake_hello_parse(const uint8_t *bytes, size_t len, struct handshake_hello *ret);
int handshake_reply_parse(const uint8_t *bytes, size_t len, struct handshake_reply *ret);

/* The level that a welcome says. */
uint32_t handshake_reply_level(const struct handshake_reply *reply);

#endif
