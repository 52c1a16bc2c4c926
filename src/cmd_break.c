/* netlock break - an operator takes a lock away. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_break_help[] =
    "Usage: netlock break [OPTIONS] NAME\n"
    "\n"
    "End every hold of the lock NAME, as if its time had passed; the next in the queue\n"
    "gets it. For operators, when a holder hangs: whoever held it may still be at work.\n"
    "'netlock run' kills its command when it hears of it; others only notice when they\n"
    "refresh, release, or show their fencing token.\n"
    "\n"
    "      --token N    only the hold with this fencing token (see 'netlock status')\n"
    "  -y, --yes        do not ask. Needed when stdin is not a terminal\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "Exit status: 0 at least one hold was ended; 1 there was none, or you said no; else\n"
    "as in 'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock status nightly && netlock break nightly --token 4711\n";

struct break_options {
    const char *name;
    uint64_t token; /* 0: every hold */
    bool yes;
};

static bool is_confirmed(const struct cli *cli, const struct break_options *options)
{
    char *shown = text_escape(options->name);
    bool confirmed =
        options->yes ||
        cli_confirm(cli, "break the lock", "Break %s of %s?",
                    options->token == 0 ? "every hold" : "the hold with this token",
                    shown);

    free(shown);
    return confirmed;
}

static void parse(struct break_options *options, struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"token", required_argument, NULL, CLI_OPTION_OWN},
        {"yes", no_argument, NULL, 'y'},
        CLI_LONG};
    int option;

    while ((option = cli_getopt(cli, argc, argv, CLI_SHORT "y", longs)) != -1) {
        if (option == 'y') {
            options->yes = true;
        } else {
            options->token = cli_number(cli, "--token", optarg, 1, UINT64_MAX);
        }
    }
    options->name = cli_only_lock_name(cli, argc, argv);
}

static void print_count(const struct cli *cli, const char *name, uint32_t count)
{
    struct json json = {.out = stdout};

    if (cli->json) {
        json_open_object(&json, NULL);
        json_string(&json, "name", name);
        json_number(&json, "broken", count);
        json_close(&json);
    } else {
        printf("%" PRIu32 " hold%s broken\n", count, count == 1 ? "" : "s");
    }
}

int cmd_break(struct cli *cli, int argc, char **argv)
{
    struct break_options options = {0};
    struct netlock *nl;
    uint32_t count = 0;
    int rv, status;

    parse(&options, cli, argc, argv);
    if (!is_confirmed(cli, &options)) {
        return CLI_CONFLICT;
    }
    status = cli_open(cli, &nl);
    if (status != 0) {
        return status;
    }
    rv = netlock_break(nl, options.name, options.token, &count);
    if (rv != 0) {
        status = cli_fail(cli, nl, options.name, rv);
    } else {
        print_count(cli, options.name, count);
        status = count > 0 ? CLI_OK : CLI_CONFLICT;
    }
    netlock_close(nl);
    return status;
}
