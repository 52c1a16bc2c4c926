/* peer_messages.h - one good message of each kind, in libraft's own encoding, for the tests of what stands
 * between peers and libraft. Node 2 sends them in term 5. */
#ifndef NETLOCK_PEER_MESSAGES_H
#define NETLOCK_PEER_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

enum { PEER_MESSAGES_SENDER = 2, PEER_MESSAGES_TERM = 5 };

struct peer_message {
    const char *name;
    uint8_t *bytes;
    size_t len;
    size_t head_len; /* of it, with the preamble */
};

/* *ret_count of them; peer_messages_free(). */
struct peer_message *peer_messages_new(size_t *ret_count);
void peer_messages_free(struct peer_message *messages, size_t count);

/* The one of that name, or a failed test. */
const struct peer_message *
peer_message_find(const struct peer_message *messages, size_t count, const char *name);

/* Bytes as of an entry or a snapshot: magic, version, checksum, and @len - 16 others. @len is a multiple of
 * 8 and at least 24. */
void peer_message_frame(uint8_t *bytes, size_t len, uint32_t magic);

#endif
