/* check_raft.c - libraft from the inside, and what its messages promise against what is on the disks.
 *
 * All of Raft's safety is in a few numbers: at most one leader in a term, and it has all that was
 * committed; a term and a vote that never go back, on disk before anybody is told; a commit index that
 * never falls; an entry that is committed only when a majority of disks has it. And what a node refuses to
 * hear of another (peer_check.h, raft_guard_peer.h) is nothing that an honest one says. */
#include "check_internal.h"

#include <string.h>

#include "random.h"
#include "replica.h"
#include "server_internal.h"

enum {
    PROPOSALS = 4096,      /* remembered */
    MATCHING_EVERY = 1024, /* turns */
    MATCHING_ENTRIES = 64,
};

struct raft_at {
    uint32_t level; /* feature level of its table; outlives it */
    /* Of this life. */
    raft_index commit, last;
    raft_term term;
    bool leads;
    /* Of the disk. */
    raft_term disk_term;
    raft_id disk_vote;
    /* The voters that it knows, and those that it knows to be committed: a bit for each number. Outlives it. */
    unsigned voters, voters_committed;
};

struct proposal {
    uint64_t index, term, at_us;
};

static struct {
    struct raft_at nodes[SIM_NODES_MAX + 1];
    struct check_map leaders;     /* by term */
    struct check_map committed;   /* by term, of who applied it first: the last entry */
    struct check_map memberships; /* by the index of the change: its hash */
    struct proposal proposals[PROPOSALS];
    uint64_t turns;
} seen;

void check_raft_begin(void)
{
    check_raft_free();
}

void check_raft_free(void)
{
    check_map_free(&seen.leaders);
    check_map_free(&seen.committed);
    check_map_free(&seen.memberships);
    memset(&seen, 0, sizeof(seen));
}

void check_raft_life(struct sim_node *node)
{
    struct raft_at *at = &seen.nodes[node->number];

    *at = (struct raft_at){.level = at->level,
                           .disk_term = at->disk_term,
                           .disk_vote = at->disk_vote,
                           .voters = at->voters,
                           .voters_committed = at->voters_committed};
}

unsigned check_raft_leader(uint64_t term)
{
    return (unsigned)check_map_get(&seen.leaders, term);
}

static unsigned long long llu(uint64_t number)
{
    return (unsigned long long)number;
}

/* ---- elections ------------------------------------------------------------------------------- */

static void leads_in(const struct sim_node *node, uint64_t term)
{
    uint64_t *leader = check_map_at(&seen.leaders, term);

    if (*leader != 0 && *leader != node->number) {
        sim_violation("RAFT", "election safety: n%llu and n%u both lead in term %llu",
                      llu(*leader), node->number, llu(term));
    }
    *leader = node->number;
}

/* The last entry that was committed before @term began. A leader whose votes came late may lead in an
 * older term than another, and need not have what that one has committed. */
static uint64_t committed_before(uint64_t term)
{
    uint64_t last = 0;

    while (--term > 0) {
        uint64_t index = check_map_get(&seen.committed, term);
        last = index > last ? index : last;
    }
    return last;
}

static void look_at_role(const struct sim_node *node, struct raft_at *at, raft_index last)
{
    const struct raft *raft = node->raft;
    bool leads = raft->state == RAFT_LEADER;

    if (leads && (!at->leads || at->term != raft->current_term)) {
        uint64_t committed = committed_before(raft->current_term);
        leads_in(node, raft->current_term);
        if (last < committed) {
            sim_violation("RAFT",
                          "leader completeness: n%u leads in term %llu with a log up to "
                          "%llu, and entry %llu was committed before",
                          node->number, llu(raft->current_term), llu(last),
                          llu(committed));
        }
    } else if (leads && last < at->last) {
        sim_violation("RAFT",
                      "leader append-only: n%u leads and cuts its log from %llu to %llu",
                      node->number, llu(at->last), llu(last));
    }
    if (leads) {
        for (uint64_t index = at->last + 1; index <= last; index++) {
            seen.proposals[index % PROPOSALS] = (struct proposal){
                .index = index, .term = raft->current_term, .at_us = sim_now_us()};
        }
    }
    at->leads = leads;
    at->term = raft->current_term;
    at->last = last;
}

uint64_t check_raft_proposed_us(uint64_t index, uint64_t term)
{
    const struct proposal *proposal = &seen.proposals[index % PROPOSALS];

    return proposal->index == index && proposal->term == term && term != 0
               ? proposal->at_us
               : SIM_NEVER;
}

/* ---- disks ------------------------------------------------------------------------------------ */

