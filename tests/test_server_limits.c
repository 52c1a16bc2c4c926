/* What a stranger, a slow or a broken peer can do to a server: be refused, and nothing
 * else. Each test starts its server with the limits that it reaches. */
#include "server_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void
send_lock(struct peer *peer, const char *key, const char *client, const char *lock)
{
    struct wire_request request = {
        .type = WIRE_REQ_LOCK,
        .key = str(key),
        .client = str(client),
        .lock = str(lock),
        .lock_ = {.limit = 1},
    };

    peer_send(peer, &request);
}

/* The server still works for others. */
static void expect_service(struct fixture *fixture)
{
    struct peer peer;

    peer_open(&peer, fixture);
    send_lock(&peer, "", "", "still there?");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
}

/* ---- bytes that are no messages ---- */

static void expect_end_after(struct fixture *fixture, const void *bytes, size_t len)
{
    struct peer peer;

    peer_open(&peer, fixture);
    peer_send_bytes(&peer, bytes, len);
    peer_expect_end(&peer);
    peer_close(&peer);
}

static void what_is_no_message_ends_the_connection(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char tls[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    static const char garbage[] = "\x00\x00\x00\x05\xff\xff\xff\xff\xff";
    static const char huge[] = "\xff\xff\xff\xff";
    static const char unknown[] =
        "\x00\x00\x00\x2b\x12\x29\x0a\x27type.googleapis.com/gonetlock.Nonsense!";
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture, NULL);
    expect_end_after(&fixture, http, sizeof(http) - 1);
    expect_end_after(&fixture, tls, sizeof(tls) - 1);
    expect_end_after(&fixture, garbage, sizeof(garbage) - 1);
    expect_end_after(&fixture, huge, sizeof(huge) - 1);
    expect_end_after(&fixture, unknown, sizeof(unknown) - 1);
    expect_service(&fixture);
    fixture_stop(&fixture);
}

static void after_hello_one_is_told_what_was_wrong(void **state)
{
    static const char garbage[] = "\x00\x00\x00\x05\xff\xff\xff\xff\xff";
    static const char unknown[] =
        "\x00\x00\x00\x2b\x12\x29\x0a\x27type.googleapis.com/gonetlock.Nonsense!";
    static const char huge[] = "\x00\x10\x00\x01";
    struct fixture fixture;
    struct peer peer;

    (void)state;
    fixture_start(&fixture, NULL);
    peer_open(&peer, &fixture);
    peer_hello(&peer, 0);
    peer_send_bytes(&peer, unknown, sizeof(unknown) - 1);
    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_UNKNOWN_TYPE);
    peer_send_bytes(&peer, garbage, sizeof(garbage) - 1);
    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code, WIRE_ERROR_INVALID);
    peer_expect_end(&peer);
    peer_close(&peer);

    peer_open(&peer, &fixture);
    peer_hello(&peer, 0);
    send_lock(&peer, "k", "", "a");
    peer_send_bytes(&peer, huge, sizeof(huge) - 1);
    assert_str(peer_expect(&peer, WIRE_RESP_GRANTED).key, "k");
    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_TOO_LARGE);
    peer_expect_end(&peer);
    peer_close(&peer);
    fixture_stop(&fixture);
}

static void largest_frame_is_read_to_its_end(void **state)
{
    struct fixture fixture;
    struct peer peer;
    size_t len = 4 + 1048576;
    char *frame = calloc(1, len);

    (void)state;
    assert_non_null(frame);
    fixture_start(&fixture, NULL);
    peer_open(&peer, &fixture);
    peer_hello(&peer, 0);
    memcpy(frame, "\x00\x10\x00\x00", 4);
    peer_send_bytes(&peer, frame, len);

    /* A megabyte of zeros is no message, but it was looked at. */
    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code, WIRE_ERROR_INVALID);
    peer_close(&peer);
    free(frame);
    fixture_stop(&fixture);
}

/* ---- time ---- */

