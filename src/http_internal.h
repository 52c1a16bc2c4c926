/* http_internal.h - what the files of the HTTP port share: http.c is its life on the loop,
 * http_request.c one request: who asks, for what, and the way of the answer. */
#ifndef NETLOCK_HTTP_INTERNAL_H
#define NETLOCK_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "http.h"
#include "http_answer.h"

/* libmicrohttpd with one set of certificates; a reload makes another one. */
struct engine {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
};

struct pem {
    char *cert, *key; /* NULL without TLS */
};

/* One that is being read, made or sent. */
struct request {
    struct MHD_Connection *connection;
    struct http_list *list;      /* being made; the connection is suspended */
    struct request *prev, *next; /* with a list, in the order of coming */
    struct http_answer answer;   /* status 0: none yet */
};

struct http {
    const struct config *config;
    const struct log *log;
    uv_loop_t *loop;
    struct server *server;
    int fd; /* listens; each engine has a copy */
    char address[LISTENER_ADDRESS_BYTES];
    struct pem pem;
    struct engine *engine; /* NULL: not started, or closed */
    uv_timer_t due;
    uv_idle_t work;          /* runs while there are lists to be made */
    struct request *listing; /* the first one gets a step each turn */
    struct log_limit denied_limit;
};

/* libmicrohttpd's callbacks; arg is the struct http. */
enum MHD_Result http_on_request(void *arg,
                                struct MHD_Connection *connection,
                                const char *url,
                                const char *method,
                                const char *version,
                                const char *upload,
                                size_t *upload_bytes,
                                void **state);
void http_on_completed(void *arg,
                       struct MHD_Connection *connection,
                       void **state,
                       enum MHD_RequestTerminationCode why);

/* A step of the first list. Returns whether an answer is complete: then libmicrohttpd is to run. */
bool http_step_list(struct http *http);
/* Before libmicrohttpd is stopped, which takes no suspended connections. */
void http_drop_lists(struct http *http);

/* http.c: there are lists to be made, or none any more. */
void http_set_working(struct http *http, bool working);

#endif
