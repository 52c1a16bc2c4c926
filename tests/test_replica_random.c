/* Three replicas under random commands, crashes and partitions. */
#include "replica_cluster.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    NODES = 3,
    RUNS = 200,
    RUN_STEPS = 400,
    RUN_CLIENTS = 4,
    RUN_LOCKS = 3,
};

static void propose_at_random(struct cluster *c, unsigned *random, uint64_t *ref)
{
    char client[] = {'c', (char)('0' + raft_random(random, 1, RUN_CLIENTS)), '\0'};
    char lock[] = {'l', (char)('0' + raft_random(random, 1, RUN_LOCKS)), '\0'};
    struct node *leader = cluster_leader(c);

    if (leader == NULL) {
        return;
    }
    switch (raft_random(random, 0, 4)) {
    case 0:
        propose(leader, attach_command(client, ++*ref));
        break;
    case 1:
        propose(leader, checkpoint_command(++*ref));
        break;
    default:
        propose(leader, lock_command(client, lock, raft_random(random, 1, 5000), ++*ref));
        break;
    }
}

static void disturb_at_random(struct cluster *c, unsigned *random)
{
    struct node *node = &c->nodes[raft_random(random, 1, NODES)];

    switch (raft_random(random, 0, 40)) {
    case 0:
        if (node->up) {
            node_stop(node);
        }
        break;
    case 1:
        node_isolate(node, true);
        break;
    case 2:
    case 3:
    case 4:
        node_isolate(node, false);
        if (!node->up) {
            node_start(node);
        }
        break;
    default:
        break;
    }
}

/* Every ref is answered at most once, by one node, and time does not fall from entry to entry. */
static void check_told(struct cluster *c, uint64_t refs)
{
    unsigned *answers = calloc(refs + 1, sizeof(answers[0]));

    assert_non_null(answers);
    for (unsigned id = 1; id <= NODES; id++) {
        const struct node *node = &c->nodes[id];
        struct replica_position last = {0};
        for (size_t i = 0; i < node->told_count; i++) {
            const struct told *told = &node->told[i];
            if (told->is_role) {
                continue;
            }
            assert_true(told->at.index >= last.index);
            assert_true(told->at.cluster_ms >= last.cluster_ms);
            last = told->at;
            answers[told->ref]++;
        }
    }
    for (uint64_t ref = 1; ref <= refs; ref++) {
        assert_true(answers[ref] <= 1);
    }
    free(answers);
}

static void run_at_random(unsigned seed)
{
    struct cluster *c = cluster_new(NODES);
    unsigned random = seed;
    uint64_t refs = 0;

    cluster_set_snapshots(c, 30, 200);
    for (unsigned i = 0; i < RUN_STEPS; i++) {
        disturb_at_random(c, &random);
        propose_at_random(c, &random, &refs);
        cluster_step(c, raft_random(&random, 0, 2 * HEARTBEAT_MS));
    }
    for (unsigned id = 1; id <= NODES; id++) {
        node_isolate(&c->nodes[id], false);
        if (!c->nodes[id].up) {
            node_start(&c->nodes[id]);
        }
    }
    cluster_run(c, 4 * ELECTION_MS);
    cluster_elect(c);
    cluster_catch_up(c);
    assert_replicas_equal(c);
    check_told(c, refs);
    cluster_free(c);
}

/* NETLOCK_SEED repeats one run. */
static void replicas_stay_equal_whatever_happens(void **state)
{
    const char *given = getenv("NETLOCK_SEED");
    unsigned first = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 1;
    unsigned runs = given != NULL ? 1 : RUNS;

    (void)state;
    for (unsigned seed = first; seed < first + runs; seed++) {
        printf("seed %u\n", seed);
        run_at_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_stay_equal_whatever_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
