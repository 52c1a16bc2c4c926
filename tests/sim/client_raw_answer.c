/* client_raw_answer.c - what comes to users by hand, and what they believe of it. */
#include "client_raw.h"

#include <string.h>

static void copy_name(char out[static RAW_NAME_BYTES], struct wire_str name)
{
    size_t len = name.len < RAW_NAME_BYTES ? name.len : RAW_NAME_BYTES - 1;
    if (len > 0)
        memcpy(out, name.data, len);
    out[len] = 0;
}

static uint64_t op_of_key(struct wire_str key)
{
    uint64_t op = 0;
    for (size_t i = 0; i < key.len; i++) {
        if (key.data[i] < '0' || key.data[i] > '9')
            return 0;
        op = 10 * op + (uint64_t)(key.data[i] - '0');
    }
    return op;
}

/* A plain answer does not say which type was granted: the one that was asked for, but that a WRITE
 * hold stays one if READ is asked for without `downgrade`, or if it is refreshed. */
static enum netlock_type granted_type(const struct raw_request *request,
                                      const struct sim_belief *belief,
                                      const struct wire_response *response)
{
    if (response->extended)
        return response->granted.type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE;
    if (request == NULL)
        return belief->holding ? belief->type : NETLOCK_WRITE;
    if (belief->holding && (request->type == SIM_ASK_REFRESH ||
                            (belief->type == NETLOCK_WRITE && !request->downgrade)))
        return belief->type;
    return request->type_of_lock;
}

static void take_grant(struct sim_client *client,
                       const struct raw_request *request,
                       struct sim_belief *belief,
                       const struct sim_record *record)
{
    if (record->op != 0 && belief->given_up_op > record->op)
        return; /* it was released before the answer came */
    uint32_t limit = request != NULL && request->type == SIM_ASK_LOCK ? request->limit
                     : belief->limit > 1                              ? belief->limit
                                                                      : 1;
    if (request != NULL)
        belief->ignore = request->type == SIM_ASK_LOCK
                             ? request->ignore
                             : belief->ignore || request->ignore;
    belief->conn = record->conn;
    sim_belief_grant(client, belief, record->op, record->response->granted.token,
                     granted_type(request, belief, record->response), limit);
}

static void believe(struct sim_client *client,
                    const struct raw_request *request,
                    const struct sim_record *record)
{
    const struct wire_response *response = record->response;
    if (record->lock == NULL)
        return;
    struct sim_belief *belief = sim_belief_find(client, record->client_id, record->lock);
    switch (response->type) {
    case WIRE_RESP_GRANTED:
        if (belief == NULL)
            belief = sim_belief_get(client, record->client_id, record->lock);
        take_grant(client, request, belief, record);
        break;
    case WIRE_RESP_TIMEOUT: /* without Hello it has no token; else it may be about one before */
        if (belief != NULL &&
            (response->timeout.token == 0 || response->timeout.token == belief->token))
            sim_belief_end(client, belief);
        break;
    case WIRE_RESP_DENIED:
        if (belief != NULL && request != NULL && request->type == SIM_ASK_REFRESH)
            sim_belief_end(client, belief);
        break;
    default:
        break;
    }
}

static bool is_final(const struct raw_request *request,
                     const struct wire_response *response)
{
    return response->type != WIRE_RESP_WAIT || request->type != SIM_ASK_LOCK;
}

void raw_take_response(struct sim_client *client,
                       unsigned number,
                       const struct wire_response *response)
{
    struct sim_raw *raw = client->raw;
    struct raw_conn *conn = &raw->conns[number];
    char id[RAW_NAME_BYTES], lock[RAW_NAME_BYTES];
    copy_name(id, response->client);
    copy_name(lock, response->lock);
    struct sim_record record = sim_client_record(client, SIM_REC_RESPONSE);
    record.op = op_of_key(response->key);
    record.conn = number;
    record.client_id = id;
    record.lock = response->lock.len > 0 ? lock : NULL;
    record.response = response;
    struct raw_request **at = raw_request_find(raw, record.op);
    const struct raw_request *request = *at;
    if (request != NULL && request->by_default && id[0] != 0)
        memcpy(conn->default_id, id, sizeof(id));
    if (request != NULL)
        record.ask_type = request->type;
    if (response->type == WIRE_RESP_GRANTED) {
        record.token = response->granted.token;
        record.limit = request != NULL ? request->limit : 1;
    }
    sim_history_tell(&record);
    believe(client, request, &record);
    if (request != NULL && is_final(request, response))
        raw_request_drop(raw, at);
}

void raw_take_nonsense(struct sim_client *client, unsigned number, int rv)
{
    struct sim_record record = sim_client_record(client, SIM_REC_RESPONSE);
    record.conn = number;
    record.rv = rv;
    sim_history_tell(&record);
}