static void peer_that_says_nothing_is_closed(void **state)
{
    static const char *const flags[] = {"--frame-timeout", "1500ms", NULL};
    struct fixture fixture;
    struct peer silent;
    struct peer empty;
    struct peer half;
    struct peer idle;

    (void)state;
    fixture_start(&fixture, flags);
    /* Each says at once what it has to say: a grant may take its time. */
    peer_open(&idle, &fixture);
    send_lock(&idle, "", "", "b");
    peer_expect(&idle, WIRE_RESP_GRANTED);
    peer_open(&half, &fixture);
    send_lock(&half, "", "", "a");
    peer_expect(&half, WIRE_RESP_GRANTED);
    peer_send_bytes(&half, "\x00\x00", 2);
    peer_open(&silent, &fixture);
    peer_open(&empty, &fixture);
    peer_send_bytes(&empty, "\0\0\0", 4);

    peer_expect_end(&silent);
    peer_expect_end(&empty);
    peer_expect_end(&half);
    fixture_run(&fixture, 200);
    peer_expect_nothing(&idle);
    peer_close(&silent);
    peer_close(&empty);
    peer_close(&half);
    peer_close(&idle);
    fixture_stop(&fixture);
}

/* ---- memory ---- */

/* Without reading: a socket that is closed refuses what comes, here an empty frame. */
static bool is_closed(const struct peer *peer)
{
    static const uint8_t empty[4];

    return send(peer->fd, empty, sizeof(empty), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
           errno != EAGAIN;
}

static void peer_that_does_not_read_is_closed(void **state)
{
    static const char *const flags[] = {"--output-bytes-max", "65536", NULL};
    struct fixture fixture;
    struct peer peer;
    struct peer other;
    int small = 4096;
    struct wire_request list = {.type = WIRE_REQ_LIST_LOCKS, .list = {.max = 1000}};
    char name[256];

    (void)state;
    fixture_start(&fixture, flags);
    peer_open(&other, &fixture);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "%0200d", i);
        send_lock(&other, "", "c", name);
        peer_expect(&other, WIRE_RESP_GRANTED);
    }
    peer_open(&peer, &fixture);
    setsockopt(peer.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    peer_hello(&peer, 0);
    for (int i = 0; i < 200; i++) {
        peer_send(&peer, &list);
        fixture_run(&fixture, 1);
        struct wire_request status = {.type = WIRE_REQ_STATUS, .lock = str("x")};
        if (i % 50 == 49) {
            peer_send(&other, &status);
            peer_expect(&other, WIRE_RESP_DENIED);
        }
        if (send(peer.fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
            break;
        }
    }

    /* Not before the lists have come out of the log: reading would be what it must not do. */
    for (int i = 0; i < 6000 && !is_closed(&peer); i++) {
        fixture_run(&fixture, 10);
    }
    peer_expect_end(&peer);
    expect_service(&fixture);
    peer_close(&peer);
    peer_close(&other);
    fixture_stop(&fixture);
}

/* ---- numbers ---- */

enum { CONNECTIONS_MAX = 4 };

/* Fill the server up, be refused, and be let in when somebody has left. */
static void reach_limit(const char *flag)
{
    const char *const flags[] = {flag, "4", NULL};
    struct fixture fixture;
    struct peer peers[CONNECTIONS_MAX + 1];

    fixture_start(&fixture, flags);
    fixture_run(&fixture, 20);
    for (int i = 0; i <= CONNECTIONS_MAX; i++) {
        peer_open(&peers[i], &fixture);
    }
    peer_expect_end(&peers[CONNECTIONS_MAX]);
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        peer_hello(&peers[i], 0);
    }

    peer_close(&peers[0]);
    fixture_run(&fixture, 20);
    peer_open(&peers[0], &fixture);
    peer_hello(&peers[0], 0);
    for (int i = 0; i <= CONNECTIONS_MAX; i++) {
        peer_close(&peers[i]);
    }
    fixture_stop(&fixture);
}

static void connections_above_the_limit_are_refused(void **state)
{
    (void)state;
    reach_limit("--connections-max");
}

static void connections_of_one_address_are_limited(void **state)
{
    (void)state;
    reach_limit("--connections-per-address-max");
}

