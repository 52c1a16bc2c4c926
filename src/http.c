#include "http.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include <microhttpd.h>

#include "http_answer.h"
#include "text_file.h"
#include "xalloc.h"

enum {
    CONNECTIONS_MAX = 64,
    REQUEST_BYTES_MAX = 16 * 1024,
    IDLE_SECONDS = 15, /* above the interval at which the page asks */
    HOST_BYTES_MAX = 300,
};

/* libmicrohttpd with one set of certificates; a reload makes another one. */
struct engine {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
};

struct pem {
    char *cert, *key; /* NULL without TLS */
};

struct http {
    const struct config *config;
    const struct log *log;
    uv_loop_t *loop;
    struct server *server;
    int fd; /* listens; each engine has a copy */
    char address[LISTENER_ADDRESS_BYTES];
    struct pem pem;
    struct engine *engine; /* NULL: not started, or closed */
    uv_timer_t due;
    struct log_limit denied_limit;
};

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

/* 0, or the status that refuses. */
static unsigned refuse_api(const struct http *http,
                           struct MHD_Connection *connection,
                           const struct http_query *query)
{
    const struct access *access = &http->server->access;
    struct fsm_str token = bearer(connection);
    struct fsm_str principal = tokens_find(access->tokens, token);

    if (access->acl == NULL && access->tokens == NULL) {
        return config_is_loopback(http->config->http_listen) &&
                       !host_is_loopback(connection)
                   ? MHD_HTTP_MISDIRECTED_REQUEST
                   : 0;
    }
    if ((token.len != 0 && principal.len == 0) || !access_knows(access, principal)) {
        return MHD_HTTP_UNAUTHORIZED;
    }
    return acl_allows_prefix(access->acl, principal, ACL_STATUS, query->prefix)
               ? 0
               : MHD_HTTP_FORBIDDEN;
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
    {"/api/locks", http_api_locks, false},
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
    case MHD_HTTP_FORBIDDEN:
        return "no rule of the cluster's ACL allows it\n";
    default:
        return "call this port localhost\n";
    }
}

static void log_denied(struct http *http, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct sockaddr_storage peer = {0};
    char text[LISTENER_ADDRESS_BYTES];
    uint32_t suppressed;

    if (!log_limit_pass(&http->denied_limit, uv_now(http->loop), &suppressed)) {
        return;
    }
    if (info != NULL && info->client_addr != NULL) {
        bool v6 = info->client_addr->sa_family == AF_INET6;
        memcpy(&peer, info->client_addr,
               v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    }
    listener_address_text(&peer, text);
    log_event(http->log, LOG_LEVEL_WARNING, "http", "denied", "peer=%s suppressed=%u",
              text, suppressed);
}

static void put_answer(struct http *http,
                       struct MHD_Connection *connection,
                       const char *path,
                       struct http_answer *answer)
{
    const struct route *route = route_of(path);
    struct http_query query;

    if (route == NULL) {
        refuse(answer, MHD_HTTP_NOT_FOUND, "no such page\n");
        return;
    }
    if (read_query(connection, &query) != 0) {
        refuse(answer, MHD_HTTP_BAD_REQUEST,
               "max is 1 to 1000; prefix and after have at most 255 bytes\n");
        return;
    }
    unsigned status = route->open ? 0 : refuse_api(http, connection, &query);
    if (status != 0) {
        log_denied(http, connection);
        refuse(answer, status, refusal_text(status));
    } else {
        route->put(http->server, &query, answer);
    }
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
        body_release(&answer->body);
        return MHD_NO;
    }
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    if (answer->status == MHD_HTTP_UNAUTHORIZED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Bearer realm=\"netlock\"");
    }
    enum MHD_Result rv = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return rv;
}

/* Called for the head first, then for pieces of a body, which are thrown away, and then without
 * one for the answer: an earlier answer would end the connection. */
