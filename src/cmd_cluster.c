/* netlock cluster status - every node asked for itself, and whether their states are equal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "cli_survey.h"
#include "cli_text.h"

const char cmd_cluster_help[] =
    "Usage: netlock cluster status [OPTIONS]\n"
    "\n"
    "Ask every node of --servers, and every member they name, about itself.\n"
    "\n"
    "      --verify    let all nodes hash their state at the same place of the log and\n"
    "                  compare the hashes\n"
    "\n"
    "and the options of 'netlock --help'; --timeout also bounds the waiting of "
    "--verify.\n"
    "\n"
    "NODE        its number; '-': not reached, and not named by a member\n"
    "ROLE        'leader' serves; 'elected' is about to; or follower, candidate;\n"
    "            'draining' leaves leading to the others, see 'netlock drain'\n"
    "VOTE        whether it has a vote, as the leader says: 'no' on one that was added\n"
    "            and not promoted\n"
    "COMMIT, APPLIED, LAG\n"
    "            places in the log; LAG is what a node has yet to apply of what any "
    "node\n"
    "            knows to be committed\n"
    "CHECKPOINT  with --verify: the hash of the node's state, and at which place\n"
    "\n"
    "Exit status: 0 a leader serves, and the states are equal as far as they were\n"
    "compared; 1 --verify found different states (a defect: stop writing, keep the data\n"
    "directories); 69 no leader serves, or a reachable node did not hash its state in\n"
    "time; else as in 'netlock --help'.\n"
    "\n"
    "Examples:\n"
    "  netlock cluster status --verify\n"
    "  netlock cluster status --json | jq '[.nodes[].lag_entries] | max'\n";

enum { POLL_MS = 50 };

enum verdict { VERDICT_EQUAL, VERDICT_DIFFERENT, VERDICT_UNKNOWN, VERDICT_NO_LEADER };
struct verification {
    enum verdict verdict;
    uint64_t index, hash;
    size_t compared, members;
};

/* ---- verifying ---- */

/* Ask @node until it has hashed its state at @index, or later, or the time is up. */
static bool
reach(const struct survey *survey, struct survey_node *node, uint64_t index, uint64_t until_ms)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};

    for (;;) {
        survey_ask(survey, node);
        if (node->rv != 0 || node->status.checkpoint_index >= index) {
            return node->rv == 0;
        }
        if (cli_now_ms() >= until_ms) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
}

static struct verification verify(struct survey *survey)
{
    const uint64_t until_ms = cli_now_ms() + survey->cli->timeout_ms;
    struct verification result = {.verdict = VERDICT_NO_LEADER};
    struct netlock_node_status taken;
    struct survey_node *leader = survey_leader(survey);

    if (leader == NULL ||
        netlock_node_status(leader->address, &survey->cli->credentials,
                            survey->cli->timeout_ms, true, &taken) != 0) {
        return result;
    }
    /* As the leader says now: it may be gone in a moment. */
    bool is_member[SURVEY_NODES_MAX];
    for (size_t i = 0; i < survey->count; i++) {
        is_member[i] = survey_member(survey, survey->nodes[i].node_id) != NULL;
    }
    result.members = leader->status.members_count;
    result.verdict = VERDICT_EQUAL;
    result.index = taken.checkpoint_index;
    result.hash = taken.checkpoint_hash;
    netlock_node_status_release(&taken);
    for (size_t i = 0; i < survey->count; i++) {
        struct survey_node *node = &survey->nodes[i];

        if (node->rv != 0 || !is_member[i]) {
            continue; /* shown as unreachable, or no member, and not counted */
        }
        if (!reach(survey, node, result.index, until_ms) ||
            node->status.checkpoint_index != result.index) {
            /* Or somebody else took a checkpoint meanwhile: theirs tells nothing about ours. */
            result.verdict = VERDICT_UNKNOWN;
            return result;
        }
        if (node->status.checkpoint_hash != result.hash) {
            result.verdict = VERDICT_DIFFERENT;
            return result;
        }
        result.compared++;
    }
    return result;
}

/* ---- showing ---- */

static const char *verdict_word(enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_EQUAL:
        return "EQUAL";
    case VERDICT_DIFFERENT:
        return "DIFFERENT";
    case VERDICT_UNKNOWN:
        return "UNKNOWN";
    case VERDICT_NO_LEADER:
        return "NO LEADER";
    }
    return "UNKNOWN";
}

