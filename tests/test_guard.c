/* What is wrong in libraft 0.22.1, each time without the guard and with it. Defects that kill the
 * process are shown in a child. */
#include "mem_raft.h"

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

enum { CHILD_FATAL = 42, GUARD_NONE = 0, GUARD_ALL = 0xff };

/* The guard stopped the process: in a child that is what we look for, in the parent a failure. */
static void on_fatal_exit(void *arg, const char *what)
{
    const char *expected = arg;

    _exit(strncmp(what, expected, strlen(expected)) == 0 ? CHILD_FATAL : 1);
}

static void on_fatal_fail(void *arg, const char *what)
{
    (void)arg;
    fail_msg("fatal: %s", what);
}

static const struct raft_guard_host NO_FATAL = {.fatal = on_fatal_fail};

/* Run @body in a child without a voice. Returns its exit code, or -1 if a signal or a sanitizer ended
 * it: libraft, with its assertions compiled out, dies of memory errors. */
static int in_child(void (*body)(unsigned guarded), unsigned guarded)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        body(guarded);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) &&
                   (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CHILD_FATAL)
               ? WEXITSTATUS(status)
               : -1;
}

static void apply_some(struct mem_cluster *cluster, raft_id leader, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert(mem_apply(mem_node(cluster, leader), 1) == 0);
        mem_run(cluster);
    }
}

static void set_snapshots(struct mem_node *node, unsigned threshold, unsigned trailing)
{
    raft_set_snapshot_threshold(&node->raft, threshold);
    raft_set_snapshot_trailing(&node->raft, trailing);
}

/* Node 3 is away for so long that the leader takes it for dead, and needs a snapshot when it is back. */
static void leave_node_3_behind(struct mem_cluster *cluster)
{
    mem_elect(cluster, 1);
    mem_node(cluster, 3)->cut_off = 1;
    mem_tick(cluster, 15);
    set_snapshots(mem_node(cluster, 1), 10, 5);
    apply_some(cluster, 1, 40);
    mem_tick(cluster, 3);
    assert(mem_node(cluster, 1)->installs_sent == 0);
}

/* ---- B1: a snapshot arrives while the node stores its own ----------------------------------- */

/* Node 3 stores a snapshot of its own, slowly; meanwhile it is cut off until the leader has only a
 * snapshot for it. Leaves the cluster with the leader's snapshot delivered and the own one stored. */
static void snapshot_meets_snapshot(struct mem_cluster *cluster)
{
    mem_elect(cluster, 1);
    set_snapshots(mem_node(cluster, 3), 10, 5);
    mem_node(cluster, 3)->hold[MEM_PUT] = true;
    apply_some(cluster, 1, 20);
    mem_tick(cluster, 1);
    assert(mem_node(cluster, 3)->snapshots_taken == 1);

    leave_node_3_behind(cluster);
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 3);
    assert(mem_node(cluster, 1)->installs_sent > 0);
    mem_node(cluster, 3)->hold[MEM_PUT] = false;
    mem_run(cluster);
}

static void snapshot_meets_snapshot_child(unsigned guarded)
{
    static struct mem_cluster cluster;

    mem_init(&cluster, 3, guarded, &NO_FATAL);
    snapshot_meets_snapshot(&cluster);
}

static void unguarded_a_snapshot_that_meets_the_own_kills_the_node(void **state)
{
    (void)state;
    assert_int_equal(in_child(snapshot_meets_snapshot_child, GUARD_NONE), -1);
}

static void a_snapshot_that_meets_the_own_is_installed_later(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
    snapshot_meets_snapshot(&cluster);
    mem_tick(&cluster, 40);
    assert_int_equal(mem_node(&cluster, 3)->snapshots_restored, 1);
    assert_int_equal(mem_node(&cluster, 3)->sum, 60);
    mem_release(&cluster);
}

/* ---- B2: a write of the log that fails ------------------------------------------------------ */

