#include "client.h"

#include <assert.h>

#include "claim.h"
#include "digest.h"
#include "dump.h"
#include "events.h"
#include "lock.h"
#include "memory.h"

/* ---- records ---------------------------------------------------------------------- */

struct client *client_find(const struct fsm *fsm, struct fsm_str id)
{
    return client_of(roster_find(&fsm->clients, id, digest_name(id, fsm->hash_seed)));
}

struct client *
client_add(struct fsm *fsm, struct fsm_str id, struct fsm_str secret_digest)
{
    struct client *client = memory_new(sizeof(*client) + id.len);

    client->entry.copied = fsm->copied;
    client->presence = FSM_GONE;
    deadline_init(&client->grace, DEADLINE_OF_CLIENT);
    client->id_len = (uint8_t)id.len;
    memcpy(client->id, str_data(id), id.len);
    client->secret_len = (uint8_t)secret_digest.len;
    memcpy(client->secret, str_data(secret_digest), secret_digest.len);
    roster_add(&fsm->clients, &client->entry, digest_name(id, fsm->hash_seed));
    return client;
}

static void client_free(struct client *client)
{
    struct expired *expired;
    struct expired *next;

    DL_FOREACH_SAFE(client->expired, expired, next)
    {
        free(expired);
    }
    free(client);
}

void client_settle(struct fsm *fsm, struct client *client)
{
    struct fsm_event event = {.type = FSM_EV_CLIENT_ENDED, .client = client_id(client)};

    if (client->presence != FSM_GONE || client->holds != NULL) {
        return;
    }
    assert(client->waits == NULL);
    assert(client->grace.place == 0);
    events_tell(fsm, &event);
    client_touch(fsm, client);
    dump_pass(fsm, &client->entry);
    roster_remove(&fsm->clients, &client->entry);
    client_free(client);
}

void clients_free(struct fsm *fsm)
{
    struct client *client = client_first(fsm);

    while (client != NULL) {
        struct client *next = client_next(client);
        client_free(client);
        client = next;
    }
    roster_release(&fsm->clients);
}

/* ---- memory of holds that timed out ----------------------------------------------- */

struct expired *client_recall(const struct client *client, struct fsm_str lock)
{
    struct expired *expired;

    DL_FOREACH(client->expired, expired)
    {
        if (str_equal((struct fsm_str){expired->name, expired->name_len}, lock)) {
            return expired;
        }
    }
    return NULL;
}

void client_forget(struct fsm *fsm, struct client *client, struct expired *expired)
{
    client_touch(fsm, client);
    DL_DELETE(client->expired, expired);
    client->expired_count--;
    free(expired);
}

void client_remember(struct fsm *fsm,
                     struct client *client,
                     struct fsm_str lock,
                     uint64_t token)
{
    struct expired *expired = memory_new(sizeof(*expired) + lock.len);

    client_touch(fsm, client);
    if (client->expired_count == FSM_EXPIRED_MEMORY_MAX) {
        client_forget(fsm, client, client->expired);
    }
    expired->token = token;
    expired->name_len = (uint8_t)lock.len;
    memcpy(expired->name, str_data(lock), lock.len);
    DL_APPEND(client->expired, expired);
    client->expired_count++;
}

/* ---- attach ----------------------------------------------------------------------- */

static void set_presence(struct fsm *fsm,
                         struct client *client,
                         enum fsm_presence presence,
                         uint64_t grace_end_ms)
{
    client_touch(fsm, client);
    client->presence = (uint8_t)presence;
    deadline_set(&fsm->deadlines, &client->grace, grace_end_ms);
}

/* 0 if the client may attach like this; otherwise the reason why not. */
static enum fsm_deny attach_refusal(const struct fsm_command *command,
                                    const struct client *client)
{
    struct fsm_str secret = {client->secret, client->secret_len};
    uint64_t epoch = command->attach.has_epoch ? command->attach.epoch : 0;

    if (secret.len > 0 && !str_equal(secret, command->attach.secret_digest)) {
        return FSM_DENY_NOT_ALLOWED;
    }
    if (command->attach.create) {
        return FSM_DENY_NOT_ALLOWED;
    }
    if (command->attach.has_epoch && epoch < client->epoch) {
        return FSM_DENY_STALE_EPOCH;
    }
    if (command->attach.supersede && epoch <= client->epoch) {
        return FSM_DENY_STALE_EPOCH;
    }
    return 0;
}

