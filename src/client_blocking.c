/* client_blocking.c - the public calls: life, locks, and waiting for answers.
 *
 * With a thread, callers and the thread take turns under nl->mutex; a caller makes its operation,
 * wakes the thread, and sleeps on its own condition. Callers never write to the socket themselves:
 * so there is one place where leases are looked at before anything is sent.
 * Without one (NETLOCK_MANUAL) a call that waits drives the engine itself. */
#include "client_engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- turns ------------------------------------------------------------------------------------ */

void client_enter(struct netlock *nl)
{
    if (nl->threaded)
        pthread_mutex_lock(&nl->mutex);
}

static void wake(struct netlock *nl)
{
    uint64_t one = 1;
    /* Fails only when it is full, and then the thread is awake enough. */
    ssize_t n = nl->threaded ? write(nl->wake_fd, &one, sizeof(one)) : 0;
    (void)n;
}

void client_leave(struct netlock *nl)
{
    if (!nl->threaded)
        return;
    wake(nl);
    pthread_mutex_unlock(&nl->mutex);
}

/* Sleep until something happens, once; no locks held. */
static void sleep_on(struct netlock *nl, int timeout_ms)
{
    struct pollfd fd = {.fd = nl->epoll_fd, .events = POLLIN};
    (void)poll(&fd, 1, timeout_ms);
}

static void drain_wake(struct netlock *nl)
{
    uint64_t count;
    ssize_t n = read(nl->wake_fd, &count, sizeof(count));
    (void)n;
}

static bool finished(struct netlock *nl)
{
    bool closed = nl->closing_end_ms != 0 && client_close_finished(nl);
    return (closed || nl->stop) && TAILQ_EMPTY(&nl->done);
}

static void *run(void *arg)
{
    struct netlock *nl = arg;
    pthread_mutex_lock(&nl->mutex);
    while (!finished(nl)) {
        (void)client_step(nl);
        if (finished(nl))
            break;
        int timeout_ms = client_timeout(nl);
        pthread_mutex_unlock(&nl->mutex);
        if (timeout_ms != 0)
            sleep_on(nl, timeout_ms);
        drain_wake(nl);
        pthread_mutex_lock(&nl->mutex);
    }
    pthread_mutex_unlock(&nl->mutex);
    return NULL;
}

static int start_thread(struct netlock *nl)
{
    nl->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (nl->wake_fd < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = nl->wake_fd}};
    if (epoll_ctl(nl->epoll_fd, EPOLL_CTL_ADD, nl->wake_fd, &event) != 0)
        return -errno;
    pthread_mutex_init(&nl->mutex, NULL);
    pthread_cond_init(&nl->idle, NULL);
    /* Signals are the program's: none is delivered to our thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    nl->threaded = true;
    int rv = pthread_create(&nl->thread, NULL, run, nl);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rv == 0)
        return 0;
    nl->threaded = false;
    pthread_cond_destroy(&nl->idle);
    pthread_mutex_destroy(&nl->mutex);
    return -rv;
}

/* ---- waiting for one operation ------------------------------------------------------------------ */

int client_waiter_begin(struct netlock *nl, struct client_waiter *waiter)
{
    if (nl->threaded ? pthread_equal(pthread_self(), nl->thread) != 0 : nl->in_callback)
        return -EDEADLK;
    *waiter = (struct client_waiter){.nl = nl};
    pthread_cond_init(&waiter->done_changed, NULL);
    client_enter(nl);
    nl->callers++;
    return 0;
}

void client_waiter_done(void *arg, int rv, const struct netlock_grant *grant)
{
    struct client_waiter *waiter = arg;
    client_enter(waiter->nl); /* callbacks run without it */
    waiter->rv = rv;
    if (grant != NULL)
        waiter->grant = *grant;
    waiter->done = true;
    pthread_cond_signal(&waiter->done_changed);
    if (waiter->nl->threaded)
        pthread_mutex_unlock(&waiter->nl->mutex);
}

static void wait_done(struct client_waiter *waiter)
{
    struct netlock *nl = waiter->nl;
    if (nl->threaded) {
        wake(nl);
        while (!waiter->done)
            pthread_cond_wait(&waiter->done_changed, &nl->mutex);
        return;
    }
    for (;;) {
        (void)client_step(nl);
        if (waiter->done)
            return;
        sleep_on(nl, client_timeout(nl));
    }
}

int client_waiter_end(struct client_waiter *waiter, int submitted)
{
    struct netlock *nl = waiter->nl;
    if (submitted == 0)
        wait_done(waiter);
    nl->callers--;
    if (nl->threaded && nl->callers == 0)
        pthread_cond_signal(&nl->idle);
    if (nl->threaded)
        pthread_mutex_unlock(&nl->mutex);
    pthread_cond_destroy(&waiter->done_changed);
    return submitted == 0 ? waiter->rv : submitted;
}

/* ---- open and close ------------------------------------------------------------------------------- */

/* Until there is a leader, before there is a thread. */
static int find_leader(struct netlock *nl)
{
    uint64_t end_ms = client_clock(nl) + nl->connect_timeout_ms;
    for (;;) {
        int rv = client_step(nl);
        if (rv != 0 || nl->session.state == SESSION_READY)
            return rv;
        if (nl->now_ms >= end_ms)
            return nl->session.failure == -NETLOCK_EPROTOCOL ? -NETLOCK_EPROTOCOL
                                                             : -NETLOCK_EUNREACHABLE;
        int timeout_ms = client_timeout(nl);
        if (timeout_ms < 0 || (uint64_t)timeout_ms > end_ms - nl->now_ms)
            timeout_ms = (int)(end_ms - nl->now_ms);
        sleep_on(nl, timeout_ms);
    }
}

