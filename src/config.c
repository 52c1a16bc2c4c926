#include "config.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer_address.h"
#include "xalloc.h"

/* ---- the keys ---- */

enum kind { KIND_NUMBER, KIND_DURATION, KIND_YES_NO, KIND_TEXT, KIND_LEVEL, KIND_MEMBER };

struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    size_t size;       /* KIND_TEXT: of the array */
    uint64_t min, max; /* numbers as they are, durations in ms */
    bool or_unlimited;
    const char *fallback; /* shown in help */
    const char *help;
};

#define FIELD(member)                                                                    \
    offsetof(struct config, member), sizeof(((struct config *)0)->member)
enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
static const uint64_t timeout_max_ms = UINT32_MAX - 1; /* the wire has 32 bits */

static const struct key keys[] = {
    {"node-id", KIND_NUMBER, FIELD(node_id), 1, INT64_MAX, false, "1",
     "number of this node"},
    {"cluster", KIND_TEXT, FIELD(cluster), 1, 0, false, "local", "name of the cluster"},
    {"data-dir", KIND_TEXT, FIELD(data_dir), 1, 0, false, "see below", "durable state"},
    {"listen", KIND_TEXT, FIELD(listen), 1, 0, false, "127.0.0.1:7670",
     "HOST:PORT for clients; port 0 takes a free one"},
    {"peer-listen", KIND_TEXT, FIELD(peer_listen), 1, 0, false, "127.0.0.1:7671",
     "HOST:PORT for the other nodes"},
    {"advertise", KIND_TEXT, FIELD(advertise), 1, 0, false, "listen",
     "HOST:PORT at which clients reach this node"},
    {"member", KIND_MEMBER, 0, 0, 0, 0, false, "this node",
     "\"ID PEERHOST:PORT CLIENTHOST:PORT\", once for each node"},
    {"insecure-listen", KIND_YES_NO, FIELD(insecure_listen), 0, 0, false, "no",
     "listen beyond loopback without encryption"},
    {"ready-file", KIND_TEXT, FIELD(ready_file), 1, 0, false, "none",
     "the ready line is written here too"},
    {"leader-lease", KIND_DURATION, FIELD(leader_lease_ms), 100, MINUTE, false, "500ms",
     "how fast a dead leader is replaced"},
    {"reattach-grace", KIND_DURATION, FIELD(reattach_grace_ms), 1, HOUR, false,
     "20 leases, at least 10s", "for clients to find a new leader"},
    {"session-grace-max", KIND_DURATION, FIELD(session_grace_max_ms), 0, HOUR, false,
     "60s", "longest grace a client may ask for"},
    {"frame-timeout", KIND_DURATION, FIELD(frame_timeout_ms), 10, HOUR, false, "10s",
     "for the first message, and for the rest of a begun one"},
    {"lock-timeout-default", KIND_DURATION, FIELD(lock_timeout_default_ms), 1,
     timeout_max_ms, true, "unlimited", "when a request gives none"},
    {"lock-timeout-max", KIND_DURATION, FIELD(lock_timeout_max_ms), 1, timeout_max_ms,
     true, "unlimited", "longer ones are cut to this"},
    {"plain-lock-timeout-min", KIND_DURATION, FIELD(plain_lock_timeout_min_ms), 0, HOUR,
     false, "1s", "shorter ones of plain clients are refused: meant as seconds"},
    {"allow-ignore-without-timeout", KIND_YES_NO, FIELD(allow_ignore_without_timeout), 0,
     0, false, "no", "IGNORE with no lock timeout"},
    {"connections-max", KIND_NUMBER, FIELD(connections_max), 1, 1000000, false, "10000",
     ""},
    {"connections-per-address-max", KIND_NUMBER, FIELD(connections_per_address_max), 1,
     1000000, false, "1000", ""},
    {"clients-per-connection-max", KIND_NUMBER, FIELD(clients_per_connection_max), 1,
     1000000, false, "1000", ""},
    {"pending-per-connection-max", KIND_NUMBER, FIELD(pending_per_connection_max), 1,
     65536, false, "256", "unanswered requests; then it is not read"},
    {"output-bytes-max", KIND_NUMBER, FIELD(output_bytes_max), 65536, 1 << 30, false,
     "1048576", "unread answers; then it is closed"},
    {"clients-max", KIND_NUMBER, FIELD(clients_max), 1, 10000000, false, "100000", ""},
    {"claims-max", KIND_NUMBER, FIELD(claims_max), 1, 100000000, false, "1000000",
     "holds and waits in all"},
    {"claims-per-client-max", KIND_NUMBER, FIELD(claims_per_client_max), 1, 10000, false,
     "10000", ""},
    {"waiters-per-lock-max", KIND_NUMBER, FIELD(waiters_per_lock_max), 1, 1000000, false,
     "10000", ""},
    {"snapshot-threshold", KIND_NUMBER, FIELD(snapshot_threshold), 1, 10000000, false,
     "8192", "log entries between snapshots"},
    {"snapshot-trailing", KIND_NUMBER, FIELD(snapshot_trailing), 1, 10000000, false,
     "8192", "log entries kept behind a snapshot"},
    {"log-level", KIND_LEVEL, FIELD(log_level), 0, 0, false, "info",
     "error, warning, info or debug"},
};
enum { KEYS_COUNT = sizeof(keys) / sizeof(keys[0]) };

