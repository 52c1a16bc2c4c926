/* client_engine.h - the inside of libnetlock: one client as a state machine that owns no thread.
 *
 *     client.c            life cycle, one step of the engine, callbacks
 *     client_session.c    finding the leader, Hello, attach, pings; messages in
 *     client_operation.c  requests: sent, sent again, completed
 *     client_request.c    what callers ask for, checked and made into operations
 *     client_lock.c       what we hold, by name
 *     client_lease.c      until when it is surely ours    client_due.c        which to look at next
 *     client_answer.c     what the cluster's answers mean for operations and holds
 *     client_blocking.c   calls that wait, and the thread that drives the engine for them
 *     client_query.c      status, lists, tokens, operators' calls
 *     client_node.c       netlock_node_status(), which needs no client
 *     client_scout.c      who leads now, asked of all servers at once
 *     client_conn.c       socket and frames        client_servers.c   where to look for the leader
 *     client_tls.c        TLS between the two      client_address.c   host and port
 *
 * Two clocks. Local time is nl->clock_ms(), CLOCK_BOOTTIME unless a test says otherwise; it is read at
 * the start of a step and after every callback, so nl->now_ms is never later than what is sent with
 * it. Cluster time comes in answers; client_local_ms() relates the two.
 *
 * One step (client_step): leases first and their notices out, then sockets, session, operations,
 * callbacks. So a process that was paused learns of a lost lock before it says anything to anybody.
 *
 * With a thread, nl->mutex covers everything here; it is released around callbacks. */
#ifndef NETLOCK_CLIENT_ENGINE_H
#define NETLOCK_CLIENT_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client_conn.h"
#include "client_scout.h"
#include "client_servers.h"
#include "netlock.h"
#include "wire.h"

enum {
    CLIENT_CONNECT_MS = 1000, /* for TCP and for Hello, each */
    CLIENT_ANSWER_MIN_MS =
        300, /* an unanswered request breaks the connection after the third of */
    CLIENT_ANSWER_MAX_MS = 5000, /* the shortest lease, within these */
    CLIENT_BACKOFF_MIN_MS = 20,
    CLIENT_BACKOFF_MAX_MS = 500,
    CLIENT_BACKOFF_SCOUTED_MS = 1000, /* while scouts wait for the next leader */
    CLIENT_BACKOFF_PART = 4, /* of the time without a leader */
    CLIENT_CLOSE_MS = 1000,
    CLIENT_MARGIN_MS = 5, /* of every lease, beside the drift: rounding of two clocks */
    CLIENT_TEXT_BYTES_MAX = 255, /* of what a server says to people */
};
#define CLIENT_NEVER UINT64_MAX

/* ---- operations ------------------------------------------------------------------ */

enum operation_kind {
    OPERATION_LOCK = 1,
    OPERATION_UNLOCK,
    OPERATION_REFRESH,
    OPERATION_STATUS,
    OPERATION_CHECK_TOKEN,
    OPERATION_LIST,
    OPERATION_BREAK,
    OPERATION_BACKUP,
    OPERATION_LIST_CLIENTS,
    OPERATION_KILL_CLIENT,
    OPERATION_DETACH,
    OPERATION_PING,
};

/* Where an operation is. Its answer comes to SENT; a LockRequest that was answered with LockWait goes
 * on to WAITING. A lost connection puts all of them back into QUEUED, oldest first. */
enum operation_place {
    PLACE_NONE = 0,
    PLACE_QUEUED,
    PLACE_SENT,
    PLACE_WAITING,
    PLACE_DONE
};

struct operation;
typedef void (*operation_query_cb)(struct operation *operation,
                                   const struct wire_response *answer);

