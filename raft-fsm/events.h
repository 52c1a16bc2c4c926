/* events.h - how the machine speaks. Private to this room.
 *
 * An event is built on the stack with strings borrowed from the state, and handed over
 * before the state changes under them. Each one goes into the digest, whether somebody
 * listens or not.
 */
#ifndef NETLOCK_EVENTS_H
#define NETLOCK_EVENTS_H

#include "state.h"

/* Nobody asked for this now: a later grant, a timeout, the end of a hold. */
void events_tell(struct fsm *fsm, struct fsm_event *event);

/* A part of the answer to the current command that comes before the answer itself. */
void events_list(struct fsm *fsm, struct fsm_event *event);

/* The answer to the current command: exactly one per command. */
void events_answer(struct fsm *fsm, struct fsm_event *event);
void events_answer_denied(struct fsm *fsm, enum fsm_deny reason);

/* How @claim looks from outside. The position of a wait is left to the caller. */
void claim_show(const struct fsm *fsm,
                const struct claim *claim,
                struct fsm_claim *ret_claim);

/* Add the holders of @lock, at most @max, to @event; and how many there are and wait. */
void events_show_holders(struct fsm *fsm,
                         struct fsm_event *event,
                         const struct lock *lock,
                         uint32_t max);

/* Room for @count claims, valid until the next event. */
struct fsm_claim *events_room(struct fsm *fsm, uint32_t count);

#endif
