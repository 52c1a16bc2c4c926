/* entry_command.h - one command of the lock table <-> one Command message of an entry. */
#ifndef NETLOCK_ENTRY_COMMAND_H
#define NETLOCK_ENTRY_COMMAND_H

#include <stdbool.h>

#include "durable.h"
#include "fsm.h"

/* Whether the lock table takes the command: the lengths of its strings, enums and numbers in range.
 * Asked before it is written and after it is read: a node that reads another one must stop, and once
 * such a command is committed every node would. */
bool entry_command_fits(const struct fsm_command *command);

/* Append @command, which must fit, behind its length. Its time and ref are left out: the time
 * belongs to the entry, the ref to this process. */
void entry_command_append(struct durable_bytes *bytes, const struct fsm_command *command);

/* Read one command. Strings are borrowed from @arena until its next use. Returns NULL, or what is
 * wrong with the bytes: only what the lock table can take comes out of here. */
const char *entry_command_read(struct durable_arena *arena,
                               const uint8_t *data,
                               size_t len,
                               struct fsm_command *ret_command);

#endif
