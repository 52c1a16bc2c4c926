/* conn_internal.h - what conn.c and conn_tls.c share. */
#ifndef NETLOCK_CONN_INTERNAL_H
#define NETLOCK_CONN_INTERNAL_H

#include "conn.h"

enum {
    CONN_OUT_KEPT_BYTES_MAX =
        65536, /* between two turns; one large answer must not be paid for ever */
};

/* conn.c: plain text has come. */
void conn_take_text(struct conn *conn, const uint8_t *data, size_t len);

/* conn_tls.c: what was fed to conn->tls becomes plain text and is taken. Returns 0 when the peer has
 * closed; -EAGAIN when more has to come; -EPROTO: see tls_error(). Or conn->closing is set. */
int conn_decrypt(struct conn *conn);

/* conn_tls.c: conn->out goes to tls_output(), unless the handshake is still under way. Does nothing to a
 * plain connection. Returns 0 or -EPROTO. */
int conn_encrypt(struct conn *conn);

#endif
