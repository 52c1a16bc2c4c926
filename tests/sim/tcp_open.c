/* tcp_open.c - how connections are made: listeners, the three packets of a handshake, and
 * refusals. */
#include "tcp.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "process.h"

enum {
    SECOND_US = 1000000,
    CONNECT_US = 15 * SECOND_US,
    ANSWERS_MAX = 6,
    FREE_PORT_FIRST = 32768,
    FREE_PORTS = 28232,
};

/* A packet without bytes. */
struct control {
    struct sim_packet packet;
    struct tcp_end *from;
    enum tcp_control type;
};

static struct tcp_listener *listeners;
static uint16_t ports_taken[SIM_HOSTS_MAX];

/* ---- packets ---- */

static void control_lands(struct control *control)
{
    if (control->packet.copies == 0) {
        control->from->connection->on_wire--;
        sim_free(control);
    }
}

static void on_arrived(struct sim_packet *packet)
{
    struct control *control = (struct control *)packet;
    struct tcp_end *from = control->from;
    enum tcp_control type = control->type;

    control_lands(control);
    tcp_on_control(from->peer, type);
    tcp_settle(from);
}

static void on_lost(struct sim_packet *packet)
{
    struct control *control = (struct control *)packet;
    struct tcp_end *from = control->from;
    enum tcp_control type = control->type;
    bool last = packet->copies == 0;

    control_lands(control);
    if (last) {
        tcp_on_control_lost(from, type);
    }
    tcp_settle(from);
}

/* It may be lost before this returns, but the connection is not freed then: it counts twice until the
 * end. */
void tcp_put_control(struct tcp_end *from, enum tcp_control type)
{
    struct tcp_connection *connection = from->connection;
    struct control *control = sim_alloc(sizeof(*control));

    *control = (struct control){
        .packet = {.arrived = on_arrived, .lost = on_lost}, .from = from, .type = type};
    connection->on_wire += 2;
    sim_net_send(from->host, from->peer->host, TCP_HEADER_BYTES, &control->packet);
    connection->on_wire--;
}

/* ---- listeners ---- */

static struct tcp_listener *listener_find(uint32_t host, uint16_t port)
{
    for (struct tcp_listener *one = listeners; one != NULL; one = one->next) {
        if (one->host == host && one->port == port) {
            return one;
        }
    }
    return NULL;
}

int tcp_listen(struct tcp_listener *listener)
{
    if (listener_find(listener->host, listener->port) != NULL) {
        return -EADDRINUSE;
    }
    listener->next = listeners;
    listeners = listener;
    return 0;
}

static void wait_for_accept(struct tcp_listener *listener, struct tcp_end *end)
{
    end->waiting = true;
    end->next_waiting = NULL;
    if (listener->waiting != NULL) {
        listener->waiting_last->next_waiting = end;
    } else {
        listener->waiting = end;
    }
    listener->waiting_last = end;
    listener->waiting_count++;
    listener->tell(listener->owner, EPOLLIN);
}

struct tcp_end *tcp_accept(struct tcp_listener *listener)
{
    struct tcp_end *end = listener->waiting;

    if (end != NULL) {
        listener->waiting = end->next_waiting;
        listener->waiting_count--;
        end->waiting = false;
    }
    return end;
}

void tcp_unlisten(struct tcp_listener *listener)
{
    struct tcp_listener **at = &listeners;
    struct tcp_end *end;

    while (*at != NULL && *at != listener) {
        at = &(*at)->next;
    }
    if (*at == listener) {
        *at = listener->next;
    }
    while ((end = tcp_accept(listener)) != NULL) {
        tcp_reset(end);
    }
}

uint16_t tcp_free_port(uint32_t host)
{
    uint16_t taken = ports_taken[host];

    ports_taken[host] = (uint16_t)((taken + 1) % FREE_PORTS);
    return (uint16_t)(FREE_PORT_FIRST + taken);
}

/* ---- calling ---- */

struct tcp_end *tcp_connect(uint32_t from, uint32_t to, uint16_t port)
{
    struct tcp_end *end = tcp_new(from, tcp_free_port(from), to, port);

