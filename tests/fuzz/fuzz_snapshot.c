/* A snapshot of any bytes, read as it is, with its checksum put right, and with its count and length
 * put right too. What is accepted is a table that holds all its invariants, and its own snapshot is
 * the same again, written in steps while the table goes on. */
#include "durable.h"
#include "feature_level.h"
#include "snapshot.h"

#include <assert.h>
#include <raft.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    BYTES_MAX = 1 << 16,

    /* The layout as snapshot.h gives it. */
    AT_CHECKSUM = 8,
    AT_COMMANDS_INDEX = 16,
    AT_RECORDS_COUNT = 24,
    AT_RECORDS_BYTES = 32,
    HEADER_BYTES = 40,
};

static struct fsm *decode(const void *data, size_t len)
{
    uint64_t commands_index;
    struct fsm *fsm = NULL;
    const char *error = snapshot_decode(data, len, 1, &fsm, &commands_index);

    assert((error == NULL) == (fsm != NULL));
    return fsm;
}

/* Time passes, and a client comes and goes. */
static void use(struct fsm *fsm)
{
    struct fsm_str name = {.data = "x", .len = 1};
    uint64_t now_ms = fsm_now_ms(fsm);
    uint64_t next_ms = fsm_next_deadline_ms(fsm);
    struct fsm_command commands[] = {
        {.type = FSM_CMD_TICK, .time_ms = next_ms == FSM_UNLIMITED ? now_ms : next_ms},
        {.type = FSM_CMD_ATTACH, .client = name},
        {.type = FSM_CMD_LOCK,
         .client = name,
         .lock = name,
         .client_epoch = UINT64_MAX,
         .lock_ = {.mode = FSM_WAIT, .wait_ms = 10, .hold_ms = 10, .limit = 1}},
        {.type = FSM_CMD_DETACH, .client = name, .detach = {.last = true}},
    };

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        fsm_apply(fsm, &commands[i], NULL);
        fsm_check(fsm);
    }
}

static void read_as_it_is(const uint8_t *data, size_t len)
{
    struct fsm *fsm = decode(data, len);
    void *first, *second;
    size_t first_len, second_len;

    if (fsm == NULL) {
        return;
    }
    fsm_check(fsm);
    snapshot_encode(fsm, 1, FEATURE_LEVEL_FIRST, &first, &first_len);
    struct fsm *same = decode(first, first_len);
    assert(same != NULL && fsm_hash(same) == fsm_hash(fsm));
    struct snapshot_writer *writer = snapshot_writer_new(same, 1, FEATURE_LEVEL_FIRST);
    bool more = snapshot_writer_step(writer, 3);
    use(same);
    while (more) {
        more = snapshot_writer_step(writer, 3);
    }
    snapshot_writer_finish(writer, &second, &second_len);
    assert(first_len == second_len && memcmp(first, second, first_len) == 0);
    use(fsm);
    assert(fsm_hash(same) == fsm_hash(fsm));
    fsm_free(fsm);
    fsm_free(same);
    raft_free(first);
    raft_free(second);
}

static void read_with_checksum(uint8_t *data, size_t len)
{
    durable_put_u64(data + AT_CHECKSUM,
                    durable_checksum(data + AT_COMMANDS_INDEX, len - AT_COMMANDS_INDEX));
    read_as_it_is(data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[BYTES_MAX];

    read_as_it_is(data, size);
    if (size < HEADER_BYTES || size > sizeof(copy)) {
        return 0;
    }
    memcpy(copy, data, size);
    read_with_checksum(copy, size);

    const uint8_t *cursor = copy + HEADER_BYTES;
    const uint8_t *message;
    size_t message_len;
    uint64_t records = 0;

    while (durable_next(&cursor, copy + size, &message, &message_len) == 0 &&
           message_len > 0) {
        durable_put_u64(copy + AT_RECORDS_COUNT, ++records);
        durable_put_u64(copy + AT_RECORDS_BYTES,
                        (uint64_t)(cursor - copy) - HEADER_BYTES);
    }
    read_with_checksum(copy, size);
    return 0;
}
