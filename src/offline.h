/* offline.h - what netlockd does instead of running a node: `netlockd VERB ...`. Each prints
 * what it found or did, and returns an exit status. */
#ifndef NETLOCK_OFFLINE_H
#define NETLOCK_OFFLINE_H

enum { OFFLINE_OK = 0, OFFLINE_DAMAGED = 1, OFFLINE_REFUSED = 2, OFFLINE_NEWER = 4 };

/* netlockd restore FILE [--tokens-from N] [--check] [OPTIONS of netlockd]: make the node's
 * data directory out of a backup; with --check only look at the file. argv[0] is the verb. */
int offline_restore(int argc, char **argv);

/* netlockd check-data DIR: verify the data directory of a node that does not run. Nothing
 * is changed. Returns OFFLINE_DAMAGED if there is something that a start would refuse, or
 * go on without; OFFLINE_NEWER if there is nothing worse than what only a newer build can
 * read. */
int offline_check_data(int argc, char **argv);

/* netlockd recover DIR FILE: the data directory of a node that does not run, as a backup: the way to a new
 * cluster when this one has lost its quorum for good. */
int offline_recover(int argc, char **argv);

/* netlockd dump-log DIR: the snapshot and the log of a node that does not run, one JSON
 * object per line. */
int offline_dump_log(int argc, char **argv);

#endif
