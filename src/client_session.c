/* client_session.c - from a list of servers to an attached connection, and what comes in on it.
 *
 *     DOWN --connect--> CONNECTING --writable--> GREETING --attached--> READY
 *       ^-------------------- session_fail() from anywhere ----------------'
 *
 * Hello and the attach travel in one write, so a connection costs one round trip to the leader. A
 * follower's Hello answer names the leader; that is tried next, before the turn goes on. */
#include "client_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define KEY_HELLO  "hello"
#define KEY_ATTACH "attach"

enum {
    READS_PER_STEP_MAX = 16,
    EPOCH_STEP_MS = 1000,
    /* Who waits for a lock must know soon that its leader was stopped: the next one may grant it. */
    WAITING_SILENCE_MS = 1000,
    SOLID_MS = 1000, /* a connection that lasted so long was no accident */
};
/* Beyond this no clock is wrong: somebody chose the epoch on purpose. */
static const uint64_t epoch_step_max_ms = UINT64_C(1) << 42;

static struct wire_str str(const char *text)
{
    return (struct wire_str){.data = text, .len = strlen(text)};
}

static bool str_is(struct wire_str a, const char *text)
{
    return a.len == strlen(text) && memcmp(a.data, text, a.len) == 0;
}

void session_init(struct netlock *nl)
{
    struct session *session = &nl->session;
    client_conn_init(&session->conn);
    client_scouts_init(nl);
    session->down_since_ms = nl->now_ms;
    session->trouble_since_ms = nl->now_ms;
    session->backoff_ms = CLIENT_BACKOFF_MIN_MS;
    session->epoch_step = EPOCH_STEP_MS;
    session->failure = -NETLOCK_EUNREACHABLE;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    session->epoch = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void session_release(struct netlock *nl)
{
    client_conn_release(&nl->session.conn);
    client_scouts_release(nl);
    client_servers_release(&nl->session.servers);
}

static void watch(struct netlock *nl, int how, bool out)
{
    struct epoll_event event = {
        .events = EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0),
        .data = {.fd = nl->session.conn.fd},
    };
    /* Fails only for want of memory (ADD): then nothing comes, and the phase times out. */
    (void)epoll_ctl(nl->epoll_fd, how, nl->session.conn.fd, &event);
    nl->session.watch_out = out;
}

/* ---- down, and up again ---------------------------------------------------------------- */

uint64_t client_jitter(struct netlock *nl, uint64_t ms)
{
    nl->random ^= nl->random << 13;
    nl->random ^= nl->random >> 7;
    nl->random ^= nl->random << 17;
    return ms / 2 + nl->random % (ms / 2 + 1);
}

/* How long to wait at most: a part of the time that was spent in vain already. So the leader is found
 * late by a quarter of the time that its election took, and a cluster that stays down is not troubled. */
static uint64_t backoff_max_ms(const struct netlock *nl)
{
    if (nl->scouts.out)
        return CLIENT_BACKOFF_SCOUTED_MS;
    uint64_t max_ms = (nl->now_ms - nl->session.trouble_since_ms) / CLIENT_BACKOFF_PART;
    if (max_ms < CLIENT_BACKOFF_MIN_MS)
        return CLIENT_BACKOFF_MIN_MS;
    return max_ms < CLIENT_BACKOFF_MAX_MS ? max_ms : CLIENT_BACKOFF_MAX_MS;
}

/* A whole round without a leader: wait, a little longer each time. */
static void back_off(struct netlock *nl)
{
    struct session *session = &nl->session;
    uint64_t wait_ms = client_jitter(nl, session->backoff_ms);
    if (wait_ms < session->retry_least_ms)
        wait_ms = session->retry_least_ms;
    session->retry_least_ms = 0;
    session->retry_at_ms = nl->now_ms + wait_ms;
    session->backoff_ms *= 2;
    if (session->backoff_ms > backoff_max_ms(nl))
        session->backoff_ms = backoff_max_ms(nl);
}

