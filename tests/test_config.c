/* The configuration: what it accepts, what it makes of silence, and how it says no. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "text_file.h"

struct result {
    int rv;
    struct config config;
    enum config_action action;
    char error[CONFIG_ERROR_BYTES];
    char file[64];
};

static struct result load(const char *const *flags)
{
    const char *argv[32] = {"netlockd"};
    int argc = 1;
    struct result result = {0};

    for (; flags != NULL && *flags != NULL; flags++) {
        argv[argc++] = *flags;
    }
    result.rv = config_load(&result.config, argc, (char *const *)(uintptr_t)argv,
                            &result.action, result.error);
    return result;
}

#define LOAD(...) load((const char *const[]){__VA_ARGS__, NULL})

static struct result load_bytes(const char *text, size_t len)
{
    char path[] = "/tmp/netlock-config-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
    struct result result = LOAD("--config", path);
    snprintf(result.file, sizeof(result.file), "%s", path);
    unlink(path);
    return result;
}

static struct result load_text(const char *text)
{
    return load_bytes(text, strlen(text));
}

/* Refused with a line that names the file, the line, and @part. */
static void assert_refused(const char *text, int line, const char *part)
{
    struct result result = load_text(text);
    char prefix[128];

    snprintf(prefix, sizeof(prefix), "%s:%d: ", result.file, line);
    assert_int_equal(result.rv, -EINVAL);
    if (strncmp(result.error, prefix, strlen(prefix)) != 0 ||
        strstr(result.error, part) == NULL) {
        fail_msg("\"%s\" is not \"%s...%s\"", result.error, prefix, part);
    }
}

static void assert_flags_refused(struct result result, const char *part)
{
    assert_int_equal(result.rv, -EINVAL);
    if (strstr(result.error, part) == NULL) {
        fail_msg("\"%s\" says nothing of \"%s\"", result.error, part);
    }
}

static const char three_members[] = "node-id = 2\n"
                                    "cluster = prod\n"
                                    "data-dir = /srv/netlock\n"
                                    "member = 1 127.0.0.1:1001 127.0.0.1:1002\n"
                                    "member = 2 127.0.0.1:2001 127.0.0.1:2002\n"
                                    "member = 3 127.0.0.1:3001 127.0.0.1:3002\n";

/* ---- what is accepted ---- */

static void silence_means_a_single_node_on_loopback(void **state)
{
    struct result result = load(NULL);

    (void)state;
    assert_int_equal(result.rv, 0);
    assert_int_equal(result.action, CONFIG_RUN);
    assert_int_equal(result.config.node_id, 1);
    assert_string_equal(result.config.cluster, "local");
    assert_string_equal(result.config.listen, "127.0.0.1:7670");
    assert_string_equal(result.config.peer_listen, "127.0.0.1:7671");
    assert_int_equal(result.config.members_count, 1);
    assert_string_equal(result.config.members[0].client_address, "127.0.0.1:7670");
    assert_true(result.config.data_dir_is_default);
    assert_true(result.config.data_dir[0] == '/');
    assert_int_equal(result.config.leader_lease_ms, 500);
    assert_int_equal(result.config.connections_max, 10000);
}

static void file_with_members_makes_a_node_of_them(void **state)
{
    struct result result = load_text(three_members);

    (void)state;
    assert_int_equal(result.rv, 0);
    assert_int_equal(result.config.members_count, 3);
    assert_string_equal(result.config.listen, "127.0.0.1:2002");
    assert_string_equal(result.config.peer_listen, "127.0.0.1:2001");
    assert_string_equal(config_member_find(&result.config, 3)->client_address,
                        "127.0.0.1:3002");
    assert_null(config_member_find(&result.config, 4));
    assert_false(result.config.data_dir_is_default);
}

static void flags_override_the_file(void **state)
{
    char path[] = "/tmp/netlock-config-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_true(write(fd, three_members, sizeof(three_members) - 1) > 0);
    close(fd);
    struct result result = LOAD("--leader-lease", "1", "--config", path, "--node-id=7",
                                "--member", "7 127.0.0.1:1 127.0.0.1:2");
    unlink(path);

    assert_int_equal(result.rv, 0);
    assert_int_equal(result.config.leader_lease_ms, 1000);
    assert_string_equal(result.config.cluster, "prod");
    assert_int_equal(result.config.members_count, 1);
    assert_int_equal(result.config.members[0].node_id, 7);
}

