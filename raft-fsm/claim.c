#include "claim.h"

#include <assert.h>

#include "dump.h"
#include "memory.h"

/* What one client has on a crowded lock. */
struct member {
    UT_hash_handle hh;       /* by client */
    UT_hash_handle hh_token; /* by the token of the hold, while there is one */
    const struct client *client;
    struct claim *hold;
    struct claim *wait;
};

struct crowd {
    struct member *by_client;
    struct member *by_token;
};

/* ---- one claim -------------------------------------------------------------------- */

struct claim *claim_new(struct client *client, struct lock *lock)
{
    struct claim *claim = memory_new(sizeof(*claim));

    claim->client = client;
    claim->lock = lock;
    deadline_init(&claim->due, DEADLINE_OF_CLAIM);
    return claim;
}

void claim_free(struct claim *claim)
{
    assert(claim->due.place == 0);
    free(claim->owner_info);
    free(claim);
}

void claim_set_owner_info(struct claim *claim, struct fsm_str owner_info)
{
    struct owner_info *copy = NULL;

    if (owner_info.len > 0) {
        copy = memory_new(sizeof(*copy) + owner_info.len);
        copy->len = (uint8_t)owner_info.len;
        memcpy(copy->data, owner_info.data, owner_info.len);
    }
    free(claim->owner_info);
    claim->owner_info = copy;
}

/* ---- the crowd -------------------------------------------------------------------- */

/* Tokens are counted up: their low bits are as good as any hash. */
static unsigned token_hash(uint64_t token)
{
    return (unsigned)token;
}

static struct member *member_find(const struct crowd *crowd, const struct client *client)
{
    struct member *member;

    HASH_FIND_BYHASHVALUE(hh, crowd->by_client, &client, sizeof(client),
                          client->entry.hash, member);
    return member;
}

static struct member *member_find_token(const struct crowd *crowd, uint64_t token)
{
    struct member *member;

    HASH_FIND_BYHASHVALUE(hh_token, crowd->by_token, &token, sizeof(token),
                          token_hash(token), member);
    return member;
}

static void crowd_add(struct crowd *crowd, struct claim *claim)
{
    struct member *member = member_find(crowd, claim->client);

    if (member == NULL) {
        member = memory_new(sizeof(*member));
        member->client = claim->client;
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, crowd->by_client, &member->client,
                                    sizeof(member->client), claim->client->entry.hash,
                                    member);
    }
    if (claim->waiting) {
        assert(member->wait == NULL);
        member->wait = claim;
        return;
    }
    assert(member->hold == NULL);
    member->hold = claim;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh_token, crowd->by_token, &claim->token,
                                sizeof(claim->token), token_hash(claim->token), member);
}

static void crowd_remove(struct crowd *crowd, const struct claim *claim)
{
    struct member *member = member_find(crowd, claim->client);

    assert(member != NULL);
    if (claim->waiting) {
        member->wait = NULL;
    } else {
        HASH_DELETE(hh_token, crowd->by_token, member);
        member->hold = NULL;
    }
    if (member->hold == NULL && member->wait == NULL) {
        HASH_DELETE(hh, crowd->by_client, member);
        free(member);
    }
}

static void crowd_gather(struct lock *lock)
{
    struct claim *claim;

    lock->crowd = memory_new(sizeof(*lock->crowd));
    DL_FOREACH(lock->holds, claim)
    {
        crowd_add(lock->crowd, claim);
    }
    DL_FOREACH(lock->waits, claim)
    {
        crowd_add(lock->crowd, claim);
    }
}

static void crowd_disperse(struct lock *lock)
{
    struct member *member;
    struct member *next;

    HASH_CLEAR(hh_token, lock->crowd->by_token);
    HASH_ITER(hh, lock->crowd->by_client, member, next)
    {
        HASH_DELETE(hh, lock->crowd->by_client, member);
        free(member);
    }
    free(lock->crowd);
    lock->crowd = NULL;
}

/* ---- lists ------------------------------------------------------------------------ */

static void enlist_hold(struct fsm *fsm, struct claim *claim)
{
    DL_APPEND(claim->lock->holds, claim);
    DL_APPEND2(claim->client->holds, claim, client_prev, client_next);
    claim->lock->holds_count++;
    claim->client->holds_count++;
    fsm->holds_count++;
}

