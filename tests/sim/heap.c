/* Memory: malloc() and its relatives as the shipped code sees them, and the simulator's own.
 *
 * Every block has a head before it that says whose it is, so that free() needs to know nothing more, and
 * a process that dies takes with it what is on its list. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <raft.h>

#include "process.h"

#if defined(__SANITIZE_ADDRESS__)
#define EVERY_BLOCK_REAL 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EVERY_BLOCK_REAL 1
#endif
#endif
#ifndef EVERY_BLOCK_REAL
#define EVERY_BLOCK_REAL 0
#endif

enum {
    STEP_BYTES = 16,
    KEPT_BYTES_MAX =
        1024, /* smaller blocks are kept when they are freed, for the next one */
    KEPT_CLASSES = KEPT_BYTES_MAX / STEP_BYTES,
    /* What new memory holds: always the same, so that a program that looks at it before it wrote does
     * at least behave the same in every run. */
    FRESH = 0xa5,
};

#if EVERY_BLOCK_REAL
/* Of the stack on which a block was allocated: with all 30 frames that are the default, a fifth of a run goes
 * into them. ASAN_OPTIONS in the environment overrides it. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "malloc_context_size=12";
}
#endif

/* What is returned by malloc() follows it. */
struct sim_block {
    struct sim_block *next;
    struct sim_block **link; /* what points to this one: the list's head, or a next */
    struct sim_process *owner;
    uint32_t size;
    uint32_t offset; /* from where the system's memory begins; not 0 for an aligned one */
};
_Static_assert(sizeof(struct sim_block) % _Alignof(max_align_t) == 0, "malloc() aligns");

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
void __wrap_free(void *memory);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len_max);

static struct sim_block *kept[KEPT_CLASSES + 1];

/* ---- blocks ---- */

static struct sim_block *block_of(void *memory)
{
    return (struct sim_block *)memory - 1;
}

static void *memory_of(struct sim_block *block)
{
    return block + 1;
}

/* Blocks of a class have all room for its largest size. */
static size_t class_of(size_t size)
{
    return size == 0 ? 1 : (size + STEP_BYTES - 1) / STEP_BYTES;
}

static bool is_kept(size_t size)
{
    return !EVERY_BLOCK_REAL && size <= KEPT_BYTES_MAX;
}

static struct sim_block *get_kept(size_t size)
{
    size_t class = class_of(size);
    struct sim_block *block = kept[class];

    if (block == NULL) {
        return __real_malloc(sizeof(*block) + class * STEP_BYTES);
    }
    kept[class] = block->next;
    __builtin_prefetch(kept[class], 1); /* it has been out of use for long */
    return block;
}

/* One that belongs to nobody, not cleared. No process has 4 GiB. */
static struct sim_block *get(size_t size)
{
    struct sim_block *block = NULL;

    if (size <= UINT32_MAX) {
        block = is_kept(size) ? get_kept(size) : __real_malloc(sizeof(*block) + size);
    }
    if (block == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    *block = (struct sim_block){.size = (uint32_t)size};
    return block;
}

static void put_back(struct sim_block *block)
{
    if (block->offset == 0 && is_kept(block->size)) {
        size_t class = class_of(block->size);
        block->next = kept[class];
        kept[class] = block;
    } else {
        __real_free((char *)block - block->offset);
    }
}

/* ---- whose they are ---- */

static void own(struct sim_process *process, struct sim_block *block)
{
    if (process == NULL) {
        return;
    }
    block->owner = process;
    block->next = process->blocks;
    block->link = &process->blocks;
    if (block->next != NULL) {
        block->next->link = &block->next;
    }
    process->blocks = block;
    process->heap_bytes += block->size;
}

static void disown(struct sim_block *block)
{
    if (block->owner == NULL) {
        return;
    }
    *block->link = block->next;
    if (block->next != NULL) {
        block->next->link = block->link;
    }
    assert(block->owner->heap_bytes >= block->size);
    block->owner->heap_bytes -= block->size;
    block->owner = NULL;
}

/* heap_bytes stays what it was. */
void sim_heap_end(struct sim_process *process)
{
    struct sim_block *block = process->blocks;

    process->blocks = NULL;
    while (block != NULL) {
        struct sim_block *next = block->next;
        put_back(block);
        block = next;
    }
}

size_t sim_process_heap_bytes(const struct sim_process *process)
{
    return process->heap_bytes;
}

static void *get_for(struct sim_process *owner, size_t size, int content)
{
    struct sim_block *block = get(size);

    if (block == NULL) {
        return NULL;
    }
    own(owner, block);
    return memset(memory_of(block), content, size);
}

/* What is large comes zeroed from the system, and costs nothing until it is used. */
static void *get_zero_for(struct sim_process *owner, size_t size)
{
    if (is_kept(size) || size > UINT32_MAX) {
        return get_for(owner, size, 0);
    }
    struct sim_block *block = __real_calloc(1, sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }
    block->size = (uint32_t)size;
    own(owner, block);
    return memory_of(block);
}

/* A block that belongs to nobody becomes another one, with what it held. NULL: it is what it was. */
static struct sim_block *copy(struct sim_block *block, size_t size)
{
    size_t common = size < block->size ? size : block->size;
    struct sim_block *moved = get(size);

