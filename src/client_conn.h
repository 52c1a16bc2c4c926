/* client_conn.h - one TCP connection of the client library: socket, frames, messages.
 *
 * Never blocks. Requests collect in `out` until client_conn_flush(); bytes that came in wait in `in`
 * until client_conn_next() has decoded them. With a TLS context they pass through client_tls.c.
 *
 * A connection can be opened and closed many times; its memory is kept until release. */
#ifndef NETLOCK_CLIENT_CONN_H
#define NETLOCK_CLIENT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "wire.h"

struct client_tls;
struct tls_context;

struct client_conn {
    int fd; /* -1: closed */
    struct wire_buf out;
    size_t out_sent; /* of out.len */
    uint8_t *in;
    size_t in_len, in_capacity;
    size_t in_taken; /* of in_len: decoded already */
    bool in_full;
    struct wire_arena arena;
    struct tls_context *tls_context; /* the owner's; NULL: plain */
    struct client_tls *tls;          /* of the connection that is open */
    bool heard;                      /* the server has said anything */
    const char *hint;                /* why it may have closed; NULL: nothing special */
};

void client_conn_init(struct client_conn *conn);
void client_conn_release(struct client_conn *conn);

/* Start to connect to @host at @address. 0 (the socket becomes writable when it is done) or a negative
 * errno. */
int client_conn_open(struct client_conn *conn,
                     const struct sockaddr *address,
                     socklen_t len,
                     const char *host);
/* Once writable: 0, or why the connect failed. */
int client_conn_established(const struct client_conn *conn);
/* Close in order: to a server, the client is gone at once, and what it holds is free. */
void client_conn_close(struct client_conn *conn);
/* Give the connection up, but not the client, which will come back by another: a reset, after which
 * the server waits for the session grace. */
void client_conn_reset(struct client_conn *conn);

/* Queue one request. 0, -ENOMEM, -EMSGSIZE, -EINVAL. */
int client_conn_put(struct client_conn *conn, const struct wire_request *request);
/* Something waits for room in the socket. */
bool client_conn_unsent(const struct client_conn *conn);
/* Write what is queued, which TLS may hold back until its handshake is done: what comes in sets it free.
 * 0: all; -EAGAIN: the socket is full; else the connection is broken. */
int client_conn_flush(struct client_conn *conn);

/* Read what is there, once. 0: something came; -EAGAIN: nothing; -EPIPE: the peer has closed;
 * -ENOMEM; else the connection is broken. */
int client_conn_fill(struct client_conn *conn);
/* The last time there was more than fitted in, perhaps. */
bool client_conn_full(const struct client_conn *conn);
/* Decode the next message. 1 and @ret, valid until the next call; 0: none complete; -EPROTO. */
int client_conn_next(struct client_conn *conn, struct wire_response *ret);

/* Words for why the connection does not work, as far as TLS has to do with it; "" else. Until it is
 * closed. */
const char *client_conn_why(const struct client_conn *conn);

#endif
