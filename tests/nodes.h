/* nodes.h - up to three real nodes on one loop, for the tests of raft_node. */
#ifndef NETLOCK_NODES_H
#define NETLOCK_NODES_H

#include "raft_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { NODES = 3, WAIT_MS_MAX = 60000, LEASE_MS = 600, LINES_MAX = 400 };

struct host {
    struct raft_node *node;
    char data_dir[96];
    char listen[32];
    enum replica_role role;
    uint64_t term;
    uint64_t answers; /* direct ones */
    uint64_t last_ref;
    uint64_t last_token;
    bool closed;
    char lines[LINES_MAX][300];
    unsigned lines_count;
    bool got_snapshot; /* from a peer; known only with trace */
};

struct fixture {
    uv_loop_t loop;
    char base[64];
    struct raft_node_member members[NODES];
    char addresses[NODES][32];
    size_t members_count;
    uint32_t snapshot_threshold;
    uint32_t snapshot_trailing;
    bool trace;
    void (*on_new)(struct fixture *f,
                   int i); /* a node was made and is not started; or NULL */
    void *on_new_arg;
    struct host hosts[NODES];
    uint64_t refs;
    struct host *asked; /* last, as the leader of this term */
    uint64_t asked_term;
};

/* For cmocka: *state is a struct fixture. Closing must leave nothing behind. */
int nodes_setup(void **state);
int nodes_teardown(void **state);

/* Turn the loop until @condition, for at most @limit_ms. Returns whether it has come. */
bool nodes_run_until(struct fixture *f,
                     bool (*condition)(struct fixture *f),
                     unsigned limit_ms);
bool nodes_never(struct fixture *f);
bool nodes_somebody_serves(struct fixture *f);
bool nodes_first_has_snapshot(struct fixture *f); /* node 1, on its disk */

void nodes_choose_members(struct fixture *f, size_t count);
struct raft_node_config node_config(struct fixture *f, int i);
void node_new(struct fixture *f, int i);
void node_start(struct fixture *f, int i);
void node_close(struct fixture *f, int i);
void nodes_close_all(struct fixture *f);

/* Three nodes, one of which serves. */
void nodes_start_three(struct fixture *f);

/* The one that serves: NULL if none; the other waits for one. */
struct host *nodes_serving(struct fixture *f);
struct host *nodes_leader(struct fixture *f);
int nodes_index_of(const struct fixture *f, const struct host *host);

/* All running nodes come to the same index, and then are equal. */
void nodes_assert_equal(struct fixture *f);
struct fsm_counts node_counts(struct fixture *f, int i);

/* Propose to the one that serves, and wait for the answer. */
void nodes_attach(struct fixture *f, const char *client);
void nodes_lock(struct fixture *f, const char *client, const char *name);
void nodes_lock_many(struct fixture *f, const char *client, int from, int to);

struct replica_host host_callbacks(struct host *host);
bool host_has_line(const struct host *host, const char *part);

#endif
