#include "event.h"

#include <assert.h>

#include "process.h"
#include "random.h"

/* The key is beside the pointer: sifting compares without looking at the events. */
struct entry {
    uint64_t at_us;
    uint64_t order;
    struct sim_event *event;
};

static struct {
    struct entry *entries; /* a binary heap; place p is entries[p - 1] */
    bool vacant; /* the first is being fired: its key is still there, and before all others */
    size_t count, capacity;
    uint64_t now_us;
    uint64_t order;
    uint64_t fired;
    uint64_t hash;
    bool running, stopped;
} queue;

/* ---- the heap ---- */

static inline bool before(const struct entry *a, const struct entry *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static inline void put(size_t place, struct entry entry)
{
    queue.entries[place - 1] = entry;
    entry.event->place = place;
}

static void sift_up(size_t place, struct entry entry)
{
    while (place > 1 && before(&entry, &queue.entries[place / 2 - 1])) {
        put(place, queue.entries[place / 2 - 1]);
        place /= 2;
    }
    put(place, entry);
}

static void sift_down(size_t place, struct entry entry)
{
    while (place <= queue.count / 2) {
        size_t child = place * 2;
        if (child < queue.count &&
            before(&queue.entries[child], &queue.entries[child - 1])) {
            child++;
        }
        if (!before(&queue.entries[child - 1], &entry)) {
            break;
        }
        put(place, queue.entries[child - 1]);
        place = child;
    }
    put(place, entry);
}

/* @entry goes to where @place is free. */
static void settle(size_t place, struct entry entry)
{
    if (place > 1 && before(&entry, &queue.entries[place / 2 - 1])) {
        sift_up(place, entry);
    } else {
        sift_down(place, entry);
    }
}

static void take_out(struct sim_event *event)
{
    size_t place = event->place;

    assert(place <= queue.count && queue.entries[place - 1].event == event);
    event->place = 0;
    struct entry last = queue.entries[--queue.count];
    if (last.event != event) {
        settle(place, last);
    }
}

static void grow(void)
{
    queue.capacity = queue.capacity != 0 ? queue.capacity * 2 : 256;
    queue.entries = sim_realloc(queue.entries, queue.capacity * sizeof(queue.entries[0]));
}

/* ---- scheduling ---- */

uint64_t sim_now_us(void)
{
    return queue.now_us;
}

void sim_event_at(struct sim_event *event, uint64_t at_us)
{
    assert(event->fire != NULL);
    if (at_us == SIM_NEVER) {
        sim_event_cancel(event);
        return;
    }
    event->at_us = at_us > queue.now_us ? at_us : queue.now_us;
    event->order = ++queue.order;
    struct entry entry = {event->at_us, event->order, event};
    if (event->place != 0) {
        assert(queue.entries[event->place - 1].event == event);
        settle(event->place, entry);
        return;
    }
    if (queue.vacant) {
        queue.vacant = false;
        sift_down(1, entry);
        return;
    }
    if (queue.count == queue.capacity) {
        grow();
    }
    sift_up(++queue.count, entry);
}

void sim_event_in(struct sim_event *event, uint64_t delay_us)
{
    bool ever = delay_us < SIM_NEVER - queue.now_us;

    sim_event_at(event, ever ? queue.now_us + delay_us : SIM_NEVER);
}

void sim_event_cancel(struct sim_event *event)
{
    if (event->place != 0) {
        take_out(event);
    }
}

/* ---- time ---- */

/* Most events schedule another one, which takes the place at once. */
static void fire_first(void)
{
    struct sim_event *event = queue.entries[0].event;

    queue.now_us = event->at_us;
    queue.fired++;
    sim_trace_mix(queue.now_us);
    event->place = 0;
    queue.vacant = true;
    event->fire(event);
    if (queue.vacant) {
        queue.vacant = false;
        struct entry last = queue.entries[--queue.count];
        if (queue.count != 0) {
            sift_down(1, last);
        }
    }
}

bool sim_run_until(uint64_t until_us)
{
    assert(!queue.running);
    queue.running = true;
    queue.stopped = false;
    while (!queue.stopped && queue.count != 0 && queue.entries[0].at_us <= until_us) {
        fire_first();
    }
    queue.running = false;
    if (queue.stopped) {
        return false;
    }
    if (until_us > queue.now_us) {
        queue.now_us = until_us;
    }
    return true;
}

void sim_stop(void)
{
    queue.stopped = true;
}

void sim_events_reset(void)
{
    assert(!queue.running);
    for (size_t i = 0; i < queue.count; i++) {
        queue.entries[i].event->place = 0;
    }
    sim_free(queue.entries);
    queue.entries = NULL;
    queue.count = queue.capacity = 0;
    queue.now_us = queue.order = queue.fired = queue.hash = 0;
}

/* ---- the trace ---- */

uint64_t sim_trace_hash(void)
{
    return sim_mix1(queue.hash);
}

/* One multiplication: this is done for everything that happens. The rotation brings what the product
 * has put into its high bits down to where the next one spreads it. */
void sim_trace_mix(uint64_t value)
{
    uint64_t hash = (queue.hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);

    queue.hash = (hash << 29 | hash >> 35) + 1;
}

uint64_t sim_events_count(void)
{
    return queue.fired;
}
