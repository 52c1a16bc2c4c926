/* node_change.h - what an operator asks of the leader: a change of members, or leadership for another node.
 *
 * One at a time. A leader that is to be removed hands leadership over first; its successor removes it. When
 * leadership has gone, for that or because it was asked for, the answer is MEMBERSHIP_MOVED: who has it is for the
 * next one to say. */
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
