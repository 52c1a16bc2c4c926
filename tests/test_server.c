/* Locks over real connections to a real single node: what each request is answered, and
 * in which order. */
#include "server_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int setup(void **state)
{
    struct fixture *fixture = malloc(sizeof(*fixture));

    assert_non_null(fixture);
    fixture_start(fixture, NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_stop(*state);
    free(*state);
    return 0;
}

static struct wire_request
lock_request(const char *key, const char *client, const char *lock)
{
    return (struct wire_request){
        .type = WIRE_REQ_LOCK,
        .key = str(key),
        .client = str(client),
        .lock = str(lock),
        .lock_ = {.limit = 1},
    };
}

static struct wire_request
wait_request(const char *key, const char *client, const char *lock)
{
    struct wire_request request = lock_request(key, client, lock);

    request.lock_.mode = WIRE_WAIT;
    return request;
}

static struct wire_request request_of(enum wire_request_type type,
                                      const char *key,
                                      const char *client,
                                      const char *lock)
{
    return (struct wire_request){
        .type = type, .key = str(key), .client = str(client), .lock = str(lock)};
}

static void
send_lock(struct peer *peer, const char *key, const char *client, const char *lock)
{
    struct wire_request request = lock_request(key, client, lock);

    peer_send(peer, &request);
}

static void
send_wait(struct peer *peer, const char *key, const char *client, const char *lock)
{
    struct wire_request request = wait_request(key, client, lock);

    peer_send(peer, &request);
}

static void send_request(struct peer *peer,
                         enum wire_request_type type,
                         const char *key,
                         const char *client,
                         const char *lock)
{
    struct wire_request request = request_of(type, key, client, lock);

    peer_send(peer, &request);
}

/* ---- the seed's features ---- */

static void upstreams_golden_frame_is_answered(void **state)
{
    static const char golden[] =
        "\x00\x00\x00\x46\x0a\x03\x31\x32\x33\x12\x3f\x0a\x31type.googleapis.com/"
        "gonetlock.ClientAttachRequest\x12\x0a\x0a\x08player-1";
    struct peer peer;

    peer_open(&peer, *state);
    peer_send_bytes(&peer, golden, sizeof(golden) - 1);

    struct wire_response response = peer_expect(&peer, WIRE_RESP_ATTACH);
    assert_str(response.key, "123");
    assert_str(response.client, "player-1");
    assert_false(response.extended);
    peer_close(&peer);
}

static void empty_request_tries_for_the_default_client(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    send_request(&peer, WIRE_REQ_GET_DEFAULT_ID, "id", "", "");
    struct wire_response id = peer_expect(&peer, WIRE_RESP_DEFAULT_ID);
    char own[64];
    snprintf(own, sizeof(own), "%.*s", (int)id.client.len, id.client.data);
    assert_int_equal(id.client.len, 32);

    send_lock(&peer, "k", "", "a");

    struct wire_response granted = peer_expect(&peer, WIRE_RESP_GRANTED);
    assert_str(granted.key, "k");
    assert_str(granted.client, own);
    assert_str(granted.lock, "a");
    peer_close(&peer);
}

static void lock_held_by_another_is_denied(void **state)
{
    struct peer holder;
    struct peer other;

    peer_open(&holder, *state);
    peer_open(&other, *state);
    peer_hello(&other, 0);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    send_lock(&other, "k", "", "a");

    struct wire_response denied = peer_expect(&other, WIRE_RESP_DENIED);
    assert_str(denied.key, "k");
    assert_int_equal(denied.denied.reason, WIRE_DENY_HELD);
    assert_int_equal(denied.denied.holders_count, 1);
    assert_true(denied.denied.text.len > 0);
    assert_true(denied.position.index > 0);
    peer_close(&holder);
    peer_close(&other);
}

static void later_grant_carries_key_and_time_of_its_request(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&waiter, 0);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    struct wire_request wait = wait_request("w1", "", "a");
    wait.lock_.has_client_time = true;
    wait.lock_.client_time = 4711;
    peer_send(&waiter, &wait);
    struct wire_response waiting = peer_expect(&waiter, WIRE_RESP_WAIT);
    assert_str(waiting.key, "w1");
    assert_int_equal(waiting.wait.queue_position, 1);

    send_request(&holder, WIRE_REQ_RELEASE, "", "", "a");

    struct wire_response granted = peer_expect(&waiter, WIRE_RESP_GRANTED);
    assert_str(granted.key, "w1");
    assert_true(granted.granted.has_client_time);
    assert_int_equal(granted.granted.client_time, 4711);
    peer_close(&holder);
    peer_close(&waiter);
}

