/* peer_tap.h - one connection between a peer and libraft, with everything that stands between:
 * the pump for its bytes, and the check of what the peer says.
 *
 *     peer_tap_new(&tap, loop, socket, node_id, PEER_IN, &host, &stream);  hand stream to libraft
 *     ... on_end, then on_closed: the tap is gone ...
 *
 * Which peers may speak can change while they do: the host is asked whenever something comes. */
#ifndef NETLOCK_PEER_TAP_H
#define NETLOCK_PEER_TAP_H

#include <stdbool.h>
#include <stdint.h>

#include "peer_pump.h"

struct peer_tap;

struct peer_tap_host {
    void *arg;
    /* PEER_IN: whether @node_id may still speak to this node. */
    bool (*is_member)(void *arg, uint64_t node_id);
    /* As peer_pump_host's. */
    void (*on_end)(void *arg,
                   struct peer_tap *tap,
                   enum peer_end end,
                   const char *reason);
    void (*on_closed)(void *arg, struct peer_tap *tap);
};

/* As peer_pump_new(). */
int peer_tap_new(struct peer_tap **ret,
                 uv_loop_t *loop,
                 struct peer_socket *socket,
                 uint64_t node_id,
                 enum peer_direction direction,
                 const struct peer_tap_host *host,
                 uv_stream_t **ret_stream);

/* As peer_pump_flush(). */
void peer_tap_flush(struct peer_tap *tap);

/* on_end is not called for it, on_closed is. May be called again. */
void peer_tap_close(struct peer_tap *tap);

uint64_t peer_tap_node(const struct peer_tap *tap);
enum peer_direction peer_tap_direction(const struct peer_tap *tap);

/* It has not ended, and the kernel takes it for connected. */
bool peer_tap_established(const struct peer_tap *tap);

/* It has not ended. */
bool peer_tap_open(const struct peer_tap *tap);

/* The host's list of its taps: NULL-terminated. */
void peer_tap_push(struct peer_tap **list, struct peer_tap *tap);
void peer_tap_remove(struct peer_tap **list, struct peer_tap *tap);
struct peer_tap *peer_tap_next(const struct peer_tap *tap);

#endif