/* Where a value comes from, for duplicates and messages. */
struct source {
    struct config *config;
    const char *name; /* of the file; NULL: command line */
    int line;
    bool given[KEYS_COUNT]; /* in this source */
    char *error;            /* the first one; "" while there is none */
};

__attribute__((format(printf, 2, 3))) static int
fail(struct source *source, const char *format, ...)
{
    char text[CONFIG_ERROR_BYTES / 2];
    va_list args;

    if (source->error[0] != '\0') {
        return -EINVAL;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (source->name == NULL) {
        snprintf(source->error, CONFIG_ERROR_BYTES, "%s", text);
    } else if (source->line == 0) {
        snprintf(source->error, CONFIG_ERROR_BYTES, "%.200s: %s", source->name, text);
    } else {
        snprintf(source->error, CONFIG_ERROR_BYTES, "%.200s:%d: %s", source->name,
                 source->line, text);
    }
    return -EINVAL;
}

static const struct key *key_find(const char *name)
{
    for (size_t i = 0; i < KEYS_COUNT; i++) {
        if (strcmp(keys[i].name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

/* ---- values ---- */

/* Decimal digits up to *@ret_end, nothing else: strtoull would take signs and spaces. */
static int number_parse(const char *text, uint64_t *ret, const char **ret_end)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return -ERANGE;
        }
        value = value * 10 + digit;
    }
    if (at == text) {
        return -EINVAL;
    }
    *ret = value;
    *ret_end = at;
    return 0;
}

int config_duration_parse(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", SECOND}, {"ms", 1}, {"s", SECOND}, {"m", MINUTE}, {"h", HOUR}};
    uint64_t number;
    const char *unit;

    int rv = number_parse(text, &number, &unit);
    if (rv != 0) {
        return rv;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) == 0) {
            if (number > (UINT64_MAX - 1) / units[i].ms) {
                return -ERANGE;
            }
            *ret_ms = number * units[i].ms;
            return 0;
        }
    }
    return -EINVAL;
}

/* "1h", "1500ms": the largest unit in which it is a whole number. */
static const char *duration_text(uint64_t ms, char out[static 32])
{
    if (ms != 0 && ms % HOUR == 0) {
        snprintf(out, 32, "%" PRIu64 "h", ms / HOUR);
    } else if (ms != 0 && ms % MINUTE == 0) {
        snprintf(out, 32, "%" PRIu64 "m", ms / MINUTE);
    } else if (ms % SECOND == 0) {
        snprintf(out, 32, "%" PRIu64 "s", ms / SECOND);
    } else {
        snprintf(out, 32, "%" PRIu64 "ms", ms);
    }
    return out;
}

