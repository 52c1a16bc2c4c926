/* Requests that are refused, and what is just not. */
#include "wire_request_fixture.h"

/* ---- malformed ---------------------------------------------------------------------- */

static void expect_malformed_hex(struct fixture *f, const char *hex)
{
    f->payload.len = 0;
    bytes_put_hex(&f->payload, hex);
    assert_int_equal(decode(f), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
}

static void broken_envelopes_are_malformed(void **state)
{
    struct fixture *f = *state;
    expect_malformed_hex(f, "0affffffffffffffffffff01"); /* a length of 11 bytes */
    expect_malformed_hex(f, "0affffffffffffffffff02");   /* a length above 64 bits */
    expect_malformed_hex(f, "0affffffffffffffffff01");   /* a length of 2^64-1 */
    expect_malformed_hex(f, "0affffffff0f");             /* of 4 GiB */
    expect_malformed_hex(f, "0801");                     /* the key is a number */
    expect_malformed_hex(f, "1001");                     /* the message is a number */
    expect_malformed_hex(f, "0001");                     /* field 0 */
    expect_malformed_hex(f, "0200");                     /* field 0 as text */
    expect_malformed_hex(f, "18ffffffffffffffffff02");   /* a number above 64 bits */
    expect_malformed_hex(f, "0b0c");                     /* a group */
    expect_malformed_hex(f, "0e");                       /* wire type 6 */
    expect_malformed_hex(f, "808080808080808080800100"); /* a tag of 11 bytes */
    expect_malformed_hex(f, "8080808010"
                            "00");             /* a tag above 32 bits */
    expect_malformed_hex(f, "12020801");       /* the URL is a number */
    expect_malformed_hex(f, "1d0000");         /* half a fixed32 */
    expect_malformed_hex(f, "19000000000000"); /* not quite a fixed64 */
}

static void wrong_wire_type_of_a_field_is_malformed(void **state)
{
    struct fixture *f = *state;
    bytes_put_number(&f->value, 2, 1); /* lock_name as a number */
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);

    f->value.len = 0;
    bytes_put_text(&f->value, 2, "n");
    bytes_put_text(&f->value, 6, "30"); /* lock_timeout as text */
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);

    f->value.len = 0;
    bytes_put_text(&f->value, 2, "n");
    bytes_put_hex(&f->value, "2d01000000"); /* wait_timeout as fixed32 */
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
}

static void up_to_16_unknown_fields_are_ignored(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 2, "n");
    for (unsigned i = 0; i < 16; i++) {
        bytes_put_number(&f->value, 1000 + i, i);
    }
    assert_int_equal(decode_value(f, "LockRequest"), 0);

    bytes_put_hex(&f->value, "dd4b00000000"); /* the 17th, a fixed32 */
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
}

static void unknown_fields_of_the_envelope_are_bounded_too(void **state)
{
    struct fixture *f = *state;
    wrap(f, "/gonetlock.ClientCreateRequest", NULL);
    for (unsigned i = 0; i < 16; i++) {
        bytes_put_number(&f->payload, 3, i);
    }
    assert_int_equal(decode(f), 0);
    bytes_put_number(&f->payload, 3, 0);
    assert_int_equal(decode(f), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
}

static void frame_full_of_tiny_fields_costs_no_memory(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 500000; i++) {
        bytes_put(&f->value, "\x78\x00", 2); /* field 15, unknown */
    }
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
    assert_true(f->arena.used_bytes < 1024);

    f->value.len = 0;
    for (unsigned i = 0; i < 500000; i++) {
        bytes_put(&f->value, "\x18\x00", 2); /* field 3, type: known, but far too often */
    }
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
    assert_true(f->arena.used_bytes < 1024);
}

static void message_above_the_limit_of_the_arena_is_malformed(void **state)
{
    struct fixture *f = *state;
    static char text[4000];
    memset(text, 'x', sizeof(text));
    bytes_put_text(&f->value, 2, "n");
    bytes_put_blob(&f->value, 102, text, sizeof(text));

    f->arena.limit_bytes = 2000;
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    assert_int_equal(f->refusal.problem, WIRE_MALFORMED);
    assert_true(f->arena.used_bytes <= 2000);

    f->arena.limit_bytes = 8000;
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "owner_info: longer than 255 bytes");
}

