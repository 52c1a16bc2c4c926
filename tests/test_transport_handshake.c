/* The first bytes between peers, and addresses: pure functions. */
#include "transport_handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer_address.h"

static const struct handshake_hello HELLO = {
    .version = HANDSHAKE_VERSION,
    .from_node = 0x0102030405060708,
    .to_node = 9,
    .cluster_id = "alpha",
    .address = "n1.example:7001",
};

static void a_hello_is_laid_out_as_documented(void **state)
{
    static const uint8_t head[HANDSHAKE_HELLO_HEAD_BYTES] = {
        'N', 'L', 'K', 'P', 0, 0, 0, 1, 1, 2, 3, 4, 5, 6,
        7,   8,   0,   0,   0, 0, 0, 0, 0, 9, 0, 5, 0, 15};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    (void)state;

    size_t len = handshake_hello_format(&HELLO, bytes);

    assert_int_equal(len, sizeof head + 20);
    assert_memory_equal(bytes, head, sizeof head);
    assert_memory_equal(bytes + sizeof head, "alphan1.example:7001", 20);
}

static void a_hello_is_read_back_and_asks_for_no_more_than_it_has(void **state)
{
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    size_t len = handshake_hello_format(&HELLO, bytes);
    (void)state;

    for (size_t n = 0; n < len; n++) {
        struct handshake_hello untouched = {.from_node = 77};
        int whole = handshake_hello_parse(bytes, n, &untouched);
        assert_int_equal(whole, n < HANDSHAKE_HELLO_HEAD_BYTES ? -EAGAIN : (int)len);
        assert_int_equal(untouched.from_node, 77);
    }
    struct handshake_hello read = {0};
    assert_int_equal(handshake_hello_parse(bytes, len, &read), len);
    assert_int_equal(read.from_node, HELLO.from_node);
    assert_int_equal(read.to_node, HELLO.to_node);
    assert_string_equal(read.cluster_id, HELLO.cluster_id);
    assert_string_equal(read.address, HELLO.address);
}

static void a_reply_is_read_back(void **state)
{
    struct handshake_reply reply = {.version = 3,
                                    .from_node = 12,
                                    .verdict = 99, /* of a later version */
                                    .reason = "no, thank you"};
    struct handshake_reply read = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    (void)state;

    size_t len = handshake_reply_format(&reply, bytes);

    for (size_t n = 0; n < len; n++) {
        assert_int_equal(handshake_reply_parse(bytes, n, &read),
                         n < HANDSHAKE_REPLY_HEAD_BYTES ? -EAGAIN : (int)len);
    }
    assert_int_equal(handshake_reply_parse(bytes, len, &read), len);
    assert_int_equal(read.version, 3);
    assert_int_equal(read.from_node, 12);
    assert_int_equal(read.verdict, 99);
    assert_string_equal(read.reason, "no, thank you");
}

static void a_welcome_says_the_feature_level_or_it_is_the_first(void **state)
{
    (void)state;
    assert_int_equal(
        handshake_reply_level(&(struct handshake_reply){.reason = "level 7"}), 7);
    assert_int_equal(handshake_reply_level(&(struct handshake_reply){.reason = ""}), 1);
    assert_int_equal(
        handshake_reply_level(&(struct handshake_reply){.reason = "level of the sea"}), 1);
}

static void the_first_wrong_byte_is_enough(void **state)
{
    struct handshake_hello hello;
    struct handshake_reply reply;
    (void)state;

    assert_int_equal(handshake_hello_parse((const uint8_t *)"G", 1, &hello), -EPROTO);
    assert_int_equal(handshake_hello_parse((const uint8_t *)"NLKR", 4, &hello), -EPROTO);
    assert_int_equal(handshake_reply_parse((const uint8_t *)"NLKP", 4, &reply), -EPROTO);
    assert_int_equal(handshake_hello_parse((const uint8_t *)"\x16\x03\x01", 3, &hello),
                     -EPROTO);
}

static void lengths_are_bounded_before_anything_is_read(void **state)
{
    static const struct {
        unsigned offset;
        uint8_t high, low;
    } wrong[] = {{24, 0, 0}, {24, 1, 0}, {24, 0xff, 0xff},
                 {26, 0, 0}, {26, 1, 0}, {26, 0xff, 0xff}};
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint8_t bytes[HANDSHAKE_BYTES_MAX];
        struct handshake_hello hello;
        handshake_hello_format(&HELLO, bytes);
        bytes[wrong[i].offset] = wrong[i].high;
        bytes[wrong[i].offset + 1] = wrong[i].low;
        assert_int_equal(handshake_hello_parse(bytes, HANDSHAKE_HELLO_HEAD_BYTES, &hello),
                         -EPROTO);
    }
}

static void the_longest_texts_fit(void **state)
{
    struct handshake_hello hello = HELLO;
    struct handshake_hello read = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    (void)state;

    memset(hello.cluster_id, 'c', HANDSHAKE_TEXT_BYTES_MAX);
    memset(hello.address, 'a', HANDSHAKE_TEXT_BYTES_MAX);
    hello.address[HANDSHAKE_TEXT_BYTES_MAX] = '\0';
    hello.cluster_id[HANDSHAKE_TEXT_BYTES_MAX] = '\0';
    size_t len = handshake_hello_format(&hello, bytes);
    assert_int_equal(len, HANDSHAKE_BYTES_MAX);
    assert_int_equal(handshake_hello_parse(bytes, len, &read), HANDSHAKE_BYTES_MAX);
    assert_string_equal(read.address, hello.address);
}

