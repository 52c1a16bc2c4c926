/* What is wrong in libraft 0.22.1, each time without the guard and with it: disks, snapshots.
 * Defects that kill the process are shown in a child. */
#include "guard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- B1: a snapshot arrives while the node stores its own ----------------------------------- */

/* Node 3 stores a snapshot of its own, slowly; meanwhile it is cut off until the leader has only a
 * snapshot for it. Leaves the cluster with the leader's snapshot delivered and the own one stored. */
static void snapshot_meets_snapshot(struct mem_cluster *cluster)
{
    mem_elect(cluster, 1);
    guard_set_snapshots(mem_node(cluster, 3), 10, 5);
    mem_node(cluster, 3)->hold[MEM_PUT] = true;
    guard_apply_some(cluster, 1, 20);
    mem_tick(cluster, 1);
    assert(mem_node(cluster, 3)->snapshots_taken == 1);

    guard_leave_node_3_behind(cluster);
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 3);
    assert(mem_node(cluster, 1)->installs_sent > 0);
    mem_node(cluster, 3)->hold[MEM_PUT] = false;
    mem_run(cluster);
}

static void snapshot_meets_snapshot_child(unsigned guarded)
{
    static struct mem_cluster cluster;

    mem_init(&cluster, 3, guarded, &GUARD_NO_FATAL);
    snapshot_meets_snapshot(&cluster);
}

static void unguarded_a_snapshot_that_meets_the_own_kills_the_node(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(snapshot_meets_snapshot_child, GUARD_NONE), -1);
}

static void a_snapshot_that_meets_the_own_is_installed_later(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    snapshot_meets_snapshot(&cluster);
    mem_tick(&cluster, 40);
    assert_int_equal(mem_node(&cluster, 3)->snapshots_restored, 1);
    assert_int_equal(mem_node(&cluster, 3)->sum, 60);
    mem_release(&cluster);
}

/* ---- a leader sends before it writes --------------------------------------------------------- */

static const struct raft_guard_host TURNS = {.fatal = guard_fatal_exit,
                                             .has_turns = true};

/* A leader of three that has submitted number 5 and has come to no end of its turn. Its election has an
 * entry too. */
static struct mem_node *submit_in_a_turn(struct mem_cluster *cluster)
{
    mem_init(cluster, 3, GUARD_ALL, &TURNS);
    mem_elect(cluster, 1);
    struct mem_node *node = mem_node(cluster, 1);
    raft_guard_turn(&node->guard);
    mem_run(cluster);
    node->hold[MEM_APPEND] = true;
    node->guard.has_sent = false;
    assert_int_equal(mem_apply(node, 5), 0);
    return node;
}

static void a_leader_writes_its_entry_at_the_end_of_the_turn(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    struct mem_node *node = submit_in_a_turn(&cluster);
    assert_true(node->guard.has_sent);
    assert_false(mem_complete(node, MEM_APPEND, 0));
    raft_guard_turn(&node->guard);
    assert_true(mem_complete(node, MEM_APPEND, 0));
    mem_run(&cluster);
    assert_int_equal(node->sum, 5);
    mem_release(&cluster);
}

static void the_second_entry_of_a_turn_is_written_behind_the_first(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    struct mem_node *node = submit_in_a_turn(&cluster);
    assert_int_equal(mem_apply(node, 7), 0);
    assert_true(mem_complete(node, MEM_APPEND, 0));
    assert_false(mem_complete(node, MEM_APPEND, 0));
    raft_guard_turn(&node->guard);
    assert_true(mem_complete(node, MEM_APPEND, 0));
    mem_run(&cluster);
    assert_int_equal(node->sum, 12);
    mem_release(&cluster);
}

/* Two nodes commit the entry; the leader, which has it in memory, has not written it. */
static void the_others_commit_without_the_leaders_disk(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    struct mem_node *node = submit_in_a_turn(&cluster);
    mem_run(&cluster);
    assert_int_equal(node->sum, 5);
    raft_guard_turn(&node->guard);
    assert_true(mem_complete(node, MEM_APPEND, 0));
    mem_run(&cluster);
    mem_release(&cluster);
}

