/* netlock client list, client kill - the clients that the cluster knows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_client_list_help[] =
    "Usage: netlock client list [OPTIONS] [PREFIX]\n"
    "\n"
    "List the clients that the cluster knows, in the order of their ids, if their id\n"
    "starts with PREFIX: those that hold something, wait for something, or have a\n"
    "connection.\n"
    "\n"
    "      --max N      stop after N clients (all)\n"
    "      --after ID   begin behind this id, to go on where a list ended\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "HOLDS, WAITS  how many locks it has, and waits for\n"
    "CONNECTED     no: it is away, and lives on by IGNORE holds or by its grace\n"
    "\n"
    "Exit status: 0 listed, even if there are none; else as in 'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock client list --json | jq -r '.[] | select(.connected | not) | "
    ".client_id'\n";

const char cmd_client_kill_help[] =
    "Usage: netlock client kill [OPTIONS] CLIENT\n"
    "\n"
    "End the client with the id CLIENT as if its last connection had been closed: its\n"
    "waits are cancelled, its locks freed and given to the next. Then its connections "
    "are\n"
    "closed. For operators: whoever held the locks may still be at work. A program that\n"
    "uses the client library attaches again and hears that it has lost them; 'netlock "
    "run'\n"
    "kills its command.\n"
    "\n"
    "Locks of 'netlock acquire', which outlive connections, stay: see 'netlock break'.\n"
    "\n"
    "  -y, --yes        do not ask. Needed when stdin is not a terminal\n"
    "\n"
    "and the options of 'netlock --help'.\n"
    "\n"
    "Exit status: 0 it was ended; 1 there is no such client, or you said no; else as in\n"
    "'netlock --help'.\n"
    "\n"
    "Example:\n"
    "  netlock client list build- && netlock client kill build-7\n";

enum { PAGE_MAX = 1000, OPTION_AFTER = CLI_OPTION_OWN + 1 };

/* ---- list ---- */

struct list_options {
    const char *prefix;
    const char *after;
    uint64_t max;
};

struct sheet {
    const struct cli *cli;
    struct text_table table;
    struct json json;
};

static void
parse_list(struct list_options *options, struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"max", required_argument, NULL, CLI_OPTION_OWN},
        {"after", required_argument, NULL, OPTION_AFTER},
        CLI_LONG};
    int option;

    while ((option = cli_getopt(cli, argc, argv, CLI_SHORT, longs)) != -1) {
        if (option == OPTION_AFTER) {
            options->after = optarg;
        } else {
            options->max = cli_number(cli, "--max", optarg, 1, UINT64_MAX);
        }
    }
    if (argc - optind > 1) {
        cli_usage(cli, "one prefix at a time");
    }
    options->prefix = argv[optind];
}

static void add_client(struct sheet *sheet, const struct netlock_client_item *item)
{
    if (sheet->cli->json) {
        json_open_object(&sheet->json, NULL);
        json_string(&sheet->json, "client_id", item->client_id);
        json_number(&sheet->json, "holds_count", item->holds_count);
        json_number(&sheet->json, "waits_count", item->waits_count);
        json_bool(&sheet->json, "connected", item->connected);
        json_close(&sheet->json);
        return;
    }
    text_table_add(&sheet->table, item->client_id);
    text_table_addf(&sheet->table, "%" PRIu32, item->holds_count);
    text_table_addf(&sheet->table, "%" PRIu32, item->waits_count);
    text_table_add(&sheet->table, item->connected ? "yes" : "no");
}

static int
add_pages(struct sheet *sheet, struct netlock *nl, const struct list_options *options)
{
    char after[NETLOCK_NAME_BYTES_MAX + 1];
    uint64_t left = options->max;
    bool more = true;

    snprintf(after, sizeof after, "%s", options->after != NULL ? options->after : "");
    while (more && left > 0) {
        struct netlock_client_list page;
        uint32_t ask = left < PAGE_MAX ? (uint32_t)left : PAGE_MAX;
        int rv = netlock_list_clients(nl, options->prefix, after, ask, &page);

        if (rv != 0) {
            return rv;
        }
        for (size_t i = 0; i < page.count; i++) {
            add_client(sheet, &page.items[i]);
        }
        left -= page.count < left ? page.count : left;
        more = page.more && page.count > 0;
        if (more) {
            snprintf(after, sizeof after, "%s", page.items[page.count - 1].client_id);
        }
        netlock_client_list_release(&page);
    }
    return 0;
}

static void open_sheet(struct sheet *sheet)
{
    static const char *const heading[] = {"CLIENT", "HOLDS", "WAITS", "CONNECTED"};

    if (sheet->cli->json) {
        json_open_array(&sheet->json, NULL);
        return;
    }
    sheet->table.columns = sizeof heading / sizeof *heading;
    for (size_t i = 0; i < sheet->table.columns; i++) {
        text_table_add(&sheet->table, heading[i]);
    }
}

int cmd_client_list(struct cli *cli, int argc, char **argv)
{
    struct list_options options = {.max = UINT64_MAX};
    struct sheet sheet = {.cli = cli};
    struct netlock *nl;
    char *json_text = NULL;
    size_t json_bytes;
    int rv;

    parse_list(&options, cli, argc, argv);
    rv = cli_open(cli, &nl);
    if (rv != 0) {
        return rv;
    }
    /* Collected first: an error on the second page must not leave half an array on stdout. */
    sheet.json.out = open_memstream(&json_text, &json_bytes);
    if (sheet.json.out == NULL) {
        netlock_close(nl);
        return cli_fail(cli, NULL, NULL, -ENOMEM);
    }
    open_sheet(&sheet);
    rv = add_pages(&sheet, nl, &options);
    if (rv != 0) {
        rv = cli_fail(cli, nl, NULL, rv);
    } else if (cli->json) {
        json_close(&sheet.json);
    } else if (sheet.table.cells_count > sheet.table.columns) {
        text_table_print(&sheet.table, stdout);
    }
    fclose(sheet.json.out);
    if (rv == 0) {
        fwrite(json_text, 1, json_bytes, stdout);
    }
    free(json_text);
    text_table_release(&sheet.table);
    netlock_close(nl);
    return rv;
}

/* ---- kill ---- */

static bool is_confirmed(const struct cli *cli, const char *client_id)
{
    char *shown = text_escape(client_id);
    bool confirmed = cli_confirm(cli, "kill the client", "Kill client %s?", shown);

    free(shown);
    return confirmed;
}

int cmd_client_kill(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"yes", no_argument, NULL, 'y'}, CLI_LONG};
    struct netlock *nl;
    bool yes = false, found = false;
    const char *client_id;
    int rv, status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT "y", longs) != -1) {
        yes = true;
    }
    if (argc - optind != 1) {
        cli_usage(cli, "which client?");
    }
    client_id = argv[optind];
    if (!yes && !is_confirmed(cli, client_id)) {
        return CLI_CONFLICT;
    }
    status = cli_open(cli, &nl);
    if (status != 0) {
        return status;
    }
    rv = netlock_kill_client(nl, client_id, &found);
    if (rv != 0) {
        status = cli_fail(cli, nl, client_id, rv);
    } else if (!found) {
        cli_say("there is no such client");
        status = CLI_CONFLICT;
    }
    netlock_close(nl);
    return status;
}
