/* The blocking calls of the client library against a real netlockd, which is killed and started
 * again.    test_client_blocking NETLOCKD */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "netlock.h"
#include "netlockd_process.h"

static const char *binary;

static int start_node(void **state)
{
    struct netlockd_process *node = malloc(sizeof(*node));
    if (node == NULL)
        return -1;
    netlockd_init(node, binary);
    netlockd_start(node);
    *state = node;
    return 0;
}

static int end_node(void **state)
{
    netlockd_release(*state);
    free(*state);
    return 0;
}

static struct netlock *open_client(const struct netlockd_process *node)
{
    struct netlock *nl = NULL;
    struct netlock_options options = {.servers = node->address};
    int rv = netlock_open(&nl, &options);
    if (rv != 0)
        print_error("open: %s\n", netlock_strerror(rv));
    assert_int_equal(rv, 0);
    return nl;
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* One netlock_lock() in a thread of its own. */
struct locker {
    pthread_t thread;
    struct netlock *nl;
    const char *name;
    int rv;
    struct netlock_grant grant;
    atomic_bool done;
};

static void *run_locker(void *arg)
{
    struct locker *locker = arg;
    locker->rv = netlock_lock(locker->nl, locker->name, NULL, &locker->grant);
    atomic_store(&locker->done, true);
    return NULL;
}

static void start_locker(struct locker *locker)
{
    assert_int_equal(pthread_create(&locker->thread, NULL, run_locker, locker), 0);
}

/* Until the cluster says that @name has a queue. */
static void wait_for_queue(struct netlock *nl, const char *name)
{
    for (int i = 0; i < 12000; i++) {
        struct netlock_status status;
        assert_int_equal(netlock_status(nl, name, &status), 0);
        uint32_t length = status.queue_length;
        netlock_status_release(&status);
        if (length > 0)
            return;
        sleep_ms(5);
    }
    fail_msg("nobody queued");
}

/* ---- the calls --------------------------------------------------------------------------- */

static void a_lock_is_taken_seen_and_given_back(void **state)
{
    struct netlock *nl = open_client(*state);
    struct netlock_lock_options how = {.lock_timeout_ms = 30000, .owner_info = "a test"};
    struct netlock_grant grant;
    struct netlock_status status;

    assert_int_equal(netlock_lock(nl, "job", &how, &grant), 0);
    assert_true(grant.token > 0);
    assert_int_equal(grant.lock_timeout_ms, 30000);
    assert_int_equal(netlock_status(nl, "job", &status), 0);
    assert_int_equal(status.state, NETLOCK_HELD);
    assert_int_equal(status.token, grant.token);
    assert_int_equal(status.holders_count, 1);
    assert_int_equal(status.holders_shown, 1);
    assert_string_equal(status.holders[0].owner_info, "a test");
    assert_string_equal(status.holders[0].client_id, netlock_client_id(nl));
    netlock_status_release(&status);
    assert_int_equal(netlock_refresh(nl, "job", 60000, NULL, &grant), 0);
    assert_int_equal(grant.lock_timeout_ms, 60000);

    assert_int_equal(netlock_unlock(nl, "job"), 0);
    assert_int_equal(netlock_unlock(nl, "job"), -NETLOCK_ENOTHELD);
    assert_int_equal(netlock_status(nl, "job", &status), 0);
    assert_int_equal(status.state, NETLOCK_FREE);
    netlock_status_release(&status);
    netlock_close(nl);
}

static void tokens_are_checked_and_holds_broken(void **state)
{
    struct netlock *nl = open_client(*state);
    struct netlock *other = open_client(*state);
    struct netlock_grant grant;
    enum netlock_token_state token;
    uint64_t by = 0;
    uint32_t broken = 0;

    assert_int_equal(netlock_lock(nl, "job", NULL, &grant), 0);
    assert_int_equal(netlock_check_token(other, "job", grant.token, &token, NULL), 0);
    assert_int_equal(token, NETLOCK_CURRENT);
    assert_int_equal(netlock_break(other, "job", grant.token, &broken), 0);
    assert_int_equal(broken, 1);
    assert_int_equal(netlock_check_token(other, "job", grant.token, &token, &by), 0);
    assert_int_equal(token, NETLOCK_TOKEN_FREE);
    struct netlock_grant next;
    assert_int_equal(netlock_lock(other, "job", NULL, &next), 0);
    assert_true(next.token > grant.token);
    assert_int_equal(netlock_check_token(nl, "job", grant.token, &token, &by), 0);
    assert_int_equal(token, NETLOCK_SUPERSEDED);
    assert_int_equal(by, next.token);
    assert_int_equal(netlock_unlock(nl, "job"), -NETLOCK_EOTHER);
    netlock_close(nl);
    netlock_close(other);
}

static void locks_are_listed_in_pages(void **state)
{
    struct netlock *nl = open_client(*state);
    struct netlock_lock_list list;
    for (int i = 0; i < 5; i++) {
        char name[] = {'l', 'i', 's', 't', '-', (char)('a' + i), 0};
        assert_int_equal(netlock_lock(nl, name, NULL, NULL), 0);
    }

    assert_int_equal(netlock_list_locks(nl, "list-", NULL, 3, &list), 0);
    assert_int_equal(list.count, 3);
    assert_true(list.more);
    assert_string_equal(list.items[0].name, "list-a");
    assert_int_equal(list.items[0].holders_shown, 1);
    netlock_lock_list_release(&list);
    assert_int_equal(netlock_list_locks(nl, "list-", "list-c", 0, &list), 0);
    assert_int_equal(list.count, 2);
    assert_false(list.more);
    netlock_lock_list_release(&list);
    netlock_close(nl);
}

static void a_node_tells_about_itself_without_a_client(void **state)
{
    struct netlockd_process *node = *state;
    struct netlock *nl = open_client(node);
    struct netlock_node_status status;

    assert_int_equal(netlock_node_status(node->address, NULL, 60000, true, &status), 0);
    assert_int_equal(status.role, NETLOCK_SERVING);
    assert_int_equal(status.node_id, status.leader_id);
    assert_true(status.checkpoint_index > 0);
    assert_int_equal(status.members_count, 1);
    assert_string_equal(status.members[0].client_address, node->address);
    netlock_node_status_release(&status);
    assert_int_equal(netlock_node_status("127.0.0.1:1", NULL, 500, false, &status),
                     -NETLOCK_EUNREACHABLE);
    assert_int_equal(netlock_node_status("nonsense:", NULL, 500, false, &status), -EINVAL);
    netlock_close(nl);
}

static void waiting_ends_with_its_timeout_or_at_once(void **state)
{
    struct netlock *holder = open_client(*state);
    struct netlock *nl = open_client(*state);
    assert_int_equal(netlock_lock(holder, "job", NULL, NULL), 0);

    assert_int_equal(
        netlock_lock(nl, "job", &(struct netlock_lock_options){.try_only = true}, NULL),
        -NETLOCK_EHELD);
    assert_int_equal(netlock_lock(nl, "job",
                                  &(struct netlock_lock_options){.wait_timeout_ms = 50},
                                  NULL),
                     -NETLOCK_ETIMEOUT);
    netlock_close(holder);
    assert_int_equal(netlock_lock(nl, "job", NULL, NULL), 0);
    netlock_close(nl);
}

static void a_short_lease_is_refreshed_behind_the_callers_back(void **state)
{
    struct netlock *nl = open_client(*state);
    struct netlock *other = open_client(*state);
    struct netlock_lock_options how = {.lock_timeout_ms = 3000};
    struct netlock_grant grant;
    enum netlock_token_state token;

    assert_int_equal(netlock_lock(nl, "job", &how, &grant), 0);
    sleep_ms(4000);
    assert_int_equal(netlock_check_token(other, "job", grant.token, &token, NULL), 0);

    assert_int_equal(token, NETLOCK_CURRENT);
    netlock_close(nl);
    netlock_close(other);
}

static void an_abandoned_client_frees_its_locks(void **state)
{
    struct netlock *nl = open_client(*state);
    struct netlock *other = open_client(*state);
    assert_int_equal(netlock_lock(nl, "job", NULL, NULL), 0);

    netlock_abandon(nl);

    assert_int_equal(netlock_lock(other, "job", NULL, NULL), 0);
    netlock_close(other);
}

static void blocking_calls_drive_a_client_without_a_thread(void **state)
{
    struct netlockd_process *node = *state;
    struct netlock *nl;
    struct netlock_options options = {.servers = node->address, .flags = NETLOCK_MANUAL};
    struct netlock_status status;
    assert_int_equal(netlock_open(&nl, &options), 0);

    assert_int_equal(netlock_lock(nl, "job", NULL, NULL), 0);
    assert_int_equal(netlock_status(nl, "job", &status), 0);
    assert_int_equal(status.state, NETLOCK_HELD);
    netlock_status_release(&status);
    assert_int_equal(netlock_unlock(nl, "job"), 0);
    netlock_close(nl);
}

/* ---- servers that are not there ------------------------------------------------------------ */

static void no_server_is_unreachable(void **state)
{
    (void)state;
    struct netlock *nl;
    struct netlock_options options = {.servers = "127.0.0.1:1",
                                      .connect_timeout_ms = 200};
    assert_int_equal(netlock_open(&nl, &options), -NETLOCK_EUNREACHABLE);
}

static void *answer_as_web_server(void *arg)
{
    static const char words[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    int listener = *(int *)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        char buf[512];
        (void)!recv(fd, buf, sizeof(buf), 0);
        (void)!send(fd, words, sizeof(words) - 1, MSG_NOSIGNAL);
        close(fd);
    }
}

static void another_kind_of_server_is_a_protocol_error(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    char text[32];
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer_as_web_server, &listener), 0);

    struct netlock *nl;
    struct netlock_options options = {.servers = text, .connect_timeout_ms = 2000};
    assert_int_equal(netlock_open(&nl, &options), -NETLOCK_EPROTOCOL);

    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void a_lock_passes_to_the_client_that_waits(void **state)
{
    struct netlock *first = open_client(*state);
    struct locker second = {.nl = open_client(*state), .name = "job"};
    struct netlock_grant grant;
    assert_int_equal(netlock_lock(first, "job", NULL, &grant), 0);
    start_locker(&second);
    wait_for_queue(first, "job");
    assert_false(atomic_load(&second.done));

    assert_int_equal(netlock_unlock(first, "job"), 0);
    pthread_join(second.thread, NULL);

    assert_int_equal(second.rv, 0);
    assert_true(second.grant.token > grant.token);
    netlock_close(first);
    netlock_close(second.nl);
}

