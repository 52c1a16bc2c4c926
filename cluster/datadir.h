/* datadir.h - the data directory: whose it is, and that only one process uses it.
 *
 *     DIR/lock      held with flock(2) while a process uses the directory; its pid inside
 *     DIR/node      text: format, cluster id, node id, whether this node has had a log
 *     DIR/raft/     libraft's files: term and vote, log segments, snapshots
 *
 * A node that lost its log must not come back under its old id: it would vote a second
 * time in a term and forget entries it acknowledged. So DIR/node also remembers that a
 * log was begun, and a directory whose DIR/raft is gone since is refused.
 *
 * Nothing is changed in a directory that is refused. */
#ifndef NETLOCK_DATADIR_H
#define NETLOCK_DATADIR_H

#include <stdbool.h>
#include <stdint.h>

enum {
    DATADIR_ERROR_BYTES = 512,
    DATADIR_CLUSTER_ID_BYTES_MAX = 63,
    DATADIR_PATH_BYTES_MAX = 800, /* libraft holds DIR/raft in 1 KiB */
    DATADIR_FORMAT = 1,
};

struct datadir_identity {
    const char *cluster_id; /* 1..63 bytes of printable ASCII, no space */
    uint64_t node_id;       /* not 0 */
};

struct datadir;

/* Whether @cluster_id may name a cluster. */
bool datadir_cluster_id_valid(const char *cluster_id);

/* Open, or create with mode 0700 (the parent must exist), the directory at @path for
 * @identity.
 *
 * Returns 0, or a negative errno and in @ret_error one line that says what is wrong and
 * what to do: -ENOTDIR, -EACCES (not ours, not writable, open to others), -ENOTEMPTY
 * (somebody else's files), -EBUSY (another process has it), -EXDEV (of another cluster or
 * node), -EPROTO (of a newer version), -EUCLEAN (damaged identity, or its log is gone).
 */
int datadir_open(struct datadir **ret,
                 const char *path,
                 const struct datadir_identity *identity,
                 char ret_error[static DATADIR_ERROR_BYTES]);

/* Give the lock back. */
void datadir_close(struct datadir *dir);

/* DIR/raft; exists after datadir_open(). */
const char *datadir_raft_path(const struct datadir *dir);

/* True until datadir_log_begun() has been called once in the life of the directory. */
bool datadir_is_new(const struct datadir *dir);

/* Remember on disk that this node has a log from now on. */
int datadir_log_begun(struct datadir *dir);

/* Remember on disk that this node gets a log from a backup. Until datadir_log_begun() the
 * directory is refused: a node must not start empty where one was to be restored. */
int datadir_restoring(struct datadir *dir);

/* A file system that keeps nothing over a power cut, or that locks and syncs badly: its
 * name
 * ("tmpfs", "NFS"); NULL for any other. */
const char *datadir_doubtful_fs(const struct datadir *dir);

#endif
