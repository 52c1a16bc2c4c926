/* leader_clock.h - cluster time: what the leader stamps on entries. Pure arithmetic.
 *
 * cluster time = last applied cluster time + steady time that passed since it was applied here.
 * It stands still while there is no leader, never runs backwards and never reads a wall clock; the
 * steady clock (CLOCK_BOOTTIME family, mono_ms) comes in as an argument.
 *
 * A node that has applied nothing since it started knows no cluster time, and stamps 0: entries of the log
 * that are applied before it have later times, which count (the state machine never goes back). Its
 * steady time alone would be its machine's uptime, and could be past every deadline.
 *
 * A follower notes every applied entry too, so that a new leader counts the steady time since it
 * applied the last one: a failover makes no deadline early, and late by at most the election. It must have
 * applied all of its log before it stamps anything: a leader in between may have been behind it. */
#ifndef NETLOCK_LEADER_CLOCK_H
#define NETLOCK_LEADER_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct leader_clock {
    bool known;               /* something has been applied */
    uint64_t applied_ms;      /* cluster time of the newest applied entry */
    uint64_t applied_mono_ms; /* steady time when it was applied here */
};

/* Cluster time was (at least) @cluster_ms at steady time @mono_ms. A cluster time that is not newer
 * than the one known changes nothing.
 *
 * On a follower: the entry's time and a steady time at or after its apply (an earlier one would make
 * the clock run ahead). On the leader, for its own entries: the steady time at which it stamped
 * them; with the time of apply the clock would lose every commit's latency and stand still under
 * load. */
void leader_clock_applied(struct leader_clock *clock,
                          uint64_t cluster_ms,
                          uint64_t mono_ms);

/* Cluster time to stamp at steady time @mono_ms; 0 as long as nothing has been applied. */
uint64_t leader_clock_now(const struct leader_clock *clock, uint64_t mono_ms);

/* How long from @mono_ms until cluster time reaches @cluster_ms: 0 if it has. Before anything has been
 * applied: if it began now. */
uint64_t leader_clock_until(const struct leader_clock *clock,
                            uint64_t cluster_ms,
                            uint64_t mono_ms);

#endif