static void every_request_that_waits_for_a_lock_is_answered(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    send_wait(&waiter, "w1", "", "a");
    send_wait(&waiter, "w2", "", "a");
    peer_expect(&waiter, WIRE_RESP_WAIT);
    peer_expect(&waiter, WIRE_RESP_WAIT);

    send_request(&holder, WIRE_REQ_RELEASE, "", "", "a");

    assert_str(peer_expect(&waiter, WIRE_RESP_GRANTED).key, "w1");
    assert_str(peer_expect(&waiter, WIRE_RESP_GRANTED).key, "w2");
    peer_close(&holder);
    peer_close(&waiter);
}

static void wait_times_out_with_its_key(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    struct wire_request wait = wait_request("w1", "", "a");
    wait.lock_.wait_timeout_ms = 20;
    peer_send(&waiter, &wait);

    peer_expect(&waiter, WIRE_RESP_WAIT);
    assert_str(peer_expect(&waiter, WIRE_RESP_WAIT_TIMEOUT).key, "w1");
    peer_close(&holder);
    peer_close(&waiter);
}

static void released_wait_is_answered_denied_then_release(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&waiter, 0);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    send_wait(&waiter, "w1", "", "a");
    peer_expect(&waiter, WIRE_RESP_WAIT);

    send_request(&waiter, WIRE_REQ_RELEASE, "r1", "", "a");

    struct wire_response denied = peer_expect(&waiter, WIRE_RESP_DENIED);
    assert_str(denied.key, "w1");
    assert_int_equal(denied.denied.reason, WIRE_DENY_CANCELLED);
    struct wire_response released = peer_expect(&waiter, WIRE_RESP_RELEASE);
    assert_str(released.key, "r1");
    assert_int_equal(released.release.result, WIRE_WAS_QUEUED);
    peer_close(&holder);
    peer_close(&waiter);
}

static void hold_that_times_out_is_told_to_its_holder(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    struct wire_request lock = lock_request("k", "", "a");
    lock.lock_.lock_timeout_ms = 20;
    peer_send(&peer, &lock);
    struct wire_response granted = peer_expect(&peer, WIRE_RESP_GRANTED);
    uint64_t token = granted.granted.token;
    assert_int_equal(granted.granted.lock_timeout_ms, 20);

    struct wire_response ended = peer_expect(&peer, WIRE_RESP_TIMEOUT);

    assert_int_equal(ended.timeout.token, token);
    assert_int_equal(ended.timeout.reason, WIRE_HOLD_EXPIRED);
    peer_close(&peer);
}

static void plain_status_has_three_answers(void **state)
{
    struct peer holder;
    struct peer waiter;
    struct peer other;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_open(&other, *state);
    struct wire_request read = lock_request("", "", "a");
    read.lock_.type = WIRE_READ;
    peer_send(&holder, &read);
    peer_expect(&holder, WIRE_RESP_GRANTED);
    send_wait(&waiter, "", "", "a");
    peer_expect(&waiter, WIRE_RESP_WAIT);

    send_request(&holder, WIRE_REQ_STATUS, "s", "", "a");
    send_request(&waiter, WIRE_REQ_STATUS, "s", "", "a");
    send_request(&other, WIRE_REQ_STATUS, "s", "", "a");

    assert_int_equal(peer_expect(&holder, WIRE_RESP_STATUS).status.type, WIRE_READ);
    peer_expect(&waiter, WIRE_RESP_WAIT);
    peer_expect(&other, WIRE_RESP_DENIED);
    peer_close(&holder);
    peer_close(&waiter);
    peer_close(&other);
}

