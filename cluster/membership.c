#include "membership.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "feature_level.h"
#include "peer_address.h"
#include "raft_guard.h"

static const char busy_text[] = "another change of members is under way: one at a time";

__attribute__((format(printf, 2, 3))) static const char *
refuse(struct membership *membership, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(membership->text, sizeof membership->text, format, args);
    va_end(args);
    return membership->text;
}

/* ---- what there is -------------------------------------------------------------------------- */

static const struct raft_server *find(const struct membership *membership,
                                      uint64_t node_id)
{
    const struct raft_configuration *configuration = &membership->raft->configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == node_id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

/* RAFT_VOTER, RAFT_STANDBY, RAFT_SPARE; -1: it is no member. */
static int role_of(const struct membership *membership, uint64_t node_id)
{
    const struct raft_server *server = find(membership, node_id);

    return server != NULL ? server->role : -1;
}

static bool is_committed(const struct membership *membership)
{
    return membership->raft->configuration_uncommitted_index == 0;
}

static bool serves(const struct membership *membership)
{
    return membership->raft->state == RAFT_LEADER &&
           replica_role(membership->replica) == REPLICA_SERVING;
}

/* As when the change began. */
static bool leads(const struct membership *membership)
{
    return serves(membership) && membership->raft->current_term == membership->term;
}

static uint64_t highest_id(const struct membership *membership)
{
    const struct raft_configuration *configuration = &membership->raft->configuration;
    uint64_t highest = fsm_node_id_max(replica_table(membership->replica));

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id > highest) {
            highest = configuration->servers[i].id;
        }
    }
    return highest;
}

/* ---- whether to ----------------------------------------------------------------------------- */

/* How it would be with @node_id as a voter, or without it. */
static const char *check_quorum(struct membership *membership,
                                const struct membership_change *change)
{
    const struct raft_configuration *configuration = &membership->raft->configuration;
    bool promoted = change->verb == MEMBERSHIP_PROMOTE;
    unsigned voters = 0, connected = 0;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        bool votes =
            server->id == change->node_id ? promoted : server->role == RAFT_VOTER;

        voters += votes;
        connected +=
            votes && (server->id == membership->raft->id ||
                      membership->host.connected(membership->host.arg, server->id));
    }
    if (voters == 0) {
        return refuse(membership, "it is the last voter");
    }
    if (connected <= voters / 2 && !change->force) {
        return refuse(
            membership,
            "the cluster would lose its quorum: of the %u voters that it then has, "
            "%u are connected",
            voters, connected);
    }
    return NULL;
}

static const char *check_new_address(struct membership *membership,
                                     const struct membership_change *change)
{
    const struct raft_configuration *configuration = &membership->raft->configuration;
    struct peer_address parsed;

    if (strlen(change->peer_address) > MEMBERSHIP_ADDRESS_BYTES_MAX ||
        strlen(change->client_address) > MEMBERSHIP_ADDRESS_BYTES_MAX ||
        peer_address_parse(change->peer_address, &parsed) != 0 ||
        peer_address_parse(change->client_address, &parsed) != 0) {
        return refuse(membership, "an address is HOST:PORT or [v6]:PORT");
    }
    for (unsigned i = 0; i < configuration->n; i++) {
        if (strcmp(configuration->servers[i].address, change->peer_address) == 0) {
            return refuse(membership, "node %llu is at that peer address",
                          configuration->servers[i].id);
        }
    }
    return NULL;
}

static bool is_same_member(const struct membership *membership,
                           const struct raft_server *server,
                           const struct membership_change *change)
{
    struct fsm_str address =
        fsm_member_address(replica_table(membership->replica), server->id);

    return strcmp(server->address, change->peer_address) == 0 &&
           strlen(change->client_address) == address.len &&
           memcmp(change->client_address, address.data, address.len) == 0;
}

/* One that was begun before, and cut off by a change of leader, goes on. */
static const char *check_add(struct membership *membership,
                             const struct membership_change *change)
{
    const struct raft_server *server = find(membership, change->node_id);

    if (server != NULL) {
        return server->role != RAFT_VOTER && is_same_member(membership, server, change)
                   ? NULL
                   : refuse(membership, "node %" PRIu64 " is a member already, at %.100s",
                            change->node_id, server->address);
    }
    if (change->node_id <= highest_id(membership) || change->node_id > INT64_MAX) {
        return refuse(membership,
                      "node ids are not used again, and grow: the next may be %" PRIu64,
                      highest_id(membership) + 1);
    }
    if (membership->raft->configuration.n >= membership->host.members_max) {
        return refuse(membership, "a cluster has at most %u members",
                      membership->host.members_max);
    }
    return check_new_address(membership, change);
}

