#include "digest.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The primes of XXH64. */
#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static uint64_t fold(uint64_t digest, uint64_t value)
{
    value = rotate(value * PRIME_2, 31) * PRIME_1;
    return rotate(digest ^ value, 27) * PRIME_1 + PRIME_4;
}

static uint64_t fold_bytes(uint64_t digest, const char *data, size_t len)
{
    return len == 0 ? fold(digest, 0)
                    : fold(digest, XXH3_64bits_withSeed(data, len, len));
}

static uint64_t fold_str(uint64_t digest, struct fsm_str str)
{
    return fold_bytes(digest, str.data, str.len);
}

unsigned digest_name(struct fsm_str name, uint64_t seed)
{
    return (unsigned)XXH3_64bits_withSeed(name.data, name.len, seed);
}

/* ---- commands --------------------------------------------------------------------- */

static uint64_t fold_settings(uint64_t digest, const struct fsm_settings *settings)
{
    digest = fold(digest, settings->reattach_grace_ms);
    digest = fold(digest, settings->clients_max);
    digest = fold(digest, settings->claims_max);
    digest = fold(digest, settings->claims_per_client_max);
    digest = fold(digest, settings->waiters_per_lock_max);
    /* A log of before there was this one has the digests of that time. */
    return settings->drop_max == 0 ? digest : fold(digest, settings->drop_max);
}

static uint64_t fold_lock(uint64_t digest, const struct fsm_command *command)
{
    digest = fold(digest, (uint64_t)command->lock_.type);
    digest = fold(digest, (uint64_t)command->lock_.mode);
    digest = fold(digest, (uint64_t)command->lock_.drop);
    digest = fold(digest, command->lock_.wait_ms);
    digest = fold(digest, command->lock_.hold_ms);
    digest = fold(digest, command->lock_.limit);
    digest = fold(digest, command->lock_.downgrade);
    return fold_str(digest, command->lock_.owner_info);
}

static uint64_t fold_refresh(uint64_t digest, const struct fsm_command *command)
{
    digest = fold(digest, command->refresh.wait_ms);
    digest = fold(digest, command->refresh.hold_ms);
    digest = fold(digest, command->refresh.set_drop);
    if (command->refresh.set_drop) {
        digest = fold(digest, (uint64_t)command->refresh.drop);
    }
    return fold(digest, command->refresh.token);
}

static uint64_t fold_attach(uint64_t digest, const struct fsm_command *command)
{
    digest = fold(digest, command->attach.has_epoch);
    if (command->attach.has_epoch) {
        digest = fold(digest, command->attach.epoch);
    }
    digest = fold(digest, command->attach.supersede);
    digest = fold(digest, command->attach.create);
    return fold_str(digest, command->attach.secret_digest);
}

static uint64_t fold_list(uint64_t digest, const struct fsm_command *command)
{
    digest = fold_str(digest, command->list.prefix);
    digest = fold_str(digest, command->list.after);
    return fold(digest, command->list.max);
}

uint64_t digest_command(uint64_t digest, const struct fsm_command *command)
{
    digest = fold(digest, (uint64_t)command->type);
    digest = fold(digest, command->time_ms);
    digest = fold(digest, command->client_epoch);
    digest = fold_str(digest, command->client);
    digest = fold_str(digest, command->lock);

    switch (command->type) {
    case FSM_CMD_EPOCH:
        digest = fold(digest, command->epoch.node_id);
        digest = fold(digest, command->epoch.term);
        return fold_settings(digest, &command->epoch.settings);
    case FSM_CMD_ATTACH:
        return fold_attach(digest, command);
    case FSM_CMD_DETACH:
        return fold(fold(digest, command->detach.attach_seq), command->detach.last);
    case FSM_CMD_LOCK:
        return fold_lock(digest, command);
    case FSM_CMD_REFRESH:
        return fold_refresh(digest, command);
    case FSM_CMD_RELEASE:
        return fold(digest, command->release.token);
    case FSM_CMD_CHECK_TOKEN:
        return fold(digest, command->check_token.token);
    case FSM_CMD_LIST_LOCKS:
    case FSM_CMD_LIST_CLIENTS:
        return fold_list(digest, command);
    case FSM_CMD_FORCE_RELEASE:
        return fold(digest, command->force_release.token);
    case FSM_CMD_MEMBER:
        return fold_str(fold(digest, command->member.node_id), command->member.address);
    case FSM_CMD_TICK:
    case FSM_CMD_STATUS:
    case FSM_CMD_CHECKPOINT:
        return digest;
    }
    return digest;
}

/* ---- events ----------------------------------------------------------------------- */

