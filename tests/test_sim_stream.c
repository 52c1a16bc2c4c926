/* Bytes between simulated hosts: they arrive once and in order whatever happens on the way, or the
 * connection ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "event.h"
#include "random.h"
#include "sim_pair.h"
#include "socket.h"

enum { BIG = 1 << 20 };

/* ---- loss ---- */

static void test_sent_again(void **state)
{
    (void)state;
    open_pair();
    decree(3, SIM_FATE_LOST, 0); /* after SYN and ACK */
    decree(5, SIM_FATE_LOST, 0); /* the first one again */
    put_text(&a, ca, "one ");
    put_text(&a, ca, "two");
    run(100);
    assert_string_equal(got(&b, cb), "EAGAIN");
    run(200 * MS + 400 * MS - 1);
    assert_string_equal(got(&b, cb), "EAGAIN");
    run(1);
    assert_string_equal(got(&b, cb), "one two");
    run(SECOND);
    assert_string_equal(got(&b, cb), "EAGAIN");
}

static void test_twice_and_late(void **state)
{
    (void)state;
    open_pair();
    decree(3, SIM_FATE_TWICE, 1000);
    decree(4, SIM_FATE_LATE, 500);
    put_text(&a, ca, "one ");
    put_text(&a, ca, "two ");
    put_text(&a, ca, "three");
    run(200);
    assert_string_equal(got(&b, cb), "one ");
    run(SECOND);
    assert_string_equal(got(&b, cb), "two three");
}

static void test_cut_and_healed(void **state)
{
    (void)state;
    open_pair();
    put_text(&a, ca, "one ");
    run(50);
    cut(true, true, true);
    put_text(&a, ca, "two ");
    put_text(&b, cb, "back");
    run(30 * SECOND);
    assert_string_equal(got(&b, cb), "EAGAIN");
    put_text(&a, ca, "three");
    cut(true, true, false);
    run(10 * SECOND);
    assert_string_equal(got(&b, cb), "one two three");
    assert_string_equal(got(&a, ca), "back");
}

