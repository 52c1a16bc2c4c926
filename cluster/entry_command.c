#include "entry_command.h"

#include <assert.h>
#include <stddef.h>

#include "log.pb-c.h"

static const char damaged[] = "it has a command that is damaged";
static const char newer[] = "it has a command of a newer version";
static const char out_of_range[] = "it has a command with a value out of range";

/* ---- writing -------------------------------------------------------------------------- */

static bool fits(struct fsm_str str)
{
    return str.len <= FSM_NAME_BYTES_MAX;
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
        return fits(command->lock_.owner_info);
    case FSM_CMD_LIST_LOCKS:
    case FSM_CMD_LIST_CLIENTS:
        return fits(command->list.prefix) && fits(command->list.after);
    case FSM_CMD_EPOCH:
    case FSM_CMD_TICK:
    case FSM_CMD_DETACH:
    case FSM_CMD_REFRESH:
    case FSM_CMD_RELEASE:
    case FSM_CMD_STATUS:
    case FSM_CMD_CHECK_TOKEN:
    case FSM_CMD_FORCE_RELEASE:
    case FSM_CMD_CHECKPOINT:
        return true;
    }
    return false;
}

/* The alternatives of a Command, each with what it points to. */
union parts {
    struct {
        Netlock__Log__Epoch message;
        Netlock__Log__Settings settings;
    } epoch;
    Netlock__Log__Tick tick;
    Netlock__Log__Attach attach;
    Netlock__Log__Detach detach;
    Netlock__Log__Lock lock;
    Netlock__Log__Refresh refresh;
    Netlock__Log__Release release;
    Netlock__Log__Status status;
    Netlock__Log__CheckToken check_token;
    Netlock__Log__ListLocks list_locks;
    Netlock__Log__ListClients list_clients;
    Netlock__Log__ForceRelease force_release;
    Netlock__Log__Checkpoint checkpoint;
};

static void write_epoch(Netlock__Log__Command *message,
                        union parts *parts,
                        const struct fsm_command *command)
{
    const struct fsm_settings *settings = &command->epoch.settings;

    parts->epoch.settings = (Netlock__Log__Settings)NETLOCK__LOG__SETTINGS__INIT;
    parts->epoch.settings.reattach_grace = settings->reattach_grace_ms;
    parts->epoch.settings.clients_max = settings->clients_max;
    parts->epoch.settings.claims_max = settings->claims_max;
    parts->epoch.settings.claims_per_client_max = settings->claims_per_client_max;
    parts->epoch.settings.waiters_per_lock_max = settings->waiters_per_lock_max;

    parts->epoch.message = (Netlock__Log__Epoch)NETLOCK__LOG__EPOCH__INIT;
    parts->epoch.message.node_id = command->epoch.node_id;
    parts->epoch.message.term = command->epoch.term;
    parts->epoch.message.settings = &parts->epoch.settings;

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_EPOCH;
    message->epoch = &parts->epoch.message;
}

static void write_attach(Netlock__Log__Command *message,
                         union parts *parts,
                         const struct fsm_command *command)
{
    parts->attach = (Netlock__Log__Attach)NETLOCK__LOG__ATTACH__INIT;
    parts->attach.client = durable_from_str(command->client);
    parts->attach.has_epoch = command->attach.has_epoch;
    parts->attach.epoch = command->attach.epoch;
    parts->attach.supersede = command->attach.supersede;
    parts->attach.create = command->attach.create;
    parts->attach.secret_digest = durable_from_str(command->attach.secret_digest);

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_ATTACH;
    message->attach = &parts->attach;
}

static void write_detach(Netlock__Log__Command *message,
                         union parts *parts,
                         const struct fsm_command *command)
{
    parts->detach = (Netlock__Log__Detach)NETLOCK__LOG__DETACH__INIT;
    parts->detach.client = durable_from_str(command->client);
    parts->detach.attach_seq = command->detach.attach_seq;
    parts->detach.last = command->detach.last;

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_DETACH;
    message->detach = &parts->detach;
}

