/* check_store.c - names as numbers, growing arrays, and a table of numbers. Nothing is ever looked through
 * in the order of a hash. */
#include "check_internal.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "random.h"

enum { MAP_CAPACITY_MIN = 64 };

/* ---- arrays -------------------------------------------------------------------------- */

void check_array_grow(struct check_array *array, size_t count)
{
    size_t chunks = (count + CHECK_CHUNK_ITEMS - 1) >> CHECK_CHUNK_BITS;

    if (chunks > array->chunks_count) {
        size_t room = chunks + chunks / 2;
        array->chunks = sim_realloc(array->chunks, room * sizeof(array->chunks[0]));
        for (; array->chunks_count < room; array->chunks_count++) {
            array->chunks[array->chunks_count] = NULL;
        }
    }
    for (size_t i = array->count >> CHECK_CHUNK_BITS; i < chunks; i++) {
        if (array->chunks[i] == NULL) {
            array->chunks[i] = sim_alloc(CHECK_CHUNK_ITEMS * array->size);
        }
    }
    if (count > array->count) {
        array->count = count;
    }
}

void *check_array_push(struct check_array *array)
{
    check_array_grow(array, array->count + 1);
    return check_array_at(array, array->count - 1);
}

void check_array_free(struct check_array *array)
{
    for (size_t i = 0; i < array->chunks_count; i++) {
        sim_free(array->chunks[i]);
    }
    sim_free(array->chunks);
    *array = (struct check_array){.size = array->size};
}

/* ---- maps ---------------------------------------------------------------------------- */

/* The item of @key, or the free one where it belongs. */
static struct check_map_item *find(const struct check_map *map, uint64_t key)
{
    size_t i = sim_mix1(key) & (map->capacity - 1);

    while (map->items[i].key != key && map->items[i].key != 0) {
        i = (i + 1) & (map->capacity - 1);
    }
    return &map->items[i];
}

static void map_grow(struct check_map *map)
{
    struct check_map old = *map;

    map->capacity = old.capacity == 0 ? MAP_CAPACITY_MIN : old.capacity * 2;
    map->items = sim_alloc(map->capacity * sizeof(map->items[0]));
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.items[i].key != 0) {
            *find(map, old.items[i].key) = old.items[i];
        }
    }
    sim_free(old.items);
}

uint64_t check_map_get(const struct check_map *map, uint64_t key)
{
    return map->capacity > 0 && key != 0 ? find(map, key)->value : 0;
}

uint64_t *check_map_at(struct check_map *map, uint64_t key)
{
    if (map->count * 4 >= map->capacity * 3) {
        map_grow(map);
    }

    struct check_map_item *item = find(map, key);

    if (item->key == 0) {
        item->key = key;
        map->count++;
    }
    return &item->value;
}

void check_map_free(struct check_map *map)
{
    sim_free(map->items);
    *map = (struct check_map){0};
}

/* ---- names --------------------------------------------------------------------------- */

struct name {
    uint64_t hash;
    uint32_t len;
    uint32_t next; /* of the same bucket; 0: none */
    char *text;
};

static struct {
    struct check_array list; /* of struct name; number 0 is the empty name */
    uint32_t *buckets;
    size_t buckets_count;
} names = {.list = {.size = sizeof(struct name)}};

static struct name *name_at(uint32_t number)
{
    return check_array_at(&names.list, number);
}

static void rehash(void)
{
    names.buckets_count =
        names.buckets_count == 0 ? MAP_CAPACITY_MIN : names.buckets_count * 2;
    sim_free(names.buckets);
    names.buckets = sim_alloc(names.buckets_count * sizeof(names.buckets[0]));
    for (uint32_t i = 1; i < names.list.count; i++) {
        struct name *name = name_at(i);
        uint32_t *bucket = &names.buckets[name->hash & (names.buckets_count - 1)];
        name->next = *bucket;
        *bucket = i;
    }
}

static uint32_t name_new(const char *data, size_t len, uint64_t hash)
{
    if (names.list.count == 0) {
        check_array_push(&names.list);
    }

    struct name *name = check_array_push(&names.list);

    name->hash = hash;
    name->len = (uint32_t)len;
    name->text = sim_alloc(len + 1);
    memcpy(name->text, data, len);
    if (names.list.count > names.buckets_count) {
        rehash();
        return (uint32_t)names.list.count - 1;
    }

    uint32_t *bucket = &names.buckets[hash & (names.buckets_count - 1)];

    name->next = *bucket;
    *bucket = (uint32_t)names.list.count - 1;
    return *bucket;
}

uint32_t check_name(const char *data, size_t len)
{
    uint64_t hash;

    if (len == 0) {
        return 0;
    }
    hash = XXH3_64bits(data, len);
    if (names.buckets_count > 0) {
        uint32_t number = names.buckets[hash & (names.buckets_count - 1)];
        for (; number != 0; number = name_at(number)->next) {
            const struct name *name = name_at(number);
            if (name->hash == hash && name->len == len &&
                memcmp(name->text, data, len) == 0) {
                return number;
            }
        }
    }
    return name_new(data, len, hash);
}

uint32_t check_name_of(struct fsm_str str)
{
    return check_name(str.data, str.len);
}

uint32_t check_name_of_text(const char *text)
{
    return text != NULL ? check_name(text, strlen(text)) : 0;
}

const char *check_name_text(uint32_t name)
{
    return name != 0 ? name_at(name)->text : "";
}

void check_store_free(void)
{
    for (uint32_t i = 1; i < names.list.count; i++) {
        sim_free(name_at(i)->text);
    }
    check_array_free(&names.list);
    sim_free(names.buckets);
    names.buckets = NULL;
    names.buckets_count = 0;
}
