/* A payload, read as a request and as a response. What is accepted keeps the promises of wire.h,
 * and means the same after it was written and read again. */
#include "frame.h"
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_name(struct wire_str name)
{
    assert(name.len == 0 || wire_name_valid(name.data, name.len));
}

static void assert_same(const struct wire_buf *first, const struct wire_buf *second)
{
    assert(first->len == second->len);
    assert(memcmp(first->data, second->data, first->len) == 0);
}

static void fuzz_request(const uint8_t *data, size_t size)
{
    struct wire_arena arena = {0};
    struct wire_buf first = {0};
    struct wire_buf second = {0};
    struct wire_request request;
    struct wire_refusal refusal;

    int rv = wire_decode_request(data, size, &arena, &request, &refusal);
    assert_name(request.client);
    assert_name(request.lock);
    assert(request.key.len <= WIRE_KEY_BYTES_MAX);
    if (rv != 0) {
        assert(rv == -EINVAL && refusal.problem != WIRE_OK && refusal.text != NULL);
        assert(strlen(refusal.text) < 100);
    } else {
        assert(refusal.problem == WIRE_OK);
        rv = wire_encode_request(&first, &request);
        assert(rv == 0);
        rv = wire_decode_request(first.data + FRAME_HEADER_BYTES,
                                 first.len - FRAME_HEADER_BYTES, &arena, &request,
                                 &refusal);
        assert(rv == 0);
        rv = wire_encode_request(&second, &request);
        assert(rv == 0);
        assert_same(&first, &second);
    }
    wire_arena_release(&arena);
    free(first.data);
    free(second.data);
}

static void fuzz_response(const uint8_t *data, size_t size)
{
    struct wire_arena arena = {0};
    struct wire_buf first = {0};
    struct wire_buf second = {0};
    struct wire_response response;

    int rv = wire_decode_response(data, size, &arena, &response);
    assert(rv == 0 || rv == -EINVAL || rv == -EOPNOTSUPP);
    if (rv == 0 && wire_encode_response(&first, &response) == 0) {
        assert_name(response.client);
        assert_name(response.lock);
        rv = wire_decode_response(first.data + FRAME_HEADER_BYTES,
                                  first.len - FRAME_HEADER_BYTES, &arena, &response);
        assert(rv == 0);
        rv = wire_encode_response(&second, &response);
        assert(rv == 0);
        assert_same(&first, &second);
    }
    wire_arena_release(&arena);
    free(first.data);
    free(second.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_request(data, size);
    fuzz_response(data, size);
    return 0;
}
