/* B13: peers that say what cannot be true. Each time what libraft 0.22.1 makes of it, and that the guard lets
 * nothing of it through. */
#include "guard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <string.h>

static struct {
    unsigned count;
    raft_id peer;
    char what[256];
} refused;

static void on_refused(void *arg, raft_id peer, const char *what)
{
    (void)arg;
    refused.count++;
    refused.peer = peer;
    assert(strlen(what) < sizeof refused.what);
    strcpy(refused.what, what);
}

static struct {
    unsigned count;
    raft_id peer;
} forgot;

static void on_forgot(void *arg, raft_id peer)
{
    (void)arg;
    forgot.count++;
    forgot.peer = peer;
}

static void on_fatal(void *arg, const char *what)
{
    (void)arg;
    fail_msg("fatal: %s", what);
}

static const struct raft_guard_host HOST = {
    .fatal = on_fatal, .refused = on_refused, .forgot = on_forgot};

static void assert_refused(raft_id peer, const char *what)
{
    assert_int_equal(refused.count, 1);
    assert_int_equal(refused.peer, peer);
    if (strstr(refused.what, what) == NULL) {
        fail_msg("refused because %s, not %s", refused.what, what);
    }
}

/* Node 1 leads, and everybody has 20 entries. */
static void begin(struct mem_cluster *cluster, unsigned guarded)
{
    memset(&refused, 0, sizeof refused);
    memset(&forgot, 0, sizeof forgot);
    mem_init(cluster, 3, guarded, &HOST);
    mem_elect(cluster, 1);
    guard_apply_some(cluster, 1, 20);
    mem_tick(cluster, 1);
}

static void say(struct mem_node *to, raft_id from, const struct raft_message *said)
{
    static char addresses[][2] = {"0", "1", "2", "3"};
    struct raft_message message = *said;

    message.server_id = from;
    message.server_address = addresses[from];
    to->recv(to->io, &message);
    mem_run(to->cluster);
}

/* A heartbeat, or with @entry_term one entry, as the leader of @term. */
static void say_append(struct mem_node *to,
                       raft_id from,
                       raft_term term,
                       raft_index prev_index,
                       raft_term prev_term,
                       raft_term entry_term)
{
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES,
                                   .append_entries = {.term = term,
                                                      .prev_log_index = prev_index,
                                                      .prev_log_term = prev_term}};

    if (entry_term != 0) {
        struct raft_entry *entry = raft_calloc(1, sizeof *entry);
        assert(entry != NULL);
        entry->term = entry_term;
        entry->type = RAFT_COMMAND;
        entry->batch = entry->buf.base = raft_calloc(1, 8);
        entry->buf.len = 8;
        message.append_entries.entries = entry;
        message.append_entries.n_entries = 1;
    }
    say(to, from, &message);
}

/* ---- a second leader of one term ------------------------------------------------------------ */

static struct mem_node *second_leader_is_heard(struct mem_cluster *cluster,
                                               unsigned guarded)
{
    begin(cluster, guarded);
    struct mem_node *follower = mem_node(cluster, 2);
    raft_term term = follower->raft.current_term;
    say_append(follower, 3, term, follower->raft.commit_index, term, 0);
    return follower;
}

static void unguarded_a_second_leader_of_a_term_is_followed(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = second_leader_is_heard(&cluster, GUARD_NONE);
    assert_int_equal(follower->raft.follower_state.current_leader.id, 3);
    mem_release(&cluster);
}

static void a_second_leader_of_a_term_is_refused(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = second_leader_is_heard(&cluster, GUARD_ALL);
    assert_int_equal(follower->raft.follower_state.current_leader.id, 1);
    assert_refused(3, "has another leader");
    mem_release(&cluster);
}

static void the_next_term_may_have_another_leader(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *follower = mem_node(&cluster, 2);
    raft_term term = follower->raft.current_term;
    say_append(follower, 3, term + 1, follower->raft.commit_index, term, 0);
    assert_int_equal(refused.count, 0);
    assert_int_equal(follower->raft.follower_state.current_leader.id, 3);
    /* And the old one is told so, not refused. */
    say_append(follower, 1, term, follower->raft.commit_index, term, 0);
    assert_int_equal(refused.count, 0);
    mem_release(&cluster);
}

static struct mem_node *leader_is_told_that_another_leads(struct mem_cluster *cluster,
                                                          unsigned guarded)
{
    begin(cluster, guarded);
    struct mem_node *leader = mem_node(cluster, 1);
    raft_term term = leader->raft.current_term;
    say_append(leader, 3, term, leader->raft.commit_index, term, 0);
    return leader;
}

/* It writes the address of who leads it where a leader has whom it promotes, and takes no other change of
 * membership until it steps down. */