static void a_leader_that_closes_writes_what_waits(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    struct mem_node *node = submit_in_a_turn(&cluster);
    assert_false(mem_complete(node, MEM_APPEND, 0));
    mem_release(&cluster); /* nothing leaks: the request is canceled like any other */
}

static int (*cut_log)(struct raft_io *io, raft_index index);
static unsigned logs_cut;

static int cut_log_after_all_is_written(struct raft_io *io, raft_index index)
{
    const struct raft_guard *guard = (const struct raft_guard *)io; /* its first member */

    assert_null(guard->append_waiting);
    logs_cut++;
    return cut_log(io, index);
}

/* Time passes, and on all but node 1 the turns do. */
static void tick_the_others(struct mem_cluster *cluster, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        mem_tick(cluster, 1);
        raft_guard_turn(&mem_node(cluster, 2)->guard);
        raft_guard_turn(&mem_node(cluster, 3)->guard);
    }
}

/* Nobody hears it, another leads, and it learns of that before its turn has ended. */
static void what_waits_is_written_before_the_log_is_cut(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &TURNS);
    mem_elect(&cluster, 1);
    struct mem_node *node = mem_node(&cluster, 1);
    raft_guard_turn(&node->guard);
    mem_run(&cluster);
    cut_log = node->guard.inner.truncate;
    node->guard.inner.truncate = cut_log_after_all_is_written;
    mem_node(&cluster, 2)->cut_off = 1;
    mem_node(&cluster, 3)->cut_off = 1;
    assert_int_equal(mem_apply(node, 5), 0);
    assert_non_null(node->guard.append_waiting);
    tick_the_others(&cluster, 2 * MEM_ELECTION_MS / MEM_TICK_MS);
    mem_elect(&cluster, 2);
    struct mem_node *next = mem_node(&cluster, 2);
    assert_int_equal(mem_apply(next, 9), 0);
    mem_node(&cluster, 2)->cut_off = 0;
    mem_node(&cluster, 3)->cut_off = 0;
    tick_the_others(&cluster, 5);
    assert_true(logs_cut > 0);
    assert_int_equal(node->sum, 9);
    mem_release(&cluster);
}

static void a_follower_writes_at_once(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    submit_in_a_turn(&cluster);
    struct mem_node *follower = mem_node(&cluster, 2);
    follower->hold[MEM_APPEND] = true;
    mem_run(&cluster);
    assert_true(mem_complete(follower, MEM_APPEND, 0));
    mem_release(&cluster);
}

/* ---- a snapshot whose bytes come later ------------------------------------------------------ */

static void take_snapshot_later(struct mem_cluster *cluster,
                                const struct raft_guard_host *host)
{
    struct mem_node *node;

    mem_init(cluster, 1, GUARD_ALL, host);
    mem_elect(cluster, 1);
    node = mem_node(cluster, 1);
    node->snapshot_later = true;
    guard_set_snapshots(node, 20, 5);
    guard_apply_some(cluster, 1, 20);
    assert_int_equal(node->snapshots_taken, 1);
    raft_guard_turn(&node->guard);
    mem_run(cluster);
    assert_true(node->raft.legacy.snapshot_taking);
}

static void a_snapshot_is_stored_when_its_bytes_are_there(void **state)
{
    static struct mem_cluster cluster;
    struct mem_node *node;
    (void)state;

    take_snapshot_later(&cluster, &GUARD_NO_FATAL);
    node = mem_node(&cluster, 1);
    guard_apply_some(&cluster, 1, 3);
    mem_snapshot_fill(node);
    raft_guard_turn(&node->guard);
    raft_guard_turn(&node->guard);
    mem_run(&cluster);
    assert_false(node->raft.legacy.snapshot_taking);
    assert_int_equal(node->snapshots_taken, 1);
    mem_release(&cluster);
}

static void a_node_that_closes_waits_for_no_bytes(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    take_snapshot_later(&cluster, &GUARD_NO_FATAL);
    mem_release(&cluster);
}

/* ---- B2: a write of the log that fails ------------------------------------------------------ */

static void follower_append_fails_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot write the log";
    static const struct raft_guard_host host = {.arg = expected,
                                                .fatal = guard_fatal_exit};

    mem_init(&cluster, 3, guarded, &host);
    mem_elect(&cluster, 1);
    mem_node(&cluster, 2)->fail_append = RAFT_IOERR;
    mem_apply(mem_node(&cluster, 1), 1);
    mem_run(&cluster);
}

