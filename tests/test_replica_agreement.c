/* Replicas that differ, and bytes that cannot be read, stop the node and say why. */
#include "replica_cluster.h"

#include <string.h>

#include "entry.h"
#include "feature_level.h"
#include "snapshot.h"

enum { NODES = 3 };

/* Put @command in the place of the entry's commands, with a valid checksum. */
static void replace_commands(struct raft_buffer *buf, const struct fsm_command *command)
{
    struct entry_reader reader;
    struct entry_writer writer = {0};
    uint8_t *data;
    size_t len;

    assert_null(entry_reader_open(&reader, buf->base, buf->len));
    assert_int_equal(entry_writer_add(&writer, command, REPLICA_BATCH_BYTES_MAX), 0);
    entry_writer_close(&writer, &reader.header, &data, &len);
    assert_true(len <= buf->len);
    memset(buf->base, 0, buf->len);
    memcpy(buf->base, data, len);
    buf->len = len;
    entry_writer_release(&writer);
}

static void plant_another_lock(void *arg, raft_id to, struct raft_message *message)
{
    struct fsm_command command = lock_command("a", "Another", FSM_UNLIMITED, 0);

    (void)arg;
    if (to == 2 && message->type == RAFT_APPEND_ENTRIES &&
        message->append_entries.n_entries == 1 &&
        message->append_entries.entries[0].type == RAFT_COMMAND) {
        replace_commands(&message->append_entries.entries[0].buf, &command);
    }
}

/* As if entries before it were missing here. */
static void plant_hole(void *arg, raft_id to, struct raft_message *message)
{
    struct entry_reader reader;
    struct entry_writer writer = {0};
    struct fsm_command command;
    const char *error;
    uint8_t *data;
    size_t len;

    (void)arg;
    if (to != 2 || message->type != RAFT_APPEND_ENTRIES ||
        message->append_entries.n_entries != 1 ||
        message->append_entries.entries[0].type != RAFT_COMMAND) {
        return;
    }
    struct raft_buffer *buf = &message->append_entries.entries[0].buf;
    assert_null(entry_reader_open(&reader, buf->base, buf->len));
    while (entry_reader_next(&reader, &command, &error)) {
        assert_int_equal(entry_writer_add(&writer, &command, REPLICA_BATCH_BYTES_MAX), 0);
    }
    reader.header.prior_index++;
    entry_writer_close(&writer, &reader.header, &data, &len);
    assert_int_equal(len, buf->len);
    memcpy(buf->base, data, len);
    entry_writer_release(&writer);
}

static void plant_damage(void *arg, raft_id to, struct raft_message *message)
{
    (void)arg;
    if (to == 2 && message->type == RAFT_APPEND_ENTRIES &&
        message->append_entries.n_entries == 1 &&
        message->append_entries.entries[0].type == RAFT_COMMAND) {
        uint8_t *data = message->append_entries.entries[0].buf.base;
        data[ENTRY_FRAME_BYTES + 3] ^= 0x10;
    }
}

static void plant_snapshot_damage(void *arg, raft_id to, struct raft_message *message)
{
    (void)arg;
    (void)to;
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        uint8_t *data = message->install_snapshot.data.base;
        data[message->install_snapshot.data.len / 2] ^= 0x10;
    }
}

/* Another table, with nothing wrong about its bytes. */
static void plant_another_snapshot(void *arg, raft_id to, struct raft_message *message)
{
    struct raft_buffer *buf = &message->install_snapshot.data;
    struct fsm_command command = lock_command("c1", "Another", FSM_UNLIMITED, 0);
    uint64_t commands_index;
    struct fsm *fsm;

    (void)arg;
    (void)to;
    if (message->type != RAFT_INSTALL_SNAPSHOT) {
        return;
    }
    assert_null(snapshot_decode(buf->base, buf->len, 1, &fsm, &commands_index));
    fsm_apply(fsm, &command, NULL);
    raft_free(buf->base);
    snapshot_encode(fsm, commands_index, FEATURE_LEVEL_FIRST, &buf->base, &buf->len);
    fsm_free(fsm);
}

/* Node 2 must not lead, or what is planted comes too late. */
static struct node *elect_another(struct cluster *c)
{
    struct node *leader;

    node_isolate(&c->nodes[2], true);
    leader = cluster_elect_with_client(c);
    node_isolate(&c->nodes[2], false);
    cluster_run(c, 4 * ELECTION_MS);
    assert_ptr_equal(cluster_elect(c), leader);
    return leader;
}

