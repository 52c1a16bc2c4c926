/* netlock top - what the status page shows, in a terminal. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cli_screen.h"
#include "cli_show.h"
#include "cli_survey.h"
#include "cli_text.h"

const char cmd_top_help[] =
    "Usage: netlock top [OPTIONS] [PREFIX]\n"
    "\n"
    "Show the nodes of the cluster, its rates, and its locks if their name starts with\n"
    "PREFIX, again and again.\n"
    "\n"
    "      --once           show it once, and exit; without rates\n"
    "      --interval DUR   how long between two looks (2s)\n"
    "      --sort KEY       name, waiting, for or left\n"
    "\n"
    "and the options of 'netlock --help', without --json: 'cluster status' and 'list'\n"
    "have it. Where stdin or stdout is no terminal, or $TERM is dumb, one picture is\n"
    "printed below the other.\n"
    "\n"
    "Keys:\n"
    "  q       quit\n"
    "  n       locks in the order of their names\n"
    "  w       the longest queues first\n"
    "  f       those that are held longest first\n"
    "  l       those that end soonest first\n"
    "  p       with or without those who wait\n"
    "  SPACE   look now\n"
    "\n"
    "The nodes are as in 'netlock cluster status', the locks as in 'netlock list'.\n"
    "Below a lock are the first 4 that wait for it: WAITING is their position, 1. is\n"
    "next, FOR how long they have waited, LEFT until they give up; then how many more.\n"
    "Of the locks the first 1000 by name are looked at, and sorted. Each look is one\n"
    "entry in the log of the cluster. Rates are those of the leader between two looks;\n"
    "COMMIT is the mean time from a command to its answer.\n"
    "\n"
    "Exit status: 0 the end was asked for, or --once saw a leader; 69 --once saw none;\n"
    "else as in 'netlock --help'.\n"
    "\n"
    "Examples:\n"
    "  netlock top cron.\n"
    "  netlock top --once --sort waiting | head -20\n";

enum {
    LOCKS_MAX = 1000, /* one page of the protocol */
    OPEN_MS = 1000,
    NODE_ASK_MS = 500,
    INTERVAL_DEFAULT_MS = 2000,
    INTERVAL_MIN_MS = 100,
    OPTION_INTERVAL = CLI_OPTION_OWN + 1,
    OPTION_SORT,
};

enum sort { SORT_NAME, SORT_WAITING, SORT_FOR, SORT_LEFT, SORTS_COUNT };
static const struct {
    const char *word;
    char key;
} sorts[SORTS_COUNT] = {
    [SORT_NAME] = {"name", 'n'},
    [SORT_WAITING] = {"waiting", 'w'},
    [SORT_FOR] = {"for", 'f'},
    [SORT_LEFT] = {"left", 'l'},
};

/* What the leader had counted at a look. */
struct sample {
    uint64_t at_ms, node_id, uptime_ms;
    uint64_t requests, tokens, commits, commits_us;
};

struct top {
    const struct cli *cli;
    const char *prefix; /* may be NULL */
    enum sort sort;
    uint32_t interval_ms;
    bool once, without_queues;
    struct netlock *nl; /* NULL: not open yet */
    struct screen screen;
    struct survey survey;
    struct sample last;
};

/* ---- sorting ---- */

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static uint64_t held_ms(const struct netlock_lock_item *item)
{
    return item->holders_shown > 0 ? item->holders[0].since_ms : 0;
}

static uint64_t left_ms(const struct netlock_lock_item *item)
{
    return item->holders_shown > 0 ? item->holders[0].remaining_ms : NETLOCK_UNLIMITED;
}

static int compare_locks(const void *a, const void *b, void *arg)
{
    const struct netlock_lock_item *first = a, *second = b;
    int order = 0;

    switch (*(const enum sort *)arg) {
    case SORT_WAITING:
        order = compare(second->queue_length, first->queue_length);
        break;
    case SORT_FOR:
        order = compare(held_ms(second), held_ms(first));
        break;
    case SORT_LEFT:
        order = compare(left_ms(first), left_ms(second));
        break;
    case SORT_NAME:
    case SORTS_COUNT:
        break;
    }
    return order != 0 ? order : strcmp(first->name, second->name);
}

