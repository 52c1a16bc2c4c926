#include "liveness.h"

#include <assert.h>

#include "xalloc.h"

#define uthash_fatal(message) abort()
#include <uthash.h>
#include <utlist.h>
#include <xxhash.h>

struct liveness_client {
    UT_hash_handle hh;
    struct liveness_link *links; /* newest first, without stale ones */
    size_t stale_count;
    size_t attaching;    /* attaches proposed and not answered */
    uint64_t attach_seq; /* 0: never attached here, so nothing to detach */
    uint64_t gone_at_ms; /* once there is no link */
    size_t heap_place;   /* 0: not in the heap */
    uint8_t id_len;
    char id[];
};

struct link_key {
    const struct liveness_conn *conn;
    const struct liveness_client *client;
};

struct liveness_link {
    UT_hash_handle hh;
    struct link_key key;
    struct liveness_conn *conn;
    struct liveness_client *client;
    struct liveness_link *client_prev, *client_next;
    struct liveness_link *conn_prev, *conn_next;
    uint64_t epoch;
    bool stale;
};

struct liveness {
    uint64_t hash_seed;
    struct liveness_client *clients;
    struct liveness_link *links;
    /* Clients that are gone, a binary heap by gone_at_ms. heap[1] is the first. */
    struct liveness_client **heap;
    size_t heap_count;
    size_t heap_capacity;
};

struct liveness *liveness_new(uint64_t hash_seed)
{
    struct liveness *liveness = xcalloc(sizeof(*liveness));

    liveness->hash_seed = hash_seed;
    return liveness;
}

void liveness_free(struct liveness *liveness)
{
    if (liveness == NULL) {
        return;
    }
    liveness_clear(liveness);
    free(liveness->heap);
    free(liveness);
}

void liveness_clear(struct liveness *liveness)
{
    struct liveness_link *link;
    struct liveness_link *next_link;
    struct liveness_client *client;
    struct liveness_client *next_client;

    HASH_ITER(hh, liveness->links, link, next_link)
    {
        HASH_DELETE(hh, liveness->links, link);
        *link->conn = (struct liveness_conn){0};
        free(link);
    }
    HASH_ITER(hh, liveness->clients, client, next_client)
    {
        HASH_DELETE(hh, liveness->clients, client);
        free(client);
    }
    liveness->heap_count = 0;
}

/* ---- the heap ---- */

static void
heap_put(struct liveness *liveness, size_t place, struct liveness_client *client)
{
    liveness->heap[place] = client;
    client->heap_place = place;
}

static void
heap_sift_up(struct liveness *liveness, size_t place, struct liveness_client *client)
{
    while (place > 1 && liveness->heap[place / 2]->gone_at_ms > client->gone_at_ms) {
        heap_put(liveness, place, liveness->heap[place / 2]);
        place /= 2;
    }
    heap_put(liveness, place, client);
}

static void
heap_sift_down(struct liveness *liveness, size_t place, struct liveness_client *client)
{
    for (;;) {
        size_t child = place * 2;
        if (child < liveness->heap_count &&
            liveness->heap[child + 1]->gone_at_ms < liveness->heap[child]->gone_at_ms) {
            child++;
        }
        if (child > liveness->heap_count ||
            liveness->heap[child]->gone_at_ms >= client->gone_at_ms) {
            break;
        }
        heap_put(liveness, place, liveness->heap[child]);
        place = child;
    }
    heap_put(liveness, place, client);
}

static void heap_add(struct liveness *liveness, struct liveness_client *client)
{
    if (liveness->heap_count + 2 > liveness->heap_capacity) {
        liveness->heap_capacity =
            liveness->heap_capacity == 0 ? 64 : liveness->heap_capacity * 2;
        liveness->heap =
            xrealloc(liveness->heap, liveness->heap_capacity * sizeof(liveness->heap[0]));
    }
    heap_sift_up(liveness, ++liveness->heap_count, client);
}

static void heap_remove(struct liveness *liveness, struct liveness_client *client)
{
    size_t place = client->heap_place;

    if (place == 0) {
        return;
    }
    client->heap_place = 0;
    struct liveness_client *last = liveness->heap[liveness->heap_count--];
    if (last == client) {
        return;
    }
    if (place > 1 && liveness->heap[place / 2]->gone_at_ms > last->gone_at_ms) {
        heap_sift_up(liveness, place, last);
    } else {
        heap_sift_down(liveness, place, last);
    }
}