/* For people: which server, and what does not fit between its TLS and ours. */
static void note_why(struct netlock *nl)
{
    const char *why = client_conn_why(&nl->session.conn);
    char server[SERVER_TEXT_BYTES], text[CLIENT_TEXT_BYTES_MAX + 1];
    if (why[0] == 0)
        return;
    client_server_format(&nl->session.server, server);
    snprintf(text, sizeof(text), "%.80s: %.160s", server, why);
    client_set_error_text(nl, str(text));
}

void session_fail(struct netlock *nl, int rv)
{
    struct session *session = &nl->session;
    bool was_ready = session->state == SESSION_READY;
    note_why(nl);
    if (session->conn.fd >= 0)
        (void)epoll_ctl(nl->epoll_fd, EPOLL_CTL_DEL, session->conn.fd, NULL);
    /* An orderly close would say that the client is gone; it is only on its way to another server. */
    if (nl->dead == 0)
        client_conn_reset(&session->conn);
    else
        client_conn_close(&session->conn);
    session->state = SESSION_DOWN;
    session->retry_at_ms = nl->now_ms;
    /* A stranger that closed before we had read, or was not there this time, is a stranger still. */
    if (rv != -NETLOCK_EUNREACHABLE || session->greeted)
        session->failure = rv;
    nl->evidence.has_pair = false;
    if (!was_ready)
        return;
    if (nl->now_ms - session->ready_ms >= SOLID_MS) {
        session->backoff_ms = CLIENT_BACKOFF_MIN_MS;
        session->trouble_since_ms = nl->now_ms;
    } else {
        back_off(
            nl); /* a server that attaches us and then breaks must not make us spin */
    }
    session->scout_at_ms = session->retry_at_ms;
    session->round_done = false;
    session->down_since_ms = nl->now_ms;
    session->notice_connected = false;
    session->notice_disconnected = true;
    operations_requeue(nl);
    client_leases_look(nl);
}

/* Who counts a lease must not sit in DNS when it ends. */
static bool may_block(const struct netlock *nl)
{
    return nl->holds == 0;
}

/* session->server is the next one to try, with an address left; or there is a pause. */
static bool next_server(struct netlock *nl)
{
    struct session *session = &nl->session;
    if (session->next_address < session->server.addresses_count &&
        !session->servers.has_hint)
        return true;
    struct client_server *server = client_servers_next(&session->servers);
    if (server == NULL) {
        session->round_done = true;
        back_off(nl);
        return false;
    }
    (void)client_server_resolve(server, may_block(nl));
    session->server = *server;
    session->next_address = 0;
    client_clock(nl); /* DNS takes its time */
    return true;
}

/* A follower tells its scouts when it begins to lead. Once it is asked all the same: for whom it follows. */
static bool is_left_to_scouts(const struct netlock *nl)
{
    return nl->session.round_done && client_scouts_wait_at(nl, &nl->session.server);
}

static void connect_next(struct netlock *nl)
{
    struct session *session = &nl->session;
    while (session->state == SESSION_DOWN && next_server(nl)) {
        if (session->next_address >= session->server.addresses_count)
            continue;
        if (is_left_to_scouts(nl)) {
            session->next_address = SERVER_ADDRESSES_MAX;
            continue;
        }
        const struct client_address *address =
            &session->server.addresses[session->next_address++];
        if (client_conn_open(&session->conn, (const struct sockaddr *)&address->storage,
                             address->len, session->server.host) != 0)
            continue;
        session->state = SESSION_CONNECTING;
        session->greeted = false;
        session->phase_end_ms = nl->now_ms + CLIENT_CONNECT_MS;
        watch(nl, EPOLL_CTL_ADD, true);
    }
}

