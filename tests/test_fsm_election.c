/* Elections: what a new leader's first entry leaves for later cannot be told from outside, and is bounded. */
#include "fsm_table.h"
#include "state.h"

enum { MANY_LOCKS = 500 };

/* Locks of "a" that a grace of 10 s extends. */
static void take_many(struct table *t)
{
    attach(t, "a");
    for (unsigned i = 0; i < MANY_LOCKS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "L%u", i);
        lock(t, "a", name, (struct ask){.hold_ms = 2000 + i});
    }
}

static void load_record(void *arg, const struct fsm_record *record)
{
    assert_int_equal(fsm_load(arg, record), 0);
}

static struct fsm *rebuilt(const struct fsm *fsm)
{
    struct fsm *copy = fsm_new(3);

    fsm_dump(fsm, load_record, copy);
    assert_int_equal(fsm_load_end(copy), 0);
    return copy;
}

/* An epoch with this grace, so much later. */
static void elect(struct table *t, uint64_t later_ms, uint64_t grace_ms)
{
    t->now_ms += later_ms;
    t->settings.reattach_grace_ms = grace_ms;
    epoch(t);
}

/* ---- what it costs ---------------------------------------------------------------- */

static unsigned copies(const struct roster *roster)
{
    unsigned count = 0;

    for (const struct roster_entry *at = roster->first; at != NULL; at = at->next) {
        count += at->frozen;
    }
    return count;
}

static void an_epoch_copies_nothing_for_a_dump_and_moves_no_hold(void **state)
{
    struct table *t = *state;
    struct fsm_dump *dump;

    take_many(t);
    dump = fsm_dump_begin(t->fsm);

    epoch(t);

    assert_int_equal(copies(&t->fsm->locks), 0);
    assert_int_equal(copies(&t->fsm->clients), 0);
    for (struct lock *at = lock_first(t->fsm); at != NULL; at = lock_next(at)) {
        assert_int_equal(at->holds->extended_ms, 0);
    }
    assert_int_equal(status(t, "a", "L7")->claim.remaining_ms, 10000);
    fsm_dump_end(dump);
}

static void only_the_locks_whose_time_has_come_get_an_election(void **state)
{
    struct table *t = *state;
    unsigned reached = 0;

    take_many(t);
    epoch(t);
    attach(t, "a");

    pass(t, 2000 + 9);

    assert_told(t, "");
    for (struct lock *at = lock_first(t->fsm); at != NULL; at = lock_next(at)) {
        reached += at->holds->extended_ms != 0;
    }
    assert_int_equal(reached, 10);
}

static void elections_with_one_grace_are_one_to_remember(void **state)
{
    struct table *t = *state;

    for (unsigned i = 0; i < 20; i++) {
        elect(t, 7, 10000);
    }
    assert_int_equal(t->fsm->elections.count, 1);
}

/* ---- what cannot be told ---------------------------------------------------------- */

static void a_dump_that_began_before_an_epoch_knows_nothing_of_it(void **state)
{
    struct table *t = *state;
    struct fsm *copy = fsm_new(5);
    struct fsm_dump *dump;
    uint64_t hash;

    attach_all(t, "a b c");
    lock(t, "a", "given", (struct ask){.hold_ms = 500});
    lock(t, "b", "touched", (struct ask){.hold_ms = 600});
    lock(t, "c", "left alone", (struct ask){.hold_ms = 700});
    elect(t, 100, 300);
    attach_all(t, "a c"); /* b is still missing */
    hash = fsm_hash(t->fsm);
    dump = fsm_dump_begin(t->fsm);
    fsm_dump_step(dump, 2, load_record, copy); /* the root and a */

    elect(t, 10, 5000);
    attach_all(t, "b c");
    refresh(t, "b", "touched", 0, 900);
    elect(t, 10, 4000);
    while (fsm_dump_step(dump, 1, load_record, copy)) {
    }
    fsm_dump_end(dump);

    assert_int_equal(fsm_load_end(copy), 0);
    assert_true(fsm_hash(copy) == hash);
    assert_true(fsm_hash(t->fsm) != hash);
    fsm_free(copy);
}

static void a_hold_that_is_extended_takes_its_turn_among_the_others(void **state)
{
    struct table *t = *state;

    attach_all(t, "a b c");
    lock(t, "a", "old", (struct ask){.hold_ms = 100});
    lock(t, "b", "older wait", (struct ask){0});
    lock(t, "c", "older wait", (struct ask){.wait = true, .wait_ms = 10000});
    elect(t, 0, 10000);
    attach_all(t, "a b c");
    lock(t, "b", "new, sooner", (struct ask){.hold_ms = 9999});
    lock(t, "b", "new, as soon", (struct ask){.hold_ms = 10000});

    pass(t, 10000);

    assert_told(t,
                "b expired new, sooner #3; a expired old #1; c wait-timeout older wait; "
                "b expired new, as soon #4");
}

static void a_hold_gets_no_election_before_its_grant_or_its_refresh(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "refreshed", (struct ask){.hold_ms = 500});
    elect(t, 0, 10000);
    attach(t, "a");
    refresh(t, "a", "refreshed", 0, 500);
    lock(t, "a", "granted", (struct ask){.hold_ms = 500});

    pass(t, 500);

    assert_told(t, "a expired refreshed #1; a expired granted #2");
}