static void unlock_by_another_thread_ends_the_wait(void **state)
{
    struct netlock *first = open_client(*state);
    struct locker second = {.nl = open_client(*state), .name = "job"};
    assert_int_equal(netlock_lock(first, "job", NULL, NULL), 0);
    start_locker(&second);
    wait_for_queue(first, "job");

    assert_int_equal(netlock_unlock(second.nl, "job"), 0);
    pthread_join(second.thread, NULL);

    assert_int_equal(second.rv, -NETLOCK_ECANCELLED);
    netlock_close(first);
    netlock_close(second.nl);
}

static void close_sends_everybody_home(void **state)
{
    struct netlock *first = open_client(*state);
    struct netlock *shared = open_client(*state);
    struct locker lockers[4];
    assert_int_equal(netlock_lock(first, "a", NULL, NULL), 0);
    assert_int_equal(netlock_lock(first, "b", NULL, NULL), 0);
    assert_int_equal(netlock_lock(first, "c", NULL, NULL), 0);
    assert_int_equal(netlock_lock(first, "d", NULL, NULL), 0);
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        lockers[i] = (struct locker){.nl = shared, .name = names[i]};
        start_locker(&lockers[i]);
        wait_for_queue(first, names[i]);
    }

    netlock_close(shared);
    for (int i = 0; i < 4; i++) {
        pthread_join(lockers[i].thread, NULL);
        assert_int_equal(lockers[i].rv, -NETLOCK_ECLOSED);
    }
    netlock_close(first);
}

