#include "client_address.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_PORT "7670"

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
    if (len == 0)
        return -EINVAL; /* @text may be null then */
    if (text[0] == '[') {
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

bool client_server_same(const struct client_server *a, const struct client_server *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

static void take_addresses(struct client_server *server, const struct addrinfo *list)
{
    size_t count = 0;
    for (const struct addrinfo *at = list; at != NULL && count < SERVER_ADDRESSES_MAX;
         at = at->ai_next) {
        struct client_address *address = &server->addresses[count];
        if (at->ai_addrlen > sizeof(address->storage))
            continue;
        memcpy(&address->storage, at->ai_addr, at->ai_addrlen);
        address->len = at->ai_addrlen;
        count++;
    }
    if (count > 0)
        server->addresses_count = count;
}

int client_server_resolve(struct client_server *server, bool may_block)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *list = NULL;
    int rv = getaddrinfo(server->host, server->port, &hints, &list);
    if (rv == EAI_NONAME && may_block) {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        rv = getaddrinfo(server->host, server->port, &hints, &list);
    }
    if (rv == 0) {
        take_addresses(server, list);
        freeaddrinfo(list);
    }
    return server->addresses_count > 0 ? 0 : -EHOSTUNREACH;
}
