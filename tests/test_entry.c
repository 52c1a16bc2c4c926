/* Entries as bytes: what goes in comes out, and what is damaged or newer is refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "entry.h"
#include "feature_level.h"
#include "entry_command.h"
#include "log.pb-c.h"
#include "random_command.h"

enum {
    SEED = 20240607,
    ROUNDS = 300,
    COMMANDS_MAX = 20,
    BYTES_MAX = 1 << 20,
    DAMAGE_ROUNDS = 20000,

    /* The layout as entry.h gives it. */
    AT_VERSION = 4,
    AT_CHECKSUM = 8,
    AT_COMMANDS_BYTES = 16,
    AT_FIELDS_BYTES = 20,
};

static const struct entry_header some_header = {
    .level = FEATURE_LEVEL_FIRST,
    .cluster_ms = 123456789,
    .proposer = 3,
    .proposer_term = 17,
    .batch = 4,
    .prior_index = 1000,
    .prior_digest = UINT64_C(0xFEDCBA9876543210),
};

static void assert_str_equal(struct fsm_str a, struct fsm_str b)
{
    assert_int_equal(a.len, b.len);
    if (a.len > 0) {
        assert_memory_equal(a.data, b.data, a.len);
    }
}

static void assert_epoch_equal(const struct fsm_command *a, const struct fsm_command *b)
{
    assert_true(a->epoch.node_id == b->epoch.node_id);
    assert_true(a->epoch.term == b->epoch.term);
    assert_memory_equal(&a->epoch.settings, &b->epoch.settings,
                        sizeof(a->epoch.settings));
}

static void assert_attach_equal(const struct fsm_command *a, const struct fsm_command *b)
{
    assert_int_equal(a->attach.has_epoch, b->attach.has_epoch);
    assert_true(a->attach.epoch == b->attach.epoch);
    assert_int_equal(a->attach.supersede, b->attach.supersede);
    assert_int_equal(a->attach.create, b->attach.create);
    assert_str_equal(a->attach.secret_digest, b->attach.secret_digest);
}

static void assert_lock_equal(const struct fsm_command *a, const struct fsm_command *b)
{
    assert_int_equal(a->lock_.type, b->lock_.type);
    assert_int_equal(a->lock_.mode, b->lock_.mode);
    assert_int_equal(a->lock_.drop, b->lock_.drop);
    assert_true(a->lock_.wait_ms == b->lock_.wait_ms);
    assert_true(a->lock_.hold_ms == b->lock_.hold_ms);
    assert_int_equal(a->lock_.limit, b->lock_.limit);
    assert_int_equal(a->lock_.downgrade, b->lock_.downgrade);
    assert_str_equal(a->lock_.owner_info, b->lock_.owner_info);
}

static void assert_refresh_equal(const struct fsm_command *a, const struct fsm_command *b)
{
    assert_true(a->refresh.wait_ms == b->refresh.wait_ms);
    assert_true(a->refresh.hold_ms == b->refresh.hold_ms);
    assert_int_equal(a->refresh.set_drop, b->refresh.set_drop);
    assert_int_equal(a->refresh.drop, b->refresh.drop);
    assert_true(a->refresh.token == b->refresh.token);
}

static void assert_command_equal(const struct fsm_command *a, const struct fsm_command *b)
{
    assert_int_equal(a->type, b->type);
    assert_str_equal(a->client, b->client);
    assert_str_equal(a->lock, b->lock);
    assert_true(a->client_epoch == b->client_epoch);
    switch (a->type) {
    case FSM_CMD_EPOCH:
        assert_epoch_equal(a, b);
        return;
    case FSM_CMD_ATTACH:
        assert_attach_equal(a, b);
        return;
    case FSM_CMD_DETACH:
        assert_true(a->detach.attach_seq == b->detach.attach_seq);
        assert_int_equal(a->detach.last, b->detach.last);
        return;
    case FSM_CMD_LOCK:
        assert_lock_equal(a, b);
        return;
    case FSM_CMD_REFRESH:
        assert_refresh_equal(a, b);
        return;
    case FSM_CMD_RELEASE:
        assert_true(a->release.token == b->release.token);
        return;
    case FSM_CMD_CHECK_TOKEN:
        assert_true(a->check_token.token == b->check_token.token);
        return;
    case FSM_CMD_FORCE_RELEASE:
        assert_true(a->force_release.token == b->force_release.token);
        return;
    case FSM_CMD_LIST_LOCKS:
    case FSM_CMD_LIST_CLIENTS:
        assert_str_equal(a->list.prefix, b->list.prefix);
        assert_str_equal(a->list.after, b->list.after);
        assert_int_equal(a->list.max, b->list.max);
        return;
    case FSM_CMD_TICK:
    case FSM_CMD_STATUS:
    case FSM_CMD_CHECKPOINT:
        return;
    }
}

