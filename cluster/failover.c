#include "failover.h"

#include <assert.h>

#include "transport.h"

enum {
    KNOWN_RELEASE = RAFT_VERSION_MAJOR == 0 && RAFT_VERSION_MINOR == 22,
    VOTERS_MAX = 32,
    SLOT_MS_MIN = 20,
    SLOT_MS_MAX = 200,
};

/* ---- what libraft knows --------------------------------------------------------------------- */

static uint64_t now_ms(const struct failover *failover)
{
    struct raft_io *io = failover->raft->io;

    return io->time(io);
}

static enum takeover_role role_of(const struct raft *raft)
{
    if (raft->state == RAFT_FOLLOWER) {
        return TAKEOVER_FOLLOWER;
    }
    return raft->state == RAFT_CANDIDATE && raft->candidate_state.in_pre_vote
               ? TAKEOVER_PRE_CANDIDATE
               : TAKEOVER_OTHER;
}

/* The states of libraft are a union: which one it is comes before every look. */
static struct takeover_view view_of(const struct failover *failover,
                                    uint64_t voters[static VOTERS_MAX])
{
    struct raft *raft = failover->raft;
    const struct raft_configuration *configuration = &raft->configuration;
    uint64_t now = now_ms(failover);
    struct takeover_view view = {
        .role = role_of(raft),
        .term = raft->current_term,
        .settled =
            raft->last_stored == raft_last_index(raft) && !raft->snapshot.installing,
        .voters = voters,
    };

    if (raft->state == RAFT_FOLLOWER) {
        view.leader = raft->follower_state.current_leader.id;
        view.silent_ms =
            now > raft->election_timer_start ? now - raft->election_timer_start : 0;
    }
    for (unsigned i = 0; i < configuration->n && view.voters_count < VOTERS_MAX; i++) {
        if (configuration->servers[i].role == RAFT_VOTER) {
            voters[view.voters_count++] = configuration->servers[i].id;
        }
    }
    return view;
}

/* ---- what is done to it --------------------------------------------------------------------- */

static void forget_leader(struct raft *raft)
{
    assert(raft->state == RAFT_FOLLOWER);
    raft->follower_state.current_leader.id = 0;
    raft_free(raft->follower_state.current_leader.address);
    raft->follower_state.current_leader.address = NULL;
}

/* Setting the timeout draws the timer anew. */
static void stand_for_election(struct failover *failover)
{
    struct raft *raft = failover->raft;

    raft_set_election_timeout(raft, 1);
    failover->guard->tick(raft->io);
    raft_set_election_timeout(raft, failover->election_ms);
}

static void on_due(uv_timer_t *timer);

static void step(struct failover *failover)
{
    uint64_t voters[VOTERS_MAX];
    struct takeover_view view = view_of(failover, voters);
    uint64_t now = now_ms(failover);
    uint64_t due_ms;

    enum takeover_action action =
        takeover_step(&failover->takeover, &view, now, &due_ms);
    uv_timer_start(&failover->due, on_due, due_ms > now ? due_ms - now : 0, 0);
    switch (action) {
    case TAKEOVER_NOTHING:
        break;
    case TAKEOVER_FORGET:
        forget_leader(failover->raft);
        failover->host.note(failover->host.arg, "looking for a successor of", view.leader);
        break;
    case TAKEOVER_STAND:
        stand_for_election(failover);
        break;
    }
}

static void on_due(uv_timer_t *timer)
{
    step(timer->data);
}

/* ---- what leads to it ----------------------------------------------------------------------- */

static void on_refused(void *arg)
{
    struct failover *failover = arg;
    uint64_t voters[VOTERS_MAX];
    struct takeover_view view = view_of(failover, voters);

    if (failover->running &&
        takeover_begin(&failover->takeover, &view, failover->suspect,
                       failover->suspect_term, now_ms(failover))) {
        failover->host.note(failover->host.arg, "the leader's process is gone:",
                            failover->suspect);
        step(failover);
    }
}

void failover_connection_lost(struct failover *failover, uint64_t node_id)
{
    uint64_t voters[VOTERS_MAX];
    struct sockaddr_storage address;

    if (!failover->running) {
        return;
    }
    peer_mesh_mend(&failover->mesh);
    struct takeover_view view = view_of(failover, voters);
    if (takeover_doubts(&failover->takeover, &view, node_id, now_ms(failover)) &&
        transport_reached_at(failover->transport, node_id, &address)) {
        failover->suspect = node_id;
        failover->suspect_term = view.term;
        peer_probe_start(&failover->probe, (const struct sockaddr *)&address);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

/* Two that stand at once split the votes, and wait for an election timeout: on a machine that is busy, a vote
 * takes some time to be written. */
static uint32_t slot_ms(const struct raft *raft)
{
    uint32_t ms = raft->heartbeat_timeout;

    if (ms < SLOT_MS_MIN) {
        return SLOT_MS_MIN;
    }
    return ms < SLOT_MS_MAX ? ms : SLOT_MS_MAX;
}

void failover_init(struct failover *failover,
                   uv_loop_t *loop,
                   struct raft_guard *guard,
                   const struct raft_uv_transport *transport,
                   const struct failover_host *host)
{
    *failover = (struct failover){
        .guard = guard, .raft = guard->raft, .transport = transport, .host = *host};
    peer_probe_init(&failover->probe, loop, on_refused, failover);
    peer_mesh_init(&failover->mesh, loop, guard->raft, transport);
    int error = uv_timer_init(loop, &failover->due);
    assert(error == 0);
    (void)error;
    failover->due.data = failover;
}

void failover_start(struct failover *failover)
{
    struct raft *raft = failover->raft;

    if (!KNOWN_RELEASE) {
        return;
    }
    failover->running = true;
    failover->election_ms = raft->election_timeout;
    takeover_init(&failover->takeover, raft->id, raft->election_timeout, slot_ms(raft));
    peer_mesh_start(&failover->mesh);
    step(failover);
}

void failover_stop(struct failover *failover)
{
    failover->running = false;
    peer_probe_stop(&failover->probe);
    peer_mesh_stop(&failover->mesh);
    uv_timer_stop(&failover->due);
}

static void closed_one(struct failover *failover)
{
    if (--failover->open == 0) {
        failover->on_closed(failover->on_closed_arg);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    closed_one(handle->data);
}

static void on_probe_closed(void *arg)
{
    closed_one(arg);
}

void failover_close(struct failover *failover, void (*on_closed)(void *arg), void *arg)
{
    failover->on_closed = on_closed;
    failover->on_closed_arg = arg;
    failover->open = 3;
    peer_probe_close(&failover->probe, on_probe_closed);
    failover->mesh.timer.data = failover;
    uv_close((uv_handle_t *)&failover->mesh.timer, on_handle_closed);
    uv_close((uv_handle_t *)&failover->due, on_handle_closed);
}
