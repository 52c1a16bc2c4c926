#include "member.h"

#include "events.h"
#include "memory.h"

/* The place of the id, or where it would be. */
static uint32_t place_of(const struct fsm *fsm, uint64_t node_id)
{
    uint32_t at = 0;

    while (at < fsm->members_count && fsm->members[at].node_id < node_id) {
        at++;
    }
    return at;
}

static bool is_at(const struct fsm *fsm, uint32_t at, uint64_t node_id)
{
    return at < fsm->members_count && fsm->members[at].node_id == node_id;
}

static void forget(struct fsm *fsm, uint32_t at)
{
    fsm->members_count--;
    memmove(&fsm->members[at], &fsm->members[at + 1],
            (fsm->members_count - at) * sizeof(fsm->members[0]));
}

static void make_room(struct fsm *fsm, uint32_t at)
{
    if (fsm->members == NULL) {
        fsm->members = memory_resize(NULL, FSM_MEMBERS_MAX, sizeof(fsm->members[0]));
    }
    memmove(&fsm->members[at + 1], &fsm->members[at],
            (fsm->members_count - at) * sizeof(fsm->members[0]));
    fsm->members_count++;
}

void member_set(struct fsm *fsm, uint64_t node_id, struct fsm_str address)
{
    uint32_t at = place_of(fsm, node_id);
    bool known = is_at(fsm, at, node_id);

    if (address.len == 0) {
        if (known) {
            forget(fsm, at);
        }
        return;
    }
    if (!known && fsm->members_count == FSM_MEMBERS_MAX) {
        return;
    }
    if (!known) {
        make_room(fsm, at);
    }
    struct cluster_member *member = &fsm->members[at];
    *member =
        (struct cluster_member){.node_id = node_id, .address_len = (uint8_t)address.len};
    memcpy(member->address, address.data, address.len);
}

void command_member(struct fsm *fsm)
{
    const struct fsm_command *command = fsm->command;
    struct fsm_event event = {.type = FSM_EV_MEMBER};

    if (command->member.node_id > fsm->node_id_max) {
        fsm->node_id_max = command->member.node_id;
    }
    member_set(fsm, command->member.node_id, command->member.address);
    events_answer(fsm, &event);
}

/* ---- looking at it ---------------------------------------------------------------- */

uint64_t fsm_node_id_max(const struct fsm *fsm)
{
    return fsm->node_id_max;
}

struct fsm_str fsm_member_address(const struct fsm *fsm, uint64_t node_id)
{
    uint32_t at = place_of(fsm, node_id);

    if (!is_at(fsm, at, node_id)) {
        return (struct fsm_str){0};
    }
    return (struct fsm_str){fsm->members[at].address, fsm->members[at].address_len};
}

size_t fsm_members(const struct fsm *fsm, uint64_t ret_node_ids[static FSM_MEMBERS_MAX])
{
    for (uint32_t i = 0; i < fsm->members_count; i++) {
        ret_node_ids[i] = fsm->members[i].node_id;
    }
    return fsm->members_count;
}
