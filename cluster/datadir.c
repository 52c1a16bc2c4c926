#include "datadir.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "memory.h"
#include "node_file.h"

#define LOCK_FILE "lock"
#define RAFT_DIR  "raft"

struct datadir {
    char *path;
    char *raft_path;
    int fd;      /* of the directory */
    int lock_fd; /* holds the lock */
    struct node_file node;
};

__attribute__((format(printf, 3, 4))) static int
refuse(char *ret_error, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, DATADIR_ERROR_BYTES, format, args);
    va_end(args);
    return error;
}

bool datadir_cluster_id_valid(const char *cluster_id)
{
    size_t len = strlen(cluster_id);

    if (len == 0 || len > DATADIR_CLUSTER_ID_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (cluster_id[i] <= ' ' || cluster_id[i] > '~') {
            return false;
        }
    }
    return true;
}

/* ---- checks, none of which writes ----------------------------------------------------------- */

static int check_mode(const struct datadir *dir, char *ret_error)
{
    struct stat st;

    if (fstat(dir->fd, &st) != 0) {
        return refuse(ret_error, -errno, "data directory %s: %s", dir->path,
                      strerror(errno));
    }
    if (st.st_uid != geteuid()) {
        return refuse(ret_error, -EACCES,
                      "data directory %s belongs to uid %u, this process runs as uid %u: "
                      "run it as the "
                      "owner, or chown the directory and all in it",
                      dir->path, st.st_uid, geteuid());
    }
    if ((st.st_mode & (S_IWGRP | S_IRWXO)) != 0) {
        return refuse(
            ret_error, -EACCES,
            "data directory %s is open to others (mode %04o): chmod 0700 %s",
            dir->path, st.st_mode & 07777, dir->path);
    }
    if (faccessat(dir->fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
        int error = -errno;
        return refuse(ret_error, error,
                      "data directory %s cannot be written: %s (check its mode and that "
                      "the file system "
                      "is not mounted read-only)",
                      dir->path, strerror(-error));
    }
    return 0;
}

static int check_identity(const struct datadir *dir,
                          const struct datadir_identity *identity,
                          char *ret_error)
{
    const struct node_file *node = &dir->node;

    if (node->format > DATADIR_FORMAT) {
        return refuse(ret_error, -EPROTO,
                      "data directory %s has format %u, this version knows up to %d: "
                      "start the newer "
                      "version that wrote it",
                      dir->path, node->format, DATADIR_FORMAT);
    }
    if (strcmp(node->cluster_id, identity->cluster_id) != 0 ||
        node->node_id != identity->node_id) {
        return refuse(ret_error, -EXDEV,
                      "data directory %s belongs to node %" PRIu64
                      " of cluster %s, not to node %" PRIu64
                      " of cluster %s: name the right directory or fix the configuration",
                      dir->path, node->node_id, node->cluster_id, identity->node_id,
                      identity->cluster_id);
    }
    return 0;
}

static DIR *list_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);

    if (stream == NULL && fd >= 0) {
        close(fd);
    }
    return stream;
}

static bool dir_has_entries(int dir_fd, const char *const *but)
{
    bool found = false;
    DIR *stream = list_dir(dir_fd, ".");

    if (stream == NULL) {
        return false;
    }
    for (struct dirent *entry = readdir(stream); entry != NULL && !found;
         entry = readdir(stream)) {
        bool expected =
            strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; but[i] != NULL && !expected; i++) {
            expected = strcmp(entry->d_name, but[i]) == 0;
        }
        found = !expected;
    }
    closedir(stream);
    return found;
}

/* Term and vote: libraft writes them before anything else and never removes them. */
static bool has_log(const struct datadir *dir)
{
    return faccessat(dir->fd, RAFT_DIR "/metadata1", F_OK, 0) == 0 ||
           faccessat(dir->fd, RAFT_DIR "/metadata2", F_OK, 0) == 0;
}

