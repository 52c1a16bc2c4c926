/* peer_probe.h - whether a peer's process is gone: does its host refuse connections to it?
 *
 * Several short attempts, each on a new socket. While the kernel takes a dead process apart, an attempt
 * may still be accepted, and reset later, or dropped without an answer, which TCP notices a second
 * later; so one attempt is not enough, and none is waited for. A process that lives, stopped or
 * not, is connected to; a host that is gone or cut off says nothing: both prove nothing. */
#ifndef NETLOCK_PEER_PROBE_H
#define NETLOCK_PEER_PROBE_H

#include <stdbool.h>
#include <sys/socket.h>

#include <uv.h>

struct peer_probe {
    uv_loop_t *loop;
    uv_timer_t timer;
    struct probe_try *tries; /* under way */
    struct sockaddr_storage address;
    unsigned begun; /* attempts of this probe */
    unsigned open;  /* handles whose end must still be seen */
    bool closing;
    void (*on_refused)(void *arg);
    void *arg;
    void (*on_closed)(void *arg);
};

void peer_probe_init(struct peer_probe *probe,
                     uv_loop_t *loop,
                     void (*on_refused)(void *arg),
                     void *arg);

/* Ask now, and again within the next moments. @on_refused as soon as one attempt is refused, not from
 * inside this call, and then no more; never, if none is. A probe of this address that is under way goes
 * on; one of another is stopped. */
void peer_probe_start(struct peer_probe *probe, const struct sockaddr *address);
void peer_probe_stop(struct peer_probe *probe);

/* @on_closed with the probe's arg, when its handles are closed; not from inside this call. */
void peer_probe_close(struct peer_probe *probe, void (*on_closed)(void *arg));

#endif
