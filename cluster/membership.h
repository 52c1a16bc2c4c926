/* membership.h - changing who is a member of the cluster: one node at a time, on the leader.
 *
 *     refused = membership_begin(&membership, &change)      NULL: it is under way
 *     while (membership_step(&membership) == MEMBERSHIP_RUNNING) ... turns of the loop ...
 *
 * A change first writes into the table where clients reach the members, the new one too, and which ids
 * were used (FSM_CMD_MEMBER); when that is applied, libraft changes its configuration. libraft's own
 * callbacks are not used: what they could tell is seen in its public struct.
 *
 * Adding makes a stand-by: it gets the log, and has no vote. libraft does that in two changes; if the leader is lost
 * between them, the next one makes the second. A node that comes without the log of its id could vote a second time
 * in a term, so an id is never used again: a new one is above all that ever were. No clock, no loop. */
#ifndef NETLOCK_MEMBERSHIP_H
#define NETLOCK_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include <raft.h>

#include "replica.h"

enum {
    MEMBERSHIP_TEXT_BYTES = 256,
    MEMBERSHIP_ADDRESS_BYTES_MAX = 255,
    MEMBERSHIP_LAG_MAX = 64, /* entries that a node may lack when it gets a vote */
};

enum membership_verb {
    MEMBERSHIP_ADD = 1,
    MEMBERSHIP_PROMOTE,
    MEMBERSHIP_REMOVE,
    MEMBERSHIP_TRANSFER, /* of leadership, to this node: see node_change.h; not for membership_begin() */
};

struct membership_change {
    enum membership_verb verb;
    uint64_t node_id;
    /* ADD: where nodes and clients reach it, HOST:PORT. Copied. */
    const char *peer_address;
    const char *client_address;
    bool force; /* also if too few voters are connected for a majority afterwards */
};

struct membership_host {
    void *arg;
    unsigned members_max;
    /* Whether this node has a connection with the member now. */
    bool (*connected)(void *arg, uint64_t node_id);
    /* Where clients reach the member as far as this node was told otherwise than by the log; NULL: it was
     * not. */
    const char *(*client_address)(void *arg, uint64_t node_id);
};

enum membership_outcome {
    MEMBERSHIP_IDLE,
    MEMBERSHIP_RUNNING,
    MEMBERSHIP_DONE,
    MEMBERSHIP_REFUSED, /* no effect; `text` says why */
    MEMBERSHIP_UNKNOWN, /* leadership was lost meanwhile: it may or may not take effect */
    MEMBERSHIP_MOVED,   /* leadership was handed over for it: ask the new leader */
};

struct membership {
    struct raft *raft;
    struct replica *replica;
    struct membership_host host;
    char text[MEMBERSHIP_TEXT_BYTES]; /* of the last refusal */

    /* Private. */
    enum membership_stage {
        MEMBERSHIP_NOTHING,
        MEMBERSHIP_RECORDING,
        MEMBERSHIP_ADDING,
        MEMBERSHIP_STANDING_BY,
        MEMBERSHIP_PROMOTING,
        MEMBERSHIP_REMOVING,
    } stage;
    struct membership_change change; /* its texts are below */
    char peer_address[MEMBERSHIP_ADDRESS_BYTES_MAX + 1];
    char client_address[MEMBERSHIP_ADDRESS_BYTES_MAX + 1];
    raft_term term;
    bool proposed; /* what RECORDING waits for */
    bool crowded;  /* the replica had no room for a part of it */
    struct raft_change request;
};

/* Borrows @raft and @replica; copies @host. */
void membership_init(struct membership *membership,
                     struct raft *raft,
                     struct replica *replica,
                     const struct membership_host *host);

/* NULL: begun, or there is nothing to do; step tells. Else why not, for people: no effect. The leader does not
 * remove itself: whoever asks hands leadership over first. */
const char *membership_begin(struct membership *membership,
                             const struct membership_change *change);

/* Once per turn, also when nothing is under way. What is over is told once. */
enum membership_outcome membership_step(struct membership *membership);

#endif
