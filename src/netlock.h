/* netlock.h - the client library of netlock, a replicated lock service.
 *
 * A `struct netlock` is one client: one id at the cluster, whatever happens to connections. It finds
 * the leader among the servers given, and when the leader dies it finds the new one, attaches again
 * under a higher epoch (so that nothing delayed on an old connection can act for it any more), and
 * takes up its holds and waits where they were: a netlock_lock() that was blocked on the dead leader
 * returns with its grant from the new one.
 *
 * Two ways to use it, over the same engine:
 *
 *   Blocking. The library runs one thread per client; calls block the caller, and leases are
 *   refreshed behind its back:
 *
 *       struct netlock *nl;
 *       struct netlock_options options = {.servers = "10.0.0.1:7670,10.0.0.2:7670,10.0.0.3:7670"};
 *       int rv = netlock_open(&nl, &options);
 *       struct netlock_lock_options how = {.lock_timeout_ms = 30000};
 *       struct netlock_grant grant;
 *       rv = netlock_lock(nl, "registration", &how, &grant);     // grant.token fences the resource
 *       ...
 *       rv = netlock_unlock(nl, "registration");
 *       netlock_close(nl);
 *
 *   Asynchronous (NETLOCK_MANUAL). No thread; the caller's loop polls netlock_fd() for
 *   netlock_poll_events() (level-triggered: what was not read yet is said again), at most
 *   netlock_timeout_ms() long, and calls netlock_process(), which runs the callbacks. All calls from one thread. The calls that block work here too: they drive
 *   the engine, callbacks included, until they have their answer.
 *
 * Leases. The client counts its own: from the moment the request (or the refresh) was sent, never
 * from the answer, on CLOCK_BOOTTIME, less a margin for clock rates. At one third it refreshes; at
 * two thirds without success it reports NETLOCK_JEOPARDY; at the end NETLOCK_LOST, exactly once,
 * before it talks to anybody. After LOST another client may hold the lock: stop what it protects.
 * A request that gives a hold a shorter timeout counts from its sending, not from its answer.
 * A grant is always told before its LOST, and a token that was LOST is never granted again. Beside a
 * thread, LOST may be called while the call that got the grant is still returning: compare tokens.
 * A hold with no timeout and NETLOCK_DROP_RELEASE ends when the cluster has not heard of the client
 * for the session grace; the library counts that as its lease.
 *
 * Return values are 0 or a negative errno; every call says which. netlock_strerror() has words.
 * The library does not print, does not touch signals (but ignores SIGPIPE on its own sockets by
 * MSG_NOSIGNAL), returns -ENOMEM rather than abort, and keeps no global state.
 */
#ifndef NETLOCK_H
#define NETLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NETLOCK_API __attribute__((visibility("default")))
#else
#define NETLOCK_API
#endif

#define NETLOCK_UNLIMITED      UINT32_MAX /* a timeout that never ends */
#define NETLOCK_NAME_BYTES_MAX 255        /* lock names, client ids and owner info */
#define NETLOCK_SECRET_BYTES   16
#define NETLOCK_ERROR_BYTES    512

/* Beside the errno values of the system: */
enum {
    NETLOCK_EHELD = 10001, /* try: somebody else holds it */
    NETLOCK_ETIMEOUT,      /* the wait timeout passed; the request has left the queue */
    NETLOCK_ECANCELLED,    /* the wait was cancelled */
    NETLOCK_ENOTHELD,      /* refresh or release: not held */
    NETLOCK_EEXPIRED,      /* refresh or release: the hold had timed out */
    NETLOCK_EOTHER,        /* release: another client holds it */
    NETLOCK_ECONFLICT,     /* upgrade: another reader already waits to upgrade */
    NETLOCK_ELIMIT,        /* counting lock: it exists with another limit */
    NETLOCK_ESTALE,        /* a newer connection of this client id took over */
    NETLOCK_EDENIED,       /* not allowed: wrong secret, or no permission */
    NETLOCK_EINVALID, /* the cluster refused the request; netlock_error_text() says why */
    NETLOCK_EFULL,    /* a limit of the cluster; netlock_error_text() says which */
    NETLOCK_EUNREACHABLE, /* no leader could be reached in time; nothing is known of the request */
    NETLOCK_ECLOSED,   /* netlock_close() was called meanwhile */
    NETLOCK_EPROTOCOL, /* the server does not speak this protocol */
};

enum netlock_type { NETLOCK_WRITE = 0, NETLOCK_READ = 1 };
enum netlock_drop {
    NETLOCK_DROP_RELEASE = 0, /* free the lock when the client is gone */
    NETLOCK_DROP_IGNORE =
        1, /* keep it until it times out or is released; needs a lock timeout */
};

