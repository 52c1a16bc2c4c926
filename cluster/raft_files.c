#include "raft_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "durable.h"
#include "memory.h"

enum {
    NAME_BYTES = 128, /* libraft ignores longer names */
    TEXT_BYTES = 256,
    FORMAT = 1,

    METADATA_BYTES = 32,
    METADATA_AT_VERSION = 8,
    METADATA_AT_TERM = 16,
    METADATA_AT_VOTE = 24,

    META_HEADER_BYTES = 32,
    META_AT_CRC = 8,
    META_AT_CHECKED = 16,
    META_AT_LEN = 24,
};

struct segment {
    char name[NAME_BYTES];
    bool open;
    uint64_t first, last; /* closed */
    uint64_t counter;     /* open */
};

struct snapshot {
    char name[NAME_BYTES];
    uint64_t term, index, time;
};

struct reading {
    const struct raft_files_visitor *visitor;
    int dir_fd;
    struct segment *segments;
    size_t segments_count;
    struct snapshot *snapshots;
    size_t snapshots_count;
    bool has_snapshot;
    uint64_t snapshot_index;
};

struct content {
    uint8_t *data;
    size_t len;
};

/* ---- services ------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void tell(const struct reading *reading,
                                                       enum raft_files_severity severity,
                                                       const char *file,
                                                       const char *format,
                                                       ...)
{
    char text[TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reading->visitor->on_problem(reading->visitor->arg, severity, file, text);
}

static int read_all(int fd, struct content *ret)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    ret->data = memory_new((size_t)st.st_size + 1);
    ret->len = 0;
    while (ret->len < (size_t)st.st_size) {
        ssize_t n = read(fd, ret->data + ret->len, (size_t)st.st_size - ret->len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        ret->len += (size_t)n;
    }
    return 0;
}

/* Free ret->data also after a failure. */
static int read_file(const struct reading *reading, const char *name, struct content *ret)
{
    int fd = openat(reading->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    *ret = (struct content){0};
    if (fd < 0) {
        return -errno;
    }
    int error = read_all(fd, ret);
    close(fd);
    return error;
}

/* ---- what there is -------------------------------------------------------------------- */

static bool parse_segment(const char *name, struct segment *ret)
{
    struct raft_segment_name closed;
    int end = 0;

    *ret = (struct segment){0};
    if (raft_segment_name(name, &closed)) {
        ret->first = closed.first;
        ret->last = closed.last;
        return true;
    }
    ret->open = true;
    return sscanf(name, "open-%" SCNu64 "%n", &ret->counter, &end) == 1 &&
           name[end] == '\0';
}

/* As raft_tidy() will: of two that begin with the same entry the longer one stays. */
static void skip_left_overs(struct reading *reading)
{
    size_t kept = 0;

    for (size_t i = 0; i < reading->segments_count; i++) {
        const struct segment *segment = &reading->segments[i];
        if (kept > 0 && !segment->open &&
            reading->segments[kept - 1].first == segment->first) {
            tell(reading, RAFT_FILES_HARMLESS, segment->name,
                 "left by a truncation that was cut off; the next start removes it");
        } else {
            reading->segments[kept++] = *segment;
        }
    }
    reading->segments_count = kept;
}

/* The name without ".meta". */
static bool parse_snapshot(const char *name, struct snapshot *ret)
{
    int end = 0;

    *ret = (struct snapshot){0};
    return sscanf(name, "snapshot-%" SCNu64 "-%" SCNu64 "-%" SCNu64 "%n", &ret->term,
                  &ret->index, &ret->time, &end) == 3 &&
           strcmp(name + end, ".meta") == 0 &&
           snprintf(ret->name, sizeof(ret->name), "%.*s", end, name) == end;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_segments(const void *left, const void *right)
{
    const struct segment *a = left;
    const struct segment *b = right;

    if (a->open != b->open) {
        return a->open ? 1 : -1;
    }
    if (a->open) {
        return compare_numbers(a->counter, b->counter);
    }
    return a->first != b->first ? compare_numbers(a->first, b->first)
                                : compare_numbers(b->last, a->last);
}

static int compare_snapshots(const void *left, const void *right)
{
    const struct snapshot *a = left;
    const struct snapshot *b = right;
    int order = compare_numbers(a->term, b->term);

    if (order == 0) {
        order = compare_numbers(a->index, b->index);
    }
    return order != 0 ? order : compare_numbers(a->time, b->time);
}

/* A snapshot counts when both its files are there: the table is written last. */
static bool has_table(const struct reading *reading, const struct snapshot *snapshot)
{
    struct stat st;

    return fstatat(reading->dir_fd, snapshot->name, &st, 0) == 0 && st.st_size > 0;
}

static void note_file(struct reading *reading, const char *name)
{
    struct segment segment;
    struct snapshot snapshot;

    if (strlen(name) >= NAME_BYTES) {
        return;
    }
    if (parse_snapshot(name, &snapshot)) {
        if (has_table(reading, &snapshot)) {
            reading->snapshots =
                memory_resize(reading->snapshots, reading->snapshots_count + 1,
                              sizeof(reading->snapshots[0]));
            reading->snapshots[reading->snapshots_count++] = snapshot;
        } else {
            tell(reading, RAFT_FILES_HARMLESS, name, "a snapshot that was not finished");
        }
    } else if (parse_segment(name, &segment)) {
        snprintf(segment.name, sizeof(segment.name), "%s", name);
        reading->segments = memory_resize(reading->segments, reading->segments_count + 1,
                                          sizeof(reading->segments[0]));
        reading->segments[reading->segments_count++] = segment;
    } else if (strncmp(name, "tmp-", 4) == 0) {
        tell(reading, RAFT_FILES_HARMLESS, name, "left by a write that was cut off");
    }
}

static int list_files(struct reading *reading)
{
    int fd = dup(reading->dir_fd);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);

    if (stream == NULL) {
        return -errno;
    }
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        note_file(reading, entry->d_name);
    }
    closedir(stream);
    if (reading->segments_count > 0) {
        qsort(reading->segments, reading->segments_count, sizeof(reading->segments[0]),
              compare_segments);
        skip_left_overs(reading);
    }
    if (reading->snapshots_count > 0) {
        qsort(reading->snapshots, reading->snapshots_count, sizeof(reading->snapshots[0]),
              compare_snapshots);
    }
    return 0;
}