static int
set_number(struct source *source, const struct key *key, const char *value, void *field)
{
    uint64_t number;
    const char *end;

    int rv = number_parse(value, &number, &end);
    if (rv != 0 || *end != '\0' || number < key->min || number > key->max) {
        return fail(source, "%s: \"%.40s\" is not a number from %" PRIu64 " to %" PRIu64,
                    key->name, value, key->min, key->max);
    }
    *(uint64_t *)field = number;
    return 0;
}

static int
set_duration(struct source *source, const struct key *key, const char *value, void *field)
{
    uint64_t ms;
    char min[32];
    char max[32];

    if (key->or_unlimited && strcmp(value, "unlimited") == 0) {
        *(uint64_t *)field = CONFIG_UNLIMITED;
        return 0;
    }
    if (config_duration_parse(value, &ms) != 0 || ms < key->min || ms > key->max) {
        return fail(
            source,
            "%s: \"%.40s\" is not a duration (500ms, 30s, 2m, 1h) from %s to %s%s",
            key->name, value, duration_text(key->min, min), duration_text(key->max, max),
            key->or_unlimited ? ", or unlimited" : "");
    }
    *(uint64_t *)field = ms;
    return 0;
}

static int
set_yes_no(struct source *source, const struct key *key, const char *value, void *field)
{
    bool yes = strcmp(value, "yes") == 0;

    if (!yes && strcmp(value, "no") != 0) {
        return fail(source, "%s: \"%.40s\" is neither yes nor no", key->name, value);
    }
    *(bool *)field = yes;
    return 0;
}

static int
set_text(struct source *source, const struct key *key, const char *value, void *field)
{
    size_t len = strlen(value);

    if (len < key->min || len >= key->size) {
        return fail(source, "%s: not 1 to %zu characters", key->name, key->size - 1);
    }
    memcpy(field, value, len + 1);
    return 0;
}

static int
set_level(struct source *source, const struct key *key, const char *value, void *field)
{
    enum log_level level;

    if (!log_level_parse(value, &level)) {
        return fail(source, "%s: \"%.40s\" is not one of error, warning, info, debug",
                    key->name, value);
    }
    *(enum log_level *)field = level;
    return 0;
}

/* "ID PEERHOST:PORT CLIENTHOST:PORT" */
static int add_member(struct source *source, const char *value)
{
    struct config *config = source->config;
    struct config_member member = {0};
    struct peer_address parsed;
    char extra;
    const char *rest;

    if (config->members_count == RAFT_NODE_MEMBERS_MAX) {
        return fail(source, "member: more than %d", RAFT_NODE_MEMBERS_MAX);
    }
    if (number_parse(value, &member.node_id, &rest) != 0 || member.node_id == 0 ||
        member.node_id > INT64_MAX ||
        sscanf(rest, " %255s %255s %c", member.peer_address, member.client_address,
               &extra) != 2 ||
        peer_address_parse(member.peer_address, &parsed) != 0 ||
        peer_address_parse(member.client_address, &parsed) != 0) {
        return fail(source,
                    "member: \"%.80s\" is not \"ID PEERHOST:PORT CLIENTHOST:PORT\"",
                    value);
    }
    for (size_t i = 0; i < config->members_count; i++) {
        const struct config_member *other = &config->members[i];
        if (other->node_id == member.node_id) {
            return fail(source, "member: node %" PRIu64 " is there twice",
                        member.node_id);
        }
        if (strcmp(other->peer_address, member.peer_address) == 0 ||
            strcmp(other->client_address, member.client_address) == 0) {
            return fail(source,
                        "member: nodes %" PRIu64 " and %" PRIu64 " share an address",
                        other->node_id, member.node_id);
        }
    }
    config->members[config->members_count++] = member;
    return 0;
}

