/* session_request.h - what a session does with one request; the inside of session.[ch].
 *
 *     session_request.c   decoding and dispatch; locks, lists, and the connection itself
 *     session_clients.c   for whom: attaching, secrets, the default client
 *     session_reply.c     answers that need no log, refusals, proposing
 *     session_backup.c    the copy of the table that a connection fetches
 *     session_change.c    changes of members and of the leader
 *
 * Whatever handles a request returns SESSION_NEEDS_NOTHING when it is dealt with
 * (answered, proposed, or the connection ended), or what it has to wait for: then nothing
 * was done, and the same frame comes again. */
#ifndef NETLOCK_SESSION_REQUEST_H
#define NETLOCK_SESSION_REQUEST_H

#include "session.h"

/* The answer to Hello once more, unasked for: this node has begun to serve, or the members are
 * others now. */
void session_tell_hello(struct session *session);

enum session_need
session_handle_frame(struct session *session, const uint8_t *payload, size_t len);

/* ---- session_reply.c ---- */

/* No command is under way: a local answer overtakes nothing. */
bool session_is_quiet(const struct session *session);

/* Send, once the session is quiet. */
enum session_need session_answer(struct session *session, struct wire_response *response);
enum session_need session_answer_error(struct session *session,
                                       const struct wire_request *request,
                                       enum wire_error error,
                                       const char *text,
                                       uint32_t retry_after_ms);
enum session_need session_answer_not_leader(struct session *session,
                                            const struct wire_request *request);

/* Denied where a lock is asked for; Error for those who know it; else only the end of the
 * connection is left. */
enum session_need session_refuse_request(struct session *session,
                                         const struct wire_request *request,
                                         const struct request_refusal *refusal);
/* The same, because of the client that the request acts for. */
enum session_need session_refuse_client(struct session *session,
                                        const struct wire_request *request,
                                        enum fsm_deny deny,
                                        const char *text);

/* Log that the request, a forced release, was proposed. */
void session_audit_break(const struct session *session,
                         const struct wire_request *request);

/* End the connection once the session is quiet. */
enum session_need session_hang_up(struct session *session);

/* Propose @command for @request. The pending, or NULL with *@ret_need to be returned. */
struct pending *session_propose(struct session *session,
                                enum pending_kind kind,
                                const struct wire_request *request,
                                struct fsm_command *command,
                                enum session_need *ret_need);
/* An attach, noted in the server's liveness. */
struct pending *session_propose_attach(struct session *session,
                                       enum pending_kind kind,
                                       const struct wire_request *request,
                                       struct fsm_command *command,
                                       enum session_need *ret_need);

void session_random(void *out, size_t len);

/* ---- session_backup.c ---- */

enum session_need session_handle_backup(struct session *session,
                                        const struct wire_request *request);

/* ---- session_change.c ---- */

enum session_need session_handle_change(struct session *session,
                                        const struct wire_request *request);

/* ---- session_clients.c ---- */

/* The client of the request, the default one if it names none. */
struct fsm_str session_client_of(struct session *session,
                                 const struct wire_request *request);

/* Find, or make, the attachment by which the request acts for command->client. When the
 * request can go on, *@ret_attached is true; else return what this returns. */
enum session_need session_act_for(struct session *session,
                                  const struct wire_request *request,
                                  struct fsm_command *command,
                                  bool *ret_attached);

enum session_need session_handle_attach(struct session *session,
                                        const struct wire_request *request);
enum session_need session_handle_create(struct session *session,
                                        const struct wire_request *request);
enum session_need session_handle_detach(struct session *session,
                                        const struct wire_request *request);
enum session_need session_handle_kill(struct session *session,
                                      const struct wire_request *request);
enum session_need session_handle_default_id(struct session *session,
                                            const struct wire_request *request);
enum session_need session_handle_attached_ids(struct session *session,
                                              const struct wire_request *request);

#endif