static const char *read_all(const uint8_t *data, size_t len, size_t *ret_count)
{
    struct entry_reader reader;
    struct fsm_command command;
    const char *error = entry_reader_open(&reader, data, len);

    *ret_count = 0;
    if (error != NULL) {
        return error;
    }
    while (entry_reader_next(&reader, &command, &error)) {
        ++*ret_count;
    }
    return error;
}

/* ---- there and back ------------------------------------------------------------------- */

static void commands_come_back_in_order_with_the_entrys_time(void **state)
{
    uint64_t random = SEED;

    (void)state;
    printf("seed %d\n", SEED);
    for (unsigned round = 0; round < ROUNDS; round++) {
        static struct random_command commands[COMMANDS_MAX];
        size_t count = random_below(&random, COMMANDS_MAX + 1);
        struct entry_writer writer = {0};
        struct entry_reader reader;
        struct fsm_command command;
        const char *error;
        uint8_t *data;
        size_t len;

        for (size_t i = 0; i < count; i++) {
            random_command(&random, FSM_NAME_BYTES_MAX, &commands[i]);
            commands[i].command.ref = 99;
            assert_int_equal(entry_writer_add(&writer, &commands[i].command, BYTES_MAX),
                             0);
        }
        entry_writer_close(&writer, &some_header, &data, &len);
        assert_true(len % 8 == 0);
        assert_null(entry_reader_open(&reader, data, len));
        assert_memory_equal(&reader.header, &some_header, sizeof(some_header));
        for (size_t i = 0; i < count; i++) {
            assert_true(entry_reader_next(&reader, &command, &error));
            assert_command_equal(&command, &commands[i].command);
            assert_int_equal(command.time_ms, some_header.cluster_ms);
            assert_int_equal(command.ref, 0);
        }
        assert_false(entry_reader_next(&reader, &command, &error));
        assert_null(error);
        entry_writer_release(&writer);
    }
}

/* What is between frame and padding is one Entry. What protobuf-c reads from a command of any kind
 * and writes again are the same bytes: nothing is misplaced, left out or written in another way. */
static void the_payload_is_a_message_of_the_schema(void **state)
{
    uint64_t random = SEED;
    struct entry_writer writer = {0};
    const uint8_t *commands;
    uint8_t *data;
    size_t len;

    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct random_command command;
        random_command(&random, FSM_NAME_BYTES_MAX, &command);
        assert_int_equal(entry_writer_add(&writer, &command.command, BYTES_MAX), 0);
    }
    entry_writer_close(&writer, &some_header, &data, &len);

    size_t commands_bytes = durable_get_u32(data + AT_COMMANDS_BYTES);
    size_t payload_bytes = commands_bytes + durable_get_u32(data + AT_FIELDS_BYTES);
    Netlock__Log__Entry *entry =
        netlock__log__entry__unpack(NULL, payload_bytes, data + ENTRY_FRAME_BYTES);
    assert_non_null(entry);
    assert_int_equal(entry->format, some_header.level);
    assert_int_equal(entry->cluster_time, some_header.cluster_ms);
    assert_int_equal(entry->proposer, some_header.proposer);
    assert_int_equal(entry->proposer_term, some_header.proposer_term);
    assert_int_equal(entry->batch, some_header.batch);
    assert_int_equal(entry->prior_index, some_header.prior_index);
    assert_true(entry->prior_digest == some_header.prior_digest);
    assert_int_equal(entry->n_commands, ROUNDS);

    commands = data + ENTRY_FRAME_BYTES;
    for (size_t i = 0; i < entry->n_commands; i++) {
        uint8_t again[DURABLE_MESSAGE_BYTES_MAX];
        const uint8_t *message;
        size_t message_len;
        commands++; /* the tag */
        assert_int_equal(durable_next(&commands, data + len, &message, &message_len), 0);
        assert_true(netlock__log__command__get_packed_size(entry->commands[i]) <=
                    sizeof(again));
        assert_int_equal(netlock__log__command__pack(entry->commands[i], again),
                         message_len);
        assert_memory_equal(again, message, message_len);
    }
    netlock__log__entry__free_unpacked(entry, NULL);
    entry_writer_release(&writer);
}

