#include "node_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { NODE_FILE_BYTES_MAX = 512 };

static int node_file_parse(const char *text, struct node_file *ret)
{
    char log[16];
    int end = 0;

    /* A newer format may say more or other things than we can read; its number must do.
     */
    if (sscanf(text, "format %u\n", &ret->format) != 1) {
        return -EUCLEAN;
    }
    if (ret->format > DATADIR_FORMAT) {
        return 0;
    }
    int fields = sscanf(text, "format %u\ncluster %63s\nnode %" SCNu64 "\nlog %15s\n%n",
                        &ret->format, ret->cluster_id, &ret->node_id, log, &end);
    if (fields != 4 || text[end] != '\0' || ret->node_id == 0) {
        return -EUCLEAN;
    }
    ret->log_begun = strcmp(log, "yes") == 0;
    ret->restoring = strcmp(log, "restoring") == 0;
    return ret->log_begun || ret->restoring || strcmp(log, "no") == 0 ? 0 : -EUCLEAN;
}

static int read_small_file(int dir_fd, const char *name, char *buffer, size_t size)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, buffer, size - 1);
    int error = n < 0 ? -errno : 0;
    close(fd);
    if (error == 0) {
        buffer[n] = '\0';
    }
    return error;
}

int node_file_read(int dir_fd, struct node_file *ret)
{
    char text[NODE_FILE_BYTES_MAX + 1];

    *ret = (struct node_file){.exists = false};
    int error = read_small_file(dir_fd, NODE_FILE, text, sizeof text);
    if (error == -ENOENT) {
        return 0;
    }
    if (error != 0) {
        return error;
    }
    ret->exists = true;
    return node_file_parse(text, ret);
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static const char *log_word(const struct node_file *node)
{
    if (node->restoring) {
        return "restoring";
    }
    return node->log_begun ? "yes" : "no";
}

/* Write beside it, sync, rename, sync the directory. */
int node_file_write(int dir_fd, const struct node_file *node)
{
    char text[NODE_FILE_BYTES_MAX];
    int len =
        snprintf(text, sizeof text, "format %u\ncluster %s\nnode %" PRIu64 "\nlog %s\n",
                 node->format, node->cluster_id, node->node_id, log_word(node));

    int fd =
        openat(dir_fd, NODE_FILE_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int error = write_all(fd, text, (size_t)len);
    if (error == 0 && fsync(fd) != 0) {
        error = -errno;
    }
    if (close(fd) != 0 && error == 0) {
        error = -errno;
    }
    if (error == 0 && renameat(dir_fd, NODE_FILE_NEW, dir_fd, NODE_FILE) != 0) {
        error = -errno;
    }
    if (error == 0 && fsync(dir_fd) != 0) {
        error = -errno;
    }
    return error;
}
