#include "peer_messages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <raft.h>
#include <uv.h>

#include "durable.h"
#include "entry.h"
#include "snapshot.h"

enum { TERM = PEER_MESSAGES_TERM, ENTRY_BYTES = 64, SNAPSHOT_BYTES = 400 };

/* libraft's own encoder, which its headers do not have and its archive has. */
int uvEncodeMessage(const struct raft_message *message, uv_buf_t **bufs, unsigned *count);

void peer_message_frame(uint8_t *bytes, size_t len, uint32_t magic)
{
    assert(len >= 24 && len % 8 == 0);
    durable_put_u32(bytes, magic);
    durable_put_u32(bytes + 4, 1);
    for (size_t i = 16; i < len; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    durable_put_u64(bytes + 8, durable_checksum(bytes + 16, len - 16));
}

static struct peer_message encoded(const char *name, const struct raft_message *message)
{
    struct peer_message result = {.name = name};
    uv_buf_t *bufs;
    unsigned count;

    int rv = uvEncodeMessage(message, &bufs, &count);
    assert(rv == 0);
    (void)rv;
    for (unsigned i = 0; i < count; i++) {
        result.bytes = realloc(result.bytes, result.len + bufs[i].len);
        assert(result.bytes != NULL);
        memcpy(result.bytes + result.len, bufs[i].base, bufs[i].len);
        result.len += bufs[i].len;
    }
    result.head_len = bufs[0].len;
    raft_free(bufs[0].base);
    raft_free(bufs);
    return result;
}

static struct peer_message
append(const char *name, struct raft_entry *entries, unsigned count)
{
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES};

    message.append_entries = (struct raft_append_entries){
        .term = TERM,
        .prev_log_index = 10,
        .prev_log_term = 3,
        .leader_commit = 9,
        .entries = entries,
        .n_entries = count,
    };
    return encoded(name, &message);
}

static void make_membership(struct raft_configuration *configuration)
{
    raft_configuration_init(configuration);
    int rv = raft_configuration_add(configuration, 1, "10.0.0.1:7001", RAFT_VOTER);
    rv |= raft_configuration_add(configuration, 2, "[fe80::2]:7001", RAFT_VOTER);
    rv |= raft_configuration_add(configuration, 9, "n9.example:7001", RAFT_STANDBY);
    assert(rv == 0);
    (void)rv;
}

static struct peer_message append_commands(void)
{
    uint8_t bytes[4][ENTRY_BYTES];
    struct raft_entry entries[4];
    uint64_t barrier = 0;

    for (unsigned i = 0; i < 4; i++) {
        peer_message_frame(bytes[i], ENTRY_BYTES - 8 * i, ENTRY_MAGIC);
        entries[i] = (struct raft_entry){.term = 3 + i / 2,
                                         .type = RAFT_COMMAND,
                                         .buf = {bytes[i], ENTRY_BYTES - 8 * i}};
    }
    entries[2].type = RAFT_BARRIER;
    entries[2].buf = (struct raft_buffer){&barrier, sizeof barrier};
    return append("append_commands", entries, 4);
}

static struct peer_message append_change(void)
{
    uint8_t bytes[ENTRY_BYTES];
    struct raft_configuration configuration;
    struct raft_entry entries[2] = {
        {.term = 4, .type = RAFT_CHANGE},
        {.term = 5, .type = RAFT_COMMAND, .buf = {bytes, ENTRY_BYTES}}};

    peer_message_frame(bytes, ENTRY_BYTES, ENTRY_MAGIC);
    make_membership(&configuration);
    int rv = raft_configuration_encode(&configuration, &entries[0].buf);
    assert(rv == 0);
    (void)rv;
    struct peer_message message = append("append_change", entries, 2);
    raft_free(entries[0].buf.base);
    raft_configuration_close(&configuration);
    return message;
}

static struct peer_message append_result(const char *name,
                                         raft_term term,
                                         raft_index rejected,
                                         raft_index last_index)
{
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES_RESULT};

    message.append_entries_result =
        (struct raft_append_entries_result){.version = 2,
                                            .term = term,
                                            .rejected = rejected,
                                            .last_log_index = last_index,
                                            .features = term > 0,
                                            .capacity = term > 0 ? 512 : 0};
    return encoded(name, &message);
}

static struct peer_message request_vote(void)
{
    struct raft_message message = {.type = RAFT_REQUEST_VOTE};

    message.request_vote = (struct raft_request_vote){
        .version = 2,
        .term = TERM,
        .candidate_id = PEER_MESSAGES_SENDER,
        .last_log_index = 12,
        .last_log_term = TERM - 1,
        .pre_vote = true,
    };
    return encoded("request_vote", &message);
}

static struct peer_message request_vote_result(void)
{
    struct raft_message message = {.type = RAFT_REQUEST_VOTE_RESULT};

    message.request_vote_result = (struct raft_request_vote_result){.version = 2,
                                                                    .term = TERM,
                                                                    .vote_granted = true,
                                                                    .pre_vote = true,
                                                                    .features = 1,
                                                                    .capacity = 512};
    return encoded("request_vote_result", &message);
}

static struct peer_message install_snapshot(void)
{
    uint8_t bytes[SNAPSHOT_BYTES];
    struct raft_message message = {.type = RAFT_INSTALL_SNAPSHOT};
    struct raft_install_snapshot *install = &message.install_snapshot;

    peer_message_frame(bytes, sizeof bytes, SNAPSHOT_MAGIC);
    install->term = TERM;
    install->last_index = 100;
    install->last_term = 4;
    install->conf_index = 1;
    install->data = (struct raft_buffer){bytes, sizeof bytes};
    make_membership(&install->conf);
    struct peer_message result = encoded("install_snapshot", &message);
    raft_configuration_close(&install->conf);
    return result;
}

static struct peer_message timeout_now(void)
{
    struct raft_message message = {.type = RAFT_TIMEOUT_NOW};

    message.timeout_now =
        (struct raft_timeout_now){.term = TERM, .last_log_index = 12, .last_log_term = 4};
    return encoded("timeout_now", &message);
}

struct peer_message *peer_messages_new(size_t *ret_count)
{
    struct peer_message made[] = {
        append("append_heartbeat", NULL, 0),
        append_commands(),
        append_change(),
        append_result("append_result", TERM, 0, 12),
        append_result("append_result_rejected", TERM, 12, 7),
        append_result("append_result_nothing", 0, 0, 0),
        request_vote(),
        request_vote_result(),
        install_snapshot(),
        timeout_now(),
    };
    struct peer_message *messages = malloc(sizeof made);

    assert(messages != NULL);
    memcpy(messages, made, sizeof made);
    *ret_count = sizeof made / sizeof made[0];
    return messages;
}

void peer_messages_free(struct peer_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(messages[i].bytes);
    }
    free(messages);
}

const struct peer_message *
peer_message_find(const struct peer_message *messages, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(messages[i].name, name) == 0) {
            return &messages[i];
        }
    }
    abort();
}
