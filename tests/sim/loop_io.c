#include "loop_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    READS_MAX = 32, /* of one stream in a row */
    READ_SUGGESTED_BYTES = 65536,
    BUFS_EMBEDDED = 4, /* room in a uv_write_t */
};

/* ---- what can be read and written ---- */

static struct loop_watch *watch_of(const uv_handle_t *handle)
{
    return handle->u.reserved[0];
}

static int watch_events(const struct loop_watch *watch)
{
    int events = 0;

    if ((watch->wants & UV_READABLE) != 0 && sim_socket_readable(watch->socket)) {
        events |= UV_READABLE;
    }
    if ((watch->wants & UV_WRITABLE) != 0 && sim_socket_writable(watch->socket)) {
        events |= UV_WRITABLE;
    }
    return events;
}

/* Returns whether there was something. */
static bool watch_look(struct loop_watch *watch)
{
    if (watch_events(watch) == 0) {
        return false;
    }
    if (!watch->ready.queued) {
        watch->ready.queued = true;
        watch->ready.round = watch->loop->round;
        TAILQ_INSERT_TAIL(&watch->loop->ready, watch, ready.link);
    }
    return true;
}

static void on_change(void *arg)
{
    struct loop_watch *watch = arg;

    if (watch_look(watch)) {
        sim_process_wake(watch->loop->process, sim_now_us());
    }
}

static void watch_start(struct loop_watch *watch, int events)
{
    watch->wants |= events;
    watch_look(watch);
}

static void watch_unready(struct loop_watch *watch)
{
    if (watch->ready.queued) {
        watch->ready.queued = false;
        TAILQ_REMOVE(&watch->loop->ready, watch, ready.link);
    }
}

static void watch_not_pending(struct loop_watch *watch)
{
    if (watch->pending.queued) {
        watch->pending.queued = false;
        TAILQ_REMOVE(&watch->loop->pending, watch, pending.link);
    }
}

static int watch_init(uv_loop_t *uv, uv_handle_t *handle, uv_handle_type type)
{
    struct loop_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL) {
        return UV_ENOMEM;
    }
    loop_handle_init(uv, handle, type);
    handle->u.reserved[0] = watch;
    watch->loop = loop_of(uv);
    watch->handle = handle;
    watch->fd = -1;
    watch->writes_end = &watch->writes;
    watch->done_end = &watch->done;
    return 0;
}

static int watch_open(struct loop_watch *watch, int fd)
{
    watch->fd = fd;
    watch->socket = sim_socket_find(fd);
    if (watch->socket == NULL) {
        return UV_EBADF;
    }
    sim_socket_watch(watch->socket, on_change, watch);
    return 0;
}

/* ---- poll handles ---- */

int uv_poll_init(uv_loop_t *uv, uv_poll_t *poll, int fd)
{
    if (sim_socket_find(fd) == NULL) {
        return UV_EBADF;
    }
    int rv = watch_init(uv, (uv_handle_t *)poll, UV_POLL);
    if (rv != 0) {
        return rv;
    }
    poll->poll_cb = NULL;
    return watch_open(watch_of((uv_handle_t *)poll), fd);
}

int uv_poll_stop(uv_poll_t *poll)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)poll);

    watch->wants = 0;
    watch_unready(watch);
    loop_set_active((uv_handle_t *)poll, false);
    return 0;
}

int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb)
{
    assert((poll->flags & LOOP_CLOSING) == 0 &&
           (events & ~(UV_READABLE | UV_WRITABLE)) == 0);
    uv_poll_stop(poll);
    if (events != 0) {
        poll->poll_cb = cb;
        loop_set_active((uv_handle_t *)poll, true);
        watch_start(watch_of((uv_handle_t *)poll), events);
    }
    return 0;
}

static void poll_close(uv_poll_t *poll)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)poll);

    uv_poll_stop(poll);
    if (sim_socket_find(watch->fd) == watch->socket) {
        sim_socket_watch(watch->socket, NULL, NULL);
    }
}

/* ---- streams ---- */

int uv_tcp_init(uv_loop_t *uv, uv_tcp_t *tcp)
{
    int rv = watch_init(uv, (uv_handle_t *)tcp, UV_TCP);

    tcp->read_cb = NULL;
    tcp->alloc_cb = NULL;
    tcp->write_queue_size = 0;
    return rv;
}

int uv_tcp_open(uv_tcp_t *tcp, uv_os_sock_t fd)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)tcp);

    if (watch->socket != NULL) {
        return UV_EBUSY;
    }
    watch->can_read = watch->can_write = true;
    return watch_open(watch, fd);
}

int uv_read_stop(uv_stream_t *stream)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)stream);

    watch->reading = false;
    watch->wants &= ~UV_READABLE;
    loop_set_active((uv_handle_t *)stream, (watch->wants & UV_WRITABLE) != 0);
    return 0;
}

int uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc_cb, uv_read_cb read_cb)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)stream);

    if (alloc_cb == NULL || read_cb == NULL || (stream->flags & LOOP_CLOSING) != 0) {
        return UV_EINVAL;
    }
    if (watch->reading) {
        return UV_EALREADY;
    }
    if (!watch->can_read) {
        return UV_ENOTCONN;
    }
    stream->alloc_cb = alloc_cb;
    stream->read_cb = read_cb;
    watch->reading = true;
    watch->ended = false;
    loop_set_active((uv_handle_t *)stream, true);
    watch_start(watch, UV_READABLE);
    return 0;
}

static void stream_eof(struct loop_watch *watch, uv_stream_t *stream, uv_buf_t *buf)
{
    watch->ended = true;
    uv_read_stop(stream);
    stream->read_cb(stream, UV_EOF, buf);
}

/* Returns whether the buffer was filled, so that there may be more. */
static bool read_once(struct loop_watch *watch, uv_stream_t *stream)
{
    uv_buf_t buf = {NULL, 0};

    stream->alloc_cb((uv_handle_t *)stream, READ_SUGGESTED_BYTES, &buf);
    if (buf.base == NULL || buf.len == 0) {
        stream->read_cb(stream, UV_ENOBUFS, &buf);
        return false;
    }
    ssize_t got = sim_socket_read(watch->socket, buf.base, buf.len);
    if (got == 0) {
        stream_eof(watch, stream, &buf);
    } else if (got == UV_EAGAIN) {
        stream->read_cb(stream, 0, &buf);
    } else if (got < 0) {
        watch->can_read = watch->can_write = false;
        stream->read_cb(stream, got, &buf);
        if (watch->reading) {
            uv_read_stop(stream);
        }
    } else {
        stream->read_cb(stream, got, &buf);
        watch->partial = (size_t)got < buf.len;
        return !watch->partial;
    }
    return false;
}

static void stream_read(struct loop_watch *watch, uv_stream_t *stream)
{
    watch->partial = false;
    for (int i = 0; i < READS_MAX && watch->reading; i++) {
        if (!read_once(watch, stream)) {
            return;
        }
    }
}

static size_t bytes_of(const uv_buf_t bufs[], unsigned count)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        bytes += bufs[i].len;
    }
    return bytes;
}

/* Returns the bytes that were written, or a negative errno. */
static ssize_t write_bufs(struct loop_watch *watch, const uv_buf_t bufs[], unsigned count)
{
    ssize_t written = 0;

    for (unsigned i = 0; i < count; i++) {
        ssize_t rv = sim_socket_write(watch->socket, bufs[i].base, bufs[i].len);
        if (rv < 0) {
            return written != 0 ? written : rv;
        }
        written += rv;
        if ((size_t)rv < bufs[i].len) {
            break;
        }
    }
    return written;
}

static int check_writable(const struct loop_watch *watch)
{
    if (watch->socket == NULL) {
        return UV_EBADF;
    }
    return watch->can_write ? 0 : UV_EPIPE;
}

static void write_done(struct loop_watch *watch, int error)
{
    uv_write_t *write = watch->writes;

    watch->writes = write->queue[0];
    if (watch->writes == NULL) {
        watch->writes_end = &watch->writes;
    }
    write->error = error;
    write->queue[0] = NULL;
    *watch->done_end = write;
    watch->done_end = &write->queue[0];
    if (!watch->pending.queued) {
        watch->pending.queued = true;
        watch->pending.round = watch->loop->round;
        TAILQ_INSERT_TAIL(&watch->loop->pending, watch, pending.link);
    }
}

/* What was written is no longer in its buffers. Returns whether that is all. */
static bool write_advance(uv_write_t *write, size_t written)
{
    write->handle->write_queue_size -= written;
    while (write->write_index < write->nbufs) {
        uv_buf_t *buf = &write->bufs[write->write_index];
        size_t taken = written < buf->len ? written : buf->len;
        buf->base += taken;
        buf->len -= taken;
        written -= taken;
        if (buf->len != 0) {
            return false;
        }
        write->write_index++;
    }
    return true;
}

static void write_bufs_free(uv_write_t *write)
{
    if (write->bufs != write->bufsml) {
        free(write->bufs);
    }
    write->bufs = NULL;
}

/* The first write's; the next one has to wait until the socket is looked at again. */
static void stream_write(struct loop_watch *watch)
{
    uv_write_t *write = watch->writes;

    if (write == NULL) {
        return;
    }
    ssize_t rv = write_bufs(watch, &write->bufs[write->write_index],
                            write->nbufs - write->write_index);
    if (rv >= 0 && write_advance(write, (size_t)rv)) {
        write_bufs_free(write);
        write_done(watch, 0);
    } else if (rv >= 0 || rv == UV_EAGAIN) {
        watch_start(watch, UV_WRITABLE);
    } else {
        write_done(watch, (int)rv);
        watch->wants &= ~UV_WRITABLE;
    }
}