static const char *check_promote(struct membership *membership,
                                 const struct membership_change *change)
{
    raft_index last = raft_last_index(membership->raft), match = 0;

    if (role_of(membership, change->node_id) == RAFT_VOTER) {
        return NULL;
    }
    if (!membership->host.connected(membership->host.arg, change->node_id)) {
        return refuse(membership,
                      "node %" PRIu64 " is not connected: does it run, with join = yes?",
                      change->node_id);
    }
    (void)raft_match_index(membership->raft, change->node_id, &match);
    if (match == 0 || match + MEMBERSHIP_LAG_MAX < last) {
        return refuse(membership,
                      "node %" PRIu64 " has not caught up: it has %llu of %llu entries",
                      change->node_id, match, last);
    }
    return check_quorum(membership, change);
}

static const char *check_remove(struct membership *membership,
                                const struct membership_change *change)
{
    if (change->node_id == membership->raft->id) {
        return refuse(membership, "it leads: leadership must be handed over first");
    }
    return role_of(membership, change->node_id) == RAFT_VOTER
               ? check_quorum(membership, change)
               : NULL;
}

static const char *check(struct membership *membership,
                         const struct membership_change *change)
{
    if (membership->stage != MEMBERSHIP_NOTHING || !is_committed(membership) ||
        membership->raft->leader_state.promotee_id != 0) {
        return busy_text;
    }
    if (replica_level(membership->replica) < FEATURE_LEVEL_MEMBERS) {
        return "not all nodes can: each must run a build that changes members, and be "
               "connected once";
    }
    if (change->verb == MEMBERSHIP_ADD) {
        return check_add(membership, change);
    }
    if (find(membership, change->node_id) == NULL) {
        return refuse(membership, "node %" PRIu64 " is no member", change->node_id);
    }
    return change->verb == MEMBERSHIP_PROMOTE ? check_promote(membership, change)
                                              : check_remove(membership, change);
}

/* ---- what the table is to know -------------------------------------------------------------- */

/* Where clients reach a member: what this node was told, else what is in the table. */
static struct fsm_str address_wanted(const struct membership *membership,
                                     uint64_t node_id)
{
    const struct membership_change *change = &membership->change;
    const char *told =
        change->verb == MEMBERSHIP_ADD && node_id == change->node_id
            ? change->client_address
            : membership->host.client_address(membership->host.arg, node_id);

    if (told != NULL) {
        return (struct fsm_str){.data = told, .len = strlen(told)};
    }
    return fsm_member_address(replica_table(membership->replica), node_id);
}

/* Propose it unless it is so, or was. Returns whether it is so. */
static bool
record(struct membership *membership, uint64_t node_id, struct fsm_str address)
{
    const struct fsm *table = replica_table(membership->replica);
    struct fsm_str known = fsm_member_address(table, node_id);
    struct fsm_command command = {.type = FSM_CMD_MEMBER,
                                  .member = {.node_id = node_id, .address = address}};

    if (node_id <= fsm_node_id_max(table) && known.len == address.len &&
        (known.len == 0 || memcmp(known.data, address.data, known.len) == 0)) {
        return true;
    }
    if (!membership->proposed && replica_propose(membership->replica, &command) != 0) {
        membership->crowded = true;
    }
    return false;
}

/* Of all members, the new one too, and of nobody else. */
static bool record_all(struct membership *membership)
{
    const struct raft_configuration *configuration = &membership->raft->configuration;
    uint64_t node_id = membership->change.node_id;
    uint64_t known[FSM_MEMBERS_MAX];
    size_t count = fsm_members(replica_table(membership->replica), known);
    bool all = true;

    for (size_t i = 0; i < count; i++) {
        if (known[i] != node_id && find(membership, known[i]) == NULL) {
            all &= record(membership, known[i], (struct fsm_str){0});
        }
    }
    for (unsigned i = 0; i < configuration->n; i++) {
        uint64_t id = configuration->servers[i].id;
        all &= record(membership, id, address_wanted(membership, id));
    }
    if (find(membership, node_id) == NULL) {
        all &= record(membership, node_id, address_wanted(membership, node_id));
    }
    return all;
}

/* ---- step by step --------------------------------------------------------------------------- */

static enum membership_outcome end(struct membership *membership,
                                   enum membership_outcome outcome)
{
    membership->stage = MEMBERSHIP_NOTHING;
    return outcome;
}

static enum membership_outcome
submitted(struct membership *membership, int rv, enum membership_stage next)
{
    if (rv == 0) {
        membership->stage = next;
        return MEMBERSHIP_RUNNING;
    }
    if (rv == RAFT_NOTLEADER) {
        /* While leadership is being transferred. It may stay here. */
        return MEMBERSHIP_RUNNING;
    }
    refuse(membership, "%s", rv == RAFT_CANTCHANGE ? busy_text : raft_strerror(rv));
    return end(membership, MEMBERSHIP_REFUSED);
}

