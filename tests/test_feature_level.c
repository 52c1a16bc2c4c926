/* The cluster's feature level in the replica; linked with the next build. */
#include "replica_cluster.h"

#include <string.h>

#include "feature_level.h"

enum { NODES = 3, NEXT = 3 };

static void assert_level_everywhere(struct cluster *c, uint32_t level)
{
    for (unsigned id = 1; id <= c->count; id++) {
        assert_int_equal(replica_level(c->nodes[id].replica), level);
    }
}

static struct cluster *cluster_at_next_level(void)
{
    struct cluster *c = cluster_new(NODES);
    struct node *leader = cluster_elect(c);

    replica_offer_level(leader->replica, NEXT);
    cluster_settle(c);
    cluster_catch_up(c);
    return c;
}

static void a_new_cluster_has_the_first_level_until_another_is_offered(void **state)
{
    struct cluster *c = cluster_new(NODES);

    (void)state;
    assert_int_equal(feature_level_max, NEXT);
    cluster_fill(c, 10);
    cluster_catch_up(c);
    assert_level_everywhere(c, FEATURE_LEVEL_FIRST);
    replica_offer_level(cluster_elect(c)->replica, 0);
    cluster_fill(c, 10);
    cluster_catch_up(c);
    assert_level_everywhere(c, FEATURE_LEVEL_FIRST);
    cluster_free(c);
}

static void the_level_rises_without_anybody_asking_for_a_lock(void **state)
{
    struct cluster *c = cluster_new(NODES);
    struct node *leader = cluster_elect(c);
    uint64_t last_index = raft_last_index(&leader->raft);

    (void)state;
    replica_offer_level(leader->replica, NEXT);
    cluster_settle(c);
    cluster_catch_up(c);
    assert_level_everywhere(c, NEXT);
    assert_int_equal(raft_last_index(&leader->raft), last_index + 1);
    assert_replicas_equal(c);
    cluster_free(c);
}

/* The next leader has not been offered anything, and does not need to be. */
static void the_level_never_falls(void **state)
{
    struct cluster *c = cluster_at_next_level();

    (void)state;
    cluster_restart(c);
    cluster_fill(c, 10);
    replica_offer_level(cluster_elect(c)->replica, FEATURE_LEVEL_FIRST);
    cluster_fill(c, 10);
    cluster_catch_up(c);
    assert_level_everywhere(c, NEXT);
    cluster_free(c);
}

/* Nothing else may be left of the log. */
static void the_level_is_in_the_snapshot(void **state)
{
    struct cluster *c = cluster_at_next_level();
    struct raft_fsm *from = replica_raft_fsm(cluster_elect(c)->replica);
    struct replica *fresh =
        replica_new(&(struct replica_config){.node_id = 9}, &(struct replica_host){0});
    struct raft_fsm *to = replica_raft_fsm(fresh);
    struct raft_buffer *bufs;
    unsigned count;

    (void)state;
    assert_int_equal(from->snapshot(from, &bufs, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(to->restore(to, bufs), 0); /* takes the bytes over */
    raft_free(bufs);
    assert_int_equal(replica_level(fresh), NEXT);
    replica_free(fresh);
    cluster_free(c);
}

static void note_root(void *arg, const struct fsm_record *record)
{
    if (record->type == FSM_REC_ROOT) {
        *(struct fsm_settings *)arg = record->root.settings;
    }
}

static uint64_t drop_max_of(const struct node *node)
{
    struct fsm_settings settings;

    fsm_dump(replica_table(node->replica), note_root, &settings);
    return settings.drop_max;
}

/* Builds of level 1 skip the field, and would let clients go that others keep for a moment. */
static void graces_have_no_bound_before_all_know_it(void **state)
{
    struct cluster *c = cluster_new(NODES);

    (void)state;
    assert_int_equal(drop_max_of(cluster_elect(c)), 0);
    cluster_free(c);
    c = cluster_at_next_level();
    node_stop(cluster_elect(c));
    assert_true(drop_max_of(cluster_elect(c)) > 0);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_cluster_has_the_first_level_until_another_is_offered),
        cmocka_unit_test(the_level_rises_without_anybody_asking_for_a_lock),
        cmocka_unit_test(the_level_never_falls),
        cmocka_unit_test(the_level_is_in_the_snapshot),
        cmocka_unit_test(graces_have_no_bound_before_all_know_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
