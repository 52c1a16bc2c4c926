#include "conn_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"
#include "xalloc.h"

enum {
    /* How a peer that vanished without a word is found. Plain clients cannot be
     * pinged. */
    KEEPALIVE_IDLE_S = 5,
    KEEPALIVE_INTERVAL_S = 2,
    KEEPALIVE_COUNT = 3,
    USER_TIMEOUT_MS = 10000,
};

/* ---- time ---- */

static uint64_t now_ms(const struct conn *conn)
{
    return uv_now(conn->tcp.loop);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t deadline_ms(const struct conn *conn)
{
    uint64_t deadline = UINT64_MAX;

    if (conn->finishing) {
        return conn->read_ms + conn->host->frame_timeout_ms;
    }
    if (!conn->reading) {
        return UINT64_MAX;
    }
    if (!conn->had_frame) {
        deadline = conn->opened_ms + conn->host->frame_timeout_ms;
    }
    if (conn->incomplete_ms != 0) {
        deadline = earlier(deadline, conn->incomplete_ms + conn->host->frame_timeout_ms);
    }
    if (conn->heartbeat_ms != 0) {
        deadline = earlier(deadline, conn->read_ms + conn->heartbeat_ms);
    }
    return deadline;
}

static void on_timer(uv_timer_t *timer);

/* The timer may fire early, never late: deadlines that move away leave it as it is. */
static void arm(struct conn *conn)
{
    uint64_t deadline = deadline_ms(conn);
    uint64_t now = now_ms(conn);

    if (conn->closing || deadline == UINT64_MAX) {
        return;
    }
    uint64_t left = deadline > now ? deadline - now : 0;
    if (!uv_is_active((uv_handle_t *)&conn->timer) ||
        uv_timer_get_due_in(&conn->timer) > left) {
        uv_timer_start(&conn->timer, on_timer, left, 0);
    }
}

static const char *silence(const struct conn *conn)
{
    if (!conn->had_frame) {
        return "no message came";
    }
    return conn->incomplete_ms != 0 &&
                   now_ms(conn) >= conn->incomplete_ms + conn->host->frame_timeout_ms
               ? "a message did not get finished"
               : "no heartbeat";
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;

    if (now_ms(conn) < deadline_ms(conn)) {
        arm(conn);
    } else if (conn->finishing) {
        conn_close(conn);
    } else {
        conn->host->on_broken(conn, silence(conn));
    }
}

/* ---- input ---- */

static void stop_reading(struct conn *conn)
{
    if (conn->reading) {
        uv_read_stop((uv_stream_t *)&conn->tcp);
        conn->reading = false;
    }
}

/* What speaks TLS to a plain port announces a frame of 369 MB (a record of type 22, version 3). */
static void refuse_oversize(struct conn *conn, const uint8_t *data)
{
    if (!conn->had_frame && data[0] == 22 && data[1] == 3) {
        conn->host->on_broken(
            conn, "it speaks TLS, and this port is plain: there is no tls-cert");
    } else {
        conn->host->on_oversize(conn);
    }
}

/* Give frames to the owner as long as it takes them. Returns how many bytes were used
 * up. */
static size_t take_frames(struct conn *conn, const uint8_t *data, size_t len)
{
    size_t used = 0;

    conn->taking = true;
    while (!conn->closing && !conn->finishing) {
        const uint8_t *payload;
        size_t payload_len;
        int size = frame_next(data + used, len - used, &payload, &payload_len);
        if (size < 0) {
            stop_reading(conn);
            conn->at_end = conn->ended = true;
            refuse_oversize(conn, data + used);
            break;
        }
        if (size == 0) {
            break;
        }
        if (payload_len != 0 &&
            conn->host->on_frame(conn, payload, payload_len) == CONN_LATER) {
            conn->put_off = true;
            break;
        }
        conn->had_frame = conn->had_frame || payload_len != 0;
        conn->incomplete_ms = 0;
        used += (size_t)size;
    }
    conn->taking = false;
    return used;
}

static void keep_input(struct conn *conn, const uint8_t *data, size_t len)
{
    if (len == 0) {
        return;
    }
    wire_buf_drop(&conn->in, conn->in_taken);
    conn->in_taken = 0;
    if (wire_buf_append(&conn->in, data, len) != 0) {
        abort(); /* as in xalloc.h */
    }
}

static void take_kept(struct conn *conn)
{
    conn->in_taken +=
        take_frames(conn, conn->in.data + conn->in_taken, conn->in.len - conn->in_taken);
    if (conn->in_taken == conn->in.len) {
        wire_buf_release(&conn->in);
        conn->in_taken = 0;
    }
}

void conn_take_text(struct conn *conn, const uint8_t *data, size_t len)
{
    if (conn->put_off) {
        keep_input(conn, data, len);
    } else if (conn->in.len == 0) {
        size_t used = take_frames(conn, data, len);
        keep_input(conn, data + used, len - used);
    } else {
        keep_input(conn, data, len);
        take_kept(conn);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct conn *conn = handle->data;

    (void)suggested;
    *ret = uv_buf_init((char *)conn->host->read_buffer, CONN_READ_BYTES);
}

/* After frames were taken: read on, or not, or tell that this was all. */
static void go_on(struct conn *conn);

/* When bytes and a reset have come together, libuv gives the bytes, and then an end as if the peer had
 * closed in order (stream.c: uv__stream_eof after a partial read). Only the socket still knows. */
static int error_behind_end(const struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return 0;
    }
    return -error;
}

/* Through TLS what was fed to it, and what TLS has to say to that. */
static void take_secured(struct conn *conn)
{
    int rv = conn_decrypt(conn);

    if (!conn->closing && tls_output(conn->tls)->len != 0) {
        conn_flush(conn); /* of the handshake, or an alert */
    }
    if (conn->closing) {
        return;
    }
    if (rv == 0) {
        stop_reading(conn);
        conn->at_end = true;
    } else if (rv != -EAGAIN) {
        conn->host->on_broken(conn, tls_error(conn->tls));
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct conn *conn = stream->data;

    if (got == 0) {
        return;
    }
    if (got < 0) {
        stop_reading(conn);
        int error = got == UV_EOF ? error_behind_end(conn) : (int)got;
        if (error != 0) {
            conn->host->on_broken(conn, uv_err_name(error));
            return;
        }
        if (conn->tls == NULL) {
            conn->at_end = true;
        } else {
            tls_feed_end(conn->tls);
            take_secured(conn);
        }
        go_on(conn);
        return;
    }
    conn->read_ms = now_ms(conn);
    const uint8_t *data = (const uint8_t *)buf->base;
    if (conn->tls == NULL) {
        conn_take_text(conn, data, (size_t)got);
    } else {
        tls_feed(conn->tls, data, (size_t)got);
        take_secured(conn);
    }
    go_on(conn);
}

static void go_on(struct conn *conn)
{
    if (conn->closing || conn->finishing) {
        return;
    }
    if (conn->put_off) {
        stop_reading(conn);
        return;
    }
    if (conn->at_end) {
        if (!conn->ended) {
            conn->ended = true;
            conn->host->on_end(conn);
        }
        return;
    }
    if (conn->in.len != 0 && conn->incomplete_ms == 0) {
        conn->incomplete_ms = now_ms(conn);
    }
    if (!conn->reading) {
        conn->read_ms = now_ms(conn); /* silence is counted only while we listen */
        conn->incomplete_ms = conn->in.len != 0 ? now_ms(conn) : 0;
        int rv = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
        if (rv != 0) {
            conn->host->on_broken(conn, uv_err_name(rv));
            return;
        }
        conn->reading = true;
    }
    arm(conn);
}

void conn_resume(struct conn *conn)
{
    assert(!conn->taking);
    if (conn->closing || conn->finishing || !conn->put_off) {
        return;
    }
    conn->put_off = false;
    take_kept(conn);
    go_on(conn);
}

void conn_set_heartbeat(struct conn *conn, uint64_t heartbeat_ms)
{
    conn->heartbeat_ms = heartbeat_ms;
    arm(conn);
}

/* ---- output ---- */

static void on_written(uv_write_t *write, int status)
{
    struct conn *conn = write->data;

    conn->sending.len = 0;
    if (conn->closing) {
        return;
    }
    if (status == 0) {
        conn_flush(conn);
    } else if (conn->finishing) {
        conn_close(conn);
    } else {
        conn->host->on_broken(conn, uv_err_name(status));
    }
}

/* What goes to the socket next. */
static struct wire_buf *ready_of(struct conn *conn)
{
    return conn->tls == NULL ? &conn->out : tls_output(conn->tls);
}

static size_t unsent_bytes(struct conn *conn)
{
    size_t encrypted = conn->tls == NULL ? 0 : tls_output(conn->tls)->len;

    return conn->out.len + encrypted + conn->sending.len;
}

/* What the socket does not take at once: into the other buffer, under way. */
static int write_rest(struct conn *conn, struct wire_buf *ready, size_t written)
{
    struct wire_buf empty = conn->sending;

    conn->sending = *ready;
    *ready = empty;
    wire_buf_clear(ready, CONN_OUT_KEPT_BYTES_MAX);
    uv_buf_t rest = uv_buf_init((char *)conn->sending.data + written,
                                (unsigned)(conn->sending.len - written));
    conn->write.data = conn;
    int rv = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &rest, 1, on_written);
    if (rv != 0) {
        conn->sending.len = 0;
    }
    return rv;
}

/* Returns 0 or a negative errno. */
static int write_some(struct conn *conn)
{
    struct wire_buf *ready = ready_of(conn);

    if (conn->closing || conn->sending.len != 0) {
        return 0;
    }
    int rv = conn_encrypt(conn);
    if (rv != 0 || ready->len == 0) {
        return rv;
    }
    uv_buf_t all = uv_buf_init((char *)ready->data, (unsigned)ready->len);
    int written = uv_try_write((uv_stream_t *)&conn->tcp, &all, 1);
    if (written < 0 && written != UV_EAGAIN) {
        return written;
    }
    if (written > 0 && (size_t)written == ready->len) {
        wire_buf_clear(ready, CONN_OUT_KEPT_BYTES_MAX);
        return 0;
    }
    return write_rest(conn, ready, written > 0 ? (size_t)written : 0);
}

void conn_flush(struct conn *conn)
{
    int rv = write_some(conn);

    if (conn->closing) {
        return;
    }
    if (conn->finishing && (rv != 0 || unsent_bytes(conn) == 0)) {
        conn_close(conn);
    } else if (rv != 0) {
        conn->host->on_broken(conn, uv_err_name(rv));
    }
}

int conn_queued(struct conn *conn)
{
    if (unsent_bytes(conn) <= conn->host->output_bytes_max) {
        return 0;
    }
    /* An error shows again at the next flush or read. */
    if (write_some(conn) != 0) {
        return 0;
    }
    size_t waiting = unsent_bytes(conn) - conn->sending.len +
                     uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
    return waiting <= conn->host->output_bytes_max ? 0 : -ENOBUFS;
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;

    assert(conn->handles_open > 0);
    if (--conn->handles_open == 0) {
        wire_buf_release(&conn->in);
        wire_buf_release(&conn->out);
        wire_buf_release(&conn->sending);
        tls_free(conn->tls);
        conn->host->on_closed(conn);
    }
}

void conn_close(struct conn *conn)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    uv_close((uv_handle_t *)&conn->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_handle_closed);
}

