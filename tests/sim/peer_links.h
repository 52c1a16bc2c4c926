/* peer_links.h - the TCP connections between nodes, as far as the servers can tell: they are made, and they
 * end. What nodes say to each other goes another way (peers.h).
 *
 * Each node listens at its peer port, and keeps one connection to every other node, made again when it has
 * ended; the byte that it says on it is its number. Who says nothing is no peer, but somebody who only looks
 * whether there is one. A dead node's connections end as a process's do, and a port of a node that does not
 * run refuses; through a cut link, nothing is heard. */
#ifndef NETLOCK_SIM_PEER_LINKS_H
#define NETLOCK_SIM_PEER_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "transport.h"

struct sim_node;
struct sim_peer_links;

/* Inside. @config's connection_ended is told of ends. */
struct sim_peer_links *sim_peer_links_new(struct sim_node *node,
                                          uv_loop_t *loop,
                                          const struct transport_config *config);
void sim_peer_links_start(struct sim_peer_links *links);
/* @on_closed not from inside this call; then it is to be freed. */
void sim_peer_links_close(struct sim_peer_links *links,
                          void (*on_closed)(void *arg),
                          void *arg);
void sim_peer_links_free(struct sim_peer_links *links);

/* Whether our connection to a node has ever been made. */
/* Whether the node knows its members, and @number is none. */
bool sim_peer_links_knows_stranger(const struct sim_peer_links *links, uint64_t number);

bool sim_peer_links_reached(const struct sim_peer_links *links, unsigned number);

/* Outside: something between two nodes breaks all connections that they have, for both. */
void sim_peer_links_break(struct sim_node *one, struct sim_node *other);

#endif