    end->state = END_CONNECTING;
    end->begun_us = sim_now_us();
    sim_event_in(&end->timer, SECOND_US);
    tcp_put_control(end, TCP_SYN);
    return end;
}

/* Again after 1 s, 2 s more, 4 s more. */
static void call_again(struct tcp_end *end)
{
    if (sim_now_us() - end->begun_us >= CONNECT_US) {
        tcp_break(end, ETIMEDOUT);
        return;
    }
    end->tries++;
    sim_event_in(&end->timer, (uint64_t)SECOND_US << end->tries);
    tcp_put_control(end, TCP_SYN);
}

static void on_call(struct tcp_end *end)
{
    struct tcp_listener *listener = listener_find(end->host, end->port);

    if (end->peer->state == END_GONE) {
        return; /* an old one: the caller has hung up */
    }
    if (end->state == END_ACCEPTING || end->state == END_OPEN) {
        tcp_put_control(end, TCP_SYN_ACK);
    } else if (end->state != END_NONE || listener == NULL ||
               sim_net_refuses(end->peer->host, end->host)) {
        tcp_put_control(end, TCP_RST);
    } else if (listener->waiting_count < listener->backlog) {
        end->state = END_ACCEPTING;
        end->tries = 0;
        tcp_put_control(end, TCP_SYN_ACK);
    }
}

/* ---- answering ---- */

static void answer_again(struct tcp_end *end)
{
    if (end->tries >= ANSWERS_MAX) {
        end->state = END_NONE;
        return;
    }
    tcp_put_control(end, TCP_SYN_ACK);
}

static void answer_later(struct tcp_end *end)
{
    if (!sim_event_scheduled(&end->timer)) {
        sim_event_in(&end->timer, (uint64_t)SECOND_US << end->tries++);
    }
}

static void on_answer(struct tcp_end *end)
{
    if (end->state == END_GONE) {
        tcp_put_control(end, TCP_RST);
        return;
    }
    tcp_hear(end);
    tcp_put_control(end, TCP_ACK);
    if (end->state == END_CONNECTING) {
        tcp_is_open(end);
        tcp_tell_owner(end, EPOLLOUT);
    }
}

void tcp_on_heard(struct tcp_end *end)
{
    struct tcp_listener *listener = listener_find(end->host, end->port);

    if (end->state != END_ACCEPTING) {
        return;
    }
    if (listener == NULL) {
        tcp_refuse(end);
    } else if (listener->waiting_count < listener->backlog) {
        tcp_is_open(end);
        wait_for_accept(listener, end);
    } else {
        answer_later(end);
    }
}

/* ---- both ---- */

void tcp_on_open_timer(struct tcp_end *end)
{
    if (end->state == END_CONNECTING) {
        call_again(end);
    } else {
        answer_again(end);
    }
}

static void on_refused(struct tcp_end *end)
{
    switch (end->state) {
    case END_CONNECTING:
        tcp_break(end, ECONNREFUSED);
        break;
    case END_OPEN:
        tcp_break(end, end->at_end ? EPIPE : ECONNRESET);
        break;
    case END_ACCEPTING:
    case END_CLOSING:
        tcp_vanish(end);
        break;
    case END_NONE:
    case END_GONE:
        break;
    }
}

void tcp_on_control(struct tcp_end *to, enum tcp_control type)
{
    switch (type) {
    case TCP_SYN:
        on_call(to);
        break;
    case TCP_SYN_ACK:
        on_answer(to);
        break;
    case TCP_ACK:
        tcp_hear(to);
        tcp_on_heard(to);
        break;
    case TCP_RST:
        on_refused(to);
        break;
    case TCP_PROBE:
        if (to->state == END_OPEN || to->state == END_CLOSING) {
            tcp_on_probe(to);
        } else {
            tcp_put_control(to, TCP_RST);
        }
        break;
    }
}

void tcp_on_control_lost(struct tcp_end *from, enum tcp_control type)
{
    struct tcp_end *answering = type == TCP_ACK ? from->peer : from;

    if (type == TCP_PROBE && from->state != END_GONE) {
        tcp_arm(from);
    }
    if ((type == TCP_ACK || type == TCP_SYN_ACK) && answering->state == END_ACCEPTING) {
        answer_later(answering);
    }
}
