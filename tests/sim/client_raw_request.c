/* client_raw_request.c - what users by hand send, and what of it has no final answer. */
#include "client_raw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 24 };

/* ---- requests under way -------------------------------------------------------------- */

static void raw_request_put(struct sim_raw *raw, const struct sim_ask *ask, uint64_t op)
{
    struct raw_request *request = raw->spare;
    if (request != NULL)
        raw->spare = request->next;
    else
        request = sim_alloc(sizeof(*request));
    struct raw_request **bucket = &raw->requests[op % RAW_REQUEST_BUCKETS];
    *request = (struct raw_request){
        .next = *bucket,
        .op = op,
        .conn = ask->conn,
        .type = ask->type,
        .type_of_lock = ask->type_of_lock,
        .limit = ask->limit > 1 ? ask->limit : 1,
        .ignore = ask->ignore,
        .downgrade = ask->downgrade,
        .by_default = ask->client == NULL || ask->client[0] == 0,
    };
    *bucket = request;
    raw->requests_count++;
}

struct raw_request **raw_request_find(struct sim_raw *raw, uint64_t op)
{
    struct raw_request **at = &raw->requests[op % RAW_REQUEST_BUCKETS];
    while (*at != NULL && (*at)->op != op)
        at = &(*at)->next;
    return at;
}

void raw_request_drop(struct sim_raw *raw, struct raw_request **at)
{
    struct raw_request *request = *at;
    *at = request->next;
    request->next = raw->spare;
    raw->spare = request;
    raw->requests_count--;
}

void raw_requests_drop(struct sim_raw *raw, unsigned conn)
{
    for (unsigned i = 0; i < RAW_REQUEST_BUCKETS; i++) {
        struct raw_request **at = &raw->requests[i];
        while (*at != NULL) {
            if ((*at)->conn == conn)
                raw_request_drop(raw, at);
            else
                at = &(*at)->next;
        }
    }
}

/* ---- asks in words of the protocol ---------------------------------------------------------------------------- */

static struct wire_str str(const char *text)
{
    return (struct wire_str){.data = text, .len = text != NULL ? strlen(text) : 0};
}

static void describe_lock(const struct sim_ask *ask, struct wire_request *ret)
{
    ret->type = WIRE_REQ_LOCK;
    ret->lock_.type = ask->type_of_lock == NETLOCK_READ ? WIRE_READ : WIRE_WRITE;
    ret->lock_.mode = ask->try_only ? WIRE_BREAK : WIRE_WAIT;
    ret->lock_.drop = ask->ignore ? WIRE_DROP_IGNORE : WIRE_DROP_RELEASE;
    ret->lock_.wait_timeout_ms = ask->wait_ms;
    ret->lock_.lock_timeout_ms = ask->hold_ms;
    ret->lock_.limit = ask->limit > 1 ? ask->limit : 1;
    ret->lock_.downgrade = ask->downgrade;
}

static void describe_refresh(const struct sim_ask *ask, struct wire_request *ret)
{
    ret->type = WIRE_REQ_REFRESH;
    ret->refresh.lock_timeout_ms = ask->hold_ms;
    ret->refresh.set_drop = ask->ignore;
    ret->refresh.drop = ask->ignore ? WIRE_DROP_IGNORE : WIRE_DROP_RELEASE;
    ret->refresh.token = ask->token;
}

static void describe_attach(const struct sim_ask *ask, struct wire_request *ret)
{
    ret->type = WIRE_REQ_ATTACH;
    ret->attach.has_epoch = ask->has_epoch;
    ret->attach.epoch = ask->epoch;
    ret->attach.supersede = ask->supersede;
}

static void describe_hello(const struct sim_ask *ask, struct wire_request *ret)
{
    ret->type = WIRE_REQ_HELLO;
    ret->hello.version_min = ret->hello.version_max = WIRE_VERSION;
    ret->hello.library = str("by hand");
    ret->hello.session_grace_ms = ask->grace_ms;
}

/* False: it is no request. */
static bool describe(const struct sim_ask *ask, struct wire_request *ret)
{
    *ret = (struct wire_request){.client = str(ask->client), .lock = str(ask->lock)};
    switch (ask->type) {
    case SIM_ASK_LOCK:
        describe_lock(ask, ret);
        return true;
    case SIM_ASK_REFRESH:
        describe_refresh(ask, ret);
        return true;
    case SIM_ASK_UNLOCK:
    case SIM_ASK_CANCEL: /* a wait that is released is answered as cancelled */
        ret->type = WIRE_REQ_RELEASE;
        ret->release.token = ask->token;
        return true;
    case SIM_ASK_STATUS:
        ret->type = WIRE_REQ_STATUS;
        return true;
    case SIM_ASK_CHECK_TOKEN:
        ret->type = WIRE_REQ_CHECK_TOKEN;
        ret->check_token.token = ask->token;
        return true;
    case SIM_ASK_BREAK:
        ret->type = WIRE_REQ_FORCE_RELEASE;
        ret->force_release.token = ask->token;
        return true;
    case SIM_ASK_HELLO:
        describe_hello(ask, ret);
        return true;
    case SIM_ASK_ATTACH:
        describe_attach(ask, ret);
        return true;
    case SIM_ASK_DETACH:
        ret->type = WIRE_REQ_DETACH;
        return true;
    case SIM_ASK_CREATE:
        ret->type = WIRE_REQ_CREATE;
        return true;
    case SIM_ASK_PING:
        ret->type = WIRE_REQ_PING;
        return true;
    default:
        return false;
    }
}

void raw_give_up(struct sim_client *client,
                 const struct sim_ask *ask,
                 const char *id,
                 uint64_t op)
{
    if (ask->type == SIM_ASK_UNLOCK || ask->type == SIM_ASK_CANCEL) {
        struct sim_belief *belief =
            sim_belief_get(client, id, ask->lock != NULL ? ask->lock : "");
        if (ask->token != 0 && ask->token != belief->token)
            return;
        belief->given_up_op = op;
        sim_belief_end(client, belief);
    } else if (ask->type == SIM_ASK_DETACH) {
        struct sim_belief *next;
        for (struct sim_belief *at = TAILQ_FIRST(&client->held); at != NULL; at = next) {
            next = TAILQ_NEXT(at, held);
            if (!at->ignore && at->conn == ask->conn && strcmp(at->client_id, id) == 0)
                sim_belief_end(client, at);
        }
    }
}

int raw_send(struct sim_client *client, const struct sim_ask *ask, uint64_t op)
{
    struct raw_conn *conn = &client->raw->conns[ask->conn];
    struct wire_request request;
    if (!describe(ask, &request))
        return -EOPNOTSUPP;
    char key[KEY_BYTES];
    int len = snprintf(key, sizeof(key), "%llu", (unsigned long long)op);
    request.key = (struct wire_str){key, (size_t)len};
    int rv = wire_encode_request(&conn->out, &request);
    if (rv == 0)
        raw_request_put(client->raw, ask, op);
    return rv;
}
