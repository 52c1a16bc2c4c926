#include "pending.h"

#include <assert.h>

#include "xalloc.h"

#define uthash_fatal(message) abort()
#include <uthash.h>
#include <utlist.h>
#include <xxhash.h>

struct answer_to answer_to_request(const struct wire_request *request)
{
    struct answer_to to = {.key = xmemdup(request->key.data, request->key.len),
                           .key_len = request->key.len};

    if (request->type == WIRE_REQ_LOCK) {
        to.has_client_time = request->lock_.has_client_time;
        to.client_time = request->lock_.client_time;
    } else if (request->type == WIRE_REQ_REFRESH) {
        to.has_client_time = request->refresh.has_client_time;
        to.client_time = request->refresh.client_time;
    }
    return to;
}

void answer_to_release(struct answer_to *to)
{
    free(to->key);
    *to = (struct answer_to){0};
}

/* ---- slots ---- */

enum { BLOCK_SLOTS = 256 };

static struct pending *slot_at(const struct pendings *pendings, uint32_t index)
{
    return &pendings->blocks[index / BLOCK_SLOTS][index % BLOCK_SLOTS];
}

static struct pending *slot_take(struct pendings *pendings)
{
    if (pendings->first_free != 0) {
        struct pending *slot = slot_at(pendings, pendings->first_free - 1);
        pendings->first_free = slot->next_free;
        return slot;
    }
    if (pendings->slots_count == pendings->blocks_count * BLOCK_SLOTS) {
        size_t count = pendings->blocks_count + 1u;
        pendings->blocks =
            xrealloc(pendings->blocks, count * sizeof(pendings->blocks[0]));
        pendings->blocks[pendings->blocks_count++] =
            xcalloc(BLOCK_SLOTS * sizeof(struct pending));
    }
    struct pending *slot = slot_at(pendings, pendings->slots_count);
    slot->index = pendings->slots_count++;
    return slot;
}

/* generation in the upper half, index + 1 in the lower: never 0, which means nobody
 * asked. */
static uint64_t next_ref(const struct pending *slot)
{
    return ((slot->ref >> 32) + 1) << 32 | (slot->index + 1u);
}

struct pending *
pending_new(struct pendings *pendings, enum pending_kind kind, struct answer_to to)
{
    struct pending *slot = slot_take(pendings);

    *slot = (struct pending){
        .kind = kind,
        .to = to,
        .index = slot->index,
        .ref = next_ref(slot),
    };
    pendings->in_use++;
    return slot;
}

struct pending *pending_find(const struct pendings *pendings, uint64_t ref)
{
    uint64_t place = ref & UINT32_MAX;

    if (place == 0 || place > pendings->slots_count) {
        return NULL;
    }
    struct pending *slot = slot_at(pendings, (uint32_t)place - 1);
    return slot->kind != 0 && slot->ref == ref ? slot : NULL;
}

void pending_free(struct pendings *pendings, struct pending *slot)
{
    assert(slot->kind != 0);
    answer_to_release(&slot->to);
    memset(slot->secret, 0, sizeof(slot->secret));
    slot->kind = 0;
    slot->session = NULL;
    slot->next_free = pendings->first_free;
    pendings->first_free = slot->index + 1;
    pendings->in_use--;
}

void pendings_clear(struct pendings *pendings)
{
    for (uint32_t i = 0; i < pendings->slots_count; i++) {
        struct pending *slot = slot_at(pendings, i);
        if (slot->kind != 0) {
            pending_free(pendings, slot);
        }
    }
}

void pendings_release(struct pendings *pendings)
{
    pendings_clear(pendings);
    for (uint32_t i = 0; i < pendings->blocks_count; i++) {
        free(pendings->blocks[i]);
    }
    free(pendings->blocks);
    *pendings = (struct pendings){0};
}

/* ---- waits ---- */

struct waiting_key {
    UT_hash_handle hh;
    struct waiting *first; /* oldest */
    size_t len;
    char bytes[]; /* length of the client id, the id, the lock */
};

enum { KEY_BYTES_MAX = 1 + 2 * FSM_NAME_BYTES_MAX };

static size_t
put_key(char out[static KEY_BYTES_MAX], struct fsm_str client, struct fsm_str lock)
{
    assert(client.len <= FSM_NAME_BYTES_MAX);
    assert(lock.len <= FSM_NAME_BYTES_MAX);
    out[0] = (char)client.len;
    memcpy(out + 1, client.data, client.len);
    memcpy(out + 1 + client.len, lock.data, lock.len);
    return 1 + client.len + lock.len;
}

static struct waiting_key *
key_find(const struct waitings *waitings, const char *bytes, size_t len)
{
    struct waiting_key *key;
    unsigned hash = (unsigned)XXH64(bytes, len, waitings->hash_seed);

    HASH_FIND_BYHASHVALUE(hh, waitings->keys, bytes, len, hash, key);
    return key;
}

static struct waiting_key *
key_get(struct waitings *waitings, const char *bytes, size_t len)
{
    struct waiting_key *key = key_find(waitings, bytes, len);

    if (key == NULL) {
        unsigned hash = (unsigned)XXH64(bytes, len, waitings->hash_seed);
        key = xcalloc(sizeof(*key) + len);
        key->len = len;
        memcpy(key->bytes, bytes, len);
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, waitings->keys, key->bytes, len, hash, key);
    }
    return key;
}

struct waiting *waiting_add(struct waitings *waitings,
                            struct fsm_str client,
                            struct fsm_str lock,
                            struct answer_to to)
{
    char bytes[KEY_BYTES_MAX];
    size_t len = put_key(bytes, client, lock);
    struct waiting *waiting = xcalloc(sizeof(*waiting));

    waiting->key = key_get(waitings, bytes, len);
    waiting->to = to;
    LL_APPEND2(waiting->key->first, waiting, more);
    return waiting;
}

struct waiting *
waiting_find(const struct waitings *waitings, struct fsm_str client, struct fsm_str lock)
{
    char bytes[KEY_BYTES_MAX];
    size_t len = put_key(bytes, client, lock);
    const struct waiting_key *key = key_find(waitings, bytes, len);

    return key != NULL ? key->first : NULL;
}

void waiting_free(struct waitings *waitings, struct waiting *waiting)
{
    struct waiting_key *key = waiting->key;

    LL_DELETE2(key->first, waiting, more);
    if (key->first == NULL) {
        HASH_DELETE(hh, waitings->keys, key);
        free(key);
    }
    answer_to_release(&waiting->to);
    free(waiting);
}
