#include "transport.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "memory.h"
#include "peer_address.h"
#include "transport_internal.h"

enum { LISTEN_BACKLOG = 128, LOG_LINE_BYTES = 1024 };

/* ---- logging -------------------------------------------------------------------------------- */

void transport_log(const struct transport *transport, int level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    transport->config.log(transport->config.arg, level, line);
}

void transport_log_gated(const struct transport *transport,
                         struct transport_log_gate *gate,
                         const char *format,
                         ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;
    uint64_t now_ms = uv_now(transport->loop);

    if (now_ms < gate->open_at_ms) {
        gate->suppressed++;
        return;
    }
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (gate->suppressed > 0) {
        transport_log(transport, 2, "%s (and %u more like this)", line, gate->suppressed);
    } else {
        transport_log(transport, 2, "%s", line);
    }
    gate->open_at_ms = now_ms + TRANSPORT_LOG_INTERVAL_MS;
    gate->suppressed = 0;
}

/* ---- peers and their connections ------------------------------------------------------------ */

static unsigned count_taps(const struct transport *transport,
                           uint64_t node_id,
                           enum peer_direction direction)
{
    unsigned count = 0;

    for (struct peer_tap *tap = transport->taps; tap != NULL; tap = peer_tap_next(tap)) {
        if (peer_tap_node(tap) == node_id && peer_tap_direction(tap) == direction &&
            peer_tap_open(tap)) {
            count++;
        }
    }
    return count;
}

static bool peer_in_use(const struct transport *transport,
                        const struct transport_peer *peer)
{
    return count_taps(transport, peer->node_id, PEER_IN) > 0 ||
           count_taps(transport, peer->node_id, PEER_OUT) > 0 ||
           peer->shut_until_ms > uv_now(transport->loop);
}

/* The record of @node_id, if need be in place of one without a connection. NULL if all
 * have some. */
static struct transport_peer *peer_get(struct transport *transport, uint64_t node_id)
{
    struct transport_peer *idle = NULL;

    for (unsigned i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        struct transport_peer *peer = &transport->peers[i];
        if (peer->node_id == node_id) {
            return peer;
        }
        if ((idle == NULL || idle->node_id != 0) && !peer_in_use(transport, peer)) {
            idle = peer;
        }
    }
    if (idle != NULL) {
        *idle = (struct transport_peer){.node_id = node_id};
    }
    return idle;
}

void transport_flush(struct raft_uv_transport *face)
{
    struct transport *transport = face->impl;

    for (struct peer_tap *tap = transport->taps; tap != NULL; tap = peer_tap_next(tap)) {
        peer_tap_flush(tap);
    }
}

bool transport_connected(const struct raft_uv_transport *face, uint64_t node_id)
{
    const struct transport *transport = face->impl;

    for (struct peer_tap *tap = transport->taps; tap != NULL; tap = peer_tap_next(tap)) {
        if (peer_tap_node(tap) == node_id && peer_tap_direction(tap) == PEER_OUT &&
            peer_tap_established(tap)) {
            return true;
        }
    }
    return false;
}

/* ---- taps ----------------------------------------------------------------------------------- */

static bool on_tap_is_member(void *arg, uint64_t node_id)
{
    const struct transport *transport = arg;
    const char *address = NULL;

    return transport->config.membership(transport->config.arg, node_id, &address) !=
           TRANSPORT_STRANGER;
}

static void
tell_refused(struct transport *transport, uint64_t node_id, const char *reason)
{
    transport_log_gated(transport, &transport->refused_bytes,
                        "refused a message of node %" PRIu64
                        ": %s; its connection is closed",
                        node_id, reason);
}

static void peer_shut_out(struct transport *transport, uint64_t node_id)
{
    struct transport_peer *peer = peer_get(transport, node_id);

    if (peer != NULL) {
        peer->shut_until_ms = uv_now(transport->loop) + TRANSPORT_SHUT_MS;
    }
}

static void
on_tap_end(void *arg, struct peer_tap *tap, enum peer_end end, const char *reason)
{
    struct transport *transport = arg;
    const struct transport_config *config = &transport->config;
    uint64_t node_id = peer_tap_node(tap);
    enum peer_direction direction = peer_tap_direction(tap);

    if (end == PEER_END_REFUSED) {
        tell_refused(transport, node_id, reason);
        peer_shut_out(transport, node_id);
    } else {
        transport_log(transport, direction == PEER_OUT && end == PEER_END_LOST,
                      "the connection %s node %" PRIu64 " has ended: %s",
                      direction == PEER_OUT ? "to" : "from", node_id, reason);
    }
    if (config->connection_ended != NULL) {
        config->connection_ended(config->arg, node_id, direction, end);
    }
}

