#include "raft_guard_peer.h"

#include <stdbool.h>
#include <stddef.h>

/* ---- what this node knows ------------------------------------------------------------------- */

/* The log's terms are kept as the last index of each, oldest first, in a ring. */
static unsigned trail_count(const struct raft_trail *trail)
{
    return trail->front <= trail->back ? trail->back - trail->front
                                       : trail->size - trail->front + trail->back;
}

static unsigned trail_slot(const struct raft_trail *trail, unsigned i)
{
    return (trail->front + i) % trail->size;
}

/* 0: not known, or not in the log. */
static raft_term term_of(const struct raft_trail *trail, raft_index index)
{
    raft_term term = 0;

    if (index == trail->snapshot.index) {
        return trail->snapshot.term;
    }
    if (index <= trail->offset) {
        return 0;
    }
    for (unsigned i = trail_count(trail); i > 0; i--) {
        unsigned slot = trail_slot(trail, i - 1);
        if (trail->records[slot].index < index) {
            break;
        }
        term = trail->records[slot].term;
    }
    return term;
}

static raft_index last_index(const struct raft_trail *trail)
{
    unsigned count = trail_count(trail);

    return count > 0 ? trail->records[trail_slot(trail, count - 1)].index
                     : trail->snapshot.index;
}

const char *raft_guard_impossible_term(const struct raft *raft)
{
    raft_term last = term_of(&raft->trail, last_index(&raft->trail));

    if (raft->current_term < last) {
        return "its term is older than the last entry's: the vote of a later one is "
               "forgotten";
    }
    return raft->current_term - last > RAFT_GUARD_TERM_JUMP_MAX
               ? "no cluster has come to its term"
               : NULL;
}

/* Whether an entry of that term at @index cannot be: another one there is committed. */
static bool
is_committed_otherwise(const struct raft *raft, raft_index index, raft_term term)
{
    if (index == 0 || index > raft->commit_index) {
        return false;
    }
    raft_term own = term_of(&raft->trail, index);
    return own != 0 && own != term;
}

/* ---- messages ------------------------------------------------------------------------------- */

/* @id says that it leads @term. */
static const char *leader_check(struct raft_guard_peer *known,
                                const struct raft *raft,
                                raft_id id,
                                raft_term term)
{
    if (term < raft->current_term) {
        return NULL; /* of former times; libraft tells it the term */
    }
    if ((term == raft->current_term && raft->state == RAFT_LEADER) ||
        (term == known->term && id != known->leader)) {
        return "it leads a term that has another leader";
    }
    return NULL;
}

static const char *append_check(struct raft_guard_peer *known,
                                const struct raft *raft,
                                raft_id id,
                                const struct raft_append_entries *append)
{
    const char *wrong = leader_check(known, raft, id, append->term);

    if (wrong != NULL || append->term < raft->current_term) {
        return wrong;
    }
    if (is_committed_otherwise(raft, append->prev_log_index, append->prev_log_term)) {
        return "its log is not the one that is committed here";
    }
    for (unsigned i = 0; i < append->n_entries; i++) {
        raft_index index = append->prev_log_index + 1 + i;
        if (index > raft->commit_index) {
            break;
        }
        if (is_committed_otherwise(raft, index, append->entries[i].term)) {
            return "it replaces an entry that is committed here";
        }
    }
    return NULL;
}

static const char *install_check(struct raft_guard_peer *known,
                                 const struct raft *raft,
                                 raft_id id,
                                 const struct raft_install_snapshot *install)
{
    const char *wrong = leader_check(known, raft, id, install->term);

    if (wrong != NULL || install->term < raft->current_term) {
        return wrong;
    }
    return is_committed_otherwise(raft, install->last_index, install->last_term)
               ? "its snapshot is not of the log that is committed here"
               : NULL;
}

/* A vote is for the term that was asked for, which is ours, or in a pre-vote the next. */
static const char *vote_result_check(const struct raft *raft,
                                     const struct raft_request_vote_result *result)
{
    return result->vote_granted && result->term > raft->current_term + result->pre_vote
               ? "it votes in a term that nobody asked for"
               : NULL;
}

/* A leader's own followers have what it sent them. */
static const char *append_result_check(const struct raft *raft,
                                       const struct raft_append_entries_result *result)
{
    return raft->state == RAFT_LEADER && result->term == raft->current_term &&
                   result->rejected == 0 &&
                   result->last_log_index > last_index(&raft->trail)
               ? "it acknowledges entries that nobody sent"
               : NULL;
}

static raft_term term_of_message(const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return message->append_entries.term;
    case RAFT_APPEND_ENTRIES_RESULT:
        return message->append_entries_result.term;
    case RAFT_REQUEST_VOTE:
        return message->request_vote.term;
    case RAFT_REQUEST_VOTE_RESULT:
        return message->request_vote_result.term;
    case RAFT_INSTALL_SNAPSHOT:
        return message->install_snapshot.term;
    case RAFT_TIMEOUT_NOW:
        return message->timeout_now.term;
    default:
        return 0;
    }
}

static const char *check(struct raft_guard_peer *known,
                         const struct raft *raft,
                         const struct raft_message *message)
{
    raft_id id = message->server_id;

    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return append_check(known, raft, id, &message->append_entries);
    case RAFT_INSTALL_SNAPSHOT:
        return install_check(known, raft, id, &message->install_snapshot);
    case RAFT_REQUEST_VOTE_RESULT:
        return vote_result_check(raft, &message->request_vote_result);
    case RAFT_APPEND_ENTRIES_RESULT:
        return append_result_check(raft, &message->append_entries_result);
    default:
        return NULL;
    }
}

const char *raft_guard_contradiction(struct raft_guard_peer *known,
                                     const struct raft *raft,
                                     const struct raft_message *message)
{
    raft_term term = term_of_message(message);

    if (term > raft->current_term &&
        term - raft->current_term > RAFT_GUARD_TERM_JUMP_MAX) {
        return "its term is far above this node's";
    }
    const char *wrong = check(known, raft, message);
    if (wrong == NULL && term >= raft->current_term &&
        (message->type == RAFT_APPEND_ENTRIES ||
         message->type == RAFT_INSTALL_SNAPSHOT)) {
        *known = (struct raft_guard_peer){.term = term, .leader = message->server_id};
    }
    return wrong;
}

void raft_guard_release(struct raft_message *message)
{
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
    } else if (message->type == RAFT_APPEND_ENTRIES &&
               message->append_entries.n_entries > 0) {
        raft_free(message->append_entries.entries[0].batch);
        raft_free(message->append_entries.entries);
    }
}
