#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_text.h"

/* ---- command line ---- */

/* Its first line. What others can read is theirs too. */
static const char *read_token(const struct cli *cli, const char *path)
{
    static char token[NETLOCK_NAME_BYTES_MAX + 2];
    struct stat st;
    FILE *file = fopen(path, "re");

    if (file == NULL || fstat(fileno(file), &st) != 0) {
        cli_usage(cli, "--access-token-file: %s: %s", path, strerror(errno));
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        cli_usage(cli, "--access-token-file: %s: others can use it; chmod 600 it", path);
    }
    if (fgets(token, sizeof(token), file) == NULL) {
        cli_usage(cli, "--access-token-file: %s: empty", path);
    }
    fclose(file);
    token[strcspn(token, "\r\n")] = '\0';
    return token;
}

/* One option a line, "--servers=" if it takes a value. */
static noreturn void list_options(const struct option *longs)
{
    for (; longs->name != NULL; longs++) {
        if (longs->val > 0 && longs->val < CLI_OPTION_SERVERS) {
            printf("-%c\n", (char)longs->val);
        }
        printf("--%s%s\n", longs->name, longs->has_arg == no_argument ? "" : "=");
    }
    exit(fflush(stdout) == 0 ? CLI_OK : CLI_SYSTEM);
}

int cli_getopt(struct cli *cli,
               int argc,
               char **argv,
               const char *shorts,
               const struct option *longs)
{
    int option;

    if (cli->lists_options) {
        list_options(longs);
    }
    while ((option = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        switch (option) {
        case CLI_OPTION_SERVERS:
            cli->servers = optarg;
            break;
        case CLI_OPTION_CLIENT_ID:
            cli->client_id = optarg;
            break;
        case CLI_OPTION_JSON:
            cli->json = true;
            break;
        case CLI_OPTION_TIMEOUT:
            cli->timeout_ms = cli_duration(cli, "--timeout", optarg);
            if (cli->timeout_ms == 0) {
                cli_usage(cli, "--timeout must be more than 0");
            }
            break;
        case CLI_OPTION_TLS_CA:
            cli->credentials.ca = optarg;
            break;
        case CLI_OPTION_TLS_CERT:
            cli->credentials.cert = optarg;
            break;
        case CLI_OPTION_TLS_KEY:
            cli->credentials.key = optarg;
            break;
        case CLI_OPTION_ACCESS_TOKEN_FILE:
            cli->credentials.access_token = read_token(cli, optarg);
            break;
        case 'v':
            cli->verbose = true;
            break;
        case 'h':
            if (cli->command->help == NULL) {
                return option;
            }
            fputs(cli->command->help, stdout);
            exit(fflush(stdout) == 0 ? CLI_OK : CLI_SYSTEM);
        case '?': /* getopt has said what is wrong */
            cli_usage(cli, NULL);
        default:
            return option;
        }
    }
    return -1;
}

noreturn void cli_usage(const struct cli *cli, const char *format, ...)
{
    const char *name = cli->command == NULL ? "" : cli->command->name;

    if (format != NULL) {
        va_list args;

        fprintf(stderr, "netlock%s%s: ", *name == '\0' ? "" : " ", name);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
    }
    fprintf(stderr, "Try 'netlock %s%s--help'.\n", name, *name == '\0' ? "" : " ");
    exit(CLI_USAGE);
}

/* The number before the unit, in thousandths. Three decimals are all that a millisecond needs. */
static int parse_thousandths(const char **text, uint64_t *ret)
{
    const char *p = *text;
    uint64_t value = 0;
    bool digits = false;

    for (; *p >= '0' && *p <= '9'; p++, digits = true) {
        value = 10 * value + (uint64_t)(*p - '0');
        if (value > UINT32_MAX) {
            return -EINVAL;
        }
    }
    value *= 1000;
    if (*p == '.') {
        uint64_t weight = 100;

        for (p++; *p >= '0' && *p <= '9'; p++, digits = true, weight /= 10) {
            value += weight * (uint64_t)(*p - '0');
        }
    }
    *text = p;
    *ret = value;
    return digits ? 0 : -EINVAL;
}

int cli_parse_duration(const char *text, uint32_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"", 1000},   {"ms", 1},       {"s", 1000},
                 {"m", 60000}, {"h", 3600000u}, {"d", 86400000u}};
    uint64_t thousandths;

    if (parse_thousandths(&text, &thousandths) != 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text, units[i].unit) == 0) {
            /* Rounded up: a wait of 0.4 ms is short, but it is not "do not wait". */
            uint64_t ms = (thousandths * units[i].ms + 999) / 1000;

            if (ms >= NETLOCK_UNLIMITED) {
                return -EINVAL;
            }
            *ret_ms = (uint32_t)ms;
            return 0;
        }
    }
    return -EINVAL;
}

