/* netlock cluster add, promote, remove, transfer - who is a member, and who leads. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "cli_survey.h"
#include "cli_text.h"

#define EXIT_STATUS                                                                      \
    "\n"                                                                                 \
    "and the options of 'netlock --help'.\n"                                             \
    "\n"                                                                                 \
    "Exit status: 0 done; 1 refused, with the reason; 69 no leader serves, or it did\n"  \
    "not come about in time; else as in 'netlock --help'.\n"

const char cmd_cluster_add_help[] =
    "Usage: netlock cluster add [OPTIONS] ID PEER-ADDRESS CLIENT-ADDRESS\n"
    "\n"
    "Make a new node a member of the cluster. It gets a copy of everything; when it has\n"
    "caught up, it gets a vote. The addresses are HOST:PORT, as the other nodes and as\n"
    "clients reach it; clients learn of it by themselves. ID is above that of every "
    "node\n"
    "the cluster ever had: ids are not used again.\n"
    "\n"
    "The node runs netlockd with an empty data directory, the cluster's name, this id\n"
    "and 'join = yes'; it may be started before or after. With certificates it needs "
    "one\n"
    "of its own: 'netlock tls node'. Begun again, an addition goes on where it was cut\n"
    "off.\n"
    "\n"
    "      --non-voter    only copy everything to it, and give it no vote\n"
    "  -w, --wait DUR     how long it may take to catch up (10m)\n" EXIT_STATUS "\n"
    "Example, on a new machine, and then anywhere:\n"
    "  netlockd --join yes --cluster prod --node-id 4 --listen 10.0.0.4:7670 ...\n"
    "  netlock cluster add 4 10.0.0.4:7671 10.0.0.4:7670\n";

const char cmd_cluster_promote_help[] =
    "Usage: netlock cluster promote [OPTIONS] ID\n"
    "\n"
    "Give a member a vote that was added with --non-voter, once it has caught up.\n"
    "\n"
    "      --force        although a majority of those that then vote is not connected\n"
    "  -w, --wait DUR     how long it may take to catch up (10m)\n" EXIT_STATUS;

const char cmd_cluster_remove_help[] =
    "Usage: netlock cluster remove [OPTIONS] ID\n"
    "\n"
    "Make a node no member any more, whether it runs or is lost: for good, because ids\n"
    "are not used again. The leader hands leadership over first. Afterwards the node\n"
    "can be stopped and its data directory deleted; the machine may come back under a\n"
    "new id. To replace a dead node, remove it first and then add the new one: an\n"
    "absent voter counts in every majority.\n"
    "\n"
    "      --force        although a majority of those that then vote is not connected:\n"
    "                     the cluster may stand still until they are back\n"
    "  -y, --yes          do not ask. Needed when stdin is not a terminal\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "Exit status: 0 done; 1 refused, with the reason, or you said no; 69 no leader\n"
    "serves, or it did not come about in time; else as in 'netlock --help'.\n";

const char cmd_cluster_transfer_help[] =
    "Usage: netlock cluster transfer [OPTIONS] ID\n"
    "\n"
    "Hand leadership to this node, as before maintenance of the machine that leads.\n"
    "Clients keep what they hold and where they wait.\n" EXIT_STATUS;

enum {
    CHANGE_MS = 90000, /* longer than the leader tries */
    POLL_MS = 200,
    LAG_MAX = 64,   /* entries; more than a busy cluster writes between two looks */
    SHOW_MS = 2000, /* between two lines, when stderr is no terminal */
    OPTION_NON_VOTER = CLI_OPTION_OWN,
    OPTION_FORCE,
    WAIT_MS_DEFAULT = 600000,
};

static const char *const names[] = {
    [NETLOCK_CHANGE_ADD] = "add",
    [NETLOCK_CHANGE_PROMOTE] = "promote",
    [NETLOCK_CHANGE_REMOVE] = "remove",
    [NETLOCK_CHANGE_TRANSFER] = "transfer",
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&pause, NULL);
}

/* ---- one change ---- */

struct order {
    const struct cli *cli;
    struct netlock_cluster_change change;
    bool uncertain; /* an attempt ended without an answer */
    uint32_t wait_ms;
    bool non_voter, yes;
    uint64_t shown_ms;
};

