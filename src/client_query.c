/* client_query.c - calls that look, and the operators' break and backup: a request, an answer, no
 * state. */
#include "client_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client_copy.h"

enum { LIST_MAX = 1000, LIST_DEFAULT = 100 };

/* One question. @name NULL: about no lock. */
struct question {
    enum operation_kind kind;
    const char *name;
    uint64_t token;
    struct wire_str prefix, after; /* KILL_CLIENT: the prefix is its id */
    uint32_t max;
    uint64_t backup_id, backup_offset;
    operation_query_cb on_answer;
    void *result;
};

static int
submit(struct netlock *nl, const struct question *question, struct client_waiter *waiter)
{
    int rv = client_usable(nl);
    if (rv != 0)
        return rv;
    client_clock(nl);
    struct client_lock *lock = NULL;
    if (question->name != NULL) {
        lock = client_lock_get(nl, question->name, strlen(question->name));
        if (lock == NULL)
            return -ENOMEM;
    }
    struct operation *operation = operation_new(nl, question->kind, lock);
    if (operation == NULL) {
        if (lock != NULL)
            client_lock_unuse(nl, lock);
        return -ENOMEM;
    }
    operation->token = question->token;
    if (question->kind == OPERATION_LIST || question->kind == OPERATION_LIST_CLIENTS ||
        question->kind == OPERATION_KILL_CLIENT) {
        operation->list.prefix = question->prefix;
        operation->list.after = question->after;
        operation->list.max = question->max;
    } else if (question->kind == OPERATION_BACKUP) {
        operation->backup.id = question->backup_id;
        operation->backup.offset = question->backup_offset;
    }
    operation->on_answer = question->on_answer;
    operation->query = question->result;
    operation->done = client_waiter_done;
    operation->arg = waiter;
    return 0;
}

static int ask(struct netlock *nl, const struct question *question)
{
    struct client_waiter waiter;
    int rv = client_waiter_begin(nl, &waiter);
    if (rv != 0)
        return rv;
    return client_waiter_end(&waiter, submit(nl, question, &waiter));
}

static bool name_valid(const char *name)
{
    return name != NULL &&
           wire_name_valid(name, strnlen(name, NETLOCK_NAME_BYTES_MAX + 1));
}

/* ---- status ---------------------------------------------------------------------------------- */

static enum netlock_state state_of(enum wire_lock_state state)
{
    switch (state) {
    case WIRE_HELD_BY_ME:
        return NETLOCK_HELD;
    case WIRE_WAITING:
        return NETLOCK_WAITING;
    case WIRE_HELD_BY_OTHER_CLIENT:
        return NETLOCK_HELD_BY_OTHER;
    case WIRE_FREE:
        break;
    }
    return NETLOCK_FREE;
}

static void take_status(struct operation *operation, const struct wire_response *answer)
{
    struct netlock_status *status = operation->query;
    if (answer->type != WIRE_RESP_STATUS) {
        operation->rv = -NETLOCK_EPROTOCOL;
        return;
    }
    *status = (struct netlock_status){
        .state = state_of(answer->status.state),
        .type = answer->status.type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE,
        .drop = answer->status.drop == WIRE_DROP_IGNORE ? NETLOCK_DROP_IGNORE
                                                        : NETLOCK_DROP_RELEASE,
        .token = answer->status.token,
        .remaining_ms = answer->status.remaining_ms,
        .limit = answer->status.limit,
        .slot = answer->status.slot,
        .holders_count = answer->status.holders_count,
        .queue_length = answer->status.queue_length,
        .queue_position = answer->status.queue_position,
        .index = answer->position.index,
        .cluster_time_ms = answer->position.cluster_time_ms,
    };
    operation->rv = copy_holders(&status->holders, &status->holders_shown,
                                 answer->status.holders, answer->status.holders_shown);
}

int netlock_status(struct netlock *nl, const char *name, struct netlock_status *ret)
{
    if (!name_valid(name))
        return -EINVAL;
    struct netlock_status status = {0};
    int rv = ask(nl, &(struct question){.kind = OPERATION_STATUS,
                                        .name = name,
                                        .on_answer = take_status,
                                        .result = &status});
    if (rv == 0)
        *ret = status;
    else
        netlock_status_release(&status);
    return rv;
}

void netlock_status_release(struct netlock_status *status)
{
    free_holders(status->holders, status->holders_shown);
    *status = (struct netlock_status){0};
}

/* ---- tokens ------------------------------------------------------------------------------------ */

struct token_result {
    enum netlock_token_state state;
    uint64_t by;
};