static void follower_append_fails_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot write the log";
    static const struct raft_guard_host host = {.arg = expected, .fatal = on_fatal_exit};

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
    static const struct raft_guard_host host = {.arg = expected, .fatal = on_fatal_exit};

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
    static const struct raft_guard_host host = {.arg = expected, .fatal = on_fatal_exit};

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
    assert_int_equal(in_child(follower_append_fails_child, GUARD_NONE), -1);
}

static void a_node_that_cannot_write_is_stopped_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(in_child(follower_append_fails_child, GUARD_ALL), CHILD_FATAL);
    assert_int_equal(in_child(leader_append_fails_child, GUARD_ALL), CHILD_FATAL);
    assert_int_equal(in_child(append_completes_with_error_child, GUARD_ALL), CHILD_FATAL);
}

static void put_fails_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    static char expected[] = "cannot store a snapshot";
    static const struct raft_guard_host host = {.arg = expected, .fatal = on_fatal_exit};

    mem_init(&cluster, 3, guarded, &host);
    leave_node_3_behind(&cluster);
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
    assert_int_equal(in_child(put_fails_child, GUARD_NONE), 0);
}

static void a_failed_install_stops_the_node_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(in_child(put_fails_child, GUARD_ALL), CHILD_FATAL);
}

/* ---- B3: a snapshot is sent again and again ------------------------------------------------- */

/* Node 3 needs the leader's snapshot, which takes 3 s to send. Returns how often it was sent. */
static unsigned snapshots_sent_in_3_s(struct mem_cluster *cluster)
{
    struct mem_node *leader = mem_node(cluster, 1);

    leave_node_3_behind(cluster);
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

    mem_init(&cluster, 3, GUARD_NONE, &NO_FATAL);
    assert_in_range(snapshots_sent_in_3_s(&cluster), 5, 100);
    mem_release(&cluster);
}

static void a_slow_snapshot_is_sent_once(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
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

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
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

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
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

/* ---- B4: a change of membership behind other entries ---------------------------------------- */

/* Node 3 is away while the leader appends entries and then adds node 4, and comes back. */
static void change_behind_entries(struct mem_cluster *cluster, struct raft_change *change)
{
    mem_elect(cluster, 1);
    apply_some(cluster, 1, 3);
    mem_tick(cluster, 1);
    mem_node(cluster, 3)->cut_off = 1;
    mem_tick(cluster, 2);
    apply_some(cluster, 1, 5);
    assert(raft_add(&mem_node(cluster, 1)->raft, change, 9, "9", NULL) == 0);
    mem_run(cluster);
    apply_some(cluster, 1, 5);
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 10);
}

static void unguarded_a_change_behind_entries_stays_uncommitted_for_ever(void **state)
{
    static struct mem_cluster cluster;
    struct raft_change change;
    const struct raft *follower = &mem_node(&cluster, 3)->raft;
    (void)state;

    mem_init(&cluster, 3, GUARD_NONE, &NO_FATAL);
    change_behind_entries(&cluster, &change);
    assert_int_not_equal(mem_node(&cluster, 1)->longest_before_change, 0);
    assert_int_equal(mem_node(&cluster, 3)->sum, 13);
    assert_int_equal(mem_node(&cluster, 1)->raft.configuration_committed.n, 4);
    assert_int_equal(follower->configuration_committed.n, 3);
    assert_int_not_equal(follower->configuration_uncommitted_index, 0);

    /* And that is the membership that its snapshots have. */
    set_snapshots(mem_node(&cluster, 3), 10, 5);
    apply_some(&cluster, 1, 5);
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

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
    change_behind_entries(&cluster, &change);
    assert_int_equal(mem_node(&cluster, 1)->longest_before_change, 0);
    assert_int_equal(mem_node(&cluster, 3)->sum, 13);
    assert_int_equal(follower->configuration_committed.n, 4);
    assert_int_equal(follower->configuration_uncommitted_index, 0);
    assert_int_equal(follower->configuration_committed_index,
                     mem_node(&cluster, 1)->raft.configuration_committed_index);

    set_snapshots(mem_node(&cluster, 3), 10, 5);
    apply_some(&cluster, 1, 5);
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

    mem_init(&cluster, 3, 1 << 2, &NO_FATAL);
    change_behind_entries(&cluster, &change);
    assert_int_equal(mem_node(&cluster, 3)->raft.configuration_committed.n, 3);
    set_snapshots(mem_node(&cluster, 3), 10, 5);
    apply_some(&cluster, 1, 30);
    mem_tick(&cluster, 2);
    assert_int_equal(mem_node(&cluster, 3)->sum, 43);
    assert_int_equal(mem_node(&cluster, 3)->snapshots_taken, 0);
    mem_release(&cluster);
}