static void clients_of_one_connection_are_limited(void **state)
{
    static const char *const flags[] = {"--clients-per-connection-max", "2", NULL};
    struct fixture fixture;
    struct peer peer;
    struct wire_request attach = {.type = WIRE_REQ_ATTACH, .client = str("one too many")};

    (void)state;
    fixture_start(&fixture, flags);
    peer_open(&peer, &fixture);
    peer_hello(&peer, 0);
    send_lock(&peer, "", "", "a");
    send_lock(&peer, "", "c", "b");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_expect(&peer, WIRE_RESP_GRANTED);

    send_lock(&peer, "", "one too many", "c");
    peer_send(&peer, &attach);
    send_lock(&peer, "", "c", "c");

    assert_int_equal(peer_expect(&peer, WIRE_RESP_DENIED).denied.reason,
                     WIRE_DENY_LIMIT_EXCEEDED);
    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code, WIRE_ERROR_LIMIT);
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
    fixture_stop(&fixture);
}

static void a_list_that_fits_no_frame_is_refused(void **state)
{
    enum { ID_BYTES = 255, IDS = 1048576 / ID_BYTES };
    static const char *const flags[] = {"--clients-per-connection-max", "10000", NULL};
    struct wire_request request = {.type = WIRE_REQ_ATTACH};
    struct fixture fixture;
    struct peer peer;
    char id[ID_BYTES + 1];

    (void)state;
    fixture_start(&fixture, flags);
    peer_open(&peer, &fixture);
    peer_hello(&peer, 0);
    for (int i = 0; i < IDS; i++) {
        snprintf(id, sizeof(id), "%0*d", ID_BYTES, i);
        request.client = str(id);
        peer_send(&peer, &request);
        peer_expect(&peer, WIRE_RESP_ATTACH);
    }
    peer_send(&peer, &(struct wire_request){.type = WIRE_REQ_GET_ATTACHED_IDS});
    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_TOO_LARGE);
    peer_close(&peer);
    expect_service(&fixture);
    fixture_stop(&fixture);
}

static void limits_of_the_cluster_are_named(void **state)
{
    static const char *const flags[] = {"--claims-per-client-max", "1", NULL};
    struct fixture fixture;
    struct peer peer;

    (void)state;
    fixture_start(&fixture, flags);
    peer_open(&peer, &fixture);
    peer_hello(&peer, 0);
    send_lock(&peer, "", "", "a");
    send_lock(&peer, "", "", "b");

    peer_expect(&peer, WIRE_RESP_GRANTED);
    struct wire_response denied = peer_expect(&peer, WIRE_RESP_DENIED);
    assert_int_equal(denied.denied.reason, WIRE_DENY_LIMIT_EXCEEDED);
    assert_non_null(memmem(denied.denied.text.data, denied.denied.text.len,
                           "claims per client", strlen("claims per client")));
    peer_close(&peer);
    fixture_stop(&fixture);
}

/* ---- no room ---- */

/* With room for one command at a time everything still gets its turn; who knows BUSY may
 * be told so, but never that a request was refused. */
static void replica_without_room_slows_clients_down(void **state)
{
    static const char *const flags[] = {"--commands-waiting-max", "1", NULL};
    enum { PEERS = 8, LOCKS = 50 };
    struct fixture fixture;
    struct peer peers[PEERS];
    char key[16];

    (void)state;
    fixture_start(&fixture, flags);
    for (int i = 0; i < PEERS; i++) {
        struct wire_buf all = {0};
        peer_open(&peers[i], &fixture);
        for (int k = 0; k < LOCKS; k++) {
            snprintf(key, sizeof(key), "%d.%d", i, k);
            struct wire_request lock = {
                .type = WIRE_REQ_LOCK,
                .key = str(key),
                .client = str(k % 10 == 9 ? key : ""),
                .lock = str(key),
                .lock_ = {.limit = 1},
            };
            assert_int_equal(wire_encode_request(&all, &lock), 0);
        }
        peer_send_bytes(&peers[i], all.data, all.len);
        free(all.data);
    }

    for (int i = 0; i < PEERS; i++) {
        for (int k = 0; k < LOCKS; k++) {
            snprintf(key, sizeof(key), "%d.%d", i, k);
            assert_str(peer_expect(&peers[i], WIRE_RESP_GRANTED).key, key);
        }
        peer_close(&peers[i]);
    }

    /* All their clients are detached, one at a time too. */
    struct peer watcher;
    struct wire_request status = {.type = WIRE_REQ_CLUSTER_STATUS};
    uint64_t left = 1;
    peer_open(&watcher, &fixture);
    peer_hello(&watcher, 0);
    for (int i = 0; i < 6000 && left != 0; i++) {
        fixture_run(&fixture, 10);
        peer_send(&watcher, &status);
        left = peer_expect(&watcher, WIRE_RESP_CLUSTER_STATUS).cluster_status.clients;
    }
    assert_int_equal(left, 0);
    peer_close(&watcher);
    fixture_stop(&fixture);
}

