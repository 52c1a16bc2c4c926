/* client.c - the life of a client, and one step of its engine. */
#include "client_engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "client_tls.h"

#define DEFAULT_SERVERS "127.0.0.1:7670"
enum {
    DEFAULT_CONNECT_TIMEOUT_MS = 10000,
    DEFAULT_SESSION_GRACE_MS = 10000,
    DEFAULT_DRIFT_PPM = 1000,
    DRIFT_PPM_MAX = 500000,
    TIMEOUT_MAX_MS = 60000,
};

static uint64_t boot_clock_ms(void *arg)
{
    (void)arg;
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t client_clock(struct netlock *nl)
{
    nl->now_ms = nl->clock_ms(nl->clock_arg);
    return nl->now_ms;
}

/* ---- life ---------------------------------------------------------------------------- */

static int copy_text(char *out, size_t size, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    if (len >= size)
        return -EINVAL;
    if (len > 0)
        memcpy(out, text, len);
    out[len] = 0;
    return 0;
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static int take_options(struct netlock *nl, const struct netlock_options *options)
{
    nl->flags = options->flags;
    nl->share_id = options->share_id;
    nl->on_notice = options->on_notice;
    nl->arg = options->arg;
    nl->connect_timeout_ms =
        or_default(options->connect_timeout_ms, DEFAULT_CONNECT_TIMEOUT_MS);
    nl->session_grace_ms =
        or_default(options->session_grace_ms, DEFAULT_SESSION_GRACE_MS);
    nl->drift_ppm = or_default(options->drift_ppm, DEFAULT_DRIFT_PPM);
    if (options->secret != NULL) {
        memcpy(nl->secret, options->secret, NETLOCK_SECRET_BYTES);
        nl->has_secret = true;
    }
    if ((options->flags & ~(unsigned)(NETLOCK_MANUAL | NETLOCK_NO_REFRESH)) != 0 ||
        nl->drift_ppm > DRIFT_PPM_MAX ||
        copy_text(nl->client_id, sizeof(nl->client_id), options->client_id) != 0 ||
        copy_text(nl->application, sizeof(nl->application), options->application) != 0 ||
        copy_text(nl->token, sizeof(nl->token), client_token(&options->credentials)) != 0)
        return -EINVAL;
    if (options->client_id != NULL &&
        !wire_name_valid(nl->client_id, strlen(nl->client_id)))
        return -EINVAL;
    /* A secret or a shared id without an id would be silently of no use. */
    return options->client_id == NULL && (nl->has_secret || nl->share_id) ? -EINVAL : 0;
}

/* Clients of one id begin at the same server, different ids are spread. */
static uint64_t first_server(const struct netlock *nl)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *at = nl->client_id; *at != 0; at++)
        hash = (hash ^ (uint8_t)*at) * 1099511628211u;
    return nl->client_id[0] != 0 ? hash >> 32 : nl->random >> 32;
}

static int open_tls(struct netlock *nl, const struct netlock_options *options)
{
    char error[TLS_ERROR_BYTES] = "";
    int rv = client_tls_context(&nl->tls, &options->credentials, error);
    if (rv != 0 && options->error_text != NULL)
        snprintf(options->error_text, NETLOCK_ERROR_BYTES, "%s", error);
    nl->session.conn.tls_context = nl->tls;
    for (size_t i = 0; i < SCOUTS_MAX; i++)
        nl->scouts.scouts[i].conn.tls_context = nl->tls;
    return rv;
}

static int open_parts(struct netlock *nl, const struct netlock_options *options)
{
    int rv = take_options(nl, options);
    if (rv != 0)
        return rv;
    if (getrandom(&nl->random, sizeof(nl->random), GRND_NONBLOCK) != sizeof(nl->random))
        nl->random = boot_clock_ms(NULL) ^ (uintptr_t)nl;
    nl->random |= 1; /* xorshift must not start at zero */
    rv = open_tls(nl, options);
    if (rv != 0)
        return rv;
    const char *list =
        options->servers != NULL ? options->servers : getenv("NETLOCK_SERVERS");
    rv = client_servers_init(&nl->session.servers,
                             list != NULL && list[0] != 0 ? list : DEFAULT_SERVERS,
                             first_server(nl));
    if (rv != 0)
        return rv;
    rv = client_table_init(nl);
    if (rv != 0)
        return rv;
    nl->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return nl->epoll_fd >= 0 ? 0 : -errno;
}

