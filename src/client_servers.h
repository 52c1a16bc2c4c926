/* client_servers.h - where to look for the leader: the servers given, the members learned from them,
 * and the hint of the last server that was not the leader. Pure, but for client_servers_resolve(). */
#ifndef NETLOCK_CLIENT_SERVERS_H
#define NETLOCK_CLIENT_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "wire.h"

enum {
    SERVER_HOST_BYTES_MAX = 255,
    SERVER_TEXT_BYTES = SERVER_HOST_BYTES_MAX + 9, /* [host]:port and NUL */
    SERVERS_MAX = 32,                              /* given; and again as many learned */
    SERVER_ADDRESSES_MAX = 4,                      /* of one host name */
};

struct client_server {
    char host[SERVER_HOST_BYTES_MAX + 1];
    char port[6];
};

struct client_servers {
    struct client_server *given, *learned;
    size_t given_count, learned_count;
    struct client_server hint;
    bool has_hint;
    unsigned hints_followed; /* since the round began */
    size_t next;
    size_t tried; /* in this round */
};

/* "host:port" or "[v6]:port"; the port may be missing. 0 or -EINVAL. */
int client_server_parse(struct client_server *ret, const char *text, size_t len);
void client_server_format(const struct client_server *server,
                          char out[static SERVER_TEXT_BYTES]);

/* Parse a comma-separated list; @start says at which of them the search begins.
 * 0, -EINVAL, -ENOMEM. */
int client_servers_init(struct client_servers *servers, const char *list, uint64_t start);
void client_servers_release(struct client_servers *servers);

/* The server to try now: the hint, else the next in turn. False when a whole round has been tried
 * without client_servers_found(): time to back off; the next call begins a new round. */
bool client_servers_next(struct client_servers *servers, struct client_server *ret);
void client_servers_found(struct client_servers *servers);

/* What a server said; nonsense is ignored. */
void client_servers_hint(struct client_servers *servers, struct wire_str address);
void client_servers_learn(struct client_servers *servers,
                          const struct wire_member *members,
                          size_t count);

struct client_addresses {
    struct sockaddr_storage items[SERVER_ADDRESSES_MAX];
    socklen_t lengths[SERVER_ADDRESSES_MAX];
    size_t count, next;
};
/* Blocks on DNS when the host is a name. 0 or -EHOSTUNREACH. */
int client_servers_resolve(const struct client_server *server,
                           struct client_addresses *ret);

#endif