static void an_entry_may_be_closed_again_with_more_in_it(void **state)
{
    struct fsm_command tick = {.type = FSM_CMD_TICK};
    struct entry_header later = some_header;
    struct entry_writer writer = {0};
    struct entry_reader reader;
    size_t count;
    uint8_t *data;
    size_t len;

    (void)state;
    later.cluster_ms++;
    assert_int_equal(entry_writer_add(&writer, &tick, BYTES_MAX), 0);
    entry_writer_close(&writer, &some_header, &data, &len);
    assert_int_equal(entry_writer_add(&writer, &tick, BYTES_MAX), 0);
    entry_writer_close(&writer, &later, &data, &len);

    assert_null(read_all(data, len, &count));
    assert_int_equal(count, 2);
    assert_null(entry_reader_open(&reader, data, len));
    assert_int_equal(reader.header.cluster_ms, later.cluster_ms);
    entry_writer_release(&writer);
}

static void a_command_over_the_limit_does_not_enter(void **state)
{
    enum { SMALL = 512 };
    struct random_command command;
    struct entry_writer writer = {0};
    uint64_t random = SEED;
    size_t added = 0;
    size_t count;
    uint8_t *data;
    size_t len;
    int rv;

    (void)state;
    do {
        random_command(&random, 20, &command);
        rv = entry_writer_add(&writer, &command.command, SMALL);
        added += rv == 0;
    } while (rv == 0);
    assert_int_equal(rv, -ENOBUFS);
    entry_writer_close(&writer, &some_header, &data, &len);

    assert_true(len <= SMALL);
    assert_null(read_all(data, len, &count));
    assert_int_equal(count, added);
    entry_writer_release(&writer);
    assert_int_equal(entry_writer_add(&writer, &command.command, ENTRY_FRAME_BYTES),
                     -EMSGSIZE);
    entry_writer_release(&writer);
}

static struct fsm_command some_lock(void)
{
    return (struct fsm_command){.type = FSM_CMD_LOCK,
                                .lock_ = {.wait_ms = 1, .hold_ms = 1, .limit = 1}};
}

/* Once it is committed, every node that reads it stops. */
static void a_value_out_of_range_is_never_written(void **state)
{
    struct entry_writer writer = {0};
    struct fsm_command good = some_lock();
    struct fsm_command bad[] = {good, good, good, good, good, good, good};
    struct fsm_command refresh = {.type = FSM_CMD_REFRESH,
                                  .refresh.drop = (enum fsm_drop)2};
    struct fsm_command list = {.type = FSM_CMD_LIST_LOCKS};

    (void)state;
    bad[0].lock_.wait_ms = 0;
    bad[1].lock_.hold_ms = 0;
    bad[2].lock_.limit = 0;
    bad[3].lock_.limit = FSM_LIMIT_MAX + 1;
    bad[4].lock_.type = (enum fsm_type)2;
    bad[5].lock_.drop = (enum fsm_drop)2;
    bad[6].lock_.type = FSM_READ;
    bad[6].lock_.limit = 2;
    assert_int_equal(entry_writer_add(&writer, &good, BYTES_MAX), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(entry_writer_add(&writer, &bad[i], BYTES_MAX), -EMSGSIZE);
    }
    assert_int_equal(entry_writer_add(&writer, &refresh, BYTES_MAX), -EMSGSIZE);
    assert_int_equal(entry_writer_add(&writer, &list, BYTES_MAX), -EMSGSIZE);
    entry_writer_release(&writer);
}

