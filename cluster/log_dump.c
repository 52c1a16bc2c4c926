#include "log_dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <raft.h>

#include "entry.h"
#include "log_dump_text.h"
#include "raft_files.h"
#include "snapshot.h"

enum { PATH_BYTES = 1024, HASH_SEED = 1 };

struct dump {
    FILE *out;
    char *error; /* LOG_DUMP_ERROR_BYTES */
    int rv;      /* the first refusal; nothing is printed after it */
};

__attribute__((format(printf, 3, 4))) static int
refuse(char *ret_error, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, LOG_DUMP_ERROR_BYTES, format, args);
    va_end(args);
    return error;
}

/* ---- what is in the directory ----------------------------------------------------------- */

static void on_term(void *arg, uint64_t term, uint64_t voted_for)
{
    (void)arg;
    (void)term;
    (void)voted_for;
}

static void dump_record(void *arg, const struct fsm_record *record)
{
    log_dump_record(arg, record);
}

static void on_snapshot(void *arg, const struct raft_files_snapshot *snapshot)
{
    struct dump *dump = arg;
    struct fsm *fsm;
    uint64_t commands_index;

    const char *error =
        snapshot_decode(snapshot->data, snapshot->len, HASH_SEED, &fsm, &commands_index);
    if (error != NULL) {
        dump->rv = refuse(dump->error, -EUCLEAN,
                          "the snapshot at %" PRIu64 " cannot be read: %s",
                          snapshot->index, error);
        return;
    }
    fprintf(dump->out,
            "{\"snapshot\":%" PRIu64 ",\"term\":%" PRIu64 ",\"commands_index\":%" PRIu64
            "}\n",
            snapshot->index, snapshot->term, commands_index);
    fsm_dump(fsm, dump_record, dump->out);
    fsm_free(fsm);
}

static const char *dump_commands(const struct raft_segment_entry *entry, FILE *out)
{
    struct entry_reader reader;
    struct fsm_command command;
    const char *separator = "";

    const char *error = entry_reader_open(&reader, entry->data, entry->len);
    if (error != NULL) {
        return error;
    }
    const struct entry_header *header = &reader.header;
    fprintf(out,
            ",\"kind\":\"commands\",\"time\":%" PRIu64 ",\"proposer\":%" PRIu64
            ",\"batch\":%" PRIu64 ",\"prior_index\":%" PRIu64 ",\"digest\":%" PRIu64
            ",\"commands\":[",
            header->cluster_ms, header->proposer, header->batch, header->prior_index,
            header->prior_digest);
    while (entry_reader_next(&reader, &command, &error)) {
        fputs(separator, out);
        log_dump_command(out, &command);
        separator = ",";
    }
    fputs("]", out);
    return error;
}

static void on_entry(void *arg, const struct raft_segment_entry *entry)
{
    struct dump *dump = arg;
    const char *error = NULL;

    if (dump->rv != 0) {
        return;
    }
    fprintf(dump->out, "{\"index\":%" PRIu64 ",\"term\":%" PRIu64, entry->index,
            entry->term);
    if (entry->type == RAFT_COMMAND) {
        error = dump_commands(entry, dump->out);
    } else {
        fprintf(dump->out, ",\"kind\":\"%s\"",
                entry->type == RAFT_BARRIER ? "barrier" : "change");
    }
    fputs("}\n", dump->out);
    if (error != NULL) {
        dump->rv =
            refuse(dump->error, -EUCLEAN, "the entry %" PRIu64 " cannot be read: %s",
                   entry->index, error);
    }
}

static void on_problem(void *arg,
                       enum raft_files_severity severity,
                       const char *file,
                       const char *text)
{
    struct dump *dump = arg;

    if (severity == RAFT_FILES_DAMAGE && dump->rv == 0) {
        dump->rv = refuse(dump->error, -EUCLEAN, "%.100s %.200s; see netlockd check-data",
                          file, text);
    }
}

static int dump_unlocked(const char *data_dir, FILE *out, char *ret_error)
{
    char path[PATH_BYTES];
    struct dump dump = {.out = out, .error = ret_error};
    const struct raft_files_visitor visitor = {.arg = &dump,
                                               .on_term = on_term,
                                               .on_snapshot = on_snapshot,
                                               .on_entry = on_entry,
                                               .on_problem = on_problem};

    snprintf(path, sizeof path, "%s/raft", data_dir);
    int rv = raft_files_read(path, &visitor);
    if (rv != 0 && dump.rv == 0) {
        return refuse(ret_error, rv, "%.200s: %s", path, strerror(-rv));
    }
    return dump.rv;
}

int log_dump(const char *data_dir, FILE *out, char ret_error[static LOG_DUMP_ERROR_BYTES])
{
    char path[PATH_BYTES];

    if (strlen(data_dir) > PATH_BYTES - 16) {
        return refuse(ret_error, -ENAMETOOLONG, "the path is too long");
    }
    snprintf(path, sizeof path, "%s/lock", data_dir);
    int lock = open(path, O_RDWR | O_CLOEXEC);
    if (lock < 0) {
        return refuse(ret_error, -ENOENT, "%.200s: no data directory of a node (%s)",
                      data_dir, strerror(errno));
    }
    int rv = flock(lock, LOCK_EX | LOCK_NB);
    if (rv != 0) {
        rv = refuse(ret_error, -EBUSY, "%.200s is in use: stop its node first", data_dir);
    } else {
        rv = dump_unlocked(data_dir, out, ret_error);
    }
    close(lock);
    return rv;
}
