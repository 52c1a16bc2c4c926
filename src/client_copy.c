#include "client_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int copy_str(char **ret, struct wire_str str)
{
    char *copy = malloc(str.len + 1);
    if (copy == NULL)
        return -ENOMEM;
    if (str.len > 0)
        memcpy(copy, str.data, str.len);
    copy[str.len] = 0;
    *ret = copy;
    return 0;
}

static int copy_holder(struct netlock_holder *out, const struct wire_claim *claim)
{
    out->type = claim->type == WIRE_READ ? NETLOCK_READ : NETLOCK_WRITE;
    out->drop =
        claim->drop == WIRE_DROP_IGNORE ? NETLOCK_DROP_IGNORE : NETLOCK_DROP_RELEASE;
    out->waiting = claim->waiting;
    out->connected = claim->connected;
    out->token = claim->token;
    out->slot = claim->slot;
    out->limit = claim->limit;
    out->since_ms = claim->since_ms;
    out->remaining_ms = claim->remaining_ms;
    out->lock_timeout_ms = claim->lock_timeout_ms;
    out->position = claim->queue_position;
    int rv = copy_str(&out->client_id, claim->client);
    if (rv == 0)
        rv = copy_str(&out->name, claim->lock);
    if (rv == 0)
        rv = copy_str(&out->owner_info, claim->owner_info);
    return rv;
}

int copy_holders(struct netlock_holder **ret,
                 size_t *ret_count,
                 const struct wire_claim *claims,
                 size_t count)
{
    if (count == 0)
        return 0;
    *ret = calloc(count, sizeof(**ret));
    if (*ret == NULL)
        return -ENOMEM;
    *ret_count = count;
    int rv = 0;
    for (size_t i = 0; i < count && rv == 0; i++)
        rv = copy_holder(&(*ret)[i], &claims[i]);
    return rv;
}

void free_holders(struct netlock_holder *holders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(holders[i].client_id);
        free(holders[i].name);
        free(holders[i].owner_info);
    }
    free(holders);
}

int copy_members(struct netlock_member **ret,
                 size_t *ret_count,
                 const struct wire_member *members,
                 size_t count)
{
    if (count == 0)
        return 0;
    *ret = calloc(count, sizeof(**ret));
    if (*ret == NULL)
        return -ENOMEM;
    *ret_count = count;
    int rv = 0;
    for (size_t i = 0; i < count && rv == 0; i++) {
        struct netlock_member *out = &(*ret)[i];
        out->node_id = members[i].node_id;
        out->voter = members[i].voter;
        out->match_index = members[i].match_index;
        out->connected = members[i].connected;
        rv = copy_str(&out->client_address, members[i].client_address);
        if (rv == 0)
            rv = copy_str(&out->peer_address, members[i].peer_address);
    }
    return rv;
}

void free_members(struct netlock_member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(members[i].client_address);
        free(members[i].peer_address);
    }
    free(members);
}
