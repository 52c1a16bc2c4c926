/* The pump between a peer's socket and libraft, over loopback: every byte in its order, a slow reader on
 * either side stops the writer on the other, and the end of either side is the end of both, at any moment
 * (run it under AddressSanitizer: leaks count). */
#include "peer_pump.h"

#include "transport_ends.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BULK = 4000000, SMALL_BUFFER = 16384, TURNS = 50, KEPT = 7 };

struct pumping {
    uv_loop_t loop;
    uv_tcp_t listener;
    unsigned port;
    int peer; /* the peer's end of its connection */
    struct peer_socket *socket;
    struct peer_pump *pump;
    uv_stream_t *stream; /* libraft's end */

    /* What the pump told. */
    unsigned ends;
    enum peer_end end;
    char reason[128];
    bool closed;
    const char *refuse; /* what the inspection says */
    bool keep_some;     /* the last bytes of each piece, until more come */

    /* What has come through. */
    uint8_t *received;
    size_t received_len;
    bool received_end;
    bool written;
};

/* ---- the two sides -------------------------------------------------------------------------- */

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

static uint8_t *make_bulk(size_t len)
{
    uint8_t *bytes = malloc(len);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = pattern(i);
    }
    return bytes;
}

static void assert_pattern(const struct pumping *p, size_t len)
{
    assert_int_equal(p->received_len, len);
    for (size_t i = 0; i < len; i++) {
        if (p->received[i] != pattern(i)) {
            fail_msg("byte %zu is another one", i);
        }
    }
}

static void nothing(void *arg)
{
    (void)arg;
}

static void nothing_ended(void *arg, int error)
{
    (void)arg;
    (void)error;
}

static void *no_room(void *arg, size_t *ret_len)
{
    (void)arg;
    (void)ret_len;
    abort();
}

static void nothing_read(void *arg, size_t len)
{
    (void)arg;
    (void)len;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct pumping *p = listener->data;
    struct peer_socket_options options = {.user_timeout_ms = 2000};
    struct peer_socket_user user = {.arg = p,
                                    .on_connected = nothing,
                                    .on_open = nothing,
                                    .on_room = no_room,
                                    .on_read = nothing_read,
                                    .on_written = nothing,
                                    .on_end = nothing_ended};

    assert_int_equal(status, 0);
    p->socket = peer_socket_new(listener->loop, &options, &user);
    assert_int_equal(peer_socket_accept(p->socket, listener), 0);
}

static const char *inspect(void *arg, const uint8_t *bytes, size_t len, size_t *ret_pass)
{
    struct pumping *p = arg;

    (void)bytes;
    *ret_pass = len;
    if (p->keep_some && len < PEER_PUMP_BUFFER_BYTES) {
        *ret_pass = len > KEPT ? len - KEPT : 0;
    }
    return p->refuse;
}

static void on_end(void *arg, enum peer_end end, const char *reason)
{
    struct pumping *p = arg;

    p->ends++;
    p->end = end;
    snprintf(p->reason, sizeof p->reason, "%s", reason);
}

static void on_closed(void *arg)
{
    struct pumping *p = arg;

    assert_false(p->closed);
    p->closed = true;
    p->pump = NULL;
}

static bool has_socket(void *arg)
{
    return ((struct pumping *)arg)->socket != NULL;
}

static bool is_closed(void *arg)
{
    return ((struct pumping *)arg)->closed;
}

static bool saw_end(void *arg)
{
    return ((struct pumping *)arg)->received_end;
}

static void pump_begin(struct pumping *p, enum peer_direction direction)
{
    struct peer_pump_host host = {
        .arg = p, .inspect = inspect, .on_end = on_end, .on_closed = on_closed};

    p->peer = ends_raw_connect(p->port);
    assert_true(ends_run_until(&p->loop, has_socket, p, WAIT_MS_MAX));
    assert_int_equal(
        peer_pump_new(&p->pump, &p->loop, p->socket, direction, &host, &p->stream), 0);
    p->socket = NULL;
}

