/* tcp_check.c - SO_KEEPALIVE and TCP_USER_TIMEOUT, without a packet: a probe finds out at once
 * whether both ways are passable. An open end with such options looks after itself at the least
 * of its intervals, which is soon enough: what waits has begun to wait after the last look. */
#include "tcp.h"

#include <errno.h>
#include <stddef.h>

enum { MS_US = 1000, S_US = 1000000 };

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t timeout_us(const struct tcp_end *end)
{
    return (uint64_t)end->options.user_timeout_ms * MS_US;
}

static uint64_t probe_due_us(const struct tcp_end *end)
{
    return end->heard_us + (uint64_t)end->options.idle_s * S_US +
           (uint64_t)end->options.interval_s * S_US * end->probes;
}

static uint64_t due_us(const struct tcp_end *end)
{
    uint64_t since_us = tcp_waits_since_us(end);
    bool waits = since_us != SIM_NEVER;
    uint64_t due_us = SIM_NEVER;

    if (end->options.user_timeout_ms != 0) {
        due_us = (waits ? since_us : sim_now_us()) + timeout_us(end);
    }
    if (end->options.keepalive) {
        /* Who waits for an answer needs no probes. */
        due_us =
            earlier(due_us, waits ? sim_now_us() + (uint64_t)end->options.idle_s * S_US
                                  : probe_due_us(end));
    }
    return due_us;
}

void tcp_check_later(struct tcp_end *end)
{
    if (end->state == END_OPEN) {
        sim_event_at(&end->check, due_us(end));
    }
}

void tcp_set_options(struct tcp_end *end, const struct tcp_options *options)
{
    end->options = *options;
    tcp_check_later(end);
}

/* As in Linux, a user timeout takes the place of the number of probes. */
static bool probed_enough(const struct tcp_end *end)
{
    if (end->options.user_timeout_ms != 0) {
        return end->probes > 0 && sim_now_us() - end->heard_us >= timeout_us(end);
    }
    return end->probes >= end->options.count;
}

static void probe(struct tcp_end *end)
{
    if (probed_enough(end)) {
        tcp_put_control(end, TCP_RST);
        tcp_break(end, ETIMEDOUT);
    } else if (!tcp_reaches(end, end->peer) || !tcp_reaches(end->peer, end)) {
        end->probes++;
    } else if (end->peer->state == END_GONE) {
        tcp_break(end, end->at_end ? EPIPE : ECONNRESET);
    } else {
        tcp_hear(end);
    }
}

void tcp_on_check(struct sim_event *event)
{
    struct tcp_end *end =
        (struct tcp_end *)((char *)event - offsetof(struct tcp_end, check));
    uint64_t since_us = tcp_waits_since_us(end);

    if (since_us == SIM_NEVER) {
        if (end->options.keepalive && sim_now_us() >= probe_due_us(end)) {
            probe(end);
        }
    } else if (end->options.user_timeout_ms != 0 &&
               sim_now_us() - since_us >= timeout_us(end)) {
        tcp_break(end, ETIMEDOUT);
    }
    tcp_check_later(end);
    tcp_settle(end);
}
