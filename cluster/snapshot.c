#include "snapshot.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "durable.h"
#include "feature_level.h"
#include "snapshot_record.h"

enum {
    AT_MAGIC = 0,
    AT_FORMAT = 4,
    AT_CHECKSUM = 8,
    AT_COMMANDS_INDEX = 16,
    AT_RECORDS_COUNT = 24,
    AT_RECORDS_BYTES = 32,
    HEADER_BYTES = 40,

    PADDING = 8,

    LOCK_BYTES = 128, /* with one hold and names of ten bytes or a few more */
    CHECKSUM_BYTES_PER_RECORD = 1024, /* in about the time of encoding one */
};

/* ---- writing -------------------------------------------------------------------------- */

struct dump {
    struct durable_bytes bytes;
    uint64_t records_count;
};

static void dump_record(void *arg, const struct fsm_record *record)
{
    struct dump *dump = arg;

    snapshot_record_append(&dump->bytes, record);
    dump->records_count++;
}

static void begin(struct dump *dump)
{
    *dump = (struct dump){0};
    durable_reserve(&dump->bytes, HEADER_BYTES);
    dump->bytes.len = HEADER_BYTES;
}

/* Behind the last record: all but the checksum. */
static void complete(struct dump *dump, uint64_t commands_index, uint32_t level)
{
    struct durable_bytes *bytes = &dump->bytes;
    uint64_t records_bytes = bytes->len - HEADER_BYTES;

    durable_reserve(bytes, PADDING);
    while (bytes->len % PADDING != 0) {
        bytes->data[bytes->len++] = 0;
    }
    durable_put_u32(bytes->data + AT_MAGIC, SNAPSHOT_MAGIC);
    durable_put_u32(bytes->data + AT_FORMAT, level);
    durable_put_u64(bytes->data + AT_COMMANDS_INDEX, commands_index);
    durable_put_u64(bytes->data + AT_RECORDS_COUNT, dump->records_count);
    durable_put_u64(bytes->data + AT_RECORDS_BYTES, records_bytes);
}

void snapshot_encode(const struct fsm *fsm,
                     uint64_t commands_index,
                     uint32_t level,
                     void **ret_data,
                     size_t *ret_len)
{
    struct dump dump;

    begin(&dump);
    fsm_dump(fsm, dump_record, &dump);
    complete(&dump, commands_index, level);
    durable_put_u64(dump.bytes.data + AT_CHECKSUM,
                    durable_checksum(dump.bytes.data + AT_COMMANDS_INDEX,
                                     dump.bytes.len - AT_COMMANDS_INDEX));
    *ret_data = dump.bytes.data;
    *ret_len = dump.bytes.len;
}

/* ---- writing in steps ----------------------------------------------------------------- */

struct snapshot_writer {
    struct fsm_dump *records; /* NULL: all are encoded */
    struct dump dump;
    uint64_t commands_index;
    uint32_t level;
    XXH64_state_t checksum;
    size_t checksum_at; /* what lies before is in it */
};

struct snapshot_writer *
snapshot_writer_new(struct fsm *fsm, uint64_t commands_index, uint32_t level)
{
    struct snapshot_writer *writer = malloc(sizeof(*writer));

    if (writer == NULL) {
        abort();
    }
    *writer = (struct snapshot_writer){
        .records = fsm_dump_begin(fsm),
        .commands_index = commands_index,
        .level = level,
        .checksum_at = AT_COMMANDS_INDEX,
    };
    XXH64_reset(&writer->checksum, 0);
    begin(&writer->dump);
    return writer;
}

void snapshot_writer_free(struct snapshot_writer *writer)
{
    if (writer != NULL) {
        fsm_dump_end(writer->records);
        durable_release(&writer->dump.bytes);
        free(writer);
    }
}

static void step_records(struct snapshot_writer *writer, size_t records)
{
    if (!fsm_dump_step(writer->records, records, dump_record, &writer->dump)) {
        fsm_dump_end(writer->records);
        writer->records = NULL;
        complete(&writer->dump, writer->commands_index, writer->level);
    }
}

