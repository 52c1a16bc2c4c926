/* Who may connect: so many in all, so many from one address; and how often one address may
 * guess a token. */
#include "server_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#define uthash_fatal(message) abort()
#include <uthash.h>
#include <xxhash.h>

#include "session.h"
#include "xalloc.h"

enum { TOKENS_FAILED_FREE = 5, TOKEN_WAIT_MS = 1000 };

struct address_count {
    UT_hash_handle hh;
    struct in6_addr address; /* IPv4 mapped into IPv6 */
    size_t connections;
    unsigned tokens_failed;
    uint64_t guesses[TOKENS_FAILED_FREE]; /* the first ones: what their hashes begin with */
    uint64_t token_failed_ms; /* the last one */
};

static struct in6_addr address_of(const struct sockaddr_storage *peer)
{
    struct in6_addr address = IN6ADDR_ANY_INIT;

    if (peer->ss_family == AF_INET6) {
        address = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    } else if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)peer;
        address.s6_addr[10] = address.s6_addr[11] = 0xff;
        memcpy(&address.s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
    }
    return address;
}

struct address_count *admission_enter(struct server *server,
                                      const struct sockaddr_storage *peer)
{
    struct in6_addr address = address_of(peer);
    struct address_count *count;
    unsigned hash = (unsigned)XXH64(&address, sizeof(address), 0);

    HASH_FIND_BYHASHVALUE(hh, server->addresses, &address, sizeof(address), hash, count);
    if (count == NULL) {
        count = xcalloc(sizeof(*count));
        count->address = address;
        HASH_ADD_BYHASHVALUE(hh, server->addresses, address, sizeof(address), hash,
                             count);
    }
    count->connections++;
    return count;
}

static void forget(struct server *server, struct address_count *count)
{
    HASH_DELETE(hh, server->addresses, count);
    free(count);
}

/* Whoever has guessed is remembered without a connection too. */
void admission_leave(struct server *server, struct address_count *count)
{
    if (--count->connections == 0 && count->tokens_failed == 0) {
        forget(server, count);
    }
}

void admission_on_accept(void *arg, int fd, const struct sockaddr_storage *peer)
{
    struct server *server = arg;
    const struct config *config = server->config;
    struct address_count *address = admission_enter(server, peer);
    const char *limit = NULL;

    if (server->connections_count >= config->connections_max) {
        limit = "connections-max";
    } else if (address->connections > config->connections_per_address_max) {
        limit = "connections-per-address-max";
    }
    if (limit == NULL) {
        server->metrics.connections_accepted++;
        session_open(server, fd, peer, address);
        return;
    }
    server->metrics.connections_refused++;
    char text[LISTENER_ADDRESS_BYTES];
    listener_address_text(peer, text);
    SERVER_LOG_LIMITED(server, server->refused_limit, LOG_LEVEL_WARNING, "client-refused",
                       "peer=%s limit=%s", text, limit);
    admission_leave(server, address);
    close(fd);
}

/* ---- guessing ---- */

static bool waits(const struct address_count *address, uint64_t now_ms)
{
    return address->tokens_failed >= TOKENS_FAILED_FREE &&
           now_ms - address->token_failed_ms < TOKEN_WAIT_MS;
}

static void forget_idle(struct server *server)
{
    struct address_count *count, *next;

    HASH_ITER(hh, server->addresses, count, next)
    {
        if (count->connections == 0 && !waits(count, uv_now(server->loop))) {
            forget(server, count);
        }
    }
}

/* Who shows the same one again, like a job whose token is of last year, has learnt nothing by it. */
static bool is_known_guess(const struct address_count *address, uint64_t guess)
{
    for (unsigned i = 0; i < address->tokens_failed && i < TOKENS_FAILED_FREE; i++) {
        if (address->guesses[i] == guess) {
            return true;
        }
    }
    return false;
}

static void note_guess(struct server *server,
                       struct address_count *address,
                       const unsigned char hash[static TOKEN_HASH_BYTES])
{
    uint64_t guess;

    memcpy(&guess, hash, sizeof(guess));
    if (is_known_guess(address, guess)) {
        return;
    }
    if (HASH_COUNT(server->addresses) > server->config->connections_max) {
        forget_idle(server);
    }
    if (address->tokens_failed < TOKENS_FAILED_FREE) {
        address->guesses[address->tokens_failed] = guess;
    }
    address->tokens_failed++;
    address->token_failed_ms = uv_now(server->loop);
}

int admission_identify(struct server *server,
                       struct address_count *address,
                       struct fsm_str token,
                       struct fsm_str *ret_principal,
                       unsigned char ret_hash[static TOKEN_HASH_BYTES])
{
    *ret_principal = (struct fsm_str){0};
    if (token.len == 0) {
        return 0;
    }
    if (waits(address, uv_now(server->loop))) {
        return -EAGAIN;
    }
    *ret_principal = tokens_find(server->access.tokens, token, ret_hash);
    if (ret_principal->len == 0) {
        note_guess(server, address, ret_hash);
        return -EACCES;
    }
    address->tokens_failed = 0;
    return 0;
}

void admission_release(struct server *server)
{
    struct address_count *count, *next;

    HASH_ITER(hh, server->addresses, count, next)
    {
        forget(server, count);
    }
}
