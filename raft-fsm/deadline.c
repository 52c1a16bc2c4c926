#include "deadline.h"

#include <assert.h>
#include <stdbool.h>

#include "fsm.h"
#include "memory.h"

enum { HEAP_CAPACITY_MIN = 64 };

void deadline_init(struct deadline *deadline, enum deadline_kind kind)
{
    *deadline = (struct deadline){.at_ms = FSM_UNLIMITED, .kind = kind & 3};
}

void deadline_heap_release(struct deadline_heap *heap)
{
    free(heap->items);
    *heap = (struct deadline_heap){0};
}

static bool happens_before(const struct deadline *a, const struct deadline *b)
{
    if (a->at_ms != b->at_ms) {
        return a->at_ms < b->at_ms;
    }
    return a->order < b->order;
}

static void put(struct deadline_heap *heap, uint32_t place, struct deadline *deadline)
{
    heap->items[place] = deadline;
    deadline->place = place & DEADLINES_MAX;
}

static void sift_up(struct deadline_heap *heap, uint32_t place)
{
    struct deadline *moving = heap->items[place];

    while (place > 1 && happens_before(moving, heap->items[place / 2])) {
        put(heap, place, heap->items[place / 2]);
        place /= 2;
    }
    put(heap, place, moving);
}

static void sift_down(struct deadline_heap *heap, uint32_t place)
{
    struct deadline *moving = heap->items[place];

    while (place * 2 <= heap->count) {
        uint32_t child = place * 2;
        if (child < heap->count &&
            happens_before(heap->items[child + 1], heap->items[child])) {
            child++;
        }
        if (!happens_before(heap->items[child], moving)) {
            break;
        }
        put(heap, place, heap->items[child]);
        place = child;
    }
    put(heap, place, moving);
}

static void insert(struct deadline_heap *heap, struct deadline *deadline)
{
    if (heap->count + 1 >= heap->capacity) {
        assert(heap->capacity <= DEADLINES_MAX / 2);
        heap->capacity = heap->capacity == 0 ? HEAP_CAPACITY_MIN : heap->capacity * 2;
        heap->items = memory_resize(heap->items, heap->capacity, sizeof(heap->items[0]));
    }
    heap->count++;
    put(heap, heap->count, deadline);
    sift_up(heap, heap->count);
}

static void remove_at(struct deadline_heap *heap, uint32_t place)
{
    struct deadline *last = heap->items[heap->count];

    assert(place >= 1 && place <= heap->count);
    heap->items[place]->place = 0;
    heap->count--;
    if (place > heap->count) {
        return;
    }
    put(heap, place, last);
    sift_up(heap, place);
    sift_down(heap, last->place);
}

void deadline_set(struct deadline_heap *heap, struct deadline *deadline, uint64_t at_ms)
{
    if (deadline->place != 0) {
        remove_at(heap, deadline->place);
    }
    deadline->at_ms = at_ms;
    if (at_ms != FSM_UNLIMITED) {
        insert(heap, deadline);
    }
}

struct deadline *deadline_first(const struct deadline_heap *heap)
{
    return heap->count == 0 ? NULL : heap->items[1];
}

uint64_t deadline_after(uint64_t now_ms, uint64_t duration_ms)
{
    if (duration_ms > FSM_UNLIMITED - now_ms) {
        return FSM_UNLIMITED;
    }
    return now_ms + duration_ms;
}
