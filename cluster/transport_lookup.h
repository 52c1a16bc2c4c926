/* transport_lookup.h - from a member's address to the sockets' addresses to try. Part of the transport.
 *
 * A lookup cannot be stopped once a thread of the pool runs it, and a broken resolver takes its time:
 * whoever gives up forgets the lookup, which then ends alone. Numeric addresses need none. */
#ifndef NETLOCK_TRANSPORT_LOOKUP_H
#define NETLOCK_TRANSPORT_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "peer_address.h"
#include "transport_internal.h"

/* Zero-initialise. */
struct transport_targets {
    struct sockaddr_storage *items;
    size_t count;
};

void transport_targets_release(struct transport_targets *targets);

/* True, and one target added, if @address is an IP address. */
bool transport_targets_add_numeric(struct transport_targets *targets,
                                   const struct peer_address *address);

struct transport_lookup;

/* @found: borrowed, empty if @error is not 0. */
typedef void (*transport_lookup_cb)(void *arg,
                                    const struct transport_targets *found,
                                    int error);

/* Returns 0, -EBUSY if too many lookups have not ended, or another negative errno: then @on_found is
 * not called. */
int transport_lookup_start(struct transport_lookup **ret,
                           struct transport *transport,
                           const struct peer_address *address,
                           transport_lookup_cb on_found,
                           void *arg);

/* @on_found is not called any more. */
void transport_lookup_forget(struct transport_lookup *lookup);

#endif
