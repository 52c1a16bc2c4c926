/* raft_guard_peer.h - messages that are well-formed and cannot be true. Part of the guard, B13.
 *
 * libraft 0.22.1 takes it for certain that no peer contradicts what this node knows: that nobody leads its
 * term beside its leader, that what it knows to be committed stays, that a vote answers a question. Such a
 * message trips an assertion in a build that has them; in Debian's, entries are freed twice, a leader
 * listens to another, or committed entries are replaced. None comes from an honest peer. */
#ifndef NETLOCK_RAFT_GUARD_PEER_H
#define NETLOCK_RAFT_GUARD_PEER_H

#include <stdint.h>

#include <raft.h>

/* How much higher than the own a term may be: a node that was away for long, but no jump that uses up the
 * terms. */
#define RAFT_GUARD_TERM_JUMP_MAX (UINT64_C(1) << 32)

/* The last leader that was heard. Zero-initialise. */
struct raft_guard_peer {
    raft_term term;
    raft_id leader;
};

/* Returns NULL, and then *@known is up to date, or what @message contradicts, as the end of a sentence
 * "refused a message: ...". Asked once for each message, before libraft has it. */
const char *raft_guard_contradiction(struct raft_guard_peer *known,
                                     const struct raft *raft,
                                     const struct raft_message *message);

/* libraft's file of term and vote has no checksum. Returns NULL, or what is wrong with the term of a node that has
 * just loaded its log. */
const char *raft_guard_impossible_term(const struct raft *raft);

/* What libraft would have freed. */
void raft_guard_release(struct raft_message *message);

#endif
