#include "peer_membership.h"

#include <stdbool.h>
#include <string.h>

#include <raft.h>

#include "durable.h"
#include "peer_address.h"
#include "peer_check.h"

enum { FORMAT = 1, HEAD_BYTES = 9, PADDING = 8 };

struct server {
    uint64_t id;
    const char *address; /* in the bytes */
    uint8_t role;
};

/* Step over one server. */
static bool server_read(const uint8_t **cursor, const uint8_t *end, struct server *ret)
{
    size_t left = (size_t)(end - *cursor);

    if (left < sizeof ret->id) {
        return false;
    }
    const uint8_t *address = *cursor + sizeof ret->id;
    const uint8_t *nul = memchr(address, 0, left - sizeof ret->id);
    if (nul == NULL || nul + 1 == end) {
        return false;
    }
    ret->id = durable_get_u64(*cursor);
    ret->address = (const char *)address;
    ret->role = nul[1];
    *cursor = nul + 2;
    return true;
}

static const char *
server_check(const struct server *server, const struct server *earlier, size_t count)
{
    struct peer_address address;

    if (server->id == 0 || server->role > RAFT_SPARE ||
        peer_address_parse(server->address, &address) != 0) {
        return "a membership with an impossible member";
    }
    for (size_t i = 0; i < count; i++) {
        if (earlier[i].id == server->id ||
            strcmp(earlier[i].address, server->address) == 0) {
            return "a membership that has a member twice";
        }
    }
    return NULL;
}

static bool has_voter(const struct server *servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (servers[i].role == RAFT_VOTER) {
            return true;
        }
    }
    return false;
}

static bool is_padding(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return len < PADDING;
}

const char *peer_membership_check(const uint8_t *bytes, size_t len)
{
    struct server servers[PEER_CHECK_SERVERS_MAX];
    const uint8_t *cursor = bytes + HEAD_BYTES;
    const char *refused = NULL;

    if (len < HEAD_BYTES || len % PADDING != 0 || bytes[0] != FORMAT) {
        return "a membership that cannot be read";
    }
    uint64_t count = durable_get_u64(bytes + 1);
    if (count > PEER_CHECK_SERVERS_MAX) {
        return "a membership of too many members";
    }
    for (size_t i = 0; i < count && refused == NULL; i++) {
        if (!server_read(&cursor, bytes + len, &servers[i])) {
            return "a membership that cannot be read";
        }
        refused = server_check(&servers[i], servers, i);
    }
    if (refused == NULL && !has_voter(servers, count)) {
        refused = "a membership without a voter";
    }
    if (refused == NULL && !is_padding(cursor, (size_t)(bytes + len - cursor))) {
        refused = "a membership that does not fit its length";
    }
    return refused;
}
