#include "outbox.h"

#include <stdlib.h>

enum { ENTRIES_CAPACITY_MIN = 16 };

bool outbox_is_empty(const struct outbox *outbox)
{
    return outbox->events.count == 0;
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

void outbox_deliver(struct outbox *outbox, const struct replica_host *host)
{
    size_t event = 0;

    if (outbox_is_empty(outbox)) {
        return;
    }
    for (size_t i = 0; i < outbox->entries_count; i++) {
        const struct outbox_entry *entry = &outbox->entries[i];
        for (; event < entry->events_end; event++) {
            host->on_event(host->arg, &outbox->events.items[event], &entry->at);
        }
    }
    outbox_clear(outbox);
}

void outbox_clear(struct outbox *outbox)
{
    fsm_events_clear(&outbox->events);
    outbox->entries_count = 0;
}

void outbox_release(struct outbox *outbox)
{
    fsm_events_release(&outbox->events);
    free(outbox->entries);
    *outbox = (struct outbox){0};
}
