/* netlockd restore - the data directory of one node of a new cluster, out of a backup. */
#include "offline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "restore.h"
#include "xalloc.h"

struct backup {
    uint8_t *data;
    size_t len;
    struct backup_origin origin;
    uint64_t commands_index;
    struct fsm *table;
};

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
    va_list args;

    fputs("netlockd restore: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return OFFLINE_REFUSED;
}

static void usage(void)
{
    puts(
        "usage: netlockd restore FILE [--tokens-from N] [--check] [--config FILE] "
        "[--KEY VALUE]...\n"
        "\n"
        "Make the data directory of this node, as a member of a new cluster, out of the\n"
        "backup FILE. Do so on every member, with the same FILE and the same members, "
        "and\n"
        "start the nodes then. The options are those of netlockd; the cluster needs a "
        "name\n"
        "that the old one did not have.\n"
        "\n"
        "  --tokens-from N   the first fencing token. On the first node leave it out: a\n"
        "                    number that is above every token that the old cluster, or "
        "an\n"
        "                    earlier restore, can have granted is made of the clock, "
        "and\n"
        "                    printed. All other nodes must be given the same.\n"
        "  --check           only say whether FILE is whole, and what is in it\n"
        "\n"
        "Exit status: 0 done, 2 refused.");
}

/* ---- the file ---- */

static int read_file(const char *path, struct backup *ret)
{
    FILE *file = fopen(path, "rbe");
    size_t capacity = 0;
    size_t n = 1;

    if (file == NULL) {
        return -errno;
    }
    while (n > 0 && !ferror(file)) {
        if (ret->len == capacity) {
            capacity = capacity != 0 ? 2 * capacity : 65536;
            ret->data = xrealloc(ret->data, capacity);
        }
        n = fread(ret->data + ret->len, 1, capacity - ret->len, file);
        ret->len += n;
    }
    int error = ferror(file) ? -EIO : 0;
    fclose(file);
    return error;
}

static int load(const char *path, struct backup *ret)
{
    int error = read_file(path, ret);

    if (error != 0) {
        return refuse("%s: %s", path, strerror(-error));
    }
    const char *why = backup_decode(ret->data, ret->len, &ret->origin, &ret->table,
                                    &ret->commands_index);
    if (why != NULL) {
        return refuse("%s: this backup cannot be used: %s", path, why);
    }
    return OFFLINE_OK;
}

static void print_content(const struct backup *backup)
{
    struct fsm_counts counts = fsm_counts(backup->table);

    printf("backup of cluster %s at index %" PRIu64 ", term %" PRIu64 ": %" PRIu64
           " clients, %" PRIu64 " locks, %" PRIu64 " holds, %" PRIu64
           " waits, last token %" PRIu64 "\n",
           backup->origin.cluster_id, backup->origin.index, backup->origin.term,
           counts.clients, counts.locks, counts.holds, counts.waits,
           fsm_last_token(backup->table));
}

/* ---- tokens ---- */

static int first_token(const struct backup *backup, uint64_t asked, uint64_t *ret)
{
    uint64_t last = fsm_last_token(backup->table);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    *ret = asked != 0 ? asked : backup_token_start(now_ms, last);
    if (*ret == 0) {
        return refuse(
            "the clock of this machine is wrong, or behind the backup: set it, or "
            "say --tokens-from N, above every token that was ever granted "
            "(the backup's last is %" PRIu64 ")",
            last);
    }
    if (*ret <= last) {
        return refuse("--tokens-from %" PRIu64 ": the backup's last token is %" PRIu64,
                      *ret, last);
    }
    return OFFLINE_OK;
}

/* ---- the directory ---- */

static int
write_directory(const struct config *config, const struct backup *backup, uint64_t token)
{
    struct raft_node_member members[RAFT_NODE_MEMBERS_MAX];
    char error[RAFT_NODE_ERROR_BYTES];
    struct raft_node_config node = {
        .data_dir = config->data_dir,
        .cluster_id = config->cluster,
        .node_id = config->node_id,
        .members = members,
        .members_count = config->members_count,
    };
    struct fsm *table = backup_move_tokens(backup->table, token);
    struct restore restore = {.origin = backup->origin,
                              .commands_index = backup->commands_index,
                              .table = table};

    for (size_t i = 0; i < config->members_count; i++) {
        members[i] = (struct raft_node_member){
            .node_id = config->members[i].node_id,
            .peer_address = config->members[i].peer_address,
        };
    }
    int rv = restore_node(&node, &restore, error);
    fsm_free(table);
    return rv == 0 ? OFFLINE_OK : refuse("%s", error);
}

static void print_done(const struct config *config, uint64_t token)
{
    printf("restored: node %" PRIu64 " of cluster %s in %s, tokens from %" PRIu64 "\n",
           config->node_id, config->cluster, config->data_dir, token);
    if (config->members_count > 1) {
        printf("on every other member: netlockd restore FILE --tokens-from %" PRIu64
               " ...\n",
               token);
    }
}

static int restore(const struct config *config,
                   const char *path,
                   uint64_t tokens_from,
                   enum config_action action)
{
    struct backup backup = {0};
    uint64_t token;

    int status = load(path, &backup);
    if (status == OFFLINE_OK) {
        print_content(&backup);
    }
    if (status == OFFLINE_OK && action == CONFIG_RUN) {
        status = first_token(&backup, tokens_from, &token);
        if (status == OFFLINE_OK) {
            status = write_directory(config, &backup, token);
        }
        if (status == OFFLINE_OK) {
            print_done(config, token);
        }
    }
    fsm_free(backup.table);
    free(backup.data);
    return status;
}

/* ---- the command line ---- */

static int parse_token(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9' || *ret == 0
               ? -EINVAL
               : 0;
}

/* Our own option is taken out; what is left is netlockd's. */
static int take_tokens_from(int *argc, char **argv, uint64_t *ret)
{
    static const char option[] = "--tokens-from";

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], option) != 0) {
            continue;
        }
        if (i + 1 == *argc || parse_token(argv[i + 1], ret) != 0) {
            return refuse("%s needs a number above 0", option);
        }
        *argc -= 2;
        memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i + 1) * sizeof(argv[0]));
        return OFFLINE_OK;
    }
    return OFFLINE_OK;
}

int offline_restore(int argc, char **argv)
{
    static struct config config; /* large */
    enum config_action action;
    uint64_t tokens_from = 0;
    char error[CONFIG_ERROR_BYTES];

    if (argc < 2 || argv[1][0] == '-') {
        bool asked =
            argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        if (!asked) {
            return refuse("which file? Try 'netlockd restore --help'");
        }
        usage();
        return OFFLINE_OK;
    }
    if (take_tokens_from(&argc, argv, &tokens_from) != OFFLINE_OK) {
        return OFFLINE_REFUSED;
    }
    if (config_load(&config, argc - 1, argv + 1, &action, error) != 0) {
        return refuse("%s", error);
    }
    if (action == CONFIG_HELP || action == CONFIG_VERSION) {
        usage();
        return OFFLINE_OK;
    }
    return restore(&config, argv[1], tokens_from, action);
}