uint32_t cli_duration(const struct cli *cli, const char *what, const char *text)
{
    uint32_t ms;

    if (cli_parse_duration(text, &ms) != 0) {
        cli_usage(cli, "%s: '%s' is not a duration (500ms, 30s, 2m, 1h; at most 49 days)",
                  what, text);
    }
    return ms;
}

uint32_t cli_ttl(const struct cli *cli, const char *what, const char *text)
{
    uint32_t ms;

    if (strcmp(text, "unlimited") == 0) {
        return NETLOCK_UNLIMITED;
    }
    ms = cli_duration(cli, what, text);
    if (ms == 0) {
        cli_usage(cli, "%s must be more than 0, or 'unlimited'", what);
    }
    return ms;
}

uint64_t cli_number(
    const struct cli *cli, const char *what, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < min ||
        value > max) {
        cli_usage(cli, "%s: '%s' is not a number from %" PRIu64 " to %" PRIu64, what,
                  text, min, max);
    }
    return value;
}

int cli_exit_status(const struct cli *cli, const char *what, const char *text)
{
    return (int)cli_number(cli, what, text, 0, 255);
}

bool cli_lock_option(const struct cli *cli, struct cli_lock_options *options, int option)
{
    struct netlock_lock_options *lock = &options->lock;

    switch (option) {
    case 's':
        lock->type = NETLOCK_READ;
        return true;
    case 'n':
        lock->try_only = true;
        return true;
    case 'w':
        lock->wait_timeout_ms = cli_duration(cli, "--wait", optarg);
        lock->try_only = lock->wait_timeout_ms == 0;
        return true;
    case 'E':
        options->conflict_status = cli_exit_status(cli, "--conflict-exit-code", optarg);
        return true;
    case CLI_OPTION_TTL:
        lock->lock_timeout_ms = cli_ttl(cli, "--ttl", optarg);
        return true;
    case CLI_OPTION_LIMIT:
        lock->limit = (uint32_t)cli_number(cli, "--limit", optarg, 1, UINT32_MAX);
        return true;
    case CLI_OPTION_INFO:
        if (strlen(optarg) > NETLOCK_NAME_BYTES_MAX) {
            cli_usage(cli, "--info: more than %d bytes", NETLOCK_NAME_BYTES_MAX);
        }
        lock->owner_info = optarg;
        return true;
    default:
        return false;
    }
}

const char *cli_lock_name(const struct cli *cli, const char *name)
{
    size_t bytes = strlen(name);

    if (bytes == 0 || bytes > NETLOCK_NAME_BYTES_MAX) {
        cli_usage(cli, "the name of a lock has 1 to %d bytes, this one %zu",
                  NETLOCK_NAME_BYTES_MAX, bytes);
    }
    for (const char *p = name; *p != '\0'; p += bytes) {
        int32_t code = text_decode(p, &bytes);

        if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
            cli_usage(cli, "the name of a lock is UTF-8 without control characters");
        }
    }
    return name;
}

const char *cli_only_lock_name(const struct cli *cli, int argc, char **argv)
{
    if (optind != argc - 1) {
        cli_usage(cli, optind == argc ? "which lock?" : "one lock at a time");
    }
    return cli_lock_name(cli, argv[optind]);
}