/* ---- one picture ---- */

static struct sample sample_of(const struct survey_node *leader)
{
    const struct netlock_node_status *status = &leader->status;

    return (struct sample){.at_ms = cli_now_ms(),
                           .node_id = status->node_id,
                           .uptime_ms = status->uptime_ms,
                           .requests = status->requests,
                           .tokens = status->last_token,
                           .commits = status->commits,
                           .commits_us = status->commits_us};
}

/* Counters of another node, or of the same after a restart, have nothing to do with the last ones. */
static void put_rates(struct top *top, const struct survey_node *leader)
{
    struct sample now = sample_of(leader), last = top->last;
    double seconds = (double)(now.at_ms - last.at_ms) / 1000;
    uint64_t commits = now.commits - last.commits;
    char line[160], mean[32] = "-";

    top->last = now;
    if (now.node_id != last.node_id || now.uptime_ms <= last.uptime_ms || seconds <= 0) {
        screen_put(&top->screen, SCREEN_PLAIN, "rates: at the next look");
        return;
    }
    if (commits > 0) {
        snprintf(mean, sizeof mean, "%.2f ms",
                 (double)(now.commits_us - last.commits_us) / (double)commits / 1000);
    }
    snprintf(line, sizeof line, "rates: %.1f requests/s, %.1f grants/s, commit %s",
             (double)(now.requests - last.requests) / seconds,
             (double)(now.tokens - last.tokens) / seconds, mean);
    screen_put(&top->screen, SCREEN_PLAIN, line);
}

static void put_nodes(struct top *top)
{
    struct survey_node *leader;
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL) {
        abort();
    }
    survey_take(&top->survey);
    survey_print(&top->survey, false, out);
    fclose(out);
    screen_put_table(&top->screen, text);
    free(text);
    leader = survey_leader(&top->survey);
    if (leader != NULL && !top->once) {
        put_rates(top, leader);
    }
    screen_put(&top->screen, SCREEN_PLAIN, "");
}

static void put_locks(struct top *top, struct netlock_lock_list *list)
{
    struct text_table table = {.width_max = top->screen.columns / 3};
    char *text, line[80];
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL) {
        abort();
    }
    if (list->count == 0) {
        screen_put(&top->screen, SCREEN_PLAIN,
                   top->prefix == NULL ? "no locks" : "no locks of that name");
    } else {
        qsort_r(list->items, list->count, sizeof *list->items, compare_locks, &top->sort);
        show_locks_heading(&table);
        for (size_t i = 0; i < list->count; i++) {
            show_lock(&table, &list->items[i]);
            if (!top->without_queues) {
                show_queue(&table, &list->items[i]);
            }
        }
        text_table_print(&table, out);
    }
    fclose(out);
    if (list->more) {
        snprintf(line, sizeof line, "the first %zu locks by name, by %s:", list->count,
                 sorts[top->sort].word);
        screen_put(&top->screen, SCREEN_PLAIN, line);
    }
    screen_put_table(&top->screen, text);
    free(text);
    text_table_release(&table);
}

static int open_client(struct top *top)
{
    struct netlock_options options = cli_client_options(top->cli);

    if (options.connect_timeout_ms > OPEN_MS && !top->once) {
        options.connect_timeout_ms =
            OPEN_MS; /* there is another look, and keys are pressed */
    }
    options.share_id = options.client_id != NULL;
    return top->nl != NULL ? 0 : netlock_open(&top->nl, &options);
}

/* Returns 0, or why there are no locks in the picture. */
static int look(struct top *top)
{
    struct netlock_lock_list list;
    int rv;

    put_nodes(top);
    rv = open_client(top);
    if (rv == 0) {
        rv = netlock_list_locks(top->nl, top->prefix, NULL, LOCKS_MAX, &list);
    }
    if (rv == 0) {
        put_locks(top, &list);
        netlock_lock_list_release(&list);
    } else {
        char line[NETLOCK_ERROR_BYTES];

        snprintf(line, sizeof line, "no locks to show: %s", netlock_strerror(rv));
        screen_put(&top->screen, SCREEN_PLAIN, line);
    }
    survey_release(&top->survey);
    return rv;
}

