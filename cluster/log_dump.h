/* log_dump.h - the log and the snapshot of a stopped node as text, for people and checkers.
 *
 * One JSON object per line:
 *
 *     {"snapshot":INDEX,"term":T,"commands_index":I}       if there is one, then its records
 *     {"record":"hold","client":...}                       as fsm_record names them
 *     {"index":INDEX,"term":T,"kind":"commands","time":MS,"proposer":ID,"batch":N,
 *      "prior_index":I,"digest":D,"commands":[{"do":"lock","client":...},...]}
 *     {"index":INDEX,"term":T,"kind":"barrier"}            also "change", of the membership
 *
 * Entries at the end may not have been committed. Durations are in ms, -1 is unlimited; digests of
 * secrets are left out. Nothing is changed. */
#ifndef NETLOCK_LOG_DUMP_H
#define NETLOCK_LOG_DUMP_H

#include <stdio.h>

enum { LOG_DUMP_ERROR_BYTES = 512 };

/* Returns 0; or a negative errno and one line in @ret_error: -ENOENT (no data directory), -EBUSY (a
 * node is running on it), -EUCLEAN (it cannot be read). */
int log_dump(const char *data_dir,
             FILE *out,
             char ret_error[static LOG_DUMP_ERROR_BYTES]);

#endif
