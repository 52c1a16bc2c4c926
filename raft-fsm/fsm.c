/* Applying a command: time, what is due, then the command itself. */
#include "fsm.h"

#include <assert.h>
#include <stddef.h>

#include "claim.h"
#include "client.h"
#include "commands.h"
#include "digest.h"
#include "dump.h"
#include "events.h"
#include "lock.h"
#include "look.h"
#include "member.h"
#include "memory.h"

struct fsm *fsm_new(uint64_t hash_seed)
{
    struct fsm *fsm = memory_new(sizeof(*fsm));

    fsm->hash_seed = hash_seed;
    fsm->looks = memory_new(sizeof(*fsm->looks));
    roster_init(&fsm->clients, offsetof(struct client, id_len), 0);
    roster_init(&fsm->locks, offsetof(struct lock, name_len), 0);
    fsm->settings = (struct fsm_settings){
        .clients_max = UINT64_MAX,
        .claims_max = UINT64_MAX,
        .claims_per_client_max = UINT64_MAX,
        .waiters_per_lock_max = UINT64_MAX,
    };
    return fsm;
}

void fsm_expect_locks(struct fsm *fsm, uint64_t locks)
{
    assert(fsm->locks.count == 0);
    roster_release(&fsm->locks);
    roster_init(&fsm->locks, offsetof(struct lock, name_len), locks);
}

void fsm_free(struct fsm *fsm)
{
    if (fsm == NULL) {
        return;
    }
    assert(fsm->dump == NULL);
    looks_end(fsm);
    locks_free(fsm);
    clients_free(fsm);
    deadline_heap_release(&fsm->deadlines);
    free(fsm->members);
    free(fsm->shown);
    free(fsm->looks);
    free(fsm);
}

/* ---- what is due ------------------------------------------------------------------ */

static void claim_due(struct fsm *fsm, struct claim *claim)
{
    struct lock *lock = claim->lock;
    struct client *client = claim->client;

    if (claim->waiting) {
        lock_time_out_wait(fsm, claim);
    } else {
        lock_break_hold(fsm, claim, FSM_HOLD_EXPIRED);
        client_settle(fsm, client);
    }
    lock_settle(fsm, lock);
}

/* A client goes whole or not yet: half of its locks would be no state that anybody asked for. */
static void client_due(struct fsm *fsm, struct client *client)
{
    uint64_t drop_max = fsm->settings.drop_max;
    /* Were all of the others due again at once, each turn would walk over all of them. */
    uint64_t turn = drop_max != 0 ? fsm->dropped / drop_max : 0;

    fsm->dropped += (uint64_t)1 + client->holds_count + client->waits_count;
    if (turn > 0) {
        client_touch(fsm, client);
        deadline_set(&fsm->deadlines, &client->grace,
                     deadline_after(fsm->now_ms, turn * FSM_DROP_TURN_MS));
        return;
    }
    client_give_up(fsm, client);
}

static struct claim *claim_of(struct deadline *deadline)
{
    char *at = (char *)deadline;

    return (struct claim *)(void *)(at - offsetof(struct claim, due));
}

static struct client *client_of_grace(struct deadline *deadline)
{
    char *at = (char *)deadline;

    return (struct client *)(void *)(at - offsetof(struct client, grace));
}

static void expire(struct fsm *fsm)
{
    struct deadline *first;

    while ((first = deadline_first(&fsm->deadlines)) != NULL &&
           first->at_ms <= fsm->now_ms) {
        if (first->kind == DEADLINE_OF_CLIENT) {
            client_due(fsm, client_of_grace(first));
        } else if (claim_deadline_ms(&fsm->elections, claim_of(first)) > first->at_ms) {
            lock_touch(fsm, claim_of(first)->lock);
        } else {
            claim_due(fsm, claim_of(first));
        }
    }
}

/* ---- commands about the machine itself -------------------------------------------- */

static void command_epoch(struct fsm *fsm)
{
    struct fsm_event event = {.type = FSM_EV_SERVING};

    fsm->term = fsm->command->epoch.term;
    fsm->settings = fsm->command->epoch.settings;
    events_answer(fsm, &event);
    election_note(fsm);
    clients_miss(fsm);
    expire(fsm); /* a grace of nothing is over at once */
}

static void command_checkpoint(struct fsm *fsm)
{
    struct fsm_event event = {.type = FSM_EV_CHECKPOINT, .hash = fsm_hash(fsm)};

    events_answer(fsm, &event);
}

