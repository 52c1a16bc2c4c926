/* Simulated sockets: how connections begin and end, and the calls that programs make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "event.h"
#include "sim_pair.h"
#include "socket.h"

/* ---- connecting ---- */

static void test_connect(void **state)
{
    (void)state;
    listening = listen_on(&b);
    ca = call_to(&a, b.host);
    assert_string_equal(got(&a, ca), "EAGAIN");
    assert_int_equal(put_text(&a, ca, "x"), -EAGAIN);
    assert_int_equal(accepted(), -EAGAIN);
    run(199);
    assert_int_equal(put_text(&a, ca, "x"), -EAGAIN);
    run(1); /* one way and back */
    assert_int_equal(put_text(&a, ca, "hello"), 5);
    assert_int_equal(accepted(), -EAGAIN);
    run(100);
    cb = accepted();
    assert_string_equal(got(&b, cb), "hello");
    assert_string_equal(got(&b, cb), "EAGAIN");
    assert_int_equal(put_text(&b, cb, "welcome"), 7);
    run(100);
    assert_string_equal(got(&a, ca), "welcome");
    assert_int_equal(listen_on(&b), -EADDRINUSE);
}

static void test_refused(void **state)
{
    (void)state;
    ca = call_to(&a, b.host);
    run(200);
    assert_int_equal(error_of(&a, ca), ECONNREFUSED);
    assert_int_equal(error_of(&a, ca), 0);
    assert_string_equal(got(&a, ca), "");
    assert_int_equal(put_text(&a, ca, "x"), -EPIPE);
}

static void test_refused_by_the_dead(void **state)
{
    (void)state;
    listening = listen_on(&b);
    sim_process_kill(&b);
    ca = call_to(&a, b.host);
    run(SECOND);
    assert_int_equal(error_of(&a, ca), ECONNREFUSED);
    sim_process_start(&b, 2);
    assert_return_code(listen_on(&b), 0);
}

static void test_connect_again(void **state)
{
    (void)state;
    listening = listen_on(&b);
    cut(true, false, true);
    ca = call_to(&a, b.host);
    run(2 * SECOND);
    cut(true, false, false);
    run(SECOND + 199);
    assert_int_equal(put_text(&a, ca, "x"), -EAGAIN);
    run(1);
    assert_int_equal(put_text(&a, ca, "x"), 1);
}

static void test_connect_in_vain(void **state)
{
    (void)state;
    listening = listen_on(&b);
    cut(false, true, true);
    ca = call_to(&a, b.host);
    run(15 * SECOND - 1);
    assert_int_equal(error_of(&a, ca), 0);
    run(1);
    assert_int_equal(error_of(&a, ca), ETIMEDOUT);
    assert_int_equal(accepted(), -EAGAIN); /* nobody has ever heard the answer */
    cut(false, true, false);
    run(100 * SECOND);
    assert_int_equal(accepted(), -EAGAIN);
}

/* The third packet of the handshake is lost, and nobody says anything: the answer is sent again. */
static void test_handshake_lost(void **state)
{
    (void)state;
    listening = listen_on(&b);
    decree(2, SIM_FATE_LOST, 0);
    ca = call_to(&a, b.host);
    run(SECOND);
    assert_int_equal(put_text(&a, ca, ""), 0);
    assert_int_equal(accepted(), -EAGAIN);
    run(SECOND);
    assert_return_code(accepted(), 0);
}

/* A stopped process: its kernel answers for it. */
static void test_paused_listener(void **state)
{
    (void)state;
    listening = listen_on(&b);
    sim_process_pause(&b);
    ca = call_to(&a, b.host);
    run(SECOND);
    assert_int_equal(put_text(&a, ca, "are you there?"), 14);
    run(100 * SECOND);
    sim_process_resume(&b);
    assert_string_equal(got(&b, accepted()), "are you there?");
}

/* ---- closing ---- */

static void test_fin(void **state)
{
    (void)state;
    open_pair();
    put_text(&a, ca, "last words");
    shut(&a, ca);
    run(100);
    assert_int_equal(put_text(&b, cb, "what?"), 5);
    assert_string_equal(got(&b, cb), "last words");
    assert_string_equal(got(&b, cb), "");
    run(SECOND); /* nobody is there */
    assert_int_equal(put_text(&b, cb, "hello?"), -EPIPE);
    assert_string_equal(got(&b, cb), "");
}

