/* http.h - the port for people and monitors: metrics, health, JSON and the status page.
 *
 *     http_new(&http, &config, &log, error)      binds, reads certificates: before root is left
 *     http_start(http, loop, server, error)      answers; the server has been started
 *     http_reload(http, error)                   certificates anew, for connections from now on
 *     http_close(http)                           its handles close; the loop goes on for that
 *     http_free(http)                            after the loop, or if it was never started
 *
 * libmicrohttpd, which the server is not linked with, reads and writes; its epoll descriptor is
 * watched by the server's own loop, and its timeouts are a timer there: no thread. Answers are
 * made at once, from what this node has in memory, and none of them costs the cluster anything.
 *
 * Who may see what: /metrics, /healthz, /readyz and /leader say no names, and the page is the
 * same for all; they need nothing. What is below /api/ is asked as a client would: where there
 * are tokens or an ACL, `Authorization: Bearer TOKEN` says who it is, and nobody is anonymous
 * unless a rule names them. Without either, a port on loopback answers /api/ only to those who
 * call it by a name of loopback: else a web page could have its own name lead here, and look.
 *
 * With tls-cert the port speaks HTTPS. Clients' certificates are not asked for: browsers and
 * Prometheus have none. */
#ifndef NETLOCK_HTTP_H
#define NETLOCK_HTTP_H

#include <uv.h>

#include "config.h"
#include "log.h"

enum { HTTP_ERROR_BYTES = 512 };

struct http;
struct server;

/* @config and @log are borrowed. Returns 0, or a negative errno and one line in @ret_error. */
int http_new(struct http **ret,
             const struct config *config,
             const struct log *log,
             char ret_error[static HTTP_ERROR_BYTES]);

/* @server is borrowed until http_close(). As http_new(). */
int http_start(struct http *http,
               uv_loop_t *loop,
               struct server *server,
               char ret_error[static HTTP_ERROR_BYTES]);

/* On failure everything stays as it was. Cuts what is being answered. */
int http_reload(struct http *http, char ret_error[static HTTP_ERROR_BYTES]);

/* NULL is fine for both. */
void http_close(struct http *http);
void http_free(struct http *http);

#endif
