/* What is wrong with libraft 0.22.1's messages, each time without the guard and with it: entries, answers,
 * snapshots on their way. */
#include "guard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- B7: a commit index that falls ---------------------------------------------------------- */

/* A heartbeat that was sent to the follower while it was being probed, and that comes when the follower
 * has committed more: it ends at entry 5, the leader has committed one entry more than the follower. */
static struct mem_node *follower_gets_old_heartbeat(struct mem_cluster *cluster,
                                                    unsigned guarded)
{
    struct mem_node *follower;
    char address[] = "1";

    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
    follower = mem_node(cluster, 3);
    mem_elect(cluster, 1);
    guard_apply_some(cluster, 1, 20);
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

    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
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

    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
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
    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
    struct mem_node *leader = mem_node(cluster, 1);
    guard_leave_node_3_behind(cluster);
    leader->cut_off = 2; /* nobody hears anybody, and then node 1 is elected again */
    mem_node(cluster, 2)->cut_off = 3;
    mem_tick(cluster, 25);
    leader->cut_off = 0;
    mem_node(cluster, 2)->cut_off = 0;
    mem_elect(cluster, 1);
    leader->hold[MEM_GET] = true;
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 3);

    guard_apply_some(cluster, 1, 15);
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
    assert_int_equal(guard_in_child(snapshot_read_late_child, GUARD_NONE), -1);
}

static void a_snapshot_read_late_has_its_own_term(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    raft_term term = term_of_snapshot_read_late(&cluster, GUARD_ALL);
    assert_int_equal(term, mem_node(&cluster, 1)->snapshot->term);
    mem_release(&cluster);
}

/* Node 1 reads its snapshot to send it to node 3, and loses the lead to node 2 meanwhile, in whose term
 * it stores another. Returns how many snapshots node 1 has sent in the end. */
static unsigned snapshots_sent_after_the_lead_is_lost(struct mem_cluster *cluster,
                                                      unsigned guarded)
{
    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
    struct mem_node *old = mem_node(cluster, 1);
    guard_leave_node_3_behind(cluster);
    old->hold[MEM_GET] = true;
    mem_node(cluster, 3)->cut_off = 0;
    mem_tick(cluster, 3);
    mem_node(cluster, 3)->cut_off = 1;
    old->cut_off = 2;
    mem_node(cluster, 2)->cut_off = 3;
    mem_tick(cluster, 25);
    old->cut_off = 0;
    mem_elect(cluster, 2);
    guard_apply_some(cluster, 2, 20);
    mem_tick(cluster, 1);
    assert(old->snapshot->term == old->raft.current_term);

    mem_node(cluster, 3)->cut_off = 0;
    old->hold[MEM_GET] = false;
    mem_run(cluster);
    return old->installs_sent;
}

static void unguarded_a_lost_leader_sends_its_successors_snapshot(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_int_not_equal(snapshots_sent_after_the_lead_is_lost(&cluster, GUARD_NONE), 0);
    mem_release(&cluster);
}

static void a_lost_leader_sends_no_snapshot(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_int_equal(snapshots_sent_after_the_lead_is_lost(&cluster, GUARD_ALL), 0);
    mem_node(&cluster, 2)->cut_off = 0;
    mem_tick(&cluster, 40);
    assert_int_equal(mem_node(&cluster, 3)->sum, 60);
    mem_release(&cluster);
}

/* ---- B11: entries that are freed while they are being sent ---------------------------------- */

enum { LOADED = 10 };

/* Node 1 has loaded its entries together, and some of them are on their way to node 3 when it stores a
 * snapshot and lets go of all. Returns the number in the first of those under way. */
static uint64_t number_under_way(struct mem_cluster *cluster, unsigned guarded)
{
    static const unsigned loaded[MEM_NODES_MAX] = {LOADED, LOADED, 0};

    mem_init_loaded(cluster, 3, guarded, &GUARD_NO_FATAL, loaded);
    struct mem_node *leader = mem_node(cluster, 1);
    raft_set_max_inflight_entries(&leader->raft, 3);
    guard_set_snapshots(leader, LOADED, 1);
    leader->hold[MEM_PUT] = true;
    leader->hold_entries_to = 3;
    mem_elect(cluster, 1);
    bool probed = mem_complete(leader, MEM_SEND, 0);
    mem_run(cluster);
    leader->hold[MEM_PUT] = false;
    mem_run(cluster);
    assert(probed && leader->raft.trail.offset > LOADED);

    for (const struct mem_op *op = cluster->ops; op != NULL; op = op->next) {
        const struct raft_append_entries *append = &op->message.append_entries;
        if (op->node == leader && op->type == MEM_SEND && append->n_entries > 0 &&
            append->prev_log_index == 1) {
            uint64_t number;
            memcpy(&number, append->entries[0].buf.base, sizeof number);
            return number;
        }
    }
    fail_msg("nothing is under way");
    return 0;
}

