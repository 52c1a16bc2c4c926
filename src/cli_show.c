#include "cli_show.h"

#include <inttypes.h>
#include <string.h>

enum { LOCK_COLUMNS = 7 };

const char *show_type(enum netlock_type type)
{
    return type == NETLOCK_READ ? "read" : "write";
}

static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

const char *show_owner(const struct netlock_holder *holder)
{
    const char *info = or_empty(holder->owner_info);

    return *info == '\0' ? or_empty(holder->client_id) : info;
}

/* Compared here, not by asking as that client: its id may have a secret that only its process knows. */
static bool is_own(const struct cli *cli, const struct netlock_holder *holder)
{
    const char *own = cli_shared_client_id(cli);

    return own != NULL && strcmp(own, or_empty(holder->client_id)) == 0;
}

void show_holders(const struct cli *cli,
                  const struct netlock_holder *holders,
                  size_t count)
{
    static const char *const heading[] = {"TOKEN", "TYPE",      "SLOT",   "FOR",
                                          "LEFT",  "CONNECTED", "CLIENT", "OWNER"};
    struct text_table table = {.columns = sizeof heading / sizeof *heading};
    char duration[TEXT_DURATION_BYTES];

    for (size_t i = 0; i < table.columns; i++) {
        text_table_add(&table, heading[i]);
    }
    for (const struct netlock_holder *holder = holders; holder < holders + count;
         holder++) {
        text_table_addf(&table, "%" PRIu64, holder->token);
        text_table_add(&table, show_type(holder->type));
        text_table_addf(&table, "%" PRIu32, holder->slot);
        text_table_add(&table, text_duration(holder->since_ms, duration));
        text_table_add(&table, text_duration(holder->remaining_ms, duration));
        text_table_add(&table, holder->connected ? "yes" : "no");
        text_table_addf(&table, "%s%s", or_empty(holder->client_id),
                        is_own(cli, holder) ? " *" : "");
        text_table_add(&table, or_empty(holder->owner_info));
    }
    text_table_print(&table, stdout);
    text_table_release(&table);
}

void json_holders(struct json *json,
                  const struct cli *cli,
                  const struct netlock_holder *holders,
                  size_t count)
{
    json_open_array(json, "holders");
    for (const struct netlock_holder *holder = holders; holder < holders + count;
         holder++) {
        json_open_object(json, NULL);
        json_string(json, "client_id", or_empty(holder->client_id));
        json_bool(json, "own", is_own(cli, holder));
        json_string(json, "owner_info", or_empty(holder->owner_info));
        json_number(json, "token", holder->token);
        json_string(json, "type", show_type(holder->type));
        json_number(json, "slot", holder->slot);
        json_string(json, "drop",
                    holder->drop == NETLOCK_DROP_IGNORE ? "ignore" : "release");
        json_bool(json, "connected", holder->connected);
        json_number(json, "since_ms", holder->since_ms);
        json_ms(json, "remaining_ms", holder->remaining_ms);
        json_ms(json, "ttl_ms", holder->lock_timeout_ms);
        json_close(json);
    }
    json_close(json);
}

void json_waiters(struct json *json, const struct netlock_holder *waiters, size_t count)
{
    json_open_array(json, "waiters");
    for (const struct netlock_holder *waiter = waiters; waiter < waiters + count;
         waiter++) {
        json_open_object(json, NULL);
        json_number(json, "position", waiter->position);
        json_string(json, "client_id", or_empty(waiter->client_id));
        json_string(json, "owner_info", or_empty(waiter->owner_info));
        json_string(json, "type", show_type(waiter->type));
        json_bool(json, "connected", waiter->connected);
        json_number(json, "since_ms", waiter->since_ms);
        json_ms(json, "remaining_ms", waiter->remaining_ms);
        json_close(json);
    }
    json_close(json);
}

void show_locks_heading(struct text_table *table)
{
    static const char *const heading[LOCK_COLUMNS] = {
        "NAME", "TYPE", "HOLDERS", "WAITING", "FOR", "LEFT", "OWNER"};

    table->columns = LOCK_COLUMNS;
    for (size_t i = 0; i < table->columns; i++) {
        text_table_add(table, heading[i]);
    }
}

void show_lock(struct text_table *table, const struct netlock_lock_item *item)
{
    char duration[TEXT_DURATION_BYTES];
    const struct netlock_holder *first =
        item->holders_shown > 0 ? &item->holders[0] : NULL;

    text_table_add(table, item->name);
    text_table_add(table, show_type(item->type));
    if (item->limit > 1) {
        text_table_addf(table, "%" PRIu32 "/%" PRIu32, item->holders_count, item->limit);
    } else {
        text_table_addf(table, "%" PRIu32, item->holders_count);
    }
    text_table_addf(table, "%" PRIu32, item->queue_length);
    text_table_add(table, first == NULL ? "-" : text_duration(first->since_ms, duration));
    text_table_add(table,
                   first == NULL ? "-" : text_duration(first->remaining_ms, duration));
    text_table_add(table, first == NULL ? "-" : show_owner(first));
}

static void show_waiter(struct text_table *table, const struct netlock_holder *waiter)
{
    char duration[TEXT_DURATION_BYTES];

    text_table_add(table, "");
    text_table_add(table, show_type(waiter->type));
    text_table_add(table, "");
    text_table_addf(table, "%" PRIu32 ".", waiter->position);
    text_table_add(table, text_duration(waiter->since_ms, duration));
    text_table_add(table, text_duration(waiter->remaining_ms, duration));
    text_table_addf(table, "%s%s", show_owner(waiter),
                    waiter->connected ? "" : " (not connected)");
}

void show_queue(struct text_table *table, const struct netlock_lock_item *item)
{
    for (size_t i = 0; i < item->waiters_shown; i++) {
        show_waiter(table, &item->waiters[i]);
    }
    if (item->waiters_shown > 0 && item->queue_length > item->waiters_shown) {
        for (int column = 0; column < 3; column++) {
            text_table_add(table, "");
        }
        text_table_addf(table, "+%zu", item->queue_length - item->waiters_shown);
        for (int column = 4; column < LOCK_COLUMNS; column++) {
            text_table_add(table, "");
        }
    }
}
