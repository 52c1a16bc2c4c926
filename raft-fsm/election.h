/* election.h - what the first entry of a new leader does to the holds. Private to this room.
 *
 * It extends the holds of all clients (fsm.h at FSM_CMD_EPOCH), of which there may be millions. So it is only
 * noted, and each lock gets it when its holds are next changed or a deadline of theirs comes up. Elections are
 * counted from the start of this machine; a lock knows the last one that its holds have. An extension only moves
 * a deadline back: the one in the heap is never too late, and who comes up too early goes back into it.
 *
 * No part of the state: all that can be seen from outside goes by claim_deadline_ms().
 */
#ifndef NETLOCK_ELECTION_H
#define NETLOCK_ELECTION_H

#include "state.h"

/* An epoch with the machine's settings is being applied, and what was due has happened. */
void election_note(struct fsm *fsm);

/* Let the holds of @lock have all elections. For lock_touch(). */
void election_reach_lock(struct fsm *fsm, struct lock *lock);

/* When @claim ends by itself, if @elections are those that there were. */
uint64_t claim_deadline_ms(const struct elections *elections, const struct claim *claim);

#endif