int session_put_hello(const struct netlock *nl, struct client_conn *conn)
{
    const char *library =
        nl->application[0] != 0 ? nl->application : "libnetlock " NETLOCK_VERSION;
    struct wire_request hello = {
        .type = WIRE_REQ_HELLO,
        .key = str(KEY_HELLO),
        .hello = {.version_min = WIRE_VERSION,
                  .version_max = WIRE_VERSION,
                  .library = str(library),
                  .token = str(nl->token),
                  .session_grace_ms = nl->session_grace_ms},
    };
    return client_conn_put(conn, &hello);
}

static int put_attach(struct netlock *nl)
{
    struct wire_request request = {.type = WIRE_REQ_CREATE, .key = str(KEY_ATTACH)};
    if (nl->client_id[0] != 0) {
        request.type = WIRE_REQ_ATTACH;
        request.client = str(nl->client_id);
        if (nl->has_secret)
            request.attach.secret = (struct wire_str){.data = (const char *)nl->secret,
                                                      .len = NETLOCK_SECRET_BYTES};
        if (!nl->share_id) {
            request.attach.has_epoch = true;
            request.attach.epoch = ++nl->session.epoch;
            request.attach.supersede = true;
        }
    }
    nl->session.attach_sent_ms = nl->now_ms;
    nl->session.sent_ms = nl->now_ms;
    return client_conn_put(&nl->session.conn, &request);
}

static void greet(struct netlock *nl)
{
    struct session *session = &nl->session;
    int rv = client_conn_established(&session->conn);
    if (rv != 0) {
        session_fail(nl, -NETLOCK_EUNREACHABLE);
        return;
    }
    session->state = SESSION_GREETING;
    session->phase_end_ms = nl->now_ms + CLIENT_CONNECT_MS;
    if (session_put_hello(nl, &session->conn) != 0 || put_attach(nl) != 0)
        session_fail(nl, -NETLOCK_EUNREACHABLE); /* no memory: later, perhaps */
    else
        session_flush(nl);
}

/* ---- the greeting's answers ------------------------------------------------------------- */

static void
not_leader(struct netlock *nl, struct wire_str leader, uint32_t retry_after_ms)
{
    struct session *session = &nl->session;
    /* Never straight back to the same server on its own word. */
    char text[SERVER_TEXT_BYTES];
    client_server_format(&session->server, text);
    if (!str_is(leader, text))
        client_servers_hint(&session->servers, leader);
    session->next_address = SERVER_ADDRESSES_MAX; /* done with this one */
    if (retry_after_ms > CLIENT_BACKOFF_MAX_MS)
        retry_after_ms = CLIENT_BACKOFF_MAX_MS;
    if (session->retry_least_ms < retry_after_ms)
        session->retry_least_ms = retry_after_ms;
    session_fail(nl, -NETLOCK_EUNREACHABLE);
}

static void learn_members(struct netlock *nl, const struct wire_response *answer)
{
    client_servers_learn(&nl->session.servers, answer->hello.members,
                         answer->hello.members_count, may_block(nl));
}

static void hello_answered(struct netlock *nl, const struct wire_response *answer)
{
    struct session *session = &nl->session;
    if (answer->hello.version != WIRE_VERSION) {
        session_fail(nl, -NETLOCK_EPROTOCOL);
        return;
    }
    session->greeted = true;
    learn_members(nl, answer);
    session->session_grace_ms = answer->hello.session_grace_ms;
    session->reattach_grace_ms = answer->hello.reattach_grace_ms;
    session->phase_end_ms = nl->now_ms + CLIENT_ANSWER_MAX_MS;
    if (!answer->hello.leader)
        not_leader(nl, answer->hello.leader_address, 0);
}

