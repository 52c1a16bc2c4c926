/* What a peer may say to libraft: every good message passes, however it comes in pieces; every rule refuses
 * what it is there for; and nothing that is cut or damaged does more harm than that (run it under
 * AddressSanitizer).
 *
 * With a directory for an argument it writes the messages into it, good and wrong, as a corpus for fuzz_peer. */
#include "peer_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "durable.h"
#include "entry.h"
#include "peer_messages.h"
#include "snapshot.h"

enum { PREAMBLE = 16, LINE = PREAMBLE + 40, REFUSED = -1, CORPUS_STEP = 30 };

struct fixture {
    struct peer_message *messages;
    size_t count;
};

static const char *corpus; /* where to write it; NULL: nowhere */

static void corpus_write(const char *name, const uint8_t *bytes, size_t len)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", corpus, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_not_equal(fputc(CORPUS_STEP, file), EOF);
    assert_int_equal(fwrite(bytes, len, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->messages = peer_messages_new(&f->count);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    peer_messages_free(f->messages, f->count);
    free(f);
    return 0;
}

/* As a pump does: bytes come @step at a time, what does not pass is kept. Returns how many have passed, or
 * REFUSED and why. */
static long feed_until(const uint8_t *bytes,
                       size_t len,
                       size_t step,
                       const char **ret_refused,
                       bool *ret_whole)
{
    struct peer_check *check = peer_check_new(PEER_MESSAGES_SENDER);
    size_t passed = 0;
    const char *refused = NULL;

    for (size_t came = 0; came < len && refused == NULL;) {
        size_t pass = 0;
        came = len - came < step ? len : came + step;
        /* A copy of its own, so that a look behind it is seen. */
        uint8_t *copy = malloc(came - passed);
        assert_non_null(copy);
        memcpy(copy, bytes + passed, came - passed);
        refused = peer_check(check, copy, came - passed, &pass);
        free(copy);
        if (refused == NULL) {
            passed += pass;
            assert_true(passed <= came);
            assert_true(came - passed < PEER_CHECK_HOLD_BYTES_MAX);
        }
    }
    *ret_whole = refused == NULL && peer_check_at_boundary(check);
    peer_check_free(check);
    if (ret_refused != NULL) {
        *ret_refused = refused;
    }
    return refused != NULL ? REFUSED : (long)passed;
}

static long feed(const uint8_t *bytes, size_t len, size_t step, const char **ret_refused)
{
    bool whole;

    return feed_until(bytes, len, step, ret_refused, &whole);
}

static void assert_passes(const uint8_t *bytes, size_t len, size_t step)
{
    bool whole;

    assert_int_equal(feed_until(bytes, len, step, NULL, &whole), len);
    assert_true(whole);
}

/* ---- what is good --------------------------------------------------------------------------- */

static void good_messages_pass_in_any_pieces(void **state)
{
    const struct fixture *f = *state;

    for (size_t i = 0; i < f->count; i++) {
        const struct peer_message *message = &f->messages[i];
        for (size_t step = 1; step <= message->len; step++) {
            assert_int_equal(feed(message->bytes, message->len, step, NULL),
                             message->len);
        }
    }
}

static void a_stream_of_them_passes(void **state)
{
    const struct fixture *f = *state;
    uint8_t stream[16384];
    size_t len = 0;

    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < f->count; i++) {
            const struct peer_message *message = &f->messages[i * (round + 1) % f->count];
            assert_true(len + message->len <= sizeof stream);
            memcpy(stream + len, message->bytes, message->len);
            len += message->len;
        }
    }
    for (size_t step = 1; step <= len; step += step / 3 + 1) {
        assert_passes(stream, len, step);
    }
}

