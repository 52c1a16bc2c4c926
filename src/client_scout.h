/* client_scout.h - who leads now? Asked of all servers at once, beside the session's own connection.
 *
 * A session goes from server to server, and then pauses; a stopped leader's connection stays as it is. So
 * while there is no connection, and when an answer is late, scouts ask every server, again and again,
 * on connections of their own: a Hello, whose answer says whether the server leads; and a server that begins to
 * lead tells that by itself. The connection on which one says so becomes the session's: all that is left to do
 * is the attach, one round trip. A slow leader costs its clients nothing: as long as nobody else says
 * that it leads, they stay; and if it stays slow, scouts go out less and less often.
 *
 * What scouts hear proves nothing about leases. */
#ifndef NETLOCK_CLIENT_SCOUT_H
#define NETLOCK_CLIENT_SCOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "client_conn.h"
#include "client_servers.h"

enum { SCOUTS_MAX = 5 };

struct netlock;

enum scout_state {
    SCOUT_AWAY, /* not connected */
    SCOUT_CONNECTING,
    SCOUT_ASKED,
    SCOUT_ANSWERED, /* connected, and nothing asked */
};

struct scout {
    enum scout_state state;
    bool follower; /* ANSWERED: that it does not lead */
    struct client_conn conn;
    struct client_server server;
    size_t failures; /* to connect: the next address is due */
};

struct client_scouts {
    bool out;        /* under way, */
    uint64_t out_ms; /* since when */
    uint64_t ask_at_ms;
    uint64_t interval_ms;
    uint64_t rest_ms, rest_end_ms; /* before a late answer sends them out again */
    size_t first;                  /* of the servers, where there are more than scouts */
    struct scout scouts[SCOUTS_MAX];
};

void client_scouts_init(struct netlock *nl);
void client_scouts_release(struct netlock *nl);

/* Send them out, ask again, or call them back: once per step. */
void client_scouts_run(struct netlock *nl);
/* epoll says that something can be done with @fd, which may be a scout's. */
void client_scouts_event(struct netlock *nl, int fd);
/* Whether @server, a follower, would tell a scout if it began to lead. */
bool client_scouts_wait_at(const struct netlock *nl, const struct client_server *server);
/* When client_scouts_run() has something to do, or CLIENT_NEVER. */
uint64_t client_scouts_due_ms(const struct netlock *nl);

#endif
