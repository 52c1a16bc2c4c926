/* distinct.h - numbers that are given once: the ages of clients and claims, the tokens of holds. */
#ifndef NETLOCK_FSM_DISTINCT_H
#define NETLOCK_FSM_DISTINCT_H

#include "state.h"

/* Whether no two are the same. Walks everything. */
bool ages_and_tokens_differ(const struct fsm *fsm);

#endif
