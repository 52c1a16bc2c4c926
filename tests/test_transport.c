/* Connections between peers, over loopback: how they meet, what happens when nobody answers, and that
 * closing is clean at any moment (run it under AddressSanitizer: leaks count). */
#include "transport_ends.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kept_port.h"

/* ---- meeting -------------------------------------------------------------------------------- */

static void two_members_meet_and_bytes_flow(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    uv_write_t write;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)ENDS_MESSAGE, ENDS_MESSAGE_BYTES);

    ends_start_both(f);
    f->b.member_address = "n1.example:7001";
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(ends_run_until(&f->loop, ends_b_accepted, f, WAIT_MS_MAX));
    assert_int_equal(f->b.accepted[0].id, 1);
    /* The membership's address, not the one that the peer claims. */
    assert_string_equal(f->b.accepted[0].address, "n1.example:7001");

    assert_int_equal(uv_write(&write, attempt.stream, &buf, 1, NULL), 0);
    ends_assert_reads_message(&f->loop, f->b.accepted[0].stream);
    attempt_free(&attempt);
}

static void a_node_that_knows_no_members_yet_takes_the_claimed_address(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    f->b.undecided = true;
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(ends_run_until(&f->loop, ends_b_accepted, f, WAIT_MS_MAX));
    assert_string_equal(f->b.accepted[0].address, f->a.address);
    attempt_free(&attempt);
}

static void a_host_name_is_looked_up(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];

    ends_start_both(f);
    snprintf(address, sizeof address, "localhost:%u", f->b.port);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, address), 0);
    attempt_free(&attempt);
}

static void a_host_name_can_be_listened_on(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);
    struct transport_config b = end_config(&f->b, 2);
    struct attempt attempt;

    f->b.port = keep_port();
    snprintf(f->b.address, sizeof f->b.address, "localhost:%u", f->b.port);
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    attempt_free(&attempt);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool works = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;

    if (fd >= 0) {
        close(fd);
    }
    return works;
}

static void ipv6_works_as_well(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);
    struct transport_config b = end_config(&f->b, 2);
    struct attempt attempt;

    if (!has_ipv6()) {
        skip();
    }
    f->b.port = keep_port();
    snprintf(f->b.address, sizeof f->b.address, "[::1]:%u", f->b.port);
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    attempt_free(&attempt);
}

static void it_listens_where_told_not_where_it_is_dialled(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);
    struct transport_config b = end_config(&f->b, 2);
    struct attempt attempt;
    char listen_address[64];
    unsigned port = keep_port();

    snprintf(listen_address, sizeof listen_address, "0.0.0.0:%u", port);
    b.listen_address = listen_address;
    f->b.port = 1;
    snprintf(f->b.address, sizeof f->b.address, "public.invalid:1");
    end_start(&f->a, &f->loop, &a);
    end_start(&f->b, &f->loop, &b);
    end_listen(&f->b);
    snprintf(listen_address, sizeof listen_address, "127.0.0.1:%u", port);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, listen_address), 0);
    attempt_free(&attempt);
}

static int socket_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static bool is_connected_tcp(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    return getpeername(fd, (struct sockaddr *)&address, &len) == 0 &&
           address.ss_family == AF_INET;
}

