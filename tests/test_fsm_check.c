/* fsm_check() sees a broken state: each case damages one thing from inside, in a child process that
 * must then abort. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsm_table.h"
#include "state.h"

static struct lock *first_lock(struct fsm *fsm)
{
    struct lock *lock = lock_first(fsm);

    if (lock == NULL) {
        abort();
    }
    return lock;
}

static struct client *first_client(struct fsm *fsm)
{
    struct client *client = client_first(fsm);

    if (client == NULL) {
        abort();
    }
    return client;
}

/* "L": held by readers a and b, "a" waits for an upgrade, then "c"; "M": held by c for ever. */
static void fill(struct table *t)
{
    attach_all(t, "a b c d");
    lock(t, "a", "L", (struct ask){.read = true, .hold_ms = 500});
    lock(t, "b", "L", (struct ask){.read = true, .hold_ms = 600});
    lock(t, "a", "L", (struct ask){.wait = true, .wait_ms = 700});
    lock(t, "c", "L", (struct ask){.wait = true});
    lock(t, "c", "M", (struct ask){0});
    lock(t, "d", "N", (struct ask){.limit = 2});
    lock(t, "d", "E", (struct ask){.hold_ms = 1});
    pass(t, 1);
}

static void a_count_is_wrong(struct fsm *fsm)
{
    fsm->holds_count++;
}

static void a_lock_counts_a_wait_too_few(struct fsm *fsm)
{
    first_lock(fsm)->waits_count--;
}

static void a_writer_is_among_readers(struct fsm *fsm)
{
    first_lock(fsm)->holds->next->type = FSM_WRITE;
}

static void the_head_of_the_queue_could_be_granted(struct fsm *fsm)
{
    first_lock(fsm)->waits->type = FSM_READ;
    first_lock(fsm)->waits->upgrade = false;
}

static void a_holder_waits_without_an_upgrade(struct fsm *fsm)
{
    first_lock(fsm)->waits->upgrade = false;
}

static void something_is_overdue(struct fsm *fsm)
{
    fsm->now_ms += 10000;
}

static void the_heap_is_out_of_order(struct fsm *fsm)
{
    first_lock(fsm)->holds->due.at_ms = 1000000;
}

static void a_deadline_is_not_where_it_says(struct fsm *fsm)
{
    fsm->deadlines.items[1]->place = 2;
}

static void a_token_was_never_given(struct fsm *fsm)
{
    fsm->token = 1;
}

static void two_claims_have_the_same_token(struct fsm *fsm)
{
    first_lock(fsm)->holds->token = 4;
}

static void two_claims_have_the_same_age(struct fsm *fsm)
{
    struct lock *other = lock_next(first_lock(fsm));

    if (other == NULL) {
        abort();
    }
    other->holds->due.order = 1;
}

static void a_gone_client_holds_without_ignore(struct fsm *fsm)
{
    first_client(fsm)->presence = FSM_GONE;
}

static void a_slot_is_out_of_range(struct fsm *fsm)
{
    first_lock(fsm)->holds->slot = 1;
}

static void a_counting_lock_has_a_reader(struct fsm *fsm)
{
    first_lock(fsm)->limit = 3;
}

static void a_memory_is_of_a_lock_that_is_held(struct fsm *fsm)
{
    struct client *client = client_first(fsm);

    while (client != NULL) {
        if (client->expired != NULL) {
            client->expired->name[0] = 'N';
            return;
        }
        client = client_next(client);
    }
    fail();
}

static void a_lock_is_left_unsettled(struct fsm *fsm)
{
    first_lock(fsm)->unsettled = true;
}

static void assert_noticed(struct table *t, void (*damage)(struct fsm *))
{
    int status_code = 0;
    pid_t child;

    fflush(stdout);
    fflush(stderr);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        damage(t->fsm);
        fsm_check(t->fsm);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status_code, 0), child);
    assert_true(WIFSIGNALED(status_code));
    assert_int_equal(WTERMSIG(status_code), SIGABRT);
}

static void every_kind_of_damage_is_noticed(void **state)
{
    static void (*const damages[])(struct fsm *) = {
        a_count_is_wrong,
        a_lock_counts_a_wait_too_few,
        a_writer_is_among_readers,
        the_head_of_the_queue_could_be_granted,
        a_holder_waits_without_an_upgrade,
        something_is_overdue,
        the_heap_is_out_of_order,
        a_deadline_is_not_where_it_says,
        a_token_was_never_given,
        two_claims_have_the_same_token,
        two_claims_have_the_same_age,
        a_gone_client_holds_without_ignore,
        a_slot_is_out_of_range,
        a_counting_lock_has_a_reader,
        a_memory_is_of_a_lock_that_is_held,
        a_lock_is_left_unsettled,
    };
    struct table *t = *state;

    fill(t);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        assert_noticed(t, damages[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fsm_test(every_kind_of_damage_is_noticed),
    };

    return cmocka_run_group_tests_name("fsm_check", tests, NULL, NULL);
}
