/* member.h - what the machine knows of the nodes of the cluster. Private to this room. */
#ifndef NETLOCK_FSM_MEMBER_H
#define NETLOCK_FSM_MEMBER_H

#include "state.h"

void command_member(struct fsm *fsm);

/* Keep, replace or (with an empty @address) forget where clients reach the node. */
void member_set(struct fsm *fsm, uint64_t node_id, struct fsm_str address);

#endif
