/* peer_socket.h - one TCP connection to a peer, in TLS or not: bytes in, bytes out, and its end.
 *
 *     socket = peer_socket_new(loop, &options, &user);
 *     peer_socket_connect(socket, address) or peer_socket_accept(socket, listener)
 *     ... on_connected, on_open, then peer_socket_write(), peer_socket_read(), ... on_end ...
 *     peer_socket_close(socket, on_closed, arg);
 *
 * Whoever uses it is called with its @arg and may change on the way: the handshake hands the
 * socket over to the pump. Nothing is called after peer_socket_close() but @on_closed. Reading
 * goes into the user's memory and can be paused; one write is under way at a time, so that
 * what a slow peer keeps waiting is bounded by the user's own buffer. */
#ifndef NETLOCK_PEER_SOCKET_H
#define NETLOCK_PEER_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "tls.h"

struct peer_socket;

enum { PEER_SOCKET_LATER = 1 };

struct peer_socket_options {
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT */
    struct tls_context *tls;  /* NULL: plain text. Its role is that of this end. */
};

struct peer_socket_user {
    void *arg;
    /* TCP stands; with TLS, its handshake begins. */
    void (*on_connected)(void *arg);
    /* The connection stands, and with TLS the other side has proved who it is. */
    void (*on_open)(void *arg);
    /* Where the next bytes go, at least one. */
    void *(*on_room)(void *arg, size_t *ret_len);
    /* @len bytes have been read to there. */
    void (*on_read)(void *arg, size_t len);
    /* The bytes of a write that was PEER_SOCKET_LATER are the user's again. */
    void (*on_written)(void *arg);
    /* It never stood, or has ended: a negative errno, or UV_EOF; peer_socket_why(). Called once; close
     * it. */
    void (*on_end)(void *arg, int error);
};

/* @user is copied. */
struct peer_socket *peer_socket_new(uv_loop_t *loop,
                                    const struct peer_socket_options *options,
                                    const struct peer_socket_user *user);

/* Both return 0 or a negative errno; then on_end is not called. */
int peer_socket_connect(struct peer_socket *socket, const struct sockaddr *address);
int peer_socket_accept(struct peer_socket *socket, uv_stream_t *listener);

/* From now on @user is called; no write of the former one may be under way. */
void peer_socket_hand_over(struct peer_socket *socket,
                           const struct peer_socket_user *user);

/* Read until paused; on_end comes only to who reads. Nothing is called from inside. */
int peer_socket_read(struct peer_socket *socket);
void peer_socket_pause(struct peer_socket *socket);

/* Write @len bytes. Returns 0: they are gone; PEER_SOCKET_LATER: borrowed until on_written; or a
 * negative errno: the connection is broken, on_end is not called for it. */
int peer_socket_write(struct peer_socket *socket, const void *bytes, size_t len);

/* Who the other side has proved to be; once it is open. NULL without TLS. */
const struct tls_identity *peer_socket_identity(const struct peer_socket *socket);

/* What @error means, for the log. Borrowed. */
const char *peer_socket_why(const struct peer_socket *socket, int error);

/* Whether the kernel takes it for connected. */
bool peer_socket_established(const struct peer_socket *socket);

/* Once. @on_closed comes in a later turn; then the socket is gone. */
void peer_socket_close(struct peer_socket *socket,
                       void (*on_closed)(void *arg),
                       void *arg);

#endif