static void number_under_way_child(unsigned guarded)
{
    static struct mem_cluster cluster;

    _exit(number_under_way(&cluster, guarded) == 1 ? 0 : 1);
}

static void unguarded_entries_are_freed_while_they_are_sent(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(number_under_way_child, GUARD_NONE), -1);
}

static void entries_live_until_they_are_sent(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    assert_int_equal(number_under_way(&cluster, GUARD_ALL), 1);
    mem_node(&cluster, 1)->hold_entries_to = 0;
    mem_tick(&cluster, 40);
    assert_int_equal(mem_node(&cluster, 3)->sum, LOADED);
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
    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
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

    mem_init(&cluster, 3, GUARD_ALL, &GUARD_NO_FATAL);
    set_space(&cluster, 1);
    mem_elect(&cluster, 1);
    mem_tick(&cluster, 3);
    assert_int_equal(mem_apply(mem_node(&cluster, 1), 1), RAFT_NOSPACE);
    mem_release(&cluster);
}

/* ---- B14: a follower whose snapshot is newer than the leader's ------------------------------- */

/* Node 3 gets entries and stores a newer snapshot than node 1, which hears nothing of it and lets go of
 * entries that node 3, as far as it knows, has not got. Returns node 3 after the answers get through again
 * and time has passed. */
static const struct mem_node *newer_snapshot_meets_older(struct mem_cluster *cluster,
                                                         unsigned guarded)
{
    mem_init(cluster, 3, guarded, &GUARD_NO_FATAL);
    struct mem_node *leader = mem_node(cluster, 1);
    struct mem_node *follower = mem_node(cluster, 3);
    mem_elect(cluster, 1);
    guard_set_snapshots(leader, 10, 5);
    guard_set_snapshots(follower, 10, 1);
    leader->hold[MEM_PUT] = true;
    follower->answers_lost = true;
    guard_apply_some(cluster, 1, 40);
    mem_tick(cluster, 15);
    guard_set_snapshots(leader, 1000, 5);
    leader->hold[MEM_PUT] = false;
    mem_run(cluster);
    assert(follower->raft.trail.offset > leader->raft.trail.snapshot.index);
    guard_apply_some(cluster, 1, 1);
    follower->answers_lost = false;
    mem_tick(cluster, 100);
    return follower;
}

static void unguarded_a_follower_with_a_newer_snapshot_gets_nothing_more(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = newer_snapshot_meets_older(&cluster, GUARD_NONE);
    assert_true(follower->sum < 41);
    assert_true(mem_node(&cluster, 1)->installs_sent > 5);
    mem_release(&cluster);
}

static void a_follower_with_a_newer_snapshot_goes_on_from_there(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = newer_snapshot_meets_older(&cluster, GUARD_ALL);
    assert_int_equal(follower->sum, 41);
    assert_int_equal(follower->snapshots_restored, 0);
    mem_release(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguarded_an_old_heartbeat_takes_the_commit_index_back),
        cmocka_unit_test(an_old_heartbeat_leaves_the_commit_index_alone),
        cmocka_unit_test(
            unguarded_a_snapshot_of_an_earlier_term_is_acknowledged_at_random),
        cmocka_unit_test(a_snapshot_of_an_earlier_term_acknowledges_nothing),
        cmocka_unit_test(unguarded_a_refused_pre_vote_does_not_tell_the_higher_term),
        cmocka_unit_test(a_refused_pre_vote_tells_the_higher_term),
        cmocka_unit_test(unguarded_a_snapshot_read_late_kills_who_gets_it),
        cmocka_unit_test(a_snapshot_read_late_has_its_own_term),
        cmocka_unit_test(unguarded_a_lost_leader_sends_its_successors_snapshot),
        cmocka_unit_test(a_lost_leader_sends_no_snapshot),
        cmocka_unit_test(unguarded_entries_are_freed_while_they_are_sent),
        cmocka_unit_test(entries_live_until_they_are_sent),
        cmocka_unit_test(unguarded_a_leader_elected_without_space_keeps_its_requests),
        cmocka_unit_test(a_leader_elected_without_space_forgets_its_requests_in_the_end),
        cmocka_unit_test(a_leader_without_space_refuses_requests),
        cmocka_unit_test(unguarded_a_follower_with_a_newer_snapshot_gets_nothing_more),
        cmocka_unit_test(a_follower_with_a_newer_snapshot_goes_on_from_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
