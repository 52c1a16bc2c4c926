/* socket_calls.c - the calls of libc on sockets, for programs that run in a process. */
#include "socket_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __real_bind(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len);
int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
int __real_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __real_getsockname(int fd, struct sockaddr *address, socklen_t *len);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *len);
int __real_getaddrinfo(const char *node,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_getaddrinfo(const char *node,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret);
void __real_freeaddrinfo(struct addrinfo *list);
void __wrap_freeaddrinfo(struct addrinfo *list);

static int fail(int error)
{
    errno = error;
    return -1;
}

static ssize_t count_or_fail(ssize_t rv)
{
    return rv >= 0 ? rv : fail((int)-rv);
}

static bool is_real(int fd)
{
    return fd < SIM_FD_FIRST;
}

/* ---- addresses ---- */

/* As much of the address as there is room for. */
static void
put_address(uint32_t host, uint16_t port, struct sockaddr *ret, socklen_t *len)
{
    struct sockaddr_in address = socket_address(host, port);

    if (ret != NULL) {
        memcpy(ret, &address, *len < sizeof(address) ? *len : sizeof(address));
        *len = sizeof(address);
    }
}

/* 0 or an errno. */
static int
take_address(const struct sockaddr *address, socklen_t len, struct sockaddr_in *ret)
{
    if (len < sizeof(*ret)) {
        return EINVAL;
    }
    memcpy(ret, address, sizeof(*ret));
    return ret->sin_family == AF_INET ? 0 : EAFNOSUPPORT;
}

/* False: there is no such host. */
static bool host_of(const struct sockaddr_in *address, uint32_t here, uint32_t *ret)
{
    if (ntohl(address->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) {
        *ret = here;
        return true;
    }
    uint32_t first = ntohl(socket_address(0, 0).sin_addr.s_addr);
    *ret = ntohl(address->sin_addr.s_addr) - first;
    return *ret < sim_net_hosts();
}

/* A list of one, in one piece of the process's memory. */
struct found {
    struct addrinfo info;
    struct sockaddr_in address;
};

/* An empty port is 0. Returns false if it is no number. */
static bool port_of(const char *service, uint16_t *ret)
{
    unsigned long port = 0;
    char *end;

    if (service != NULL) {
        port = strtoul(service, &end, 10);
        if (service[0] < '0' || service[0] > '9' || *end != '\0' || port > UINT16_MAX) {
            return false;
        }
    }
    *ret = (uint16_t)port;
    return true;
}

int __wrap_getaddrinfo(const char *node,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    static const struct addrinfo none;
    struct sockaddr_in address = {.sin_family = AF_INET};
    uint16_t port;

    if (sim_process_current() == NULL) {
        return __real_getaddrinfo(node, service, hints, ret);
    }
    hints = hints != NULL ? hints : &none;
    if (!port_of(service, &port)) {
        return EAI_SERVICE;
    }
    address.sin_port = htons(port);
    if (node == NULL) {
        address.sin_addr.s_addr =
            htonl((hints->ai_flags & AI_PASSIVE) != 0 ? INADDR_ANY : INADDR_LOOPBACK);
    } else if ((hints->ai_family != AF_UNSPEC && hints->ai_family != AF_INET) ||
               inet_pton(AF_INET, node, &address.sin_addr) != 1) {
        return EAI_NONAME;
    }
    struct found *found = calloc(1, sizeof(*found));
    if (found == NULL) {
        return EAI_MEMORY;
    }
    found->address = address;
    found->info = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_addrlen = sizeof(found->address),
                                    .ai_addr = (struct sockaddr *)&found->address};
    *ret = &found->info;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    if (sim_process_current() == NULL) {
        __real_freeaddrinfo(list);
    } else {
        free(list);
    }
}

/* ---- a socket's life ---- */

int __wrap_socket(int domain, int type, int protocol)
{
    if (sim_process_current() == NULL) {
        return __real_socket(domain, type, protocol);
    }
    if (domain != AF_INET || (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) {
        return fail(EAFNOSUPPORT);
    }
    return socket_new(SOCKET_NEW)->fd;
}

int __wrap_close(int fd)
{
    if (is_real(fd)) {
        return __real_close(fd);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL) {
        return fail(EBADF);
    }
    sim_socket_close(socket);
    return 0;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len)
{
    struct sockaddr_in at;
    uint32_t host;

    if (is_real(fd)) {
        return __real_bind(fd, address, len);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL) {
        return fail(EBADF);
    }
    int error = take_address(address, len, &at);
    if (error != 0 || socket->kind != SOCKET_NEW || socket->port != 0) {
        return fail(error != 0 ? error : EINVAL);
    }
    uint32_t here = socket->process->host;
    if (at.sin_addr.s_addr != htonl(INADDR_ANY) &&
        (!host_of(&at, here, &host) || host != here)) {
        return fail(EADDRNOTAVAIL);
    }
    socket->port = ntohs(at.sin_port) != 0 ? ntohs(at.sin_port) : tcp_free_port(here);
    return 0;
}

int __wrap_listen(int fd, int backlog)
{
    if (is_real(fd)) {
        return __real_listen(fd, backlog);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL || socket->kind != SOCKET_NEW) {
        return fail(socket == NULL ? EBADF : EINVAL);
    }
    uint32_t here = socket->process->host;
    if (socket->port == 0) {
        socket->port = tcp_free_port(here);
    }
    socket->listener =
        (struct tcp_listener){.host = here,
                              .port = socket->port,
                              .backlog = backlog > 0 ? (unsigned)backlog : 1,
                              .tell = socket_tell,
                              .owner = socket};
    int rv = tcp_listen(&socket->listener);
    if (rv != 0) {
        return fail(-rv);
    }
    socket->kind = SOCKET_LISTENER;
    return 0;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    if (is_real(fd)) {
        return __real_accept4(fd, address, len, flags);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL || socket->kind != SOCKET_LISTENER) {
        return fail(socket == NULL ? EBADF : EINVAL);
    }
    struct tcp_end *end = tcp_accept(&socket->listener);
    if (end == NULL) {
        return fail(EAGAIN);
    }
    struct sim_socket *accepted = socket_new(SOCKET_NEW);
    accepted->options = socket->options;
    accepted->port = socket->port;
    socket_own(accepted, end);
    put_address(end->peer->host, end->peer->port, address, len);
    return accepted->fd;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    struct sockaddr_in to;
    uint32_t host;

    if (is_real(fd)) {
        return __real_connect(fd, address, len);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL) {
        return fail(EBADF);
    }
    if (socket->kind != SOCKET_NEW) {
        return fail(sim_socket_state(socket) == SIM_CONNECTING ? EALREADY : EISCONN);
    }
    int error = take_address(address, len, &to);
    uint32_t here = socket->process->host;
    if (error != 0 || !host_of(&to, here, &host)) {
        return fail(error != 0 ? error : ENETUNREACH);
    }
    socket_own(socket, tcp_connect(here, host, ntohs(to.sin_port)));
    socket->port = socket->end->port;
    return fail(EINPROGRESS);
}

/* ---- bytes ---- */

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    if (is_real(fd)) {
        return __real_send(fd, data, len, flags);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    return socket != NULL ? count_or_fail(sim_socket_write(socket, data, len))
                          : fail(EBADF);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    if (is_real(fd)) {
        return __real_recv(fd, data, len, flags);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    return socket != NULL ? count_or_fail(sim_socket_read(socket, data, len))
                          : fail(EBADF);
}

/* ---- options ---- */

/* Where the option's value is kept, or NULL. */
static uint32_t *tcp_option(struct tcp_options *options, int name)
{
    switch (name) {
    case TCP_KEEPIDLE:
        return &options->idle_s;
    case TCP_KEEPINTVL:
        return &options->interval_s;
    case TCP_KEEPCNT:
        return &options->count;
    case TCP_USER_TIMEOUT:
        return &options->user_timeout_ms;
    default:
        return NULL;
    }
}

/* Those that make no difference here (TCP_NODELAY, SO_REUSEADDR) are taken and forgotten. */
static int set_option(struct tcp_options *options, int level, int name, int value)
{
    uint32_t *option = level == IPPROTO_TCP ? tcp_option(options, name) : NULL;

    if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
        options->keepalive = value != 0;
    } else if (option != NULL) {
        if (value < (name == TCP_USER_TIMEOUT ? 0 : 1)) {
            return EINVAL;
        }
        *option = (uint32_t)value;
    } else if ((level != IPPROTO_TCP || name != TCP_NODELAY) &&
               (level != SOL_SOCKET || name != SO_REUSEADDR)) {
        return ENOPROTOOPT;
    }
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int number;

    if (is_real(fd)) {
        return __real_setsockopt(fd, level, name, value, len);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL || len < sizeof(number)) {
        return fail(socket == NULL ? EBADF : EINVAL);
    }
    memcpy(&number, value, sizeof(number));
    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger linger = {0};
        memcpy(&linger, value, len < sizeof(linger) ? len : sizeof(linger));
        socket->reset_on_close = linger.l_onoff != 0 && linger.l_linger == 0;
        return 0;
    }
    int error = set_option(&socket->options, level, name, number);
    if (error != 0) {
        return fail(error);
    }
    if (socket->end != NULL) {
        tcp_set_options(socket->end, &socket->options);
    }
    return 0;
}

/* Only what became of connect(). */
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    if (is_real(fd)) {
        return __real_getsockopt(fd, level, name, value, len);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL || level != SOL_SOCKET || name != SO_ERROR || *len < sizeof(int)) {
        return fail(socket == NULL ? EBADF : ENOPROTOOPT);
    }
    int error = socket->end != NULL ? tcp_take_error(socket->end) : 0;
    memcpy(value, &error, sizeof(error));
    *len = sizeof(error);
    return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *len)
{
    if (is_real(fd)) {
        return __real_getsockname(fd, address, len);
    }
    struct sim_socket *socket = sim_socket_find(fd);
    if (socket == NULL) {
        return fail(EBADF);
    }
    put_address(socket->process->host, socket->port, address, len);
    return 0;
}
