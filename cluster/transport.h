/* transport.h - connections between the nodes of a cluster: a raft_uv_transport over TCP.
 *
 *     struct raft_uv_transport face;
 *     transport_init(&face, loop, &config);
 *     raft_uv_init(&io, loop, dir, &face);  raft_init(...);  raft_start(...);
 *     ... raft_close() has finished ...
 *     transport_release(&face);
 *
 * libraft's own TCP transport has no connect timeout, no keepalive, no TCP_NODELAY, no
 * IPv6, and takes everybody's word. Here a connection passes through stages, each a
 * function in transport_link.c:
 *
 *     name lookup -> TCP connect or accept -> TLS -> handshake -> tap (peer_tap.h)
 *
 * libraft never gets the socket, but one end of a socketpair: the tap carries the bytes,
 * and lets none pass that an honest peer would not send.
 *
 * The handshake (transport_handshake.h) makes sure that both ends are of the same
 * cluster, that each is the node the other one means, and that it is a member. TLS, if
 * it is set, proves it: the certificate has to name the very node, netlock://CLUSTER/node/ID,
 * on both sides, and nothing is said in plain text any more.
 *
 * Limits: 64 inbound connections in handshake (one more, and the oldest goes), 5 s for one, 4 inbound
 * connections per peer; a peer that says what libraft must not hear loses its connections, and gets no
 * other for a second. Whoever is refused is told why, and both sides log it, each reason at most once
 * per 5 s. */
#ifndef NETLOCK_TRANSPORT_H
#define NETLOCK_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <raft/uv.h>
#include <uv.h>

#include "peer_pump.h"
#include "tls.h"

enum {
    TRANSPORT_HANDSHAKES_MAX = 64,
    TRANSPORT_INBOUND_PER_PEER_MAX = 4,
    TRANSPORT_PEERS_MAX =
        64, /* more than a cluster has: ids seen before the membership is known */
    TRANSPORT_LOG_INTERVAL_MS = 5000,
    TRANSPORT_SHUT_MS = 1000, /* how long a peer stays out that said what was refused */
};

enum transport_membership {
    TRANSPORT_MEMBER,
    TRANSPORT_STRANGER,
    TRANSPORT_UNDECIDED, /* this node does not know the membership, or perhaps an old one */
};

/* Copied, the texts too. */
struct transport_config {
    const char *cluster_id;
    uint64_t node_id;
    const char *listen_address;    /* NULL: the address that raft_init() was given */
    uint32_t connect_timeout_ms;   /* for each address of a name, and for the lookup */
    uint32_t handshake_timeout_ms; /* 5000 */
    uint32_t user_timeout_ms;      /* TCP_USER_TIMEOUT: how long sent bytes may stay
                                      unacknowledged */

    /* Whether @node_id is a member, and if so under which address (borrowed until the
     * next turn of the loop). The address counts, not what the peer says about itself. */
    enum transport_membership (*membership)(void *arg,
                                            uint64_t node_id,
                                            const char **ret_address);
    /* The one place where the end of a peer's connection is told, once for each that libraft
     * had, also when libraft itself has closed it; not while closing. May be NULL. */
    void (*connection_ended)(void *arg,
                             uint64_t node_id,
                             enum peer_direction direction,
                             enum peer_end end);
    /* @node_id, whom we dialled, says that this node is no member of the cluster. May be NULL. */
    void (*called_stranger)(void *arg, uint64_t node_id);
    void (*log)(void *arg,
                int level,
                const char *message); /* 0 debug 1 info 2 warning 3 error */
    void *arg;
};

/* For accepting and for connecting: both or none. */
struct transport_tls {
    struct tls_context *in;  /* TLS_SERVER */
    struct tls_context *out; /* TLS_CLIENT */
};

void transport_init(struct raft_uv_transport *face,
                    uv_loop_t *loop,
                    const struct transport_config *config);

/* From now on for new connections; those that are there keep what they have. Takes the contexts over. */
void transport_set_tls(struct raft_uv_transport *face, const struct transport_tls *tls);

/* After libraft has closed the transport, or if it never initialised it. */
void transport_release(struct raft_uv_transport *face);

/* Send what libraft has said since the last turn of the loop. */
void transport_flush(struct raft_uv_transport *face);

/* Whether our connection to @node_id is established, as far as the kernel knows now. */
bool transport_connected(const struct raft_uv_transport *face, uint64_t node_id);

/* The feature level that @node_id said it can, when our connection to it was made; 0: there was none. */
uint32_t transport_level(const struct raft_uv_transport *face, uint64_t node_id);

/* Where our last connection to @node_id was made to. False: there was none. */
bool transport_reached_at(const struct raft_uv_transport *face,
                          uint64_t node_id,
                          struct sockaddr_storage *ret);

/* @node_id said, through a connection of its own, what must not be believed: its inbound connections are
 * closed. */
void transport_refuse(struct raft_uv_transport *face,
                      uint64_t node_id,
                      const char *reason);

/* Why listening failed, after raft_start() did: a negative errno, 0 if it did not, and
 * the reason in face->errmsg. */
int transport_listen_error(const struct raft_uv_transport *face);

#endif
