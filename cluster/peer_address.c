#include "peer_address.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int port_check(const char *port)
{
    size_t len = strlen(port);

    if (len == 0 || len >= PEER_ADDRESS_PORT_BYTES) {
        return -EINVAL;
    }
    if (strspn(port, "0123456789") != len || strtoul(port, NULL, 10) > 65535) {
        return -EINVAL;
    }
    return 0;
}

/* Find where the host starts, how long it is and where the port starts. */
static int split(const char *text, const char **host, size_t *host_len, const char **port)
{
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (end == NULL || end[1] != ':') {
            return -EINVAL;
        }
        *host = text + 1;
        *host_len = (size_t)(end - *host);
        *port = end + 2;
        return 0;
    }
    const char *colon = strchr(text, ':');
    if (colon == NULL || strchr(colon + 1, ':') != NULL) {
        return -EINVAL;
    }
    *host = text;
    *host_len = (size_t)(colon - text);
    *port = colon + 1;
    return 0;
}

int peer_address_parse(const char *text, struct peer_address *ret)
{
    const char *host;
    const char *port;
    size_t host_len;

    if (strlen(text) > PEER_ADDRESS_BYTES_MAX) {
        return -EINVAL;
    }
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            return -EINVAL;
        }
    }
    if (split(text, &host, &host_len, &port) != 0 || port_check(port) != 0) {
        return -EINVAL;
    }
    if (host_len == 0 || host_len >= PEER_ADDRESS_HOST_BYTES) {
        return -EINVAL;
    }
    memcpy(ret->host, host, host_len);
    ret->host[host_len] = '\0';
    memcpy(ret->port, port, strlen(port) + 1);
    return 0;
}
