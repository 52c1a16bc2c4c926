/* server_internal.h - what the files of the server share: server.c owns it, session.c
 * works for one connection, delivery.c brings events back, node_info.c describes the
 * node. */
#ifndef NETLOCK_SERVER_INTERNAL_H
#define NETLOCK_SERVER_INTERNAL_H

#include "access.h"
#include "answer.h"
#include "conn.h"
#include "listener.h"
#include "liveness.h"
#include "metrics.h"
#include "page.h"
#include "pending.h"
#include "raft_node.h"
#include "request.h"
#include "server.h"

struct session;
struct address_count;

/* The copy of the table that is being fetched: see session_backup.c. */
struct server_backup {
    struct session *session; /* whose it is; NULL: there is none */
    uint8_t *data;           /* NULL: its checkpoint is under way */
    size_t len;
    uint64_t id, last_id;
    uint64_t last_token;
    uint64_t asked_ms;
};

/* The change of members or of the leader that is under way: see session_change.c. */
struct server_change {
    struct session *session; /* who asked; NULL: it is gone */
    struct answer_to to;
    enum wire_change verb;
    uint64_t node_id;
};

/* Certificates as they are read: of the client port, and of both directions between nodes, which are here
 * only until there is a node. */
struct secure_contexts {
    struct tls_context *clients, *peers_in, *peers_out;
};

/* Clients that are leaving the table: see gone.c. */
struct gone {
    size_t under_way; /* proposed and not applied */
    uint64_t claims;  /* theirs, and some for each */
    bool blocked;     /* no room for more; the next turn tries again */
};

struct server {
    uv_loop_t *loop;
    const struct config *config;
    const struct log *log;
    struct server_host host;
    struct request_policy policy;
    struct access access;
    uint64_t reattach_grace_ms;
    uint64_t started_ms;
    char client_address[CONFIG_ADDRESS_BYTES]; /* where clients reach this node */

    struct raft_node *node;
    bool serving;
    uint64_t membership; /* that connected clients were told */
    bool disk_low; /* see server_set_disk_low() */
    bool draining;      /* leadership goes to another node, again and again: node_control.c */
    bool handing_over;  /* for that reason, now */
    uv_timer_t drain;

    /* connections */
    int listen_fd; /* bound; -1: the listener has it, or nobody */
    struct listener listener;
    struct conn_host conn_host;
    struct secure_contexts secure;
    struct session *sessions;
    struct session *leaving; /* forgotten; their last words are on the way */
    struct session *unsent;  /* with output for the end of the turn */
    struct session *starved; /* with a request for which the replica had no room */
    size_t connections_count;
    struct address_count *addresses;

    /* requests under way */
    struct pendings pendings;
    struct waitings waitings;
    struct liveness *liveness;
    struct gone gone;
    struct page page;
    struct server_backup backup;
    struct server_change change;
    struct metrics metrics;
    struct wire_arena arena; /* of the request that is being looked at */
    struct answer_scratch scratch;

    /* the turn */
    uv_prepare_t before_io;
    uv_check_t after_io;
    uv_timer_t due;
    unsigned handles_open;

    /* the end */
    bool started, listening, stopping, node_closed;
    void (*on_stopped)(void *arg);
    void *on_stopped_arg;

    /* what a stranger can make happen often */
    struct log_limit refused_limit, broken_limit, malformed_limit, paused_limit;
    struct log_limit denied_limit;

    uint8_t read_buffer[CONN_READ_BYTES], text_buffer[CONN_READ_BYTES];
};

/* One line with its rate bounded by @limit; the format's last pair is `suppressed=`. */
#define SERVER_LOG_LIMITED(server, limit, level, event, format, ...)                     \
    do {                                                                                 \
        uint32_t suppressed_;                                                            \
        if (log_limit_pass(&(limit), uv_now((server)->loop), &suppressed_)) {            \
            log_event((server)->log, level, "server", event, format " suppressed=%u",    \
                      __VA_ARGS__, suppressed_);                                         \
        }                                                                                \
    } while (0)

static inline struct replica *server_replica(const struct server *server)
{
    return raft_node_replica(server->node);
}

/* secure.c: what server_reload() has read goes to the node, which has been made meanwhile. */
void secure_node(struct server *server);
void secure_release(struct secure_contexts *contexts);

/* A connection of the server is closed and its memory about to go. */
void server_session_closed(struct server *server, struct session *session);

/* gone.c: clients leave the table, with so many clients and claims at once. Of one client there are no more
 * than claims-per-client-max, so in the shipped configuration twice that is the most. */
enum { GONE_CLAIMS_MAX = 10000 };
void gone_propose(struct server *server);     /* who is due, as far as there is room */
void gone_arm(struct server *server);         /* the timer for who is due next */
void gone_on_detached(struct server *server); /* one of those proposed was applied */
void gone_clear(struct server *server);       /* this node does not lead any more */

/* admission.c: a socket was accepted; a connection that counted for @address is
 * closed. admission_enter() counts one, wherever it was accepted. */
void admission_on_accept(void *arg, int fd, const struct sockaddr_storage *peer);
struct address_count *admission_enter(struct server *server,
                                      const struct sockaddr_storage *peer);
void admission_leave(struct server *server, struct address_count *address);

/* Whose token it is that somebody at @address shows; empty if none is shown. Returns 0; -EACCES: nobody's;
 * -EAGAIN: not looked at. For whoever guesses waits: after five different ones the next is looked at
 * a second later. */
int admission_identify(struct server *server,
                       struct address_count *address,
                       struct fsm_str token,
                       struct fsm_str *ret_principal,
                       unsigned char ret_hash[static TOKEN_HASH_BYTES]);
void admission_release(struct server *server);

/* delivery.c: an event of the lock table, on the serving node. */
void delivery_on_event(struct server *server,
                       const struct fsm_event *event,
                       const struct replica_position *at);

/* node_info.c: where clients reach a member as far as this node was told otherwise than by the log; NULL:
 * it was not. */
const char *node_info_told_address(const struct server *server, uint64_t node_id);
/* node_control.c: what an operator sets on this node alone. @peer: who asks, for the audit log. */
void node_control(struct server *server, const struct wire_request *request, const char *peer);
void node_control_put(const struct server *server, struct wire_response *ret);
enum wire_log_level node_control_log_level(const struct server *server);

/* node_info.c: what this node says of itself and the cluster. Strings and members of the
 * response live in @info. */
struct node_info {
    struct raft_node_status status;
    struct wire_member members[RAFT_NODE_MEMBERS_MAX];
    struct wire_str leader_address; /* for clients; empty: unknown */
};
void node_info_get(const struct server *server, struct node_info *ret);
void node_info_put_hello(const struct server *server,
                         const struct node_info *info,
                         uint64_t session_grace_ms,
                         struct wire_response *ret);
void node_info_put_status(const struct server *server,
                          struct node_info *info,
                          struct wire_response *ret);

#endif
