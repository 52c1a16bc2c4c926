/* netlock - the command line of the lock service. This file: global options, the table of
 * subcommands, and which of them was meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct cli_command commands[] = {
    {"run", "run a command while holding a lock", cmd_run_help, cmd_run},
    {"acquire", "take a lock and keep it after netlock has exited", cmd_acquire_help,
     cmd_acquire},
    {"refresh", "restart the timeout of an acquired lock", cmd_refresh_help, cmd_refresh},
    {"release", "give an acquired lock back", cmd_release_help, cmd_release},
    {"status", "who holds a lock and how many wait", cmd_status_help, cmd_status},
    {"list", "the locks that are held or waited for", cmd_list_help, cmd_list},
    {"top", "nodes, rates and locks, again and again", cmd_top_help, cmd_top},
    {"check", "is a fencing token still current?", cmd_check_help, cmd_check},
    {"break", "take a lock away from its holder", cmd_break_help, cmd_break},
    {"backup", "write a copy of the whole lock table to a file", cmd_backup_help,
     cmd_backup},
    {"client list", "the clients that the cluster knows", cmd_client_list_help,
     cmd_client_list},
    {"client kill", "end a client as if its connections had gone", cmd_client_kill_help,
     cmd_client_kill},
    {"cluster status", "the nodes: leader, terms, progress, equality", cmd_cluster_help,
     cmd_cluster_status},
    {"cluster add", "make a new node a member", cmd_cluster_add_help, cmd_cluster_add},
    {"cluster promote", "give a member a vote", cmd_cluster_promote_help,
     cmd_cluster_promote},
    {"cluster remove", "make a node no member any more", cmd_cluster_remove_help,
     cmd_cluster_remove},
    {"cluster transfer", "hand leadership to a node", cmd_cluster_transfer_help,
     cmd_cluster_transfer},
    {"drain", "let another node lead, without stopping this one", cmd_drain_help,
     cmd_drain},
    {"log-level", "how much a node logs", cmd_log_level_help, cmd_log_level},
    {"tls init", "make a certificate authority for a cluster", cmd_tls_help,
     cmd_tls_init},
    {"tls node", "make the certificate of a node", cmd_tls_help, cmd_tls_node},
    {"tls client", "make the certificate of a client", cmd_tls_help, cmd_tls_client},
    {"access-token", "make a token that says who a client is", cmd_access_token_help,
     cmd_access_token},
    {"bench", "how fast the cluster is", cmd_bench_help, cmd_bench},
};
enum { COMMANDS_COUNT = sizeof commands / sizeof *commands };

static const char help_head[] =
    "Usage: netlock [OPTIONS] COMMAND [ARGUMENTS]\n"
    "\n"
    "Locks for processes on many machines, kept by a cluster of netlockd nodes.\n"
    "\n"
    "Commands ('netlock COMMAND --help' has the manual of each):\n";

static const char help_tail[] =
    "\n"
    "Options, before or after the command:\n"
    "  --servers LIST     nodes of the cluster, host:port,host:port,... Default:\n"
    "                     $NETLOCK_SERVERS, or 127.0.0.1:7670\n"
    "  --client-id ID     act as this client\n"
    "  --timeout DUR      how long to look for a leader (10s)\n"
    "  --tls-ca FILE, --tls-cert FILE, --tls-key FILE\n"
    "                     certificates, for servers that want TLS. Default:\n"
    "                     $NETLOCK_TLS_CA, $NETLOCK_TLS_CERT, $NETLOCK_TLS_KEY\n"
    "  --access-token-file FILE\n"
    "                     says who you are where no certificate does; mode 0600.\n"
    "                     Default: $NETLOCK_ACCESS_TOKEN, the token itself\n"
    "  --json             print JSON for programs\n"
    "  -v, --verbose      say on stderr what goes on, terminal or not\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "A duration DUR is a number with ms, s, m, h or d; a plain number is seconds.\n"
    "\n"
    "Exit status:\n"
    "    0  done\n"
    "    1  somebody else holds the lock, the wait timed out, or it was not held\n"
    "   64  the command line is wrong\n"
    "   69  no leader could be reached, or the cluster has no quorum\n"
    "   71  this machine: out of memory, cannot start a process\n"
    "   76  what answers there is not a netlock server\n"
    "   77  not allowed\n"
    "   79  the lock was lost while the command ran\n"
    "\n"
    "Example: 'netlock run -n nightly -- /usr/local/bin/backup' runs the backup on\n"
    "one machine of those whose cron started it at the same minute.\n";

static int print_help(void)
{
    fputs(help_head, stdout);
    for (int i = 0; i < COMMANDS_COUNT; i++) {
        printf("  %-16s %s\n", commands[i].name, commands[i].summary);
    }
    fputs(help_tail, stdout);
    return fflush(stdout) == 0 ? CLI_OK : CLI_SYSTEM;
}

/* How many words of @argv are the name of @command; 0: another command is meant. */
static int match(const struct cli_command *command, int argc, char **argv)
{
    const char *space = strchr(command->name, ' ');
    size_t bytes;

    if (space == NULL) {
        return strcmp(argv[0], command->name) == 0;
    }
    bytes = (size_t)(space - command->name);
    if (argc < 2 || strlen(argv[0]) != bytes ||
        strncmp(argv[0], command->name, bytes) != 0) {
        return 0;
    }
    return strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
    for (int i = 0; i < COMMANDS_COUNT; i++) {
        int words = match(&commands[i], argc, argv);

        if (words > 0) {
            cli->command = &commands[i];
            optind = 0; /* getopt starts anew, at argv[1] of what it is given */
            return commands[i].run(cli, argc - words + 1, argv + words - 1);
        }
    }
    if (argc == 1 && strcmp(argv[0], "client") == 0) {
        cli_usage(cli, "client: which subcommand? 'client list', 'client kill'");
    }
    if (argc == 1 && strcmp(argv[0], "cluster") == 0) {
        cli_usage(cli, "cluster: which subcommand? 'cluster status', 'add', 'promote', "
                       "'remove' or 'transfer'");
    }
    if (argc == 1 && strcmp(argv[0], "tls") == 0) {
        cli_usage(cli, "tls: which subcommand? 'tls init', 'tls node', 'tls client'");
    }
    cli_usage(cli, "there is no command '%s%s%s'", argv[0], argc > 1 ? " " : "",
              argc > 1 ? argv[1] : "");
}

