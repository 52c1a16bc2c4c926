/* Who gets into the peer port, who does not, and that both sides are told why. */
#include "transport_ends.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_handshake.h"

/* ---- refusals, each known to both sides ----------------------------------------------------- */

static void assert_refusal(struct fixture *f, raft_id to, const char *reason)
{
    struct attempt attempt;

    assert_int_equal(attempt_wait(&f->a, &attempt, to, f->b.address), RAFT_NOCONNECTION);
    assert_int_equal(f->b.accepted_count, 0);
    end_assert_line(&f->a, "refused our connection");
    end_assert_line(&f->a, reason);
    end_assert_line(&f->b, "refused a connection from node");
    end_assert_line(&f->b, reason);
}

static void another_cluster_is_refused(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);
    struct transport_config b = end_config(&f->b, 2);

    a.cluster_id = "beta";
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_refusal(f, 2, "this node is of cluster alpha, not of beta");
}

static void a_hello_for_another_node_is_refused(void **state)
{
    struct fixture *f = *state;

    ends_start_both(f);
    assert_refusal(f, 3, "this is node 2, not node 3");
}

static void a_node_with_our_own_id_is_refused(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 2);
    struct transport_config b = end_config(&f->b, 2);

    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_refusal(f, 2, "node id 2 is mine: two nodes have it");
}

static void a_stranger_is_refused(void **state)
{
    struct fixture *f = *state;

    ends_start_both(f);
    f->b.stranger = 1;
    assert_refusal(f, 2, "node 1 is not a member of the cluster");
}

static void the_fifth_connection_of_a_peer_is_refused_until_one_ends(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[TRANSPORT_INBOUND_PER_PEER_MAX];
    struct attempt fifth;

    ends_start_both(f);
    for (int i = 0; i < TRANSPORT_INBOUND_PER_PEER_MAX; i++) {
        assert_int_equal(attempt_wait(&f->a, &attempts[i], 2, f->b.address), 0);
    }
    assert_int_equal(attempt_wait(&f->a, &fifth, 2, f->b.address), RAFT_NOCONNECTION);
    end_assert_line(&f->b, "too many connections from node 1");
    assert_int_equal(f->b.accepted_count, TRANSPORT_INBOUND_PER_PEER_MAX);

    uv_close((uv_handle_t *)f->b.accepted[1].stream, ends_free_stream);
    f->b.accepted[1].stream = NULL;
    assert_int_equal(attempt_wait(&f->a, &fifth, 2, f->b.address), 0);
    attempt_free(&fifth);
    for (int i = 0; i < TRANSPORT_INBOUND_PER_PEER_MAX; i++) {
        attempt_free(&attempts[i]);
    }
}

/* ---- strangers with raw sockets ------------------------------------------------------------- */

struct raw {
    int fd;
    uint8_t in[1024];
    size_t len;
    bool ended;
};

static bool raw_ended(void *arg)
{
    struct raw *raw = arg;
    ssize_t n = recv(raw->fd, raw->in + raw->len, sizeof raw->in - raw->len, 0);

    if (n > 0) {
        raw->len += (size_t)n;
    } else if (n == 0 || errno != EAGAIN) {
        raw->ended = true;
    }
    return raw->ended;
}

/* Send @bytes and wait until the other side closes. */
static void
raw_exchange(struct fixture *f, struct raw *raw, const void *bytes, size_t len)
{
    *raw = (struct raw){.fd = ends_raw_connect(f->b.port)};
    assert_int_equal(send(raw->fd, bytes, len, MSG_NOSIGNAL), len);
    assert_true(ends_run_until(&f->loop, raw_ended, raw, WAIT_MS_MAX));
    close(raw->fd);
}

static void garbage_is_closed_at_its_first_bytes_and_logged_once(void **state)
{
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02",
                                          "SSH-2.0-x\r\n", "NLKX", "x"};
    struct fixture *f = *state;
    struct raw raw;
    struct transport_config b = end_config(&f->b, 2);

    b.handshake_timeout_ms = 10 * WAIT_MS_MAX;
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
            raw_exchange(f, &raw, garbage[i], strlen(garbage[i]));
            assert_int_equal(raw.len, 0);
        }
    }
    assert_int_equal(f->b.accepted_count, 0);
    end_assert_line(&f->b, "does not speak the peer protocol");
    assert_int_equal(f->b.lines_count, 1);
}

static void announced_lengths_are_not_believed(void **state)
{
    struct fixture *f = *state;
    struct handshake_hello hello = {.version = 1,
                                    .from_node = 1,
                                    .to_node = 2,
                                    .cluster_id = "alpha",
                                    .address = "a:1"};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    struct raw raw;
    struct transport_config b = end_config(&f->b, 2);

    b.handshake_timeout_ms = 10 * WAIT_MS_MAX;
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    handshake_hello_format(&hello, bytes);
    memset(bytes + 24, 0xff, 4);
    raw_exchange(f, &raw, bytes, HANDSHAKE_HELLO_HEAD_BYTES);
    assert_int_equal(raw.len, 0);
    assert_int_equal(f->b.accepted_count, 0);
}