static enum MHD_Result on_request(void *arg,
                                  struct MHD_Connection *connection,
                                  const char *url,
                                  const char *method,
                                  const char *version,
                                  const char *upload,
                                  size_t *upload_bytes,
                                  void **state)
{
    struct http *http = arg;
    struct http_answer answer = {.status = MHD_HTTP_OK};

    (void)version;
    (void)upload;
    if (*state == NULL || *upload_bytes != 0) {
        *state = http;
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        refuse(&answer, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
    } else {
        put_answer(http, connection, url, &answer);
    }
    return respond(connection, &answer);
}

/* ---- on the loop ---- */

static void on_due(uv_timer_t *timer);

static void turn(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    (void)MHD_run(http->engine->daemon);
    if (MHD_get_timeout(http->engine->daemon, &timeout_ms) == MHD_YES) {
        uv_timer_start(&http->due, on_due, timeout_ms, 0);
    } else {
        uv_timer_stop(&http->due);
    }
}

static void on_due(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

static struct MHD_Daemon *run_daemon(struct http *http, const struct pem *pem, int fd)
{
    unsigned flags = MHD_USE_EPOLL | (pem->cert != NULL ? (unsigned)MHD_USE_TLS : 0u);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, pem->cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, pem->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (char *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3"},
        {MHD_OPTION_END, 0, NULL},
    };

    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, http,
                            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                            (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)REQUEST_BYTES_MAX, MHD_OPTION_ARRAY,
                            pem->cert != NULL ? tls : &tls[3], MHD_OPTION_END);
}

static int fail(const struct http *http, char *ret_error, const char *why)
{
    snprintf(ret_error, HTTP_ERROR_BYTES, "http-listen %.100s: %.200s",
             http->config->http_listen, why);
    return -EINVAL;
}

static int
engine_new(struct http *http, const struct pem *pem, struct engine **ret, char *ret_error)
{
    int fd = fcntl(http->fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        return fail(http, ret_error, strerror(errno));
    }
    struct MHD_Daemon *daemon = run_daemon(http, pem, fd);
    if (daemon == NULL) {
        close(fd);
        return fail(http, ret_error,
                    "libmicrohttpd does not start; is the certificate's key its own?");
    }
    struct engine *engine = xcalloc(sizeof(*engine));
    engine->daemon = daemon;
    int rv =
        uv_poll_init(http->loop, &engine->poll,
                     MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    assert(rv == 0);
    engine->poll.data = http;
    rv = uv_poll_start(&engine->poll, UV_READABLE, on_ready);
    assert(rv == 0);
    (void)rv;
    *ret = engine;
    return 0;
}

static void on_engine_closed(uv_handle_t *handle)
{
    char *engine = (char *)handle - offsetof(struct engine, poll);

    free(engine);
}

static void engine_close(struct engine *engine)
{
    uv_close((uv_handle_t *)&engine->poll, on_engine_closed);
    MHD_stop_daemon(engine->daemon);
}

/* ---- certificates ---- */

static void pem_release(struct pem *pem)
{
    if (pem->key != NULL) {
        explicit_bzero(pem->key, strlen(pem->key));
    }
    free(pem->key);
    free(pem->cert);
    *pem = (struct pem){0};
}

static int read_pem(const char *path, char **ret, char *ret_error)
{
    struct text_problem problem;
    size_t len;

    int rv = text_file_read(path, ret, &len, &problem);
    if (rv != 0) {
        text_problem_print(&problem, path, ret_error, HTTP_ERROR_BYTES);
    }
    return rv;
}

static int load(const struct config *config, struct pem *ret, char *ret_error)
{
    *ret = (struct pem){0};
    if (!config_has_tls(config)) {
        return 0;
    }
    int rv = read_pem(config->tls_cert, &ret->cert, ret_error);
    if (rv == 0) {
        rv = read_pem(config->tls_key, &ret->key, ret_error);
    }
    if (rv != 0) {
        pem_release(ret);
    }
    return rv;
}

/* ---- life ---- */

int http_new(struct http **ret,
             const struct config *config,
             const struct log *log,
             char ret_error[static HTTP_ERROR_BYTES])
{
    struct http *http = xcalloc(sizeof(*http));
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof(bound);
    char error[LISTENER_ERROR_BYTES] = "";

    http->config = config;
    http->log = log;
    http->fd = -1;
    int rv = load(config, &http->pem, ret_error);
    if (rv == 0) {
        http->fd = rv = listener_bind(config->http_listen, error);
    }
    if (rv < 0) {
        if (error[0] != '\0') {
            snprintf(ret_error, HTTP_ERROR_BYTES, "http-%s", error);
        }
        http_free(http);
        return rv;
    }
    getsockname(http->fd, (struct sockaddr *)&bound, &len);
    listener_address_text(&bound, http->address);
    *ret = http;
    return 0;
}

int http_start(struct http *http,
               uv_loop_t *loop,
               struct server *server,
               char ret_error[static HTTP_ERROR_BYTES])
{
    http->loop = loop;
    http->server = server;
    int rv = engine_new(http, &http->pem, &http->engine, ret_error);
    if (rv != 0) {
        return rv;
    }
    uv_timer_init(loop, &http->due);
    http->due.data = http;
    log_event(http->log, LOG_LEVEL_INFO, "http", "listening", "address=%s",
              http->address);
    return 0;
}

int http_reload(struct http *http, char ret_error[static HTTP_ERROR_BYTES])
{
    struct engine *fresh;
    struct pem pem;

    if (!config_has_tls(http->config) || http->engine == NULL) {
        return 0;
    }
    int rv = load(http->config, &pem, ret_error);
    if (rv == 0) {
        rv = engine_new(http, &pem, &fresh, ret_error);
    }
    if (rv != 0) {
        pem_release(&pem);
        return rv;
    }
    engine_close(http->engine);
    http->engine = fresh;
    pem_release(&http->pem);
    http->pem = pem;
    return 0;
}

void http_close(struct http *http)
{
    if (http == NULL || http->engine == NULL) {
        return;
    }
    engine_close(http->engine);
    http->engine = NULL;
    uv_close((uv_handle_t *)&http->due, NULL);
}

void http_free(struct http *http)
{
    if (http == NULL) {
        return;
    }
    assert(http->engine == NULL);
    pem_release(&http->pem);
    if (http->fd >= 0) {
        close(http->fd);
    }
    free(http);
}