static void file_may_come_from_anywhere(void **state)
{
    struct result result = load_text("\xef\xbb\xbf# windows\r\n"
                                     "\r\n"
                                     "  cluster=a b \r\n"
                                     "\tlog-level = debug   ; very\r\n"
                                     "lock-timeout-max = 2h # at most\r\n"
                                     "session-grace-max = 0");

    (void)state;
    assert_int_equal(result.rv, 0);
    assert_string_equal(result.config.cluster, "a b");
    assert_int_equal(result.config.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(result.config.lock_timeout_max_ms, 7200000);
    assert_int_equal(result.config.session_grace_max_ms, 0);
}

static void durations_have_units_and_seconds_without(void **state)
{
    static const struct {
        const char *text;
        int rv;
        uint64_t ms;
    } cases[] = {
        {"0", 0, 0},
        {"30", 0, 30000},
        {"500ms", 0, 500},
        {"30s", 0, 30000},
        {"2m", 0, 120000},
        {"1h", 0, 3600000},
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1.5s", -EINVAL, 0},
        {"1M", -EINVAL, 0},
        {"10 minutes", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551615h", -ERANGE, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ms = 0;
        assert_int_equal(config_duration_parse(cases[i].text, &ms), cases[i].rv);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void unlimited_is_a_lock_timeout(void **state)
{
    struct result result =
        load_text("lock-timeout-default = 10s\nlock-timeout-max = unlimited\n");

    (void)state;
    assert_int_equal(result.rv, 0);
    assert_true(result.config.lock_timeout_max_ms == CONFIG_UNLIMITED);
}

static void everything_follows_from_the_lease(void **state)
{
    struct config config = {.leader_lease_ms = 500};
    struct config_timing timing = config_timing(&config);

    (void)state;
    assert_int_equal(timing.raft.election_ms, 500);
    assert_int_equal(timing.raft.heartbeat_ms, 50);
    assert_int_equal(timing.reattach_grace_ms, 10000);
    config.leader_lease_ms = 2000;
    assert_int_equal(config_timing(&config).reattach_grace_ms, 40000);
    config.reattach_grace_ms = 300;
    assert_int_equal(config_timing(&config).reattach_grace_ms, 300);
}

static void actions_are_flags(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--check").action, CONFIG_CHECK);
    assert_int_equal(LOAD("-n").action, CONFIG_CHECK);
    assert_int_equal(LOAD("--help").action, CONFIG_HELP);
    assert_int_equal(LOAD("--version").action, CONFIG_VERSION);
    assert_int_equal(LOAD("--help").rv, 0);
}

/* ---- what is refused ---- */

static void mistakes_are_named_with_file_line_and_range(void **state)
{
    (void)state;
    assert_refused("\n\nlease = 5\n", 3, "lease: no such key");
    assert_refused("cluster = a\ncluster = b\n", 2, "cluster: given twice");
    assert_refused("leader-lease = 10 minutes\n", 1, "from 100ms to 1m");
    assert_refused("leader-lease = 99ms\n", 1, "from 100ms to 1m");
    assert_refused("lock-timeout-max = never\n", 1, "or unlimited");
    assert_refused("node-id = 0\n", 1, "from 1 to");
    assert_refused("node-id = 18446744073709551616\n", 1, "from 1 to");
    assert_refused("node-id = -1\n", 1, "node-id");
    assert_refused("node-id =\n", 1, "node-id");
    assert_refused("insecure-listen = true\n", 1, "neither yes nor no");
    assert_refused("log-level = loud\n", 1, "not one of error");
    assert_refused("[cluster]\nnode-id = 1\n", 1, "sections");
    assert_refused("cluster = a\n[end]\n", 2, "sections");
    assert_refused("# ok\njust words\n", 2, "not \"key = value\"");
    assert_refused("cluster = \n", 1, "cluster: not 1 to 64");
    assert_refused("member = 1 a\n", 1, "PEERHOST:PORT");
    assert_refused("member = 1 a:1 b:70000\n", 1, "PEERHOST:PORT");
    assert_refused("member = x a:1 b:2\n", 1, "PEERHOST:PORT");
    assert_refused("member = 1 a:1 b:1 c\n", 1, "PEERHOST:PORT");
    assert_refused("member = 1 a:1 b:1\nmember = 1 c:1 d:1\n", 2,
                   "node 1 is there twice");
    assert_refused("member = 1 a:1 b:1\nmember = 2 a:1 d:1\n", 2, "share an address");
}

static void long_line_is_refused_not_cut(void **state)
{
    char text[400];

    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "cluster = ", 10);
    text[sizeof(text) - 1] = '\0';
    assert_refused(text, 1, "longer than");
}

static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    struct result result = load_bytes("cluster = a\n\0", 13);
    assert_flags_refused(result, ":2: a byte 0x00");
    result = load_bytes("\x7f"
                        "ELF\x02\x01",
                        6);
    assert_flags_refused(result, "not a text file");
}

static void file_that_cannot_be_one_is_refused(void **state)
{
    char path[] = "/tmp/netlock-config-XXXXXX";

    (void)state;
    assert_flags_refused(LOAD("--config", "/nonexistent/file"),
                         "/nonexistent/file: No such file");
    assert_flags_refused(LOAD("--config", "/tmp"), "/tmp: is a directory");
    assert_flags_refused(LOAD("--config", "/dev/zero"), "larger than");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, TEXT_FILE_BYTES_MAX + 1), 0);
    close(fd);
    assert_flags_refused(LOAD("--config", path), "larger than");
    unlink(path);
}