static void diverge(struct cluster *c)
{
    struct node *leader = elect_another(c);

    c->net.on_message = plant_another_lock;
    must_propose(leader, lock_command("a", "Longer-name", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    c->net.on_message = NULL;
    must_propose(leader, lock_command("a", "M", FSM_UNLIMITED, 11));
    cluster_run(c, 2 * HEARTBEAT_MS);
}

static void receive_with_a_hole(struct cluster *c)
{
    struct node *leader = elect_another(c);

    c->net.on_message = plant_hole;
    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    c->net.on_message = NULL;
    must_propose(leader, lock_command("a", "M", FSM_UNLIMITED, 11));
    cluster_run(c, 2 * HEARTBEAT_MS);
}

static void receive_damage(struct cluster *c)
{
    struct node *leader = elect_another(c);

    c->net.on_message = plant_damage;
    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
}

/* One node falls so far behind that it needs a snapshot, then all go on. */
static void make_install_snapshot(struct cluster *c)
{
    struct node *leader = cluster_elect_with_client(c);
    struct node *lagging = cluster_other(c, leader);

    cluster_set_snapshots(c, 20, 5);
    node_isolate(lagging, true);
    cluster_run(c, 2 * ELECTION_MS);
    cluster_fill(c, 60);
    node_isolate(lagging, false);
    cluster_run(c, 10 * ELECTION_MS);
    cluster_fill(c, 5);
    cluster_run(c, 2 * HEARTBEAT_MS);
}

static void receive_damaged_snapshot(struct cluster *c)
{
    c->net.on_message = plant_snapshot_damage;
    make_install_snapshot(c);
}

static void receive_another_snapshot(struct cluster *c)
{
    c->net.on_message = plant_another_snapshot;
    make_install_snapshot(c);
}

static void start_on_a_newer_log(struct cluster *c)
{
    struct node *leader = cluster_elect_with_client(c);
    uint8_t *data;

    must_propose(leader, lock_command("a", "L", FSM_UNLIMITED, 10));
    cluster_run(c, 2 * HEARTBEAT_MS);
    data = mem_disk_entry(&leader->disk, raft_last_applied(&leader->raft))->buf.base;
    data[4]++; /* the version of the frame */
    cluster_restart(c);
    cluster_elect(c);
    cluster_run(c, ELECTION_MS);
}

static void checkpoints_are_equal_on_every_node(void **state)
{
    struct cluster *c = cluster_new(NODES);

    (void)state;
    cluster_fill(c, 10);
    must_propose(cluster_elect(c), checkpoint_command(10));
    cluster_run(c, 2 * HEARTBEAT_MS);

    for (unsigned id = 2; id <= NODES; id++) {
        struct replica_checkpoint first = replica_last_checkpoint(c->nodes[1].replica);
        struct replica_checkpoint own = replica_last_checkpoint(c->nodes[id].replica);
        assert_true(own.index > 0);
        assert_int_equal(own.index, first.index);
        assert_true(own.hash == first.hash);
    }
    cluster_free(c);
}

static void a_diverged_replica_is_noticed(void **state)
{
    (void)state;
    assert_fatal(diverge, NODES, "this node has diverged");
}

static void a_hole_in_the_log_is_noticed(void **state)
{
    (void)state;
    assert_fatal(receive_with_a_hole, NODES, "log has a hole");
}

static void a_damaged_entry_stops_the_node_and_says_why(void **state)
{
    (void)state;
    assert_fatal(receive_damage, NODES, "cannot be read: it is damaged (checksum)");
}

static void a_damaged_snapshot_stops_the_node_and_says_why(void **state)
{
    (void)state;
    assert_fatal(receive_damaged_snapshot, NODES,
                 "a snapshot cannot be read: it is damaged (checksum)");
}

static void a_snapshot_of_another_table_is_noticed(void **state)
{
    (void)state;
    assert_fatal(receive_another_snapshot, NODES, "this node has diverged");
}

static void an_entry_of_a_newer_version_stops_the_node_and_says_why(void **state)
{
    (void)state;
    assert_fatal(start_on_a_newer_log, NODES,
                 "cannot be read: it comes from a newer version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_are_equal_on_every_node),
        cmocka_unit_test(a_diverged_replica_is_noticed),
        cmocka_unit_test(a_hole_in_the_log_is_noticed),
        cmocka_unit_test(a_damaged_entry_stops_the_node_and_says_why),
        cmocka_unit_test(a_damaged_snapshot_stops_the_node_and_says_why),
        cmocka_unit_test(a_snapshot_of_another_table_is_noticed),
        cmocka_unit_test(an_entry_of_a_newer_version_stops_the_node_and_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
