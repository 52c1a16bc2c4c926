/* check.h - what must hold at every step, and at the end. RELIABILITY's properties by their numbers.
 *
 * Checkers see three things: what users did and saw (history.h), what every node applied (node.h's
 * hooks), and the insides of libraft and of the disks. They compare; they never change anything. A
 * violation stops the run: sim_violation() prints what, and when.
 *
 *     check_log      the canonical log: who applies an entry first says what it is; every other node, and
 *                    every replay, must say the same, and a majority of disks must have it (P14, P15)
 *     check_model    the same commands in the naive model (P14)
 *     check_rules    what the events of the log add up to: who holds what, who waits where, by the rules
 *                    of queues, tokens and deadlines, worked out independently of the machine (P2-P11)
 *     check_users    every answer is one that the log has decided, and came when it could (P6, P7, P13,
 *                    P16-P18), and everything is answered in the end (P12)
 *     check_beliefs  no two users are entitled to the same lock at the same time (P1), and nobody is
 *                    entitled to what the cluster has taken from him (P8, P11)
 *     check_raft     terms, votes, leaders, commit indexes and logs of libraft, and what its messages
 *                    promise, against the disks (RAFT); and that the feature level rises when all can
 *                    (LEVEL)
 *
 * Time is exact. A hold begins, for the bounds that are about never being too early, when its entry was
 * proposed: the turn of the leader in which the log grew; the leader stamps it then. What clocks may be
 * wrong is rate_ppm_max; they are read in whole milliseconds, so each leadership may gain one.
 *
 * A user that is paused is not entitled to anything: it cannot act. It is again when it has had the turn
 * after which its library would have told it LOST; an overlap must outlast the instant it began in.
 * Beliefs count only while their owner counts its lease and allows for as much drift as there is
 * (sim_client_options.drift_ppm, at least twice rate_ppm_max); those of an id that is shared do not.
 *
 * How late something may be is checked only after sim_check_healed(). */
#ifndef NETLOCK_SIM_CHECK_H
#define NETLOCK_SIM_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* After sim_check_healed(): how long the cluster may be without a node that serves, and an operation
 * without an answer beyond its own timeouts; simulated time. */
enum { SIM_CHECK_ANSWER_S = 60 };

struct sim_check_options {
    uint32_t reattach_grace_ms, leader_lease_ms, tick_interval_ms;
    uint32_t rate_ppm_max; /* the largest clock error that the run will inject */
    bool model;            /* also compare every command with the naive model (slower) */
};

/* After sim_nodes_new() and sim_history_reset(), before anything runs: listens to the history, and sets
 * all of sim_node_hooks. */
void sim_check_begin(const struct sim_check_options *options);

/* The faults are over, the core of the cluster is whole: what must hold from now on. Again after more
 * faults, if need be. */
void sim_check_healed(void);
/* More faults come: the bounds on being late are off until the next sim_check_healed(). */
void sim_check_hurt(void);
struct sim_node;
/* Of the cluster that the leader knows; while there is none, every node that founded it. */
bool sim_check_is_member(const struct sim_node *node);
/* The last entry that any node has applied. */
uint64_t sim_check_applied(void);
/* All nodes are up, quiet, and have had time: they must be equal, and have all up to @index; all that was
 * asked is answered. */
void sim_check_end(uint64_t index);
void sim_check_free(void);

/* A property does not hold: @property is its number ("P1"), and @format begins with its name and the way in
 * which it is broken ("liveness, no answer: "), by which one failure is told from another. Stops the run; the
 * first one counts. */
__attribute__((format(printf, 2, 3))) void
sim_violation(const char *property, const char *format, ...);
/* The first violation as "P1: text", or NULL. */
const char *sim_first_violation(void);

struct sim_check_counts {
    uint64_t commands, entries, grants, expiries, drops, elections, snapshots_restored,
        operations, outcomes, lost_notices, comparisons;
};
struct sim_check_counts sim_check_counts(void);

#endif
