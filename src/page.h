/* page.h - the items of a list, collected until its end comes. The lock table emits one
 * event per item and then the answer; the page copies what it needs, since events do not
 * outlive their call. */
#ifndef NETLOCK_PAGE_H
#define NETLOCK_PAGE_H

#include <stddef.h>

#include "fsm.h"
#include "wire.h"

/* Zero-initialise. The items of one list at a time. */
struct page {
    struct wire_lock_summary *locks;
    size_t locks_count;
    struct wire_client_summary *clients;
    size_t clients_count;
    void **blocks; /* what the items point to, one block each */
    size_t blocks_count, capacity;
    size_t waiters_bytes; /* of their strings; a page has to fit a frame */
};

/* @event is FSM_EV_LIST_LOCK or FSM_EV_LIST_CLIENT. Those who wait for a lock are looked up in @table as it is
 * now, since they are no part of the event: what the log computes is the same in every build. */
void page_add(struct page *page, const struct fsm_event *event, const struct fsm *table);
void page_clear(struct page *page);
void page_release(struct page *page);

#endif