void cli_owner_info(char buffer[static CLI_OWNER_BYTES], const char *program)
{
    const struct passwd *user = getpwuid(geteuid());
    const char *name = user == NULL ? "?" : user->pw_name;
    char host[65] = "";

    gethostname(host, sizeof host - 1);
    if (program == NULL) {
        snprintf(buffer, CLI_OWNER_BYTES, "%s@%s", name, host);
    } else {
        const char *slash = strrchr(program, '/');

        snprintf(buffer, CLI_OWNER_BYTES, "%s@%s pid %ld %s", name, host, (long)getpid(),
                 slash == NULL ? program : slash + 1);
    }
    for (char *p = buffer; *p != '\0';
         p++) { /* what a server would refuse; also a cut character */
        if (*p < 0x20 || (unsigned char)*p >= 0x7f) {
            *p = '?';
        }
    }
}

/* ---- the cluster ---- */

struct netlock_options cli_client_options(const struct cli *cli)
{
    return (struct netlock_options){.servers = cli->servers,
                                    .client_id = cli->client_id,
                                    .connect_timeout_ms = cli->timeout_ms,
                                    .credentials = cli->credentials,
                                    .error_text = cli->error_text,
                                    .application = "netlock " NETLOCK_VERSION};
}

int cli_open(const struct cli *cli, struct netlock **ret)
{
    struct netlock_options options = cli_client_options(cli);
    int rv;

    options.share_id = cli->client_id != NULL;
    rv = netlock_open(ret, &options);
    return rv == 0 ? 0 : cli_fail(cli, NULL, NULL, rv);
}

const char *cli_shared_client_id(const struct cli *cli)
{
    const char *from_environment = getenv("NETLOCK_CLIENT_ID");

    if (cli->client_id != NULL) {
        return cli->client_id;
    }
    return from_environment == NULL || *from_environment == '\0' ? NULL
                                                                 : from_environment;
}

int cli_open_shared(const struct cli *cli,
                    const char *client_id,
                    const struct netlock_options *options,
                    struct netlock **ret)
{
    struct netlock_options shared = *options;
    int rv;

    shared.client_id = client_id;
    shared.share_id = true;
    shared.flags = NETLOCK_NO_REFRESH;
    rv = netlock_open(ret, &shared);
    if (rv == -NETLOCK_EDENIED && cli->client_id == NULL && !cli->json) {
        cli_say("$NETLOCK_CLIENT_ID is the client of somebody else, perhaps of the "
                "'netlock run' "
                "around this command; give --client-id");
    }
    return rv == 0 ? 0 : cli_fail(cli, NULL, NULL, rv);
}

int cli_open_holder(const struct cli *cli, struct netlock **ret)
{
    struct netlock_options options = cli_client_options(cli);
    const char *client_id = cli_shared_client_id(cli);

    if (client_id == NULL) {
        cli_usage(
            cli,
            "a lock belongs to the client that acquired it: give --client-id, or set "
            "NETLOCK_CLIENT_ID");
    }
    return cli_open_shared(cli, client_id, &options, ret);
}

uint64_t cli_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int cli_status_of(int rv)
{
    switch (-rv) {
    case 0:
        return CLI_OK;
    case NETLOCK_EHELD:
    case NETLOCK_ETIMEOUT:
    case NETLOCK_ECANCELLED:
    case NETLOCK_ENOTHELD:
    case NETLOCK_EEXPIRED:
    case NETLOCK_EOTHER:
    case NETLOCK_ECONFLICT:
        return CLI_CONFLICT;
    case NETLOCK_ELIMIT: /* two users disagree about the lock: a mistake, no conflict to wait out */
    case NETLOCK_EINVALID:
    case EINVAL:
        return CLI_USAGE;
    case NETLOCK_EFULL:
    case NETLOCK_EUNREACHABLE:
        return CLI_UNAVAILABLE;
    case NETLOCK_EDENIED:
        return CLI_DENIED;
    case NETLOCK_ESTALE:
        return CLI_LOST;
    case NETLOCK_EPROTOCOL:
        return CLI_PROTOCOL;
    default:
        return CLI_SYSTEM;
    }
}