static void take_token(struct operation *operation, const struct wire_response *answer)
{
    struct token_result *result = operation->query;
    operation->rv = answer->type == WIRE_RESP_CHECK_TOKEN ? 0 : -NETLOCK_EPROTOCOL;
    if (operation->rv != 0)
        return;
    result->by = answer->check_token.superseded_by;
    switch (answer->check_token.state) {
    case WIRE_TOKEN_CURRENT:
        result->state = NETLOCK_CURRENT;
        break;
    case WIRE_TOKEN_SUPERSEDED:
        result->state = NETLOCK_SUPERSEDED;
        break;
    case WIRE_TOKEN_FREE:
        result->state = NETLOCK_TOKEN_FREE;
        break;
    }
}

int netlock_check_token(struct netlock *nl,
                        const char *name,
                        uint64_t token,
                        enum netlock_token_state *ret_state,
                        uint64_t *ret_by)
{
    if (!name_valid(name))
        return -EINVAL;
    struct token_result result = {0};
    int rv = ask(nl, &(struct question){.kind = OPERATION_CHECK_TOKEN,
                                        .name = name,
                                        .token = token,
                                        .on_answer = take_token,
                                        .result = &result});
    if (rv != 0)
        return rv;
    *ret_state = result.state;
    if (ret_by != NULL)
        *ret_by = result.by;
    return 0;
}

/* ---- list -------------------------------------------------------------------------------------- */

static int take_item(struct netlock_lock_item *item,
                     const struct wire_lock_summary *summary)
{
    item->type = summary->type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE;
    item->limit = summary->limit;
    item->holders_count = summary->holders_count;
    item->queue_length = summary->queue_length;
    int rv = copy_str(&item->name, summary->lock);
    if (rv == 0)
        rv = copy_holders(&item->holders, &item->holders_shown, summary->holders,
                          summary->holders_shown);
    if (rv == 0)
        rv = copy_holders(&item->waiters, &item->waiters_shown, summary->waiters,
                          summary->waiters_shown);
    return rv;
}

static void take_list(struct operation *operation, const struct wire_response *answer)
{
    struct netlock_lock_list *list = operation->query;
    operation->rv = answer->type == WIRE_RESP_LIST_LOCKS ? 0 : -NETLOCK_EPROTOCOL;
    if (operation->rv != 0 || answer->list_locks.count == 0)
        return;
    list->items = calloc(answer->list_locks.count, sizeof(*list->items));
    if (list->items == NULL) {
        operation->rv = -ENOMEM;
        return;
    }
    list->count = answer->list_locks.count;
    list->more = answer->list_locks.more;
    for (size_t i = 0; i < list->count && operation->rv == 0; i++)
        operation->rv = take_item(&list->items[i], &answer->list_locks.locks[i]);
}

static bool text_valid(const char *text)
{
    return text == NULL || text[0] == 0 || name_valid(text);
}

static struct wire_str text_of(const char *text)
{
    return (struct wire_str){.data = text, .len = text != NULL ? strlen(text) : 0};
}

int netlock_list_locks(struct netlock *nl,
                       const char *prefix,
                       const char *after,
                       uint32_t max,
                       struct netlock_lock_list *ret)
{
    if (!text_valid(prefix) || !text_valid(after) || max > LIST_MAX)
        return -EINVAL;
    struct netlock_lock_list list = {0};
    int rv = ask(nl, &(struct question){.kind = OPERATION_LIST,
                                        .prefix = text_of(prefix),
                                        .after = text_of(after),
                                        .max = max != 0 ? max : LIST_DEFAULT,
                                        .on_answer = take_list,
                                        .result = &list});
    if (rv == 0)
        *ret = list;
    else
        netlock_lock_list_release(&list);
    return rv;
}

void netlock_lock_list_release(struct netlock_lock_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free_holders(list->items[i].holders, list->items[i].holders_shown);
        free_holders(list->items[i].waiters, list->items[i].waiters_shown);
    }
    free(list->items);
    *list = (struct netlock_lock_list){0};
}

/* ---- clients ----------------------------------------------------------------------------------- */

static void take_clients(struct operation *operation, const struct wire_response *answer)
{
    struct netlock_client_list *list = operation->query;
    operation->rv = answer->type == WIRE_RESP_LIST_CLIENTS ? 0 : -NETLOCK_EPROTOCOL;
    if (operation->rv != 0 || answer->list_clients.count == 0)
        return;
    list->items = calloc(answer->list_clients.count, sizeof(*list->items));
    if (list->items == NULL) {
        operation->rv = -ENOMEM;
        return;
    }
    list->count = answer->list_clients.count;
    list->more = answer->list_clients.more;
    for (size_t i = 0; i < list->count && operation->rv == 0; i++) {
        const struct wire_client_summary *summary = &answer->list_clients.clients[i];
        list->items[i].holds_count = summary->holds_count;
        list->items[i].waits_count = summary->waits_count;
        list->items[i].connected = summary->connected;
        operation->rv = copy_str(&list->items[i].client_id, summary->client);
    }
}

