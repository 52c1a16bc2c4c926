/* log_dump_text.h - commands and records as JSON. Pure. */
#ifndef NETLOCK_LOG_DUMP_TEXT_H
#define NETLOCK_LOG_DUMP_TEXT_H

#include <stdio.h>

#include "fsm.h"

void log_dump_command(FILE *out, const struct fsm_command *command);
void log_dump_record(FILE *out, const struct fsm_record *record);

#endif
