/* tcp.h - connections between hosts, below the sockets of processes (socket.c): two ends each,
 * which know nothing of processes and descriptors and outlive both.
 *
 * Bytes are kept in segments, one per write. A segment lives in the sender's `out` from the
 * write until it has arrived and everything before it has; then it moves, as it is, to the
 * receiver's `in` until it is read. There are no acknowledgements as packets: what arrives is
 * acknowledged at once if the way back is passable; if not, the bytes are there, but their sender
 * goes on asking.
 *
 * Time is only spent on what goes wrong: a timer runs for a connection that is being made, for
 * what was lost, for a closed end with something left to send, and, rarely, to look after options
 * that were set. */
#ifndef NETLOCK_SIM_TCP_H
#define NETLOCK_SIM_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "net.h"

enum tcp_state {
    END_NONE, /* nobody has answered the call */
    END_CONNECTING,
    END_ACCEPTING, /* it answered, and waits to hear that it was heard */
    END_OPEN,
    END_CLOSING, /* the program has closed it, what it wrote is still on its way */
    END_GONE,    /* closed or broken; whatever comes for it is refused */
};

/* The options that end connections. */
struct tcp_options {
    bool keepalive;
    uint32_t idle_s, interval_s, count;
    uint32_t user_timeout_ms; /* 0: none */
};

/* Called outside of any process with what is possible now (EPOLLIN and so on). */
typedef void (*tcp_tell)(void *owner, uint32_t events);

struct tcp_segment {
    struct sim_packet packet;
    struct tcp_segment *next;
    struct tcp_end *from;
    uint64_t sent_us;
    uint64_t seq;
    uint32_t len, taken; /* bytes; of them read */
    bool fin;
    bool on_wire;
    bool arrived;
    bool done; /* in no list; it is freed when it is not on the wire any more */
    uint8_t bytes[];
};

struct tcp_end {
    enum tcp_state state;
    uint32_t host;
    uint16_t port;
    struct tcp_connection *connection;
    struct tcp_end *peer;
    tcp_tell tell; /* NULL: nobody has it */
    void *owner;

    /* What it sends. */
    struct tcp_segment *out, *out_last; /* in order; the unsent ones last */
    struct tcp_segment *unsent;         /* the first of these */
    uint64_t next_seq, taken_seq; /* of the next one written; of the next to be taken */
    size_t queued;                /* bytes that are not acknowledged */
    size_t taken_unknown;         /* of them taken, but the way back was closed */
    size_t window_used;           /* bytes sent and not read by the peer's program */
    bool unknown;                 /* something was taken and the sender does not know */
    bool held;
    uint64_t unknown_us; /* when the oldest of it was sent */
    uint64_t stalled_us; /* since when the window is closed; of use while it is */
    uint64_t rto_us;
    uint64_t begun_us; /* of CONNECTING and CLOSING */
    unsigned tries;
    struct sim_event timer;

    /* What it receives. */
    struct tcp_segment *in, *in_last;
    bool at_end; /* the peer has closed */
    bool broken;
    int error; /* not yet told to the program */

    struct tcp_options options;
    uint64_t heard_us;
    unsigned probes; /* unanswered */
    struct sim_event check;

    struct tcp_end *next_waiting;
    bool waiting; /* to be accepted */
};

/* Private to tcp*.c. */
struct tcp_connection {
    struct tcp_end ends[2]; /* who called, and who was called */
    struct tcp_connection *next, *previous;
    unsigned on_wire; /* packets of it that are on their way */
};

/* Embedded in its owner. */
struct tcp_listener {
    uint32_t host;
    uint16_t port;
    unsigned backlog;
    tcp_tell tell;
    void *owner;

    /* Private. */
    struct tcp_listener *next;
    struct tcp_end *waiting, *waiting_last;
    unsigned waiting_count;
};

/* ---- what programs do (tcp_open.c, tcp.c) ---- */