static void both_sockets_notice_a_dead_peer(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    int found = 0;

    ends_start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(ends_run_until(&f->loop, ends_b_accepted, f, WAIT_MS_MAX));
    for (int fd = 0; fd < 1024; fd++) {
        if (is_connected_tcp(fd)) {
            assert_int_equal(socket_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
            assert_int_equal(socket_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
            assert_int_equal(socket_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 2500);
            assert_int_equal(socket_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 1);
            found++;
        }
    }
    assert_int_equal(found, 2);
    attempt_free(&attempt);
}

static bool a_not_connected(void *arg)
{
    return !transport_connected(&((struct fixture *)arg)->a.face, 2);
}

static void connected_is_what_the_kernel_says(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    assert_false(transport_connected(&f->a.face, 2));
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, f->b.address), 0);
    assert_true(ends_run_until(&f->loop, ends_b_accepted, f, WAIT_MS_MAX));
    assert_true(transport_connected(&f->a.face, 2));
    assert_false(
        transport_connected(&f->b.face, 1)); /* its own connection to 1 is what counts */

    uv_close((uv_handle_t *)f->b.accepted[0].stream, ends_free_stream);
    f->b.accepted[0].stream = NULL;
    assert_true(ends_run_until(&f->loop, a_not_connected, f, WAIT_MS_MAX));
    attempt_free(&attempt);
    assert_false(transport_connected(&f->a.face, 2));
}

/* ---- peers that do not answer --------------------------------------------------------------- */

static void a_refused_connect_is_reported_later_and_logged_once(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char nobody[64];

    ends_start_both(f);
    snprintf(nobody, sizeof nobody, "127.0.0.1:%u", keep_port());
    for (int i = 0; i < 3; i++) {
        assert_int_equal(attempt_wait(&f->a, &attempt, 2, nobody), RAFT_NOCONNECTION);
    }
    end_assert_line(&f->a, "cannot connect to node 2");
    end_assert_line(&f->a, "refused");
    assert_int_equal(f->a.lines_count, 1);
}

static void a_peer_that_never_answers_the_handshake_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    unsigned port;
    int fd = ends_mute_listener(16, &port);

    ends_start_both(f);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, address), RAFT_NOCONNECTION);
    end_assert_line(&f->a, "no answer to the handshake");
    close(fd);
}

static void a_host_that_is_gone_is_given_up_after_the_connect_timeout(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    int fill[3];
    int fd = ends_black_hole(address, sizeof address, fill);

    ends_start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, address), RAFT_NOCONNECTION);
    end_assert_line(&f->a, "no answer to the connect");
    close(fd);
    for (int i = 0; i < 3; i++) {
        close(fill[i]);
    }
}

static void a_name_that_does_not_exist_is_no_connection(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    assert_int_equal(attempt_wait(&f->a, &attempt, 2, "no-such-host.invalid:7000"),
                     RAFT_NOCONNECTION);
    end_assert_line(&f->a, "cannot connect to node 2 at no-such-host.invalid:7000");
}

static void an_invalid_address_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt = {.done = false};

    ends_start_both(f);
    attempt.request.data = &attempt;
    assert_int_equal(
        f->a.face.connect(&f->a.face, &attempt.request, 2, "no port", attempt_on_connect),
        RAFT_INVALID);
    assert_false(attempt.done);
}

/* ---- listening ------------------------------------------------------------------------------ */

static void a_port_in_use_is_named(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);
    char address[64];
    unsigned port;
    int fd = ends_mute_listener(1, &port);

    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    a.listen_address = address;
    end_start(&f->a, &f->loop, &a);
    assert_int_equal(transport_listen_error(&f->a.face), 0);
    assert_int_not_equal(f->a.face.listen(&f->a.face, end_on_accept), 0);
    assert_int_equal(transport_listen_error(&f->a.face), -EADDRINUSE);
    assert_non_null(strstr(f->a.face.errmsg, address));
    close(fd);
}

static void an_address_that_is_not_ours_is_named(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);

    a.listen_address = "192.0.2.1:7000";
    end_start(&f->a, &f->loop, &a);
    assert_int_not_equal(f->a.face.listen(&f->a.face, end_on_accept), 0);
    assert_int_equal(transport_listen_error(&f->a.face), -EADDRNOTAVAIL);
    assert_non_null(strstr(f->a.face.errmsg, "192.0.2.1:7000"));
}

/* ---- closing in every state ----------------------------------------------------------------- */

static void assert_canceled(struct fixture *f, struct attempt *attempt)
{
    end_close(&f->a);
    assert_true(attempt->done);
    assert_int_equal(attempt->status, RAFT_CANCELED);
}