int netlock_list_clients(struct netlock *nl,
                         const char *prefix,
                         const char *after,
                         uint32_t max,
                         struct netlock_client_list *ret)
{
    if (!text_valid(prefix) || !text_valid(after) || max > LIST_MAX)
        return -EINVAL;
    struct netlock_client_list list = {0};
    int rv = ask(nl, &(struct question){.kind = OPERATION_LIST_CLIENTS,
                                        .prefix = text_of(prefix),
                                        .after = text_of(after),
                                        .max = max != 0 ? max : LIST_DEFAULT,
                                        .on_answer = take_clients,
                                        .result = &list});
    if (rv == 0)
        *ret = list;
    else
        netlock_client_list_release(&list);
    return rv;
}

void netlock_client_list_release(struct netlock_client_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].client_id);
    free(list->items);
    *list = (struct netlock_client_list){0};
}

static void take_kill(struct operation *operation, const struct wire_response *answer)
{
    bool *found = operation->query;
    operation->rv = answer->type == WIRE_RESP_CLIENT_KILL ? 0 : -NETLOCK_EPROTOCOL;
    if (operation->rv == 0)
        *found = answer->client_kill.found;
}

int netlock_kill_client(struct netlock *nl, const char *client_id, bool *ret_found)
{
    if (!name_valid(client_id))
        return -EINVAL;
    bool found = false;
    int rv = ask(nl, &(struct question){.kind = OPERATION_KILL_CLIENT,
                                        .prefix = text_of(client_id),
                                        .on_answer = take_kill,
                                        .result = &found});
    if (rv == 0 && ret_found != NULL)
        *ret_found = found;
    return rv;
}

/* ---- break ------------------------------------------------------------------------------------- */

static void take_break(struct operation *operation, const struct wire_response *answer)
{
    uint32_t *count = operation->query;
    operation->rv = answer->type == WIRE_RESP_FORCE_RELEASE ? 0 : -NETLOCK_EPROTOCOL;
    if (operation->rv == 0)
        *count = answer->force_release.holds_broken;
}

int netlock_break(struct netlock *nl,
                  const char *name,
                  uint64_t token,
                  uint32_t *ret_count)
{
    if (!name_valid(name))
        return -EINVAL;
    uint32_t count = 0;
    int rv = ask(nl, &(struct question){.kind = OPERATION_BREAK,
                                        .name = name,
                                        .token = token,
                                        .on_answer = take_break,
                                        .result = &count});
    if (rv == 0 && ret_count != NULL)
        *ret_count = count;
    return rv;
}

/* ---- backup ------------------------------------------------------------------------------------ */

/* The answer's bytes live until the next one comes; what the caller does with them may take long. */
struct piece {
    uint64_t id, offset;
    uint64_t size; /* of the whole */
    uint64_t index, last_token;
    char *data;
    size_t len;
};

static void take_piece(struct operation *operation, const struct wire_response *answer)
{
    struct piece *piece = operation->query;
    operation->rv = -NETLOCK_EPROTOCOL;
    if (answer->type != WIRE_RESP_BACKUP || answer->backup.offset != piece->offset ||
        answer->backup.data.len == 0 ||
        answer->backup.data.len > answer->backup.size - piece->offset ||
        (piece->offset != 0 && answer->backup.size != piece->size))
        return;
    piece->data = malloc(answer->backup.data.len);
    operation->rv = piece->data != NULL ? 0 : -ENOMEM;
    if (operation->rv != 0)
        return;
    memcpy(piece->data, answer->backup.data.data, answer->backup.data.len);
    piece->len = answer->backup.data.len;
    piece->id = answer->backup.backup;
    piece->size = answer->backup.size;
    piece->last_token = answer->backup.last_token;
    if (piece->offset == 0)
        piece->index = answer->position.index;
}

static int fetch_piece(struct netlock *nl, struct piece *piece)
{
    int rv = ask(nl, &(struct question){.kind = OPERATION_BACKUP,
                                        .backup_id = piece->id,
                                        .backup_offset = piece->offset,
                                        .on_answer = take_piece,
                                        .result = piece});
    /* Another leader, or another connection to the same: the copy was given up with the old one. */
    return rv == -NETLOCK_EINVALID && piece->id != 0 ? -EAGAIN : rv;
}

int netlock_backup(struct netlock *nl,
                   int (*write)(void *arg, const void *data, size_t len),
                   void *arg,
                   struct netlock_backup *ret)
{
    struct piece piece = {0};
    int rv;
    do {
        rv = fetch_piece(nl, &piece);
        if (rv == 0)
            rv = write(arg, piece.data, piece.len);
        free(piece.data);
        piece.data = NULL;
        piece.offset += piece.len;
        piece.len = 0;
    } while (rv == 0 && piece.offset < piece.size);
    if (rv == 0 && ret != NULL)
        *ret = (struct netlock_backup){
            .index = piece.index, .last_token = piece.last_token, .bytes = piece.size};
    return rv;
}
