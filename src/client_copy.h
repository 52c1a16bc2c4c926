/* client_copy.h - wire values to what the caller of the library owns. */
#ifndef NETLOCK_CLIENT_COPY_H
#define NETLOCK_CLIENT_COPY_H

#include "netlock.h"
#include "wire.h"

/* Each fills what is zero before; on -ENOMEM it is left for the matching free. */
int copy_str(char **ret, struct wire_str str);
int copy_holders(struct netlock_holder **ret,
                 size_t *ret_count,
                 const struct wire_claim *claims,
                 size_t count);
void free_holders(struct netlock_holder *holders, size_t count);
int copy_members(struct netlock_member **ret,
                 size_t *ret_count,
                 const struct wire_member *members,
                 size_t count);
void free_members(struct netlock_member *members, size_t count);

#endif
