/* Backups as bytes, and the first token of a restored table. */
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

#include "backup.h"
#include "durable.h"
#include "feature_level.h"
#include "snapshot.h"

enum {
    COMMANDS_INDEX = 41,

    /* The layout as backup.h gives it. */
    AT_FORMAT = 4,
    AT_LEN = 16,
    AT_SNAPSHOT = 104,
};

static const struct backup_origin origin = {.index = 42, .term = 7, .cluster_id = "old"};

static struct fsm_str str(const char *text)
{
    return (struct fsm_str){.data = text, .len = strlen(text)};
}

static uint64_t apply_lock(struct fsm *fsm, const char *client, const char *lock)
{
    struct fsm_events events = {0};
    struct fsm_command attach = {
        .type = FSM_CMD_ATTACH, .time_ms = 1, .client = str(client)};
    struct fsm_command command = {
        .type = FSM_CMD_LOCK,
        .time_ms = 1,
        .ref = 1,
        .client = str(client),
        .lock = str(lock),
        .lock_ = {.mode = FSM_WAIT,
                  .wait_ms = FSM_UNLIMITED,
                  .hold_ms = 60000,
                  .limit = 1},
    };

    fsm_apply(fsm, &attach, NULL);
    fsm_apply(fsm, &command, &events);
    uint64_t token = events.items[0].claim.token;
    fsm_events_release(&events);
    return token;
}

/* Two holds, one of them waited for. */
static struct fsm *some_table(void)
{
    struct fsm *fsm = fsm_new(1);
    struct fsm_command epoch = {
        .type = FSM_CMD_EPOCH,
        .epoch = {.node_id = 1, .term = 7, .settings = {1000, 100, 100, 100, 100}},
    };

    fsm_apply(fsm, &epoch, NULL);
    apply_lock(fsm, "ann", "a");
    apply_lock(fsm, "bob", "b");
    apply_lock(fsm, "bob", "a");
    return fsm;
}

struct bytes {
    uint8_t *data;
    size_t len;
};

static struct bytes encode(const struct fsm *fsm)
{
    struct bytes bytes;
    void *snapshot;
    size_t snapshot_len;

    snapshot_encode(fsm, COMMANDS_INDEX, FEATURE_LEVEL_FIRST, &snapshot, &snapshot_len);
    backup_encode(&origin, snapshot, snapshot_len, &bytes.data, &bytes.len);
    raft_free(snapshot);
    return bytes;
}

static const char *decode(const uint8_t *data, size_t len)
{
    struct backup_origin from;
    struct fsm *fsm = NULL;
    uint64_t commands_index;
    const char *error = backup_decode(data, len, &from, &fsm, &commands_index);

    if (error == NULL) {
        fsm_free(fsm);
    } else {
        assert_null(fsm);
    }
    return error;
}

static void correct_checksum(struct bytes *bytes)
{
    durable_put_u64(bytes->data + 8,
                    durable_checksum(bytes->data + AT_LEN, bytes->len - AT_LEN));
}

/* ---- the file ------------------------------------------------------------------------- */

static void a_table_comes_back_with_its_origin(void **state)
{
    struct fsm *fsm = some_table();
    struct bytes bytes = encode(fsm);
    struct backup_origin from;
    struct fsm *copy;
    uint64_t commands_index;

    (void)state;
    assert_null(backup_decode(bytes.data, bytes.len, &from, &copy, &commands_index));

    assert_int_equal(from.index, 42);
    assert_int_equal(from.term, 7);
    assert_string_equal(from.cluster_id, "old");
    assert_int_equal(commands_index, COMMANDS_INDEX);
    assert_true(fsm_hash(copy) == fsm_hash(fsm));
    fsm_free(copy);
    fsm_free(fsm);
    free(bytes.data);
}

static void a_file_that_was_cut_off_is_refused_at_every_length(void **state)
{
    struct fsm *fsm = some_table();
    struct bytes bytes = encode(fsm);

    (void)state;
    for (size_t len = 0; len < bytes.len; len++) {
        uint8_t *part = malloc(len + 1); /* so that reading beyond it shows */
        assert_non_null(part);
        memcpy(part, bytes.data, len);
        part = realloc(part, len != 0 ? len : 1);
        const char *error = decode(part, len);
        assert_string_equal(error, len < AT_SNAPSHOT
                                       ? "it is no backup of this service, or its "
                                         "beginning is missing"
                                       : "its end is missing");
        free(part);
    }
    fsm_free(fsm);
    free(bytes.data);
}

static void every_changed_byte_is_noticed(void **state)
{
    struct fsm *fsm = some_table();
    struct bytes bytes = encode(fsm);

    (void)state;
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] ^= 0x40;
        assert_non_null(decode(bytes.data, bytes.len));
        bytes.data[i] ^= 0x40;
    }
    assert_null(decode(bytes.data, bytes.len));
    fsm_free(fsm);
    free(bytes.data);
}

