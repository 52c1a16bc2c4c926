/* Clients and their connections: attach, secrets, epochs, and what happens to holds and
 * waits when a connection ends. */
#include "server_fixture.h"

#include <stdio.h>
#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>

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

static void send_request(struct peer *peer,
                         enum wire_request_type type,
                         const char *client,
                         const char *lock)
{
    struct wire_request request = {
        .type = type, .client = str(client), .lock = str(lock)};

    if (type == WIRE_REQ_LOCK) {
        request.lock_.limit = 1;
    }
    peer_send(peer, &request);
}

static void acquire(struct peer *peer, const char *client, const char *lock)
{
    send_request(peer, WIRE_REQ_LOCK, client, lock);
    peer_expect(peer, WIRE_RESP_GRANTED);
}

static void acquire_ignoring_drop(struct peer *peer, const char *client, const char *lock)
{
    struct wire_request request = {
        .type = WIRE_REQ_LOCK,
        .client = str(client),
        .lock = str(lock),
        .lock_ = {.limit = 1, .drop = WIRE_DROP_IGNORE, .lock_timeout_ms = 60000},
    };

    peer_send(peer, &request);
    peer_expect(peer, WIRE_RESP_GRANTED);
}

static void queue(struct peer *peer, const char *client, const char *lock)
{
    struct wire_request request = {
        .type = WIRE_REQ_LOCK,
        .client = str(client),
        .lock = str(lock),
        .lock_ = {.limit = 1, .mode = WIRE_WAIT},
    };

    peer_send(peer, &request);
    peer_expect(peer, WIRE_RESP_WAIT);
}

static void attach(struct peer *peer, const char *client)
{
    send_request(peer, WIRE_REQ_ATTACH, client, "");
    peer_expect(peer, WIRE_RESP_ATTACH);
}

static struct wire_request supersede(const char *client, uint64_t epoch)
{
    return (struct wire_request){
        .type = WIRE_REQ_ATTACH,
        .client = str(client),
        .attach = {.has_epoch = true, .epoch = epoch, .supersede = true},
    };
}

/* ---- ids ---- */

static void attached_ids_name_the_default_client_first(void **state)
{
    struct peer peer;
    struct wire_request ids = {.type = WIRE_REQ_GET_ATTACHED_IDS};

    peer_open(&peer, *state);
    attach(&peer, "b");
    attach(&peer, "a");
    peer_send(&peer, &ids);

    struct wire_response response = peer_expect(&peer, WIRE_RESP_ATTACHED_IDS);
    assert_int_equal(response.attached_ids.ids_count, 3);
    assert_int_equal(response.attached_ids.ids[0].len, 32);
    assert_str(response.attached_ids.ids[1], "b");
    assert_str(response.attached_ids.ids[2], "a");

    send_request(&peer, WIRE_REQ_DETACH, "b", "");
    peer_expect(&peer, WIRE_RESP_DETACH);
    peer_send(&peer, &ids);
    response = peer_expect(&peer, WIRE_RESP_ATTACHED_IDS);
    assert_int_equal(response.attached_ids.ids_count, 2);
    assert_str(response.attached_ids.ids[1], "a");
    peer_close(&peer);
}

static void default_clients_of_two_connections_differ(void **state)
{
    struct peer one;
    struct peer two;
    char first[64];

    peer_open(&one, *state);
    peer_open(&two, *state);
    send_request(&one, WIRE_REQ_GET_DEFAULT_ID, "", "");
    struct wire_response response = peer_expect(&one, WIRE_RESP_DEFAULT_ID);
    snprintf(first, sizeof(first), "%.*s", (int)response.client.len,
             response.client.data);
    send_request(&two, WIRE_REQ_GET_DEFAULT_ID, "", "");

    assert_false(str_is(peer_expect(&two, WIRE_RESP_DEFAULT_ID).client, first));
    peer_close(&one);
    peer_close(&two);
}

static void bad_client_id_ends_a_plain_connection(void **state)
{
    struct peer plain;
    struct peer hello;

    peer_open(&plain, *state);
    peer_open(&hello, *state);
    peer_hello(&hello, 0);
    send_request(&plain, WIRE_REQ_ATTACH, "", "");
    send_request(&hello, WIRE_REQ_ATTACH, "", "");

    peer_expect_end(&plain);
    assert_int_equal(peer_expect(&hello, WIRE_RESP_ERROR).error.code, WIRE_ERROR_INVALID);
    peer_close(&plain);
    peer_close(&hello);
}

