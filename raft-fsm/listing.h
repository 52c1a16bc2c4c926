/* listing.h - the first names, in order, of all that are offered. Private to this room.
 *
 * A heap with the greatest of them on top. A list is for people and rare; so it looks at
 * every record once (a few nanoseconds each), and the tables need no second order. */
#ifndef NETLOCK_LISTING_H
#define NETLOCK_LISTING_H

#include "state.h"

struct listed {
    struct fsm_str name;
    const void *record;
};

struct listing {
    struct fsm_str prefix, after;
    bool copies; /* names are, and records may go: set it after listing_init() */
    struct listed *items;
    uint32_t count;
    uint32_t max;
    bool more; /* there are names behind the last one */
};

/* Those that begin with @prefix and come after @after (empty: all), at most @max. Both are
 * borrowed, names and records too. */
void listing_init(struct listing *listing,
                  struct fsm_str prefix,
                  struct fsm_str after,
                  uint32_t max);
void listing_offer(struct listing *listing, struct fsm_str name, const void *record);
void listing_sort(struct listing *listing); /* once, at the end */
void listing_release(struct listing *listing);

#endif
