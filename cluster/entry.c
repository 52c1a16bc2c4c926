#include "entry.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "entry_command.h"
#include "feature_level.h"
#include "log.pb-c.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_CHECKSUM = 8,
    AT_COMMANDS_BYTES = 16,
    AT_FIELDS_BYTES = 20,

    PADDING = 8,
    KEPT_BYTES_MAX = 16384,    /* of an empty writer */
    COMMANDS_TAG = 6 << 3 | 2, /* field 6 of Entry, length-delimited */
    FIELDS_BYTES_MAX =
        6 + 5 * 11 + 9, /* format, five varints, one fixed64, with their tags */
};
static_assert(ENTRY_FRAME_BYTES + FIELDS_BYTES_MAX + PADDING <= ENTRY_OVERHEAD_BYTES_MAX,
              "the overhead has room for everything but commands");

/* ---- writing -------------------------------------------------------------------------- */

static void writer_begin(struct entry_writer *writer)
{
    durable_reserve(&writer->bytes, ENTRY_FRAME_BYTES);
    memset(writer->bytes.data, 0, ENTRY_FRAME_BYTES);
    writer->bytes.len = ENTRY_FRAME_BYTES;
}

int entry_writer_add(struct entry_writer *writer,
                     const struct fsm_command *command,
                     size_t bytes_max)
{
    if (!entry_command_fits(command)) {
        return -EMSGSIZE;
    }
    if (writer->bytes.len == 0) {
        writer_begin(writer);
    }

    size_t len = writer->bytes.len;

    durable_reserve(&writer->bytes, 1);
    writer->bytes.data[writer->bytes.len++] = COMMANDS_TAG;
    entry_command_append(&writer->bytes, command);
    if (writer->bytes.len + ENTRY_OVERHEAD_BYTES_MAX > bytes_max) {
        writer->bytes.len = len;
        return writer->commands_count > 0 ? -ENOBUFS : -EMSGSIZE;
    }
    writer->commands_count++;
    return 0;
}

static size_t pack_fields(uint8_t *at, const struct entry_header *header)
{
    Netlock__Log__Entry message = NETLOCK__LOG__ENTRY__INIT;

    message.format = header->level;
    message.cluster_time = header->cluster_ms;
    message.proposer = header->proposer;
    message.proposer_term = header->proposer_term;
    message.batch = header->batch;
    message.prior_index = header->prior_index;
    message.prior_digest = header->prior_digest;
    return netlock__log__entry__pack(&message, at);
}

void entry_writer_close(struct entry_writer *writer,
                        const struct entry_header *header,
                        uint8_t **ret_data,
                        size_t *ret_len)
{
    if (writer->bytes.len == 0) {
        writer_begin(writer);
    }
    durable_reserve(&writer->bytes, ENTRY_OVERHEAD_BYTES_MAX);

    uint8_t *data = writer->bytes.data;
    size_t len = writer->bytes.len;
    size_t commands_bytes = len - ENTRY_FRAME_BYTES;
    size_t fields_bytes = pack_fields(data + len, header);

    assert(fields_bytes <= FIELDS_BYTES_MAX);
    len += fields_bytes;
    while (len % PADDING != 0) {
        data[len++] = 0;
    }
    durable_put_u32(data + AT_MAGIC, ENTRY_MAGIC);
    durable_put_u32(data + AT_VERSION, ENTRY_FRAME_VERSION);
    durable_put_u32(data + AT_COMMANDS_BYTES, (uint32_t)commands_bytes);
    durable_put_u32(data + AT_FIELDS_BYTES, (uint32_t)fields_bytes);
    durable_put_u64(data + AT_CHECKSUM,
                    durable_checksum(data + AT_COMMANDS_BYTES, len - AT_COMMANDS_BYTES));
    /* libraft keeps it for as long as the log. */
    durable_trim(&writer->bytes, len);
    *ret_data = writer->bytes.data;
    *ret_len = len;
}

void entry_writer_clear(struct entry_writer *writer)
{
    writer->bytes.len = writer->commands_count = 0;
    if (writer->bytes.capacity > KEPT_BYTES_MAX) {
        durable_release(&writer->bytes);
    }
}

void entry_writer_release(struct entry_writer *writer)
{
    durable_release(&writer->bytes);
    writer->commands_count = 0;
}

/* ---- reading -------------------------------------------------------------------------- */

static const char *check_frame(const uint8_t *data, size_t len)
{
    if (len < ENTRY_FRAME_BYTES || durable_get_u32(data + AT_MAGIC) != ENTRY_MAGIC) {
        return "it is not an entry of this service";
    }
    if (durable_get_u32(data + AT_VERSION) != ENTRY_FRAME_VERSION) {
        return durable_newer;
    }
    if (durable_get_u64(data + AT_CHECKSUM) !=
        durable_checksum(data + AT_COMMANDS_BYTES, len - AT_COMMANDS_BYTES)) {
        return "it is damaged (checksum)";
    }
    return NULL;
}

const char *entry_reader_open(struct entry_reader *reader, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    const char *error = check_frame(bytes, len);

    if (error != NULL) {
        return error;
    }

    size_t commands_bytes = durable_get_u32(bytes + AT_COMMANDS_BYTES);
    size_t fields_bytes = durable_get_u32(bytes + AT_FIELDS_BYTES);
    const uint8_t *commands = bytes + ENTRY_FRAME_BYTES;

    if (commands_bytes + fields_bytes > len - ENTRY_FRAME_BYTES) {
        return "it is damaged (lengths)";
    }

    const Netlock__Log__Entry *fields =
        durable_unpack(&reader->arena, &netlock__log__entry__descriptor,
                       commands + commands_bytes, fields_bytes);
    if (fields == NULL || fields->format == 0) {
        return "it is damaged (header)";
    }
    if (fields->format > feature_level_max) {
        return durable_newer;
    }
    reader->cursor = commands;
    reader->end = commands + commands_bytes;
    reader->header = (struct entry_header){
        .level = fields->format,
        .cluster_ms = fields->cluster_time,
        .proposer = fields->proposer,
        .proposer_term = fields->proposer_term,
        .batch = fields->batch,
        .prior_index = fields->prior_index,
        .prior_digest = fields->prior_digest,
    };
    return NULL;
}

bool entry_reader_next(struct entry_reader *reader,
                       struct fsm_command *ret_command,
                       const char **ret_error)
{
    const uint8_t *message;
    size_t len;

    *ret_error = NULL;
    if (reader->cursor == reader->end) {
        return false;
    }
    if (*reader->cursor++ != COMMANDS_TAG ||
        durable_next(&reader->cursor, reader->end, &message, &len) != 0) {
        *ret_error = "it is damaged (commands)";
        return false;
    }
    *ret_error = entry_command_read(&reader->arena, message, len, ret_command);
    if (*ret_error != NULL) {
        return false;
    }
    ret_command->time_ms = reader->header.cluster_ms;
    return true;
}
