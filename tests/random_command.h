/* random_command.h - a command of any kind with any values that the lock table can take. */
#ifndef NETLOCK_TEST_RANDOM_COMMAND_H
#define NETLOCK_TEST_RANDOM_COMMAND_H

#include <stdint.h>

#include "fsm.h"

enum { RANDOM_COMMAND_STRINGS = 3 };

struct random_command {
    struct fsm_command command;
    char strings[RANDOM_COMMAND_STRINGS][FSM_NAME_BYTES_MAX];
};

/* A small generator of its own, so that a seed means the same everywhere. */
uint64_t random_next(uint64_t *random);
uint64_t random_below(uint64_t *random, uint64_t limit);

/* Strings of any bytes, of up to @name_bytes_max. */
void random_command(uint64_t *random, size_t name_bytes_max, struct random_command *ret);

#endif