static void arena_is_used_again_after_clearing(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 2, "n");
    assert_int_equal(decode_value(f, "LockRequest"), 0);
    const struct wire_chunk *chunks = f->arena.chunks;
    size_t used = f->arena.used_bytes;

    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(decode_value(f, "LockRequest"), 0);
        assert_int_equal(f->arena.used_bytes, used);
        assert_ptr_equal(f->arena.chunks, chunks);
    }
}

/* ---- invalid ------------------------------------------------------------------------ */

static void names_are_checked_byte_by_byte(void **state)
{
    (void)state;
    char longest[256];
    memset(longest, 'x', sizeof(longest));

#define VALID(text)   assert_true(wire_name_valid((text), sizeof(text) - 1))
#define INVALID(text) assert_false(wire_name_valid((text), sizeof(text) - 1))
    VALID("a");
    VALID("../../etc/passwd");
    VALID("%s%n");
    VALID("'; DROP TABLE locks; --");
    VALID("with space");
    VALID("\xc3\xa4"); /* a umlaut */
    VALID("\xc2\xa0"); /* U+00A0, the first behind the controls */
    VALID("\xe2\x80\xae"
          "abc");              /* a right-to-left override */
    VALID("\xed\x9f\xbf");     /* U+D7FF */
    VALID("\xee\x80\x80");     /* U+E000 */
    VALID("\xf4\x8f\xbf\xbf"); /* U+10FFFF */
    assert_true(wire_name_valid(longest, 255));

    INVALID("");
    assert_false(wire_name_valid(longest, 256));
    INVALID("a\0b");
    INVALID("\n");
    INVALID("\x1b[31m");
    INVALID("\x1f");
    INVALID("\x7f");
    INVALID("\xc2\x80"); /* U+0080 */
    INVALID("\xc2\x9f"); /* U+009F */
    INVALID("\x80");     /* a continuation without a start */
    INVALID("\xc3");     /* a start without continuation */
    INVALID("\xc3"
            "a");
    INVALID("\xc0\xaf"); /* overlong '/' */
    INVALID("\xc1\xbf");
    INVALID("\xe0\x9f\xbf");     /* overlong */
    INVALID("\xf0\x8f\xbf\xbf"); /* overlong */
    INVALID("\xed\xa0\x80");     /* a surrogate */
    INVALID("\xf4\x90\x80\x80"); /* above U+10FFFF */
    INVALID("\xf5\x80\x80\x80");
    INVALID("\xff");
    INVALID("\xe2\x82"); /* cut short */
#undef VALID
#undef INVALID
}

