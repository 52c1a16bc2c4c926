/* snapshot_record.h - one record of the lock table <-> one Record message of a snapshot. */
#ifndef NETLOCK_SNAPSHOT_RECORD_H
#define NETLOCK_SNAPSHOT_RECORD_H

#include "durable.h"
#include "fsm.h"

/* Append @record behind its length. */
void snapshot_record_append(struct durable_bytes *bytes, const struct fsm_record *record);

/* Read one record. Strings are borrowed from @arena until its next use. Returns NULL, or what is
 * wrong with the bytes. */
const char *snapshot_record_read(struct durable_arena *arena,
                                 const uint8_t *data,
                                 size_t len,
                                 struct fsm_record *ret_record);

#endif
