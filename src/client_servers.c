#include "client_servers.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT "7670"

/* A server that names a leader may be behind, and two of them may name each other. */
enum { HINTS_PER_ROUND_MAX = 4 };

static bool port_valid(const char *text, size_t len)
{
    if (len == 0 || len > 5)
        return false;
    unsigned port = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port > 0 && port <= 65535;
}

int client_server_parse(struct client_server *ret, const char *text, size_t len)
{
    const char *host = text;
    size_t host_len = len;
    const char *port = DEFAULT_PORT;
    size_t port_len = strlen(DEFAULT_PORT);
    const char *colon = NULL;
    if (len > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (end == NULL)
            return -EINVAL;
        host = text + 1;
        host_len = (size_t)(end - host);
        size_t rest = len - host_len - 2;
        if (rest > 0 && end[1] != ':')
            return -EINVAL;
        colon = rest > 0 ? end + 1 : NULL;
    } else {
        colon = memchr(text, ':', len);
        if (colon != NULL)
            host_len = (size_t)(colon - host);
    }
    if (colon != NULL) {
        port = colon + 1;
        port_len = (size_t)(text + len - port);
    }
    if (host_len == 0 || host_len > SERVER_HOST_BYTES_MAX ||
        !port_valid(port, port_len) || memchr(host, 0, host_len) != NULL)
        return -EINVAL;
    *ret = (struct client_server){0};
    memcpy(ret->host, host, host_len);
    memcpy(ret->port, port, port_len);
    return 0;
}

void client_server_format(const struct client_server *server,
                          char out[static SERVER_TEXT_BYTES])
{
    bool v6 = strchr(server->host, ':') != NULL;
    (void)snprintf(out, SERVER_TEXT_BYTES, "%s%s%s:%s", v6 ? "[" : "", server->host,
                   v6 ? "]" : "", server->port);
}

static bool same(const struct client_server *a, const struct client_server *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

static size_t trim(const char **text, size_t len)
{
    while (len > 0 && **text == ' ') {
        (*text)++;
        len--;
    }
    while (len > 0 && (*text)[len - 1] == ' ')
        len--;
    return len;
}

int client_servers_init(struct client_servers *servers, const char *list, uint64_t start)
{
    *servers = (struct client_servers){0};
    servers->given = calloc(SERVERS_MAX, sizeof(*servers->given));
    servers->learned = calloc(SERVERS_MAX, sizeof(*servers->learned));
    if (servers->given == NULL || servers->learned == NULL) {
        client_servers_release(servers);
        return -ENOMEM;
    }
    for (const char *at = list; at != NULL;) {
        const char *comma = strchr(at, ',');
        size_t len = comma != NULL ? (size_t)(comma - at) : strlen(at);
        len = trim(&at, len);
        if (servers->given_count == SERVERS_MAX ||
            client_server_parse(&servers->given[servers->given_count], at, len) != 0) {
            client_servers_release(servers);
            return -EINVAL;
        }
        servers->given_count++;
        at = comma != NULL ? comma + 1 : NULL;
    }
    servers->next = (size_t)(start % servers->given_count);
    return 0;
}

void client_servers_release(struct client_servers *servers)
{
    free(servers->given);
    free(servers->learned);
    *servers = (struct client_servers){0};
}

bool client_servers_next(struct client_servers *servers, struct client_server *ret)
{
    if (servers->has_hint) {
        servers->has_hint = false;
        *ret = servers->hint;
        return true;
    }
    size_t count = servers->given_count + servers->learned_count;
    if (servers->tried >= count) {
        servers->tried = 0;
        servers->hints_followed = 0;
        return false;
    }
    size_t i = servers->next % count;
    *ret = i < servers->given_count ? servers->given[i]
                                    : servers->learned[i - servers->given_count];
    servers->next = i + 1; /* of what is known then */
    servers->tried++;
    return true;
}

void client_servers_found(struct client_servers *servers)
{
    servers->tried = 0;
    servers->hints_followed = 0;
}

void client_servers_hint(struct client_servers *servers, struct wire_str address)
{
    if (servers->hints_followed >= HINTS_PER_ROUND_MAX ||
        client_server_parse(&servers->hint, address.data, address.len) != 0)
        return;
    servers->hints_followed++;
    servers->has_hint = true;
}

void client_servers_learn(struct client_servers *servers,
                          const struct wire_member *members,
                          size_t count)
{
    size_t learned = 0;
    for (size_t i = 0; i < count && learned < SERVERS_MAX; i++) {
        struct client_server *server = &servers->learned[learned];
        struct wire_str address = members[i].client_address;
        if (client_server_parse(server, address.data, address.len) != 0)
            continue;
        bool given = false;
        for (size_t j = 0; j < servers->given_count; j++)
            given = given || same(&servers->given[j], server);
        if (!given)
            learned++;
    }
    servers->learned_count = learned;
}

int client_servers_resolve(const struct client_server *server,
                           struct client_addresses *ret)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *list = NULL;
    *ret = (struct client_addresses){0};
    int rv = getaddrinfo(server->host, server->port, &hints, &list);
    if (rv == EAI_NONAME) {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        rv = getaddrinfo(server->host, server->port, &hints, &list);
    }
    if (rv != 0)
        return -EHOSTUNREACH;
    for (struct addrinfo *at = list; at != NULL && ret->count < SERVER_ADDRESSES_MAX;
         at = at->ai_next) {
        if (at->ai_addrlen > sizeof(ret->items[0]))
            continue;
        memcpy(&ret->items[ret->count], at->ai_addr, at->ai_addrlen);
        ret->lengths[ret->count] = at->ai_addrlen;
        ret->count++;
    }
    freeaddrinfo(list);
    return ret->count > 0 ? 0 : -EHOSTUNREACH;
}