/* 0, or -EADDRINUSE. */
int tcp_listen(struct tcp_listener *listener);
void tcp_unlisten(struct tcp_listener *listener); /* nothing if it does not listen */
/* The first connection that waits, or NULL. The caller sets tell and owner. */
struct tcp_end *tcp_accept(struct tcp_listener *listener);
/* A port that nobody uses now. */
uint16_t tcp_free_port(uint32_t host);

struct tcp_end *tcp_connect(uint32_t from, uint32_t to, uint16_t port);
void tcp_set_options(struct tcp_end *end, const struct tcp_options *options);
/* As send(2) and recv(2) without blocking: the count, 0 at the end, or -errno. */
ssize_t tcp_send(struct tcp_end *end, const void *data, size_t len);
ssize_t tcp_receive(struct tcp_end *end, void *data, size_t len);
uint32_t tcp_events(const struct tcp_end *end); /* EPOLLIN and so on */
int tcp_take_error(struct tcp_end *end);        /* SO_ERROR */
void tcp_hold(struct tcp_end *end, bool hold);
/* The program lets go of it and may use it no more. What is held is not held any longer. */
void tcp_close(struct tcp_end *end);
void tcp_reset(struct tcp_end *end); /* the same with RST; what is held is lost */

void tcp_forget_all(void);
unsigned tcp_connections(void); /* that are not over */

/* ---- between tcp*.c ---- */

enum {
    TCP_HEADER_BYTES = 52,
    TCP_RTO_MIN_US = 200000,
    TCP_ORPHAN_US = 60000000, /* how long a closed end goes on trying */
};

enum tcp_control { TCP_SYN, TCP_SYN_ACK, TCP_ACK, TCP_RST, TCP_PROBE };
void tcp_put_control(struct tcp_end *from, enum tcp_control type);
/* What came to @to that is neither bytes nor their end. */
void tcp_on_control(struct tcp_end *to, enum tcp_control type);
void tcp_on_control_lost(struct tcp_end *from, enum tcp_control type);
/* Of an end that is CONNECTING or ACCEPTING. */
void tcp_on_open_timer(struct tcp_end *end);
/* It was heard that an ACCEPTING end had answered: it is open if there is room for it. */
void tcp_on_heard(struct tcp_end *end);

struct tcp_end *tcp_new(uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port);
void tcp_settle(
    struct tcp_end *end); /* free the connection if nobody needs it any more */
void tcp_is_open(struct tcp_end *end);
void tcp_break(struct tcp_end *end, int error);
void tcp_vanish(struct tcp_end *end); /* GONE without a word */
void tcp_refuse(struct tcp_end *end); /* GONE, with RST to the peer */
/* The peer has asked whether what its sender does not know was taken. */
void tcp_on_probe(struct tcp_end *end);
/* Since when it waits for the peer, or SIM_NEVER. */
uint64_t tcp_waits_since_us(const struct tcp_end *end);
bool tcp_reaches(const struct tcp_end *from, const struct tcp_end *to);

void tcp_hear(struct tcp_end *end); /* it knows that the peer is there */
void tcp_tell_owner(struct tcp_end *end, uint32_t events);

/* tcp_stream.c: the way of the bytes. */
void tcp_append(struct tcp_end *end, struct tcp_segment *segment);
void tcp_transmit(struct tcp_end *end); /* what may be sent */
void tcp_drop_unsent(struct tcp_end *end);
void tcp_discard(struct tcp_segment *segment);
bool tcp_has_room(const struct tcp_end *end); /* it is writable */
void tcp_on_timer(struct sim_event *event);
void tcp_arm(struct tcp_end *end); /* something of it must be sent again */
void tcp_arm_last(struct tcp_end *end);

/* tcp_check.c: look after the options of an open end. */
void tcp_check_later(struct tcp_end *end);
void tcp_on_check(struct sim_event *event);

#endif
