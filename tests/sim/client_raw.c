/* client_raw.c - users that speak the protocol by hand: plain ones as upstream's clients are, extended
 * ones, and hostile ones. They do exactly what they are asked to, one frame for each ask, and never
 * anything by themselves but read. */
#include "client_raw.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "node.h"
#include "socket.h"

enum { READ_BYTES = 4096 };

/* ---- connections --------------------------------------------------------------------- */

static void tell_conn(struct sim_client *client, unsigned number, bool on, int rv)
{
    struct sim_record record = sim_client_record(client, SIM_REC_CONN);
    record.conn = number;
    record.on = on;
    record.rv = rv;
    sim_history_tell(&record);
}

static void beliefs_of_conn_end(struct sim_client *client, unsigned number)
{
    struct sim_belief *next;
    for (struct sim_belief *at = TAILQ_FIRST(&client->held); at != NULL; at = next) {
        next = TAILQ_NEXT(at, held);
        if (at->conn == number && !at->ignore)
            sim_belief_end(client, at);
    }
}

/* The socket is closed. */
static void conn_gone(struct sim_client *client, unsigned number, int rv)
{
    struct raw_conn *conn = &client->raw->conns[number];
    free(conn->out.data);
    free(conn->in);
    wire_arena_release(&conn->arena);
    *conn = (struct raw_conn){0};
    raw_requests_drop(client->raw, number);
    tell_conn(client, number, false, rv);
    beliefs_of_conn_end(client, number);
}

static void conn_close(struct sim_client *client, unsigned number, int rv)
{
    sim_socket_close(client->raw->conns[number].socket);
    conn_gone(client, number, rv);
}

/* Up to where can be written before the next switch, which is made if it has been reached. */
static size_t next_switch(struct raw_conn *conn)
{
    while (conn->switches_count > 0) {
        if (conn->switches[0].at > conn->out_sent)
            return conn->switches[0].at;
        sim_socket_hold(conn->socket, conn->switches[0].hold);
        conn->switches_count--;
        memmove(&conn->switches[0], &conn->switches[1],
                conn->switches_count * sizeof(conn->switches[0]));
    }
    return conn->out.len;
}

static void conn_flush(struct sim_client *client, unsigned number)
{
    struct raw_conn *conn = &client->raw->conns[number];
    if (!conn->connected)
        return;
    for (size_t end = next_switch(conn); conn->out_sent < end; end = next_switch(conn)) {
        ssize_t n = sim_socket_write(conn->socket, conn->out.data + conn->out_sent,
                                     end - conn->out_sent);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            conn_close(client, number, (int)n);
            return;
        }
        conn->out_sent += (size_t)n;
    }
    conn->out.len = 0;
    conn->out_sent = 0;
}

/* ---- reading ------------------------------------------------------------------------- */

/* False: what comes are no frames. */
static bool take_frames(struct sim_client *client, unsigned number)
{
    struct raw_conn *conn = &client->raw->conns[number];
    for (;;) {
        const uint8_t *payload;
        size_t len;
        int n = frame_next(conn->in + conn->in_taken, conn->in_len - conn->in_taken,
                           &payload, &len);
        if (n <= 0)
            return n == 0;
        conn->in_taken += (size_t)n;
        if (len == 0)
            continue;
        struct wire_response response;
        wire_arena_clear(&conn->arena);
        int rv = wire_decode_response(payload, len, &conn->arena, &response);
        if (rv == 0)
            raw_take_response(client, number, &response);
        else
            raw_take_nonsense(client, number, rv);
    }
}

static void make_room(struct raw_conn *conn)
{
    if (conn->in_taken > 0) {
        conn->in_len -= conn->in_taken;
        if (conn->in_len > 0)
            memmove(conn->in, conn->in + conn->in_taken, conn->in_len);
        conn->in_taken = 0;
    }
    if (conn->in_len + READ_BYTES <= conn->in_capacity)
        return;
    conn->in_capacity = 2 * conn->in_capacity + READ_BYTES;
    conn->in = realloc(conn->in, conn->in_capacity);
    assert(conn->in != NULL);
}

