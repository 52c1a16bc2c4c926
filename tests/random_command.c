#include "random_command.h"

/* splitmix64, by Sebastiano Vigna. */
uint64_t random_next(uint64_t *random)
{
    uint64_t value = *random += UINT64_C(0x9E3779B97F4A7C15);

    value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

uint64_t random_below(uint64_t *random, uint64_t limit)
{
    return random_next(random) % limit;
}

static bool random_bool(uint64_t *random)
{
    return random_below(random, 2) == 1;
}

/* Numbers of every size, and the largest often: it means "no limit". */
static uint64_t random_number(uint64_t *random)
{
    if (random_below(random, 8) == 0) {
        return UINT64_MAX;
    }
    return random_next(random) >> random_below(random, 64);
}

static uint64_t random_nonzero(uint64_t *random)
{
    uint64_t number = random_number(random);

    return number > 0 ? number : 1;
}

static struct fsm_str random_str(uint64_t *random, char *data, size_t bytes_max)
{
    size_t len = random_below(random, bytes_max + 1);

    for (size_t i = 0; i < len; i++) {
        data[i] = (char)random_below(random, 256);
    }
    return (struct fsm_str){.data = len > 0 ? data : NULL, .len = len};
}

static void
random_lock(uint64_t *random, struct fsm_str info, struct fsm_command *command)
{
    command->lock_.type = random_bool(random) ? FSM_READ : FSM_WRITE;
    command->lock_.mode = random_bool(random) ? FSM_WAIT : FSM_BREAK;
    command->lock_.drop = random_bool(random) ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
    command->lock_.wait_ms = random_nonzero(random);
    command->lock_.hold_ms = random_nonzero(random);
    command->lock_.limit = 1;
    if (command->lock_.type == FSM_WRITE) {
        command->lock_.limit = 1 + (uint32_t)random_below(random, FSM_LIMIT_MAX);
    }
    command->lock_.downgrade = random_bool(random);
    command->lock_.owner_info = info;
}

static void random_epoch(uint64_t *random, struct fsm_command *command)
{
    command->epoch.node_id = random_number(random);
    command->epoch.term = random_number(random);
    command->epoch.settings = (struct fsm_settings){
        .reattach_grace_ms = random_number(random),
        .clients_max = random_number(random),
        .claims_max = random_number(random),
        .claims_per_client_max = random_number(random),
        .waiters_per_lock_max = random_number(random),
        .drop_max = random_number(random),
    };
}

/* Only what the kind of command carries: the rest is zero, as it comes back from the log. */
void random_command(uint64_t *random, size_t name_bytes_max, struct random_command *ret)
{
    struct fsm_command *command = &ret->command;
    struct fsm_str first = random_str(random, ret->strings[0], name_bytes_max);
    struct fsm_str second = random_str(random, ret->strings[1], name_bytes_max);

    *command = (struct fsm_command){
        .type = (enum fsm_command_type)(1 + random_below(random, FSM_CMD_MEMBER)),
    };
    switch (command->type) {
    case FSM_CMD_EPOCH:
        random_epoch(random, command);
        return;
    case FSM_CMD_ATTACH:
        command->client = first;
        command->attach.has_epoch = random_bool(random);
        command->attach.epoch = random_number(random);
        command->attach.supersede = random_bool(random);
        command->attach.create = random_bool(random);
        command->attach.secret_digest =
            random_str(random, ret->strings[2], FSM_SECRET_DIGEST_BYTES_MAX);
        return;
    case FSM_CMD_DETACH:
        command->client = first;
        command->detach.attach_seq = random_number(random);
        command->detach.last = random_bool(random);
        return;
    case FSM_CMD_LOCK:
        command->client = first;
        command->client_epoch = random_number(random);
        command->lock = second;
        random_lock(random, random_str(random, ret->strings[2], name_bytes_max), command);
        return;
    case FSM_CMD_REFRESH:
        command->client = first;
        command->client_epoch = random_number(random);
        command->lock = second;
        command->refresh.wait_ms = random_number(random);
        command->refresh.hold_ms = random_number(random);
        command->refresh.set_drop = random_bool(random);
        if (command->refresh.set_drop) {
            command->refresh.drop =
                random_bool(random) ? FSM_DROP_IGNORE : FSM_DROP_RELEASE;
        }
        command->refresh.token = random_number(random);
        return;
    case FSM_CMD_RELEASE:
        command->client = first;
        command->client_epoch = random_number(random);
        command->lock = second;
        command->release.token = random_number(random);
        return;
    case FSM_CMD_STATUS:
        command->client = first;
        command->lock = second;
        return;
    case FSM_CMD_CHECK_TOKEN:
        command->lock = second;
        command->check_token.token = random_number(random);
        return;
    case FSM_CMD_FORCE_RELEASE:
        command->lock = second;
        command->force_release.token = random_number(random);
        return;
    case FSM_CMD_LIST_LOCKS:
    case FSM_CMD_LIST_CLIENTS:
        command->list.prefix = first;
        command->list.after = second;
        command->list.max = 1 + (uint32_t)random_below(random, FSM_LIST_MAX);
        return;
    case FSM_CMD_MEMBER:
        command->member.node_id = 1 + random_below(random, UINT64_MAX);
        command->member.address = first;
        return;
    case FSM_CMD_TICK:
    case FSM_CMD_CHECKPOINT:
        return;
    }
}