static int check_content(const struct datadir *dir,
                         const struct datadir_identity *identity,
                         char *ret_error)
{
    /* Left by a process that died between taking the lock and naming the directory. */
    static const char *const beginnings[] = {LOCK_FILE, NODE_FILE_NEW, "lost+found",
                                             NULL};

    if (!dir->node.exists) {
        if (dir_has_entries(dir->fd, beginnings)) {
            return refuse(ret_error, -ENOTEMPTY,
                          "%s has files in it but no identity file '%s', so it is no "
                          "data directory of "
                          "ours: name an empty or new directory",
                          dir->path, NODE_FILE);
        }
        return 0;
    }
    int error = check_identity(dir, identity, ret_error);
    if (error != 0) {
        return error;
    }
    if (dir->node.restoring) {
        return refuse(
            ret_error, -EUCLEAN,
            "a restore into %s was cut off: remove what is in it and restore again",
            dir->path);
    }
    if (dir->node.log_begun && !has_log(dir)) {
        return refuse(ret_error, -EUCLEAN,
                      "the log in %s/%s is gone: node %" PRIu64
                      " must not come back without it (it could "
                      "vote twice); restore it, or remove the directory and let the "
                      "machine join under a "
                      "new node id",
                      dir->path, RAFT_DIR, dir->node.node_id);
    }
    return 0;
}

static int
check_all(struct datadir *dir, const struct datadir_identity *identity, char *ret_error)
{
    int error = check_mode(dir, ret_error);
    if (error != 0) {
        return error;
    }
    error = node_file_read(dir->fd, &dir->node);
    if (error != 0) {
        return refuse(ret_error, error,
                      "identity file %s/%s cannot be read (%s): restore it, or remove "
                      "the directory and "
                      "let the machine join under a new node id",
                      dir->path, NODE_FILE,
                      error == -EUCLEAN ? "damaged" : strerror(-error));
    }
    return check_content(dir, identity, ret_error);
}

/* ---- taking it ------------------------------------------------------------------------------ */

static int take_lock(struct datadir *dir, char *ret_error)
{
    char pid[32];

    dir->lock_fd =
        openat(dir->fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0) {
        int error = -errno;
        return refuse(ret_error, error, "lock file %s/%s: %s", dir->path, LOCK_FILE,
                      strerror(-error));
    }
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno == EWOULDBLOCK ? -EBUSY : -errno;
        ssize_t n = pread(dir->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return refuse(
            ret_error, error,
            "data directory %s is in use by process %s: stop that first, or name another "
            "directory",
            dir->path, pid[0] != '\0' ? pid : "(unknown)");
    }
    return 0;
}

/* The pid is a help for people, so that a failure to write it is not worth a refusal. */
static void write_pid(const struct datadir *dir)
{
    char pid[32];
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());

    if (ftruncate(dir->lock_fd, 0) != 0 ||
        pwrite(dir->lock_fd, pid, (size_t)len, 0) != len) {
        return;
    }
}

/* We may just have created the directory. */
static int sync_parent(const struct datadir *dir)
{
    int fd = openat(dir->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES
                   ? 0
                   : -errno; /* then somebody else made the directory, long ago */
    }
    int error = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return error;
}

/* libraft writes the term before the first entry, and takes a log that has only a term
 * for begun. As long as DIR/node says that no log was begun, this node has taken part in
 * nothing: what a crash left is thrown away. */
static int clear_unfinished_log(const struct datadir *dir)
{
    DIR *stream = list_dir(dir->fd, RAFT_DIR);
    int error = 0;

    if (stream == NULL) {
        return -errno;
    }
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(stream), entry->d_name, 0) != 0) {
            error = -errno;
        }
    }
    closedir(stream);
    return error;
}

static int begin(struct datadir *dir, const struct datadir_identity *identity)
{
    if (!dir->node.exists) {
        dir->node = (struct node_file){
            .exists = true, .format = DATADIR_FORMAT, .node_id = identity->node_id};
        memcpy(dir->node.cluster_id, identity->cluster_id,
               strlen(identity->cluster_id) + 1);
        int error = node_file_write(dir->fd, &dir->node);
        if (error != 0) {
            return error;
        }
    }
    if (mkdirat(dir->fd, RAFT_DIR, 0700) != 0 && errno != EEXIST) {
        return -errno;
    }
    if (!dir->node.log_begun) {
        int error = clear_unfinished_log(dir);
        if (error != 0) {
            return error;
        }
    }
    if (fsync(dir->fd) != 0) {
        return -errno;
    }
    return sync_parent(dir);
}