void session_adopt(struct netlock *nl,
                   struct client_conn *conn,
                   const struct client_server *server,
                   const struct wire_response *hello)
{
    struct session *session = &nl->session;
    session_fail(nl, -NETLOCK_EUNREACHABLE);
    struct client_conn closed = session->conn;
    session->conn = *conn;
    *conn = closed;
    session->server = *server;
    session->next_address = SERVER_ADDRESSES_MAX;
    session->state = SESSION_GREETING;
    session->watch_out = false;
    hello_answered(nl, hello);
    if (session->state != SESSION_GREETING)
        return;
    if (put_attach(nl) != 0)
        session_fail(nl, -NETLOCK_EUNREACHABLE);
    else
        session_flush(nl);
}

static void session_ready(struct netlock *nl)
{
    struct session *session = &nl->session;
    session->state = SESSION_READY;
    session->attached_once = true;
    session->ready_ms = nl->now_ms;
    session->retry_least_ms = 0;
    client_servers_found(&session->servers);
    client_server_format(&session->server, session->server_text);
    session->notice_connected = true;
    nl->error_text[0] = 0;
}

static void attach_answered(struct netlock *nl, const struct wire_response *answer)
{
    bool create = nl->client_id[0] == 0;
    if (answer->type != (create ? WIRE_RESP_CREATE : WIRE_RESP_ATTACH) ||
        !nl->session.greeted) {
        session_fail(nl, -NETLOCK_EPROTOCOL);
        return;
    }
    if (create) {
        struct wire_str id = answer->client;
        if (!wire_name_valid(id.data, id.len)) {
            session_fail(nl, -NETLOCK_EPROTOCOL);
            return;
        }
        memcpy(nl->client_id, id.data, id.len);
        nl->client_id[id.len] = 0;
        nl->has_secret = answer->create.secret.len == NETLOCK_SECRET_BYTES;
        if (nl->has_secret)
            memcpy(nl->secret, answer->create.secret.data, NETLOCK_SECRET_BYTES);
    }
    client_evidence(nl, nl->session.attach_sent_ms, &answer->position);
    session_ready(nl);
    client_reconcile(nl, answer);
}

/* The cluster knows a higher epoch. If we were attached before, somebody has taken over and we are
 * out: fighting back would never end. If this is our first attach, it is a former process of this
 * id whose clock was ahead of ours, so find a number above it: 42 doublings pass every clock. */
static void stale(struct netlock *nl)
{
    struct session *session = &nl->session;
    if (session->attached_once || session->epoch_step > epoch_step_max_ms) {
        client_die(nl, -NETLOCK_ESTALE);
        return;
    }
    session->epoch += session->epoch_step;
    session->epoch_step *= 2;
    if (put_attach(nl) != 0)
        session_fail(nl, -NETLOCK_EUNREACHABLE);
    else
        session_flush(nl);
}

static void session_refused(struct netlock *nl, const struct wire_response *answer)
{
    bool denied = answer->type == WIRE_RESP_DENIED;
    enum wire_error code = denied ? WIRE_ERROR_INVALID : answer->error.code;
    if (denied && answer->denied.reason == WIRE_DENY_STALE_EPOCH)
        code = WIRE_ERROR_STALE_EPOCH;
    if (denied && answer->denied.reason == WIRE_DENY_NOT_ALLOWED)
        code = WIRE_ERROR_NOT_ALLOWED;
    if (code != WIRE_ERROR_NOT_LEADER)
        client_set_error_text(nl, denied ? answer->denied.text : answer->error.text);
    switch (code) {
    case WIRE_ERROR_NOT_LEADER:
        not_leader(nl, answer->error.leader_address, answer->error.retry_after_ms);
        break;
    case WIRE_ERROR_STALE_EPOCH:
        stale(nl);
        break;
    case WIRE_ERROR_NOT_ALLOWED:
        client_die(nl, -NETLOCK_EDENIED);
        break;
    case WIRE_ERROR_VERSION:
    case WIRE_ERROR_UNKNOWN_TYPE:
        session_fail(nl, -NETLOCK_EPROTOCOL);
        break;
    case WIRE_ERROR_UNKNOWN:
    case WIRE_ERROR_BUSY:
    case WIRE_ERROR_INVALID:
    case WIRE_ERROR_TOO_LARGE:
    case WIRE_ERROR_LIMIT:
    case WIRE_ERROR_NOT_ATTACHED:
        session_fail(nl, -NETLOCK_EUNREACHABLE);
        break;
    }
}