static void write_lock(Netlock__Log__Command *message,
                       union parts *parts,
                       const struct fsm_command *command)
{
    parts->lock = (Netlock__Log__Lock)NETLOCK__LOG__LOCK__INIT;
    parts->lock.client = durable_from_str(command->client);
    parts->lock.epoch = command->client_epoch;
    parts->lock.lock = durable_from_str(command->lock);
    parts->lock.type = command->lock_.type;
    parts->lock.mode = command->lock_.mode;
    parts->lock.drop = command->lock_.drop;
    parts->lock.wait = command->lock_.wait_ms;
    parts->lock.hold = command->lock_.hold_ms;
    parts->lock.limit = command->lock_.limit;
    parts->lock.downgrade = command->lock_.downgrade;
    parts->lock.owner_info = durable_from_str(command->lock_.owner_info);

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_LOCK;
    message->lock = &parts->lock;
}

static void write_refresh(Netlock__Log__Command *message,
                          union parts *parts,
                          const struct fsm_command *command)
{
    parts->refresh = (Netlock__Log__Refresh)NETLOCK__LOG__REFRESH__INIT;
    parts->refresh.client = durable_from_str(command->client);
    parts->refresh.epoch = command->client_epoch;
    parts->refresh.lock = durable_from_str(command->lock);
    parts->refresh.wait = command->refresh.wait_ms;
    parts->refresh.hold = command->refresh.hold_ms;
    parts->refresh.drop = command->refresh.set_drop ? 1 + command->refresh.drop : 0;
    parts->refresh.token = command->refresh.token;

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_REFRESH;
    message->refresh = &parts->refresh;
}

static void write_release(Netlock__Log__Command *message,
                          union parts *parts,
                          const struct fsm_command *command)
{
    parts->release = (Netlock__Log__Release)NETLOCK__LOG__RELEASE__INIT;
    parts->release.client = durable_from_str(command->client);
    parts->release.epoch = command->client_epoch;
    parts->release.lock = durable_from_str(command->lock);
    parts->release.token = command->release.token;

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_RELEASE;
    message->release = &parts->release;
}

static void write_list_locks(Netlock__Log__Command *message,
                             union parts *parts,
                             const struct fsm_command *command)
{
    parts->list_locks = (Netlock__Log__ListLocks)NETLOCK__LOG__LIST_LOCKS__INIT;
    parts->list_locks.prefix = durable_from_str(command->list.prefix);
    parts->list_locks.after = durable_from_str(command->list.after);
    parts->list_locks.max = command->list.max;

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_LIST_LOCKS;
    message->list_locks = &parts->list_locks;
}

static void write_list_clients(Netlock__Log__Command *message,
                               union parts *parts,
                               const struct fsm_command *command)
{
    parts->list_clients = (Netlock__Log__ListClients)NETLOCK__LOG__LIST_CLIENTS__INIT;
    parts->list_clients.prefix = durable_from_str(command->list.prefix);
    parts->list_clients.after = durable_from_str(command->list.after);
    parts->list_clients.max = command->list.max;

    message->kind_case = NETLOCK__LOG__COMMAND__KIND_LIST_CLIENTS;
    message->list_clients = &parts->list_clients;
}