void conn_finish(struct conn *conn)
{
    if (conn->closing || conn->finishing) {
        return;
    }
    stop_reading(conn);
    conn->finishing = true;
    conn->read_ms = now_ms(conn);
    arm(conn);
    if (conn->tls != NULL && conn_encrypt(conn) == 0) {
        tls_close(conn->tls);
    }
    conn_flush(conn);
}

static void set_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
    };

    /* A socket that cannot do one of these still works. */
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof(options[i].value));
    }
}

int conn_open(struct conn *conn, uv_loop_t *loop, const struct conn_host *host, int fd)
{
    *conn = (struct conn){.host = host, .fd = fd};
    set_options(fd);
    int rv = uv_tcp_init(loop, &conn->tcp);
    assert(rv == 0); /* without a socket yet it cannot fail */
    rv = uv_timer_init(loop, &conn->timer);
    assert(rv == 0);
    conn->tcp.data = conn;
    conn->timer.data = conn;
    conn->handles_open = 2;
    conn->opened_ms = conn->read_ms = now_ms(conn);
    rv = uv_tcp_open(&conn->tcp, fd);
    if (rv != 0) {
        close(fd);
        conn_close(conn);
        return rv;
    }
    if (host->tls != NULL && (conn->tls = tls_new(host->tls, NULL)) == NULL) {
        conn_close(conn);
        return -ENOMEM;
    }
    go_on(conn);
    return 0;
}
