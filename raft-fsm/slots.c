/* Slots of a counting lock: a bitmap of those that are taken, as long as the highest one
 * needs. */
#include <assert.h>

#include "claim.h"
#include "memory.h"

enum { WORD_BITS = 64 };

struct slots {
    uint32_t words_count;
    uint32_t full_words; /* all words before this one are full: no need to look there */
    uint64_t words[];
};

static uint64_t bit_of(uint32_t slot)
{
    return UINT64_C(1) << (slot % WORD_BITS);
}

static void slots_grow(struct lock *lock, uint32_t slot)
{
    uint32_t have = lock->slots != NULL ? lock->slots->words_count : 0;
    uint32_t full = lock->slots != NULL ? lock->slots->full_words : 0;
    uint32_t need = slot / WORD_BITS + 1;

    if (need <= have) {
        return;
    }
    need = need > have * 2 ? need : have * 2;
    lock->slots =
        memory_resize(lock->slots, 1, sizeof(*lock->slots) + need * sizeof(uint64_t));
    memset(&lock->slots->words[have], 0, (need - have) * sizeof(uint64_t));
    lock->slots->words_count = need;
    lock->slots->full_words = full;
}

bool slot_take(struct lock *lock, uint32_t slot)
{
    assert(slot < lock->limit);
    slots_grow(lock, slot);
    if (lock->slots->words[slot / WORD_BITS] & bit_of(slot)) {
        return false;
    }
    lock->slots->words[slot / WORD_BITS] |= bit_of(slot);
    return true;
}

uint16_t slot_take_lowest(struct lock *lock)
{
    struct slots *slots = lock->slots;
    uint32_t slot = 0;

    if (slots != NULL) {
        while (slots->full_words < slots->words_count &&
               slots->words[slots->full_words] == UINT64_MAX) {
            slots->full_words++;
        }
        slot = slots->full_words * WORD_BITS;
        if (slots->full_words < slots->words_count) {
            slot += (uint32_t)__builtin_ctzll(~slots->words[slots->full_words]);
        }
    }
    slot_take(lock, slot);
    return (uint16_t)slot;
}

void slot_give_back(struct lock *lock, uint16_t slot)
{
    struct slots *slots = lock->slots;

    assert(slots->words[slot / WORD_BITS] & bit_of(slot));
    slots->words[slot / WORD_BITS] &= ~bit_of(slot);
    if (slot / WORD_BITS < slots->full_words) {
        slots->full_words = slot / WORD_BITS;
    }
}

bool slots_are_consistent(const struct lock *lock)
{
    const struct claim *hold;
    uint32_t taken = 0;

    if (lock->slots == NULL) {
        return lock->limit == 1 || lock->holds_count == 0;
    }
    for (uint32_t i = 0; i < lock->slots->words_count; i++) {
        taken += (uint32_t)__builtin_popcountll(lock->slots->words[i]);
        if (i < lock->slots->full_words && lock->slots->words[i] != UINT64_MAX) {
            return false;
        }
    }
    DL_FOREACH(lock->holds, hold)
    {
        if (!(lock->slots->words[hold->slot / WORD_BITS] & bit_of(hold->slot))) {
            return false;
        }
    }
    return taken == lock->holds_count;
}