struct netlock;

/* What the cluster grants. */
struct netlock_grant {
    uint64_t token; /* fencing token: grows with every grant in the cluster */
    uint32_t slot;  /* counting lock: 0 .. limit-1 */
    enum netlock_type type;
    uint32_t lock_timeout_ms; /* as granted; NETLOCK_UNLIMITED: no limit */
    uint64_t index;           /* raft index of the grant */
};

/* What happens to a lock this client holds or waits for, without being asked. */
enum netlock_event {
    NETLOCK_QUEUED = 1, /* the request waits; `position` says where */
    NETLOCK_JEOPARDY,   /* two thirds of the lease are gone and no refresh came through */
    NETLOCK_SAFE,       /* a refresh came through after JEOPARDY */
    NETLOCK_LOST, /* the lease is over, or the lock was broken: it may be held by another */
    NETLOCK_CONNECTED,    /* name NULL: attached to a leader */
    NETLOCK_DISCONNECTED, /* name NULL */
};
struct netlock_notice {
    enum netlock_event event;
    const char *name;   /* of the lock; NULL for the connection */
    uint64_t token;     /* of the hold; 0 while queued */
    uint32_t position;  /* QUEUED: 1 is next */
    const char *server; /* CONNECTED: address of the leader */
};

enum netlock_flags {
    NETLOCK_MANUAL = 1,     /* no thread: the caller drives netlock_process() */
    NETLOCK_NO_REFRESH = 2, /* never refresh by itself: holds end when they time out */
};

/* What the client shows, and what it asks of the servers. What is NULL is taken from
 * $NETLOCK_TLS_CA, $NETLOCK_TLS_CERT, $NETLOCK_TLS_KEY, $NETLOCK_ACCESS_TOKEN.
 *
 * TLS 1.3, paths of PEM files: the CA's certificates, with which those of the servers are checked (and
 * that they are for the host that was named); our own certificate; its key, which nobody else may be able
 * to read. Without a CA connections are plain. The certificate may be left out, with its key, where the
 * cluster takes tokens.
 *
 * The access token (no fencing token) says who the client is, in place of a certificate's name. It is the text itself. */
struct netlock_credentials {
    const char *ca, *cert, *key;
    const char *access_token;
};

/* Zero means the default everywhere. Copied by netlock_open(). */
struct netlock_options {
    const char *
        servers; /* "host:port,[v6]:port,..."; NULL: $NETLOCK_SERVERS or 127.0.0.1:7670 */
    const char *client_id; /* NULL: the cluster makes a fresh one, with a secret */
    const uint8_t *secret; /* NETLOCK_SECRET_BYTES, for an id that has one; NULL: none */
    uint32_t connect_timeout_ms; /* for finding a leader in a call; default 10000 */
    uint32_t
        session_grace_ms; /* how long a broken connection may stay away; default 10000 */
    uint32_t drift_ppm;   /* error of clock rates to allow for; default 1000 */
    unsigned flags;       /* enum netlock_flags */
    const char *application; /* for the server's log; may be NULL */
    /* Called from the library's thread (blocking; during netlock_open() from the caller's) or from
     * netlock_process() (manual). It may make asynchronous calls; those that block say -EDEADLK, and
     * netlock_close() must not be called. NULL: not interested. */
    void (*on_notice)(void *arg, const struct netlock_notice *notice);
    void *arg;
    /* Do not supersede other connections of client_id: for short-lived processes that share an id,
     * as a shell script that acquires with IGNORE in one process and refreshes in another.
     * Needs client_id. Nothing then guards against a delayed request of an earlier process, and what
     * another process holds or waits for is left alone: also what a call that ended with
     * -NETLOCK_EUNREACHABLE may have got. Of several that wait for one lock at once, the wait of
     * whoever asked last is the wait of all. */
    bool share_id;
    struct netlock_credentials credentials;
    char *
        error_text; /* NETLOCK_ERROR_BYTES, for netlock_open(): more words when it fails, or "". May be
                         NULL; not kept */
};

/* Make a client. Blocking: finds the leader, attaches; -NETLOCK_EUNREACHABLE, -NETLOCK_EDENIED,
 * -NETLOCK_EPROTOCOL, -EINVAL (options), -ENOMEM. NETLOCK_MANUAL: returns at once.
 * Host names are looked up with getaddrinfo(), which can block: here, and when a leader is looked for
 * while nothing is held. Otherwise what was found before is used: a lease is not left uncounted. */
NETLOCK_API int netlock_open(struct netlock **ret, const struct netlock_options *options);

