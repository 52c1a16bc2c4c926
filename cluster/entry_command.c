#include "entry_command.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "log.pb-c.h"

static const char damaged[] = "it has a command that is damaged";
static const char out_of_range[] = "it has a command with a value out of range";

/* ---- writing -------------------------------------------------------------------------- */

static bool fits(struct fsm_str str)
{
    return str.len <= FSM_NAME_BYTES_MAX;
}

static bool lock_fits(const struct fsm_command *command)
{
    return (unsigned)command->lock_.type <= FSM_READ &&
           (unsigned)command->lock_.mode <= FSM_WAIT &&
           (unsigned)command->lock_.drop <= FSM_DROP_IGNORE &&
           command->lock_.wait_ms != 0 && command->lock_.hold_ms != 0 &&
           command->lock_.limit != 0 && command->lock_.limit <= FSM_LIMIT_MAX &&
           (command->lock_.limit == 1 || command->lock_.type == FSM_WRITE) &&
           fits(command->lock_.owner_info);
}

bool entry_command_fits(const struct fsm_command *command)
{
    if (!fits(command->client) || !fits(command->lock)) {
        return false;
    }
    switch (command->type) {
    case FSM_CMD_ATTACH:
        return command->attach.secret_digest.len <= FSM_SECRET_DIGEST_BYTES_MAX;
    case FSM_CMD_LOCK:
        return lock_fits(command);
    case FSM_CMD_REFRESH:
        return (unsigned)command->refresh.drop <= FSM_DROP_IGNORE;
    case FSM_CMD_LIST_LOCKS:
    case FSM_CMD_LIST_CLIENTS:
        return command->list.max != 0 && command->list.max <= FSM_LIST_MAX &&
               fits(command->list.prefix) && fits(command->list.after);
    case FSM_CMD_MEMBER:
        return command->member.node_id != 0 && fits(command->member.address);
    case FSM_CMD_EPOCH:
    case FSM_CMD_TICK:
    case FSM_CMD_DETACH:
    case FSM_CMD_RELEASE:
    case FSM_CMD_STATUS:
    case FSM_CMD_CHECK_TOKEN:
    case FSM_CMD_FORCE_RELEASE:
    case FSM_CMD_CHECKPOINT:
        return true;
    }
    return false;
}

static uint8_t *put_attach(uint8_t *at, const struct fsm_command *command)
{
    at = durable_put_str(at, 1, command->client);
    at = durable_put_number(at, 2, command->attach.has_epoch);
    at = durable_put_number(at, 3, command->attach.epoch);
    at = durable_put_number(at, 4, command->attach.supersede);
    at = durable_put_number(at, 5, command->attach.create);
    return durable_put_str(at, 6, command->attach.secret_digest);
}

static uint8_t *put_lock(uint8_t *at, const struct fsm_command *command)
{
    at = durable_put_str(at, 1, command->client);
    at = durable_put_number(at, 2, command->client_epoch);
    at = durable_put_str(at, 3, command->lock);
    at = durable_put_number(at, 4, command->lock_.type);
    at = durable_put_number(at, 5, command->lock_.mode);
    at = durable_put_number(at, 6, command->lock_.drop);
    at = durable_put_number(at, 7, command->lock_.wait_ms);
    at = durable_put_number(at, 8, command->lock_.hold_ms);
    at = durable_put_number(at, 9, command->lock_.limit);
    at = durable_put_number(at, 10, command->lock_.downgrade);
    return durable_put_str(at, 11, command->lock_.owner_info);
}

static uint8_t *put_refresh(uint8_t *at, const struct fsm_command *command)
{
    at = durable_put_str(at, 1, command->client);
    at = durable_put_number(at, 2, command->client_epoch);
    at = durable_put_str(at, 3, command->lock);
    at = durable_put_number(at, 4, command->refresh.wait_ms);
    at = durable_put_number(at, 5, command->refresh.hold_ms);
    at = durable_put_number(at, 6,
                            command->refresh.set_drop ? 1 + command->refresh.drop : 0);
    return durable_put_number(at, 7, command->refresh.token);
}

static uint8_t *put_list(uint8_t *at, const struct fsm_command *command)
{
    at = durable_put_str(at, 1, command->list.prefix);
    at = durable_put_str(at, 2, command->list.after);
    return durable_put_number(at, 3, command->list.max);
}