static void conn_read(struct sim_client *client, unsigned number)
{
    struct raw_conn *conn = &client->raw->conns[number];
    for (;;) {
        make_room(conn);
        ssize_t n = sim_socket_read(conn->socket, conn->in + conn->in_len,
                                    conn->in_capacity - conn->in_len);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            conn_close(client, number, n == 0 ? -EPIPE : (int)n);
            return;
        }
        conn->in_len += (size_t)n;
        if (!take_frames(client, number)) {
            raw_take_nonsense(client, number, -EPROTO);
            conn_close(client, number, -EPROTO);
            return;
        }
    }
}

/* What became of it since the last turn. A deaf one does not see that the peer has closed. */
static void conn_look(struct sim_client *client, unsigned number)
{
    struct raw_conn *conn = &client->raw->conns[number];
    enum sim_socket_state state = sim_socket_state(conn->socket);
    if (state == SIM_CONNECTING)
        return;
    if (!conn->connected && state != SIM_BROKEN) {
        conn->connected = true;
        tell_conn(client, number, true, 0);
    }
    if (!conn->deaf || state == SIM_BROKEN)
        conn_read(client, number); /* what broke it, after what came before that */
}

/* ---- asks ---------------------------------------------------------------------------- */

static void put_bytes(struct raw_conn *conn, const uint8_t *bytes, size_t len)
{
    struct wire_buf *out = &conn->out;
    if (out->capacity - out->len < len) {
        out->capacity = 2 * out->capacity + len;
        out->data = realloc(out->data, out->capacity);
        assert(out->data != NULL);
    }
    if (len > 0)
        memcpy(out->data + out->len, bytes, len);
    out->len += len;
}

/* What was asked for before is not held back, even if it has not been written yet. */
static int put_switch(struct raw_conn *conn, bool hold)
{
    if (conn->switches_count == RAW_SWITCHES_MAX)
        return -EBUSY;
    conn->switches[conn->switches_count++] =
        (struct raw_switch){.at = conn->out.len, .hold = hold};
    return 0;
}

/* The node that was asked for; else who serves, or runs, or the first. NULL: there is no such node. */
static const struct sim_node *choose_node(unsigned number)
{
    if (number != 0)
        return number <= sim_nodes_count() ? sim_node(number) : NULL;
    struct sim_process *inside = sim_process_outside(NULL);
    const struct sim_node *node = sim_serving();
    sim_process_outside(inside);
    for (unsigned i = 1; node == NULL && i <= sim_nodes_count(); i++)
        if (sim_node_runs(sim_node(i)))
            node = sim_node(i);
    return node != NULL ? node : sim_node(1);
}

static void on_change(void *arg)
{
    struct sim_process *process = arg;
    sim_process_wake(process, sim_now_us());
}

static int connect_to(struct sim_client *client, const struct sim_ask *ask)
{
    struct raw_conn *conn = &client->raw->conns[ask->conn];
    if (conn->socket != NULL)
        return -EISCONN;
    const struct sim_node *node = choose_node(ask->node);
    if (node == NULL)
        return -EINVAL;
    conn->socket = sim_socket_connect(node->process.host, SIM_CLIENT_PORT);
    sim_socket_watch(conn->socket, on_change, &client->process);
    return 0;
}

static void hang_up(struct sim_client *client, unsigned number, bool reset)
{
    struct raw_conn *conn = &client->raw->conns[number];
    conn_flush(client,
               number); /* what it was asked for before, as far as there is room */
    if (conn->socket == NULL)
        return; /* it was broken */
    if (reset)
        sim_socket_reset(conn->socket);
    else
        sim_socket_close(conn->socket);
    conn_gone(client, number, 0);
}

