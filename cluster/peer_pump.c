#include "peer_pump.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <raft.h>

#include "memory.h"

enum {
    SIDES = 2
}; /* whose end must be seen: the peer's socket and our end of the pair */

struct peer_pump {
    struct peer_socket *socket;
    uv_pipe_t inside; /* our end of the socketpair */
    uv_write_t write; /* on it */
    enum peer_direction direction;
    struct peer_pump_host host;
    unsigned open; /* sides */
    bool closing;
    size_t len;     /* bytes in the buffer */
    size_t leaving; /* the first of them, which are being written */
    uint8_t unwanted;
    uint8_t buffer[PEER_PUMP_BUFFER_BYTES];
};

/* ---- the end -------------------------------------------------------------------------------- */

static void side_closed(struct peer_pump *pump)
{
    pump->open--;
    if (pump->open == 0) {
        struct peer_pump_host host = pump->host;
        free(pump);
        host.on_closed(host.arg);
    }
}

static void on_socket_closed(void *arg)
{
    side_closed(arg);
}

static void on_inside_closed(uv_handle_t *handle)
{
    side_closed(handle->data);
}

void peer_pump_close(struct peer_pump *pump)
{
    assert(!pump->closing);
    pump->closing = true;
    peer_socket_close(pump->socket, on_socket_closed, pump);
    uv_close((uv_handle_t *)&pump->inside, on_inside_closed);
}

static void end(struct peer_pump *pump, enum peer_end why, const char *reason)
{
    peer_pump_close(pump);
    pump->host.on_end(pump->host.arg, why, reason);
}

static void lost(struct peer_pump *pump, int error)
{
    end(pump, PEER_END_LOST, peer_socket_why(pump->socket, error));
}

static void dropped(struct peer_pump *pump, int error)
{
    end(pump, PEER_END_DROPPED,
        error == UV_EOF ? "closed by this node" : uv_strerror(error));
}

/* ---- room for what comes -------------------------------------------------------------------- */

static void *room(struct peer_pump *pump, size_t *ret_len)
{
    assert(pump->leaving == 0 && pump->len < sizeof pump->buffer);
    *ret_len = sizeof pump->buffer - pump->len;
    return pump->buffer + pump->len;
}

/* The bytes that were leaving have left. */
static void move_up(struct peer_pump *pump)
{
    pump->len -= pump->leaving;
    memmove(pump->buffer, pump->buffer + pump->leaving, pump->len);
    pump->leaving = 0;
}

/* ---- in: from the peer to libraft ----------------------------------------------------------- */

static void in_on_written(uv_write_t *write, int status)
{
    struct peer_pump *pump = write->data;

    if (pump->closing) {
        return;
    }
    if (status == 0) {
        move_up(pump);
        status = peer_socket_read(pump->socket);
    }
    if (status != 0) {
        dropped(pump, status);
    }
}

/* libraft takes what it can; the peer is listened to again when it has taken all. */
static void in_write(struct peer_pump *pump)
{
    uv_stream_t *stream = (uv_stream_t *)&pump->inside;
    uv_buf_t buf = uv_buf_init((char *)pump->buffer, (unsigned)pump->leaving);
    int written = uv_try_write(stream, &buf, 1);

    if (written == (int)pump->leaving) {
        move_up(pump);
        return;
    }
    if (written < 0 && written != UV_EAGAIN) {
        dropped(pump, written);
        return;
    }
    buf.base += written > 0 ? written : 0;
    buf.len -= written > 0 ? (size_t)written : 0;
    peer_socket_pause(pump->socket);
    int error = uv_write(&pump->write, stream, &buf, 1, in_on_written);
    if (error != 0) {
        dropped(pump, error);
    }
}

static void *in_on_room(void *arg, size_t *ret_len)
{
    return room(arg, ret_len);
}

static void in_on_read(void *arg, size_t len)
{
    struct peer_pump *pump = arg;

    pump->len += len;
    const char *refused =
        pump->host.inspect(pump->host.arg, pump->buffer, pump->len, &pump->leaving);
    if (refused != NULL) {
        pump->leaving = 0;
        end(pump, PEER_END_REFUSED, refused);
    } else if (pump->leaving > 0) {
        in_write(pump);
    }
}

/* ---- out: from libraft to the peer ---------------------------------------------------------- */

static void out_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    size_t len;

    (void)suggested;
    buf->base = room(handle->data, &len);
    buf->len = len;
}

