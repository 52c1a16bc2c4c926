/* cli_show.h - locks and their holders, as `status`, `list` and `top` show them. */
#ifndef NETLOCK_CLI_SHOW_H
#define NETLOCK_CLI_SHOW_H

#include <stddef.h>

#include "cli.h"
#include "cli_text.h"

const char *show_type(enum netlock_type type);

/* A table with a heading, on stdout. The holds of the own client id are marked. */
void show_holders(const struct cli *cli,
                  const struct netlock_holder *holders,
                  size_t count);

/* The member "holders": an array of objects. */
void json_holders(struct json *json,
                  const struct cli *cli,
                  const struct netlock_holder *holders,
                  size_t count);

/* The member "waiters" likewise. */
void json_waiters(struct json *json, const struct netlock_holder *waiters, size_t count);

/* Of one holder: its owner info, or the id of a client that gave none. */
const char *show_owner(const struct netlock_holder *holder);

/* The heading of a table of locks, and a row of it. */
void show_locks_heading(struct text_table *table);
void show_lock(struct text_table *table, const struct netlock_lock_item *item);
/* A row for each of those who wait for it, as far as they are known; one more for the others. */
void show_queue(struct text_table *table, const struct netlock_lock_item *item);

#endif
