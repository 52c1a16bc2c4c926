#include "peer_links.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"
#include "node.h"
#include "raft_io.h"
#include "socket.h"

enum { RETRY_MS = 100, BACKLOG = 128, KEEPALIVE_S = 1, KEEPALIVE_PROBES = 3 };

struct peer_link {
    struct peer_link *next;
    struct sim_peer_links *links;
    uv_poll_t poll;
    int fd;
    struct sim_socket *socket;
    unsigned peer; /* 0: has not said who it is */
    bool outbound, established;
    uint64_t begun_ms;
};

struct sim_peer_links {
    struct sim_node *node;
    uv_loop_t *loop;
    struct transport_config config;
    struct peer_link *list;
    bool reached[SIM_NODES_MAX + 1];
    uv_timer_t retry;
    uv_poll_t door;
    int door_fd;
    unsigned open; /* handles */
    bool closing;
    void (*on_closed)(void *arg);
    void *arg;
};

static void closed_one(struct sim_peer_links *links)
{
    if (--links->open == 0) {
        links->on_closed(links->arg);
    }
}

static void on_link_closed(uv_handle_t *handle)
{
    struct peer_link *link = handle->data;
    struct sim_peer_links *links = link->links;

    free(link);
    closed_one(links);
}

static void link_close(struct peer_link *link)
{
    struct peer_link **at = &link->links->list;

    while (*at != link) {
        at = &(*at)->next;
    }
    *at = link->next;
    uv_close((uv_handle_t *)&link->poll, on_link_closed);
    close(link->fd);
}

static void on_retry(uv_timer_t *timer);

static void retry_later(struct sim_peer_links *links)
{
    if (!uv_is_active((uv_handle_t *)&links->retry)) {
        uv_timer_start(&links->retry, on_retry, RETRY_MS, 0);
    }
}

/* What the server does about it comes last: it may end the process. */
static void link_ended(struct peer_link *link)
{
    const struct transport_config *config = &link->links->config;
    bool told = link->established;
    unsigned peer = link->peer;
    enum peer_direction direction = link->outbound ? PEER_OUT : PEER_IN;

    retry_later(link->links);
    link_close(link);
    if (told) {
        config->connection_ended(config->arg, peer, direction, PEER_END_LOST);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct peer_link *link = poll->data;
    uint8_t byte;

    (void)status;
    (void)events;
    ssize_t got = recv(link->fd, &byte, 1, 0);
    if (got <= 0) {
        link_ended(link);
        return;
    }
    link->peer = byte;
    link->established = true;
}

static struct peer_link *link_new(struct sim_peer_links *links, int fd)
{
    struct peer_link *link = memory_new(sizeof(*link));
    int on = 1, idle_s = KEEPALIVE_S, probes = KEEPALIVE_PROBES;
    unsigned user_timeout_ms = links->config.user_timeout_ms;

    link->links = links;
    link->fd = fd;
    link->socket = sim_socket_find(fd);
    link->begun_ms = uv_now(links->loop);
    link->next = links->list;
    links->list = link;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
               sizeof(user_timeout_ms));
    uv_poll_init(links->loop, &link->poll, fd);
    link->poll.data = link;
    links->open++;
    return link;
}

/* ---- out ---- */

static void on_dialled(uv_poll_t *poll, int status, int events)
{
    struct peer_link *link = poll->data;
    uint8_t number = (uint8_t)link->links->node->number;
    int error = 0;
    socklen_t len = sizeof(error);

    (void)status;
    (void)events;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0 ||
        send(link->fd, &number, 1, 0) != 1) {
        link_ended(link);
        return;
    }
    link->established = true;
    link->links->reached[link->peer] = true;
    uv_poll_start(poll, UV_READABLE, on_readable);
}