static void out_send(struct peer_pump *pump, size_t len)
{
    pump->len = pump->leaving = len;
    int status = peer_socket_write(pump->socket, pump->buffer, pump->leaving);
    if (status == 0) {
        move_up(pump);
    } else if (status == PEER_SOCKET_LATER) {
        uv_read_stop((uv_stream_t *)&pump->inside);
    } else {
        lost(pump, status);
    }
}

static void out_on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer_pump *pump = stream->data;

    (void)buf;
    if (nread > 0) {
        out_send(pump, (size_t)nread);
    } else if (nread < 0) {
        dropped(pump, (int)nread);
    }
}

void peer_pump_flush(struct peer_pump *pump)
{
    int fd = -1;

    if (pump->closing || pump->direction != PEER_OUT || pump->len > 0) {
        return;
    }
    (void)uv_fileno((const uv_handle_t *)&pump->inside, &fd);
    ssize_t got = read(fd, pump->buffer, sizeof pump->buffer);
    if (got > 0) {
        out_send(pump, (size_t)got);
    }
}

static void out_on_written(void *arg)
{
    struct peer_pump *pump = arg;

    move_up(pump);
    int error = uv_read_start((uv_stream_t *)&pump->inside, out_on_alloc, out_on_read);
    if (error != 0) {
        dropped(pump, error);
    }
}

/* ---- the way back, where only the end may come ---------------------------------------------- */

static void *unwanted_room(void *arg, size_t *ret_len)
{
    struct peer_pump *pump = arg;

    *ret_len = sizeof pump->unwanted;
    return &pump->unwanted;
}

static void out_on_answer(void *arg, size_t len)
{
    (void)len;
    end(arg, PEER_END_REFUSED, "the peer speaks where it has to listen");
}

static void in_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    buf->base = unwanted_room(handle->data, &buf->len);
}

static void in_on_inside_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    (void)buf;
    assert(nread <= 0); /* libraft writes only where it has connected */
    if (nread < 0) {
        dropped(stream->data, (int)nread);
    }
}

static void on_socket_end(void *arg, int error)
{
    lost(arg, error);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void already(void *arg)
{
    (void)arg;
}

/* Neither can fail: both are open, and not read from. */
static void start(struct peer_pump *pump)
{
    uv_stream_t *inside = (uv_stream_t *)&pump->inside;
    bool in = pump->direction == PEER_IN;
    struct peer_socket_user user = {
        .arg = pump,
        .on_connected = already,
        .on_open = already,
        .on_room = in ? in_on_room : unwanted_room,
        .on_read = in ? in_on_read : out_on_answer,
        .on_written = out_on_written,
        .on_end = on_socket_end,
    };
    int error = in ? uv_read_start(inside, in_on_alloc, in_on_inside_read)
                   : uv_read_start(inside, out_on_alloc, out_on_read);

    assert(error == 0);
    peer_socket_hand_over(pump->socket, &user);
    error = peer_socket_read(pump->socket);
    assert(error == 0);
    (void)error;
}

static void pipe_open(uv_pipe_t *pipe, uv_loop_t *loop, int fd)
{
    int error = uv_pipe_init(loop, pipe, 0);

    assert(error == 0);
    error = uv_pipe_open(pipe, fd);
    assert(error == 0);
    (void)error;
}

int peer_pump_new(struct peer_pump **ret,
                  uv_loop_t *loop,
                  struct peer_socket *socket,
                  enum peer_direction direction,
                  const struct peer_pump_host *host,
                  uv_stream_t **ret_stream)
{
    int fds[2];
    int error = uv_socketpair(SOCK_STREAM, 0, fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE);

    if (error != 0) {
        return error;
    }
    struct peer_pump *pump = memory_new(sizeof *pump);
    uv_pipe_t *outside = raft_calloc(1, sizeof *outside);
    if (outside == NULL) {
        abort();
    }
    pump->socket = socket;
    pump->direction = direction;
    pump->host = *host;
    pump->open = SIDES;
    pipe_open(&pump->inside, loop, fds[0]);
    pipe_open(outside, loop, fds[1]);
    pump->inside.data = pump;
    pump->write.data = pump;
    start(pump);
    *ret = pump;
    *ret_stream = (uv_stream_t *)outside;
    return 0;
}

const struct peer_socket *peer_pump_socket(const struct peer_pump *pump)
{
    return pump->socket;
}
