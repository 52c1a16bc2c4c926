/* liveness.h - which connections act for which client, on the leader. Not replicated: its
 * consequence (a client without connection is detached) is.
 *
 *     liveness_attaching()   an attach was proposed
 *     liveness_attached()    it was answered; or liveness_refused()
 *     liveness_drop()        a connection lets go of a client
 *     liveness_due()         clients whose last connection went, and whose grace is over:
 *                            propose a detach with `attach_seq`, then liveness_gone()
 *
 * A client record lives here as long as there is a connection, an attach under way, or a
 * detach to be proposed. The machine compares attach_seq, so a detach that comes late
 * does nothing.
 *
 * Stale links: when a client is superseded, its older connections lose it, but remember
 * that they did, so that their requests are refused instead of attaching it again. The
 * same for a connection whose attach comes too late.
 *
 * Time is an argument, ms of any steady clock. */
#ifndef NETLOCK_LIVENESS_H
#define NETLOCK_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fsm.h"

/* One connection, embedded in it; zero-initialise. */
struct liveness_conn {
    struct liveness_link *links; /* in order of attach; stale ones too */
    size_t links_count;
};

struct liveness;
struct liveness_client;
struct liveness_link;

struct liveness *liveness_new(uint64_t hash_seed);
void liveness_free(struct liveness *liveness);

/* Forget everything, as on losing leadership. The connections' lists become empty. */
void liveness_clear(struct liveness *liveness);

/* An attach of @client was proposed: until it is answered no detach is due. */
void liveness_attaching(struct liveness *liveness, struct fsm_str client);

/* It was answered. @conn NULL: the connection is gone meanwhile, and with it the client
 * at @gone_at_ms unless there is another. With @superseded the older connections' links
 * become stale. */
void liveness_attached(struct liveness *liveness,
                       struct fsm_str client,
                       uint64_t attach_seq,
                       uint64_t epoch,
                       bool superseded,
                       struct liveness_conn *conn,
                       uint64_t gone_at_ms);
/* @stale_conn not NULL: because a newer connection has superseded this one, unless it is
 * attached by another request; its link is stale. */
void liveness_refused(struct liveness *liveness,
                      struct fsm_str client,
                      struct liveness_conn *stale_conn);

/* The client as attached on @conn, or NULL. */
struct liveness_link *liveness_find(const struct liveness *liveness,
                                    const struct liveness_conn *conn,
                                    struct fsm_str client);
bool liveness_link_stale(const struct liveness_link *link);
uint64_t liveness_link_epoch(const struct liveness_link *link);
uint64_t liveness_link_attach_seq(const struct liveness_link *link);
struct fsm_str liveness_link_client(const struct liveness_link *link);
/* The next link of the same connection, or NULL. */
struct liveness_link *liveness_link_next(const struct liveness_link *link);

/* Whether the client has no other connection and no attach under way. */
bool liveness_link_is_last(const struct liveness_link *link);

/* The connection lets go of the client; with the last one it is gone at @gone_at_ms. */
void liveness_drop(struct liveness *liveness,
                   struct liveness_link *link,
                   uint64_t gone_at_ms);

/* The same for a detach that was proposed already: nothing will become due. */
void liveness_drop_detached(struct liveness *liveness, struct liveness_link *link);

/* The newest connection of the client, or NULL. */
struct liveness_conn *liveness_newest(const struct liveness *liveness,
                                      struct fsm_str client);

/* A client to detach, or NULL. Valid until the next call that changes anything. */
struct liveness_due {
    struct fsm_str client;
    uint64_t attach_seq;
};
bool liveness_due(const struct liveness *liveness,
                  uint64_t now_ms,
                  struct liveness_due *ret);
/* Its detach was proposed. */
void liveness_gone(struct liveness *liveness, struct fsm_str client);
/* When the next one is due; UINT64_MAX: nothing is. */
uint64_t liveness_next_ms(const struct liveness *liveness);

size_t liveness_clients_count(const struct liveness *liveness);

#endif
