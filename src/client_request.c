/* client_request.c - what callers ask for, checked and made into operations. */
#include "client_engine.h"

#include <errno.h>
#include <string.h>

enum { LIMIT_MAX = 65535 };

int client_usable(const struct netlock *nl)
{
    if (nl->closing_end_ms != 0)
        return -NETLOCK_ECLOSED;
    return nl->dead;
}

/* The record of @name for a new operation, or why there is none. */
static int begin(struct netlock *nl, const char *name, struct client_lock **ret_lock)
{
    int rv = client_usable(nl);
    if (rv != 0)
        return rv;
    size_t len = name != NULL ? strnlen(name, NETLOCK_NAME_BYTES_MAX + 1) : 0;
    if (!wire_name_valid(name, len))
        return -EINVAL;
    client_clock(nl);
    *ret_lock = client_lock_get(nl, name, len);
    return *ret_lock != NULL ? 0 : -ENOMEM;
}

static struct operation *make(struct netlock *nl,
                              enum operation_kind kind,
                              struct client_lock *lock,
                              netlock_done_cb done,
                              void *arg)
{
    struct operation *operation = operation_new(nl, kind, lock);
    if (operation == NULL) {
        client_lock_unuse(nl, lock);
        return NULL;
    }
    operation->done = done;
    operation->arg = arg;
    return operation;
}

static bool options_valid(const struct netlock_lock_options *options)
{
    size_t info_len = options->owner_info != NULL
                          ? strnlen(options->owner_info, NETLOCK_NAME_BYTES_MAX + 1)
                          : 0;
    if (info_len > 0 && !wire_name_valid(options->owner_info, info_len))
        return false;
    return (options->type == NETLOCK_WRITE || options->type == NETLOCK_READ) &&
           (options->drop == NETLOCK_DROP_RELEASE ||
            options->drop == NETLOCK_DROP_IGNORE) &&
           options->limit <= LIMIT_MAX &&
           (options->limit <= 1 || options->type == NETLOCK_WRITE);
}

int operation_lock(struct netlock *nl,
                   const char *name,
                   const struct netlock_lock_options *options,
                   netlock_done_cb done,
                   void *arg)
{
    static const struct netlock_lock_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    if (!options_valid(options))
        return -EINVAL;
    struct client_lock *lock;
    int rv = begin(nl, name, &lock);
    if (rv != 0)
        return rv;
    if (lock->request != NULL)
        return -EALREADY;
    struct operation *operation = make(nl, OPERATION_LOCK, lock, done, arg);
    if (operation == NULL)
        return -ENOMEM;
    operation->how.options = *options;
    operation->how.options.owner_info = NULL;
    if (options->owner_info != NULL)
        memcpy(operation->how.owner_info, options->owner_info,
               strlen(options->owner_info));
    lock->request = operation;
    return 0;
}

/* The caller no longer wants what it asked for. True: it had not been sent, so that is all. */
static bool withdraw(struct netlock *nl, struct operation *request)
{
    request->cancelled = true;
    if (request->place != PLACE_QUEUED)
        return false;
    bool never_sent = !request->ever_sent;
    operation_complete(nl, request, -NETLOCK_ECANCELLED);
    return never_sent;
}

int operation_unlock(
    struct netlock *nl, const char *name, uint64_t token, netlock_done_cb done, void *arg)
{
    struct client_lock *lock;
    int rv = begin(nl, name, &lock);
    if (rv != 0)
        return rv;
    struct operation *operation = make(nl, OPERATION_UNLOCK, lock, done, arg);
    if (operation == NULL)
        return -ENOMEM;
    bool ours = lock->held && (token == 0 || token == lock->token);
    operation->believed_held = ours && !lock->releasing;
    operation->token = token;
    if (token == 0 && lock->request != NULL)
        withdraw(nl, lock->request);
    else if (token == 0 && lock->held)
        operation->token = lock->token;
    if (ours)
        client_lock_releasing(nl, lock);
    return 0;
}

int operation_refresh(struct netlock *nl,
                      const char *name,
                      uint32_t lock_timeout_ms,
                      const enum netlock_drop *set_drop,
                      netlock_done_cb done,
                      void *arg)
{
    struct client_lock *lock;
    if (set_drop != NULL && *set_drop != NETLOCK_DROP_RELEASE &&
        *set_drop != NETLOCK_DROP_IGNORE)
        return -EINVAL;
    int rv = begin(nl, name, &lock);
    if (rv != 0)
        return rv;
    struct operation *operation = make(nl, OPERATION_REFRESH, lock, done, arg);
    if (operation == NULL)
        return -ENOMEM;
    operation->token = lock->held && !lock->releasing ? lock->token : 0;
    operation->refresh.lock_timeout_ms = lock_timeout_ms;
    operation->refresh.set_drop = set_drop != NULL;
    operation->refresh.drop = set_drop != NULL ? *set_drop : NETLOCK_DROP_RELEASE;
    return 0;
}

int operation_cancel(struct netlock *nl, const char *name)
{
    size_t len = name != NULL ? strnlen(name, NETLOCK_NAME_BYTES_MAX + 1) : 0;
    struct client_lock *lock = len > 0 ? client_lock_find(nl, name, len) : NULL;
    if (lock == NULL || lock->request == NULL || lock->request->cancelled)
        return -ENOENT;
    /* The protocol has no way to leave the queue and keep the hold. */
    if (lock->held && lock->request->ever_sent)
        return -EBUSY;
    client_clock(nl);
    lock->users++;
    if (!withdraw(nl, lock->request))
        operation_clean_up(nl, lock, 0);
    lock->users--;
    client_lock_unuse(nl, lock);
    return 0;
}
