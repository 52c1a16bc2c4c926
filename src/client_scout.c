#include "client_scout.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "client_engine.h"

enum {
    LATE_MS = 200, /* an answer after it is late */
    INTERVAL_MIN_MS = 8,
    INTERVAL_MAX_MS = 1000, /* a node that begins to serve says so by itself */
    REST_MIN_MS = 500,
    REST_MAX_MS = 30000,
};

void client_scouts_init(struct netlock *nl)
{
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        client_conn_init(&nl->scouts.scouts[i].conn);
}

void client_scouts_release(struct netlock *nl)
{
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        client_conn_release(&nl->scouts.scouts[i].conn);
}

/* ---- one of them ------------------------------------------------------------------------ */

static void come_back(struct netlock *nl, struct scout *scout)
{
    if (scout->conn.fd >= 0)
        (void)epoll_ctl(nl->epoll_fd, EPOLL_CTL_DEL, scout->conn.fd, NULL);
    client_conn_close(&scout->conn);
    scout->state = SCOUT_AWAY;
}

static void watch(struct netlock *nl, struct scout *scout, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.fd = scout->conn.fd}};

    if (epoll_ctl(nl->epoll_fd, how, scout->conn.fd, &event) != 0)
        come_back(nl, scout);
}

static void go_out(struct netlock *nl, struct scout *scout)
{
    size_t count = scout->server.addresses_count;
    const struct client_address *address;

    scout->conn.tls_context = nl->tls;
    if (count == 0)
        return;
    address = &scout->server.addresses[scout->failures % count];
    if (client_conn_open(&scout->conn, (const struct sockaddr *)&address->storage,
                         address->len, scout->server.host) != 0) {
        scout->failures++;
        return;
    }
    scout->state = SCOUT_CONNECTING;
    watch(nl, scout, EPOLL_CTL_ADD, EPOLLOUT);
}

/* A Hello that does not leave at once means that the server does not read: it will not answer. */
static void ask(struct netlock *nl, struct scout *scout)
{
    if (session_put_hello(nl, &scout->conn) != 0 || client_conn_flush(&scout->conn) != 0)
        come_back(nl, scout);
    else
        scout->state = SCOUT_ASKED;
}

/* Whether the session has a connection to that server anyway. */
static bool is_known(const struct netlock *nl, const struct client_server *server)
{
    return nl->session.state != SESSION_DOWN &&
           client_server_same(&nl->session.server, server);
}

/* The others go first: a server has room for so many connections only. */
static void
found(struct netlock *nl, struct scout *scout, const struct wire_response *hello)
{
    scout->state = SCOUT_AWAY;
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        if (&nl->scouts.scouts[i] != scout)
            come_back(nl, &nl->scouts.scouts[i]);
    nl->scouts.ask_at_ms = nl->now_ms + client_jitter(nl, INTERVAL_MAX_MS);
    session_adopt(nl, &scout->conn, &scout->server, hello);
}

static void listen_to(struct netlock *nl, struct scout *scout)
{
    struct wire_response answer;
    int rv = client_conn_fill(&scout->conn);

    if (rv == -EAGAIN)
        rv = 0;
    while (rv == 0 && (rv = client_conn_next(&scout->conn, &answer)) == 1) {
        rv = 0;
        if (answer.type == WIRE_RESP_HELLO && answer.hello.leader &&
            !is_known(nl, &scout->server)) {
            found(nl, scout, &answer);
            return;
        }
        scout->state = SCOUT_ANSWERED;
        scout->follower = answer.type == WIRE_RESP_HELLO && !answer.hello.leader;
    }
    if (rv == 0 && client_conn_unsent(&scout->conn))
        rv = client_conn_flush(&scout->conn); /* what TLS has to say */
    if (rv != 0)
        come_back(nl, scout);
}

void client_scouts_event(struct netlock *nl, int fd)
{
    for (size_t i = 0; i < SCOUTS_MAX; i++) {
        struct scout *scout = &nl->scouts.scouts[i];
        if (scout->conn.fd != fd)
            continue;
        if (scout->state != SCOUT_CONNECTING) {
            listen_to(nl, scout);
        } else if (client_conn_established(&scout->conn) != 0) {
            scout->failures++;
            come_back(nl, scout);
        } else {
            watch(nl, scout, EPOLL_CTL_MOD, EPOLLIN);
            if (scout->conn.fd >= 0)
                ask(nl, scout);
        }
        return;
    }
}

