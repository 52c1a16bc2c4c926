/* Clients whose last connection has ended, and their grace with it: they leave the table. What goes with
 * them is freed in the one turn that applies the entry, while everybody else waits, so there is a bound on
 * what is under way at once, and the others follow when that is done. */
#include <assert.h>

#include "server_internal.h"

enum { CLIENT_CLAIMS = 4 }; /* what a client costs without any, in claims */

/* False: nothing is due, or there is no room. */
static bool propose_one(struct server *server, uint64_t now_ms)
{
    struct replica *replica = server_replica(server);
    struct liveness_due due;

    if (!liveness_due(server->liveness, now_ms, &due)) {
        return false;
    }
    struct fsm_command command = {
        .type = FSM_CMD_DETACH,
        .client = due.client,
        .detach = {.attach_seq = due.attach_seq, .last = true},
    };
    if (server->gone.claims >= GONE_CLAIMS_MAX ||
        replica_propose(replica, &command) != 0) {
        server->gone.blocked = true;
        return false;
    }
    server->gone.under_way++;
    server->gone.claims +=
        CLIENT_CLAIMS + fsm_client_claims(replica_table(replica), due.client);
    char id[LOG_CLIENT_ID_BYTES];
    log_event(server->log, LOG_LEVEL_DEBUG, "server", "client-gone", "client=%s",
              log_client_id(id, due.client.data, due.client.len));
    liveness_gone(server->liveness, due.client);
    return true;
}

void gone_propose(struct server *server)
{
    uint64_t now_ms = uv_now(server->loop);

    server->gone.blocked = false;
    while (server->serving && propose_one(server, now_ms)) {
    }
}

void gone_on_detached(struct server *server)
{
    assert(server->gone.under_way > 0);
    if (--server->gone.under_way == 0) {
        server->gone.claims = 0;
    }
}

void gone_clear(struct server *server)
{
    server->gone = (struct gone){0};
}

static void on_due(uv_timer_t *timer)
{
    gone_propose(timer->data);
}

/* What has no room waits until the replica has committed something, which is a turn too. */
void gone_arm(struct server *server)
{
    uint64_t now_ms = uv_now(server->loop);
    uint64_t next_ms = server->serving ? liveness_next_ms(server->liveness) : UINT64_MAX;

    if (next_ms == UINT64_MAX || (next_ms <= now_ms && server->gone.blocked)) {
        uv_timer_stop(&server->due);
        return;
    }
    uv_timer_start(&server->due, on_due, next_ms > now_ms ? next_ms - now_ms : 0, 0);
}
