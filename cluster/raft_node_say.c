/* What a node says: lines for the log, and why it would not start. */
#include "raft_node_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { SPACE_MB_MIN = 16 }; /* two segments of libraft's log */

void node_log(const struct raft_node *node, enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    node->config.log(node->config.log_arg, (int)level, line);
}

int node_refuse(char *ret_error, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, RAFT_NODE_ERROR_BYTES, format, args);
    va_end(args);
    return error;
}

/* The only place where libraft's codes become ours. */
int errno_of_raft(int rv)
{
    switch (rv) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return -ENOMEM;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return -EUCLEAN;
    case RAFT_NOSPACE:
        return -ENOSPC;
    case RAFT_NOTLEADER:
    case RAFT_LEADERSHIPLOST:
        return -ENOTCONN;
    case RAFT_BUSY:
        return -EBUSY;
    case RAFT_CANCELED:
        return -ECANCELED;
    case RAFT_NAMETOOLONG:
        return -ENAMETOOLONG;
    case RAFT_NOTFOUND:
        return -ENOENT;
    default:
        return -EIO;
    }
}

int node_refuse_space(const struct raft_node *node, char *ret_error)
{
    return node_refuse(
        ret_error, -ENOSPC,
        "no space for the log in %.160s: make at least %d MB free and start again",
        datadir_raft_path(node->dir), SPACE_MB_MIN);
}

int node_refuse_log(const struct raft_node *node,
                    int rv,
                    const char *detail,
                    char *ret_error)
{
    int error = errno_of_raft(rv);

    if (error == -ENOSPC) {
        return node_refuse_space(node, ret_error);
    }
    if (error == -EUCLEAN) {
        return node_refuse(ret_error, error,
                           "the log of node %" PRIu64
                           " in %.160s is damaged (%.160s): restore the directory, "
                           "or remove it and let the machine join under a new node id",
                           node->config.node_id, datadir_raft_path(node->dir), detail);
    }
    /* A file that was cut off is not told from one that cannot be read. */
    return node_refuse(ret_error, error, "cannot load the log in %.160s: %s: %.160s%s",
                       datadir_raft_path(node->dir), raft_strerror(rv), detail,
                       rv == RAFT_IOERR
                           ? "; netlockd check-data says what is damaged, and the way out"
                           : "");
}
