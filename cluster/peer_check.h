/* peer_check.h - what a peer says to libraft, looked at before libraft reads it.
 *
 *     check = peer_check_new(node_id);
 *     refused = peer_check(check, bytes, len, &pass);    as bytes come
 *     if (refused != NULL) close the connection; else hand the first @pass bytes on, keep the rest
 *
 * libraft 0.22.1 believes its peers: it allocates what they announce, reads as many entries as they
 * count, and frees what was never set when they have none. Here each message is taken apart as libraft
 * will do it, and nothing of it passes that is not what an honest libraft 0.22 of this cluster sends:
 *
 *   - a type and a version that there is, nothing in the unused bytes
 *   - lengths and counts within the limits below, and in agreement with each other
 *   - terms and indexes that are not zero and not absurd; a log whose terms do not fall
 *   - a candidate that is the one who speaks
 *   - entries of a known type; commands and snapshots with our magic number and a right checksum
 *   - memberships that can be decoded, of members with an id and an address, each once
 *
 * A message whose end is wrong is found out at its end: libraft acts on none before its last byte, which
 * does not pass then. What is well-formed and still contradicts what this node knows is not seen here:
 * raft_guard_peer.c.
 *
 * A function of the bytes alone: no allocation, clock or log. */
#ifndef NETLOCK_PEER_CHECK_H
#define NETLOCK_PEER_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer_address.h"

enum {
    PEER_CHECK_ENTRIES_MAX = 256, /* libraft sends 32 at a time */
    PEER_CHECK_ENTRY_BYTES_MAX = 1048576,
    PEER_CHECK_SNAPSHOT_BYTES_MAX = 1073741824,
    PEER_CHECK_SERVERS_MAX = 64,
    /* Format, number of servers, and for each its id, address and role; padded. */
    PEER_CHECK_MEMBERSHIP_BYTES_MAX =
        16 + PEER_CHECK_SERVERS_MAX * (8 + PEER_ADDRESS_BYTES_MAX + 1 + 1),
    /* The most that is held back: the head of a message, and the change of membership behind it. */
    PEER_CHECK_HOLD_BYTES_MAX =
        64 + 16 * PEER_CHECK_ENTRIES_MAX + PEER_CHECK_MEMBERSHIP_BYTES_MAX,
};

/* No cluster gets there: a million entries per second for two thousand years. */
#define PEER_CHECK_NUMBER_MAX (UINT64_C(1) << 56)

struct peer_check;

/* For what @node_id says, from the beginning of a connection on. */
struct peer_check *peer_check_new(uint64_t node_id);
void peer_check_free(struct peer_check *check);

/* Returns NULL, and how many of the @len bytes may pass; the rest is to be given again with more behind it,
 * and is less than PEER_CHECK_HOLD_BYTES_MAX. Or what is wrong, as the end of a sentence "refused a message:
 * ..."; then nothing more may be asked. */
const char *
peer_check(struct peer_check *check, const uint8_t *bytes, size_t len, size_t *ret_pass);

/* Whether all that passed were whole messages. */
bool peer_check_at_boundary(const struct peer_check *check);

#endif