static void open_client_may_be_used_without_attaching(void **state)
{
    struct peer one;
    struct peer two;

    peer_open(&one, *state);
    peer_open(&two, *state);
    acquire_ignoring_drop(&one, "shell", "a");
    peer_close(&one);

    send_request(&two, WIRE_REQ_RELEASE, "shell", "a");

    peer_expect(&two, WIRE_RESP_RELEASE);
    acquire(&two, "other", "a");
    peer_close(&two);
}

/* ---- secrets ---- */

static void created_client_needs_its_secret(void **state)
{
    struct peer maker;
    struct peer other;
    char id[64];
    char secret[WIRE_SECRET_BYTES];

    peer_open(&maker, *state);
    peer_open(&other, *state);
    peer_hello(&maker, 0);
    peer_hello(&other, 0);
    send_request(&maker, WIRE_REQ_CREATE, "", "");
    struct wire_response created = peer_expect(&maker, WIRE_RESP_CREATE);
    assert_int_equal(created.client.len, 32);
    assert_int_equal(created.create.secret.len, WIRE_SECRET_BYTES);
    snprintf(id, sizeof(id), "%.*s", (int)created.client.len, created.client.data);
    memcpy(secret, created.create.secret.data, sizeof(secret));
    acquire(&maker, id, "a");

    send_request(&other, WIRE_REQ_LOCK, id, "a");
    assert_int_equal(peer_expect(&other, WIRE_RESP_DENIED).denied.reason,
                     WIRE_DENY_NOT_ATTACHED);
    send_request(&other, WIRE_REQ_RELEASE, id, "a");
    assert_int_equal(peer_expect(&other, WIRE_RESP_DENIED).denied.reason,
                     WIRE_DENY_NOT_ATTACHED);
    send_request(&other, WIRE_REQ_ATTACH, id, "");
    assert_int_equal(peer_expect(&other, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_NOT_ALLOWED);
    struct wire_request with_secret = {
        .type = WIRE_REQ_ATTACH,
        .client = str(id),
        .attach = {.secret = {.data = secret, .len = sizeof(secret)}},
    };
    peer_send(&other, &with_secret);
    struct wire_response attached = peer_expect(&other, WIRE_RESP_ATTACH);
    assert_int_equal(attached.attach.claims_count, 1);
    assert_str(attached.attach.claims[0].lock, "a");

    secret[0] ^= 1;
    peer_send(&other, &with_secret);
    assert_int_equal(peer_expect(&other, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_NOT_ALLOWED);
    peer_close(&maker);
    peer_close(&other);
}

static void plain_created_client_has_no_secret(void **state)
{
    struct peer peer;
    char id[64];

    peer_open(&peer, *state);
    send_request(&peer, WIRE_REQ_CREATE, "", "");
    struct wire_response created = peer_expect(&peer, WIRE_RESP_CREATE);
    snprintf(id, sizeof(id), "%.*s", (int)created.client.len, created.client.data);

    assert_int_equal(created.create.secret.len, 0);
    acquire(&peer, id, "a");
    peer_close(&peer);
}

/* ---- epochs ---- */

static void superseded_connection_can_no_longer_act(void **state)
{
    struct peer old;
    struct peer new;
    struct wire_request first = supersede("c", 1);
    struct wire_request second = supersede("c", 2);

    peer_open(&old, *state);
    peer_open(&new, *state);
    peer_hello(&old, 0);
    peer_hello(&new, 0);
    peer_send(&old, &first);
    peer_expect(&old, WIRE_RESP_ATTACH);
    acquire(&old, "c", "a");
    peer_send(&new, &second);
    struct wire_response attached = peer_expect(&new, WIRE_RESP_ATTACH);
    assert_int_equal(attached.attach.epoch, 2);
    assert_int_equal(attached.attach.claims_count, 1);

    send_request(&old, WIRE_REQ_RELEASE, "c", "a");
    struct wire_response denied = peer_expect(&old, WIRE_RESP_DENIED);
    assert_int_equal(denied.denied.reason, WIRE_DENY_STALE_EPOCH);
    assert_int_equal(denied.position.index, 0); /* the log was not asked */
    peer_send(&old, &first);
    assert_int_equal(peer_expect(&old, WIRE_RESP_ERROR).error.code,
                     WIRE_ERROR_STALE_EPOCH);

    /* Nor does its end take anything from the client. */
    peer_close(&old);
    fixture_run(*state, 50);
    send_request(&new, WIRE_REQ_RELEASE, "c", "a");
    assert_int_equal(peer_expect(&new, WIRE_RESP_RELEASE).release.result, WIRE_RELEASED);
    peer_close(&new);
}

static void request_behind_an_attach_acts_under_its_epoch(void **state)
{
    struct peer peer;
    struct wire_request first = supersede("c", 1);
    struct wire_request second = supersede("c", 2);
    struct wire_request lock = {.type = WIRE_REQ_LOCK,
                                .client = str("c"),
                                .lock = str("a"),
                                .lock_ = {.limit = 1}};
    struct wire_buf both = {0};

    peer_open(&peer, *state);
    peer_send(&peer, &first);
    peer_expect(&peer, WIRE_RESP_ATTACH);
    assert_int_equal(wire_encode_request(&both, &second), 0);
    assert_int_equal(wire_encode_request(&both, &lock), 0);
    peer_send_bytes(&peer, both.data, both.len);
    free(both.data);

    peer_expect(&peer, WIRE_RESP_ATTACH);
    peer_expect(&peer, WIRE_RESP_GRANTED);
    peer_close(&peer);
}

/* ---- the end of connections ---- */

enum { GRACE_MS = 1000, LONG_MS = 60000, CLOCKS_MS = 10 };

/* The last moment before a grace counts: what came before it, through a log on a busy disk, may have taken
 * longer than the grace. Returns a time before its begin. */
static uint64_t shorten_grace(struct peer *peer)
{
    uint64_t before_ms = fixture_now_ms();

    peer_hello(peer, GRACE_MS);
    return before_ms;
}

/* Not before @ms after @since_ms, whose loop and ours may have read their clocks at different times. */
static void expect_granted_after(struct peer *waiter, uint64_t since_ms, unsigned ms)
{
    peer_expect(waiter, WIRE_RESP_GRANTED);
    assert_true(fixture_now_ms() + CLOCKS_MS >= since_ms + ms);
}

static void closing_frees_holds_and_grants_the_next(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    acquire(&holder, "", "a");
    queue(&waiter, "", "a");

    peer_close(&holder);

    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&waiter);
}

static void closing_takes_the_waits_out_of_the_queue(void **state)
{
    struct peer holder;
    struct peer leaver;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&leaver, *state);
    peer_open(&waiter, *state);
    acquire(&holder, "", "a");
    queue(&leaver, "", "a");
    queue(&waiter, "", "a");
    peer_close(&leaver);
    fixture_run(*state, 50);

    send_request(&holder, WIRE_REQ_RELEASE, "", "a");

    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&holder);
    peer_close(&waiter);
}

