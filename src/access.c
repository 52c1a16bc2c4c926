#include "access.h"

#include <errno.h>
#include <string.h>

#include "request.h"

static int load_acl(const char *path, struct acl **ret, char *ret_error)
{
    struct text_problem problem;

    if (path[0] == '\0' || acl_load(path, ret, &problem) == 0) {
        return 0;
    }
    text_problem_print(&problem, path, ret_error, CONFIG_ERROR_BYTES);
    return -EINVAL;
}

static int load_tokens(const char *path, struct tokens **ret, char *ret_error)
{
    struct text_problem problem;

    if (path[0] == '\0' || tokens_load(path, ret, &problem) == 0) {
        return 0;
    }
    text_problem_print(&problem, path, ret_error, CONFIG_ERROR_BYTES);
    return -EINVAL;
}

int access_load(struct access *access,
                const struct config *config,
                char ret_error[static CONFIG_ERROR_BYTES])
{
    struct access fresh = {0};

    int rv = load_acl(config->acl_file, &fresh.acl, ret_error);
    if (rv == 0) {
        rv = load_tokens(config->tokens_file, &fresh.tokens, ret_error);
    }
    if (rv != 0) {
        access_release(&fresh);
        return rv;
    }
    access_release(access);
    *access = fresh;
    return 0;
}

void access_release(struct access *access)
{
    acl_free(access->acl);
    tokens_free(access->tokens);
    *access = (struct access){0};
}

bool access_knows(const struct access *access, struct fsm_str principal)
{
    if (access->acl != NULL) {
        return acl_knows(access->acl, principal);
    }
    return access->tokens == NULL || principal.len != 0;
}

bool access_allows(const struct access *access,
                   struct fsm_str principal,
                   const struct wire_request *request)
{
    const struct acl *acl = access->acl;
    struct fsm_str lock = fsm_str_of(request->lock);

    switch (request->type) {
    case WIRE_REQ_LOCK:
        return acl_allows(acl, principal,
                          request->lock_.type == WIRE_READ ? ACL_READ : ACL_WRITE, lock);
    case WIRE_REQ_REFRESH:
        return acl_allows(acl, principal, ACL_READ, lock) ||
               acl_allows(acl, principal, ACL_WRITE, lock);
    case WIRE_REQ_STATUS:
    case WIRE_REQ_CHECK_TOKEN:
        return acl_allows(acl, principal, ACL_STATUS, lock);
    case WIRE_REQ_LIST_LOCKS:
        return acl_allows_prefix(acl, principal, ACL_STATUS,
                                 fsm_str_of(request->list.prefix));
    case WIRE_REQ_LIST_CLIENTS: /* their names say nothing about the locks they hold */
        return acl_allows_prefix(acl, principal, ACL_STATUS, (struct fsm_str){0});
    case WIRE_REQ_FORCE_RELEASE:
        return acl_allows(acl, principal, ACL_FORCE, lock);
    case WIRE_REQ_BACKUP: /* everything */
    case WIRE_REQ_CLIENT_KILL:
    case WIRE_REQ_CLUSTER_CHANGE:
    case WIRE_REQ_NODE_CONTROL:
        return acl_allows_prefix(acl, principal, ACL_ADMIN, (struct fsm_str){0});
    case WIRE_REQ_ATTACH:
    case WIRE_REQ_DETACH:
    case WIRE_REQ_CREATE:
    case WIRE_REQ_GET_DEFAULT_ID:
    case WIRE_REQ_GET_ATTACHED_IDS:
    case WIRE_REQ_RELEASE:
    case WIRE_REQ_HELLO:
    case WIRE_REQ_PING:
    case WIRE_REQ_CLUSTER_STATUS:
        break;
    }
    return true;
}