/* ---- term and vote -------------------------------------------------------------------- */

/* The version; 0: there is nothing to read. */
static int
read_metadata(const struct reading *reading, const char *name, struct content *ret)
{
    int error = read_file(reading, name, ret);

    if (error == -ENOENT) {
        return 0;
    }
    if (error != 0) {
        return error;
    }
    if (ret->len < METADATA_BYTES) {
        tell(reading, RAFT_FILES_DOUBTFUL, name,
             "it is too short: a start takes the older term and vote of the other file");
        ret->len = 0;
    } else if (ret->len > METADATA_BYTES || durable_get_u64(ret->data) != FORMAT ||
               durable_get_u64(ret->data + METADATA_AT_VERSION) == 0) {
        tell(reading, RAFT_FILES_DAMAGE, name, "it is no term and vote");
        ret->len = 0;
    }
    return 0;
}

static uint64_t version_of(const struct content *metadata)
{
    return metadata->len != 0 ? durable_get_u64(metadata->data + METADATA_AT_VERSION) : 0;
}

static int read_term(const struct reading *reading)
{
    struct content one = {0};
    struct content two = {0};
    const struct raft_files_visitor *visitor = reading->visitor;

    int error = read_metadata(reading, "metadata1", &one);
    if (error == 0) {
        error = read_metadata(reading, "metadata2", &two);
    }
    if (error == 0 && one.len == 0 && two.len == 0) {
        tell(reading, RAFT_FILES_DAMAGE, "metadata1", "there is no term and vote at all");
    } else if (error == 0 && version_of(&one) == version_of(&two)) {
        tell(reading, RAFT_FILES_DAMAGE, "metadata2",
             "it has the same version as metadata1: which of the two counts?");
    } else if (error == 0) {
        const uint8_t *newest = version_of(&one) > version_of(&two) ? one.data : two.data;
        visitor->on_term(visitor->arg, durable_get_u64(newest + METADATA_AT_TERM),
                         durable_get_u64(newest + METADATA_AT_VOTE));
    }
    free(one.data);
    free(two.data);
    return error;
}

