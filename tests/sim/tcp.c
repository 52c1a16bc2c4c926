#include "tcp.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "socket.h"

static struct tcp_connection *connections;

/* ---- life ---- */

static void
end_init(struct tcp_connection *connection, unsigned which, uint32_t host, uint16_t port)
{
    connection->ends[which] = (struct tcp_end){
        .host = host,
        .port = port,
        .connection = connection,
        .peer = &connection->ends[1 - which],
        .rto_us = TCP_RTO_MIN_US,
        .timer = {.fire = tcp_on_timer},
        .check = {.fire = tcp_on_check},
    };
}

struct tcp_end *tcp_new(uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port)
{
    struct tcp_connection *connection = sim_alloc(sizeof(*connection));

    end_init(connection, 0, from, from_port);
    end_init(connection, 1, to, to_port);
    connection->next = connections;
    if (connections != NULL) {
        connections->previous = connection;
    }
    connections = connection;
    return &connection->ends[0];
}

static void free_segments(struct tcp_segment **list)
{
    while (*list != NULL) {
        struct tcp_segment *segment = *list;
        *list = segment->next;
        assert(!segment->on_wire);
        sim_free(segment);
    }
}

static bool is_needed(const struct tcp_end *end)
{
    return end->tell != NULL || end->waiting || end->state == END_CLOSING;
}

void tcp_settle(struct tcp_end *end)
{
    struct tcp_connection *connection = end->connection;

    if (connection->on_wire != 0 || is_needed(&connection->ends[0]) ||
        is_needed(&connection->ends[1])) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        struct tcp_end *one = &connection->ends[i];
        sim_event_cancel(&one->timer);
        sim_event_cancel(&one->check);
        free_segments(&one->out);
        free_segments(&one->in);
    }
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    sim_free(connection);
}

unsigned tcp_connections(void)
{
    unsigned count = 0;

    for (const struct tcp_connection *one = connections; one != NULL; one = one->next) {
        count++;
    }
    return count;
}

void tcp_forget_all(void)
{
    struct tcp_connection *next;

    for (struct tcp_connection *one = connections; one != NULL; one = next) {
        next = one->next;
        for (int i = 0; i < 2; i++) {
            struct tcp_end *end = &one->ends[i];
            end->tell = NULL;
            end->waiting = false;
            tcp_vanish(end);
        }
        tcp_settle(&one->ends[0]);
    }
}

bool tcp_reaches(const struct tcp_end *from, const struct tcp_end *to)
{
    return sim_net_passes(from->host, to->host);
}

void tcp_tell_owner(struct tcp_end *end, uint32_t events)
{
    if (end->tell != NULL) {
        end->tell(end->owner, events);
    }
}

void tcp_hear(struct tcp_end *end)
{
    end->heard_us = sim_now_us();
    end->probes = 0;
}

void tcp_is_open(struct tcp_end *end)
{
    sim_event_cancel(&end->timer);
    end->state = END_OPEN;
    tcp_hear(end);
    tcp_check_later(end);
}

/* ---- the end of an end ---- */

void tcp_vanish(struct tcp_end *end)
{
    end->state = END_GONE;
    end->unknown = false;
    tcp_drop_unsent(end);
    sim_event_cancel(&end->timer);
    sim_event_cancel(&end->check);
}

void tcp_refuse(struct tcp_end *end)
{
    tcp_put_control(end, TCP_RST);
    tcp_vanish(end);
}

