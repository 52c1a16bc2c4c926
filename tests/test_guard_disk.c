/* B2 with raft_uv and a real file system: a write of the log that fails kills libraft, and stops a
 * guarded node with a reason. A limit on the size of files plays the broken disk. */
#include "raft_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <raft/uv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CHILD_FINE = 0,
    CHILD_FATAL = 42,
    CHILD_LOST = 43,
    CHILD_S = 10,
    ENTRY_BYTES = 4096
};

/* A cluster of one. */
struct node {
    uv_loop_t loop;
    struct raft_uv_transport transport;
    struct raft_guard guard;
    struct raft_fsm fsm;
    struct raft raft;
    bool snapshots;
    unsigned applied;
};

static int
fsm_apply_entry(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct node *node = fsm->data;

    (void)buf;
    node->applied++;
    *result = NULL;
    return 0;
}

static int
fsm_take_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    const struct node *node = fsm->data;

    if (!node->snapshots) {
        return RAFT_BUSY;
    }
    *n_bufs = 1;
    *bufs = raft_malloc(sizeof **bufs);
    (*bufs)[0] = (struct raft_buffer){.base = raft_calloc(1, 8), .len = 8};
    return 0;
}

static int fsm_no_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    (void)buf;
    return RAFT_INVALID;
}

static void on_fatal(void *arg, const char *what)
{
    (void)arg;
    bool expected = strncmp(what, "cannot write the log: ", 22) == 0 ||
                    strncmp(what, "cannot close a segment", 22) == 0 ||
                    strncmp(what, "cannot truncate the log", 23) == 0;
    _exit(expected ? CHILD_FATAL : CHILD_LOST);
}

static void must(bool condition)
{
    if (!condition) {
        _exit(CHILD_LOST);
    }
}

static void node_start(struct node *node, const char *dir, bool guarded)
{
    static const struct raft_guard_host host = {.fatal = on_fatal};
    struct raft_configuration configuration;
    struct raft_fsm *fsm = &node->fsm;

    memset(node, 0, sizeof *node);
    node->fsm = (struct raft_fsm){
        .version = 1,
        .data = node,
        .apply = fsm_apply_entry,
        .snapshot = fsm_take_snapshot,
        .restore = fsm_no_restore,
    };
    must(uv_loop_init(&node->loop) == 0);
    node->transport.version = 1;
    must(raft_uv_tcp_init(&node->transport, &node->loop) == 0);
    node->guard.io.version = 1;
    must(raft_uv_init(&node->guard.io, &node->loop, dir, &node->transport) == 0);
    if (guarded) {
        raft_guard_install(&node->guard, &node->raft, fsm, &host);
        raft_uv_set_tracer(&node->guard.io, &node->guard.tracer);
        fsm = &node->guard.fsm;
    }
    /* Port 0 is any: nobody connects. */
    must(raft_init(&node->raft, &node->guard.io, fsm, 1, "127.0.0.1:0") == 0);
    node->raft.tracer = NULL;
    raft_uv_set_disk_retry(&node->guard.io, 20);
    raft_configuration_init(&configuration);
    must(raft_configuration_add(&configuration, 1, "127.0.0.1:0", RAFT_VOTER) == 0);
    must(raft_bootstrap(&node->raft, &configuration) == 0);
    raft_configuration_close(&configuration);
    must(raft_start(&node->raft) == 0);
    must(raft_state(&node->raft) == RAFT_LEADER);
}

static void on_applied(struct raft_apply *request, int status, void *result)
{
    (void)request;
    (void)status;
    (void)result;
}

static int apply_one(struct node *node, struct raft_apply *request)
{
    struct raft_buffer buffer = {.base = raft_calloc(1, ENTRY_BYTES), .len = ENTRY_BYTES};
    int rv = raft_guard_apply(&node->raft, request, &buffer, on_applied);

    must(rv == 0 || rv == RAFT_NOSPACE);
    if (rv != 0) {
        raft_free(buffer.base);
    }
    return rv;
}

