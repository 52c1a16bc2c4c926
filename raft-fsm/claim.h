/* claim.h - claim records and the lists they are in; who has which claim on which lock.
 * Private to this room. Knows nothing of who may have what: that is lock.h.
 *
 * Finding a client's claim on a lock, or the hold with a token, takes constant time: few
 * claims are looked through, a lock with more of them (a crowd) has an index.
 */
#ifndef NETLOCK_CLAIM_H
#define NETLOCK_CLAIM_H

#include "state.h"

enum { CLAIM_CROWD_MIN = 16 }; /* claims of one lock that are still looked through */

/* A claim in no list yet; @type, @owner_info and the rest are the caller's to set. */
struct claim *claim_new(struct client *client, struct lock *lock);

/* Free a claim that is in no list; its deadline must have been cleared. */
void claim_free(struct claim *claim);

void claim_set_owner_info(struct claim *claim, struct fsm_str owner_info);

/* Where in the lists of the lock a claim goes. */
enum claim_end { CLAIM_FIRST, CLAIM_LAST };

/* Enter @claim into the holds or the waits, depending on `waiting`, of its lock (at @end)
 * and of its client (always last). A hold has its token by then, and keeps it until it is
 * taken out. */
void claim_enlist(struct fsm *fsm, struct claim *claim, enum claim_end end);
void claim_delist(struct fsm *fsm, struct claim *claim);

/* NULL if there is none. */
struct claim *claim_find_hold(const struct lock *lock, const struct client *client);
struct claim *claim_find_wait(const struct lock *lock, const struct client *client);
struct claim *claim_find_token(const struct lock *lock, uint64_t token);

/* Slots of a counting lock. */
uint16_t slot_take_lowest(struct lock *lock);
bool slot_take(struct lock *lock, uint32_t slot); /* false if it is taken */
void slot_give_back(struct lock *lock, uint16_t slot);

/* For fsm_check(). */
bool crowd_is_consistent(const struct lock *lock);
bool slots_are_consistent(const struct lock *lock);

#endif