static void nothing_of_a_head_passes_before_it_is_whole(void **state)
{
    const struct fixture *f = *state;

    for (size_t i = 0; i < f->count; i++) {
        const struct peer_message *message = &f->messages[i];
        for (size_t len = 0; len < message->len; len++) {
            long passed = feed(message->bytes, len, len + 1, NULL);
            assert_true(passed == (len < message->head_len ? 0 : (long)len) ||
                        (strcmp(message->name, "append_change") == 0 && passed == 0));
        }
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

/* A good message of which @bytes bytes at @at are @value. */
struct wrong {
    const char *message;
    size_t at;
    unsigned bytes;
    uint64_t value;
    const char *reason;
};

static const uint64_t TOO_MUCH = PEER_CHECK_NUMBER_MAX + 1;

static void assert_refused(const struct fixture *f, const struct wrong *wrong)
{
    const struct peer_message *good =
        peer_message_find(f->messages, f->count, wrong->message);
    uint8_t *bytes = malloc(good->len);
    const char *reason = NULL;

    assert_non_null(bytes);
    memcpy(bytes, good->bytes, good->len);
    assert_true(wrong->at + wrong->bytes <= good->len);
    for (unsigned i = 0; i < wrong->bytes; i++) {
        bytes[wrong->at + i] = (uint8_t)(wrong->value >> (8 * i));
    }
    if (corpus != NULL) {
        char name[128];
        snprintf(name, sizeof name, "%s-%zu-%llx", wrong->message, wrong->at,
                 (unsigned long long)wrong->value);
        corpus_write(name, bytes, good->len);
    }
    long passed = feed(bytes, good->len, good->len, &reason);
    if (passed != REFUSED || strstr(reason, wrong->reason) == NULL) {
        fail_msg("%s with %llu at %zu: %s, not %s", wrong->message,
                 (unsigned long long)wrong->value, wrong->at,
                 reason != NULL ? reason : "passes", wrong->reason);
    }
    /* In single bytes, its last one never passes. */
    assert_int_equal(feed(bytes, good->len, 1, &reason), REFUSED);
    assert_non_null(strstr(reason, wrong->reason));
    free(bytes);
}

static void assert_all_refused(void **state, const struct wrong *wrong, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_refused(*state, &wrong[i]);
    }
}

#define ASSERT_ALL_REFUSED(state, wrong)                                                 \
    assert_all_refused(state, wrong, sizeof(wrong) / sizeof((wrong)[0]))

static void wrong_preambles_are_refused(void **state)
{
    static const struct wrong wrong[] = {
        {"timeout_now", 0, 1, 0, "unknown type"},
        {"timeout_now", 0, 1, 7, "unknown type"},
        {"timeout_now", 0, 1, 255, "unknown type"},
        {"timeout_now", 2, 1, 1, "version"},
        {"request_vote", 2, 1, 1, "version"},
        {"request_vote", 2, 1, 0, "version"},
        {"timeout_now", 1, 1, 1, "version"},
        {"timeout_now", 7, 1, 1, "version"},
        {"timeout_now", 8, 8, 0, "wrong length"},
        {"timeout_now", 8, 8, 25, "wrong length"},
        {"timeout_now", 8, 8, UINT64_C(1) << 40, "wrong length"},
        {"append_heartbeat", 8, 8, UINT64_MAX, "wrong length"},
        {"install_snapshot", 8, 8, UINT64_C(1) << 36, "wrong length"},
        {"install_snapshot", 8, 8, 64, "wrong length"},
    };
    ASSERT_ALL_REFUSED(state, wrong);
}

static void wrong_entries_are_refused(void **state)
{
    static const struct wrong wrong[] = {
        /* The packet that kills a plain libraft. */
        {"append_heartbeat", PREAMBLE + 32, 8, 100000000, "number of entries"},
        {"append_heartbeat", PREAMBLE + 32, 8, 1, "number of entries"},
        {"append_heartbeat", PREAMBLE + 32, 8, UINT64_C(1) << 32, "number of entries"},
        {"append_commands", PREAMBLE + 32, 8, 3, "number of entries"},
        {"append_commands", PREAMBLE + 32, 8, 5, "number of entries"},
        /* The one that poisons it. */
        {"append_heartbeat", PREAMBLE, 8, UINT64_C(1) << 62, "impossible"},
        {"append_heartbeat", PREAMBLE, 8, 0, "impossible"},
        {"append_heartbeat", PREAMBLE + 8, 8, TOO_MUCH, "impossible"},
        {"append_heartbeat", PREAMBLE + 8, 8, 0, "impossible"},
        {"append_heartbeat", PREAMBLE + 16, 8, 0, "impossible"},
        {"append_heartbeat", PREAMBLE + 16, 8, 6, "higher term"},
        {"append_heartbeat", PREAMBLE + 24, 8, TOO_MUCH, "impossible"},
        {"append_heartbeat", PREAMBLE + 40, 8, 1, "unused"},
        {"append_commands", LINE, 8, 0, "lower term"},
        {"append_commands", LINE, 8, 2, "lower term"},
        {"append_commands", LINE + 16, 8, 6, "lower term"},
        {"append_commands", LINE + 48, 8, 6, "higher term"},
        {"append_commands", LINE + 8, 1, 0, "unknown type"},
        {"append_commands", LINE + 8, 1, 4, "unknown type"},
        {"append_commands", LINE + 9, 1, 1, "unused"},
        {"append_commands", LINE + 12, 4, 0, "multiple of 8"},
        {"append_commands", LINE + 12, 4, 63, "multiple of 8"},
        {"append_commands", LINE + 12, 4, 16, "entry of a wrong length"},
        {"append_commands", LINE + 12, 4, PEER_CHECK_ENTRY_BYTES_MAX + 8,
         "entry of a wrong length"},
        {"append_commands", LINE + 12, 4, 0xfffffff8, "entry of a wrong length"},
        {"append_commands", LINE + 32 + 12, 4, 16, "barrier of a wrong length"},
        {"append_commands", LINE + 16 + 8, 1, 3, "behind other entries"},
        {"append_change", LINE + 12, 4, PEER_CHECK_MEMBERSHIP_BYTES_MAX + 8,
         "change of membership of a wrong length"},
    };
    ASSERT_ALL_REFUSED(state, wrong);
}

static void damaged_payload_is_refused(void **state)
{
    const struct fixture *f = *state;
    static const char *const names[] = {"append_commands", "install_snapshot"};

    for (int i = 0; i < 2; i++) {
        const struct peer_message *good =
            peer_message_find(f->messages, f->count, names[i]);
        for (size_t at = good->head_len; at < good->len; at++) {
            bool barrier = i == 0 && at >= good->head_len + 64 + 56 &&
                           at < good->head_len + 64 + 56 + 8;
            uint64_t other = good->bytes[at] ^ 0x10u;
            if (!barrier) { /* what is in a barrier does not matter */
                assert_refused(f, &(struct wrong){names[i], at, 1, other, ""});
            }
        }
    }
}

static void wrong_memberships_are_refused(void **state)
{
    /* In the change: 1 format, 8 count, then 8 id, "10.0.0.1:7001" and NUL, 1 role. */
    static const size_t change = LINE + 2 * 16 + 8;
    static const size_t install = PREAMBLE + 40;
    const struct wrong wrong[] = {
        {"append_change", change, 1, 2, "cannot be read"},
        {"append_change", change + 1, 8, 0, "without a voter"},
        {"append_change", change + 1, 8, 2, "does not fit"},
        {"append_change", change + 1, 8, 4, "cannot be read"},
        {"append_change", change + 1, 8, 65, "too many members"},
        {"append_change", change + 1, 8, UINT64_MAX, "too many members"},
        {"append_change", change + 9, 8, 0, "impossible member"},
        {"append_change", change + 9, 8, 2, "twice"},
        {"append_change", change + 17, 1, 0, "impossible member"},
        {"append_change", change + 17, 1, 1, "impossible member"},
        {"append_change", change + 17 + 14, 1, 3, "impossible member"},
        {"append_change", change + 17 + 13, 1, 'x', "member"},
        {"install_snapshot", install, 1, 0, "cannot be read"},
        {"install_snapshot", install + 1, 8, 64, "cannot be read"},
        {"install_snapshot", install + 9, 8, 0, "impossible member"},
    };
    ASSERT_ALL_REFUSED(state, wrong);
}

static void wrong_snapshots_are_refused(void **state)
{
    const struct fixture *f = *state;
    size_t end = peer_message_find(f->messages, f->count, "install_snapshot")->head_len;
    const struct wrong wrong[] = {
        {"install_snapshot", PREAMBLE, 8, 0, "impossible"},
        {"install_snapshot", PREAMBLE, 8, TOO_MUCH, "impossible"},
        {"install_snapshot", PREAMBLE + 8, 8, 0, "impossible"},
        {"install_snapshot", PREAMBLE + 8, 8, TOO_MUCH, "impossible"},
        {"install_snapshot", PREAMBLE + 16, 8, 0, "impossible"},
        {"install_snapshot", PREAMBLE + 16, 8, 6, "impossible"},
        {"install_snapshot", PREAMBLE + 24, 8, 0, "impossible"},
        {"install_snapshot", PREAMBLE + 24, 8, 101, "impossible"},
        {"install_snapshot", PREAMBLE + 32, 8, 8, "does not fit its length"},
        {"install_snapshot", PREAMBLE + 32, 8, UINT64_MAX, "does not fit its length"},
        {"install_snapshot", end - 16, 8, 0, "too long or too short"},
        {"install_snapshot", end - 16, 8, UINT64_C(1) << 50, "too long or too short"},
        {"install_snapshot", end - 8, 8, 1, "unused"},
        {"install_snapshot", end, 4, 0x184d2204, "not of this service"}, /* LZ4 */
        {"install_snapshot", end + 4, 4, UINT32_MAX, "version"},
    };
    ASSERT_ALL_REFUSED(state, wrong);
}

static void wrong_votes_and_answers_are_refused(void **state)
{
    static const struct wrong wrong[] = {
        {"request_vote", PREAMBLE, 8, 0, "impossible"},
        {"request_vote", PREAMBLE, 8, TOO_MUCH, "impossible"},
        {"request_vote", PREAMBLE + 8, 8, 3, "another node"},
        {"request_vote", PREAMBLE + 16, 8, 0, "impossible"},
        {"request_vote", PREAMBLE + 24, 8, 0, "impossible"},
        {"request_vote", PREAMBLE + 24, 8, 5, "impossible"},
        {"request_vote", PREAMBLE + 32, 8, 4, "flags"},
        {"request_vote_result", PREAMBLE, 8, 0, "impossible"},
        {"request_vote_result", PREAMBLE + 8, 8, 2, "flags"},
        {"request_vote_result", PREAMBLE + 16, 1, 2, "flags"},
        {"request_vote_result", PREAMBLE + 17, 1, 1, "flags"},
        {"request_vote_result", PREAMBLE + 23, 1, 1, "flags"},
        {"append_result", PREAMBLE, 8, 0, "impossible"},
        {"append_result", PREAMBLE, 8, TOO_MUCH, "impossible"},
        {"append_result", PREAMBLE + 8, 8, TOO_MUCH, "impossible"},
        {"append_result", PREAMBLE + 8, 8, 12, "refuses what it has"},
        {"append_result", PREAMBLE + 16, 8, TOO_MUCH, "impossible"},
        {"append_result", PREAMBLE + 28, 1, 1, "unused"},
        {"append_result_nothing", PREAMBLE + 16, 8, 1, "impossible"},
        {"timeout_now", PREAMBLE, 8, 0, "impossible"},
        {"timeout_now", PREAMBLE + 8, 8, 0, "impossible"},
        {"timeout_now", PREAMBLE + 16, 8, 0, "impossible"},
        {"timeout_now", PREAMBLE + 16, 8, 6, "impossible"},
    };
    ASSERT_ALL_REFUSED(state, wrong);
}

static void a_refusal_comes_with_the_preamble_that_announces_too_much(void **state)
{
    uint8_t preamble[PREAMBLE] = {6};
    (void)state;

    memset(preamble + 8, 0xff, 8);
    assert_int_equal(feed(preamble, sizeof preamble, 1, NULL), REFUSED);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void no_flipped_bit_does_more_than_be_refused_or_pass(void **state)
{
    const struct fixture *f = *state;
    unsigned refused = 0;
    unsigned passed = 0;

    for (size_t i = 0; i < f->count; i++) {
        const struct peer_message *good = &f->messages[i];
        uint8_t *bytes = malloc(good->len);
        assert_non_null(bytes);
        memcpy(bytes, good->bytes, good->len);
        for (size_t bit = 0; bit < 8 * good->len; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (feed(bytes, good->len, good->len, NULL) == REFUSED) {
                refused++;
            } else {
                passed++; /* another term, say; or more is announced than came */
            }
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(bytes);
    }
    print_message("%u bits flipped: %u refused, %u passed or waited\n", refused + passed,
                  refused, passed);
    assert_true(refused > passed);
}

/* ---- corpus --------------------------------------------------------------------------------- */

static void good_messages_are_written(void **state)
{
    const struct fixture *f = *state;

    for (size_t i = 0; i < f->count; i++) {
        corpus_write(f->messages[i].name, f->messages[i].bytes, f->messages[i].len);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(good_messages_pass_in_any_pieces),
        TEST(a_stream_of_them_passes),
        TEST(nothing_of_a_head_passes_before_it_is_whole),
        TEST(wrong_preambles_are_refused),
        TEST(wrong_entries_are_refused),
        TEST(damaged_payload_is_refused),
        TEST(wrong_memberships_are_refused),
        TEST(wrong_snapshots_are_refused),
        TEST(wrong_votes_and_answers_are_refused),
        TEST(a_refusal_comes_with_the_preamble_that_announces_too_much),
        TEST(no_flipped_bit_does_more_than_be_refused_or_pass),
    };

    const struct CMUnitTest writing[] = {
        TEST(good_messages_are_written),   TEST(wrong_preambles_are_refused),
        TEST(wrong_entries_are_refused),   TEST(wrong_memberships_are_refused),
        TEST(wrong_snapshots_are_refused), TEST(wrong_votes_and_answers_are_refused),
    };

    corpus = argc == 2 ? argv[1] : NULL;
    return corpus == NULL ? cmocka_run_group_tests(tests, NULL, NULL)
                          : cmocka_run_group_tests(writing, NULL, NULL);
}
