/* snapshot.h - the whole lock table <-> bytes.
 *
 *     0   4  magic "NLSN"
 *     4   4  format: the feature level that it needs
 *     8   8  XXH64 of all that follows
 *     16  8  index of the last entry with commands that is in it; see below
 *     24  8  number of records
 *     32  8  bytes of the records
 *     40     the records in the order of fsm_dump(): each a Record message of proto/log.proto behind
 *            its length (varint)
 *            zeros up to a multiple of 8
 *
 * Equal tables give equal bytes. The index travels with the table because it says at which point of
 * the log the table's digest was taken: not libraft's index of the snapshot, which also counts
 * barriers and membership changes.
 */
#ifndef NETLOCK_SNAPSHOT_H
#define NETLOCK_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fsm.h"

enum {
    SNAPSHOT_MAGIC = 0x4e534c4e, /* "NLSN" */
};

/* Encode @fsm, the table of a cluster of feature level @level. *ret_data comes from raft_malloc() and is the caller's. */
void snapshot_encode(const struct fsm *fsm,
                     uint64_t commands_index,
                     uint32_t level,
                     void **ret_data,
                     size_t *ret_len);

/* The same in steps, while commands are applied to the table: the bytes are those of the moment in which
 * it began. One at a time for a table, see fsm_dump_begin().
 *
 *     writer = snapshot_writer_new(fsm, commands_index, level);
 *     while (snapshot_writer_step(writer, records)) ... commands ...
 *     snapshot_writer_finish(writer, &data, &len);     or, half-way: snapshot_writer_free(writer) */
struct snapshot_writer;

struct snapshot_writer *
snapshot_writer_new(struct fsm *fsm, uint64_t commands_index, uint32_t level);
void snapshot_writer_free(struct snapshot_writer *writer); /* NULL: nothing */

/* Encode about so many records, or as much work of another kind. Whether there is more to do. */
bool snapshot_writer_step(struct snapshot_writer *writer, size_t records);

/* After the last step. Frees @writer; *ret_data as snapshot_encode(). */
void snapshot_writer_finish(struct snapshot_writer *writer,
                            void **ret_data,
                            size_t *ret_len);

/* Rebuild a table, with @hash_seed for its hash. Returns NULL, or what is wrong, as the end of a
 * sentence "this snapshot cannot be read: ..."; then nothing is returned. */
const char *snapshot_decode(const void *data,
                            size_t len,
                            uint64_t hash_seed,
                            struct fsm **ret_fsm,
                            uint64_t *ret_commands_index);

/* The level of a snapshot that has been decoded. */
uint32_t snapshot_level(const void *data);

#endif
