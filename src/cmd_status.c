/* netlock status - who holds a lock. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_text.h"
#include "cli_show.h"

const char cmd_status_help[] =
    "Usage: netlock status [OPTIONS] NAME\n"
    "\n"
    "Show who holds the lock NAME, since when, for how long yet, and how many wait. The\n"
    "answer is as new as the question: it goes through the log of the cluster.\n"
    "\n"
    "The options are those of 'netlock --help'.\n"
    "\n"
    "TOKEN      fencing token of the hold, for 'netlock check' and 'netlock break'\n"
    "FOR        how long it has been held\n"
    "LEFT       until it ends unless it is refreshed\n"
    "CLIENT     whose it is; '*' marks --client-id or $NETLOCK_CLIENT_ID\n"
    "CONNECTED  no: the client is away, and its lock ends with its grace or its time\n"
    "\n"
    "Exit status: 0 shown, whether the lock is held or free; else as in\n"
    "'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock --json status nightly | jq -r '.holders[].owner_info'\n";

static void
print_table(const struct cli *cli, const char *name, const struct netlock_status *status)
{
    char *shown_name = text_escape(name);

    printf("%s: ", shown_name);
    if (status->holders_count == 0) {
        fputs("free", stdout);
    } else if (status->limit > 1) {
        printf("held by %" PRIu32 " of %" PRIu32, status->holders_count, status->limit);
    } else {
        printf("held for %s by %" PRIu32,
               status->type == NETLOCK_READ ? "reading" : "writing",
               status->holders_count);
    }
    printf(", %" PRIu32 " waiting\n", status->queue_length);
    if (status->holders_shown > 0) {
        show_holders(cli, status->holders, status->holders_shown);
    }
    if (status->holders_count > status->holders_shown) {
        printf("and %zu more\n", status->holders_count - status->holders_shown);
    }
    free(shown_name);
}

static void
print_json(const struct cli *cli, const char *name, const struct netlock_status *status)
{
    struct json json = {.out = stdout};

    json_open_object(&json, NULL);
    json_string(&json, "name", name);
    json_string(&json, "state", status->holders_count == 0 ? "free" : "held");
    json_string(&json, "type", show_type(status->type));
    json_number(&json, "limit", status->limit);
    json_number(&json, "holders_count", status->holders_count);
    json_number(&json, "queue_length", status->queue_length);
    json_holders(&json, cli, status->holders, status->holders_shown);
    json_number(&json, "index", status->index);
    json_number(&json, "cluster_time_ms", status->cluster_time_ms);
    json_close(&json);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {CLI_LONG};
    struct netlock_status status;
    struct netlock *nl;
    const char *name;
    int rv;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
    }
    name = cli_only_lock_name(cli, argc, argv);
    rv = cli_open(cli, &nl);
    if (rv != 0) {
        return rv;
    }
    rv = netlock_status(nl, name, &status);
    if (rv != 0) {
        rv = cli_fail(cli, nl, name, rv);
    } else {
        (cli->json ? print_json : print_table)(cli, name, &status);
        netlock_status_release(&status);
    }
    netlock_close(nl);
    return rv;
}
