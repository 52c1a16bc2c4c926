#include "tcp.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "socket.h"

enum {
    SECOND_US = 1000000,
    RTO_MAX_US = 10 * SECOND_US,
};
static const uint64_t give_up_us =
    UINT64_C(924) * SECOND_US; /* as Linux's tcp_retries2 */

/* ---- segments ---- */

void tcp_discard(struct tcp_segment *segment)
{
    if (segment->on_wire) {
        segment->done = true;
    } else {
        sim_free(segment);
    }
}

void tcp_append(struct tcp_end *end, struct tcp_segment *segment)
{
    segment->from = end;
    segment->seq = end->next_seq++;
    if (end->out != NULL) {
        end->out_last->next = segment;
    } else {
        end->out = segment;
    }
    end->out_last = segment;
    if (end->unsent == NULL) {
        end->unsent = segment;
    }
    end->queued += segment->len;
}

static void in_append(struct tcp_end *end, struct tcp_segment *segment)
{
    segment->next = NULL;
    if (end->in != NULL) {
        end->in_last->next = segment;
    } else {
        end->in = segment;
    }
    end->in_last = segment;
}

/* Nothing will be sent any more. What is on the wire or beyond still may arrive. */
void tcp_drop_unsent(struct tcp_end *end)
{
    struct tcp_segment **at = &end->out;

    end->out_last = NULL;
    while (*at != NULL) {
        struct tcp_segment *segment = *at;
        if (segment->on_wire || segment->arrived) {
            end->out_last = segment;
            at = &segment->next;
        } else {
            *at = segment->next;
            sim_free(segment);
        }
    }
    end->unsent = NULL;
}

/* ---- sending ---- */

static void on_segment(struct sim_packet *packet);
static void on_segment_lost(struct sim_packet *packet);

/* It may be lost before this returns, but nothing is freed then: it counts twice until the end. */
static void segment_send(struct tcp_segment *segment)
{
    struct tcp_end *from = segment->from;

    segment->on_wire = true;
    segment->packet.arrived = on_segment;
    segment->packet.lost = on_segment_lost;
    from->connection->on_wire += 2;
    sim_net_send(from->host, from->peer->host, TCP_HEADER_BYTES + segment->len,
                 &segment->packet);
    from->connection->on_wire--;
}

static bool fits(const struct tcp_end *end, const struct tcp_segment *segment)
{
    return end->window_used == 0 ||
           end->window_used + segment->len <= SIM_SOCKET_BUFFER_BYTES;
}

void tcp_transmit(struct tcp_end *end)
{
    bool moved = false;

    while (end->unsent != NULL && !end->held && fits(end, end->unsent)) {
        struct tcp_segment *segment = end->unsent;
        end->unsent = segment->next;
        end->window_used += segment->len;
        segment->sent_us = sim_now_us();
        segment_send(segment);
        moved = true;
    }
    if (moved || end->stalled_us == 0) {
        end->stalled_us = sim_now_us();
    }
    if (end->unsent == NULL) {
        end->stalled_us = 0;
    }
}

void tcp_arm(struct tcp_end *end)
{
    uint64_t at_us = sim_now_us() + end->rto_us;

    if (end->state == END_CLOSING && at_us > end->begun_us + TCP_ORPHAN_US) {
        at_us = end->begun_us + TCP_ORPHAN_US;
    }
    if (!sim_event_scheduled(&end->timer) || end->timer.at_us > at_us) {
        sim_event_at(&end->timer, at_us);
    }
}

/* For the end of a closed end's patience, unless something is to be sent again before. */
void tcp_arm_last(struct tcp_end *end)
{
    if (!sim_event_scheduled(&end->timer)) {
        sim_event_at(&end->timer, end->begun_us + TCP_ORPHAN_US);
    }
}

uint64_t tcp_waits_since_us(const struct tcp_end *end)
{
    if (end->unknown) {
        return end->unknown_us;
    }
    if (end->out != end->unsent) {
        return end->out->sent_us;
    }
    return end->unsent != NULL && !end->held ? end->stalled_us : SIM_NEVER;
}

/* Whether it has tried for long enough. */
static bool gives_up(const struct tcp_end *end)
{
    if (end->state == END_CLOSING) {
        return sim_now_us() - end->begun_us >= TCP_ORPHAN_US;
    }
    uint64_t since_us = tcp_waits_since_us(end);
    return since_us != SIM_NEVER && sim_now_us() - since_us >= give_up_us;
}

static void send_again(struct tcp_end *end)
{
    struct tcp_segment *unsent = end->unsent;

    if (end->unknown && end->out == unsent) {
        tcp_put_control(end, TCP_PROBE);
    }
    for (struct tcp_segment *one = end->out; one != unsent; one = one->next) {
        if (!one->on_wire && !one->arrived) {
            segment_send(one);
        }
    }
    tcp_transmit(end);
}

