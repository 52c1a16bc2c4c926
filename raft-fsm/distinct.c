#include "distinct.h"

#include "memory.h"

struct numbers {
    uint64_t *items;
    size_t count;
};

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static bool all_differ(const struct numbers *numbers)
{
    qsort(numbers->items, numbers->count, sizeof(numbers->items[0]), compare_numbers);
    for (size_t i = 1; i < numbers->count; i++) {
        if (numbers->items[i - 1] == numbers->items[i]) {
            return false;
        }
    }
    return true;
}

static void
collect(const struct client *client, struct numbers *ages, struct numbers *tokens)
{
    const struct claim *claim;

    ages->items[ages->count++] = client->grace.order;
    DL_FOREACH2(client->holds, claim, client_next)
    {
        ages->items[ages->count++] = claim->due.order;
        tokens->items[tokens->count++] = claim->token;
    }
    DL_FOREACH2(client->waits, claim, client_next)
    {
        ages->items[ages->count++] = claim->due.order;
    }
}

bool ages_and_tokens_differ(const struct fsm *fsm)
{
    size_t holds = (size_t)fsm->holds_count;
    size_t all = fsm->clients.count + holds + (size_t)fsm->waits_count;
    struct numbers ages = {.items = memory_new((all + 1) * sizeof(uint64_t))};
    struct numbers tokens = {.items = memory_new((holds + 1) * sizeof(uint64_t))};
    const struct client *client;

    for (client = client_first(fsm); client != NULL; client = client_next(client)) {
        collect(client, &ages, &tokens);
    }
    bool differ = all_differ(&ages) && all_differ(&tokens);
    free(ages.items);
    free(tokens.items);
    return differ;
}
