/* socket.h - TCP as the programs see it: sockets, epoll, and the calls of libc that the shipped code
 * makes on them. Linked in place of libc's by --wrap (CMakeLists.txt), so nothing here is called by the
 * simulator but what this header names.
 *
 * A connection is two streams of bytes. Each write is one packet on the link (net.h); a packet that
 * is lost is sent again after 200 ms, then twice that, up to 10 s, as TCP does, and everything
 * behind it waits. A port where nobody listens, or whose process is dead, refuses. When a process ends its
 * sockets close: the peer gets FIN, or RST where bytes were unread - if the link lets them through.
 * Keepalive and TCP_USER_TIMEOUT end connections whose peer does not acknowledge; the options are
 * taken as they are set. Buffers are bounded (SIM_SOCKET_BUFFER_BYTES each way), so a peer that does
 * not read fills them, and writing then gives EAGAIN.
 *
 * File descriptors start at SIM_FD_FIRST. A host has one address, 10.0.0.<host + 1>. */
#ifndef NETLOCK_SIM_SOCKET_H
#define NETLOCK_SIM_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "process.h"

enum {
    SIM_FD_FIRST = 1 << 20,
    SIM_SOCKET_BUFFER_BYTES = 262144,
};

/* The address of a host as text, for configurations: "10.0.0.3". Static per host. */
const char *sim_host_address(uint32_t host);

/* ---- for loop.c: what libuv would find out from the kernel. All inside the process. ---- */

struct sim_socket;
struct sim_socket *sim_socket_find(int fd); /* of the running process, or NULL */
/* Who is called when something can be read (also: accepted, closed, broken) or written. One per
 * socket. Called outside of the process; it only notes it, and wakes the process. */
void sim_socket_watch(struct sim_socket *socket, void (*on_change)(void *arg), void *arg);
bool sim_socket_readable(const struct sim_socket *socket);
bool sim_socket_writable(const struct sim_socket *socket);
/* As read(2), write(2), close(2) on a non-blocking socket: the count, 0 at the end, or -errno. */
ssize_t sim_socket_read(struct sim_socket *socket, void *data, size_t len);
ssize_t sim_socket_write(struct sim_socket *socket, const void *data, size_t len);
void sim_socket_close(struct sim_socket *socket);

/* ---- for process.c ---- */
void sim_sockets_end(struct sim_process *process); /* it died */

/* ---- for hostile clients ---- */

/* Inside: connect to a host's port; the socket, which is not yet connected. */
struct sim_socket *sim_socket_connect(uint32_t host, uint16_t port);
/* ENDED: the peer has closed; there may be bytes to read still, and it can be written to. */
enum sim_socket_state {
    SIM_CONNECTING,
    SIM_CONNECTED,
    SIM_ENDED /* peer closed */,
    SIM_BROKEN
};
enum sim_socket_state sim_socket_state(const struct sim_socket *socket);
void sim_socket_reset(struct sim_socket *socket); /* close with RST */
/* Outside: what is between the two ends of a connection breaks it for both. */
void sim_socket_break(struct sim_socket *socket);
/* Hold back what is written from now on (a segment stuck in a router) until it is let go. Closing the
 * socket does not lose it: that lets it go, and it still arrives. A reset loses it. */
void sim_socket_hold(struct sim_socket *socket, bool hold);

/* Inside. Whether an epoll descriptor of this process has anything ready now. */
bool sim_epoll_ready(int fd);
/* Inside. @on_change is called (outside) whenever something that the epoll descriptor waits for comes, and
 * when it is told to wait for something that is there already. */
void sim_epoll_watch(int fd, void (*on_change)(void *arg), void *arg);

/* Between two simulations: all sockets and connections of all processes are gone, nobody is told. */
void sim_sockets_reset(void);

#endif
