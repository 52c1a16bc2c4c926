/* Frames: lengths in front of payloads. */
#include "frame.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void header_is_the_length_in_big_endian(void **state)
{
    (void)state;
    uint8_t header[FRAME_HEADER_BYTES];

    frame_put_header(header, 0x01020);
    const uint8_t expected[FRAME_HEADER_BYTES] = {0x00, 0x00, 0x10, 0x20};
    assert_memory_equal(header, expected, sizeof(header));

    frame_put_header(header, FRAME_PAYLOAD_BYTES_MAX);
    const uint8_t largest[FRAME_HEADER_BYTES] = {0x00, 0x10, 0x00, 0x00};
    assert_memory_equal(header, largest, sizeof(header));
}

static void whole_frame_is_found_in_front_of_others(void **state)
{
    (void)state;
    const uint8_t data[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 1, 'c'};
    const uint8_t *payload = NULL;
    size_t len = 0;

    assert_int_equal(frame_next(data, sizeof(data), &payload, &len), 6);
    assert_ptr_equal(payload, data + 4);
    assert_int_equal(len, 2);
    assert_int_equal(frame_next(data + 6, sizeof(data) - 6, &payload, &len), 5);
    assert_int_equal(len, 1);
    assert_int_equal(payload[0], 'c');
}

static void every_part_of_a_frame_is_incomplete(void **state)
{
    (void)state;
    const uint8_t data[] = {0, 0, 0, 3, 'a', 'b', 'c'};
    const uint8_t *payload = NULL;
    size_t len = 77;

    for (size_t part = 0; part < sizeof(data); part++) {
        assert_int_equal(frame_next(data, part, &payload, &len), 0);
    }
    assert_null(payload);
    assert_int_equal(len, 77);
}

static void empty_frame_is_legal(void **state)
{
    (void)state;
    const uint8_t data[] = {0, 0, 0, 0};
    const uint8_t *payload = NULL;
    size_t len = 77;

    assert_int_equal(frame_next(data, sizeof(data), &payload, &len), FRAME_HEADER_BYTES);
    assert_int_equal(len, 0);
}

static void largest_payload_passes_and_one_byte_more_is_refused(void **state)
{
    (void)state;
    size_t size = FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX;
    uint8_t *data = calloc(1, size);
    assert_non_null(data);
    const uint8_t *payload = NULL;
    size_t len = 0;

    frame_put_header(data, FRAME_PAYLOAD_BYTES_MAX);
    assert_int_equal(frame_next(data, size - 1, &payload, &len), 0);
    assert_int_equal(frame_next(data, size, &payload, &len), size);
    assert_int_equal(len, FRAME_PAYLOAD_BYTES_MAX);
    free(data);

    /* Refused by its header alone, before a byte of the payload is there. */
    const uint8_t too_long[] = {0x00, 0x10, 0x00, 0x01};
    assert_int_equal(frame_next(too_long, sizeof(too_long), &payload, &len), -EMSGSIZE);
    const uint8_t absurd[] = {0xff, 0xff, 0xff, 0xff};
    assert_int_equal(frame_next(absurd, sizeof(absurd), &payload, &len), -EMSGSIZE);
}

static void other_protocols_announce_too_much(void **state)
{
    (void)state;
    const char *const greetings[] = {"GET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH\r\n",
                                     "\x16\x03\x01\x02\x00\x01"};
    for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
        const uint8_t *payload = NULL;
        size_t len = 0;
        assert_int_equal(frame_next((const uint8_t *)greetings[i], 5, &payload, &len),
                         -EMSGSIZE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_the_length_in_big_endian),
        cmocka_unit_test(whole_frame_is_found_in_front_of_others),
        cmocka_unit_test(every_part_of_a_frame_is_incomplete),
        cmocka_unit_test(empty_frame_is_legal),
        cmocka_unit_test(largest_payload_passes_and_one_byte_more_is_refused),
        cmocka_unit_test(other_protocols_announce_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
