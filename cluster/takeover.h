/* takeover.h - whether, and when, a member stands for election before its own timer says so: decisions
 * only. No clock, no randomness, no socket; the owner says what it sees and what the time is.
 *
 *     takeover_doubts()    a connection with @node has ended: is it worth asking whether it lives?
 *     takeover_begin()     it does not: its host refused a connection
 *     takeover_step()      again and again, when it asks for it: what to do now
 *
 * A voter grants nobody its vote while it knows of a leader. So each survivor, for itself, forgets the
 * dead leader (TAKEOVER_FORGET: the state of a member that has just been started) and then stands in a
 * time slot of its own (TAKEOVER_STAND: with a pre-vote, which needs a majority of the same opinion
 * and changes no term). A leader that is silent for one and a half election timeouts counts as dead as
 * well: libraft's members would wait between one and two of them, drawn at random, for the last of a majority,
 * and then for another tick.
 *
 * None of this can break what is agreed upon, which rests on terms, stored votes and the comparison of
 * logs; being wrong costs a change of leader at worst, and the limits below bound how often. Nothing may
 * rest on a follower's waiting for the election timeout: no lock decision does. */
#ifndef NETLOCK_TAKEOVER_H
#define NETLOCK_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TAKEOVER_FIRST_MS = 4, /* for the others to see the death, too */
    TAKEOVER_TRIES_MAX = 6,
    TAKEOVER_AGAIN_MS = 10000, /* not twice in so long against the same leader of a term */
    TAKEOVER_WINDOW_MS = 60000,
    TAKEOVER_PER_WINDOW_MAX = 10, /* reports of a death that are acted upon */
};

enum takeover_role {
    TAKEOVER_FOLLOWER,
    TAKEOVER_PRE_CANDIDATE,
    TAKEOVER_OTHER,
};

/* What the member sees of itself now. */
struct takeover_view {
    enum takeover_role role;
    uint64_t term;
    uint64_t leader;    /* 0: knows of none */
    bool settled;       /* nothing is being stored or installed */
    uint64_t silent_ms; /* since the leader was heard */
    const uint64_t *voters; /* node ids, in the same order on every member */
    size_t voters_count;
};

enum takeover_stage { TAKEOVER_IDLE, TAKEOVER_FORGETTING, TAKEOVER_STANDING };

struct takeover {
    uint64_t self;
    uint32_t election_ms;
    uint32_t slot_ms; /* longer than a round trip and the writing of a vote */

    /* Private. */
    enum takeover_stage stage;
    uint64_t leader, term; /* whose death it is about */
    uint64_t due_ms;
    uint64_t give_up_ms; /* FORGETTING: the disk took too long */
    unsigned tries;
    uint64_t acted_leader, acted_term; /* on the last report */
    uint64_t acted_ms[TAKEOVER_PER_WINDOW_MAX];
    unsigned acted_count;
};

enum takeover_action { TAKEOVER_NOTHING, TAKEOVER_FORGET, TAKEOVER_STAND };

void takeover_init(struct takeover *takeover,
                   uint64_t self,
                   uint32_t election_ms,
                   uint32_t slot_ms);

/* Whether a report of @node's death would be acted upon. */
bool takeover_doubts(const struct takeover *takeover,
                     const struct takeover_view *view,
                     uint64_t node,
                     uint64_t now_ms);

/* @node, the leader of @term, is dead. Returns whether that leads to anything. */
bool takeover_begin(struct takeover *takeover,
                    const struct takeover_view *view,
                    uint64_t node,
                    uint64_t term,
                    uint64_t now_ms);

/* To be called when *@ret_due_ms has come, and after takeover_begin(). */
enum takeover_action takeover_step(struct takeover *takeover,
                                   const struct takeover_view *view,
                                   uint64_t now_ms,
                                   uint64_t *ret_due_ms);

#endif
