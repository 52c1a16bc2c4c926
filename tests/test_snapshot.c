/* Snapshots as bytes: the same table comes back, and what is damaged or newer is refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <raft.h>

#include <cmocka.h>

#include "durable.h"
#include "feature_level.h"
#include "random_command.h"
#include "snapshot.h"

enum {
    SEED = 20240608,
    TABLES = 100,
    COMMANDS = 400,
    NAMES = 12,
    DAMAGE_ROUNDS = 5000,
    COMMANDS_INDEX = 4711,

    /* The layout as snapshot.h gives it. */
    AT_FORMAT = 4,
    AT_CHECKSUM = 8,
    AT_BODY = 16,
    AT_RECORDS_COUNT = 24,
    AT_RECORDS_BYTES = 32,
};

struct bytes {
    uint8_t *data;
    size_t len;
};

static struct bytes encode(const struct fsm *fsm)
{
    struct bytes bytes;
    void *data;

    snapshot_encode(fsm, COMMANDS_INDEX, FEATURE_LEVEL_FIRST, &data, &bytes.len);
    bytes.data = data;
    return bytes;
}

static const char *decode(const struct bytes *bytes, struct fsm **ret_fsm)
{
    uint64_t commands_index;
    const char *error =
        snapshot_decode(bytes->data, bytes->len, 4242, ret_fsm, &commands_index);

    if (error == NULL) {
        assert_int_equal(commands_index, COMMANDS_INDEX);
    }
    return error;
}

static void correct_checksum(struct bytes *bytes)
{
    durable_put_u64(bytes->data + AT_CHECKSUM,
                    durable_checksum(bytes->data + AT_BODY, bytes->len - AT_BODY));
}

/* ---- tables --------------------------------------------------------------------------- */

static struct fsm_str pick(uint64_t *random, const char *prefix, char name[static 16])
{
    int len = snprintf(name, 16, "%s%u", prefix, (unsigned)random_below(random, NAMES));

    return (struct fsm_str){.data = name, .len = (size_t)len};
}

/* Commands that meet: few clients, few locks, times that pass. */
static void apply_some(struct fsm *fsm, uint64_t *random, unsigned commands)
{
    uint64_t now_ms = fsm_now_ms(fsm);

    for (unsigned i = 0; i < commands; i++) {
        struct random_command random_one;
        struct fsm_command *command = &random_one.command;
        char client[16];
        char lock[16];

        random_command(random, 8, &random_one);
        command->client = pick(random, "client-", client);
        command->lock = pick(random, "lock-", lock);
        command->time_ms = now_ms += random_below(random, 20);
        if (command->type == FSM_CMD_LOCK) {
            command->client_epoch = UINT64_MAX;
            command->lock_.hold_ms = 1 + random_below(random, 3000);
            command->lock_.wait_ms = 1 + random_below(random, 3000);
            command->lock_.limit = command->lock_.type == FSM_WRITE
                                       ? 1 + (uint32_t)random_below(random, 2)
                                       : 1;
        }
        if (command->type == FSM_CMD_ATTACH) {
            command->attach.has_epoch = false;
        }
        if (command->type == FSM_CMD_EPOCH) {
            command->epoch.settings = (struct fsm_settings){1000, 1000, 1000, 1000, 1000, 20};
        }
        fsm_apply(fsm, command, NULL);
    }
}

static struct fsm *some_table(uint64_t seed)
{
    struct fsm *fsm = fsm_new(seed);

    apply_some(fsm, &seed, COMMANDS);
    return fsm;
}

/* ---- there and back ------------------------------------------------------------------- */

