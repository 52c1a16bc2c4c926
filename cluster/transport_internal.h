/* transport_internal.h - what transport.c (peers, listening, closing) and
 * transport_link.c (one connection in the making) share. Nobody else includes it. */
#ifndef NETLOCK_TRANSPORT_INTERNAL_H
#define NETLOCK_TRANSPORT_INTERNAL_H

#include "peer_socket.h"
#include "peer_tap.h"
#include "transport.h"
#include "transport_handshake.h"

enum { TRANSPORT_LOOKUPS_MAX = 16 };

struct transport_peer {
    uint64_t node_id;       /* 0: this slot is free */
    bool unreachable;       /* and that has been logged */
    uint64_t shut_until_ms; /* it said what was refused */
    struct sockaddr_storage reached_at; /* family 0: never was */
    uint32_t level;                     /* when it was; 0: never was */
};

/* What is logged at most once per TRANSPORT_LOG_INTERVAL_MS. */
struct transport_log_gate {
    uint64_t open_at_ms;
    unsigned suppressed;
};

struct transport {
    struct raft_uv_transport *face;
    uv_loop_t *loop;
    struct transport_config config; /* texts are ours */
    char *address;                  /* our own, as peers dial it */
    struct transport_tls tls;

    uv_tcp_t *listeners;
    unsigned listeners_count;
    int listen_error;
    raft_uv_accept_cb on_accept;

    struct transport_link *links; /* connections in the making */
    unsigned handshakes_count;    /* the inbound ones of them */
    unsigned lookups_count; /* in the thread pool, also those that no link waits for */
    struct peer_tap *taps;  /* connections that libraft has */
    struct transport_peer peers[TRANSPORT_PEERS_MAX];
    struct transport_log_gate refused_us[HANDSHAKE_VERDICTS_COUNT];
    struct transport_log_gate refused_them[HANDSHAKE_VERDICTS_COUNT];
    struct transport_log_gate garbage;
    struct transport_log_gate refused_bytes;
    struct transport_log_gate crowded;

    unsigned
        open; /* listeners, links, sockets, taps and lookups whose end we must still see */
    bool closing;
    raft_uv_transport_close_cb on_closed;
};

/* ---- transport.c ---------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) void
transport_log(const struct transport *transport, int level, const char *format, ...);

/* As transport_log() at level warning, unless the gate is shut. */
__attribute__((format(printf, 3, 4))) void
transport_log_gated(const struct transport *transport,
                    struct transport_log_gate *gate,
                    const char *format,
                    ...);

/* Whether the certificate is that of @node_id of our cluster; without TLS, it is. */
bool transport_is_certified(const struct transport *transport,
                            const struct tls_identity *identity,
                            uint64_t node_id,
                            char ret_reason[static HANDSHAKE_TEXT_BYTES_MAX + 1]);

/* What to answer to @hello from who has proved to be @identity (NULL without TLS), and, if it is not
 * welcome, why. */
enum handshake_verdict
transport_judge(struct transport *transport,
                const struct handshake_hello *hello,
                const struct tls_identity *identity,
                char ret_reason[static HANDSHAKE_TEXT_BYTES_MAX + 1]);

/* The handshake is done: @socket goes to a tap. Returns 0 and the stream that libraft gets, or a negative
 * errno: then the socket is as it was. */
int transport_tap(struct transport *transport,
                  uint64_t node_id,
                  enum peer_direction direction,
                  struct peer_socket *socket,
                  uv_stream_t **ret_stream);

/* @stream belongs to libraft. */
void transport_accepted(struct transport *transport,
                        const struct handshake_hello *hello,
                        uv_stream_t *stream);
/* @address: where the node was reached; @level: the feature level that it can. */
void transport_connect_done(struct transport *transport,
                            uint64_t node_id,
                            const struct sockaddr_storage *address,
                            uint32_t level);

/* Log it, unless it has been since the peer was last connected. */
void transport_connect_failed(struct transport *transport,
                              uint64_t node_id,
                              const char *address,
                              const char *reason);

/* Something counted in transport->open has ended. */
void transport_closed_one(struct transport *transport);

/* ---- transport_link.c ----------------------------------------------------------------------- */

int transport_link_connect(struct raft_uv_transport *face,
                           struct raft_uv_connect *request,
                           raft_id id,
                           const char *address,
                           raft_uv_connect_cb on_connect);
void transport_link_accept(struct transport *transport, uv_stream_t *listener);
void transport_links_cancel(struct transport *transport);

#endif
