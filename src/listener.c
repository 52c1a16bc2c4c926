#include "listener.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "peer_address.h"

enum { BACKLOG = 1024 };

void listener_address_text(const struct sockaddr_storage *address,
                           char out[static LISTENER_ADDRESS_BYTES])
{
    char host[64] = "?";
    int port = 0;
    bool v6 = address->ss_family == AF_INET6;

    if (v6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        uv_ip6_name(in6, host, sizeof(host));
        port = ntohs(in6->sin6_port);
    } else if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        uv_ip4_name(in, host, sizeof(host));
        port = ntohs(in->sin_port);
    }
    snprintf(out, LISTENER_ADDRESS_BYTES, v6 ? "[%s]:%d" : "%s:%d", host, port);
}

/* ---- accept ---- */

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_resume(uv_timer_t *timer)
{
    struct listener *listener = timer->data;

    uv_poll_start(&listener->poll, UV_READABLE, on_readable);
}

static void pause_accepting(struct listener *listener, int error)
{
    uv_poll_stop(&listener->poll);
    uv_timer_start(&listener->resume, on_resume, LISTENER_PAUSE_MS, 0);
    listener->on_paused(listener->arg, error);
}

/* These concern the one connection that was to be accepted (accept(2), "Error
 * handling"). */
static bool is_of_connection(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < LISTENER_BURST; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        int fd = accept4(listener->fd, (struct sockaddr *)&peer, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->on_accept(listener->arg, fd, &peer);
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_of_connection(errno)) {
            pause_accepting(listener, errno);
            return;
        }
        if (uv_is_closing((uv_handle_t *)poll)) {
            return;
        }
    }
}

/* ---- open ---- */

static int fail(char *ret_error, const char *address, const char *what, int error)
{
    snprintf(ret_error, LISTENER_ERROR_BYTES, "listen on %.100s: %s", address, what);
    return error;
}

static int bind_to(const struct addrinfo *at)
{
    int one = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int listener_bind(const char *address, char ret_error[static LISTENER_ERROR_BYTES])
{
    struct peer_address parsed;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;

    if (peer_address_parse(address, &parsed) != 0) {
        return fail(ret_error, address, "not HOST:PORT", -EINVAL);
    }
    int rv = getaddrinfo(parsed.host, parsed.port, &hints, &found);
    if (rv != 0) {
        return fail(ret_error, address, gai_strerror(rv), -EADDRNOTAVAIL);
    }
    int fd = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = bind_to(at);
    }
    freeaddrinfo(found);
    return fd >= 0 ? fd : fail(ret_error, address, strerror(-fd), fd);
}

int listener_open(struct listener *listener, uv_loop_t *loop, int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof(bound);

    int rv = uv_poll_init(loop, &listener->poll, fd);
    if (rv != 0) {
        close(fd);
        return rv;
    }
    uv_timer_init(loop, &listener->resume);
    listener->fd = fd;
    listener->handles_open = 2;
    listener->poll.data = listener;
    listener->resume.data = listener;
    getsockname(fd, (struct sockaddr *)&bound, &len);
    listener_address_text(&bound, listener->address);
    rv = uv_poll_start(&listener->poll, UV_READABLE, on_readable);
    assert(rv == 0);
    return 0;
}

/* ---- close ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    if (--listener->handles_open == 0) {
        listener->on_closed(listener->arg);
    }
}

void listener_close(struct listener *listener)
{
    uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
    uv_close((uv_handle_t *)&listener->resume, on_handle_closed);
    close(listener->fd);
    listener->fd = -1;
}
