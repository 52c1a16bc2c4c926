/* replica.h - the leader's logic: commands in, one raft entry at a time, events out.
 *
 * The replica sits between the lock table (raft-fsm) and libraft. It reads no clock and no
 * randomness and touches neither sockets nor files; raft_node (real loop, real disk) and the
 * simulator host the same code:
 *
 *     replica_init(&replica, &config, &host);
 *     raft_init(&raft, io, replica_raft_fsm(&replica), id, address);
 *     replica_set_raft(&replica, &raft);
 *     raft_start(&raft);
 *     every loop turn, before and after I/O:      replica_flush(&replica, mono_ms)
 *     when replica_deadline_ms() has come:        replica_flush(&replica, mono_ms)
 *     for each request, only while serving:       replica_propose(&replica, &command)
 *
 * Group commit. Proposed commands join the open batch; the batch becomes ONE raft entry as soon as
 * the previous entry has been applied here and its events have been told (one in flight: measured best, and
 * libraft has defects above that). Each entry carries the cluster time at which its batch was closed.
 *
 * Roles. libraft has no callback for a change of leadership: replica_flush() compares state and term
 * at every call. On becoming leader it proposes an epoch entry of its own and serves nothing until
 * that is applied. On losing leadership (also: term changed in between) it drops the open batch,
 * forgets what is in flight (outcome unknown) and what the host was not told yet, and tells the
 * host, which closes all clients.
 *
 * Time. While a deadline is pending in the lock table, the leader proposes a tick when it is due and
 * at least once per tick_interval_ms; none when nothing is pending.
 *
 * Levels. Entries and snapshots are written in the format of the cluster's feature level, which the owner
 * may offer to raise: feature_level.h.
 *
 * Agreement. Each entry carries the leader's state digest before it, and the index at which that was
 * taken; a replica whose own digest differs has diverged, one that has not come to that index has a
 * hole in its log: it says so through host.fatal and must stop.
 */
#ifndef NETLOCK_REPLICA_H
#define NETLOCK_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <raft.h>

#include "backup.h"
#include "fsm.h"
#include "leader_clock.h"

enum {
    /* Of one entry; libraft's segments take more, badly. */
    REPLICA_BATCH_BYTES_MAX = 1048576,
};

enum replica_role {
    REPLICA_FOLLOWER = 0, /* or candidate */
    REPLICA_ELECTED,      /* leader, epoch entry not yet applied */
    REPLICA_SERVING,
};

/* Where an event was decided: in which entry. */
struct replica_position {
    uint64_t index;
    uint64_t term;
    uint64_t cluster_ms; /* the table's time after the entry: never falls */
};

struct replica_config {
    uint64_t node_id;
    uint64_t hash_seed; /* for the lock table's hash; any value */
    struct fsm_settings settings;
    uint64_t tick_interval_ms; /* 1000 */
    size_t
        commands_waiting_max; /* in the open batches; above it replica_propose says -EBUSY */
    uint64_t log_bytes_max;                         /* see log_bound.h; 0: no bound */
    unsigned snapshot_threshold, snapshot_trailing; /* what libraft was given */
    /* Of a snapshot, in each replica_flush(), so that it does not stop the loop. Needs the guard: see
     * raft_guard_turn(). 0: all at once (of a raft_node: 2048). */
    size_t snapshot_step_records;
    /* Told in each replica_flush(): one entry may free a client of ten thousand holds and grant them all to others.
     * The next entry waits until all are. 0: all at once (of a raft_node: 2048). */
    size_t events_per_flush;
};

/* What the replica tells its owner. Called from replica_flush() only, never from inside libraft.
 * on_event may call replica_propose(), but not replica_flush(). */
struct replica_host {
    void *arg;
    void (*on_event)(void *arg,
                     const struct fsm_event *event,
                     const struct replica_position *at);
    void (*on_role)(void *arg, enum replica_role role, uint64_t term);
    /* The node must stop: diverged, or an entry or snapshot it cannot read. May be called from
     * inside libraft; must not return. */
    void (*fatal)(void *arg, const char *what);
    /* As fatal: what it cannot read is of a newer build. NULL: fatal says that, too. */
    void (*newer)(void *arg, const char *what);
};

struct replica;

struct replica *replica_new(const struct replica_config *config,
                            const struct replica_host *host);
void replica_free(struct replica *replica); /* after raft_close() has finished */

/* The callbacks to give to raft_init(). Owned by the replica. */
struct raft_fsm *replica_raft_fsm(struct replica *replica);
void replica_set_raft(struct replica *replica, struct raft *raft);

/* Add a command to the open batch. Strings are copied. Its `time_ms` is ignored; its `ref` comes
 * back in the event that answers it.
 * Returns 0; -ENOTCONN if this node does not serve; -EBUSY above commands_waiting_max;
 * -EMSGSIZE if no entry can carry it: too long, or a value that the lock table does not take. */
int replica_propose(struct replica *replica, const struct fsm_command *command);

/* Notice role changes, hand events to the host, close and submit the open batch, propose due ticks,
 * go on with a snapshot.
 * A batch that libraft refuses (disks full, leadership being transferred) is kept and tried again.
 * @mono_ms: steady time now, never falling. */
void replica_flush(struct replica *replica, uint64_t mono_ms);

/* Steady time at which replica_flush() must run again even if nothing else happens; UINT64_MAX:
 * never. */
uint64_t replica_deadline_ms(const struct replica *replica, uint64_t mono_ms);

/* What all members can read, see feature_level.h; asked of a leader. The cluster's level rises to it with
 * the next entry, and one is proposed for that. 0: not known. */
void replica_offer_level(struct replica *replica, uint32_t level);
/* Of the cluster, as far as this replica has applied the log. */
uint32_t replica_level(const struct replica *replica);

/* Stops as for an entry that it cannot read, if the bytes @data of one are of a newer build. For those
 * that were loaded at the start: they are applied only when a leader has said that they are committed. */
void replica_check_loaded(const struct replica *replica, const void *data, size_t len);

enum replica_role replica_role(const struct replica *replica);
const struct fsm *replica_table(const struct replica *replica);
uint64_t replica_applied_index(const struct replica *replica);
/* Cluster time as this replica reckons it: ahead of the table's by what has passed since the entry
 * that was applied last. 0: nothing was applied. For showing only. */
uint64_t replica_cluster_ms(const struct replica *replica, uint64_t mono_ms);

/* Whether the host has been told of all that was applied. */
bool replica_has_told(const struct replica *replica);

/* Whether it has been told of all after the next flush. */
bool replica_tells_rest(const struct replica *replica);

/* The table as the bytes of a backup, see backup_encode(). @origin->index must be that of the entry
 * applied last: from on_event, its position. */
void replica_backup(const struct replica *replica,
                    const struct backup_origin *origin,
                    uint8_t **ret_data,
                    size_t *ret_len);

/* The last checkpoint applied here (index 0: none): any two nodes with equal index must have an
 * equal hash. */
struct replica_checkpoint {
    uint64_t index;
    uint64_t hash;
};
struct replica_checkpoint replica_last_checkpoint(const struct replica *replica);

#endif