static void hold_that_ignores_the_drop_stays(void **state)
{
    struct peer holder;
    struct peer other;

    peer_open(&holder, *state);
    peer_open(&other, *state);
    acquire_ignoring_drop(&holder, "c", "a");
    peer_close(&holder);
    fixture_run(*state, 50);

    send_request(&other, WIRE_REQ_LOCK, "", "a");
    peer_expect(&other, WIRE_RESP_DENIED);
    struct wire_request refresh = {
        .type = WIRE_REQ_REFRESH, .client = str("c"), .lock = str("a")};
    peer_send(&other, &refresh);
    peer_expect(&other, WIRE_RESP_GRANTED);
    peer_close(&other);
}

static void client_is_there_as_long_as_one_connection_is(void **state)
{
    struct peer old;
    struct peer new;
    struct peer waiter;

    peer_open(&old, *state);
    peer_open(&new, *state);
    peer_open(&waiter, *state);
    attach(&old, "c");
    acquire(&old, "c", "a");
    queue(&waiter, "", "a");
    attach(&new, "c");
    peer_close(&old);
    peer_expect_nothing(&waiter);

    peer_close(&new);

    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&waiter);
}

static void news_of_a_hold_reach_the_newest_connection(void **state)
{
    struct peer old;
    struct peer new;
    struct peer operator;

    peer_open(&old, *state);
    peer_open(&new, *state);
    peer_open(&operator, * state);
    peer_hello(&operator, 0);
    attach(&old, "c");
    acquire(&old, "c", "a");
    attach(&new, "c");

    send_request(&operator, WIRE_REQ_FORCE_RELEASE, "", "a");

    assert_str(peer_expect(&new, WIRE_RESP_TIMEOUT).client, "c");
    peer_expect_nothing(&old);
    peer_close(&old);
    peer_close(&new);
    peer_close(&operator);
}

