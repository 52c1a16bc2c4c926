/* restore.h - make the data directory of a node of a new cluster out of a backup.
 *
 * Every member of the new cluster is restored, each on its machine, from the same file and
 * with the same members and first token: the directories then have the same snapshot, at
 * the index and term of the backup, and an empty log behind it. What differs shows at the
 * first entry, by the digest, and stops the node.
 *
 * Holds and waits come back with the table. The time of the cluster goes on where it was at
 * the backup, so a hold has as much left as it had then; and the first leader gives all
 * clients the grace to come back, as after any election, before it frees RELEASE holds. To
 * forget the holds instead would be to grant a lock while its holder, who never lost
 * contact for longer than its lease, or who has no lease, still works. A hold that was
 * released after the backup comes back too: those with a lease or RELEASE go by themselves,
 * the others are for `netlock break`. */
#ifndef NETLOCK_RESTORE_H
#define NETLOCK_RESTORE_H

#include "backup.h"
#include "raft_node.h"

struct restore {
    struct backup_origin origin;
    uint64_t commands_index;
    const struct fsm *table; /* with its counter moved: backup_move_tokens() */
};

/* Fill the new or empty directory @config->data_dir for the node that @config describes.
 * Returns 0, or a negative errno and one line in @ret_error. A restore that was cut off
 * leaves a directory that no node starts from. */
int restore_node(const struct raft_node_config *config,
                 const struct restore *restore,
                 char ret_error[static RAFT_NODE_ERROR_BYTES]);

#endif
