#include "server_internal.h"

#include <assert.h>

enum { HAND_OVER_MS = 1000 };

static_assert((int)WIRE_LOG_ERROR == (int)LOG_LEVEL_ERROR + 1 &&
                  (int)WIRE_LOG_DEBUG == (int)LOG_LEVEL_DEBUG + 1,
              "the protocol's levels are ours, one higher");

/* ---- draining: the node stays a member, votes and keeps its copy, but another one leads ---- */

static void on_handed_over(void *arg)
{
    struct server *server = arg;

    server->handing_over = false;
}

/* It may be elected again, and whoever could take over may not have caught up yet: it is asked for as long
 * as the node drains. */
static void on_drain(uv_timer_t *timer)
{
    struct server *server = timer->data;

    if (!server->draining) {
        uv_timer_stop(timer);
    } else if (!server->handing_over) {
        server->handing_over = true;
        raft_node_transfer(server->node, HAND_OVER_MS, on_handed_over, server);
    }
}

static void set_draining(struct server *server, bool on)
{
    server->draining = on && !server->stopping;
    if (server->draining) {
        uv_timer_start(&server->drain, on_drain, 0, HAND_OVER_MS);
    }
}

/* ---- what is asked, and what is in force ---- */

void node_control(struct server *server,
                  const struct wire_request *request,
                  const char *peer)
{
    if (request->node_control.has_draining) {
        log_audit(server->log, request->node_control.draining ? "drain" : "drain-undone",
                  "peer=%s", peer);
        set_draining(server, request->node_control.draining);
    }
    if (request->node_control.log_level != 0 && server->host.set_log_level != NULL) {
        enum log_level level = (enum log_level)(request->node_control.log_level - 1);
        log_audit(server->log, "log-level-asked", "peer=%s level=%s", peer,
                  log_level_name(level));
        server->host.set_log_level(server->host.arg, level);
    }
}

enum wire_log_level node_control_log_level(const struct server *server)
{
    return (enum wire_log_level)(server->log->level + 1);
}

void node_control_put(const struct server *server, struct wire_response *ret)
{
    ret->type = WIRE_RESP_NODE_CONTROL;
    ret->node_control.node_id = server->config->node_id;
    ret->node_control.draining = server->draining;
    ret->node_control.log_level = node_control_log_level(server);
}