static void leader_append_fails_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot write the log";
    static const struct raft_guard_host host = {.arg = expected,
                                                .fatal = guard_fatal_exit};

    mem_init(&cluster, 3, guarded, &host);
    mem_elect(&cluster, 1);
    mem_node(&cluster, 1)->fail_append = RAFT_IOERR;
    mem_apply(mem_node(&cluster, 1), 1);
    mem_tick(&cluster, 20);
    mem_node(&cluster, 1)->fail_append = 0;
    mem_tick(&cluster, 20);
}

static void append_completes_with_error_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot write the log";
    static const struct raft_guard_host host = {.arg = expected,
                                                .fatal = guard_fatal_exit};

    mem_init(&cluster, 3, guarded, &host);
    mem_elect(&cluster, 1);
    mem_node(&cluster, 2)->hold[MEM_APPEND] = true;
    mem_apply(mem_node(&cluster, 1), 1);
    mem_run(&cluster);
    mem_complete(mem_node(&cluster, 2), MEM_APPEND, RAFT_IOERR);
}

static void unguarded_a_follower_that_cannot_write_frees_memory_twice(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(follower_append_fails_child, GUARD_NONE), -1);
}

static void a_node_that_cannot_write_is_stopped_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(follower_append_fails_child, GUARD_ALL),
                     GUARD_CHILD_FATAL);
    assert_int_equal(guard_in_child(leader_append_fails_child, GUARD_ALL),
                     GUARD_CHILD_FATAL);
    assert_int_equal(guard_in_child(append_completes_with_error_child, GUARD_ALL),
                     GUARD_CHILD_FATAL);
}

static void put_fails_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot store a snapshot";
    static const struct raft_guard_host host = {.arg = expected,
                                                .fatal = guard_fatal_exit};

    mem_init(&cluster, 3, guarded, &host);
    guard_leave_node_3_behind(&cluster);
    mem_node(&cluster, 3)->fail_put = RAFT_IOERR;
    mem_node(&cluster, 3)->cut_off = 0;
    mem_tick(&cluster, 3);
    mem_node(&cluster, 3)->fail_put = 0;
    mem_tick(&cluster, 40);
    /* Not installed in all that time although storing works again: dead in its tracks. */
    _exit(mem_node(&cluster, 3)->snapshots_restored == 0 ? 0 : 1);
}

static void unguarded_a_failed_install_leaves_the_node_deaf(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(put_fails_child, GUARD_NONE), 0);
}

static void a_failed_install_stops_the_node_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(put_fails_child, GUARD_ALL), GUARD_CHILD_FATAL);
}

/* ---- B3: a snapshot is sent again and again ------------------------------------------------- */

/* Node 3 needs the leader's snapshot, which takes 3 s to send. Returns how often it was sent. */
static unsigned snapshots_sent_in_3_s(struct mem_cluster *cluster)
{
    struct mem_node *leader = mem_node(cluster, 1);

    guard_leave_node_3_behind(cluster);
    leader->hold[MEM_SEND] = true;
    for (int i = 0; i < 15; i++) {
        /* It answers between two silent ticks, as behind a full pipe. */
        mem_node(cluster, 3)->cut_off = 0;
        mem_tick(cluster, 1);
        mem_node(cluster, 3)->cut_off = 1;
        mem_tick(cluster, 1);
    }
    mem_node(cluster, 3)->cut_off = 0;
    return leader->installs_sent;
}

static void unguarded_a_slow_snapshot_is_sent_many_times_at_once(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_NONE, &GUARD_NO_FATAL);
    assert_in_range(snapshots_sent_in_3_s(&cluster), 5, 100);
    mem_release(&cluster);
}

static void a_slow_snapshot_is_sent_once(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    assert_int_equal(snapshots_sent_in_3_s(&cluster), 1);

    mem_node(&cluster, 1)->hold[MEM_SEND] = false;
    mem_tick(&cluster, 10);
    assert_int_equal(mem_node(&cluster, 3)->sum, 40);
    assert_int_equal(mem_node(&cluster, 1)->installs_sent, 1);
    mem_release(&cluster);
}

