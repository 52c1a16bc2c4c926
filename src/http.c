#include "http_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "text_file.h"
#include "xalloc.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTIONS_PER_ADDRESS_MAX = 32, /* nobody alone keeps a supervisor from /healthz */
    REQUEST_BYTES_MAX = 16 * 1024,
    IDLE_SECONDS = 15, /* above the interval at which the page asks */
};

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

static void on_work(uv_idle_t *work)
{
    struct http *http = work->data;

    if (http_step_list(http)) {
        turn(http);
    }
}

void http_set_working(struct http *http, bool working)
{
    if (working) {
        uv_idle_start(&http->work, on_work);
    } else {
        uv_idle_stop(&http->work);
    }
}

static struct MHD_Daemon *run_daemon(struct http *http, const struct pem *pem, int fd)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
                     (pem->cert != NULL ? (unsigned)MHD_USE_TLS : 0u);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, pem->cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, pem->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (char *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3"},
        {MHD_OPTION_END, 0, NULL},
    };

    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_request, http, MHD_OPTION_NOTIFY_COMPLETED,
        http_on_completed, http, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)CONNECTIONS_PER_ADDRESS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES_MAX, MHD_OPTION_ARRAY,
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

static void engine_close(struct http *http)
{
    struct engine *engine = http->engine;

    http_drop_lists(http);
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
    uv_idle_init(loop, &http->work);
    http->due.data = http;
    http->work.data = http;
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
    engine_close(http);
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
    engine_close(http);
    http->engine = NULL;
    uv_close((uv_handle_t *)&http->due, NULL);
    uv_close((uv_handle_t *)&http->work, NULL);
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