/* Turn the loop until @count entries are applied, for at most @limit_ms. */
static bool run_until_applied(struct node *node, unsigned count, uint64_t limit_ms)
{
    uv_update_time(&node->loop);
    uint64_t start = uv_now(&node->loop);

    while (node->applied < count && uv_now(&node->loop) - start < limit_ms) {
        uv_run(&node->loop, UV_RUN_ONCE); /* the tick of raft_uv wakes it */
    }
    return node->applied >= count;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    must(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static int write_fails(const char *dir, bool guarded)
{
    static struct node node;
    static struct raft_apply requests[32];

    node_start(&node, dir, guarded);
    apply_one(&node, &requests[0]);
    must(run_until_applied(&node, 1, 5000));
    limit_files(8 * 4096);
    for (unsigned i = 1; i < 32; i++) {
        apply_one(&node, &requests[i]);
        run_until_applied(&node, i + 1, 100);
    }
    return CHILD_LOST;
}

static int space_comes_back(const char *dir, bool guarded)
{
    static struct node node;
    static struct raft_apply requests[2];

    limit_files(4 * 4096); /* no segment fits: as on a full disk */
    node_start(&node, dir, guarded);
    raft_set_capacity_threshold(&node.raft, 0); /* else it refuses entries, see below */
    apply_one(&node, &requests[0]);
    must(!run_until_applied(&node, 1, 300));
    limit_files(RLIM_INFINITY);
    must(run_until_applied(&node, 1, 5000));
    apply_one(&node, &requests[1]);
    must(run_until_applied(&node, 2, 5000));
    return CHILD_FINE;
}

/* Why raft_node refuses to start without space: segments are prepared at the start and when entries
 * come, and without a segment a leader takes no entry. */
static int stuck_after_start(const char *dir, bool guarded)
{
    static struct node node;
    static struct raft_apply request;

    limit_files(4 * 4096);
    node_start(&node, dir, guarded);
    must(node.guard.io.capacity == 0);
    limit_files(RLIM_INFINITY);
    for (int i = 0; i < 10; i++) {
        must(!run_until_applied(&node, 1, 100));
        must(apply_one(&node, &request) == RAFT_NOSPACE);
    }
    return CHILD_FINE;
}

static void remove_open_segments(const char *dir)
{
    char path[128];

    for (int i = 1; i <= 8; i++) {
        snprintf(path, sizeof path, "%s/open-%d", dir, i);
        (void)!unlink(path);
    }
}

/* Somebody deletes the segment that is being written; a snapshot makes libraft close it. */
static int segment_is_gone(const char *dir, bool guarded)
{
    static struct node node;
    static struct raft_apply requests[20];

    node_start(&node, dir, guarded);
    apply_one(&node, &requests[0]);
    must(run_until_applied(&node, 1, 5000));
    remove_open_segments(dir);
    node.snapshots = true;
    raft_set_snapshot_threshold(&node.raft, 5);
    for (unsigned i = 1; i < 20; i++) {
        apply_one(&node, &requests[i]);
        must(run_until_applied(&node, i + 1, 1000));
    }
    run_until_applied(&node, UINT32_MAX, 300);
    return CHILD_FINE;
}

static void *say_from_the_pool(void *arg)
{
    struct raft_guard *guard = arg;
    struct raft_tracer_info info = {.version = 1,
                                    .diagnostic = {.message = "uv truncate work cb"}};

    guard->tracer.emit(&guard->tracer, RAFT_TRACER_DIAGNOSTIC, &info);
    return NULL;
}

/* Too hard to bring about: said in libraft's words. */
static int truncation_fails(const char *dir, bool guarded)
{
    static struct node node;
    struct raft_tracer_info info = {
        .version = 1, .diagnostic = {.message = "uv truncate after work cb status:0"}};
    pthread_t pool;

    (void)guarded;
    node_start(&node, dir, true);
    must(pthread_create(&pool, NULL, say_from_the_pool, &node.guard) == 0);
    must(pthread_join(pool, NULL) == 0);
    node.guard.tracer.emit(&node.guard.tracer, RAFT_TRACER_DIAGNOSTIC, &info);
    return CHILD_FINE;
}

/* The child's exit code, or -1 if a signal or a sanitizer ended it. */
static int in_child(int (*body)(const char *dir, bool guarded), bool guarded)
{
    char dir[] = "/tmp/test_guard_disk.XXXXXX";
    char command[64];
    int status = 0;

    assert_non_null(mkdtemp(dir));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGXFSZ,
               SIG_IGN); /* a write beyond the limit is an error then, as on a bad disk */
        alarm(CHILD_S);
        _exit(body(dir, guarded));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    assert_false(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    bool known = WIFEXITED(status) && (WEXITSTATUS(status) == CHILD_FINE ||
                                       WEXITSTATUS(status) >= CHILD_FATAL);
    return known ? WEXITSTATUS(status) : -1;
}

static void unguarded_a_write_that_fails_kills_the_process(void **state)
{
    (void)state;
    assert_int_equal(in_child(write_fails, false), -1);
}

static void a_write_that_fails_stops_the_node_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(in_child(write_fails, true), CHILD_FATAL);
}

static void unguarded_a_segment_that_is_gone_is_not_noticed(void **state)
{
    (void)state;
    assert_int_equal(in_child(segment_is_gone, false), CHILD_FINE);
}

static void a_segment_that_is_gone_stops_the_node(void **state)
{
    (void)state;
    assert_int_equal(in_child(segment_is_gone, true), CHILD_FATAL);
}

static void a_truncation_that_fails_stops_the_node(void **state)
{
    (void)state;
    assert_int_equal(in_child(truncation_fails, true), CHILD_FATAL);
}

static void a_full_disk_is_waited_for(void **state)
{
    (void)state;
    assert_int_equal(in_child(space_comes_back, false), CHILD_FINE);
    assert_int_equal(in_child(space_comes_back, true), CHILD_FINE);
}

static void a_leader_that_started_on_a_full_disk_stays_without_space(void **state)
{
    (void)state;
    assert_int_equal(in_child(stuck_after_start, true), CHILD_FINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguarded_a_write_that_fails_kills_the_process),
        cmocka_unit_test(a_write_that_fails_stops_the_node_with_a_reason),
        cmocka_unit_test(unguarded_a_segment_that_is_gone_is_not_noticed),
        cmocka_unit_test(a_segment_that_is_gone_stops_the_node),
        cmocka_unit_test(a_truncation_that_fails_stops_the_node),
        cmocka_unit_test(a_full_disk_is_waited_for),
        cmocka_unit_test(a_leader_that_started_on_a_full_disk_stays_without_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
