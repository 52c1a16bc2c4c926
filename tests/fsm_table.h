/* fsm_table.h - a lock table to talk to in tests, and what it says as one line of text.
 *
 *     lock(t, "a", "L", (struct ask){.wait = true});
 *     assert_told(t, "*a granted L W#1");
 *
 * The events of one command, in order, joined by "; ". A star marks the direct answer.
 * Tokens are written #1, positions in a queue 1/3 (place/length). The functions that send
 * a command return the direct answer, valid until the next command.
 */
#ifndef NETLOCK_TEST_FSM_TABLE_H
#define NETLOCK_TEST_FSM_TABLE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fsm.h"

struct table {
    struct fsm *fsm;
    struct fsm_events events;
    uint64_t now_ms;
    uint64_t ref;
    struct fsm_settings settings;
    char told[8192];
};

/* What is asked in a lock request. Zero: try WRITE, no limit of time, release on drop. */
struct ask {
    bool read, wait, ignore, downgrade;
    uint64_t hold_ms, wait_ms; /* 0: no limit */
    uint32_t limit;            /* 0: 1 */
    uint64_t epoch;
    const char *info;
};

struct fsm_str str(const char *text);

/* For cmocka: a table at time 1000 with a grace of 10 s and generous limits in force. */
int table_setup(void **state);
int table_teardown(void **state);

/* The same state in a new machine with another hash seed, by dump and load; checked for
 * equality. */
void table_reload(struct table *t);

const struct fsm_event *apply(struct table *t, struct fsm_command command);
void pass(struct table *t, uint64_t ms); /* time passes, by a tick */
void epoch(struct table *t);             /* a new leader with t->settings */

const struct fsm_event *attach(struct table *t, const char *client);
const struct fsm_event *
attach_epoch(struct table *t, const char *client, uint64_t number, bool supersede);
const struct fsm_event *detach(struct table *t,
                               const char *client); /* its last connection */
const struct fsm_event *
lock(struct table *t, const char *client, const char *name, struct ask ask);
const struct fsm_event *refresh(struct table *t,
                                const char *client,
                                const char *name,
                                uint64_t token,
                                uint64_t hold_ms);
const struct fsm_event *
release(struct table *t, const char *client, const char *name, uint64_t token);
const struct fsm_event *status(struct table *t, const char *client, const char *name);
const struct fsm_event *check_token(struct table *t, const char *name, uint64_t token);
const struct fsm_event *force(struct table *t, const char *name, uint64_t token);

/* Attach every one of the space-separated @clients. */
void attach_all(struct table *t, const char *clients);

/* One event as text; for messages of random tests too. */
void event_print(char *text, size_t size, const struct fsm_event *event);

#define assert_told(t, text) assert_string_equal((t)->told, (text))

#define fsm_test(name) cmocka_unit_test_setup_teardown(name, table_setup, table_teardown)

#endif
