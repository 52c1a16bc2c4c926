/* /api/locks: what there is, a page at a time, made in steps. */
#include "http_answer.h"

#include <ctype.h>

#include "xalloc.h"

struct http_list {
    const struct server *server;
    struct http_answer answer;
    struct fsm_look *look;
    uint64_t ahead_ms; /* since the table's time */
    char last[FSM_NAME_BYTES_MAX];
    size_t last_len;
};

static void put_str(struct body *body, const char *key, struct fsm_str str)
{
    json_string(body, key, str.data, str.len);
}

static void put_claim(struct http_list *list, const struct fsm_claim *claim)
{
    struct body *body = &list->answer.body;

    json_open(body, NULL, '{');
    put_str(body, "client", claim->client);
    put_str(body, "owner_info", claim->owner_info);
    json_bool(body, "connected", claim->connected);
    json_number(body, "since_ms", claim->since_ms + list->ahead_ms);
    if (claim->remaining_ms == FSM_UNLIMITED) {
        json_null(body, "remaining_ms");
    } else {
        json_number(body, "remaining_ms",
                    claim->remaining_ms > list->ahead_ms
                        ? claim->remaining_ms - list->ahead_ms
                        : 0);
    }
    if (claim->waiting) {
        json_number(body, "position", claim->position);
        json_text(body, "type", claim->type == FSM_READ ? "read" : "write");
    } else {
        json_number(body, "token", claim->token);
        json_number(body, "slot", claim->slot);
    }
    json_close(body, '}');
}

static void put_claims(struct http_list *list,
                       const char *key,
                       const struct fsm_claim *claims,
                       uint32_t count)
{
    json_open(&list->answer.body, key, '[');
    for (uint32_t i = 0; i < count; i++) {
        put_claim(list, &claims[i]);
    }
    json_close(&list->answer.body, ']');
}

static bool on_lock(void *arg, const struct fsm_lock_view *lock)
{
    struct http_list *list = arg;
    struct body *body = &list->answer.body;

    if (body->len >= HTTP_LIST_BYTES) {
        return false;
    }
    json_open(body, NULL, '{');
    put_str(body, "name", lock->name);
    json_text(body, "type", lock->type == FSM_READ ? "read" : "write");
    json_number(body, "limit", lock->limit);
    json_number(body, "holders_count", lock->holders_count);
    json_number(body, "queue_length", lock->queue_length);
    put_claims(list, "holders", lock->holders, lock->holders_shown);
    put_claims(list, "waiters", lock->waiters, lock->waiters_shown);
    json_close(body, '}');
    memcpy(list->last, lock->name.data, lock->name.len);
    list->last_len = lock->name.len;
    return true;
}

/* As it is to be asked for: names may have bytes that JSON has not. */
static void put_next(struct body *body, const struct http_list *list)
{
    char text[3 * FSM_NAME_BYTES_MAX];
    size_t len = 0;

    for (size_t i = 0; i < list->last_len; i++) {
        unsigned char c = (unsigned char)list->last[i];
        if (c < 0x80 && (isalnum(c) || c == '-' || c == '_' || c == '.')) {
            text[len++] = (char)c;
        } else {
            text[len++] = '%';
            text[len++] = "0123456789ABCDEF"[c >> 4];
            text[len++] = "0123456789ABCDEF"[c & 15];
        }
    }
    json_string(body, "next", text, len);
}

/* ---- in steps ---- */

struct http_list *http_list_new(const struct server *server,
                                const struct http_query *query)
{
    const struct fsm *table = replica_table(server_replica(server));
    struct http_list *list = xcalloc(sizeof(*list));
    struct node_info info;

    list->server = server;
    list->answer.status = 200;
    list->look = fsm_look_new(table, query->prefix, query->after, query->max);
    node_info_get(server, &info);
    http_api_begin(&list->answer, server, &info.status);
    json_number(&list->answer.body, "locks_count", fsm_counts(table).locks);
    json_open(&list->answer.body, "locks", '[');
    return list;
}

static void finish(struct http_list *list)
{
    struct body *body = &list->answer.body;
    bool more = fsm_look_more(list->look);

    json_close(body, ']');
    json_bool(body, "more", more);
    if (more) {
        put_next(body, list);
    } else {
        json_null(body, "next");
    }
    http_api_end(&list->answer);
}

static void say_lost(struct http_list *list)
{
    body_release(&list->answer.body);
    list->answer.status = 503;
    list->answer.type = "text/plain; charset=utf-8";
    body_text(&list->answer.body, "the table was replaced meanwhile; ask again\n");
}

bool http_list_step(struct http_list *list)
{
    const struct server *server = list->server;
    const struct fsm *table = replica_table(server_replica(server));

    list->ahead_ms = http_api_cluster_ms(server) - fsm_now_ms(table);
    if (fsm_look_step(list->look, on_lock, list)) {
        return true;
    }
    if (fsm_look_lost(list->look)) {
        say_lost(list);
    } else {
        finish(list);
    }
    return false;
}

void http_list_take(struct http_list *list, struct http_answer *ret)
{
    *ret = list->answer;
    list->answer.body = (struct body){0};
}

void http_list_free(struct http_list *list)
{
    if (list == NULL) {
        return;
    }
    fsm_look_free(list->look);
    body_release(&list->answer.body);
    free(list);
}
