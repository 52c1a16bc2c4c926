#include "cli_survey.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli_text.h"

/* ---- asking ---- */

static uint32_t ask_ms(const struct survey *survey)
{
    return survey->cli->timeout_ms < survey->ask_ms ? survey->cli->timeout_ms
                                                    : survey->ask_ms;
}

void survey_ask(const struct survey *survey, struct survey_node *node)
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

/* Without a port it is the usual one. */
static bool is_same(const char *address, const char *other)
{
    size_t len = strlen(address), other_len = strlen(other);
    size_t shorter = len < other_len ? len : other_len;
    const char *rest = len < other_len ? other + shorter : address + shorter;

    return strncmp(address, other, shorter) == 0 &&
           (*rest == '\0' || (shorter != 0 && strcmp(rest, ":7670") == 0));
}

static struct survey_node *
find_node(struct survey *survey, const char *address, uint64_t node_id)
{
    for (struct survey_node *node = survey->nodes; node < survey->nodes + survey->count;
         node++) {
        if (is_same(node->address, address) ||
            (node_id != 0 && node->node_id == node_id)) {
            return node;
        }
    }
    return NULL;
}

/* One node may go by several addresses (a name, a number, another port behind a balancer): whoever
 * answers with a number that we have is not listed twice. */
static void
add_node(struct survey *survey, const char *address, size_t bytes, uint64_t node_id)
{
    struct survey_node *node = &survey->nodes[survey->count], *known;

    if (bytes == 0 || bytes >= sizeof node->address ||
        survey->count == SURVEY_NODES_MAX) {
        return;
    }
    *node = (struct survey_node){.rv = -NETLOCK_EUNREACHABLE};
    memcpy(node->address, address, bytes);
    known = find_node(survey, node->address, node_id);
    if (known != NULL) {
        known->node_id = known->node_id == 0 ? node_id : known->node_id;
        return;
    }
    survey_ask(survey, node);
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

void survey_take(struct survey *survey)
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

/* Two may say that they serve, for the moment until the old one notices: the higher term is right. */
struct survey_node *survey_leader(struct survey *survey)
{
    struct survey_node *leader = NULL;

    for (struct survey_node *node = survey->nodes; node < survey->nodes + survey->count;
         node++) {
        if (node->rv == 0 && node->status.role == NETLOCK_SERVING &&
            (leader == NULL || node->status.term > leader->status.term)) {
            leader = node;
        }
    }
    return leader;
}

const struct netlock_member *survey_member(struct survey *survey, uint64_t node_id)
{
    const struct survey_node *leader = survey_leader(survey);

    for (size_t i = 0; leader != NULL && i < leader->status.members_count; i++) {
        if (leader->status.members[i].node_id == node_id) {
            return &leader->status.members[i];
        }
    }
    return NULL;
}

void survey_release(struct survey *survey)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (survey->nodes[i].rv == 0) {
            netlock_node_status_release(&survey->nodes[i].status);
        }
    }
    survey->count = 0;
    survey->commit_max = 0;
}

struct survey_node *survey_find(struct survey *survey, const char *text)
{
    char *end;
    uint64_t node_id = strtoull(text, &end, 10);

    return find_node(survey, text, *end == '\0' ? node_id : 0);
}

/* ---- showing ---- */

const char *survey_role(enum netlock_role role)
{
    switch (role) {
    case NETLOCK_FOLLOWER:
        return "follower";
    case NETLOCK_CANDIDATE:
        return "candidate";
    case NETLOCK_LEADER:
        return "elected";
    case NETLOCK_SERVING:
        return "leader";
    }
    return "unknown";
}

uint64_t survey_lag(const struct survey *survey, const struct survey_node *node)
{
    return survey->commit_max > node->status.applied_index
               ? survey->commit_max - node->status.applied_index
               : 0;
}

/* As the leader says. */
static const char *vote_word(struct survey *survey, const struct survey_node *node)
{
    const struct netlock_member *member = survey_member(survey, node->node_id);

    if (member == NULL) {
        return survey_leader(survey) == NULL ? "-" : "no member";
    }
    return member->voter ? "yes" : "no";
}

static void add_row(struct text_table *table,
                    struct survey *survey,
                    const struct survey_node *node,
                    bool verified)
{
    const struct netlock_node_status *status = &node->status;
    char duration[TEXT_DURATION_BYTES];

    if (node->node_id == 0) {
        text_table_add(table, "-");
    } else {
        text_table_addf(table, "%" PRIu64, node->node_id);
    }
    text_table_add(table, node->address);
    text_table_addf(table, "%s%s", node->rv != 0 ? "unreachable" : survey_role(status->role),
                    node->rv == 0 && status->draining ? ", draining" : "");
    text_table_add(table, vote_word(survey, node));
    if (node->rv != 0) {
        for (int i = 0; i < 7; i++) {
            text_table_add(table, "-");
        }
        return;
    }
    text_table_addf(table, "%" PRIu64, status->term);
    text_table_addf(table, "%" PRIu64, status->commit_index);
    text_table_addf(table, "%" PRIu64, status->applied_index);
    text_table_addf(table, "%" PRIu64, survey_lag(survey, node));
    text_table_addf(table, "%" PRIu64, status->connections);
    text_table_add(table, text_duration(status->uptime_ms, duration));
    if (verified) {
        text_table_addf(table, "%016" PRIx64 " at %" PRIu64, status->checkpoint_hash,
                        status->checkpoint_index);
    } else {
        text_table_add(table, "-");
    }
}

static void print_cluster(const struct survey_node *leader, FILE *out)
{
    const struct netlock_node_status *status;
    char *cluster_id;

    if (leader == NULL) {
        fputs("no leader serves\n", out);
        return;
    }
    status = &leader->status;
    cluster_id = text_escape(status->cluster_id == NULL ? "" : status->cluster_id);
    fprintf(out,
            "cluster %s: %" PRIu64 " locks, %" PRIu64 " holds, %" PRIu64
            " waits, %" PRIu64 " clients; last token %" PRIu64 "; feature level %" PRIu32
            "\n",
            cluster_id, status->locks, status->holds, status->waits, status->clients,
            status->last_token, status->feature_level);
    free(cluster_id);
}

void survey_print(struct survey *survey, bool with_checkpoint, FILE *out)
{
    static const char *const heading[] = {"NODE",   "ADDRESS",   "ROLE", "VOTE", "TERM",
                                          "COMMIT", "APPLIED",   "LAG",  "CONNECTIONS",
                                          "UPTIME", "CHECKPOINT"};
    struct text_table table = {.columns = sizeof heading / sizeof *heading};

    for (size_t i = 0; i < table.columns; i++) {
        text_table_add(&table, heading[i]);
    }
    for (size_t i = 0; i < survey->count; i++) {
        add_row(&table, survey, &survey->nodes[i], with_checkpoint);
    }
    text_table_print(&table, out);
    text_table_release(&table);
    print_cluster(survey_leader(survey), out);
}
