/* access.h - who a client is and what it may do: the ACL and the tokens in force.
 *
 * They are read together at the start and on SIGHUP; a mistake in one of the files leaves
 * both as they were. A zeroed struct has neither: everybody is anonymous and may do
 * everything.
 *
 * A principal is the name in the client's certificate, or the one beside its token; an
 * empty one is anonymous. */
#ifndef NETLOCK_ACCESS_H
#define NETLOCK_ACCESS_H

#include "acl.h"
#include "config.h"
#include "tokens.h"
#include "wire.h"

struct access {
    struct acl *acl;
    struct tokens *tokens;
};

/* Read the files that @config names. Returns 0; or -EINVAL with one line in @ret_error,
 * and @access as it was. */
int access_load(struct access *access,
                const struct config *config,
                char ret_error[static CONFIG_ERROR_BYTES]);
void access_release(struct access *access);

/* Whether the principal may ask anything at all. Where there are tokens or an ACL, the
 * anonymous may not, unless a rule of the ACL names them. */
bool access_knows(const struct access *access, struct fsm_str principal);

/* Whether the principal may ask this. What gives back what one has (release, detach), and
 * what is no lock's, is allowed to all that are known. */
bool access_allows(const struct access *access,
                   struct fsm_str principal,
                   const struct wire_request *request);

#endif
