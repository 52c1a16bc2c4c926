#include "log_bound.h"

#include <raft.h>

void log_bound_applied(struct log_bound *bound, struct raft *raft, size_t bytes)
{
    if (bound->bytes_max == 0) {
        return;
    }
    bound->bytes += bytes;
    bound->entries++;
    if (bound->bytes > bound->bytes_max) {
        raft_set_snapshot_threshold(raft, 1);
    }
}

/* As many as make up half of the bytes, if they are as large as lately. */
static unsigned trailing_now(const struct log_bound *bound)
{
    uint64_t entries;

    if (bound->bytes == 0) {
        return bound->trailing;
    }
    entries = bound->bytes_max / 2 * bound->entries / bound->bytes;
    if (entries >= bound->trailing) {
        return bound->trailing;
    }
    return entries > 0 ? (unsigned)entries : 1;
}

void log_bound_snapshot(struct log_bound *bound, struct raft *raft)
{
    if (bound->bytes_max == 0) {
        return;
    }
    raft_set_snapshot_threshold(raft, bound->threshold);
    raft_set_snapshot_trailing(raft, trailing_now(bound));
    bound->bytes = 0;
    bound->entries = 0;
}
