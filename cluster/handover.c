#include "handover.h"

#include <assert.h>

#include "transport.h"

static bool is_other_voter(const struct handover *handover,
                           const struct raft_server *server)
{
    return server->id != handover->raft->id && server->id != handover->avoid &&
           server->role == RAFT_VOTER;
}

static bool has_other_voter(const struct handover *handover)
{
    const struct raft_configuration *configuration = &handover->raft->configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (is_other_voter(handover, &configuration->servers[i])) {
            return true;
        }
    }
    return false;
}

/* Where in the list of members the search begins: behind the one that was asked last. */
static unsigned first_to_try(const struct handover *handover)
{
    const struct raft_configuration *configuration = &handover->raft->configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == handover->target) {
            return i + 1;
        }
    }
    return 0;
}

static uint64_t choose_target(const struct handover *handover)
{
    const struct raft_configuration *configuration = &handover->raft->configuration;
    raft_index last = raft_last_index(handover->raft);
    unsigned first = first_to_try(handover);

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server =
            &configuration->servers[(first + i) % configuration->n];
        raft_index match = 0;
        if (is_other_voter(handover, server) &&
            (handover->only == 0 || handover->only == server->id) &&
            raft_match_index(handover->raft, server->id, &match) == 0 && match == last &&
            transport_connected(handover->transport, server->id)) {
            return server->id;
        }
    }
    return 0;
}

static void on_deadline(uv_timer_t *timer)
{
    handover_end(timer->data);
}

/* libraft says that it is over, not how it ended: the next step looks. */
static void on_transferred(struct raft_transfer *request)
{
    struct handover *handover = request->data;

    handover->running = false;
}

void handover_init(struct handover *handover,
                   uv_loop_t *loop,
                   struct raft *raft,
                   const struct raft_uv_transport *transport)
{
    *handover = (struct handover){.raft = raft, .transport = transport};
    int error = uv_timer_init(loop, &handover->deadline);
    assert(error == 0);
    (void)error;
    handover->deadline.data = handover;
    handover->request.data = handover;
}

void handover_start(struct handover *handover,
                    uint64_t only,
                    uint32_t timeout_ms,
                    void (*on_done)(void *arg),
                    void *arg)
{
    handover_end(handover);
    if (raft_state(handover->raft) != RAFT_LEADER || !has_other_voter(handover)) {
        on_done(arg);
        return;
    }
    handover->wanted = true;
    handover->only = only;
    handover->on_done = on_done;
    handover->arg = arg;
    uv_timer_start(&handover->deadline, on_deadline, timeout_ms, 0);
}

uint64_t handover_step(struct handover *handover)
{
    if (!handover->wanted || handover->running) {
        return 0;
    }
    if (raft_state(handover->raft) != RAFT_LEADER) {
        handover_end(handover);
        return 0;
    }
    uint64_t target = choose_target(handover);
    if (target == 0) {
        return 0;
    }
    handover->running =
        raft_transfer(handover->raft, &handover->request, target, on_transferred) == 0;
    if (!handover->running) {
        return 0;
    }
    handover->target = target;
    return target;
}

void handover_end(struct handover *handover)
{
    if (handover->wanted) {
        handover->wanted = false;
        uv_timer_stop(&handover->deadline);
        handover->on_done(handover->arg);
    }
}