static void look_at_disk(const struct sim_node *node,
                         struct raft_at *at,
                         const struct sim_disk_view *view)
{
    const struct raft *raft = node->raft;

    if (view->term < at->disk_term) {
        sim_violation("RAFT", "term, falls: n%u's disk goes from term %llu back to %llu",
                      node->number, llu(at->disk_term), llu(view->term));
    } else if (view->term == at->disk_term && at->disk_vote != 0 &&
               view->voted_for != at->disk_vote) {
        sim_violation("RAFT",
                      "one vote, second: n%u's disk has a vote for n%llu in term %llu, "
                      "and had one for n%llu",
                      node->number, llu(view->voted_for), llu(view->term),
                      llu(at->disk_vote));
    }
    if (raft->current_term > view->term) {
        sim_violation("RAFT", "term, not on disk: n%u is in term %llu, its disk in %llu",
                      node->number, llu(raft->current_term), llu(view->term));
    } else if (raft->current_term == view->term && raft->voted_for != 0 &&
               raft->voted_for != view->voted_for) {
        sim_violation("RAFT",
                      "one vote, not on disk: n%u voted for n%llu in term %llu, on its "
                      "disk is n%llu",
                      node->number, llu(raft->voted_for), llu(view->term),
                      llu(view->voted_for));
    }
    at->disk_term = view->term;
    at->disk_vote = view->voted_for;
}

static void
look_at_commit(const struct sim_node *node, struct raft_at *at, raft_index last)
{
    const struct raft *raft = node->raft;

    if (raft->commit_index < at->commit) {
        sim_violation("RAFT", "commit index, falls: n%u's falls from %llu to %llu",
                      node->number, llu(at->commit), llu(raft->commit_index));
    } else if (raft->commit_index > last || raft->last_applied > raft->commit_index) {
        sim_violation(
            "RAFT",
            "commit index, order: n%u has applied %llu, committed %llu and has %llu",
            node->number, llu(raft->last_applied), llu(raft->commit_index), llu(last));
    }
    at->commit = raft->commit_index;
}

/* ---- membership ------------------------------------------------------------------------------- */

static unsigned voters_of(const struct raft_configuration *configuration)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].role == RAFT_VOTER) {
            voters |= 1U << configuration->servers[i].id;
        }
    }
    return voters;
}

static uint64_t hash_of(const struct raft_configuration *configuration)
{
    uint64_t hash = configuration->n;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        hash = sim_mix(hash, server->id, (uint64_t)server->role);
    }
    return hash;
}

/* A change is the same for all, is committed where it is applied, and never leaves nobody. */
static void look_at_configuration(const struct sim_node *node, struct raft_at *at)
{
    const struct raft *raft = node->raft;

    at->voters = voters_of(&raft->configuration);
    at->voters_committed = voters_of(&raft->configuration_committed);
    if (raft->configuration.n != 0 && at->voters == 0) {
        sim_violation("RAFT", "membership, nobody: n%u knows no voter", node->number);
    }
    if (raft->configuration_uncommitted_index != 0 &&
        raft->configuration_uncommitted_index <= raft->last_applied) {
        sim_violation(
            "RAFT",
            "membership, not committed: n%u has applied entry %llu, and holds the "
            "change in entry %llu for uncommitted",
            node->number, llu(raft->last_applied),
            llu(raft->configuration_uncommitted_index));
    }
    if (raft->configuration_committed_index != 0) {
        uint64_t *known =
            check_map_at(&seen.memberships, raft->configuration_committed_index);
        uint64_t hash = hash_of(&raft->configuration_committed);
        if (*known != 0 && *known != hash) {
            sim_violation("RAFT",
                          "membership, another: n%u has other members as of entry %llu "
                          "than another node",
                          node->number, llu(raft->configuration_committed_index));
        }
        *known = hash;
    }
}

bool sim_check_is_member(const struct sim_node *node)
{
    const struct sim_node *leader = sim_leader();

    if (leader == NULL) {
        return node->number <= sim_nodes_options()->nodes;
    }
    for (unsigned i = 0; i < leader->raft->configuration.n; i++) {
        if (leader->raft->configuration.servers[i].id == node->number) {
            return true;
        }
    }
    return false;
}

static void look_at_memberships_at_end(void)
{
    const struct sim_node *leader = sim_leader();

    for (unsigned i = 1; leader != NULL && i <= sim_nodes_count(); i++) {
        const struct sim_node *node = sim_node(i);
        if (node->raft == NULL || !sim_check_is_member(node)) {
            continue;
        }
        if (node->raft->configuration_committed_index !=
                leader->raft->configuration_committed_index ||
            hash_of(&node->raft->configuration) !=
                hash_of(&leader->raft->configuration)) {
            sim_violation(
                "RAFT",
                "membership, the end: n%u ends with the members as of entry %llu, "
                "the leader n%u with those of %llu",
                node->number, llu(node->raft->configuration_committed_index),
                leader->number, llu(leader->raft->configuration_committed_index));
        }
    }
}