static bool is_gone(struct survey *survey, const struct order *order)
{
    return order->uncertain && order->change.change == NETLOCK_CHANGE_REMOVE &&
           survey_member(survey, order->change.node_id) == NULL;
}

/* Ask the leader once. True: that was it, with *@ret_status. */
static bool try_once(struct order *order, struct survey *survey, int *ret_status)
{
    char text[NETLOCK_ERROR_BYTES] = "";
    enum netlock_change_result result = NETLOCK_CHANGE_UNKNOWN;
    const struct survey_node *leader = survey_leader(survey);

    if (is_gone(survey, order)) {
        *ret_status = CLI_OK; /* the attempt before this one did it */
        return true;
    }
    int rv = netlock_change_cluster(leader->address, &order->cli->credentials, CHANGE_MS,
                                    &order->change, &result, text);
    if (rv == -NETLOCK_EDENIED || rv == -ENOMEM) {
        *ret_status = cli_fail(order->cli, NULL, NULL, rv);
        return true;
    }
    if (rv == 0 && result == NETLOCK_CHANGE_REFUSED) {
        char *shown = text_escape(text);
        cli_say("cluster %s %" PRIu64 ": %s", names[order->change.change],
                order->change.node_id, shown);
        free(shown);
        *ret_status = CLI_CONFLICT;
        return true;
    }
    order->uncertain |= rv != 0 || result == NETLOCK_CHANGE_UNKNOWN;
    *ret_status = CLI_OK;
    return rv == 0 && result == NETLOCK_CHANGE_DONE;
}

/* Go to the leader, and to the next one if it changes meanwhile. */
static int carry_out(struct order *order)
{
    uint64_t end_ms = now_ms() + order->cli->timeout_ms;
    int status = CLI_UNAVAILABLE;

    for (;;) {
        struct survey survey = {.cli = order->cli, .ask_ms = SURVEY_ASK_MS};
        survey_take(&survey);
        bool led = survey_leader(&survey) != NULL;
        bool over = led && try_once(order, &survey, &status);
        survey_release(&survey);
        if (over) {
            return status;
        }
        if (now_ms() >= end_ms) {
            cli_say(
                order->uncertain
                    ? "no leader serves; the change may or may not have been done: look "
                      "at 'netlock cluster status'"
                    : "no leader serves");
            return CLI_UNAVAILABLE;
        }
        pause_ms(POLL_MS);
    }
}

/* ---- catching up ---- */

static void show_progress(struct order *order, uint64_t has, uint64_t of, bool connected)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    uint64_t now = now_ms();

    if (!cli_is_watched(order->cli) ||
        (!terminal && order->shown_ms != 0 && now - order->shown_ms < SHOW_MS)) {
        return;
    }
    order->shown_ms = now;
    fprintf(stderr, "%snode %" PRIu64 ": %" PRIu64 " of %" PRIu64 " entries%s%s",
            terminal ? "\r" : "", order->change.node_id, has, of,
            connected ? "" : ", not connected: does it run with 'join = yes'?",
            terminal ? "\033[K" : "\n");
}

static void end_progress(const struct order *order)
{
    if (order->shown_ms != 0 && isatty(STDERR_FILENO) == 1) {
        fputc('\n', stderr);
    }
}

/* Whether the member has all but a few entries, as the leader knows. */
static bool has_caught_up(struct order *order)
{
    struct survey survey = {.cli = order->cli, .ask_ms = SURVEY_ASK_MS};
    bool caught_up = false;

    survey_take(&survey);
    const struct survey_node *leader = survey_leader(&survey);
    const struct netlock_member *member = survey_member(&survey, order->change.node_id);
    if (member != NULL) {
        uint64_t last = leader->status.last_index;
        show_progress(order, member->match_index, last, member->connected);
        caught_up = member->voter || (member->connected && member->match_index > 0 &&
                                      member->match_index + LAG_MAX >= last);
    }
    survey_release(&survey);
    return caught_up;
}

