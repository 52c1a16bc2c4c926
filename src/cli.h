/* cli.h - what the subcommands of `netlock` share: options, exit statuses, words for people.
 *
 * netlock.c has the table of subcommands; each lives in its cmd_*.c and sees the client library by
 * its public header only. The functions that end the process (marked noreturn) are for the command
 * line's own mistakes, before anything was asked of the cluster; everything later returns an exit
 * status up to main().
 */
#ifndef NETLOCK_CLI_H
#define NETLOCK_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "netlock.h"

/* Numbers of sysexits.h where it has one; 79 is ours. */
enum cli_exit {
    CLI_OK = 0,
    CLI_CONFLICT =
        1, /* somebody else holds it, the wait timed out, not held, superseded */
    CLI_USAGE = 64,
    CLI_UNAVAILABLE = 69, /* no leader, or no quorum behind it */
    CLI_SYSTEM = 71,      /* this machine: no memory, no process */
    CLI_PROTOCOL = 76,    /* whoever answers there is not a netlock server */
    CLI_DENIED = 77,
    CLI_LOST = 79,
};

struct cli;

struct cli_command {
    const char *name; /* one word, or two with a space between them */
    const char *summary;
    const char *help; /* the manual page, printed as it is; NULL: none */
    int (*run)(struct cli *cli,
               int argc,
               char **argv); /* argv[0] is the name; exit status */
};

/* The global options, and whose command line it is. */
struct cli {
    const struct cli_command *command;
    const char *servers;   /* NULL: the library's default */
    const char *client_id; /* --client-id; NULL: not given */
    uint32_t timeout_ms;   /* for finding a leader */
    struct netlock_credentials
        credentials;  /* --tls-ca, --tls-cert, --tls-key, --access-token-file */
    char *error_text; /* NETLOCK_ERROR_BYTES: why the last client could not be opened */
    bool json;
    bool verbose;
    bool lists_options; /* cli_getopt() prints the options that it is given, and exits */
};

enum { CLI_TIMEOUT_DEFAULT_MS = 10000, CLI_OWNER_BYTES = NETLOCK_NAME_BYTES_MAX + 1 };

/* ---- command line ------------------------------------------------------------------------------
 * A subcommand's short options start with CLI_SHORT (after a '+', if it needs one), its struct option
 * array ends with CLI_LONG, its own long-only options are CLI_OPTION_OWN and up. */
