#include "page.h"

#include <assert.h>

#include "answer.h"
#include "xalloc.h"

static void reserve(struct page *page)
{
    if (page->blocks_count < page->capacity) {
        return;
    }
    page->capacity = page->capacity != 0 ? 2 * page->capacity : 64;
    page->blocks = xrealloc(page->blocks, page->capacity * sizeof(page->blocks[0]));
    page->locks = xrealloc(page->locks, page->capacity * sizeof(page->locks[0]));
    page->clients = xrealloc(page->clients, page->capacity * sizeof(page->clients[0]));
}

static struct wire_str put_copy(char **room, struct fsm_str str)
{
    struct wire_str copy = {.data = *room, .len = str.len};

    if (str.len != 0) {
        memcpy(*room, str.data, str.len);
        *room += str.len;
    }
    return copy;
}

/* The shown holders and all strings in one block, the holders first: they are what is
 * aligned. */
static void add_lock(struct page *page, const struct fsm_event *event)
{
    size_t bytes = event->claims_count * sizeof(struct wire_claim) + event->lock.len;
    for (size_t i = 0; i < event->claims_count; i++) {
        const struct fsm_claim *claim = &event->claims[i];
        bytes += claim->client.len + claim->lock.len + claim->owner_info.len;
    }
    struct wire_claim *holders = xcalloc(bytes);
    char *room = (char *)(holders + event->claims_count);

    for (size_t i = 0; i < event->claims_count; i++) {
        const struct fsm_claim *claim = &event->claims[i];
        holders[i] = answer_claim(claim);
        holders[i].client = put_copy(&room, claim->client);
        holders[i].lock = put_copy(&room, claim->lock);
        holders[i].owner_info = put_copy(&room, claim->owner_info);
    }
    page->blocks[page->blocks_count++] = holders;
    page->locks[page->locks_count++] = (struct wire_lock_summary){
        .lock = put_copy(&room, event->lock),
        .type = event->claim.type == FSM_READ ? WIRE_READ : WIRE_WRITE,
        .limit = event->claim.limit,
        .holders_count = event->holders_count,
        .queue_length = event->queue_length,
        .holders = holders,
        .holders_shown = event->claims_count,
    };
}

static void add_client(struct page *page, const struct fsm_event *event)
{
    char *room = xcalloc(event->client.len + 1);

    page->blocks[page->blocks_count++] = room;
    page->clients[page->clients_count++] = (struct wire_client_summary){
        .client = put_copy(&room, event->client),
        .epoch = event->epoch,
        .holds_count = event->holds_count,
        .waits_count = event->waits_count,
        .connected = event->connected,
    };
}

void page_add(struct page *page, const struct fsm_event *event)
{
    assert(event->type == FSM_EV_LIST_LOCK || event->type == FSM_EV_LIST_CLIENT);
    reserve(page);
    if (event->type == FSM_EV_LIST_LOCK) {
        add_lock(page, event);
    } else {
        add_client(page, event);
    }
}

void page_clear(struct page *page)
{
    for (size_t i = 0; i < page->blocks_count; i++) {
        free(page->blocks[i]);
    }
    page->blocks_count = page->locks_count = page->clients_count = 0;
}

void page_release(struct page *page)
{
    page_clear(page);
    free(page->blocks);
    free(page->locks);
    free(page->clients);
    *page = (struct page){0};
}
