/* netlock check - a resource asks whether a fencing token is still good. */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_check_help[] =
    "Usage: netlock check [OPTIONS] NAME TOKEN\n"
    "\n"
    "Ask whether the hold of the lock NAME with the fencing token TOKEN still exists. "
    "For\n"
    "a resource (a store, a device) that is about to do what somebody with this token\n"
    "asks for. Safer still is a resource that remembers the greatest token it has seen\n"
    "and refuses smaller ones: that needs no question.\n"
    "\n"
    "The options are those of 'netlock --help'. Prints 'current', 'superseded by N' or\n"
    "'free'.\n"
    "\n"
    "Exit status: 0 current; 1 superseded, or nobody holds the lock; else as in\n"
    "'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock check deploy \"$NETLOCK_TOKEN\" && kubectl apply -f new.yaml\n";

static const char *state_word(enum netlock_token_state state)
{
    switch (state) {
    case NETLOCK_CURRENT:
        return "current";
    case NETLOCK_SUPERSEDED:
        return "superseded";
    case NETLOCK_TOKEN_FREE:
        return "free";
    }
    return "unknown";
}

static void print_state(const struct cli *cli,
                        const char *name,
                        uint64_t token,
                        enum netlock_token_state state,
                        uint64_t by)
{
    struct json json = {.out = stdout};

    if (cli->json) {
        json_open_object(&json, NULL);
        json_string(&json, "name", name);
        json_number(&json, "token", token);
        json_string(&json, "state", state_word(state));
        if (state == NETLOCK_SUPERSEDED) {
            json_number(&json, "superseded_by", by);
        }
        json_close(&json);
    } else if (state == NETLOCK_SUPERSEDED) {
        printf("superseded by %" PRIu64 "\n", by);
    } else {
        puts(state_word(state));
    }
}

int cmd_check(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {CLI_LONG};
    enum netlock_token_state state;
    uint64_t token, by = 0;
    struct netlock *nl;
    const char *name;
    int rv, status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
    }
    if (argc - optind != 2) {
        cli_usage(cli, "the name of a lock and a token, please");
    }
    name = cli_lock_name(cli, argv[optind]);
    token = cli_number(cli, "TOKEN", argv[optind + 1], 0, UINT64_MAX);
    status = cli_open(cli, &nl);
    if (status != 0) {
        return status;
    }
    rv = netlock_check_token(nl, name, token, &state, &by);
    if (rv != 0) {
        status = cli_fail(cli, nl, name, rv);
    } else {
        print_state(cli, name, token, state, by);
        status = state == NETLOCK_CURRENT ? CLI_OK : CLI_CONFLICT;
    }
    netlock_close(nl);
    return status;
}
