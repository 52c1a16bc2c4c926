/* netlock backup - a copy of the whole lock table, in a file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cli_text.h"

const char cmd_backup_help[] =
    "Usage: netlock backup [OPTIONS] FILE\n"
    "\n"
    "Write a copy of the whole lock table to FILE: clients, holds, queues and the "
    "counter\n"
    "of fencing tokens, as they were at one moment. The cluster goes on meanwhile.\n"
    "'netlockd restore FILE' makes a new cluster of it, and 'netlockd restore FILE\n"
    "--check' says whether the file is whole.\n"
    "\n"
    "FILE is replaced when the new copy is complete, and never half-written. Nobody but\n"
    "its owner may read it: it names every client and lock.\n"
    "\n"
    "The options are those of 'netlock --help'.\n"
    "\n"
    "Exit status: 0 written; else as in 'netlock --help', and 71 when FILE cannot be\n"
    "written.\n"
    "\n"
    "Example, for cron:\n"
    "  netlock backup \"/srv/backup/netlock-$(date +%u)\"\n";

enum { TRIES = 5 };

static char *in_progress_name(const char *path)
{
    char *name;

    return asprintf(&name, "%s.partial", path) < 0 ? NULL : name;
}

static int write_all(void *arg, const void *data, size_t len)
{
    const int *fd = arg;
    const char *cursor = data;

    while (len > 0) {
        ssize_t n = write(*fd, cursor, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        cursor += n;
        len -= (size_t)n;
    }
    return 0;
}

/* A leader that goes takes its copy along: ask the next one for another. */
static int fetch(struct netlock *nl, int fd, struct netlock_backup *ret)
{
    int rv = -EAGAIN;

    for (int i = 0; i < TRIES && rv == -EAGAIN; i++) {
        if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
            return -errno;
        }
        rv = netlock_backup(nl, write_all, &fd, ret);
    }
    return rv;
}

/* The name of a file lasts when its directory has been synced. */
static int sync_directory(const char *path)
{
    char *copy = strdup(path);
    int fd, rv = 0;

    if (copy == NULL) {
        return -ENOMEM;
    }
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        rv = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    free(copy);
    return rv;
}

static int write_file(struct netlock *nl,
                      const char *partial,
                      const char *path,
                      struct netlock_backup *ret)
{
    int fd = open(partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rv;

    if (fd < 0) {
        return -errno;
    }
    rv = fetch(nl, fd, ret);
    if (rv == 0 && fsync(fd) != 0) {
        rv = -errno;
    }
    if (close(fd) != 0 && rv == 0) {
        rv = -errno;
    }
    if (rv == 0 && rename(partial, path) != 0) {
        rv = -errno;
    }
    if (rv != 0) {
        unlink(partial);
        return rv;
    }
    return sync_directory(path);
}

static void
print_backup(const struct cli *cli, const char *path, const struct netlock_backup *backup)
{
    struct json json = {.out = stdout};

    if (cli->json) {
        json_open_object(&json, NULL);
        json_string(&json, "file", path);
        json_number(&json, "index", backup->index);
        json_number(&json, "last_token", backup->last_token);
        json_number(&json, "bytes", backup->bytes);
        json_close(&json);
    } else {
        printf("%" PRIu64 " bytes, the table at index %" PRIu64 ", last token %" PRIu64
               "\n",
               backup->bytes, backup->index, backup->last_token);
    }
}

int cmd_backup(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {CLI_LONG};
    struct netlock_backup backup;
    struct netlock *nl;
    char *partial;
    int rv, status;

    while (cli_getopt(cli, argc, argv, CLI_SHORT, longs) != -1) {
    }
    if (argc - optind != 1 || argv[optind][0] == '\0') {
        cli_usage(cli, "which file?");
    }
    status = cli_open(cli, &nl);
    if (status != 0) {
        return status;
    }
    partial = in_progress_name(argv[optind]);
    rv = partial == NULL ? -ENOMEM : write_file(nl, partial, argv[optind], &backup);
    if (rv == 0) {
        print_backup(cli, argv[optind], &backup);
    } else {
        status = cli_fail(cli, nl, argv[optind], rv);
    }
    free(partial);
    netlock_close(nl);
    return status;
}
