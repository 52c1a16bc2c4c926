/* client_node.c - ask one node about itself: a connection of its own, and no client. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client_conn.h"
#include "client_copy.h"
#include "client_tls.h"
#include "client_address.h"
#include "netlock.h"

#define KEY_HELLO  "hello"
#define KEY_REQUEST "request"

static uint64_t mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct wire_str str(const char *text)
{
    return (struct wire_str){.data = text, .len = strlen(text)};
}

/* 0: @events came; -ETIMEDOUT. */
static int wait_for(const struct client_conn *conn, short events, uint64_t end_ms)
{
    for (;;) {
        uint64_t now_ms = mono_ms();
        if (now_ms >= end_ms)
            return -ETIMEDOUT;
        struct pollfd fd = {.fd = conn->fd, .events = events};
        int n = poll(&fd, 1, (int)(end_ms - now_ms));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int
connect_to(struct client_conn *conn, const struct client_server *server, uint64_t end_ms)
{
    int rv = -EHOSTUNREACH;
    for (size_t i = 0; i < server->addresses_count; i++) {
        const struct client_address *address = &server->addresses[i];
        rv = client_conn_open(conn, (const struct sockaddr *)&address->storage,
                              address->len, server->host);
        if (rv != 0)
            continue;
        rv = wait_for(conn, POLLOUT, end_ms);
        if (rv == 0)
            rv = client_conn_established(conn);
        if (rv == 0)
            return 0;
        client_conn_close(conn);
    }
    return rv;
}

static int put_questions(struct client_conn *conn,
                         const char *token,
                         const struct wire_request *request)
{
    struct wire_request hello = {
        .type = WIRE_REQ_HELLO,
        .key = str(KEY_HELLO),
        .hello = {.version_min = WIRE_VERSION,
                  .version_max = WIRE_VERSION,
                  .library = str("libnetlock " NETLOCK_VERSION),
                  .token = str(token != NULL ? token : "")},
    };
    int rv = client_conn_put(conn, &hello);
    return rv != 0 ? rv : client_conn_put(conn, request);
}

static bool is_answer(const struct wire_response *answer)
{
    return answer->key.len == strlen(KEY_REQUEST) &&
           memcmp(answer->key.data, KEY_REQUEST, answer->key.len) == 0;
}

/* Flush and receive until the answer with KEY_REQUEST. */
static int exchange(struct client_conn *conn, uint64_t end_ms, struct wire_response *ret)
{
    for (;;) {
        int rv = client_conn_flush(conn);
        if (rv != 0 && rv != -EAGAIN)
            return rv;
        rv = wait_for(conn, client_conn_unsent(conn) ? POLLIN | POLLOUT : POLLIN, end_ms);
        if (rv != 0)
            return rv;
        rv = client_conn_fill(conn);
        if (rv != 0 && rv != -EAGAIN)
            return rv;
        int n;
        while ((n = client_conn_next(conn, ret)) == 1)
            if (is_answer(ret))
                return 0;
        if (n < 0)
            return n;
    }
}

/* 0 if it is one of @type. */
static int judge(const struct wire_response *answer, enum wire_response_type type)
{
    if (answer->type != WIRE_RESP_ERROR)
        return answer->type == type ? 0 : -NETLOCK_EPROTOCOL;
    switch (answer->error.code) {
    case WIRE_ERROR_NOT_ALLOWED:
        return -NETLOCK_EDENIED;
    case WIRE_ERROR_VERSION:
    case WIRE_ERROR_UNKNOWN_TYPE: /* an older node */
        return -NETLOCK_EPROTOCOL;
    default:
        return -NETLOCK_EUNREACHABLE;
    }
}

static enum netlock_role role_of(enum wire_role role)
{
    switch (role) {
    case WIRE_ROLE_CANDIDATE:
        return NETLOCK_CANDIDATE;
    case WIRE_ROLE_LEADER:
        return NETLOCK_LEADER;
    case WIRE_ROLE_SERVING:
        return NETLOCK_SERVING;
    case WIRE_ROLE_FOLLOWER:
        break;
    }
    return NETLOCK_FOLLOWER;
}

static int take_status(void *arg, const struct wire_response *answer)
{
    struct netlock_node_status *out = arg;
    int rv = judge(answer, WIRE_RESP_CLUSTER_STATUS);
    if (rv != 0)
        return rv;
    *out = (struct netlock_node_status){
        .node_id = answer->cluster_status.node_id,
        .term = answer->cluster_status.term,
        .leader_id = answer->cluster_status.leader_id,
        .role = role_of(answer->cluster_status.role),
        .commit_index = answer->cluster_status.commit_index,
        .applied_index = answer->cluster_status.applied_index,
        .last_index = answer->cluster_status.last_index,
        .cluster_time_ms = answer->cluster_status.cluster_time_ms,
        .checkpoint_index = answer->cluster_status.checkpoint_index,
        .checkpoint_hash = answer->cluster_status.checkpoint_hash,
        .locks = answer->cluster_status.locks,
        .holds = answer->cluster_status.holds,
        .waits = answer->cluster_status.waits,
        .clients = answer->cluster_status.clients,
        .connections = answer->cluster_status.connections,
        .uptime_ms = answer->cluster_status.uptime_ms,
        .last_token = answer->cluster_status.last_token,
        .requests = answer->cluster_status.requests,
        .commits = answer->cluster_status.commits,
        .commits_us = answer->cluster_status.commits_us,
        .feature_level = answer->cluster_status.feature_level,
        .feature_level_max = answer->cluster_status.feature_level_max,
        .draining = answer->cluster_status.draining,
        .log_level = (enum netlock_log_level)answer->cluster_status.log_level,
    };
    rv = copy_str(&out->cluster_id, answer->cluster_status.cluster_id);
    if (rv == 0)
        rv = copy_str(&out->server, answer->cluster_status.server);
    if (rv == 0)
        rv = copy_str(&out->leader_address, answer->cluster_status.leader_address);
    if (rv == 0)
        rv = copy_members(&out->members, &out->members_count,
                          answer->cluster_status.members,
                          answer->cluster_status.members_count);
    return rv;
}

static int to_rv(int rv)
{
    if (rv == 0 || rv == -ENOMEM)
        return rv;
    return rv == -EPROTO ? -NETLOCK_EPROTOCOL : -NETLOCK_EUNREACHABLE;
}

/* A connection to one node, a question, and its answer, for @take. */
static int ask_node(const char *address,
                    const struct netlock_credentials *credentials,
                    uint32_t timeout_ms,
                    const struct wire_request *request,
                    int (*take)(void *out, const struct wire_response *answer),
                    void *out)
{
    struct client_server server;
    if (address == NULL || client_server_parse(&server, address, strlen(address)) != 0)
        return -EINVAL;
    uint64_t end_ms = mono_ms() + timeout_ms;
    if (client_server_resolve(&server, true) != 0)
        return -NETLOCK_EUNREACHABLE;
    static const struct netlock_credentials from_environment = {0};
    if (credentials == NULL)
        credentials = &from_environment;
    char error[TLS_ERROR_BYTES];
    struct client_conn conn;
    client_conn_init(&conn);
    int rv = client_tls_context(&conn.tls_context, credentials, error);
    if (rv != 0)
        return rv;
    struct tls_context *context = conn.tls_context;
    struct wire_response answer;
    rv = to_rv(connect_to(&conn, &server, end_ms));
    if (rv == 0)
        rv = to_rv(put_questions(&conn, client_token(credentials), request));
    if (rv == 0)
        rv = to_rv(exchange(&conn, end_ms, &answer));
    if (rv == 0)
        rv = take(out, &answer);
    client_conn_release(&conn);
    tls_context_free(context);
    return rv;
}

int netlock_node_status(const char *address,
                        const struct netlock_credentials *credentials,
                        uint32_t timeout_ms,
                        bool checkpoint,
                        struct netlock_node_status *ret)
{
    struct wire_request request = {.type = WIRE_REQ_CLUSTER_STATUS,
                                   .key = str(KEY_REQUEST),
                                   .cluster_status = {.checkpoint = checkpoint}};
    struct netlock_node_status status = {0};
    int rv = ask_node(address, credentials, timeout_ms, &request, take_status, &status);
    if (rv == 0)
        *ret = status;
    else
        netlock_node_status_release(&status);
    return rv;
}

static int take_control(void *out, const struct wire_response *answer)
{
    (void)out;
    return judge(answer, WIRE_RESP_NODE_CONTROL);
}

int netlock_node_control(const char *address,
                         const struct netlock_credentials *credentials,
                         uint32_t timeout_ms,
                         const struct netlock_node_control *control)
{
    struct wire_request request = {
        .type = WIRE_REQ_NODE_CONTROL,
        .key = str(KEY_REQUEST),
        .node_control = {.has_draining = control->drain != NETLOCK_DRAIN_AS_IT_IS,
                         .draining = control->drain == NETLOCK_DRAIN,
                         .log_level = (enum wire_log_level)control->log_level}};
    return ask_node(address, credentials, timeout_ms, &request, take_control, NULL);
}

void netlock_node_status_release(struct netlock_node_status *status)
{
    free(status->cluster_id);
    free(status->server);
    free(status->leader_address);
    free_members(status->members, status->members_count);
    *status = (struct netlock_node_status){0};
}
