/* check_beliefs.c - who thinks that he may act, per lock.
 *
 * Beliefs are compared when one begins. If they cannot all be right the lock is suspect, until they
 * can be or the violation is certain: two users who can act at this moment, in a later instant than
 * the one in which the last belief began. A user can act unless it is paused, is just having a turn,
 * or is to have one in this very instant: its library then says first what is over. */
#include "check_internal.h"

#include <utlist.h>

enum {
    LOOK_AGAIN_US = 1000, /* while somebody is paused */
};

struct belief {
    struct belief *prev, *next;
    struct check_user *user;
    uint32_t client;
    uint64_t token;
    enum netlock_type type;
    uint32_t limit;
    bool lowered; /* WRITE, and asked for READ: whatever the answer will be */
};

struct turf { /* of one lock */
    struct belief *beliefs;
    bool suspect;
    uint64_t since_us;
};

static struct {
    struct check_array turfs; /* struct turf, by the name of the lock */
    struct belief *spare;
    uint32_t *suspects; /* locks */
    unsigned suspects_capacity;
    struct sim_event look_again;
} believed = {.turfs = {.size = sizeof(struct turf)}};

unsigned check_suspects_count;

static void on_look_again(struct sim_event *event)
{
    (void)event;
    if (check_run.running) {
        check_suspects();
    }
}

void check_beliefs_begin(void)
{
    check_beliefs_free();
    believed.look_again = (struct sim_event){.fire = on_look_again};
}

static void free_beliefs(struct belief *beliefs)
{
    while (beliefs != NULL) {
        struct belief *next = beliefs->next;
        sim_free(beliefs);
        beliefs = next;
    }
}

void check_beliefs_free(void)
{
    for (size_t i = 0; i < believed.turfs.count; i++) {
        free_beliefs(((struct turf *)check_array_at(&believed.turfs, i))->beliefs);
    }
    check_array_free(&believed.turfs);
    free_beliefs(believed.spare);
    believed.spare = NULL;
    sim_free(believed.suspects);
    believed.suspects = NULL;
    believed.suspects_capacity = 0;
    check_suspects_count = 0;
    if (believed.look_again.fire != NULL) {
        sim_event_cancel(&believed.look_again);
        believed.look_again.fire = NULL;
    }
}

static struct turf *turf_of(uint32_t lock)
{
    if (lock >= believed.turfs.count) {
        check_array_grow(&believed.turfs, (size_t)lock + 1);
    }
    return check_array_at(&believed.turfs, lock);
}

static struct belief *find(const struct turf *turf, const struct check_user *user)
{
    struct belief *belief;

    DL_FOREACH(turf->beliefs, belief)
    {
        if (belief->user == user) {
            return belief;
        }
    }
    return NULL;
}

bool check_believes(const struct check_user *user, uint32_t lock)
{
    return find(turf_of(lock), user) != NULL;
}

/* ---- can they all be right? -------------------------------------------------------------------- */

/* Broken by an operator: it is told, and this is nobody's fault. */
static bool counts(const struct belief *belief)
{
    const struct check_token *token = check_token_find(belief->token);

    return belief->user->counts && !belief->user->shared &&
           (token == NULL || !token->broken);
}

static bool can_act(const struct check_user *user)
{
    const struct sim_process *process = user->process;
    bool has_turn =
        sim_event_scheduled(&process->wake) && process->wake.at_us <= sim_now_us();

    return process->alive && !process->paused && !process->turning && !has_turn;
}

/* Two that exclude each other, or none. */
struct conflict {
    const struct belief *one, *other;
};

static struct conflict find_conflict(const struct turf *turf, bool acting)
{
    const struct belief *writer = NULL;
    const struct belief *reader = NULL;
    const struct belief *belief;
    unsigned writers = 0;
    unsigned limit = UINT32_MAX;

    DL_FOREACH(turf->beliefs, belief)
    {
        const struct belief *before = writer != NULL ? writer : reader;
        if (!counts(belief) || (acting && !can_act(belief->user))) {
            continue;
        }
        if (belief->type == NETLOCK_READ || belief->lowered) {
            reader = belief;
        } else {
            unsigned own_limit = belief->limit > 1 ? belief->limit : 1;
            writer = belief;
            writers++;
            limit = own_limit < limit ? own_limit : limit;
        }
        if (writers > limit || (writer != NULL && reader != NULL)) {
            return (struct conflict){before, belief};
        }
    }
    return (struct conflict){NULL, NULL};
}

static void tell(uint32_t lock, const struct conflict *conflict)
{
    sim_violation(
        "P1",
        "mutual exclusion: %s (token %llu, %s) and %s (token %llu, %s) both may act on "
        "%s",
        check_user_name(conflict->one->user), (unsigned long long)conflict->one->token,
        conflict->one->type == NETLOCK_READ ? "READ" : "WRITE",
        check_user_name(conflict->other->user),
        (unsigned long long)conflict->other->token,
        conflict->other->type == NETLOCK_READ ? "READ" : "WRITE", check_name_text(lock));
}