static void too_long_a_string_is_refused(void **state)
{
    static const char name[FSM_NAME_BYTES_MAX + 1] = {'n'};
    struct fsm_str too_long = {.data = name, .len = sizeof(name)};
    struct entry_writer writer = {0};
    struct fsm_command status = {.type = FSM_CMD_STATUS, .client = too_long};
    struct fsm_command list = {.type = FSM_CMD_LIST_LOCKS, .list.after = too_long};
    struct fsm_command lock = some_lock();
    struct fsm_command attach = {.type = FSM_CMD_ATTACH,
                                 .attach.secret_digest = too_long};

    (void)state;
    lock.lock_.owner_info = too_long;
    list.list.max = 1;
    assert_int_equal(entry_writer_add(&writer, &status, BYTES_MAX), -EMSGSIZE);
    assert_int_equal(entry_writer_add(&writer, &list, BYTES_MAX), -EMSGSIZE);
    assert_int_equal(entry_writer_add(&writer, &lock, BYTES_MAX), -EMSGSIZE);
    assert_int_equal(entry_writer_add(&writer, &attach, BYTES_MAX), -EMSGSIZE);
    entry_writer_release(&writer);
}

/* ---- damaged and newer ---------------------------------------------------------------- */

struct sealed {
    uint8_t data[2048];
    size_t len;
};

static void correct_checksum(struct sealed *entry)
{
    durable_put_u64(entry->data + AT_CHECKSUM,
                    durable_checksum(entry->data + AT_COMMANDS_BYTES,
                                     entry->len - AT_COMMANDS_BYTES));
}

static void seal_some_entry(struct sealed *ret, unsigned commands)
{
    struct entry_writer writer = {0};
    uint64_t random = SEED;
    uint8_t *data;

    for (unsigned i = 0; i < commands; i++) {
        struct random_command command;
        random_command(&random, 20, &command);
        assert_int_equal(entry_writer_add(&writer, &command.command, sizeof(ret->data)),
                         0);
    }
    entry_writer_close(&writer, &some_header, &data, &ret->len);
    memcpy(ret->data, data, ret->len);
    entry_writer_release(&writer);
}

/* An entry with one command that no writer of this version writes. */
static void seal_command(struct sealed *ret, const uint8_t *command, size_t command_len)
{
    Netlock__Log__Entry fields = NETLOCK__LOG__ENTRY__INIT;
    uint8_t *at = ret->data + ENTRY_FRAME_BYTES;

    seal_some_entry(ret, 0);
    fields.format = feature_level_max;
    *at++ = 6 << 3 | 2;
    *at++ = (uint8_t)(command_len & 0x7f) | 0x80;
    *at++ = (uint8_t)(command_len >> 7);
    memcpy(at, command, command_len);
    at += command_len;
    durable_put_u32(ret->data + AT_COMMANDS_BYTES,
                    (uint32_t)(at - ret->data - ENTRY_FRAME_BYTES));
    size_t fields_len = netlock__log__entry__pack(&fields, at);
    durable_put_u32(ret->data + AT_FIELDS_BYTES, (uint32_t)fields_len);
    ret->len = (size_t)(at - ret->data) + fields_len;
    correct_checksum(ret);
}