static atomic_int inside_callback;

static void block_in_callback(void *arg, const struct netlock_notice *notice)
{
    struct netlock **nl = arg;
    if (notice->event == NETLOCK_LOST)
        atomic_store(&inside_callback, -netlock_unlock(*nl, notice->name));
}

static void a_call_that_blocks_is_refused_in_a_callback(void **state)
{
    struct netlockd_process *node = *state;
    struct netlock *nl, *other = open_client(node);
    struct netlock_options options = {
        .servers = node->address, .on_notice = block_in_callback, .arg = &nl};
    assert_int_equal(netlock_open(&nl, &options), 0);
    assert_int_equal(netlock_lock(nl, "job", NULL, NULL), 0);

    atomic_store(&inside_callback, 0);
    assert_int_equal(netlock_break(other, "job", 0, NULL), 0);
    for (int i = 0; i < 12000 && atomic_load(&inside_callback) == 0; i++)
        sleep_ms(5);

    assert_int_equal(atomic_load(&inside_callback), EDEADLK);
    netlock_close(nl);
    netlock_close(other);
}

enum { THREADS = 8, ROUNDS = 25 };

struct crowd {
    struct netlock *nl[2];
    atomic_int inside[2];
    atomic_int failures;
};

struct member {
    pthread_t thread;
    struct crowd *crowd;
    unsigned number;
};

/* Two clients compete for each lock, and each of them has four threads. */
static void *run_member(void *arg)
{
    struct member *member = arg;
    struct crowd *crowd = member->crowd;
    struct netlock *nl = crowd->nl[member->number % 2];
    char name[] = {'x', (char)('0' + member->number / 2), 0};
    for (int i = 0; i < ROUNDS; i++) {
        char scratch[] = {'p', (char)('0' + member->number), 0};
        if (netlock_lock(nl, name, NULL, NULL) != 0 ||
            netlock_lock(nl, scratch, NULL, NULL) != 0 ||
            netlock_unlock(nl, scratch) != 0 || netlock_unlock(nl, name) != 0)
            atomic_fetch_add(&crowd->failures, 1);
    }
    return NULL;
}