static void
unguarded_a_leader_that_hears_another_of_its_term_confuses_itself(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    struct mem_node *leader = leader_is_told_that_another_leads(&cluster, GUARD_NONE);
    assert_int_equal(leader->raft.state, RAFT_LEADER);
    assert_int_not_equal(leader->raft.leader_state.promotee_id, 0);
    raft_free(leader->raft.follower_state.current_leader.address);
    mem_release(&cluster);
}

static void a_leader_refuses_another_of_its_term(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    struct mem_node *leader = leader_is_told_that_another_leads(&cluster, GUARD_ALL);
    assert_refused(3, "has another leader");
    guard_apply_some(&cluster, 1, 1);
    assert_int_equal(leader->sum, 21);
    mem_release(&cluster);
}

/* ---- what is committed ---------------------------------------------------------------------- */

static struct mem_node *committed_entry_is_replaced(struct mem_cluster *cluster,
                                                    unsigned guarded)
{
    begin(cluster, guarded);
    struct mem_node *follower = mem_node(cluster, 2);
    raft_term term = follower->raft.current_term;
    say_append(follower, 3, term + 1, 10, term, term + 1);
    return follower;
}

static void committed_entry_is_replaced_child(unsigned guarded)
{
    static struct mem_cluster cluster;

    committed_entry_is_replaced(&cluster, guarded);
}

static void unguarded_an_entry_in_place_of_a_committed_one_kills_the_node(void **state)
{
    (void)state;
    assert_int_equal(guard_in_child(committed_entry_is_replaced_child, GUARD_NONE), -1);
}

static void an_entry_in_place_of_a_committed_one_is_refused(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = committed_entry_is_replaced(&cluster, GUARD_ALL);
    assert_refused(3, "replaces an entry that is committed");
    assert_int_equal(follower->raft.follower_state.current_leader.id, 1);
    mem_release(&cluster);
}

static void entries_behind_another_log_are_refused(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *follower = mem_node(&cluster, 2);
    raft_term term = follower->raft.current_term;
    say_append(follower, 3, term + 1, 10, term + 1, term + 1);
    assert_refused(3, "not the one that is committed");
    mem_release(&cluster);
}

static struct mem_node *committed_log_is_replaced(struct mem_cluster *cluster,
                                                  unsigned guarded)
{
    begin(cluster, guarded);
    struct mem_node *follower = mem_node(cluster, 2);
    raft_term term = follower->raft.current_term;
    struct raft_message message = {
        .type = RAFT_INSTALL_SNAPSHOT,
        .install_snapshot = {.term = term + 1,
                             .last_index = 10,
                             .last_term = term + 1,
                             .conf_index = 1,
                             .data = {raft_calloc(1, 8), 8}},
    };
    raft_configuration_init(&message.install_snapshot.conf);
    raft_configuration_add(&message.install_snapshot.conf, 3, "3", RAFT_VOTER);
    say(follower, 3, &message);
    return follower;
}

static void unguarded_a_snapshot_takes_back_what_is_committed(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = committed_log_is_replaced(&cluster, GUARD_NONE);
    assert_int_equal(follower->raft.trail.snapshot.index, 10);
    mem_release(&cluster);
}

static void a_snapshot_of_another_log_is_refused(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    const struct mem_node *follower = committed_log_is_replaced(&cluster, GUARD_ALL);
    assert_refused(3, "not of the log that is committed");
    assert_int_equal(follower->raft.trail.snapshot.index, 0);
    mem_release(&cluster);
}

/* ---- votes, acknowledgements, terms --------------------------------------------------------- */

static void a_vote_that_nobody_asked_for_is_refused(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *follower = mem_node(&cluster, 2);
    raft_term term = follower->raft.current_term;
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE_RESULT,
        .request_vote_result = {.version = 2, .term = term + 1, .vote_granted = true}};
    say(follower, 3, &message);
    assert_refused(3, "in a term that nobody asked for");
    message.request_vote_result.pre_vote = true;
    say(follower, 3, &message);
    assert_int_equal(refused.count, 1); /* that could be the answer to a pre-vote */
    message.request_vote_result.term++;
    say(follower, 3, &message);
    assert_int_equal(refused.count, 2);
    mem_release(&cluster);
}

static void an_acknowledgement_of_what_was_not_sent_is_refused(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *leader = mem_node(&cluster, 1);
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .append_entries_result = {.version = 2,
                                  .term = leader->raft.current_term,
                                  .last_log_index = raft_last_index(&leader->raft)}};
    say(leader, 2, &message);
    assert_int_equal(refused.count, 0);
    message.append_entries_result.last_log_index++;
    say(leader, 2, &message);
    assert_refused(2, "acknowledges entries");
    mem_release(&cluster);
}