/* The numbers in front of the records are part of the checksum, and known last. */
static void step_checksum(struct snapshot_writer *writer, size_t records)
{
    const struct durable_bytes *bytes = &writer->dump.bytes;
    size_t left = bytes->len - writer->checksum_at;
    size_t len = records < left / CHECKSUM_BYTES_PER_RECORD
                     ? records * CHECKSUM_BYTES_PER_RECORD
                     : left;

    XXH64_update(&writer->checksum, bytes->data + writer->checksum_at, len);
    writer->checksum_at += len;
}

bool snapshot_writer_step(struct snapshot_writer *writer, size_t records)
{
    if (writer->records != NULL) {
        step_records(writer, records);
    } else {
        step_checksum(writer, records);
    }
    return writer->records != NULL || writer->checksum_at < writer->dump.bytes.len;
}

void snapshot_writer_finish(struct snapshot_writer *writer,
                            void **ret_data,
                            size_t *ret_len)
{
    struct durable_bytes *bytes = &writer->dump.bytes;

    durable_put_u64(bytes->data + AT_CHECKSUM, XXH64_digest(&writer->checksum));
    *ret_data = bytes->data;
    *ret_len = bytes->len;
    *bytes = (struct durable_bytes){0};
    snapshot_writer_free(writer);
}

/* ---- reading -------------------------------------------------------------------------- */

static const char *check_header(const uint8_t *data, size_t len)
{
    if (len < HEADER_BYTES || durable_get_u32(data + AT_MAGIC) != SNAPSHOT_MAGIC) {
        return "it is not a snapshot of this service";
    }
    if (durable_get_u32(data + AT_FORMAT) == 0) {
        return "it is damaged (format)";
    }
    if (durable_get_u32(data + AT_FORMAT) > feature_level_max) {
        return durable_newer;
    }
    if (durable_get_u64(data + AT_CHECKSUM) !=
        durable_checksum(data + AT_COMMANDS_INDEX, len - AT_COMMANDS_INDEX)) {
        return "it is damaged (checksum)";
    }
    if (durable_get_u64(data + AT_RECORDS_BYTES) > len - HEADER_BYTES) {
        return "it is damaged (length)";
    }
    return NULL;
}

static const char *load_records(struct fsm *fsm, const uint8_t *data)
{
    const uint8_t *cursor = data + HEADER_BYTES;
    const uint8_t *end = cursor + durable_get_u64(data + AT_RECORDS_BYTES);
    uint64_t records_count = durable_get_u64(data + AT_RECORDS_COUNT);
    struct durable_arena arena;

    if (records_count == 0) {
        return "it has no records"; /* even an empty table has one */
    }
    /* A lock has a hold at least. As the records are not believed yet, for what they take. */
    fsm_expect_locks(fsm, (uint64_t)(end - cursor) / LOCK_BYTES);
    for (uint64_t i = 0; i < records_count; i++) {
        struct fsm_record record;
        const uint8_t *message;
        size_t len;
        const char *error;

        if (durable_next(&cursor, end, &message, &len) != 0) {
            return "it is damaged (records)";
        }
        error = snapshot_record_read(&arena, message, len, &record);
        if (error != NULL) {
            return error;
        }
        if (fsm_load(fsm, &record) != 0) {
            return "its records contradict each other";
        }
    }
    if (cursor != end) {
        return "it is damaged (records)";
    }
    return fsm_load_end(fsm) == 0 ? NULL : "its last records are missing";
}

const char *snapshot_decode(const void *data,
                            size_t len,
                            uint64_t hash_seed,
                            struct fsm **ret_fsm,
                            uint64_t *ret_commands_index)
{
    const uint8_t *bytes = data;
    const char *error = check_header(bytes, len);

    if (error != NULL) {
        return error;
    }

    struct fsm *fsm = fsm_new(hash_seed);

    error = load_records(fsm, bytes);
    if (error != NULL) {
        fsm_free(fsm);
        return error;
    }
    *ret_fsm = fsm;
    *ret_commands_index = durable_get_u64(bytes + AT_COMMANDS_INDEX);
    return NULL;
}

uint32_t snapshot_level(const void *data)
{
    return durable_get_u32((const uint8_t *)data + AT_FORMAT);
}