/* ---- B5: what raft_apply() does not check --------------------------------------------------- */

static void several_buffers_child(unsigned guarded)
{
    static struct mem_cluster cluster;
    struct raft_apply request;
    struct raft_buffer buffers[3];
    uint64_t one = 1;

    mem_init(&cluster, 3, guarded, &NO_FATAL);
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
    assert_int_equal(in_child(several_buffers_child, GUARD_NONE), 0);
}

static void apply_takes_one_padded_buffer_of_bounded_length(void **state)
{
    (void)state;
    assert_int_equal(in_child(unpadded_buffer_child, GUARD_ALL), -1);
    assert_int_equal(in_child(too_long_buffer_child, GUARD_ALL), -1);
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
    static const struct raft_guard_host host = {.arg = expected, .fatal = on_fatal_exit};
    struct raft_heap heap = *raft_heap_get();

    heap.malloc = poison;
    heap.realloc = poison_resize;
    raft_heap_set(&heap);
    mem_init(&cluster, 3, guarded, &host);
    leave_node_3_behind(&cluster);
    mem_node(&cluster, 1)->fail_get = RAFT_IOERR;
    mem_node(&cluster, 3)->cut_off = 0;
    mem_tick(&cluster, 3);
}

static void unguarded_a_snapshot_that_cannot_be_read_frees_wild_memory(void **state)
{
    (void)state;
    assert_int_equal(in_child(get_fails_child, GUARD_NONE), -1);
}

static void a_snapshot_that_cannot_be_read_stops_the_node_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(in_child(get_fails_child, GUARD_ALL), CHILD_FATAL);
}

static void on_closed_nothing(struct raft *raft)
{
    (void)raft;
}

/* The snapshot for node 3 has been read when the node is already being closed. */
static unsigned sends_while_closing(struct mem_cluster *cluster)
{
    struct mem_node *leader = mem_node(cluster, 1);

    leave_node_3_behind(cluster);
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

    mem_init(&cluster, 3, GUARD_NONE, &NO_FATAL);
    assert_int_not_equal(sends_while_closing(&cluster), 0);
    mem_release(&cluster);
}

static void a_closing_node_sends_nothing(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
    assert_int_equal(sends_while_closing(&cluster), 0);
    mem_release(&cluster);
}

/* ---- B7: a commit index that falls ---------------------------------------------------------- */

/* A heartbeat that was sent to the follower while it was being probed, and that comes when the follower
 * has committed more: it ends at entry 5, the leader has committed one entry more than the follower. */
static struct mem_node *follower_gets_old_heartbeat(struct mem_cluster *cluster,
                                                    unsigned guarded)
{
    struct mem_node *follower;
    char address[] = "1";

    mem_init(cluster, 3, guarded, &NO_FATAL);
    follower = mem_node(cluster, 3);
    mem_elect(cluster, 1);
    apply_some(cluster, 1, 20);
    mem_tick(cluster, 1);

    const struct raft_message old = {
        .type = RAFT_APPEND_ENTRIES,
        .server_id = 1,
        .server_address = address,
        .append_entries = {.term = follower->raft.current_term,
                           .prev_log_index = 5,
                           .prev_log_term = follower->raft.current_term,
                           .leader_commit = follower->raft.commit_index + 1},
    };
    struct raft_message message = old;
    follower->recv(follower->io, &message);
    mem_run(cluster);
    return follower;
}