/* The options before the command. False: that was all, with *@ret_status. */
static bool parse_globals(struct cli *cli, int argc, char **argv, int *ret_status)
{
    static const struct option longs[] = {{"version", no_argument, NULL, 'V'}, CLI_LONG};
    int option;

    while ((option = cli_getopt(cli, argc, argv, "+V" CLI_SHORT, longs)) != -1) {
        if (option == 'h') {
            *ret_status = print_help();
            return false;
        }
        if (option == 'V') {
            puts("netlock " NETLOCK_VERSION);
            *ret_status = fflush(stdout) == 0 ? CLI_OK : CLI_SYSTEM;
            return false;
        }
    }
    return true;
}

/* For the completions of shells, which know nothing by themselves: the commands, or with one of
 * them, or '-', the options that it takes. */
static int complete(struct cli *cli, int argc, char **argv)
{
    int status = CLI_OK;

    if (argc == 1) {
        for (int i = 0; i < COMMANDS_COUNT; i++) {
            printf("%s\t%s\n", commands[i].name, commands[i].summary);
        }
        return CLI_OK;
    }
    cli->lists_options = true;
    if (strcmp(argv[1], "-") == 0) {
        parse_globals(cli, argc, argv, &status);
        return status;
    }
    return dispatch(cli, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    static const struct cli_command all = {.name = ""};
    char error_text[NETLOCK_ERROR_BYTES] = "";
    struct cli cli = {
        .command = &all, .timeout_ms = CLI_TIMEOUT_DEFAULT_MS, .error_text = error_text};
    int status;

    if (!parse_globals(&cli, argc, argv, &status)) {
        return status;
    }
    if (optind == argc) {
        cli_usage(&cli, "which command?");
    }
    argc -= optind;
    argv += optind;
    status = strcmp(argv[0], "complete") == 0 ? complete(&cli, argc, argv)
                                              : dispatch(&cli, argc, argv);
    if (fflush(stdout) != 0 && status == CLI_OK) {
        cli_say("cannot write the output");
        status = CLI_SYSTEM;
    }
    return status;
}
