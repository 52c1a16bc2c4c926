/* conn.h - one TCP connection on the loop: bytes to frames, answers to bytes, with TLS in
 * between if the host has a context. Knows no messages.
 *
 * Input. Every complete frame goes to on_frame(), in order. It answers CONN_TAKEN, or
 * CONN_LATER: then nothing more is read, and conn_resume() offers the same frame again. A
 * frame is taken from the buffer that was read into, without a copy; only what is
 * incomplete or put off is kept.
 *
 * Output. Answers are encoded straight into conn->out; conn_flush(), once per loop turn,
 * writes them with one system call. What a peer does not read is bounded: conn_queued()
 * says -ENOBUFS when, after the socket has taken what it can, more than output_bytes_max
 * wait.
 *
 * TLS. What is flushed in one turn is one record (of at most 16 KiB); nothing is answered
 * before on_secured(). An end without TLS's own close is no end but a broken connection:
 * anybody on the way can forge a FIN, and what an end sets free would be theirs to take.
 *
 * Time. One lazy timer: for the first frame, for the rest of an incomplete frame, and,
 * with a heartbeat set, for any byte at all. It stands still while we do not read.
 *
 * Life. The struct is embedded in its owner. After conn_close() only on_closed() is
 * called, when the handles are closed and the owner may be freed. */
#ifndef NETLOCK_CONN_H
#define NETLOCK_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "tls.h"
#include "wire.h"

enum { CONN_READ_BYTES = 65536 };

enum conn_take { CONN_TAKEN, CONN_LATER };

struct conn;

struct conn_host {
    enum conn_take (*on_frame)(struct conn *conn, const uint8_t *payload, size_t len);
    /* TLS: the peer has proved who it is, tls_peer(conn->tls). Before the first frame. */
    void (*on_secured)(struct conn *conn);
    /* The peer closed its direction, and every complete frame has been taken. */
    void (*on_end)(struct conn *conn);
    /* A frame is announced that is larger than the limit; nothing more will be read. */
    void (*on_oversize)(struct conn *conn);
    /* Reset, a timeout, no heartbeat: @why is for the log. The owner calls
     * conn_close(). */
    void (*on_broken)(struct conn *conn, const char *why);
    void (*on_closed)(struct conn *conn);
    uint8_t *read_buffer;    /* CONN_READ_BYTES, shared by all connections of a loop */
    uint8_t *text_buffer;    /* the same, for what TLS makes of it */
    struct tls_context *tls; /* of new connections; NULL: plain */
    size_t output_bytes_max;
    uint64_t frame_timeout_ms;
};

struct conn {
    const struct conn_host *host;
    int fd; /* tcp's */
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;

    struct tls *tls;         /* NULL: plain */
    struct wire_buf out;     /* encoded, not yet encrypted or given to the socket */
    struct wire_buf sending; /* under way in `write` */

    struct wire_buf in; /* what is left of the input: incomplete or put off */
    size_t in_taken;    /* of in.len */

    uint64_t opened_ms;
    uint64_t read_ms;       /* when the last byte came */
    uint64_t incomplete_ms; /* since when a frame waits for its rest; 0: none does */
    uint64_t heartbeat_ms;  /* 0: none demanded */
    uint8_t handles_open;
    bool secured, had_frame, reading, put_off, at_end, ended, finishing, closing, taking;
};

/* Take over the accepted socket @fd and read. On failure, a negative errno, the socket is
 * closed and on_closed() follows as after conn_close(). */
int conn_open(struct conn *conn, uv_loop_t *loop, const struct conn_host *host, int fd);

/* Offer the frame that was put off again, and those after it. Not from within
 * on_frame(). */
void conn_resume(struct conn *conn);

/* The longest silence from now on; 0: any. */
void conn_set_heartbeat(struct conn *conn, uint64_t heartbeat_ms);

/* To be called after encoding into conn->out. Returns 0, or -ENOBUFS if too much waits:
 * the owner closes. */
int conn_queued(struct conn *conn);

/* Write what is queued. */
void conn_flush(struct conn *conn);

/* Read nothing more, write what is queued (for at most frame_timeout_ms), then close. */
void conn_finish(struct conn *conn);

/* Close now; what is queued is lost. May be called again. */
void conn_close(struct conn *conn);

#endif