static void take_message(struct netlock *nl, const struct wire_response *answer)
{
    bool hello = str_is(answer->key, KEY_HELLO);
    bool attach = str_is(answer->key, KEY_ATTACH);
    bool refusal = answer->type == WIRE_RESP_ERROR || answer->type == WIRE_RESP_DENIED;
    if (refusal && nl->session.state == SESSION_GREETING)
        session_refused(nl, answer);
    else if (refusal && answer->type == WIRE_RESP_ERROR &&
             answer->error.code == WIRE_ERROR_NOT_LEADER)
        not_leader(nl, answer->error.leader_address, answer->error.retry_after_ms);
    else if (hello && answer->type == WIRE_RESP_HELLO)
        hello_answered(nl, answer);
    else if (answer->type == WIRE_RESP_HELLO) /* unasked: the members are others now */
        learn_members(nl, answer);
    else if (attach && nl->session.state == SESSION_GREETING)
        attach_answered(nl, answer);
    else if (nl->session.state == SESSION_READY)
        client_answer(nl, answer);
    else
        session_fail(nl, -NETLOCK_EPROTOCOL);
}

/* ---- sockets ----------------------------------------------------------------------------- */

static void take_messages(struct netlock *nl)
{
    struct client_conn *conn = &nl->session.conn;
    while (conn->fd >= 0) {
        struct wire_response answer;
        int n = client_conn_next(conn, &answer);
        if (n == 0)
            return;
        if (n < 0)
            session_fail(nl, n == -ENOMEM ? -NETLOCK_EUNREACHABLE : -NETLOCK_EPROTOCOL);
        else
            take_message(nl, &answer);
    }
}

static void receive(struct netlock *nl)
{
    struct client_conn *conn = &nl->session.conn;
    for (int i = 0; i < READS_PER_STEP_MAX && conn->fd >= 0; i++) {
        int rv = client_conn_fill(conn);
        if (rv != 0 && rv != -EAGAIN) {
            session_fail(nl, -NETLOCK_EUNREACHABLE);
            return;
        }
        bool more = rv == 0 && client_conn_full(conn);
        if (rv == 0)
            take_messages(nl);
        if (client_conn_unsent(conn) && !nl->session.watch_out)
            session_flush(nl); /* what TLS has to say */
        if (!more)
            return; /* what comes from now on, epoll will tell */
    }
}

void session_flush(struct netlock *nl)
{
    struct session *session = &nl->session;
    if (session->conn.fd < 0)
        return;
    int rv = client_conn_flush(&session->conn);
    if (rv != 0 && rv != -EAGAIN) {
        session_fail(nl, -NETLOCK_EUNREACHABLE);
        return;
    }
    if ((rv == -EAGAIN) != session->watch_out)
        watch(nl, EPOLL_CTL_MOD, rv == -EAGAIN);
}

static void poll_socket(struct netlock *nl)
{
    struct epoll_event events[2 + SCOUTS_MAX];
    /* All that can happen is that something comes, and then reading is faster than asking first. */
    if (nl->session.state == SESSION_READY && !nl->session.watch_out && !nl->scouts.out) {
        receive(nl);
        return;
    }
    int n = epoll_wait(nl->epoll_fd, events, 2 + SCOUTS_MAX, 0);
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd != nl->session.conn.fd) {
            client_scouts_event(nl,
                                events[i].data.fd); /* or client_blocking.c's wake-up */
            continue;
        }
        if (nl->session.state == SESSION_CONNECTING)
            greet(nl);
        else if (events[i].events & EPOLLOUT)
            session_flush(nl);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) &&
            nl->session.conn.fd >= 0)
            receive(nl);
    }
}

