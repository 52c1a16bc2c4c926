/* A stream of bytes, cut into frames as a connection would: whatever comes, a frame lies within
 * what has arrived, and it does not matter in which pieces it did. */
#include "frame.h"

#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The size of the first frame, when the bytes arrive one by one. */
static int first_frame_byte_by_byte(const uint8_t *data, size_t size)
{
    const uint8_t *payload = NULL;
    size_t len = 0;
    for (size_t arrived = 0; arrived <= size; arrived++) {
        int rv = frame_next(data, arrived, &payload, &len);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        const uint8_t *payload = NULL;
        size_t len = 0;
        int rv = frame_next(data + at, size - at, &payload, &len);
        assert(rv == first_frame_byte_by_byte(data + at, size - at));
        if (rv <= 0) {
            assert(rv == 0 || rv == -EMSGSIZE);
            break;
        }
        assert((size_t)rv == FRAME_HEADER_BYTES + len && (size_t)rv <= size - at);
        assert(payload == data + at + FRAME_HEADER_BYTES);
        assert(len <= FRAME_PAYLOAD_BYTES_MAX);

        uint8_t header[FRAME_HEADER_BYTES];
        frame_put_header(header, len);
        for (size_t i = 0; i < sizeof(header); i++) {
            assert(header[i] == data[at + i]);
        }
        at += (size_t)rv;
    }
    return 0;
}
