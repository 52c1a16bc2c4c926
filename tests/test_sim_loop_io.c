/* What a simulated server reads and writes: streams and poll handles of libuv, on simulated sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "event.h"
#include "loop.h"
#include "net.h"
#include "process.h"
#include "sim_told.h"
#include "socket.h"

enum { MS = 1000, PORT = 7000, BIG = 1000000 };

/* ---- a server that is told what to do ---- */

static struct sim_process server;
static uv_loop_t loop;
static uv_poll_t door;
static uv_tcp_t tcp;
static uv_write_t writes[6];
static int door_fd;
static size_t buffer_bytes; /* to read into */
static char buffer[65536];
static uint8_t big[BIG];

static void on_closed(uv_handle_t *handle)
{
    tell("%s-closed", handle == (uv_handle_t *)&tcp ? "tcp" : "door");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle;
    assert_int_equal(suggested, 65536);
    *ret = uv_buf_init(buffer, (unsigned)buffer_bytes);
}

/* An `s` in what was said stops it, a `c` closes it. */
static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    if (got > 0) {
        tell("%.*s", (int)got, buf->base);
        if (memchr(buf->base, 's', (size_t)got) != NULL) {
            uv_read_stop(stream);
        }
        if (memchr(buf->base, 'c', (size_t)got) != NULL) {
            uv_close((uv_handle_t *)stream, on_closed);
        }
    } else if (got == 0) {
        tell("again");
    } else {
        tell("%s", uv_err_name((int)got));
    }
}

static void on_caller(uv_poll_t *poll, int status, int events)
{
    assert_true(poll == &door && status == 0 && events == UV_READABLE);
    int fd = accept4(door_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(uv_tcp_init(&loop, &tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&tcp, on_alloc, on_read), UV_ENOTCONN);
    assert_int_equal(uv_tcp_open(&tcp, fd), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&tcp, on_alloc, on_read), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&tcp, on_alloc, on_read), UV_EALREADY);
}

static void open_door(void *arg)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};

    (void)arg;
    sim_loop_init(&server, &loop);
    inet_pton(AF_INET, sim_host_address(server.host), &address.sin_addr);
    door_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(door_fd >= SIM_FD_FIRST);
    assert_int_equal(bind(door_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(door_fd, 10), 0);
    assert_int_equal(uv_poll_init(&loop, &door, 3), UV_EBADF);
    assert_int_equal(uv_poll_init(&loop, &door, door_fd), 0);
    assert_int_equal(uv_poll_start(&door, UV_READABLE, on_caller), 0);
    assert_true(uv_is_active((uv_handle_t *)&door));
}

static void on_end(struct sim_process *process, int status)
{
    tell("%s-ended:%d", process->name, status);
}

/* ---- a caller, who does as told ---- */

static struct sim_process caller;
static struct sim_socket *sock;

static void call_door(void *arg)
{
    (void)arg;
    sock = sim_socket_connect(server.host, PORT);
    assert_non_null(sock);
}

static void say(void *arg)
{
    const char *text = arg;

    assert_int_equal(sim_socket_write(sock, text, strlen(text)), strlen(text));
}

static void hang_up(void *arg)
{
    (void)arg;
    sim_socket_close(sock);
}

static void reset(void *arg)
{
    (void)arg;
    sim_socket_reset(sock);
}

static void last_words(void *arg)
{
    say(arg);
    reset(NULL);
}

/* As much as there is of the big thing, up to what @arg points to, which is what is left then. */
static void take(void *arg)
{
    static uint8_t taken[BIG];
    size_t *left = arg;
    ssize_t got = 1;

    while (*left != 0 && got > 0) {
        got = sim_socket_read(sock, taken, *left);
        if (got > 0) {
            assert_memory_equal(taken, big + (BIG - *left), (size_t)got);
            *left -= (size_t)got;
        } else {
            assert_int_equal(got, -EAGAIN);
        }
    }
}

static void pass(uint64_t us)
{
    assert_true(sim_run_until(sim_now_us() + us));
}

static void in_server(void (*call)(void *arg), void *arg)
{
    assert_true(sim_process_enter(&server, call, arg));
}

static void in_caller(void (*call)(void *arg), const char *text)
{
    char copy[64] = "";

    if (text != NULL) {
        snprintf(copy, sizeof(copy), "%s", text);
    }
    assert_true(sim_process_enter(&caller, call, copy));
    pass(MS);
}