/* Detach (RELEASE holds are freed, waits cancelled), close, free. Blocks at most 1 s for the detach;
 * accepts NULL. */
NETLOCK_API void netlock_close(struct netlock *nl);

/* Drop the connection without detaching and free: what a crash looks like to the cluster. IGNORE
 * holds are meant to be left behind with netlock_close(); this is for tests. */
NETLOCK_API void netlock_abandon(struct netlock *nl);

NETLOCK_API const char *
netlock_client_id(const struct netlock *nl); /* NULL before the first attach */
/* NETLOCK_SECRET_BYTES of the id that the cluster made, or NULL. */
NETLOCK_API const uint8_t *netlock_client_secret(const struct netlock *nl);

/* Words for a negative return value; static. */
NETLOCK_API const char *netlock_strerror(int rv);
/* More words about the last error of this client: the server's text. Valid until the next call. */
NETLOCK_API const char *netlock_error_text(const struct netlock *nl);

/* ---- locks ------------------------------------------------------------------------------------ */

struct netlock_lock_options {
    enum netlock_type type;
    bool try_only;            /* do not queue */
    uint32_t wait_timeout_ms; /* 0: wait for ever */
    uint32_t lock_timeout_ms; /* 0: the server's default; NETLOCK_UNLIMITED: no limit */
    enum netlock_drop drop;
    uint32_t limit;         /* 0 and 1: an ordinary lock; more: counting lock */
    bool downgrade;         /* READ asked while holding WRITE gives the WRITE up */
    const char *owner_info; /* for people; NULL: none */
};

/* Acquire @name (or upgrade, or set new parameters of the hold). @options may be NULL.
 * 0 and @ret_grant (may be NULL); -NETLOCK_EHELD, -NETLOCK_ETIMEOUT, -NETLOCK_ECANCELLED,
 * -NETLOCK_ECONFLICT, -NETLOCK_ELIMIT, -NETLOCK_EINVALID, -NETLOCK_EFULL, -NETLOCK_ESTALE.
 * Waits over leader changes; -NETLOCK_EUNREACHABLE only when no leader was found for
 * connect_timeout_ms: then the request has been withdrawn or its outcome is unknown, and the client
 * releases what it may have been granted as soon as it can. -EALREADY: this client has a request for
 * @name that is not answered yet. Every call: -ENOMEM, -EINVAL (arguments), -EDEADLK (from a callback),
 * -NETLOCK_EDENIED, -NETLOCK_ECLOSED. */
NETLOCK_API int netlock_lock(struct netlock *nl,
                             const char *name,
                             const struct netlock_lock_options *options,
                             struct netlock_grant *ret_grant);

/* Release. 0 if it was held (or queued) and is not any more; else -NETLOCK_ENOTHELD,
 * -NETLOCK_EEXPIRED, -NETLOCK_EOTHER: what the lock protected may have been touched by others.
 * With @token not 0 only that hold is freed. */
NETLOCK_API int netlock_unlock(struct netlock *nl, const char *name);
NETLOCK_API int
netlock_unlock_token(struct netlock *nl, const char *name, uint64_t token);

/* Refresh now. @lock_timeout_ms 0: restart with the duration that the hold has.
 * @set_drop: NULL leaves the drop policy. -NETLOCK_ENOTHELD, -NETLOCK_EEXPIRED. */
NETLOCK_API int netlock_refresh(struct netlock *nl,
                                const char *name,
                                uint32_t lock_timeout_ms,
                                const enum netlock_drop *set_drop,
                                struct netlock_grant *ret_grant);

/* ---- looking ---------------------------------------------------------------------------------- */

enum netlock_state {
    NETLOCK_FREE = 1,
    NETLOCK_HELD,
    NETLOCK_WAITING,
    NETLOCK_HELD_BY_OTHER
};

struct netlock_holder {
    char *client_id, *name, *owner_info;
    enum netlock_type type;
    enum netlock_drop drop;
    bool waiting, connected;
    uint64_t token;
    uint32_t slot, limit;
    uint64_t since_ms;
    uint32_t remaining_ms, lock_timeout_ms, position;
};

struct netlock_status {
    enum netlock_state state; /* as seen by this client */
    enum netlock_type type;
    enum netlock_drop drop;
    uint64_t token;
    uint32_t remaining_ms, limit, slot;
    uint32_t holders_count, queue_length, queue_position;
    struct netlock_holder *holders; /* the first holders_shown of holders_count */
    size_t holders_shown;
    uint64_t index, cluster_time_ms;
};
NETLOCK_API int
netlock_status(struct netlock *nl, const char *name, struct netlock_status *ret);
NETLOCK_API void netlock_status_release(struct netlock_status *status);

