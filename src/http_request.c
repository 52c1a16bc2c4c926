#include "http_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "xalloc.h"

enum { HOST_BYTES_MAX = 300 };

/* ---- who may ask ---- */

static struct fsm_str header(struct MHD_Connection *connection, const char *name)
{
    const char *value = NULL;
    size_t len = 0;

    (void)MHD_lookup_connection_value_n(connection, MHD_HEADER_KIND, name, strlen(name),
                                        &value, &len);
    return (struct fsm_str){.data = value, .len = value != NULL ? len : 0};
}

static struct fsm_str bearer(struct MHD_Connection *connection)
{
    static const char scheme[] = "Bearer ";
    size_t scheme_len = sizeof(scheme) - 1;
    struct fsm_str value = header(connection, MHD_HTTP_HEADER_AUTHORIZATION);

    if (value.len < scheme_len || strncasecmp(value.data, scheme, scheme_len) != 0) {
        return (struct fsm_str){0};
    }
    return (struct fsm_str){value.data + scheme_len, value.len - scheme_len};
}

static bool host_is_loopback(struct MHD_Connection *connection)
{
    struct fsm_str host = header(connection, MHD_HTTP_HEADER_HOST);
    char address[HOST_BYTES_MAX + sizeof(":80")];

    if (host.len == 0 || host.len > HOST_BYTES_MAX) {
        return false;
    }
    bool bare =
        host.data[host.len - 1] == ']' || memchr(host.data, ':', host.len) == NULL;
    snprintf(address, sizeof(address), "%.*s%s", (int)host.len, host.data,
             bare ? ":80" : "");
    return config_is_loopback(address);
}

static struct sockaddr_storage peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct sockaddr_storage peer = {0};

    if (info != NULL && info->client_addr != NULL) {
        bool v6 = info->client_addr->sa_family == AF_INET6;
        memcpy(&peer, info->client_addr,
               v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    }
    return peer;
}

/* Guesses at this port count together with those at the port of clients. */
static int identify(const struct http *http,
                    struct MHD_Connection *connection,
                    struct fsm_str *ret_principal)
{
    struct sockaddr_storage peer = peer_of(connection);
    struct address_count *address = admission_enter(http->server, &peer);
    unsigned char hash[TOKEN_HASH_BYTES];

    int rv = admission_identify(http->server, address, bearer(connection), ret_principal,
                                hash);
    admission_leave(http->server, address);
    return rv;
}

/* 0, or the status that refuses. */
static unsigned refuse_api(const struct http *http,
                           struct MHD_Connection *connection,
                           const struct http_query *query)
{
    const struct access *access = &http->server->access;
    struct wire_request list = {
        .type = WIRE_REQ_LIST_LOCKS,
        .list.prefix = {.data = query->prefix.data, .len = query->prefix.len},
    };
    struct fsm_str principal;

    if (access->acl == NULL && access->tokens == NULL) {
        return config_is_loopback(http->config->http_listen) &&
                       !host_is_loopback(connection)
                   ? MHD_HTTP_MISDIRECTED_REQUEST
                   : 0;
    }
    int rv = identify(http, connection, &principal);
    if (rv == -EAGAIN) {
        return MHD_HTTP_TOO_MANY_REQUESTS;
    }
    if (rv != 0 || !access_knows(access, principal)) {
        return MHD_HTTP_UNAUTHORIZED;
    }
    return access_allows(access, principal, &list) ? 0 : MHD_HTTP_FORBIDDEN;
}

/* ---- questions ---- */

static struct fsm_str argument(struct MHD_Connection *connection, const char *name)
{
    const char *value = NULL;
    size_t len = 0;

    (void)MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, name,
                                        strlen(name), &value, &len);
    return (struct fsm_str){.data = value, .len = value != NULL ? len : 0};
}

/* Returns 0, or -EINVAL. */
static int read_query(struct MHD_Connection *connection, struct http_query *ret)
{
    struct fsm_str max = argument(connection, "max");
    uint32_t number = 0;

    *ret = (struct http_query){
        .prefix = argument(connection, "prefix"),
        .after = argument(connection, "after"),
        .max = FSM_LIST_MAX,
    };
    for (size_t i = 0; i < max.len; i++) {
        if (max.data[i] < '0' || max.data[i] > '9' || number > FSM_LIST_MAX) {
            return -EINVAL;
        }
        number = number * 10 + (uint32_t)(max.data[i] - '0');
    }
    if (max.len != 0) {
        if (number < 1 || number > FSM_LIST_MAX) {
            return -EINVAL;
        }
        ret->max = number;
    }
    return ret->prefix.len > FSM_NAME_BYTES_MAX || ret->after.len > FSM_NAME_BYTES_MAX
               ? -EINVAL
               : 0;
}

struct route {
    const char *path;
    http_put *put;
    bool open; /* to everybody */
};
static const struct route routes[] = {
    {"/metrics", http_metrics, true},
    {"/healthz", http_healthz, true},
    {"/readyz", http_readyz, true},
    {"/leader", http_leader, true},
    {"/", http_page, true},
    {"/api/status", http_api_status, false},
    {"/api/members", http_api_members, false},
    {"/api/locks", NULL, false}, /* a list, made in steps */
};

