/* handover.h - giving leadership to another member on purpose, before this node stops.
 *
 * libraft does the transfer, but left to itself takes the last voter of its list, alive or not. Here
 * the target has everything that the leader has and is connected, and is another one each time, so that
 * of several nodes that do not want to lead none is asked for ever; the owner asks for the next step
 * once per turn of the loop, before the next entry is submitted, until there is one. */
#ifndef NETLOCK_HANDOVER_H
#define NETLOCK_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include <raft/uv.h>
#include <uv.h>

struct handover {
    struct raft *raft;
    const struct raft_uv_transport *transport;
    uv_timer_t deadline; /* the owner closes it */
    uint64_t avoid;      /* a member that must not take over; 0: none */
    bool wanted;
    bool running; /* libraft is at it */
    uint64_t only;   /* to this one; 0: to any */
    uint64_t target; /* who was asked last; 0: nobody */
    struct raft_transfer request;
    void (*on_done)(void *arg);
    void *arg;
};

/* Borrows @raft and @transport. */
void handover_init(struct handover *handover,
                   uv_loop_t *loop,
                   struct raft *raft,
                   const struct raft_uv_transport *transport);

/* To @only, 0: to any voter. @on_done when another node leads or after @timeout_ms; at once if this node does
 * not lead or has nobody to hand over to. A handover that is under way ends first. */
void handover_start(struct handover *handover,
                    uint64_t only,
                    uint32_t timeout_ms,
                    void (*on_done)(void *arg),
                    void *arg);

/* Returns the node that has just been asked to take over, or 0. */
uint64_t handover_step(struct handover *handover);

/* Give up waiting, if anybody waits. */
void handover_end(struct handover *handover);

#endif