int netlock_open(struct netlock **ret, const struct netlock_options *options)
{
    struct netlock *nl;
    int rv = client_new(&nl, options);
    if (rv != 0)
        return rv;
    if ((nl->flags & NETLOCK_MANUAL) == 0) {
        rv = find_leader(nl);
        if (rv == 0)
            rv = start_thread(nl);
        if (rv != 0) {
            if (options != NULL && options->error_text != NULL)
                snprintf(options->error_text, NETLOCK_ERROR_BYTES, "%s", nl->error_text);
            netlock_abandon(nl);
            return rv;
        }
    }
    *ret = nl;
    return 0;
}

/* The engine is over for everybody: wait for the thread and the callers to leave, and free. */
static void finish(struct netlock *nl)
{
    if (nl->threaded) {
        client_leave(nl);
        pthread_join(nl->thread, NULL);
        pthread_mutex_lock(&nl->mutex);
        while (nl->callers > 0)
            pthread_cond_wait(&nl->idle, &nl->mutex);
        pthread_mutex_unlock(&nl->mutex);
        pthread_cond_destroy(&nl->idle);
        pthread_mutex_destroy(&nl->mutex);
    } else {
        while (!finished(nl)) {
            (void)client_step(nl);
            if (!finished(nl))
                sleep_on(nl, client_timeout(nl));
        }
    }
    client_free(nl);
}

void netlock_close(struct netlock *nl)
{
    if (nl == NULL)
        return;
    client_enter(nl);
    client_close_begin(nl);
    finish(nl);
}

void netlock_abandon(struct netlock *nl)
{
    if (nl == NULL)
        return;
    client_enter(nl);
    nl->stop = true;
    nl->closing_end_ms = client_clock(nl);
    client_die(nl, -NETLOCK_ECLOSED);
    operations_fail(nl, -NETLOCK_ECLOSED); /* if it was dead before */
    finish(nl);
}

/* ---- locks ------------------------------------------------------------------------------------------ */

int netlock_lock(struct netlock *nl,
                 const char *name,
                 const struct netlock_lock_options *options,
                 struct netlock_grant *ret_grant)
{
    struct client_waiter waiter;
    int rv = client_waiter_begin(nl, &waiter);
    if (rv != 0)
        return rv;
    rv = client_waiter_end(
        &waiter, operation_lock(nl, name, options, client_waiter_done, &waiter));
    if (rv == 0 && ret_grant != NULL)
        *ret_grant = waiter.grant;
    return rv;
}

int netlock_unlock(struct netlock *nl, const char *name)
{
    return netlock_unlock_token(nl, name, 0);
}

int netlock_unlock_token(struct netlock *nl, const char *name, uint64_t token)
{
    struct client_waiter waiter;
    int rv = client_waiter_begin(nl, &waiter);
    if (rv != 0)
        return rv;
    return client_waiter_end(
        &waiter, operation_unlock(nl, name, token, client_waiter_done, &waiter));
}

int netlock_refresh(struct netlock *nl,
                    const char *name,
                    uint32_t lock_timeout_ms,
                    const enum netlock_drop *set_drop,
                    struct netlock_grant *ret_grant)
{
    struct client_waiter waiter;
    int rv = client_waiter_begin(nl, &waiter);
    if (rv != 0)
        return rv;
    rv = client_waiter_end(&waiter, operation_refresh(nl, name, lock_timeout_ms, set_drop,
                                                      client_waiter_done, &waiter));
    if (rv == 0 && ret_grant != NULL)
        *ret_grant = waiter.grant;
    return rv;
}

/* ---- asynchronous ----------------------------------------------------------------------------------- */

int netlock_timeout_ms(const struct netlock *nl)
{
    return client_timeout(nl);
}

int netlock_process(struct netlock *nl)
{
    if ((nl->flags & NETLOCK_MANUAL) == 0)
        return -EINVAL;
    return nl->in_callback ? -EDEADLK : client_step(nl);
}

int netlock_lock_async(struct netlock *nl,
                       const char *name,
                       const struct netlock_lock_options *options,
                       netlock_done_cb done,
                       void *arg)
{
    client_enter(nl);
    int rv = operation_lock(nl, name, options, done, arg);
    client_leave(nl);
    return rv;
}

int netlock_unlock_async(
    struct netlock *nl, const char *name, uint64_t token, netlock_done_cb done, void *arg)
{
    client_enter(nl);
    int rv = operation_unlock(nl, name, token, done, arg);
    client_leave(nl);
    return rv;
}

int netlock_refresh_async(struct netlock *nl,
                          const char *name,
                          uint32_t lock_timeout_ms,
                          const enum netlock_drop *set_drop,
                          netlock_done_cb done,
                          void *arg)
{
    client_enter(nl);
    int rv = operation_refresh(nl, name, lock_timeout_ms, set_drop, done, arg);
    client_leave(nl);
    return rv;
}

int netlock_cancel(struct netlock *nl, const char *name)
{
    client_enter(nl);
    int rv = operation_cancel(nl, name);
    client_leave(nl);
    return rv;
}