struct operation {
    TAILQ_ENTRY(operation) link;
    LIST_ENTRY(operation) of_lock;
    uint64_t number; /* in order of creation */
    enum operation_kind kind;
    enum operation_place place;
    uint32_t slot; /* the message key is slot and generation */
    uint32_t generation;
    struct client_lock *lock; /* NULL: about no lock; keeps the record alive */
    uint64_t called_ms;
    uint64_t sent_ms;
    uint64_t sent_number;      /* in order of sending */
    uint64_t retry_at_ms;      /* QUEUED: not before; 0: at once */
    uint64_t refused_since_ms; /* first BUSY or UNKNOWN in a row; 0: none */
    bool internal;             /* nobody waits for it: goes on until it is answered */
    bool ever_sent;            /* on any connection */
    bool uncertain;            /* an earlier sending may have taken effect */
    bool cancelled;            /* LOCK: withdrawn by the caller; must not be sent again */
    bool asked_again; /* LOCK: a grant came too late to be of use, see client_answer.c */
    bool parked;    /* LOCK: it was queued at the cluster, and may be granted any time */
    uint64_t token; /* UNLOCK, REFRESH, CHECK_TOKEN, BREAK */
    bool believed_held; /* UNLOCK: we held it when the caller asked */
    union {
        struct {
            struct netlock_lock_options options; /* its owner_info points to the next */
            char owner_info[NETLOCK_NAME_BYTES_MAX + 1];
        } how;
        struct {
            uint32_t lock_timeout_ms;
            bool set_drop;
            enum netlock_drop drop;
        } refresh;
        struct { /* borrowed: the caller waits */
            struct wire_str prefix, after;
            uint32_t max;
        } list;
        struct {
            uint64_t id, offset;
        } backup;
    };
    operation_query_cb on_answer; /* queries: convert the answer, set rv */
    void *query;
    netlock_done_cb done;
    void *arg;
    int rv;
    bool has_grant;
    struct netlock_grant grant;
    unsigned notices; /* DONE: about this grant, after the callback that tells of it */
};
TAILQ_HEAD(operation_list, operation);

/* ---- locks ----------------------------------------------------------------------- */

enum lock_notice {
    NOTICE_QUEUED = 1,
    NOTICE_JEOPARDY = 2,
    NOTICE_SAFE = 4,
    NOTICE_LOST = 8,
};

/* A lock that we hold, or that an operation or a notice is about. */
struct client_lock {
    struct client_lock *next;     /* in its bucket */
    LIST_ENTRY(client_lock) link; /* all locks */
    TAILQ_ENTRY(client_lock) noticed;
    LIST_ENTRY(client_lock) of_session;
    uint64_t hash;
    LIST_HEAD(, operation) operations;
    unsigned users; /* operations, and who else needs the record for a moment */

    bool held;
    bool releasing;  /* the caller gave it up: no refresh, no notices */
    bool refreshing; /* a refresh of our own is under way */
    bool jeopardy;   /* reported */
    bool claimed;    /* while attaching: seen in the cluster's answer */
    uint64_t token;
    uint64_t index;
    uint32_t slot;
    uint32_t lock_timeout_ms;
    enum netlock_type type;
    enum netlock_drop drop;
    uint64_t start_ms; /* of the lease, on our clock */
    uint64_t end_ms;   /* CLIENT_NEVER: no timeout of its own */
    /* What requests that are not answered may have made of the hold: see client_lease.c. */
    uint64_t asked_number; /* of the last such request; 0: none */
    uint64_t asked_start_ms, asked_end_ms;
    bool asked_release;
    /* When client_leases_run() looks at it; nothing of it is due before. */
    bool is_of_session; /* in its list: it may end with the session */
    size_t due_place;   /* in nl->due, from 1; 0: it is not there */
    uint64_t due_ms;

    struct operation *request; /* the LOCK operation that is not answered */

    unsigned notices; /* enum lock_notice, to be delivered */
    uint64_t notice_token;
    uint64_t lost_token; /* of the hold lost last */
    uint32_t position;

    size_t name_len;
    char name[]; /* NUL-terminated */
};

struct client_table {
    struct client_lock **buckets;
    size_t buckets_count; /* a power of two */
    size_t count;
    LIST_HEAD(, client_lock) all;
    TAILQ_HEAD(, client_lock) noticed;
};

/* Holds by when they need a look, the first one first. */
struct client_due {
    struct client_lock **locks;
    size_t count, capacity;
};

/* ---- the client ------------------------------------------------------------------ */

enum session_state {
    SESSION_DOWN = 0,   /* connect at retry_at_ms */
    SESSION_CONNECTING, /* TCP */
    SESSION_GREETING,   /* Hello and attach are sent */
    SESSION_READY,
};

