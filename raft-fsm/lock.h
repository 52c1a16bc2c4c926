/* lock.h - one lock: who may have it, who is next. Private to this room.
 *
 * Whatever changes a lock ends with lock_settle(), which hands it on to those who can
 * have it now and ends the record when nobody holds it. Functions that say "unsettled"
 * leave that to the caller, so that several changes can be made before the queue moves.
 */
#ifndef NETLOCK_LOCK_H
#define NETLOCK_LOCK_H

#include "state.h"

struct lock *lock_find(const struct fsm *fsm, struct fsm_str name);
struct lock *lock_new(struct fsm *fsm, struct fsm_str name, uint16_t limit);
void locks_free(struct fsm *fsm);

/* Grant what can be granted from the head of the queue; end the record if nobody holds
 * the lock. The lock may be gone afterwards. */
void lock_settle(struct fsm *fsm, struct lock *lock);

/* Could a hold of this type be added to those that there are? */
bool lock_admits(const struct lock *lock, enum fsm_type type);

/* Could this waiter, at the head of the queue, be granted? */
bool lock_admits_head(const struct lock *lock);

/* The upgrade that waits at the head; NULL if there is none. */
struct claim *lock_upgrade(const struct lock *lock);

/* Place in the queue, from 1, if it is within @max; else 0. Takes time in proportion to
 * it. */
uint32_t lock_position(const struct claim *wait, uint32_t max);

/* Give @claim, which is in no list, its token, slot, order and deadline, and enter it as
 * a hold. */
void lock_start_hold(struct fsm *fsm, struct claim *claim);

/* READ becomes WRITE with a new token; the holder must be the only one. */
void lock_upgrade_hold(struct fsm *fsm, struct claim *hold);

/* Restart the timer of a hold with its duration. */
void lock_restart_hold(struct fsm *fsm, struct claim *hold);

/* Free a hold without telling anybody; an upgrade of its client becomes an ordinary WRITE
 * wait and keeps its place. Unsettled. */
void lock_end_hold(struct fsm *fsm, struct claim *hold);

/* The holder did not ask for it: tell, then end the hold. Unsettled; the client too. */
void lock_break_hold(struct fsm *fsm, struct claim *hold, enum fsm_hold_end why);

/* Tell the client that its wait was cancelled, or timed out, and free it. Unsettled. */
void lock_cancel_wait(struct fsm *fsm, struct claim *wait);
void lock_time_out_wait(struct fsm *fsm, struct claim *wait);

/* Tell of the grant; it is the answer if the current command asked for it. */
void lock_tell_granted(struct fsm *fsm, const struct claim *hold, bool answer);

void lock_answer_limit_exceeded(struct fsm *fsm, const char *limit_name);

/* Locks to settle later: each once, in the order in which they were added.
 * Zero-initialise. */
struct lock_batch {
    struct lock **items;
    size_t count;
    size_t capacity;
};

void lock_batch_add(struct lock_batch *batch, struct lock *lock);
void lock_batch_settle(struct fsm *fsm, struct lock_batch *batch); /* and release */

#endif