/* ---- B15: a follower that has lost its log --------------------------------------------------- */

/* As one that has been started with an empty directory and was sent the first entries again. */
static void say_less(struct mem_node *leader, raft_id from)
{
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .append_entries_result = {
            .version = 2, .term = leader->raft.current_term, .last_log_index = 5}};

    say(leader, from, &message);
}

static void one_old_answer_is_no_lost_log(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *leader = mem_node(&cluster, 1);
    for (unsigned i = 0; i < 10; i++) {
        say_less(leader, 2);
        mem_tick(&cluster, 2); /* node 2 answers a heartbeat */
    }
    assert_int_equal(forgot.count, 0);
    mem_release(&cluster);
}

/* Node 2 lost its log and was replaced: it never says again that it has everything. */
static void a_second_follower_that_lost_its_log_is_told_of_too(void **state)
{
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *leader = mem_node(&cluster, 1);
    mem_node(&cluster, 2)->cut_off = 1;
    say_less(leader, 2);
    cluster.now += RAFT_GUARD_FORGOT_MS;
    say_less(leader, 2);
    assert_int_equal(forgot.count, 1);
    assert_int_equal(forgot.peer, 2);

    cluster.now += 2 * RAFT_GUARD_FORGOT_AGAIN_MS;
    say_less(leader, 3);
    assert_int_equal(forgot.count, 1);
    cluster.now += RAFT_GUARD_FORGOT_MS;
    say_less(leader, 3);
    assert_int_equal(forgot.count, 2);
    assert_int_equal(forgot.peer, 3);
    mem_release(&cluster);
}

static void a_jump_of_terms_is_refused(void **state)
{
    static const unsigned short types[] = {
        RAFT_APPEND_ENTRIES,      RAFT_APPEND_ENTRIES_RESULT, RAFT_REQUEST_VOTE,
        RAFT_REQUEST_VOTE_RESULT, RAFT_INSTALL_SNAPSHOT,      RAFT_TIMEOUT_NOW};
    static struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct mem_node *follower = mem_node(&cluster, 2);
    raft_term term = follower->raft.current_term;
    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct raft_message message = {.type = types[i]};
        /* The term comes first in all of them, but for the version. */
        message.append_entries.term = term + RAFT_GUARD_TERM_JUMP_MAX + 1;
        refused.count = 0;
        say(follower, 3, &message);
        assert_refused(3, "far above");
        assert_int_equal(follower->raft.current_term, term);
    }
    mem_release(&cluster);
}

/* As it is after a start: a bit of libraft's file of term and vote has flipped, which nothing there notices. */
static void a_term_that_cannot_be_is_told_at_the_start(void **state)
{
    struct mem_cluster cluster;
    (void)state;

    begin(&cluster, GUARD_ALL);
    struct raft *raft = &mem_node(&cluster, 1)->raft;
    raft_term term = raft->current_term;
    assert_null(raft_guard_impossible_term(raft));
    raft->current_term = term + RAFT_GUARD_TERM_JUMP_MAX;
    assert_null(raft_guard_impossible_term(raft));
    raft->current_term++;
    assert_non_null(strstr(raft_guard_impossible_term(raft), "no cluster has come to"));
    raft->current_term = term - 1;
    assert_non_null(
        strstr(raft_guard_impossible_term(raft), "older than the last entry's"));
    raft->current_term = term;
    mem_release(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguarded_a_second_leader_of_a_term_is_followed),
        cmocka_unit_test(a_second_leader_of_a_term_is_refused),
        cmocka_unit_test(the_next_term_may_have_another_leader),
        cmocka_unit_test(
            unguarded_a_leader_that_hears_another_of_its_term_confuses_itself),
        cmocka_unit_test(a_leader_refuses_another_of_its_term),
        cmocka_unit_test(unguarded_an_entry_in_place_of_a_committed_one_kills_the_node),
        cmocka_unit_test(an_entry_in_place_of_a_committed_one_is_refused),
        cmocka_unit_test(entries_behind_another_log_are_refused),
        cmocka_unit_test(unguarded_a_snapshot_takes_back_what_is_committed),
        cmocka_unit_test(a_snapshot_of_another_log_is_refused),
        cmocka_unit_test(a_vote_that_nobody_asked_for_is_refused),
        cmocka_unit_test(an_acknowledgement_of_what_was_not_sent_is_refused),
        cmocka_unit_test(one_old_answer_is_no_lost_log),
        cmocka_unit_test(a_second_follower_that_lost_its_log_is_told_of_too),
        cmocka_unit_test(a_jump_of_terms_is_refused),
        cmocka_unit_test(a_term_that_cannot_be_is_told_at_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
