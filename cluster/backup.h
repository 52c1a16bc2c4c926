/* backup.h - a lock table to take away: the file that `netlock backup` writes and
 * `netlockd restore` reads.
 *
 *     0   4  magic "NLBK"
 *     4   4  format, 1
 *     8   8  XXH64 of all that follows
 *     16  8  bytes of the whole file
 *     24  8  index of the raft log at which the table was taken
 *     32  8  term of that entry
 *     40  64 id of the cluster, filled up with zeros
 *     104    a snapshot, see snapshot.h
 *
 * The length comes first of what is checked, so that a file that was cut off is told from
 * one that is damaged.
 *
 * Tokens. A restored table must never hand out a token again, neither one that was
 * granted between the backup and the disaster nor one that an earlier restore of the same
 * file granted. So its counter starts at
 *
 *     milliseconds of the wall clock * BACKUP_TOKENS_PER_MS
 *
 * A new cluster starts at 0 and a restored one there, and no cluster grants a million locks
 * a second all its life (measured at most: 0.4 million); so at any time every token that
 * was ever granted is below that number, without anything having to be known of what
 * happened since the backup. It stays below 2^53, where JSON's readers lose digits, until
 * the year 2248. A clock that is known to be wrong, or behind the file, is refused; then
 * the operator has to say the number.
 */
#ifndef NETLOCK_BACKUP_H
#define NETLOCK_BACKUP_H

#include <stddef.h>
#include <stdint.h>

#include "fsm.h"

enum {
    BACKUP_CLUSTER_ID_BYTES = 64, /* with its NUL */
    BACKUP_TOKENS_PER_MS = 1024,
};

/* Where a table comes from. */
struct backup_origin {
    uint64_t index, term;
    uint32_t level; /* of its snapshot; backup_encode() does not look at it */
    char cluster_id[BACKUP_CLUSTER_ID_BYTES];
};

/* Encode a snapshot with its origin. *ret_data comes from malloc() and is the caller's. */
void backup_encode(const struct backup_origin *origin,
                   const void *snapshot,
                   size_t snapshot_len,
                   uint8_t **ret_data,
                   size_t *ret_len);

/* Rebuild the table. Returns NULL, or what is wrong, as the end of a sentence "this backup
 * cannot be used: ..."; then nothing is returned. */
const char *backup_decode(const uint8_t *data,
                          size_t len,
                          struct backup_origin *ret_origin,
                          struct fsm **ret_fsm,
                          uint64_t *ret_commands_index);

/* The first token of a restore at @unix_ms, or 0: the clock is wrong, or behind
 * @last_token. */
uint64_t backup_token_start(uint64_t unix_ms, uint64_t last_token);

/* A copy of @fsm whose next token is @next_token. All nodes of a restored cluster must be
 * given the same number; so it goes into the digest, by which nodes notice that they
 * differ. */
struct fsm *backup_move_tokens(const struct fsm *fsm, uint64_t next_token);

#endif
