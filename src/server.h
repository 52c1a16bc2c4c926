/* server.h - one netlock server: a raft node, its client port, and what connects the two.
 *
 *     server_new(&server, loop, &config, &log, &host, error)   binds, opens the data directory
 *     server_start(server, error)                              loads the log, accepts
 *     ... uv_run(loop) ...
 *     server_stop(server, on_stopped, arg)                     also after a failed start
 *     server_free(server)                                      once stopped
 *
 * The way of a request: conn (bytes to frames) - wire (frame to request) - session
 * (order, who asks for whom) - request (request to command) - replica; the events that
 * come back go through delivery to answer (event to response) and out. Everything runs on
 * the loop's thread; two servers may share a loop. */
#ifndef NETLOCK_SERVER_H
#define NETLOCK_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "config.h"
#include "log.h"

enum { SERVER_ERROR_BYTES = 512 };

struct server;

struct server_host {
    void *arg;
    /* The node cannot go on (disk, divergence). Must not return. */
    void (*fatal)(void *arg, const char *what);
    /* The node has met data of a newer build. Must not return. NULL: fatal is told. */
    void (*newer)(void *arg, const char *what);
    /* An operator has asked for another level; the host changes that of its log, and calls
     * server_log_level_changed(). NULL: it cannot be changed. */
    void (*set_log_level)(void *arg, enum log_level level);
    /* The keys are read and the client port is bound, the data directory is not opened
     * yet: the time to stop being root. Returns 0, or -1 and one line in @ret_error.
     * NULL: nothing to do. */
    int (*on_bound)(void *arg, char *ret_error);
};

/* @config and @log are borrowed. Returns 0, or a negative errno and one line in
 * @ret_error. */
int server_new(struct server **ret,
               uv_loop_t *loop,
               const struct config *config,
               const struct log *log,
               const struct server_host *host,
               char ret_error[static SERVER_ERROR_BYTES]);

int server_start(struct server *server, char ret_error[static SERVER_ERROR_BYTES]);

/* Read the certificates, the ACL and the tokens anew. Certificates count for connections from
 * now on; the rules for every request. Returns 0; or a negative errno and one line in
 * @ret_error: then all of them stay as they were. */
int server_reload(struct server *server, char ret_error[static SERVER_ERROR_BYTES]);

/* Whether the disk of this node has room, from whoever looks; at first it has. While it has not, a leader
 * answers BUSY to all but what frees something or keeps what there is. */
void server_set_disk_low(struct server *server, bool low, uint64_t free_bytes);
/* The level of the log that the server was given has changed. */
void server_log_level_changed(struct server *server);

/* Stop accepting, hand leadership over, close clients, close the node and the handles, in
 * this order; then @on_stopped. A second call only replaces the callback. */
void server_stop(struct server *server, void (*on_stopped)(void *arg), void *arg);

void server_free(struct server *server);

/* Where clients connect, with the real port. Valid after server_start(). */
const char *server_address(const struct server *server);

#endif
