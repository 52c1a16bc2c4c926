/* socket_internal.h - what socket*.c share: descriptors, and who watches them. */
#ifndef NETLOCK_SIM_SOCKET_INTERNAL_H
#define NETLOCK_SIM_SOCKET_INTERNAL_H

#include <netinet/in.h>
#include <sys/epoll.h>

#include "socket.h"
#include "tcp.h"

enum socket_kind {
    SOCKET_NEW, /* neither connected nor listening */
    SOCKET_STREAM,
    SOCKET_LISTENER,
    SOCKET_EPOLL,
};

/* One descriptor in one epoll set; in two lists. */
struct epoll_item {
    struct epoll_item *next_of_set, *next_of_socket;
    struct sim_socket *set, *socket;
    struct epoll_event event;
};

struct sim_socket {
    enum socket_kind kind;
    int fd;
    struct sim_process *process;
    void (*on_change)(void *arg); /* of an epoll set: sim_epoll_watch() */
    void *arg;
    struct epoll_item
        *items; /* that watch it; of a set: that it watches, in the order of adding */

    struct tcp_end *end; /* of a STREAM */
    struct tcp_options options;
    bool reset_on_close; /* SO_LINGER with no time */
    uint16_t port;       /* bound to; 0: none */
    struct tcp_listener listener;
};

struct sim_socket *socket_new(enum socket_kind kind);
/* To be a stream, connected or about to be. */
void socket_own(struct sim_socket *socket, struct tcp_end *end);
struct sockaddr_in socket_address(uint32_t host, uint16_t port);
/* Told by the connection or listener: these can be done now. */
void socket_tell(void *socket, uint32_t events);
uint32_t socket_events(const struct sim_socket *socket);

/* socket_epoll.c */
void epoll_tell(const struct sim_socket *socket, uint32_t events);
void epoll_forget(struct sim_socket *socket); /* it is closed: no set has it any more */
void epoll_close(struct sim_socket *set);

#endif