static void many_threads_share_a_client(void **state)
{
    struct crowd crowd = {.nl = {open_client(*state), open_client(*state)}};
    struct member members[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        members[i] = (struct member){.crowd = &crowd, .number = i};
        assert_int_equal(
            pthread_create(&members[i].thread, NULL, run_member, &members[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);

    assert_int_equal(atomic_load(&crowd.failures), 0);
    netlock_close(crowd.nl[0]);
    netlock_close(crowd.nl[1]);
}

/* ---- kill -9 ------------------------------------------------------------------------------------ */

static atomic_int losses;

static void count_losses(void *arg, const struct netlock_notice *notice)
{
    (void)arg;
    if (notice->event == NETLOCK_LOST)
        atomic_fetch_add(&losses, 1);
}

static void holds_and_waits_outlive_a_killed_server(void **state)
{
    struct netlockd_process *node = *state;
    struct netlock *holder;
    struct netlock_options options = {
        .servers = node->address, .connect_timeout_ms = 60000, .on_notice = count_losses};
    struct netlock_grant grant;
    atomic_store(&losses, 0);
    assert_int_equal(netlock_open(&holder, &options), 0);
    struct locker waiter = {.name = "job"};
    assert_int_equal(netlock_open(&waiter.nl, &options), 0);
    struct netlock_lock_options how = {.lock_timeout_ms = 30000};
    assert_int_equal(netlock_lock(holder, "job", &how, &grant), 0);
    start_locker(&waiter);
    wait_for_queue(holder, "job");

    netlockd_kill9(node);
    sleep_ms(200);
    assert_false(atomic_load(&waiter.done));
    netlockd_start(node);

    enum netlock_token_state token;
    assert_int_equal(netlock_check_token(holder, "job", grant.token, &token, NULL), 0);
    assert_int_equal(token, NETLOCK_CURRENT);
    assert_false(atomic_load(&waiter.done));
    assert_int_equal(netlock_unlock(holder, "job"), 0);
    pthread_join(waiter.thread, NULL);
    assert_int_equal(waiter.rv, 0);
    assert_true(waiter.grant.token > grant.token);
    assert_int_equal(atomic_load(&losses), 0);
    netlock_close(holder);
    netlock_close(waiter.nl);
}

static void a_call_ends_when_the_server_stays_away(void **state)
{
    struct netlockd_process *node = *state;
    struct netlock *nl;
    struct netlock_options options = {.servers = node->address,
                                      .connect_timeout_ms = 3000};
    netlock_close(open_client(node)); /* it serves */
    assert_int_equal(netlock_open(&nl, &options), 0);
    assert_int_equal(netlock_lock(nl, "job", NULL, NULL), 0);
    netlockd_kill9(node);

    assert_int_equal(netlock_unlock(nl, "job"), -NETLOCK_EUNREACHABLE);
    assert_int_equal(netlock_lock(nl, "other", NULL, NULL), -NETLOCK_EUNREACHABLE);

    netlock_close(nl);
    netlockd_start(node);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s NETLOCKD\n", argv[0]);
        return 64;
    }
    binary = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_is_taken_seen_and_given_back),
        cmocka_unit_test(tokens_are_checked_and_holds_broken),
        cmocka_unit_test(locks_are_listed_in_pages),
        cmocka_unit_test(a_node_tells_about_itself_without_a_client),
        cmocka_unit_test(waiting_ends_with_its_timeout_or_at_once),
        cmocka_unit_test(a_short_lease_is_refreshed_behind_the_callers_back),
        cmocka_unit_test(an_abandoned_client_frees_its_locks),
        cmocka_unit_test(blocking_calls_drive_a_client_without_a_thread),
        cmocka_unit_test(no_server_is_unreachable),
        cmocka_unit_test(another_kind_of_server_is_a_protocol_error),
        cmocka_unit_test(a_lock_passes_to_the_client_that_waits),
        cmocka_unit_test(unlock_by_another_thread_ends_the_wait),
        cmocka_unit_test(close_sends_everybody_home),
        cmocka_unit_test(a_call_that_blocks_is_refused_in_a_callback),
        cmocka_unit_test(many_threads_share_a_client),
        cmocka_unit_test(holds_and_waits_outlive_a_killed_server),
        cmocka_unit_test(a_call_ends_when_the_server_stays_away),
    };
    return cmocka_run_group_tests(tests, start_node, end_node);
}