static void a_hold_that_stops_to_be_released_by_a_drop_keeps_what_it_had(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 500});
    elect(t, 0, 2000);
    attach(t, "a");
    apply(t, (struct fsm_command){
                 .type = FSM_CMD_REFRESH,
                 .client = str("a"),
                 .lock = str("L"),
                 .refresh = {.set_drop = true, .drop = FSM_DROP_IGNORE},
             });
    elect(t, 0, 5000);

    pass(t, 500);

    assert_told(t, "a expired L #1");
}

/* Applies the same to @settled, which is rebuilt from its dump each time: there all has happened. */
static void follow(const struct table *t, struct fsm **settled)
{
    struct fsm_command command = {
        .type = FSM_CMD_EPOCH,
        .time_ms = t->now_ms,
        .epoch = {.node_id = 1, .term = fsm_term(t->fsm), .settings = t->settings},
    };
    struct fsm *copy;

    fsm_apply(*settled, &command, NULL);
    copy = rebuilt(*settled);
    fsm_free(*settled);
    *settled = copy;
    assert_true(fsm_hash(copy) == fsm_hash(t->fsm));
}

static void elections_whose_grace_shrinks_all_count(void **state)
{
    struct table *t = *state;
    struct fsm *settled;

    take_many(t);
    settled = rebuilt(t->fsm);
    for (unsigned i = 0; i < 3 * ELECTIONS_MAX; i++) {
        elect(t, 150, 8000 - 600 * i);
        assert_in_range(t->fsm->elections.count, 1, ELECTIONS_MAX);
        follow(t, &settled);
    }
    fsm_free(settled);
}

static void elections_whose_grace_comes_and_goes_all_count(void **state)
{
    static const uint64_t graces_ms[] = {3000, 500, 4000, 0, 2500, 1, 2500, 100, 9000};
    struct table *t = *state;
    struct fsm *settled;

    take_many(t);
    settled = rebuilt(t->fsm);
    for (unsigned i = 0; i < sizeof(graces_ms) / sizeof(graces_ms[0]); i++) {
        elect(t, 200, graces_ms[i]);
        follow(t, &settled);
        if (i == 3) {
            attach(t, "a"); /* after a grace of nothing */
            fsm_free(settled);
            settled = rebuilt(t->fsm);
        }
    }
    fsm_free(settled);
}

static void a_later_election_that_extends_by_less_takes_nothing_away(void **state)
{
    struct table *t = *state;

    attach(t, "a");
    lock(t, "a", "L", (struct ask){.hold_ms = 50}); /* asked for until 1050 */
    elect(t, 0, 5000);
    pass(t, 100);        /* extended to 6000 */
    elect(t, 0, 6000);   /* to 7100, but at most 7050 */
    elect(t, 200, 5900); /* to 7200, but at most 6950 */
    attach(t, "a");

    pass(t, 7049 - 1300);
    assert_told(t, "");
    pass(t, 1);
    assert_told(t, "a expired L #1");
}

static void elections_are_counted_beyond_the_last_number(void **state)
{
    struct table *t = *state;
    struct fsm_dump *dump;
    struct fsm *copy = fsm_new(5);
    struct fsm *settled;
    uint64_t hash;

    attach_all(t, "a b");
    lock(t, "a", "L", (struct ask){.hold_ms = 2000});
    lock(t, "b", "M", (struct ask){.hold_ms = 3000});
    t->fsm->elections.last = UINT16_MAX - 2;
    elect(t, 10, 5000);
    attach(t, "b");
    settled = rebuilt(t->fsm);
    hash = fsm_hash(t->fsm);
    dump = fsm_dump_begin(t->fsm);
    for (unsigned i = 0; i < 5; i++) {
        elect(t, 10, 6000);
        follow(t, &settled);
    }
    assert_in_range(t->fsm->elections.last, 1, 5);
    while (fsm_dump_step(dump, 1, load_record, copy)) {
    }
    fsm_dump_end(dump);
    assert_int_equal(fsm_load_end(copy), 0);
    assert_true(fsm_hash(copy) == hash);
    fsm_free(copy);
    fsm_free(settled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(an_epoch_copies_nothing_for_a_dump_and_moves_no_hold),
        fsm_test(only_the_locks_whose_time_has_come_get_an_election),
        fsm_test(elections_with_one_grace_are_one_to_remember),
        fsm_test(a_dump_that_began_before_an_epoch_knows_nothing_of_it),
        fsm_test(a_hold_that_is_extended_takes_its_turn_among_the_others),
        fsm_test(a_hold_gets_no_election_before_its_grant_or_its_refresh),
        fsm_test(a_hold_that_stops_to_be_released_by_a_drop_keeps_what_it_had),
        fsm_test(elections_whose_grace_shrinks_all_count),
        fsm_test(elections_whose_grace_comes_and_goes_all_count),
        fsm_test(a_later_election_that_extends_by_less_takes_nothing_away),
        fsm_test(elections_are_counted_beyond_the_last_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