/* Whether the lock is still suspect. */
static bool look_at(uint32_t lock)
{
    struct turf *turf = turf_of(lock);
    struct conflict conflict;

    if (find_conflict(turf, false).one == NULL) {
        turf->suspect = false;
        return false;
    }
    if (sim_now_us() > turf->since_us) {
        conflict = find_conflict(turf, true);
        if (conflict.one != NULL) {
            tell(lock, &conflict);
        }
    }
    return true;
}

static bool somebody_is_paused(const struct turf *turf)
{
    const struct belief *belief;

    DL_FOREACH(turf->beliefs, belief)
    {
        if (belief->user->process->paused) {
            return true;
        }
    }
    return false;
}

void check_suspects(void)
{
    uint64_t next_us = SIM_NEVER;
    unsigned kept = 0;

    for (unsigned i = 0; i < check_suspects_count && check_run.running; i++) {
        uint32_t lock = believed.suspects[i];
        if (look_at(lock)) {
            uint64_t in_us = somebody_is_paused(turf_of(lock)) ? LOOK_AGAIN_US : 1;
            next_us = sim_now_us() + in_us < next_us ? sim_now_us() + in_us : next_us;
            believed.suspects[kept++] = lock;
        }
    }
    check_suspects_count = kept;
    if (check_run.running && next_us != SIM_NEVER) {
        sim_event_at(&believed.look_again, next_us);
    }
}

static void suspect(uint32_t lock, struct turf *turf)
{
    turf->since_us = sim_now_us();
    if (!turf->suspect) {
        turf->suspect = true;
        if (check_suspects_count == believed.suspects_capacity) {
            believed.suspects_capacity = 2 * believed.suspects_capacity + 16;
            believed.suspects =
                sim_realloc(believed.suspects,
                            believed.suspects_capacity * sizeof(believed.suspects[0]));
        }
        believed.suspects[check_suspects_count++] = lock;
    }
    sim_event_at(&believed.look_again, sim_now_us() + 1);
}

/* ---- beliefs ------------------------------------------------------------------------------------ */

static struct belief *belief_new(void)
{
    struct belief *belief = believed.spare;

    if (belief == NULL) {
        return sim_alloc(sizeof(*belief));
    }
    believed.spare = belief->next;
    return belief;
}

void check_belief_begins(struct check_user *user,
                         uint32_t client,
                         uint32_t lock,
                         uint64_t token,
                         enum netlock_type type,
                         uint32_t limit)
{
    struct turf *turf = turf_of(lock);
    struct belief *belief = find(turf, user);

    if (belief == NULL) {
        belief = belief_new();
        DL_APPEND(turf->beliefs, belief);
    }
    belief->user = user;
    belief->client = client;
    belief->token = token;
    belief->type = type;
    belief->limit = limit;
    belief->lowered = false;
    if (turf->beliefs->next != NULL && find_conflict(turf, false).one != NULL) {
        suspect(lock, turf);
    }
}

static void end(struct turf *turf, struct belief *belief)
{
    DL_DELETE(turf->beliefs, belief);
    belief->next = believed.spare;
    believed.spare = belief;
}

void check_belief_ends(const struct check_user *user, uint32_t lock, uint64_t token)
{
    struct turf *turf = turf_of(lock);
    struct belief *belief = find(turf, user);

    if (belief != NULL && (token == 0 || token == belief->token)) {
        end(turf, belief);
    }
}

void check_belief_lowers(const struct check_user *user, uint32_t lock, bool lowers)
{
    struct belief *belief = find(turf_of(lock), user);

    if (belief != NULL) {
        belief->lowered = lowers;
    }
}

void check_beliefs_forget(const struct check_user *user)
{
    for (size_t i = 0; i < believed.turfs.count; i++) {
        struct turf *turf = check_array_at(&believed.turfs, i);
        struct belief *belief = find(turf, user);
        if (belief != NULL) {
            end(turf, belief);
        }
    }
}

/* ---- and the cluster ------------------------------------------------------------------------------ */

void check_belief_lost(uint32_t client,
                       uint32_t lock,
                       uint64_t token,
                       enum check_loss loss)
{
    const struct turf *turf = turf_of(lock);
    const struct belief *belief;

    if (loss == CHECK_BROKEN) {
        return;
    }
    DL_FOREACH(turf->beliefs, belief)
    {
        if (belief->client != client || belief->token != token || !counts(belief) ||
            !can_act(belief->user)) {
            continue;
        }
        if (loss == CHECK_EXPIRED) {
            sim_violation("P8",
                          "hold timeout, counted on: token %llu of %s timed out, and %s "
                          "still counts on it",
                          (unsigned long long)token, check_name_text(lock),
                          check_user_name(belief->user));
        } else {
            sim_violation("P11",
                          "re-attach, dropped: token %llu of %s is dropped as if %s were "
                          "gone, which "
                          "still counts on it",
                          (unsigned long long)token, check_name_text(lock),
                          check_user_name(belief->user));
        }
    }
}