/* ---- what is due -------------------------------------------------------------------------- */

/* A leader that is stopped says nothing, and its successor waits for its clients only so long: what
 * they hold and where they wait is lost after it. A silence must be noticed in less than half of
 * that, a ping and its missing answer together, so that enough is left to find the new leader. */
static uint64_t quarter_of_reattach_ms(const struct netlock *nl)
{
    uint32_t reattach_ms = nl->session.reattach_grace_ms;
    return reattach_ms != 0 ? reattach_ms / 4 : CLIENT_NEVER;
}

uint64_t session_answer_ms(const struct netlock *nl)
{
    uint64_t third_ms = nl->session_grace_ms / 3;
    if (nl->lease_least_ms / 3 < third_ms)
        third_ms = nl->lease_least_ms / 3;
    if (quarter_of_reattach_ms(nl) < third_ms)
        third_ms = quarter_of_reattach_ms(nl);
    if (third_ms < CLIENT_ANSWER_MIN_MS)
        return CLIENT_ANSWER_MIN_MS;
    return third_ms < CLIENT_ANSWER_MAX_MS ? third_ms : CLIENT_ANSWER_MAX_MS;
}

/* The server counts a connection that was silent for the whole grace as broken. What is about to
 * be sent serves as well. */
static uint64_t ping_due_ms(const struct netlock *nl)
{
    uint64_t silence_ms = nl->session.session_grace_ms / 3;
    if (nl->ping != NULL || silence_ms == 0 || !TAILQ_EMPTY(&nl->queued))
        return CLIENT_NEVER;
    if (quarter_of_reattach_ms(nl) < silence_ms)
        silence_ms = quarter_of_reattach_ms(nl);
    if (!TAILQ_EMPTY(&nl->waiting) && silence_ms > WAITING_SILENCE_MS)
        silence_ms = WAITING_SILENCE_MS;
    return nl->session.sent_ms + silence_ms;
}

static uint64_t answer_due_ms(const struct netlock *nl)
{
    const struct operation *oldest = TAILQ_FIRST(&nl->sent);
    return oldest != NULL ? oldest->sent_ms + session_answer_ms(nl) : CLIENT_NEVER;
}

uint64_t session_due_ms(const struct netlock *nl)
{
    const struct session *session = &nl->session;
    uint64_t due_ms = CLIENT_NEVER;
    switch (session->state) {
    case SESSION_DOWN:
        due_ms = session->retry_at_ms;
        break;
    case SESSION_CONNECTING:
    case SESSION_GREETING:
        due_ms = session->phase_end_ms;
        break;
    case SESSION_READY:
        due_ms = answer_due_ms(nl);
        if (ping_due_ms(nl) < due_ms)
            due_ms = ping_due_ms(nl);
        break;
    }
    return due_ms;
}

static void run_due(struct netlock *nl)
{
    switch (nl->session.state) {
    case SESSION_DOWN:
        connect_next(nl);
        break;
    case SESSION_CONNECTING:
    case SESSION_GREETING:
        session_fail(nl, -NETLOCK_EUNREACHABLE);
        connect_next(nl);
        break;
    case SESSION_READY:
        if (answer_due_ms(nl) <= nl->now_ms) {
            session_fail(nl, -NETLOCK_EUNREACHABLE);
            connect_next(nl);
        } else {
            nl->ping = operation_new(nl, OPERATION_PING, NULL);
            if (nl->ping != NULL)
                nl->ping->internal = true;
            else
                session_fail(nl, -NETLOCK_EUNREACHABLE); /* no memory: later, perhaps */
        }
        break;
    }
}

void session_run(struct netlock *nl)
{
    poll_socket(nl);
    if (nl->dead == 0 && session_due_ms(nl) <= nl->now_ms)
        run_due(nl);
    client_scouts_run(nl);
}