static void unguarded_an_old_heartbeat_takes_the_commit_index_back(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = follower_gets_old_heartbeat(&cluster, GUARD_NONE);
    assert_int_equal(follower->raft.commit_index, 5);
    assert_true(follower->raft.last_applied > 5);
    mem_release(&cluster);
}

static void an_old_heartbeat_leaves_the_commit_index_alone(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = follower_gets_old_heartbeat(&cluster, GUARD_ALL);
    assert_int_equal(follower->raft.commit_index, follower->raft.last_applied);
    assert_true(follower->raft.commit_index > 20);
    mem_release(&cluster);
}

/* ---- B8: an acknowledgement of nobody knows what -------------------------------------------- */

/* What libraft leaves unset then has this value. */
static void __attribute__((noinline)) paint_the_stack(void)
{
    volatile char below[8192];

    for (size_t i = 0; i < sizeof(below); i++) {
        below[i] = 0x5a;
    }
}

/* Node 3 is in a later term than a leader whose snapshot comes at last. Returns the index that its
 * answer acknowledges. */
static raft_index answer_to_old_snapshot(struct mem_cluster *cluster, unsigned guarded)
{
    char address[] = "1";
    struct raft_message message = {
        .type = RAFT_INSTALL_SNAPSHOT,
        .server_id = 1,
        .server_address = address,
        .install_snapshot = {.last_index = 3, .last_term = 1, .data = {.len = 8}},
    };

    mem_init(cluster, 3, guarded, &NO_FATAL);
    struct mem_node *follower = mem_node(cluster, 3);
    mem_elect(cluster, 1);
    follower->hold[MEM_SEND] = true;
    message.install_snapshot.term = follower->raft.current_term - 1;
    message.install_snapshot.data.base = raft_calloc(1, 8);
    raft_configuration_init(&message.install_snapshot.conf);
    paint_the_stack();
    follower->recv(follower->io, &message);
    for (const struct mem_op *op = cluster->ops; op != NULL; op = op->next) {
        if (op->node == follower && op->type == MEM_SEND) {
            assert_int_equal(op->message.type, RAFT_APPEND_ENTRIES_RESULT);
            assert_int_equal(op->message.append_entries_result.rejected, 0);
            return op->message.append_entries_result.last_log_index;
        }
    }
    fail_msg("node 3 does not answer");
    return 0;
}

static void
unguarded_a_snapshot_of_an_earlier_term_is_acknowledged_at_random(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_true(answer_to_old_snapshot(&cluster, GUARD_NONE) >
                mem_node(&cluster, 3)->raft.last_stored);
    mem_release(&cluster);
}

static void a_snapshot_of_an_earlier_term_acknowledges_nothing(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_int_equal(answer_to_old_snapshot(&cluster, GUARD_ALL), 0);
    mem_release(&cluster);
}

/* ---- B9: a refused pre-vote that does not tell why ------------------------------------------ */

/* Node 1 came to term 60 in elections that nobody won; node 2, in an earlier term but with the newer log,
 * asks whether it would vote for it. Returns the term in its answer. */
static raft_term answer_to_late_pre_vote(struct mem_cluster *cluster, unsigned guarded)
{
    char address[] = "2";
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE,
        .server_id = 2,
        .server_address = address,
        .request_vote = {.version = 2,
                         .term = 60,
                         .candidate_id = 2,
                         .disrupt_leader = true},
    };

    mem_init(cluster, 3, guarded, &NO_FATAL);
    struct mem_node *node = mem_node(cluster, 1);
    node->recv(node->io, &message);
    mem_run(cluster);
    message.request_vote.term = 31;
    message.request_vote.disrupt_leader = false;
    message.request_vote.pre_vote = true;
    message.request_vote.last_log_index = 100;
    message.request_vote.last_log_term = 30;
    node->recv(node->io, &message);
    for (const struct mem_op *op = cluster->ops; op != NULL; op = op->next) {
        if (op->node == node && op->type == MEM_SEND) {
            assert_int_equal(op->message.type, RAFT_REQUEST_VOTE_RESULT);
            assert_false(op->message.request_vote_result.vote_granted);
            return op->message.request_vote_result.term;
        }
    }
    fail_msg("node 1 does not answer");
    return 0;
}