static void on_tap_closed(void *arg, struct peer_tap *tap)
{
    struct transport *transport = arg;

    peer_tap_remove(&transport->taps, tap);
    transport_closed_one(transport);
}

int transport_tap(struct transport *transport,
                  uint64_t node_id,
                  enum peer_direction direction,
                  struct peer_socket *socket,
                  uv_stream_t **ret_stream)
{
    struct peer_tap_host host = {
        .arg = transport,
        .is_member = on_tap_is_member,
        .on_end = on_tap_end,
        .on_closed = on_tap_closed,
    };
    struct peer_tap *tap = NULL;

    /* Several handshakes of one peer may have been judged before the first of them ended. */
    if (direction == PEER_IN &&
        count_taps(transport, node_id, PEER_IN) >= TRANSPORT_INBOUND_PER_PEER_MAX) {
        return UV_EBUSY;
    }
    int error = peer_tap_new(&tap, transport->loop, socket, node_id, direction, &host,
                             ret_stream);
    if (error != 0) {
        return error;
    }
    peer_tap_push(&transport->taps, tap);
    /* It is counted in transport->open in place of its socket. */
    return 0;
}

static void close_tap(struct transport *transport, struct peer_tap *tap)
{
    const struct transport_config *config = &transport->config;

    peer_tap_close(tap);
    if (config->connection_ended != NULL && !transport->closing) {
        config->connection_ended(config->arg, peer_tap_node(tap), peer_tap_direction(tap),
                                 PEER_END_REFUSED);
    }
}

void transport_refuse(struct raft_uv_transport *face,
                      uint64_t node_id,
                      const char *reason)
{
    struct transport *transport = face->impl;

    tell_refused(transport, node_id, reason);
    peer_shut_out(transport, node_id);
    for (struct peer_tap *tap = transport->taps; tap != NULL; tap = peer_tap_next(tap)) {
        if (peer_tap_node(tap) == node_id && peer_tap_direction(tap) == PEER_IN &&
            peer_tap_open(tap)) {
            close_tap(transport, tap);
        }
    }
}

/* ---- who may connect ------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static enum handshake_verdict
refuse(char *ret_reason, enum handshake_verdict verdict, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_reason, HANDSHAKE_TEXT_BYTES_MAX + 1, format, args);
    va_end(args);
    return verdict;
}

bool transport_is_certified(const struct transport *transport,
                            const struct tls_identity *identity,
                            uint64_t node_id,
                            char ret_reason[static HANDSHAKE_TEXT_BYTES_MAX + 1])
{
    const struct transport_config *config = &transport->config;

    if (identity == NULL || (identity->kind == TLS_NODE && identity->node_id == node_id &&
                             strcmp(identity->cluster, config->cluster_id) == 0)) {
        return true;
    }
    if (identity->kind == TLS_NODE) {
        refuse(ret_reason, HANDSHAKE_WRONG_CERTIFICATE,
               "the certificate is of node %" PRIu64
               " of cluster %.63s, not of node %" PRIu64 " of %.63s",
               identity->node_id, identity->cluster, node_id, config->cluster_id);
    } else {
        refuse(ret_reason, HANDSHAKE_WRONG_CERTIFICATE,
               "the certificate is not that of a node: it needs the URI "
               "netlock://%.63s/node/%" PRIu64,
               config->cluster_id, node_id);
    }
    return false;
}

enum handshake_verdict
transport_judge(struct transport *transport,
                const struct handshake_hello *hello,
                const struct tls_identity *identity,
                char ret_reason[static HANDSHAKE_TEXT_BYTES_MAX + 1])
{
    const struct transport_config *config = &transport->config;
    const char *address = NULL;

    ret_reason[0] = '\0';
    if (hello->version != HANDSHAKE_VERSION) {
        return refuse(ret_reason, HANDSHAKE_WRONG_VERSION,
                      "handshake version %" PRIu32 " is not supported, only %d",
                      hello->version, HANDSHAKE_VERSION);
    }
    if (!transport_is_certified(transport, identity, hello->from_node, ret_reason)) {
        return HANDSHAKE_WRONG_CERTIFICATE;
    }
    if (strcmp(hello->cluster_id, config->cluster_id) != 0) {
        return refuse(ret_reason, HANDSHAKE_WRONG_CLUSTER,
                      "this node is of cluster %.63s, not of %.63s", config->cluster_id,
                      hello->cluster_id);
    }
    if (hello->to_node != config->node_id) {
        return refuse(ret_reason, HANDSHAKE_WRONG_NODE,
                      "this is node %" PRIu64 ", not node %" PRIu64, config->node_id,
                      hello->to_node);
    }
    if (hello->from_node == config->node_id) {
        return refuse(ret_reason, HANDSHAKE_OWN_ID,
                      "node id %" PRIu64 " is mine: two nodes have it", config->node_id);
    }
    if (config->membership(config->arg, hello->from_node, &address) ==
        TRANSPORT_STRANGER) {
        return refuse(ret_reason, HANDSHAKE_STRANGER,
                      "node %" PRIu64 " is not a member of the cluster",
                      hello->from_node);
    }
    const struct transport_peer *peer = peer_get(transport, hello->from_node);
    if (peer != NULL && peer->shut_until_ms > uv_now(transport->loop)) {
        return refuse(ret_reason, HANDSHAKE_SHUT_OUT,
                      "node %" PRIu64 " sent a message that was refused",
                      hello->from_node);
    }
    if (peer == NULL || count_taps(transport, hello->from_node, PEER_IN) >=
                            TRANSPORT_INBOUND_PER_PEER_MAX) {
        return refuse(ret_reason, HANDSHAKE_TOO_MANY,
                      "too many connections from node %" PRIu64, hello->from_node);
    }
    return HANDSHAKE_WELCOME;
}

/* ---- what becomes of links ------------------------------------------------------------------ */

