#include "peer_socket.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "memory.h"

enum {
    KEEPALIVE_IDLE_S = 1,
    KEEPALIVE_INTERVAL_S = 1,
    KEEPALIVE_PROBES = 3,
    CIPHER_BYTES = 32768, /* read at a time */
    OUTPUT_KEPT_BYTES_MAX = 131072,
};

struct peer_socket {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct peer_socket_options options;
    struct peer_socket_user user;
    bool closing;
    bool ended; /* and the user has been told */
    unsigned handles;
    void (*on_closed)(void *arg);
    void *on_closed_arg;

    /* With TLS. */
    struct tls *tls;
    uv_timer_t going_on; /* with text that was left when the user paused */
    bool open;           /* the handshake is done */
    bool wanted;         /* the user reads */
    bool taking;         /* text is being taken right now */
    bool more;           /* there may be text that was not taken */
    bool writing;        /* `write` is under way, of `sending` */
    bool user_waits;     /* for on_written */
    struct wire_buf sending;
    uint8_t *cipher;
};

static void secure_go_on(struct peer_socket *socket);

static void on_going_on(uv_timer_t *timer)
{
    secure_go_on(timer->data);
}

static void use_tls(struct peer_socket *socket)
{
    socket->tls = tls_new(socket->options.tls, NULL);
    if (socket->tls == NULL) {
        abort();
    }
    socket->cipher = memory_new(CIPHER_BYTES);
}

struct peer_socket *peer_socket_new(uv_loop_t *loop,
                                    const struct peer_socket_options *options,
                                    const struct peer_socket_user *user)
{
    struct peer_socket *socket = memory_new(sizeof *socket);
    int error = uv_tcp_init(loop, &socket->tcp);

    error |= uv_timer_init(loop, &socket->going_on);
    assert(error == 0);
    (void)error;
    socket->handles = 2;
    socket->tcp.data = socket;
    socket->going_on.data = socket;
    socket->connect.data = socket;
    socket->write.data = socket;
    socket->options = *options;
    socket->user = *user;
    if (options->tls != NULL) {
        use_tls(socket);
    }
    return socket;
}

void peer_socket_hand_over(struct peer_socket *socket,
                           const struct peer_socket_user *user)
{
    assert(!socket->user_waits);
    socket->user = *user;
}

static uv_stream_t *stream_of(struct peer_socket *socket)
{
    return (uv_stream_t *)&socket->tcp;
}

static void end(struct peer_socket *socket, int error)
{
    if (!socket->ended && !socket->closing) {
        socket->ended = true;
        uv_read_stop(stream_of(socket));
        socket->user.on_end(socket->user.arg, error);
    }
}

const struct tls_identity *peer_socket_identity(const struct peer_socket *socket)
{
    return socket->open ? tls_peer(socket->tls) : NULL;
}

const char *peer_socket_why(const struct peer_socket *socket, int error)
{
    if (error == -EPROTO && socket->tls != NULL) {
        return tls_error(socket->tls);
    }
    return error == UV_EOF ? "closed by the other side" : uv_strerror(error);
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

static void connected(struct peer_socket *socket)
{
    set_options(socket);
    socket->user.on_connected(socket->user.arg);
    if (socket->closing) {
        return;
    }
    if (socket->tls != NULL) {
        secure_go_on(socket);
    } else {
        socket->user.on_open(socket->user.arg);
    }
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct peer_socket *socket = connect->data;

    if (socket->closing) {
        return;
    }
    if (status != 0) {
        end(socket, status);
        return;
    }
    connected(socket);
}

int peer_socket_connect(struct peer_socket *socket, const struct sockaddr *address)
{
    return uv_tcp_connect(&socket->connect, &socket->tcp, address, on_connected);
}

int peer_socket_accept(struct peer_socket *socket, uv_stream_t *listener)
{
    int error = uv_accept(listener, stream_of(socket));

    if (error == 0) {
        connected(socket);
    }
    return error;
}

/* ---- plain text ----------------------------------------------------------------------------- */

static void plain_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer_socket *socket = handle->data;
    size_t len;

    (void)suggested;
    buf->base = socket->user.on_room(socket->user.arg, &len);
    buf->len = len;
    assert(len > 0);
}

