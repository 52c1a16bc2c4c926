/* deadline.h - everything that will happen by itself, in the order in which it will.
 *
 * A binary heap of pointers to deadlines that are embedded in what they belong to.
 * Ordered by time, then by age (`order`, unique in the machine), so that what is due
 * together happens in the same order on every replica. A deadline at FSM_UNLIMITED is
 * never in the heap and costs nothing there.
 */
#ifndef NETLOCK_DEADLINE_H
#define NETLOCK_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

enum deadline_kind { DEADLINE_OF_CLAIM, DEADLINE_OF_CLIENT };

/* Without padding: there is one in every claim. */
struct __attribute__((packed, aligned(4))) deadline {
    uint64_t at_ms;      /* FSM_UNLIMITED: never. Changed by deadline_set() only */
    uint64_t order;      /* must not change while at_ms is a time */
    uint32_t place : 30; /* in the heap, from 1; 0: not there */
    uint32_t kind : 2;   /* enum deadline_kind: what to find around this struct */
};

#define DEADLINES_MAX (UINT32_MAX / 4)

struct deadline_heap {
    struct deadline **items; /* places 1..count */
    uint32_t count;
    uint32_t capacity;
};

void deadline_init(struct deadline *deadline, enum deadline_kind kind);
void deadline_heap_release(struct deadline_heap *heap);

/* Let @deadline happen at @at_ms from now on; FSM_UNLIMITED takes it out of the heap. The
 * heap borrows the pointer until then. */
void deadline_set(struct deadline_heap *heap, struct deadline *deadline, uint64_t at_ms);

/* The next one; NULL if there is none. */
struct deadline *deadline_first(const struct deadline_heap *heap);

/* @now_ms + @duration_ms, FSM_UNLIMITED if either is or the sum does not fit. */
uint64_t deadline_after(uint64_t now_ms, uint64_t duration_ms);

#endif
