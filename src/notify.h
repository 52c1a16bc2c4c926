/* notify.h - telling systemd how the service is: sd_notify(3) is a datagram to $NOTIFY_SOCKET.
 *
 * Without that variable nothing is told, and nothing is wrong. */
#ifndef NETLOCK_NOTIFY_H
#define NETLOCK_NOTIFY_H

#include <uv.h>

/* "READY=1", "STOPPING=1". A full socket loses it. */
void notify_send(const char *text);

/* Before the certificates and the rest are read again; "READY=1" when it is done. */
void notify_reloading(void);

/* Tell @timer's loop is alive at half of $WATCHDOG_USEC, if that is set and meant for this process. The
 * timer is started, and must be closed, in any case. */
void notify_start_watchdog(uv_loop_t *loop, uv_timer_t *timer);

#endif
