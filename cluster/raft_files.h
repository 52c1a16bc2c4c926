/* raft_files.h - the files of libraft in DIR/raft of a node that does not run, read as
 * libraft's own start would read them, but without changing anything.
 *
 *     metadata1, metadata2            term and vote, the one with the greater version counts
 *     snapshot-TERM-INDEX-TIME        the table, with its checksum (snapshot.h)
 *     snapshot-TERM-INDEX-TIME.meta   the members at that point
 *     FIRST-LAST                      closed log segments (raft_segment.h)
 *     open-N                          segments that are, or will be, written
 *
 * Whoever reads gives callbacks; they come in this order: the term, the snapshot that counts
 * (if there is one), every entry of the log in the order of its index; problems where they
 * are met. What is borrowed lives for the call. */
#ifndef NETLOCK_RAFT_FILES_H
#define NETLOCK_RAFT_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "raft_segment.h"

enum raft_files_severity {
    RAFT_FILES_HARMLESS, /* a start deals with it, and nothing is lost */
    RAFT_FILES_DOUBTFUL, /* a start goes on, perhaps without what was acknowledged */
    RAFT_FILES_DAMAGE,   /* a start refuses */
};

struct raft_files_snapshot {
    const char *name;
    uint64_t index, term;
    const uint8_t *data; /* as snapshot_decode() takes it */
    size_t len;
};

struct raft_files_visitor {
    void *arg;
    void (*on_term)(void *arg, uint64_t term, uint64_t voted_for);
    void (*on_snapshot)(void *arg, const struct raft_files_snapshot *snapshot);
    raft_segment_entry_cb on_entry;
    /* @file is a name in the directory, @text the end of a sentence about it. */
    void (*on_problem)(void *arg,
                       enum raft_files_severity severity,
                       const char *file,
                       const char *text);
};

/* Returns 0, also if there are problems, or a negative errno: the directory or a file in it
 * cannot be read at all. */
int raft_files_read(const char *raft_path, const struct raft_files_visitor *visitor);

#endif
