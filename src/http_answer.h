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

/* One for each path. All of them look only. */
typedef void http_put(const struct server *server,
                      const struct http_query *query,
                      struct http_answer *answer);

/* 200 while the loop runs; while this node knows a leader, or serves; while it serves. */
http_put http_healthz, http_readyz, http_leader;

http_put http_metrics;
http_put http_page;

http_put http_api_status, http_api_members;

/* What all answers of /api/ have. */
void http_api_begin(struct http_answer *answer,
                    const struct server *server,
                    const struct raft_node_status *status);
void http_api_end(struct http_answer *answer);
uint64_t http_api_cluster_ms(const struct server *server);

/* /api/locks: at most FSM_LIST_MAX locks, FSM_LOOK_CLAIMS_MAX claims of each, and no more locks
 * once it has HTTP_LIST_BYTES. Made in steps, so that the loop goes on whatever there is. */
enum { HTTP_LIST_BYTES = 512 * 1024 };
struct http_list;
struct http_list *http_list_new(const struct server *server,
                                const struct http_query *query);
/* Whether there is more to do. */
bool http_list_step(struct http_list *list);
/* At the end; the body is the caller's. */
void http_list_take(struct http_list *list, struct http_answer *ret);
void http_list_free(struct http_list *list); /* NULL is fine */

#endif
