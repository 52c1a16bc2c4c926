/* peer_address.h - "host:port" and "[v6]:port", as members are written down.
 *
 * The text is what counts: libraft carries it as an opaque string, it is compared byte by
 * byte, and names are looked up anew at every connect, so that a member may move to
 * another IP address. */
#ifndef NETLOCK_PEER_ADDRESS_H
#define NETLOCK_PEER_ADDRESS_H

enum {
    PEER_ADDRESS_BYTES_MAX = 255, /* without the final NUL */
    PEER_ADDRESS_HOST_BYTES = 254,
    PEER_ADDRESS_PORT_BYTES = 6,
};

struct peer_address {
    char host[PEER_ADDRESS_HOST_BYTES]; /* without brackets */
    char port[PEER_ADDRESS_PORT_BYTES]; /* decimal, 0..65535 */
};

/* Returns 0, or -EINVAL: no host, no port, a port out of range, an IPv6 address without
 * brackets, a character that is not printable ASCII, or too long. */
int peer_address_parse(const char *text, struct peer_address *ret);

#endif
