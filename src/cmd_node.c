/* netlock drain, netlock log-level - what an operator sets on one node. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "cli_survey.h"
#include "cli_text.h"

const char cmd_drain_help[] =
    "Usage: netlock drain [OPTIONS] NODE\n"
    "\n"
    "Take the node with that number, or at that address, out of service without "
    "stopping\n"
    "it: it hands leadership to another node, with it go all clients, and its port for\n"
    "HTTP says 503 to /readyz. It stays a member, votes and keeps its copy. Elected "
    "again\n"
    "it hands over again. Waits until another node serves.\n"
    "\n"
    "      --undo   let it lead again; it does so when it is elected\n"
    "\n"
    "and the options of 'netlock --help'; --timeout bounds the waiting. The node "
    "forgets\n"
    "it when it is started anew. Who stops netlockd need not drain it first: it hands "
    "over\n"
    "when it stops.\n"
    "\n"
    "Exit status: 0 another node serves, or --undo; 69 the node is not there, or still\n"
    "serves after --timeout: no other has the whole log, it goes on trying; else as in\n"
    "'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock drain 2 && ssh host2 apt-get -y dist-upgrade && netlock drain --undo 2\n";

const char cmd_log_level_help[] =
    "Usage: netlock log-level [OPTIONS] NODE [LEVEL]\n"
    "\n"
    "Let the node with that number, or at that address, log from LEVEL on: error, "
    "warning,\n"
    "info or debug. Without LEVEL print the one in force.\n"
    "\n"
    "The options are those of 'netlock --help'. It holds until the node is started anew "
    "or\n"
    "reads its configuration again (SIGHUP); the key log-level is for good.\n"
    "\n"
    "Exit status: 0 done; 69 the node is not there; else as in 'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock log-level 2 debug\n";

enum { POLL_MS = 50 };

static const char *const levels[] = {
    [NETLOCK_LOG_ERROR] = "error",
    [NETLOCK_LOG_WARNING] = "warning",
    [NETLOCK_LOG_INFO] = "info",
    [NETLOCK_LOG_DEBUG] = "debug",
};

/* The node that is meant, which has answered; or NULL, explained, with its exit status. */
static struct survey_node *
find_node(struct survey *survey, const char *text, int *ret_status)
{
    struct survey_node *node;

    survey_take(survey);
    node = survey_find(survey, text);
    if (node != NULL && node->rv == 0) {
        return node;
    }
    if (node == NULL) {
        char *escaped = text_escape(text);

        cli_say("no node that could be asked knows of a node '%s'", escaped);
        free(escaped);
        *ret_status = CLI_UNAVAILABLE;
    } else {
        *ret_status = cli_fail(survey->cli, NULL, NULL, node->rv);
    }
    return NULL;
}

static int control(const struct survey *survey,
                   const struct survey_node *node,
                   struct netlock_node_control what)
{
    int rv = netlock_node_control(node->address, &survey->cli->credentials,
                                  survey->cli->timeout_ms, &what);

    return rv == 0 ? CLI_OK : cli_fail(survey->cli, NULL, NULL, rv);
}

/* ---- drain ---- */

static void say_drained(const struct cli *cli, const struct netlock_node_status *status)
{
    struct json json = {.out = stdout};

    if (cli->json) {
        json_open_object(&json, NULL);
        json_number(&json, "node_id", status->node_id);
        json_bool(&json, "draining", status->draining);
        json_bool(&json, "serving", status->role == NETLOCK_SERVING);
        json_number(&json, "leader_id", status->leader_id);
        json_close(&json);
        return;
    }
    if (!status->draining) {
        printf("node %" PRIu64 " does not drain any more\n", status->node_id);
    } else if (status->role == NETLOCK_SERVING || status->leader_id == 0) {
        printf("node %" PRIu64 " drains, but no other node has taken over yet\n",
               status->node_id);
    } else {
        printf("node %" PRIu64 " drains; node %" PRIu64 " leads\n", status->node_id,
               status->leader_id);
    }
}

/* Until another node leads, and it knows so. When it loses its office it closes its connections, so that
 * one look may find no answer. */
static int wait_until_drained(const struct survey *survey, struct survey_node *node)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    uint64_t until_ms = cli_now_ms() + survey->cli->timeout_ms;
    bool drained;

    for (;;) {
        survey_ask(survey, node);
        if (node->rv != 0 && cli_now_ms() >= until_ms) {
            return cli_fail(survey->cli, NULL, NULL, node->rv);
        }
        drained = node->rv == 0 && node->status.leader_id != 0 &&
                  node->status.leader_id != node->status.node_id;
        if (drained || (node->rv == 0 && cli_now_ms() >= until_ms)) {
            say_drained(survey->cli, &node->status);
            return drained ? CLI_OK : CLI_UNAVAILABLE;
        }
        nanosleep(&pause, NULL);
    }
}

static int drain(struct survey *survey, struct survey_node *node, bool undo)
{
    int status = control(survey, node,
                         (struct netlock_node_control){.drain = undo ? NETLOCK_DRAIN_UNDO
                                                                     : NETLOCK_DRAIN});

    if (status != CLI_OK || !undo) {
        return status != CLI_OK ? status : wait_until_drained(survey, node);
    }
    survey_ask(survey, node);
    if (node->rv != 0) {
        return cli_fail(survey->cli, NULL, NULL, node->rv);
    }
    say_drained(survey->cli, &node->status);
    return CLI_OK;
}

int cmd_drain(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"undo", no_argument, NULL, CLI_OPTION_OWN},
                                          CLI_LONG};
    struct survey survey = {.cli = cli, .ask_ms = SURVEY_ASK_MS};
    struct survey_node *node;
    bool undo = false;
    int status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
        undo = true;
    }
    if (argc - optind != 1) {
        cli_usage(cli, "which node? its number, or its address");
    }
    node = find_node(&survey, argv[optind], &status);
    if (node != NULL) {
        status = drain(&survey, node, undo);
    }
    survey_release(&survey);
    return status;
}

/* ---- log-level ---- */

static enum netlock_log_level level_of(const struct cli *cli, const char *word)
{
    for (int level = NETLOCK_LOG_ERROR; level <= NETLOCK_LOG_DEBUG; level++) {
        if (strcmp(word, levels[level]) == 0) {
            return (enum netlock_log_level)level;
        }
    }
    cli_usage(cli, "'%s' is none of error, warning, info, debug", word);
}

static void print_level(const struct cli *cli, const struct netlock_node_status *status)
{
    const char *word = status->log_level == 0 ? "unknown" : levels[status->log_level];
    struct json json = {.out = stdout};

    if (!cli->json) {
        puts(word);
        return;
    }
    json_open_object(&json, NULL);
    json_number(&json, "node_id", status->node_id);
    json_string(&json, "log_level", word);
    json_close(&json);
}

int cmd_log_level(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {CLI_LONG};
    struct survey survey = {.cli = cli, .ask_ms = SURVEY_ASK_MS};
    struct netlock_node_control what = {0};
    struct survey_node *node;
    int status = CLI_OK;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
    }
    if (argc - optind < 1 || argc - optind > 2) {
        cli_usage(cli, "which node, and which level?");
    }
    if (argc - optind == 2) {
        what.log_level = level_of(cli, argv[optind + 1]);
    }
    node = find_node(&survey, argv[optind], &status);
    if (node != NULL && what.log_level != 0) {
        status = control(&survey, node, what);
    } else if (node != NULL) {
        print_level(cli, &node->status);
    }
    survey_release(&survey);
    return status;
}