static void plain_on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer_socket *socket = stream->data;

    (void)buf;
    if (nread > 0) {
        socket->user.on_read(socket->user.arg, (size_t)nread);
    } else if (nread < 0) {
        end(socket, (int)nread);
    }
}

static int
read_start(struct peer_socket *socket, uv_alloc_cb on_alloc, uv_read_cb on_read)
{
    int error = uv_read_start(stream_of(socket), on_alloc, on_read);

    return error == UV_EALREADY ? 0 : error;
}

/* Returns how many bytes the kernel took, or a negative errno. */
static int try_write(struct peer_socket *socket, const void *bytes, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    int written = uv_try_write(stream_of(socket), &buf, 1);

    return written == UV_EAGAIN ? 0 : written;
}

static void plain_on_written(uv_write_t *write, int status)
{
    struct peer_socket *socket = write->data;

    socket->user_waits = false;
    if (socket->closing) {
        return;
    }
    if (status == 0) {
        socket->user.on_written(socket->user.arg);
    } else {
        end(socket, status);
    }
}

static int plain_write(struct peer_socket *socket, const uint8_t *bytes, size_t len)
{
    int written = try_write(socket, bytes, len);

    if (written < 0 || (size_t)written == len) {
        return written < 0 ? written : 0;
    }
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)(bytes + written),
                               (unsigned)(len - (size_t)written));
    int error = uv_write(&socket->write, stream_of(socket), &buf, 1, plain_on_written);
    socket->user_waits = error == 0;
    return error == 0 ? PEER_SOCKET_LATER : error;
}

/* ---- TLS: what goes out --------------------------------------------------------------------- */

static void secure_on_written(uv_write_t *write, int status);

/* The session may say more while what it has said is being written, so that is taken from it. Returns as
 * peer_socket_write(). */
static int secure_flush(struct peer_socket *socket)
{
    struct wire_buf *output = tls_output(socket->tls);

    if (socket->writing) {
        return PEER_SOCKET_LATER;
    }
    if (output->len == 0) {
        return 0;
    }
    int written = try_write(socket, output->data, output->len);
    if (written < 0) {
        return written;
    }
    if ((size_t)written == output->len) {
        wire_buf_clear(output, OUTPUT_KEPT_BYTES_MAX);
        return 0;
    }
    struct wire_buf empty = socket->sending;
    socket->sending = *output;
    *output = empty;
    uv_buf_t buf = uv_buf_init((char *)socket->sending.data + written,
                               (unsigned)(socket->sending.len - (size_t)written));
    int error = uv_write(&socket->write, stream_of(socket), &buf, 1, secure_on_written);
    socket->writing = error == 0;
    return error == 0 ? PEER_SOCKET_LATER : error;
}

static void secure_on_written(uv_write_t *write, int status)
{
    struct peer_socket *socket = write->data;

    socket->writing = false;
    if (socket->closing) {
        return;
    }
    wire_buf_clear(&socket->sending, OUTPUT_KEPT_BYTES_MAX);
    if (status == 0) {
        status = secure_flush(socket);
    }
    if (status < 0) {
        end(socket, status);
    } else if (status == 0 && socket->user_waits) {
        socket->user_waits = false;
        socket->user.on_written(socket->user.arg);
    }
}

static int secure_write(struct peer_socket *socket, const uint8_t *bytes, size_t len)
{
    int status = tls_write(socket->tls, bytes, len);

    if (status == 0) {
        status = secure_flush(socket);
    }
    socket->user_waits = status == PEER_SOCKET_LATER;
    return status;
}

/* ---- TLS: what comes in --------------------------------------------------------------------- */

static void secure_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer_socket *socket = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)socket->cipher, CIPHER_BYTES);
}