static void what_follows_the_end_is_damage(void **state)
{
    struct fsm *fsm = some_table();
    struct bytes bytes = encode(fsm);

    (void)state;
    bytes.data = realloc(bytes.data, bytes.len + 1);
    assert_non_null(bytes.data);
    bytes.data[bytes.len] = 0;
    assert_string_equal(decode(bytes.data, bytes.len + 1),
                        "it is damaged (there is more behind its end)");
    fsm_free(fsm);
    free(bytes.data);
}

static void a_newer_format_is_told_from_damage(void **state)
{
    struct fsm *fsm = some_table();
    struct bytes bytes = encode(fsm);

    (void)state;
    durable_put_u32(bytes.data + AT_FORMAT, 2);
    assert_string_equal(decode(bytes.data, bytes.len), "it comes from a newer version");
    fsm_free(fsm);
    free(bytes.data);
}

/* A checksum proves who wrote it to nobody. */
static void a_right_checksum_over_nonsense_helps_nothing(void **state)
{
    struct fsm *fsm = some_table();
    struct bytes bytes = encode(fsm);

    (void)state;
    for (size_t i = 24; i < bytes.len; i++) {
        uint8_t kept = bytes.data[i];
        bytes.data[i] = 0xff;
        correct_checksum(&bytes);
        (void)decode(bytes.data, bytes.len); /* refused or not: nothing worse happens */
        bytes.data[i] = kept;
    }
    memset(bytes.data + 40, 'x', 64); /* an id without an end */
    correct_checksum(&bytes);
    assert_string_equal(decode(bytes.data, bytes.len), "it is damaged (origin)");
    fsm_free(fsm);
    free(bytes.data);
}

/* ---- tokens --------------------------------------------------------------------------- */

static void the_clock_gives_a_start_above_every_token_granted(void **state)
{
    uint64_t now = 1800000000000;
    uint64_t first = backup_token_start(now, 4711);

    (void)state;
    assert_true(first > (uint64_t)30 * 365 * 86400 * 1000000); /* a million a second */
    /* Of the same file again, when the first restored cluster granted a million a second. */
    assert_true(backup_token_start(now + 10000, 4711) > first + 10000000);
    assert_true(first < (uint64_t)1 << 53);
    assert_true(backup_token_start(8796093022207, 0) < (uint64_t)1 << 53); /* in 2248 */
}

static void a_clock_that_is_wrong_gives_no_start(void **state)
{
    (void)state;
    assert_int_equal(backup_token_start(0, 1), 0);
    assert_int_equal(backup_token_start(1600000000000, 1), 0);
    /* Behind the restore that the backup's cluster came from. */
    assert_int_equal(
        backup_token_start(1800000000000, backup_token_start(1800000000001, 1)), 0);
}

static void the_next_grant_has_the_first_token_and_holds_keep_theirs(void **state)
{
    struct fsm *fsm = some_table();
    struct fsm *moved = backup_move_tokens(fsm, 1000000);

    (void)state;
    fsm_check(moved);
    assert_int_equal(fsm_counts(moved).holds, 2);
    assert_int_equal(fsm_counts(moved).waits, 1);
    assert_int_equal(apply_lock(moved, "ann", "a"), 1);
    assert_int_equal(apply_lock(moved, "ann", "c"), 1000000);
    fsm_free(moved);
    fsm_free(fsm);
}

static void restores_with_other_tokens_differ_in_their_digest(void **state)
{
    struct fsm *fsm = some_table();
    struct fsm *one = backup_move_tokens(fsm, 1000000);
    struct fsm *same = backup_move_tokens(fsm, 1000000);
    struct fsm *other = backup_move_tokens(fsm, 1000001);

    (void)state;
    assert_true(fsm_digest(one) == fsm_digest(same));
    assert_true(fsm_digest(one) != fsm_digest(other));
    assert_true(fsm_digest(one) != fsm_digest(fsm));
    fsm_free(other);
    fsm_free(same);
    fsm_free(one);
    fsm_free(fsm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_comes_back_with_its_origin),
        cmocka_unit_test(a_file_that_was_cut_off_is_refused_at_every_length),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(what_follows_the_end_is_damage),
        cmocka_unit_test(a_newer_format_is_told_from_damage),
        cmocka_unit_test(a_right_checksum_over_nonsense_helps_nothing),
        cmocka_unit_test(the_clock_gives_a_start_above_every_token_granted),
        cmocka_unit_test(a_clock_that_is_wrong_gives_no_start),
        cmocka_unit_test(the_next_grant_has_the_first_token_and_holds_keep_theirs),
        cmocka_unit_test(restores_with_other_tokens_differ_in_their_digest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
