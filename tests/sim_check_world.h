/* sim_check_world.h - a world for the checkers of the simulator to look at: three nodes that apply what they are
 * told, users that say what they are told to say, and mistakes where a test wants one.
 *
 *     world_begin(NULL);
 *     world_lead(1);                         n1 leads in a new term, and opens it in the log
 *     struct sim_client *a = user("a");
 *     world_attach("a");
 *     take(a, "L");                          asks, is granted, believes
 *     assert_clean();
 *
 * The lock table is the real one, one per node; libraft, disks, processes and clients are values that the
 * test sets. */
#ifndef NETLOCK_TEST_SIM_CHECK_WORLD_H
#define NETLOCK_TEST_SIM_CHECK_WORLD_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "check.h"
#include "event.h"
#include "fsm_table.h"
#include "history.h"
#include "node.h"

enum { WORLD_NODES = 3, WORLD_EVENTS_MAX = 64, WORLD_GRACE_MS = 10000 };

struct sim_client {
    struct sim_client_options options;
    struct sim_process process;
};

struct world {
    struct sim_node nodes[WORLD_NODES + 1];
    struct raft rafts[WORLD_NODES + 1];
    raft_index last[WORLD_NODES + 1]; /* what raft_last_index() says */
    struct fsm *tables[WORLD_NODES + 1];
    unsigned leader;
    bool serving;
    uint64_t index, term;
    int64_t cluster_offset_ms; /* of cluster time from simulated time */
    unsigned stored_by;        /* nodes on whose disks the next entries are: 3 */
    unsigned behind;           /* a node that does not apply them; 0: none */

    /* The events of the last command, as the first node tells them. A test may change them before: */
    void (*tamper)(struct fsm_event *events, size_t *count);
    /* Give another node another command than the first one. */
    void (*tamper_command)(struct fsm_command *command, unsigned node);
    struct fsm_event events[WORLD_EVENTS_MAX]; /* valid until the next command */
    size_t events_count;
    struct fsm_events said[WORLD_NODES + 1];
    uint64_t op;
};
extern struct world world;

/* NULL: as usual. For cmocka's setup and teardown: world_setup, world_teardown; that world has a leader. */
void world_begin(const struct sim_check_options *options);
void world_end(void);
int world_setup(void **state);
int world_teardown(void **state);

void world_lead(unsigned node);
/* Let all nodes have a turn. */
void world_turn(void);
void world_pass(uint64_t ms); /* of simulated time, and cluster time with it */
/* An entry with one command, applied by all; returns the first event of the answer, or the last one. */
const struct fsm_event *world_commit(struct fsm_command command);
void world_apply(unsigned node, uint64_t index, const struct fsm_command *command);

/* ---- commands ---- */

const struct fsm_event *world_attach(const char *client);
const struct fsm_event *world_detach(const char *client);
const struct fsm_event *world_lock(const char *client, const char *lock, struct ask ask);
const struct fsm_event *
world_release(const char *client, const char *lock, uint64_t token);
void world_tick(void);

/* ---- users ---- */

struct sim_client *
user(const char *name); /* LIBRARY; its id is its name; alive, connected */
struct sim_client *raw_user(const char *name);
void user_life(struct sim_client *client, bool on);
uint64_t user_asks(struct sim_client *client, struct sim_ask ask);
void user_told(struct sim_client *client,
               uint64_t op,
               enum sim_ask_type type,
               const char *lock,
               int rv,
               const struct netlock_grant *grant);
void user_granted(struct sim_client *client,
                  uint64_t op,
                  const char *lock,
                  uint64_t token,
                  uint64_t index);
void user_notice(struct sim_client *client,
                 enum netlock_event event,
                 const char *lock,
                 uint64_t token);
void user_believes(struct sim_client *client,
                   const char *lock,
                   uint64_t token,
                   enum netlock_type type,
                   bool holding);
void user_response(struct sim_client *client,
                   unsigned conn,
                   enum wire_response_type type,
                   uint64_t index,
                   uint64_t token);
/* All of it: ask, grant, outcome, belief. Returns the token. */
uint64_t take(struct sim_client *client, const char *lock, struct ask ask);
/* The end of a belief, and the release as far as the user sees it; the log is for the test. */
uint64_t gives_up(struct sim_client *client, const char *lock, uint64_t token);

/* ---- disks ---- */

struct sim_disk *world_disk(unsigned node);
struct sim_disk_view *world_view(unsigned node);
void world_store(unsigned node, uint64_t index, uint64_t term);

#define assert_clean()                                                                   \
    do {                                                                                 \
        if (sim_first_violation() != NULL) {                                             \
            fail_msg("%s", sim_first_violation());                                       \
        }                                                                                \
    } while (0)

#define assert_violated(property)                                                        \
    do {                                                                                 \
        if (sim_first_violation() == NULL) {                                             \
            fail_msg("no violation of %s", property);                                    \
        }                                                                                \
        if (strncmp(sim_first_violation(), property ":", strlen(property ":")) != 0) {   \
            fail_msg("not %s but %s", property, sim_first_violation());                  \
        }                                                                                \
    } while (0)

#define world_test(name)                                                                 \
    cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

#endif
