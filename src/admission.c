/* Who may connect: so many in all, so many from one address. */
#include "server_internal.h"

#include <netinet/in.h>
#include <unistd.h>

#define uthash_fatal(message) abort()
#include <uthash.h>
#include <xxhash.h>

#include "session.h"
#include "xalloc.h"

struct address_count {
    UT_hash_handle hh;
    struct in6_addr address; /* IPv4 mapped into IPv6 */
    size_t connections;
};

static struct in6_addr address_of(const struct sockaddr_storage *peer)
{
    struct in6_addr address = IN6ADDR_ANY_INIT;

    if (peer->ss_family == AF_INET6) {
        address = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    } else if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)peer;
        address.s6_addr[10] = address.s6_addr[11] = 0xff;
        memcpy(&address.s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
    }
    return address;
}

static struct address_count *count_address(struct server *server, struct in6_addr address)
{
    struct address_count *count;

    unsigned hash = (unsigned)XXH64(&address, sizeof(address), 0);

    HASH_FIND_BYHASHVALUE(hh, server->addresses, &address, sizeof(address), hash, count);
    if (count == NULL) {
        count = xcalloc(sizeof(*count));
        count->address = address;
        HASH_ADD_BYHASHVALUE(hh, server->addresses, address, sizeof(address), hash,
                             count);
    }
    count->connections++;
    return count;
}

void admission_leave(struct server *server, struct address_count *count)
{
    if (--count->connections == 0) {
        HASH_DELETE(hh, server->addresses, count);
        free(count);
    }
}

void admission_on_accept(void *arg, int fd, const struct sockaddr_storage *peer)
{
    struct server *server = arg;
    const struct config *config = server->config;
    struct address_count *address = count_address(server, address_of(peer));
    const char *limit = NULL;

    if (server->connections_count >= config->connections_max) {
        limit = "connections-max";
    } else if (address->connections > config->connections_per_address_max) {
        limit = "connections-per-address-max";
    }
    if (limit == NULL) {
        session_open(server, fd, peer, address);
        return;
    }
    char text[LISTENER_ADDRESS_BYTES];
    listener_address_text(peer, text);
    SERVER_LOG_LIMITED(server, server->refused_limit, LOG_LEVEL_WARNING, "client-refused",
                       "peer=%s limit=%s", text, limit);
    admission_leave(server, address);
    close(fd);
}