struct session {
    enum session_state state;
    struct client_conn conn;
    struct client_servers servers;
    struct client_server server; /* of the connection */
    size_t next_address;         /* of it */
    char server_text[SERVER_TEXT_BYTES];
    uint64_t phase_end_ms;   /* CONNECTING, GREETING */
    uint64_t retry_at_ms;    /* DOWN */
    uint64_t retry_least_ms; /* a server asked for this long */
    uint64_t scout_at_ms;    /* without a connection: when to ask everybody */
    bool round_done;         /* all servers were tried since */
    uint64_t backoff_ms;
    uint64_t ready_ms, down_since_ms;
    uint64_t trouble_since_ms; /* no connection has lasted since */
    uint64_t attach_sent_ms;
    uint64_t epoch;
    uint64_t epoch_step; /* see session_refused() */
    bool greeted;        /* Hello was answered */
    bool attached_once;
    bool watch_out;                               /* epoll watches for room to write */
    int failure;                                  /* of the last attempt that has ended */
    uint32_t session_grace_ms, reattach_grace_ms; /* as the server granted them */
    uint64_t sent_ms;                             /* last time that anything was sent */
    bool notice_connected, notice_disconnected;
};

/* What the answers of the cluster prove, in local time: see client_lease.c. */
struct evidence {
    uint64_t heard_ms; /* sending of the latest request that was answered */
    uint64_t log_ms;   /* sending of the latest request that was answered from the log */
    bool has_pair;
    uint64_t pair_local_ms,
        pair_cluster_ms; /* cluster time was below pair_cluster before pair_local */
};

struct netlock {
    /* as opened */
    unsigned flags;
    bool share_id;
    uint32_t connect_timeout_ms, session_grace_ms, drift_ppm;
    char application[NETLOCK_NAME_BYTES_MAX + 1];
    char token[NETLOCK_NAME_BYTES_MAX + 1]; /* empty: none */
    void (*on_notice)(void *arg, const struct netlock_notice *notice);
    void *arg;
    uint64_t (*clock_ms)(void *arg);
    void *clock_arg;

    char client_id[NETLOCK_NAME_BYTES_MAX + 1]; /* empty: the cluster will make one */
    bool has_secret;
    uint8_t secret[NETLOCK_SECRET_BYTES];

    uint64_t now_ms;
    uint64_t random;
    int epoll_fd;
    int dead;                /* negative: the client can never work again */
    uint64_t closing_end_ms; /* 0: not closing */
    bool in_callback;
    char error_text[CLIENT_TEXT_BYTES_MAX + 1];

    struct session session;
    struct tls_context *tls; /* NULL: plain */
    struct client_scouts scouts;
    struct evidence evidence;

    struct operation_list queued, sent, waiting, done;
    struct operation **slots;
    uint32_t *generations;
    size_t slots_count, slots_free;
    uint64_t operations_made, operations_sent;
    unsigned overtaken; /* of `done`: with notices */
    uint32_t *free_slots;
    struct operation *ping, *keepalive, *detach; /* under way, or NULL */

    struct client_table table;
    size_t holds;          /* locks held */
    uint64_t lease_due_ms; /* no lease needs a look before */
    bool lease_all;        /* then all of them do */
    struct client_due due; /* holds, but for what only the session says of them, */
    LIST_HEAD(, client_lock) of_session; /* which it says of all these */
    uint64_t session_jeopardy_ms; /* the session's end, of which they have been told */
    uint32_t lease_least_ms;      /* shortest lease held, or */
    bool least_is_over;           /* one that has been given up since */
    uint64_t least_counted_ms;
    unsigned jeopardies; /* holds with jeopardy reported */

    /* blocking */
    bool threaded;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t idle; /* no caller is inside */
    int wake_fd;
    unsigned callers; /* inside a blocking call */
    bool stop;
};

/* ---- client.c -------------------------------------------------------------------- */