static void full_status_shows_holder_and_queue(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&waiter, 0);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    send_wait(&waiter, "", "", "a");
    peer_expect(&waiter, WIRE_RESP_WAIT);

    send_request(&waiter, WIRE_REQ_STATUS, "s", "", "a");

    struct wire_response status = peer_expect(&waiter, WIRE_RESP_STATUS);
    assert_int_equal(status.status.state, WIRE_WAITING);
    assert_int_equal(status.status.queue_position, 1);
    assert_int_equal(status.status.queue_length, 1);
    assert_int_equal(status.status.holders_count, 1);
    assert_int_equal(status.status.remaining_ms, WIRE_UNLIMITED);
    peer_close(&holder);
    peer_close(&waiter);
}

/* ---- defaults and refusals ---- */

static void plain_timeout_that_looks_like_seconds_is_denied(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    struct wire_request lock = lock_request("k", "", "a");
    lock.lock_.lock_timeout_ms = 30;
    peer_send(&peer, &lock);

    assert_str(peer_expect(&peer, WIRE_RESP_DENIED).key, "k");
    peer_close(&peer);
}

static void ignore_needs_a_timeout(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    struct wire_request lock = lock_request("k", "", "a");
    lock.lock_.drop = WIRE_DROP_IGNORE;
    peer_send(&peer, &lock);
    peer_expect(&peer, WIRE_RESP_DENIED);

    lock.lock_.lock_timeout_ms = WIRE_UNLIMITED;
    peer_send(&peer, &lock);
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
}

static void bad_lock_name_is_denied_with_the_key(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    send_lock(&peer, "k1", "", "");
    send_lock(&peer, "k2", "", "a\nb");

    assert_str(peer_expect(&peer, WIRE_RESP_DENIED).key, "k1");
    assert_str(peer_expect(&peer, WIRE_RESP_DENIED).key, "k2");
    peer_close(&peer);
}

static void extensions_need_a_hello(void **state)
{
    struct peer named;
    struct peer nameless;

    peer_open(&named, *state);
    peer_open(&nameless, *state);
    send_request(&named, WIRE_REQ_CHECK_TOKEN, "k", "", "a");
    send_request(&nameless, WIRE_REQ_PING, "k", "", "");

    assert_str(peer_expect(&named, WIRE_RESP_DENIED).lock, "a");
    peer_expect_end(&nameless);
    peer_close(&named);
    peer_close(&nameless);
}

static void unknown_version_is_refused(void **state)
{
    struct peer peer;
    struct wire_request hello = {.type = WIRE_REQ_HELLO,
                                 .hello = {.version_min = 2, .version_max = 3}};

    peer_open(&peer, *state);
    peer_send(&peer, &hello);

    assert_int_equal(peer_expect(&peer, WIRE_RESP_ERROR).error.code, WIRE_ERROR_VERSION);
    peer_expect_end(&peer);
    peer_close(&peer);
}

/* ---- order ---- */

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct peer peer;
    struct wire_buf all = {0};
    char key[16];

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "%d", i);
        struct wire_request request = lock_request(key, "", key);
        if (i % 5 == 1) {
            request = request_of(WIRE_REQ_PING, key, "", "");
        } else if (i % 5 == 3) {
            request = request_of(WIRE_REQ_GET_ATTACHED_IDS, key, "", "");
        } else if (i % 20 == 10) {
            request = request_of(WIRE_REQ_ATTACH, key, key, "");
        }
        assert_int_equal(wire_encode_request(&all, &request), 0);
    }
    peer_send_bytes(&peer, all.data, all.len);
    free(all.data);

    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "%d", i);
        enum wire_response_type type = i % 5 == 1     ? WIRE_RESP_PING
                                       : i % 5 == 3   ? WIRE_RESP_ATTACHED_IDS
                                       : i % 20 == 10 ? WIRE_RESP_ATTACH
                                                      : WIRE_RESP_GRANTED;
        assert_str(peer_expect(&peer, type).key, key);
    }
    peer_close(&peer);
}

