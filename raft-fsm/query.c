/* Status, token check and lists: the commands that change nothing. */
#include <assert.h>

#include "claim.h"
#include "client.h"
#include "commands.h"
#include "events.h"
#include "listing.h"
#include "lock.h"

enum { LISTED_HOLDERS_MAX = 4 };

/* ---- one lock --------------------------------------------------------------------- */

static void show_own(const struct fsm *fsm,
                     struct fsm_event *event,
                     const struct lock *lock,
                     const struct client *client)
{
    const struct claim *hold = claim_find_hold(lock, client);
    const struct claim *wait = claim_find_wait(lock, client);

    if (hold != NULL) {
        event->state = FSM_HELD_BY_ME;
        event->token = hold->token;
        claim_show(fsm, hold, &event->claim);
    } else if (wait != NULL) {
        event->state = FSM_WAITING;
        claim_show(fsm, wait, &event->claim);
        event->claim.position = lock_position(wait, UINT32_MAX);
    }
}

void command_status(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    const struct lock *lock = lock_find(fsm, command->lock);
    const struct client *client = client_find(fsm, command->client);
    struct fsm_event event = {
        .type = FSM_EV_STATUS,
        .client = command->client,
        .lock = command->lock,
        .state = FSM_FREE,
    };

    if (lock != NULL) {
        event.state = FSM_STATE_HELD_BY_OTHER;
        if (client != NULL) {
            show_own(fsm, &event, lock, client);
        }
        events_show_holders(fsm, &event, lock, FSM_HOLDERS_SHOWN_MAX);
    }
    events_answer(fsm, &event);
}

void command_check_token(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    const struct lock *lock = lock_find(fsm, command->lock);
    struct fsm_event event = {
        .type = FSM_EV_TOKEN,
        .client = command->client,
        .lock = command->lock,
        .token = command->check_token.token,
        .token_state = FSM_TOKEN_FREE,
    };

    if (lock != NULL) {
        if (claim_find_token(lock, command->check_token.token) != NULL) {
            event.token_state = FSM_TOKEN_CURRENT;
        } else {
            event.token_state = FSM_TOKEN_SUPERSEDED;
            event.superseded_by =
                lock->holds->prev->token; /* the last one, the highest */
        }
    }
    events_answer(fsm, &event);
}

/* ---- pages ------------------------------------------------------------------------ */

static void begin(struct listing *listing, const struct fsm_command *command)
{
    listing_init(listing, command->list.prefix, command->list.after, command->list.max);
}

static void answer_end(struct fsm *fsm, struct listing *listing)
{
    struct fsm_event event = {.type = FSM_EV_LIST_END, .more = listing->more};

    listing_release(listing);
    events_answer(fsm, &event);
}

void command_list_locks(struct fsm *fsm)
{
    struct listing listing;

    begin(&listing, fsm->command);
    for (const struct lock *lock = lock_first(fsm); lock != NULL;
         lock = lock_next(lock)) {
        listing_offer(&listing, lock_name(lock), lock);
    }
    listing_sort(&listing);
    for (uint32_t i = 0; i < listing.count; i++) {
        const struct lock *lock = listing.items[i].record;
        struct fsm_event event = {
            .type = FSM_EV_LIST_LOCK,
            .lock = lock_name(lock),
            .claim = {.lock = lock_name(lock),
                      .type = (enum fsm_type)lock->holds->type,
                      .limit = lock->limit},
        };
        events_show_holders(fsm, &event, lock, LISTED_HOLDERS_MAX);
        events_list(fsm, &event);
    }
    answer_end(fsm, &listing);
}

void command_list_clients(struct fsm *fsm)
{
    struct listing listing;

    begin(&listing, fsm->command);
    for (const struct client *client = client_first(fsm); client != NULL;
         client = client_next(client)) {
        listing_offer(&listing, client_id(client), client);
    }
    listing_sort(&listing);
    for (uint32_t i = 0; i < listing.count; i++) {
        const struct client *client = listing.items[i].record;
        struct fsm_event event = {
            .type = FSM_EV_LIST_CLIENT,
            .client = client_id(client),
            .epoch = client->epoch,
            .attach_seq = client->grace.order,
            .holds_count = client->holds_count,
            .waits_count = client->waits_count,
            .connected = client->presence == FSM_ATTACHED,
        };
        events_list(fsm, &event);
    }
    answer_end(fsm, &listing);
}