static void a_snapshot_whose_sending_failed_is_sent_again_soon(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    assert_int_equal(snapshots_sent_in_3_s(&cluster), 1);
    assert_true(mem_complete(mem_node(&cluster, 1), MEM_SEND, RAFT_IOERR));
    mem_node(&cluster, 1)->hold[MEM_SEND] = false;
    mem_tick(&cluster, 10);
    assert_int_equal(mem_node(&cluster, 1)->installs_sent, 2);
    assert_int_equal(mem_node(&cluster, 3)->sum, 40);
    mem_release(&cluster);
}

/* A snapshot that was sent but is not answered is left alone for as long as storing may take, and
 * then sent again: the follower may have lost it. */
static void a_snapshot_that_got_lost_is_sent_again_later(void **state)
{
    static struct mem_cluster cluster;
    struct mem_node *leader = mem_node(&cluster, 1);
    struct mem_node *follower = mem_node(&cluster, 3);
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    assert_int_equal(snapshots_sent_in_3_s(&cluster), 1);
    follower->cut_off = 1;
    assert_true(mem_complete(leader, MEM_SEND, 0));
    follower->cut_off = 0;
    leader->hold[MEM_SEND] = false;
    mem_tick(&cluster, 85);
    assert_int_equal(leader->installs_sent, 1);
    mem_tick(&cluster, 20);
    assert_int_equal(leader->installs_sent, 2);
    assert_int_equal(follower->sum, 40);
    assert_int_equal(follower->snapshots_restored, 1);
    mem_release(&cluster);
}

/* ---- B5: what raft_apply() does not check --------------------------------------------------- */

static void several_buffers_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    struct raft_apply request;
    struct raft_buffer buffers[3];
    uint64_t one = 1;

    mem_init(&cluster, 3, guarded, &GUARD_NO_FATAL);
    mem_elect(&cluster, 1);
    for (int i = 0; i < 3; i++) {
        buffers[i] = (struct raft_buffer){.base = raft_malloc(8), .len = 8};
        memcpy(buffers[i].base, &one, 8);
    }
    if (raft_apply(&mem_node(&cluster, 1)->raft, &request, buffers, 3, NULL) != 0) {
        _exit(1);
    }
    mem_tick(&cluster, 2);
    _exit(mem_node(&cluster, 2)->sum == 1 ? 0 : 1);
}

static void unpadded_buffer_child(unsigned guarded)
{
    struct raft_buffer buffer = {.base = raft_malloc(16), .len = 3};

    (void)guarded;
    raft_guard_apply(NULL, NULL, &buffer, NULL);
}

static void too_long_buffer_child(unsigned guarded)
{
    struct raft_buffer buffer = {.base = raft_malloc(16),
                                 .len = RAFT_GUARD_ENTRY_BYTES_MAX + 8};

    (void)guarded;
    raft_guard_apply(NULL, NULL, &buffer, NULL);
}

static void unguarded_of_several_buffers_only_the_first_is_applied(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(several_buffers_child, GUARD_NONE), 0);
}

static void apply_takes_one_padded_buffer_of_bounded_length(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(unpadded_buffer_child, GUARD_ALL), -1);
    assert_int_equal(guard_in_child(too_long_buffer_child, GUARD_ALL), -1);
}

/* ---- B6: reading a snapshot to send it ------------------------------------------------------ */

/* Memory that was never written looks like this. */
static void *poison(void *data, size_t size)
{
    (void)data;
    return memset(malloc(size), 0xa5, size);
}

static void *poison_resize(void *data, void *ptr, size_t size)
{
    (void)data;
    if (ptr == NULL) {
        return memset(malloc(size), 0xa5, size);
    }
    return realloc(ptr, size);
}

static void get_fails_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot read the last snapshot";
    static const struct raft_guard_host host = {.arg = expected,
                                                .fatal = guard_fatal_exit};
    struct raft_heap heap = *raft_heap_get();

    heap.malloc = poison;
    heap.realloc = poison_resize;
    raft_heap_set(&heap);
    mem_init(&cluster, 3, guarded, &host);
    guard_leave_node_3_behind(&cluster);
    mem_node(&cluster, 1)->fail_get = RAFT_IOERR;
    mem_node(&cluster, 3)->cut_off = 0;
    mem_tick(&cluster, 3);
}

