/* netlock refresh - another --ttl for a lock that `netlock acquire` took. */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_refresh_help[] =
    "Usage: netlock refresh [OPTIONS] NAME\n"
    "\n"
    "Restart the time of the lock NAME, which 'netlock acquire' took for the same "
    "client\n"
    "id (--client-id or $NETLOCK_CLIENT_ID). A lock that has ended is not taken again:\n"
    "then somebody else may have had it meanwhile, and the exit status is 1.\n"
    "\n"
    "      --ttl DUR    the new time, or 'unlimited'. Default: as long as before\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "Exit status: 0 held, and refreshed; 1 not held any more; else as in\n"
    "'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock refresh migration --ttl 30m || echo 'too late'\n";

static void print_grant(const char *name, const struct netlock_grant *grant)
{
    struct json json = {.out = stdout};

    json_open_object(&json, NULL);
    json_string(&json, "name", name);
    json_number(&json, "token", grant->token);
    json_ms(&json, "ttl_ms", grant->lock_timeout_ms);
    json_number(&json, "index", grant->index);
    json_close(&json);
}

int cmd_refresh(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"ttl", required_argument, NULL, CLI_OPTION_OWN}, CLI_LONG};
    struct netlock_grant grant;
    struct netlock *nl;
    const char *name;
    uint32_t ttl_ms = 0;
    int rv, status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
        ttl_ms = cli_ttl(cli, "--ttl", optarg);
    }
    name = cli_only_lock_name(cli, argc, argv);
    status = cli_open_holder(cli, &nl);
    if (status != 0) {
        return status;
    }
    rv = netlock_refresh(nl, name, ttl_ms, NULL, &grant);
    if (rv != 0) {
        status = cli_fail(cli, nl, name, rv);
    } else if (cli->json) {
        print_grant(name, &grant);
    }
    netlock_close(nl);
    return status;
}
