/* client_operation.c - requests of the caller, and our own, until they are answered. */
#include "client_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 24 };

/* ---- slots: message key to operation, without a search -------------------------------------- */

static int grow_slots(struct netlock *nl)
{
    size_t count = nl->slots_count > 0 ? 2 * nl->slots_count : 16;
    struct operation **slots = realloc(nl->slots, count * sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    nl->slots = slots;
    uint32_t *generations = realloc(nl->generations, count * sizeof(*generations));
    if (generations == NULL)
        return -ENOMEM;
    nl->generations = generations;
    uint32_t *free_slots = realloc(nl->free_slots, count * sizeof(*free_slots));
    if (free_slots == NULL)
        return -ENOMEM;
    nl->free_slots = free_slots;
    for (size_t i = count; i-- > nl->slots_count;) {
        nl->slots[i] = NULL;
        nl->generations[i] = 0;
        nl->free_slots[nl->slots_free++] = (uint32_t)i;
    }
    nl->slots_count = count;
    return 0;
}

static void give_back_slot(struct netlock *nl, struct operation *operation)
{
    nl->slots[operation->slot] = NULL;
    nl->free_slots[nl->slots_free++] = operation->slot;
}

static char *put_hex(char *out, uint32_t number)
{
    unsigned shift = 28;
    while (shift > 0 && number >> shift == 0)
        shift -= 4;
    for (; shift > 0; shift -= 4)
        *out++ = "0123456789abcdef"[number >> shift & 15];
    *out++ = "0123456789abcdef"[number & 15];
    return out;
}

/* By hand: it is done twice for every request, and printf() is slow. */
static size_t put_key(char out[static KEY_BYTES], const struct operation *operation)
{
    char *end = put_hex(out, operation->slot);
    *end++ = '.';
    return (size_t)(put_hex(end, operation->generation) - out);
}

struct operation *operation_find(struct netlock *nl, struct wire_str key)
{
    char text[KEY_BYTES], again[KEY_BYTES];
    if (key.len == 0 || key.len >= sizeof(text))
        return NULL;
    memcpy(text, key.data, key.len);
    text[key.len] = 0;
    unsigned long slot = strtoul(text, NULL, 16);
    if (slot >= nl->slots_count || nl->slots[slot] == NULL)
        return NULL;
    size_t len = put_key(again, nl->slots[slot]);
    return len == key.len && memcmp(text, again, len) == 0 ? nl->slots[slot] : NULL;
}

/* ---- life ----------------------------------------------------------------------------------- */

static struct operation_list *list_of(struct netlock *nl, enum operation_place place)
{
    assert(place != PLACE_NONE);
    switch (place) {
    case PLACE_QUEUED:
        return &nl->queued;
    case PLACE_SENT:
        return &nl->sent;
    case PLACE_WAITING:
        return &nl->waiting;
    case PLACE_NONE:
    case PLACE_DONE:
        break;
    }
    return &nl->done;
}

static void
move(struct netlock *nl, struct operation *operation, enum operation_place place)
{
    if (operation->place != PLACE_NONE)
        TAILQ_REMOVE(list_of(nl, operation->place), operation, link);
    operation->place = place;
    TAILQ_INSERT_TAIL(list_of(nl, place), operation, link);
}

struct operation *
operation_new(struct netlock *nl, enum operation_kind kind, struct client_lock *lock)
{
    if (nl->slots_free == 0 && grow_slots(nl) != 0)
        return NULL;
    struct operation *operation = calloc(1, sizeof(*operation));
    if (operation == NULL)
        return NULL;
    operation->kind = kind;
    operation->slot = nl->free_slots[--nl->slots_free];
    operation->generation = ++nl->generations[operation->slot];
    nl->slots[operation->slot] = operation;
    operation->called_ms = nl->now_ms;
    operation->lock = lock;
    operation->number = ++nl->operations_made;
    if (lock != NULL) {
        LIST_INSERT_HEAD(&lock->operations, operation, of_lock);
        lock->users++;
    }
    move(nl, operation, PLACE_QUEUED);
    return operation;
}

static void leave_lock(struct operation *operation)
{
    struct client_lock *lock = operation->lock;
    if (lock == NULL)
        return;
    if (lock->request == operation)
        lock->request = NULL;
    if (operation->kind == OPERATION_REFRESH && operation->internal)
        lock->refreshing = false;
    LIST_REMOVE(operation, of_lock);
}

void operation_free(struct netlock *nl, struct operation *operation)
{
    struct client_lock *lock = operation->lock;
    if (operation->place != PLACE_DONE) {
        leave_lock(operation);
        give_back_slot(nl, operation);
    }
    free(operation);
    if (lock == NULL)
        return;
    lock->users--;
    client_lock_unuse(nl, lock);
}

void operation_complete(struct netlock *nl, struct operation *operation, int rv)
{
    assert(operation->place != PLACE_DONE);
    operation->rv = rv;
    if (nl->ping == operation)
        nl->ping = NULL;
    if (nl->keepalive == operation)
        nl->keepalive = NULL;
    if (nl->detach == operation)
        nl->detach = NULL;
    /* The key dies now: a late message must not find an operation that is over. */
    give_back_slot(nl, operation);
    leave_lock(operation);
    move(nl, operation, PLACE_DONE);
}

void operation_again(struct netlock *nl,
                     struct operation *operation,
                     uint64_t retry_at_ms)
{
    operation->retry_at_ms = retry_at_ms;
    operation->generation = ++nl->generations[operation->slot];
    move(nl, operation, PLACE_QUEUED);
}

void operation_again_last(struct netlock *nl, struct operation *operation)
{
    operation->number = ++nl->operations_made;
    operation_again(nl, operation, 0);
}

void operation_to_waiting(struct netlock *nl, struct operation *operation)
{
    if (operation->place != PLACE_WAITING)
        move(nl, operation, PLACE_WAITING);
}

static struct operation *
clean_up(struct netlock *nl, struct client_lock *lock, uint64_t token)
{
    if (nl->dead != 0 || nl->closing_end_ms != 0)
        return NULL;
    struct operation *operation = operation_new(nl, OPERATION_UNLOCK, lock);
    if (operation == NULL)
        return NULL; /* no memory: its timeout, or the end of this client, frees it */
    operation->internal = true;
    operation->token = token;
    return operation;
}

void operation_clean_up(struct netlock *nl, struct client_lock *lock, uint64_t token)
{
    (void)clean_up(nl, lock, token);
}

/* In the place of what is given up: the caller may have asked for more since then, and must not lose
 * what that gets. */
static void
clean_up_after(struct netlock *nl, const struct operation *operation, uint64_t token)
{
    struct operation *release = clean_up(nl, operation->lock, token);
    if (release != NULL)
        release->number = operation->number;
}

void operation_abandon(struct netlock *nl, struct operation *operation, int rv)
{
    struct client_lock *lock = operation->lock;
    /* It may have been granted, or be granted yet. Not under a shared id, where what is there may
     * belong to another process; and not when a hold we keep would go with it. */
    bool keeps = lock != NULL && lock->held && !lock->releasing;
    if (operation->kind == OPERATION_LOCK && operation->ever_sent &&
        !operation->cancelled && !keeps && !nl->share_id)
        clean_up_after(nl, operation, 0);
    if (operation->kind == OPERATION_UNLOCK)
        clean_up_after(nl, operation, operation->token);
    operation_complete(nl, operation, rv);
}

/* ---- sending ---------------------------------------------------------------------------------- */

static struct wire_str str(const char *text)
{
    return (struct wire_str){.data = text, .len = text != NULL ? strlen(text) : 0};
}

/* What is left of the caller's wait, at least 1 ms: that the time is over is for the cluster to say,
 * in the order of its log. Both times are rounded down, so up to 1 ms less may have passed. */
static uint32_t wait_left_ms(const struct netlock *nl, const struct operation *operation)
{
    uint32_t wait_ms = operation->how.options.wait_timeout_ms;
    uint64_t passed_ms = nl->now_ms - operation->called_ms;
    if (wait_ms == 0 || wait_ms == NETLOCK_UNLIMITED || passed_ms == 0)
        return wait_ms;
    return passed_ms < wait_ms ? wait_ms - (uint32_t)passed_ms + 1 : 1;
}

static void describe_lock(const struct netlock *nl,
                          const struct operation *operation,
                          struct wire_request *ret)
{
    const struct netlock_lock_options *how = &operation->how.options;
    ret->type = WIRE_REQ_LOCK;
    ret->lock_.type = how->type == NETLOCK_READ ? WIRE_READ : WIRE_WRITE;
    ret->lock_.mode = how->try_only ? WIRE_BREAK : WIRE_WAIT;
    ret->lock_.drop =
        how->drop == NETLOCK_DROP_IGNORE ? WIRE_DROP_IGNORE : WIRE_DROP_RELEASE;
    ret->lock_.wait_timeout_ms = wait_left_ms(nl, operation);
    ret->lock_.lock_timeout_ms = how->lock_timeout_ms;
    ret->lock_.limit = how->limit > 1 ? how->limit : 1;
    ret->lock_.downgrade = how->downgrade;
    ret->lock_.owner_info = str(operation->how.owner_info);
}

static void describe_refresh(const struct operation *operation, struct wire_request *ret)
{
    ret->type = WIRE_REQ_REFRESH;
    ret->refresh.lock_timeout_ms = operation->refresh.lock_timeout_ms;
    ret->refresh.set_drop = operation->refresh.set_drop;
    ret->refresh.drop = operation->refresh.drop == NETLOCK_DROP_IGNORE
                            ? WIRE_DROP_IGNORE
                            : WIRE_DROP_RELEASE;
    ret->refresh.token = operation->token;
}

static void describe(const struct netlock *nl,
                     const struct operation *operation,
                     struct wire_request *ret)
{
    *ret = (struct wire_request){.client = str(nl->client_id)};
    if (operation->lock != NULL)
        ret->lock = (struct wire_str){operation->lock->name, operation->lock->name_len};
    switch (operation->kind) {
    case OPERATION_LOCK:
        describe_lock(nl, operation, ret);
        break;
    case OPERATION_REFRESH:
        describe_refresh(operation, ret);
        break;
    case OPERATION_UNLOCK:
        ret->type = WIRE_REQ_RELEASE;
        ret->release.token = operation->token;
        break;
    case OPERATION_STATUS:
        ret->type = WIRE_REQ_STATUS;
        break;
    case OPERATION_CHECK_TOKEN:
        ret->type = WIRE_REQ_CHECK_TOKEN;
        ret->check_token.token = operation->token;
        break;
    case OPERATION_KILL_CLIENT:
        ret->type = WIRE_REQ_CLIENT_KILL;
        ret->client = operation->list.prefix;
        break;
    case OPERATION_LIST:
    case OPERATION_LIST_CLIENTS:
        ret->type = operation->kind == OPERATION_LIST ? WIRE_REQ_LIST_LOCKS
                                                      : WIRE_REQ_LIST_CLIENTS;
        ret->list.prefix = operation->list.prefix;
        ret->list.after = operation->list.after;
        ret->list.max = operation->list.max;
        break;
    case OPERATION_BREAK:
        ret->type = WIRE_REQ_FORCE_RELEASE;
        ret->force_release.token = operation->token;
        break;
    case OPERATION_BACKUP:
        ret->type = WIRE_REQ_BACKUP;
        ret->backup.backup = operation->backup.id;
        ret->backup.offset = operation->backup.offset;
        break;
    case OPERATION_DETACH:
        ret->type = WIRE_REQ_DETACH;
        break;
    case OPERATION_PING:
        ret->type = WIRE_REQ_PING;
        break;
    }
}

static int send_one(struct netlock *nl, struct operation *operation)
{
    char key[KEY_BYTES];
    struct wire_request request;
    describe(nl, operation, &request);
    request.key = (struct wire_str){key, put_key(key, operation)};
    int rv = client_conn_put(&nl->session.conn, &request);
    if (rv != 0)
        return rv;
    operation->sent_ms = nl->now_ms;
    operation->sent_number = ++nl->operations_sent;
    operation->retry_at_ms = 0;
    operation->ever_sent = true;
    nl->session.sent_ms = nl->now_ms;
    client_lease_asked(nl, operation);
    move(nl, operation, PLACE_SENT);
    return 0;
}

/* Requests about one lock keep their order: none overtakes an earlier one that has to wait. */
static bool held_back(const struct operation *operation)
{
    if (operation->lock == NULL)
        return false;
    const struct operation *at;
    LIST_FOREACH(at, &operation->lock->operations, of_lock)
    {
        if (at->place == PLACE_QUEUED && at->number < operation->number)
            return true;
    }
    return false;
}

void operations_send(struct netlock *nl)
{
    struct operation *next;
    for (struct operation *at = TAILQ_FIRST(&nl->queued); at != NULL; at = next) {
        next = TAILQ_NEXT(at, link);
        if (at->retry_at_ms > nl->now_ms || held_back(at))
            continue;
        int rv = send_one(nl, at);
        if (rv == -ENOMEM) {
            session_fail(nl, -NETLOCK_EUNREACHABLE);
            return;
        }
        if (rv != 0)
            operation_complete(nl, at, -EINVAL);
    }
}

/* ---- all of them ------------------------------------------------------------------------------ */

/* Of use on its own connection only: made anew on the next one, when it is due. */
static bool ends_with_connection(const struct operation *operation)
{
    return operation->kind == OPERATION_PING ||
           (operation->internal && (operation->kind == OPERATION_REFRESH ||
                                    operation->kind == OPERATION_CHECK_TOKEN));
}

static void requeue(struct netlock *nl, struct operation_list *list)
{
    struct operation *before;
    for (struct operation *at = TAILQ_LAST(list, operation_list); at != NULL;
         at = before) {
        before = TAILQ_PREV(at, operation_list, link);
        if (ends_with_connection(at)) {
            operation_complete(nl, at, -NETLOCK_EUNREACHABLE);
            continue;
        }
        if (at->kind == OPERATION_LOCK && at->cancelled) {
            operation_complete(nl, at,
                               -NETLOCK_ECANCELLED); /* its clean-up is sent again */
            continue;
        }
        at->uncertain = at->uncertain || list != &nl->queued;
        if (list == &nl->queued)
            continue;
        at->generation = ++nl->generations[at->slot];
        TAILQ_REMOVE(list, at, link);
        at->place = PLACE_QUEUED;
        TAILQ_INSERT_HEAD(&nl->queued, at, link);
    }
}

void operations_requeue(struct netlock *nl)
{
    requeue(nl, &nl->queued);
    requeue(nl, &nl->sent);
    requeue(nl, &nl->waiting);
}

static uint64_t patience_end_ms(const struct netlock *nl,
                                const struct operation *operation)
{
    uint64_t since_ms = nl->session.down_since_ms;
    if (operation->called_ms > since_ms)
        since_ms = operation->called_ms;
    return since_ms + nl->connect_timeout_ms;
}

void operations_expire(struct netlock *nl)
{
    if (nl->session.state == SESSION_READY)
        return;
    bool strange = nl->session.failure == -NETLOCK_EPROTOCOL;
    struct operation *next;
    for (struct operation *at = TAILQ_FIRST(&nl->queued); at != NULL; at = next) {
        next = TAILQ_NEXT(at, link);
        if (!at->internal && patience_end_ms(nl, at) <= nl->now_ms)
            operation_abandon(nl, at,
                              strange ? -NETLOCK_EPROTOCOL : -NETLOCK_EUNREACHABLE);
    }
}

uint64_t operations_due_ms(const struct netlock *nl)
{
    uint64_t due_ms = nl->detach != NULL ? nl->closing_end_ms : CLIENT_NEVER;
    bool ready = nl->session.state == SESSION_READY;
    const struct operation *at;
    TAILQ_FOREACH(at, &nl->queued, link)
    {
        uint64_t at_ms = CLIENT_NEVER;
        if (ready)
            at_ms = held_back(at) ? CLIENT_NEVER : at->retry_at_ms;
        else if (!at->internal)
            at_ms = patience_end_ms(nl, at);
        if (at_ms < due_ms)
            due_ms = at_ms;
    }
    return due_ms;
}

static void fail_list(struct netlock *nl, struct operation_list *list, int rv)
{
    while (!TAILQ_EMPTY(list))
        operation_complete(nl, TAILQ_FIRST(list), rv);
}

void operations_fail(struct netlock *nl, int rv)
{
    fail_list(nl, &nl->waiting, rv);
    fail_list(nl, &nl->sent, rv);
    fail_list(nl, &nl->queued, rv);
}
