#include "log_dump.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <raft.h>
#include <raft/uv.h>
#include <uv.h>

#include "entry.h"
#include "log_dump_text.h"
#include "snapshot.h"

enum { PATH_BYTES = 1024, HASH_SEED = 1 };

__attribute__((format(printf, 3, 4))) static int
refuse(char *ret_error, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, LOG_DUMP_ERROR_BYTES, format, args);
    va_end(args);
    return error;
}

/* ---- what was loaded ------------------------------------------------------------------ */

static void dump_record(void *arg, const struct fsm_record *record)
{
    log_dump_record(arg, record);
}

static int dump_snapshot(const struct raft_snapshot *snapshot, FILE *out, char *ret_error)
{
    struct fsm *fsm;
    uint64_t commands_index;

    assert(snapshot->n_bufs == 1);
    const char *error = snapshot_decode(snapshot->bufs[0].base, snapshot->bufs[0].len,
                                        HASH_SEED, &fsm, &commands_index);
    if (error != NULL) {
        return refuse(ret_error, -EUCLEAN, "the snapshot at %llu cannot be read: %s",
                      snapshot->index, error);
    }
    fprintf(out, "{\"snapshot\":%llu,\"term\":%llu,\"commands_index\":%" PRIu64 "}\n",
            snapshot->index, snapshot->term, commands_index);
    fsm_dump(fsm, dump_record, out);
    fsm_free(fsm);
    return 0;
}

static const char *dump_commands(const struct raft_entry *entry, FILE *out)
{
    struct entry_reader reader;
    struct fsm_command command;
    const char *separator = "";

    const char *error = entry_reader_open(&reader, entry->buf.base, entry->buf.len);
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

static int
dump_entry(raft_index index, const struct raft_entry *entry, FILE *out, char *ret_error)
{
    const char *error = NULL;

    fprintf(out, "{\"index\":%llu,\"term\":%llu", index, entry->term);
    if (entry->type == RAFT_COMMAND) {
        error = dump_commands(entry, out);
    } else {
        fprintf(out, ",\"kind\":\"%s\"",
                entry->type == RAFT_BARRIER ? "barrier" : "change");
    }
    fputs("}\n", out);
    if (error != NULL) {
        return refuse(ret_error, -EUCLEAN, "the entry %llu cannot be read: %s", index,
                      error);
    }
    return 0;
}

/* Entries that were read together share one buffer. */
static void free_entries(struct raft_entry *entries, size_t count)
{
    void *batch = NULL;

    for (size_t i = 0; i < count; i++) {
        if (entries[i].batch != batch) {
            batch = entries[i].batch;
            raft_free(batch);
        }
    }
    raft_free(entries);
}

static void free_snapshot(struct raft_snapshot *snapshot)
{
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        raft_free(snapshot->bufs[i].base);
    }
    raft_free(snapshot->bufs);
    raft_configuration_close(&snapshot->configuration);
    raft_free(snapshot);
}

static int dump_loaded(struct raft_io *io, FILE *out, char *ret_error)
{
    struct raft_snapshot *snapshot = NULL;
    struct raft_entry *entries = NULL;
    raft_term term;
    raft_id voted_for;
    raft_index start_index;
    size_t count = 0;

    int rv = io->load(io, &term, &voted_for, &snapshot, &start_index, &entries, &count);
    if (rv != 0) {
        return refuse(ret_error, -EUCLEAN, "the log cannot be loaded: %s: %.200s",
                      raft_strerror(rv), io->errmsg);
    }
    if (snapshot != NULL) {
        rv = dump_snapshot(snapshot, out, ret_error);
        free_snapshot(snapshot);
    }
    for (size_t i = 0; i < count && rv == 0; i++) {
        rv = dump_entry(start_index + i, &entries[i], out, ret_error);
    }
    free_entries(entries, count);
    return rv;
}

/* ---- libraft's disk without a network -------------------------------------------------- */

static int no_init(struct raft_uv_transport *transport, raft_id id, const char *address)
{
    (void)transport;
    (void)id;
    (void)address;
    return 0;
}

static int no_listen(struct raft_uv_transport *transport, raft_uv_accept_cb cb)
{
    (void)transport;
    (void)cb;
    return 0;
}

static int no_connect(struct raft_uv_transport *transport,
                      struct raft_uv_connect *req,
                      raft_id id,
                      const char *address,
                      raft_uv_connect_cb cb)
{
    (void)transport;
    (void)req;
    (void)id;
    (void)address;
    (void)cb;
    return RAFT_NOCONNECTION;
}

static void no_close(struct raft_uv_transport *transport, raft_uv_transport_close_cb cb)
{
    cb(transport);
}

static void on_closed(struct raft_io *io)
{
    raft_uv_close(io);
}

static int dump_with_loop(uv_loop_t *loop, const char *path, FILE *out, char *ret_error)
{
    struct raft_uv_transport transport = {.version = 1,
                                          .init = no_init,
                                          .listen = no_listen,
                                          .connect = no_connect,
                                          .close = no_close};
    struct raft_io io = {.version = 1};

    int rv = raft_uv_init(&io, loop, path, &transport);
    if (rv != 0) {
        return refuse(ret_error, -ENOENT, "no log in %.200s: %.200s", path, io.errmsg);
    }
    raft_uv_set_auto_recovery(&io, false);
    rv = io.init(&io, 1, "none");
    if (rv != 0) {
        rv = refuse(ret_error, -EUCLEAN, "%.200s: %.200s", path, io.errmsg);
        raft_uv_close(&io);
        return rv;
    }
    rv = dump_loaded(&io, out, ret_error);
    io.close(&io, on_closed);
    uv_run(loop, UV_RUN_DEFAULT);
    return rv;
}

static int dump_unlocked(const char *data_dir, FILE *out, char *ret_error)
{
    char path[PATH_BYTES];
    uv_loop_t loop;

    snprintf(path, sizeof path, "%s/raft", data_dir);
    if (uv_loop_init(&loop) != 0) {
        return refuse(ret_error, -ENOMEM, "no event loop");
    }
    int rv = dump_with_loop(&loop, path, out, ret_error);
    int open = uv_loop_close(&loop);
    assert(open == 0);
    (void)open;
    return rv;
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