static void test_close_unread(void **state)
{
    (void)state;
    open_pair();
    put_text(&a, ca, "never read");
    put_text(&b, cb, "read before the end");
    run(SECOND);
    shut(&b, cb);
    run(SECOND);
    assert_string_equal(got(&a, ca), "read before the end");
    assert_string_equal(got(&a, ca), "ECONNRESET");
    assert_string_equal(got(&a, ca), "");
    assert_int_equal(put_text(&a, ca, "x"), -EPIPE);
}

/* What was sent before a reset arrives before it. */
static void test_reset_behind_bytes(void **state)
{
    (void)state;
    open_pair();
    put_text(&b, cb, "unread");
    run(SECOND);
    put_text(&a, ca, "unlock");
    sim_process_kill(&a);
    run(SECOND);
    assert_string_equal(got(&b, cb), "unlock");
    assert_string_equal(got(&b, cb), "ECONNRESET");
}

static void test_killed(void **state)
{
    (void)state;
    open_pair();
    put_text(&a, ca, "bye");
    sim_process_kill(&a);
    run(SECOND);
    assert_string_equal(got(&b, cb), "bye");
    assert_string_equal(got(&b, cb), "");
}

/* Killed with connections that nobody had accepted. */
static void test_killed_listener(void **state)
{
    (void)state;
    listening = listen_on(&b);
    ca = call_to(&a, b.host);
    run(SECOND);
    sim_process_kill(&b);
    run(SECOND);
    assert_string_equal(got(&a, ca), "ECONNRESET");
}

static void test_killed_behind_a_cut(void **state)
{
    (void)state;
    open_pair();
    cut(true, true, true);
    sim_process_kill(&a);
    run(30 * SECOND);
    assert_string_equal(got(&b, cb), "EAGAIN");
    cut(true, true, false);
    run(10 * SECOND); /* it is still trying */
    assert_string_equal(got(&b, cb), "");
}

static void test_killed_behind_a_long_cut(void **state)
{
    (void)state;
    open_pair();
    cut(true, true, true);
    sim_process_kill(&a);
    run(61 * SECOND);
    cut(true, true, false);
    run(100 * SECOND);
    assert_string_equal(got(&b, cb), "EAGAIN"); /* half open */
    assert_int_equal(put_text(&b, cb, "x"), 1);
    run(200);
    assert_int_equal(put_text(&b, cb, "x"), -ECONNRESET);
}

/* ---- hostile ---- */

static void hostile(void *arg)
{
    struct sim_socket **socket = arg;

    if (*socket == NULL) {
        *socket = sim_socket_connect(b.host, PORT);
        assert_int_equal(sim_socket_state(*socket), SIM_CONNECTING);
        return;
    }
    assert_int_equal(sim_socket_state(*socket), SIM_CONNECTED);
    sim_socket_write(*socket, "1", 1);
    sim_socket_hold(*socket, true);
    sim_socket_write(*socket, "2", 1);
}

static void let_go(void *arg)
{
    sim_socket_hold(arg, false);
    sim_socket_write(arg, "3", 1);
    sim_socket_hold(arg, true);
    sim_socket_write(arg, "4", 1);
}

static void close_held(void *arg)
{
    sim_socket_close(arg);
}

static void reset_now(void *arg)
{
    sim_socket_reset(arg);
}

static struct sim_socket *hostile_pair(void)
{
    struct sim_socket *socket = NULL;

    listening = listen_on(&b);
    sim_process_enter(&a, hostile, &socket);
    run(SECOND);
    sim_process_enter(&a, hostile, &socket);
    run(100 * SECOND);
    cb = accepted();
    assert_string_equal(got(&b, cb), "1");
    return socket;
}

static void test_hold(void **state)
{
    (void)state;
    struct sim_socket *socket = hostile_pair();
    sim_process_enter(&a, let_go, socket);
    run(SECOND);
    assert_string_equal(got(&b, cb), "23");
    sim_process_enter(&a, close_held, socket);
    run(SECOND);
    assert_string_equal(got(&b, cb), "4");
    assert_string_equal(got(&b, cb), "");
}

static void test_reset(void **state)
{
    (void)state;
    struct sim_socket *socket = hostile_pair();
    sim_process_enter(&a, reset_now, socket);
    run(SECOND);
    assert_string_equal(got(&b, cb), "ECONNRESET");
}

/* ---- epoll ---- */

static int changes;

static void on_change(void *arg)
{
    (void)arg;
    assert_null(sim_process_current());
    changes++;
}