static int setup(void **state)
{
    struct pumping *p = calloc(1, sizeof *p);
    struct sockaddr_in address = {.sin_family = AF_INET};
    int len = sizeof address;

    assert_non_null(p);
    assert_int_equal(uv_loop_init(&p->loop), 0);
    assert_int_equal(uv_tcp_init(&p->loop, &p->listener), 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(uv_tcp_bind(&p->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&p->listener, 8, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&p->listener, (struct sockaddr *)&address, &len),
                     0);
    p->listener.data = p;
    p->port = ntohs(address.sin_port);
    p->peer = -1;
    p->received = malloc(BULK + 1);
    assert_non_null(p->received);
    *state = p;
    return 0;
}

static void close_peer(struct pumping *p)
{
    if (p->peer >= 0) {
        close(p->peer);
        p->peer = -1;
    }
}

static void close_stream(struct pumping *p)
{
    if (p->stream != NULL) {
        uv_close((uv_handle_t *)p->stream, ends_free_stream);
        p->stream = NULL;
    }
}

/* Everything ends, and nothing is left. */
static int teardown(void **state)
{
    struct pumping *p = *state;

    close_stream(p);
    close_peer(p);
    assert_true(p->pump == NULL || ends_run_until(&p->loop, is_closed, p, WAIT_MS_MAX));
    uv_close((uv_handle_t *)&p->listener, NULL);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    free(p->received);
    free(p);
    return 0;
}

/* ---- libraft's side ------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct pumping *p = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)p->received + p->received_len,
                       (unsigned)(BULK + 1 - p->received_len));
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct pumping *p = stream->data;

    (void)buf;
    if (nread > 0) {
        p->received_len += (size_t)nread;
    } else if (nread < 0) {
        assert_int_equal(nread, UV_EOF);
        p->received_end = true;
        uv_read_stop(stream);
    }
}

static void stream_reads(struct pumping *p)
{
    p->stream->data = p;
    assert_int_equal(uv_read_start(p->stream, on_alloc, on_read), 0);
}

static void on_written(uv_write_t *write, int status)
{
    ((struct pumping *)write->data)->written = status == 0;
}

/* ---- the peer's side ------------------------------------------------------------------------ */

static void set_small(struct pumping *p, int option)
{
    int size = SMALL_BUFFER;

    assert_int_equal(setsockopt(p->peer, SOL_SOCKET, option, &size, sizeof size), 0);
}

/* Send what the kernel takes, turning the loop, until it takes no more for a while. */
static size_t send_until_stuck(struct pumping *p, const uint8_t *bytes, size_t len)
{
    size_t sent = 0;

    for (int idle = 0; idle < TURNS && sent < len; idle++) {
        ssize_t n = send(p->peer, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            idle = 0;
        }
        ends_run_until(&p->loop, ends_never, NULL, 1);
    }
    return sent;
}

static bool peer_has_all(void *arg)
{
    struct pumping *p = arg;
    ssize_t n = 1;

    while (n > 0 && p->received_len < BULK) {
        n = recv(p->peer, p->received + p->received_len, BULK - p->received_len, 0);
        p->received_len += n > 0 ? (size_t)n : 0;
    }
    p->received_end = n == 0;
    return p->received_end || p->received_len == BULK;
}

static bool peer_sees_end(void *arg)
{
    struct pumping *p = arg;
    char byte;
    ssize_t n = recv(p->peer, &byte, 1, 0);

    assert_true(n <= 0);
    return n == 0 || errno == ECONNRESET;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static bool all_received(void *arg)
{
    return ((struct pumping *)arg)->received_len == BULK;
}

struct sending {
    struct pumping *p;
    const uint8_t *bytes;
    size_t sent;
};

static bool all_sent_and_received(void *arg)
{
    struct sending *sending = arg;
    ssize_t n = send(sending->p->peer, sending->bytes + sending->sent,
                     BULK - sending->sent, MSG_NOSIGNAL);

    sending->sent += n > 0 ? (size_t)n : 0;
    return all_received(sending->p);
}

static void what_a_peer_sends_comes_in_whatever_is_held_back(void **state)
{
    struct pumping *p = *state;
    uint8_t *bytes = make_bulk(BULK);
    struct sending sending = {.p = p, .bytes = bytes};

    pump_begin(p, PEER_IN);
    p->keep_some = true;
    stream_reads(p);
    sending.sent = send_until_stuck(p, bytes, BULK / 2);
    p->keep_some = false;
    assert_true(ends_run_until(&p->loop, all_sent_and_received, &sending, WAIT_MS_MAX));
    assert_pattern(p, BULK);
    assert_int_equal(p->ends, 0);
    free(bytes);
}

static void a_peer_waits_while_libraft_does_not_read(void **state)
{
    struct pumping *p = *state;
    uint8_t *bytes = make_bulk(BULK);
    struct sending sending = {.p = p, .bytes = bytes};

    pump_begin(p, PEER_IN);
    set_small(p, SO_SNDBUF);
    sending.sent = send_until_stuck(p, bytes, BULK);
    assert_true(sending.sent < BULK);
    stream_reads(p);
    assert_true(ends_run_until(&p->loop, all_sent_and_received, &sending, WAIT_MS_MAX));
    assert_pattern(p, BULK);
    free(bytes);
}

/* libraft says more than the peer's socket takes; the pump is flushed @flushes times meanwhile. */
static void assert_bulk_goes_out(struct pumping *p, int flushes)
{
    uint8_t *bytes = make_bulk(BULK);
    uv_buf_t buf = uv_buf_init((char *)bytes, BULK);
    uv_write_t write = {.data = p};

    pump_begin(p, PEER_OUT);
    set_small(p, SO_RCVBUF);
    assert_int_equal(uv_write(&write, p->stream, &buf, 1, on_written), 0);
    for (int i = 0; i < flushes; i++) {
        peer_pump_flush(p->pump);
        ends_run_until(&p->loop, ends_never, NULL, 1);
    }
    ends_run_until(&p->loop, ends_never, NULL, TURNS);
    assert_true(ends_run_until(&p->loop, peer_has_all, p, WAIT_MS_MAX));
    assert_pattern(p, BULK);
    assert_true(p->written);
    free(bytes);
}

static void what_libraft_sends_goes_out_as_fast_as_the_peer_reads(void **state)
{
    assert_bulk_goes_out(*state, 0);
}

/* The order stays, and nothing is sent twice, while the socket is full. */
static void flushing_again_and_again_changes_no_byte(void **state)
{
    assert_bulk_goes_out(*state, TURNS);
}

static void stream_says(struct pumping *p, const uint8_t *bytes, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);

    assert_int_equal(uv_try_write(p->stream, &buf, 1), (int)len);
}

static void what_is_flushed_is_sent_without_a_turn_of_the_loop(void **state)
{
    struct pumping *p = *state;
    uint8_t *bytes = make_bulk(1000);

    pump_begin(p, PEER_OUT);
    ends_run_until(&p->loop, ends_never, NULL, 1);
    stream_says(p, bytes, 600);
    peer_pump_flush(p->pump);
    assert_int_equal(recv(p->peer, p->received, BULK, 0), 600);
    peer_pump_flush(p->pump); /* nothing was said: nothing happens */
    stream_says(p, bytes + 600, 400);
    peer_pump_flush(p->pump);
    assert_int_equal(recv(p->peer, p->received + 600, BULK, 0), 400);
    p->received_len = 1000;
    assert_pattern(p, 1000);
    assert_int_equal(p->ends, 0);
    free(bytes);
}

static void an_end_is_told_by_the_loop_and_not_by_a_flush(void **state)
{
    struct pumping *p = *state;

    pump_begin(p, PEER_OUT);
    ends_run_until(&p->loop, ends_never, NULL, 1);
    close_stream(p);
    peer_pump_flush(p->pump);
    assert_int_equal(p->ends, 0);
    assert_true(ends_run_until(&p->loop, is_closed, p, WAIT_MS_MAX));
    assert_int_equal(p->ends, 1);
    assert_int_equal(p->end, PEER_END_DROPPED);
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void assert_ended(struct pumping *p, enum peer_end end)
{
    assert_true(ends_run_until(&p->loop, is_closed, p, WAIT_MS_MAX));
    assert_int_equal(p->ends, 1);
    assert_int_equal(p->end, end);
}

static void a_peer_that_closes_ends_libraft_after_the_last_byte(void **state)
{
    struct pumping *p = *state;
    uint8_t *bytes = make_bulk(1000);

    pump_begin(p, PEER_IN);
    assert_int_equal(send(p->peer, bytes, 1000, MSG_NOSIGNAL), 1000);
    close_peer(p);
    stream_reads(p);
    assert_true(ends_run_until(&p->loop, saw_end, p, WAIT_MS_MAX));
    assert_pattern(p, 1000);
    assert_ended(p, PEER_END_LOST);
    assert_string_equal(p->reason, "closed by the other side");
    free(bytes);
}

static void a_peer_that_closes_is_noticed_where_libraft_only_writes(void **state)
{
    struct pumping *p = *state;

    pump_begin(p, PEER_OUT);
    close_peer(p);
    assert_ended(p, PEER_END_LOST);
    stream_reads(p);
    assert_true(ends_run_until(&p->loop, saw_end, p, WAIT_MS_MAX));
}

static void a_reset_is_an_end_as_well(void **state)
{
    struct pumping *p = *state;
    struct linger linger = {.l_onoff = 1};

    pump_begin(p, PEER_IN);
    assert_int_equal(setsockopt(p->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger),
                     0);
    close_peer(p);
    assert_ended(p, PEER_END_LOST);
}

static void libraft_that_closes_ends_the_peer(void **state)
{
    struct pumping *p = *state;

    pump_begin(p, PEER_IN);
    ends_run_until(&p->loop, ends_never, NULL, 1);
    close_stream(p);
    assert_true(ends_run_until(&p->loop, peer_sees_end, p, WAIT_MS_MAX));
    assert_ended(p, PEER_END_DROPPED);
}

static void libraft_that_closes_ends_the_peer_after_the_last_byte(void **state)
{
    struct pumping *p = *state;
    uint8_t *bytes = make_bulk(BULK / 40);
    uv_buf_t buf = uv_buf_init((char *)bytes, BULK / 40);

    pump_begin(p, PEER_OUT);
    assert_int_equal(uv_try_write(p->stream, &buf, 1), BULK / 40);
    close_stream(p);
    assert_true(ends_run_until(&p->loop, peer_has_all, p, WAIT_MS_MAX));
    assert_true(p->received_end);
    assert_pattern(p, BULK / 40);
    assert_ended(p, PEER_END_DROPPED);
    free(bytes);
}

static void what_is_refused_does_not_come_in_and_ends_both(void **state)
{
    struct pumping *p = *state;

    pump_begin(p, PEER_IN);
    p->refuse = "no";
    stream_reads(p);
    assert_int_equal(send(p->peer, "bytes", 5, MSG_NOSIGNAL), 5);
    assert_ended(p, PEER_END_REFUSED);
    assert_string_equal(p->reason, "no");
    assert_true(ends_run_until(&p->loop, saw_end, p, WAIT_MS_MAX));
    assert_int_equal(p->received_len, 0);
    assert_true(ends_run_until(&p->loop, peer_sees_end, p, WAIT_MS_MAX));
}

static void a_peer_that_speaks_where_it_listens_is_refused(void **state)
{
    struct pumping *p = *state;

    pump_begin(p, PEER_OUT);
    assert_int_equal(send(p->peer, "bytes", 5, MSG_NOSIGNAL), 5);
    assert_ended(p, PEER_END_REFUSED);
}

static void an_end_while_bytes_wait_loses_nothing_but_them(void **state)
{
    struct pumping *p = *state;
    uint8_t *bytes = make_bulk(BULK);

    pump_begin(p, PEER_IN);
    send_until_stuck(p, bytes, BULK);
    close_stream(p);
    assert_ended(p, PEER_END_DROPPED);
    free(bytes);
}

static unsigned count_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(directory);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* Either side, or the owner, ends it after a number of turns with something under way. */
static void it_can_be_closed_at_any_turn(void **state)
{
    struct pumping *p = *state;
    unsigned fds = count_fds();

    for (int round = 0; round < 90; round++) {
        p->closed = false;
        pump_begin(p, round % 2 == 0 ? PEER_IN : PEER_OUT);
        if (round % 2 == 0) {
            assert_int_equal(send(p->peer, "bytes", 5, MSG_NOSIGNAL), 5);
        }
        for (int turn = 0; turn < round / 9; turn++) {
            uv_run(&p->loop, UV_RUN_NOWAIT);
        }
        if (round % 3 == 0) {
            peer_pump_close(p->pump);
        } else if (round % 3 == 1) {
            close_peer(p);
        } else {
            close_stream(p);
        }
        assert_true(ends_run_until(&p->loop, is_closed, p, WAIT_MS_MAX));
        close_peer(p);
        close_stream(p);
        uv_run(&p->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(count_fds(), fds);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_peer_sends_comes_in_whatever_is_held_back),
        TEST(a_peer_waits_while_libraft_does_not_read),
        TEST(what_libraft_sends_goes_out_as_fast_as_the_peer_reads),
        TEST(what_is_flushed_is_sent_without_a_turn_of_the_loop),
        TEST(flushing_again_and_again_changes_no_byte),
        TEST(an_end_is_told_by_the_loop_and_not_by_a_flush),
        TEST(a_peer_that_closes_ends_libraft_after_the_last_byte),
        TEST(a_peer_that_closes_is_noticed_where_libraft_only_writes),
        TEST(a_reset_is_an_end_as_well),
        TEST(libraft_that_closes_ends_the_peer),
        TEST(libraft_that_closes_ends_the_peer_after_the_last_byte),
        TEST(what_is_refused_does_not_come_in_and_ends_both),
        TEST(a_peer_that_speaks_where_it_listens_is_refused),
        TEST(an_end_while_bytes_wait_loses_nothing_but_them),
        TEST(it_can_be_closed_at_any_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
