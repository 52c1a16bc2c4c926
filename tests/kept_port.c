#include "kept_port.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void must(bool done, const char *what)
{
    if (!done) {
        perror(what);
        abort();
    }
}

/* Bound to all addresses, those of IPv4 included; to these alone on a machine without IPv6. */
static int bind_any(struct sockaddr_storage *ret)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    socklen_t len = sizeof(*ret);
    int off = 0;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&v6, sizeof(v6)) != 0) {
        close(fd);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(fd >= 0, "socket");
        must(bind(fd, (struct sockaddr *)&v4, sizeof(v4)) == 0, "bind");
    }
    must(getsockname(fd, (struct sockaddr *)ret, &len) == 0, "getsockname");
    return fd;
}

uint16_t keep_port(void)
{
    struct sockaddr_storage address;
    int on = 1;
    /* Never closed: it keeps the port. */
    int fd = bind_any(&address);

    /* So that a server that says it too may be bound to the port beside us. */
    must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0, "SO_REUSEADDR");
    return ntohs(address.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)&address)->sin6_port
                     : ((struct sockaddr_in *)&address)->sin_port);
}