#define CLI_SHORT "hv"
enum {
    CLI_OPTION_SERVERS = 256,
    CLI_OPTION_CLIENT_ID,
    CLI_OPTION_JSON,
    CLI_OPTION_TIMEOUT,
    CLI_OPTION_TLS_CA,
    CLI_OPTION_TLS_CERT,
    CLI_OPTION_TLS_KEY,
    CLI_OPTION_ACCESS_TOKEN_FILE,
    CLI_OPTION_OWN,
};
#define CLI_LONG                                                                         \
    {"servers", required_argument, NULL, CLI_OPTION_SERVERS},                            \
        {"client-id", required_argument, NULL, CLI_OPTION_CLIENT_ID},                    \
        {"json", no_argument, NULL, CLI_OPTION_JSON},                                    \
        {"timeout", required_argument, NULL, CLI_OPTION_TIMEOUT},                        \
        {"tls-ca", required_argument, NULL, CLI_OPTION_TLS_CA},                          \
        {"tls-cert", required_argument, NULL, CLI_OPTION_TLS_CERT},                      \
        {"tls-key", required_argument, NULL, CLI_OPTION_TLS_KEY},                        \
        {"access-token-file", required_argument, NULL, CLI_OPTION_ACCESS_TOKEN_FILE},    \
        {"verbose", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'},           \
    {                                                                                    \
        NULL, 0, NULL, 0                                                                 \
    }

/* As getopt_long(), but takes care of the global options, of --help and of mistakes itself: returns
 * an option of the subcommand ('h' if the command has no help of its own), or -1 at the end. */
int cli_getopt(struct cli *cli,
               int argc,
               char **argv,
               const char *shorts,
               const struct option *longs);

/* Say what is wrong with the command line and where help is; exit CLI_USAGE. */
__attribute__((format(printf, 2, 3))) noreturn void
cli_usage(const struct cli *cli, const char *format, ...);

/* Values of options; @what names the option for cli_usage(). A duration is a number with ms, s, m, h
 * or d, a plain one being seconds; cli_ttl() also takes "unlimited" and refuses zero. */
uint32_t cli_duration(const struct cli *cli, const char *what, const char *text);
uint32_t cli_ttl(const struct cli *cli, const char *what, const char *text);
uint64_t cli_number(const struct cli *cli,
                    const char *what,
                    const char *text,
                    uint64_t min,
                    uint64_t max);
int cli_exit_status(const struct cli *cli, const char *what, const char *text);

/* 0 and @ret_ms, or -EINVAL. */
int cli_parse_duration(const char *text, uint32_t *ret_ms);

/* The lock options that `run` and `acquire` have in common: -s -n -w -E --ttl --limit --info. */
struct cli_lock_options {
    struct netlock_lock_options lock; /* owner_info is NULL until --info */
    int conflict_status;
};
enum {
    CLI_OPTION_TTL = CLI_OPTION_OWN,
    CLI_OPTION_LIMIT,
    CLI_OPTION_INFO,
    CLI_OPTION_RUN, /* the next free one */
};
#define CLI_LOCK_SHORT CLI_SHORT "snw:E:"
#define CLI_LOCK_LONG                                                                    \
    {"shared", no_argument, NULL, 's'}, {"nonblock", no_argument, NULL, 'n'},            \
        {"wait", required_argument, NULL, 'w'},                                          \
        {"conflict-exit-code", required_argument, NULL, 'E'},                            \
        {"ttl", required_argument, NULL, CLI_OPTION_TTL},                                \
        {"limit", required_argument, NULL, CLI_OPTION_LIMIT},                            \
    {                                                                                    \
        "info", required_argument, NULL, CLI_OPTION_INFO                                 \
    }
/* Take @option (with getopt's optarg) into @options; false if it is none of them. */
bool cli_lock_option(const struct cli *cli, struct cli_lock_options *options, int option);

/* A lock's name as argument; refuses what every server would refuse. */
const char *cli_lock_name(const struct cli *cli, const char *name);
/* The same, where it is the only argument that getopt left. */
const char *cli_only_lock_name(const struct cli *cli, int argc, char **argv);

/* Who asks, for people who look at `netlock status`: "user@host pid 123 make", or "user@host" if
 * @program is NULL. Only its name: its arguments may be secret, and the whole cluster can read this. */
void cli_owner_info(char buffer[static CLI_OWNER_BYTES], const char *program);

/* ---- the cluster ------------------------------------------------------------------------------- */

struct netlock_options cli_client_options(const struct cli *cli);

/* A client of its own for a question: a fresh id unless --client-id. 0 and @ret, or the exit status,
 * already explained on stderr. */
int cli_open(const struct cli *cli, struct netlock **ret);

/* The id that acquire, refresh and release share: --client-id or $NETLOCK_CLIENT_ID; may be NULL. */
const char *cli_shared_client_id(const struct cli *cli);

/* Be @client_id, beside other processes that are the same client, with the rest of @options. */
int cli_open_shared(const struct cli *cli,
                    const char *client_id,
                    const struct netlock_options *options,
                    struct netlock **ret);

/* Be the client that acquired; without an id, a mistake of the command line. */
int cli_open_holder(const struct cli *cli, struct netlock **ret);

/* Exit status for a negative return value of the library. */
int cli_status_of(int rv);

/* Explain @rv, which @nl (may be NULL) answered about @name (may be NULL), and return its exit
 * status. With --json an object with "error" and "exit" on stdout; else a line on stderr. */
int cli_fail(const struct cli *cli, const struct netlock *nl, const char *name, int rv);

/* Ask on the terminal whether to do what cannot be undone. Where stdin is none, a mistake of the command line:
 * "to @deed, say --yes". */
__attribute__((format(printf, 3, 4))) bool
cli_confirm(const struct cli *cli, const char *deed, const char *question, ...);

/* Steady time, which counts on while the machine sleeps. */
uint64_t cli_now_ms(void);

/* A line on stderr, "netlock: ...". Arguments that come from elsewhere: text_escape() them. */
__attribute__((format(printf, 1, 2))) void cli_say(const char *format, ...);

/* Somebody watches: -v, or stderr is a terminal. flock(1) says nothing of a conflict, and a cron job
 * must not send mail for one. */
bool cli_is_watched(const struct cli *cli);

/* Say that the request for @name waits as number @position, and, asked with a second client, behind
 * whom. Blocks for at most about a second. */
void cli_say_queued(const struct cli *cli, const char *name, uint32_t position);

/* ---- the subcommands --------------------------------------------------------------------------- */

extern const char cmd_run_help[], cmd_acquire_help[], cmd_refresh_help[],
    cmd_release_help[], cmd_status_help[], cmd_list_help[], cmd_check_help[],
    cmd_break_help[], cmd_backup_help[], cmd_cluster_help[], cmd_tls_help[],
    cmd_bench_help[], cmd_access_token_help[], cmd_client_list_help[],
    cmd_client_kill_help[], cmd_cluster_add_help[], cmd_cluster_promote_help[],
    cmd_cluster_remove_help[], cmd_cluster_transfer_help[], cmd_top_help[], cmd_drain_help[],
    cmd_log_level_help[];
int cmd_run(struct cli *cli, int argc, char **argv);
int cmd_acquire(struct cli *cli, int argc, char **argv);
int cmd_refresh(struct cli *cli, int argc, char **argv);
int cmd_release(struct cli *cli, int argc, char **argv);
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_list(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_check(struct cli *cli, int argc, char **argv);
int cmd_break(struct cli *cli, int argc, char **argv);
int cmd_backup(struct cli *cli, int argc, char **argv);
int cmd_bench(struct cli *cli, int argc, char **argv);
int cmd_client_list(struct cli *cli, int argc, char **argv);
int cmd_client_kill(struct cli *cli, int argc, char **argv);
int cmd_cluster_status(struct cli *cli, int argc, char **argv);
int cmd_cluster_add(struct cli *cli, int argc, char **argv);
int cmd_cluster_promote(struct cli *cli, int argc, char **argv);
int cmd_cluster_remove(struct cli *cli, int argc, char **argv);
int cmd_cluster_transfer(struct cli *cli, int argc, char **argv);
int cmd_drain(struct cli *cli, int argc, char **argv);
int cmd_log_level(struct cli *cli, int argc, char **argv);
int cmd_access_token(struct cli *cli, int argc, char **argv);
int cmd_tls_init(struct cli *cli, int argc, char **argv);
int cmd_tls_node(struct cli *cli, int argc, char **argv);
int cmd_tls_client(struct cli *cli, int argc, char **argv);

#endif
