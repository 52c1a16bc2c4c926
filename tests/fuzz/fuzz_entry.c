/* A raft entry of any bytes. Damage that the checksum finds says nothing about the reader behind it,
 * so the bytes are read three times: as they are, with the checksum put right, and with the lengths
 * put right too. What is accepted can be applied, and means the same after it was written and read
 * again. */
#include "durable.h"
#include "entry.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    BYTES_MAX = 1 << 16,

    /* The layout as entry.h gives it. */
    AT_CHECKSUM = 8,
    AT_COMMANDS_BYTES = 16,
    AT_FIELDS_BYTES = 20,
};

struct copy {
    struct entry_writer writer;
    uint8_t *data;
    size_t len;
    uint64_t hash; /* of the table that the commands lead to */
};

static const char *apply_and_copy(const uint8_t *data, size_t len, struct copy *ret)
{
    static struct entry_reader reader;
    struct fsm_events events = {0};
    struct fsm_command command;
    struct fsm *fsm;
    const char *error = entry_reader_open(&reader, data, len);

    if (error != NULL) {
        return error;
    }
    fsm = fsm_new(1);
    while (entry_reader_next(&reader, &command, &error)) {
        int rv = entry_writer_add(&ret->writer, &command, 2 * BYTES_MAX);
        assert(rv == 0);
        fsm_apply(fsm, &command, &events);
        fsm_events_clear(&events);
    }
    fsm_events_release(&events);
    fsm_check(fsm);
    ret->hash = fsm_hash(fsm);
    fsm_free(fsm);
    entry_writer_close(&ret->writer, &reader.header, &ret->data, &ret->len);
    return error;
}

static void read_as_it_is(const uint8_t *data, size_t len)
{
    struct copy first = {0};
    struct copy second = {0};

    if (apply_and_copy(data, len, &first) == NULL) {
        const char *error = apply_and_copy(first.data, first.len, &second);
        assert(error == NULL && second.hash == first.hash);
        assert(second.len == first.len);
        assert(memcmp(second.data, first.data, first.len) == 0);
    }
    entry_writer_release(&first.writer);
    entry_writer_release(&second.writer);
}

static void read_with_checksum(uint8_t *data, size_t len)
{
    durable_put_u64(data + AT_CHECKSUM,
                    durable_checksum(data + AT_COMMANDS_BYTES, len - AT_COMMANDS_BYTES));
    read_as_it_is(data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[BYTES_MAX];

    read_as_it_is(data, size);
    if (size < ENTRY_FRAME_BYTES || size > sizeof(copy)) {
        return 0;
    }
    memcpy(copy, data, size);
    read_with_checksum(copy, size);

    size_t fields_bytes = durable_get_u32(copy + AT_FIELDS_BYTES);
    size_t body_bytes = size - ENTRY_FRAME_BYTES;
    if (fields_bytes <= body_bytes) {
        durable_put_u32(copy + AT_COMMANDS_BYTES, (uint32_t)(body_bytes - fields_bytes));
        read_with_checksum(copy, size);
    }
    return 0;
}
