/* Every invariant of the state. Walks everything, for tests and the simulator only. */
#include <stdio.h>

#include "claim.h"
#include "distinct.h"
#include "lock.h"

/* A macro, because the text of the condition and its line are the whole message. */
#define REQUIRE(condition) require((condition), #condition, __FILE__, __LINE__)

static void require(bool condition, const char *text, const char *file, int line)
{
    if (!condition) {
        fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, text);
        abort();
    }
}

struct totals {
    uint64_t holds, waits;
    uint32_t deadlines;
};

static void check_deadline(const struct fsm *fsm,
                           const struct deadline *deadline,
                           enum deadline_kind kind,
                           struct totals *totals)
{
    REQUIRE(deadline->kind == kind);
    REQUIRE(deadline->at_ms > fsm->now_ms);
    if (deadline->at_ms == FSM_UNLIMITED) {
        REQUIRE(deadline->place == 0);
        return;
    }
    REQUIRE(deadline->place >= 1);
    REQUIRE(deadline->place <= fsm->deadlines.count);
    REQUIRE(fsm->deadlines.items[deadline->place] == deadline);
    totals->deadlines++;
}

static void check_claim(const struct fsm *fsm,
                        const struct claim *claim,
                        const struct lock *lock,
                        struct totals *totals)
{
    REQUIRE(claim->lock == lock);
    REQUIRE(claim->hold_ms >= 1);
    REQUIRE(claim->since_ms <= fsm->now_ms);
    REQUIRE(claim->type == FSM_WRITE || lock->limit == 1);
    REQUIRE(claim->owner_info == NULL || claim->owner_info->len > 0);
    REQUIRE(claim->due.order >= 1);
    REQUIRE(claim->due.order <= fsm->order);
    check_deadline(fsm, &claim->due, DEADLINE_OF_CLAIM, totals);
}

static void
check_holds(const struct fsm *fsm, const struct lock *lock, struct totals *totals)
{
    const struct claim *hold;
    uint32_t count = 0;

    DL_FOREACH(lock->holds, hold)
    {
        check_claim(fsm, hold, lock, totals);
        REQUIRE(!hold->waiting);
        REQUIRE(!hold->upgrade);
        REQUIRE(hold->type == lock->holds->type);
        REQUIRE(hold->slot < lock->limit);
        REQUIRE(hold->extended_ms == 0 || hold->due.at_ms != FSM_UNLIMITED);
        REQUIRE(hold == lock->holds || hold->prev->token < hold->token);
        REQUIRE(hold == lock->holds || hold->prev->due.order < hold->due.order);
        REQUIRE(claim_find_hold(lock, hold->client) == hold);
        REQUIRE(hold->token >= 1);
        REQUIRE(hold->token <= fsm->token);
        count++;
    }
    REQUIRE(count == lock->holds_count);
    REQUIRE(count >= 1);
    REQUIRE(lock->holds->type == FSM_READ || count <= lock->limit);
    totals->holds += count;
}

static void
check_waits(const struct fsm *fsm, const struct lock *lock, struct totals *totals)
{
    const struct claim *wait;
    uint32_t count = 0;

    DL_FOREACH(lock->waits, wait)
    {
        const struct claim *hold = claim_find_hold(lock, wait->client);
        check_claim(fsm, wait, lock, totals);
        REQUIRE(wait->waiting);
        REQUIRE(wait->wait_ms >= 1);
        REQUIRE(wait->upgrade == (hold != NULL));
        REQUIRE(!wait->upgrade || wait == lock->waits);
        REQUIRE(!wait->upgrade || wait->type == FSM_WRITE);
        REQUIRE(!wait->upgrade || hold->type == FSM_READ);
        REQUIRE(claim_find_wait(lock, wait->client) == wait);
        count++;
    }
    REQUIRE(count == lock->waits_count);
    REQUIRE(count == 0 || !lock_admits_head(lock));
    totals->waits += count;
}

