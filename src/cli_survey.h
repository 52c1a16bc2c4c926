/* cli_survey.h - all nodes of a cluster, each asked for itself.
 *
 *     struct survey survey = {.cli = cli, .ask_ms = SURVEY_ASK_MS};
 *     survey_take(&survey);
 *     ... survey_leader(), survey_find(), survey_print() ...
 *     survey_release(&survey);
 *
 * Nodes are asked one after another; one that does not answer costs ask_ms, or --timeout where that is
 * less. */
#ifndef NETLOCK_CLI_SURVEY_H
#define NETLOCK_CLI_SURVEY_H

#include <stdio.h>

#include "cli.h"

enum { SURVEY_NODES_MAX = 64, SURVEY_ADDRESS_BYTES = 300, SURVEY_ASK_MS = 2000 };

struct survey_node {
    char address[SURVEY_ADDRESS_BYTES];
    uint64_t node_id; /* as a member's entry says; 0: only an address of --servers */
    int rv;           /* of asking; 0: status is there */
    struct netlock_node_status status;
};

struct survey {
    const struct cli *cli;
    uint32_t ask_ms;
    struct survey_node nodes[SURVEY_NODES_MAX];
    size_t count;
    uint64_t commit_max; /* what any node knows to be committed */
};

/* Ask every address of --servers, and every member that they name. Each node is there once. */
void survey_take(struct survey *survey);
void survey_release(struct survey *survey);

/* Ask one of them again. */
void survey_ask(const struct survey *survey, struct survey_node *node);

/* The node that serves, or NULL. */
struct survey_node *survey_leader(struct survey *survey);

/* What the leader says of this member; NULL: it is none, or nobody leads. */
const struct netlock_member *survey_member(struct survey *survey, uint64_t node_id);

/* The node with the number or the address @text, or NULL. */
struct survey_node *survey_find(struct survey *survey, const char *text);

const char *survey_role(enum netlock_role role);

/* What @node, which has answered, has yet to apply of what any node knows to be committed. */
uint64_t survey_lag(const struct survey *survey, const struct survey_node *node);

/* A line for each node under a heading, and one about the cluster as its leader sees it. */
void survey_print(struct survey *survey, bool with_checkpoint, FILE *out);

#endif
