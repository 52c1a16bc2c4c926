/* client_due.c - which hold needs a look next: a binary heap of locks by due_ms.
 *
 * A client may hold a hundred thousand locks, and there is a step for every few answers: a step must
 * not look at all of them. */
#include "client_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static void set(struct client_due *due, size_t place, struct client_lock *lock)
{
    due->locks[place] = lock;
    lock->due_place = place + 1;
}

static void sift_up(struct client_due *due, size_t place)
{
    struct client_lock *lock = due->locks[place];
    while (place > 0) {
        size_t parent = (place - 1) / 2;
        if (due->locks[parent]->due_ms <= lock->due_ms)
            break;
        set(due, place, due->locks[parent]);
        place = parent;
    }
    set(due, place, lock);
}

static void sift_down(struct client_due *due, size_t place)
{
    struct client_lock *lock = due->locks[place];
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < due->count &&
            due->locks[child + 1]->due_ms < due->locks[child]->due_ms)
            child++;
        if (child >= due->count || lock->due_ms <= due->locks[child]->due_ms)
            break;
        set(due, place, due->locks[child]);
        place = child;
    }
    set(due, place, lock);
}

int client_due_reserve(struct client_due *due, size_t count)
{
    if (count <= due->capacity)
        return 0;
    size_t capacity = due->capacity > 0 ? 2 * due->capacity : 16;
    struct client_lock **locks = realloc(due->locks, capacity * sizeof(*locks));
    if (locks == NULL)
        return -ENOMEM;
    due->locks = locks;
    due->capacity = capacity;
    return 0;
}

void client_due_put(struct client_due *due, struct client_lock *lock, uint64_t at_ms)
{
    if (lock->due_place == 0) {
        assert(due->count < due->capacity);
        set(due, due->count++, lock);
    }
    lock->due_ms = at_ms;
    sift_up(due, lock->due_place - 1);
    sift_down(due, lock->due_place - 1);
}

void client_due_remove(struct client_due *due, struct client_lock *lock)
{
    if (lock->due_place == 0)
        return;
    size_t place = lock->due_place - 1;
    struct client_lock *last = due->locks[--due->count];
    lock->due_place = 0;
    if (last == lock)
        return;
    set(due, place, last);
    sift_up(due, place);
    sift_down(due, last->due_place - 1);
}

struct client_lock *client_due_first(const struct client_due *due)
{
    return due->count > 0 ? due->locks[0] : NULL;
}
