/* Looking at the locks of one replica, without a command. */
#include "claim.h"
#include "events.h"
#include "listing.h"

static uint32_t show(const struct fsm *fsm,
                     const struct claim *first,
                     struct fsm_claim *shown,
                     uint32_t max)
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
tell(const struct fsm *fsm, const struct lock *lock, fsm_look_cb cb, void *arg)
{
    struct fsm_claim holders[FSM_LOOK_CLAIMS_MAX], waiters[FSM_LOOK_CLAIMS_MAX];
    struct fsm_lock_view view = {
        .name = lock_name(lock),
        .type = (enum fsm_type)lock->holds->type,
        .limit = lock->limit,
        .holders_count = lock->holds_count,
        .queue_length = lock->waits_count,
        .holders = holders,
        .waiters = waiters,
    };

    view.holders_shown = show(fsm, lock->holds, holders, FSM_LOOK_CLAIMS_MAX);
    view.waiters_shown = show(fsm, lock->waits, waiters, FSM_LOOK_CLAIMS_MAX);
    return cb(arg, &view);
}

bool fsm_look(const struct fsm *fsm,
              struct fsm_str prefix,
              struct fsm_str after,
              uint32_t max,
              fsm_look_cb cb,
              void *arg)
{
    struct listing listing;
    uint32_t told = 0;

    listing_init(&listing, prefix, after, max);
    for (const struct lock *lock = fsm->locks; lock != NULL; lock = lock->hh.next) {
        listing_offer(&listing, lock_name(lock), lock);
    }
    listing_sort(&listing);
    while (told < listing.count && tell(fsm, listing.items[told].record, cb, arg)) {
        told++;
    }
    bool more = listing.more || told < listing.count;
    listing_release(&listing);
    return more;
}