static void detach_of_the_last_connection_frees_at_once(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&holder, 60000);
    attach(&holder, "c");
    acquire(&holder, "c", "a");
    queue(&waiter, "", "a");

    send_request(&holder, WIRE_REQ_DETACH, "c", "");

    peer_expect(&holder, WIRE_RESP_DETACH);
    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&holder);
    peer_close(&waiter);
}

static void reset_without_a_grace_frees_at_once(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    acquire(&holder, "", "a");
    queue(&waiter, "", "a");

    peer_reset(&holder);

    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&waiter);
}

static void reset_leaves_the_session_its_grace(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&holder, LONG_MS);
    attach(&holder, "c");
    acquire(&holder, "c", "a");
    queue(&waiter, "", "a");

    uint64_t reset_ms = shorten_grace(&holder);
    peer_reset(&holder);

    expect_granted_after(&waiter, reset_ms, GRACE_MS);
    peer_close(&waiter);
}

/* libuv then gives the bytes and an end, as if the peer had closed in order. */
static void reset_right_behind_bytes_is_no_orderly_close(void **state)
{
    const uint8_t beginning[] = {0, 0}; /* of a frame */
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&holder, LONG_MS);
    attach(&holder, "c");
    acquire(&holder, "c", "a");
    queue(&waiter, "", "a");

    uint64_t reset_ms = shorten_grace(&holder);
    assert_int_equal(send(holder.fd, beginning, sizeof(beginning), MSG_NOSIGNAL), 2);
    peer_reset(&holder);

    expect_granted_after(&waiter, reset_ms, GRACE_MS);
    peer_close(&waiter);
}

static void client_that_comes_back_within_the_grace_loses_nothing(void **state)
{
    struct peer holder;
    struct peer again;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&holder, LONG_MS);
    attach(&holder, "c");
    acquire(&holder, "c", "a");
    queue(&waiter, "", "a");
    peer_hello(&holder, 3 * GRACE_MS); /* long enough for two turns of the loop */
    peer_reset(&holder);
    fixture_run(*state, 1);

    peer_open(&again, *state);
    attach(&again, "c");

    fixture_run(*state, 3 * GRACE_MS + 100);
    peer_expect_nothing(&waiter);
    peer_close(&again);
    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&waiter);
}

static void orderly_close_has_no_grace(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&holder, 60000);
    acquire(&holder, "", "a");
    queue(&waiter, "", "a");

    peer_close(&holder);

    peer_expect(&waiter, WIRE_RESP_GRANTED);
    peer_close(&waiter);
}

static void silent_session_is_closed_and_then_has_its_grace(void **state)
{
    struct peer holder;
    struct peer waiter;

    peer_open(&holder, *state);
    peer_open(&waiter, *state);
    peer_hello(&holder, LONG_MS);
    attach(&holder, "c");
    acquire(&holder, "c", "a");
    queue(&waiter, "", "a");

    uint64_t silent_ms = shorten_grace(&holder);
    peer_expect_end(&holder);
    expect_granted_after(&waiter, silent_ms, 2 * GRACE_MS);
    peer_close(&holder);
    peer_close(&waiter);
}

static void pings_keep_a_session_alive(void **state)
{
    struct peer peer;

    peer_open(&peer, *state);
    peer_hello(&peer, 4 * GRACE_MS);
    for (int i = 0; i < 10; i++) {
        fixture_run(*state, GRACE_MS / 2);
        send_request(&peer, WIRE_REQ_PING, "", "");
        peer_expect(&peer, WIRE_RESP_PING);
    }
    peer_close(&peer);
}

/* The attach is in the log, but nobody is there any more to be told. */
static void client_whose_connection_dies_while_attaching_is_detached(void **state)
{
    struct peer gone;
    struct peer operator;
    struct wire_request list = {.type = WIRE_REQ_LIST_CLIENTS, .list = {.max = 10}};

    peer_open(&operator, * state);
    peer_hello(&operator, 0);
    for (int i = 0; i < 20; i++) {
        peer_open(&gone, *state);
        send_request(&gone, WIRE_REQ_ATTACH, "c", "");
        send_request(&gone, WIRE_REQ_LOCK, "c", "a");
        peer_reset(&gone);
    }
    /* A busy disk may take its time with what is in the log. */
    size_t left = SIZE_MAX;
    for (int i = 0; i < 600 && left != 0; i++) {
        fixture_run(*state, 50);
        peer_send(&operator, & list);
        left = peer_expect(&operator, WIRE_RESP_LIST_CLIENTS).list_clients.count;
    }

    assert_int_equal(left, 0);
    peer_close(&operator);
}