static int set(struct source *source, const char *name, const char *value)
{
    const struct key *key = key_find(name);

    if (key == NULL) {
        return fail(source, "%.60s: no such key; netlockd --help lists them", name);
    }
    bool *given = &source->given[key - keys];
    if (*given && key->kind != KIND_MEMBER) {
        return fail(source, "%s: given twice", key->name);
    }
    if (!*given && key->kind == KIND_MEMBER) {
        source->config->members_count = 0; /* flags replace the members of the file */
    }
    *given = true;
    void *field = (char *)source->config + key->offset;
    switch (key->kind) {
    case KIND_NUMBER:
        return set_number(source, key, value, field);
    case KIND_DURATION:
        return set_duration(source, key, value, field);
    case KIND_YES_NO:
        return set_yes_no(source, key, value, field);
    case KIND_TEXT:
        return set_text(source, key, value, field);
    case KIND_LEVEL:
        return set_level(source, key, value, field);
    case KIND_MEMBER:
        return add_member(source, value);
    }
    return -EINVAL;
}

/* ---- the file ---- */

struct text {
    struct source *source;
    const char *at;
    const char *end;
};

/* Where a comment behind a value begins: '#' after a blank, as people write it; inih knows ';'. */
static const char *comment_start(const char *at, const char *end)
{
    for (const char *c = at; c + 1 < end; c++) {
        if ((c[0] == ' ' || c[0] == '\t') && c[1] == '#') {
            return c;
        }
    }
    return end;
}

/* One line for inih, which does not count them. Without what stands before it, since inih takes an
 * indented line for more of the value above. */
static char *read_line(char *out, int size, void *arg)
{
    struct text *text = arg;
    struct source *source = text->source;

    if (text->at == text->end || source->error[0] != '\0') {
        return NULL;
    }
    source->line++;
    const char *end = memchr(text->at, '\n', (size_t)(text->end - text->at));
    const char *next = end != NULL ? end + 1 : text->end;
    end = end != NULL ? end : text->end;
    const char *start = text->at;
    text->at = next;
    while (start < end && (*start == ' ' || *start == '\t')) {
        start++;
    }
    size_t len = (size_t)(comment_start(start, end) - start);
    if (len > CONFIG_LINE_BYTES_MAX || len + 2 > (size_t)size) {
        fail(source, "a line longer than %d bytes", CONFIG_LINE_BYTES_MAX);
        return NULL;
    }
    memcpy(out, start, len);
    out[len] = '\n';
    out[len + 1] = '\0';
    return out;
}

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    struct source *source = ((struct text *)arg)->source;

    if (section[0] != '\0') {
        fail(source, "[%.40s]: sections are not used here", section);
        return 0;
    }
    return set(source, name, value) == 0;
}

/* A text file: everything else (a certificate, a log, an executable) is a mistake. */
static int check_text(struct source *source, const char *data, size_t len)
{
    int line = 1;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n') {
            line++;
        } else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
            source->line = line;
            return fail(source, "a byte 0x%02x: this is not a text file", c);
        }
    }
    return 0;
}

static int parse_text(struct source *source, const char *data, size_t len)
{
    struct text text = {.source = source, .at = data, .end = data + len};

    int rv = check_text(source, data, len);
    if (rv != 0) {
        return rv;
    }
    int bad_line = ini_parse_stream(read_line, &text, on_pair, &text);
    if (source->error[0] != '\0') {
        return -EINVAL;
    }
    if (bad_line != 0) {
        source->line = bad_line;
        return fail(source, "not \"key = value\"");
    }
    return 0;
}