/* A client without a thread and without a connection. 0, -EINVAL, -ENOMEM, -errno. */
int client_new(struct netlock **ret, const struct netlock_options *options);
void client_free(struct netlock *nl);
uint64_t client_clock(struct netlock *nl); /* reads it into nl->now_ms */
uint64_t client_jitter(struct netlock *nl, uint64_t ms); /* half of it to all of it */
int client_step(struct netlock *nl);
/* Milliseconds until client_step() has something to do by itself; -1: never. */
int client_timeout(const struct netlock *nl);
/* The client can never work: everything fails with @rv, all holds are lost. */
void client_die(struct netlock *nl, int rv);
void client_set_error_text(struct netlock *nl, struct wire_str text);
/* Begin to close: everything fails with -NETLOCK_ECLOSED, detach is sent if there is a connection. */
void client_close_begin(struct netlock *nl);
bool client_close_finished(struct netlock *nl);

/* ---- client_session.c ------------------------------------------------------------ */

void session_init(struct netlock *nl);
void session_release(struct netlock *nl);
void session_run(struct netlock *nl);   /* sockets, then what is due */
void session_flush(struct netlock *nl); /* after requests were put */
uint64_t session_due_ms(const struct netlock *nl);
/* Give up the connection and look for another; every operation goes back to the queue. */
void session_fail(struct netlock *nl, int rv);
int session_put_hello(const struct netlock *nl, struct client_conn *conn);
/* Give it up for @conn, which is watched for input and on which @server has said that it leads; @conn is
 * closed after that. */
void session_adopt(struct netlock *nl,
                   struct client_conn *conn,
                   const struct client_server *server,
                   const struct wire_response *hello);
/* How long a request may stay unanswered before the connection counts as broken. */
uint64_t session_answer_ms(const struct netlock *nl);

/* ---- client_operation.c ---------------------------------------------------------- */

struct operation *
operation_new(struct netlock *nl, enum operation_kind kind, struct client_lock *lock);
void operation_complete(struct netlock *nl, struct operation *operation, int rv);
void operation_free(struct netlock *nl, struct operation *operation);
struct operation *operation_find(struct netlock *nl, struct wire_str key);
/* Back into the queue, not to be sent before @retry_at_ms. */
void operation_again(struct netlock *nl,
                     struct operation *operation,
                     uint64_t retry_at_ms);
/* The same, after all that is already to be sent about its lock. */
void operation_again_last(struct netlock *nl, struct operation *operation);
void operation_to_waiting(struct netlock *nl, struct operation *operation);
void operations_requeue(struct netlock *nl); /* the connection is gone */
void operations_send(struct netlock *nl);    /* READY: what is due */
void operations_expire(struct netlock *nl);  /* those that found no leader for too long */
void operations_fail(struct netlock *nl, int rv);
uint64_t operations_due_ms(const struct netlock *nl);
/* Release on our own account, in order with what is queued: @token 0 whatever there is. */
void operation_clean_up(struct netlock *nl, struct client_lock *lock, uint64_t token);
/* Complete what has to be given up with its outcome unknown; see to it that nothing stays behind. */
void operation_abandon(struct netlock *nl, struct operation *operation, int rv);

/* ---- client_request.c ---------------------------------------------------------------- */

/* What the public functions check and make. 0, or why nothing was made. */
int client_usable(const struct netlock *nl); /* not closing, not dead */
int operation_lock(struct netlock *nl,
                   const char *name,
                   const struct netlock_lock_options *options,
                   netlock_done_cb done,
                   void *arg);
int operation_unlock(struct netlock *nl,
                     const char *name,
                     uint64_t token,
                     netlock_done_cb done,
                     void *arg);
int operation_refresh(struct netlock *nl,
                      const char *name,
                      uint32_t lock_timeout_ms,
                      const enum netlock_drop *set_drop,
                      netlock_done_cb done,
                      void *arg);
int operation_cancel(struct netlock *nl, const char *name);

/* ---- client_lock.c --------------------------------------------------------------- */

int client_table_init(struct netlock *nl);
void client_table_release(struct netlock *nl);
struct client_lock *client_lock_find(struct netlock *nl, const char *name, size_t len);
struct client_lock *
client_lock_get(struct netlock *nl, const char *name, size_t len); /* or makes it */
void client_lock_unuse(struct netlock *nl,
                       struct client_lock *lock); /* frees it if nothing needs it */

