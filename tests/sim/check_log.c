/* check_log.c - the canonical log: what every replica must make of every entry.
 *
 * Kept for the whole run: the state digest after every command (8 bytes), how many commands came before
 * each entry (4 bytes), and now and then a hash of the whole table. The digest runs over all commands and
 * events, so one comparison says that a node has applied the same commands in the same order and
 * told the same; a node that starts again goes through the same entries again. */
#include "check_internal.h"

#include <string.h>

enum {
    /* How often the whole table is hashed: in entries, by how many records it has. */
    HASH_OFTEN = 16,
    HASH_SOMETIMES = 64,
    HASH_SELDOM = 1024,
    RECORDS_FEW = 256,
    RECORDS_MANY = 2048,
};

struct log_node {
    const struct fsm *fsm; /* of the running process; NULL: nothing was applied yet */
    uint64_t index;        /* of the last entry applied, or of the snapshot */
    uint32_t position;     /* of the last command in it, from 0 */
};

static struct {
    struct check_array digests; /* uint64_t, per command */
    struct check_array starts;  /* uint32_t, by index: commands before the entry */
    struct check_array hashes;  /* uint64_t, by index / HASH_OFTEN; 0: none */
    uint64_t last;
    struct log_node nodes[SIM_NODES_MAX + 1];
} canon = {
    .digests = {.size = sizeof(uint64_t)},
    .starts = {.size = sizeof(uint32_t)},
    .hashes = {.size = sizeof(uint64_t)},
};

void check_log_begin(void)
{
    check_log_free();
    check_array_grow(&canon.starts, 1);
}

void check_log_free(void)
{
    check_array_free(&canon.digests);
    check_array_free(&canon.starts);
    check_array_free(&canon.hashes);
    canon.last = 0;
    memset(canon.nodes, 0, sizeof(canon.nodes));
}

void check_log_life(struct sim_node *node)
{
    canon.nodes[node->number] = (struct log_node){0};
}

uint64_t check_log_last(void)
{
    return canon.last;
}

/* How many commands the entries before @index have. */
static uint64_t commands_before(uint64_t index)
{
    return index <= canon.last ? *(uint32_t *)check_array_at(&canon.starts, index)
                               : canon.digests.count;
}

static uint64_t digest_at(uint64_t command)
{
    return *(uint64_t *)check_array_at(&canon.digests, command);
}

bool check_log_has(uint64_t index)
{
    return index > 0 && index <= canon.last &&
           commands_before(index + 1) > commands_before(index);
}

/* ---- the whole table ------------------------------------------------------------------- */

static uint64_t records_of(const struct fsm *fsm)
{
    struct fsm_counts counts = fsm_counts(fsm);

    return counts.clients + counts.locks + counts.holds + counts.waits;
}

static unsigned hash_step(uint64_t records)
{
    if (records < RECORDS_FEW) {
        return HASH_OFTEN;
    }
    return records < RECORDS_MANY ? HASH_SOMETIMES : HASH_SELDOM;
}

/* After the first command of an entry: by index alone, so that all nodes do it at the same ones. */
static void compare_hash(const struct sim_node *node,
                         uint64_t index,
                         const struct fsm *fsm,
                         bool first)
{
    uint64_t *canonical;
    uint64_t hash;

    if (index % HASH_OFTEN != 0 || index % hash_step(records_of(fsm)) != 0) {
        return;
    }
    check_array_grow(&canon.hashes, index / HASH_OFTEN + 1);
    canonical = check_array_at(&canon.hashes, index / HASH_OFTEN);
    hash = fsm_hash(fsm);
    if (first) {
        fsm_check(fsm);
    }
    if (*canonical == 0) {
        *canonical = hash;
    } else if (*canonical != hash) {
        sim_violation(
            "P14",
            "deterministic replicas, hash: at entry %llu the table of n%u hashes to "
            "%016llx, another node's to %016llx, though they have applied the same",
            (unsigned long long)index, node->number, (unsigned long long)hash,
            (unsigned long long)*canonical);
    }
}

/* ---- one command ----------------------------------------------------------------------- */

static void apply_first(struct sim_node *node,
                        uint64_t index,
                        const struct fsm *fsm,
                        const struct fsm_command *command,
                        const struct fsm_event *events,
                        size_t count)
{
    static uint64_t proposed_us; /* of the entry; the next command may be of the same */

    if (index > canon.last) {
        check_array_grow(&canon.starts, index + 1);
        while (canon.last < index) {
            *(uint32_t *)check_array_at(&canon.starts, ++canon.last) =
                (uint32_t)canon.digests.count;
        }
        check_run.counts.entries++;
        proposed_us = check_raft_proposed_us(index, check_raft_committed(node, index));
    }
    *(uint64_t *)check_array_push(&canon.digests) = fsm_digest(fsm);
    check_run.counts.commands++;
    check_model_applied(index, fsm, command, events, count);
    check_rules_applied(index, proposed_us, fsm, command, events, count);
}

