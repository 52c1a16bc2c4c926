/* wire_request_fixture.h - a request payload, made by hand, on its way through the decoder. */
#ifndef NETLOCK_WIRE_REQUEST_FIXTURE_H
#define NETLOCK_WIRE_REQUEST_FIXTURE_H

#include "wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire_bytes.h"

#define STR(text)                                                                        \
    (struct wire_str)                                                                    \
    {                                                                                    \
        (text), sizeof(text) - 1                                                         \
    }

/* What every test needs; the large parts are not for the stack. */
struct fixture {
    struct bytes payload;
    struct bytes value;
    struct bytes any;
    struct wire_arena arena;
    struct wire_buf buf;
    struct wire_request request;
    struct wire_refusal refusal;
};

static inline int setup(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state != NULL ? 0 : -1;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    wire_arena_release(&f->arena);
    free(f->buf.data);
    free(f);
    return 0;
}

/* Decodes f->payload; when it can be read, encodes the result into f->buf. */
static inline int decode(struct fixture *f)
{
    wire_arena_clear(&f->arena);
    /* An allocation of the exact size, so that the sanitizer sees a read behind the end. */
    uint8_t *exact = malloc(f->payload.len != 0 ? f->payload.len : 1);
    assert_non_null(exact);
    memcpy(exact, f->payload.data, f->payload.len);
    int rv =
        wire_decode_request(exact, f->payload.len, &f->arena, &f->request, &f->refusal);
    assert_int_equal(rv == 0, f->refusal.problem == WIRE_OK);
    assert_int_equal(rv == 0, f->refusal.text == NULL);
    free(exact); /* what was read lives in the arena */
    if (rv != 0) {
        assert_int_equal(rv, -EINVAL);
        return rv;
    }
    f->buf.len = 0;
    assert_int_equal(wire_encode_request(&f->buf, &f->request), 0);
    return 0;
}

/* The payload becomes a message of type @url with the fields in f->value. */
static inline void wrap(struct fixture *f, const char *url, const char *key)
{
    f->any.len = 0;
    f->payload.len = 0;
    bytes_put_text(&f->any, 1, url);
    bytes_put_blob(&f->any, 2, f->value.data, f->value.len);
    if (key != NULL) {
        bytes_put_text(&f->payload, 1, key);
    }
    bytes_put_blob(&f->payload, 2, f->any.data, f->any.len);
}

static inline int decode_value(struct fixture *f, const char *name)
{
    char url[128];
    snprintf(url, sizeof(url), "type.googleapis.com/gonetlock.%s", name);
    wrap(f, url, "k");
    return decode(f);
}

static inline void
expect_refusal(struct fixture *f, enum wire_problem problem, const char *text)
{
    assert_int_equal(f->refusal.problem, problem);
    assert_string_equal(f->refusal.text, text);
}

static inline void assert_str(struct wire_str str, const char *expected)
{
    assert_int_equal(str.len, strlen(expected));
    assert_memory_equal(str.data, expected, str.len);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