void tcp_on_timer(struct sim_event *event)
{
    struct tcp_end *end =
        (struct tcp_end *)((char *)event - offsetof(struct tcp_end, timer));

    if (end->state == END_CONNECTING || end->state == END_ACCEPTING) {
        tcp_on_open_timer(end);
    } else if (!gives_up(end)) {
        end->rto_us = end->rto_us < RTO_MAX_US / 2 ? 2 * end->rto_us : RTO_MAX_US;
        send_again(end);
        if (end->state == END_CLOSING) {
            tcp_arm_last(end);
        }
    } else if (end->state == END_CLOSING) {
        tcp_vanish(end);
    } else {
        tcp_break(end, ETIMEDOUT);
    }
    tcp_settle(end);
}

/* ---- arriving ---- */

bool tcp_has_room(const struct tcp_end *end)
{
    return end->queued <= SIM_SOCKET_BUFFER_BYTES / 3 * 2;
}

/* The sender hears that what was taken was taken. */
static void acknowledge(struct tcp_end *from)
{
    bool had_room = tcp_has_room(from);

    from->queued -= from->taken_unknown;
    from->taken_unknown = 0;
    from->unknown = false;
    from->rto_us = TCP_RTO_MIN_US;
    tcp_hear(from);
    if (from->state == END_CLOSING) {
        if (from->out == NULL) {
            tcp_vanish(from);
        } else {
            from->begun_us = sim_now_us();
        }
        return;
    }
    if (from->out == from->unsent) {
        sim_event_cancel(&from->timer);
    }
    if (!had_room && tcp_has_room(from)) {
        tcp_tell_owner(from, EPOLLOUT);
    }
}

static void acknowledge_if_reached(struct tcp_end *from)
{
    if (from->state == END_GONE) {
        return;
    }
    if (tcp_reaches(from->peer, from)) {
        acknowledge(from);
    } else {
        tcp_arm(from);
    }
}

void tcp_on_probe(struct tcp_end *end)
{
    tcp_hear(end);
    if (end->peer->unknown) {
        acknowledge_if_reached(end->peer);
    }
}

static void note_taken(struct tcp_end *from, const struct tcp_segment *segment)
{
    from->taken_seq++;
    if (from->state == END_GONE) {
        return;
    }
    from->taken_unknown += segment->len;
    if (!from->unknown) {
        from->unknown = true;
        from->unknown_us = segment->sent_us;
    }
}

/* What is there without a gap goes over to the receiver. */
static void take_in_order(struct tcp_end *from, struct tcp_end *to)
{
    struct tcp_segment *segment = from->out;
    bool open = to->state == END_OPEN;
    bool any = false;

    while (segment != NULL && segment->arrived && segment->seq == from->taken_seq) {
        from->out = segment->next;
        note_taken(from, segment);
        if (open && !segment->fin) {
            in_append(to, segment);
        } else {
            to->at_end |= open;
            tcp_discard(segment);
        }
        segment = from->out;
        any = true;
    }
    if (any) {
        acknowledge_if_reached(from);
        tcp_tell_owner(to, EPOLLIN);
    }
}

/* Its last copy is lost, or nobody wanted it. */
static void segment_failed(struct tcp_segment *segment)
{
    struct tcp_end *from = segment->from;

    if (segment->on_wire || segment->arrived) {
        return;
    }
    if (from->state == END_GONE) {
        tcp_drop_unsent(from);
    } else {
        tcp_arm(from);
    }
}

static void segment_came(struct tcp_segment *segment)
{
    struct tcp_end *from = segment->from;
    struct tcp_end *to = from->peer;

    tcp_hear(to);
    if (to->state == END_ACCEPTING) {
        tcp_on_heard(to);
    }
    if (to->state == END_ACCEPTING) {
        segment_failed(segment); /* no room for the connection */
    } else if (to->state != END_OPEN && segment->len != 0) {
        if (from->state != END_GONE) {
            tcp_refuse(to);
        }
        segment_failed(segment);
    } else {
        segment->arrived = true;
        take_in_order(from, to);
    }
}

/* One copy less. Returns whether the segment is of use still. */
static bool segment_lands(struct tcp_segment *segment)
{
    if (segment->packet.copies == 0) {
        segment->on_wire = false;
        segment->from->connection->on_wire--;
        if (segment->done) {
            sim_free(segment);
            return false;
        }
    }
    return !segment->done;
}

static void on_segment(struct sim_packet *packet)
{
    struct tcp_segment *segment = (struct tcp_segment *)packet;
    struct tcp_end *from = segment->from;

    if (segment_lands(segment) && !segment->arrived) {
        segment_came(segment);
    }
    tcp_settle(from);
}

static void on_segment_lost(struct sim_packet *packet)
{
    struct tcp_segment *segment = (struct tcp_segment *)packet;
    struct tcp_end *from = segment->from;

    if (segment_lands(segment)) {
        segment_failed(segment);
    }
    tcp_settle(from);
}
