/* feature_level.h - which formats a cluster writes while it has nodes of several builds.
 *
 * Every build has the highest level that it reads and writes. Every entry and snapshot carries the level
 * that it needs as its format. The cluster's level is the highest one in the log: it rises when the leader
 * is connected to all members and each has said, in the handshake, that it can; it never falls. Whatever a
 * build adds to the formats (another command, another meaning of a field) it proposes only when
 * replica_level() has come to the level that it was added with.
 *
 * A node that finds a higher level than its own, in its log, in its snapshot or in an entry that it is sent,
 * stops: it would compute another state than the others. A snapshot of a higher level it takes from nobody
 * (peer_check.h): it goes on without it, and says so. So a cluster goes back to an older build only as long
 * as its level has not risen. */
#ifndef NETLOCK_FEATURE_LEVEL_H
#define NETLOCK_FEATURE_LEVEL_H

#include <stdint.h>

enum {
    FEATURE_LEVEL_FIRST = 1, /* of builds that say nothing about it in the handshake */
    /* The same build brought both: */
    FEATURE_LEVEL_DROP_MAX = 2, /* fsm_settings.drop_max; below, an epoch has 0 there */
    FEATURE_LEVEL_MEMBERS = 2,  /* members' addresses in the table: FSM_CMD_MEMBER */
};

extern const uint32_t feature_level_max;

#endif
