/* The load of run-peer for netlock: one thread, epoll, asynchronous clients of libnetlock. bench.h, of the
 * peers, takes the options, keeps the times and prints them. Mode "shared": 64 clients on a connection. */
#include "bench.h"

#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "netlock.h"

enum { SHARED = 64, HOLDS_PER_CLIENT = 8000, HOLD_AT_ONCE = 64, TTL_MS = 30000 };

struct connection {
    struct netlock *nl;
    int64_t wake;
    bool connected, on_leader;
};
struct cl {
    struct connection *connection;
    int id;
    int64_t t_req;
    char name[32];
};
static struct connection *connections;
static struct cl *clients;
static int connections_count, connected, ep, asked, held;

static void on_locked(void *arg, int rv, const struct netlock_grant *grant);

static void check(const char *what, int rv)
{
    if (rv == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, netlock_strerror(rv));
    exit(1);
}

static void on_notice(void *arg, const struct netlock_notice *notice)
{
    struct connection *c = arg;
    if (notice->event == NETLOCK_DISCONNECTED)
        c->on_leader = false;
    if (notice->event != NETLOCK_CONNECTED)
        return;
    connected += !c->connected;
    c->connected = true;
    c->on_leader = B.leader && !strcmp(notice->server, B.leader);
}

static void process(struct connection *c)
{
    check("process", netlock_process(c->nl));
    int ms = netlock_timeout_ms(c->nl);
    c->wake = ms < 0 ? INT64_MAX : now_ns() + ms * INT64_C(1000000);
}

/* ---- cycles ---- */

static void ask(struct cl *c)
{
    struct netlock_lock_options how = {.lock_timeout_ms = TTL_MS};
    c->t_req = now_ns();
    check("lock", netlock_lock_async(c->connection->nl, c->name, &how, on_locked, c));
}

static void on_unlocked(void *arg, int rv, const struct netlock_grant *grant)
{
    struct cl *c = arg;
    (void)grant;
    if (rv != 0)
        bench_error();
    else
        bench_cycle(c->id, c->t_req, now_ns());
    if (B.phase != PH_DONE)
        ask(c);
}

static void on_locked(void *arg, int rv, const struct netlock_grant *grant)
{
    struct cl *c = arg;
    (void)grant;
    if (rv != 0) {
        bench_error();
        if (B.phase != PH_DONE)
            ask(c);
        return;
    }
    bench_grant(c->id, c->t_req, now_ns());
    check("unlock", netlock_unlock_async(c->connection->nl, c->name, 0, on_unlocked, c));
}

static void at_kill(void)
{
    for (int i = 0; i < B.clients; i++)
        B.talked[i] = clients[i].connection->on_leader;
}

/* ---- locks to hold ---- */

static void take(struct connection *c);

static void on_taken(void *arg, int rv, const struct netlock_grant *grant)
{
    (void)grant;
    check("hold", rv);
    held++;
    take(arg);
}

static void take(struct connection *c)
{
    struct netlock_lock_options how = {.lock_timeout_ms = 3600000};
    char name[32];
    if (asked == B.count)
        return;
    if (asked / HOLDS_PER_CLIENT != c - connections)
        c = &connections[asked / HOLDS_PER_CLIENT];
    snprintf(name, sizeof name, "lock-%06d", asked++);
    check("lock", netlock_lock_async(c->nl, name, &how, on_taken, c));
    c->wake = 0;
}

/* ---- the loop ---- */

static void turn(void)
{
    static int64_t scanned;
    struct epoll_event ev[256];
    int n = epoll_wait(ep, ev, 256, 1);
    for (int i = 0; i < n; i++)
        process(ev[i].data.ptr);
    int64_t now = now_ns();
    if (now - scanned < 1000000)
        return;
    scanned = now;
    for (int i = 0; i < connections_count; i++)
        if (connections[i].wake <= now)
            process(&connections[i]);
}

static void open_all(void)
{
    struct rlimit files = {0, 0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    ep = epoll_create1(0);
    connections = calloc(connections_count, sizeof *connections);
    for (int i = 0; i < connections_count; i++) {
        struct connection *c = &connections[i];
        struct netlock_options o = {.servers = B.endpoints,
                                    .flags = NETLOCK_MANUAL,
                                    .on_notice = on_notice,
                                    .arg = c};
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        check("open", netlock_open(&c->nl, &o));
        epoll_ctl(ep, EPOLL_CTL_ADD, netlock_fd(c->nl), &ev);
    }
    while (connected < connections_count)
        turn();
}

static int hold(void)
{
    connections_count = (B.count + HOLDS_PER_CLIENT - 1) / HOLDS_PER_CLIENT;
    open_all();
    int64_t begun = now_ns();
    for (int i = 0; i < HOLD_AT_ONCE; i++)
        take(&connections[0]);
    while (held < B.count)
        turn();
    bench_held(held, (now_ns() - begun) / 1e9);
    return 0;
}

int main(int argc, char **argv)
{
    bench_args(argc, argv);
    if (is_op("hold"))
        return hold();
    int share = strcmp(B.mode, "shared") ? 1 : SHARED;
    connections_count = (B.clients + share - 1) / share;
    open_all();
    clients = calloc(B.clients, sizeof *clients);
    bench_begin();
    for (int i = 0; i < B.clients; i++) {
        struct cl *c = &clients[i];
        c->id = i;
        c->connection = &connections[i / share];
        snprintf(c->name, sizeof c->name, "bench-%06d", is_op("contend") ? 0 : i);
        ask(c);
        c->connection->wake = 0;
    }
    while (B.phase != PH_DONE) {
        turn();
        bench_tick(now_ns(), at_kill);
    }
    bench_print();
    return 0;
}
