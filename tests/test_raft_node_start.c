/* What a node refuses to start with, and that it can be closed at any moment. */
#include "nodes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- refusals ------------------------------------------------------------------------------- */

static void assert_new_refused(struct fixture *f,
                               const struct raft_node_config *config,
                               int expected,
                               const char *part)
{
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct replica_host callbacks = host_callbacks(&f->hosts[0]);
    struct raft_node *node = NULL;

    assert_int_equal(raft_node_new(&node, &f->loop, config, &callbacks, error), expected);
    assert_null(node);
    if (strstr(error, part) == NULL) {
        fail_msg("'%s' is not in '%s'", part, error);
    }
}

static void wrong_members_are_refused(void **state)
{
    struct fixture *f = *state;

    nodes_choose_members(f, 3);
    struct raft_node_config config = node_config(f, 0);
    config.node_id = 4;
    assert_new_refused(f, &config, -EINVAL, "4 is not among the members");

    config = node_config(f, 0);
    config.members_count = 0;
    assert_new_refused(f, &config, -EINVAL, "1 to 15 members");

    f->members[1].peer_address = f->members[0].peer_address;
    config = node_config(f, 0);
    assert_new_refused(f, &config, -EINVAL, "there twice");
    f->members[1].peer_address = "no port";
    config = node_config(f, 0);
    assert_new_refused(f, &config, -EINVAL, "host:port");
    f->members[1].peer_address = f->addresses[1];
    f->members[1].node_id = 1;
    config = node_config(f, 0);
    assert_new_refused(f, &config, -EINVAL, "there twice");
    f->members[1].node_id = 2;

    config = node_config(f, 0);
    config.peer_listen = "nowhere";
    assert_new_refused(f, &config, -EINVAL, "no address to listen on");
    assert_int_equal(access(f->hosts[0].data_dir, F_OK), -1);
}

static void a_directory_in_use_is_refused(void **state)
{
    struct fixture *f = *state;

    nodes_choose_members(f, 1);
    node_start(f, 0);
    struct raft_node_config config = node_config(f, 0);
    assert_new_refused(f, &config, -EBUSY, "in use by process");
}

static void a_port_in_use_is_named_and_the_node_can_be_closed(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";

    nodes_choose_members(f, 3);
    node_start(f, 0);
    snprintf(f->hosts[1].listen, sizeof f->hosts[1].listen, "%s", f->addresses[0]);
    node_new(f, 1);
    assert_int_equal(raft_node_start(f->hosts[1].node, error), -EADDRINUSE);
    assert_non_null(strstr(error, f->addresses[0]));
    node_close(f, 1);

    f->hosts[1].listen[0] = '\0';
    node_start(f, 1);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
}

/* Flip a byte in the last closed segment. */
static void damage_log(const char *data_dir)
{
    char raft_dir[128];
    char path[512] = "";

    snprintf(raft_dir, sizeof raft_dir, "%s/raft", data_dir);
    DIR *dir = opendir(raft_dir);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        unsigned long long first, last;
        if (sscanf(entry->d_name, "%llu-%llu", &first, &last) == 2 && last > 1) {
            snprintf(path, sizeof path, "%s/%s", raft_dir, entry->d_name);
        }
    }
    closedir(dir);
    assert_string_not_equal(path, "");
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte = 0;
    assert_int_equal(pread(fd, &byte, 1, 60), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, 60), 1);
    close(fd);
}

static void a_damaged_log_is_refused_with_the_way_out(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";

    nodes_choose_members(f, 1);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    nodes_attach(f, "c");
    nodes_lock_many(f, "c", 0, 10);
    node_close(f, 0);
    damage_log(f->hosts[0].data_dir);

    node_new(f, 0);
    assert_int_equal(raft_node_start(f->hosts[0].node, error), -EUCLEAN);
    assert_non_null(strstr(error, f->hosts[0].data_dir));
    assert_non_null(strstr(error, "new node id"));
    node_close(f, 0);

    /* Nothing was renamed away: it is refused again. */
    node_new(f, 0);
    assert_int_equal(raft_node_start(f->hosts[0].node, error), -EUCLEAN);
    node_close(f, 0);
}