/* Those that are done by now. A failed one counts as queued until its callback. */
static void write_callbacks(struct loop_watch *watch)
{
    uv_write_t *write = watch->done;

    watch->done = NULL;
    watch->done_end = &watch->done;
    while (write != NULL) {
        uv_write_t *next = write->queue[0];
        if (write->bufs != NULL) {
            write->handle->write_queue_size -= bytes_of(
                write->bufs + write->write_index, write->nbufs - write->write_index);
            write_bufs_free(write);
        }
        if (write->cb != NULL) {
            write->cb(write, write->error);
        }
        write = next;
    }
}

int uv_write(uv_write_t *write,
             uv_stream_t *stream,
             const uv_buf_t bufs[],
             unsigned count,
             uv_write_cb cb)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)stream);
    int rv = check_writable(watch);

    if (rv != 0) {
        return rv;
    }
    bool first = stream->write_queue_size == 0;
    write->type = UV_WRITE;
    write->handle = stream;
    write->cb = cb;
    write->error = 0;
    write->bufs = write->bufsml;
    if (count > BUFS_EMBEDDED) {
        write->bufs = malloc(count * sizeof(bufs[0]));
        if (write->bufs == NULL) {
            return UV_ENOMEM;
        }
    }
    memcpy(write->bufs, bufs, count * sizeof(bufs[0]));
    write->nbufs = count;
    write->write_index = 0;
    stream->write_queue_size += bytes_of(bufs, count);
    write->queue[0] = NULL;
    *watch->writes_end = write;
    watch->writes_end = &write->queue[0];
    if (first) {
        stream_write(watch);
    } else {
        watch_start(watch, UV_WRITABLE);
    }
    return 0;
}

int uv_try_write(uv_stream_t *stream, const uv_buf_t bufs[], unsigned count)
{
    struct loop_watch *watch = watch_of((uv_handle_t *)stream);

    if (stream->write_queue_size != 0) {
        return UV_EAGAIN;
    }
    int rv = check_writable(watch);
    return rv != 0 ? rv : (int)write_bufs(watch, bufs, count);
}

/* ---- the I/O phase ---- */

static void stream_to_write(struct loop_watch *watch)
{
    stream_write(watch);
    write_callbacks(watch);
    if (watch->writes == NULL) {
        watch->wants &= ~UV_WRITABLE;
    }
}

/* A broken connection shows as readable and writable, but asks for attention only as long as one of
 * them is wanted. That it is broken behind the last bytes is its end. */
static void stream_io(struct loop_watch *watch, int events)
{
    uv_stream_t *stream = (uv_stream_t *)watch->handle;

    if ((events & UV_READABLE) != 0) {
        stream_read(watch, stream);
        if (watch->socket != NULL && watch->reading && watch->partial && !watch->ended &&
            sim_socket_state(watch->socket) == SIM_BROKEN) {
            uv_buf_t none = {NULL, 0};
            stream_eof(watch, stream, &none);
        }
    }
    if ((events & UV_WRITABLE) != 0 && watch->socket != NULL) {
        stream_to_write(watch);
    }
}

/* What is still possible after its callbacks were called is for the next turn. */
void loop_run_ready(struct sim_loop *loop)
{
    struct loop_watch *watch;

    loop->round++;
    while ((watch = TAILQ_FIRST(&loop->ready)) != NULL &&
           watch->ready.round < loop->round) {
        watch_unready(watch);
        int events = watch_events(watch);
        if (events == 0) {
            continue;
        }
        if (watch->handle->type == UV_POLL) {
            uv_poll_t *poll = (uv_poll_t *)watch->handle;
            poll->poll_cb(poll, 0, events);
        } else {
            stream_io(watch, events);
        }
        watch_look(watch);
    }
}

void loop_run_pending(struct sim_loop *loop)
{
    struct loop_watch *watch;

    loop->round++;
    while ((watch = TAILQ_FIRST(&loop->pending)) != NULL &&
           watch->pending.round < loop->round) {
        watch_not_pending(watch);
        stream_to_write(watch);
    }
}

/* ---- the end ---- */

/* The handle's memory stays for its callbacks, its socket is closed now. */
void loop_watch_close(uv_handle_t *handle)
{
    struct loop_watch *watch = watch_of(handle);

    if (handle->type == UV_POLL) {
        poll_close((uv_poll_t *)handle);
        return;
    }
    uv_read_stop((uv_stream_t *)handle);
    watch->wants = 0;
    watch_unready(watch);
    watch_not_pending(watch);
    loop_set_active(handle, false);
    if (watch->socket != NULL) {
        sim_socket_close(watch->socket);
        watch->socket = NULL;
    }
}

void loop_watch_closed(uv_handle_t *handle)
{
    struct loop_watch *watch = watch_of(handle);

    while (watch->writes != NULL) {
        write_done(watch, UV_ECANCELED);
    }
    watch_not_pending(watch);
    write_callbacks(watch);
    free(watch);
    handle->u.reserved[0] = NULL;
}
