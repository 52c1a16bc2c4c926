#include "node_change.h"

#include <inttypes.h>
#include <stdio.h>

enum { HANDOVER_MS = 10000 };

static const char lost_text[] = "leadership was lost meanwhile: it may or may not have "
                                "been done; look at 'cluster status'";

static void
finish(struct node_change *change, enum membership_outcome outcome, const char *text)
{
    change->outcome = outcome;
    change->text = text;
}

static void tell(struct node_change *change)
{
    enum membership_outcome outcome = change->outcome;

    change->running = false;
    change->outcome = MEMBERSHIP_IDLE;
    change->on_done(change->arg, outcome, change->text);
}

/* ---- leadership ----------------------------------------------------------------------------- */

static void on_handed_over(void *arg)
{
    struct node_change *change = arg;

    if (!change->running || change->outcome != MEMBERSHIP_IDLE) {
        return;
    }
    if (raft_state(change->raft) == RAFT_LEADER) {
        finish(change, MEMBERSHIP_REFUSED,
               "leadership could not be handed over: no voter asked for is connected and "
               "has "
               "all entries");
    } else {
        finish(change, MEMBERSHIP_MOVED,
               "leadership was handed over; ask the new leader");
    }
}

static bool is_voter(const struct raft *raft, uint64_t node_id)
{
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == node_id) {
            return raft->configuration.servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

static void transfer(struct node_change *change, uint64_t node_id)
{
    if (node_id == change->raft->id) {
        finish(change, MEMBERSHIP_DONE, "");
    } else if (!is_voter(change->raft, node_id)) {
        finish(change, MEMBERSHIP_REFUSED, "only a member with a vote can lead");
    } else {
        handover_start(change->handover, node_id, HANDOVER_MS, on_handed_over, change);
    }
}

static unsigned count_voters(const struct raft *raft)
{
    unsigned count = 0;

    for (unsigned i = 0; i < raft->configuration.n; i++) {
        count += raft->configuration.servers[i].role == RAFT_VOTER;
    }
    return count;
}

static void leave(struct node_change *change)
{
    if (count_voters(change->raft) == 1) {
        finish(change, MEMBERSHIP_REFUSED, "it is the last voter");
        return;
    }
    handover_start(change->handover, 0, HANDOVER_MS, on_handed_over, change);
}

/* ---- public --------------------------------------------------------------------------------- */

void node_change_init(struct node_change *change,
                      struct raft *raft,
                      struct replica *replica,
                      struct handover *handover,
                      const struct membership_host *host)
{
    *change = (struct node_change){.raft = raft, .handover = handover};
    membership_init(&change->membership, raft, replica, host);
}

bool node_change_start(struct node_change *change,
                       const struct membership_change *wanted,
                       node_change_cb on_done,
                       void *arg)
{
    if (change->running) {
        return false;
    }
    change->running = true;
    change->on_done = on_done;
    change->arg = arg;
    if (change->handover->wanted) {
        finish(change, MEMBERSHIP_REFUSED, "leadership is being handed over");
    } else if (wanted->verb == MEMBERSHIP_TRANSFER) {
        transfer(change, wanted->node_id);
    } else if (wanted->verb == MEMBERSHIP_REMOVE && wanted->node_id == change->raft->id) {
        leave(change);
    } else {
        const char *refused = membership_begin(&change->membership, wanted);
        if (refused != NULL) {
            finish(change, MEMBERSHIP_REFUSED, refused);
        }
    }
    return true;
}

static void step_membership(struct node_change *change)
{
    enum membership_outcome outcome = membership_step(&change->membership);

    switch (outcome) {
    case MEMBERSHIP_IDLE:
    case MEMBERSHIP_RUNNING:
    case MEMBERSHIP_MOVED:
        return;
    case MEMBERSHIP_DONE:
        finish(change, outcome, "");
        return;
    case MEMBERSHIP_REFUSED:
        finish(change, outcome, change->membership.text);
        return;
    case MEMBERSHIP_UNKNOWN:
        finish(change, outcome, lost_text);
        return;
    }
}

/* Whoever loses leadership closes its clients in the same turn: they are told before. libraft's transfer is over
 * only when the successor is known. */
static void look_at_handover(struct node_change *change)
{
    if (change->running && change->handover->wanted &&
        raft_state(change->raft) != RAFT_LEADER) {
        on_handed_over(change);
    }
}

void node_change_step(struct node_change *change)
{
    step_membership(change);
    look_at_handover(change);
    if (change->running && change->outcome != MEMBERSHIP_IDLE) {
        tell(change);
    }
}

void node_change_end(struct node_change *change)
{
    if (change->running) {
        change->membership.stage = MEMBERSHIP_NOTHING;
        if (change->outcome == MEMBERSHIP_IDLE) {
            finish(change, MEMBERSHIP_UNKNOWN, lost_text);
        }
        tell(change);
    }
}
