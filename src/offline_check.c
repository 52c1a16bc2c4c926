/* netlockd check-data - what a start would find in a data directory, and how to go on. */
#include "offline.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <raft.h>

#include "datadir.h"
#include "durable.h"
#include "entry.h"
#include "fsm.h"
#include "node_file.h"
#include "raft_files.h"
#include "raft_guard_peer.h"
#include "snapshot.h"

enum { HASH_SEED = 1 };

/* The table is rebuilt as the node would: the snapshot, then every entry behind it. */
struct check {
    struct fsm
        *table; /* NULL: it could not be read, and the entries are only looked at */
    uint64_t commands_index;
    uint64_t snapshot_index;

    uint64_t term;
    uint64_t first, last; /* entries of the log; 0: none */
    uint64_t last_term;
    uint64_t last_commands; /* index of the last entry with commands; 0: none yet */
    uint64_t commands;
    struct entry_reader reader;
    unsigned harmless, doubtful, damaged;
    bool newer; /* something that only a newer build can read */
};

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
    va_list args;

    fputs("netlockd check-data: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return OFFLINE_REFUSED;
}

/* ---- what is told --------------------------------------------------------------------- */

static const char join_again[] =
    "other nodes of the cluster have it all: remove the directory and let the machine "
    "join "
    "under a new node id. A node that was alone: 'netlockd restore' of a backup";

static const char *way_out(enum raft_files_severity severity, const char *file)
{
    bool of_snapshot = strncmp(file, "snapshot-", strlen("snapshot-")) == 0;

    if (severity == RAFT_FILES_DOUBTFUL) {
        return "if the machine lost its power or crashed just then: start the node. "
               "Otherwise its disk forgets: do not start it, remove the directory and "
               "let "
               "the machine join under a new node id";
    }
    if (of_snapshot) {
        return "if there is an older snapshot: move the two files of this one out of the "
               "directory and check again; the log may reach back far enough. Otherwise, "
               "other nodes of the cluster have it all: remove the directory and let the "
               "machine join under a new node id. A node that was alone: 'netlockd "
               "restore' of a backup";
    }
    return join_again;
}

static void on_problem(void *arg,
                       enum raft_files_severity severity,
                       const char *file,
                       const char *text)
{
    static const char *const words[] = {
        [RAFT_FILES_HARMLESS] = "harmless",
        [RAFT_FILES_DOUBTFUL] = "DOUBTFUL",
        [RAFT_FILES_DAMAGE] = "DAMAGED",
    };
    struct check *check = arg;

    printf("%-8s  %s: %s\n", words[severity], file, text);
    switch (severity) {
    case RAFT_FILES_HARMLESS:
        check->harmless++;
        return;
    case RAFT_FILES_DOUBTFUL:
        check->doubtful++;
        break;
    case RAFT_FILES_DAMAGE:
        check->damaged++;
        break;
    }
    printf("          way out: %s\n", way_out(severity, file));
}

__attribute__((format(printf, 2, 3))) static void
damage_in_log(struct check *check, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    on_problem(check, RAFT_FILES_DAMAGE, "the log", text);
}

static void note_newer(struct check *check)
{
    if (!check->newer) {
        puts("NEWER     the log, or a snapshot, comes from a newer version\n"
             "          way out: check it with that version, and start that");
    }
    check->newer = true;
}

static void forget_table(struct check *check)
{
    fsm_free(check->table);
    check->table = NULL;
}

/* ---- what is read --------------------------------------------------------------------- */

static void on_term(void *arg, uint64_t term, uint64_t voted_for)
{
    struct check *check = arg;

    check->term = term;
    printf("ok        term %" PRIu64 ", ", term);
    if (voted_for != 0) {
        printf("vote for node %" PRIu64 "\n", voted_for);
    } else {
        puts("no vote");
    }
}

static void on_snapshot(void *arg, const struct raft_files_snapshot *snapshot)
{
    struct check *check = arg;
    struct fsm *table;
    char text[256];

    forget_table(check);
    check->snapshot_index = snapshot->index;
    const char *error = snapshot_decode(snapshot->data, snapshot->len, HASH_SEED, &table,
                                        &check->commands_index);
    if (error != NULL && durable_is_newer(error)) {
        note_newer(check);
        return;
    }
    if (error != NULL) {
        snprintf(text, sizeof(text), "this snapshot cannot be read: %s", error);
        on_problem(check, RAFT_FILES_DAMAGE, snapshot->name, text);
        return;
    }
    check->table = table;
    printf("ok        %s\n", snapshot->name);
}