static void thousands_of_clients_of_one_connection_go_with_it(void **state)
{
    struct peer peer;
    struct peer operator;
    char name[16];
    struct wire_request status = {.type = WIRE_REQ_CLUSTER_STATUS};

    peer_open(&operator, * state);
    peer_hello(&operator, 0);
    peer_open(&peer, *state);
    for (int i = 0; i < 900; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        send_request(&peer, WIRE_REQ_LOCK, name, name);
    }
    for (int i = 0; i < 900; i++) {
        peer_expect(&peer, WIRE_RESP_GRANTED);
    }
    peer_send(&operator, & status);
    assert_int_equal(
        peer_expect(&operator, WIRE_RESP_CLUSTER_STATUS).cluster_status.clients, 900);

    peer_reset(&peer);

    uint64_t left = 900;
    for (int i = 0; i < 6000 && left != 0; i++) {
        fixture_run(*state, 10);
        peer_send(&operator, & status);
        left = peer_expect(&operator, WIRE_RESP_CLUSTER_STATUS).cluster_status.clients;
    }
    assert_int_equal(left, 0);
    peer_close(&operator);
}

/* A turn is as long as what one entry frees takes: so many claims, and those of one client more. */
static void many_claims_that_go_together_are_freed_by_several_entries(void **state)
{
    enum { CLIENTS = 4, LOCKS = 4000, AT_ONCE = 200 };
    struct peer peer, waiter;
    char client[16], name[32];

    peer_open(&peer, *state);
    for (int i = 0; i < CLIENTS * LOCKS; i++) {
        snprintf(client, sizeof(client), "c%d", i / LOCKS);
        snprintf(name, sizeof(name), "%s/%d", client, i % LOCKS);
        send_request(&peer, WIRE_REQ_LOCK, client, name);
        if (i % AT_ONCE == AT_ONCE - 1) {
            for (int k = 0; k < AT_ONCE; k++) {
                peer_expect(&peer, WIRE_RESP_GRANTED);
            }
        }
    }
    peer_open(&waiter, *state);
    peer_hello(&waiter, 0);
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof(name), "c%d/0", i);
        queue(&waiter, "", name);
    }

    peer_close(&peer);

    uint64_t first = peer_expect(&waiter, WIRE_RESP_GRANTED).position.index;
    uint64_t last = first;
    for (int i = 1; i < CLIENTS; i++) {
        last = peer_expect(&waiter, WIRE_RESP_GRANTED).position.index;
    }
    assert_true(first != last);
    peer_close(&waiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(attached_ids_name_the_default_client_first),
        TEST(default_clients_of_two_connections_differ),
        TEST(bad_client_id_ends_a_plain_connection),
        TEST(open_client_may_be_used_without_attaching),
        TEST(created_client_needs_its_secret),
        TEST(plain_created_client_has_no_secret),
        TEST(superseded_connection_can_no_longer_act),
        TEST(request_behind_an_attach_acts_under_its_epoch),
        TEST(closing_frees_holds_and_grants_the_next),
        TEST(closing_takes_the_waits_out_of_the_queue),
        TEST(hold_that_ignores_the_drop_stays),
        TEST(client_is_there_as_long_as_one_connection_is),
        TEST(news_of_a_hold_reach_the_newest_connection),
        TEST(detach_of_the_last_connection_frees_at_once),
        TEST(reset_without_a_grace_frees_at_once),
        TEST(reset_leaves_the_session_its_grace),
        TEST(reset_right_behind_bytes_is_no_orderly_close),
        TEST(client_that_comes_back_within_the_grace_loses_nothing),
        TEST(orderly_close_has_no_grace),
        TEST(silent_session_is_closed_and_then_has_its_grace),
        TEST(pings_keep_a_session_alive),
        TEST(client_whose_connection_dies_while_attaching_is_detached),
        TEST(thousands_of_clients_of_one_connection_go_with_it),
        TEST(many_claims_that_go_together_are_freed_by_several_entries),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