static void a_table_comes_back_equal_and_goes_on_equal(void **state)
{
    uint64_t claims = 0;

    (void)state;
    printf("seeds %d to %d\n", SEED, SEED + TABLES - 1);
    for (uint64_t seed = SEED; seed < SEED + TABLES; seed++) {
        struct fsm *fsm = some_table(seed);
        struct bytes bytes = encode(fsm);
        struct bytes again;
        struct fsm *copy;
        uint64_t random = seed;
        uint64_t same_random = seed;

        assert_null(decode(&bytes, &copy));
        fsm_check(copy);
        assert_true(fsm_hash(copy) == fsm_hash(fsm));
        assert_true(fsm_digest(copy) == fsm_digest(fsm));
        again = encode(copy);
        assert_int_equal(again.len, bytes.len);
        assert_memory_equal(again.data, bytes.data, bytes.len);

        claims += fsm_counts(fsm).holds + fsm_counts(fsm).waits;
        apply_some(fsm, &random, COMMANDS);
        apply_some(copy, &same_random, COMMANDS);
        assert_true(fsm_hash(copy) == fsm_hash(fsm));
        assert_true(fsm_digest(copy) == fsm_digest(fsm));
        raft_free(bytes.data);
        raft_free(again.data);
        fsm_free(copy);
        fsm_free(fsm);
    }
    assert_true(claims > TABLES); /* or nothing was shown */
}

static void a_table_encoded_in_steps_is_as_if_at_once(void **state)
{
    uint64_t random = 77;
    struct fsm *fsm = fsm_new(1);
    struct bytes at_once;
    struct bytes in_steps;
    void *data;

    (void)state;
    apply_some(fsm, &random, COMMANDS);
    at_once = encode(fsm);

    struct snapshot_writer *writer =
        snapshot_writer_new(fsm, COMMANDS_INDEX, FEATURE_LEVEL_FIRST);
    while (snapshot_writer_step(writer, 2)) {
        apply_some(fsm, &random, 1);
    }
    snapshot_writer_finish(writer, &data, &in_steps.len);
    in_steps.data = data;

    assert_int_equal(in_steps.len, at_once.len);
    assert_memory_equal(in_steps.data, at_once.data, at_once.len);
    raft_free(at_once.data);
    raft_free(in_steps.data);

    writer = snapshot_writer_new(fsm, COMMANDS_INDEX, FEATURE_LEVEL_FIRST);
    snapshot_writer_step(writer, 2);
    snapshot_writer_free(writer);
    fsm_free(fsm);
}

static void an_empty_table_comes_back(void **state)
{
    struct fsm *fsm = fsm_new(1);
    struct bytes bytes = encode(fsm);
    struct fsm *copy;

    (void)state;
    assert_null(decode(&bytes, &copy));
    assert_true(fsm_hash(copy) == fsm_hash(fsm));
    raft_free(bytes.data);
    fsm_free(copy);
    fsm_free(fsm);
}

static void a_hold_takes_little_more_than_its_names(void **state)
{
    enum { HOLDS = 1000, NAMES_BYTES = 3 * 11, OVERHEAD_BYTES = 60 };
    struct fsm *fsm = fsm_new(1);
    struct bytes bytes;

    (void)state;
    for (unsigned i = 0; i < HOLDS; i++) {
        char name[16];
        int len = snprintf(name, sizeof(name), "name-%06u", i);
        struct fsm_str str = {.data = name, .len = (size_t)len};
        struct fsm_command attach = {.type = FSM_CMD_ATTACH,
                                     .client = {.data = "c", .len = 1},
                                     .time_ms = 1u << 30};
        struct fsm_command lock = {
            .type = FSM_CMD_LOCK,
            .client = {.data = "c", .len = 1},
            .lock = str,
            .time_ms = 1u << 30,
            .lock_ = {.wait_ms = 1, .hold_ms = 60000, .limit = 1},
        };
        fsm_apply(fsm, &attach, NULL);
        fsm_apply(fsm, &lock, NULL);
    }
    assert_int_equal(fsm_counts(fsm).holds, HOLDS);
    bytes = encode(fsm);
    assert_true(bytes.len < HOLDS * (NAMES_BYTES + OVERHEAD_BYTES));
    raft_free(bytes.data);
    fsm_free(fsm);
}