static int open_or_create(struct datadir *dir, char *ret_error)
{
    if (mkdir(dir->path, 0700) != 0 && errno != EEXIST) {
        int error = -errno;
        return refuse(
            ret_error, error,
            "cannot create data directory %s: %s (its parent must exist and be writable)",
            dir->path, strerror(-error));
    }
    dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->fd < 0) {
        int error = -errno;
        return refuse(ret_error, error, "data directory %s: %s", dir->path,
                      strerror(-error));
    }
    return 0;
}

static int open_checked(struct datadir *dir,
                        const struct datadir_identity *identity,
                        char *ret_error)
{
    int error = open_or_create(dir, ret_error);
    if (error == 0) {
        error = check_all(dir, identity, ret_error);
    }
    if (error == 0) {
        error = take_lock(dir, ret_error);
    }
    /* Again, now that nobody else can be naming the directory at the same time. */
    if (error == 0) {
        error = check_all(dir, identity, ret_error);
    }
    if (error != 0) {
        return error;
    }
    write_pid(dir);
    error = begin(dir, identity);
    if (error != 0) {
        return refuse(ret_error, error, "data directory %s: cannot write: %s", dir->path,
                      strerror(-error));
    }
    return 0;
}

int datadir_open(struct datadir **ret,
                 const char *path,
                 const struct datadir_identity *identity,
                 char ret_error[static DATADIR_ERROR_BYTES])
{
    if (path[0] == '\0' || strlen(path) > DATADIR_PATH_BYTES_MAX) {
        return refuse(ret_error, -ENAMETOOLONG,
                      "the name of the data directory must have 1 to %d bytes",
                      DATADIR_PATH_BYTES_MAX);
    }
    if (!datadir_cluster_id_valid(identity->cluster_id) || identity->node_id == 0) {
        return refuse(ret_error, -EINVAL,
                      "a cluster id has 1 to %d printable ASCII characters and no space, "
                      "a node id is not "
                      "0",
                      DATADIR_CLUSTER_ID_BYTES_MAX);
    }
    struct datadir *dir = memory_new(sizeof *dir);
    if ((dir->path = strdup(path)) == NULL ||
        asprintf(&dir->raft_path, "%s/" RAFT_DIR, path) < 0) {
        abort();
    }
    dir->fd = -1;
    dir->lock_fd = -1;

    int error = open_checked(dir, identity, ret_error);
    if (error != 0) {
        datadir_close(dir);
        return error;
    }
    *ret = dir;
    return 0;
}

void datadir_close(struct datadir *dir)
{
    if (dir->lock_fd >= 0) {
        close(dir->lock_fd);
    }
    if (dir->fd >= 0) {
        close(dir->fd);
    }
    free(dir->raft_path);
    free(dir->path);
    free(dir);
}

const char *datadir_raft_path(const struct datadir *dir)
{
    return dir->raft_path;
}

bool datadir_is_new(const struct datadir *dir)
{
    return !dir->node.log_begun;
}

static int write_log_state(struct datadir *dir, bool begun, bool restoring)
{
    struct node_file node = dir->node;

    node.log_begun = begun;
    node.restoring = restoring;
    int error = node_file_write(dir->fd, &node);
    if (error == 0) {
        dir->node = node;
    }
    return error;
}

int datadir_log_begun(struct datadir *dir)
{
    return dir->node.log_begun ? 0 : write_log_state(dir, true, false);
}

int datadir_restoring(struct datadir *dir)
{
    assert(!dir->node.log_begun);
    return write_log_state(dir, false, true);
}

const char *datadir_doubtful_fs(const struct datadir *dir)
{
    struct statfs fs;

    if (fstatfs(dir->fd, &fs) != 0) {
        return NULL;
    }
    switch ((unsigned long)fs.f_type) {
    case TMPFS_MAGIC:
        return "tmpfs";
    case RAMFS_MAGIC:
        return "ramfs";
    case NFS_SUPER_MAGIC:
        return "NFS";
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
        return "SMB";
    default:
        return NULL;
    }
}
