/* cli_survey.h - every node of --servers, and every member they name, asked about itself.
 *
 *     struct cli_survey survey = {.cli = cli};
 *     cli_survey_take(&survey);  ...  cli_survey_release(&survey);
 */
#ifndef NETLOCK_CLI_SURVEY_H
#define NETLOCK_CLI_SURVEY_H

#include "cli.h"

enum { CLI_NODES_MAX = 64, CLI_ADDRESS_BYTES = 300 };

struct cli_node {
    char address[CLI_ADDRESS_BYTES];
    uint64_t node_id; /* as a member's entry says; 0: only an address of --servers */
    int rv;           /* of asking; 0: status is there */
    struct netlock_node_status status;
};

struct cli_survey {
    const struct cli *cli;
    struct cli_node nodes[CLI_NODES_MAX];
    size_t count;
    uint64_t commit_max;
};

void cli_survey_take(struct cli_survey *survey);
void cli_survey_release(struct cli_survey *survey);

/* Ask one of them again. */
void cli_survey_ask(const struct cli_survey *survey, struct cli_node *node);

/* Who serves, or NULL. Two may say that they do, for the moment until the old one notices: the higher term is
 * right. */
struct cli_node *cli_survey_leader(struct cli_survey *survey);

/* What the leader says of this member; NULL: it is none, or nobody leads. */
const struct netlock_member *cli_survey_member(struct cli_survey *survey,
                                               uint64_t node_id);

uint64_t cli_now_ms(void);

#endif
