#include "removal.h"

#include "transport.h"

static bool was_refused_by(const struct removal *removal, uint64_t node_id)
{
    for (unsigned i = 0; i < removal->count; i++) {
        if (removal->refused_by[i] == node_id) {
            return true;
        }
    }
    return false;
}

bool removal_is(const struct removal *removal)
{
    const struct raft_configuration *configuration = &removal->raft->configuration;
    unsigned others = 0, refused = 0;
    bool listed = false;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (server->id == removal->raft->id) {
            listed = true;
        } else if (server->role == RAFT_VOTER) {
            others++;
            refused += was_refused_by(removal, server->id) &&
                       !transport_connected(removal->transport, server->id);
        }
    }
    return configuration->n > 0 && (!listed || refused > others / 2);
}

bool removal_refused(struct removal *removal, uint64_t node_id)
{
    if (!was_refused_by(removal, node_id) && removal->count < REMOVAL_PEERS_MAX) {
        removal->refused_by[removal->count++] = node_id;
    }
    if (removal->told || !removal_is(removal)) {
        return false;
    }
    removal->told = true;
    return true;
}
