/* http_answer.h - what the HTTP port says, without HTTP: http.c asks, http_health.c,
 * http_metrics.c and http_api.c answer. */
#ifndef NETLOCK_HTTP_ANSWER_H
#define NETLOCK_HTTP_ANSWER_H

#include "body.h"
#include "server_internal.h"

struct http_query {
    struct fsm_str prefix, after; /* of lock names; empty: all, from the start */
    uint32_t max;
};

struct http_answer {
    unsigned status;  /* 200 unless the callee says otherwise */
    const char *type; /* static */
    struct body body; /* the caller's to release */
};

void http_healthz(const struct server *server, struct http_answer *answer);
void http_readyz(const struct server *server, struct http_answer *answer);
void http_leader(const struct server *server, struct http_answer *answer);

void http_metrics(const struct server *server, struct http_answer *answer);

void http_api_status(const struct server *server, struct http_answer *answer);
void http_api_members(const struct server *server, struct http_answer *answer);
/* At most FSM_LIST_MAX locks, and no more once the answer has HTTP_LIST_BYTES. */
enum { HTTP_LIST_BYTES = 512 * 1024, HTTP_CLAIMS_SHOWN = 16 };
void http_api_locks(const struct server *server,
                    const struct http_query *query,
                    struct http_answer *answer);

extern const unsigned char http_page[];
extern const size_t http_page_bytes;

#endif
