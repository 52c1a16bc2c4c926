/* What is wrong with libraft 0.22.1's changes of membership, each time without the guard and with it. */
#include "guard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- B4: a change of membership behind other entries ---------------------------------------- */

/* Node 3 is away while the leader appends entries and then adds node 4, and comes back. */
static void change_behind_entries(struct mem_cluster *cluster, struct raft_change *change)
{
    mem_elect(cluster, 1);
    guard_apply_some(cluster, 1, 3);
    mem_tick(cluster, 1);
    mem_node(cluster, 3)->cut_off = 1;
    mem_tick(cluster, 2);
    guard_apply_some(cluster, 1, 5);
    assert(raft_add(&mem_node(cluster, 1)->raft, change, 9, "9", NULL) == 0);
    mem_run(cluster);
    guard_apply_some(cluster, 1, 5);
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 10);
}

static void unguarded_a_change_behind_entries_stays_uncommitted_for_ever(void **state)
{
    static struct mem_cluster cluster;
    struct raft_change change;
    const struct raft *follower = &mem_node(&cluster, 3)->raft;
    (void)state;

    mem_init(&cluster, 3, GUARD_NONE, &GUARD_NO_FATAL);
    change_behind_entries(&cluster, &change);
    assert_int_not_equal(mem_node(&cluster, 1)->longest_before_change, 0);
    assert_int_equal(mem_node(&cluster, 3)->sum, 13);
    assert_int_equal(mem_node(&cluster, 1)->raft.configuration_committed.n, 4);
    assert_int_equal(follower->configuration_committed.n, 3);
    assert_int_not_equal(follower->configuration_uncommitted_index, 0);

    /* And that is the membership that its snapshots have. */
    guard_set_snapshots(mem_node(&cluster, 3), 10, 5);
    guard_apply_some(&cluster, 1, 5);
    mem_tick(&cluster, 2);
    assert_non_null(mem_node(&cluster, 3)->snapshot);
    assert_int_equal(mem_node(&cluster, 3)->snapshot->configuration.n, 3);
    mem_release(&cluster);
}

static void a_change_always_arrives_as_the_first_entry(void **state)
{
    static struct mem_cluster cluster;
    struct raft_change change;
    const struct raft *follower = &mem_node(&cluster, 3)->raft;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    change_behind_entries(&cluster, &change);
    assert_int_equal(mem_node(&cluster, 1)->longest_before_change, 0);
    assert_int_equal(mem_node(&cluster, 3)->sum, 13);
    assert_int_equal(follower->configuration_committed.n, 4);
    assert_int_equal(follower->configuration_uncommitted_index, 0);
    assert_int_equal(follower->configuration_committed_index,
                     mem_node(&cluster, 1)->raft.configuration_committed_index);

    guard_set_snapshots(mem_node(&cluster, 3), 10, 5);
    guard_apply_some(&cluster, 1, 5);
    mem_tick(&cluster, 2);
    assert_non_null(mem_node(&cluster, 3)->snapshot);
    assert_int_equal(mem_node(&cluster, 3)->snapshot->configuration.n, 4);
    mem_release(&cluster);
}

/* The leader is a node without the guard: the belt holds. */
static void a_node_with_a_stuck_change_takes_no_snapshot(void **state)
{
    static struct mem_cluster cluster;
    struct raft_change change;
    (void)state;

    mem_init(&cluster, 3, 1 << 2, &GUARD_NO_FATAL);
    change_behind_entries(&cluster, &change);
    assert_int_equal(mem_node(&cluster, 3)->raft.configuration_committed.n, 3);
    guard_set_snapshots(mem_node(&cluster, 3), 10, 5);
    guard_apply_some(&cluster, 1, 30);
    mem_tick(&cluster, 2);
    assert_int_equal(mem_node(&cluster, 3)->sum, 43);
    assert_int_equal(mem_node(&cluster, 3)->snapshots_taken, 0);
    mem_release(&cluster);
}

/* ---- B16: a change that is refused late ----------------------------------------------------- */

enum { MEMORY_LOST = GUARD_CHILD_FATAL };

/* Blocks of libraft's heap that are in use. */
static long blocks_count;

static void *count_malloc(void *data, size_t size)
{
    (void)data;
    blocks_count++;
    return malloc(size);
}

static void *count_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    blocks_count++;
    return calloc(count, size);
}

static void *count_realloc(void *data, void *memory, size_t size)
{
    (void)data;
    blocks_count += memory == NULL;
    return realloc(memory, size);
}

static void count_free(void *data, void *memory)
{
    (void)data;
    blocks_count -= memory != NULL;
    free(memory);
}

static void count_blocks(void)
{
    static struct raft_heap heap = {
        .malloc = count_malloc,
        .free = count_free,
        .calloc = count_calloc,
        .realloc = count_realloc,
    };

    raft_heap_set(&heap);
}

__attribute__((noreturn)) static void leave(void)
{
    _exit(blocks_count == 0 ? 0 : MEMORY_LOST);
}

static void leave_space(struct mem_cluster *cluster, unsigned short kib)
{
    for (raft_id id = 1; id <= cluster->count; id++) {
        mem_node(cluster, id)->io->capacity = kib;
    }
    mem_tick(cluster, 3);
}

static int remove_node_3(struct mem_cluster *cluster, struct raft_change *request)
{
    struct mem_node *leader = mem_node(cluster, 1);

    return leader->guarded ? raft_guard_remove(&leader->raft, request, 3)
                           : raft_remove(&leader->raft, request, 3, NULL);
}