static void enlist_wait(struct fsm *fsm, struct claim *claim, enum claim_end end)
{
    if (end == CLAIM_FIRST) {
        DL_PREPEND(claim->lock->waits, claim);
    } else {
        DL_APPEND(claim->lock->waits, claim);
    }
    DL_APPEND2(claim->client->waits, claim, client_prev, client_next);
    claim->lock->waits_count++;
    claim->client->waits_count++;
    fsm->waits_count++;
}

void claim_enlist(struct fsm *fsm, struct claim *claim, enum claim_end end)
{
    struct lock *lock = claim->lock;

    lock_touch(fsm, lock);
    if (claim->waiting) {
        enlist_wait(fsm, claim, end);
    } else {
        assert(end == CLAIM_LAST);
        enlist_hold(fsm, claim);
    }
    if (lock->crowd != NULL) {
        crowd_add(lock->crowd, claim);
    } else if (lock->holds_count + lock->waits_count > CLAIM_CROWD_MIN) {
        crowd_gather(lock);
    }
}

static void delist_hold(struct fsm *fsm, struct claim *claim)
{
    DL_DELETE(claim->lock->holds, claim);
    DL_DELETE2(claim->client->holds, claim, client_prev, client_next);
    claim->lock->holds_count--;
    claim->client->holds_count--;
    fsm->holds_count--;
}

static void delist_wait(struct fsm *fsm, struct claim *claim)
{
    DL_DELETE(claim->lock->waits, claim);
    DL_DELETE2(claim->client->waits, claim, client_prev, client_next);
    claim->lock->waits_count--;
    claim->client->waits_count--;
    fsm->waits_count--;
}

void claim_delist(struct fsm *fsm, struct claim *claim)
{
    struct lock *lock = claim->lock;

    lock_touch(fsm, lock);
    if (lock->crowd != NULL) {
        crowd_remove(lock->crowd, claim);
    }
    if (claim->waiting) {
        delist_wait(fsm, claim);
    } else {
        delist_hold(fsm, claim);
    }
    /* Well below the bound, so that a lock does not gather and disperse at every step. */
    if (lock->crowd != NULL &&
        lock->holds_count + lock->waits_count < CLAIM_CROWD_MIN / 2) {
        crowd_disperse(lock);
    }
}

/* ---- finding ---------------------------------------------------------------------- */

static struct claim *look_through(struct claim *claims, const struct client *client)
{
    struct claim *claim;

    DL_FOREACH(claims, claim)
    {
        if (claim->client == client) {
            return claim;
        }
    }
    return NULL;
}

struct claim *claim_find_hold(const struct lock *lock, const struct client *client)
{
    const struct member *member;

    if (lock->crowd == NULL) {
        return look_through(lock->holds, client);
    }
    member = member_find(lock->crowd, client);
    return member != NULL ? member->hold : NULL;
}

struct claim *claim_find_wait(const struct lock *lock, const struct client *client)
{
    const struct member *member;

    if (lock->crowd == NULL) {
        return look_through(lock->waits, client);
    }
    member = member_find(lock->crowd, client);
    return member != NULL ? member->wait : NULL;
}

struct claim *claim_find_token(const struct lock *lock, uint64_t token)
{
    struct claim *hold;

    if (lock->crowd != NULL) {
        const struct member *member = member_find_token(lock->crowd, token);
        return member != NULL ? member->hold : NULL;
    }
    DL_FOREACH(lock->holds, hold)
    {
        if (hold->token == token) {
            return hold;
        }
    }
    return NULL;
}

bool crowd_is_consistent(const struct lock *lock)
{
    const struct claim *claim;
    unsigned members = 0;

    if (lock->crowd == NULL) {
        return lock->holds_count + lock->waits_count <= CLAIM_CROWD_MIN;
    }
    DL_FOREACH(lock->holds, claim)
    {
        if (claim_find_hold(lock, claim->client) != claim ||
            claim_find_token(lock, claim->token) != claim) {
            return false;
        }
        members++;
    }
    DL_FOREACH(lock->waits, claim)
    {
        if (claim_find_wait(lock, claim->client) != claim) {
            return false;
        }
        members += claim_find_hold(lock, claim->client) == NULL;
    }
    return HASH_CNT(hh, lock->crowd->by_client) == members &&
           HASH_CNT(hh_token, lock->crowd->by_token) == lock->holds_count;
}