static const char *error_of_lock(const Netlock__Log__Lock *lock)
{
    Netlock__Log__Command message = NETLOCK__LOG__COMMAND__INIT;
    Netlock__Log__Lock copy = *lock;
    struct sealed entry;
    uint8_t packed[1024];
    size_t count;

    message.kind_case = NETLOCK__LOG__COMMAND__KIND_LOCK;
    message.lock = &copy;
    seal_command(&entry, packed, netlock__log__command__pack(&message, packed));
    return read_all(entry.data, entry.len, &count);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct sealed entry;
    size_t count;

    (void)state;
    seal_some_entry(&entry, 8);
    assert_null(read_all(entry.data, entry.len, &count));
    for (size_t bit = 0; bit < 8 * entry.len; bit++) {
        entry.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_non_null(read_all(entry.data, entry.len, &count));
        entry.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void every_truncation_is_noticed(void **state)
{
    struct sealed entry;
    size_t count;

    (void)state;
    seal_some_entry(&entry, 8);
    for (size_t len = 0; len < entry.len; len++) {
        assert_non_null(read_all(entry.data, len, &count));
    }
}

/* Damage that a checksum does not find, because somebody put it right: any outcome but harm. */
static void no_bytes_harm_the_reader(void **state)
{
    uint64_t random = SEED;
    struct sealed entry;
    size_t count;

    (void)state;
    printf("seed %d\n", SEED);
    for (unsigned i = 0; i < DAMAGE_ROUNDS; i++) {
        seal_some_entry(&entry, 4);
        for (uint64_t flips = 1 + random_below(&random, 4); flips > 0; flips--) {
            size_t at =
                AT_COMMANDS_BYTES + random_below(&random, entry.len - AT_COMMANDS_BYTES);
            entry.data[at] = (uint8_t)random_next(&random);
        }
        correct_checksum(&entry);
        read_all(entry.data, entry.len, &count);
    }
}

static void a_newer_frame_or_format_is_said_to_be_newer(void **state)
{
    const uint8_t newer_format[] = {0x08, (uint8_t)(feature_level_max + 1)};
    struct sealed entry;
    size_t count;

    (void)state;
    seal_some_entry(&entry, 1);
    entry.data[AT_VERSION]++;
    assert_string_equal(read_all(entry.data, entry.len, &count),
                        "it comes from a newer version");

    seal_some_entry(&entry, 0);
    memcpy(entry.data + ENTRY_FRAME_BYTES, newer_format, sizeof(newer_format));
    correct_checksum(&entry);
    assert_string_equal(read_all(entry.data, entry.len, &count),
                        "it comes from a newer version");
}

static void an_unknown_kind_of_command_is_said_to_be_newer(void **state)
{
    static const uint8_t field_63[] = {0xfa, 0x03, 0x00};
    struct sealed entry;
    size_t count;

    (void)state;
    seal_command(&entry, field_63, sizeof(field_63));
    assert_string_equal(read_all(entry.data, entry.len, &count),
                        "it has a command of a newer version");
}

/* Within a format, fields may be added whose absence means what it meant before. */
static void an_unknown_field_of_a_known_command_is_passed_over(void **state)
{
    /* Detach { client: "c", fields 12 to 15 of every type: "d", 4 bytes, 8 bytes, 1 } */
    static const uint8_t detach[] = {0x22, 24, 0x0a, 0x01, 'c',  0x62, 0x01, 'd', 0x6d,
                                     1,    2,  3,    4,    0x71, 1,    2,    3,   4,
                                     5,    6,  7,    8,    0x78, 0x01, 0x10, 0x00};
    struct sealed entry;
    size_t count;

    (void)state;
    seal_command(&entry, detach, sizeof(detach));
    assert_null(read_all(entry.data, entry.len, &count));
    assert_int_equal(count, 1);
}

static void a_command_that_no_writer_writes_is_said_to_be_damaged(void **state)
{
    static const struct {
        uint8_t bytes[16];
        size_t len;
    } commands[] = {
        {{0x22, 0x03, 0x0a, 0x02, 'c'}, 5}, /* longer than what it is in */
        {{0x22, 0x02, 0x08, 0x01}, 4},      /* a client that is a number */
        {{0x22, 0x03, 0x12, 0x01, 'c'}, 5}, /* a number that is bytes */
        {{0x22, 0x02, 0x13, 0x14}, 4},      /* a group */
        {{0x22, 0x02, 0x00, 0x01}, 4},      /* field 0 */
        {{0x22, 0x02, 0x10, 0x80}, 4},      /* a number without its end */
        {{0x22, 0x00, 0x22, 0x00}, 4},      /* twice */
        {{0x22, 0x00, 0x12, 0x00}, 4},      /* of two kinds */
        {{0x20, 0x00}, 2},                  /* a kind that is a number */
        {{0x22, 0x0d, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
          0x01, 0x00},
         15}, /* a number of 11 bytes */
        {{0x22, 0x0b, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
         13}, /* a number of 65 bits */
    };
    struct sealed entry;
    size_t count;

    (void)state;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        seal_command(&entry, commands[i].bytes, commands[i].len);
        assert_string_equal(read_all(entry.data, entry.len, &count),
                            "it has a command that is damaged");
    }
}

/* Our reader against protobuf-c's: it may refuse more, never less. */
static void no_command_is_read_that_protobuf_would_refuse(void **state)
{
    static struct durable_arena arena;
    uint64_t random = SEED;
    unsigned read = 0;

    (void)state;
    for (unsigned i = 0; i < DAMAGE_ROUNDS; i++) {
        struct random_command command;
        struct durable_bytes bytes = {0};
        random_command(&random, 20, &command);
        entry_command_append(&bytes, &command.command);
        const uint8_t *cursor = bytes.data;
        const uint8_t *message;
        size_t len;
        assert_int_equal(durable_next(&cursor, bytes.data + bytes.len, &message, &len),
                         0);
        bytes.data[(size_t)(message - bytes.data) + random_below(&random, len)] =
            (uint8_t)random_next(&random);
        if (durable_unpack(&arena, &netlock__log__command__descriptor, message, len) !=
            NULL) {
            Netlock__Log__Command *theirs =
                netlock__log__command__unpack(NULL, len, message);
            assert_non_null(theirs);
            netlock__log__command__free_unpacked(theirs, NULL);
            read++;
        }
        durable_release(&bytes);
    }
    assert_in_range(read, DAMAGE_ROUNDS / 4, DAMAGE_ROUNDS);
}

static void assert_lock_refused(Netlock__Log__Lock lock)
{
    assert_string_equal(error_of_lock(&lock),
                        "it has a command with a value out of range");
}

static void values_out_of_range_do_not_reach_the_table(void **state)
{
    static uint8_t name[FSM_NAME_BYTES_MAX + 1];
    Netlock__Log__Lock good = NETLOCK__LOG__LOCK__INIT;
    Netlock__Log__Lock bad[9];

    (void)state;
    good.wait = 1;
    good.hold = 1;
    good.limit = 1;
    assert_null(error_of_lock(&good));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        bad[i] = good;
    }
    bad[0].type = FSM_READ + 1;
    bad[1].mode = FSM_WAIT + 1;
    bad[2].drop = FSM_DROP_IGNORE + 1;
    bad[3].wait = 0;
    bad[4].hold = 0;
    bad[5].limit = 0;
    bad[6].limit = FSM_LIMIT_MAX + 1;
    bad[7].limit = 2;
    bad[7].type = FSM_READ;
    bad[8].lock = (ProtobufCBinaryData){.data = name, .len = sizeof(name)};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_lock_refused(bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_back_in_order_with_the_entrys_time),
        cmocka_unit_test(the_payload_is_a_message_of_the_schema),
        cmocka_unit_test(an_entry_may_be_closed_again_with_more_in_it),
        cmocka_unit_test(a_command_over_the_limit_does_not_enter),
        cmocka_unit_test(a_value_out_of_range_is_never_written),
        cmocka_unit_test(too_long_a_string_is_refused),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(no_bytes_harm_the_reader),
        cmocka_unit_test(a_newer_frame_or_format_is_said_to_be_newer),
        cmocka_unit_test(an_unknown_kind_of_command_is_said_to_be_newer),
        cmocka_unit_test(an_unknown_field_of_a_known_command_is_passed_over),
        cmocka_unit_test(a_command_that_no_writer_writes_is_said_to_be_damaged),
        cmocka_unit_test(no_command_is_read_that_protobuf_would_refuse),
        cmocka_unit_test(values_out_of_range_do_not_reach_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