/* Two entries with the same index and term are the same, and so is all before them. */
static void look_at_matching(const struct sim_node *a, const struct sim_node *b)
{
    struct sim_disk_view view_a = sim_disk_view(a->disk);
    struct sim_disk_view view_b = sim_disk_view(b->disk);
    raft_index index =
        view_a.last_index < view_b.last_index ? view_a.last_index : view_b.last_index;
    bool matched = false;

    for (unsigned i = 0; i < MATCHING_ENTRIES && index > 0; i++, index--) {
        const struct raft_entry *of_a = sim_disk_entry(a->disk, index);
        const struct raft_entry *of_b = sim_disk_entry(b->disk, index);
        if (of_a == NULL || of_b == NULL) {
            return;
        }
        bool same = of_a->term == of_b->term;
        if ((matched && !same) ||
            (same && (of_a->type != of_b->type || of_a->buf.len != of_b->buf.len))) {
            sim_violation("RAFT",
                          "log matching: n%u and n%u differ in entry %llu (terms %llu "
                          "and %llu) and agree after it",
                          a->number, b->number, llu(index), llu(of_a->term),
                          llu(of_b->term));
            return;
        }
        matched = same;
    }
}

/* ---- feature levels ----------------------------------------------------------------------------- */

static uint32_t level_of(const struct sim_node *node)
{
    return node->server != NULL ? replica_level(server_replica(node->server)) : 0;
}

/* A cluster writes what all of its members can read: the level rises when the last one can. */
static void look_at_level(const struct sim_node *node, struct raft_at *at)
{
    const struct raft_configuration *members = &node->raft->configuration;
    uint32_t level = level_of(node);

    if (level <= at->level) {
        return;
    }
    at->level = level;
    for (unsigned i = 0; i < members->n; i++) {
        const struct sim_node *member = sim_node((unsigned)members->servers[i].id);
        if (sim_node_level(member) < level) {
            sim_violation(
                "LEVEL",
                "too early: n%u has feature level %u, and the build of n%u can %u",
                node->number, level, member->number, sim_node_level(member));
            return;
        }
    }
}

static void look_at_level_at_end(void)
{
    const struct sim_node *leader = sim_leader();
    bool all = leader != NULL && leader->server != NULL;

    for (unsigned i = 0; all && i < leader->raft->configuration.n; i++) {
        const struct sim_node *member =
            sim_node((unsigned)leader->raft->configuration.servers[i].id);
        all = sim_node_runs(member) && sim_node_level(member) == sim_newest_level;
    }
    if (all && level_of(leader) != sim_newest_level) {
        sim_violation("LEVEL",
                      "not risen: all can feature level %u, and n%u leads with %u",
                      sim_newest_level, leader->number, level_of(leader));
    }
}

void check_raft_turned(struct sim_node *node)
{
    struct raft_at *at = &seen.nodes[node->number];
    struct sim_disk_view view;
    raft_index last;

    if (node->raft == NULL) {
        return;
    }
    view = sim_disk_view(node->disk);
    last = raft_last_index(node->raft);
    look_at_disk(node, at, &view);
    look_at_role(node, at, last);
    look_at_commit(node, at, last);
    seen.turns++;
    look_at_configuration(node, at);
    look_at_level(node, at);
    if (seen.turns % MATCHING_EVERY == 0 && sim_nodes_count() > 1) {
        look_at_matching(node, sim_node(node->number % sim_nodes_count() + 1));
    }
}

/* ---- messages ---------------------------------------------------------------------------------- */

static void look_at_vote(const struct sim_node *node, const struct raft_message *message)
{
    const struct raft_request_vote_result *result = &message->request_vote_result;
    struct sim_disk_view view;

    if (!result->vote_granted || result->pre_vote) {
        return;
    }
    view = sim_disk_view(node->disk);
    if (view.term != result->term || view.voted_for != message->server_id) {
        sim_violation(
            "RAFT",
            "one vote, told: n%u votes for n%llu in term %llu; on its disk is n%llu in "
            "term %llu",
            node->number, llu(message->server_id), llu(result->term), llu(view.voted_for),
            llu(view.term));
    }
}