static void bad_lock_names_are_invalid(void **state)
{
    struct fixture *f = *state;
    static char text[256];
    memset(text, 'x', sizeof(text));
    const char *const types[] = {"LockRequest", "LockRefreshRequest",
                                 "LockReleaseRequest", "LockStatusRequest"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        f->value.len = 0;
        bytes_put_text(&f->value, 1, "client");
        assert_int_equal(decode_value(f, types[i]), -EINVAL);
        expect_refusal(f, WIRE_INVALID, "lock_name: empty");
        assert_str(f->request.client, "client");
        assert_str(f->request.key, "k");

        bytes_put_blob(&f->value, 2, text, 255);
        assert_int_equal(decode_value(f, types[i]), 0);

        bytes_put_blob(&f->value, 2, text, 256);
        assert_int_equal(decode_value(f, types[i]), -EINVAL);
        expect_refusal(f, WIRE_INVALID, "lock_name: longer than 255 bytes");

        bytes_put_blob(&f->value, 2, "a\0b", 3);
        assert_int_equal(decode_value(f, types[i]), -EINVAL);
        expect_refusal(f, WIRE_INVALID, "lock_name: not UTF-8 or has control characters");
        assert_int_equal(f->request.lock.len, 0);
    }
    f->value.len = 0;
    assert_int_equal(decode_value(f, "CheckTokenRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "lock_name: empty");
    assert_int_equal(decode_value(f, "ForceReleaseRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "lock_name: empty");
}

static void bad_client_ids_are_invalid(void **state)
{
    struct fixture *f = *state;
    static char text[10000];
    memset(text, 'x', sizeof(text));

    assert_int_equal(decode_value(f, "ClientAttachRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "client_id: empty");
    assert_int_equal(decode_value(f, "ClientDetachRequest"), 0);
    assert_int_equal(f->request.client.len, 0);

    bytes_put_blob(&f->value, 1, text, sizeof(text));
    assert_int_equal(decode_value(f, "ClientAttachRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "client_id: longer than 255 bytes");

    f->value.len = 0;
    bytes_put_text(&f->value, 2, "lock");
    bytes_put_text(&f->value, 1, "\xff");
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "client_id: not UTF-8 or has control characters");
    assert_str(f->request.lock, "lock");
}

static void enums_out_of_range_are_invalid_but_name_the_lock(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *message;
        unsigned field;
        const char *text;
    } cases[] = {
        {"LockRequest", 3, "type: out of range"},
        {"LockRequest", 4, "mode: out of range"},
        {"LockRequest", 7, "connection_drop: out of range"},
        {"LockRefreshRequest", 3, "mode: out of range"},
        {"LockRefreshRequest", 6, "connection_drop: out of range"},
        {"LockRefreshRequest", 101, "set_connection_drop: out of range"},
    };
    const uint64_t values[] = {2, 255, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            f->value.len = 0;
            bytes_put_number(&f->value, cases[i].field, values[v]);
            bytes_put_text(&f->value, 1, "client");
            bytes_put_text(&f->value, 2, "lock");
            assert_int_equal(decode_value(f, cases[i].message), -EINVAL);
            expect_refusal(f, WIRE_INVALID, cases[i].text);
            assert_str(f->request.client, "client");
            assert_str(f->request.lock, "lock");
        }
    }
}

static void timeouts_that_are_no_uint32_are_invalid(void **state)
{
    struct fixture *f = *state;
    const uint64_t values[] = {UINT64_C(1) << 32, UINT64_C(1) << 63, (uint64_t)-1,
                               (uint64_t)-30000};
    for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
        f->value.len = 0;
        bytes_put_text(&f->value, 2, "lock");
        bytes_put_number(&f->value, 5, values[v]);
        assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
        expect_refusal(f, WIRE_INVALID, "wait_timeout: out of range");

        f->value.len = 0;
        bytes_put_text(&f->value, 2, "lock");
        bytes_put_number(&f->value, 6, values[v]);
        assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
        expect_refusal(f, WIRE_INVALID, "lock_timeout: out of range");
    }
    f->value.len = 0;
    bytes_put_text(&f->value, 2, "lock");
    bytes_put_number(&f->value, 6, UINT32_MAX);
    assert_int_equal(decode_value(f, "LockRequest"), 0);
    assert_int_equal(f->request.lock_.lock_timeout_ms, WIRE_UNLIMITED);
}

static void limit_is_1_to_65535_and_not_for_readers(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 2, "lock");
    assert_int_equal(decode_value(f, "LockRequest"), 0);
    assert_int_equal(f->request.lock_.limit, 1);
    bytes_put_number(&f->value, 100, 65535);
    assert_int_equal(decode_value(f, "LockRequest"), 0);

    bytes_put_number(&f->value, 100, 65536);
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "limit: not 1 to 65535");
    bytes_put_number(&f->value, 100, 0);
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "limit: not 1 to 65535");

    bytes_put_number(&f->value, 3, 1);
    bytes_put_number(&f->value, 100, 2);
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "limit: a counting lock has no type READ");
    bytes_put_number(&f->value, 100, 1);
    assert_int_equal(decode_value(f, "LockRequest"), 0);
}

static void last_of_duplicate_fields_wins(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 2, "first");
    bytes_put_number(&f->value, 5, 1);
    bytes_put_text(&f->value, 2, "second");
    bytes_put_number(&f->value, 5, 2);
    assert_int_equal(decode_value(f, "LockRequest"), 0);
    assert_str(f->request.lock, "second");
    assert_int_equal(f->request.lock_.wait_timeout_ms, 2);

    bytes_put_text(&f->payload, 1, "second key");
    assert_int_equal(decode(f), 0);
    assert_str(f->request.key, "second key");
}

static void empty_lock_request_means_try_exclusively(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 2, "lock");
    assert_int_equal(decode_value(f, "LockRequest"), 0);
    assert_int_equal(f->request.lock_.type, WIRE_WRITE);
    assert_int_equal(f->request.lock_.mode, WIRE_BREAK);
    assert_int_equal(f->request.lock_.drop, WIRE_DROP_RELEASE);
    assert_int_equal(f->request.lock_.wait_timeout_ms, 0);
    assert_int_equal(f->request.lock_.lock_timeout_ms, 0);
    assert_int_equal(f->request.client.len, 0);
    assert_false(f->request.lock_.has_client_time);
}

