#include "peer_tap.h"

#include <assert.h>
#include <stdlib.h>

#include "memory.h"
#include "peer_check.h"

static_assert((int)PEER_CHECK_HOLD_BYTES_MAX < (int)PEER_PUMP_BUFFER_BYTES,
              "what the check holds back finds room");

struct peer_tap {
    struct peer_tap *prev, *next;
    uint64_t node_id;
    enum peer_direction direction;
    struct peer_tap_host host;
    struct peer_check *check;
    struct peer_pump *pump;
    bool ended;
};

static const char *inspect(void *arg, const uint8_t *bytes, size_t len, size_t *ret_pass)
{
    struct peer_tap *tap = arg;

    if (!tap->host.is_member(tap->host.arg, tap->node_id)) {
        return "no member of the cluster any more";
    }
    return peer_check(tap->check, bytes, len, ret_pass);
}

static void on_end(void *arg, enum peer_end end, const char *reason)
{
    struct peer_tap *tap = arg;

    tap->ended = true;
    tap->host.on_end(tap->host.arg, tap, end, reason);
}

static void on_closed(void *arg)
{
    struct peer_tap *tap = arg;

    tap->host.on_closed(tap->host.arg, tap);
    peer_check_free(tap->check);
    free(tap);
}

int peer_tap_new(struct peer_tap **ret,
                 uv_loop_t *loop,
                 struct peer_socket *socket,
                 uint64_t node_id,
                 enum peer_direction direction,
                 const struct peer_tap_host *host,
                 uv_stream_t **ret_stream)
{
    struct peer_tap *tap = memory_new(sizeof *tap);
    struct peer_pump_host pump_host = {
        .arg = tap, .inspect = inspect, .on_end = on_end, .on_closed = on_closed};

    tap->node_id = node_id;
    tap->direction = direction;
    tap->host = *host;
    int error =
        peer_pump_new(&tap->pump, loop, socket, direction, &pump_host, ret_stream);
    if (error != 0) {
        free(tap);
        return error;
    }
    tap->check = peer_check_new(node_id);
    *ret = tap;
    return 0;
}

void peer_tap_close(struct peer_tap *tap)
{
    if (!tap->ended) {
        tap->ended = true;
        peer_pump_close(tap->pump);
    }
}

void peer_tap_flush(struct peer_tap *tap)
{
    peer_pump_flush(tap->pump);
}

uint64_t peer_tap_node(const struct peer_tap *tap)
{
    return tap->node_id;
}

enum peer_direction peer_tap_direction(const struct peer_tap *tap)
{
    return tap->direction;
}

bool peer_tap_open(const struct peer_tap *tap)
{
    return !tap->ended;
}

bool peer_tap_established(const struct peer_tap *tap)
{
    return !tap->ended && peer_socket_established(peer_pump_socket(tap->pump));
}

/* ---- the host's list ------------------------------------------------------------------------ */

void peer_tap_push(struct peer_tap **list, struct peer_tap *tap)
{
    tap->next = *list;
    if (tap->next != NULL) {
        tap->next->prev = tap;
    }
    *list = tap;
}

void peer_tap_remove(struct peer_tap **list, struct peer_tap *tap)
{
    if (tap->prev != NULL) {
        tap->prev->next = tap->next;
    } else {
        *list = tap->next;
    }
    if (tap->next != NULL) {
        tap->next->prev = tap->prev;
    }
}

struct peer_tap *peer_tap_next(const struct peer_tap *tap)
{
    return tap->next;
}