static int begin(void **state)
{
    (void)state;
    sim_events_reset();
    sim_net_reset(1);
    sim_sockets_reset();
    told[0] = '\0';
    buffer_bytes = 10;
    for (size_t i = 0; i < BIG; i++) {
        big[i] = (uint8_t)(i * 7 + i / 256);
    }
    server = (struct sim_process){
        .name = "server", .on_end = on_end, .host = sim_net_add_host("server")};
    caller = (struct sim_process){.name = "caller", .host = sim_net_add_host("caller")};
    sim_process_start(&server, 1);
    sim_process_start(&caller, 2);
    in_server(open_door, NULL);
    in_caller(call_door, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sim_process_kill(&server);
    sim_process_kill(&caller);
    return 0;
}

/* ---- reading ---- */

static void what_is_said_is_read(void **state)
{
    (void)state;
    in_caller(say, "hello");
    assert_told("hello");
    assert_int_equal(sim_loop_handles(&server), 2);
    in_caller(say, "0123456789abdefghij!"); /* fills the buffer twice */
    in_caller(say, "x");
    assert_told("0123456789 abdefghij! again x");
    in_caller(hang_up, NULL);
    assert_told("EOF");
    assert_false(uv_is_active((uv_handle_t *)&tcp));
}

static void read_on(void *arg)
{
    (void)arg;
    tell("on");
    assert_int_equal(uv_read_start((uv_stream_t *)&tcp, on_alloc, on_read), 0);
}

static void what_was_not_read_is_read_later(void **state)
{
    (void)state;
    in_caller(say, "a-stop!!!!bcd");
    assert_told("a-stop!!!!");
    uint64_t events = sim_events_count();
    pass(10 * MS);
    assert_int_equal(sim_events_count(), events); /* it sleeps */
    in_server(read_on, NULL);
    pass(0);
    assert_told("on bcd tcp-closed");
}

static void a_handle_can_be_closed_while_it_reads(void **state)
{
    (void)state;
    in_caller(say, "close");
    assert_told("close tcp-closed");
    assert_int_equal(sim_loop_handles(&server), 1);
}

static void see_turn(struct sim_process *process)
{
    (void)process;
    tell("|");
}

static void a_long_speech_is_read_over_many_turns(void **state)
{
    char text[41] = "";

    (void)state;
    memset(text, '.', 40);
    buffer_bytes = 1;
    server.on_turned = see_turn;
    in_caller(say, text);
    assert_told(". . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . | "
                ". . . . . . . . again |");
}

static void a_reset_is_an_error(void **state)
{
    (void)state;
    in_caller(reset, NULL);
    assert_told("ECONNRESET");
    assert_false(uv_is_active((uv_handle_t *)&tcp));
}

static void the_last_words_before_a_reset_are_heard_or_not(void **state)
{
    (void)state;
    in_caller(last_words, "bye");
    assert_true(strcmp(told, "bye EOF") == 0 || strcmp(told, "bye ECONNRESET") == 0 ||
                strcmp(told, "ECONNRESET") == 0);
    assert_false(uv_is_active((uv_handle_t *)&tcp));
}

/* ---- writing ---- */

static void on_written(uv_write_t *write, int status)
{
    tell("w%d:%s", (int)(write - writes), status == 0 ? "ok" : uv_err_name(status));
}

static void write_small(void *arg)
{
    uv_buf_t bufs[8];

    (void)arg;
    for (unsigned i = 0; i < 8; i++) {
        bufs[i] = uv_buf_init((char *)big + i * 10L, 10);
    }
    assert_int_equal(uv_try_write((uv_stream_t *)&tcp, bufs, 2), 20);
    assert_int_equal(uv_write(&writes[0], (uv_stream_t *)&tcp, bufs + 2, 1, on_written),
                     0);
    assert_int_equal(uv_write(&writes[1], (uv_stream_t *)&tcp, bufs + 3, 5, on_written),
                     0);
    assert_int_equal(uv_stream_get_write_queue_size((uv_stream_t *)&tcp), 0);
    tell("written");
}

static void what_is_written_is_told_later(void **state)
{
    size_t left = BIG;

    (void)state;
    in_server(write_small, NULL);
    assert_told("written");
    pass(0);
    assert_told("w0:ok w1:ok");
    pass(MS);
    assert_true(sim_process_enter(&caller, take, &left));
    assert_int_equal(left, BIG - 80);
}

/* In four pieces, of which the first is taken at once. */
static void write_big(void *arg)
{
    uv_buf_t all = uv_buf_init((char *)big, BIG);
    int written = uv_try_write((uv_stream_t *)&tcp, &all, 1);

    (void)arg;
    assert_true(written > 0 && written < BIG);
    for (int i = 0; i < 3; i++) {
        int rest = BIG - written;
        uv_buf_t piece =
            uv_buf_init((char *)big + written, (unsigned)(i < 2 ? rest / 2 : rest));
        written += (int)piece.len;
        assert_int_equal(uv_write(&writes[i], (uv_stream_t *)&tcp, &piece, 1, on_written),
                         0);
    }
    assert_int_equal(written, BIG);
    assert_int_equal(uv_try_write((uv_stream_t *)&tcp, &all, 1), UV_EAGAIN);
    assert_true(uv_stream_get_write_queue_size((uv_stream_t *)&tcp) > BIG / 4);
}

static void what_does_not_fit_waits_for_the_reader(void **state)
{
    size_t left = BIG;

    (void)state;
    in_server(write_big, NULL);
    pass(100 * MS);
    assert_told("");
    for (int i = 0; i < 1000 && left != 0; i++) {
        assert_true(sim_process_enter(&caller, take, &left));
        pass(MS);
    }
    assert_int_equal(left, 0);
    assert_told("w0:ok w1:ok w2:ok");
    assert_int_equal(uv_stream_get_write_queue_size((uv_stream_t *)&tcp), 0);
    uint64_t events = sim_events_count();
    pass(0);
    assert_int_equal(sim_events_count(), events);
    in_caller(say, "more");
    assert_told("more");
}

static void close_tcp(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&tcp, on_closed);
    assert_int_equal(uv_write(&writes[5], (uv_stream_t *)&tcp, NULL, 0, on_written),
                     UV_EBADF);
    assert_told("");
}

