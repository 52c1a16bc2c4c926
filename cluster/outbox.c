#include "outbox.h"

#include <stdlib.h>

enum { ENTRIES_CAPACITY_MIN = 16 };

bool outbox_is_empty(const struct outbox *outbox)
{
    return outbox->events.count == 0;
}

size_t outbox_left(const struct outbox *outbox)
{
    return outbox->events.count - outbox->events_told;
}

void outbox_close_entry(struct outbox *outbox, const struct replica_position *at)
{
    size_t closed = outbox->entries_count > 0
                        ? outbox->entries[outbox->entries_count - 1].events_end
                        : 0;

    if (outbox->events.count == closed) {
        return;
    }
    if (outbox->entries_count == outbox->entries_capacity) {
        size_t capacity = outbox->entries_capacity > 0 ? 2 * outbox->entries_capacity
                                                       : ENTRIES_CAPACITY_MIN;
        struct outbox_entry *entries =
            reallocarray(outbox->entries, capacity, sizeof(entries[0]));
        if (entries == NULL) {
            abort();
        }
        outbox->entries = entries;
        outbox->entries_capacity = capacity;
    }
    outbox->entries[outbox->entries_count++] =
        (struct outbox_entry){.at = *at, .events_end = outbox->events.count};
}

static void tell_next(struct outbox *outbox, const struct replica_host *host)
{
    const struct outbox_entry *entry = &outbox->entries[outbox->entries_told];
    const struct fsm_event *event = &outbox->events.items[outbox->events_told++];

    if (outbox->events_told == entry->events_end) {
        outbox->entries_told++;
    }
    host->on_event(host->arg, event, &entry->at);
}

void outbox_deliver(struct outbox *outbox,
                    const struct replica_host *host,
                    size_t events_max)
{
    size_t left = outbox_left(outbox);

    if (left == 0) {
        return;
    }
    if (events_max == 0 || events_max > left) {
        events_max = left;
    }
    for (size_t i = 0; i < events_max; i++) {
        tell_next(outbox, host);
    }
    if (events_max == left) {
        outbox_clear(outbox);
    }
}

void outbox_clear(struct outbox *outbox)
{
    fsm_events_clear(&outbox->events);
    outbox->events_told = 0;
    outbox->entries_told = 0;
    outbox->entries_count = 0;
}

void outbox_release(struct outbox *outbox)
{
    fsm_events_release(&outbox->events);
    free(outbox->entries);
    *outbox = (struct outbox){0};
}
