/* bench_core [HOLDS]: processor time of the leader's logic, without disk, network and loop.
 *
 * Prints one line per measurement. Numbers are for comparing builds on one machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "entry.h"
#include "feature_level.h"
#include "replica_cluster.h"
#include "snapshot.h"

enum {
    BATCHES = 2000,
    BATCH_COMMANDS = 256,
    HOLDS = 100000,
    STEP_RECORDS = 2048, /* a raft_node's */
};

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report(const char *what, double elapsed, double count)
{
    printf("%-28s %8.0f ns  %10.0f /s\n", what, elapsed / count * 1e9, count / elapsed);
}

static void bench_entry(void)
{
    struct fsm_command command = lock_command("client-0123456789abcdef0123456789abcdef",
                                              "jobs/nightly/import", 30000, 0);
    struct entry_header header = {
        .level = FEATURE_LEVEL_FIRST, .cluster_ms = 1u << 30, .proposer = 1, .batch = 1};
    double writing = 0;
    double reading = 0;

    for (unsigned i = 0; i < BATCHES; i++) {
        static struct entry_reader reader;
        struct entry_writer writer = {0};
        struct fsm_command back;
        const char *error;
        uint8_t *data;
        size_t len;
        double start = seconds();

        for (unsigned n = 0; n < BATCH_COMMANDS; n++) {
            entry_writer_add(&writer, &command, REPLICA_BATCH_BYTES_MAX);
        }
        entry_writer_close(&writer, &header, &data, &len);
        writing += seconds() - start;

        start = seconds();
        entry_reader_open(&reader, data, len);
        while (entry_reader_next(&reader, &back, &error)) {
        }
        reading += seconds() - start;
        entry_writer_release(&writer);
    }
    report("entry: encode a command", writing, (double)BATCHES * BATCH_COMMANDS);
    report("entry: decode a command", reading, (double)BATCHES * BATCH_COMMANDS);
}

/* Lock and release, as many waiting as fit one batch, committed at once. */
static void bench_replica(void)
{
    struct cluster *c = cluster_new(1);
    struct node *node = cluster_elect_with_client(c);
    struct fsm_command lock = lock_command("a", "jobs/nightly/import", 30000, 7);
    struct fsm_command release = {
        .type = FSM_CMD_RELEASE, .client = lock.client, .lock = lock.lock, .ref = 8};
    double start = seconds();

    for (unsigned i = 0; i < BATCHES; i++) {
        for (unsigned n = 0; n < BATCH_COMMANDS; n += 2) {
            must_propose(node, lock);
            must_propose(node, release);
        }
        cluster_settle(c);
        node->told_count = 0;
    }
    report("replica: propose to event", seconds() - start,
           (double)BATCHES * BATCH_COMMANDS);
    cluster_free(c);
}

static struct fsm *table_of_holds(unsigned holds, uint64_t hold_ms)
{
    struct fsm *fsm = fsm_new(1);

    for (unsigned i = 0; i < holds; i++) {
        char client[64];
        char name[64];
        snprintf(client, sizeof(client), "client-%032u", i / 10);
        snprintf(name, sizeof(name), "jobs/nightly/import-%06u", i);
        struct fsm_command attach = attach_command(client, 0);
        struct fsm_command lock = lock_command(client, name, hold_ms, 0);
        attach.time_ms = lock.time_ms = 1u << 30;
        fsm_apply(fsm, &attach, NULL);
        fsm_apply(fsm, &lock, NULL);
    }
    return fsm;
}

/* What a snapshot keeps the loop from at a time. */
static double longest_step(struct fsm *fsm)
{
    struct snapshot_writer *writer = snapshot_writer_new(fsm, 1, FEATURE_LEVEL_FIRST);
    double longest = 0;
    bool more = true;
    size_t len;
    void *data;

    while (more) {
        double start = seconds();
        more = snapshot_writer_step(writer, STEP_RECORDS);
        double step = seconds() - start;
        longest = step > longest ? step : longest;
    }
    snapshot_writer_finish(writer, &data, &len);
    raft_free(data);
    return longest;
}

static void bench_snapshot(unsigned holds)
{
    struct fsm *fsm = table_of_holds(holds, 30000000);
    struct fsm *copy;
    uint64_t index;
    void *data;
    size_t len;
    double start = seconds();

    snapshot_encode(fsm, 1, FEATURE_LEVEL_FIRST, &data, &len);
    double encoding = seconds() - start;
    start = seconds();
    if (snapshot_decode(data, len, 2, &copy, &index) != NULL) {
        abort();
    }
    double decoding = seconds() - start;
    printf("snapshot of %u holds: encode %.1f ms, decode %.1f ms, %.1f MB\n", holds,
           encoding * 1e3, decoding * 1e3, (double)len / 1e6);
    printf("  in steps of %d records: longest step %.2f ms\n", STEP_RECORDS,
           longest_step(fsm) * 1e3);
    raft_free(data);
    fsm_free(copy);
    fsm_free(fsm);
}

/* The entry of a new leader, who has no connections, while a snapshot is being encoded; then what it left for
 * later: the deadlines that it moved, when they would have come. */
static void bench_epoch(unsigned holds)
{
    struct fsm *fsm = table_of_holds(holds, 10000);
    struct fsm_dump *dump = fsm_dump_begin(fsm);
    struct fsm_command epoch = {
        .type = FSM_CMD_EPOCH,
        .time_ms = fsm_now_ms(fsm),
        .epoch = {.term = 2, .settings = {.reattach_grace_ms = 15000}},
    };
    struct fsm_command tick = {.type = FSM_CMD_TICK, .time_ms = epoch.time_ms + 10000};
    double start = seconds();

    fsm_apply(fsm, &epoch, NULL);
    double applying = seconds() - start;
    fsm_dump_end(dump);
    start = seconds();
    fsm_apply(fsm, &tick, NULL);
    printf("epoch during a dump of %u holds: %.1f ms, what it left for later %.1f ms\n",
           holds, applying * 1e3, (seconds() - start) * 1e3);
    fsm_free(fsm);
}

int main(int argc, char **argv)
{
    unsigned holds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : HOLDS;

    bench_entry();
    bench_replica();
    bench_snapshot(holds);
    bench_epoch(holds);
    return 0;
}