enum netlock_token_state { NETLOCK_CURRENT = 1, NETLOCK_SUPERSEDED, NETLOCK_TOKEN_FREE };
/* For a resource: is @token still the hold of @name? @ret_by (may be NULL): the newer token. */
NETLOCK_API int netlock_check_token(struct netlock *nl,
                                    const char *name,
                                    uint64_t token,
                                    enum netlock_token_state *ret_state,
                                    uint64_t *ret_by);

struct netlock_lock_item {
    char *name;
    enum netlock_type type;
    uint32_t limit, holders_count, queue_length;
    struct netlock_holder *holders; /* at most 4 */
    /* The first of the queue, at most 4, with positions; none from a server that is too old to say. */
    struct netlock_holder *waiters;
    size_t holders_shown, waiters_shown;
};
struct netlock_lock_list {
    struct netlock_lock_item *items;
    size_t count;
    bool more;
};
/* Locks that are held or waited for, by name. @prefix and @after may be NULL; @max 0: 100. */
NETLOCK_API int netlock_list_locks(struct netlock *nl,
                                   const char *prefix,
                                   const char *after,
                                   uint32_t max,
                                   struct netlock_lock_list *ret);
NETLOCK_API void netlock_lock_list_release(struct netlock_lock_list *list);

/* Operators: end the hold with @token (0: every hold) of @name. @ret_count: holds broken. */
NETLOCK_API int
netlock_break(struct netlock *nl, const char *name, uint64_t token, uint32_t *ret_count);

struct netlock_client_item {
    char *client_id;
    uint32_t holds_count, waits_count;
    bool connected;
};
struct netlock_client_list {
    struct netlock_client_item *items;
    size_t count;
    bool more;
};
/* Clients that the cluster knows, by id; as netlock_list_locks(). */
NETLOCK_API int netlock_list_clients(struct netlock *nl,
                                     const char *prefix,
                                     const char *after,
                                     uint32_t max,
                                     struct netlock_client_list *ret);
NETLOCK_API void netlock_client_list_release(struct netlock_client_list *list);

/* Operators: end a client as if its last connection had been closed: its waits are cancelled, its
 * NETLOCK_DROP_RELEASE holds freed. Then its connections are closed; the client attaches again and
 * hears NETLOCK_LOST. What it has with NETLOCK_DROP_IGNORE stays. @ret_found (may be NULL): whether
 * the cluster knew it. */
NETLOCK_API int
netlock_kill_client(struct netlock *nl, const char *client_id, bool *ret_found);

struct netlock_backup {
    uint64_t index;      /* of the log, at which the copy was taken */
    uint64_t last_token; /* granted by then */
    uint64_t bytes;
};
/* Operators: a copy of the whole lock table as it was at one point of the log, as the bytes of a file
 * that `netlockd restore` reads. @write gets them in their order, from the caller's thread; when it
 * returns something else than 0, that is returned. -EAGAIN: the leader changed before the last byte;
 * begin again with an empty file. The bytes name every client and lock, and have digests of the
 * clients' secrets: keep them from others. @ret may be NULL. */
NETLOCK_API int netlock_backup(struct netlock *nl,
                               int (*write)(void *arg, const void *data, size_t len),
                               void *arg,
                               struct netlock_backup *ret);

struct netlock_member {
    uint64_t node_id;
    char *client_address, *peer_address;
    bool voter;
    uint64_t match_index; /* what it surely has of the log: as the leader knows, else 0 */
    bool connected;       /* the node that was asked has a connection with it */
};
enum netlock_role {
    NETLOCK_FOLLOWER = 1,
    NETLOCK_CANDIDATE,
    NETLOCK_LEADER,
    NETLOCK_SERVING
};
enum netlock_log_level {
    NETLOCK_LOG_ERROR = 1,
    NETLOCK_LOG_WARNING,
    NETLOCK_LOG_INFO,
    NETLOCK_LOG_DEBUG
};
struct netlock_node_status {
    char *cluster_id, *server, *leader_address;
    uint64_t node_id, term, leader_id;
    enum netlock_role role;
    struct netlock_member *members;
    size_t members_count;
    uint64_t commit_index, applied_index, last_index, cluster_time_ms;
    uint64_t checkpoint_index, checkpoint_hash;
    uint64_t locks, holds, waits, clients, connections, uptime_ms, last_token;
    /* Since the start of the node; commits while it served, and their time together. */
    uint64_t requests, commits, commits_us;
    /* Which formats the cluster writes, and which the node could; 0: it is too old to say. */
    uint32_t feature_level, feature_level_max;
    bool draining;
    enum netlock_log_level log_level; /* 0: it does not say */
};
/* Ask one node, leader or not, without attaching: a call of its own that needs no client.
 * @credentials may be NULL, and means the environment then, as in netlock_options.
 * @checkpoint (leader only): first let every node hash its state at one index. */
