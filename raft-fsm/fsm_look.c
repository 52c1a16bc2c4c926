/* Looking at the locks of one replica in small steps, between its commands. */
#include <assert.h>

#include "claim.h"
#include "events.h"
#include "listing.h"
#include "lock.h"
#include "look.h"
#include "memory.h"

enum { WALKED_PER_STEP = 8192, TOLD_PER_STEP = 64 };

struct fsm_look {
    struct fsm_look *prev, *next; /* of the machine */
    const struct fsm *fsm;        /* NULL: it was freed */
    const struct lock *at;        /* the next one to offer; NULL: all were */
    bool sorted;
    uint32_t told;
    struct listing listing;
    char prefix[FSM_NAME_BYTES_MAX], after[FSM_NAME_BYTES_MAX];
};

static struct fsm_str keep(char *room, struct fsm_str str)
{
    assert(str.len <= FSM_NAME_BYTES_MAX);
    memcpy(room, str_data(str), str.len);
    return (struct fsm_str){room, str.len};
}

struct fsm_look *fsm_look_new(const struct fsm *fsm,
                              struct fsm_str prefix,
                              struct fsm_str after,
                              uint32_t max)
{
    struct fsm_look *look = memory_new(sizeof(*look));

    listing_init(&look->listing, keep(look->prefix, prefix), keep(look->after, after),
                 max);
    look->listing.copies = true;
    look->fsm = fsm;
    look->at = lock_first(fsm);
    DL_APPEND(fsm->looks->first, look);
    return look;
}

void fsm_look_free(struct fsm_look *look)
{
    if (look->fsm != NULL) {
        DL_DELETE(look->fsm->looks->first, look);
    }
    listing_release(&look->listing);
    free(look);
}

/* ---- the machine goes on meanwhile ---- */

void looks_pass(struct fsm *fsm, const struct lock *lock)
{
    struct fsm_look *look;

    DL_FOREACH(fsm->looks->first, look)
    {
        if (look->at == lock) {
            look->at = lock_next(lock);
        }
    }
}

void looks_end(struct fsm *fsm)
{
    struct fsm_look *look;
    struct fsm_look *next;

    DL_FOREACH_SAFE(fsm->looks->first, look, next)
    {
        DL_DELETE(fsm->looks->first, look);
        look->fsm = NULL;
    }
}

/* ---- steps ---- */

static void walk(struct fsm_look *look)
{
    for (int i = 0; i < WALKED_PER_STEP && look->at != NULL; i++) {
        listing_offer(&look->listing, lock_name(look->at), look->at);
        look->at = lock_next(look->at);
    }
}

static uint32_t show(const struct fsm *fsm,
                     const struct claim *first,
                     uint32_t max,
                     struct fsm_claim *shown)
{
    uint32_t count = 0;

    for (const struct claim *claim = first; claim != NULL && count < max;
         claim = claim->next) {
        claim_show(fsm, claim, &shown[count]);
        shown[count].position = claim->waiting ? count + 1 : 0;
        count++;
    }
    return count;
}

static bool
tell_lock(const struct fsm *fsm, const struct lock *lock, fsm_look_cb cb, void *arg)
{
    struct fsm_claim holders[FSM_LOOK_CLAIMS_MAX];
    struct fsm_claim waiters[FSM_LOOK_CLAIMS_MAX];
    struct fsm_lock_view view = {
        .name = lock_name(lock),
        .type = (enum fsm_type)lock->holds->type,
        .limit = lock->limit,
        .holders_count = lock->holds_count,
        .queue_length = lock->waits_count,
        .holders = holders,
        .waiters = waiters,
    };

    view.holders_shown = show(fsm, lock->holds, FSM_LOOK_CLAIMS_MAX, holders);
    view.waiters_shown = show(fsm, lock->waits, FSM_LOOK_CLAIMS_MAX, waiters);
    return cb(arg, &view);
}

/* Who was offered may have gone since. Returns whether there is more to tell. */
static bool tell(struct fsm_look *look, fsm_look_cb cb, void *arg)
{
    for (int i = 0; i < TOLD_PER_STEP && look->told < look->listing.count; i++) {
        const struct lock *lock =
            lock_find(look->fsm, look->listing.items[look->told].name);
        if (lock != NULL && !tell_lock(look->fsm, lock, cb, arg)) {
            look->listing.more = true;
            return false;
        }
        look->told++;
    }
    return look->told < look->listing.count;
}

bool fsm_look_step(struct fsm_look *look, fsm_look_cb cb, void *arg)
{
    if (look->fsm == NULL) {
        return false;
    }
    if (look->at != NULL) {
        walk(look);
        return true;
    }
    if (!look->sorted) {
        listing_sort(&look->listing);
        look->sorted = true;
    }
    return tell(look, cb, arg);
}

bool fsm_look_more(const struct fsm_look *look)
{
    return look->listing.more;
}

bool fsm_look_lost(const struct fsm_look *look)
{
    return look->fsm == NULL;
}

uint32_t
fsm_queue(const struct fsm *fsm, struct fsm_str name, uint32_t max, struct fsm_claim *ret)
{
    const struct lock *lock = lock_find(fsm, name);

    return lock == NULL ? 0 : show(fsm, lock->waits, max, ret);
}