static void unguarded_a_refused_pre_vote_does_not_tell_the_higher_term(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_int_equal(answer_to_late_pre_vote(&cluster, GUARD_NONE), 31);
    mem_release(&cluster);
}

static void a_refused_pre_vote_tells_the_higher_term(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_int_equal(answer_to_late_pre_vote(&cluster, GUARD_ALL), 60);
    mem_release(&cluster);
}

/* ---- B10: a snapshot with the term of the one before ---------------------------------------- */

/* While node 1 reads its snapshot to send it to node 3, it stores another, whose last entry is of a later
 * term. Returns the term under which node 3 stores what it gets. */
static raft_term term_of_snapshot_read_late(struct mem_cluster *cluster, unsigned guarded)
{
    mem_init(cluster, 3, guarded, &NO_FATAL);
    struct mem_node *leader = mem_node(cluster, 1);
    leave_node_3_behind(cluster);
    leader->cut_off = 2; /* nobody hears anybody, and then node 1 is elected again */
    mem_node(cluster, 2)->cut_off = 3;
    mem_tick(cluster, 25);
    leader->cut_off = 0;
    mem_node(cluster, 2)->cut_off = 0;
    mem_elect(cluster, 1);
    leader->hold[MEM_GET] = true;
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 3);

    apply_some(cluster, 1, 15);
    leader->hold[MEM_GET] = false;
    mem_run(cluster);
    assert(mem_node(cluster, 3)->snapshot != NULL);
    return mem_node(cluster, 3)->snapshot->term;
}

static void snapshot_read_late_child(unsigned guarded)
{
    static struct mem_cluster cluster;

    term_of_snapshot_read_late(&cluster, guarded);
}

/* Under the term of the one before; node 3 then frees twice what contradicts it. */
static void unguarded_a_snapshot_read_late_kills_who_gets_it(void **state)
{
    (void)state;
    assert_int_equal(in_child(snapshot_read_late_child, GUARD_NONE), -1);
}

static void a_snapshot_read_late_has_its_own_term(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    raft_term term = term_of_snapshot_read_late(&cluster, GUARD_ALL);
    assert_int_equal(term, mem_node(&cluster, 1)->snapshot->term);
    mem_release(&cluster);
}

/* ---- B12: a leader whose first entry is refused --------------------------------------------- */

static void set_space(struct mem_cluster *cluster, unsigned short kib)
{
    for (raft_id id = 1; id <= cluster->count; id++) {
        mem_node(cluster, id)->io->capacity = kib;
    }
}

static void set_all_apart(struct mem_cluster *cluster, bool apart)
{
    for (raft_id id = 1; id <= 3; id++) {
        mem_node(cluster, id)->cut_off = apart ? id % 3 + 1 : 0;
    }
}

/* Node 1 gets a request and loses its majority before that is committed. */
static void lose_leadership_with_a_request(struct mem_cluster *cluster)
{
    struct mem_node *leader = mem_node(cluster, 1);

    set_all_apart(cluster, true);
    assert_int_equal(mem_apply(leader, 1), 0);
    for (int i = 0; i < 30 && raft_state(&leader->raft) == RAFT_LEADER; i++) {
        mem_tick(cluster, 1);
    }
    assert_int_not_equal(raft_state(&leader->raft), RAFT_LEADER);
    mem_tick(cluster, 10); /* the others notice too, and vote again */
    set_all_apart(cluster, false);
}

/* Node 1 is elected, with an entry that is not committed, while all are short of space, gets a request
 * when they are not any more, and loses its majority. Returns whether libraft still knows the request. */
static bool request_outlives_leadership(struct mem_cluster *cluster, unsigned guarded)
{
    mem_init(cluster, 3, guarded, &NO_FATAL);
    const struct raft *raft = &mem_node(cluster, 1)->raft;
    set_space(cluster, UINT16_MAX);
    mem_elect(cluster, 1);
    lose_leadership_with_a_request(cluster);
    set_space(cluster, 1);
    mem_elect(cluster, 1);
    set_space(cluster, UINT16_MAX);
    mem_tick(cluster, 3);
    lose_leadership_with_a_request(cluster);
    return raft->legacy.pending[0] != (const void *)&raft->legacy.pending;
}