static void client_that_knows_busy_is_told(void **state)
{
    static const char *const flags[] = {"--commands-waiting-max", "1", NULL};
    enum { PEERS = 20 };
    struct fixture fixture;
    struct peer peers[PEERS];
    struct wire_request status = {
        .type = WIRE_REQ_STATUS, .key = str("k"), .lock = str("a")};
    struct wire_buf frame = {0};
    int busy = 0;

    (void)state;
    fixture_start(&fixture, flags);
    assert_int_equal(wire_encode_request(&frame, &status), 0);
    for (int i = 0; i < PEERS; i++) {
        peer_open(&peers[i], &fixture);
        peer_hello(&peers[i], 0);
    }
    /* All in one turn of the loop. */
    for (int i = 0; i < PEERS; i++) {
        ssize_t sent = send(peers[i].fd, frame.data, frame.len, MSG_NOSIGNAL);
        assert_int_equal(sent, (ssize_t)frame.len);
    }
    free(frame.data);

    for (int i = 0; i < PEERS; i++) {
        struct wire_response response = peer_expect_any(&peers[i]);
        assert_str(response.key, "k");
        if (response.type == WIRE_RESP_ERROR) {
            assert_int_equal(response.error.code, WIRE_ERROR_BUSY);
            assert_true(response.error.retry_after_ms > 0);
            busy++;
        } else {
            assert_int_equal(response.type, WIRE_RESP_STATUS);
        }
        peer_close(&peers[i]);
    }
    assert_true(busy > 0);
    assert_true(busy < PEERS);
    fixture_stop(&fixture);
}

/* Besides the one that it writes, libraft keeps two ready. */
static void wait_for_segments(struct fixture *fixture)
{
    char last[sizeof(fixture->dir) + sizeof("/raft/open-3")];

    (void)snprintf(last, sizeof(last), "%s/raft/open-3", fixture->dir);
    for (int i = 0; i < 6000 && access(last, F_OK) != 0; i++) {
        fixture_run(fixture, 10);
    }
    assert_int_equal(access(last, F_OK), 0);
}

