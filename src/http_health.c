/* For load balancers and supervisors: they look at the status alone. */
#include "http_answer.h"

#include <inttypes.h>

static void say(struct http_answer *answer, unsigned status, const char *text)
{
    answer->status = status;
    answer->type = "text/plain; charset=utf-8";
    body_text(&answer->body, text);
}

/* The loop runs: that is what is asked. */
void http_healthz(const struct server *server,
                  const struct http_query *query,
                  struct http_answer *answer)
{
    (void)server;
    (void)query;
    say(answer, 200, "ok\n");
}

void http_readyz(const struct server *server,
                 const struct http_query *query,
                 struct http_answer *answer)
{
    struct node_info info;

    (void)query;
    node_info_get(server, &info);
    if (server->stopping) {
        say(answer, 503, "stopping\n");
    } else if (server->draining) {
        say(answer, 503, "draining\n");
    } else if (info.status.leader_id == 0) {
        say(answer, 503, "no leader is known\n");
    } else if (info.status.leader && !server->serving) {
        say(answer, 503, "elected, not serving yet\n");
    } else {
        say(answer, 200, "ready\n");
    }
}

void http_leader(const struct server *server,
                 const struct http_query *query,
                 struct http_answer *answer)
{
    struct node_info info;

    (void)query;
    if (server->serving && !server->stopping) {
        say(answer, 200, "this node serves\n");
        return;
    }
    node_info_get(server, &info);
    say(answer, 503, "");
    if (info.status.leader_id == 0 || info.status.leader_id == info.status.node_id) {
        body_text(&answer->body, "no node is known to serve\n");
    } else {
        body_printf(&answer->body, "node %" PRIu64 " leads\n", info.status.leader_id);
    }
}