void transport_accepted(struct transport *transport,
                        const struct handshake_hello *hello,
                        uv_stream_t *stream)
{
    const struct transport_config *config = &transport->config;
    const char *address = hello->address;

    /* Answers go to the address of the membership: libraft would dial whatever the peer
     * says. */
    if (config->membership(config->arg, hello->from_node, &address) != TRANSPORT_MEMBER) {
        address = hello->address;
    }
    transport_log(transport, 0, "node %" PRIu64 " has connected", hello->from_node);
    transport->on_accept(transport->face, hello->from_node, address, stream);
}

void transport_connect_done(struct transport *transport,
                            uint64_t node_id,
                            const struct sockaddr_storage *address,
                            uint32_t level)
{
    struct transport_peer *peer = peer_get(transport, node_id);

    transport_log(transport, 1, "connected to node %" PRIu64, node_id);
    if (peer != NULL) {
        peer->unreachable = false;
        peer->reached_at = *address;
        peer->level = level;
    }
}

/* The peer, if it was ever reached. */
static const struct transport_peer *peer_reached(const struct raft_uv_transport *face,
                                                 uint64_t node_id)
{
    const struct transport *transport = face->impl;

    for (unsigned i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        const struct transport_peer *peer = &transport->peers[i];
        if (peer->node_id == node_id && peer->reached_at.ss_family != 0) {
            return peer;
        }
    }
    return NULL;
}

bool transport_reached_at(const struct raft_uv_transport *face,
                          uint64_t node_id,
                          struct sockaddr_storage *ret)
{
    const struct transport_peer *peer = peer_reached(face, node_id);

    if (peer != NULL) {
        *ret = peer->reached_at;
    }
    return peer != NULL;
}

uint32_t transport_level(const struct raft_uv_transport *face, uint64_t node_id)
{
    const struct transport_peer *peer = peer_reached(face, node_id);

    return peer != NULL ? peer->level : 0;
}

void transport_connect_failed(struct transport *transport,
                              uint64_t node_id,
                              const char *address,
                              const char *reason)
{
    struct transport_peer *peer = peer_get(transport, node_id);

    if (peer == NULL || peer->unreachable) {
        return;
    }
    peer->unreachable = true;
    transport_log(transport, 2,
                  "cannot connect to node %" PRIu64 " at %s: %s (trying on)", node_id,
                  address, reason);
}

void transport_closed_one(struct transport *transport)
{
    assert(transport->open > 0);
    transport->open--;
    if (transport->open == 0 && transport->closing) {
        transport->on_closed(transport->face);
    }
}

/* ---- listening ------------------------------------------------------------------------------ */

static void on_connection(uv_stream_t *listener, int status)
{
    struct transport *transport = listener->data;

    if (status != 0) {
        transport_log_gated(transport, &transport->crowded,
                            "cannot accept a peer's connection: %s", uv_strerror(status));
        return;
    }
    transport_link_accept(transport, listener);
}

static void on_listener_closed(uv_handle_t *handle)
{
    transport_closed_one(handle->data);
}

static int listen_failed(struct transport *transport, int error, const char *address)
{
    transport->listen_error = error;
    snprintf(transport->face->errmsg, sizeof transport->face->errmsg,
             "cannot listen for peers on %.128s: %s", address, uv_strerror(error));
    return RAFT_IOERR;
}

/* Names such as localhost have addresses of families that the machine may not have. */
static bool family_missing(int error)
{
    return error == UV_EAFNOSUPPORT || error == UV_EADDRNOTAVAIL;
}

