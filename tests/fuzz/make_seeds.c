/* make_seeds DIR: writes DIR/entry and DIR/snapshot, what the fuzzers of the durable formats start
 * from: each kind of command in an entry, and tables that have met them. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include <raft.h>

#include "entry.h"
#include "random_command.h"
#include "feature_level.h"
#include "snapshot.h"

enum { SEED = 1, BATCHES = 40, BATCH_COMMANDS = 12, TABLES = 12, STEPS = 60, NAMES = 5 };

static void write_file(const char *directory,
                       const char *kind,
                       unsigned number,
                       const void *data,
                       size_t len)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s/seed-%02u", directory, kind, number);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
        err(1, "%s", path);
    }
}

static struct fsm_str pick(uint64_t *random, const char *names[static NAMES])
{
    const char *name = names[random_below(random, NAMES)];
    return (struct fsm_str){.data = name, .len = strlen(name)};
}

/* A command that meets others: few names, short times. */
static void some_command(uint64_t *random, struct random_command *ret)
{
    static const char *clients[] = {"a", "b", "c", "d", "e"};
    static const char *locks[] = {"k", "l", "m", "n", "o"};
    struct fsm_command *command = &ret->command;

    do {
        random_command(random, 3, ret);
    } while (command->type != FSM_CMD_LOCK && command->type != FSM_CMD_ATTACH &&
             random_below(random, 4) != 0);
    command->client = pick(random, clients);
    command->lock = pick(random, locks);
    if (command->type == FSM_CMD_LOCK) {
        command->client_epoch = UINT64_MAX;
        command->lock_.hold_ms = 1 + random_below(random, 300);
        command->lock_.wait_ms = 1 + random_below(random, 300);
        command->lock_.limit = command->lock.data[0] == 'o' ? 2 : 1;
        command->lock_.type = command->lock_.limit == 2 ? FSM_WRITE : command->lock_.type;
    } else if (command->type == FSM_CMD_ATTACH) {
        command->attach.has_epoch = false;
        command->attach.secret_digest.len = 0;
    } else if (command->type == FSM_CMD_EPOCH) {
        command->epoch.settings = (struct fsm_settings){50, 100, 100, 100, 100, 3};
    } else if (command->type == FSM_CMD_DETACH) {
        command->detach.attach_seq = 1 + random_below(random, 3);
    }
}

static void write_entries(const char *directory)
{
    uint64_t random = SEED;

    for (unsigned number = 0; number < BATCHES; number++) {
        struct entry_writer writer = {0};
        struct entry_header header = {
            .cluster_ms = 10 * number, .proposer = 1, .batch = 1};
        uint64_t commands = 1 + random_below(&random, BATCH_COMMANDS);
        uint8_t *data;
        size_t len;

        for (uint64_t i = 0; i < commands; i++) {
            struct random_command one;
            some_command(&random, &one);
            entry_writer_add(&writer, &one.command, 1 << 20);
        }
        entry_writer_close(&writer, &header, &data, &len);
        write_file(directory, "entry", number, data, len);
        entry_writer_release(&writer);
    }
}

static void write_snapshots(const char *directory)
{
    uint64_t random = SEED;

    for (unsigned number = 0; number < TABLES; number++) {
        struct fsm *fsm = fsm_new(1);
        uint64_t now_ms = 1;
        void *data;
        size_t len;

        for (unsigned i = 0; i < STEPS * number; i++) {
            struct random_command one;
            some_command(&random, &one);
            one.command.time_ms = now_ms += random_below(&random, 10);
            fsm_apply(fsm, &one.command, NULL);
        }
        snapshot_encode(fsm, number, FEATURE_LEVEL_FIRST, &data, &len);
        write_file(directory, "snapshot", number, data, len);
        raft_free(data);
        fsm_free(fsm);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        errx(64, "usage: make_seeds DIRECTORY");
    }
    write_entries(argv[1]);
    write_snapshots(argv[1]);
    return 0;
}
