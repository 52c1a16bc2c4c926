#include "election.h"

#include "dump.h"

/* Time for a client that could not refresh while there was no leader. Counted from the
 * deadline that was asked for, so that one election after the other does not keep a dead
 * client's hold. */
static uint64_t extended_end_ms(const struct election *election, uint64_t asked_ms)
{
    uint64_t bound_ms = deadline_after(asked_ms, election->extension_max_ms);

    return election->grace_end_ms < bound_ms ? election->grace_end_ms : bound_ms;
}

uint64_t claim_deadline_ms(const struct elections *elections, const struct claim *claim)
{
    uint64_t asked_ms = claim->due.at_ms - claim->extended_ms;
    uint64_t at_ms = claim->due.at_ms;

    if (claim->waiting || claim->drop != FSM_DROP_RELEASE) {
        return at_ms;
    }
    for (unsigned i = 0; i < elections->count; i++) {
        const struct election *election = &elections->items[i];
        uint64_t end_ms = extended_end_ms(election, asked_ms);
        if (election->number > claim->lock->entry.election && at_ms < end_ms) {
            at_ms = end_ms;
        }
    }
    return at_ms;
}

void election_reach_lock(struct fsm *fsm, struct lock *lock)
{
    struct claim *hold;

    DL_FOREACH(lock->holds, hold)
    {
        uint64_t asked_ms = hold->due.at_ms - hold->extended_ms;
        uint64_t at_ms = claim_deadline_ms(&fsm->elections, hold);
        if (at_ms != hold->due.at_ms) {
            deadline_set(&fsm->deadlines, &hold->due, at_ms);
            hold->extended_ms = (uint32_t)(at_ms - asked_ms) & CLAIM_EXTENDED_MAX;
        }
    }
    lock->entry.election = fsm->elections.last;
}

/* Begin to count anew. */
static void reach_all(struct fsm *fsm)
{
    struct lock *lock;
    struct client *client;

    for (lock = lock_first(fsm); lock != NULL; lock = lock_next(lock)) {
        lock_touch(fsm, lock);
        lock->entry.election = 0;
    }
    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        client_touch(fsm, client);
        client->entry.election = 0;
    }
    fsm->elections = (struct elections){0};
}

/* Those that still give a hold what @next does not: as long as the grace stays the same, none. */
static void forget_surpassed(struct elections *elections,
                             const struct election *next,
                             uint64_t now_ms)
{
    uint8_t kept = 0;

    for (unsigned i = 0; i < elections->count; i++) {
        const struct election *election = &elections->items[i];
        if (election->grace_end_ms > now_ms &&
            (election->grace_end_ms > next->grace_end_ms ||
             election->extension_max_ms > next->extension_max_ms)) {
            elections->items[kept++] = *election;
        }
    }
    elections->count = kept;
}

void election_note(struct fsm *fsm)
{
    struct elections *elections = &fsm->elections;
    uint64_t grace_ms = fsm->settings.reattach_grace_ms;
    struct election next = {
        .grace_end_ms = deadline_after(fsm->now_ms, grace_ms),
        .extension_max_ms =
            (uint32_t)(grace_ms < CLAIM_EXTENDED_MAX ? grace_ms : CLAIM_EXTENDED_MAX),
    };

    forget_surpassed(elections, &next, fsm->now_ms);
    if (elections->count == ELECTIONS_MAX || elections->last == UINT16_MAX) {
        reach_all(fsm);
    }
    next.number = ++elections->last;
    elections->items[elections->count++] = next;
}