/* An entry; those behind it are only looked at. */
static void note_unread(struct check *check, uint64_t index, const char *error)
{
    if (durable_is_newer(error)) {
        note_newer(check);
    } else {
        damage_in_log(check, "entry %" PRIu64 " cannot be read: %s", index, error);
    }
    forget_table(check);
}

/* As a replica looks at it before it applies an entry. */
static bool agrees(struct check *check, uint64_t index)
{
    const struct entry_header *header = &check->reader.header;

    if (header->prior_index == 0 || header->prior_index != check->commands_index ||
        header->prior_digest == fsm_digest(check->table)) {
        return true;
    }
    damage_in_log(check,
                  "before entry %" PRIu64
                  " the table is not the one that its leader, node "
                  "%" PRIu64 ", had: this node has diverged",
                  index, header->proposer);
    return false;
}

/* What its leader had applied was committed, so it lies before the entry in every log. */
static bool follows(struct check *check, uint64_t index)
{
    uint64_t prior = check->reader.header.prior_index;
    uint64_t last = check->last_commands != 0 ? check->last_commands : index - 1;

    check->last_commands = index;
    if (prior <= last) {
        return true;
    }
    damage_in_log(check,
                  "entry %" PRIu64 " was made after entry %" PRIu64
                  ", but the last one here is %" PRIu64 ": there is a hole",
                  index, prior, last);
    return false;
}

static void apply_commands(struct check *check, uint64_t index)
{
    struct fsm_command command;
    const char *error;
    bool applies = check->table != NULL && index > check->snapshot_index;

    if (applies && !agrees(check, index)) {
        forget_table(check);
        applies = false;
    }
    while (entry_reader_next(&check->reader, &command, &error)) {
        check->commands++;
        if (applies) {
            fsm_apply(check->table, &command, NULL);
        }
    }
    if (applies) {
        check->commands_index = index;
    }
    if (error != NULL) {
        note_unread(check, index, error);
    }
}

static void on_entry(void *arg, const struct raft_segment_entry *entry)
{
    struct check *check = arg;

    check->first = check->first == 0 ? entry->index : check->first;
    check->last = entry->index;
    if (entry->term < check->last_term) {
        damage_in_log(check,
                      "entry %" PRIu64 " is of term %" PRIu64 ", after one of %" PRIu64,
                      entry->index, entry->term, check->last_term);
    }
    check->last_term = entry->term;
    if (entry->type != RAFT_COMMAND) {
        return;
    }
    const char *error = entry_reader_open(&check->reader, entry->data, entry->len);
    if (error != NULL) {
        note_unread(check, entry->index, error);
        return;
    }
    if (!follows(check, entry->index)) {
        forget_table(check);
    }
    apply_commands(check, entry->index);
}

/* ---- the end -------------------------------------------------------------------------- */

static void print_log(struct check *check)
{
    if (check->last == 0) {
        puts("ok        the log has no entries");
    } else {
        printf("ok        log: entries %" PRIu64 " to %" PRIu64 ", %" PRIu64
               " commands\n",
               check->first, check->last, check->commands);
    }
    if (check->term != 0 && check->last_term > check->term) {
        on_problem(check, RAFT_FILES_DAMAGE, "metadata",
                   "its term is older than the last entry's: the vote of a later one is "
                   "forgotten");
    }
    if (check->term > check->last_term + RAFT_GUARD_TERM_JUMP_MAX) {
        on_problem(check, RAFT_FILES_DAMAGE, "metadata",
                   "no cluster has come to its term");
    }
}

static void print_table(const struct check *check)
{
    if (check->table == NULL) {
        return;
    }
    struct fsm_counts counts = fsm_counts(check->table);
    printf("ok        table at entry %" PRIu64 ": %" PRIu64 " clients, %" PRIu64
           " locks, %" PRIu64 " holds, %" PRIu64 " waits, last token %" PRIu64
           ", hash %016" PRIx64 "\n",
           check->commands_index, counts.clients, counts.locks, counts.holds,
           counts.waits, fsm_last_token(check->table), fsm_hash(check->table));
}