static void refresh_turns_to_ignore_but_back_only_explicitly(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 2, "lock");
    bytes_put_number(&f->value, 3, 1); /* the mode is ignored */
    bytes_put_number(&f->value, 6, 0);
    assert_int_equal(decode_value(f, "LockRefreshRequest"), 0);
    assert_false(f->request.refresh.set_drop);

    bytes_put_number(&f->value, 6, 1);
    assert_int_equal(decode_value(f, "LockRefreshRequest"), 0);
    assert_true(f->request.refresh.set_drop);
    assert_int_equal(f->request.refresh.drop, WIRE_DROP_IGNORE);

    bytes_put_number(&f->value, 101, 0);
    assert_int_equal(decode_value(f, "LockRefreshRequest"), 0);
    assert_true(f->request.refresh.set_drop);
    assert_int_equal(f->request.refresh.drop, WIRE_DROP_RELEASE);
}

static void attach_is_checked(void **state)
{
    struct fixture *f = *state;
    bytes_put_text(&f->value, 1, "c");
    bytes_put_number(&f->value, 101, 1);
    assert_int_equal(decode_value(f, "ClientAttachRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "supersede: needs an epoch");
    bytes_put_number(&f->value, 100, 1);
    assert_int_equal(decode_value(f, "ClientAttachRequest"), 0);

    bytes_put_text(&f->value, 102, "fifteen bytes..");
    assert_int_equal(decode_value(f, "ClientAttachRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "secret: not 16 bytes");
}

static void texts_and_numbers_of_the_extensions_are_checked(void **state)
{
    struct fixture *f = *state;
    static char text[256];
    memset(text, 'x', sizeof(text));

    bytes_put_text(&f->value, 2, "lock");
    bytes_put_text(&f->value, 102, "a\x1b[1m");
    assert_int_equal(decode_value(f, "LockRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "owner_info: not UTF-8 or has control characters");

    f->value.len = 0;
    bytes_put_blob(&f->value, 1, text, 256);
    assert_int_equal(decode_value(f, "PingRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "payload: longer than 255 bytes");
    assert_int_equal(decode_value(f, "ListLocksRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "prefix: longer than 255 bytes");

    f->value.len = 0;
    bytes_put_blob(&f->value, 2, "\xff", 1);
    assert_int_equal(decode_value(f, "ListClientsRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "after: not UTF-8 or has control characters");

    f->value.len = 0;
    bytes_put_number(&f->value, 3, 1001);
    assert_int_equal(decode_value(f, "ListLocksRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "max: above 1000");
    f->value.len = 0;
    assert_int_equal(decode_value(f, "ListLocksRequest"), 0);
    assert_int_equal(f->request.list.max, 100);

    bytes_put_number(&f->value, 1, 2);
    bytes_put_number(&f->value, 2, 1);
    assert_int_equal(decode_value(f, "HelloRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "version_min: above version_max");
    f->value.len = 0;
    bytes_put_text(&f->value, 3, "two\nlines");
    assert_int_equal(decode_value(f, "HelloRequest"), -EINVAL);
    expect_refusal(f, WIRE_INVALID, "library: not UTF-8 or has control characters");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(broken_envelopes_are_malformed),
        TEST(wrong_wire_type_of_a_field_is_malformed),
        TEST(up_to_16_unknown_fields_are_ignored),
        TEST(unknown_fields_of_the_envelope_are_bounded_too),
        TEST(frame_full_of_tiny_fields_costs_no_memory),
        TEST(message_above_the_limit_of_the_arena_is_malformed),
        TEST(arena_is_used_again_after_clearing),
        TEST(names_are_checked_byte_by_byte),
        TEST(bad_lock_names_are_invalid),
        TEST(bad_client_ids_are_invalid),
        TEST(enums_out_of_range_are_invalid_but_name_the_lock),
        TEST(timeouts_that_are_no_uint32_are_invalid),
        TEST(limit_is_1_to_65535_and_not_for_readers),
        TEST(last_of_duplicate_fields_wins),
        TEST(empty_lock_request_means_try_exclusively),
        TEST(refresh_turns_to_ignore_but_back_only_explicitly),
        TEST(attach_is_checked),
        TEST(texts_and_numbers_of_the_extensions_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
