/* netlock release - give back a lock that `netlock acquire` took. */
#include <stdio.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_release_help[] =
    "Usage: netlock release [OPTIONS] NAME\n"
    "\n"
    "Give the lock NAME back, which 'netlock acquire' took for the same client id\n"
    "(--client-id or $NETLOCK_CLIENT_ID). If it had ended before, somebody else may "
    "have\n"
    "had it while you believed it yours: the exit status is 1.\n"
    "\n"
    "      --token N    only if it is still the hold with this fencing token\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "Exit status: 0 given back; 1 it was not held; else as in 'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock release migration --token \"$NETLOCK_TOKEN\"\n";

int cmd_release(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"token", required_argument, NULL, CLI_OPTION_OWN}, CLI_LONG};
    struct netlock *nl;
    const char *name;
    uint64_t token = 0;
    int rv, status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
        token = cli_number(cli, "--token", optarg, 1, UINT64_MAX);
    }
    name = cli_only_lock_name(cli, argc, argv);
    status = cli_open_holder(cli, &nl);
    if (status != 0) {
        return status;
    }
    rv = netlock_unlock_token(nl, name, token);
    if (rv != 0) {
        status = cli_fail(cli, nl, name, rv);
    } else if (cli->json) {
        struct json json = {.out = stdout};

        json_open_object(&json, NULL);
        json_string(&json, "name", name);
        json_bool(&json, "released", true);
        json_close(&json);
    }
    netlock_close(nl);
    return status;
}
