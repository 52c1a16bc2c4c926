#include "log_dump_text.h"

#include <inttypes.h>

/* ---- values -------------------------------------------------------------------------- */

static void put_str(FILE *out, const char *name, struct fsm_str str)
{
    fprintf(out, ",\"%s\":\"", name);
    for (size_t i = 0; i < str.len; i++) {
        unsigned char c = (unsigned char)str.data[i];
        if (c == '"' || c == '\\' || c < 0x20) {
            fprintf(out, "\\u%04x", (unsigned)c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

static void put_number(FILE *out, const char *name, uint64_t value)
{
    fprintf(out, ",\"%s\":%" PRIu64, name, value);
}

/* A duration or a deadline. */
static void put_ms(FILE *out, const char *name, uint64_t ms)
{
    if (ms == FSM_UNLIMITED) {
        fprintf(out, ",\"%s\":-1", name);
    } else {
        put_number(out, name, ms);
    }
}

static void put_settings(FILE *out, const struct fsm_settings *settings)
{
    put_ms(out, "reattach_grace", settings->reattach_grace_ms);
    put_number(out, "clients_max", settings->clients_max);
    put_number(out, "claims_max", settings->claims_max);
    put_number(out, "claims_per_client_max", settings->claims_per_client_max);
    put_number(out, "waiters_per_lock_max", settings->waiters_per_lock_max);
    put_number(out, "drop_max", settings->drop_max);
}

/* ---- commands ------------------------------------------------------------------------ */

static const char *command_name(enum fsm_command_type type)
{
    switch (type) {
    case FSM_CMD_EPOCH:
        return "epoch";
    case FSM_CMD_TICK:
        return "tick";
    case FSM_CMD_ATTACH:
        return "attach";
    case FSM_CMD_DETACH:
        return "detach";
    case FSM_CMD_LOCK:
        return "lock";
    case FSM_CMD_REFRESH:
        return "refresh";
    case FSM_CMD_RELEASE:
        return "release";
    case FSM_CMD_STATUS:
        return "status";
    case FSM_CMD_CHECK_TOKEN:
        return "check-token";
    case FSM_CMD_LIST_LOCKS:
        return "list-locks";
    case FSM_CMD_LIST_CLIENTS:
        return "list-clients";
    case FSM_CMD_FORCE_RELEASE:
        return "force-release";
    case FSM_CMD_CHECKPOINT:
        return "checkpoint";
    case FSM_CMD_MEMBER:
        return "member";
    }
    return "unknown";
}

static void put_attach(FILE *out, const struct fsm_command *command)
{
    if (command->attach.has_epoch) {
        put_number(out, "epoch", command->attach.epoch);
    }
    put_number(out, "supersede", command->attach.supersede);
    put_number(out, "create", command->attach.create);
    put_number(out, "has_secret", command->attach.secret_digest.len > 0);
}

static void put_lock(FILE *out, const struct fsm_command *command)
{
    put_number(out, "type", command->lock_.type);
    put_number(out, "mode", command->lock_.mode);
    put_number(out, "drop", command->lock_.drop);
    put_ms(out, "wait", command->lock_.wait_ms);
    put_ms(out, "hold", command->lock_.hold_ms);
    put_number(out, "limit", command->lock_.limit);
    put_number(out, "downgrade", command->lock_.downgrade);
}

static void put_refresh(FILE *out, const struct fsm_command *command)
{
    put_ms(out, "wait", command->refresh.wait_ms);
    put_ms(out, "hold", command->refresh.hold_ms);
    if (command->refresh.set_drop) {
        put_number(out, "drop", command->refresh.drop);
    }
    put_number(out, "token", command->refresh.token);
}

static void put_details(FILE *out, const struct fsm_command *command)
{
    switch (command->type) {
    case FSM_CMD_EPOCH:
        put_number(out, "node", command->epoch.node_id);
        put_number(out, "term", command->epoch.term);
        put_settings(out, &command->epoch.settings);
        break;
    case FSM_CMD_ATTACH:
        put_attach(out, command);
        break;
    case FSM_CMD_DETACH:
        put_number(out, "attach_seq", command->detach.attach_seq);
        put_number(out, "last", command->detach.last);
        break;
    case FSM_CMD_LOCK:
        put_lock(out, command);
        break;
    case FSM_CMD_REFRESH:
        put_refresh(out, command);
        break;
    case FSM_CMD_RELEASE:
        put_number(out, "token", command->release.token);
        break;
    case FSM_CMD_CHECK_TOKEN:
        put_number(out, "token", command->check_token.token);
        break;
    case FSM_CMD_FORCE_RELEASE:
        put_number(out, "token", command->force_release.token);
        break;
    case FSM_CMD_LIST_LOCKS:
    case FSM_CMD_LIST_CLIENTS:
        put_str(out, "prefix", command->list.prefix);
        put_str(out, "after", command->list.after);
        put_number(out, "max", command->list.max);
        break;
    case FSM_CMD_MEMBER:
        put_number(out, "node", command->member.node_id);
        put_str(out, "client_address", command->member.address);
        break;
    case FSM_CMD_TICK:
    case FSM_CMD_STATUS:
    case FSM_CMD_CHECKPOINT:
        break;
    }
}

void log_dump_command(FILE *out, const struct fsm_command *command)
{
    fprintf(out, "{\"do\":\"%s\"", command_name(command->type));
    if (command->client.len > 0) {
        put_str(out, "client", command->client);
        put_number(out, "client_epoch", command->client_epoch);
    }
    if (command->lock.len > 0) {
        put_str(out, "lock", command->lock);
    }
    put_details(out, command);
    fputc('}', out);
}

/* ---- records ------------------------------------------------------------------------- */

static void put_hold(FILE *out, const struct fsm_record *record)
{
    put_str(out, "client", record->hold.client);
    put_str(out, "lock", record->hold.lock);
    put_number(out, "token", record->hold.token);
    put_number(out, "type", record->hold.type);
    put_number(out, "drop", record->hold.drop);
    put_number(out, "slot", record->hold.slot);
    put_ms(out, "hold", record->hold.hold_ms);
    put_number(out, "granted_at", record->hold.granted_at_ms);
    put_ms(out, "deadline", record->hold.deadline_ms);
    put_ms(out, "asked_deadline", record->hold.asked_deadline_ms);
    put_number(out, "order", record->hold.order);
}

static void put_wait(FILE *out, const struct fsm_record *record)
{
    put_str(out, "client", record->wait.client);
    put_str(out, "lock", record->wait.lock);
    put_number(out, "type", record->wait.type);
    put_number(out, "drop", record->wait.drop);
    put_number(out, "upgrade", record->wait.upgrade);
    put_ms(out, "wait", record->wait.wait_ms);
    put_ms(out, "hold", record->wait.hold_ms);
    put_number(out, "queued_at", record->wait.queued_at_ms);
    put_ms(out, "deadline", record->wait.deadline_ms);
    put_number(out, "order", record->wait.order);
}

static void put_root(FILE *out, const struct fsm_record *record)
{
    put_number(out, "now", record->root.now_ms);
    put_number(out, "token", record->root.token);
    put_number(out, "order", record->root.order);
    put_number(out, "term", record->root.term);
    put_number(out, "node_id_max", record->root.node_id_max);
    put_settings(out, &record->root.settings);
}

static void put_client(FILE *out, const struct fsm_record *record)
{
    put_str(out, "client", record->client.id);
    put_number(out, "epoch", record->client.epoch);
    put_number(out, "attach_seq", record->client.attach_seq);
    put_number(out, "presence", record->client.presence);
    put_ms(out, "grace_end", record->client.grace_end_ms);
    put_number(out, "has_secret", record->client.secret_digest.len > 0);
}

void log_dump_record(FILE *out, const struct fsm_record *record)
{
    static const char *const names[] = {
        [FSM_REC_ROOT] = "root",    [FSM_REC_CLIENT] = "client",
        [FSM_REC_LOCK] = "lock",    [FSM_REC_HOLD] = "hold",
        [FSM_REC_WAIT] = "wait",    [FSM_REC_EXPIRED] = "expired",
        [FSM_REC_MEMBER] = "member"};

    fprintf(out, "{\"record\":\"%s\"", names[record->type]);
    switch (record->type) {
    case FSM_REC_ROOT:
        put_root(out, record);
        break;
    case FSM_REC_CLIENT:
        put_client(out, record);
        break;
    case FSM_REC_LOCK:
        put_str(out, "lock", record->lock.name);
        put_number(out, "limit", record->lock.limit);
        break;
    case FSM_REC_HOLD:
        put_hold(out, record);
        break;
    case FSM_REC_WAIT:
        put_wait(out, record);
        break;
    case FSM_REC_EXPIRED:
        put_str(out, "client", record->expired.client);
        put_str(out, "lock", record->expired.lock);
        put_number(out, "token", record->expired.token);
        break;
    case FSM_REC_MEMBER:
        put_number(out, "node", record->member.node_id);
        put_str(out, "client_address", record->member.address);
        break;
    }
    fputs("}\n", out);
}