static void print_table(struct survey *survey, const struct verification *verification)
{
    survey_print(survey, verification != NULL, stdout);
    if (verification != NULL && verification->verdict == VERDICT_EQUAL) {
        printf("EQUAL: %zu of %zu nodes have the same state at %" PRIu64 "\n",
               verification->compared, verification->members, verification->index);
    } else if (verification != NULL) {
        puts(verdict_word(verification->verdict));
    }
}

static void
add_object(struct json *json, struct survey *survey, const struct survey_node *node)
{
    const struct netlock_node_status *status = &node->status;
    char hash[17];

    json_open_object(json, NULL);
    json_number(json, "node_id", node->node_id);
    json_string(json, "address", node->address);
    json_bool(json, "reachable", node->rv == 0);
    if (survey_leader(survey) != NULL) {
        const struct netlock_member *member = survey_member(survey, node->node_id);

        json_bool(json, "member", member != NULL);
        json_bool(json, "voter", member != NULL && member->voter);
    }
    if (node->rv == 0) {
        snprintf(hash, sizeof hash, "%016" PRIx64, status->checkpoint_hash);
        json_string(json, "role", survey_role(status->role));
        json_string(json, "cluster_id", status->cluster_id);
        json_string(json, "server", status->server);
        json_number(json, "term", status->term);
        json_number(json, "leader_id", status->leader_id);
        json_number(json, "commit_index", status->commit_index);
        json_number(json, "applied_index", status->applied_index);
        json_number(json, "last_index", status->last_index);
        json_number(json, "lag_entries", survey_lag(survey, node));
        json_number(json, "cluster_time_ms", status->cluster_time_ms);
        json_number(json, "checkpoint_index", status->checkpoint_index);
        json_string(json, "checkpoint_hash", hash);
        json_number(json, "locks", status->locks);
        json_number(json, "holds", status->holds);
        json_number(json, "waits", status->waits);
        json_number(json, "clients", status->clients);
        json_number(json, "connections", status->connections);
        json_number(json, "uptime_ms", status->uptime_ms);
        json_number(json, "last_token", status->last_token);
        json_bool(json, "draining", status->draining);
        json_number(json, "feature_level", status->feature_level);
        json_number(json, "feature_level_max", status->feature_level_max);
    } else {
        json_string(json, "error", netlock_strerror(node->rv));
    }
    json_close(json);
}

static void print_json(struct survey *survey, const struct verification *verification)
{
    const struct survey_node *leader = survey_leader(survey);
    struct json json = {.out = stdout};

    json_open_object(&json, NULL);
    if (leader != NULL) {
        json_number(&json, "leader_id", leader->node_id);
    } else {
        json_null(&json, "leader_id");
    }
    json_open_array(&json, "nodes");
    for (size_t i = 0; i < survey->count; i++) {
        add_object(&json, survey, &survey->nodes[i]);
    }
    json_close(&json);
    if (verification != NULL) {
        json_open_object(&json, "verify");
        json_string(&json, "verdict", verdict_word(verification->verdict));
        json_number(&json, "index", verification->index);
        json_number(&json, "compared", verification->compared);
        json_close(&json);
    }
    json_close(&json);
}

static int exit_status(struct survey *survey, const struct verification *verification)
{
    if (verification != NULL && verification->verdict == VERDICT_DIFFERENT) {
        return CLI_CONFLICT;
    }
    if (survey_leader(survey) == NULL) {
        return CLI_UNAVAILABLE;
    }
    return verification == NULL || verification->verdict == VERDICT_EQUAL
               ? CLI_OK
               : CLI_UNAVAILABLE;
}

int cmd_cluster_status(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"verify", no_argument, NULL, CLI_OPTION_OWN},
                                          CLI_LONG};
    struct verification verification, *verified = NULL;
    struct survey survey = {.cli = cli, .ask_ms = SURVEY_ASK_MS};
    int status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
        verified = &verification;
    }
    if (optind != argc) {
        cli_usage(cli, "unexpected '%s'", argv[optind]);
    }
    survey_take(&survey);
    if (verified != NULL) {
        verification = verify(&survey);
    }
    (cli->json ? print_json : print_table)(&survey, verified);
    status = exit_status(&survey, verified);
    survey_release(&survey);
    return status;
}
