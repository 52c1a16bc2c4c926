/* kept_port.h - ports of this machine, for what a test lets others listen on. */
#ifndef NETLOCK_KEPT_PORT_H
#define NETLOCK_KEPT_PORT_H

#include <stdint.h>

/* A TCP port that is kept for this process until it ends, on every address of the machine: the kernel
 * gives it to no connection, and to nobody who asks for a port or keeps one as we do. Nobody
 * listens on it, so a connect() is refused, until somebody does who says SO_REUSEADDR, as
 * servers do; they may come and go. Without a port there is no test: it aborts. */
uint16_t keep_port(void);

#endif