/* ---- the snapshot --------------------------------------------------------------------- */

static const char *check_members(const struct content *meta)
{
    if (meta->len < META_HEADER_BYTES || durable_get_u64(meta->data) != FORMAT) {
        return "it is cut off, or its format is not known";
    }
    uint64_t len = durable_get_u64(meta->data + META_AT_LEN);
    if (len == 0 || len > meta->len - META_HEADER_BYTES) {
        return "its members are cut off";
    }
    uint32_t crc = raft_segment_crc(meta->data + META_AT_CHECKED,
                                    META_HEADER_BYTES - META_AT_CHECKED, 0);
    crc = raft_segment_crc(meta->data + META_HEADER_BYTES, (size_t)len, crc);
    return crc != (uint32_t)durable_get_u64(meta->data + META_AT_CRC)
               ? "checksum of its members"
               : NULL;
}

static int read_members(const struct reading *reading, const struct snapshot *snapshot)
{
    char name[NAME_BYTES + sizeof(".meta")];
    struct content meta;

    snprintf(name, sizeof(name), "%s.meta", snapshot->name);
    int error = read_file(reading, name, &meta);
    if (error == 0) {
        const char *problem = check_members(&meta);
        if (problem != NULL) {
            tell(reading, RAFT_FILES_DAMAGE, name, "%s", problem);
        }
    }
    free(meta.data);
    return error;
}

static int read_snapshot(struct reading *reading)
{
    const struct raft_files_visitor *visitor = reading->visitor;
    struct content table;

    if (reading->snapshots_count == 0) {
        return 0;
    }
    const struct snapshot *newest = &reading->snapshots[reading->snapshots_count - 1];
    reading->has_snapshot = true;
    reading->snapshot_index = newest->index;
    int error = read_members(reading, newest);
    if (error != 0) {
        return error;
    }
    error = read_file(reading, newest->name, &table);
    if (error == 0) {
        struct raft_files_snapshot snapshot = {
            .name = newest->name,
            .index = newest->index,
            .term = newest->term,
            .data = table.data,
            .len = table.len,
        };
        visitor->on_snapshot(visitor->arg, &snapshot);
    }
    free(table.data);
    return error;
}

/* ---- the log -------------------------------------------------------------------------- */

static size_t closed_count(const struct reading *reading)
{
    size_t count = 0;

    while (count < reading->segments_count && !reading->segments[count].open) {
        count++;
    }
    return count;
}

/* With a snapshot, the closed segments count from the last gap on; without entries behind
 * the snapshot none does. Returns the number of the first that counts. */
static size_t skip_old_segments(const struct reading *reading, size_t closed)
{
    size_t first = closed - 1;

    if (!reading->has_snapshot) {
        return 0;
    }
    if (reading->segments[closed - 1].last < reading->snapshot_index &&
        closed == reading->segments_count) {
        return closed;
    }
    while (first > 0 &&
           reading->segments[first - 1].last + 1 == reading->segments[first].first) {
        first--;
    }
    return first;
}

static void judge_closed(const struct reading *reading,
                         const struct segment *segment,
                         const struct raft_segment *read)
{
    if (read->end != RAFT_SEGMENT_WHOLE) {
        tell(reading, RAFT_FILES_DAMAGE, segment->name, "damaged at byte %zu: %s",
             read->offset,
             read->problem != NULL ? read->problem : "zeros in a closed segment");
    } else if (read->next_index != segment->last + 1) {
        tell(reading, RAFT_FILES_DAMAGE, segment->name,
             "its last entry is %" PRIu64 ", not what its name says",
             read->next_index - 1);
    }
}