static const struct route *route_of(const char *path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(routes[i].path, path) == 0) {
            return &routes[i];
        }
    }
    return NULL;
}

/* ---- answers ---- */

static void refuse(struct http_answer *answer, unsigned status, const char *text)
{
    answer->status = status;
    answer->type = "text/plain; charset=utf-8";
    body_text(&answer->body, text);
}

static const char *refusal_text(unsigned status)
{
    switch (status) {
    case MHD_HTTP_UNAUTHORIZED:
        return "show an access token: Authorization: Bearer TOKEN\n";
    case MHD_HTTP_TOO_MANY_REQUESTS:
        return "too many wrong tokens from this address; wait a second\n";
    case MHD_HTTP_FORBIDDEN:
        return "no rule of the cluster's ACL allows it\n";
    default:
        return "call this port localhost\n";
    }
}

static void log_denied(struct http *http, struct MHD_Connection *connection)
{
    struct sockaddr_storage peer = peer_of(connection);
    char text[LISTENER_ADDRESS_BYTES];
    uint32_t suppressed;

    if (!log_limit_pass(&http->denied_limit, uv_now(http->loop), &suppressed)) {
        return;
    }
    listener_address_text(&peer, text);
    log_event(http->log, LOG_LEVEL_WARNING, "http", "denied", "peer=%s suppressed=%u",
              text, suppressed);
}

static const char *const headers[][2] = {
    {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Content-Security-Policy",
     "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
     "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
     "frame-ancestors 'none'"},
};

static enum MHD_Result respond(struct MHD_Connection *connection,
                               struct http_answer *answer)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->body.len, answer->body.data, MHD_RESPMEM_MUST_FREE);

    if (response == NULL) {
        return MHD_NO;
    }
    answer->body = (struct body){0};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    if (answer->status == MHD_HTTP_UNAUTHORIZED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Bearer realm=\"netlock\"");
    }
    if (answer->status == MHD_HTTP_TOO_MANY_REQUESTS) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    }
    enum MHD_Result rv = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return rv;
}

/* ---- lists ---- */

static void
begin_list(struct http *http, struct request *request, const struct http_query *query)
{
    request->list = http_list_new(http->server, query);
    DL_APPEND(http->listing, request);
    http_set_working(http, true);
    MHD_suspend_connection(request->connection);
}

/* libmicrohttpd asks again for the answer in its next run. */
static void end_list(struct http *http, struct request *request)
{
    DL_DELETE(http->listing, request);
    http_list_free(request->list);
    request->list = NULL;
    http_set_working(http, http->listing != NULL);
    MHD_resume_connection(request->connection);
}

bool http_step_list(struct http *http)
{
    struct request *request = http->listing;

    if (http_list_step(request->list)) {
        return false;
    }
    http_list_take(request->list, &request->answer);
    end_list(http, request);
    return true;
}

void http_drop_lists(struct http *http)
{
    while (http->listing != NULL) {
        end_list(http, http->listing);
    }
}

/* ---- requests ---- */

static void put_answer(struct http *http, struct request *request, const char *path)
{
    struct http_answer *answer = &request->answer;
    const struct route *route = route_of(path);
    struct http_query query;

    if (route == NULL) {
        refuse(answer, MHD_HTTP_NOT_FOUND, "no such page\n");
        return;
    }
    if (read_query(request->connection, &query) != 0) {
        refuse(answer, MHD_HTTP_BAD_REQUEST,
               "max is 1 to 1000; prefix and after have at most 255 bytes\n");
        return;
    }
    unsigned status = route->open ? 0 : refuse_api(http, request->connection, &query);
    if (status != 0) {
        log_denied(http, request->connection);
        refuse(answer, status, refusal_text(status));
    } else if (route->put == NULL) {
        begin_list(http, request, &query);
    } else {
        answer->status = MHD_HTTP_OK;
        route->put(http->server, &query, answer);
    }
}

void http_on_completed(void *arg,
                       struct MHD_Connection *connection,
                       void **state,
                       enum MHD_RequestTerminationCode why)
{
    struct request *request = *state;

    (void)arg;
    (void)connection;
    (void)why;
    if (request != NULL) {
        assert(request->list == NULL); /* who is suspended is not completed */
        body_release(&request->answer.body);
        free(request);
    }
}

/* Called for the head first, then for pieces of a body, which are thrown away, and then without
 * one for the answer, twice if that is a list: an earlier answer would end the connection. */
enum MHD_Result http_on_request(void *arg,
                                struct MHD_Connection *connection,
                                const char *url,
                                const char *method,
                                const char *version,
                                const char *upload,
                                size_t *upload_bytes,
                                void **state)
{
    struct http *http = arg;
    struct request *request = *state;

    (void)version;
    (void)upload;
    if (request == NULL) {
        *state = request = xcalloc(sizeof(*request));
        request->connection = connection;
        return MHD_YES;
    }
    if (*upload_bytes != 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (request->answer.status != 0) {
        return respond(connection, &request->answer);
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        refuse(&request->answer, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
    } else {
        put_answer(http, request, url);
    }
    return request->list != NULL ? MHD_YES : respond(connection, &request->answer);
}
