/* log_bound.h - a bound for the bytes of the raft log, where libraft only counts entries.
 *
 * An entry holds up to REPLICA_BATCH_BYTES_MAX, so thousands of them are megabytes or gigabytes, all in
 * memory. When more than `bytes_max` were applied since the last snapshot another one is due, whatever
 * their number; and no more than about half of so many are kept behind it. A log of small entries is left
 * to the numbers that libraft was given.
 */
#ifndef NETLOCK_LOG_BOUND_H
#define NETLOCK_LOG_BOUND_H

#include <stddef.h>
#include <stdint.h>

struct raft;

struct log_bound {
    uint64_t bytes_max;           /* 0: none */
    unsigned threshold, trailing; /* that libraft was given for its snapshots */
    uint64_t bytes, entries;      /* applied since the last one */
};

/* An entry is being applied: from within raft_fsm's apply(). */
void log_bound_applied(struct log_bound *bound, struct raft *raft, size_t bytes);
/* The table is being copied: from within raft_fsm's snapshot(). */
void log_bound_snapshot(struct log_bound *bound, struct raft *raft);

#endif