static void more_requests_than_may_be_pending_are_all_answered(void **state)
{
    struct peer peer;
    struct wire_buf all = {0};
    char key[16];

    peer_open(&peer, *state);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        struct wire_request request = i % 2 == 0
                                          ? lock_request(key, "", "a")
                                          : request_of(WIRE_REQ_RELEASE, key, "", "a");
        assert_int_equal(wire_encode_request(&all, &request), 0);
    }
    peer_send_bytes(&peer, all.data, all.len);
    free(all.data);

    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        assert_str(
            peer_expect(&peer, i % 2 == 0 ? WIRE_RESP_GRANTED : WIRE_RESP_RELEASE).key,
            key);
    }
    peer_close(&peer);
}

static void frames_may_come_byte_by_byte(void **state)
{
    struct peer peer;
    struct wire_buf buf = {0};
    struct wire_request lock = lock_request("k", "", "a");

    peer_open(&peer, *state);
    assert_int_equal(wire_encode_request(&buf, &lock), 0);
    for (size_t i = 0; i < buf.len; i++) {
        peer_send_bytes(&peer, buf.data + i, 1);
    }
    free(buf.data);

    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
}

static void empty_frames_are_skipped(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    peer_send_bytes(&peer, "\0\0\0\0\0\0\0", 7);
    peer_send_bytes(&peer, "\0", 1);
    send_lock(&peer, "k", "", "a");

    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
}

static void half_closed_peer_gets_its_answers(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    send_lock(&peer, "k1", "", "a");
    send_lock(&peer, "k2", "", "b");
    shutdown(peer.fd, SHUT_WR);

    assert_str(peer_expect(&peer, WIRE_RESP_GRANTED).key, "k1");
    assert_str(peer_expect(&peer, WIRE_RESP_GRANTED).key, "k2");
    peer_expect_end(&peer);
    peer_close(&peer);
}

/* ---- looking, and breaking ---- */

static void tokens_are_checked(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    send_lock(&peer, "", "", "a");
    uint64_t token = peer_expect(&peer, WIRE_RESP_GRANTED).granted.token;
    struct wire_request check = request_of(WIRE_REQ_CHECK_TOKEN, "", "", "a");
    check.check_token.token = token;
    peer_send(&peer, &check);
    check.check_token.token = token + 1;
    peer_send(&peer, &check);
    check.lock = str("b");
    peer_send(&peer, &check);

    assert_int_equal(peer_expect(&peer, WIRE_RESP_CHECK_TOKEN).check_token.state,
                     WIRE_TOKEN_CURRENT);
    assert_int_equal(peer_expect(&peer, WIRE_RESP_CHECK_TOKEN).check_token.superseded_by,
                     token);
    assert_int_equal(peer_expect(&peer, WIRE_RESP_CHECK_TOKEN).check_token.state,
                     WIRE_TOKEN_FREE);
    peer_close(&peer);
}

static void forced_release_tells_holder_and_operator(void **state)
{
    struct peer holder;
    struct peer operator;

    peer_open(&holder, *state);
    peer_open(&operator, * state);
    peer_hello(&holder, 0);
    peer_hello(&operator, 0);
    send_lock(&holder, "", "", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);

    send_request(&operator, WIRE_REQ_FORCE_RELEASE, "f", "", "a");

    assert_int_equal(
        peer_expect(&operator, WIRE_RESP_FORCE_RELEASE).force_release.holds_broken, 1);
    assert_int_equal(peer_expect(&holder, WIRE_RESP_TIMEOUT).timeout.reason,
                     WIRE_HOLD_BROKEN);
    peer_close(&holder);
    peer_close(&operator);
}

