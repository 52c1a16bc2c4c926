#include "raft_segment.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include <raft.h>

#include "durable.h"

enum {
    FORMAT_BYTES = 8,
    AT_HEADER_CRC = 0,
    AT_DATA_CRC = 4,
    AT_COUNT = 8,
    AT_ENTRIES = 16,
    ENTRY_BYTES = 16,
    ENTRY_AT_TYPE = 8,
    ENTRY_AT_LEN = 12,
    ENTRIES_MAX = 8 * 1024 * 1024 / 32, /* libraft takes a greater count for damage */
    CRC_POLYNOMIAL = 0x04c11db7,
};

bool raft_segment_name(const char *name, struct raft_segment_name *ret)
{
    int end = 0;

    return sscanf(name, "%016" SCNu64 "-%016" SCNu64 "%n", &ret->first, &ret->last,
                  &end) == 2 &&
           name[end] == '\0';
}

struct crc_table {
    uint32_t of[256];
};

static void crc_table_init(struct crc_table *table)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc << 1) ^ ((crc & 0x80000000) != 0 ? (uint32_t)CRC_POLYNOMIAL : 0);
        }
        table->of[byte] = crc;
    }
}

static uint32_t
crc_update(const struct crc_table *table, const uint8_t *data, size_t len, uint32_t crc)
{
    for (size_t i = 0; i < len; i++) {
        crc = (crc << 8) ^ table->of[(crc >> 24) ^ data[i]];
    }
    return crc;
}

uint32_t raft_segment_crc(const uint8_t *data, size_t len, uint32_t crc)
{
    struct crc_table table;

    crc_table_init(&table);
    return crc_update(&table, data, len, crc);
}

/* ---- one batch ------------------------------------------------------------------------ */

struct reading {
    const uint8_t *data;
    size_t len;
    struct crc_table crc_table;
    raft_segment_entry_cb on_entry;
    void *arg;
    uint64_t next_index;
};

struct batch {
    const uint8_t *bytes;
    uint64_t count;
    size_t header_bytes; /* with the checksums; 0: it is not right */
    size_t data_bytes;
    bool cut; /* the file ends before it does */
};

static bool type_is_known(uint8_t type)
{
    return type == RAFT_COMMAND || type == RAFT_BARRIER || type == RAFT_CHANGE;
}

static const char *
open_header(const struct reading *reading, size_t offset, struct batch *ret)
{
    size_t left = reading->len - offset;

    ret->bytes = reading->data + offset;
    if (left < AT_ENTRIES) {
        ret->cut = true;
        return "it is cut off in a header";
    }
    ret->count = durable_get_u64(ret->bytes + AT_COUNT);
    if (ret->count == 0) {
        return "a batch without entries";
    }
    if (ret->count > (left - AT_ENTRIES) / ENTRY_BYTES) {
        ret->cut = ret->count <= ENTRIES_MAX;
        return "more entries than there is room for";
    }
    size_t header_bytes = AT_ENTRIES + (size_t)ret->count * ENTRY_BYTES;
    if (crc_update(&reading->crc_table, ret->bytes + AT_COUNT, header_bytes - AT_COUNT,
                   0) != durable_get_u32(ret->bytes + AT_HEADER_CRC)) {
        return "checksum of a header";
    }
    ret->header_bytes = header_bytes;
    return NULL;
}

static const char *
open_batch(const struct reading *reading, size_t offset, struct batch *ret)
{
    const char *problem = open_header(reading, offset, ret);

    if (problem != NULL) {
        return problem;
    }
    ret->data_bytes = 0;
    for (uint64_t i = 0; i < ret->count; i++) {
        const uint8_t *entry = ret->bytes + AT_ENTRIES + i * ENTRY_BYTES;
        if (!type_is_known(entry[ENTRY_AT_TYPE])) {
            return "an entry of a type that this version does not know";
        }
        ret->data_bytes += durable_get_u32(entry + ENTRY_AT_LEN);
    }
    if (ret->data_bytes > reading->len - offset - ret->header_bytes) {
        ret->cut = true;
        return "it is cut off in the data";
    }
    if (crc_update(&reading->crc_table, ret->bytes + ret->header_bytes, ret->data_bytes,
                   0) != durable_get_u32(ret->bytes + AT_DATA_CRC)) {
        return "checksum of the data";
    }
    return NULL;
}

static void give_entries(struct reading *reading, const struct batch *batch)
{
    const uint8_t *data = batch->bytes + batch->header_bytes;

    for (uint64_t i = 0; i < batch->count; i++) {
        const uint8_t *header = batch->bytes + AT_ENTRIES + i * ENTRY_BYTES;
        struct raft_segment_entry entry = {
            .index = reading->next_index++,
            .term = durable_get_u64(header),
            .type = header[ENTRY_AT_TYPE],
            .data = data,
            .len = durable_get_u32(header + ENTRY_AT_LEN),
        };
        reading->on_entry(reading->arg, &entry);
        data += entry.len;
    }
}

/* ---- the segment ---------------------------------------------------------------------- */

/* Where the zeros begin that reach to the end. */
static size_t zeros_from(const uint8_t *data, size_t len)
{
    while (len > 0 && data[len - 1] == 0) {
        len--;
    }
    return len;
}

/* A batch with a right header says how long it was to be: what there is of it can be a
 * write that a crash cut off. Without one, nobody can tell such a write, of several blocks
 * of which the first is missing, from damage to what had been acknowledged. */
static enum raft_segment_end
classify(const struct reading *reading, size_t offset, const struct batch *batch)
{
    size_t zeros = zeros_from(reading->data, reading->len);

    if (batch->cut) {
        return RAFT_SEGMENT_CUT;
    }
    if (zeros <= offset) {
        return RAFT_SEGMENT_ZEROS;
    }
    return batch->header_bytes != 0 &&
                   zeros <= offset + batch->header_bytes + batch->data_bytes
               ? RAFT_SEGMENT_TORN
               : RAFT_SEGMENT_DAMAGED;
}

struct raft_segment raft_segment_read(const uint8_t *data,
                                      size_t len,
                                      uint64_t first_index,
                                      raft_segment_entry_cb on_entry,
                                      void *arg)
{
    struct reading reading = {
        .data = data,
        .len = len,
        .on_entry = on_entry,
        .arg = arg,
        .next_index = first_index,
    };
    size_t offset = FORMAT_BYTES;

    crc_table_init(&reading.crc_table);
    if (len < FORMAT_BYTES || durable_get_u64(data) != RAFT_SEGMENT_FORMAT) {
        bool unused = len == 0 || (len >= FORMAT_BYTES && zeros_from(data, len) == 0);
        return (struct raft_segment){
            .end = unused ? RAFT_SEGMENT_ZEROS : RAFT_SEGMENT_DAMAGED,
            .problem = "its format is not known",
            .next_index = first_index,
        };
    }
    while (offset < len) {
        struct batch batch = {0};
        const char *problem = open_batch(&reading, offset, &batch);
        if (problem != NULL) {
            return (struct raft_segment){
                .end = classify(&reading, offset, &batch),
                .offset = offset,
                .problem = problem,
                .next_index = reading.next_index,
            };
        }
        give_entries(&reading, &batch);
        offset += batch.header_bytes + batch.data_bytes;
    }
    return (struct raft_segment){
        .end = RAFT_SEGMENT_WHOLE, .offset = offset, .next_index = reading.next_index};
}
