/* netlockd recover - a backup out of the data directory of a node, when the cluster has lost its quorum for good. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <raft.h>

#include "backup.h"
#include "offline_check.h"
#include "snapshot.h"

static const char help[] =
    "usage: netlockd recover DIR FILE\n"
    "\n"
    "When a cluster has lost the majority of its members for good: check the data "
    "directory\n"
    "DIR of a node that survived, and does not run, and write what it has to FILE, as\n"
    "'netlock backup' would. Nothing is changed in DIR.\n"
    "\n"
    "Do it on every node that survived, and take the FILE with the highest term, and of\n"
    "these the one with the highest index. What the majority acknowledged and that node "
    "had\n"
    "not received is lost. Then begin a new cluster, under another name, with 'netlockd\n"
    "restore FILE': with one member, to which others are added, or with several. Its "
    "fencing\n"
    "tokens are above every one that was ever granted.\n"
    "\n"
    "Make sure that no node of the old cluster runs or will be started again: two "
    "clusters\n"
    "grant the same locks twice.\n"
    "\n"
    "Exit status: 0 FILE was written, 1 the directory is damaged, 2 refused.\n";

static int refuse(const char *path)
{
    fprintf(stderr, "netlockd recover: %s: %s\n", path, strerror(errno));
    return OFFLINE_REFUSED;
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0;
}

/* For nobody else: it names every client and lock. */
static int write_file(const char *path, const uint8_t *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        return refuse(path);
    }
    bool written = write_all(fd, data, len);
    if (close(fd) != 0 || !written) {
        int status = refuse(path);
        (void)unlink(path);
        return status;
    }
    return OFFLINE_OK;
}

static int on_table(void *arg, const struct offline_table *table)
{
    const char *path = arg;
    struct backup_origin origin = {.index = table->index, .term = table->term};
    void *snapshot;
    size_t snapshot_len, len;
    uint8_t *data;

    snprintf(origin.cluster_id, sizeof(origin.cluster_id), "%s", table->cluster_id);
    snapshot_encode(table->table, table->commands_index, table->level, &snapshot,
                    &snapshot_len);
    backup_encode(&origin, snapshot, snapshot_len, &data, &len);
    raft_free(snapshot);
    int status = write_file(path, data, len);
    free(data);
    if (status == OFFLINE_OK) {
        printf("recovered: term %" PRIu64 ", index %" PRIu64 ", in %s\n"
               "Of all nodes that survived, take the file with the highest term, then "
               "index. What the\n"
               "lost majority acknowledged beyond it is lost. No node of the old cluster "
               "may run again.\n"
               "Next: netlockd restore %s, under another cluster name\n",
               table->term, table->index, path, path);
    }
    return status;
}

int offline_recover(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        fputs(help, stdout);
        return OFFLINE_OK;
    }
    if (argc != 3 || argv[1][0] == '-') {
        fputs("netlockd recover: a data directory, and the file to write; see --help\n",
              stderr);
        return OFFLINE_REFUSED;
    }
    return offline_read_table(argv[1], on_table, argv[2]);
}