static void flags_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    assert_flags_refused(LOAD("--nonsense"), "--nonsense: no such option");
    assert_flags_refused(LOAD("--node-id"), "--node-id: needs a value");
    assert_flags_refused(LOAD("word"), "word: not an option");
    assert_flags_refused(LOAD(""), "not an option");
    assert_flags_refused(LOAD("--node-id", "1", "--node-id", "2"), "given twice");
    assert_flags_refused(LOAD("--config", ""), "No such file");
}

static void values_that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    assert_flags_refused(load_text("member = 1 a:1 b:2\ncluster = c\n"),
                         "node-id: missing");
    assert_flags_refused(load_text("member = 1 a:1 b:2\nnode-id = 1\n"),
                         "cluster: missing");
    assert_flags_refused(load_text("member = 1 a:1 b:2\nnode-id = 2\ncluster = c\n"),
                         "none for node-id 2");
    assert_flags_refused(LOAD("--listen", "127.0.0.1:7671"), "a port each");
    assert_flags_refused(LOAD("--listen", "7670"), "listen: \"7670\" is not HOST:PORT");
    assert_flags_refused(LOAD("--listen", "127.0.0.1:65536"), "not HOST:PORT");
    assert_flags_refused(LOAD("--advertise", "nowhere"), "advertise");
    assert_flags_refused(LOAD("--lock-timeout-default", "2h", "--lock-timeout-max", "1h"),
                         "lock-timeout-default");
}

static void listening_beyond_loopback_must_be_meant(void **state)
{
    (void)state;
    assert_flags_refused(LOAD("--listen", "0.0.0.0:7670"), "insecure-listen");
    assert_flags_refused(LOAD("--peer-listen", "[::]:7671"), "insecure-listen");
    assert_flags_refused(LOAD("--listen", "myhost:7670"), "insecure-listen");
    assert_int_equal(LOAD("--listen", "0.0.0.0:7670", "--insecure-listen", "yes").rv, 0);
    assert_flags_refused(LOAD("--tls-cert", "c", "--tls-key", "k"), "tls-ca: missing");
    assert_flags_refused(LOAD("--tls-ca", "a", "--tls-cert", "c"), "tls-key: missing");
    assert_int_equal(LOAD("--listen", "0.0.0.0:7670", "--tls-ca", "a", "--tls-cert", "c",
                          "--tls-key", "k")
                         .rv,
                     0);
    assert_int_equal(LOAD("--listen", "127.9.9.9:1").rv, 0);
    assert_int_equal(LOAD("--listen", "[::1]:1").rv, 0);
    assert_int_equal(LOAD("--listen", "localhost:1").rv, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_means_a_single_node_on_loopback),
        cmocka_unit_test(file_with_members_makes_a_node_of_them),
        cmocka_unit_test(flags_override_the_file),
        cmocka_unit_test(file_may_come_from_anywhere),
        cmocka_unit_test(durations_have_units_and_seconds_without),
        cmocka_unit_test(unlimited_is_a_lock_timeout),
        cmocka_unit_test(everything_follows_from_the_lease),
        cmocka_unit_test(actions_are_flags),
        cmocka_unit_test(mistakes_are_named_with_file_line_and_range),
        cmocka_unit_test(long_line_is_refused_not_cut),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(file_that_cannot_be_one_is_refused),
        cmocka_unit_test(flags_that_make_no_sense_are_refused),
        cmocka_unit_test(values_that_do_not_fit_together_are_refused),
        cmocka_unit_test(listening_beyond_loopback_must_be_meant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