/* ---- clients ---- */

/* Ids are chosen by clients: a seeded hash, so that nobody can make them all collide. */
static unsigned hash_of(const struct liveness *liveness, struct fsm_str id)
{
    return (unsigned)XXH64(id.data, id.len, liveness->hash_seed);
}

static struct liveness_client *client_find(const struct liveness *liveness,
                                           struct fsm_str id)
{
    struct liveness_client *client;

    HASH_FIND_BYHASHVALUE(hh, liveness->clients, id.data, id.len, hash_of(liveness, id),
                          client);
    return client;
}

static struct liveness_client *client_get(struct liveness *liveness, struct fsm_str id)
{
    struct liveness_client *client = client_find(liveness, id);

    if (client != NULL) {
        return client;
    }
    assert(id.len > 0 && id.len <= FSM_NAME_BYTES_MAX);
    client = xcalloc(sizeof(*client) + id.len);
    client->id_len = (uint8_t)id.len;
    memcpy(client->id, id.data, id.len);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, liveness->clients, client->id, id.len,
                                hash_of(liveness, id), client);
    return client;
}

static struct fsm_str id_of(const struct liveness_client *client)
{
    return (struct fsm_str){.data = client->id, .len = client->id_len};
}

/* After any change: into the heap if it is gone, out of memory if nothing is left to
 * remember. */
static void client_settle(struct liveness *liveness, struct liveness_client *client)
{
    bool gone =
        client->links == NULL && client->attaching == 0 && client->attach_seq != 0;

    heap_remove(liveness, client);
    if (gone) {
        heap_add(liveness, client);
        return;
    }
    if (client->links == NULL && client->attaching == 0 && client->stale_count == 0) {
        HASH_DELETE(hh, liveness->clients, client);
        free(client);
    }
}

/* ---- links ---- */

static void link_unlist(struct liveness_link *link)
{
    if (link->stale) {
        link->client->stale_count--;
    } else {
        DL_DELETE2(link->client->links, link, client_prev, client_next);
    }
}

static void link_list(struct liveness_link *link)
{
    link->stale = false;
    DL_PREPEND2(link->client->links, link, client_prev, client_next);
}

static void link_free(struct liveness *liveness, struct liveness_link *link)
{
    link_unlist(link);
    DL_DELETE2(link->conn->links, link, conn_prev, conn_next);
    link->conn->links_count--;
    HASH_DELETE(hh, liveness->links, link);
    free(link);
}

static unsigned link_hash(const struct link_key *key)
{
    return (unsigned)XXH64(key, sizeof(*key), 0);
}

static struct liveness_link *link_find(const struct liveness *liveness,
                                       const struct liveness_conn *conn,
                                       const struct liveness_client *client)
{
    struct link_key key = {.conn = conn, .client = client};
    struct liveness_link *link;

    HASH_FIND_BYHASHVALUE(hh, liveness->links, &key, sizeof(key), link_hash(&key), link);
    return link;
}

/* The link of @conn, as the newest of the client. */
static struct liveness_link *link_get(struct liveness *liveness,
                                      struct liveness_conn *conn,
                                      struct liveness_client *client)
{
    struct liveness_link *link = link_find(liveness, conn, client);

    if (link != NULL) {
        link_unlist(link);
        link_list(link);
        return link;
    }
    link = xcalloc(sizeof(*link));
    link->key = (struct link_key){.conn = conn, .client = client};
    link->conn = conn;
    link->client = client;
    HASH_ADD_BYHASHVALUE(hh, liveness->links, key, sizeof(link->key),
                         link_hash(&link->key), link);
    DL_APPEND2(conn->links, link, conn_prev, conn_next);
    conn->links_count++;
    link_list(link);
    return link;
}

static void link_make_stale(struct liveness_link *link)
{
    DL_DELETE2(link->client->links, link, client_prev, client_next);
    link->stale = true;
    link->client->stale_count++;
}

static void make_others_stale(struct liveness_client *client,
                              const struct liveness_conn *conn)
{
    struct liveness_link *link;
    struct liveness_link *next;

    DL_FOREACH_SAFE2(client->links, link, next, client_next)
    {
        if (link->conn != conn) {
            link_make_stale(link);
        }
    }
}

/* ---- attach ---- */

