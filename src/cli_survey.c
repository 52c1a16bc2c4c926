#include "cli_survey.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ASK_MS = 2000 };

uint64_t cli_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint32_t ask_ms(const struct cli_survey *survey)
{
    return survey->cli->timeout_ms < ASK_MS ? survey->cli->timeout_ms : ASK_MS;
}

void cli_survey_ask(const struct cli_survey *survey, struct cli_node *node)
{
    if (node->rv == 0) {
        netlock_node_status_release(&node->status);
    }
    node->rv = netlock_node_status(node->address, &survey->cli->credentials,
                                   ask_ms(survey), false, &node->status);
    if (node->rv == 0) {
        node->node_id = node->status.node_id;
    }
}

static struct cli_node *
find_node(struct cli_survey *survey, const char *address, uint64_t node_id)
{
    for (struct cli_node *node = survey->nodes; node < survey->nodes + survey->count;
         node++) {
        if (strcmp(node->address, address) == 0 ||
            (node_id != 0 && node->node_id == node_id)) {
            return node;
        }
    }
    return NULL;
}

/* One node may go by several addresses (a name, a number, another port behind a balancer): whoever
 * answers with a number that we have is not listed twice. */
static void
add_node(struct cli_survey *survey, const char *address, size_t bytes, uint64_t node_id)
{
    struct cli_node *node = &survey->nodes[survey->count], *known;

    if (bytes == 0 || bytes >= sizeof node->address || survey->count == CLI_NODES_MAX) {
        return;
    }
    *node = (struct cli_node){.rv = -NETLOCK_EUNREACHABLE};
    memcpy(node->address, address, bytes);
    known = find_node(survey, node->address, node_id);
    if (known != NULL) {
        known->node_id = known->node_id == 0 ? node_id : known->node_id;
        return;
    }
    cli_survey_ask(survey, node);
    if (node->rv != 0) {
        node->node_id = node_id;
    } else if (find_node(survey, "", node->node_id) != NULL) {
        netlock_node_status_release(&node->status);
        return;
    } else if (node->status.commit_index > survey->commit_max) {
        survey->commit_max = node->status.commit_index;
    }
    survey->count++;
}

void cli_survey_take(struct cli_survey *survey)
{
    const char *list = survey->cli->servers;

    if (list == NULL) {
        list = getenv("NETLOCK_SERVERS");
    }
    if (list == NULL || *list == '\0') {
        list = "127.0.0.1:7670";
    }
    while (*list != '\0') {
        size_t bytes = strcspn(list, ", ");

        add_node(survey, list, bytes, 0);
        list += bytes;
        list += strspn(list, ", ");
    }
    /* The list grows while we walk it, by members that only the new ones know. */
    for (size_t i = 0; i < survey->count; i++) {
        for (size_t m = 0;
             survey->nodes[i].rv == 0 && m < survey->nodes[i].status.members_count; m++) {
            const struct netlock_member *member = &survey->nodes[i].status.members[m];

            if (member->client_address != NULL) {
                add_node(survey, member->client_address, strlen(member->client_address),
                         member->node_id);
            }
        }
    }
}

struct cli_node *cli_survey_leader(struct cli_survey *survey)
{
    struct cli_node *leader = NULL;

    for (struct cli_node *node = survey->nodes; node < survey->nodes + survey->count;
         node++) {
        if (node->rv == 0 && node->status.role == NETLOCK_SERVING &&
            (leader == NULL || node->status.term > leader->status.term)) {
            leader = node;
        }
    }
    return leader;
}

const struct netlock_member *cli_survey_member(struct cli_survey *survey,
                                               uint64_t node_id)
{
    const struct cli_node *leader = cli_survey_leader(survey);

    for (size_t i = 0; leader != NULL && i < leader->status.members_count; i++) {
        if (leader->status.members[i].node_id == node_id) {
            return &leader->status.members[i];
        }
    }
    return NULL;
}

void cli_survey_release(struct cli_survey *survey)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (survey->nodes[i].rv == 0) {
            netlock_node_status_release(&survey->nodes[i].status);
        }
    }
    survey->count = 0;
}