static void epoll_begin(void *arg)
{
    int *set = arg;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data = {.fd = 7}};

    *set = epoll_create1(EPOLL_CLOEXEC);
    sim_epoll_watch(*set, on_change, NULL);
    ca = connect_here(b.host);
    assert_int_equal(epoll_ctl(*set, EPOLL_CTL_MOD, ca, &event), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(epoll_ctl(*set, EPOLL_CTL_ADD, ca, &event), 0);
    assert_int_equal(epoll_ctl(*set, EPOLL_CTL_ADD, ca, &event), -1);
    assert_int_equal(errno, EEXIST);
    assert_false(sim_epoll_ready(*set));
    assert_int_equal(epoll_wait(*set, &event, 1, 0), 0);
}

static void epoll_connected(void *arg)
{
    struct epoll_event event;
    int set = *(int *)arg;

    assert_int_equal(epoll_wait(set, &event, 1, 0), 1);
    assert_true(event.events == EPOLLOUT && event.data.fd == 7);
    event.events = EPOLLIN;
    assert_int_equal(epoll_ctl(set, EPOLL_CTL_MOD, ca, &event), 0);
    assert_false(sim_epoll_ready(set));
}

static void epoll_readable(void *arg)
{
    struct pollfd fd = {.fd = *(int *)arg, .events = POLLIN | POLLOUT};
    struct epoll_event event;

    assert_int_equal(poll(&fd, 1, -1), 1);
    assert_int_equal(fd.revents, POLLIN);
    assert_int_equal(epoll_wait(fd.fd, &event, 1, -1), 1);
    assert_true(event.events == EPOLLIN && event.data.fd == 7);
    close(ca);
    assert_int_equal(poll(&fd, 1, 0), 0);
}

static void test_epoll(void **state)
{
    int set;

    (void)state;
    listening = listen_on(&b);
    changes = 0;
    sim_process_enter(&a, epoll_begin, &set);
    run(SECOND);
    assert_int_equal(changes, 1);
    sim_process_enter(&a, epoll_connected, &set);
    put_text(&b, accepted(), "x");
    run(SECOND);
    assert_int_equal(changes, 2);
    sim_process_enter(&a, epoll_readable, &set);
}

/* ---- addresses ---- */

static void addresses(void *arg)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list;
    struct sockaddr_in at;

    (void)arg;
    assert_int_equal(getaddrinfo("10.0.0.3", "7670", &hints, &list), 0);
    assert_null(list->ai_next);
    assert_int_equal(list->ai_addrlen, sizeof(at));
    memcpy(&at, list->ai_addr, sizeof(at));
    assert_true(at.sin_family == AF_INET && at.sin_port == htons(7670) &&
                at.sin_addr.s_addr == htonl(0x0a000003));
    freeaddrinfo(list);
    assert_int_equal(getaddrinfo("localhost", "7670", &hints, &list), EAI_NONAME);
    assert_int_equal(getaddrinfo("10.0.0.3", "http", &hints, &list), EAI_SERVICE);
    assert_int_equal(close(SIM_FD_FIRST + 99), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(sim_process_heap_bytes(sim_process_current()), 0);
}

static void names(void *arg)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);

    assert_int_equal(getsockname(listening, (struct sockaddr *)&at, &len), 0);
    assert_true(len == sizeof(at) && at.sin_port == htons(PORT) &&
                at.sin_addr.s_addr == htonl(0x0a000002));
    *(int *)arg = accept4(listening, (struct sockaddr *)&at, &len, SOCK_NONBLOCK);
    assert_true(at.sin_addr.s_addr == htonl(0x0a000001) && ntohs(at.sin_port) >= 32768);
}

static void test_addresses(void **state)
{
    (void)state;
    sim_process_enter(&a, addresses, NULL);
    listening = listen_on(&b);
    ca = call_to(&a, b.host);
    run(SECOND);
    sim_process_enter(&b, names, &cb);
    assert_return_code(cb, 0);
    /* It is not the other process's. */
    assert_int_equal(shut(&a, cb), -EBADF);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_connect),
        TEST(test_refused),
        TEST(test_refused_by_the_dead),
        TEST(test_connect_again),
        TEST(test_connect_in_vain),
        TEST(test_handshake_lost),
        TEST(test_paused_listener),
        TEST(test_fin),
        TEST(test_close_unread),
        TEST(test_reset_behind_bytes),
        TEST(test_killed),
        TEST(test_killed_listener),
        TEST(test_killed_behind_a_cut),
        TEST(test_killed_behind_a_long_cut),
        TEST(test_hold),
        TEST(test_reset),
        TEST(test_epoll),
        TEST(test_addresses),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
