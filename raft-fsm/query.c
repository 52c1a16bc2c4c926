/* Status, token check and lists: the commands that change nothing. */
#include <assert.h>

#include "claim.h"
#include "client.h"
#include "commands.h"
#include "events.h"
#include "lock.h"
#include "memory.h"

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

struct listed {
    struct fsm_str name;
    const void *record;
};

/* The first @max of all names that were offered: a heap with the greatest of them on top.
 * A list is for people and rare; so it looks at every record once (a few nanoseconds
 * each), and the tables need no second order. */
struct page {
    const struct fsm_command *command;
    struct listed *items;
    uint32_t count;
    uint32_t max;
    bool more;
};

static void page_init(struct page *page, const struct fsm_command *command)
{
    uint32_t max = command->list.max;

    max = max < 1 ? 1 : max;
    max = max > FSM_LIST_MAX ? FSM_LIST_MAX : max;
    *page = (struct page){.command = command, .max = max};
    page->items = memory_resize(NULL, max, sizeof(page->items[0]));
}

static void page_sift_down(struct page *page, struct listed item)
{
    uint32_t place = 0;

    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child + 1 < page->count &&
            str_compare(page->items[child + 1].name, page->items[child].name) > 0) {
            child++;
        }
        if (child >= page->count ||
            str_compare(page->items[child].name, item.name) <= 0) {
            break;
        }
        page->items[place] = page->items[child];
        place = child;
    }
    page->items[place] = item;
}

static void page_sift_up(struct page *page, struct listed item)
{
    uint32_t place = page->count++;

    while (place > 0 && str_compare(page->items[(place - 1) / 2].name, item.name) < 0) {
        page->items[place] = page->items[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    page->items[place] = item;
}

static void page_offer(struct page *page, struct fsm_str name, const void *record)
{
    struct fsm_str prefix = page->command->list.prefix;
    struct fsm_str after = page->command->list.after;

    if (name.len < prefix.len ||
        !str_equal((struct fsm_str){name.data, prefix.len}, prefix)) {
        return;
    }
    if (after.len > 0 && str_compare(name, after) <= 0) {
        return;
    }
    if (page->count < page->max) {
        page_sift_up(page, (struct listed){name, record});
        return;
    }
    page->more = true;
    if (str_compare(name, page->items[0].name) < 0) {
        page_sift_down(page, (struct listed){name, record});
    }
}

static int compare_listed(const void *a, const void *b)
{
    return str_compare(((const struct listed *)a)->name,
                       ((const struct listed *)b)->name);
}

static void page_sort(struct page *page)
{
    qsort(page->items, page->count, sizeof(page->items[0]), compare_listed);
}

static void page_end(struct fsm *fsm, struct page *page)
{
    struct fsm_event event = {.type = FSM_EV_LIST_END, .more = page->more};

    free(page->items);
    events_answer(fsm, &event);
}

void command_list_locks(struct fsm *fsm)
{
    struct page page;

    page_init(&page, fsm->command);
    for (const struct lock *lock = fsm->locks; lock != NULL; lock = lock->hh.next) {
        page_offer(&page, lock_name(lock), lock);
    }
    page_sort(&page);
    for (uint32_t i = 0; i < page.count; i++) {
        const struct lock *lock = page.items[i].record;
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
    page_end(fsm, &page);
}

void command_list_clients(struct fsm *fsm)
{
    struct page page;

    page_init(&page, fsm->command);
    for (const struct client *client = fsm->clients; client != NULL;
         client = client->hh.next) {
        page_offer(&page, client_id(client), client);
    }
    page_sort(&page);
    for (uint32_t i = 0; i < page.count; i++) {
        const struct client *client = page.items[i].record;
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
    page_end(fsm, &page);
}
