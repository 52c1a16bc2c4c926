/* `member add n4`: what an operator asks of the leader; nothing if there is none. */
#include "script_internal.h"

#include <stdint.h>

#include "server_internal.h"
#include "socket.h"

enum {
    VOTERS_MIN = 3
}; /* with fewer, one more fault would be too many for the faults that a plan draws */

static const char *const verbs[] = {
    [MEMBERSHIP_ADD] = "add",
    [MEMBERSHIP_PROMOTE] = "promote",
    [MEMBERSHIP_REMOVE] = "remove",
    [MEMBERSHIP_TRANSFER] = "transfer",
};

/* In the leader's process; the command outlives it. */
static void on_done(void *arg, enum membership_outcome outcome, const char *text)
{
    static const char *const outcomes[] = {
        [MEMBERSHIP_DONE] = "done",
        [MEMBERSHIP_REFUSED] = "refused",
        [MEMBERSHIP_UNKNOWN] = "unknown",
        [MEMBERSHIP_MOVED] = "moved",
    };
    const struct sim_command *command = arg;
    char why[MEMBERSHIP_TEXT_BYTES];

    snprintf(why, sizeof(why), "%s", outcome == MEMBERSHIP_REFUSED ? text : "");
    struct sim_process *inside = sim_process_outside(NULL);
    sim_transcript_line("%s n%u: %s%s%s", verbs[command->what], command->who.number,
                        outcomes[outcome], why[0] != '\0' ? ", " : "", why);
    sim_process_outside(inside);
}

static unsigned count_voters(const struct raft *raft)
{
    unsigned count = 0;

    for (unsigned i = 0; i < raft->configuration.n; i++) {
        count += raft->configuration.servers[i].role == RAFT_VOTER;
    }
    return count;
}

struct asked {
    struct sim_node *leader;
    const struct sim_command *command;
};

static void ask(void *arg)
{
    const struct asked *asked = arg;
    const struct sim_command *command = asked->command;
    char peer[64], client[64];
    const char *host = sim_host_address(sim_node(command->who.number)->process.host);
    struct membership_change change = {
        .verb = (enum membership_verb)command->what,
        .node_id = command->who.number,
        .peer_address = peer,
        .client_address = client,
    };

    snprintf(peer, sizeof(peer), "%s:%d", host, SIM_PEER_PORT);
    snprintf(client, sizeof(client), "%s:%d", host, SIM_CLIENT_PORT);
    (void)raft_node_change(asked->leader->server->node, &change, on_done,
                           (void *)(uintptr_t)command);
}

void sim_act_member(struct sim_script *script, const struct sim_command *command)
{
    struct asked asked = {.leader = sim_serving(), .command = command};

    if (asked.leader == NULL || asked.leader->process.paused ||
        asked.leader->server->stopping ||
        (command->what == MEMBERSHIP_REMOVE && script->lenient &&
         count_voters(asked.leader->raft) <= VOTERS_MIN)) {
        return;
    }
    script->ret->faults[SIM_FAULT_MEMBERS]++;
    sim_process_enter(&asked.leader->process, ask, &asked);
}