static void look_at_candidacy(const struct sim_node *node,
                              const struct raft_message *message)
{
    const struct raft_request_vote *request = &message->request_vote;
    struct sim_disk_view view;

    if (request->pre_vote) {
        return;
    }
    view = sim_disk_view(node->disk);
    if (view.term != request->term || view.voted_for != node->number) {
        sim_violation("RAFT",
                      "one vote, candidate: n%u wants to be elected in term %llu; on its "
                      "disk is n%llu "
                      "in term %llu",
                      node->number, llu(request->term), llu(view.voted_for),
                      llu(view.term));
    }
}

static void look_at_acknowledgement(const struct sim_node *node,
                                    const struct raft_message *message)
{
    const struct raft_append_entries_result *result = &message->append_entries_result;
    struct sim_disk_view view;
    raft_index durable;

    if (result->rejected != 0) {
        return;
    }
    view = sim_disk_view(node->disk);
    durable =
        view.last_index > view.snapshot_index ? view.last_index : view.snapshot_index;
    if (result->last_log_index > durable) {
        sim_violation(
            "P15",
            "durability, acknowledged: n%u acknowledges entry %llu, its disk has %llu",
            node->number, llu(result->last_log_index), llu(durable));
    }
}

void check_raft_sent(struct sim_node *node, const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        leads_in(node, message->append_entries.term);
        return;
    case RAFT_INSTALL_SNAPSHOT:
        leads_in(node, message->install_snapshot.term);
        return;
    case RAFT_APPEND_ENTRIES_RESULT:
        look_at_acknowledgement(node, message);
        return;
    case RAFT_REQUEST_VOTE:
        look_at_candidacy(node, message);
        return;
    case RAFT_REQUEST_VOTE_RESULT:
        look_at_vote(node, message);
        return;
    case RAFT_TIMEOUT_NOW:
        return;
    }
}

/* All peers here are honest. */
void check_raft_refused(const struct sim_node *node, uint64_t peer, const char *what)
{
    sim_violation("RAFT", "honest peers: n%u refuses a message of n%llu: %s",
                  node->number, llu(peer), what);
}

/* ---- committed ---------------------------------------------------------------------------------- */

/* Whether the nodes in @having are a majority of a set of voters that some node knows. Who applies an entry late
 * may know neither the voters by which it was committed nor those of now. */
static bool is_majority(unsigned having)
{
    bool known = false;

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        const struct raft_at *at = &seen.nodes[i];
        const unsigned sets[] = {at->voters, at->voters_committed};
        for (unsigned j = 0; j < 2; j++) {
            known = known || sets[j] != 0;
            if (sets[j] != 0 &&
                __builtin_popcount(sets[j] & having) > __builtin_popcount(sets[j]) / 2) {
                return true;
            }
        }
    }
    return !known && __builtin_popcount(having) > (int)sim_nodes_count() / 2;
}

uint64_t check_raft_committed(const struct sim_node *node, uint64_t index)
{
    unsigned count = sim_nodes_count();
    uint64_t terms[SIM_NODES_MAX + 1] = {0};
    unsigned snapshots = 0, most = 0;
    uint64_t term = 0;
    bool agreed = false;

    for (unsigned i = 1; i <= count; i++) {
        const struct raft_entry *entry = sim_disk_entry(sim_node(i)->disk, index);
        terms[i] = entry != NULL ? entry->term : 0;
        if (entry == NULL && sim_disk_view(sim_node(i)->disk).snapshot_index >= index) {
            snapshots |= 1U << i;
        }
    }
    for (unsigned i = 1; i <= count; i++) {
        unsigned having = snapshots;
        for (unsigned j = 1; j <= count; j++) {
            if (terms[j] != 0 && terms[j] == terms[i]) {
                having |= 1U << j;
            }
        }
        /* As many may have another entry there, and be voters of nothing. */
        bool agree = is_majority(having);
        if (agree > agreed ||
            (agree == agreed && __builtin_popcount(having) > __builtin_popcount(most))) {
            agreed = agree;
            most = having;
            term = terms[i];
        }
    }
    if (!agreed) {
        sim_violation("P15",
                      "durability, applied: n%u applies entry %llu, which %d disks have, "
                      "no majority",
                      node->number, llu(index), __builtin_popcount(most));
    }
    uint64_t *last = check_map_at(&seen.committed, node->raft->current_term);
    *last = index > *last ? index : *last;
    return term;
}

void check_raft_end(void)
{
    look_at_memberships_at_end();
    look_at_level_at_end();
    for (unsigned i = 1; i < sim_nodes_count(); i++) {
        look_at_matching(sim_node(i), sim_node(i + 1));
    }
}