static int carry_out(struct sim_client *client, const struct sim_ask *ask, uint64_t op)
{
    struct raw_conn *conn = &client->raw->conns[ask->conn];
    if (ask->type == SIM_ASK_CONNECT)
        return connect_to(client, ask);
    if (conn->socket == NULL)
        return -ENOTCONN;
    switch (ask->type) {
    case SIM_ASK_HANG_UP:
    case SIM_ASK_RESET:
        hang_up(client, ask->conn, ask->type == SIM_ASK_RESET);
        return 0;
    case SIM_ASK_READ:
        conn->deaf = !ask->on;
        sim_process_wake(&client->process, sim_now_us()); /* to what has come already */
        return 0;
    case SIM_ASK_HOLD:
        return put_switch(conn, ask->on);
    case SIM_ASK_BYTES:
        put_bytes(conn, ask->bytes, ask->bytes_len);
        return 0;
    default:
        return raw_send(client, ask, op);
    }
}

static void tell_ask(struct sim_client *client, const struct sim_ask *ask, uint64_t op)
{
    struct sim_record record = sim_client_record(client, SIM_REC_ASK);
    record.op = op;
    record.ask = ask;
    record.ask_type = ask->type;
    record.client_id = ask->client != NULL ? ask->client : "";
    record.lock = ask->lock;
    record.token = ask->token;
    record.type_of_lock = ask->type_of_lock;
    record.limit = ask->limit;
    record.conn = ask->conn;
    sim_history_tell(&record);
}

/* @ask->token is resolved in place. */
static void begin(struct sim_client *client, struct sim_ask *ask)
{
    uint64_t op = sim_history_next_op();
    bool there = ask->conn < SIM_CLIENT_CONNS_MAX;
    bool named = ask->client != NULL && ask->client[0] != 0;
    const char *id = named ? ask->client : "";
    if (!named && there)
        id = client->raw->conns[ask->conn].default_id;
    if (ask->token == SIM_TOKEN_HELD && ask->lock != NULL) {
        struct sim_belief *belief = sim_belief_find(client, id, ask->lock);
        if (belief != NULL)
            ask->token = belief->token;
    }
    tell_ask(client, ask, op);
    raw_give_up(client, ask, id, op);
    int rv = there ? carry_out(client, ask, op) : -EINVAL;
    if (rv != 0)
        sim_client_refused(client, ask, op, rv);
}

/* ---- turns and life ------------------------------------------------------------------ */

_Noreturn static void close_all(struct sim_client *client)
{
    for (unsigned i = 0; i < SIM_CLIENT_CONNS_MAX; i++)
        if (client->raw->conns[i].socket != NULL)
            hang_up(client, i, false);
    sim_process_exit(0);
}

static void raw_turn(struct sim_client *client)
{
    struct raw_conn *conns = client->raw->conns;
    for (unsigned i = 0; i < SIM_CLIENT_CONNS_MAX; i++)
        if (conns[i].socket != NULL)
            conn_look(client, i);
    struct sim_queued_ask *queued;
    while ((queued = sim_client_take_ask(client)) != NULL) {
        bool closes = queued->close;
        if (!closes)
            begin(client, &queued->ask);
        sim_client_give_back(queued);
        if (closes)
            close_all(client);
    }
    for (unsigned i = 0; i < SIM_CLIENT_CONNS_MAX; i++)
        if (conns[i].socket != NULL)
            conn_flush(client, i);
}

static void raw_make(struct sim_client *client)
{
    client->raw = sim_alloc(sizeof(*client->raw));
}

static void raw_ended(struct sim_client *client)
{
    for (unsigned i = 0; i < SIM_CLIENT_CONNS_MAX; i++) {
        client->raw->conns[i] = (struct raw_conn){0};
        raw_requests_drop(client->raw, i);
    }
}

static void raw_free(struct sim_client *client)
{
    struct sim_raw *raw = client->raw;
    while (raw->spare != NULL) {
        struct raw_request *request = raw->spare;
        raw->spare = request->next;
        sim_free(request);
    }
    sim_free(raw);
}

static unsigned raw_pending(const struct sim_client *client)
{
    return client->raw->requests_count;
}

const struct sim_client_verbs sim_client_raw = {
    .make = raw_make,
    .turn = raw_turn,
    .ended = raw_ended,
    .free = raw_free,
    .pending = raw_pending,
};