/* ---- again and again ---- */

/* Wait for the next look. False: it is over. */
static bool wait_for_next(struct top *top, int *ret_status)
{
    for (uint64_t until_ms = cli_now_ms() + top->interval_ms, at_ms;
         (at_ms = cli_now_ms()) < until_ms;) {
        int key = screen_wait(&top->screen, (uint32_t)(until_ms - at_ms));

        if (key == 'q' || key == 'Q' || key == SCREEN_END) {
            *ret_status = CLI_OK;
            return false;
        }
        if (key == SCREEN_BROKEN) {
            *ret_status = CLI_SYSTEM;
            return false;
        }
        if (key == ' ' || key == SCREEN_RESIZED) {
            return true;
        }
        if (key == 'p') {
            top->without_queues = !top->without_queues;
            return true;
        }
        for (int sort = 0; sort < SORTS_COUNT; sort++) {
            if (key == sorts[sort].key) {
                top->sort = (enum sort)sort;
                return true;
            }
        }
    }
    return true;
}

static int watch(struct top *top)
{
    int status, rv;

    do {
        rv = look(top);
        screen_paint(
            &top->screen,
            " q quit   sort: n name  w waiting  f for  l left   p waiters   SPACE now ");
        if (top->once) {
            return cli_status_of(rv);
        }
        if (!top->screen.is_terminal) {
            puts(""); /* between two pictures */
        }
        /* Not allowed stays so; everything else may be better the next time. */
        if (rv == -NETLOCK_EDENIED || rv == -NETLOCK_EPROTOCOL) {
            return cli_status_of(rv);
        }
    } while (wait_for_next(top, &status));
    return status;
}

static enum sort sort_of(const struct cli *cli, const char *word)
{
    for (int sort = 0; sort < SORTS_COUNT; sort++) {
        if (strcmp(word, sorts[sort].word) == 0) {
            return (enum sort)sort;
        }
    }
    cli_usage(cli, "--sort: '%s' is none of name, waiting, for, left", word);
}

static void parse(struct top *top, struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"once", no_argument, NULL, CLI_OPTION_OWN},
        {"interval", required_argument, NULL, OPTION_INTERVAL},
        {"sort", required_argument, NULL, OPTION_SORT},
        CLI_LONG};
    int option;

    while ((option = cli_getopt(cli, argc, argv, CLI_SHORT, longs)) != -1) {
        if (option == OPTION_INTERVAL) {
            top->interval_ms = cli_duration(cli, "--interval", optarg);
        } else if (option == OPTION_SORT) {
            top->sort = sort_of(cli, optarg);
        } else {
            top->once = true;
        }
    }
    if (cli->json) {
        cli_usage(cli, "no --json here: 'cluster status' and 'list' have it");
    }
    if (top->interval_ms < INTERVAL_MIN_MS || top->interval_ms > 24 * 3600 * 1000) {
        cli_usage(cli, "--interval: not from 100ms to 24h");
    }
    if (argc - optind > 1) {
        cli_usage(cli, "one prefix at a time");
    }
    top->prefix = argv[optind];
}

int cmd_top(struct cli *cli, int argc, char **argv)
{
    struct top top = {.cli = cli,
                      .interval_ms = INTERVAL_DEFAULT_MS,
                      .survey = {.cli = cli, .ask_ms = NODE_ASK_MS}};
    int status;

    parse(&top, cli, argc, argv);
    screen_open(&top.screen, top.once ? SCREEN_NO_TERMINAL : SCREEN_IF_TERMINAL);
    status = watch(&top);
    screen_close(&top.screen);
    if (top.nl != NULL) {
        netlock_close(top.nl);
    }
    return status;
}
