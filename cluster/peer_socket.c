#include "peer_socket.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "memory.h"

enum {
    KEEPALIVE_IDLE_S = 1,
    KEEPALIVE_INTERVAL_S = 1,
    KEEPALIVE_PROBES = 3,
};

struct peer_socket {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct peer_socket_options options;
    struct peer_socket_user user;
    bool closing;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

struct peer_socket *peer_socket_new(uv_loop_t *loop,
                                    const struct peer_socket_options *options,
                                    const struct peer_socket_user *user)
{
    struct peer_socket *socket = memory_new(sizeof *socket);
    int error = uv_tcp_init(loop, &socket->tcp);

    assert(error == 0);
    (void)error;
    socket->tcp.data = socket;
    socket->connect.data = socket;
    socket->write.data = socket;
    socket->options = *options;
    socket->user = *user;
    return socket;
}

void peer_socket_hand_over(struct peer_socket *socket,
                           const struct peer_socket_user *user)
{
    socket->user = *user;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* A dead peer must be noticed by both ends: by the writer, whose bytes are not
 * acknowledged, and by the reader, who only has keepalive. An option that the kernel does
 * not take is no reason to stay apart. */
static void set_options(struct peer_socket *socket)
{
    unsigned user_timeout_ms = socket->options.user_timeout_ms;
    int interval_s = KEEPALIVE_INTERVAL_S;
    int probes = KEEPALIVE_PROBES;
    int fd;

    uv_tcp_nodelay(&socket->tcp, 1);
    uv_tcp_keepalive(&socket->tcp, 1, KEEPALIVE_IDLE_S);
    if (uv_fileno((uv_handle_t *)&socket->tcp, &fd) == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
                   sizeof user_timeout_ms);
    }
}

static void opened(struct peer_socket *socket)
{
    set_options(socket);
    socket->user.on_open(socket->user.arg);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct peer_socket *socket = connect->data;

    if (socket->closing) {
        return;
    }
    if (status != 0) {
        socket->user.on_end(socket->user.arg, status);
        return;
    }
    opened(socket);
}

int peer_socket_connect(struct peer_socket *socket, const struct sockaddr *address)
{
    return uv_tcp_connect(&socket->connect, &socket->tcp, address, on_connected);
}

int peer_socket_accept(struct peer_socket *socket, uv_stream_t *listener)
{
    int error = uv_accept(listener, (uv_stream_t *)&socket->tcp);

    if (error == 0) {
        opened(socket);
    }
    return error;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer_socket *socket = handle->data;
    size_t len;

    (void)suggested;
    buf->base = socket->user.on_room(socket->user.arg, &len);
    buf->len = len;
    assert(len > 0);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer_socket *socket = stream->data;

    (void)buf;
    if (nread > 0) {
        socket->user.on_read(socket->user.arg, (size_t)nread);
    } else if (nread < 0) {
        uv_read_stop(stream);
        socket->user.on_end(socket->user.arg, (int)nread);
    }
}

int peer_socket_read(struct peer_socket *socket)
{
    int error = uv_read_start((uv_stream_t *)&socket->tcp, on_alloc, on_read);

    return error == UV_EALREADY ? 0 : error;
}

void peer_socket_pause(struct peer_socket *socket)
{
    uv_read_stop((uv_stream_t *)&socket->tcp);
}

static void on_written(uv_write_t *write, int status)
{
    struct peer_socket *socket = write->data;

    if (socket->closing) {
        return;
    }
    if (status == 0) {
        socket->user.on_written(socket->user.arg);
    } else {
        socket->user.on_end(socket->user.arg, status);
    }
}

int peer_socket_write(struct peer_socket *socket, const void *bytes, size_t len)
{
    uv_stream_t *stream = (uv_stream_t *)&socket->tcp;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    int written = uv_try_write(stream, &buf, 1);

    if (written == UV_EAGAIN) {
        written = 0;
    }
    if (written < 0) {
        return written;
    }
    buf.base += written;
    buf.len -= (size_t)written;
    if (buf.len == 0) {
        return 0;
    }
    int error = uv_write(&socket->write, stream, &buf, 1, on_written);
    return error == 0 ? PEER_SOCKET_LATER : error;
}

bool peer_socket_established(const struct peer_socket *socket)
{
    struct tcp_info info = {.tcpi_state = TCP_CLOSE};
    socklen_t len = sizeof info;
    int fd;

    return uv_fileno((const uv_handle_t *)&socket->tcp, &fd) == 0 &&
           getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_state == TCP_ESTABLISHED;
}

/* ---- closing -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct peer_socket *socket = handle->data;
    void (*tell)(void *arg) = socket->on_closed;
    void *arg = socket->on_closed_arg;

    free(socket);
    tell(arg);
}

void peer_socket_close(struct peer_socket *socket,
                       void (*tell_closed)(void *arg),
                       void *arg)
{
    assert(!socket->closing);
    socket->closing = true;
    socket->on_closed = tell_closed;
    socket->on_closed_arg = arg;
    uv_close((uv_handle_t *)&socket->tcp, on_closed);
}