/* Returns the length, or -1 after fail(). */
static ssize_t read_whole(struct source *source, int fd, char **ret_data)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        fail(source, "%s", strerror(errno));
        return -1;
    }
    if (S_ISDIR(st.st_mode)) {
        fail(source, "is a directory");
        return -1;
    }
    char *data = xcalloc(CONFIG_FILE_BYTES_MAX + 1);
    size_t len = 0;
    ssize_t got;
    do {
        got = read(fd, data + len, CONFIG_FILE_BYTES_MAX + 1 - len);
        len += got > 0 ? (size_t)got : 0;
    } while (got > 0 && len <= CONFIG_FILE_BYTES_MAX);
    if (got < 0) {
        fail(source, "%s", strerror(errno));
    } else if (len > CONFIG_FILE_BYTES_MAX) {
        fail(source, "larger than %d bytes: this is no configuration",
             CONFIG_FILE_BYTES_MAX);
    }
    *ret_data = data;
    return source->error[0] == '\0' ? (ssize_t)len : -1;
}

static int parse_file(struct config *config, const char *path, char *ret_error)
{
    struct source source = {.config = config, .name = path, .error = ret_error};
    char *data = NULL;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return fail(&source, "%s", strerror(errno));
    }
    ssize_t len = read_whole(&source, fd, &data);
    close(fd);
    int rv = len < 0 ? -EINVAL : parse_text(&source, data, (size_t)len);
    free(data);
    return rv;
}

/* ---- the command line ---- */

enum { OPTION_CONFIG = 1000, OPTION_VERSION };

struct flags {
    struct option options[KEYS_COUNT + 5];
};

