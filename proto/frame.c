#include "frame.h"

#include <assert.h>
#include <errno.h>

int frame_next(const uint8_t *data,
               size_t len,
               const uint8_t **ret_payload,
               size_t *ret_payload_len)
{
    if (len < FRAME_HEADER_BYTES) {
        return 0;
    }
    uint32_t payload_len = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 |
                           (uint32_t)data[2] << 8 | (uint32_t)data[3];
    if (payload_len > FRAME_PAYLOAD_BYTES_MAX) {
        return -EMSGSIZE;
    }
    if (len - FRAME_HEADER_BYTES < payload_len) {
        return 0;
    }
    *ret_payload = data + FRAME_HEADER_BYTES;
    *ret_payload_len = payload_len;
    return (int)(FRAME_HEADER_BYTES + payload_len);
}

void frame_put_header(uint8_t out[static FRAME_HEADER_BYTES], size_t payload_len)
{
    assert(payload_len <= FRAME_PAYLOAD_BYTES_MAX);

    out[0] = (uint8_t)(payload_len >> 24);
    out[1] = (uint8_t)(payload_len >> 16);
    out[2] = (uint8_t)(payload_len >> 8);
    out[3] = (uint8_t)payload_len;
}
