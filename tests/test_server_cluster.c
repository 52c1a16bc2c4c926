/* Three servers in one process: what clients see when they talk to the wrong node, and
 * when the leader goes. */
#include "kept_port.h"
#include "server_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 3, PATIENCE_TURNS = 200 };

struct cluster {
    struct fixture nodes[NODES];
    uint16_t ports[NODES]; /* for clients */
    bool running[NODES];
};

static void start(struct cluster *cluster, int nodes, const char *reattach_grace)
{
    char members[NODES][96];
    char node_id[8];

    *cluster = (struct cluster){0};
    for (int i = 0; i < NODES; i++) {
        cluster->ports[i] = keep_port();
        snprintf(members[i], sizeof(members[i]), "%d 127.0.0.1:%d 127.0.0.1:%d", i + 1,
                 keep_port(), cluster->ports[i]);
    }
    for (int i = 0; i < nodes; i++) {
        snprintf(node_id, sizeof(node_id), "%d", i + 1);
        const char *const flags[] = {
            "--cluster", "c",        "--node-id",        node_id,        "--leader-lease",
            "300ms",     "--member", members[0],         "--member",     members[1],
            "--member",  members[2], "--reattach-grace", reattach_grace, NULL};
        fixture_start(&cluster->nodes[i], flags);
        cluster->running[i] = true;
    }
    for (int i = 0; i < nodes; i++) {
        cluster->nodes[i].next = &cluster->nodes[(i + 1) % nodes];
    }
}

static void stop_node(struct cluster *cluster, int node)
{
    fixture_stop(&cluster->nodes[node]);
    cluster->running[node] = false;
}

static void stop(struct cluster *cluster)
{
    for (int i = 0; i < NODES; i++) {
        if (cluster->running[i]) {
            stop_node(cluster, i);
        }
    }
}

static int find_leader(struct cluster *cluster)
{
    for (int turn = 0; turn < PATIENCE_TURNS; turn++) {
        for (int i = 0; i < NODES; i++) {
            if (cluster->running[i] && fixture_serves(&cluster->nodes[i])) {
                return i;
            }
            fixture_run(&cluster->nodes[i], cluster->running[i] ? 20 : 0);
        }
    }
    fail_msg("no leader");
    return -1;
}

static struct wire_request
lock_request(enum wire_mode mode, const char *key, const char *client, const char *lock)
{
    return (struct wire_request){
        .type = WIRE_REQ_LOCK,
        .key = str(key),
        .client = str(client),
        .lock = str(lock),
        .lock_ = {.limit = 1, .mode = mode},
    };
}

static void send_lock(struct peer *peer, const char *client, const char *lock)
{
    struct wire_request request = lock_request(WIRE_BREAK, "k", client, lock);

    peer_send(peer, &request);
}

static struct wire_response attach(struct peer *peer, const char *client, uint64_t epoch)
{
    struct wire_request request = {
        .type = WIRE_REQ_ATTACH,
        .client = str(client),
        .attach = {.has_epoch = true, .epoch = epoch, .supersede = true},
    };

    peer_send(peer, &request);
    return peer_expect(peer, WIRE_RESP_ATTACH);
}

/* ---- the wrong node ---- */

static void node_without_a_majority_sends_clients_away(void **state)
{
    struct cluster cluster;
    struct peer hello;
    struct peer plain;
    struct wire_request status = {.type = WIRE_REQ_CLUSTER_STATUS};
    char address[32];

    (void)state;
    start(&cluster, 1, "1s");
    peer_open(&hello, &cluster.nodes[0]);
    peer_open(&plain, &cluster.nodes[0]);
    struct wire_response greeting = peer_hello(&hello, 0);
    assert_false(greeting.hello.leader);
    assert_int_equal(greeting.hello.members_count, 3);
    snprintf(address, sizeof(address), "127.0.0.1:%d", cluster.ports[1]);
    assert_str(greeting.hello.members[1].client_address, address);
    send_lock(&hello, "", "a");
    send_lock(&plain, "", "a");

    struct wire_response error = peer_expect(&hello, WIRE_RESP_ERROR);
    assert_int_equal(error.error.code, WIRE_ERROR_NOT_LEADER);
    assert_in_range(error.error.retry_after_ms, 10, 50);
    assert_str(error.key, "k");
    peer_expect_end(&plain);
    peer_send(&hello, &status);
    assert_true(peer_expect(&hello, WIRE_RESP_CLUSTER_STATUS).cluster_status.role !=
                WIRE_ROLE_SERVING);
    peer_close(&hello);
    peer_close(&plain);
    stop(&cluster);
}

static void follower_names_the_leader(void **state)
{
    struct cluster cluster;
    struct peer hello;
    struct peer plain;
    char address[32];

    (void)state;
    start(&cluster, NODES, "1s");
    int leader = find_leader(&cluster);
    int follower = (leader + 1) % NODES;
    snprintf(address, sizeof(address), "127.0.0.1:%d", cluster.ports[leader]);
    peer_open(&hello, &cluster.nodes[follower]);
    peer_open(&plain, &cluster.nodes[follower]);
    struct wire_response greeting = peer_hello(&hello, 0);
    assert_false(greeting.hello.leader);
    assert_str(greeting.hello.leader_address, address);
    send_lock(&hello, "", "a");
    send_lock(&plain, "", "a");

    struct wire_response error = peer_expect(&hello, WIRE_RESP_ERROR);
    assert_int_equal(error.error.code, WIRE_ERROR_NOT_LEADER);
    assert_int_equal(error.error.leader_id, leader + 1);
    assert_str(error.error.leader_address, address);
    peer_expect_end(&plain);
    peer_close(&hello);
    peer_close(&plain);
    stop(&cluster);
}