static void flags_init(struct flags *flags)
{
    size_t n = 0;

    *flags = (struct flags){0};
    for (; n < KEYS_COUNT; n++) {
        flags->options[n] =
            (struct option){keys[n].name, required_argument, NULL, (int)n};
    }
    flags->options[n++] =
        (struct option){"config", required_argument, NULL, OPTION_CONFIG};
    flags->options[n++] = (struct option){"check", no_argument, NULL, 'n'};
    flags->options[n++] = (struct option){"help", no_argument, NULL, 'h'};
    flags->options[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
}

/* getopt's state is global; it is reset here, and nothing else in the server uses it. */
static int next_flag(const struct flags *flags, int argc, char *const *argv)
{
    return getopt_long(argc, argv, "+:nh", flags->options, NULL);
}

static int parse_flags(struct config *config,
                       int argc,
                       char *const *argv,
                       const char **ret_file,
                       bool set_values,
                       enum config_action *ret_action,
                       char *ret_error)
{
    struct source source = {.config = config, .error = ret_error};
    struct flags flags;
    int flag;
    int rv = 0;

    flags_init(&flags);
    optind = 0;
    opterr = 0;
    while (rv == 0 && (flag = next_flag(&flags, argc, argv)) != -1) {
        if (flag == '?' || flag == ':') {
            return fail(&source, "%.80s: %s; try --help", argv[optind - 1],
                        flag == ':' ? "needs a value" : "no such option");
        }
        if (flag == OPTION_CONFIG) {
            *ret_file = optarg;
        } else if (flag == 'n') {
            *ret_action = CONFIG_CHECK;
        } else if (flag == 'h') {
            *ret_action = CONFIG_HELP;
            return 0;
        } else if (flag == OPTION_VERSION) {
            *ret_action = CONFIG_VERSION;
            return 0;
        } else if (set_values) {
            rv = set(&source, keys[flag].name, optarg);
        }
    }
    if (rv == 0 && optind < argc) {
        return fail(&source, "%.80s: not an option; try --help", argv[optind]);
    }
    return rv;
}

void config_help(FILE *out)
{
    fputs("usage: netlockd [--config FILE] [--KEY VALUE]...\n"
          "\n"
          "Without arguments: a durable single node on loopback.\n"
          "\n"
          "  --config FILE    lines \"key = value\"; # and ; begin comments\n"
          "  -n, --check      check the configuration and exit\n"
          "  -h, --help       this text\n"
          "  --version        the version\n"
          "\n"
          "Keys, in the file or as flags, which override the file:\n"
          "\n",
          out);
    for (size_t i = 0; i < KEYS_COUNT; i++) {
        const struct key *key = &keys[i];
        fprintf(out, "  %-28s %s%s(default %s)\n", key->name, key->help,
                key->help[0] != '\0' ? " " : "", key->fallback);
    }
    fputs("\n"
          "Durations are 500ms, 30s, 2m, 1h; a plain number is seconds.\n"
          "data-dir is /var/lib/netlock for root, else $XDG_STATE_HOME/netlock or\n"
          "~/.local/state/netlock.\n"
          "\n"
          "Exit status: 0 stopped in order, 2 configuration or data directory refused,\n"
          "3 could not go on (disk, damaged or diverged state).\n",
          out);
}

/* ---- what was not said, and what does not fit ---- */

static const struct config defaults = {
    .session_grace_max_ms = MINUTE,
    .frame_timeout_ms = 10 * SECOND,
    .leader_lease_ms = 500,
    .lock_timeout_default_ms = CONFIG_UNLIMITED,
    .lock_timeout_max_ms = CONFIG_UNLIMITED,
    .plain_lock_timeout_min_ms = SECOND,
    .connections_max = 10000,
    .connections_per_address_max = 1000,
    .clients_per_connection_max = 1000,
    .pending_per_connection_max = 256,
    .output_bytes_max = 1048576,
    .clients_max = 100000,
    .claims_max = 1000000,
    .claims_per_client_max = 10000,
    .waiters_per_lock_max = 10000,
    .snapshot_threshold = 8192,
    .snapshot_trailing = 8192,
    .log_level = LOG_LEVEL_INFO,
};

static int default_data_dir(struct config *config, struct source *source)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int len = 0;

    config->data_dir_is_default = true;
    if (geteuid() == 0) {
        len = snprintf(config->data_dir, CONFIG_PATH_BYTES, "/var/lib/netlock");
    } else if (state != NULL && state[0] == '/') {
        len = snprintf(config->data_dir, CONFIG_PATH_BYTES, "%s/netlock", state);
    } else if (home != NULL && home[0] == '/') {
        len = snprintf(config->data_dir, CONFIG_PATH_BYTES, "%s/.local/state/netlock",
                       home);
    }
    if (len <= 0 || len >= CONFIG_PATH_BYTES) {
        return fail(source,
                    "data-dir: no usable $HOME; say where the state is to be kept");
    }
    return 0;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&v6);
    }
    return strcmp(host, "localhost") == 0;
}

static int check_listen(struct config *config,
                        struct source *source,
                        const char *key,
                        const char *text)
{
    struct peer_address parsed;

    if (peer_address_parse(text, &parsed) != 0) {
        return fail(source,
                    "%s: \"%.80s\" is not HOST:PORT (or [v6]:PORT), port 0 to 65535", key,
                    text);
    }
    if (!is_loopback(parsed.host) && !config->insecure_listen) {
        return fail(source,
                    "%s: %.80s is reachable from other machines and the protocol is not "
                    "encrypted; on a network that you trust say insecure-listen = yes",
                    key, text);
    }
    return 0;
}

static void take_default(char *field, size_t size, const char *value)
{
    if (field[0] == '\0') {
        snprintf(field, size, "%s", value);
    }
}

/* Without members this node is the cluster. */
static void become_only_member(struct config *config)
{
    struct config_member *self = &config->members[0];

    if (config->node_id == 0) {
        config->node_id = 1;
    }
    take_default(config->cluster, CONFIG_CLUSTER_BYTES, "local");
    take_default(config->listen, CONFIG_ADDRESS_BYTES, "127.0.0.1:7670");
    take_default(config->peer_listen, CONFIG_ADDRESS_BYTES, "127.0.0.1:7671");
    *self = (struct config_member){.node_id = config->node_id};
    take_default(self->peer_address, CONFIG_ADDRESS_BYTES, config->peer_listen);
    take_default(self->client_address, CONFIG_ADDRESS_BYTES,
                 config->advertise[0] != '\0' ? config->advertise : config->listen);
    config->members_count = 1;
}