static int
assign(struct mem_cluster *cluster, struct raft_change *request, raft_id id, int role)
{
    struct mem_node *leader = mem_node(cluster, 1);

    return leader->guarded ? raft_guard_assign(&leader->raft, request, id, role)
                           : raft_assign(&leader->raft, request, id, role, NULL);
}

static void change_while_handing_over_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    struct raft_transfer transfer;
    struct raft_change change;

    count_blocks();
    mem_init(&cluster, 3, guarded, &GUARD_NO_FATAL);
    mem_elect(&cluster, 1);
    mem_node(&cluster, 1)->hold[MEM_SEND] = true;
    assert(raft_transfer(&mem_node(&cluster, 1)->raft, &transfer, 2, NULL) == 0);
    assert(remove_node_3(&cluster, &change) == RAFT_NOTLEADER);
    mem_release(&cluster);
    leave();
}

static void unguarded_a_change_while_leadership_is_handed_over_loses_memory(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(change_while_handing_over_child, GUARD_NONE),
                     MEMORY_LOST);
}

static void a_change_while_leadership_is_handed_over_is_refused(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(change_while_handing_over_child, GUARD_ALL), 0);
}

static void change_without_space_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    struct raft_change change;

    count_blocks();
    mem_init(&cluster, 3, guarded, &GUARD_NO_FATAL);
    mem_elect(&cluster, 1);
    leave_space(&cluster, 1);
    int rv = remove_node_3(&cluster, &change);
    mem_tick(&cluster, 3);
    assert(rv == (guarded ? 0 : RAFT_NOSPACE));
    assert(mem_node(&cluster, 2)->raft.configuration_committed.n == (guarded ? 2 : 3));
    mem_release(&cluster);
    leave();
}

static void unguarded_a_change_without_space_is_refused_and_loses_memory(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(change_without_space_child, GUARD_NONE), MEMORY_LOST);
}

static void a_change_needs_no_space(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(change_without_space_child, GUARD_ALL), 0);
}

/* Node 3 gets its vote when it has what it lacked, and by then all are short of space. */
static const struct raft_server *promote_without_space(struct mem_cluster *cluster,
                                                       struct raft_change *change)
{
    struct mem_node *leader = mem_node(cluster, 1);

    mem_elect(cluster, 1);
    assert(assign(cluster, change, 3, RAFT_SPARE) == 0);
    mem_tick(cluster, 3);
    mem_node(cluster, 3)->cut_off = 1;
    guard_apply_some(cluster, 1, 3);
    assert(assign(cluster, change, 3, RAFT_VOTER) == 0);
    assert(leader->raft.leader_state.promotee_id == 3);
    leave_space(cluster, 1);
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 10);
    assert(leader->raft.leader_state.promotee_id == 0);
    return &leader->raft.configuration_committed.servers[2];
}

static void promotion_without_space_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    struct raft_change change;

    count_blocks();
    mem_init(&cluster, 3, guarded, &GUARD_NO_FATAL);
    assert(promote_without_space(&cluster, &change)->role ==
           (guarded ? RAFT_VOTER : RAFT_SPARE));
    mem_release(&cluster);
    leave();
}

static void unguarded_a_promotion_without_space_is_lost_with_its_memory(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(promotion_without_space_child, GUARD_NONE),
                     MEMORY_LOST);
}

static void a_promotion_needs_no_space(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(promotion_without_space_child, GUARD_ALL), 0);
}

/* Afterwards entries need it as before. */
static void after_a_change_requests_need_space(void **state)
{
    static struct mem_cluster cluster;
    struct raft_change change;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    assert_int_equal(promote_without_space(&cluster, &change)->role, RAFT_VOTER);
    assert_int_equal(mem_apply(mem_node(&cluster, 1), 1), RAFT_NOSPACE);
    assert_int_equal(assign(&cluster, &change, 3, RAFT_SPARE), 0);
    assert_int_equal(mem_apply(mem_node(&cluster, 1), 1), RAFT_NOSPACE);
    mem_release(&cluster);
}

static void a_second_change_is_refused(void **state)
{
    static struct mem_cluster cluster;
    struct raft_change change, second;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    mem_elect(&cluster, 1);
    assert_int_equal(assign(&cluster, &change, 3, RAFT_SPARE), 0);
    assert_int_equal(raft_guard_add(&mem_node(&cluster, 1)->raft, &second, 9, "9"),
                     RAFT_CANTCHANGE);
    mem_release(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguarded_a_change_behind_entries_stays_uncommitted_for_ever),
        cmocka_unit_test(a_change_always_arrives_as_the_first_entry),
        cmocka_unit_test(a_node_with_a_stuck_change_takes_no_snapshot),
        cmocka_unit_test(unguarded_a_change_while_leadership_is_handed_over_loses_memory),
        cmocka_unit_test(a_change_while_leadership_is_handed_over_is_refused),
        cmocka_unit_test(unguarded_a_change_without_space_is_refused_and_loses_memory),
        cmocka_unit_test(a_change_needs_no_space),
        cmocka_unit_test(unguarded_a_promotion_without_space_is_lost_with_its_memory),
        cmocka_unit_test(a_promotion_needs_no_space),
        cmocka_unit_test(after_a_change_requests_need_space),
        cmocka_unit_test(a_second_change_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