static void dispatch(struct fsm *fsm)
{
    switch (fsm->command->type) {
    case FSM_CMD_EPOCH:
        command_epoch(fsm);
        return;
    case FSM_CMD_TICK:
        return;
    case FSM_CMD_ATTACH:
        client_attach(fsm);
        return;
    case FSM_CMD_DETACH:
        client_detach(fsm);
        return;
    case FSM_CMD_LOCK:
        command_lock(fsm);
        return;
    case FSM_CMD_REFRESH:
        command_refresh(fsm);
        return;
    case FSM_CMD_RELEASE:
        command_release(fsm);
        return;
    case FSM_CMD_STATUS:
        command_status(fsm);
        return;
    case FSM_CMD_CHECK_TOKEN:
        command_check_token(fsm);
        return;
    case FSM_CMD_LIST_LOCKS:
        command_list_locks(fsm);
        return;
    case FSM_CMD_LIST_CLIENTS:
        command_list_clients(fsm);
        return;
    case FSM_CMD_FORCE_RELEASE:
        command_force_release(fsm);
        return;
    case FSM_CMD_CHECKPOINT:
        command_checkpoint(fsm);
        return;
    case FSM_CMD_MEMBER:
        command_member(fsm);
        return;
    }
    abort(); /* a command that other replicas may understand: to skip it would be to
                diverge */
}

static void check_lengths(const struct fsm_command *command)
{
    assert(command->client.len <= FSM_NAME_BYTES_MAX);
    assert(command->lock.len <= FSM_NAME_BYTES_MAX);
    if (command->type == FSM_CMD_LOCK) {
        assert(command->lock_.owner_info.len <= FSM_NAME_BYTES_MAX);
    }
    if (command->type == FSM_CMD_MEMBER) {
        assert(command->member.address.len <= FSM_NAME_BYTES_MAX);
    }
    if (command->type == FSM_CMD_ATTACH) {
        assert(command->attach.secret_digest.len <= FSM_SECRET_DIGEST_BYTES_MAX);
    }
}

void fsm_apply(struct fsm *fsm, const struct fsm_command *command, struct fsm_events *out)
{
    check_lengths(command);
    if (fsm->stage != STAGE_LIVE && fsm_load_end(fsm) != 0) {
        abort(); /* rebuilt from half a snapshot, and nobody asked fsm_load_end() */
    }
    fsm->command = command;
    fsm->out = out;
    fsm->asked = NULL;
    fsm->answered = false;
    fsm->dropped = 0;
    fsm->digest = digest_command(fsm->digest, command);

    if (command->time_ms > fsm->now_ms) {
        fsm->now_ms = command->time_ms;
    }
    expire(fsm);
    dispatch(fsm);
    assert(fsm->answered == (command->type != FSM_CMD_TICK));

    fsm->command = NULL;
    fsm->out = NULL;
}

/* ---- looking at it ---------------------------------------------------------------- */

uint64_t fsm_now_ms(const struct fsm *fsm)
{
    return fsm->now_ms;
}

uint64_t fsm_next_deadline_ms(const struct fsm *fsm)
{
    const struct deadline *first = deadline_first(&fsm->deadlines);

    return first != NULL ? first->at_ms : FSM_UNLIMITED;
}

uint64_t fsm_last_token(const struct fsm *fsm)
{
    return fsm->token;
}

uint64_t fsm_term(const struct fsm *fsm)
{
    return fsm->term;
}

uint64_t fsm_digest(const struct fsm *fsm)
{
    return fsm->digest;
}

struct fsm_counts fsm_counts(const struct fsm *fsm)
{
    return (struct fsm_counts){
        .clients = fsm->clients.count,
        .locks = fsm->locks.count,
        .holds = fsm->holds_count,
        .waits = fsm->waits_count,
    };
}

uint64_t fsm_client_claims(const struct fsm *fsm, struct fsm_str client)
{
    const struct client *record = client_find(fsm, client);

    return record != NULL ? (uint64_t)record->holds_count + record->waits_count : 0;
}

bool fsm_client_find(const struct fsm *fsm,
                     struct fsm_str client,
                     uint64_t *ret_attach_seq,
                     uint64_t *ret_epoch)
{
    const struct client *record = client_find(fsm, client);

    *ret_attach_seq = record != NULL ? record->grace.order : 0;
    *ret_epoch = record != NULL ? record->epoch : 0;
    return record != NULL;
}