/* One way only: what is sent arrives, but its sender does not know. */
static void test_way_back_is_cut(void **state)
{
    (void)state;
    open_pair();
    set_option(&a, ca, IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
    cut(false, true, true);
    put_text(&a, ca, "one");
    run(6 * SECOND);
    assert_string_equal(got(&b, cb), "one");
    cut(false, true, false);
    run(20 * SECOND);
    assert_int_equal(put_text(&a, ca, "two"), 3);
    run(SECOND);
    assert_string_equal(got(&b, cb), "two");
    cut(false, true, true);
    put_text(&a, ca, "three");
    run(10 * SECOND - 1);
    assert_string_equal(got(&a, ca), "EAGAIN");
    run(1);
    assert_string_equal(got(&a, ca), "ETIMEDOUT");
    assert_string_equal(got(&b, cb), "three");
}

static void test_user_timeout(void **state)
{
    (void)state;
    open_pair();
    set_option(&a, ca, IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
    run(3 * SECOND);
    cut(true, false, true);
    put_text(&a, ca, "x");
    run(10 * SECOND - 1);
    assert_int_equal(error_of(&a, ca), 0);
    run(1);
    assert_int_equal(error_of(&a, ca), ETIMEDOUT);
    cut(true, false, false);
    put_text(&b, cb, "x");
    run(SECOND);
    assert_string_equal(got(&b, cb), "ECONNRESET");
}

static void keep_alive(struct sim_process *process, int fd)
{
    set_option(process, fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(process, fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
    set_option(process, fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set_option(process, fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

static void test_keepalive(void **state)
{
    (void)state;
    open_pair();
    put_text(&a, ca, "x");
    run(100);
    keep_alive(&b, cb);
    run(100 * SECOND);
    assert_string_equal(got(&b, cb), "x");
    assert_string_equal(got(&b, cb), "EAGAIN");
    put_text(&b, cb, "heard"); /* from now on 5 s */
    run(SECOND);
    cut(true, false, true);
    run(10 * SECOND - 1);
    assert_string_equal(got(&b, cb), "EAGAIN");
    run(101); /* it was heard of one way later */
    assert_string_equal(got(&b, cb), "ETIMEDOUT");
}

/* With a user timeout it is that which counts, at the next probe. */
static void test_keepalive_with_user_timeout(void **state)
{
    (void)state;
    open_pair();
    keep_alive(&b, cb);
    set_option(&b, cb, IPPROTO_TCP, TCP_USER_TIMEOUT, 8000);
    put_text(&b, cb, "x");
    run(SECOND);
    cut(true, true, true);
    run(8 * SECOND - 1);
    assert_string_equal(got(&b, cb), "EAGAIN");
    run(101);
    assert_string_equal(got(&b, cb), "ETIMEDOUT");
}

static void test_keepalive_survives(void **state)
{
    (void)state;
    open_pair();
    keep_alive(&b, cb);
    cut(true, true, true);
    run(8 * SECOND);
    cut(true, true, false);
    run(100 * SECOND);
    assert_int_equal(put_text(&b, cb, "x"), 1);
    run(SECOND);
    assert_string_equal(got(&a, ca), "x");
}

/* ---- full ---- */

static uint8_t big[BIG], read_back[BIG];

static size_t fill(void)
{
    size_t sent = 0;
    int n;

    while ((n = put_bytes(&a, ca, big, 50000)) > 0) {
        sent += (size_t)n;
        run(SECOND);
    }
    assert_int_equal(n, -EAGAIN);
    return sent;
}

static void test_back_pressure(void **state)
{
    (void)state;
    open_pair();
    size_t sent = fill();
    assert_in_range(sent, SIM_SOCKET_BUFFER_BYTES + 1, 2 * SIM_SOCKET_BUFFER_BYTES);
    run(100 * SECOND);
    assert_int_equal(put_text(&a, ca, "x"), -EAGAIN);
    size_t received = 0;
    while (received < sent) {
        int n = get_bytes(&b, cb, read_back, BIG);
        assert_true(n > 0);
        received += (size_t)n;
        run(SECOND);
    }
    assert_int_equal(received, sent);
    assert_int_equal(put_text(&a, ca, "x"), 1);
}

static void test_full_for_too_long(void **state)
{
    (void)state;
    open_pair();
    set_option(&a, ca, IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
    fill();
    run(20 * SECOND);
    assert_int_equal(put_text(&a, ca, "x"), -ETIMEDOUT);
}

/* ---- anything ---- */

struct way {
    struct sim_process *from, *to;
    int out, in;
    uint64_t sent, received;
};

static uint8_t byte_at(uint64_t position)
{
    return (uint8_t)(sim_mix1(position >> 3) >> (8 * (position & 7)));
}

static void send_some(struct sim_random *random, struct way *way)
{
    uint64_t most = sim_random_chance(random, 50000) ? 200000 : 300;
    size_t len = (size_t)sim_random_between(random, 1, most);

    for (size_t i = 0; i < len; i++) {
        big[i] = byte_at(way->sent + i);
    }
    int n = put_bytes(way->from, way->out, big, len);
    assert_true(n > 0 || n == -EAGAIN);
    way->sent += n > 0 ? (uint64_t)n : 0;
}

static int receive_some(struct way *way, size_t len)
{
    int n = get_bytes(way->to, way->in, read_back, len);

    for (int i = 0; i < n; i++) {
        assert_int_equal(read_back[i], byte_at(way->received++));
    }
    return n;
}

static void any_weather(struct sim_random *random, uint32_t from, uint32_t to)
{
    struct sim_weather some = {
        .delay_us = (uint32_t)sim_random_below(random, 5000),
        .jitter_us = (uint32_t)sim_random_below(random, 5000),
        .loss_ppm = (uint32_t)sim_random_below(random, 300000),
        .duplicate_ppm = (uint32_t)sim_random_below(random, 300000),
        .reorder_ppm = (uint32_t)sim_random_below(random, 300000),
        .reorder_us = (uint32_t)sim_random_below(random, 500000),
        .bytes_per_ms = sim_random_chance(random, 300000) ? 1000 : 0,
    };

    switch (sim_random_below(random, 4)) {
    case 0:
        sim_net_set_weather(from, to, &some);
        break;
    case 1:
        sim_net_cut(from, to, sim_random_chance(random, 500000));
        break;
    case 2:
        sim_net_clog(from, to, sim_random_chance(random, 500000));
        break;
    default:
        break;
    }
}

/* Everything arrives once, in order, whatever happens on the way. */
static uint64_t arrives(uint64_t seed)
{
    struct sim_random random = {seed};

    pair_new(seed);
    open_pair();
    struct way ways[2] = {{&a, &b, ca, cb, 0, 0}, {&b, &a, cb, ca, 0, 0}};
    for (int i = 0; i < 2000; i++) {
        struct way *way = &ways[sim_random_below(&random, 2)];
        if (sim_random_chance(&random, 20000)) {
            any_weather(&random, way->from->host, way->to->host);
        }
        if (sim_random_chance(&random, 500000)) {
            send_some(&random, way);
        } else {
            receive_some(way, (size_t)sim_random_between(&random, 1, 20000));
        }
        run(sim_random_below(&random,
                             sim_random_chance(&random, 10000) ? SECOND : 2 * MS));
    }
    healed();
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 1000 && ways[i].received < ways[i].sent; j++) {
            if (receive_some(&ways[i], BIG) <= 0) {
                run(SECOND);
            }
        }
        assert_true(ways[i].received == ways[i].sent);
    }
    assert_string_equal(got(&a, ca), "EAGAIN");
    assert_string_equal(got(&b, cb), "EAGAIN");
    shut(&a, ca);
    run(SECOND);
    assert_string_equal(got(&b, cb), "");
    uint64_t hash = sim_trace_hash();
    pair_teardown(NULL);
    return hash;
}

static void test_everything_arrives(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        arrives(seed);
    }
    assert_true(arrives(7) == arrives(7));
    pair_setup(state);
}

/* Whatever is opened, closed, reset and killed at any time: no end outlives its use, and what is read
 * is what was written. */
static void lives(uint64_t seed)
{
    enum { ENDS_MAX = 16 };
    struct sim_random random = {seed};
    int fds[2][ENDS_MAX];
    int counts[2] = {0, 0};
    struct sim_process *processes[2] = {&a, &b};

    pair_new(seed);
    listening = listen_on(&b);
    for (int i = 0; i < 2000; i++) {
        unsigned who = (unsigned)sim_random_below(&random, 2);
        struct sim_process *process = processes[who];
        unsigned what = (unsigned)sim_random_below(&random, 12);
        if (what == 0) {
            any_weather(&random, process->host, processes[1 - who]->host);
        } else if (what <= 2 && counts[who] < ENDS_MAX) {
            int fd = who == 0 ? call_to(&a, b.host) : accepted();
            if (fd >= 0) {
                fds[who][counts[who]++] = fd;
            }
        } else if (what == 3 && sim_random_chance(&random, 20000)) {
            sim_process_kill(process);
            counts[who] = 0;
            sim_process_start(process, seed);
            if (process == &b) {
                listening = listen_on(&b);
            }
        } else if (counts[who] > 0) {
            int at = (int)sim_random_below(&random, (uint64_t)counts[who]);
            int fd = fds[who][at];
            if (what == 4) {
                shut(process, fd);
                fds[who][at] = fds[who][--counts[who]];
            } else if (what < 8) {
                put_bytes(process, fd, big, 1000);
            } else {
                get_bytes(process, fd, read_back, 5000);
            }
        }
        run(sim_random_below(&random,
                             sim_random_chance(&random, 10000) ? 20 * SECOND : MS));
    }
    pair_teardown(NULL);
}

static void test_lives(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        lives(seed);
    }
    pair_setup(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_sent_again),
        TEST(test_twice_and_late),
        TEST(test_cut_and_healed),
        TEST(test_way_back_is_cut),
        TEST(test_user_timeout),
        TEST(test_keepalive),
        TEST(test_keepalive_with_user_timeout),
        TEST(test_keepalive_survives),
        TEST(test_back_pressure),
        TEST(test_full_for_too_long),
        TEST(test_everything_arrives),
        TEST(test_lives),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