static void what_is_not_written_is_cancelled(void **state)
{
    (void)state;
    in_server(write_big, NULL);
    in_server(close_tcp, NULL);
    pass(0);
    assert_told("w0:ECANCELED w1:ECANCELED w2:ECANCELED tcp-closed");
    assert_int_equal(sim_loop_handles(&server), 1);
}

static void writing_to_who_is_gone_fails(void **state)
{
    (void)state;
    in_server(write_big, NULL);
    pass(MS);
    assert_told("");
    in_caller(reset, NULL);
    assert_told("ECONNRESET w0:EPIPE w1:EPIPE w2:EPIPE");
    in_server(close_tcp, NULL);
    pass(0);
    assert_told("tcp-closed");
}

/* ---- poll handles, and the end ---- */

static void stop_door(void *arg)
{
    (void)arg;
    assert_int_equal(uv_poll_stop(&door), 0);
    assert_false(uv_is_active((uv_handle_t *)&door));
}

static void start_door(void *arg)
{
    (void)arg;
    assert_int_equal(uv_poll_start(&door, UV_READABLE, on_caller), 0);
}

static void close_both(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&tcp, on_closed);
    uv_close((uv_handle_t *)&door, on_closed);
    close(door_fd);
}

static void a_stopped_door_lets_nobody_in(void **state)
{
    (void)state;
    in_server(close_tcp, NULL);
    in_server(stop_door, NULL);
    in_caller(call_door, NULL);
    in_caller(say, "hi");
    assert_told("tcp-closed");
    in_server(start_door, NULL);
    pass(MS);
    assert_told("hi");
    in_server(close_both, NULL);
    pass(MS);
    assert_told("door-closed tcp-closed");
    assert_int_equal(sim_loop_handles(&server), 0);
    assert_int_equal(sim_process_heap_bytes(&server), 0);
}

static void a_paused_server_reads_when_it_goes_on(void **state)
{
    (void)state;
    sim_process_pause(&server);
    in_caller(say, "a");
    in_caller(say, "b");
    assert_told("");
    sim_process_resume(&server);
    pass(0);
    assert_told("ab");
}

static void a_killed_server_is_gone(void **state)
{
    (void)state;
    in_server(write_big, NULL);
    sim_process_kill(&server);
    assert_told("server-ended:-1");
    pass(MS);
    assert_true(sim_socket_state(sock) != SIM_CONNECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_said_is_read, begin, end),
        cmocka_unit_test_setup_teardown(what_was_not_read_is_read_later, begin, end),
        cmocka_unit_test_setup_teardown(a_handle_can_be_closed_while_it_reads, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_long_speech_is_read_over_many_turns, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_reset_is_an_error, begin, end),
        cmocka_unit_test_setup_teardown(the_last_words_before_a_reset_are_heard_or_not,
                                        begin, end),
        cmocka_unit_test_setup_teardown(what_is_written_is_told_later, begin, end),
        cmocka_unit_test_setup_teardown(what_does_not_fit_waits_for_the_reader, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_is_not_written_is_cancelled, begin, end),
        cmocka_unit_test_setup_teardown(writing_to_who_is_gone_fails, begin, end),
        cmocka_unit_test_setup_teardown(a_stopped_door_lets_nobody_in, begin, end),
        cmocka_unit_test_setup_teardown(a_paused_server_reads_when_it_goes_on, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_killed_server_is_gone, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
