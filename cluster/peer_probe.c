#include "peer_probe.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

/* When to try, counted from the start; then how long the last ones are listened to. */
static const unsigned try_at_ms[] = {1, 3, 8, 20, 50, 100, 200};
enum { TRIES = sizeof try_at_ms / sizeof try_at_ms[0], LISTEN_MS = 200 };

struct probe_try {
    struct probe_try *next;
    struct peer_probe *probe;
    uv_poll_t poll;
    int fd;
};

static void probe_closed_one(struct peer_probe *probe)
{
    assert(probe->open > 0);
    probe->open--;
    if (probe->open == 0) {
        probe->on_closed(probe->arg);
    }
}

static void on_try_closed(uv_handle_t *handle)
{
    struct probe_try *try = handle->data;
    struct peer_probe *probe = try->probe;

    free(try);
    probe_closed_one(probe);
}

static void drop_tries(struct peer_probe *probe)
{
    while (probe->tries != NULL) {
        struct probe_try *try = probe->tries;
        probe->tries = try->next;
        uv_close((uv_handle_t *)&try->poll, on_try_closed);
        close(try->fd);
    }
}

static void refused(struct peer_probe *probe)
{
    peer_probe_stop(probe);
    probe->on_refused(probe->arg);
}

/* Connected, or failed. Only a refusal means something; all others are forgotten at the end. */
static void on_answer(uv_poll_t *poll, int status, int events)
{
    struct probe_try *try = poll->data;
    int error = 0;
    socklen_t len = sizeof error;

    (void)status;
    (void)events;
    uv_poll_stop(poll);
    if (getsockopt(try->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
        error == ECONNREFUSED) {
        refused(try->probe);
    }
}

static void listen_to(struct peer_probe *probe, int fd)
{
    struct probe_try *try = memory_new(sizeof *try);

    try->probe = probe;
    try->fd = fd;
    if (uv_poll_init(probe->loop, &try->poll, fd) != 0) {
        close(fd);
        free(try);
        return;
    }
    probe->open++;
    try->poll.data = try;
    try->next = probe->tries;
    probe->tries = try;
    uv_poll_start(&try->poll, UV_WRITABLE, on_answer);
}

static socklen_t address_len(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

static void try_once(struct peer_probe *probe)
{
    const struct sockaddr *address = (const struct sockaddr *)&probe->address;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return;
    }
    if (connect(fd, address, address_len(address)) == 0 || errno == EINPROGRESS) {
        listen_to(probe, fd);
        return;
    }
    bool is_refusal = errno == ECONNREFUSED;
    close(fd);
    if (is_refusal) {
        refused(probe);
    }
}

static void on_time(uv_timer_t *timer)
{
    struct peer_probe *probe = timer->data;

    if (probe->begun == TRIES) {
        drop_tries(probe);
        return;
    }
    unsigned at_ms = try_at_ms[probe->begun++];
    unsigned wait_ms = probe->begun < TRIES ? try_at_ms[probe->begun] - at_ms : LISTEN_MS;
    uv_timer_start(timer, on_time, wait_ms, 0);
    try_once(probe); /* may stop the timer */
}

void peer_probe_init(struct peer_probe *probe,
                     uv_loop_t *loop,
                     void (*on_refused)(void *arg),
                     void *arg)
{
    *probe = (struct peer_probe){
        .loop = loop, .on_refused = on_refused, .arg = arg, .open = 1};
    int error = uv_timer_init(loop, &probe->timer);
    assert(error == 0);
    (void)error;
    probe->timer.data = probe;
}

void peer_probe_start(struct peer_probe *probe, const struct sockaddr *address)
{
    if (probe->closing) {
        return;
    }
    /* What the other one answers must not be taken for this one's. */
    if (memcmp(&probe->address, address, address_len(address)) != 0) {
        peer_probe_stop(probe);
        memcpy(&probe->address, address, address_len(address));
    }
    if (!uv_is_active((uv_handle_t *)&probe->timer)) {
        probe->begun = 0;
        uv_timer_start(&probe->timer, on_time, try_at_ms[0], 0);
    }
}

void peer_probe_stop(struct peer_probe *probe)
{
    uv_timer_stop(&probe->timer);
    drop_tries(probe);
}

static void on_timer_closed(uv_handle_t *handle)
{
    probe_closed_one(handle->data);
}

void peer_probe_close(struct peer_probe *probe, void (*on_closed)(void *arg))
{
    peer_probe_stop(probe);
    probe->closing = true;
    probe->on_closed = on_closed;
    uv_close((uv_handle_t *)&probe->timer, on_timer_closed);
}