    if (moved != NULL) {
        memcpy(memory_of(moved), memory_of(block), common);
        memset((char *)memory_of(moved) + common, FRESH, size - common);
        put_back(block);
    }
    return moved;
}

/* The same for two sizes that are not kept: the system can do that without copying. */
static struct sim_block *stretch(struct sim_block *block, size_t size)
{
    struct sim_block *moved = __real_realloc(block, sizeof(*block) + size);

    if (moved != NULL) {
        if (size > moved->size) {
            memset((char *)memory_of(moved) + moved->size, FRESH, size - moved->size);
        }
        moved->size = (uint32_t)size;
    }
    return moved;
}

/* It stays its owner's, whoever asks. */
static void *resize(void *memory, size_t size)
{
    struct sim_block *block = block_of(memory);
    struct sim_process *owner = block->owner;
    bool both_kept = is_kept(size) && is_kept(block->size) && block->offset == 0;
    bool none_kept = !is_kept(size) && !is_kept(block->size) && block->offset == 0;

    if (both_kept && class_of(size) == class_of(block->size)) {
        if (owner != NULL) {
            owner->heap_bytes = owner->heap_bytes - block->size + size;
        }
        block->size = (uint32_t)size;
        return memory;
    }
    disown(block);
    bool stretches = none_kept && size <= UINT32_MAX;
    struct sim_block *moved = stretches ? stretch(block, size) : copy(block, size);
    own(owner, moved != NULL ? moved : block);
    return moved != NULL ? memory_of(moved) : NULL;
}

/* ---- what the shipped code calls ---- */

void *__wrap_malloc(size_t size)
{
    return get_for(sim_process_current(), size, FRESH);
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return get_zero_for(sim_process_current(), count * size);
}

void __wrap_free(void *memory)
{
    if (memory != NULL) {
        disown(block_of(memory));
        put_back(block_of(memory));
    }
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (memory == NULL) {
        return __wrap_malloc(size);
    }
    if (size == 0) {
        __wrap_free(memory);
        return NULL;
    }
    return resize(memory, size);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return __wrap_realloc(memory, count * size);
}

char *__wrap_strndup(const char *text, size_t len_max)
{
    size_t len = strnlen(text, len_max);
    char *copy = get_zero_for(sim_process_current(), len + 1);

    return copy != NULL ? memcpy(copy, text, len) : NULL;
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, PTRDIFF_MAX);
}

/* ---- what libraft calls ---- */

static void *raft_heap_malloc(void *data, size_t size)
{
    (void)data;
    return __wrap_malloc(size);
}

static void *raft_heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return __wrap_calloc(count, size);
}

static void *raft_heap_realloc(void *data, void *memory, size_t size)
{
    (void)data;
    return __wrap_realloc(memory, size);
}

static void raft_heap_free(void *data, void *memory)
{
    (void)data;
    __wrap_free(memory);
}

static void *raft_heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 ||
        alignment > UINT32_MAX / 2 || size > UINT32_MAX) {
        return NULL;
    }
    char *base = __real_malloc(sizeof(struct sim_block) + alignment + size);
    if (base == NULL) {
        return NULL;
    }
    char *head = base + sizeof(struct sim_block);
    size_t past = (uintptr_t)head & (alignment - 1);
    char *memory = head + (past != 0 ? alignment - past : 0);
    struct sim_block *block = block_of(memory);
    *block = (struct sim_block){
        .size = (uint32_t)size,
        .offset = (uint32_t)((char *)block - base),
    };
    own(sim_process_current(), block);
    return memset(memory, FRESH, size);
}

static void raft_heap_aligned_free(void *data, size_t alignment, void *memory)
{
    (void)data;
    (void)alignment;
    __wrap_free(memory);
}

void sim_heap_install(void)
{
    static struct raft_heap heap = {
        .malloc = raft_heap_malloc,
        .free = raft_heap_free,
        .calloc = raft_heap_calloc,
        .realloc = raft_heap_realloc,
        .aligned_alloc = raft_heap_aligned_alloc,
        .aligned_free = raft_heap_aligned_free,
    };

    raft_heap_set(&heap);
}

/* ---- the simulator's own ---- */

static void *there(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

void *sim_alloc(size_t size)
{
    return there(get_zero_for(NULL, size));
}

void *sim_realloc(void *memory, size_t size)
{
    return memory != NULL ? there(resize(memory, size)) : sim_alloc(size);
}

void sim_free(void *memory)
{
    __wrap_free(memory);
}

char *sim_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;

    return memcpy(sim_alloc(bytes), text, bytes);
}
