/* What a lock costs: bytes and time per lock, with one hold each of one client.
 *
 *     fsm_memory [LOCKS]
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fsm.h"

static uint64_t mono_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void take_locks(struct fsm *fsm, uint64_t locks)
{
    struct fsm_command command = {.type = FSM_CMD_ATTACH, .client = {"client", 6}};
    char name[24];

    fsm_apply(fsm, &command, NULL);
    command.type = FSM_CMD_LOCK;
    command.lock_.limit = 1;
    command.lock_.wait_ms = FSM_UNLIMITED;
    command.lock_.hold_ms = 3600000;
    for (uint64_t i = 0; i < locks; i++) {
        command.time_ms = i / 1000;
        command.lock.data = name;
        command.lock.len = (size_t)snprintf(name, sizeof(name), "lock%06" PRIu64, i);
        fsm_apply(fsm, &command, NULL);
    }
}

static void count_record(void *arg, const struct fsm_record *record)
{
    (void)record;
    ++*(uint64_t *)arg;
}

static void print_pause(const char *what, uint64_t start_ns, uint64_t locks)
{
    double ms = (double)(mono_ns() - start_ns) / 1e6;

    printf("%s %.1f ms per 100 000 holds\n", what, ms / (double)locks * 1e5);
}

int main(int argc, char **argv)
{
    uint64_t locks = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t bytes = heap_bytes();
    uint64_t start_ns = mono_ns();
    uint64_t records = 0;
    struct fsm *fsm = fsm_new(1);

    take_locks(fsm, locks);
    printf("locks %" PRIu64 "\n", locks);
    printf("bytes per lock %.1f\n", (double)(heap_bytes() - bytes) / (double)locks);
    printf("grant %.0f ns\n", (double)(mono_ns() - start_ns) / (double)locks);

    start_ns = mono_ns();
    fsm_dump(fsm, count_record, &records);
    print_pause("dump", start_ns, locks);
    start_ns = mono_ns();
    fsm_hash(fsm);
    print_pause("hash", start_ns, locks);
    start_ns = mono_ns();
    fsm_apply(fsm,
              &(struct fsm_command){.type = FSM_CMD_LIST_LOCKS, .list = {.max = 100}},
              NULL);
    print_pause("list", start_ns, locks);
    start_ns = mono_ns();
    fsm_apply(fsm,
              &(struct fsm_command){.type = FSM_CMD_EPOCH,
                                    .epoch.settings.reattach_grace_ms = 10000},
              NULL);
    print_pause("epoch", start_ns, locks);
    fsm_free(fsm);
    return records > locks ? 0 : 1;
}
