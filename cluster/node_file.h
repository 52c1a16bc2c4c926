/* node_file.h - DIR/node: whose a data directory is, in four lines of text.
 *
 *     format 1
 *     cluster NAME
 *     node 7
 *     log yes          "no" until this node has a log; "restoring" while a backup is being put in
 */
#ifndef NETLOCK_NODE_FILE_H
#define NETLOCK_NODE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "datadir.h"

#define NODE_FILE     "node"
#define NODE_FILE_NEW "node.new" /* being written; worth nothing */

struct node_file {
    bool exists;
    unsigned format; /* above DATADIR_FORMAT: nothing else is known */
    char cluster_id[DATADIR_CLUSTER_ID_BYTES_MAX + 1];
    uint64_t node_id;
    bool log_begun;
    bool restoring; /* then not log_begun */
};

/* Returns 0, also if there is none, -EUCLEAN if it is damaged, or the error of reading it. */
int node_file_read(int dir_fd, struct node_file *ret);

/* Old or new content after a crash, never a part. */
int node_file_write(int dir_fd, const struct node_file *node);

#endif
