/* node_change.h - what an operator asks of the leader: a change of members, or leadership for another node.
 *
 * One at a time. A leader that is to be removed hands leadership over first, and says so (MEMBERSHIP_MOVED):
 * its successor removes it. */
#ifndef NETLOCK_NODE_CHANGE_H
#define NETLOCK_NODE_CHANGE_H

#include "handover.h"
#include "membership.h"

/* @text: why, where it was refused or is not known; else "". */
typedef void (*node_change_cb)(void *arg,
                               enum membership_outcome outcome,
                               const char *text);

struct node_change {
    struct raft *raft;
    struct handover *handover;
    struct membership membership;
    bool running;
    uint64_t removed; /* this node, if leadership is handed over because of that */
    /* Over, and not told yet. */
    enum membership_outcome outcome;
    const char *text;
    node_change_cb on_done;
    void *arg;
};

/* Borrows all but @host, which is copied. */
void node_change_init(struct node_change *change,
                      struct raft *raft,
                      struct replica *replica,
                      struct handover *handover,
                      const struct membership_host *host);

/* False: one is under way. Else @on_done when it is over, from node_change_step() or node_change_end(). */
bool node_change_start(struct node_change *change,
                       const struct membership_change *wanted,
                       node_change_cb on_done,
                       void *arg);

/* Once per turn. */
void node_change_step(struct node_change *change);

/* The node closes: whoever waits is told. */
void node_change_end(struct node_change *change);

#endif
