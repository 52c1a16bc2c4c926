#include "conn_internal.h"

#include <errno.h>

/* As much plain text as fits, in one piece: frames are taken from it without a copy. Returns what
 * tls_read() said last. */
static ssize_t fill_text(struct conn *conn, size_t *ret_len)
{
    uint8_t *text = conn->host->text_buffer;
    size_t len = 0;
    ssize_t got = 1;

    while (got > 0 && len < CONN_READ_BYTES) {
        got = tls_read(conn->tls, text + len, CONN_READ_BYTES - len);
        len += got > 0 ? (size_t)got : 0;
    }
    *ret_len = len;
    return got;
}

int conn_decrypt(struct conn *conn)
{
    size_t len;
    ssize_t got = 1;

    while (got > 0 && !conn->closing) {
        got = fill_text(conn, &len);
        if (!conn->secured && tls_is_established(conn->tls)) {
            conn->secured = true;
            conn->host->on_secured(conn);
        }
        if (len != 0 && !conn->closing) {
            conn_take_text(conn, conn->host->text_buffer, len);
        }
    }
    return (int)got;
}

int conn_encrypt(struct conn *conn)
{
    if (conn->tls == NULL || conn->out.len == 0) {
        return 0;
    }
    int rv = tls_write(conn->tls, conn->out.data, conn->out.len);
    if (rv == 0) {
        wire_buf_clear(&conn->out, CONN_OUT_KEPT_BYTES_MAX);
    }
    return rv == -EAGAIN ? 0 : rv;
}
