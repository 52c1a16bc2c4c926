/* peer_pump.h - carries the bytes of one connection between a peer's socket and libraft.
 *
 *     socket of the peer  <->  pump  <->  socketpair  <->  libraft
 *
 * libraft never gets the peer's socket: it gets one end of a socketpair, and what it reads there
 * has passed through here. A connection of libraft's has one direction, from who opened it: on an
 * accepted one the peer's bytes go in, on an opened one libraft's go out. The way back carries
 * only the end; a peer that speaks there is refused.
 *
 * There is one buffer, and what is in it must have left before more is read: a slow reader stops
 * the writer on the other side, through both sockets, and nothing grows. The end of either side is
 * the end of the other, after the bytes before it. */
#ifndef NETLOCK_PEER_PUMP_H
#define NETLOCK_PEER_PUMP_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "peer_socket.h"

struct peer_pump;

enum { PEER_PUMP_BUFFER_BYTES = 65536 };

enum peer_direction {
    PEER_IN,  /* the peer opened it, and speaks */
    PEER_OUT, /* we opened it, and libraft speaks */
};

/* Who or what ended a connection. */
enum peer_end {
    PEER_END_LOST,    /* the peer closed it, or the network did: a UV_ error */
    PEER_END_REFUSED, /* the peer said what it must not */
    PEER_END_DROPPED, /* libraft closed its side */
};

struct peer_pump_host {
    void *arg;
    /* PEER_IN: @len bytes have come, those first that were left before. Returns NULL, and how many
     * of them may pass: none of the others are lost, more will come behind them; a full buffer
     * lets something pass. Or a reason: the connection ends. */
    const char *(*inspect)(void *arg, const uint8_t *bytes, size_t len, size_t *ret_pass);
    /* Called once unless peer_pump_close() was before. Both sides are closing. @reason is
     * borrowed. */
    void (*on_end)(void *arg, enum peer_end end, const char *reason);
    /* The last call. */
    void (*on_closed)(void *arg);
};

/* Take @socket over from its user, and give libraft's end of the socketpair: a stream from
 * raft_malloc(), which libraft closes and frees. Returns 0, or a negative errno: then the socket
 * is as it was. Nothing is called before the next turn of the loop. */
int peer_pump_new(struct peer_pump **ret,
                  uv_loop_t *loop,
                  struct peer_socket *socket,
                  enum peer_direction direction,
                  const struct peer_pump_host *host,
                  uv_stream_t **ret_stream);

/* PEER_OUT: what libraft has written goes on now, and not in the next turn of the loop, up to a buffer
 * full. That libraft has closed its side is told in that turn all the same; that the peer's is lost, as
 * soon as a write says so, also in here. */
void peer_pump_flush(struct peer_pump *pump);

/* Close both sides; on_end is not called for it, on_closed is. */
void peer_pump_close(struct peer_pump *pump);

const struct peer_socket *peer_pump_socket(const struct peer_pump *pump);

#endif
