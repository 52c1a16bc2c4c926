/* client_servers.h - where to look for the leader: the servers given, the members learned from them,
 * and the hint of the last server that was not the leader. */
#ifndef NETLOCK_CLIENT_SERVERS_H
#define NETLOCK_CLIENT_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client_address.h"
#include "wire.h"

enum { SERVERS_MAX = 32 }; /* given; and again as many learned */

struct client_servers {
    struct client_server *given, *learned;
    size_t given_count, learned_count;
    struct client_server hint;
    bool has_hint;
    unsigned hints_followed; /* since the round began */
    size_t next;
    size_t tried; /* in this round */
};

/* Parse a comma-separated list and look the names up; @start says at which of them the search begins.
 * 0, -EINVAL, -ENOMEM. */
int client_servers_init(struct client_servers *servers, const char *list, uint64_t start);
void client_servers_release(struct client_servers *servers);

/* The server to try now: the hint, else the next in turn; belongs to @servers until the next call of
 * any of these. NULL when a whole round has been tried without client_servers_found(): time to back
 * off; the next call begins a new round. */
struct client_server *client_servers_next(struct client_servers *servers);
void client_servers_found(struct client_servers *servers);

/* All that are known, in no order; @i is below the count. */
size_t client_servers_count(const struct client_servers *servers);
const struct client_server *client_servers_at(const struct client_servers *servers,
                                              size_t i);

/* What a server said; nonsense is ignored, and so is what there is no memory for. @may_block as in
 * client_server_resolve(). */
void client_servers_hint(struct client_servers *servers, struct wire_str address);
void client_servers_learn(struct client_servers *servers,
                          const struct wire_member *members,
                          size_t count,
                          bool may_block);

#endif