static void dial(struct sim_peer_links *links, unsigned number)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(SIM_PEER_PORT)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert(fd >= 0);
    inet_pton(AF_INET, sim_host_address(sim_node(number)->process.host), &to.sin_addr);
    (void)connect(fd, (const struct sockaddr *)&to, sizeof(to));
    struct peer_link *link = link_new(links, fd);
    link->peer = number;
    link->outbound = true;
    uv_poll_start(&link->poll, UV_WRITABLE, on_dialled);
}

static struct peer_link *link_to(const struct sim_peer_links *links, unsigned number)
{
    struct peer_link *link = links->list;

    while (link != NULL && !(link->outbound && link->peer == number)) {
        link = link->next;
    }
    return link;
}

static void on_retry(uv_timer_t *timer)
{
    struct sim_peer_links *links = timer->data;
    uint64_t now_ms = uv_now(links->loop);
    bool all = true;

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        struct peer_link *link = link_to(links, i);
        if (i == links->node->number || (link != NULL && link->established)) {
            continue;
        }
        all = false;
        if (link != NULL && now_ms - link->begun_ms >= links->config.connect_timeout_ms) {
            link_close(link);
            link = NULL;
        }
        if (link == NULL) {
            dial(links, i);
        }
    }
    if (!all) {
        retry_later(links);
    }
}

/* ---- in ---- */

static void on_door(uv_poll_t *poll, int status, int events)
{
    struct sim_peer_links *links = poll->data;
    int fd;

    (void)status;
    (void)events;
    while ((fd = accept4(links->door_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
           0) {
        struct peer_link *link = link_new(links, fd);
        uv_poll_start(&link->poll, UV_READABLE, on_readable);
    }
}

static void open_door(struct sim_peer_links *links)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(SIM_PEER_PORT)};

    links->door_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(links->door_fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(links->door_fd, BACKLOG) != 0) {
        abort();
    }
    uv_poll_init(links->loop, &links->door, links->door_fd);
    links->door.data = links;
    links->open++;
    uv_poll_start(&links->door, UV_READABLE, on_door);
}

/* ---- life ---- */

struct sim_peer_links *sim_peer_links_new(struct sim_node *node,
                                          uv_loop_t *loop,
                                          const struct transport_config *config)
{
    struct sim_peer_links *links = memory_new(sizeof(*links));

    links->node = node;
    links->loop = loop;
    links->config = *config;
    links->door_fd = -1;
    return links;
}

void sim_peer_links_start(struct sim_peer_links *links)
{
    uv_timer_init(links->loop, &links->retry);
    links->retry.data = links;
    links->open++;
    open_door(links);
    on_retry(&links->retry);
}

static void on_handle_closed(uv_handle_t *handle)
{
    closed_one(handle->data);
}

void sim_peer_links_close(struct sim_peer_links *links,
                          void (*on_closed)(void *arg),
                          void *arg)
{
    links->on_closed = on_closed;
    links->arg = arg;
    while (links->list != NULL) {
        link_close(links->list);
    }
    uv_close((uv_handle_t *)&links->door, on_handle_closed);
    close(links->door_fd);
    uv_close((uv_handle_t *)&links->retry, on_handle_closed);
}

void sim_peer_links_free(struct sim_peer_links *links)
{
    free(links);
}

bool sim_peer_links_knows_stranger(const struct sim_peer_links *links, uint64_t number)
{
    const char *address = NULL;

    return links->config.membership(links->config.arg, number, &address) ==
           TRANSPORT_STRANGER;
}

bool sim_peer_links_reached(const struct sim_peer_links *links, unsigned number)
{
    return links->reached[number];
}

/* Each connection is in the lists of both, or its other end is gone. */
void sim_peer_links_break(struct sim_node *one, struct sim_node *other)
{
    struct peer_link *next;

    if (one->links == NULL) {
        return;
    }
    for (struct peer_link *link = one->links->list; link != NULL; link = next) {
        next = link->next;
        if (link->peer == other->number) {
            sim_socket_break(link->socket);
        }
    }
}
