/* When a member follows a dead leader, as a table of moments. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "takeover.h"

enum { ELECTION_MS = 500, PATIENCE_MS = 750, SLOT_MS = 25 };

static const uint64_t five[] = {1, 2, 3, 4, 5};

/* A follower of node 1 in term 7, one of @count voters. */
static struct takeover_view follower(size_t count)
{
    return (struct takeover_view){
        .role = TAKEOVER_FOLLOWER,
        .term = 7,
        .leader = 1,
        .settled = true,
        .voters = five,
        .voters_count = count,
    };
}

static struct takeover of(uint64_t self)
{
    struct takeover takeover;

    takeover_init(&takeover, self, ELECTION_MS, SLOT_MS);
    return takeover;
}

/* Step at @now_ms, and expect this. */
static void expect(struct takeover *takeover,
                   const struct takeover_view *view,
                   uint64_t now_ms,
                   enum takeover_action action,
                   uint64_t due_ms)
{
    uint64_t due;

    assert_int_equal(takeover_step(takeover, view, now_ms, &due), action);
    assert_int_equal(due, due_ms);
}

/* Up to where it stands in its slot: from a report at @now_ms. */
static void begin(struct takeover *takeover, struct takeover_view *view, uint64_t now_ms)
{
    uint64_t due;

    assert_true(takeover_begin(takeover, view, 1, 7, now_ms));
    assert_int_equal(takeover_step(takeover, view, now_ms, &due), TAKEOVER_FORGET);
    view->leader = 0;
}

static void stands_in_the_slot_of_its_rank(void **state)
{
    (void)state;
    for (uint64_t self = 2; self <= 5; self++) {
        struct takeover takeover = of(self);
        struct takeover_view view = follower(5);
        begin(&takeover, &view, 1000);
        uint64_t slot = 1000 + TAKEOVER_FIRST_MS + (self - 2) * SLOT_MS;
        expect(&takeover, &view, slot - 1, TAKEOVER_NOTHING, slot);
        expect(&takeover, &view, slot, TAKEOVER_STAND, slot + 4 * SLOT_MS);
    }
}

static void tries_again_until_somebody_leads(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    begin(&takeover, &view, 1000);
    expect(&takeover, &view, 1004, TAKEOVER_STAND, 1054);
    view.role = TAKEOVER_PRE_CANDIDATE;
    expect(&takeover, &view, 1054, TAKEOVER_STAND, 1104);
    view.role = TAKEOVER_FOLLOWER;
    view.term = 8;
    view.leader = 3;
    expect(&takeover, &view, 1104, TAKEOVER_NOTHING, 1104 + PATIENCE_MS);
}

static void gives_up_after_some_tries(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);
    unsigned stood = 0;
    uint64_t due = 1004;

    (void)state;
    begin(&takeover, &view, 1000);
    view.role = TAKEOVER_PRE_CANDIDATE;
    for (unsigned i = 0; i < 20; i++) {
        stood += takeover_step(&takeover, &view, due, &due) == TAKEOVER_STAND;
    }
    assert_int_equal(stood, TAKEOVER_TRIES_MAX);
}

/* An old message of the leader's came in: it lives, or will be found dead again. */
static void the_leader_that_speaks_ends_it(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    begin(&takeover, &view, 1000);
    view.leader = 1;
    expect(&takeover, &view, 1004, TAKEOVER_NOTHING, 1004 + PATIENCE_MS);
    view.leader = 0;
    expect(&takeover, &view, 1005, TAKEOVER_NOTHING, 1005 + ELECTION_MS / 2 + 1);
}

static void an_election_in_earnest_ends_it(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    begin(&takeover, &view, 1000);
    view.role = TAKEOVER_OTHER;
    expect(&takeover, &view, 1004, TAKEOVER_NOTHING, 1004 + ELECTION_MS / 2 + 1);
}

static void waits_for_what_is_being_stored(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    view.settled = false;
    assert_true(takeover_begin(&takeover, &view, 1, 7, 1000));
    expect(&takeover, &view, 1000, TAKEOVER_NOTHING, 1001);
    expect(&takeover, &view, 1001, TAKEOVER_NOTHING, 1002);
    view.settled = true;
    expect(&takeover, &view, 1002, TAKEOVER_FORGET, 1002 + TAKEOVER_FIRST_MS);
}

/* A disk that hangs must not keep it busy for ever. */
static void does_not_wait_longer_than_an_election_timeout(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    view.settled = false;
    assert_true(takeover_begin(&takeover, &view, 1, 7, 1000));
    expect(&takeover, &view, 1000 + ELECTION_MS, TAKEOVER_NOTHING,
           1000 + ELECTION_MS + PATIENCE_MS);
}

