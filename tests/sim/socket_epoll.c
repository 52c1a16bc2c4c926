/* socket_epoll.c - epoll, level-triggered as the shipped code uses it, and poll(). Time does not
 * pass while a process runs, so neither can wait: a program that would sleep in here is no
 * program for a simulator. */
#include "socket_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_epoll_ctl(int set_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int set_fd, int op, int fd, struct epoll_event *event);
int __real_epoll_wait(int set_fd, struct epoll_event *events, int max, int timeout_ms);
int __wrap_epoll_wait(int set_fd, struct epoll_event *events, int max, int timeout_ms);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

static int fail(int error)
{
    errno = error;
    return -1;
}

static struct sim_socket *set_find(int fd)
{
    struct sim_socket *set = sim_socket_find(fd);

    return set != NULL && set->kind == SOCKET_EPOLL ? set : NULL;
}

/* ---- items ---- */

static uint32_t wanted(const struct epoll_item *item)
{
    return item->event.events | EPOLLERR | EPOLLHUP;
}

static struct epoll_item *item_find(const struct sim_socket *set,
                                    const struct sim_socket *socket)
{
    struct epoll_item *item = set->items;

    while (item != NULL && item->socket != socket) {
        item = item->next_of_set;
    }
    return item;
}

static void item_add(struct sim_socket *set,
                     struct sim_socket *socket,
                     const struct epoll_event *event)
{
    struct epoll_item *item = sim_alloc(sizeof(*item));
    struct epoll_item **at = &set->items;

    *item = (struct epoll_item){.set = set, .socket = socket, .event = *event};
    while (*at != NULL) {
        at = &(*at)->next_of_set;
    }
    *at = item;
    item->next_of_socket = socket->items;
    socket->items = item;
}

static void item_remove(struct epoll_item *item)
{
    struct epoll_item **at = &item->set->items;

    while (*at != item) {
        at = &(*at)->next_of_set;
    }
    *at = item->next_of_set;
    at = &item->socket->items;
    while (*at != item) {
        at = &(*at)->next_of_socket;
    }
    *at = item->next_of_socket;
    sim_free(item);
}

void epoll_forget(struct sim_socket *socket)
{
    while (socket->kind != SOCKET_EPOLL && socket->items != NULL) {
        item_remove(socket->items);
    }
}

void epoll_close(struct sim_socket *set)
{
    while (set->items != NULL) {
        item_remove(set->items);
    }
}

/* ---- changes ---- */

void epoll_tell(const struct sim_socket *socket, uint32_t events)
{
    for (const struct epoll_item *item = socket->items; item != NULL;
         item = item->next_of_socket) {
        if ((wanted(item) & events) != 0 && item->set->on_change != NULL) {
            item->set->on_change(item->set->arg);
        }
    }
}

static void tell_if_ready(const struct sim_socket *set, const struct epoll_item *item)
{
    if (set->on_change != NULL && (socket_events(item->socket) & wanted(item)) != 0) {
        struct sim_process *inside = sim_process_outside(NULL);
        set->on_change(set->arg);
        sim_process_outside(inside);
    }
}

void sim_epoll_watch(int fd, void (*on_change)(void *arg), void *arg)
{
    struct sim_socket *set = set_find(fd);

    if (set != NULL) {
        sim_socket_watch(set, on_change, arg);
    }
}

bool sim_epoll_ready(int fd)
{
    struct epoll_event event;

    return __wrap_epoll_wait(fd, &event, 1, 0) > 0;
}

/* ---- the calls ---- */

int __wrap_epoll_create1(int flags)
{
    return sim_process_current() == NULL ? __real_epoll_create1(flags)
                                         : socket_new(SOCKET_EPOLL)->fd;
}

int __wrap_epoll_ctl(int set_fd, int op, int fd, struct epoll_event *event)
{
    if (set_fd < SIM_FD_FIRST) {
        return __real_epoll_ctl(set_fd, op, fd, event);
    }
    struct sim_socket *set = set_find(set_fd);
    struct sim_socket *socket = sim_socket_find(fd);
    if (set == NULL || socket == NULL) {
        return fail(EBADF);
    }
    if (socket->kind == SOCKET_EPOLL) {
        return fail(EINVAL);
    }
    struct epoll_item *item = item_find(set, socket);
    if (op == EPOLL_CTL_ADD ? item != NULL : item == NULL) {
        return fail(item != NULL ? EEXIST : ENOENT);
    }
    if (op == EPOLL_CTL_DEL) {
        item_remove(item);
        return 0;
    }
    if (item == NULL) {
        item_add(set, socket, event);
        item = socket->items;
    } else {
        item->event = *event;
    }
    tell_if_ready(set, item);
    return 0;
}

static _Noreturn void would_wait(const char *call)
{
    fprintf(stderr, "%s: %s() would wait, and time does not pass in a process\n",
            sim_process_current()->name, call);
    abort();
}

int __wrap_epoll_wait(int set_fd, struct epoll_event *events, int max, int timeout_ms)
{
    int count = 0;

    if (set_fd < SIM_FD_FIRST) {
        return __real_epoll_wait(set_fd, events, max, timeout_ms);
    }
    struct sim_socket *set = set_find(set_fd);
    if (set == NULL) {
        return fail(EBADF);
    }
    for (struct epoll_item *item = set->items; item != NULL && count < max;
         item = item->next_of_set) {
        uint32_t ready = socket_events(item->socket) & wanted(item);
        if (ready != 0) {
            events[count++] =
                (struct epoll_event){.events = ready, .data = item->event.data};
        }
    }
    if (count == 0 && timeout_ms != 0) {
        would_wait("epoll_wait");
    }
    return count;
}

static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                  POLLHUP == EPOLLHUP,
              "the events of poll() are those of epoll");

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    int ready = 0;

    if (sim_process_current() == NULL) {
        return __real_poll(fds, count, timeout_ms);
    }
    for (nfds_t i = 0; i < count; i++) {
        const struct sim_socket *socket = sim_socket_find(fds[i].fd);
        fds[i].revents = 0;
        if (socket != NULL) {
            uint32_t asked = (uint32_t)fds[i].events | POLLERR | POLLHUP;
            fds[i].revents = (short)(socket_events(socket) & asked & INT16_MAX);
        } else if (fds[i].fd >= 0) {
            fds[i].revents = POLLNVAL;
        }
        ready += fds[i].revents != 0;
    }
    if (ready == 0 && timeout_ms != 0) {
        would_wait("poll");
    }
    return ready;
}
