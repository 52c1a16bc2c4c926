/* session.h - one connection as the protocol sees it: for whom it acts, and in which
 * order.
 *
 * Order. Requests of a connection are handled, and answered, in the order in which they
 * came. Commands about locks may be under way together; attach, detach, create and lists
 * are barriers: nothing behind them is looked at before they are answered. What is
 * answered here, without the log, waits until no command is under way, so that no answer
 * overtakes another.
 *
 * A frame that cannot be handled yet stays in the conn (CONN_LATER) and is looked at
 * again from the start when what it needs has come; so no request is ever
 * half-handled. */
#ifndef NETLOCK_SESSION_H
#define NETLOCK_SESSION_H

#include <sys/socket.h>

#include "server_internal.h"

enum { SESSION_DEFAULT_ID_BYTES = 32 };

/* What the frame that was put off waits for. */
enum session_need {
    SESSION_NEEDS_NOTHING = 0,
    SESSION_NEEDS_QUIET, /* no command under way */
    SESSION_NEEDS_SLOT,  /* fewer commands under way than the limit */
    SESSION_NEEDS_ROOM,  /* in the replica; then the session is in server->starved */
};

/* How the cluster is told that the connection's clients lost it. */
enum session_gone { SESSION_GONE_NOW, SESSION_GONE_AFTER_GRACE };

struct session {
    struct conn conn;
    struct server *server;
    struct session *prev, *next;
    struct session *unsent_prev, *unsent_next;
    struct session *starved_prev, *starved_next;
    struct address_count *address;
    char peer[LISTENER_ADDRESS_BYTES];

    char principal[PRINCIPAL_BYTES_MAX]; /* not NUL-terminated */
    size_t principal_len;                    /* 0: anonymous */
    bool by_token;                           /* it is the token's name */
    unsigned char token_hash[TOKEN_HASH_BYTES];

    bool hello;
    uint64_t grace_ms; /* session grace, agreed in Hello */

    struct liveness_conn live; /* the clients attached here */
    char default_id[SESSION_DEFAULT_ID_BYTES];
    bool default_drawn, default_attaching;
    enum fsm_deny
        implicit_refused; /* why the client of the frame put off could not be attached */

    struct pending *pendings;
    size_t pendings_count;
    struct waiting *waitings;
    size_t waitings_count;
    bool barrier;
    enum session_need need;
    bool unsent;
    bool ended;     /* the peer has closed its direction */
    bool oversized; /* it announced too large a frame */
    bool left;      /* the server has forgotten it; only the conn is still closing */
};

/* Take over the accepted socket @fd, which counts for @address. */
void session_open(struct server *server,
                  int fd,
                  const struct sockaddr_storage *peer,
                  struct address_count *address);

/* Send; on a connection that leaves nothing is sent. Returns 0, or -EMSGSIZE if the
 * response does not fit a frame: nothing was sent. */
int session_send(struct session *session, struct wire_response *response);

/* A refusal of a request that names no lock: Error, or the end of a plain connection. */
void session_refuse(struct session *session,
                    struct wire_str key,
                    struct wire_str client,
                    enum wire_error error,
                    const char *text);

/* One command less is under way: look at what was put off. */
void session_answered(struct session *session);

/* There may be room in the replica again. */
void session_retry(struct session *session);

/* Forget the session and close its connection: at once, or when what is queued has been
 * sent. */
void session_close(struct session *session, enum session_gone gone);
void session_finish(struct session *session, enum session_gone gone);

static inline struct fsm_str session_principal(const struct session *session)
{
    return (struct fsm_str){.data = session->principal, .len = session->principal_len};
}

static inline struct session *session_of_conn(struct conn *conn)
{
    return (struct session *)(void *)((char *)conn - offsetof(struct session, conn));
}

static inline struct session *session_of_live(struct liveness_conn *live)
{
    return (struct session *)(void *)((char *)live - offsetof(struct session, live));
}

/* The checkpoint of a backup was applied: copy the table and send the first piece. */
void session_begin_backup(struct session *session,
                          const struct pending *pending,
                          const struct replica_position *at);
/* Give up the copy that the connection fetches, if it does. */
void session_forget_backup(struct session *session);

/* Nobody waits for the outcome of the change of members any more, if this session did. */
void session_forget_change(struct session *session);

/* The conn's callbacks, for server.c. */
void session_conn_host(struct conn_host *ret);

#endif
