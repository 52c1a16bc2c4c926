/* client_raw.h - what the files of the users by hand share: client_raw.c has the connections and turns,
 * client_raw_request.c what is sent, client_raw_answer.c what comes and is believed of it. */
#ifndef NETLOCK_SIM_CLIENT_RAW_H
#define NETLOCK_SIM_CLIENT_RAW_H

#include "client_internal.h"

enum {
    RAW_REQUEST_BUCKETS = 1024,
    RAW_SWITCHES_MAX = 4,
    RAW_NAME_BYTES = WIRE_NAME_BYTES_MAX + 1,
};

/* What was sent and has no final answer. */
struct raw_request {
    struct raw_request *next; /* in its bucket, or spare */
    uint64_t op;
    unsigned conn;
    enum sim_ask_type type;
    enum netlock_type type_of_lock;
    uint32_t limit;
    bool ignore, downgrade;
    bool by_default; /* for the connection's default client */
};

/* From here on in what is to be written bytes are held back, or are not. */
struct raw_switch {
    size_t at;
    bool hold;
};

/* Its memory is the process's, but for the struct itself. */
struct raw_conn {
    struct sim_socket *socket;       /* NULL: there is none */
    bool connected;                  /* and told so */
    bool deaf;                       /* does not read */
    char default_id[RAW_NAME_BYTES]; /* as far as an answer has named it */
    struct wire_buf out;
    size_t out_sent;
    struct raw_switch switches[RAW_SWITCHES_MAX]; /* that are still to come */
    unsigned switches_count;
    uint8_t *in;
    size_t in_len, in_taken, in_capacity;
    struct wire_arena arena;
};

struct sim_raw {
    struct raw_conn conns[SIM_CLIENT_CONNS_MAX];
    struct raw_request *requests[RAW_REQUEST_BUCKETS];
    struct raw_request *spare;
    unsigned requests_count;
};

/* ---- client_raw_request.c ------------------------------------------------------------ */

/* Where the pointer to it is; to NULL if there is none. */
struct raw_request **raw_request_find(struct sim_raw *raw, uint64_t op);
void raw_request_drop(struct sim_raw *raw, struct raw_request **at);
void raw_requests_drop(struct sim_raw *raw, unsigned conn);

/* What the user no longer believes once it has asked for this, as client @id. */
void raw_give_up(struct sim_client *client,
                 const struct sim_ask *ask,
                 const char *id,
                 uint64_t op);
/* Put it behind what waits to be written. -EOPNOTSUPP: it is no request. */
int raw_send(struct sim_client *client, const struct sim_ask *ask, uint64_t op);

/* ---- client_raw_answer.c ------------------------------------------------------------- */

void raw_take_response(struct sim_client *client,
                       unsigned number,
                       const struct wire_response *response);
void raw_take_nonsense(struct sim_client *client, unsigned number, int rv);

#endif