static void killed_client_loses_its_connections_and_what_they_kept(void **state)
{
    struct peer victim;
    struct peer waiter;
    struct peer operator;
    struct wire_request ignore = {
        .type = WIRE_REQ_LOCK,
        .client = str("victim"),
        .lock = str("kept"),
        .lock_ = {.limit = 1, .drop = WIRE_DROP_IGNORE, .lock_timeout_ms = 60000}};
    struct wire_request wait = {.type = WIRE_REQ_LOCK,
                                .lock = str("a"),
                                .lock_ = {.limit = 1, .mode = WIRE_WAIT}};
    struct wire_request kill = {.type = WIRE_REQ_CLIENT_KILL, .client = str("victim")};

    peer_open(&victim, *state);
    peer_open(&waiter, *state);
    peer_open(&operator, * state);
    peer_hello(&victim, 60000);
    peer_hello(&waiter, 0);
    peer_hello(&operator, 0);
    send_lock(&victim, "", "victim", "a");
    peer_expect(&victim, WIRE_RESP_GRANTED);
    peer_send(&victim, &ignore);
    peer_expect(&victim, WIRE_RESP_GRANTED);
    peer_send(&waiter, &wait);
    peer_expect(&waiter, WIRE_RESP_WAIT);

    peer_send(&operator, & kill);

    struct wire_response killed = peer_expect(&operator, WIRE_RESP_CLIENT_KILL);
    assert_true(killed.client_kill.found);
    assert_str(killed.client, "victim");
    peer_expect_end(&victim);
    peer_expect(&waiter, WIRE_RESP_GRANTED);
    send_request(&operator, WIRE_REQ_STATUS, "", "", "kept");
    assert_int_equal(peer_expect(&operator, WIRE_RESP_STATUS).status.state,
                     WIRE_HELD_BY_OTHER_CLIENT);
    kill.client = str("nobody");
    peer_send(&operator, & kill);
    assert_false(peer_expect(&operator, WIRE_RESP_CLIENT_KILL).client_kill.found);
    peer_close(&operator);
    peer_close(&waiter);
    peer_close(&victim);
}

static void who_kills_itself_is_answered_first(void **state)
{
    struct peer peer;
    struct wire_request kill = {.type = WIRE_REQ_CLIENT_KILL, .client = str("me")};

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    send_lock(&peer, "", "me", "a");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_send(&peer, &kill);

    assert_true(peer_expect(&peer, WIRE_RESP_CLIENT_KILL).client_kill.found);
    peer_expect_end(&peer);
    peer_close(&peer);
}

static void lists_show_locks_and_clients_page_by_page(void **state)
{
    struct peer peer;
    struct wire_request list = {.type = WIRE_REQ_LIST_LOCKS, .list = {.max = 2}};

    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    send_lock(&peer, "", "me", "c");
    send_lock(&peer, "", "me", "a");
    send_lock(&peer, "", "me", "b");
    for (int i = 0; i < 3; i++) {
        peer_expect(&peer, WIRE_RESP_GRANTED);
    }

    peer_send(&peer, &list);
    struct wire_response locks = peer_expect(&peer, WIRE_RESP_LIST_LOCKS);
    assert_int_equal(locks.list_locks.count, 2);
    assert_true(locks.list_locks.more);
    assert_str(locks.list_locks.locks[0].lock, "a");
    assert_str(locks.list_locks.locks[1].lock, "b");
    assert_str(locks.list_locks.locks[1].holders[0].client, "me");
    list.list.after = str("b");
    peer_send(&peer, &list);
    locks = peer_expect(&peer, WIRE_RESP_LIST_LOCKS);
    assert_int_equal(locks.list_locks.count, 1);
    assert_false(locks.list_locks.more);

    list = (struct wire_request){.type = WIRE_REQ_LIST_CLIENTS, .list = {.max = 10}};
    peer_send(&peer, &list);
    struct wire_response clients = peer_expect(&peer, WIRE_RESP_LIST_CLIENTS);
    assert_int_equal(clients.list_clients.count, 1);
    assert_str(clients.list_clients.clients[0].client, "me");
    assert_int_equal(clients.list_clients.clients[0].holds_count, 3);
    assert_true(clients.list_clients.clients[0].connected);
    peer_close(&peer);
}

/* 1000 locks with the longest names are more than a frame: the page gets shorter, nothing
 * is lost. */
