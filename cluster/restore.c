/* The snapshot is written by libraft's own disk code, so that there is one hand that knows
 * its files. It runs on a loop of its own, with a transport that connects nobody. */
#include "restore.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <raft.h>
#include <raft/uv.h>

#include "datadir.h"
#include "node_config.h"
#include "snapshot.h"

__attribute__((format(printf, 3, 4))) static int
refuse(char *ret_error, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, RAFT_NODE_ERROR_BYTES, format, args);
    va_end(args);
    return error;
}

/* ---- a transport that connects nobody ------------------------------------------------- */

static int transport_init_nothing(struct raft_uv_transport *transport,
                                  raft_id id,
                                  const char *address)
{
    (void)transport;
    (void)id;
    (void)address;
    return 0;
}

static void transport_close_nothing(struct raft_uv_transport *transport,
                                    raft_uv_transport_close_cb cb)
{
    cb(transport);
}

/* ---- writing -------------------------------------------------------------------------- */

struct writing {
    uv_loop_t loop;
    struct raft_uv_transport transport;
    struct raft_io io;
    struct raft_io_snapshot_put put;
    int status; /* of libraft */
};

static void on_put(struct raft_io_snapshot_put *put, int status)
{
    struct writing *writing = put->data;

    writing->status = status;
}

static void on_io_closed(struct raft_io *io)
{
    (void)io;
}

static int init_members(const struct raft_node_config *config,
                        struct raft_configuration *ret)
{
    int rv = 0;

    raft_configuration_init(ret);
    for (size_t i = 0; i < config->members_count && rv == 0; i++) {
        rv = raft_configuration_add(ret, config->members[i].node_id,
                                    config->members[i].peer_address, RAFT_VOTER);
    }
    return rv;
}

static int put_snapshot(struct writing *writing,
                        const struct raft_node_config *config,
                        const struct restore *restore)
{
    struct raft_buffer buf;
    struct raft_snapshot snapshot = {
        .index = restore->origin.index,
        .term = restore->origin.term,
        .configuration_index = restore->origin.index,
        .bufs = &buf,
        .n_bufs = 1,
    };
    int rv = init_members(config, &snapshot.configuration);

    snapshot_encode(restore->table, restore->commands_index, restore->origin.level,
                    &buf.base, &buf.len);
    if (rv == 0) {
        rv = writing->io.set_term(&writing->io, snapshot.term);
    }
    if (rv == 0) {
        writing->put.data = writing;
        /* Nothing trails it: the log goes on behind the snapshot. */
        rv = writing->io.snapshot_put(&writing->io, 0, &writing->put, &snapshot, on_put);
    }
    if (rv == 0) {
        uv_run(&writing->loop, UV_RUN_DEFAULT);
        rv = writing->status;
    }
    raft_free(buf.base);
    raft_configuration_close(&snapshot.configuration);
    return rv;
}

/* libraft's load tells it where the log ends, which here is nowhere. */
static int load_nothing(struct writing *writing)
{
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    raft_term term;
    raft_id vote;
    raft_index start;
    size_t entries_count;
    int rv = writing->io.load(&writing->io, &term, &vote, &snapshot, &start, &entries,
                              &entries_count);

    assert(rv != 0 || (term == 0 && snapshot == NULL && entries_count == 0));
    return rv;
}

static int write_files(const struct raft_node_config *config,
                       const struct restore *restore,
                       const char *raft_path,
                       char *ret_error)
{
    struct writing writing = {
        .transport = {.version = 1,
                      .init = transport_init_nothing,
                      .close = transport_close_nothing},
        .io = {.version = 1},
    };

    int rv = uv_loop_init(&writing.loop);
    if (rv != 0) {
        return refuse(ret_error, rv, "no event loop: %s", uv_strerror(rv));
    }
    rv = raft_uv_init(&writing.io, &writing.loop, raft_path, &writing.transport);
    assert(rv == 0); /* the path is short enough: datadir saw to it */
    rv = writing.io.init(&writing.io, config->node_id, node_config_own_address(config));
    if (rv == 0) {
        rv = load_nothing(&writing);
    }
    if (rv == 0) {
        rv = put_snapshot(&writing, config, restore);
    }
    if (rv != 0) {
        refuse(ret_error, -EIO, "cannot write the snapshot in %.160s: %s: %.160s",
               raft_path, raft_strerror(rv), writing.io.errmsg);
    }
    writing.io.close(&writing.io, on_io_closed);
    uv_run(&writing.loop, UV_RUN_DEFAULT);
    raft_uv_close(&writing.io);
    int busy = uv_loop_close(&writing.loop);
    assert(busy == 0);
    (void)busy;
    return rv == 0 ? 0 : -EIO;
}

/* ---- the directory -------------------------------------------------------------------- */

static int fill(struct datadir *dir,
                const struct raft_node_config *config,
                const struct restore *restore,
                char *ret_error)
{
    if (!datadir_is_new(dir)) {
        return refuse(
            ret_error, -ENOTEMPTY,
            "%.300s has a log: a backup is restored into a new or empty directory",
            config->data_dir);
    }
    int error = datadir_restoring(dir);
    if (error == 0) {
        error = write_files(config, restore, datadir_raft_path(dir), ret_error);
        if (error != 0) {
            return error;
        }
        error = datadir_log_begun(dir);
    }
    if (error != 0) {
        return refuse(ret_error, error, "cannot write %.300s: %s", config->data_dir,
                      strerror(-error));
    }
    return 0;
}

int restore_node(const struct raft_node_config *config,
                 const struct restore *restore,
                 char ret_error[static RAFT_NODE_ERROR_BYTES])
{
    struct datadir_identity identity = {.cluster_id = config->cluster_id,
                                        .node_id = config->node_id};
    struct datadir *dir;

    int error = node_config_check(config, ret_error);
    if (error == 0 && strcmp(config->cluster_id, restore->origin.cluster_id) == 0) {
        error = refuse(ret_error, -EEXIST,
                       "the backup is of cluster %s: give the restored one another name "
                       "(key cluster), lest nodes and clients take it for the old one",
                       config->cluster_id);
    }
    if (error == 0) {
        error = datadir_open(&dir, config->data_dir, &identity, ret_error);
    }
    if (error != 0) {
        return error;
    }
    error = fill(dir, config, restore, ret_error);
    datadir_close(dir);
    return error;
}