/* Field numbers are those of proto/log.proto, as everywhere here. */
static uint8_t *
put_command(uint8_t *at, const struct fsm_command *command, unsigned *ret_kind)
{
    switch (command->type) {
    case FSM_CMD_EPOCH:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_EPOCH;
        at = durable_put_number(at, 1, command->epoch.node_id);
        at = durable_put_number(at, 2, command->epoch.term);
        return durable_put_settings(at, 3, &command->epoch.settings);
    case FSM_CMD_TICK:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_TICK;
        return at;
    case FSM_CMD_ATTACH:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_ATTACH;
        return put_attach(at, command);
    case FSM_CMD_DETACH:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_DETACH;
        at = durable_put_str(at, 1, command->client);
        at = durable_put_number(at, 2, command->detach.attach_seq);
        return durable_put_number(at, 3, command->detach.last);
    case FSM_CMD_LOCK:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_LOCK;
        return put_lock(at, command);
    case FSM_CMD_REFRESH:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_REFRESH;
        return put_refresh(at, command);
    case FSM_CMD_RELEASE:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_RELEASE;
        at = durable_put_str(at, 1, command->client);
        at = durable_put_number(at, 2, command->client_epoch);
        at = durable_put_str(at, 3, command->lock);
        return durable_put_number(at, 4, command->release.token);
    case FSM_CMD_STATUS:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_STATUS;
        at = durable_put_str(at, 1, command->client);
        return durable_put_str(at, 2, command->lock);
    case FSM_CMD_CHECK_TOKEN:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_CHECK_TOKEN;
        at = durable_put_str(at, 1, command->lock);
        return durable_put_number(at, 2, command->check_token.token);
    case FSM_CMD_LIST_LOCKS:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_LIST_LOCKS;
        return put_list(at, command);
    case FSM_CMD_LIST_CLIENTS:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_LIST_CLIENTS;
        return put_list(at, command);
    case FSM_CMD_FORCE_RELEASE:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_FORCE_RELEASE;
        at = durable_put_str(at, 1, command->lock);
        return durable_put_number(at, 2, command->force_release.token);
    case FSM_CMD_CHECKPOINT:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_CHECKPOINT;
        return at;
    case FSM_CMD_MEMBER:
        *ret_kind = NETLOCK__LOG__COMMAND__KIND_MEMBER;
        at = durable_put_number(at, 1, command->member.node_id);
        return durable_put_str(at, 2, command->member.address);
    }
    abort(); /* entry_command_fits() knows every type */
}

void entry_command_append(struct durable_bytes *bytes, const struct fsm_command *command)
{
    unsigned kind;
    uint8_t *end;

    assert(entry_command_fits(command));
    end = put_command(durable_begin(bytes), command, &kind);
    durable_end(bytes, kind, end);
}

/* ---- reading -------------------------------------------------------------------------- */

static void read_epoch(const Netlock__Log__Epoch *message, struct fsm_command *command)
{
    static const Netlock__Log__Settings absent = NETLOCK__LOG__SETTINGS__INIT;
    const Netlock__Log__Settings *settings =
        message->settings != NULL ? message->settings : &absent;

    command->type = FSM_CMD_EPOCH;
    command->epoch.node_id = message->node_id;
    command->epoch.term = message->term;
    command->epoch.settings = (struct fsm_settings){
        .reattach_grace_ms = settings->reattach_grace,
        .clients_max = settings->clients_max,
        .claims_max = settings->claims_max,
        .claims_per_client_max = settings->claims_per_client_max,
        .waiters_per_lock_max = settings->waiters_per_lock_max,
        .drop_max = settings->drop_max,
    };
}

static void read_attach(const Netlock__Log__Attach *message, struct fsm_command *command)
{
    command->type = FSM_CMD_ATTACH;
    command->client = durable_to_str(message->client);
    command->attach.has_epoch = message->has_epoch;
    command->attach.epoch = message->epoch;
    command->attach.supersede = message->supersede;
    command->attach.create = message->create;
    command->attach.secret_digest = durable_to_str(message->secret_digest);
}

