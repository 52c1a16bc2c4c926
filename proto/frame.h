/* frame.h - length-prefixed frames: 4 bytes big-endian payload length, then the payload.
 *
 * A zero-length frame is legal and skipped. A length above FRAME_PAYLOAD_BYTES_MAX is
 * refused before a byte of it is stored. */
#ifndef NETLOCK_FRAME_H
#define NETLOCK_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_HEADER_BYTES = 4,
    FRAME_PAYLOAD_BYTES_MAX = 1048576,
};

/* Look at the start of @data. Returns the size of the whole first frame (header included)
 * and points
 * @ret_payload into @data; 0 if the frame is not complete yet; -EMSGSIZE if it announces
 * too much. */
int frame_next(const uint8_t *data,
               size_t len,
               const uint8_t **ret_payload,
               size_t *ret_payload_len);

/* Write the header of a payload of @payload_len bytes (at most FRAME_PAYLOAD_BYTES_MAX,
 * asserted). */
void frame_put_header(uint8_t out[static FRAME_HEADER_BYTES], size_t payload_len);

#endif