static int join_members(struct config *config, struct source *source)
{
    if (config->node_id == 0) {
        return fail(source, "node-id: missing: which of the members is this node?");
    }
    if (config->cluster[0] == '\0') {
        return fail(
            source,
            "cluster: missing: a name that keeps the nodes of two clusters apart");
    }
    const struct config_member *self = config_member_find(config, config->node_id);
    if (self == NULL) {
        return fail(source, "member: none for node-id %" PRIu64 ", which is this node",
                    config->node_id);
    }
    take_default(config->listen, CONFIG_ADDRESS_BYTES, self->client_address);
    take_default(config->peer_listen, CONFIG_ADDRESS_BYTES, self->peer_address);
    return 0;
}

static int finish(struct config *config, const char *file, char *ret_error)
{
    struct source source = {.config = config, .name = file, .error = ret_error};
    struct peer_address parsed;
    int rv = 0;

    if (config->members_count == 0) {
        become_only_member(config);
    } else {
        rv = join_members(config, &source);
    }
    if (rv == 0 && config->data_dir[0] == '\0') {
        rv = default_data_dir(config, &source);
    }
    if (rv == 0) {
        rv = check_listen(config, &source, "listen", config->listen);
    }
    if (rv == 0) {
        rv = check_listen(config, &source, "peer-listen", config->peer_listen);
    }
    if (rv == 0 && config->advertise[0] != '\0' &&
        peer_address_parse(config->advertise, &parsed) != 0) {
        rv = fail(&source, "advertise: \"%.80s\" is not HOST:PORT", config->advertise);
    }
    if (rv == 0 && strcmp(config->listen, config->peer_listen) == 0) {
        rv = fail(
            &source,
            "listen and peer-listen are both %.80s: clients and nodes need a port each",
            config->listen);
    }
    if (rv == 0 && config->lock_timeout_default_ms != CONFIG_UNLIMITED &&
        config->lock_timeout_default_ms > config->lock_timeout_max_ms) {
        rv = fail(&source, "lock-timeout-default: above lock-timeout-max");
    }
    return rv;
}

int config_load(struct config *ret,
                int argc,
                char *const *argv,
                enum config_action *ret_action,
                char ret_error[static CONFIG_ERROR_BYTES])
{
    const char *file = NULL;

    *ret = defaults;
    *ret_action = CONFIG_RUN;
    ret_error[0] = '\0';
    int rv = parse_flags(ret, argc, argv, &file, false, ret_action, ret_error);
    if (rv != 0 || *ret_action == CONFIG_HELP || *ret_action == CONFIG_VERSION) {
        return rv;
    }
    if (file != NULL) {
        rv = parse_file(ret, file, ret_error);
    }
    if (rv == 0) {
        rv = parse_flags(ret, argc, argv, &file, true, ret_action, ret_error);
    }
    return rv == 0 ? finish(ret, file, ret_error) : rv;
}

struct config_timing config_timing(const struct config *config)
{
    uint64_t grace_ms = config->reattach_grace_ms;

    if (grace_ms == 0) {
        grace_ms = 20 * config->leader_lease_ms;
        grace_ms = grace_ms < 10 * SECOND ? 10 * SECOND : grace_ms;
    }
    return (struct config_timing){
        .raft = raft_node_timing_from_lease((uint32_t)config->leader_lease_ms),
        .reattach_grace_ms = grace_ms,
    };
}

const struct config_member *config_member_find(const struct config *config,
                                               uint64_t node_id)
{
    for (size_t i = 0; i < config->members_count; i++) {
        if (config->members[i].node_id == node_id) {
            return &config->members[i];
        }
    }
    return NULL;
}