static enum membership_outcome
assign(struct membership *membership, int role, enum membership_stage next)
{
    uint64_t node_id = membership->change.node_id;

    if (role_of(membership, node_id) == role) {
        return end(membership, MEMBERSHIP_DONE);
    }
    return submitted(
        membership,
        raft_guard_assign(membership->raft, &membership->request, node_id, role), next);
}

static enum membership_outcome submit(struct membership *membership)
{
    const struct membership_change *change = &membership->change;

    switch (change->verb) {
    case MEMBERSHIP_ADD:
        if (find(membership, change->node_id) != NULL) {
            return assign(membership, RAFT_STANDBY, MEMBERSHIP_STANDING_BY);
        }
        return submitted(membership,
                         raft_guard_add(membership->raft, &membership->request,
                                        change->node_id, change->peer_address),
                         MEMBERSHIP_ADDING);
    case MEMBERSHIP_PROMOTE:
        return assign(membership, RAFT_VOTER, MEMBERSHIP_PROMOTING);
    case MEMBERSHIP_TRANSFER:
        break;
    case MEMBERSHIP_REMOVE:
        return submitted(
            membership,
            raft_guard_remove(membership->raft, &membership->request, change->node_id),
            MEMBERSHIP_REMOVING);
    }
    return end(membership, MEMBERSHIP_DONE);
}

static enum membership_outcome finish_promotion(struct membership *membership)
{
    if (membership->raft->leader_state.promotee_id != 0) {
        return MEMBERSHIP_RUNNING;
    }
    if (role_of(membership, membership->change.node_id) == RAFT_VOTER) {
        return end(membership, MEMBERSHIP_DONE);
    }
    refuse(membership, "node %" PRIu64 " did not catch up in time",
           membership->change.node_id);
    return end(membership, MEMBERSHIP_REFUSED);
}

/* libraft adds a spare, which gets no entries. Nobody stays one: if the leader that added it was lost before it made
 * it a stand-by, the next one does. */
static void finish_lost_addition(struct membership *membership)
{
    const struct raft_configuration *configuration = &membership->raft->configuration;

    if (!serves(membership)) {
        return;
    }
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].role == RAFT_SPARE) {
            /* Refused while another change is not committed or leadership is handed over: later, then. */
            (void)raft_guard_assign(membership->raft, &membership->request,
                                    configuration->servers[i].id, RAFT_STANDBY);
            return;
        }
    }
}

enum membership_outcome membership_step(struct membership *membership)
{
    if (membership->stage == MEMBERSHIP_NOTHING) {
        finish_lost_addition(membership);
        return MEMBERSHIP_IDLE;
    }
    if (!leads(membership)) {
        return end(membership, MEMBERSHIP_UNKNOWN);
    }
    if (membership->stage == MEMBERSHIP_RECORDING) {
        membership->crowded = false;
        if (record_all(membership)) {
            return submit(membership);
        }
        /* What found no room is proposed again, with the rest: saying it twice changes nothing. */
        membership->proposed = !membership->crowded;
        return MEMBERSHIP_RUNNING;
    }
    if (!is_committed(membership)) {
        return MEMBERSHIP_RUNNING;
    }
    switch (membership->stage) {
    case MEMBERSHIP_ADDING:
        return assign(membership, RAFT_STANDBY, MEMBERSHIP_STANDING_BY);
    case MEMBERSHIP_PROMOTING:
        return finish_promotion(membership);
    case MEMBERSHIP_NOTHING:
    case MEMBERSHIP_RECORDING:
    case MEMBERSHIP_STANDING_BY:
    case MEMBERSHIP_REMOVING:
        break;
    }
    return end(membership, MEMBERSHIP_DONE);
}

/* ---- public --------------------------------------------------------------------------------- */

void membership_init(struct membership *membership,
                     struct raft *raft,
                     struct replica *replica,
                     const struct membership_host *host)
{
    *membership = (struct membership){.raft = raft, .replica = replica, .host = *host};
}

const char *membership_begin(struct membership *membership,
                             const struct membership_change *change)
{
    const char *refused = check(membership, change);

    if (refused != NULL) {
        return refused;
    }
    membership->change = *change;
    if (change->verb == MEMBERSHIP_ADD) {
        snprintf(membership->peer_address, sizeof membership->peer_address, "%s",
                 change->peer_address);
        snprintf(membership->client_address, sizeof membership->client_address, "%s",
                 change->client_address);
    }
    membership->change.peer_address = membership->peer_address;
    membership->change.client_address = membership->client_address;
    membership->term = membership->raft->current_term;
    membership->proposed = false;
    membership->stage = MEMBERSHIP_RECORDING;
    return NULL;
}