static void closing_while_a_name_is_looked_up(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;

    ends_start_both(f);
    attempt_start(&f->a, &attempt, 2, "localhost:1");
    assert_canceled(f, &attempt);
}

static void closing_while_connecting(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    int fill[3];
    int fd = ends_black_hole(address, sizeof address, fill);

    ends_start_both(f);
    attempt_start(&f->a, &attempt, 2, address);
    ends_run_until(&f->loop, ends_never, NULL, 20);
    assert_canceled(f, &attempt);
    close(fd);
    for (int i = 0; i < 3; i++) {
        close(fill[i]);
    }
}

static void closing_while_waiting_for_the_reply(void **state)
{
    struct fixture *f = *state;
    struct attempt attempt;
    char address[64];
    unsigned port;
    int fd = ends_mute_listener(16, &port);

    ends_start_both(f);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    attempt_start(&f->a, &attempt, 2, address);
    ends_run_until(&f->loop, ends_never, NULL, 20);
    assert_false(attempt.done);
    assert_canceled(f, &attempt);
    close(fd);
}

static void closing_at_any_turn_of_a_handshake(void **state)
{
    struct fixture *f = *state;

    for (int turns = 0; turns < 12; turns++) {
        struct attempt attempt;
        f->a.closed = f->b.closed = false;
        f->b.accepted_count = 0;
        ends_start_both(f);
        attempt_start(&f->a, &attempt, 2, f->b.address);
        for (int i = 0; i < turns; i++) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        bool was_done = attempt.done;
        end_close(turns % 2 == 0 ? &f->a : &f->b);
        end_close(turns % 2 == 0 ? &f->b : &f->a);
        assert_true(attempt.done);
        assert_true(was_done ? attempt.status == 0 : attempt.status != -1);
        attempt_free(&attempt);
        ends_run_until(&f->loop, ends_never, NULL, 1);
    }
}

static void closing_with_strangers_at_the_door(void **state)
{
    struct fixture *f = *state;
    int silent;
    int half;

    ends_start_both(f);
    silent = ends_raw_connect(f->b.port);
    half = ends_raw_connect(f->b.port);
    assert_int_equal(send(half, "NLKP", 4, MSG_NOSIGNAL), 4);
    ends_run_until(&f->loop, ends_never, NULL, 20);
    end_close(&f->b);
    close(silent);
    close(half);
}

static void closing_before_listening(void **state)
{
    struct fixture *f = *state;
    struct transport_config a = end_config(&f->a, 1);

    end_start(&f->a, &f->loop, &a);
    end_close(&f->a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ends_setup, ends_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_members_meet_and_bytes_flow),
        TEST(a_node_that_knows_no_members_yet_takes_the_claimed_address),
        TEST(a_host_name_is_looked_up),
        TEST(a_host_name_can_be_listened_on),
        TEST(ipv6_works_as_well),
        TEST(it_listens_where_told_not_where_it_is_dialled),
        TEST(both_sockets_notice_a_dead_peer),
        TEST(connected_is_what_the_kernel_says),
        TEST(a_refused_connect_is_reported_later_and_logged_once),
        TEST(a_peer_that_never_answers_the_handshake_is_given_up),
        TEST(a_host_that_is_gone_is_given_up_after_the_connect_timeout),
        TEST(a_name_that_does_not_exist_is_no_connection),
        TEST(an_invalid_address_is_refused_at_once),
        TEST(a_port_in_use_is_named),
        TEST(an_address_that_is_not_ours_is_named),
        TEST(closing_while_a_name_is_looked_up),
        TEST(closing_while_connecting),
        TEST(closing_while_waiting_for_the_reply),
        TEST(closing_at_any_turn_of_a_handshake),
        TEST(closing_with_strangers_at_the_door),
        TEST(closing_before_listening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