static int listen_on(struct transport *transport, const struct addrinfo *found)
{
    unsigned flags = found->ai_family == AF_INET6 ? UV_TCP_IPV6ONLY : 0;
    uv_tcp_t *listener = &transport->listeners[transport->listeners_count];
    int error = uv_tcp_init(transport->loop, listener);

    assert(error == 0);
    listener->data = transport;
    transport->listeners_count++;
    transport->open++;
    error = uv_tcp_bind(listener, found->ai_addr, flags);
    if (error != 0) {
        return error;
    }
    return uv_listen((uv_stream_t *)listener, LISTEN_BACKLOG, on_connection);
}

/* Bind every address that @found lists. Sockets that could not be bound stay until
 * closing. */
static int listen_on_all(struct transport *transport, const struct addrinfo *found)
{
    size_t count = 0;
    unsigned listening = 0;
    int missing = UV_EADDRNOTAVAIL;

    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        count++;
    }
    transport->listeners = memory_new(count * sizeof *transport->listeners);
    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        int error = listen_on(transport, one);
        if (error == 0) {
            listening++;
        } else if (family_missing(error)) {
            missing = error;
        } else {
            return error;
        }
    }
    return listening > 0 ? 0 : missing;
}

static int transport_listen(struct raft_uv_transport *face, raft_uv_accept_cb on_accept)
{
    struct transport *transport = face->impl;
    const char *address = transport->config.listen_address != NULL
                              ? transport->config.listen_address
                              : transport->address;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct peer_address parsed;

    transport->on_accept = on_accept;
    if (peer_address_parse(address, &parsed) != 0) {
        return listen_failed(transport, -EINVAL, address);
    }
    /* Blocks, but this is before the node takes part in anything. */
    int error = getaddrinfo(parsed.host, parsed.port, &hints, &found);
    if (error != 0) {
        listen_failed(transport, UV_EADDRNOTAVAIL, address);
        snprintf(face->errmsg, sizeof face->errmsg,
                 "cannot listen for peers on %.128s: %s", address, gai_strerror(error));
        return RAFT_IOERR;
    }
    error = listen_on_all(transport, found);
    freeaddrinfo(found);
    return error == 0 ? 0 : listen_failed(transport, error, address);
}

int transport_listen_error(const struct raft_uv_transport *face)
{
    const struct transport *transport = face->impl;

    return transport->listen_error;
}

/* ---- life
 * -------------------------------------------------------------------------------------
 */

static char *copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    if (text != NULL && copy == NULL) {
        abort();
    }
    return copy;
}

static int
transport_on_init(struct raft_uv_transport *face, raft_id id, const char *address)
{
    struct transport *transport = face->impl;

    assert(id == transport->config.node_id);
    (void)id;
    transport->address = copy_text(address);
    return 0;
}

static void transport_on_close(struct raft_uv_transport *face,
                               raft_uv_transport_close_cb on_closed)
{
    struct transport *transport = face->impl;

    assert(!transport->closing);
    transport->closing = true;
    transport->on_closed = on_closed;
    for (unsigned i = 0; i < transport->listeners_count; i++) {
        uv_close((uv_handle_t *)&transport->listeners[i], on_listener_closed);
    }
    transport_links_cancel(transport);
    for (struct peer_tap *tap = transport->taps; tap != NULL; tap = peer_tap_next(tap)) {
        peer_tap_close(tap);
    }
    if (transport->open == 0) {
        on_closed(face);
    }
}

void transport_init(struct raft_uv_transport *face,
                    uv_loop_t *loop,
                    const struct transport_config *config)
{
    struct transport *transport = memory_new(sizeof *transport);
    transport->face = face;
    transport->loop = loop;
    transport->config = *config;
    transport->config.cluster_id = copy_text(config->cluster_id);
    transport->config.listen_address = copy_text(config->listen_address);
    *face = (struct raft_uv_transport){
        .version = 1,
        .impl = transport,
        .init = transport_on_init,
        .listen = transport_listen,
        .connect = transport_link_connect,
        .close = transport_on_close,
    };
}

void transport_set_tls(struct raft_uv_transport *face, const struct transport_tls *tls)
{
    struct transport *transport = face->impl;

    assert((tls->in == NULL) == (tls->out == NULL));
    tls_context_free(transport->tls.in);
    tls_context_free(transport->tls.out);
    transport->tls = *tls;
}

void transport_release(struct raft_uv_transport *face)
{
    struct transport *transport = face->impl;

    assert(transport->open == 0 && transport->links == NULL && transport->taps == NULL);
    free((void *)(uintptr_t)transport->config.cluster_id);
    free((void *)(uintptr_t)transport->config.listen_address);
    tls_context_free(transport->tls.in);
    tls_context_free(transport->tls.out);
    free(transport->address);
    free(transport->listeners);
    free(transport);
    face->impl = NULL;
}