static int sum_up(const struct check *check)
{
    if (check->damaged + check->doubtful == 0) {
        puts(check->newer ? "of a newer version" : "whole");
        return check->newer ? OFFLINE_NEWER : OFFLINE_OK;
    }
    printf("%u damaged, %u doubtful\n", check->damaged, check->doubtful);
    return OFFLINE_DAMAGED;
}

static int check_raft(const char *path)
{
    static struct check check; /* its reader is large */
    struct raft_files_visitor visitor = {
        .arg = &check,
        .on_term = on_term,
        .on_snapshot = on_snapshot,
        .on_entry = on_entry,
        .on_problem = on_problem,
    };

    check = (struct check){.table = fsm_new(HASH_SEED)};
    int error = raft_files_read(path, &visitor);
    if (error != 0) {
        forget_table(&check);
        return refuse("%s: %s", path, strerror(-error));
    }
    print_log(&check);
    print_table(&check);
    forget_table(&check);
    return sum_up(&check);
}

/* ---- the directory -------------------------------------------------------------------- */

static int check_node_file(int dir_fd, const char *path, bool *ret_begun)
{
    struct node_file node;
    int error = node_file_read(dir_fd, &node);

    if (error == -EUCLEAN) {
        puts("DAMAGED   " NODE_FILE ": it does not say whose the directory is\n"
             "          way out: restore it from a copy, or remove the directory and let "
             "the machine join under a new node id");
        return OFFLINE_DAMAGED;
    }
    if (error != 0 || !node.exists) {
        return refuse("%s: no data directory of netlockd: %s", path,
                      error != 0 ? strerror(-error) : "it has no file '" NODE_FILE "'");
    }
    if (node.format > DATADIR_FORMAT) {
        refuse("%s has format %u, this version knows up to %d: ask the newer version",
               path, node.format, DATADIR_FORMAT);
        return OFFLINE_NEWER;
    }
    printf("ok        node %" PRIu64 " of cluster %s\n", node.node_id, node.cluster_id);
    if (node.restoring) {
        puts("DAMAGED   " NODE_FILE ": a restore was cut off\n"
             "          way out: remove what is in the directory and restore again");
        return OFFLINE_DAMAGED;
    }
    *ret_begun = node.log_begun;
    return OFFLINE_OK;
}

/* Returns the descriptor of the lock file, -1 without one, or -2 when somebody has it. */
static int take_lock(int dir_fd)
{
    int fd = openat(dir_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return -2;
    }
    return fd;
}

static int check_directory(int dir_fd, const char *path)
{
    char raft_path[DATADIR_PATH_BYTES_MAX + sizeof("/raft")];
    bool begun = false;
    int status = check_node_file(dir_fd, path, &begun);

    if (status == OFFLINE_REFUSED || status == OFFLINE_NEWER) {
        return status;
    }
    if (status == OFFLINE_OK && !begun) {
        puts("whole: it has no log yet");
        return OFFLINE_OK;
    }
    if (snprintf(raft_path, sizeof(raft_path), "%s/raft", path) >=
        (int)sizeof(raft_path)) {
        return refuse("%s: the name is too long", path);
    }
    int raft_status = check_raft(raft_path);
    return raft_status != OFFLINE_OK ? raft_status : status;
}

int offline_check_data(int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-') {
        bool asked =
            argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        fputs(
            "usage: netlockd check-data DIR\n"
            "\n"
            "Verify the data directory of a node that does not run, as its start would "
            "read it:\n"
            "checksums, gaps, terms, and whether the entries lead to the table that the "
            "leaders\n"
            "had. Nothing is changed.\n"
            "\n"
            "Exit status: 0 whole, 1 damaged or doubtful, 2 refused, 4 of a newer "
            "version.\n",
            asked ? stdout : stderr);
        return asked ? OFFLINE_OK : OFFLINE_REFUSED;
    }
    int dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return refuse("%s: %s", argv[1], strerror(errno));
    }
    int lock_fd = take_lock(dir_fd);
    int status = lock_fd == -2
                     ? refuse("%s is in use by a running node: stop it first", argv[1])
                     : check_directory(dir_fd, argv[1]);
    if (lock_fd >= 0) {
        close(lock_fd);
    }
    close(dir_fd);
    return status;
}
