/* The load of run-peer for floor.c: one thread, epoll, a connection for each client, as in
 * peer_client.c. Mode "echo": no batch, no disk. */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "floor.h"

struct cl {
    int fd;
    uint8_t kind;   /* of the request */
    size_t missing; /* bytes of its answer */
    int64_t t_req;  /* of the lock */
};
static struct cl *clients;
static uint8_t how; /* bits of every kind */

static void check(const char *what, int ok)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void ask(struct cl *c, uint8_t lock)
{
    uint8_t frame[FLOOR_FRAME_BYTES_MAX] = {lock | how};
    ssize_t len = floor_request_bytes(lock);
    c->kind = lock | how;
    c->missing = floor_answer_bytes(lock);
    if (lock)
        c->t_req = now_ns();
    check("send", send(c->fd, frame, len, 0) == len);
}

static void take(struct cl *c)
{
    char in[65536];
    ssize_t n = recv(c->fd, in, sizeof in, 0);
    check("recv", n > 0 && (size_t)n <= c->missing);
    c->missing -= n;
    if (c->missing > 0)
        return;
    int64_t now = now_ns();
    if (c->kind & FLOOR_LOCK) {
        bench_grant(c - clients, c->t_req, now);
        ask(c, 0);
    } else {
        bench_cycle(c - clients, c->t_req, now);
        ask(c, FLOOR_LOCK);
    }
}

static void open_all(int ep)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    to.sin_port = htons(atoi(strchr(B.endpoints, ':') + 1));
    clients = calloc(B.clients, sizeof *clients);
    for (int i = 0; i < B.clients; i++) {
        struct cl *c = &clients[i];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        check("connect", connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    }
}

int main(int argc, char **argv)
{
    int ep = epoll_create1(0);
    bench_args(argc, argv);
    how =
        (is_op("contend") ? FLOOR_QUEUE : 0) | (strcmp(B.mode, "echo") ? 0 : FLOOR_ECHO);
    open_all(ep);
    bench_begin();
    for (int i = 0; i < B.clients; i++)
        ask(&clients[i], FLOOR_LOCK);
    while (B.phase != PH_DONE) {
        struct epoll_event ev[256];
        int n = epoll_wait(ep, ev, 256, 1);
        for (int i = 0; i < n; i++)
            take(ev[i].data.ptr);
        bench_tick(now_ns(), NULL);
    }
    bench_print();
    return 0;
}
