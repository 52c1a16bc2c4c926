#include "listing.h"

#include "memory.h"

void listing_init(struct listing *listing,
                  struct fsm_str prefix,
                  struct fsm_str after,
                  uint32_t max)
{
    max = max < 1 ? 1 : max;
    max = max > FSM_LIST_MAX ? FSM_LIST_MAX : max;
    *listing = (struct listing){.prefix = prefix, .after = after, .max = max};
    listing->items = memory_resize(NULL, max, sizeof(listing->items[0]));
}

static void sift_down(struct listing *listing, struct listed item)
{
    uint32_t place = 0;

    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child + 1 < listing->count &&
            str_compare(listing->items[child + 1].name, listing->items[child].name) > 0) {
            child++;
        }
        if (child >= listing->count ||
            str_compare(listing->items[child].name, item.name) <= 0) {
            break;
        }
        listing->items[place] = listing->items[child];
        place = child;
    }
    listing->items[place] = item;
}

static void sift_up(struct listing *listing, struct listed item)
{
    uint32_t place = listing->count++;

    while (place > 0 &&
           str_compare(listing->items[(place - 1) / 2].name, item.name) < 0) {
        listing->items[place] = listing->items[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    listing->items[place] = item;
}

static struct fsm_str own(const struct listing *listing, struct fsm_str name)
{
    if (!listing->copies || name.len == 0) {
        return name;
    }
    char *copy = memory_new(name.len);
    memcpy(copy, name.data, name.len);
    return (struct fsm_str){copy, name.len};
}

static void disown(const struct listing *listing, struct fsm_str name)
{
    if (listing->copies && name.len != 0) {
        free((char *)(uintptr_t)name.data);
    }
}

void listing_offer(struct listing *listing, struct fsm_str name, const void *record)
{
    struct fsm_str prefix = listing->prefix;
    struct fsm_str after = listing->after;

    if (name.len < prefix.len ||
        !str_equal((struct fsm_str){name.data, prefix.len}, prefix)) {
        return;
    }
    if (after.len > 0 && str_compare(name, after) <= 0) {
        return;
    }
    if (listing->count < listing->max) {
        sift_up(listing, (struct listed){own(listing, name), record});
        return;
    }
    listing->more = true;
    if (str_compare(name, listing->items[0].name) < 0) {
        disown(listing, listing->items[0].name);
        sift_down(listing, (struct listed){own(listing, name), record});
    }
}

static int compare_listed(const void *a, const void *b)
{
    return str_compare(((const struct listed *)a)->name,
                       ((const struct listed *)b)->name);
}

void listing_sort(struct listing *listing)
{
    qsort(listing->items, listing->count, sizeof(listing->items[0]), compare_listed);
}

void listing_release(struct listing *listing)
{
    for (uint32_t i = 0; i < listing->count; i++) {
        disown(listing, listing->items[i].name);
    }
    free(listing->items);
}