static void another_version_is_told_ours(void **state)
{
    struct fixture *f = *state;
    struct handshake_hello hello = {.version = 7,
                                    .from_node = 1,
                                    .to_node = 2,
                                    .cluster_id = "alpha",
                                    .address = "a:1"};
    struct handshake_reply reply = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX];
    struct raw raw;

    ends_start_both(f);
    handshake_hello_format(&hello, bytes);
    raw_exchange(f, &raw, bytes, HANDSHAKE_HELLO_HEAD_BYTES);
    assert_int_equal(handshake_reply_parse(raw.in, raw.len, &reply), raw.len);
    assert_int_equal(reply.verdict, HANDSHAKE_WRONG_VERSION);
    assert_int_equal(reply.version, HANDSHAKE_VERSION);
    assert_string_equal(reply.reason, "handshake version 7 is not supported, only 1");
}

static void
a_hello_in_single_bytes_is_understood_and_not_a_byte_more_is_read(void **state)
{
    struct fixture *f = *state;
    struct handshake_hello hello = {.version = 1,
                                    .from_node = 1,
                                    .to_node = 2,
                                    .cluster_id = "alpha",
                                    .address = "a:1"};
    struct handshake_reply reply = {0};
    uint8_t bytes[HANDSHAKE_BYTES_MAX + ENDS_MESSAGE_BYTES];

    ends_start_both(f);
    size_t len = handshake_hello_format(&hello, bytes);
    memcpy(bytes + len, ENDS_MESSAGE, ENDS_MESSAGE_BYTES);
    struct raw raw = {.fd = ends_raw_connect(f->b.port)};
    for (size_t i = 0; i < len - 1; i++) {
        assert_int_equal(send(raw.fd, bytes + i, 1, MSG_NOSIGNAL), 1);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    /* The last byte together with what belongs to libraft. */
    assert_int_equal(send(raw.fd, bytes + len - 1, 1 + ENDS_MESSAGE_BYTES, MSG_NOSIGNAL),
                     1 + ENDS_MESSAGE_BYTES);
    assert_true(ends_run_until(&f->loop, ends_b_accepted, f, WAIT_MS_MAX));
    ends_assert_reads_message(&f->loop, f->b.accepted[0].stream);

    raw_ended(&raw);
    assert_int_equal(handshake_reply_parse(raw.in, raw.len, &reply), raw.len);
    assert_int_equal(reply.verdict, HANDSHAKE_WELCOME);
    assert_int_equal(reply.from_node, 2);
    close(raw.fd);
}

static void who_says_nothing_and_goes_is_not_worth_a_line(void **state)
{
    struct fixture *f = *state;

    ends_start_both(f);
    for (int i = 0; i < 3; i++) {
        int fd = ends_raw_connect(f->b.port);
        ends_run_until(&f->loop, ends_never, NULL, 10);
        close(fd);
        ends_run_until(&f->loop, ends_never, NULL, 10);
    }
    assert_int_equal(f->b.lines_count, 0);
}

static void half_a_handshake_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct raw raw;

    ends_start_both(f);
    raw_exchange(f, &raw, "NLKP\0\0", 6);
    assert_int_equal(raw.len, 0);
    end_assert_line(&f->b, "no complete handshake in time");
}

static void silence_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct raw raw;

    ends_start_both(f);
    raw_exchange(f, &raw, "", 0);
    end_assert_line(&f->b, "no complete handshake in time");
}

struct crowd {
    struct raw raws[TRANSPORT_HANDSHAKES_MAX + 10];
    unsigned ended;
};

static bool crowd_thinned(void *arg)
{
    struct crowd *crowd = arg;

    crowd->ended = 0;
    for (unsigned i = 0; i < TRANSPORT_HANDSHAKES_MAX + 10; i++) {
        crowd->ended += raw_ended(&crowd->raws[i]);
    }
    return crowd->ended >= 10;
}

static void a_crowd_in_handshake_is_limited_and_keeps_no_member_out(void **state)
{
    struct fixture *f = *state;
    struct crowd *crowd = calloc(1, sizeof *crowd);
    struct attempt attempt;
    struct transport_config a = end_config(&f->a, 1);
    struct transport_config b = end_config(&f->b, 2);

    b.handshake_timeout_ms = 10 * WAIT_MS_MAX;
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    for (unsigned i = 0; i < TRANSPORT_HANDSHAKES_MAX + 10; i++) {
        crowd->raws[i].fd = ends_raw_connect(f->b.port);
    }
    assert_true(ends_run_until(&f->loop, crowd_thinned, crowd, WAIT_MS_MAX));
    assert_int_equal(crowd->ended, 10);
    end_assert_line(&f->b, "are in handshake");

    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    attempt_free(&attempt);
    for (unsigned i = 0; i < TRANSPORT_HANDSHAKES_MAX + 10; i++) {
        close(crowd->raws[i].fd);
    }
    free(crowd);
}

struct impostor {
    int listener;
    int fd;
    struct handshake_reply reply;
};