/* ---- damaged and newer ---------------------------------------------------------------- */

static int setup(void **state)
{
    struct fsm *fsm = some_table(SEED);
    struct bytes *bytes = malloc(sizeof(*bytes));

    assert_non_null(bytes);
    *bytes = encode(fsm);
    fsm_free(fsm);
    *state = bytes;
    return 0;
}

static int teardown(void **state)
{
    struct bytes *bytes = *state;

    raft_free(bytes->data);
    free(bytes);
    return 0;
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct bytes *bytes = *state;
    struct fsm *fsm;

    for (size_t bit = 0; bit < 8 * bytes->len; bit += 3) {
        bytes->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_non_null(decode(bytes, &fsm));
        bytes->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void every_truncation_is_noticed(void **state)
{
    struct bytes *bytes = *state;
    struct bytes shorter = *bytes;
    struct fsm *fsm;

    for (shorter.len = 0; shorter.len < bytes->len; shorter.len++) {
        assert_non_null(decode(&shorter, &fsm));
    }
}

static void missing_records_are_noticed(void **state)
{
    struct bytes *bytes = *state;
    uint64_t count = durable_get_u64(bytes->data + AT_RECORDS_COUNT);
    struct fsm *fsm;

    durable_put_u64(bytes->data + AT_RECORDS_COUNT, count - 1);
    correct_checksum(bytes);
    assert_string_equal(decode(bytes, &fsm), "it is damaged (records)");
    durable_put_u64(bytes->data + AT_RECORDS_COUNT, count + 1);
    correct_checksum(bytes);
    assert_non_null(decode(bytes, &fsm));
    durable_put_u64(bytes->data + AT_RECORDS_COUNT, 0);
    durable_put_u64(bytes->data + AT_RECORDS_BYTES, 0);
    correct_checksum(bytes);
    assert_string_equal(decode(bytes, &fsm), "it has no records");
}

static void a_newer_format_is_said_to_be_newer(void **state)
{
    struct bytes *bytes = *state;
    struct fsm *fsm;

    bytes->data[AT_FORMAT] = (uint8_t)(feature_level_max + 1);
    assert_string_equal(decode(bytes, &fsm), "it comes from a newer version");
}

static void other_bytes_are_said_to_be_foreign(void **state)
{
    uint8_t text[] = "root:x:0:0:root:/root:/bin/bash and so on and so on";
    struct bytes bytes = {.data = text, .len = sizeof(text)};
    struct fsm *fsm;

    (void)state;
    assert_string_equal(decode(&bytes, &fsm), "it is not a snapshot of this service");
}

/* Damage that a checksum does not find, because somebody put it right: any outcome but harm. */
static void no_bytes_harm_the_reader(void **state)
{
    struct bytes *bytes = *state;
    uint64_t random = SEED;
    uint64_t refused = 0;

    printf("seed %d\n", SEED);
    for (unsigned i = 0; i < DAMAGE_ROUNDS; i++) {
        size_t at =
            AT_RECORDS_COUNT + random_below(&random, bytes->len - AT_RECORDS_COUNT);
        uint8_t kept = bytes->data[at];
        struct fsm *fsm;

        bytes->data[at] = (uint8_t)random_next(&random);
        correct_checksum(bytes);
        if (decode(bytes, &fsm) == NULL) {
            fsm_free(fsm);
        } else {
            refused++;
        }
        bytes->data[at] = kept;
    }
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_comes_back_equal_and_goes_on_equal),
        cmocka_unit_test(a_table_encoded_in_steps_is_as_if_at_once),
        cmocka_unit_test(an_empty_table_comes_back),
        cmocka_unit_test(a_hold_takes_little_more_than_its_names),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_records_are_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_format_is_said_to_be_newer, setup,
                                        teardown),
        cmocka_unit_test(other_bytes_are_said_to_be_foreign),
        cmocka_unit_test_setup_teardown(no_bytes_harm_the_reader, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