static void answer_attached(struct fsm *fsm, const struct client *client, bool superseded)
{
    uint32_t count = client->holds_count + client->waits_count;
    struct fsm_claim *shown = events_room(fsm, count);
    struct fsm_event event = {
        .type = FSM_EV_ATTACHED,
        .client = client_id(client),
        .epoch = client->epoch,
        .attach_seq = client->grace.order,
        .superseded = superseded,
        .claims = shown,
        .claims_count = count,
        .holds_count = client->holds_count,
        .waits_count = client->waits_count,
        .connected = true,
    };
    const struct claim *claim;

    DL_FOREACH2(client->holds, claim, client_next)
    {
        claim_show(fsm, claim, shown++);
    }
    DL_FOREACH2(client->waits, claim, client_next)
    {
        claim_show(fsm, claim, shown);
        shown->position = lock_position(claim, FSM_POSITION_COUNTED_MAX);
        shown++;
    }
    events_answer(fsm, &event);
}

void client_attach(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct client *client = client_find(fsm, command->client);
    bool superseded = client != NULL && command->attach.supersede;

    if (client != NULL) {
        enum fsm_deny refusal = attach_refusal(command, client);
        if (refusal != 0) {
            events_answer_denied(fsm, refusal);
            return;
        }
    } else {
        if (fsm->clients.count >= fsm->settings.clients_max) {
            lock_answer_limit_exceeded(fsm, "clients");
            return;
        }
        client = client_add(fsm, command->client, command->attach.secret_digest);
    }
    set_presence(fsm, client, FSM_ATTACHED, FSM_UNLIMITED);
    client->grace.order = ++fsm->order;
    if (command->attach.has_epoch) {
        client->epoch = command->attach.epoch;
    }
    answer_attached(fsm, client, superseded);
}

/* ---- going ------------------------------------------------------------------------ */

static void answer_detached(struct fsm *fsm)
{
    struct fsm_event event = {.type = FSM_EV_DETACHED, .client = fsm->command->client};

    events_answer(fsm, &event);
}

/* First all waits, then all holds, then the queues: a lock must not be handed to the very
 * client that is going. Each queue is pumped once, in the order in which this client came
 * to the locks. */
static void client_go(struct fsm *fsm, struct client *client, bool asked)
{
    struct lock_batch touched = {0};
    struct claim *claim;
    struct claim *next;

    set_presence(fsm, client, FSM_GONE, FSM_UNLIMITED);
    DL_FOREACH_SAFE2(client->waits, claim, next, client_next)
    {
        lock_batch_add(&touched, claim->lock);
        lock_cancel_wait(fsm, claim);
    }
    DL_FOREACH_SAFE2(client->holds, claim, next, client_next)
    {
        if (claim->drop == FSM_DROP_RELEASE) {
            lock_batch_add(&touched, claim->lock);
            lock_end_hold(fsm, claim);
        }
    }
    if (asked) {
        answer_detached(fsm);
    }
    lock_batch_settle(fsm, &touched);
    client_settle(fsm, client);
}

void client_detach(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct client *client = client_find(fsm, command->client);

    if (client == NULL || !command->detach.last ||
        client->grace.order != command->detach.attach_seq) {
        answer_detached(fsm);
        return;
    }
    client_go(fsm, client, true);
}

void client_give_up(struct fsm *fsm, struct client *client)
{
    client_go(fsm, client, false);
}

/* ---- a new leader ----------------------------------------------------------------- */

/* Without a touch, see dump.h. */
void clients_miss(struct fsm *fsm)
{
    uint64_t grace_end_ms = deadline_after(fsm->now_ms, fsm->settings.reattach_grace_ms);
    struct client *client;

    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        if (client->presence == FSM_ATTACHED) {
            client->presence = FSM_MISSING;
            client->entry.election = fsm->elections.last;
            deadline_set(&fsm->deadlines, &client->grace, grace_end_ms);
        }
    }
}