int client_new(struct netlock **ret, const struct netlock_options *options)
{
    static const struct netlock_options defaults = {0};
    struct netlock *nl = calloc(1, sizeof(*nl));
    if (nl == NULL)
        return -ENOMEM;
    nl->clock_ms = boot_clock_ms;
    nl->epoll_fd = -1;
    nl->wake_fd = -1;
    nl->lease_due_ms = CLIENT_NEVER;
    nl->lease_least_ms = UINT32_MAX;
    TAILQ_INIT(&nl->queued);
    TAILQ_INIT(&nl->sent);
    TAILQ_INIT(&nl->waiting);
    TAILQ_INIT(&nl->done);
    client_clock(nl);
    session_init(nl);
    if (options != NULL && options->error_text != NULL)
        options->error_text[0] = 0;
    int rv = open_parts(nl, options != NULL ? options : &defaults);
    if (rv != 0) {
        client_free(nl);
        return rv;
    }
    *ret = nl;
    return 0;
}

static void free_list(struct netlock *nl, struct operation_list *list)
{
    while (!TAILQ_EMPTY(list)) {
        struct operation *operation = TAILQ_FIRST(list);
        TAILQ_REMOVE(list, operation, link);
        operation_free(nl, operation);
    }
}

void client_free(struct netlock *nl)
{
    session_release(nl);
    tls_context_free(nl->tls);
    free_list(nl, &nl->queued);
    free_list(nl, &nl->sent);
    free_list(nl, &nl->waiting);
    free_list(nl, &nl->done);
    client_table_release(nl);
    free(nl->slots);
    free(nl->generations);
    free(nl->free_slots);
    if (nl->epoll_fd >= 0)
        close(nl->epoll_fd);
    explicit_bzero(nl->secret, sizeof(nl->secret));
    explicit_bzero(nl->token, sizeof(nl->token));
    free(nl);
}

void client_die(struct netlock *nl, int rv)
{
    assert(rv < 0);
    if (nl->dead != 0)
        return;
    nl->dead = rv;
    session_fail(nl, rv);
    client_leases_end(nl);
    operations_fail(nl, rv);
}

void client_close_begin(struct netlock *nl)
{
    client_clock(nl);
    bool ready = nl->session.state == SESSION_READY;
    bool something = nl->holds > 0 || !TAILQ_EMPTY(&nl->queued);
    nl->closing_end_ms = nl->now_ms + CLIENT_CLOSE_MS;
    operations_fail(nl, -NETLOCK_ECLOSED);
    /* Worth looking for a leader only if the cluster holds something for us. */
    if (nl->dead == 0 && nl->session.attached_once && (ready || something))
        nl->detach = operation_new(nl, OPERATION_DETACH, NULL);
    if (nl->detach != NULL)
        nl->detach->internal = true;
}

bool client_close_finished(struct netlock *nl)
{
    return nl->detach == NULL || nl->dead != 0 || client_clock(nl) >= nl->closing_end_ms;
}

/* ---- callbacks ----------------------------------------------------------------------- */

/* Callbacks may call us again: asynchronous calls anywhere, and from another thread anything. So
 * every one of them starts from the head of its list, with everything in order. */
static void call_notice(struct netlock *nl, const struct netlock_notice *notice)
{
    if (nl->on_notice == NULL || nl->closing_end_ms != 0)
        return;
    nl->in_callback = true;
    if (nl->threaded)
        pthread_mutex_unlock(&nl->mutex);
    nl->on_notice(nl->arg, notice);
    if (nl->threaded)
        pthread_mutex_lock(&nl->mutex);
    nl->in_callback = false;
}

static void deliver_connection(struct netlock *nl)
{
    struct session *session = &nl->session;
    if (session->notice_disconnected) {
        session->notice_disconnected = false;
        call_notice(nl, &(struct netlock_notice){.event = NETLOCK_DISCONNECTED});
    }
    if (session->notice_connected) {
        session->notice_connected = false;
        call_notice(nl, &(struct netlock_notice){.event = NETLOCK_CONNECTED,
                                                 .server = session->server_text});
    }
}

static const struct {
    enum lock_notice notice;
    enum netlock_event event;
} notice_order[] = {
    {NOTICE_QUEUED, NETLOCK_QUEUED},
    {NOTICE_JEOPARDY, NETLOCK_JEOPARDY},
    {NOTICE_SAFE, NETLOCK_SAFE},
    {NOTICE_LOST, NETLOCK_LOST},
};

static void call_notices(struct netlock *nl,
                         const struct client_lock *lock,
                         unsigned notices,
                         uint64_t token)
{
    for (size_t i = 0; i < sizeof(notice_order) / sizeof(notice_order[0]); i++) {
        if ((notices & notice_order[i].notice) == 0)
            continue;
        bool queued = notice_order[i].event == NETLOCK_QUEUED;
        struct netlock_notice notice = {
            .event = notice_order[i].event,
            .name = lock->name,
            .token = queued ? 0 : token,
            .position = queued ? lock->position : 0,
        };
        call_notice(nl, &notice);
    }
}

static void deliver_lock(struct netlock *nl, struct client_lock *lock)
{
    unsigned notices = lock->notices;
    lock->notices = 0;
    call_notices(nl, lock, notices, lock->notice_token);
}