static void page_that_does_not_fit_a_frame_is_cut(void **state)
{
    struct peer peer;
    char name[256];
    char info[256];
    enum { LOCKS = 1000 };

    memset(info, 'i', 255);
    info[255] = '\0';
    peer_open(&peer, *state);
    peer_hello(&peer, 0);
    for (int reader = 0; reader < 4; reader++) {
        char client[256];
        snprintf(client, sizeof(client), "%0255d", reader);
        for (int i = 0; i < LOCKS; i++) {
            snprintf(name, sizeof(name), "%0255d", i);
            struct wire_request lock = lock_request("", client, name);
            lock.lock_.type = WIRE_READ;
            lock.lock_.owner_info = str(info);
            peer_send(&peer, &lock);
        }
        for (int i = 0; i < LOCKS; i++) {
            peer_expect(&peer, WIRE_RESP_GRANTED);
        }
    }

    size_t seen = 0;
    int pages = 0;
    bool more = true;
    struct wire_request list = {.type = WIRE_REQ_LIST_LOCKS, .list = {.max = LOCKS}};
    while (more) {
        peer_send(&peer, &list);
        struct wire_response page = peer_expect(&peer, WIRE_RESP_LIST_LOCKS);
        assert_true(page.list_locks.count > 0);
        seen += page.list_locks.count;
        more = page.list_locks.more;
        struct wire_str last = page.list_locks.locks[page.list_locks.count - 1].lock;
        memcpy(name, last.data, last.len);
        list.list.after = (struct wire_str){.data = name, .len = last.len};
        pages++;
    }

    assert_int_equal(seen, LOCKS);
    assert_true(pages > 1);
    peer_close(&peer);
}

static void status_of_the_node_counts_and_hashes(void **state)
{
    struct peer peer;
    struct wire_request status = {.type = WIRE_REQ_CLUSTER_STATUS, .key = str("s")};

    peer_open(&peer, *state);
    struct wire_response hello = peer_hello(&peer, 5000);
    assert_true(hello.hello.leader);
    assert_int_equal(hello.hello.session_grace_ms, 5000);
    assert_int_equal(hello.hello.members_count, 1);
    assert_true(hello.hello.leader_address.len > 0);
    send_lock(&peer, "", "", "a");
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_send(&peer, &status);
    struct wire_response plain = peer_expect(&peer, WIRE_RESP_CLUSTER_STATUS);
    assert_int_equal(plain.cluster_status.role, WIRE_ROLE_SERVING);
    assert_int_equal(plain.cluster_status.holds, 1);
    assert_int_equal(plain.cluster_status.connections, 1);
    uint64_t applied_index = plain.cluster_status.applied_index;

    status.cluster_status.checkpoint = true;
    peer_send(&peer, &status);

    struct wire_response hashed = peer_expect(&peer, WIRE_RESP_CLUSTER_STATUS);
    assert_str(hashed.key, "s");
    assert_true(hashed.cluster_status.checkpoint_index > applied_index);
    assert_true(hashed.cluster_status.checkpoint_hash != 0);
    peer_close(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(upstreams_golden_frame_is_answered),
        TEST(empty_request_tries_for_the_default_client),
        TEST(lock_held_by_another_is_denied),
        TEST(later_grant_carries_key_and_time_of_its_request),
        TEST(every_request_that_waits_for_a_lock_is_answered),
        TEST(wait_times_out_with_its_key),
        TEST(released_wait_is_answered_denied_then_release),
        TEST(hold_that_times_out_is_told_to_its_holder),
        TEST(plain_status_has_three_answers),
        TEST(full_status_shows_holder_and_queue),
        TEST(plain_timeout_that_looks_like_seconds_is_denied),
        TEST(ignore_needs_a_timeout),
        TEST(bad_lock_name_is_denied_with_the_key),
        TEST(extensions_need_a_hello),
        TEST(unknown_version_is_refused),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(more_requests_than_may_be_pending_are_all_answered),
        TEST(frames_may_come_byte_by_byte),
        TEST(empty_frames_are_skipped),
        TEST(half_closed_peer_gets_its_answers),
        TEST(tokens_are_checked),
        TEST(forced_release_tells_holder_and_operator),
        TEST(killed_client_loses_its_connections_and_what_they_kept),
        TEST(who_kills_itself_is_answered_first),
        TEST(lists_show_locks_and_clients_page_by_page),
        TEST(page_that_does_not_fit_a_frame_is_cut),
        TEST(status_of_the_node_counts_and_hashes),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