static void judge_open(const struct reading *reading,
                       const struct segment *segment,
                       const struct raft_segment *read)
{
    switch (read->end) {
    case RAFT_SEGMENT_WHOLE:
    case RAFT_SEGMENT_ZEROS:
        return;
    case RAFT_SEGMENT_TORN:
        tell(reading, RAFT_FILES_HARMLESS, segment->name,
             "a write was cut off at byte %zu, of entries that nobody was told about",
             read->offset);
        return;
    case RAFT_SEGMENT_CUT:
        tell(reading, RAFT_FILES_DAMAGE, segment->name, "damaged at byte %zu: %s",
             read->offset, read->problem);
        return;
    case RAFT_SEGMENT_DAMAGED:
        if (read->offset == 0) {
            tell(reading, RAFT_FILES_DAMAGE, segment->name, "%s", read->problem);
        } else {
            tell(reading, RAFT_FILES_DOUBTFUL, segment->name,
                 "no entry at byte %zu (%s), but more behind it: a write that was cut "
                 "off, or damage to entries that were acknowledged",
                 read->offset, read->problem);
        }
        return;
    }
}

/* Returns false when what follows cannot be placed any more. */
static bool read_segment(const struct reading *reading,
                         const struct segment *segment,
                         uint64_t *next_index,
                         int *ret_error)
{
    const struct raft_files_visitor *visitor = reading->visitor;
    struct content content;

    if (!segment->open && segment->first != *next_index) {
        tell(reading, RAFT_FILES_DAMAGE, segment->name,
             "it should begin with entry %" PRIu64 ": a segment is missing", *next_index);
        return false;
    }
    *ret_error = read_file(reading, segment->name, &content);
    if (*ret_error != 0) {
        free(content.data);
        return false;
    }
    struct raft_segment read = raft_segment_read(content.data, content.len, *next_index,
                                                 visitor->on_entry, visitor->arg);
    free(content.data);
    *next_index = read.next_index;
    if (segment->open) {
        judge_open(reading, segment, &read);
        return true;
    }
    judge_closed(reading, segment, &read);
    return read.next_index == segment->last + 1;
}

static int read_log(const struct reading *reading)
{
    size_t closed = closed_count(reading);
    size_t first = closed > 0 ? skip_old_segments(reading, closed) : 0;
    uint64_t next_index = reading->has_snapshot ? reading->snapshot_index + 1 : 1;
    int error = 0;

    if (first < closed && reading->has_snapshot) {
        if (reading->segments[first].first > next_index) {
            tell(reading, RAFT_FILES_DAMAGE, reading->segments[first].name,
                 "there is nothing between the snapshot and it");
            return 0;
        }
        next_index = reading->segments[first].first;
    }
    for (size_t i = first; i < reading->segments_count; i++) {
        if (!read_segment(reading, &reading->segments[i], &next_index, &error)) {
            return error;
        }
    }
    if (reading->has_snapshot && next_index <= reading->snapshot_index) {
        tell(reading, RAFT_FILES_DAMAGE, "the log",
             "it ends with entry %" PRIu64 ", before the snapshot", next_index - 1);
    }
    return 0;
}

int raft_files_read(const char *raft_path, const struct raft_files_visitor *visitor)
{
    struct reading reading = {.visitor = visitor};

    reading.dir_fd = open(raft_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (reading.dir_fd < 0) {
        return -errno;
    }
    int error = list_files(&reading);
    if (error == 0) {
        error = read_term(&reading);
    }
    if (error == 0) {
        error = read_snapshot(&reading);
    }
    if (error == 0) {
        error = read_log(&reading);
    }
    free(reading.segments);
    free(reading.snapshots);
    close(reading.dir_fd);
    return error;
}