NETLOCK_API int netlock_node_status(const char *address,
                                    const struct netlock_credentials *credentials,
                                    uint32_t timeout_ms,
                                    bool checkpoint,
                                    struct netlock_node_status *ret);
NETLOCK_API void netlock_node_status_release(struct netlock_node_status *status);

enum netlock_change {
    NETLOCK_CHANGE_ADD = 1, /* as a member without a vote that receives the log */
    NETLOCK_CHANGE_PROMOTE, /* give it a vote */
    NETLOCK_CHANGE_REMOVE,
    NETLOCK_CHANGE_TRANSFER, /* of leadership to it */
};
struct netlock_cluster_change {
    enum netlock_change change;
    uint64_t node_id;
    const char *peer_address,
        *client_address; /* ADD: HOST:PORT for nodes and for clients */
    bool
        force; /* although the cluster would lose its quorum with the members connected now */
};
enum netlock_change_result {
    NETLOCK_CHANGE_DONE = 1,
    NETLOCK_CHANGE_REFUSED, /* no effect */
    NETLOCK_CHANGE_UNKNOWN, /* leadership was lost: it may or may not take effect */
    NETLOCK_CHANGE_MOVED,   /* another node leads now, and is to be asked the same */
};
/* Operators: ask the leader at @address to change who is a member, or who leads, and wait until it is over.
 * Credentials as above. Returns 0 and @ret_result, with a line for people in @ret_text (NETLOCK_ERROR_BYTES; empty
 * if done); -NETLOCK_EDENIED: no effect; another error: it may have had one. */
NETLOCK_API int netlock_change_cluster(const char *address,
                                       const struct netlock_credentials *credentials,
                                       uint32_t timeout_ms,
                                       const struct netlock_cluster_change *change,
                                       enum netlock_change_result *ret_result,
                                       char *ret_text);
struct netlock_node_control {
    enum { NETLOCK_DRAIN_AS_IT_IS = 0, NETLOCK_DRAIN, NETLOCK_DRAIN_UNDO } drain;
    enum netlock_log_level log_level; /* 0: as it is */
};
/* Operators: set something on one node, leader or not, until it is started anew. A node that drains
 * stays a member, but hands leadership to another one, whenever it has it and can. What came of it is
 * told by netlock_node_status(). */
NETLOCK_API int netlock_node_control(const char *address,
                                     const struct netlock_credentials *credentials,
                                     uint32_t timeout_ms,
                                     const struct netlock_node_control *control);

/* ---- asynchronous, NETLOCK_MANUAL -------------------------------------------------------------- */

NETLOCK_API int
netlock_fd(const struct netlock *nl); /* changes never: an epoll descriptor */
NETLOCK_API short netlock_poll_events(const struct netlock *nl); /* POLLIN */
NETLOCK_API int netlock_timeout_ms(const struct netlock *nl);    /* -1: none */
/* Do what is possible without blocking; runs callbacks. 0, or when the client can never work again:
 * -NETLOCK_EDENIED (the id has another secret), -NETLOCK_ESTALE (another process took it over). */
NETLOCK_API int netlock_process(struct netlock *nl);

/* The outcome of one operation: @rv as the blocking call would return it. */
typedef void (*netlock_done_cb)(void *arg, int rv, const struct netlock_grant *grant);

NETLOCK_API int netlock_lock_async(struct netlock *nl,
                                   const char *name,
                                   const struct netlock_lock_options *options,
                                   netlock_done_cb done,
                                   void *arg);
NETLOCK_API int netlock_unlock_async(struct netlock *nl,
                                     const char *name,
                                     uint64_t token,
                                     netlock_done_cb done,
                                     void *arg);
NETLOCK_API int netlock_refresh_async(struct netlock *nl,
                                      const char *name,
                                      uint32_t lock_timeout_ms,
                                      const enum netlock_drop *set_drop,
                                      netlock_done_cb done,
                                      void *arg);
/* Withdraw a lock request that has not been answered: its done callback gets -NETLOCK_ECANCELLED, or
 * 0 if the grant was faster. -ENOENT if there is none. -EBUSY for an upgrade: the protocol cannot
 * leave the queue without releasing the hold; netlock_unlock() does both. */
NETLOCK_API int netlock_cancel(struct netlock *nl, const char *name);

#ifdef __cplusplus
}
#endif

#endif
