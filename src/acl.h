/* acl.h - who may do what with which locks: the rules of one file.
 *
 *     # cron may lock what is its own, and look at everything
 *     allow  cron-*   read,write  cron.*
 *     allow  cron-*   status      *
 *     deny   ops      force       billing.*
 *     allow  ops      *           *
 *
 * The first rule that speaks of the principal, the action and the lock decides; where
 * none does, it is denied. Without a file everybody may do everything.
 *
 * PRINCIPAL is the name in the client's certificate or beside its token, a pattern. Who
 * shows neither is `anonymous`, and no pattern means him: his rules name him.
 * ACTIONS are a list, or `*` for all. PATTERN is the rest of the line, blanks inside it
 * too; `*` stands for any bytes, also none, `\*` and `\\` for themselves. Lock names are
 * compared byte by byte.
 *
 * Pure: the same rules and questions have the same answers. The leader asks before it
 * proposes, so what is in the log was allowed, and replay needs no file. */
#ifndef NETLOCK_ACL_H
#define NETLOCK_ACL_H

#include <stdbool.h>
#include <stddef.h>

#include "fsm.h"
#include "principal.h"
#include "text_file.h"

enum acl_action {
    ACL_READ = 1,   /* lock for reading */
    ACL_WRITE = 2,  /* lock for writing, and counting locks */
    ACL_STATUS = 4, /* see holders, queues, tokens */
    ACL_ADMIN = 8,  /* what concerns the cluster and other clients */
    ACL_FORCE = 16, /* break another's hold */
    ACL_ALL = 31,
};

struct acl;

/* The caller's to free. Returns 0, or -EINVAL with the first problem. */
int acl_parse(const char *text,
              size_t len,
              struct acl **ret,
              struct text_problem *ret_problem);
int acl_load(const char *path, struct acl **ret, struct text_problem *ret_problem);
void acl_free(struct acl *acl); /* NULL is fine */

/* For these @acl may be NULL: no file, everything is allowed. @principal empty:
 * anonymous. */
bool acl_allows(const struct acl *acl,
                struct fsm_str principal,
                enum acl_action action,
                struct fsm_str lock);

/* Every lock whose name begins with @prefix. May say no where a closer look at rules that
 * overlap would find yes. */
bool acl_allows_prefix(const struct acl *acl,
                       struct fsm_str principal,
                       enum acl_action action,
                       struct fsm_str prefix);

/* Whether any rule allows it anything. */
bool acl_knows(const struct acl *acl, struct fsm_str principal);

#endif
