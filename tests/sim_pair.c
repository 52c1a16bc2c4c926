#include "sim_pair.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "event.h"
#include "socket.h"
#include "tcp.h"

struct sim_process a, b;
int listening, ca, cb;

static void no_turn(struct sim_process *process)
{
    (void)process;
}

static void start(struct sim_process *process, const char *name)
{
    *process = (struct sim_process){.turn = no_turn, .host = sim_net_add_host(name)};
    snprintf(process->name, sizeof(process->name), "%s", name);
    sim_process_start(process, 1);
}

void pair_new(uint64_t seed)
{
    sim_events_reset();
    sim_net_reset(seed);
    sim_sockets_reset();
    start(&a, "a");
    start(&b, "b");
}

int pair_setup(void **state)
{
    (void)state;
    pair_new(1);
    return 0;
}

static void heal(uint32_t from, uint32_t to)
{
    sim_net_set_weather(from, to, &(struct sim_weather){.delay_us = 100});
    sim_net_cut(from, to, false);
    sim_net_clog(from, to, false);
}

void healed(void)
{
    heal(a.host, b.host);
    heal(b.host, a.host);
}

/* The dead leave nothing behind. */
int pair_teardown(void **state)
{
    (void)state;
    healed();
    sim_process_kill(&a);
    sim_process_kill(&b);
    run(1000ULL * SECOND);
    assert_int_equal(tcp_connections(), 0);
    sim_net_on_decision = NULL;
    sim_sockets_reset();
    sim_net_reset(1);
    sim_events_reset();
    return 0;
}

void run(uint64_t us)
{
    sim_run_until(sim_now_us() + us);
}

void weather(struct sim_weather weather)
{
    sim_net_set_weather(a.host, b.host, &weather);
    sim_net_set_weather(b.host, a.host, &weather);
}

void decree(uint64_t number, enum sim_fate_kind kind, uint64_t extra_us)
{
    struct sim_fate fate = {.kind = kind, .extra_us = extra_us};

    sim_net_decree(a.host, b.host, number, &fate);
}

void cut(bool there, bool back, bool is_cut)
{
    if (there) {
        sim_net_cut(a.host, b.host, is_cut);
    }
    if (back) {
        sim_net_cut(b.host, a.host, is_cut);
    }
}

/* ---- calls inside a process ---- */

struct call {
    enum { LISTEN, ACCEPT, CONNECT, SEND, RECV, CLOSE, SET, ERROR } what;
    int fd, level, name, value;
    uint32_t host;
    const void *out;
    void *in;
    size_t len;
    int rv;
};

static int listen_here(uint32_t host)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int one = 1;

    inet_pton(AF_INET, sim_host_address(host), &at.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return listen(fd, 1024) == 0 ? fd : -1;
}

int connect_here(uint32_t host)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};

    inet_pton(AF_INET, sim_host_address(host), &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static void make(void *arg)
{
    struct call *call = arg;
    socklen_t len = sizeof(call->value);

    switch (call->what) {
    case LISTEN:
        call->rv = listen_here(call->host);
        break;
    case ACCEPT:
        call->rv = accept4(call->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        break;
    case CONNECT:
        call->rv = connect_here(call->host);
        break;
    case SEND:
        call->rv = (int)send(call->fd, call->out, call->len, MSG_NOSIGNAL);
        break;
    case RECV:
        call->rv = (int)recv(call->fd, call->in, call->len, 0);
        break;
    case CLOSE:
        call->rv = close(call->fd);
        break;
    case SET:
        call->rv = setsockopt(call->fd, call->level, call->name, &call->value, len);
        break;
    case ERROR:
        call->rv = getsockopt(call->fd, SOL_SOCKET, SO_ERROR, &call->value, &len);
        call->rv = call->rv != 0 ? call->rv : call->value;
        break;
    }
    if (call->rv < 0) {
        call->rv = -errno;
    }
}

static int in(struct sim_process *process, struct call call)
{
    assert_true(sim_process_enter(process, make, &call));
    return call.rv;
}

int listen_on(struct sim_process *process)
{
    return in(process, (struct call){LISTEN, .host = process->host});
}

int call_to(struct sim_process *process, uint32_t host)
{
    return in(process, (struct call){CONNECT, .host = host});
}

int accepted(void)
{
    return in(&b, (struct call){ACCEPT, .fd = listening});
}

int put_bytes(struct sim_process *process, int fd, const void *data, size_t len)
{
    return in(process, (struct call){SEND, .fd = fd, .out = data, .len = len});
}

int put_text(struct sim_process *process, int fd, const char *text)
{
    return put_bytes(process, fd, text, strlen(text));
}

int get_bytes(struct sim_process *process, int fd, void *data, size_t len)
{
    return in(process, (struct call){RECV, .fd = fd, .in = data, .len = len});
}

int shut(struct sim_process *process, int fd)
{
    return in(process, (struct call){CLOSE, .fd = fd});
}

int error_of(struct sim_process *process, int fd)
{
    return in(process, (struct call){ERROR, .fd = fd});
}

void set_option(struct sim_process *process, int fd, int level, int name, int value)
{
    struct call call = {SET, .fd = fd, .level = level, .name = name, .value = value};

    assert_int_equal(in(process, call), 0);
}

const char *got(struct sim_process *process, int fd)
{
    static char text[256];
    int n = get_bytes(process, fd, text, sizeof(text) - 1);

    if (n < 0) {
        return strerrorname_np(-n);
    }
    text[n] = '\0';
    return text;
}

void open_pair(void)
{
    listening = listen_on(&b);
    assert_return_code(listening, 0);
    ca = call_to(&a, b.host);
    run(SECOND);
    assert_int_equal(error_of(&a, ca), 0);
    cb = accepted();
    assert_return_code(cb, 0);
}