static void read_lock(const Netlock__Log__Lock *message, struct fsm_command *command)
{
    command->type = FSM_CMD_LOCK;
    command->client = durable_to_str(message->client);
    command->client_epoch = message->epoch;
    command->lock = durable_to_str(message->lock);
    command->lock_.type = (enum fsm_type)message->type;
    command->lock_.mode = (enum fsm_mode)message->mode;
    command->lock_.drop = (enum fsm_drop)message->drop;
    command->lock_.wait_ms = message->wait;
    command->lock_.hold_ms = message->hold;
    command->lock_.limit = message->limit;
    command->lock_.downgrade = message->downgrade;
    command->lock_.owner_info = durable_to_str(message->owner_info);
}

static void read_refresh(const Netlock__Log__Refresh *message,
                         struct fsm_command *command)
{
    command->type = FSM_CMD_REFRESH;
    command->client = durable_to_str(message->client);
    command->client_epoch = message->epoch;
    command->lock = durable_to_str(message->lock);
    command->refresh.wait_ms = message->wait;
    command->refresh.hold_ms = message->hold;
    command->refresh.set_drop = message->drop != 0;
    if (command->refresh.set_drop) {
        command->refresh.drop = (enum fsm_drop)(message->drop - 1);
    }
    command->refresh.token = message->token;
}

static void read_list(enum fsm_command_type type,
                      ProtobufCBinaryData prefix,
                      ProtobufCBinaryData after,
                      uint32_t max,
                      struct fsm_command *command)
{
    command->type = type;
    command->list.prefix = durable_to_str(prefix);
    command->list.after = durable_to_str(after);
    command->list.max = max;
}

/* False: a kind that is not known here. */
static bool read_command(const Netlock__Log__Command *message,
                         struct fsm_command *command)
{
    switch (message->kind_case) {
    case NETLOCK__LOG__COMMAND__KIND_EPOCH:
        read_epoch(message->epoch, command);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_TICK:
        command->type = FSM_CMD_TICK;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_ATTACH:
        read_attach(message->attach, command);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_DETACH:
        command->type = FSM_CMD_DETACH;
        command->client = durable_to_str(message->detach->client);
        command->detach.attach_seq = message->detach->attach_seq;
        command->detach.last = message->detach->last;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_LOCK:
        read_lock(message->lock, command);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_REFRESH:
        read_refresh(message->refresh, command);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_RELEASE:
        command->type = FSM_CMD_RELEASE;
        command->client = durable_to_str(message->release->client);
        command->client_epoch = message->release->epoch;
        command->lock = durable_to_str(message->release->lock);
        command->release.token = message->release->token;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_STATUS:
        command->type = FSM_CMD_STATUS;
        command->client = durable_to_str(message->status->client);
        command->lock = durable_to_str(message->status->lock);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_CHECK_TOKEN:
        command->type = FSM_CMD_CHECK_TOKEN;
        command->lock = durable_to_str(message->check_token->lock);
        command->check_token.token = message->check_token->token;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_LIST_LOCKS:
        read_list(FSM_CMD_LIST_LOCKS, message->list_locks->prefix,
                  message->list_locks->after, message->list_locks->max, command);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_LIST_CLIENTS:
        read_list(FSM_CMD_LIST_CLIENTS, message->list_clients->prefix,
                  message->list_clients->after, message->list_clients->max, command);
        return true;
    case NETLOCK__LOG__COMMAND__KIND_FORCE_RELEASE:
        command->type = FSM_CMD_FORCE_RELEASE;
        command->lock = durable_to_str(message->force_release->lock);
        command->force_release.token = message->force_release->token;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_CHECKPOINT:
        command->type = FSM_CMD_CHECKPOINT;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_MEMBER:
        command->type = FSM_CMD_MEMBER;
        command->member.node_id = message->member->node_id;
        command->member.address = durable_to_str(message->member->client_address);
        return true;
    case NETLOCK__LOG__COMMAND__KIND__NOT_SET:
    default:
        return false;
    }
}

const char *entry_command_read(struct durable_arena *arena,
                               const uint8_t *data,
                               size_t len,
                               struct fsm_command *ret_command)
{
    const Netlock__Log__Command *message =
        durable_unpack(arena, &netlock__log__command__descriptor, data, len);
    struct fsm_command command = {0};

    if (message == NULL) {
        return damaged;
    }
    if (message->kind_case == NETLOCK__LOG__COMMAND__KIND__NOT_SET) {
        return durable_newer_command;
    }
    if (!read_command(message, &command) || !entry_command_fits(&command)) {
        return out_of_range;
    }
    *ret_command = command;
    return NULL;
}
