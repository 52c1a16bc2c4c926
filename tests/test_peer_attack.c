/* The packets that kill or poison libraft 0.22.1 with a transport of its own, sent to it, and to a cluster of
 * ours: by a stranger, and by somebody who passes for a member. */
#include "nodes.h"

#include <raft/uv.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "durable.h"
#include "kept_port.h"
#include "transport_handshake.h"

enum { CHILD_POISONED = 42, CHILD_UNHARMED = 43, CHILD_SECONDS = 60, PACKET_BYTES = 64 };

#define POISONOUS_TERM (UINT64_C(1) << 62)

/* A heartbeat of libraft's. */
static void
make_append(uint8_t packet[static PACKET_BYTES], uint64_t term, uint64_t count)
{
    memset(packet, 0, PACKET_BYTES);
    packet[0] = RAFT_APPEND_ENTRIES;
    durable_put_u64(packet + 8, PACKET_BYTES - 16);
    durable_put_u64(packet + 16, term);
    durable_put_u64(packet + 48, count);
}

/* It counts a hundred million entries, and has none. */
static void make_killer(uint8_t packet[static PACKET_BYTES])
{
    make_append(packet, 1, 100000000);
}

static void make_poison(uint8_t packet[static PACKET_BYTES])
{
    make_append(packet, POISONOUS_TERM, 0);
}

static int connect_to(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tries = 0; tries < CHILD_SECONDS * 100; tries++) {
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
            return fd;
        }
        usleep(10000);
    }
    fail_msg("nobody listens");
    return -1;
}

/* ---- libraft by itself, in a child ---------------------------------------------------------- */

static struct raft plain_raft;

static int plain_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm;
    (void)buf;
    *result = NULL;
    return 0;
}

static void on_look(uv_timer_t *timer)
{
    (void)timer;
    if (raft_current_term(&plain_raft) == POISONOUS_TERM) {
        _exit(CHILD_POISONED);
    }
}

static void plain_libraft(const char *dir, const char *address)
{
    static struct raft_uv_transport transport;
    static struct raft_io io;
    static struct raft_fsm fsm = {.version = 1, .apply = plain_apply};
    struct raft_configuration configuration;
    uv_loop_t loop;
    uv_timer_t look;

    alarm(CHILD_SECONDS);
    transport.version = io.version = 1;
    raft_configuration_init(&configuration);
    int rv = uv_loop_init(&loop);
    rv |= raft_uv_tcp_init(&transport, &loop);
    rv |= raft_uv_init(&io, &loop, dir, &transport);
    rv |= raft_init(&plain_raft, &io, &fsm, 1, address);
    rv |= raft_configuration_add(&configuration, 1, address, RAFT_VOTER);
    rv |= raft_configuration_add(&configuration, 2, "127.0.0.1:1", RAFT_VOTER);
    rv |= raft_configuration_add(&configuration, 3, "127.0.0.1:2", RAFT_VOTER);
    rv |= raft_bootstrap(&plain_raft, &configuration);
    rv |= raft_start(&plain_raft);
    rv |= uv_timer_init(&loop, &look);
    rv |= uv_timer_start(&look, on_look, 5, 5);
    if (rv == 0) {
        uv_run(&loop, UV_RUN_DEFAULT);
    }
    _exit(CHILD_UNHARMED);
}

static pid_t start_plain_libraft(const char *dir, unsigned port)
{
    char address[32];

    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        signal(SIGPIPE, SIG_IGN);
        plain_libraft(dir, address);
    }
    assert_true(child > 0);
    return child;
}

/* Returns how the child ended, for waitpid(). Node 77 is no member of anything. */
static int attack_plain_libraft(void (*make)(uint8_t packet[static PACKET_BYTES]))
{
    struct {
        uint8_t handshake[32]; /* version, id, length of the address, the address */
        uint8_t packet[PACKET_BYTES];
    } said = {0};
    char dir[] = "/tmp/netlock-attack-XXXXXX";
    char command[64];
    unsigned port = keep_port();
    int status;

    assert_non_null(mkdtemp(dir));
    pid_t child = start_plain_libraft(dir, port);
    durable_put_u64(said.handshake, 1);
    durable_put_u64(said.handshake + 8, 77);
    durable_put_u64(said.handshake + 16, 8);
    strcpy((char *)said.handshake + 24, "x:1");
    make(said.packet);
    int fd = connect_to(port);
    assert_int_equal(send(fd, &said, sizeof said, MSG_NOSIGNAL), sizeof said);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(fd);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    return status;
}

static void a_count_without_entries_kills_a_plain_libraft(void **state)
{
    int status = attack_plain_libraft(make_killer);
    (void)state;

    /* SIGALRM would mean that it has outlived the packet. */
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) != SIGALRM
                                    : WEXITSTATUS(status) != CHILD_UNHARMED);
}

