/* raft_tidy.h - what a crash leaves in DIR/raft that libraft 0.22 refuses to start with.
 *
 * To truncate the closed segment FIRST-LAST libraft writes what stays of it as FIRST-EARLIER,
 * and then unlinks FIRST-LAST. A crash between the two leaves both, perhaps the new one in
 * part. The truncation is taken back: while the old file is there, nothing was written behind
 * the new one, and the entries that were to go had not been committed. The leader asks again. */
#ifndef NETLOCK_RAFT_TIDY_H
#define NETLOCK_RAFT_TIDY_H

/* Unlink every closed segment of @raft_path that another one, which begins with the same
 * entry, goes beyond; @removed is told each name. Returns 0, where there is no such directory as well,
 * or a negative errno. */
int raft_tidy(const char *raft_path,
              void (*removed)(void *arg, const char *name),
              void *arg);

#endif