static void compare(const struct sim_node *node,
                    uint64_t index,
                    uint64_t number,
                    const struct fsm *fsm)
{
    if (number >= commands_before(index + 1)) {
        sim_violation("P14",
                      "deterministic replicas, commands: n%u applies more commands of "
                      "entry %llu than another node, which went on to the next",
                      node->number, (unsigned long long)index);
    } else if (fsm_digest(fsm) != digest_at(number)) {
        sim_violation("P14",
                      "deterministic replicas, digest: after command %llu of entry %llu "
                      "n%u has the digest %016llx, another node %016llx",
                      (unsigned long long)(number - commands_before(index) + 1),
                      (unsigned long long)index, node->number,
                      (unsigned long long)fsm_digest(fsm),
                      (unsigned long long)digest_at(number));
    }
}

void check_log_applied(struct sim_node *node,
                       uint64_t index,
                       const struct fsm *fsm,
                       const struct fsm_command *command,
                       const struct fsm_event *events,
                       size_t count)
{
    struct log_node *at = &canon.nodes[node->number];
    uint64_t number;
    bool first;

    if (index < at->index || index == 0) {
        sim_violation(
            "P14",
            "deterministic replicas, next entry: n%u applies entry %llu after entry %llu",
            node->number, (unsigned long long)index, (unsigned long long)at->index);
        return;
    }
    at->position = index == at->index ? at->position + 1 : 0;
    at->index = index;
    at->fsm = fsm;
    number = commands_before(index) + at->position;
    first = number >= canon.digests.count;
    if (first) {
        apply_first(node, index, fsm, command, events, count);
    } else {
        compare(node, index, number, fsm);
    }
    if (at->position == 0) {
        compare_hash(node, index, fsm, first);
    }
}

/* ---- snapshots -------------------------------------------------------------------------- */

void check_log_restored(struct sim_node *node, uint64_t index, const struct fsm *fsm)
{
    struct log_node *at = &canon.nodes[node->number];
    uint64_t commands = commands_before(index + 1);

    check_run.counts.snapshots_restored++;
    if (index < at->index) {
        sim_violation("P15",
                      "durability, older snapshot: n%u had applied entry %llu and goes "
                      "back to a snapshot of entry %llu",
                      node->number, (unsigned long long)at->index,
                      (unsigned long long)index);
    }
    at->fsm = fsm;
    at->index = index;
    at->position = 0;
    if (commands > 0 && fsm_digest(fsm) != digest_at(commands - 1)) {
        sim_violation(
            "P14",
            "deterministic replicas, snapshot: the snapshot of entry %llu that n%u takes "
            "has the digest %016llx, those who applied all entries %016llx",
            (unsigned long long)index, node->number, (unsigned long long)fsm_digest(fsm),
            (unsigned long long)digest_at(commands - 1));
    }
    if (records_of(fsm) < RECORDS_MANY) {
        fsm_check(fsm);
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

uint64_t sim_check_applied(void)
{
    uint64_t index = 0;

    for (unsigned i = 1; i <= sim_nodes_count(); i++) {
        const struct raft *raft = sim_node(i)->raft;
        if (raft != NULL && raft->last_applied > index) {
            index = raft->last_applied;
        }
    }
    return index;
}

static void look_at_end(const struct sim_node *node, uint64_t index)
{
    const struct fsm *fsm = canon.nodes[node->number].fsm;
    uint64_t applied = node->raft->last_applied;
    uint64_t commands = commands_before(applied + 1);

    if (applied < index) {
        sim_violation("P14",
                      "deterministic replicas, last entry: n%u ends with entry %llu "
                      "applied, another node with %llu",
                      node->number, (unsigned long long)applied,
                      (unsigned long long)index);
    } else if (commands > 0 &&
               (fsm == NULL || fsm_digest(fsm) != digest_at(commands - 1))) {
        sim_violation(
            "P15",
            "durability, the end: n%u ends without all that was applied up to entry %llu",
            node->number, (unsigned long long)applied);
    }
}

static void compare_at_end(const struct sim_node *node, const struct sim_node *first)
{
    const struct fsm *fsm = canon.nodes[node->number].fsm;

    if (fsm != NULL && node->raft->last_applied == first->raft->last_applied &&
        fsm_hash(fsm) != fsm_hash(canon.nodes[first->number].fsm)) {
        sim_violation(
            "P14",
            "deterministic replicas, the end: n%u ends with another table than n%u",
            node->number, first->number);
    }
}

void check_log_end(uint64_t index)
{
    const struct sim_node *first = NULL;

    for (unsigned i = 1; i <= sim_nodes_count() && check_run.running; i++) {
        const struct sim_node *node = sim_node(i);
        if (node->refused || !sim_check_is_member(node)) {
            continue;
        }
        if (!sim_node_runs(node) || node->raft == NULL) {
            sim_violation("P12", "liveness, down at the end: n%u does not run: %s", i,
                          node->last_words[0] != '\0' ? node->last_words
                                                      : "it was not started");
            return;
        }
        look_at_end(node, index);
        first = first != NULL ? first : node;
        if (check_run.running) {
            compare_at_end(node, first);
        }
    }
}