/* ---- the leader goes ---- */

static void holds_and_waits_survive_the_leader(void **state)
{
    struct cluster cluster;
    struct peer holder;
    struct peer waiter;

    (void)state;
    start(&cluster, NODES, "10s");
    int leader = find_leader(&cluster);
    peer_open(&holder, &cluster.nodes[leader]);
    peer_open(&waiter, &cluster.nodes[leader]);
    peer_hello(&holder, 5000);
    peer_hello(&waiter, 5000);
    attach(&holder, "holder", 1);
    attach(&waiter, "waiter", 1);
    send_lock(&holder, "holder", "a");
    uint64_t token = peer_expect(&holder, WIRE_RESP_GRANTED).granted.token;
    struct wire_request wait = lock_request(WIRE_WAIT, "w", "waiter", "a");
    peer_send(&waiter, &wait);
    peer_expect(&waiter, WIRE_RESP_WAIT);

    stop_node(&cluster, leader);
    peer_expect_end(&holder);
    peer_expect_end(&waiter);
    peer_close(&holder);
    peer_close(&waiter);

    leader = find_leader(&cluster);
    peer_open(&holder, &cluster.nodes[leader]);
    peer_open(&waiter, &cluster.nodes[leader]);
    peer_hello(&holder, 5000);
    peer_hello(&waiter, 5000);
    struct wire_response attached = attach(&holder, "holder", 2);
    assert_int_equal(attached.attach.claims_count, 1);
    assert_int_equal(attached.attach.claims[0].token, token);
    attached = attach(&waiter, "waiter", 2);
    assert_int_equal(attached.attach.claims_count, 1);
    assert_true(attached.attach.claims[0].waiting);
    struct wire_request release = {
        .type = WIRE_REQ_RELEASE, .client = str("holder"), .lock = str("a")};
    peer_send(&holder, &release);

    struct wire_response granted = peer_expect(&waiter, WIRE_RESP_GRANTED);
    assert_str(granted.client, "waiter");
    assert_int_equal(granted.key.len, 0);
    assert_true(granted.granted.token > token);
    peer_close(&holder);
    peer_close(&waiter);
    stop(&cluster);
}

static void client_that_stays_away_loses_its_locks_after_the_grace(void **state)
{
    struct cluster cluster;
    struct peer holder;
    struct peer waiter;

    (void)state;
    start(&cluster, NODES, "1s");
    int leader = find_leader(&cluster);
    peer_open(&holder, &cluster.nodes[leader]);
    send_lock(&holder, "holder", "a");
    peer_expect(&holder, WIRE_RESP_GRANTED);
    stop_node(&cluster, leader);
    peer_close(&holder);

    leader = find_leader(&cluster);
    peer_open(&waiter, &cluster.nodes[leader]);
    struct wire_request wait = lock_request(WIRE_WAIT, "w", "waiter", "a");
    peer_send(&waiter, &wait);
    peer_expect(&waiter, WIRE_RESP_WAIT);

    assert_str(peer_expect(&waiter, WIRE_RESP_GRANTED).key, "w");
    peer_close(&waiter);
    stop(&cluster);
}

/* Nobody can know whether the request took effect, so nobody is told that it did not. */
static void leader_without_majority_closes_its_clients_unanswered(void **state)
{
    struct cluster cluster;
    struct peer plain;
    struct peer hello;

    (void)state;
    start(&cluster, NODES, "1s");
    int leader = find_leader(&cluster);
    peer_open(&plain, &cluster.nodes[leader]);
    peer_open(&hello, &cluster.nodes[leader]);
    peer_hello(&hello, 5000);
    send_lock(&plain, "", "a");
    peer_expect(&plain, WIRE_RESP_GRANTED);
    stop_node(&cluster, (leader + 1) % NODES);
    stop_node(&cluster, (leader + 2) % NODES);
    if (!fixture_serves(&cluster.nodes[leader])) {
        /* It has noticed while the last one was stopping. */
        peer_expect_end(&plain);
        peer_expect_end(&hello);
    } else {
        send_lock(&plain, "", "b");
        send_lock(&hello, "", "c");
        peer_expect_end(&plain);
        peer_expect_end(&hello);
    }
    assert_int_equal(plain.in_len, plain.in_taken);
    assert_int_equal(hello.in_len, hello.in_taken);
    peer_close(&plain);
    peer_close(&hello);

    peer_open(&hello, &cluster.nodes[leader]);
    assert_false(peer_hello(&hello, 0).hello.leader);
    peer_close(&hello);
    stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_without_a_majority_sends_clients_away),
        cmocka_unit_test(follower_names_the_leader),
        cmocka_unit_test(holds_and_waits_survive_the_leader),
        cmocka_unit_test(client_that_stays_away_loses_its_locks_after_the_grace),
        cmocka_unit_test(leader_without_majority_closes_its_clients_unanswered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
