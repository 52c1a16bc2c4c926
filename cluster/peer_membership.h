/* peer_membership.h - whether bytes are a membership as libraft encodes it.
 *
 *     1 format, 1   8 number of servers
 *     each server: 8 id  address and NUL  1 role
 *     zeros up to a multiple of 8
 *
 * libraft reads them without looking for their end, and stores a change of membership before it knows
 * whether it can be read. */
#ifndef NETLOCK_PEER_MEMBERSHIP_H
#define NETLOCK_PEER_MEMBERSHIP_H

#include <stddef.h>
#include <stdint.h>

/* Returns NULL, or what is wrong. */
const char *peer_membership_check(const uint8_t *bytes, size_t len);

#endif
