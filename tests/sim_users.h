/* sim_users.h - for tests of the simulator's users: three nodes, users, and what was told of them. */
#ifndef NETLOCK_SIM_USERS_H
#define NETLOCK_SIM_USERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client.h"
#include "event.h"
#include "history.h"
#include "net.h"
#include "node.h"

enum { SECOND_US = 1000000, ELECTED_US = 10 * SECOND_US };

/* What is kept of a record. */
struct seen {
    enum sim_record_type type;
    uint64_t at_us, op, token;
    const struct sim_client *client;
    enum sim_ask_type ask_type;
    enum netlock_type type_of_lock;
    enum netlock_event event;
    enum wire_response_type response;
    bool holding, on, has_grant, has_answer;
    int rv;
    unsigned conn;
    uint32_t limit;
    char lock[16], client_id[64];
    struct sim_answer answer;
};

/* The @n-th record (from 0) of this type and client; the last one; the last notice, the last response of
 * a type. If there is none: an empty one, of which users_there() is false. */
const struct seen *
users_find(const struct sim_client *client, enum sim_record_type type, unsigned n);
const struct seen *users_last(const struct sim_client *client, enum sim_record_type type);
const struct seen *users_notice(const struct sim_client *client,
                                enum netlock_event event);
const struct seen *users_response(const struct sim_client *client,
                                  enum wire_response_type type);
bool users_there(const struct seen *record);

/* Three nodes that start now. */
void world_begin(uint64_t seed);
void world_end(void);
void users_run(uint64_t us);
void users_run_ms(uint64_t ms);

/* Started. A user of the library called "a" has the client id "a-id". */
struct sim_client *users_new(const char *name);
struct sim_client *users_new_raw(const char *name);
void users_ask(struct sim_client *client, struct sim_ask what);
void users_lock(struct sim_client *client, const char *name);
void users_unlock(struct sim_client *client, const char *name);
/* No node reaches the client any more, nor the other way round; or they do again. */
void users_isolate(struct sim_client *client, bool cut);

#endif
