/* commands.h - what a client asks for. Private to this room.
 * Each handles fsm->command and answers it exactly once; the meaning is in fsm.h and in
 * the README.
 */
#ifndef NETLOCK_COMMANDS_H
#define NETLOCK_COMMANDS_H

#include "state.h"

void command_lock(struct fsm *fsm);
void command_refresh(struct fsm *fsm);
void command_release(struct fsm *fsm);
void command_force_release(struct fsm *fsm);

void command_status(struct fsm *fsm);
void command_check_token(struct fsm *fsm);
void command_list_locks(struct fsm *fsm);
void command_list_clients(struct fsm *fsm);

#endif
