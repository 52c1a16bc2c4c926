/* offline_check.h - the table in a data directory of a node that does not run, read with all the checks of
 * `netlockd check-data`. */
#ifndef NETLOCK_OFFLINE_CHECK_H
#define NETLOCK_OFFLINE_CHECK_H

#include <stdint.h>

#include "fsm.h"
#include "offline.h"

/* Everything is borrowed for the call. */
struct offline_table {
    const char *cluster_id;
    const struct fsm *table; /* with every entry of the log, committed or not */
    uint64_t commands_index; /* of the last entry with commands */
    uint64_t index, term;    /* of the last entry */
    uint32_t level;          /* of the cluster: feature_level.h */
};

typedef int (*offline_table_cb)(void *arg, const struct offline_table *table);

/* Check the directory at @path and print what there is. If nothing is damaged, @on_table (may be NULL) gets the
 * table, while the directory is locked, and its status is returned; else that of the check. */
int offline_read_table(const char *path, offline_table_cb on_table, void *arg);

#endif
