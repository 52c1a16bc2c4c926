/* client_address.h - one server: its text, and where that is on the network. */
#ifndef NETLOCK_CLIENT_ADDRESS_H
#define NETLOCK_CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
    SERVER_HOST_BYTES_MAX = 255,
    SERVER_TEXT_BYTES = SERVER_HOST_BYTES_MAX + 9, /* [host]:port and NUL */
    SERVER_ADDRESSES_MAX = 4,                      /* of one host name */
};

struct client_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

struct client_server {
    char host[SERVER_HOST_BYTES_MAX + 1];
    char port[6];
    struct client_address
        addresses[SERVER_ADDRESSES_MAX]; /* of the last lookup that worked */
    size_t addresses_count;
};

/* "host:port" or "[v6]:port"; the port may be missing. 0 or -EINVAL. */
int client_server_parse(struct client_server *ret, const char *text, size_t len);
void client_server_format(const struct client_server *server,
                          char out[static SERVER_TEXT_BYTES]);
bool client_server_same(const struct client_server *a, const struct client_server *b);

/* Look the host up. A name is asked for only if the call @may_block (DNS can take many seconds); else
 * what is known from before has to do. 0, or -EHOSTUNREACH: no address is known. */
int client_server_resolve(struct client_server *server, bool may_block);

#endif
