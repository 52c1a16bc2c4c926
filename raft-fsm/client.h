/* client.h - clients: who is there, since when, and what happens when they are not.
 * Private to this room. The meaning is in fsm.h at FSM_CMD_ATTACH, _DETACH and _EPOCH.
 */
#ifndef NETLOCK_CLIENT_H
#define NETLOCK_CLIENT_H

#include "state.h"

struct client *client_find(const struct fsm *fsm, struct fsm_str id);

/* A record with presence GONE, which the caller changes or ends. */
struct client *
client_add(struct fsm *fsm, struct fsm_str id, struct fsm_str secret_digest);

/* End the record if nothing is left that needs it; otherwise do nothing. */
void client_settle(struct fsm *fsm, struct client *client);
void clients_free(struct fsm *fsm);

void client_attach(struct fsm *fsm);
void client_detach(struct fsm *fsm);

/* The grace of a missing client is over: it is gone. */
void client_give_up(struct fsm *fsm, struct client *client);

/* A new leader has no connections: everybody is missing until they come back. After election_note(). */
void clients_miss(struct fsm *fsm);

/* Holds that timed out and that the client may not know of. */
void client_remember(struct fsm *fsm,
                     struct client *client,
                     struct fsm_str lock,
                     uint64_t token);
struct expired *client_recall(const struct client *client, struct fsm_str lock);
void client_forget(struct fsm *fsm, struct client *client, struct expired *expired);

#endif