static void secure_on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer_socket *socket = stream->data;

    (void)buf;
    if (nread == 0) {
        return;
    }
    if (nread > 0) {
        tls_feed(socket->tls, socket->cipher, (size_t)nread);
    } else if (nread == UV_EOF) {
        tls_feed_end(socket->tls);
    } else {
        end(socket, (int)nread);
        return;
    }
    socket->more = true;
    secure_go_on(socket);
}

/* Returns 0, or why the session is over. */
static int shake_hands(struct peer_socket *socket)
{
    int status = tls_handshake(socket->tls);

    if (status == -EAGAIN) {
        socket->more = false;
        return 0;
    }
    if (status == 0) {
        (void)secure_flush(socket);
        socket->open = true;
        socket->user.on_open(socket->user.arg);
    }
    return status;
}

/* As long as the user reads. Returns as shake_hands(). */
static int take_text(struct peer_socket *socket)
{
    ssize_t got = 1;

    while (got > 0 && socket->wanted && !socket->closing) {
        size_t room;
        uint8_t *at = socket->user.on_room(socket->user.arg, &room);
        got = tls_read(socket->tls, at, room);
        if (got > 0) {
            socket->user.on_read(socket->user.arg, (size_t)got);
        }
    }
    if (got == -EAGAIN) {
        socket->more = false;
        return 0;
    }
    return got == 0 ? UV_EOF : got < 0 ? (int)got : 0;
}

/* Use what has come; read more when all of it is used. */
static void secure_go_on(struct peer_socket *socket)
{
    int error = 0;

    socket->taking = true;
    if (!socket->open) {
        error = shake_hands(socket);
    }
    if (error == 0 && socket->open) {
        error = take_text(socket);
    }
    socket->taking = false;
    if (socket->closing) {
        return;
    }
    int flushed = secure_flush(socket);
    if (error == 0 && flushed < 0) {
        error = flushed;
    }
    if (error == 0 && !socket->more && (socket->wanted || !socket->open)) {
        error = read_start(socket, secure_on_alloc, secure_on_read);
    } else {
        uv_read_stop(stream_of(socket));
    }
    if (error != 0) {
        end(socket, error);
    }
}

static int secure_read(struct peer_socket *socket)
{
    if (socket->taking) {
        return 0; /* it goes on by itself */
    }
    return socket->more ? uv_timer_start(&socket->going_on, on_going_on, 0, 0)
                        : read_start(socket, secure_on_alloc, secure_on_read);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

int peer_socket_read(struct peer_socket *socket)
{
    socket->wanted = true;
    return socket->tls != NULL ? secure_read(socket)
                               : read_start(socket, plain_on_alloc, plain_on_read);
}

void peer_socket_pause(struct peer_socket *socket)
{
    socket->wanted = false;
    uv_timer_stop(&socket->going_on);
    uv_read_stop(stream_of(socket));
}

int peer_socket_write(struct peer_socket *socket, const void *bytes, size_t len)
{
    assert(!socket->user_waits);
    return socket->tls != NULL ? secure_write(socket, bytes, len)
                               : plain_write(socket, bytes, len);
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

static void on_handle_closed(uv_handle_t *handle)
{
    struct peer_socket *socket = handle->data;
    void (*tell)(void *arg) = socket->on_closed;
    void *arg = socket->on_closed_arg;

    socket->handles--;
    if (socket->handles > 0) {
        return;
    }
    tls_free(socket->tls);
    wire_buf_release(&socket->sending);
    free(socket->cipher);
    free(socket);
    tell(arg);
}

/* If the kernel takes it at once. */
static void say_the_last(struct peer_socket *socket)
{
    const struct wire_buf *output = tls_output(socket->tls);

    if (output->len > 0) {
        (void)try_write(socket, output->data, output->len);
    }
}

void peer_socket_close(struct peer_socket *socket,
                       void (*tell_closed)(void *arg),
                       void *arg)
{
    assert(!socket->closing);
    socket->closing = true;
    socket->on_closed = tell_closed;
    socket->on_closed_arg = arg;
    if (socket->tls != NULL && !socket->writing) {
        tls_close(socket->tls);
        say_the_last(socket);
    }
    uv_close((uv_handle_t *)&socket->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&socket->going_on, on_handle_closed);
}
