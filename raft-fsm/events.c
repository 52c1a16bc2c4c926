#include "events.h"

#include <assert.h>

#include "digest.h"
#include "election.h"
#include "memory.h"

enum {
    CHUNK_BYTES = 64 * 1024,
    KEPT_BYTES_MAX = 1024 * 1024, /* of chunks, from one round to the next */
    EVENTS_CAPACITY_MIN = 64,
};

struct chunk {
    struct chunk *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) char data[];
};

struct fsm_arena {
    struct chunk *filling; /* the chunks behind it are full or nearly so */
    struct chunk *spare;
};

static struct chunk *chunk_take(struct fsm_arena *arena, size_t size)
{
    struct chunk *chunk = arena->spare;

    if (chunk != NULL && chunk->size >= size) {
        arena->spare = chunk->next;
    } else {
        size_t chunk_size = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        chunk = memory_new(sizeof(*chunk) + chunk_size);
        chunk->size = chunk_size;
    }
    chunk->next = arena->filling;
    arena->filling = chunk;
    return chunk;
}

static void *arena_alloc(struct fsm_arena *arena, size_t size)
{
    struct chunk *chunk = arena->filling;
    size_t rounded = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);

    if (chunk == NULL || chunk->size - chunk->used < rounded) {
        chunk = chunk_take(arena, rounded);
    }
    chunk->used += rounded;
    return chunk->data + chunk->used - rounded;
}

static void chunks_free(struct chunk *chunk)
{
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

/* Keep ordinary chunks for the next round, up to a bound; give the rest back. */
static void arena_clear(struct fsm_arena *arena)
{
    struct chunk *chunk = arena->filling;
    size_t kept = 0;

    for (struct chunk *spare = arena->spare; spare != NULL; spare = spare->next) {
        kept += spare->size;
    }
    arena->filling = NULL;
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        if (chunk->size > CHUNK_BYTES || kept + chunk->size > KEPT_BYTES_MAX) {
            free(chunk);
        } else {
            kept += chunk->size;
            chunk->used = 0;
            chunk->next = arena->spare;
            arena->spare = chunk;
        }
        chunk = next;
    }
}

void fsm_events_clear(struct fsm_events *events)
{
    events->count = 0;
    if (events->arena != NULL) {
        arena_clear(events->arena);
    }
}

void fsm_events_release(struct fsm_events *events)
{
    if (events->arena != NULL) {
        chunks_free(events->arena->filling);
        chunks_free(events->arena->spare);
        free(events->arena);
    }
    free(events->items);
    *events = (struct fsm_events){0};
}

static void keep_str(struct fsm_arena *arena, struct fsm_str *str)
{
    if (str->len == 0) {
        *str = (struct fsm_str){0};
        return;
    }
    str->data = memcpy(arena_alloc(arena, str->len), str->data, str->len);
}

static void keep_claim(struct fsm_arena *arena, struct fsm_claim *claim)
{
    keep_str(arena, &claim->client);
    keep_str(arena, &claim->lock);
    keep_str(arena, &claim->owner_info);
}

static void keep_event(struct fsm_events *out, const struct fsm_event *event)
{
    struct fsm_event *kept;

    if (out->arena == NULL) {
        out->arena = memory_new(sizeof(*out->arena));
    }
    if (out->count == out->capacity) {
        out->capacity = out->capacity == 0 ? EVENTS_CAPACITY_MIN : out->capacity * 2;
        out->items = memory_resize(out->items, out->capacity, sizeof(out->items[0]));
    }
    kept = &out->items[out->count++];
    *kept = *event;
    keep_str(out->arena, &kept->client);
    keep_str(out->arena, &kept->lock);
    keep_claim(out->arena, &kept->claim);
    kept->claims = NULL;
    if (event->claims_count > 0) {
        size_t bytes = event->claims_count * sizeof(event->claims[0]);
        struct fsm_claim *claims =
            memcpy(arena_alloc(out->arena, bytes), event->claims, bytes);
        for (uint32_t i = 0; i < event->claims_count; i++) {
            keep_claim(out->arena, &claims[i]);
        }
        kept->claims = claims;
    }
}

void events_tell(struct fsm *fsm, struct fsm_event *event)
{
    fsm->digest = digest_event(fsm->digest, event);
    if (fsm->out != NULL) {
        keep_event(fsm->out, event);
    }
}

void events_list(struct fsm *fsm, struct fsm_event *event)
{
    event->command = fsm->command->type;
    events_tell(fsm, event);
}

void events_answer(struct fsm *fsm, struct fsm_event *event)
{
    assert(!fsm->answered);
    fsm->answered = true;
    event->ref = fsm->command->ref;
    event->command = fsm->command->type;
    events_tell(fsm, event);
}

void events_answer_denied(struct fsm *fsm, enum fsm_deny reason)
{
    struct fsm_event event = {
        .type = FSM_EV_DENIED,
        .client = fsm->command->client,
        .lock = fsm->command->lock,
        .deny = reason,
    };
    events_answer(fsm, &event);
}

void claim_show(const struct fsm *fsm,
                const struct claim *claim,
                struct fsm_claim *ret_claim)
{
    uint64_t deadline_ms = claim_deadline_ms(&fsm->elections, claim);

    *ret_claim = (struct fsm_claim){
        .client = client_id(claim->client),
        .lock = lock_name(claim->lock),
        .type = (enum fsm_type)claim->type,
        .drop = (enum fsm_drop)claim->drop,
        .waiting = claim->waiting,
        .connected = claim->client->presence == FSM_ATTACHED,
        .token = claim->waiting ? 0 : claim->token,
        .slot = claim->waiting ? 0 : claim->slot,
        .limit = claim->lock->limit,
        .since_ms = fsm->now_ms - claim->since_ms,
        .remaining_ms = FSM_UNLIMITED,
        .hold_ms = claim->hold_ms,
    };
    if (claim->owner_info != NULL) {
        ret_claim->owner_info =
            (struct fsm_str){claim->owner_info->data, claim->owner_info->len};
    }
    if (deadline_ms != FSM_UNLIMITED) {
        ret_claim->remaining_ms =
            deadline_ms > fsm->now_ms ? deadline_ms - fsm->now_ms : 0;
    }
}

void events_show_holders(struct fsm *fsm,
                         struct fsm_event *event,
                         const struct lock *lock,
                         uint32_t max)
{
    uint32_t count = lock->holds_count < max ? lock->holds_count : max;
    struct fsm_claim *shown = events_room(fsm, count);
    const struct claim *hold = lock->holds;

    for (uint32_t i = 0; i < count; i++, hold = hold->next) {
        claim_show(fsm, hold, &shown[i]);
    }
    event->claims = shown;
    event->claims_count = count;
    event->holders_count = lock->holds_count;
    event->queue_length = lock->waits_count;
}

struct fsm_claim *events_room(struct fsm *fsm, uint32_t count)
{
    if (count > fsm->shown_capacity) {
        fsm->shown = memory_resize(fsm->shown, count, sizeof(fsm->shown[0]));
        fsm->shown_capacity = count;
    }
    return fsm->shown;
}
