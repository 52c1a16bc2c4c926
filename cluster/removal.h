/* removal.h - whether this node has been removed from the cluster.
 *
 * libraft does not send a server the change that removes it: the node goes on with the members that it knew, hears
 * of no leader, and its peers refuse its connections. When a majority of the other voters does, it is out. It can
 * disturb nobody: whoever knows better hears nothing of it, and the others are too few to elect it. */
#ifndef NETLOCK_REMOVAL_H
#define NETLOCK_REMOVAL_H

#include <stdbool.h>
#include <stdint.h>

#include <raft/uv.h>

enum { REMOVAL_PEERS_MAX = 64 };

struct removal {
    const struct raft *raft;
    const struct raft_uv_transport *transport;

    /* Private. */
    uint64_t refused_by[REMOVAL_PEERS_MAX];
    unsigned count;
    bool told;
};

/* The peer says that this node is no member. Returns whether it is time to say so: once. */
bool removal_refused(struct removal *removal, uint64_t node_id);

/* Whether the node is out, as far as it can know. A peer to which it has a connection takes nothing back. */
bool removal_is(const struct removal *removal);

#endif