int cli_fail(const struct cli *cli, const struct netlock *nl, const char *name, int rv)
{
    const char *words = netlock_strerror(rv);
    const char *more = nl == NULL ? cli->error_text : netlock_error_text(nl);
    int status = cli_status_of(rv);

    if (more != NULL && *more == '\0') {
        more = NULL;
    }
    if (cli->json) {
        struct json json = {.out = stdout};

        json_open_object(&json, NULL);
        json_string(&json, "error", words);
        json_string(&json, "text", more);
        json_string(&json, "name", name);
        json_number(&json, "exit", (uint64_t)status);
        json_close(&json);
    } else {
        /* The server's text may begin with the same words, and say more. */
        bool repeats = more != NULL && strncmp(more, words, strlen(words)) == 0;
        char *shown_name = text_escape(name == NULL ? "" : name);
        char *shown_more = text_escape(more == NULL ? "" : more);

        cli_say("%s%s%s%s%s", shown_name, name == NULL ? "" : ": ", repeats ? "" : words,
                more == NULL || repeats ? "" : ": ", shown_more);
        free(shown_name);
        free(shown_more);
    }
    return status;
}

void cli_say(const char *format, ...)
{
    va_list args;

    flockfile(stderr); /* the library's thread may speak, too */
    fputs("netlock: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    funlockfile(stderr);
}

bool cli_confirm(const struct cli *cli, const char *deed, const char *question, ...)
{
    char answer[16];
    va_list args;

    if (isatty(STDIN_FILENO) != 1) {
        cli_usage(cli, "stdin is not a terminal: to %s, say --yes", deed);
    }
    va_start(args, question);
    vfprintf(stderr, question, args);
    va_end(args);
    fputs(" [y/N] ", stderr);
    return fgets(answer, sizeof answer, stdin) != NULL &&
           (answer[0] == 'y' || answer[0] == 'Y');
}

bool cli_is_watched(const struct cli *cli)
{
    return cli->verbose || isatty(STDERR_FILENO) == 1;
}

static const char *ordinal_suffix(uint32_t number)
{
    static const char *const suffixes[] = {"th", "st", "nd", "rd"};

    return number % 10 > 3 || number / 10 % 10 == 1 ? suffixes[0] : suffixes[number % 10];
}

/* ", held by INFO for 2m05s" about the first holder, or "". The caller frees it. */
static char *held_by(const struct cli *cli, const char *name)
{
    struct netlock_options options = cli_client_options(cli);
    struct netlock_status status;
    struct netlock *nl;
    char *text = NULL, duration[TEXT_DURATION_BYTES];

    options.client_id = NULL;
    options.error_text = NULL;
    options.connect_timeout_ms = cli->timeout_ms < 1000 ? cli->timeout_ms : 1000;
    if (netlock_open(&nl, &options) != 0) {
        return NULL;
    }
    if (netlock_status(nl, name, &status) == 0) {
        if (status.holders_shown > 0) {
            const struct netlock_holder *holder = &status.holders[0];
            bool has_info = holder->owner_info != NULL && *holder->owner_info != '\0';
            char *who = text_escape(has_info ? holder->owner_info : holder->client_id);

            if (asprintf(&text, ", held by %s for %s", who,
                         text_duration(holder->since_ms, duration)) < 0) {
                text = NULL;
            }
            free(who);
        }
        netlock_status_release(&status);
    }
    netlock_close(nl);
    return text;
}

void cli_say_queued(const struct cli *cli, const char *name, uint32_t position)
{
    char *by = held_by(cli, name);
    char *shown_name = text_escape(name);

    cli_say("waiting for %s: %" PRIu32 "%s in the queue%s", shown_name, position,
            ordinal_suffix(position), by == NULL ? "" : by);
    free(shown_name);
    free(by);
}
