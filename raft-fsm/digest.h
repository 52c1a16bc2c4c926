/* digest.h - fingerprints of commands, events and records, equal on every machine and
 * platform.
 *
 * Values are folded in one by one (the step of XXH64), never the memory of a struct:
 * padding and byte order must not matter. `ref` is left out everywhere: it is not durable
 * and only the leader has it.
 */
#ifndef NETLOCK_DIGEST_H
#define NETLOCK_DIGEST_H

#include <stdint.h>

#include "fsm.h"

uint64_t digest_command(uint64_t digest, const struct fsm_command *command);
uint64_t digest_event(uint64_t digest, const struct fsm_event *event);
uint64_t digest_record(uint64_t digest, const struct fsm_record *record);

/* For the hash tables: not visible from outside, different with every @seed. */
unsigned digest_name(struct fsm_str name, uint64_t seed);

#endif