/* A limit on the size of files plays the full disk. */
static void a_node_without_space_for_its_log_is_refused(void **state)
{
    struct fixture *f = *state;
    char error[RAFT_NODE_ERROR_BYTES] = "";
    struct rlimit limit;

    nodes_choose_members(f, 1);
    node_new(f, 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    struct rlimit little = {.rlim_cur = 65536, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    int rv = raft_node_start(f->hosts[0].node, error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(rv, -ENOSPC);
    assert_non_null(strstr(error, "make at least 16 MB free"));
    node_close(f, 0);

    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
}

static void the_membership_of_the_log_counts(void **state)
{
    struct fixture *f = *state;

    nodes_choose_members(f, 1);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves, WAIT_MS_MAX));
    assert_false(host_has_line(&f->hosts[0], "configured members differ"));
    node_close(f, 0);

    nodes_choose_members(f, 3);
    node_start(f, 0);
    assert_true(nodes_run_until(f, nodes_somebody_serves,
                                WAIT_MS_MAX)); /* still its own majority */
    assert_true(host_has_line(&f->hosts[0], "configured members differ"));
    struct raft_node_status status;
    raft_node_status(f->hosts[0].node, &status);
    assert_int_equal(status.members_count, 1);
}

/* ---- closing, time -------------------------------------------------------------------------- */

static void a_node_that_never_started_can_be_closed(void **state)
{
    struct fixture *f = *state;

    nodes_choose_members(f, 3);
    node_new(f, 0);
    node_close(f, 0);
    node_start(f, 0); /* it still counts as new */
}

static void nodes_can_be_closed_at_any_turn(void **state)
{
    struct fixture *f = *state;

    nodes_choose_members(f, 3);
    for (int turns = 0; turns < 40; turns += 3) {
        for (int i = 0; i < 3; i++) {
            node_start(f, i);
        }
        for (int i = 0; i < turns; i++) {
            uv_run(&f->loop, UV_RUN_ONCE);
        }
        nodes_close_all(f);
    }
}

static void timing_follows_from_the_lease(void **state)
{
    struct raft_node_timing timing = raft_node_timing_from_lease(1000);
    (void)state;

    assert_int_equal(timing.election_ms, 1000);
    assert_int_equal(timing.heartbeat_ms, 100);
    for (uint32_t lease_ms = 10; lease_ms < 20000; lease_ms += 10) {
        timing = raft_node_timing_from_lease(lease_ms);
        assert_int_equal(timing.election_ms, lease_ms);
        assert_in_range(timing.heartbeat_ms, 1, lease_ms / 5);
        assert_in_range(timing.connect_timeout_ms, 100, 1000);
        assert_in_range(timing.connect_retry_ms, 100, 200);
        assert_true(timing.user_timeout_ms >= 2000 && timing.user_timeout_ms > lease_ms);
        /* libraft triples this pair. */
        assert_false(timing.election_ms == 150 && timing.heartbeat_ms == 15);
    }
}

static void steady_time_does_not_fall(void **state)
{
    (void)state;
    uint64_t before = raft_node_now_ms(NULL);

    assert_true(before > 0);
    assert_true(raft_node_now_ms(NULL) >= before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, nodes_setup, nodes_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_members_are_refused),
        TEST(a_directory_in_use_is_refused),
        TEST(a_port_in_use_is_named_and_the_node_can_be_closed),
        TEST(a_damaged_log_is_refused_with_the_way_out),
        TEST(a_node_without_space_for_its_log_is_refused),
        TEST(the_membership_of_the_log_counts),
        TEST(a_node_that_never_started_can_be_closed),
        TEST(nodes_can_be_closed_at_any_turn),
        cmocka_unit_test(timing_follows_from_the_lease),
        cmocka_unit_test(steady_time_does_not_fall),
    };

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
