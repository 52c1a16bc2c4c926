#include "page.h"

#include <assert.h>

#include "answer.h"
#include "xalloc.h"

enum {
    WAITERS_MAX = 4,
    WAITERS_BYTES_MAX = 256 * 1024, /* of a page; behind that only their number is said */
};

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

static size_t bytes_of(const struct fsm_claim *claims, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bytes += claims[i].client.len + claims[i].lock.len + claims[i].owner_info.len;
    }
    return bytes;
}

static void put_claims(struct wire_claim *ret,
                       char **room,
                       const struct fsm_claim *claims,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ret[i] = answer_claim(&claims[i]);
        ret[i].client = put_copy(room, claims[i].client);
        ret[i].lock = put_copy(room, claims[i].lock);
        ret[i].owner_info = put_copy(room, claims[i].owner_info);
    }
}

/* The shown claims and all strings in one block, the claims first: they are what is aligned. */
static void
add_lock(struct page *page, const struct fsm_event *event, const struct fsm *table)
{
    struct fsm_claim queue[WAITERS_MAX];
    size_t shown = event->claims_count, waiting = 0, bytes;

    if (event->queue_length > 0 && page->waiters_bytes < WAITERS_BYTES_MAX) {
        waiting = fsm_queue(table, event->lock, WAITERS_MAX, queue);
        page->waiters_bytes += bytes_of(queue, waiting);
    }
    bytes = (shown + waiting) * sizeof(struct wire_claim) + event->lock.len +
            bytes_of(event->claims, shown) + bytes_of(queue, waiting);
    struct wire_claim *claims = xcalloc(bytes);
    char *room = (char *)(claims + shown + waiting);

    put_claims(claims, &room, event->claims, shown);
    put_claims(claims + shown, &room, queue, waiting);
    page->blocks[page->blocks_count++] = claims;
    page->locks[page->locks_count++] = (struct wire_lock_summary){
        .lock = put_copy(&room, event->lock),
        .type = event->claim.type == FSM_READ ? WIRE_READ : WIRE_WRITE,
        .limit = event->claim.limit,
        .holders_count = event->holders_count,
        .queue_length = event->queue_length,
        .holders = claims,
        .holders_shown = shown,
        .waiters = claims + shown,
        .waiters_shown = waiting,
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

void page_add(struct page *page, const struct fsm_event *event, const struct fsm *table)
{
    assert(event->type == FSM_EV_LIST_LOCK || event->type == FSM_EV_LIST_CLIENT);
    reserve(page);
    if (event->type == FSM_EV_LIST_LOCK) {
        add_lock(page, event, table);
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
    page->waiters_bytes = 0;
}

void page_release(struct page *page)
{
    page_clear(page);
    free(page->blocks);
    free(page->locks);
    free(page->clients);
    *page = (struct page){0};
}
