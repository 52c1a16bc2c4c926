/* look.h - what the machine must tell those who look at it. Private to this room. */
#ifndef NETLOCK_LOOK_H
#define NETLOCK_LOOK_H

#include "state.h"

/* A lock is about to be taken out of the table. */
void looks_pass(struct fsm *fsm, const struct lock *lock);

/* The table is about to be freed. */
void looks_end(struct fsm *fsm);

#endif
