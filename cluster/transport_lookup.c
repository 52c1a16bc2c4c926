#include "transport_lookup.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

struct transport_lookup {
    uv_getaddrinfo_t request;
    struct transport *transport;
    transport_lookup_cb on_found; /* NULL: forgotten */
    void *arg;
};

static void targets_add(struct transport_targets *targets, const struct sockaddr *target)
{
    size_t size = target->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                : sizeof(struct sockaddr_in);

    targets->items =
        memory_resize(targets->items, targets->count + 1, sizeof *targets->items);
    memcpy(&targets->items[targets->count], target, size);
    targets->count++;
}

void transport_targets_release(struct transport_targets *targets)
{
    free(targets->items);
    *targets = (struct transport_targets){.count = 0};
}

bool transport_targets_add_numeric(struct transport_targets *targets,
                                   const struct peer_address *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    int port = atoi(address->port);

    if (uv_ip4_addr(address->host, port, &v4) == 0) {
        targets_add(targets, (const struct sockaddr *)&v4);
        return true;
    }
    if (uv_ip6_addr(address->host, port, &v6) == 0) {
        targets_add(targets, (const struct sockaddr *)&v6);
        return true;
    }
    return false;
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct transport_lookup *lookup = request->data;
    struct transport *transport = lookup->transport;
    struct transport_targets targets = {.count = 0};

    for (struct addrinfo *one = found; status == 0 && one != NULL; one = one->ai_next) {
        targets_add(&targets, one->ai_addr);
    }
    if (status == 0 && targets.count == 0) {
        status = UV_EAI_NODATA;
    }
    if (lookup->on_found != NULL) {
        lookup->on_found(lookup->arg, &targets, status);
    }
    transport_targets_release(&targets);
    uv_freeaddrinfo(found);
    free(lookup);
    transport->lookups_count--;
    transport_closed_one(transport);
}

int transport_lookup_start(struct transport_lookup **ret,
                           struct transport *transport,
                           const struct peer_address *address,
                           transport_lookup_cb on_found,
                           void *arg)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};

    /* More of them would only take threads from the disk. */
    if (transport->lookups_count >= TRANSPORT_LOOKUPS_MAX) {
        return -EBUSY;
    }
    struct transport_lookup *lookup = memory_new(sizeof *lookup);
    lookup->request.data = lookup;
    lookup->transport = transport;
    lookup->on_found = on_found;
    lookup->arg = arg;
    int error = uv_getaddrinfo(transport->loop, &lookup->request, on_looked_up,
                               address->host, address->port, &hints);
    if (error != 0) {
        free(lookup);
        return error;
    }
    transport->lookups_count++;
    transport->open++;
    *ret = lookup;
    return 0;
}

void transport_lookup_forget(struct transport_lookup *lookup)
{
    lookup->on_found = NULL;
    uv_cancel((uv_req_t *)&lookup->request);
}