bool client_scouts_wait_at(const struct netlock *nl, const struct client_server *server)
{
    for (size_t i = 0; i < SCOUTS_MAX; i++) {
        const struct scout *scout = &nl->scouts.scouts[i];
        if (scout->state == SCOUT_ANSWERED && scout->follower &&
            client_server_same(&scout->server, server))
            return true;
    }
    return false;
}

/* ---- all of them ------------------------------------------------------------------------ */

static uint64_t late_at_ms(const struct netlock *nl)
{
    const struct operation *oldest = TAILQ_FIRST(&nl->sent);

    if (oldest == NULL)
        return CLIENT_NEVER;
    uint64_t late_ms = oldest->sent_ms + LATE_MS;
    return nl->scouts.out || late_ms > nl->scouts.rest_end_ms ? late_ms
                                                              : nl->scouts.rest_end_ms;
}

/* Since when they are needed; CLIENT_NEVER: they are not. */
static uint64_t needed_at_ms(const struct netlock *nl)
{
    if (nl->dead != 0 || !nl->session.attached_once)
        return CLIENT_NEVER;
    return nl->session.state == SESSION_READY ? late_at_ms(nl) : nl->session.scout_at_ms;
}

static void ask_all(struct netlock *nl)
{
    struct client_scouts *scouts = &nl->scouts;
    size_t servers = client_servers_count(&nl->session.servers);

    for (size_t i = 0; i < SCOUTS_MAX && i < servers; i++) {
        struct scout *scout = &scouts->scouts[i];
        if (scout->state == SCOUT_AWAY) {
            scout->server =
                *client_servers_at(&nl->session.servers, (scouts->first + i) % servers);
            if (!is_known(nl, &scout->server))
                go_out(nl, scout);
        } else if (scout->state == SCOUT_ANSWERED &&
                   scouts->interval_ms == INTERVAL_MAX_MS) {
            ask(nl, scout);
        }
    }
    scouts->first += servers > SCOUTS_MAX;
    scouts->ask_at_ms = nl->now_ms + client_jitter(nl, scouts->interval_ms);
    scouts->interval_ms *= 2;
    if (scouts->interval_ms > INTERVAL_MAX_MS)
        scouts->interval_ms = INTERVAL_MAX_MS;
}

/* Where every answer is late, for every client, scouts would take what time the servers have left. */
static void rest_longer(struct netlock *nl)
{
    struct client_scouts *scouts = &nl->scouts;
    bool again = scouts->rest_ms != 0 && nl->now_ms < scouts->rest_end_ms + REST_MAX_MS;

    scouts->rest_ms = again ? 2 * scouts->rest_ms : REST_MIN_MS;
    if (scouts->rest_ms > REST_MAX_MS)
        scouts->rest_ms = REST_MAX_MS;
    scouts->rest_end_ms = nl->now_ms + client_jitter(nl, scouts->rest_ms);
}

static void call_back(struct netlock *nl)
{
    struct client_scouts *scouts = &nl->scouts;

    for (size_t i = 0; i < SCOUTS_MAX; i++)
        come_back(nl, &scouts->scouts[i]);
    scouts->out = false;
    /* In vain, if the session is what it was. */
    if (nl->session.state == SESSION_READY && nl->session.ready_ms < scouts->out_ms)
        rest_longer(nl);
    else
        scouts->rest_ms = scouts->rest_end_ms = 0;
}

void client_scouts_run(struct netlock *nl)
{
    struct client_scouts *scouts = &nl->scouts;

    if (nl->now_ms < needed_at_ms(nl)) {
        if (scouts->out)
            call_back(nl);
        return;
    }
    if (!scouts->out) {
        scouts->out = true;
        scouts->out_ms = nl->now_ms;
        scouts->interval_ms = INTERVAL_MIN_MS;
        scouts->ask_at_ms = nl->now_ms;
    }
    if (scouts->ask_at_ms <= nl->now_ms)
        ask_all(nl);
}

uint64_t client_scouts_due_ms(const struct netlock *nl)
{
    uint64_t needed_ms = needed_at_ms(nl);

    return nl->scouts.out && needed_ms <= nl->now_ms ? nl->scouts.ask_at_ms : needed_ms;
}