static bool impostor_answered(void *arg)
{
    struct impostor *impostor = arg;
    uint8_t bytes[HANDSHAKE_BYTES_MAX];

    impostor->fd = accept(impostor->listener, NULL, NULL);
    if (impostor->fd < 0) {
        return false;
    }
    size_t len = handshake_reply_format(&impostor->reply, bytes);
    return send(impostor->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void a_welcome_of_another_node_is_not_accepted(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    unsigned port;
    struct impostor impostor = {
        .fd = -1,
        .listener = ends_mute_listener(16, &port),
        .reply = {.version = 1, .from_node = 3, .verdict = HANDSHAKE_WELCOME},
    };

    assert_int_equal(fcntl(impostor.listener, F_SETFL, O_NONBLOCK), 0);
    ends_start_both(f);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    attempt_start(&f->a, &attempt, 2, address);
    while (!impostor_answered(&impostor)) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_true(ends_run_until(&f->loop, attempt_done, &attempt, WAIT_MS_MAX));
    assert_int_equal(attempt.status, RAFT_NOCONNECTION);
    end_assert_line(&f->a, "another node answers there");
    close(impostor.fd);
    close(impostor.listener);
}

/* ---- members that lose their welcome -------------------------------------------------------- */

static bool b_lost_one(void *arg)
{
    return ((struct fixture *)arg)->b.ended[PEER_IN] > 0;
}

static void say(struct fixture *f, struct attempt *from, const void *bytes, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);

    assert_int_equal(uv_try_write(from->stream, &buf, 1), len);
    assert_true(ends_run_until(&f->loop, b_lost_one, f, WAIT_MS_MAX));
}

static void a_member_that_is_removed_is_cut_off_when_it_speaks(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    f->b.stranger = 1;
    say(f, &attempt, ENDS_MESSAGE, ENDS_MESSAGE_BYTES);
    assert_int_equal(f->b.last_end, PEER_END_REFUSED);
    end_assert_line(&f->b, "refused a message of node 1: no member of the cluster");
    attempt_free(&attempt);
}

static bool gets_in(void *arg)
{
    struct fixture *f = arg;
    struct attempt attempt;
    bool in = attempt_wait(&f->a, &attempt, 2, f->b.address) == 0;

    attempt_free(&attempt);
    return in;
}

static void who_says_what_libraft_must_not_hear_stays_out_for_a_moment(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    say(f, &attempt, "sixteen bytes...", 16);
    assert_int_equal(f->b.last_end, PEER_END_REFUSED);
    end_assert_line(&f->b, "refused a message of node 1: an unknown type");
    attempt_free(&attempt);

    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), RAFT_NOCONNECTION);
    end_assert_line(&f->a,
                    "refused our connection: node 1 sent a message that was refused");
    assert_true(ends_run_until(&f->loop, gets_in, f, WAIT_MS_MAX));
}

static void a_contradiction_ends_all_that_the_peer_has_opened(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[2];

    ends_start_both(f);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(attempt_wait(&f->a, &attempts[i], 2, f->b.address), 0);
    }
    transport_refuse(&f->b.face, 1, "it cannot be true");
    assert_int_equal(f->b.ended[PEER_IN], 2);
    end_assert_line(&f->b, "refused a message of node 1: it cannot be true");
    for (int i = 0; i < 2; i++) {
        attempt_free(&attempts[i]);
    }
}

static bool both_told(void *arg)
{
    const struct fixture *f = arg;

    return f->a.ended[PEER_OUT] == 1 && f->b.ended[PEER_IN] == 1;
}

static void the_end_of_a_connection_is_told_once_on_either_side(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(ends_run_until(&f->loop, ends_b_accepted, f, WAIT_MS_MAX));
    attempt_free(&attempt);
    assert_true(ends_run_until(&f->loop, both_told, f, WAIT_MS_MAX));
    assert_int_equal(f->a.last_end, PEER_END_DROPPED);
    assert_int_equal(f->b.last_end, PEER_END_LOST);
    ends_run_until(&f->loop, ends_never, NULL, 20);
    assert_true(both_told(f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ends_setup, ends_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_cluster_is_refused),
        TEST(a_hello_for_another_node_is_refused),
        TEST(a_node_with_our_own_id_is_refused),
        TEST(a_stranger_is_refused),
        TEST(the_fifth_connection_of_a_peer_is_refused_until_one_ends),
        TEST(garbage_is_closed_at_its_first_bytes_and_logged_once),
        TEST(announced_lengths_are_not_believed),
        TEST(another_version_is_told_ours),
        TEST(a_hello_in_single_bytes_is_understood_and_not_a_byte_more_is_read),
        TEST(who_says_nothing_and_goes_is_not_worth_a_line),
        TEST(half_a_handshake_ends_at_the_deadline),
        TEST(silence_ends_at_the_deadline),
        TEST(a_crowd_in_handshake_is_limited_and_keeps_no_member_out),
        TEST(a_welcome_of_another_node_is_not_accepted),
        TEST(a_member_that_is_removed_is_cut_off_when_it_speaks),
        TEST(who_says_what_libraft_must_not_hear_stays_out_for_a_moment),
        TEST(a_contradiction_ends_all_that_the_peer_has_opened),
        TEST(the_end_of_a_connection_is_told_once_on_either_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
