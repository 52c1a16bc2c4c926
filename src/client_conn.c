#include "client_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client_tls.h"
#include "frame.h"

enum {
    READ_BYTES = 65536,
    IN_BYTES_MAX = FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX + READ_BYTES,
    ARENA_BYTES_MAX = 16 * 1024 * 1024,
    KEEP_BYTES_MAX =
        4 * READ_BYTES, /* larger buffers are given back when the connection closes */
};

void client_conn_init(struct client_conn *conn)
{
    *conn = (struct client_conn){.fd = -1, .arena = {.limit_bytes = ARENA_BYTES_MAX}};
}

void client_conn_release(struct client_conn *conn)
{
    client_conn_close(conn);
    free(conn->out.data);
    free(conn->in);
    wire_arena_release(&conn->arena);
    client_conn_init(conn);
}

static void end(struct client_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    client_tls_free(conn->tls);
    conn->tls = NULL;
    conn->heard = false;
    conn->hint = NULL;
    conn->out.len = 0;
    conn->out_sent = 0;
    conn->in_len = 0;
    conn->in_taken = 0;
    wire_arena_clear(&conn->arena);
    if (conn->in_capacity > KEEP_BYTES_MAX) {
        free(conn->in);
        conn->in = NULL;
        conn->in_capacity = 0;
    }
    if (conn->out.capacity > KEEP_BYTES_MAX) {
        free(conn->out.data);
        conn->out = (struct wire_buf){0};
    }
}

void client_conn_close(struct client_conn *conn)
{
    if (conn->fd >= 0 && conn->tls != NULL)
        client_tls_close(conn->tls, conn->fd);
    end(conn);
}

void client_conn_reset(struct client_conn *conn)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    if (conn->fd >= 0)
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    end(conn);
}

int client_conn_open(struct client_conn *conn,
                     const struct sockaddr *address,
                     socklen_t len,
                     const char *host)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    /* A lock request is one small frame and somebody waits for it. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, address, len) != 0 && errno != EINPROGRESS) {
        int rv = -errno;
        close(fd);
        return rv;
    }
    if (conn->tls_context != NULL &&
        client_tls_open(&conn->tls, conn->tls_context, host) != 0) {
        close(fd);
        return -ENOMEM;
    }
    conn->fd = fd;
    return 0;
}

int client_conn_established(const struct client_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return -errno;
    return -error;
}

static ssize_t send_some(struct client_conn *conn, const uint8_t *data, size_t len)
{
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static ssize_t receive_some(struct client_conn *conn, uint8_t *data, size_t len)
{
    if (conn->tls != NULL)
        return client_tls_receive(conn->tls, conn->fd, data, len);
    ssize_t n = recv(conn->fd, data, len, 0);
    return n < 0 ? -errno : n;
}

int client_conn_put(struct client_conn *conn, const struct wire_request *request)
{
    return wire_encode_request(&conn->out, request);
}

bool client_conn_unsent(const struct client_conn *conn)
{
    if (conn->tls != NULL)
        return client_tls_unsent(conn->tls);
    return conn->out_sent < conn->out.len;
}

int client_conn_flush(struct client_conn *conn)
{
    if (conn->tls != NULL)
        return client_tls_flush(conn->tls, conn->fd, &conn->out);
    while (client_conn_unsent(conn)) {
        ssize_t n = send_some(conn, conn->out.data + conn->out_sent,
                              conn->out.len - conn->out_sent);
        if (n == -EINTR)
            continue;
        if (n < 0)
            return (int)n;
        conn->out_sent += (size_t)n;
    }
    conn->out.len = 0;
    conn->out_sent = 0;
    return 0;
}

/* Room for one more read behind what is there. */
static int make_room(struct client_conn *conn)
{
    if (conn->in_taken > 0) {
        memmove(conn->in, conn->in + conn->in_taken, conn->in_len - conn->in_taken);
        conn->in_len -= conn->in_taken;
        conn->in_taken = 0;
    }
    if (conn->in_capacity - conn->in_len >= READ_BYTES)
        return 0;
    size_t capacity = conn->in_capacity > 0 ? 2 * conn->in_capacity : READ_BYTES;
    if (capacity > IN_BYTES_MAX)
        capacity = IN_BYTES_MAX;
    if (capacity - conn->in_len < READ_BYTES)
        capacity = conn->in_len + READ_BYTES;
    uint8_t *in = realloc(conn->in, capacity);
    if (in == NULL)
        return -ENOMEM;
    conn->in = in;
    conn->in_capacity = capacity;
    return 0;
}

int client_conn_fill(struct client_conn *conn)
{
    int rv = make_room(conn);
    if (rv != 0)
        return rv;
    ssize_t n;
    do {
        n = receive_some(conn, conn->in + conn->in_len, conn->in_capacity - conn->in_len);
    } while (n == -EINTR);
    /* What came may be what the handshake waited for. If it does not go now, unsent() says so. */
    if (conn->tls != NULL && n != -EPROTO)
        (void)client_conn_flush(conn);
    if (n < 0)
        return (int)n;
    if (n == 0) {
        if (!conn->heard)
            conn->hint = "it closed the connection without a word; it may want TLS";
        return -EPIPE;
    }
    conn->heard = true;
    conn->in_len += (size_t)n;
    conn->in_full = conn->in_len == conn->in_capacity;
    return 0;
}

bool client_conn_full(const struct client_conn *conn)
{
    return conn->in_full;
}

/* What announces a frame that is too large, and is a record of type 21, version 3. */
static bool is_tls_alert(const uint8_t *data)
{
    return data[0] == 21 && data[1] == 3;
}

int client_conn_next(struct client_conn *conn, struct wire_response *ret)
{
    for (;;) {
        const uint8_t *payload;
        size_t payload_len;
        int n = frame_next(conn->in + conn->in_taken, conn->in_len - conn->in_taken,
                           &payload, &payload_len);
        if (n < 0) {
            if (is_tls_alert(conn->in + conn->in_taken))
                conn->hint = "it wants TLS: a CA, a certificate and its key";
            return -EPROTO;
        }
        if (n == 0)
            return 0;
        conn->in_taken += (size_t)n;
        if (payload_len == 0)
            continue;
        wire_arena_clear(&conn->arena);
        return wire_decode_response(payload, payload_len, &conn->arena, ret) == 0
                   ? 1
                   : -EPROTO;
    }
}

const char *client_conn_why(const struct client_conn *conn)
{
    if (conn->tls != NULL)
        return client_tls_error(conn->tls);
    return conn->hint != NULL ? conn->hint : "";
}