static void unguarded_a_snapshot_that_cannot_be_read_frees_wild_memory(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(get_fails_child, GUARD_NONE), -1);
}

static void a_snapshot_that_cannot_be_read_stops_the_node_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(get_fails_child, GUARD_ALL), GUARD_CHILD_FATAL);
}

static void on_closed_nothing(struct raft *raft)
{
    (void)raft;
}

/* The snapshot for node 3 has been read when the node is already being closed. */
static unsigned sends_while_closing(struct mem_cluster *cluster)
{
    struct mem_node *leader = mem_node(cluster, 1);

    guard_leave_node_3_behind(cluster);
    leader->hold[MEM_GET] = true;
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 3);
    raft_close(&leader->raft, on_closed_nothing);
    assert_true(mem_complete(leader, MEM_GET, 0));
    while (mem_complete(leader, MEM_GET, 0)) {
    }
    return leader->sends_while_closing;
}

static void unguarded_a_closing_node_still_sends_snapshots(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_NONE, &GUARD_NO_FATAL);
    assert_int_not_equal(sends_while_closing(&cluster), 0);
    mem_release(&cluster);
}

static void a_closing_node_sends_nothing(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    assert_int_equal(sends_while_closing(&cluster), 0);
    mem_release(&cluster);
}

/* ---- with all guards, an ordinary life ------------------------------------------------------ */

static void guarded_nodes_replicate_and_agree(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    mem_elect(&cluster, 2);
    for (raft_id id = 1; id <= 3; id++) {
        guard_set_snapshots(mem_node(&cluster, id), 10, 5);
    }
    guard_apply_some(&cluster, 2, 100);
    mem_tick(&cluster, 2);
    for (raft_id id = 1; id <= 3; id++) {
        assert_int_equal(mem_node(&cluster, id)->sum, 100);
        assert_true(mem_node(&cluster, id)->snapshots_taken >= 5);
    }
    mem_release(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguarded_a_snapshot_that_meets_the_own_kills_the_node),
        cmocka_unit_test(a_snapshot_that_meets_the_own_is_installed_later),
        cmocka_unit_test(a_leader_writes_its_entry_at_the_end_of_the_turn),
        cmocka_unit_test(the_second_entry_of_a_turn_is_written_behind_the_first),
        cmocka_unit_test(the_others_commit_without_the_leaders_disk),
        cmocka_unit_test(a_leader_that_closes_writes_what_waits),
        cmocka_unit_test(what_waits_is_written_before_the_log_is_cut),
        cmocka_unit_test(a_follower_writes_at_once),
        cmocka_unit_test(a_snapshot_is_stored_when_its_bytes_are_there),
        cmocka_unit_test(a_node_that_closes_waits_for_no_bytes),
        cmocka_unit_test(unguarded_a_follower_that_cannot_write_frees_memory_twice),
        cmocka_unit_test(a_node_that_cannot_write_is_stopped_with_a_reason),
        cmocka_unit_test(unguarded_a_failed_install_leaves_the_node_deaf),
        cmocka_unit_test(a_failed_install_stops_the_node_with_a_reason),
        cmocka_unit_test(unguarded_a_slow_snapshot_is_sent_many_times_at_once),
        cmocka_unit_test(a_slow_snapshot_is_sent_once),
        cmocka_unit_test(a_snapshot_whose_sending_failed_is_sent_again_soon),
        cmocka_unit_test(a_snapshot_that_got_lost_is_sent_again_later),
        cmocka_unit_test(unguarded_of_several_buffers_only_the_first_is_applied),
        cmocka_unit_test(apply_takes_one_padded_buffer_of_bounded_length),
        cmocka_unit_test(unguarded_a_snapshot_that_cannot_be_read_frees_wild_memory),
        cmocka_unit_test(a_snapshot_that_cannot_be_read_stops_the_node_with_a_reason),
        cmocka_unit_test(unguarded_a_closing_node_still_sends_snapshots),
        cmocka_unit_test(a_closing_node_sends_nothing),
        cmocka_unit_test(guarded_nodes_replicate_and_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