static void node_zero_and_unprintable_texts_are_refused(void **state)
{
    struct handshake_hello hello = HELLO;
    struct handshake_hello read;
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    (void)state;

    hello.from_node = 0;
    size_t len = handshake_hello_format(&hello, bytes);
    assert_int_equal(handshake_hello_parse(bytes, len, &read), -EPROTO);

    hello = HELLO;
    hello.cluster_id[2] = '\n';
    len = handshake_hello_format(&hello, bytes);
    assert_int_equal(handshake_hello_parse(bytes, len, &read), -EPROTO);

    len = handshake_hello_format(&HELLO, bytes);
    bytes[len - 1] = 0;
    assert_int_equal(handshake_hello_parse(bytes, len, &read), -EPROTO);
}

static void a_hello_of_another_version_can_still_be_refused_by_name(void **state)
{
    struct handshake_hello hello = HELLO;
    struct handshake_hello read = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    (void)state;

    hello.version = 2;
    handshake_hello_format(&hello, bytes);
    assert_int_equal(handshake_hello_parse(bytes, HANDSHAKE_HELLO_HEAD_BYTES, &read),
                     HANDSHAKE_HELLO_HEAD_BYTES);
    assert_int_equal(read.version, 2);
    assert_int_equal(read.from_node, hello.from_node);
}

static void random_changes_are_refused_or_understood_within_bounds(void **state)
{
    unsigned seed = (unsigned)time(NULL);
    (void)state;

    print_message("seed %u\n", seed);
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[HANDSHAKE_BYTES_MAX];
        struct handshake_hello hello = {0};
        struct handshake_reply reply = {0};
        size_t len = handshake_hello_format(&HELLO, bytes);
        for (int i = 0; i < 3; i++) {
            bytes[(size_t)rand_r(&seed) % len] = (uint8_t)rand_r(&seed);
        }
        int whole =
            handshake_hello_parse(bytes, (size_t)rand_r(&seed) % (len + 1), &hello);
        assert_true(
            whole == -EPROTO || whole == -EAGAIN ||
            (whole >= HANDSHAKE_HELLO_HEAD_BYTES && whole <= HANDSHAKE_BYTES_MAX));
        bytes[3] = 'R';
        whole = handshake_reply_parse(bytes, (size_t)rand_r(&seed) % (len + 1), &reply);
        assert_true(
            whole == -EPROTO || whole == -EAGAIN ||
            (whole >= HANDSHAKE_REPLY_HEAD_BYTES && whole <= HANDSHAKE_BYTES_MAX));
        assert_true(memchr(hello.address, 0, sizeof hello.address) != NULL);
        assert_true(memchr(reply.reason, 0, sizeof reply.reason) != NULL);
    }
}

static void addresses_are_host_and_port_or_bracketed_v6_and_port(void **state)
{
    static const struct {
        const char *text, *host, *port;
    } good[] = {
        {"127.0.0.1:7000", "127.0.0.1", "7000"},
        {"n1.example:0", "n1.example", "0"},
        {"[::1]:65535", "::1", "65535"},
        {"[fe80::1%eth0]:1", "fe80::1%eth0", "1"},
    };
    static const char *const bad[] = {
        "",        "host",    ":7000",    "host:",       "host:65536", "host:-1",
        "host:7x", "::1:700", "[::1]700", "[::1:7",      "[]:7",       "ho st:7",
        "host:7 ", "h\n:7",   "h\x80:7",  "host:007000",
    };
    struct peer_address parsed;
    char longest[300];
    (void)state;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(peer_address_parse(good[i].text, &parsed), 0);
        assert_string_equal(parsed.host, good[i].host);
        assert_string_equal(parsed.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (peer_address_parse(bad[i], &parsed) != -EINVAL) {
            fail_msg("'%s' was taken", bad[i]);
        }
    }
    memset(longest, 'h', sizeof longest);
    snprintf(longest + PEER_ADDRESS_BYTES_MAX - 2, 3, ":7");
    assert_int_equal(peer_address_parse(longest, &parsed), 0);
    memset(longest, 'h', sizeof longest);
    snprintf(longest + PEER_ADDRESS_BYTES_MAX - 1, 3, ":7");
    assert_int_equal(peer_address_parse(longest, &parsed), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_is_laid_out_as_documented),
        cmocka_unit_test(a_hello_is_read_back_and_asks_for_no_more_than_it_has),
        cmocka_unit_test(a_reply_is_read_back),
        cmocka_unit_test(a_welcome_says_the_feature_level_or_it_is_the_first),
        cmocka_unit_test(the_first_wrong_byte_is_enough),
        cmocka_unit_test(lengths_are_bounded_before_anything_is_read),
        cmocka_unit_test(the_longest_texts_fit),
        cmocka_unit_test(node_zero_and_unprintable_texts_are_refused),
        cmocka_unit_test(a_hello_of_another_version_can_still_be_refused_by_name),
        cmocka_unit_test(random_changes_are_refused_or_understood_within_bounds),
        cmocka_unit_test(addresses_are_host_and_port_or_bracketed_v6_and_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