void liveness_attaching(struct liveness *liveness, struct fsm_str client_id)
{
    struct liveness_client *client = client_get(liveness, client_id);

    client->attaching++;
    client_settle(liveness, client);
}

void liveness_attached(struct liveness *liveness,
                       struct fsm_str client_id,
                       uint64_t attach_seq,
                       uint64_t epoch,
                       bool superseded,
                       struct liveness_conn *conn,
                       uint64_t gone_at_ms)
{
    struct liveness_client *client = client_find(liveness, client_id);

    assert(client != NULL);
    assert(client->attaching > 0);
    client->attaching--;
    client->attach_seq = attach_seq;
    if (superseded) {
        make_others_stale(client, conn);
    }
    if (conn != NULL) {
        link_get(liveness, conn, client)->epoch = epoch;
    } else if (client->links == NULL) {
        client->gone_at_ms = gone_at_ms;
    }
    client_settle(liveness, client);
}

void liveness_refused(struct liveness *liveness,
                      struct fsm_str client_id,
                      struct liveness_conn *stale_conn)
{
    struct liveness_client *client = client_find(liveness, client_id);

    assert(client != NULL);
    assert(client->attaching > 0);
    client->attaching--;
    if (stale_conn != NULL && link_find(liveness, stale_conn, client) == NULL) {
        link_make_stale(link_get(liveness, stale_conn, client));
    }
    client_settle(liveness, client);
}

/* ---- look ---- */

struct liveness_link *liveness_find(const struct liveness *liveness,
                                    const struct liveness_conn *conn,
                                    struct fsm_str client_id)
{
    const struct liveness_client *client = client_find(liveness, client_id);

    return client != NULL ? link_find(liveness, conn, client) : NULL;
}

bool liveness_link_stale(const struct liveness_link *link)
{
    return link->stale;
}

uint64_t liveness_link_epoch(const struct liveness_link *link)
{
    return link->epoch;
}

uint64_t liveness_link_attach_seq(const struct liveness_link *link)
{
    return link->client->attach_seq;
}

struct fsm_str liveness_link_client(const struct liveness_link *link)
{
    return id_of(link->client);
}

struct liveness_link *liveness_link_next(const struct liveness_link *link)
{
    return link->conn_next;
}

bool liveness_link_is_last(const struct liveness_link *link)
{
    const struct liveness_client *client = link->client;

    return !link->stale && client->links == link && link->client_next == NULL &&
           client->attaching == 0;
}

struct liveness_conn *liveness_newest(const struct liveness *liveness,
                                      struct fsm_str client_id)
{
    const struct liveness_client *client = client_find(liveness, client_id);

    return client != NULL && client->links != NULL ? client->links->conn : NULL;
}

/* ---- let go ---- */

void liveness_drop(struct liveness *liveness,
                   struct liveness_link *link,
                   uint64_t gone_at_ms)
{
    struct liveness_client *client = link->client;
    bool was_live = !link->stale;

    link_free(liveness, link);
    if (was_live && client->links == NULL) {
        client->gone_at_ms = gone_at_ms;
    }
    client_settle(liveness, client);
}

void liveness_drop_detached(struct liveness *liveness, struct liveness_link *link)
{
    struct liveness_client *client = link->client;

    assert(liveness_link_is_last(link));
    client->attach_seq = 0;
    link_free(liveness, link);
    client_settle(liveness, client);
}

bool liveness_due(const struct liveness *liveness,
                  uint64_t now_ms,
                  struct liveness_due *ret)
{
    if (liveness->heap_count == 0 || liveness->heap[1]->gone_at_ms > now_ms) {
        return false;
    }
    *ret = (struct liveness_due){
        .client = id_of(liveness->heap[1]),
        .attach_seq = liveness->heap[1]->attach_seq,
    };
    return true;
}

void liveness_gone(struct liveness *liveness, struct fsm_str client_id)
{
    struct liveness_client *client = client_find(liveness, client_id);

    assert(client != NULL && client->heap_place != 0);
    client->attach_seq = 0;
    client_settle(liveness, client);
}

uint64_t liveness_next_ms(const struct liveness *liveness)
{
    return liveness->heap_count != 0 ? liveness->heap[1]->gone_at_ms : UINT64_MAX;
}

size_t liveness_clients_count(const struct liveness *liveness)
{
    return HASH_COUNT(liveness->clients);
}
