/* netlock list - the locks of the cluster, page by page. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_show.h"
#include "cli_text.h"

const char cmd_list_help[] =
    "Usage: netlock list [OPTIONS] [PREFIX]\n"
    "\n"
    "List the locks that are held or waited for, in the order of their names, if their\n"
    "name starts with PREFIX.\n"
    "\n"
    "      --max N        stop after N locks (all)\n"
    "      --after NAME   begin behind this name, to go on where a list ended\n"
    "      --waiting      only locks that somebody waits for; --max counts these\n"
    "\n"
    "and the options of 'netlock --help'. The list is asked for in pages, each as new "
    "as\n"
    "its question; locks that come and go between two pages may be missing.\n"
    "\n"
    "HOLDERS    how many hold it, and of how many with a counting lock\n"
    "WAITING    length of the queue\n"
    "FOR, LEFT  of the oldest hold: how long it is held, and until it ends by itself\n"
    "OWNER      of the oldest hold\n"
    "\n"
    "--json has at most 4 holders of each lock, and the first 4 that wait, with their\n"
    "positions.\n"
    "\n"
    "Exit status: 0 listed, even if there are none; else as in 'netlock --help'.\n"
    "\n"
    "Examples:\n"
    "  netlock list cron.\n"
    "  netlock list --json | jq -r '.[] | select(.queue_length > 10) | .name'\n";

enum {
    PAGE_MAX = 1000,
    OPTION_AFTER = CLI_OPTION_OWN + 1,
    OPTION_WAITING,
};

struct list_options {
    const char *prefix;
    const char *after; /* NULL: from the first */
    uint64_t max;
    bool waiting; /* only what somebody waits for */
};

/* Where the rows go: a table or an array. */
struct sheet {
    const struct cli *cli;
    struct text_table table;
    struct json json;
};

static void add_object(struct sheet *sheet, const struct netlock_lock_item *item)
{
    struct json *json = &sheet->json;

    json_open_object(json, NULL);
    json_string(json, "name", item->name);
    json_string(json, "type", show_type(item->type));
    json_number(json, "limit", item->limit);
    json_number(json, "holders_count", item->holders_count);
    json_number(json, "queue_length", item->queue_length);
    json_holders(json, sheet->cli, item->holders, item->holders_shown);
    json_waiters(json, item->waiters, item->waiters_shown);
    json_close(json);
}

/* Of a page, what is asked for, and no more than @left. Returns how many that were. */
static uint64_t add_page(struct sheet *sheet,
                         const struct netlock_lock_list *page,
                         const struct list_options *options,
                         uint64_t left)
{
    uint64_t added = 0;

    for (size_t i = 0; i < page->count && added < left; i++) {
        if (options->waiting && page->items[i].queue_length == 0) {
            continue;
        }
        if (sheet->cli->json) {
            add_object(sheet, &page->items[i]);
        } else {
            show_lock(&sheet->table, &page->items[i]);
        }
        added++;
    }
    return added;
}

/* Ask for page after page until as many locks as are wanted are on the sheet. */
static int
add_pages(struct sheet *sheet, struct netlock *nl, const struct list_options *options)
{
    char after[NETLOCK_NAME_BYTES_MAX + 1] = "";
    uint64_t left = options->max;
    bool more = true;

    if (options->after != NULL) {
        snprintf(after, sizeof after, "%s", options->after);
    }
    while (more && left > 0) {
        struct netlock_lock_list page;
        uint32_t ask = left < PAGE_MAX && !options->waiting ? (uint32_t)left : PAGE_MAX;
        int rv = netlock_list_locks(nl, options->prefix, *after == '\0' ? NULL : after,
                                    ask, &page);

        if (rv != 0) {
            return rv;
        }
        left -= add_page(sheet, &page, options, left);
        more = page.more && page.count > 0;
        if (more) {
            snprintf(after, sizeof after, "%s", page.items[page.count - 1].name);
        }
        netlock_lock_list_release(&page);
    }
    return 0;
}

static void open_sheet(struct sheet *sheet)
{
    if (sheet->cli->json) {
        json_open_array(&sheet->json, NULL);
    } else {
        show_locks_heading(&sheet->table);
    }
}

static void print_sheet(struct sheet *sheet)
{
    if (sheet->cli->json) {
        json_close(&sheet->json);
    } else if (sheet->table.cells_count > sheet->table.columns) {
        text_table_print(&sheet->table, stdout);
    }
}

static void parse(struct list_options *options, struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"max", required_argument, NULL, CLI_OPTION_OWN},
        {"after", required_argument, NULL, OPTION_AFTER},
        {"waiting", no_argument, NULL, OPTION_WAITING},
        CLI_LONG};
    int option;

    while ((option = cli_getopt(cli, argc, argv, CLI_SHORT, longs)) != -1) {
        if (option == OPTION_AFTER) {
            options->after = cli_lock_name(cli, optarg);
        } else if (option == OPTION_WAITING) {
            options->waiting = true;
        } else {
            options->max = cli_number(cli, "--max", optarg, 1, UINT64_MAX);
        }
    }
    if (argc - optind > 1) {
        cli_usage(cli, "one prefix at a time");
    }
    options->prefix = argv[optind];
}

int cmd_list(struct cli *cli, int argc, char **argv)
{
    struct list_options options = {.max = UINT64_MAX};
    struct sheet sheet = {.cli = cli};
    struct netlock *nl;
    char *json_text = NULL;
    size_t json_bytes;
    int rv;

    parse(&options, cli, argc, argv);
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
    if (rv == 0) {
        print_sheet(&sheet);
    } else {
        rv = cli_fail(cli, nl, NULL, rv);
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