static void a_stranger_can_take_a_plain_libraft_to_the_end_of_terms(void **state)
{
    int status = attack_plain_libraft(make_poison);
    (void)state;

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_POISONED);
}

/* ---- our nodes ------------------------------------------------------------------------------ */

static struct {
    int fd;
    uint8_t in[512];
    size_t len;
    bool ended;
} attacker;

static bool attacker_is_cut_off(struct fixture *f)
{
    ssize_t n = recv(attacker.fd, attacker.in + attacker.len,
                     sizeof attacker.in - attacker.len, 0);
    (void)f;

    attacker.len += n > 0 ? (size_t)n : 0;
    attacker.ended = n == 0 || (n < 0 && errno != EAGAIN);
    return attacker.ended;
}

/* Say, as @from, @packet to node 1. */
static void
attack_node(struct fixture *f, uint64_t from, const uint8_t packet[static PACKET_BYTES])
{
    struct raft_node_config config = node_config(f, 0);
    struct handshake_hello hello = {
        .version = HANDSHAKE_VERSION, .from_node = from, .to_node = 1, .address = "x:1"};
    uint8_t said[HANDSHAKE_BYTES_MAX + PACKET_BYTES];

    snprintf(hello.cluster_id, sizeof hello.cluster_id, "%s", config.cluster_id);
    size_t len = handshake_hello_format(&hello, said);
    memcpy(said + len, packet, PACKET_BYTES);
    memset(&attacker, 0, sizeof attacker);
    attacker.fd = connect_to((unsigned)atoi(strchr(f->addresses[0], ':') + 1));
    assert_int_equal(fcntl(attacker.fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(send(attacker.fd, said, len + PACKET_BYTES, MSG_NOSIGNAL),
                     len + PACKET_BYTES);
    assert_true(nodes_run_until(f, attacker_is_cut_off, WAIT_MS_MAX));
    close(attacker.fd);
}

static void assert_unharmed(struct fixture *f, const char *client)
{
    for (int i = 0; i < NODES; i++) {
        struct raft_node_status status;
        raft_node_status(f->hosts[i].node, &status);
        assert_true(status.term < 1000);
    }
    nodes_attach(f, client);
    nodes_lock(f, client, client);
    nodes_assert_equal(f);
}

static void assert_reply(enum handshake_verdict verdict)
{
    struct handshake_reply reply = {0};

    assert_int_equal(handshake_reply_parse(attacker.in, attacker.len, &reply),
                     attacker.len);
    assert_int_equal(reply.verdict, verdict);
}

static void strangers_are_not_heard(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[PACKET_BYTES];

    nodes_start_three(f);
    make_killer(packet);
    attack_node(f, 77, packet);
    assert_reply(HANDSHAKE_STRANGER);
    make_poison(packet);
    attack_node(f, 77, packet);
    assert_reply(HANDSHAKE_STRANGER);
    assert_true(host_has_line(&f->hosts[0], "is not a member"));
    assert_unharmed(f, "c");
}

static void a_false_member_that_counts_without_entries_is_cut_off(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[PACKET_BYTES];

    nodes_start_three(f);
    make_killer(packet);
    attack_node(f, 2, packet);
    assert_reply(HANDSHAKE_WELCOME);
    assert_true(host_has_line(&f->hosts[0], "refused a message of node 2: a number of "
                                            "entries that does not fit its length"));
    assert_unharmed(f, "c");
}

static void a_false_member_with_an_impossible_term_is_cut_off(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[PACKET_BYTES];

    nodes_start_three(f);
    make_poison(packet);
    attack_node(f, 2, packet);
    assert_reply(HANDSHAKE_WELCOME);
    assert_true(host_has_line(&f->hosts[0], "refused a message of node 2: "
                                            "an impossible term or index"));
    assert_unharmed(f, "c");
}

/* Below what is impossible, and far above what is true: the guard's part. */
static void a_false_member_that_jumps_in_terms_is_cut_off(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[PACKET_BYTES];

    nodes_start_three(f);
    make_append(packet, UINT64_C(1) << 50, 0);
    attack_node(f, 2, packet);
    assert_true(host_has_line(&f->hosts[0], "refused a message of node 2: "
                                            "its term is far above this node's"));
    assert_unharmed(f, "c");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, nodes_setup, nodes_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_without_entries_kills_a_plain_libraft),
        cmocka_unit_test(a_stranger_can_take_a_plain_libraft_to_the_end_of_terms),
        TEST(strangers_are_not_heard),
        TEST(a_false_member_that_counts_without_entries_is_cut_off),
        TEST(a_false_member_with_an_impossible_term_is_cut_off),
        TEST(a_false_member_that_jumps_in_terms_is_cut_off),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