static void deliver_operation(struct netlock *nl, struct operation *operation)
{
    TAILQ_REMOVE(&nl->done, operation, link);
    nl->overtaken -= operation->notices != 0 ? 1 : 0;
    nl->in_callback = true;
    if (nl->threaded)
        pthread_mutex_unlock(&nl->mutex);
    if (operation->done != NULL)
        operation->done(operation->arg, operation->rv,
                        operation->has_grant ? &operation->grant : NULL);
    if (nl->threaded)
        pthread_mutex_lock(&nl->mutex);
    nl->in_callback = false;
    if (operation->notices != 0)
        call_notices(nl, operation->lock, operation->notices, operation->grant.token);
    operation_free(nl, operation);
}

static struct operation *first_overtaken(struct netlock *nl)
{
    struct operation *at = NULL;
    if (nl->overtaken > 0) {
        at = TAILQ_FIRST(&nl->done);
        while (at->notices == 0)
            at = TAILQ_NEXT(at, link);
    }
    return at;
}

/* A hold can be over before its caller was told of it: then first what led to it, in order. */
static void deliver_overtaken(struct netlock *nl)
{
    struct operation *overtaken;
    while ((overtaken = first_overtaken(nl)) != NULL) {
        struct operation *at = TAILQ_FIRST(&nl->done);
        while (at->lock != overtaken->lock)
            at = TAILQ_NEXT(at, link);
        deliver_operation(nl, at);
    }
}

static bool has_notices(const struct netlock *nl)
{
    return nl->session.notice_disconnected || nl->session.notice_connected ||
           !TAILQ_EMPTY(&nl->table.noticed) || nl->overtaken > 0;
}

static void deliver_notices(struct netlock *nl)
{
    deliver_connection(nl);
    while (!TAILQ_EMPTY(&nl->table.noticed)) {
        struct client_lock *lock = TAILQ_FIRST(&nl->table.noticed);
        TAILQ_REMOVE(&nl->table.noticed, lock, noticed);
        lock->users++; /* the record outlives what the callback does */
        deliver_lock(nl, lock);
        lock->users--;
        client_lock_unuse(nl, lock);
    }
    deliver_overtaken(nl);
}

/* Report what is over, until nothing more has ended in the time that callbacks took. */
static void settle_leases(struct netlock *nl)
{
    client_clock(nl);
    client_leases_run(nl);
    while (has_notices(nl)) {
        deliver_notices(nl);
        client_clock(nl);
        client_leases_run(nl);
    }
}

/* Callbacks take their time, and leases end in it. */
static void deliver_done(struct netlock *nl)
{
    while (!TAILQ_EMPTY(&nl->done)) {
        deliver_operation(nl, TAILQ_FIRST(&nl->done));
        settle_leases(nl);
    }
}

int client_step(struct netlock *nl)
{
    settle_leases(nl);
    if (nl->dead == 0) {
        session_run(nl);
        operations_expire(nl);
    }
    settle_leases(nl);
    deliver_done(nl);
    if (nl->session.state == SESSION_READY) {
        operations_send(nl);
        session_flush(nl);
    }
    return nl->dead;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int client_timeout(const struct netlock *nl)
{
    if (!TAILQ_EMPTY(&nl->done) || has_notices(nl))
        return 0;
    if (nl->dead != 0)
        return -1;
    uint64_t due_ms = earlier(nl->lease_due_ms, session_due_ms(nl));
    due_ms = earlier(due_ms, operations_due_ms(nl));
    due_ms = earlier(due_ms, client_scouts_due_ms(nl));
    uint64_t now_ms = nl->clock_ms(nl->clock_arg);
    if (due_ms == CLIENT_NEVER)
        return -1;
    if (due_ms <= now_ms)
        return 0;
    return due_ms - now_ms < TIMEOUT_MAX_MS ? (int)(due_ms - now_ms) : TIMEOUT_MAX_MS;
}

void client_set_error_text(struct netlock *nl, struct wire_str text)
{
    size_t len = text.len < CLIENT_TEXT_BYTES_MAX ? text.len : CLIENT_TEXT_BYTES_MAX;
    for (size_t i = 0; i < len; i++) /* it is for people's terminals */
        nl->error_text[i] = (unsigned char)text.data[i] >= ' ' ? text.data[i] : '?';
    nl->error_text[len] = 0;
}

/* ---- the small part of the public face ------------------------------------------------- */

const char *netlock_client_id(const struct netlock *nl)
{
    return nl->client_id[0] != 0 ? nl->client_id : NULL;
}

const uint8_t *netlock_client_secret(const struct netlock *nl)
{
    return nl->has_secret ? nl->secret : NULL;
}

const char *netlock_error_text(const struct netlock *nl)
{
    return nl->error_text;
}

int netlock_fd(const struct netlock *nl)
{
    return nl->epoll_fd;
}

short netlock_poll_events(const struct netlock *nl)
{
    (void)nl;
    return POLLIN;
}
