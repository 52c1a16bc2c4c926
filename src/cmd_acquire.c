/* netlock acquire - take a lock that outlives this process (drop policy IGNORE). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_acquire_help[] =
    "Usage: netlock acquire [OPTIONS] NAME\n"
    "\n"
    "Take the lock NAME and keep it after this command has ended: until 'netlock\n"
    "release', or until --ttl has passed without a 'netlock refresh'. Where one process\n"
    "does the whole work, 'netlock run' is better: it refreshes, and stops the work\n"
    "when the lock is lost.\n"
    "\n"
    "  -s, --shared          a read lock\n"
    "  -n, --nonblock        do not wait: exit 1 at once if it is not available\n"
    "  -w, --wait DUR        wait at most so long, then exit 1; '-w 0' is -n\n"
    "  -E, --conflict-exit-code N\n"
    "                        exit N instead of 1 in these two cases\n"
    "      --ttl DUR         the lock ends by itself after this time (60s); 'unlimited'\n"
    "                        keeps it until it is released or broken by hand\n"
    "      --limit N         a counting lock: N may hold it at once\n"
    "      --info TEXT       who holds it, for 'netlock status'. Default: user and host\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "The lock belongs to a client id, which refresh and release must show: --client-id,\n"
    "or $NETLOCK_CLIENT_ID, or else a random one. It is printed with the fencing token\n"
    "as a line for the shell:\n"
    "\n"
    "  export NETLOCK_CLIENT_ID=5f0c... NETLOCK_TOKEN=17 NETLOCK_SLOT=0\n"
    "\n"
    "The same client asking again has the lock already: it keeps its token, and its\n"
    "time starts anew. An id is not a secret from people who may look at the locks.\n"
    "\n"
    "Exit status: 0 the lock is held; 1 (or -E) it is not; else as in 'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  eval \"$(netlock acquire migration --ttl 10m)\" || exit\n"
    "  step one;  netlock refresh migration || exit   # another 10 minutes\n"
    "  step two;  netlock release migration\n";

enum { TTL_DEFAULT_MS = 60000, ID_BYTES = 16 };

/* 128 random bits, as the cluster makes them; without a secret, because there is nobody to keep it. */
static int random_id(char id[static 2 * ID_BYTES + 1])
{
    uint8_t bytes[ID_BYTES];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        return -EIO;
    }
    for (int i = 0; i < ID_BYTES; i++) {
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }
    return 0;
}

/* An id may be given by a person: the line is evaluated by a shell, so a quote in it is closed. */
static void print_quoted(const char *text)
{
    putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*text);
        }
    }
    putchar('\'');
}

static void print_grant(const struct cli *cli,
                        const char *name,
                        const char *client_id,
                        const struct netlock_grant *grant)
{
    struct json json = {.out = stdout};

    if (!cli->json) {
        fputs("export NETLOCK_CLIENT_ID=", stdout);
        print_quoted(client_id);
        printf(" NETLOCK_TOKEN=%" PRIu64 " NETLOCK_SLOT=%" PRIu32 "\n", grant->token,
               grant->slot);
        return;
    }
    json_open_object(&json, NULL);
    json_string(&json, "name", name);
    json_string(&json, "client_id", client_id);
    json_number(&json, "token", grant->token);
    json_number(&json, "slot", grant->slot);
    json_string(&json, "type", grant->type == NETLOCK_READ ? "read" : "write");
    json_ms(&json, "ttl_ms", grant->lock_timeout_ms);
    json_number(&json, "index", grant->index);
    json_close(&json);
}

struct watcher {
    const struct cli *cli;
    bool told;
};

static void on_notice(void *arg, const struct netlock_notice *notice)
{
    struct watcher *watcher = arg;

    if (notice->event == NETLOCK_QUEUED && !watcher->told &&
        cli_is_watched(watcher->cli)) {
        watcher->told = true;
        cli_say_queued(watcher->cli, notice->name, notice->position);
    }
}

static int acquire(const struct cli *cli,
                   const char *name,
                   const char *client_id,
                   const struct cli_lock_options *options)
{
    struct watcher watcher = {.cli = cli};
    struct netlock_options client = cli_client_options(cli);
    struct netlock_grant grant;
    struct netlock *nl;
    int rv, status;

    client.on_notice = on_notice;
    client.arg = &watcher;
    status = cli_open_shared(cli, client_id, &client, &nl);
    if (status != 0) {
        return status;
    }
    rv = netlock_lock(nl, name, &options->lock, &grant);
    status = cli_status_of(rv);
    if (rv == 0) {
        print_grant(cli, name, client_id, &grant);
    } else if (status != CLI_CONFLICT || cli->json || cli_is_watched(cli)) {
        cli_fail(cli, nl, name, rv);
    }
    netlock_close(nl);
    return status == CLI_CONFLICT ? options->conflict_status : status;
}

int cmd_acquire(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {CLI_LOCK_LONG, CLI_LONG};
    struct cli_lock_options options = {
        .lock = {.lock_timeout_ms = TTL_DEFAULT_MS, .drop = NETLOCK_DROP_IGNORE},
        .conflict_status = CLI_CONFLICT,
    };
    char owner_info[CLI_OWNER_BYTES], id[2 * ID_BYTES + 1];
    const char *name, *client_id;
    int option, rv;

    while ((option = cli_getopt(cli, argc, argv, CLI_LOCK_SHORT, longs)) != -1) {
        cli_lock_option(cli, &options, option);
    }
    name = cli_only_lock_name(cli, argc, argv);
    if (options.lock.owner_info == NULL) {
        cli_owner_info(owner_info, NULL);
        options.lock.owner_info = owner_info;
    }
    client_id = cli_shared_client_id(cli);
    if (client_id == NULL) {
        rv = random_id(id);
        if (rv != 0) {
            return cli_fail(cli, NULL, NULL, rv);
        }
        client_id = id;
    }
    return acquire(cli, name, client_id, &options);
}