static void only_the_leader_of_this_term_matters(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    assert_false(takeover_doubts(&takeover, &view, 3, 1000));
    assert_false(takeover_begin(&takeover, &view, 1, 6, 1000));
    view.leader = 0;
    assert_false(takeover_begin(&takeover, &view, 1, 7, 1000));
    assert_false(takeover_doubts(&takeover, &view, 0, 1000));
    view.role = TAKEOVER_OTHER;
    view.leader = 1;
    assert_false(takeover_begin(&takeover, &view, 1, 7, 1000));
}

/* Two voters cannot replace one of them; and who has no vote elects nobody. */
static void only_who_could_win_stands(void **state)
{
    struct takeover takeover = of(2);
    struct takeover spare = of(6);
    struct takeover_view pair = follower(2), three = follower(3);

    (void)state;
    assert_false(takeover_doubts(&takeover, &pair, 1, 1000));
    assert_true(takeover_doubts(&takeover, &three, 1, 1000));
    assert_false(takeover_doubts(&spare, &three, 1, 1000));
    pair.silent_ms = PATIENCE_MS;
    expect(&takeover, &pair, 1000, TAKEOVER_NOTHING, 1000 + ELECTION_MS / 2 + 1);
}

/* The report was acted upon, and somebody leads: whoever it is, it is over. */
static void end(struct takeover *takeover, struct takeover_view *view, uint64_t now_ms)
{
    uint64_t due;

    view->leader = 3;
    takeover_step(takeover, view, now_ms, &due);
    view->leader = 1;
}

static void one_report_counts_for_a_while(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    begin(&takeover, &view, 1000);
    end(&takeover, &view, 1000);
    assert_false(takeover_doubts(&takeover, &view, 1, 1000 + TAKEOVER_AGAIN_MS - 1));
    assert_true(takeover_doubts(&takeover, &view, 1, 1000 + TAKEOVER_AGAIN_MS));
}

static void so_many_reports_and_no_more_in_a_minute(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    for (unsigned i = 0; i < TAKEOVER_PER_WINDOW_MAX; i++) {
        assert_true(takeover_begin(&takeover, &view, 1, view.term, 1000 + i));
        end(&takeover, &view, 1000 + i);
        view.term++;
    }
    assert_false(takeover_doubts(&takeover, &view, 1, 1000 + TAKEOVER_WINDOW_MS - 1));
    assert_true(takeover_doubts(&takeover, &view, 1, 1000 + TAKEOVER_WINDOW_MS));
    assert_true(takeover_begin(&takeover, &view, 1, view.term, 1000 + TAKEOVER_WINDOW_MS));
    end(&takeover, &view, 1000 + TAKEOVER_WINDOW_MS);
    view.term++;
    assert_true(takeover_doubts(&takeover, &view, 1, 1001 + TAKEOVER_WINDOW_MS));
}

static void another_leader_is_another_matter(void **state)
{
    struct takeover takeover = of(2);
    struct takeover_view view = follower(3);

    (void)state;
    begin(&takeover, &view, 1000);
    view.leader = 3;
    view.term = 8;
    expect(&takeover, &view, 1010, TAKEOVER_NOTHING, 1010 + PATIENCE_MS);
    assert_true(takeover_doubts(&takeover, &view, 3, 1020));
}

static void silence_counts_as_death(void **state)
{
    struct takeover takeover = of(3);
    struct takeover_view view = follower(3);

    (void)state;
    view.silent_ms = PATIENCE_MS - 1;
    expect(&takeover, &view, 1000, TAKEOVER_NOTHING, 1001);
    view.silent_ms = PATIENCE_MS;
    expect(&takeover, &view, 1001, TAKEOVER_FORGET, 1001 + TAKEOVER_FIRST_MS + SLOT_MS);
    view.leader = 0;
    expect(&takeover, &view, 1030, TAKEOVER_STAND, 1030 + 2 * SLOT_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_in_the_slot_of_its_rank),
        cmocka_unit_test(tries_again_until_somebody_leads),
        cmocka_unit_test(gives_up_after_some_tries),
        cmocka_unit_test(the_leader_that_speaks_ends_it),
        cmocka_unit_test(an_election_in_earnest_ends_it),
        cmocka_unit_test(waits_for_what_is_being_stored),
        cmocka_unit_test(does_not_wait_longer_than_an_election_timeout),
        cmocka_unit_test(only_the_leader_of_this_term_matters),
        cmocka_unit_test(only_who_could_win_stands),
        cmocka_unit_test(one_report_counts_for_a_while),
        cmocka_unit_test(so_many_reports_and_no_more_in_a_minute),
        cmocka_unit_test(another_leader_is_another_matter),
        cmocka_unit_test(silence_counts_as_death),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
