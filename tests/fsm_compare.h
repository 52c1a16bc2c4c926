/* fsm_compare.h - are two events, or two dumps, the same? Field by field, by value. */
#ifndef NETLOCK_TEST_FSM_COMPARE_H
#define NETLOCK_TEST_FSM_COMPARE_H

#include "fsm.h"

/* Everything but the hash of a checkpoint. */
bool compare_event(const struct fsm_event *a, const struct fsm_event *b);

/* A dump, kept: records_add() is an fsm_record_cb with a struct records as its argument; strings are
 * borrowed from the machine. Zero-initialise. */
struct records {
    struct fsm_record *items;
    size_t count;
    size_t capacity;
};

void records_add(void *arg, const struct fsm_record *record);
void records_release(struct records *records);

/* Everything but the digest of the root. Says on stderr which record differs. */
bool records_equal(const struct records *a, const struct records *b);

#endif
