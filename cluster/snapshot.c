#include "snapshot.h"

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

void snapshot_encode(const struct fsm *fsm,
                     uint64_t commands_index,
                     uint32_t level,
                     void **ret_data,
                     size_t *ret_len)
{
    struct dump dump = {0};
    struct durable_bytes *bytes = &dump.bytes;

    durable_reserve(bytes, HEADER_BYTES);
    bytes->len = HEADER_BYTES;
    fsm_dump(fsm, dump_record, &dump);

    uint64_t records_bytes = bytes->len - HEADER_BYTES;

    durable_reserve(bytes, PADDING);
    while (bytes->len % PADDING != 0) {
        bytes->data[bytes->len++] = 0;
    }
    durable_put_u32(bytes->data + AT_MAGIC, SNAPSHOT_MAGIC);
    durable_put_u32(bytes->data + AT_FORMAT, level);
    durable_put_u64(bytes->data + AT_COMMANDS_INDEX, commands_index);
    durable_put_u64(bytes->data + AT_RECORDS_COUNT, dump.records_count);
    durable_put_u64(bytes->data + AT_RECORDS_BYTES, records_bytes);
    durable_put_u64(bytes->data + AT_CHECKSUM,
                    durable_checksum(bytes->data + AT_COMMANDS_INDEX,
                                     bytes->len - AT_COMMANDS_INDEX));
    *ret_data = bytes->data;
    *ret_len = bytes->len;
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
