/* raft_segment.h - the bytes of one of libraft's log segments (format 1 of libraft 0.22).
 *
 *     0   8  format, 1
 *     8      batches, each:
 *            0   4  CRC-32 of the header
 *            4   4  CRC-32 of the data
 *            8   8  number of entries          header from here
 *            16 16  for each: term (8), type (1), unused (3), bytes of its data (4)
 *                   the data of the entries, one behind the other
 *            zeros up to the end of the file, while the segment is open
 *
 * Little-endian. Only read here: what writes them is libraft. */
#ifndef NETLOCK_RAFT_SEGMENT_H
#define NETLOCK_RAFT_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RAFT_SEGMENT_FORMAT = 1 };

/* CRC-32 as libraft computes it: polynomial 0x04c11db7, not reflected, not inverted. */
uint32_t raft_segment_crc(const uint8_t *data, size_t len, uint32_t crc);

/* The entries that a closed segment's file name speaks of. */
struct raft_segment_name {
    uint64_t first, last;
};

/* Returns false if @name is not that of a closed segment. */
bool raft_segment_name(const char *name, struct raft_segment_name *ret);

struct raft_segment_entry {
    uint64_t index, term;
    uint8_t type; /* enum of raft.h: RAFT_COMMAND, RAFT_BARRIER, RAFT_CHANGE */
    const uint8_t *data;
    size_t len;
};
typedef void (*raft_segment_entry_cb)(void *arg, const struct raft_segment_entry *entry);

/* How a segment ends. */
enum raft_segment_end {
    RAFT_SEGMENT_WHOLE,   /* with its last batch */
    RAFT_SEGMENT_ZEROS,   /* with zeros behind it */
    RAFT_SEGMENT_TORN,    /* with something that is no batch, and zeros behind that */
    RAFT_SEGMENT_DAMAGED, /* with something that is no batch, and more behind it */
    RAFT_SEGMENT_CUT,     /* in a batch: the file is too short */
};

struct raft_segment {
    enum raft_segment_end end;
    size_t offset;       /* of what is no batch */
    const char *problem; /* what is wrong there: "checksum of the data"; NULL: nothing */
    uint64_t next_index; /* behind the last entry */
};

/* Give every entry up to the end to @on_entry, counted from @first_index. Data is borrowed. */
struct raft_segment raft_segment_read(const uint8_t *data,
                                      size_t len,
                                      uint64_t first_index,
                                      raft_segment_entry_cb on_entry,
                                      void *arg);

#endif
