#include "transport_ends.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kept_port.h"

/* ---- the loop, bounded ---------------------------------------------------------------------- */

static void on_nothing(uv_timer_t *timer)
{
    (void)timer;
}

bool ends_run_until(uv_loop_t *loop,
                    bool (*condition)(void *arg),
                    void *arg,
                    unsigned limit_ms)
{
    uv_timer_t waker;
    uint64_t start;

    uv_update_time(loop);
    start = uv_now(loop);
    uv_timer_init(loop, &waker);
    uv_timer_start(&waker, on_nothing, 5, 5);
    while (!condition(arg) && uv_now(loop) - start < limit_ms) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&waker, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return condition(arg);
}

bool ends_never(void *arg)
{
    (void)arg;
    return false;
}

bool attempt_done(void *arg)
{
    return ((struct attempt *)arg)->done;
}

static bool end_closed(void *arg)
{
    return ((struct end *)arg)->closed;
}

static bool has_line(const struct end *end, const char *part)
{
    for (unsigned i = 0; i < end->lines_count; i++) {
        if (strstr(end->lines[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

void end_assert_line(const struct end *end, const char *part)
{
    if (!has_line(end, part)) {
        for (unsigned i = 0; i < end->lines_count; i++) {
            print_message("logged: %s\n", end->lines[i]);
        }
        fail_msg("no line has '%s'", part);
    }
}

/* ---- ends ----------------------------------------------------------------------------------- */

static enum transport_membership
on_membership(void *arg, uint64_t node_id, const char **ret_address)
{
    struct end *end = arg;

    if (end->undecided) {
        return TRANSPORT_UNDECIDED;
    }
    *ret_address = end->member_address;
    return node_id == end->stranger ? TRANSPORT_STRANGER : TRANSPORT_MEMBER;
}

static void on_connection_ended(void *arg,
                                uint64_t node_id,
                                enum peer_direction direction,
                                enum peer_end cause)
{
    struct end *end = arg;

    (void)node_id;
    end->ended[direction]++;
    end->last_end = cause;
}

static void on_log(void *arg, int level, const char *message)
{
    struct end *end = arg;

    if (level >= 1 && end->lines_count < LINES_MAX) {
        snprintf(end->lines[end->lines_count++], sizeof end->lines[0], "%s", message);
    }
}

struct transport_config end_config(struct end *end, uint64_t node_id)
{
    return (struct transport_config){
        .cluster_id = "alpha",
        .node_id = node_id,
        .connect_timeout_ms = 300,
        .handshake_timeout_ms = 300,
        .user_timeout_ms = 2500,
        .membership = on_membership,
        .connection_ended = on_connection_ended,
        .log = on_log,
        .arg = end,
    };
}

void end_start(struct end *end, uv_loop_t *loop, const struct transport_config *config)
{
    end->loop = loop;
    if (end->port == 0) {
        end->port = keep_port();
        snprintf(end->address, sizeof end->address, "127.0.0.1:%u", end->port);
    }
    if (end->member_address == NULL) {
        end->member_address = "member:1";
    }
    transport_init(&end->face, loop, config);
    end->face.data = end;
    assert_int_equal(end->face.init(&end->face, config->node_id, end->address), 0);
}

void end_on_accept(struct raft_uv_transport *face,
                   raft_id id,
                   const char *address,
                   uv_stream_t *stream)
{
    struct end *end = face->data;

    assert_true(end->accepted_count < STREAMS_MAX);
    end->accepted[end->accepted_count].id = id;
    snprintf(end->accepted[end->accepted_count].address, 256, "%s", address);
    end->accepted[end->accepted_count].stream = stream;
    end->accepted_count++;
}

void end_listen(struct end *end)
{
    int rv = end->face.listen(&end->face, end_on_accept);

    if (rv != 0) {
        print_message("listen: %s\n", end->face.errmsg);
    }
    assert_int_equal(rv, 0);
}

void ends_free_stream(uv_handle_t *handle)
{
    raft_free(handle); /* as libraft does */
}

static void on_closed(struct raft_uv_transport *face)
{
    ((struct end *)face->data)->closed = true;
}

void end_close(struct end *end)
{
    for (unsigned i = 0; i < end->accepted_count; i++) {
        if (end->accepted[i].stream != NULL) {
            uv_close((uv_handle_t *)end->accepted[i].stream, ends_free_stream);
        }
    }
    end->accepted_count = 0;
    end->face.close(&end->face, on_closed);
    assert_true(ends_run_until(end->loop, end_closed, end, WAIT_MS_MAX));
    transport_release(&end->face);
    end->face.impl = NULL;
}

void attempt_on_connect(struct raft_uv_connect *request, uv_stream_t *stream, int status)
{
    struct attempt *attempt = request->data;

    assert_false(attempt->done);
    attempt->done = true;
    attempt->status = status;
    attempt->stream = stream;
    assert_true((status == 0) == (stream != NULL));
}

void attempt_start(struct end *from,
                   struct attempt *attempt,
                   raft_id id,
                   const char *address)
{
    *attempt = (struct attempt){.status = -1};
    attempt->request.data = attempt;
    assert_int_equal(from->face.connect(&from->face, &attempt->request, id, address,
                                        attempt_on_connect),
                     0);
    assert_false(attempt->done);
}

int attempt_wait(struct end *from,
                 struct attempt *attempt,
                 raft_id id,
                 const char *address)
{
    attempt_start(from, attempt, id, address);
    assert_true(ends_run_until(from->loop, attempt_done, attempt, WAIT_MS_MAX));
    return attempt->status;
}

void attempt_free(struct attempt *attempt)
{
    if (attempt->stream != NULL) {
        uv_close((uv_handle_t *)attempt->stream, ends_free_stream);
        attempt->stream = NULL;
    }
}

bool ends_b_accepted(void *arg)
{
    return ((struct fixture *)arg)->b.accepted_count > 0;
}

void ends_start_both(struct fixture *f)
{
    struct transport_config a = end_config(&f->a, 1);
    struct transport_config b = end_config(&f->b, 2);

    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
}

int ends_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    *state = f;
    return 0;
}

int ends_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->a.face.impl != NULL) {
        end_close(&f->a);
    }
    if (f->b.face.impl != NULL) {
        end_close(&f->b);
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

/* ---- streams -------------------------------------------------------------------------------- */

const uint8_t ENDS_MESSAGE[ENDS_MESSAGE_BYTES] = {
    [0] = RAFT_TIMEOUT_NOW,
    [8] = 24, /* bytes that follow */
    [16] = 3, /* term */
    [24] = 7, /* last index */
    [32] = 2, /* its term */
};

struct transfer {
    char received[64];
    size_t wanted;
    size_t len;
};

static void on_transfer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct transfer *transfer = handle->data;
    (void)suggested;

    *buf = uv_buf_init(transfer->received + transfer->len,
                       (unsigned)(sizeof transfer->received - transfer->len));
}

static void on_transfer_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct transfer *transfer = stream->data;
    (void)buf;

    transfer->len += nread > 0 ? (size_t)nread : 0;
}

static bool all_transferred(void *arg)
{
    const struct transfer *transfer = arg;

    return transfer->len >= transfer->wanted;
}

void ends_assert_reads_message(uv_loop_t *loop, uv_stream_t *stream)
{
    struct transfer transfer = {.wanted = ENDS_MESSAGE_BYTES};

    stream->data = &transfer;
    assert_int_equal(uv_read_start(stream, on_transfer_alloc, on_transfer_read), 0);
    assert_true(ends_run_until(loop, all_transferred, &transfer, WAIT_MS_MAX));
    assert_int_equal(transfer.len, transfer.wanted);
    assert_memory_equal(transfer.received, ENDS_MESSAGE, transfer.len);
    uv_read_stop(stream);
}

/* ---- raw sockets ---------------------------------------------------------------------------- */

int ends_raw_connect(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* A listener of our own, that accepts in the kernel and says nothing. */
int ends_mute_listener(unsigned backlog, unsigned *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, (int)backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* A full backlog: SYNs are dropped, as by a host that is gone. */
int ends_black_hole(char *ret_address, size_t size, int fill[static 3])
{
    unsigned port;
    int fd = ends_mute_listener(0, &port);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 3; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&address, sizeof address);
    }
    snprintf(ret_address, size, "127.0.0.1:%u", port);
    return fd;
}