static void unguarded_a_leader_elected_without_space_keeps_its_requests(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_true(request_outlives_leadership(&cluster, GUARD_NONE));
    mem_release(&cluster);
}

static void a_leader_elected_without_space_forgets_its_requests_in_the_end(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_false(request_outlives_leadership(&cluster, GUARD_ALL));
    mem_release(&cluster);
}

/* Space is still asked for, by what followers report later. */
static void a_leader_without_space_refuses_requests(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
    set_space(&cluster, 1);
    mem_elect(&cluster, 1);
    mem_tick(&cluster, 3);
    assert_int_equal(mem_apply(mem_node(&cluster, 1), 1), RAFT_NOSPACE);
    mem_release(&cluster);
}

/* ---- with all guards, an ordinary life ------------------------------------------------------ */

static void guarded_nodes_replicate_and_agree(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    mem_init(&cluster, 3, GUARD_ALL, &NO_FATAL);
    mem_elect(&cluster, 2);
    for (raft_id id = 1; id <= 3; id++) {
        set_snapshots(mem_node(&cluster, id), 10, 5);
    }
    apply_some(&cluster, 2, 100);
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
        cmocka_unit_test(unguarded_a_follower_that_cannot_write_frees_memory_twice),
        cmocka_unit_test(a_node_that_cannot_write_is_stopped_with_a_reason),
        cmocka_unit_test(unguarded_a_failed_install_leaves_the_node_deaf),
        cmocka_unit_test(a_failed_install_stops_the_node_with_a_reason),
        cmocka_unit_test(unguarded_a_slow_snapshot_is_sent_many_times_at_once),
        cmocka_unit_test(a_slow_snapshot_is_sent_once),
        cmocka_unit_test(a_snapshot_whose_sending_failed_is_sent_again_soon),
        cmocka_unit_test(a_snapshot_that_got_lost_is_sent_again_later),
        cmocka_unit_test(unguarded_a_change_behind_entries_stays_uncommitted_for_ever),
        cmocka_unit_test(a_change_always_arrives_as_the_first_entry),
        cmocka_unit_test(a_node_with_a_stuck_change_takes_no_snapshot),
        cmocka_unit_test(unguarded_of_several_buffers_only_the_first_is_applied),
        cmocka_unit_test(apply_takes_one_padded_buffer_of_bounded_length),
        cmocka_unit_test(unguarded_a_snapshot_that_cannot_be_read_frees_wild_memory),
        cmocka_unit_test(a_snapshot_that_cannot_be_read_stops_the_node_with_a_reason),
        cmocka_unit_test(unguarded_a_closing_node_still_sends_snapshots),
        cmocka_unit_test(a_closing_node_sends_nothing),
        cmocka_unit_test(unguarded_an_old_heartbeat_takes_the_commit_index_back),
        cmocka_unit_test(an_old_heartbeat_leaves_the_commit_index_alone),
        cmocka_unit_test(
            unguarded_a_snapshot_of_an_earlier_term_is_acknowledged_at_random),
        cmocka_unit_test(a_snapshot_of_an_earlier_term_acknowledges_nothing),
        cmocka_unit_test(unguarded_a_refused_pre_vote_does_not_tell_the_higher_term),
        cmocka_unit_test(a_refused_pre_vote_tells_the_higher_term),
        cmocka_unit_test(unguarded_a_snapshot_read_late_kills_who_gets_it),
        cmocka_unit_test(a_snapshot_read_late_has_its_own_term),
        cmocka_unit_test(unguarded_a_leader_elected_without_space_keeps_its_requests),
        cmocka_unit_test(a_leader_elected_without_space_forgets_its_requests_in_the_end),
        cmocka_unit_test(a_leader_without_space_refuses_requests),
        cmocka_unit_test(guarded_nodes_replicate_and_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
