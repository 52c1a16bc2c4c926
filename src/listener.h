/* listener.h - the client port: accepts, counts, refuses.
 *
 * Own accept loop instead of uv_listen(), since that one cannot pause: when the process
 * is out of descriptors or memory, accepting rests for LISTENER_PAUSE_MS; the kernel's
 * backlog keeps who comes. Per turn at most LISTENER_BURST connections are accepted, so
 * that a flood of them does not starve those that are there. */
#ifndef NETLOCK_LISTENER_H
#define NETLOCK_LISTENER_H

#include <stdint.h>

#include <sys/socket.h>
#include <uv.h>

enum {
    LISTENER_PAUSE_MS = 100,
    LISTENER_BURST = 64,
    LISTENER_ERROR_BYTES = 256,
    LISTENER_ADDRESS_BYTES = 80, /* [v6]:port or v4:port */
};

struct listener {
    uv_poll_t poll;
    uv_timer_t resume;
    int fd;
    uint8_t handles_open;
    void *arg;
    /* The descriptor is the callee's. */
    void (*on_accept)(void *arg, int fd, const struct sockaddr_storage *peer);
    void (*on_paused)(void *arg, int error);
    void (*on_closed)(void *arg);
    char address[LISTENER_ADDRESS_BYTES]; /* as bound, with the real port */
};

/* A socket that listens on @address, "host:port". Resolving a name may block: this is for
 * the start. Returns the descriptor, or a negative errno with one line in @ret_error. */
int listener_bind(const char *address, char ret_error[static LISTENER_ERROR_BYTES]);

/* Accept on @fd, which is the listener's from now on, also on failure; the callbacks and
 * arg are set. Returns 0, or a negative errno and nothing to close. */
int listener_open(struct listener *listener, uv_loop_t *loop, int fd);

/* Stop accepting; on_closed() when the handles are closed. */
void listener_close(struct listener *listener);

/* "1.2.3.4:5" or "[::1]:5". */
void listener_address_text(const struct sockaddr_storage *address,
                           char out[static LISTENER_ADDRESS_BYTES]);

#endif
