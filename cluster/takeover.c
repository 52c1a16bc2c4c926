#include "takeover.h"

void takeover_init(struct takeover *takeover,
                   uint64_t self,
                   uint32_t election_ms,
                   uint32_t slot_ms)
{
    *takeover = (struct takeover){
        .self = self, .election_ms = election_ms, .slot_ms = slot_ms};
}

/* ---- the survivors -------------------------------------------------------------------------- */

struct survivors {
    unsigned count;
    unsigned rank; /* of this member among them */
    bool with_us;
    bool enough; /* to elect somebody */
};

static struct survivors survivors_of(const struct takeover *takeover,
                                     const struct takeover_view *view,
                                     uint64_t dead)
{
    struct survivors survivors = {0};

    for (size_t i = 0; i < view->voters_count; i++) {
        if (view->voters[i] == takeover->self) {
            survivors.with_us = true;
            survivors.rank = survivors.count;
        }
        survivors.count += view->voters[i] != dead;
    }
    survivors.enough = survivors.count > view->voters_count / 2;
    return survivors;
}

/* ---- whether to ----------------------------------------------------------------------------- */

static bool follows(const struct takeover_view *view, uint64_t leader)
{
    return view->role == TAKEOVER_FOLLOWER && leader != 0 && view->leader == leader;
}

static bool could_win(const struct takeover *takeover,
                      const struct takeover_view *view,
                      uint64_t leader)
{
    struct survivors survivors = survivors_of(takeover, view, leader);

    return leader != takeover->self && survivors.with_us && survivors.enough;
}

static uint64_t last_acted_ms(const struct takeover *takeover)
{
    return takeover->acted_ms[(takeover->acted_count - 1) % TAKEOVER_PER_WINDOW_MAX];
}

/* Reports can be wrong: somebody may break connections, and refuse new ones. */
static bool within_limits(const struct takeover *takeover,
                          const struct takeover_view *view,
                          uint64_t now_ms)
{
    unsigned count = takeover->acted_count;

    if (count > 0 && takeover->acted_leader == view->leader &&
        takeover->acted_term == view->term &&
        now_ms - last_acted_ms(takeover) < TAKEOVER_AGAIN_MS) {
        return false;
    }
    return count < TAKEOVER_PER_WINDOW_MAX ||
           now_ms - takeover->acted_ms[count % TAKEOVER_PER_WINDOW_MAX] >=
               TAKEOVER_WINDOW_MS;
}

bool takeover_doubts(const struct takeover *takeover,
                     const struct takeover_view *view,
                     uint64_t node,
                     uint64_t now_ms)
{
    return takeover->stage == TAKEOVER_IDLE && follows(view, node) &&
           could_win(takeover, view, node) && within_limits(takeover, view, now_ms);
}

/* ---- the way there -------------------------------------------------------------------------- */

static void
campaign(struct takeover *takeover, const struct takeover_view *view, uint64_t now_ms)
{
    takeover->stage = TAKEOVER_FORGETTING;
    takeover->leader = view->leader;
    takeover->term = view->term;
    takeover->tries = 0;
    takeover->due_ms = now_ms;
    takeover->give_up_ms = now_ms + takeover->election_ms;
}

bool takeover_begin(struct takeover *takeover,
                    const struct takeover_view *view,
                    uint64_t node,
                    uint64_t term,
                    uint64_t now_ms)
{
    if (view->term != term || !takeover_doubts(takeover, view, node, now_ms)) {
        return false;
    }
    takeover->acted_leader = node;
    takeover->acted_term = term;
    takeover->acted_ms[takeover->acted_count++ % TAKEOVER_PER_WINDOW_MAX] = now_ms;
    campaign(takeover, view, now_ms);
    return true;
}

/* Not while something is being stored: what stands for election must not be in memory only, and
 * what a snapshot replaces must not vote. */
static enum takeover_action
forget(struct takeover *takeover, const struct takeover_view *view, uint64_t now_ms)
{
    if (!follows(view, takeover->leader) || view->term != takeover->term ||
        now_ms >= takeover->give_up_ms) {
        takeover->stage = TAKEOVER_IDLE;
        return TAKEOVER_NOTHING;
    }
    if (!view->settled) {
        takeover->due_ms = now_ms + 1;
        return TAKEOVER_NOTHING;
    }
    struct survivors survivors = survivors_of(takeover, view, takeover->leader);
    takeover->stage = TAKEOVER_STANDING;
    takeover->due_ms =
        now_ms + TAKEOVER_FIRST_MS + (uint64_t)survivors.rank * takeover->slot_ms;
    return TAKEOVER_FORGET;
}

/* Until somebody leads, asks for votes in earnest (a higher term), or it has been tried often enough: then
 * libraft's own timers go on. */
static enum takeover_action
stand(struct takeover *takeover, const struct takeover_view *view, uint64_t now_ms)
{
    if (view->term != takeover->term || view->leader != 0 ||
        view->role == TAKEOVER_OTHER || takeover->tries >= TAKEOVER_TRIES_MAX) {
        takeover->stage = TAKEOVER_IDLE;
        return TAKEOVER_NOTHING;
    }
    if (now_ms < takeover->due_ms) {
        return TAKEOVER_NOTHING;
    }
    struct survivors survivors = survivors_of(takeover, view, takeover->leader);
    takeover->due_ms = now_ms + (uint64_t)survivors.count * takeover->slot_ms;
    takeover->tries++;
    return view->settled ? TAKEOVER_STAND : TAKEOVER_NOTHING;
}

/* So long that a leader that hears nobody either has stepped down before. */
static uint64_t patience_ms(const struct takeover *takeover)
{
    return takeover->election_ms + takeover->election_ms / 2;
}

/* When to look for silence: nobody can have been silent for long before. */
static uint64_t look_again_ms(const struct takeover *takeover,
                              const struct takeover_view *view,
                              uint64_t now_ms)
{
    if (view->role == TAKEOVER_FOLLOWER && view->leader != 0 &&
        view->silent_ms < patience_ms(takeover)) {
        return now_ms + patience_ms(takeover) - view->silent_ms;
    }
    return now_ms + takeover->election_ms / 2 + 1;
}

enum takeover_action takeover_step(struct takeover *takeover,
                                   const struct takeover_view *view,
                                   uint64_t now_ms,
                                   uint64_t *ret_due_ms)
{
    enum takeover_action action = TAKEOVER_NOTHING;

    if (takeover->stage == TAKEOVER_IDLE && follows(view, view->leader) &&
        view->silent_ms >= patience_ms(takeover) &&
        could_win(takeover, view, view->leader)) {
        campaign(takeover, view, now_ms);
    }
    if (takeover->stage == TAKEOVER_FORGETTING) {
        action = forget(takeover, view, now_ms);
    } else if (takeover->stage == TAKEOVER_STANDING) {
        action = stand(takeover, view, now_ms);
    }
    *ret_due_ms = takeover->stage == TAKEOVER_IDLE ? look_again_ms(takeover, view, now_ms)
                                                   : takeover->due_ms;
    return action;
}