static int promote(struct order *order)
{
    uint64_t end_ms = now_ms() + order->wait_ms;

    order->change.change = NETLOCK_CHANGE_PROMOTE;
    while (!has_caught_up(order)) {
        if (now_ms() >= end_ms) {
            end_progress(order);
            cli_say("node %" PRIu64 " has not caught up; it is a member without a vote: "
                    "'netlock cluster promote %" PRIu64 "' when it has",
                    order->change.node_id, order->change.node_id);
            return CLI_UNAVAILABLE;
        }
        pause_ms(POLL_MS);
    }
    end_progress(order);
    return carry_out(order);
}

/* ---- the commands ---- */

static int done(const struct order *order, int status)
{
    if (status == CLI_OK && order->cli->json) {
        struct json json = {.out = stdout};

        json_open_object(&json, NULL);
        json_number(&json, "node_id", order->change.node_id);
        json_string(&json, "change", names[order->change.change]);
        json_close(&json);
    }
    return status;
}

static struct order parse(struct cli *cli,
                          int argc,
                          char **argv,
                          enum netlock_change change,
                          const char *shorts,
                          const struct option *options,
                          int arguments)
{
    struct order order = {
        .cli = cli, .change = {.change = change}, .wait_ms = WAIT_MS_DEFAULT};
    int option;

    while ((option = cli_getopt(cli, argc, argv, shorts, options)) != -1) {
        switch (option) {
        case OPTION_NON_VOTER:
            order.non_voter = true;
            break;
        case OPTION_FORCE:
            order.change.force = true;
            break;
        case 'y':
            order.yes = true;
            break;
        default:
            order.wait_ms = cli_duration(cli, "--wait", optarg);
        }
    }
    if (argc - optind != arguments) {
        cli_usage(cli, arguments == 1 ? "which node?"
                                      : "needs ID PEER-ADDRESS CLIENT-ADDRESS");
    }
    order.change.node_id = cli_number(cli, "ID", argv[optind], 1, INT64_MAX);
    return order;
}

static const struct option add_longs[] = {
    {"non-voter", no_argument, NULL, OPTION_NON_VOTER},
    {"wait", required_argument, NULL, 'w'},
    CLI_LONG};
static const struct option promote_longs[] = {{"force", no_argument, NULL, OPTION_FORCE},
                                              {"wait", required_argument, NULL, 'w'},
                                              CLI_LONG};
static const struct option remove_longs[] = {{"force", no_argument, NULL, OPTION_FORCE},
                                             {"yes", no_argument, NULL, 'y'},
                                             CLI_LONG};
static const struct option transfer_longs[] = {CLI_LONG};

int cmd_cluster_add(struct cli *cli, int argc, char **argv)
{
    struct order order =
        parse(cli, argc, argv, NETLOCK_CHANGE_ADD, CLI_SHORT "w:", add_longs, 3);

    order.change.peer_address = argv[optind + 1];
    order.change.client_address = argv[optind + 2];
    int status = carry_out(&order);
    if (status == CLI_OK && !order.non_voter) {
        status = promote(&order);
    }
    order.change.change = NETLOCK_CHANGE_ADD;
    return done(&order, status);
}

int cmd_cluster_promote(struct cli *cli, int argc, char **argv)
{
    struct order order =
        parse(cli, argc, argv, NETLOCK_CHANGE_PROMOTE, CLI_SHORT "w:", promote_longs, 1);

    return done(&order, promote(&order));
}

int cmd_cluster_remove(struct cli *cli, int argc, char **argv)
{
    struct order order =
        parse(cli, argc, argv, NETLOCK_CHANGE_REMOVE, CLI_SHORT "y", remove_longs, 1);

    if (!order.yes && !cli_confirm(cli, "remove the node", "Remove node %" PRIu64 "%s?",
                                   order.change.node_id,
                                   order.change.force ? " whatever it costs" : "")) {
        return CLI_CONFLICT;
    }
    return done(&order, carry_out(&order));
}

int cmd_cluster_transfer(struct cli *cli, int argc, char **argv)
{
    struct order order =
        parse(cli, argc, argv, NETLOCK_CHANGE_TRANSFER, CLI_SHORT, transfer_longs, 1);

    return done(&order, carry_out(&order));
}