static uint64_t fold_claim(uint64_t digest, const struct fsm_claim *claim)
{
    digest = fold_str(digest, claim->client);
    digest = fold_str(digest, claim->lock);
    digest = fold_str(digest, claim->owner_info);
    digest = fold(digest, (uint64_t)claim->type << 3 | (uint64_t)claim->drop << 2 |
                              (uint64_t)claim->waiting << 1 | (uint64_t)claim->connected);
    digest = fold(digest, claim->token);
    digest = fold(digest, (uint64_t)claim->slot << 32 | claim->limit);
    digest = fold(digest, claim->since_ms);
    digest = fold(digest, claim->remaining_ms);
    digest = fold(digest, claim->hold_ms);
    return fold(digest, claim->position);
}

uint64_t digest_event(uint64_t digest, const struct fsm_event *event)
{
    const char *limit_name = event->limit_name != NULL ? event->limit_name : "";

    digest = fold(digest, (uint64_t)event->type << 32 | (uint64_t)event->command);
    digest = fold_str(digest, event->client);
    digest = fold_str(digest, event->lock);
    digest = fold(digest, event->token);
    digest = fold(digest, event->epoch);
    digest = fold(digest, event->attach_seq);
    digest = fold(digest, (uint64_t)event->superseded << 2 |
                              (uint64_t)event->connected << 1 | (uint64_t)event->more);
    digest = fold_claim(digest, &event->claim);
    digest = fold(digest, (uint64_t)event->deny << 32 | (uint64_t)event->result);
    digest = fold(digest, (uint64_t)event->hold_end << 32 | (uint64_t)event->state << 16 |
                              (uint64_t)event->token_state);
    digest = fold(digest, event->superseded_by);
    digest = fold(digest, (uint64_t)event->holders_count << 32 | event->queue_length);
    digest = fold(digest, (uint64_t)event->holds_count << 32 | event->waits_count);
    digest = fold(digest, event->hash);
    digest = fold_bytes(digest, limit_name, strlen(limit_name));
    digest = fold(digest, event->claims_count);
    for (uint32_t i = 0; i < event->claims_count; i++) {
        digest = fold_claim(digest, &event->claims[i]);
    }
    return digest;
}

/* ---- records ---------------------------------------------------------------------- */

static uint64_t fold_hold(uint64_t digest, const struct fsm_record *record)
{
    digest = fold_str(digest, record->hold.client);
    digest = fold_str(digest, record->hold.lock);
    digest = fold_str(digest, record->hold.owner_info);
    digest = fold(digest, (uint64_t)record->hold.type << 1 | (uint64_t)record->hold.drop);
    digest = fold(digest, record->hold.slot);
    digest = fold(digest, record->hold.token);
    digest = fold(digest, record->hold.hold_ms);
    digest = fold(digest, record->hold.granted_at_ms);
    digest = fold(digest, record->hold.deadline_ms);
    digest = fold(digest, record->hold.asked_deadline_ms);
    return fold(digest, record->hold.order);
}

static uint64_t fold_wait(uint64_t digest, const struct fsm_record *record)
{
    digest = fold_str(digest, record->wait.client);
    digest = fold_str(digest, record->wait.lock);
    digest = fold_str(digest, record->wait.owner_info);
    digest =
        fold(digest, (uint64_t)record->wait.type << 2 | (uint64_t)record->wait.drop << 1 |
                         (uint64_t)record->wait.upgrade);
    digest = fold(digest, record->wait.wait_ms);
    digest = fold(digest, record->wait.hold_ms);
    digest = fold(digest, record->wait.queued_at_ms);
    digest = fold(digest, record->wait.deadline_ms);
    return fold(digest, record->wait.order);
}

uint64_t digest_record(uint64_t digest, const struct fsm_record *record)
{
    digest = fold(digest, (uint64_t)record->type);
    switch (record->type) {
    case FSM_REC_ROOT:
        digest = fold(digest, record->root.now_ms);
        digest = fold(digest, record->root.token);
        digest = fold(digest, record->root.order);
        digest = fold(digest, record->root.term);
        digest = fold(digest, record->root.digest);
        /* Builds that know of none have the same hash as long as there is none. */
        if (record->root.node_id_max != 0) {
            digest = fold(digest, record->root.node_id_max);
        }
        return fold_settings(digest, &record->root.settings);
    case FSM_REC_CLIENT:
        digest = fold_str(digest, record->client.id);
        digest = fold(digest, record->client.epoch);
        digest = fold(digest, record->client.attach_seq);
        digest = fold(digest, record->client.grace_end_ms);
        digest = fold(digest, (uint64_t)record->client.presence);
        return fold_str(digest, record->client.secret_digest);
    case FSM_REC_LOCK:
        return fold(fold_str(digest, record->lock.name), record->lock.limit);
    case FSM_REC_HOLD:
        return fold_hold(digest, record);
    case FSM_REC_WAIT:
        return fold_wait(digest, record);
    case FSM_REC_EXPIRED:
        digest = fold_str(digest, record->expired.client);
        digest = fold_str(digest, record->expired.lock);
        return fold(digest, record->expired.token);
    case FSM_REC_MEMBER:
        return fold_str(fold(digest, record->member.node_id), record->member.address);
    }
    return digest;
}