/* What the cluster says about a hold: a grant, or a claim when attaching. */
struct lock_grant {
    uint64_t token, index;
    uint32_t slot, lock_timeout_ms, remaining_ms;
    enum netlock_type type;
    enum netlock_drop drop;
    uint64_t decided_ms; /* local time that is surely not after the decision */
    uint64_t number;     /* sending of the request that it answers; 0: of none */
};
void client_lock_granted(struct netlock *nl,
                         struct client_lock *lock,
                         const struct lock_grant *grant);
void client_lock_releasing(struct netlock *nl,
                           struct client_lock *lock); /* not ours to keep */
void client_lock_dropped(struct netlock *nl,
                         struct client_lock *lock); /* gone, as asked */
void client_lock_lost(struct netlock *nl,
                      struct client_lock *lock); /* gone; reports it, once */
void client_lock_notice(struct netlock *nl,
                        struct client_lock *lock,
                        enum lock_notice notice);

/* ---- client_lease.c ------------------------------------------------------------------ */

/* What was sent at @sent_ms has been answered, as decided at @position. */
void client_evidence(struct netlock *nl,
                     uint64_t sent_ms,
                     const struct wire_position *position);
/* Something was decided at @position without being asked for just now. Returns the local time
 * at or after which that was; 0: not known. */
uint64_t client_evidence_event(struct netlock *nl, const struct wire_position *position);
/* A local time at which cluster time had surely not passed @cluster_ms; 0: not known. */
uint64_t client_local_ms(const struct netlock *nl, uint64_t cluster_ms);

void client_lease_start(struct netlock *nl,
                        struct client_lock *lock,
                        const struct lock_grant *grant);
/* A request has been sent that may shorten a hold. */
void client_lease_asked(struct netlock *nl, const struct operation *operation);
/* Its answer: it has not changed the hold, not yet at least. */
void client_lease_unchanged(struct netlock *nl, const struct operation *operation);
/* A request whose answer is not here yet has made @claim of the hold. */
void client_lease_claimed(struct netlock *nl,
                          struct client_lock *lock,
                          const struct lock_grant *claim);
/* Refresh now, if this is for us to do. 0 or -ENOMEM. */
int client_lease_refresh(struct netlock *nl, struct client_lock *lock);
bool client_grant_over(const struct netlock *nl, const struct lock_grant *grant);
/* Something has changed about a hold, or about all of them: look at it at once. */
void client_lease_look(struct netlock *nl, struct client_lock *lock);
void client_leases_look(struct netlock *nl);
/* It does not count any more: given up, or gone. */
void client_lease_stop(struct netlock *nl, struct client_lock *lock);
void client_leases_run(struct netlock *nl); /* what is due at nl->now_ms */
void client_leases_end(struct netlock *nl); /* all are lost */

/* ---- client_due.c ----------------------------------------------------------------- */

/* Room for @count locks. 0 or -ENOMEM. */
int client_due_reserve(struct client_due *due, size_t count);
/* Take @lock in, or move it. */
void client_due_put(struct client_due *due, struct client_lock *lock, uint64_t at_ms);
void client_due_remove(struct client_due *due, struct client_lock *lock);
struct client_lock *client_due_first(const struct client_due *due); /* NULL: empty */

/* ---- client_answer.c ------------------------------------------------------------- */

void client_answer(struct netlock *nl, const struct wire_response *answer);
/* The connection is attached: @attach says what the cluster thinks we hold. */
void client_reconcile(struct netlock *nl, const struct wire_response *attach);

/* ---- client_blocking.c ----------------------------------------------------------- */

/* Around every public call: takes the mutex, if there is a thread. */
void client_enter(struct netlock *nl);
void client_leave(struct netlock *nl);

/* A caller that waits for one operation. */
struct client_waiter {
    struct netlock *nl;
    pthread_cond_t done_changed;
    bool done;
    int rv;
    struct netlock_grant grant;
};
void client_waiter_done(void *arg, int rv, const struct netlock_grant *grant);
/* Instead of client_enter(), for a call that will wait: -EDEADLK from a callback. */
int client_waiter_begin(struct netlock *nl, struct client_waiter *waiter);
/* Wait and leave; @submitted: what making the operation returned. */
int client_waiter_end(struct client_waiter *waiter, int submitted);

#endif