void tcp_break(struct tcp_end *end, int error)
{
    tcp_vanish(end);
    end->broken = true;
    end->error = error;
    tcp_tell_owner(end, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
}

/* ---- what programs do ---- */

ssize_t tcp_send(struct tcp_end *end, const void *data, size_t len)
{
    if (end->broken) {
        int error = tcp_take_error(end);
        return error != 0 ? -error : -EPIPE;
    }
    if (end->state == END_CONNECTING || end->queued >= SIM_SOCKET_BUFFER_BYTES) {
        return -EAGAIN;
    }
    size_t room = SIM_SOCKET_BUFFER_BYTES - end->queued;
    if (len > room) {
        len = room;
    }
    if (len != 0) {
        struct tcp_segment *segment = sim_alloc(sizeof(*segment) + len);
        segment->len = (uint32_t)len;
        memcpy(segment->bytes, data, len);
        tcp_append(end, segment);
        tcp_transmit(end);
    }
    return (ssize_t)len;
}

static size_t take_bytes(struct tcp_end *end, uint8_t *data, size_t len)
{
    size_t got = 0;

    while (end->in != NULL && got < len) {
        struct tcp_segment *segment = end->in;
        size_t some = segment->len - segment->taken;
        if (some > len - got) {
            some = len - got;
        }
        memcpy(data + got, segment->bytes + segment->taken, some);
        got += some;
        segment->taken += (uint32_t)some;
        if (segment->taken == segment->len) {
            end->in = segment->next;
            tcp_discard(segment);
        }
    }
    return got;
}

/* The window of @from is wider. If it cannot be told it will find out by trying. */
static void window_opens(struct tcp_end *from)
{
    if (from->unsent == NULL || from->held) {
        return;
    }
    if (tcp_reaches(from->peer, from)) {
        tcp_transmit(from);
    } else {
        tcp_arm(from);
    }
}

ssize_t tcp_receive(struct tcp_end *end, void *data, size_t len)
{
    size_t got = take_bytes(end, data, len);

    if (got != 0) {
        end->peer->window_used -= got;
        window_opens(end->peer);
        return (ssize_t)got;
    }
    if (len == 0 || end->at_end) {
        return 0;
    }
    if (end->broken) {
        return -tcp_take_error(end);
    }
    return -EAGAIN;
}

uint32_t tcp_events(const struct tcp_end *end)
{
    uint32_t events = 0;

    if (end->state == END_CONNECTING) {
        return 0;
    }
    if (end->in != NULL || end->at_end || end->broken) {
        events |= EPOLLIN | EPOLLRDNORM;
    }
    if (end->at_end || end->broken) {
        events |= EPOLLRDHUP;
    }
    if (end->broken || tcp_has_room(end)) {
        events |= EPOLLOUT | EPOLLWRNORM;
    }
    if (end->broken) {
        events |= EPOLLHUP | (end->error != 0 ? (uint32_t)EPOLLERR : 0);
    }
    return events;
}

int tcp_take_error(struct tcp_end *end)
{
    int error = end->error;

    end->error = 0;
    return error;
}

void tcp_hold(struct tcp_end *end, bool hold)
{
    end->held = hold;
    if (!hold) {
        tcp_transmit(end);
    }
}

static void finish(struct tcp_end *end)
{
    struct tcp_segment *fin = sim_alloc(sizeof(*fin));

    fin->fin = true;
    tcp_append(end, fin);
    end->state = END_CLOSING;
    end->begun_us = sim_now_us();
    tcp_arm_last(end);
    tcp_transmit(end);
}

static void in_drop(struct tcp_end *end)
{
    while (end->in != NULL) {
        struct tcp_segment *segment = end->in;
        end->in = segment->next;
        tcp_discard(segment);
    }
}

static void let_go(struct tcp_end *end)
{
    end->tell = NULL;
    end->owner = NULL;
    in_drop(end);
    sim_event_cancel(&end->check);
}

void tcp_close(struct tcp_end *end)
{
    bool unread = end->in != NULL;

    let_go(end);
    tcp_hold(end, false);
    if (end->state == END_CONNECTING) {
        tcp_vanish(end);
    } else if (end->state == END_OPEN && unread) {
        tcp_refuse(end);
    } else if (end->state == END_OPEN) {
        finish(end);
    }
    tcp_settle(end);
}

void tcp_reset(struct tcp_end *end)
{
    let_go(end);
    if (end->state == END_OPEN) {
        tcp_refuse(end);
    } else if (end->state == END_CONNECTING) {
        tcp_vanish(end);
    }
    tcp_settle(end);
}