static void check_client_claims(const struct client *client)
{
    const struct claim *claim;
    uint32_t holds = 0;
    uint32_t waits = 0;

    DL_FOREACH2(client->holds, claim, client_next)
    {
        REQUIRE(claim->client == client);
        REQUIRE(!claim->waiting);
        REQUIRE(client->presence != FSM_GONE || claim->drop == FSM_DROP_IGNORE);
        REQUIRE(client->unsorted || claim == client->holds ||
                claim->client_prev->due.order < claim->due.order);
        holds++;
    }
    DL_FOREACH2(client->waits, claim, client_next)
    {
        REQUIRE(claim->client == client);
        REQUIRE(claim->waiting);
        REQUIRE(client->unsorted || claim == client->waits ||
                claim->client_prev->due.order < claim->due.order);
        waits++;
    }
    REQUIRE(holds == client->holds_count);
    REQUIRE(waits == client->waits_count);
    REQUIRE(client->presence != FSM_GONE || waits == 0);
    REQUIRE(client->presence != FSM_GONE || holds > 0);
}

static void check_memory(const struct fsm *fsm, const struct client *client)
{
    const struct expired *expired;
    const struct expired *other;
    uint32_t count = 0;

    DL_FOREACH(client->expired, expired)
    {
        struct fsm_str name = {expired->name, expired->name_len};
        const struct lock *lock = lock_find(fsm, name);
        REQUIRE(expired->token >= 1);
        REQUIRE(expired->token <= fsm->token);
        REQUIRE(lock == NULL || claim_find_hold(lock, client) == NULL);
        for (other = client->expired; other != expired; other = other->next) {
            REQUIRE(!str_equal((struct fsm_str){other->name, other->name_len}, name));
        }
        count++;
    }
    REQUIRE(count == client->expired_count);
    REQUIRE(count <= FSM_EXPIRED_MEMORY_MAX);
}

static void
check_client(const struct fsm *fsm, const struct client *client, struct totals *totals)
{
    REQUIRE(client->presence >= FSM_ATTACHED);
    REQUIRE(client->presence <= FSM_GONE);
    REQUIRE(client->presence == FSM_MISSING || client->grace.at_ms == FSM_UNLIMITED);
    check_deadline(fsm, &client->grace, DEADLINE_OF_CLIENT, totals);
    REQUIRE(client->grace.order >= 1);
    REQUIRE(client->grace.order <= fsm->order);
    check_client_claims(client);
    check_memory(fsm, client);
}

static void check_heap(const struct fsm *fsm)
{
    struct deadline **items = fsm->deadlines.items;

    for (uint32_t place = 2; place <= fsm->deadlines.count; place++) {
        const struct deadline *above = items[place / 2];
        REQUIRE(
            above->at_ms < items[place]->at_ms ||
            (above->at_ms == items[place]->at_ms && above->order < items[place]->order));
    }
}

void fsm_check(const struct fsm *fsm)
{
    struct totals totals = {0};
    const struct client *client;
    const struct lock *lock;

    for (lock = lock_first(fsm); lock != NULL; lock = lock_next(lock)) {
        REQUIRE(lock_find(fsm, lock_name(lock)) == lock);
        REQUIRE(!lock->unsettled);
        REQUIRE(lock->entry.election <= fsm->elections.last);
        REQUIRE(totals.holds + lock->holds_count <= fsm->holds_count);
        REQUIRE(totals.waits + lock->waits_count <= fsm->waits_count);
        check_holds(fsm, lock, &totals);
        check_waits(fsm, lock, &totals);
        REQUIRE(crowd_is_consistent(lock));
        REQUIRE(slots_are_consistent(lock));
    }
    REQUIRE(totals.holds == fsm->holds_count);
    REQUIRE(totals.waits == fsm->waits_count);
    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        check_client(fsm, client, &totals);
    }
    REQUIRE(totals.deadlines == fsm->deadlines.count);
    check_heap(fsm);
    REQUIRE(ages_and_tokens_differ(fsm));
}
