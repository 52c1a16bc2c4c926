/* entry.h - raft entries: the commands that were committed together <-> bytes.
 *
 * An entry is a frame around one Entry message of proto/log.proto:
 *
 *     0   4  magic "NLEN"
 *     4   4  version of the frame, 1
 *     8   8  XXH64 of all that follows
 *     16  4  bytes of the commands
 *     20  4  bytes of the other fields
 *     24     the Entry message: first its commands, then its other fields, which are known only
 *            when the batch is closed
 *            zeros up to a multiple of 8, as libraft demands
 *
 * The writer encodes each command as it is proposed, so that nothing of it needs to be kept:
 *
 *     struct entry_writer writer = {0};
 *     entry_writer_add(&writer, &command, bytes_max) ...
 *     entry_writer_close(&writer, &header, &data, &len);
 *     give libraft a copy of it;  entry_writer_clear(&writer);
 *
 * The reader gives them back one by one:
 *
 *     error = entry_reader_open(&reader, data, len);
 *     while (entry_reader_next(&reader, &command, &error)) ...
 */
#ifndef NETLOCK_ENTRY_H
#define NETLOCK_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "durable.h"
#include "fsm.h"

enum {
    ENTRY_MAGIC = 0x4e454c4e, /* "NLEN" */
    ENTRY_FRAME_VERSION = 1,
    ENTRY_FRAME_BYTES = 24,
    /* What an entry needs beside its commands: frame, other fields, padding. */
    ENTRY_OVERHEAD_BYTES_MAX = 128,
};

struct entry_header {
    uint32_t level;        /* the format: feature_level.h */
    uint64_t cluster_ms; /* when the batch was closed */
    uint64_t proposer;   /* node id */
    uint64_t proposer_term;
    uint64_t batch;        /* 1, 2, ... of the proposer in that term */
    uint64_t prior_index;  /* of the entry that the proposer had applied last; 0: none */
    uint64_t prior_digest; /* fsm_digest() of the proposer at that index */
};

/* ---- writing -------------------------------------------------------------------------- */

/* Zero-initialise; entry_writer_release(). */
struct entry_writer {
    struct durable_bytes bytes;
    size_t commands_count;
};

/* Add a command; its strings are copied, its time and ref left out.
 * Returns 0; -EMSGSIZE if no entry can carry it (too long, or a value out of range); -ENOBUFS if the entry would grow over
 * @bytes_max. */
int entry_writer_add(struct entry_writer *writer,
                     const struct fsm_command *command,
                     size_t bytes_max);

/* Complete the entry. The result is borrowed from the writer. It may be closed again, with another
 * header, if the entry could not be submitted; commands may still be added before. */
void entry_writer_close(struct entry_writer *writer,
                        const struct entry_header *header,
                        uint8_t **ret_data,
                        size_t *ret_len);

/* Start a new entry in the memory of this one. Only that of a large one is given back. */
void entry_writer_clear(struct entry_writer *writer);

void entry_writer_release(struct entry_writer *writer);

/* ---- reading -------------------------------------------------------------------------- */

struct entry_reader {
    struct entry_header header;
    const uint8_t *cursor;
    const uint8_t *end;
    struct durable_arena arena;
};

/* Check frame and checksum and read the header. @data is borrowed until the last command is read.
 * Returns NULL, or what is wrong, as the end of a sentence "this entry cannot be read: ...". */
const char *entry_reader_open(struct entry_reader *reader, const void *data, size_t len);

/* The next command, its time set, its ref 0; strings are borrowed until the next call. Returns false
 * at the end, then *@ret_error is NULL or says what is wrong. */
bool entry_reader_next(struct entry_reader *reader,
                       struct fsm_command *ret_command,
                       const char **ret_error);

#endif