static void write_command(Netlock__Log__Command *message,
                          union parts *parts,
                          const struct fsm_command *command)
{
    switch (command->type) {
    case FSM_CMD_EPOCH:
        write_epoch(message, parts, command);
        return;
    case FSM_CMD_TICK:
        parts->tick = (Netlock__Log__Tick)NETLOCK__LOG__TICK__INIT;
        message->kind_case = NETLOCK__LOG__COMMAND__KIND_TICK;
        message->tick = &parts->tick;
        return;
    case FSM_CMD_ATTACH:
        write_attach(message, parts, command);
        return;
    case FSM_CMD_DETACH:
        write_detach(message, parts, command);
        return;
    case FSM_CMD_LOCK:
        write_lock(message, parts, command);
        return;
    case FSM_CMD_REFRESH:
        write_refresh(message, parts, command);
        return;
    case FSM_CMD_RELEASE:
        write_release(message, parts, command);
        return;
    case FSM_CMD_STATUS:
        parts->status = (Netlock__Log__Status)NETLOCK__LOG__STATUS__INIT;
        parts->status.client = durable_from_str(command->client);
        parts->status.lock = durable_from_str(command->lock);
        message->kind_case = NETLOCK__LOG__COMMAND__KIND_STATUS;
        message->status = &parts->status;
        return;
    case FSM_CMD_CHECK_TOKEN:
        parts->check_token = (Netlock__Log__CheckToken)NETLOCK__LOG__CHECK_TOKEN__INIT;
        parts->check_token.lock = durable_from_str(command->lock);
        parts->check_token.token = command->check_token.token;
        message->kind_case = NETLOCK__LOG__COMMAND__KIND_CHECK_TOKEN;
        message->check_token = &parts->check_token;
        return;
    case FSM_CMD_LIST_LOCKS:
        write_list_locks(message, parts, command);
        return;
    case FSM_CMD_LIST_CLIENTS:
        write_list_clients(message, parts, command);
        return;
    case FSM_CMD_FORCE_RELEASE:
        parts->force_release =
            (Netlock__Log__ForceRelease)NETLOCK__LOG__FORCE_RELEASE__INIT;
        parts->force_release.lock = durable_from_str(command->lock);
        parts->force_release.token = command->force_release.token;
        message->kind_case = NETLOCK__LOG__COMMAND__KIND_FORCE_RELEASE;
        message->force_release = &parts->force_release;
        return;
    case FSM_CMD_CHECKPOINT:
        parts->checkpoint = (Netlock__Log__Checkpoint)NETLOCK__LOG__CHECKPOINT__INIT;
        message->kind_case = NETLOCK__LOG__COMMAND__KIND_CHECKPOINT;
        message->checkpoint = &parts->checkpoint;
        return;
    }
}

void entry_command_append(struct durable_bytes *bytes, const struct fsm_command *command)
{
    Netlock__Log__Command message = NETLOCK__LOG__COMMAND__INIT;
    union parts parts;

    assert(entry_command_fits(command));
    write_command(&message, &parts, command);
    durable_append(bytes, &message.base);
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

static bool read_lock(const Netlock__Log__Lock *message, struct fsm_command *command)
{
    if (message->type > FSM_READ || message->mode > FSM_WAIT ||
        message->drop > FSM_DROP_IGNORE || message->wait == 0 || message->hold == 0 ||
        message->limit == 0 || message->limit > FSM_LIMIT_MAX ||
        (message->limit > 1 && message->type != FSM_WRITE)) {
        return false;
    }
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
    return true;
}

static bool read_refresh(const Netlock__Log__Refresh *message,
                         struct fsm_command *command)
{
    if (message->drop > 1 + FSM_DROP_IGNORE) {
        return false;
    }
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
    return true;
}

static bool read_list(enum fsm_command_type type,
                      ProtobufCBinaryData prefix,
                      ProtobufCBinaryData after,
                      uint32_t max,
                      struct fsm_command *command)
{
    if (max == 0 || max > FSM_LIST_MAX) {
        return false;
    }
    command->type = type;
    command->list.prefix = durable_to_str(prefix);
    command->list.after = durable_to_str(after);
    command->list.max = max;
    return true;
}

/* False: a value out of range. */
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
        return read_lock(message->lock, command);
    case NETLOCK__LOG__COMMAND__KIND_REFRESH:
        return read_refresh(message->refresh, command);
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
        return read_list(FSM_CMD_LIST_LOCKS, message->list_locks->prefix,
                         message->list_locks->after, message->list_locks->max, command);
    case NETLOCK__LOG__COMMAND__KIND_LIST_CLIENTS:
        return read_list(FSM_CMD_LIST_CLIENTS, message->list_clients->prefix,
                         message->list_clients->after, message->list_clients->max,
                         command);
    case NETLOCK__LOG__COMMAND__KIND_FORCE_RELEASE:
        command->type = FSM_CMD_FORCE_RELEASE;
        command->lock = durable_to_str(message->force_release->lock);
        command->force_release.token = message->force_release->token;
        return true;
    case NETLOCK__LOG__COMMAND__KIND_CHECKPOINT:
        command->type = FSM_CMD_CHECKPOINT;
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
        return newer;
    }
    if (!read_command(message, &command) || !entry_command_fits(&command)) {
        return out_of_range;
    }
    *ret_command = command;
    return NULL;
}