static void accepting_goes_on_when_there_are_descriptors_again(void **state)
{
    struct fixture fixture;
    struct peer peer;
    struct rlimit limit;

    (void)state;
    fixture_start(&fixture, NULL);
    wait_for_segments(&fixture);
    peer_open(&peer, &fixture);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int lowest_free = dup(0);
    assert_true(lowest_free >= 0);
    close(lowest_free);
    struct rlimit none = {.rlim_cur = (rlim_t)lowest_free, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    fixture_run(&fixture, 300);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

    peer_hello(&peer, 0);
    peer_close(&peer);
    fixture_stop(&fixture);
}

/* ---- life ---- */

static void stopping_closes_clients(void **state)
{
    struct fixture fixture;
    struct peer peer;

    (void)state;
    fixture_start(&fixture, NULL);
    peer_open(&peer, &fixture);
    send_lock(&peer, "", "", "a");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    fixture_stop(&fixture);

    assert_int_equal(recv(peer.fd, &(char){0}, 1, 0), 0);
    peer_close(&peer);
}

static void two_servers_share_a_process(void **state)
{
    struct fixture one;
    struct fixture two;

    (void)state;
    fixture_start(&one, NULL);
    fixture_start(&two, NULL);
    expect_service(&one);
    expect_service(&two);
    fixture_stop(&one);
    expect_service(&two);
    fixture_stop(&two);
}

/* ---- no room on the disk ---- */

static void
send_for_lock(struct peer *peer, enum wire_request_type type, const char *lock)
{
    struct wire_request request = {.type = type, .client = str("c"), .lock = str(lock)};

    if (type == WIRE_REQ_LOCK) {
        request.lock_.limit = 1;
    }
    peer_send(peer, &request);
}

static void expect_busy(struct peer *peer)
{
    struct wire_response error = peer_expect(peer, WIRE_RESP_ERROR);

    assert_int_equal(error.error.code, WIRE_ERROR_BUSY);
    assert_true(error.error.retry_after_ms > 0);
    assert_non_null(memmem(error.error.text.data, error.error.text.len, "disk", 4));
}

static void attach(struct peer *peer, const char *client)
{
    struct wire_request request = {.type = WIRE_REQ_ATTACH, .client = str(client)};

    peer_send(peer, &request);
}

static void on_a_full_disk_what_is_there_is_kept_and_given_back_only(void **state)
{
    struct fixture fixture;
    struct peer peer, other;

    (void)state;
    fixture_start(&fixture, NULL);
    peer_open(&peer, &fixture);
    peer_open(&other, &fixture);
    peer_hello(&peer, 0);
    peer_hello(&other, 0);
    attach(&peer, "c");
    peer_expect(&peer, WIRE_RESP_ATTACH);
    send_for_lock(&peer, WIRE_REQ_LOCK, "kept");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    send_for_lock(&peer, WIRE_REQ_LOCK, "given back");
    peer_expect(&peer, WIRE_RESP_GRANTED);

    server_set_disk_low(fixture.server, true, 0);
    send_for_lock(&peer, WIRE_REQ_LOCK, "new");
    expect_busy(&peer);
    send_for_lock(&peer, WIRE_REQ_STATUS, "kept");
    expect_busy(&peer);
    attach(&other, "stranger");
    expect_busy(&other);
    peer_send(&other, &(struct wire_request){.type = WIRE_REQ_CREATE});
    expect_busy(&other);
    peer_send(&other,
              &(struct wire_request){.type = WIRE_REQ_LIST_LOCKS, .list = {.max = 1}});
    expect_busy(&other);
    attach(&other, "c");
    peer_expect(&other, WIRE_RESP_ATTACH);
    send_for_lock(&peer, WIRE_REQ_REFRESH, "kept");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    send_for_lock(&other, WIRE_REQ_RELEASE, "given back");
    assert_int_equal(peer_expect(&other, WIRE_RESP_RELEASE).release.result,
                     WIRE_RELEASED);

    server_set_disk_low(fixture.server, false, UINT64_MAX);
    send_for_lock(&peer, WIRE_REQ_LOCK, "new");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
    peer_close(&other);
    fixture_stop(&fixture);
}

static void on_a_full_disk_a_plain_client_is_denied_but_not_misled(void **state)
{
    struct fixture fixture;
    struct peer peer;

    (void)state;
    fixture_start(&fixture, NULL);
    peer_open(&peer, &fixture);
    send_for_lock(&peer, WIRE_REQ_LOCK, "kept");
    peer_expect(&peer, WIRE_RESP_GRANTED);

    server_set_disk_low(fixture.server, true, 0);
    send_for_lock(&peer, WIRE_REQ_LOCK, "new");
    peer_expect(&peer, WIRE_RESP_DENIED);
    send_for_lock(&peer, WIRE_REQ_STATUS, "kept");
    peer_expect(&peer, WIRE_RESP_STATUS);
    send_for_lock(&peer, WIRE_REQ_RELEASE, "kept");
    peer_expect(&peer, WIRE_RESP_RELEASE);
    peer_close(&peer);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_message_ends_the_connection),
        cmocka_unit_test(after_hello_one_is_told_what_was_wrong),
        cmocka_unit_test(largest_frame_is_read_to_its_end),
        cmocka_unit_test(peer_that_says_nothing_is_closed),
        cmocka_unit_test(peer_that_does_not_read_is_closed),
        cmocka_unit_test(connections_above_the_limit_are_refused),
        cmocka_unit_test(connections_of_one_address_are_limited),
        cmocka_unit_test(clients_of_one_connection_are_limited),
        cmocka_unit_test(a_list_that_fits_no_frame_is_refused),
        cmocka_unit_test(limits_of_the_cluster_are_named),
        cmocka_unit_test(replica_without_room_slows_clients_down),
        cmocka_unit_test(on_a_full_disk_what_is_there_is_kept_and_given_back_only),
        cmocka_unit_test(on_a_full_disk_a_plain_client_is_denied_but_not_misled),
        cmocka_unit_test(client_that_knows_busy_is_told),
        cmocka_unit_test(accepting_goes_on_when_there_are_descriptors_again),
        cmocka_unit_test(stopping_closes_clients),
        cmocka_unit_test(two_servers_share_a_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
