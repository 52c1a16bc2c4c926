#include "socket_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>

enum { NETWORK = 0x0a000000 /* 10.0.0.0 */, ADDRESS_BYTES = 16 };

/* All descriptors of all processes. One that was closed is the next to be given out. */
static struct {
    struct sim_socket **sockets;
    int *next_free; /* of a free one; in front of it stands first_free */
    int count, capacity;
    int first_free; /* -1: none */
} table = {.first_free = -1};

/* ---- descriptors ---- */

static void table_grow(void)
{
    int capacity = table.capacity != 0 ? 2 * table.capacity : 64;

    table.sockets =
        sim_realloc(table.sockets, (size_t)capacity * sizeof(table.sockets[0]));
    table.next_free =
        sim_realloc(table.next_free, (size_t)capacity * sizeof(table.next_free[0]));
    table.capacity = capacity;
}

static int table_add(struct sim_socket *socket)
{
    int at = table.first_free;

    if (at >= 0) {
        table.first_free = table.next_free[at];
    } else {
        if (table.count == table.capacity) {
            table_grow();
        }
        at = table.count++;
    }
    table.sockets[at] = socket;
    return SIM_FD_FIRST + at;
}

static void table_remove(int fd)
{
    int at = fd - SIM_FD_FIRST;

    table.sockets[at] = NULL;
    table.next_free[at] = table.first_free;
    table.first_free = at;
}

struct sim_socket *sim_socket_find(int fd)
{
    int at = fd - SIM_FD_FIRST;

    if (at < 0 || at >= table.count || table.sockets[at] == NULL ||
        table.sockets[at]->process != sim_process_current()) {
        return NULL;
    }
    return table.sockets[at];
}

struct sim_socket *socket_new(enum socket_kind kind)
{
    struct sim_socket *socket = sim_alloc(sizeof(*socket));

    assert(sim_process_current() != NULL);
    socket->kind = kind;
    socket->process = sim_process_current();
    /* Linux's, in seconds. */
    socket->options = (struct tcp_options){.idle_s = 7200, .interval_s = 75, .count = 9};
    socket->fd = table_add(socket);
    return socket;
}

void socket_own(struct sim_socket *socket, struct tcp_end *end)
{
    socket->kind = SOCKET_STREAM;
    socket->end = end;
    end->tell = socket_tell;
    end->owner = socket;
    tcp_set_options(end, &socket->options);
}

static void release(struct sim_socket *socket)
{
    epoll_forget(socket);
    table_remove(socket->fd);
    sim_free(socket);
}

void sim_socket_close(struct sim_socket *socket)
{
    switch (socket->kind) {
    case SOCKET_NEW:
        break;
    case SOCKET_STREAM:
        if (socket->reset_on_close) {
            tcp_reset(socket->end);
        } else {
            tcp_close(socket->end);
        }
        break;
    case SOCKET_LISTENER:
        tcp_unlisten(&socket->listener);
        break;
    case SOCKET_EPOLL:
        epoll_close(socket);
        break;
    }
    release(socket);
}

void sim_socket_reset(struct sim_socket *socket)
{
    assert(socket->kind == SOCKET_STREAM);
    tcp_reset(socket->end);
    release(socket);
}

void sim_socket_break(struct sim_socket *socket)
{
    assert(socket->kind == SOCKET_STREAM);
    struct tcp_end *end = socket->end, *peer = end->peer;

    if (peer->state == END_OPEN) {
        tcp_break(peer, ECONNRESET);
    }
    if (end->state == END_OPEN) {
        tcp_break(end, ECONNRESET);
    }
}

/* Lowest descriptor first, as a kernel does it. */
void sim_sockets_end(struct sim_process *process)
{
    for (int at = 0; at < table.count; at++) {
        if (table.sockets[at] != NULL && table.sockets[at]->process == process) {
            sim_socket_close(table.sockets[at]);
        }
    }
}

void sim_sockets_reset(void)
{
    tcp_forget_all();
    for (int at = 0; at < table.count; at++) {
        struct sim_socket *socket = table.sockets[at];
        if (socket != NULL) {
            epoll_forget(socket);
            if (socket->kind == SOCKET_EPOLL) {
                epoll_close(socket);
            }
            sim_free(socket);
        }
    }
    sim_free(table.sockets);
    sim_free(table.next_free);
    table.sockets = NULL;
    table.next_free = NULL;
    table.count = table.capacity = 0;
    table.first_free = -1;
}

/* ---- addresses ---- */

const char *sim_host_address(uint32_t host)
{
    static char texts[SIM_HOSTS_MAX][ADDRESS_BYTES];

    assert(host < SIM_HOSTS_MAX);
    (void)snprintf(texts[host], ADDRESS_BYTES, "10.0.0.%u", (unsigned)host + 1);
    return texts[host];
}

struct sockaddr_in socket_address(uint32_t host, uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {.s_addr = htonl((uint32_t)NETWORK + host + 1)},
    };
}

/* ---- watching ---- */

void socket_tell(void *arg, uint32_t events)
{
    struct sim_socket *socket = arg;

    if (socket->on_change != NULL) {
        socket->on_change(socket->arg);
    }
    if (socket->items != NULL) {
        epoll_tell(socket, events);
    }
}

void sim_socket_watch(struct sim_socket *socket, void (*on_change)(void *arg), void *arg)
{
    socket->on_change = on_change;
    socket->arg = arg;
}

uint32_t socket_events(const struct sim_socket *socket)
{
    switch (socket->kind) {
    case SOCKET_STREAM:
        return tcp_events(socket->end);
    case SOCKET_LISTENER:
        return socket->listener.waiting != NULL ? EPOLLIN | EPOLLRDNORM : 0;
    case SOCKET_NEW:
        return EPOLLOUT | EPOLLHUP;
    case SOCKET_EPOLL:
        break;
    }
    return sim_epoll_ready(socket->fd) ? EPOLLIN | EPOLLRDNORM : 0;
}

bool sim_socket_readable(const struct sim_socket *socket)
{
    return (socket_events(socket) & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
}

bool sim_socket_writable(const struct sim_socket *socket)
{
    return (socket_events(socket) & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0;
}

/* ---- bytes ---- */

ssize_t sim_socket_read(struct sim_socket *socket, void *data, size_t len)
{
    return socket->kind == SOCKET_STREAM ? tcp_receive(socket->end, data, len)
                                         : -ENOTCONN;
}

ssize_t sim_socket_write(struct sim_socket *socket, const void *data, size_t len)
{
    return socket->kind == SOCKET_STREAM ? tcp_send(socket->end, data, len) : -EPIPE;
}

/* ---- hostile clients ---- */

struct sim_socket *sim_socket_connect(uint32_t host, uint16_t port)
{
    struct sim_socket *socket = socket_new(SOCKET_NEW);

    socket_own(socket, tcp_connect(socket->process->host, host, port));
    return socket;
}

enum sim_socket_state sim_socket_state(const struct sim_socket *socket)
{
    const struct tcp_end *end = socket->end;

    if (end == NULL || end->state == END_CONNECTING) {
        return SIM_CONNECTING;
    }
    if (end->broken) {
        return SIM_BROKEN;
    }
    return end->at_end ? SIM_ENDED : SIM_CONNECTED;
}

void sim_socket_hold(struct sim_socket *socket, bool hold)
{
    tcp_hold(socket->end, hold);
}
