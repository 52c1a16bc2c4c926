#include "client_servers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A server that names a leader may be behind, and two of them may name each other. */
enum { HINTS_PER_ROUND_MAX = 4 };

static size_t trim(const char **text, size_t len)
{
    while (len > 0 && **text == ' ') {
        (*text)++;
        len--;
    }
    while (len > 0 && (*text)[len - 1] == ' ')
        len--;
    return len;
}

static size_t count_parts(const char *list)
{
    size_t count = 1;
    for (const char *at = strchr(list, ','); at != NULL; at = strchr(at + 1, ','))
        count++;
    return count;
}

int client_servers_init(struct client_servers *servers, const char *list, uint64_t start)
{
    *servers = (struct client_servers){0};
    size_t count = count_parts(list);
    if (count > SERVERS_MAX)
        return -EINVAL;
    servers->given = calloc(count, sizeof(*servers->given));
    if (servers->given == NULL)
        return -ENOMEM;
    for (const char *at = list; at != NULL;) {
        const char *comma = strchr(at, ',');
        size_t len = comma != NULL ? (size_t)(comma - at) : strlen(at);
        len = trim(&at, len);
        struct client_server *server = &servers->given[servers->given_count];
        if (client_server_parse(server, at, len) != 0) {
            client_servers_release(servers);
            return -EINVAL;
        }
        (void)client_server_resolve(server, true); /* tried again later */
        servers->given_count++;
        at = comma != NULL ? comma + 1 : NULL;
    }
    servers->next = (size_t)(start % servers->given_count);
    return 0;
}

void client_servers_release(struct client_servers *servers)
{
    free(servers->given);
    free(servers->learned);
    *servers = (struct client_servers){0};
}

static struct client_server *find(struct client_servers *servers,
                                  const struct client_server *server)
{
    for (size_t i = 0; i < servers->given_count; i++)
        if (client_server_same(&servers->given[i], server))
            return &servers->given[i];
    for (size_t i = 0; i < servers->learned_count; i++)
        if (client_server_same(&servers->learned[i], server))
            return &servers->learned[i];
    return NULL;
}

struct client_server *client_servers_next(struct client_servers *servers)
{
    if (servers->has_hint) {
        servers->has_hint = false;
        struct client_server *known = find(servers, &servers->hint);
        return known != NULL ? known : &servers->hint;
    }
    size_t count = client_servers_count(servers);
    if (servers->tried >= count) {
        servers->tried = 0;
        servers->hints_followed = 0;
        return NULL;
    }
    size_t i = servers->next % count;
    servers->next = i + 1; /* of what is known then */
    servers->tried++;
    return i < servers->given_count ? &servers->given[i]
                                    : &servers->learned[i - servers->given_count];
}

size_t client_servers_count(const struct client_servers *servers)
{
    return servers->given_count + servers->learned_count;
}

const struct client_server *client_servers_at(const struct client_servers *servers,
                                              size_t i)
{
    return i < servers->given_count ? &servers->given[i]
                                    : &servers->learned[i - servers->given_count];
}

void client_servers_found(struct client_servers *servers)
{
    servers->tried = 0;
    servers->hints_followed = 0;
}

void client_servers_hint(struct client_servers *servers, struct wire_str address)
{
    struct client_server hint;
    if (servers->hints_followed >= HINTS_PER_ROUND_MAX ||
        client_server_parse(&hint, address.data, address.len) != 0)
        return;
    servers->hint = hint;
    servers->has_hint = true;
    servers->hints_followed++;
}

/* True if @address is one that was not given; @ret is it, with what is known of it. */
static bool learnable(struct client_servers *servers,
                      struct wire_str address,
                      struct client_server *ret)
{
    if (client_server_parse(ret, address.data, address.len) != 0)
        return false;
    const struct client_server *known = find(servers, ret);
    bool given = known >= servers->given && known < servers->given + servers->given_count;
    if (known != NULL && !given)
        *ret = *known;
    return known == NULL || !given;
}

void client_servers_learn(struct client_servers *servers,
                          const struct wire_member *members,
                          size_t count,
                          bool may_block)
{
    if (count > SERVERS_MAX)
        count = SERVERS_MAX;
    struct client_server *learned = count > 0 ? calloc(count, sizeof(*learned)) : NULL;
    size_t learned_count = 0;
    for (size_t i = 0; learned != NULL && i < count; i++) {
        struct client_server *server = &learned[learned_count];
        if (!learnable(servers, members[i].client_address, server))
            continue;
        if (server->addresses_count == 0)
            (void)client_server_resolve(server, may_block);
        learned_count++;
    }
    if (learned == NULL && count > 0)
        return;
    free(servers->learned);
    servers->learned = learned;
    servers->learned_count = learned_count;
}
