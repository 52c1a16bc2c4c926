#include "script_internal.h"

#include <inttypes.h>

#include "wire.h"

const char *sim_transcript_word(const char *const *words, size_t count, unsigned index)
{
    return index >= 1 && index <= count ? words[index - 1] : "?";
}
#define WORD_OF(words, index)                                                            \
    sim_transcript_word(words, sizeof(words) / sizeof((words)[0]), (unsigned)(index))

static const char *const deny_words[] = {
    "held",           "cancelled",    "not held",    "expired",     "upgrade conflict",
    "limit mismatch", "not attached", "stale epoch", "not allowed", "limit exceeded",
    "invalid",
};
static const char *const hold_end_words[] = {"expired", "broken"};
static const char *const release_words[] = {"released", "left the queue", "not held",
                                            "expired", "held by another"};
static const char *const state_words[] = {"free", "held", "waiting", "held by another"};
static const char *const token_words[] = {"current", "superseded", "free"};
static const char *const error_words[] = {
    "not leader", "unknown",     "busy",    "unknown type", "invalid",     "too large",
    "limit",      "not allowed", "version", "not attached", "stale epoch",
};

static const char *copy(struct wire_str str, char out[static 64])
{
    snprintf(out, 64, "%.*s", (int)(str.len < 63 ? str.len : 63),
             str.len > 0 ? str.data : "");
    return out;
}

static void
put_status(const char *who, const char *lock, const struct wire_response *response)
{
    if (!response->extended) {
        sim_transcript_line("%s %s status %s", who, lock,
                            response->status.type == WIRE_READ ? "read" : "write");
        return;
    }
    sim_transcript_line("%s %s status %s token=%" PRIu64 " holders=%u queue=%u", who,
                        lock, WORD_OF(state_words, response->status.state),
                        response->status.token, (unsigned)response->status.holders_count,
                        (unsigned)response->status.queue_length);
}

static void
put_about_lock(const char *who, const char *lock, const struct wire_response *response)
{
    bool extended = response->extended;

    switch (response->type) {
    case WIRE_RESP_DENIED:
        sim_transcript_line("%s %s denied%s%s", who, lock, extended ? " " : "",
                            extended ? WORD_OF(deny_words, response->denied.reason) : "");
        return;
    case WIRE_RESP_WAIT:
        if (extended) {
            sim_transcript_line("%s %s queued position=%u", who, lock,
                                (unsigned)response->wait.queue_position);
        } else {
            sim_transcript_line("%s %s queued", who, lock);
        }
        return;
    case WIRE_RESP_GRANTED:
        if (extended) {
            sim_transcript_line("%s %s granted token=%" PRIu64 "%s", who, lock,
                                response->granted.token,
                                response->granted.type == WIRE_READ ? " read" : "");
        } else {
            sim_transcript_line("%s %s granted", who, lock);
        }
        return;
    case WIRE_RESP_WAIT_TIMEOUT:
        sim_transcript_line("%s %s timed out", who, lock);
        return;
    case WIRE_RESP_TIMEOUT:
        sim_transcript_line("%s %s hold ended%s%s", who, lock, extended ? " " : "",
                            extended ? WORD_OF(hold_end_words, response->timeout.reason)
                                     : "");
        return;
    case WIRE_RESP_RELEASE:
        sim_transcript_line("%s %s %s", who, lock,
                            extended ? WORD_OF(release_words, response->release.result)
                                     : "release answered");
        return;
    case WIRE_RESP_STATUS:
        put_status(who, lock, response);
        return;
    case WIRE_RESP_CHECK_TOKEN:
        sim_transcript_line("%s %s token %" PRIu64 " %s", who, lock,
                            response->check_token.token,
                            WORD_OF(token_words, response->check_token.state));
        return;
    default:
        sim_transcript_line("%s %s broke %u", who, lock,
                            (unsigned)response->force_release.holds_broken);
    }
}

static void
put_error(const char *who, const char *lock, const struct wire_response *response)
{
    char leader[32] = "";

    if (response->error.leader_id != 0) {
        snprintf(leader, sizeof(leader), ": n%" PRIu64 " is", response->error.leader_id);
    }
    sim_transcript_line("%s%s%s error: %s%s", who, lock[0] != '\0' ? " " : "", lock,
                        WORD_OF(error_words, response->error.code), leader);
}

void sim_transcript_response(const char *who, const struct wire_response *response)
{
    char lock[64], id[64], of[96];

    copy(response->lock, lock);
    /* An id that the cluster made is a number that says nothing to a reader. */
    copy(response->client, id);
    const char *client = response->client.len < 32 ? id : "(made)";
    bool named = response->client.len > 0 && response->client.len < 32;
    snprintf(of, sizeof(of), "%s%s%s", who, named ? " " : "", named ? id : "");
    switch (response->type) {
    case WIRE_RESP_ATTACH:
        sim_transcript_line("%s attached %s epoch=%" PRIu64 " claims=%zu", who, client,
                            response->attach.epoch, response->attach.claims_count);
        return;
    case WIRE_RESP_DETACH:
        sim_transcript_line("%s detached %s", who, client);
        return;
    case WIRE_RESP_CREATE:
        sim_transcript_line("%s created a client", who);
        return;
    case WIRE_RESP_DEFAULT_ID:
        sim_transcript_line("%s default client", who);
        return;
    case WIRE_RESP_ATTACHED_IDS:
        sim_transcript_line("%s attached ids: %zu", who,
                            response->attached_ids.ids_count);
        return;
    case WIRE_RESP_HELLO:
        sim_transcript_line("%s hello from %s", who,
                            response->hello.leader ? "the leader" : "a follower");
        return;
    case WIRE_RESP_PING:
        sim_transcript_line("%s pong", who);
        return;
    case WIRE_RESP_ERROR:
        put_error(of, lock, response);
        return;
    case WIRE_RESP_LIST_LOCKS:
        sim_transcript_line("%s locks: %zu", who, response->list_locks.count);
        return;
    case WIRE_RESP_LIST_CLIENTS:
        sim_transcript_line("%s clients: %zu", who, response->list_clients.count);
        return;
    case WIRE_RESP_CLUSTER_STATUS:
        sim_transcript_line("%s cluster status", who);
        return;
    case WIRE_RESP_CLUSTER_CHANGE:
        sim_transcript_line(
            "%s change result=%d %.*s", who, (int)response->cluster_change.result,
            (int)response->cluster_change.text.len, response->cluster_change.text.data);
        return;
    case WIRE_RESP_CLIENT_KILL:
        sim_transcript_line("%s killed %s", who, client);
        return;
    case WIRE_RESP_NODE_CONTROL:
        sim_transcript_line("%s node control", who);
        return;
    case WIRE_RESP_BACKUP:
        sim_transcript_line("%s backup: %" PRIu64 " bytes", who, response->backup.size);
        return;
    case WIRE_RESP_DENIED:
    case WIRE_RESP_WAIT:
    case WIRE_RESP_GRANTED:
    case WIRE_RESP_WAIT_TIMEOUT:
    case WIRE_RESP_TIMEOUT:
    case WIRE_RESP_RELEASE:
    case WIRE_RESP_STATUS:
    case WIRE_RESP_CHECK_TOKEN:
    case WIRE_RESP_FORCE_RELEASE:
        put_about_lock(of, lock, response);
        return;
    }
}
