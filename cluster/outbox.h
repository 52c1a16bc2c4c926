/* outbox.h - events that were emitted while entries were applied, until the host gets them.
 *
 * Entries are applied inside libraft, where nothing may be called that leads back into it; so events
 * wait here, in order, each with the position of its entry. Out of memory aborts.
 */
#ifndef NETLOCK_OUTBOX_H
#define NETLOCK_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "fsm.h"
#include "replica.h"

struct outbox_entry {
    struct replica_position at;
    size_t events_end; /* its events are those before this, from the entry before on */
};

/* Zero-initialise; outbox_release(). */
struct outbox {
    struct fsm_events events;
    size_t events_told;
    size_t entries_told; /* wholly */
    struct outbox_entry *entries;
    size_t entries_count;
    size_t entries_capacity;
};

bool outbox_is_empty(const struct outbox *outbox);

/* How many events are still to be told. */
size_t outbox_left(const struct outbox *outbox);

/* The events added to `events` since the last call belong to the entry @at. */
void outbox_close_entry(struct outbox *outbox, const struct replica_position *at);

/* Hand @events_max events more to @host, 0: all. Forgets them when all have been told. */
void outbox_deliver(struct outbox *outbox,
                    const struct replica_host *host,
                    size_t events_max);

void outbox_clear(struct outbox *outbox);
void outbox_release(struct outbox *outbox);

#endif
